"""`aiops`, but the log of its service is in memory and loses all: what durability costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiops.service.service as service
from aiops.engine.ports import LogRecord


class MemoryLog:
    """As `SegmentedLog`, without a disk."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._records: list[LogRecord] = []
        self._lock = threading.Lock()
        self.damage: list[Any] = []
        self.bytes_on_disk = 0
        self.broken = ""
        self.oldest = 1
        self.recv_ns = 0

    @property
    def last(self) -> int:
        return len(self._records)

    def append(self, records: Sequence[LogRecord]) -> int:
        with self._lock:
            self._records.extend(records)
            self.recv_ns = records[-1].recv_ns
        return len(self._records)

    def read(self, after: int, room: int = 0) -> Iterator[tuple[int, LogRecord]]:
        for seq in range(after, len(self._records)):
            yield seq + 1, self._records[seq]
            self._records[seq] = self._records[seq]._replace(body=b"")  # read once, then gone

    def find(self, sender: str, key: str) -> None:
        return None

    def newest(self, retain: int) -> int:
        return 1

    def trim(self, before: int) -> None:
        pass

    def continue_after(self, seq: int) -> None:
        pass

    def close(self) -> None:
        pass


if __name__ == "__main__":
    service.SegmentedLog = MemoryLog  # type: ignore[assignment, misc]
    from aiops.cli import main

    main()
