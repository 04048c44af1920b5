"""One call from a data frame to scores or findings, through the same engine that runs live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from aiops.alerts.rule import AlertRule
from aiops.detectors import DETECTORS, defaults
from aiops.detectors.protocol import Detector
from aiops.engine.engine import Engine, Step
from aiops.errors import SettingsError
from aiops.kernels.rows import I4, I8
from aiops.telemetry.columns import column_of, whole
from aiops.telemetry.frame import read_frame
from aiops.telemetry.layout import Layout
from aiops.telemetry.times import YEAR_2000, YEAR_2100, read_times
from aiops.telemetry.vocabulary import closest

Named: TypeAlias = Detector[Any] | str
"""A detector, or its name in `DETECTORS`."""

SCORES = pa.schema(
    [
        ("detector", pa.string()),
        ("device_id", pa.string()),
        ("part", pa.string()),
        ("medium_id", pa.string()),
        ("ts", pa.timestamp("ns", tz="UTC")),
        ("score", pa.float64()),
        ("observed", pa.float64()),
        ("expected", pa.float64()),
    ]
)
"""What `detect` returns, a row for each row a detector was shown."""


def detect(
    frame: Any,
    detectors: Iterable[Named] | Named | None = None,
    *,
    layout: Mapping[str, str] | None = None,
) -> pa.Table:
    """Score a history and return a table of `SCORES`, ordered by detector, device and time.

    A score is in multiples of the alert line; NaN: no opinion. What a detector says only when an
    epoch closes, as of silence, belongs to no row: see the findings of `replay`.

    Parameters
    ----------
    frame
        Pandas, polars, Arrow, a DuckDB relation: anything with ``__arrow_c_stream__``. Its rows
        may stand in any order: they are taken as a log took them, by receive time if they tell it.
    detectors
        Detectors or names in `DETECTORS`, or a single one; by default all that run by themselves,
        as in `Engine`.
    layout
        Column names that cannot be guessed, e.g. ``{"device": "serial", "time": "at"}``.

    Raises
    ------
    FrameError
        It is no frame, or no device or time column can be found.
    SettingsError
        A detector's name is in no registry, or what was given is no detector.
    """
    scored = replay(frame, detectors, layout=layout).scored
    if not scored:
        return SCORES.empty_table()
    # Identities are only ever added to: the last know all.
    identities = np.array(scored[-1].identities, dtype=object).reshape(-1, 3)
    names = identities[np.concatenate([one.batch.device for one in scored])]
    detector = np.repeat([one.detector for one in scored], [len(one.batch) for one in scored])
    ts = np.concatenate([one.batch.ts for one in scored])
    columns = [
        pa.array(detector, pa.string()),
        *(pa.array(names[:, k], pa.string()) for k in range(3)),
        pa.array(ts, SCORES.field("ts").type),
        *(pa.array(np.concatenate([one.scores[k] for one in scored])) for k in range(3)),
    ]
    keys = [(name, "ascending") for name in ("detector", "device_id", "part", "medium_id", "ts")]
    return pa.table(columns, schema=SCORES).sort_by(keys)


def replay(
    frame: Any,
    detectors: Iterable[Named] | Named | None = None,
    *,
    layout: Mapping[str, str] | None = None,
) -> Step:
    """Run a history through an engine and return everything that came of it.

    Arguments and errors are those of `detect`.
    """
    return played(frame, detectors, layout=layout)[1]


def played(
    frame: Any,
    detectors: Iterable[Named] | Named | None = None,
    *,
    layout: Mapping[str, str] | None = None,
    **settings: Any,
) -> tuple[Engine, Step]:
    """Run a history through a new engine; return it, as the history ends, and what came of it.

    Arguments and errors are those of `detect`, and settings those of `Engine`.
    """
    rules = None if detectors is None else [AlertRule(one) for one in _chosen(detectors)]
    engine = Engine(rules, layout=layout, **settings)
    table = read_frame(frame)
    # Arrow cannot take rows of views, in which polars keeps its texts.
    table = pa.table([whole(column) for column in table.columns], names=table.column_names)
    table = table.take(pa.array(_log_order(table, Layout.guess(table.schema, **engine.layout))))
    end = pa.table([pa.nulls(1, kind) for kind in table.schema.types], schema=table.schema)
    return engine, engine.step(pa.concat_tables([table, end]))


def _log_order(table: pa.Table, layout: Layout) -> I8:
    """Return the order [n] in which a log took the rows; those without a time that can be, last.

    By receive time where a row has one, so that what came late comes late again; else by its own.
    """
    at = np.full(len(table), YEAR_2100)
    for column in (layout.time, layout.recv_time):
        if column is not None:
            told = read_times(column_of(table, column)).ns
            at = np.where((told >= YEAR_2000) & (told < YEAR_2100), told, at)
    return np.argsort(at, kind="stable")


def _chosen(detectors: Iterable[Named] | Named) -> list[Detector[Any]]:
    if isinstance(detectors, str) or not isinstance(detectors, Iterable):
        detectors = [detectors]
    return [detector for one in detectors for detector in _detectors(one)]


def _detectors(one: Named) -> tuple[Detector[Any], ...]:
    if not isinstance(one, str):
        if isinstance(one, type) or not isinstance(one, Detector):
            made = f"; write {one.__name__}()" if isinstance(one, type) else ""
            raise SettingsError(
                f"a detector, or its name, was expected; {one!r} came{made}. There are "
                f"{', '.join(sorted(DETECTORS))}"
            )
        return (one,)
    if one not in DETECTORS:
        raise SettingsError(
            f"no detector is called {one!r}{closest(one, DETECTORS)}; there are "
            f"{', '.join(sorted(DETECTORS))}"
        )
    return defaults(one)


def only(
    engine: Engine,
    among: I4,
    wanted: tuple[str | None, ...],
    *,
    one: str,
    many: str,
    told: str,
) -> int:
    """Return which of the identities `among` [k] is meant by (device, part, medium).

    `one` and `many` are what they are called, `told` what each of them has told.

    Raises
    ------
    SettingsError
        None is called so, or several are.
    """
    identities = engine.fleet.registry.identities
    found = [
        index
        for index in among.tolist()
        if all(w is None or w == name for w, name in zip(wanted, identities[index], strict=True))
    ]
    if len(found) == 1:
        return int(found[0])
    asked = "/".join(name for name in wanted if name)
    if found:
        some = ", ".join("/".join(identities[index]) for index in found[:4])
        raise SettingsError(
            f"{len(found)} {many} are called {asked!r} ({some}); say which: part=, medium_id="
        )
    devices = sorted({identities[index][0] for index in among.tolist()})
    there = f"there are {len(devices)}, of {', '.join(devices[:4])}" if devices else "nor any other"
    raise SettingsError(f"no {one} {asked!r} has {told}{closest(str(wanted[0]), devices)}; {there}")
