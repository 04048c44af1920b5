"""Log lines of some rows: how grave they are, and what they say."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from aiops.kernels.rows import F8, I4, I8

COUNTS = ("log.lines", "log.warnings", "log.errors")
"""What is counted of a device's lines: all, those of severity 13 to 16, and those from 17 on."""
WARNING, ERROR = 13.0, 17.0


class LogLines(NamedTuple):
    """Log lines [m] of some rows, in the order of their rows; a row may have several."""

    row: I4
    """[m] which rows, ascending."""
    severity: F8
    """[m] OpenTelemetry's number, 1 to 24; NaN: not told."""
    text: pa.Array
    """[m] large strings, none null."""

    def take(self, which: I8, row: I4) -> LogLines:
        """Return some of the lines, with other rows."""
        return LogLines(row, self.severity[which], self.text.take(pa.array(which)))

    def cut(self, start: int, stop: int) -> LogLines:
        """Return the lines of rows `start` to `stop`, which become rows from 0 on."""
        lo, hi = np.searchsorted(self.row, (start, stop))
        row = (self.row[lo:hi] - start).astype(np.int32)
        return LogLines(row, self.severity[lo:hi], self.text.slice(lo, hi - lo))

    def moved(self, place: I8) -> LogLines:
        """Return the lines with row i at `place[i]`; without those whose place is -1."""
        row = place[self.row]
        order = np.argsort(row, kind="stable")
        order = order[np.searchsorted(row[order], 0) :]
        return self.take(order, row[order].astype(np.int32))

    def save(self, key: str, arrays: dict[str, Any]) -> None:
        """Put the arrays under `key`."""
        text = self.text.to_pylist()
        letters = [one.encode("utf-8", "surrogatepass") for one in text]
        arrays[f"{key}/row"], arrays[f"{key}/severity"] = self.row, self.severity
        arrays[f"{key}/length"] = np.array([len(one) for one in letters], dtype=np.int64)
        arrays[f"{key}/text"] = np.frombuffer(b"".join(letters), dtype=np.uint8)

    @classmethod
    def restore(cls, key: str, arrays: dict[str, Any]) -> LogLines | None:
        """Return the lines that were saved under `key`; None: there are none."""
        if f"{key}/row" not in arrays:
            return None
        ends = np.concatenate(([0], np.cumsum(arrays[f"{key}/length"])))
        letters = arrays[f"{key}/text"].tobytes()
        text = pa.LargeStringArray.from_buffers(
            len(ends) - 1, pa.py_buffer(ends.astype(np.int64)), pa.py_buffer(letters)
        )
        return cls(arrays[f"{key}/row"], arrays[f"{key}/severity"], text)
