"""The newest records, still in memory: who follows the log need not ask the disk for them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from aiops.connectors.durable.rows import ROW_BYTES
from aiops.engine.ports import LogRecord


class Tail:
    """Records that are durable, without gaps, up to the newest; about `most_bytes` of them."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = 0
        self._first = 1
        self._records: dict[int, LogRecord] = {}
        self._lock = threading.Lock()

    def add(self, first: int, records: Sequence[LogRecord]) -> None:
        """Take in what was appended, from number `first` on."""
        with self._lock:
            if first != self._first + len(self._records):
                self._records, self._held, self._first = {}, 0, first
            for seq, record in enumerate(records, first):
                self._records[seq] = record
                self._held += len(record.body) + ROW_BYTES
            while self._held > self._most:
                self._drop()

    def after(self, seq: int, room: int) -> list[tuple[int, LogRecord]]:
        """Return about `room` bytes of what comes after a record; empty: that is not held."""
        found: list[tuple[int, LogRecord]] = []
        with self._lock:
            while room > 0 and (record := self._records.get(seq + 1)) is not None:
                seq += 1
                found.append((seq, record))
                room -= len(record.body) + ROW_BYTES
        return found

    def forget(self, before: int) -> None:
        """Let go of all below a number."""
        with self._lock:
            while self._records and self._first < before:
                self._drop()

    def _drop(self) -> None:
        record = self._records.pop(self._first)
        self._held -= len(record.body) + ROW_BYTES
        self._first += 1
