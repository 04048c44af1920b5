"""The rows of a frame: whose they are, when they happened, and which of them can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aiops.kernels.clean import count_odd
from aiops.kernels.rows import B1, I4, I8
from aiops.telemetry.aside import Aside
from aiops.telemetry.columns import column_of, read_names, texts
from aiops.telemetry.labels import Labels
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalised import NO_TIME, Encoded
from aiops.telemetry.times import SECOND_NS, YEAR_2000, YEAR_2100, Times, read_times

AHEAD_NS = 300 * SECOND_NS
"""How far the time of a row may lie beyond that of the log that took it."""


class FrameRows(NamedTuple):
    """The rows [n] of a frame as they came."""

    device: Encoded
    ts: I8
    recv_ts: I8
    kept: I8 | None
    """[m] which rows are kept, ascending; None: all."""

    @property
    def before(self) -> I8:
        """[n] how many kept rows come before each row."""
        if self.kept is None:
            return np.arange(len(self.ts))
        keep = np.zeros(len(self.ts) + 1, np.int64)
        keep[self.kept + 1] = 1
        counted: I8 = np.cumsum(keep)[:-1]
        return counted


def read_rows(table: pa.Table, layout: Layout, aside: Aside) -> FrameRows:
    """Read identities and times; hand rows that cannot be used to `aside`."""
    device = read_names(column_of(table, layout.device))
    when = column_of(table, layout.time)
    times = read_times(when)
    ts, n = times.ns, table.num_rows
    recv_ts = np.full(n, NO_TIME)
    stamps = np.zeros(0, np.int64)
    if layout.recv_time is not None:
        recv_ts = stamps = _receive_times(column_of(table, layout.recv_time), aside)
    odd = count_odd(_view(ts), _view(stamps), YEAR_2000, YEAR_2100, AHEAD_NS)
    if times.bad is None and not odd and "" not in device.value:
        return FrameRows(device, ts, recv_ts, None)
    ahead = (recv_ts != NO_TIME) & (ts > recv_ts + AHEAD_NS)
    keep = np.ones(n, np.bool_)
    nobody = _nobodys(table, (device.code < 0) & (ts == NO_TIME) & (recv_ts == NO_TIME))
    for reason, wrong in [("no_device", nobody), *_wrong(device, times, ahead)]:
        row = np.flatnonzero(wrong & keep)
        if len(row):
            aside.add(row, reason, texts(when.take(pa.array(row))))
            keep[row] = False
    return FrameRows(device, ts, recv_ts, None if keep.all() else np.flatnonzero(keep))


def _nobodys(table: pa.Table, empty: B1) -> B1:
    """Return which of the rows [n] without device and time report something all the same.

    A row of nothing but nulls ends a history; a broken client must not be able to.
    """
    wrong = np.zeros(len(empty), np.bool_)
    if empty.any():
        for column in table.columns:
            wrong |= empty & np.array(column.is_valid())
    return wrong


def _wrong(device: Encoded, times: Times, ahead: B1) -> Iterator[tuple[str, B1]]:
    """Yield each reason to set rows [n] aside, and the rows it hits."""
    ts, bad = times
    given = ts != NO_TIME
    if "" in device.value:
        yield "no_device", device.code == device.value.index("")
    if bad is not None:
        yield "bad_time", bad
    yield "bad_time", ts >= YEAR_2100
    yield "no_time", ~given & (device.code >= 0)
    yield "clock_unset", given & (ts < YEAR_2000)
    yield "ahead_of_clock", given & ahead


def _receive_times(column: pa.Array, aside: Aside) -> I8:
    recv_ts, bad = read_times(column)
    none = _view(np.zeros(0, np.int64))
    if bad is None and not count_odd(_view(recv_ts), none, YEAR_2000, YEAR_2100, 0):
        return recv_ts
    wrong = (recv_ts != NO_TIME) & ((recv_ts < YEAR_2000) | (recv_ts >= YEAR_2100))
    if bad is not None:
        wrong |= bad
    row = np.flatnonzero(wrong)
    if len(row):
        aside.add(row, "bad_time", texts(column.take(pa.array(row))), "recv_ts")
        recv_ts = np.where(wrong, NO_TIME, recv_ts)
    return recv_ts


def _view(times: I8) -> I8:
    """Return a view as Arrow's own arrays are, so that kernels are compiled for one kind only."""
    view = times.view()
    view.setflags(write=False)
    return view


class RowNames:
    """The part, or medium, of each row [n] of a frame: of a column, or else of a label."""

    def __init__(self, given: Encoded | None, n: int) -> None:
        self.encoded = given
        """None: no row has any."""
        self._n = n
        self._owned = False
        self._place = {} if given is None else {v: i for i, v in enumerate(given.value)}

    def fill(self, rows: I8, label: str, labels: Labels, spell: Callable[[str], str] = str) -> None:
        """Name those of `rows` after their `label` that have no name yet."""
        found = labels.get(label)
        if found is not None:
            place = [self._intern(spell(value)) if value else -1 for value in found.value]
            self._write(rows, np.array([*place, -1], np.int32)[found.code[rows]])

    def fill_with(self, rows: I8, name: str) -> None:
        """Name those of `rows` that have no name yet."""
        self._write(rows, np.full(len(rows), self._intern(name), np.int32))

    def _intern(self, name: str) -> int:
        return self._place.setdefault(name, len(self._place))

    def _write(self, rows: I8, code: I4) -> None:
        if self.encoded is None:
            names: I4 = np.full(self._n, -1, np.int32)
        else:
            names = self.encoded.code if self._owned else self.encoded.code.copy()
        self._owned = True
        old = names[rows]
        names[rows] = np.where(old < 0, code, old)
        self.encoded = Encoded(names, list(self._place))
