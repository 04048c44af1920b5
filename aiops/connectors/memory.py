"""Frames and results that are in memory: for tests, notebooks and dry runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aiops.connectors.reading.opening import end_of_history
from aiops.engine.ports import Position
from aiops.errors import AiopsError
from aiops.telemetry.frame import ArrowStream, read_frame

if TYPE_CHECKING:
    from aiops.engine.engine import Step


class Crashed(AiopsError):
    """A `MemorySource` met `CRASH`."""


class Sentinel(Enum):
    """What may stand among the frames of a `MemorySource`; each works once."""

    CRASH = "raise Crashed, as if the process had died; the next call goes on behind it"
    PAUSE = "end here without an end of history; the next call goes on behind it"


CRASH = Sentinel.CRASH
PAUSE = Sentinel.PAUSE


class MemorySource:
    """Frames of any library, then the end of history.

    ``MemorySource([early, CRASH, late])`` makes a crash, and resuming after it, a test of one
    line. Frames without rows are left out.

    Raises
    ------
    FrameError
        An item is neither a frame nor a sentinel.
    """

    def __init__(self, items: Sequence[ArrowStream | Sentinel]) -> None:
        self._items = [item if isinstance(item, Sentinel) else read_frame(item) for item in items]
        self._worked: set[int] = set()

    def frames(self, after: Position | None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield each frame with ``{item}``, the number of items up to it.

        Raises
        ------
        Crashed
            At each `CRASH` that has not been met before.
        """
        for at in range(after["item"] if after else 0, len(self._items)):
            item = self._items[at]
            if not isinstance(item, Sentinel):
                if len(item):
                    yield item, {"item": at + 1}
            elif at not in self._worked:
                self._worked.add(at)
                if item is PAUSE:
                    return
                raise Crashed(f"a crash was asked for as item {at}")
        if not after or after["item"] <= len(self._items):
            yield self._end(), {"item": len(self._items) + 1}

    def _end(self) -> pa.Table:
        frames = (item for item in self._items if not isinstance(item, Sentinel))
        nothing = pa.table({"device_id": pa.nulls(0, pa.string()), "ts": pa.nulls(0, pa.int64())})
        return end_of_history(next(frames, nothing).schema)


class MemorySink:
    """Keeps records by kind and id, and what was set aside."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, dict[str, Any]]] = {}
        """``findings``, ``incidents``, ``plans`` and ``actions``: id -> record, oldest first."""
        self.set_aside: list[dict[str, Any]] = []
        """Each row that was refused, once."""

    def write(self, step: Step, position: Position) -> None:
        """Keep what is not known yet."""
        for kind, records in step.records().items():
            known = self.records.setdefault(kind, {})
            for record in records:
                known.setdefault(record["id"], record)
        self.set_aside += (row for row in step.set_aside.to_pylist() if row not in self.set_aside)

    def close(self) -> None:
        """Do nothing: what was kept stays."""
