"""What is set aside, and why. Nothing is dropped without a reason from this list."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.kernels.rows import I8
from aiops.telemetry.normalised import NO_TIME, NOTHING_ASIDE, SET_ASIDE, Encoded

REASONS: Mapping[str, str] = MappingProxyType(
    {
        # whole rows
        "no_device": "The device id is empty, or missing in a row that has no time either.",
        "no_time": "The row names a device and no time.",
        "bad_time": "The time cannot be read, or lies in the year 2100 or later.",
        "clock_unset": "The time lies before the year 2000: the device's clock was never set.",
        "ahead_of_clock": "The time lies 5 minutes beyond the log's, or a year beyond its end.",
        # single values; their row stays
        "not_a_number": "The value is no number.",
        "not_finite": "The value is infinite.",
        "out_of_range": "The value lies outside what its metric can be.",
        # what the fleet adds, knowing the past of each series
        "late": "The series has shown a later instant already.",
        "duplicate": "The series has shown this instant already.",
        "other_source": "The device is pinned to another source of this metric.",
        "counter_backwards": "A counter fell, and neither a boot nor its width explains it.",
    }
)
"""Reason -> one sentence."""


class _Entry(NamedTuple):
    row: I8
    reason: str
    metric: str
    value: pa.Array
    part: str | None


class Aside:
    """Collects the rows and values of one frame that are set aside."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(
        self, row: I8, reason: str, value: pa.Array, metric: str = "", part: str | None = None
    ) -> None:
        """Set aside `row` [m] of the frame, or the `metric` in it, whose values look like `value`.

        `part` is the part that the reading's name named; None: that of its row.
        """
        if len(row):
            self._entries.append(_Entry(row, reason, metric, value, part))

    def table(self, at: I8, device: Encoded, part: Encoded | None, ts: I8) -> pa.Table:
        """Return everything, in the order of the rows [n]; `at` [n] kept rows precede each.

        A row whose own time was the trouble has none here; its `value` shows what came.
        """
        if not self._entries:
            return NOTHING_ASIDE
        sizes = [len(entry.row) for entry in self._entries]
        row = np.concatenate([entry.row for entry in self._entries])
        of = pa.array(np.repeat(np.arange(len(sizes)), sizes))

        def each(values: list[str | None]) -> pa.Array:
            return pa.array(values, pa.string()).take(of)

        untimed = [not e.metric and e.reason in {"bad_time", "clock_unset"} for e in self._entries]
        time = ts[row]
        columns = [
            pa.array(at[row]),
            each([e.reason for e in self._entries]),
            _strings(device, row, None),
            pc.coalesce(each([e.part for e in self._entries]), _strings(part, row, "")),
            pa.array(time, mask=np.repeat(untimed, sizes) | (time == NO_TIME)),
            each([e.metric for e in self._entries]),
            pa.concat_arrays([e.value for e in self._entries]),
        ]
        order = pa.array(np.argsort(row, kind="stable"))
        return pa.Table.from_arrays(columns, schema=SET_ASIDE).take(order)


def _strings(encoded: Encoded | None, row: I8, absent: str | None) -> pa.Array:
    if encoded is None:
        return pa.array([absent] * len(row), pa.string())
    code = encoded.code[row]
    names = pa.array([*encoded.value, absent], pa.string())
    return names.take(pa.array(np.where(code < 0, len(names) - 1, code)))
