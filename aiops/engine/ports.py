"""What the world must look like to the engine: sources, sinks, outlets and the durable log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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

    def write(self, step: Step, position: Position) -> None:
        """Take the results of a step; return when they are as safe as this sink can make them.

        `position` is where in the source the step ends.
        """

    def close(self) -> None:
        """Release what is held; called once, also after an error."""


class LogRecord(NamedTuple):
    """One thing that was acknowledged."""

    kind: str
    """``telemetry`` (the body is an Arrow IPC stream), ``heartbeat`` (no body), or what a person
    did, as JSON: ``label``, ``approval`` ..."""
    body: bytes
    recv_ns: int
    """When it was taken, ns since the epoch, UTC; never falls from one record to the next."""
    sender: str = ""
    """The credential it came with."""
    key: str = ""
    """Idempotency key that its sender gave it; empty: none."""


class DurableLog(Protocol):
    """What was acknowledged: on disk, with a checksum, before `append` returns.

    Records are numbered from 1, without gaps. A position is ``{"seq": n}``: all up to the n-th.
    """

    def append(self, records: Sequence[LogRecord]) -> int:
        """Make the records durable, together or not at all; return the number of the last.

        Raises
        ------
        LogFull
            There is no room; nothing was written, and it may be tried again when there is.
        LogError
            It is not known whether the disk has them: nothing may be acknowledged any more.
        """

    def read(self, after: int) -> Iterator[tuple[int, LogRecord]]:
        """Yield what was appended after the `after`-th record, oldest first."""

    def find(self, sender: str, key: str) -> tuple[int, bytes] | None:
        """Return number and body's BLAKE2b-128 of the record of that sender and key, or None."""

    def trim(self, before: int) -> None:
        """Forget what lies before the `before`-th record, as far as whole segments do."""

    def close(self) -> None:
        """Release what is held."""


class Message(NamedTuple):
    """Something to tell somebody outside: at least once, under one id."""

    id: str
    kind: str
    """``finding``, ``incident`` or ``action``."""
    record: dict[str, Any]
    """As `Step.records` has it."""
    created_ns: int


class Outlet(Protocol):
    """Somebody outside who is told."""

    name: str
    kinds: frozenset[str]
    """Kinds of messages it takes. Of actions it may leave some: a frozenset ``leaves`` of kinds."""

    def deliver(self, message: Message) -> None:
        """Hand a message over; the same one may come again, and must then change nothing.

        Raises
        ------
        DeliveryError
            It was not taken; whether trying again may help, it says.
        """

    def close(self) -> None:
        """Release what is held."""
