"""What normalisation hands to the fleet: clean columns, and what had to be set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aiops.kernels.rows import F8, I4, I8
from aiops.telemetry.lines import LogLines

NO_TIME = np.iinfo(np.int64).min
"""Stands for a time that was not given."""

SET_ASIDE = pa.schema(
    [
        pa.field("at", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("device_id", pa.string()),
        pa.field("part", pa.string()),
        pa.field("ts", pa.int64()),
        pa.field("metric", pa.string()),
        pa.field("value", pa.string()),
    ]
)
"""Rows and values set aside. `at`: how many kept rows of the frame came before it."""
NOTHING_ASIDE = SET_ASIDE.empty_table()
"""A table is costly to make, and most frames have nothing set aside."""


class Encoded(NamedTuple):
    """A column of strings as codes into its distinct values."""

    code: I4
    """[n] index into `value`; -1: not given."""
    value: Sequence[str]
    """The distinct values, in any order."""


class SparseColumn(NamedTuple):
    """A metric as some rows reported it."""

    row: I4 | None
    """[m] which rows, ascending; None: all of them."""
    value: F8
    """[m] in the canonical unit; NaN: not reported."""


def bounds(row: I4, start: int, stop: int) -> tuple[int, int]:
    """Return where rows `start` to `stop` are in `row` [m], ascending."""
    # Numbers of another type would have all of `row` copied into it.
    lo, hi = np.searchsorted(row, np.array([start, stop], row.dtype)).tolist()
    return lo, hi


class OpenReadings(NamedTuple):
    """Readings [m] under names that nobody knows, in the order of their rows."""

    row: I4
    """[m] which rows, ascending; a row may have several."""
    name: I4
    """[m] index into `names`."""
    labels: I4
    """[m] index into `sets`; -1: none."""
    value: F8
    """[m] finite."""
    names: Sequence[str]
    sets: Sequence[str]
    """Labels, as JSON objects."""

    def take(self, which: I8 | slice, row: I4 | None = None) -> OpenReadings:
        """Return some of the readings, with other rows if `row` gives them."""
        row = self.row[which] if row is None else row
        return self._replace(
            row=row,
            name=self.name[which],
            labels=self.labels[which],
            value=self.value[which],
        )

    def compact(self) -> OpenReadings:
        """Return the same with none but the names and labels that occur."""
        names, name = np.unique(self.name, return_inverse=True)
        sets, labels = np.unique(self.labels[self.labels >= 0], return_inverse=True)
        numbered = np.full(len(self.labels), -1, np.int32)
        numbered[self.labels >= 0] = labels
        return self._replace(
            name=name.astype(np.int32),
            labels=numbered,
            names=[self.names[i] for i in names.tolist()],
            sets=[self.sets[i] for i in sets.tolist()],
        )

    def cut(self, start: int, stop: int) -> OpenReadings:
        """Return the readings of rows `start` to `stop`, which become rows from 0 on."""
        lo, hi = bounds(self.row, start, stop)
        return self.take(slice(lo, hi), (self.row[lo:hi] - start).astype(np.int32))

    def moved(self, place: I8) -> OpenReadings:
        """Return the readings with row i at `place[i]`; without those whose place is -1."""
        row = place[self.row]
        order = np.argsort(row, kind="stable")
        order = order[np.searchsorted(row[order], 0) :]
        return self.take(order, row[order].astype(np.int32))


@dataclass(frozen=True)
class NormalisedFrame:
    """The kept rows of one frame, in the order in which they came.

    A row without a device is a heartbeat: its stamp moves the clock. One without any time ends a
    history: all that is in, is in.
    """

    device_id: Encoded
    """[n]; code -1 marks a heartbeat."""
    ts: I8
    """[n] event time, ns since the epoch, UTC; `NO_TIME` only for the end of a history."""
    recv_ts: I8
    """[n] when the log took the row, ns; `NO_TIME`: not stamped."""
    columns: Mapping[str, SparseColumn]
    """Canonical metric, or ``metric/source`` where the vocabulary lists sources."""
    open: OpenReadings | None = None
    """What nobody knows, where it was asked for."""
    logs: LogLines | None = None
    """Log lines, where they were asked for."""
    part: Encoded | None = None
    medium_id: Encoded | None = None
    site: Encoded | None = None
    cohort: Encoded | None = None
    set_aside: pa.Table = field(default_factory=lambda: NOTHING_ASIDE)
    unknown: Mapping[str, int] = field(default_factory=dict)
    """Columns or metric names nobody knows, with how many values they carried."""

    def __len__(self) -> int:
        return len(self.ts)

    def window(self, start: int, stop: int) -> NormalisedFrame:
        """Return rows `start` to `stop`, with what was set aside among them."""
        at = self.set_aside["at"].to_numpy()
        last = at <= len(self) if stop >= len(self) else at < stop
        aside = self.set_aside.filter(pa.array((at >= start) & last))
        aside = aside.set_column(0, "at", pa.array(aside["at"].to_numpy() - start))
        return NormalisedFrame(
            device_id=_cut(self.device_id, start, stop) or self.device_id,
            ts=self.ts[start:stop],
            recv_ts=self.recv_ts[start:stop],
            columns={k: _cut_column(v, start, stop) for k, v in self.columns.items()},
            open=None if self.open is None else self.open.cut(start, stop),
            logs=None if self.logs is None else self.logs.cut(start, stop),
            part=_cut(self.part, start, stop),
            medium_id=_cut(self.medium_id, start, stop),
            site=_cut(self.site, start, stop),
            cohort=_cut(self.cohort, start, stop),
            set_aside=aside,
            unknown=self.unknown if start == 0 else {},
        )


def _cut(column: Encoded | None, start: int, stop: int) -> Encoded | None:
    return None if column is None else Encoded(column.code[start:stop], column.value)


def _cut_column(column: SparseColumn, start: int, stop: int) -> SparseColumn:
    if column.row is None:
        return SparseColumn(None, column.value[start:stop])
    lo, hi = bounds(column.row, start, stop)
    return SparseColumn((column.row[lo:hi] - start).astype(np.int32), column.value[lo:hi])
