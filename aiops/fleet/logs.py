"""Log lines of an epoch: put in order, counted by device, and told apart by template."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.fleet.buffer import Merged
from aiops.fleet.registry import Registry
from aiops.fleet.series import Rejected
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.telemetry.batch import LogBatch
from aiops.telemetry.columns import codes_of
from aiops.telemetry.lines import COUNTS, ERROR, WARNING
from aiops.telemetry.normalised import NO_TIME
from aiops.telemetry.templates import Templates


class Taken(NamedTuple):
    """What came of the log lines of an epoch."""

    batch: LogBatch | None
    """None: there were none."""
    columns: dict[str, F8]
    """`COUNTS` [n] since the device's first line, up to each row with a line; NaN in others."""
    rejected: list[Rejected]


class Logs:
    """What is remembered of log lines: the templates, and what each device's have come to.

    The set of lines matters, not how often each was sent: one that a device has shown, with its
    time and its severity, is the same line, and lines at or before the device's last of an earlier
    epoch are late.
    """

    def __init__(self) -> None:
        self.templates = Templates()
        self.last_ts: I8 = np.zeros(0, dtype=np.int64)
        """[devices] time of the last line, ns."""
        self.counted: I8 = np.zeros((0, len(COUNTS)), dtype=np.int64)
        """[devices, COUNTS]"""

    def take(self, merged: Merged, registry: Registry) -> Taken:
        """Take the lines of an epoch that closes."""
        if not merged.logs:
            return Taken(None, {}, [])
        self._grow(len(registry))
        row = np.concatenate([lines.row for lines in merged.logs])
        severity = np.concatenate([lines.severity for lines in merged.logs])
        text = pa.chunked_array([lines.text for lines in merged.logs]).combine_chunks()
        late = merged.ts[row] <= self.last_ts[merged.device[row]]
        rejected = [_rejected("late", late, row, severity, merged)] if late.any() else []
        if late.any():
            kept = np.flatnonzero(~late)
            row, severity, text = row[kept], severity[kept], text.take(pa.array(kept))
        if not len(row):
            return Taken(None, {}, rejected)
        order, twice = _in_order(row, severity, text)
        if twice.any():
            rejected.append(_rejected("duplicate", twice, row[order], severity[order], merged))
            order = order[~twice]
        row, severity, text = row[order], severity[order], text.take(pa.array(order))
        device = merged.device[row]
        template = self.templates.assign(text, registry.cohort[device], registry.cohorts)
        np.maximum.at(self.last_ts, device, merged.ts[row])
        columns = self._count(row, device, severity, len(merged.ts))
        batch = LogBatch(row, template, severity, text, self.templates)
        return Taken(batch, columns, rejected)

    def _count(self, row: I4, device: I4, severity: F8, n: int) -> dict[str, F8]:
        """Count the lines, which are grouped by device; return the counts at their rows."""
        grave = np.nan_to_num(severity, nan=0.0)
        counted = np.ones((len(row), len(COUNTS)), dtype=np.int64)
        counted[:, 1] = (grave >= WARNING) & (grave < ERROR)
        counted[:, 2] = grave >= ERROR
        running = np.cumsum(counted, axis=0)
        start = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
        before = self.counted[device[start]] - (running[start] - counted[start])
        lengths = np.diff(np.append(start, len(device)))
        running += np.repeat(before, lengths, axis=0)
        end = np.append(start[1:], len(device)) - 1
        self.counted[device[end]] = running[end]
        last = np.flatnonzero(np.append(row[1:] != row[:-1], True))
        columns = {}
        for k, name in enumerate(COUNTS):
            columns[name] = column = np.full(n, np.nan)
            column[row[last]] = running[last, k]
        return columns

    def _grow(self, size: int) -> None:
        old = len(self.last_ts)
        if size <= old:
            return
        room = max(64, 1 << (size - 1).bit_length()) - old
        self.last_ts = np.append(self.last_ts, np.full(room, NO_TIME, dtype=np.int64))
        self.counted = np.append(self.counted, np.zeros((room, len(COUNTS)), np.int64), axis=0)

    def save(self) -> dict[str, Any]:
        """Return what is kept of devices, as named arrays."""
        known = self.last_ts != NO_TIME
        size = int(np.flatnonzero(known)[-1]) + 1 if known.any() else 0
        return {"logs/last_ts": self.last_ts[:size], "logs/counted": self.counted[:size]}

    def restore(self, arrays: dict[str, Any], templates: dict[str, Any]) -> None:
        """Become what was saved."""
        self.templates = Templates.restore(templates)
        self.last_ts, self.counted = arrays["logs/last_ts"].copy(), arrays["logs/counted"].copy()


def _in_order(row: I4, severity: F8, text: pa.Array) -> tuple[I8, B1]:
    """Return the order [m] of lines by row, severity and text, and which of them came before."""
    distinct = text.dictionary_encode()
    rank = np.empty(len(distinct.dictionary), dtype=np.int64)
    rank[pc.sort_indices(distinct.dictionary).to_numpy()] = np.arange(len(rank))
    spelt = rank[codes_of(distinct.indices)]
    grave = np.nan_to_num(severity, nan=0.0)
    order = np.lexsort((spelt, grave, row))
    twice = np.zeros(len(order), dtype=np.bool_)
    twice[1:] = True
    for key in (row, grave, spelt):
        twice[1:] &= key[order][1:] == key[order][:-1]
    return order, twice


def _rejected(reason: str, wrong: B1, row: I4, severity: F8, merged: Merged) -> Rejected:
    at = row[wrong]
    told = severity[wrong]
    return Rejected(reason, "log.severity_number", merged.device[at], merged.ts[at], told)
