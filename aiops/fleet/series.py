"""What each series has shown: its last instant, its pinned source, its counter's offset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aiops.fleet.buffer import Merged
from aiops.kernels.admission import mark_late, pin_source, unwrap_counter, unwrap_reading
from aiops.kernels.rows import B1, F8, I1, I4, I8
from aiops.telemetry.normalised import NO_TIME
from aiops.telemetry.vocabulary import VOCABULARY, describe

ABOUT_SOURCE = {
    "storage.wear.used_ratio": {
        "storage.wear.step_ratio": "step",
        "storage.wear.trust_ratio": "trust",
    },
    "storage.bytes_written": {"storage.bytes_written.partial": "resets"},
}
"""Metric -> columns that say something of the source it is pinned to, and what."""
DERIVED = frozenset(column for columns in ABOUT_SOURCE.values() for column in columns)
"""Columns that nobody sends."""


class Rejected(NamedTuple):
    """Readings of one metric that were set aside for one reason."""

    reason: str
    metric: str
    device: I4
    ts: I8
    value: F8


class SeriesState:
    """Per-series memory of admission, one array [capacity] each; grows by doubling."""

    def __init__(self, tracked: frozenset[str]) -> None:
        self.tracked = tracked
        self.capacity = 0
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        self._growing: dict[str, tuple[Any, float]] = {}
        self._opened: frozenset[str] = frozenset()
        for name in sorted(tracked):
            if name in VOCABULARY:
                self._follow(name)

    def _follow(self, name: str) -> None:
        """Make memory for a metric's series."""
        metric = describe(name)
        growing: dict[str, tuple[Any, float]] = {f"last_ts/{name}": (np.int64, NO_TIME)}
        if metric.sources:
            growing[f"pinned/{name}"] = (np.int8, -1)
        if metric.kind == "counter" or any(source.wrap for source in metric.sources):
            growing[f"previous/{name}"] = (np.float64, -np.inf)
            growing[f"offset/{name}"] = (np.float64, 0.0)
        if metric.kind == "counter":
            growing[f"low/{name}"] = (np.float64, 0.0)
            growing[f"lows/{name}"] = (np.int8, 0)
        self._growing |= growing
        for key, (dtype, empty) in growing.items():
            self.arrays[key] = np.full(self.capacity, empty, dtype=dtype)

    def open(self, names: Iterable[str]) -> None:
        """Follow just these metrics, besides the tracked ones; nothing is kept of others."""
        names = frozenset(names)
        for name in sorted(names - self._opened):
            self._follow(name)
        for name in self._opened - names:
            for key in [key for key in self._growing if key.partition("/")[2] == name]:
                del self._growing[key], self.arrays[key]
        self._opened = names

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` devices and parts."""
        if capacity <= self.capacity:
            return
        for key, (dtype, empty) in self._growing.items():
            old = self.arrays[key]
            new = np.full(capacity, empty, dtype=dtype)
            new[: len(old)] = old
            self.arrays[key] = new
        self.capacity = capacity

    def wanted(self) -> frozenset[str]:
        """Return the tracked metrics as normalisation names them, each source apart."""
        names = set(self.tracked)
        for name in self.tracked:
            metric = VOCABULARY.get(name)
            if metric is not None:
                names.update(f"{name}/{source.name}" for source in metric.sources)
        return frozenset(names)

    def admit(self, merged: Merged) -> tuple[dict[str, F8], list[Rejected]]:
        """Pin, order and unwrap the columns of an epoch; return them and what was refused."""
        columns: dict[str, F8] = {}
        rejected = [Rejected("duplicate", name, *found) for name, found in merged.duplicate.items()]
        opened = self._opened & merged.columns.keys()
        tracked = {key.partition("/")[0] for key in merged.columns.keys() - opened} & self.tracked
        for name in sorted(opened | tracked):
            chosen = np.full(len(merged.ts), -1, dtype=np.int8)
            if describe(name).sources:
                value, refused = self._pin(name, merged, chosen)
                rejected.extend(refused)
            else:
                value = merged.columns[name]
            rejected.extend(self._order(name, merged, value))
            if f"offset/{name}" in self.arrays:
                rejected.extend(self._unwrap(name, merged, value, chosen))
            columns[name] = value
            for column, what in ABOUT_SOURCE.get(name, {}).items():
                told = [getattr(source, what) for source in VOCABULARY[name].sources]
                of_row = np.array([*told, np.nan])[chosen]
                of_row[np.isnan(value)] = np.nan
                columns[column] = of_row
        return columns, rejected

    def _pin(self, name: str, merged: Merged, chosen: I1) -> tuple[F8, list[Rejected]]:
        sources = VOCABULARY[name].sources
        present = [i for i, s in enumerate(sources) if f"{name}/{s.name}" in merged.columns]
        candidate = np.vstack([merged.columns[f"{name}/{sources[i].name}"] for i in present])
        out = np.full(len(merged.ts), np.nan)
        pinned = self.arrays[f"pinned/{name}"]
        if not pin_source(
            merged.device, candidate, np.array(present, dtype=np.int64), pinned, out, chosen
        ):
            return out, []
        at = np.flatnonzero((chosen < 0) & ~np.isnan(candidate).all(axis=0))
        shown = candidate[:, at]
        value = shown[np.argmax(~np.isnan(shown), axis=0), np.arange(len(at))]
        return out, [Rejected("other_source", name, merged.device[at], merged.ts[at], value)]

    def _order(self, name: str, merged: Merged, value: F8) -> Iterator[Rejected]:
        late = np.zeros(len(value), dtype=np.int8)
        if mark_late(merged.device, merged.ts, value, self.arrays[f"last_ts/{name}"], late):
            for code, reason in ((1, "late"), (2, "duplicate")):
                if (late == code).any():
                    yield _blank(reason, name, merged, value, late == code)

    def _unwrap(self, name: str, merged: Merged, value: F8, chosen: I1) -> Iterator[Rejected]:
        metric = describe(name)
        wrap = np.array([s.wrap for s in metric.sources] + [0.0])
        resets = np.array([s.resets for s in metric.sources] + [metric.resets])
        previous, offset = self.arrays[f"previous/{name}"], self.arrays[f"offset/{name}"]
        if metric.kind != "counter":
            unwrap_reading(merged.device, value, chosen, wrap, previous, offset)
            return
        backwards: B1 = np.zeros(len(value), dtype=np.bool_)
        if unwrap_counter(
            merged.device,
            value,
            chosen,
            wrap,
            resets,
            previous,
            offset,
            self.arrays[f"low/{name}"],
            self.arrays[f"lows/{name}"],
            backwards,
        ):
            yield _blank("counter_backwards", name, merged, value, backwards)


def _blank(reason: str, name: str, merged: Merged, value: F8, marked: B1) -> Rejected:
    """Blank the marked values [n] in place; return what they were."""
    at = np.flatnonzero(marked)
    rejected = Rejected(reason, name, merged.device[at], merged.ts[at], value[at])
    value[at] = np.nan
    return rejected
