"""Labelled series read from folders: NAB, cloud monitoring, and servers with many metrics.

``nab``: ``combined_windows.json`` beside folders of ``NAME.csv`` or ``.csv.gz`` (timestamp, value);
each file has its entry there and each entry its file, or the corpus is refused. ``cloud``: CSV
with time, value and a label of each row, by place. ``smd``: ``NAME.npz`` with ``train``, ``test``
[n, m] and ``test_label`` [n], which have no times: a row a minute, five of ``asd-*``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from aiops.kernels.rows import B1, F8, I8

MINUTE_NS = 60 * 10**9
BEGIN_NS = 1_577_836_800 * 10**9
"""When servers without times begin: 2020-01-01."""


class Series(NamedTuple):
    """One metric of one device, and when something was wrong."""

    name: str
    ts: I8
    """[n] ns since the epoch."""
    value: F8
    """[n]"""
    events: I8
    """[k, 2] first and last row of each event, both included; they do not overlap."""
    begins: int = 0
    """The first row that is judged; those before it only teach."""

    @property
    def label(self) -> B1:
        """[n] within an event."""
        return label_of(self.events, len(self.ts))

    @property
    def days(self) -> float:
        """From the first row that is judged to the last."""
        return float(self.ts[-1] - self.ts[self.begins]) / (24 * 60 * MINUTE_NS)


class Server(NamedTuple):
    """All metrics of one device, and when something was wrong with any of them."""

    metrics: tuple[Series, ...]
    """Each has the times and events of the server."""

    @property
    def name(self) -> str:
        return self.metrics[0].name.rpartition("/")[0]

    def judged(self, value: F8) -> Series:
        """Return what is said of the server, `value` [n], as one series with its events."""
        return self.metrics[0]._replace(name=self.name, value=value)


def read_nab(folder: Path) -> list[Series]:
    """Return the series of a folder of the Numenta Anomaly Benchmark, in the order of names."""
    table = folder / "combined_windows.json"
    if not table.exists():
        raise SystemExit(f"{table}: there is no such file; the windows are to be beside the series")
    windows: dict[str, list[list[str]]] = json.loads(table.read_text(encoding="utf-8"))
    files = {name: path for path in folder.rglob("*.csv*") for name in [_csv_name(path, folder)]}
    if files.keys() != windows.keys():
        raise SystemExit(
            f"{folder}: files and windows differ: "
            f"without windows {sorted(files.keys() - windows.keys())}, "
            f"without a file {sorted(windows.keys() - files.keys())}"
        )
    return [_windowed(name, files[name], windows[name]) for name in sorted(files)]


def _csv_name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix().removesuffix(".gz")


def _windowed(name: str, path: Path, windows: Sequence[Sequence[str]]) -> Series:
    table = pd.read_csv(path)
    ts = _ns(table["timestamp"])
    rows = [(int((ts < a).sum()), int((ts <= b).sum()) - 1) for a, b in map(_ns, windows)]
    if any(first > last for first, last in rows):
        raise SystemExit(f"{path}: a window of it holds no row: {windows}")
    return Series(name, ts, table["value"].to_numpy(np.float64), _events(rows))


def read_cloud(folder: Path) -> list[Series]:
    """Return the series of a folder of CSVs of time, value and label, in the order of names."""
    series = []
    for path in sorted(folder.rglob("*.csv*")):
        table = pd.read_csv(path)
        if table.shape[1] != 3:
            raise SystemExit(f"{path}: {list(table)} are its columns; time, value, label are read")
        label = table.iloc[:, 2].to_numpy(np.float64) > 0
        value = table.iloc[:, 1].to_numpy(np.float64)
        name = _csv_name(path, folder).removesuffix(".csv")
        series.append(Series(name, _ns(table.iloc[:, 0]), value, events_of(label)))
    return series


def read_smd(folder: Path) -> list[Server]:
    """Return the servers of a folder, in the order of names; judged where there are labels."""
    servers = []
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            value = np.concatenate((arrays["train"], arrays["test"])).astype(np.float64)
            begins, events = len(arrays["train"]), events_of(arrays["test_label"] > 0)
        step = MINUTE_NS * (5 if path.stem.startswith("asd") else 1)
        ts = BEGIN_NS + step * np.arange(len(value), dtype=np.int64)
        servers.append(
            Server(
                tuple(
                    Series(f"{path.stem}/{at}", ts, column, events + begins, begins)
                    for at, column in enumerate(np.ascontiguousarray(value.T))
                )
            )
        )
    return servers


def events_of(label: B1) -> I8:
    """Return first and last row [k, 2] of each run of true in `label` [n]."""
    edges = np.diff(np.concatenate(([0], label.astype(np.int8), [0])))
    return _events(
        list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1, strict=True))
    )


def label_of(events: I8, n: int) -> B1:
    """Return which of `n` rows are within an event."""
    label = np.zeros(n, dtype=np.bool_)
    for first, last in events:
        label[first : last + 1] = True
    return label


def _events(rows: Sequence[tuple[int, int]]) -> I8:
    return np.array(sorted(rows), dtype=np.int64).reshape(-1, 2)


def _ns(times: pd.Series | Sequence[str]) -> I8:
    """Return times, UTC where they do not say, in ns since the epoch."""
    parsed = pd.DatetimeIndex(pd.to_datetime(times, utc=True))
    return parsed.as_unit("ns").asi8.copy()
