"""What the world must look like to the engine: sources, sinks and the durable log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from aiops.engine.engine import Step

Position = dict[str, Any]
"""Where in a source a frame ends: plain JSON values, meaningful to that source only."""


class Source(Protocol):
    """Telemetry in order, resumable from any position it has handed out."""

    def frames(self, after: Position | None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield each frame with the position at its end, beginning after `after`."""


class Sink(Protocol):
    """Somewhere results go. Writing the same step twice must leave what writing it once leaves."""

    def write(self, step: Step) -> None:
        """Take the results of a step; return when they are as safe as this sink can make them."""

    def close(self) -> None:
        """Release what is held; called once, also after an error."""


class DurableLog(Protocol):
    """Telemetry that was acknowledged: on disk, with a checksum, before `append` returns."""

    def append(self, frames: list[bytes]) -> Position:
        """Make the frames durable together and return the position after them."""

    def read(self, after: Position | None) -> Iterator[tuple[bytes, Position]]:
        """Yield what was appended after `after`, oldest first."""

    def trim(self, before: Position) -> None:
        """Forget what lies before `before`."""
