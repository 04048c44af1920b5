"""Group commit: many who wait for their record to be durable share one flush of the disk."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from aiops.connectors.durable.rows import check
from aiops.engine.ports import DurableLog, LogRecord
from aiops.errors import LogError, LogFull, PayloadError

RECORD_BYTES = 512
"""What a queued record is taken to need beside its body."""


class Receipt(NamedTuple):
    """A record is durable."""

    seq: int
    duplicate: bool
    """Its sender had given the same record under the same key before; `seq` is that one's."""


AnyFuture: TypeAlias = "Future[Receipt] | asyncio.Future[Receipt]"
Settled: TypeAlias = "tuple[AnyFuture, Receipt | Exception]"


def settle(settled: Sequence[Settled]) -> None:
    """Give each future its outcome; those that were cancelled are passed over."""
    for future, outcome in settled:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def on_loop(loop: asyncio.AbstractEventLoop) -> Callable[[Sequence[Settled]], None]:
    """Return what settles futures of an event loop: one wake-up a group, not one a record."""

    def wake(settled: Sequence[Settled]) -> None:
        loop.call_soon_threadsafe(settle, settled)

    return wake


class GroupCommit:
    """One thread appends what others submit; what queued during a commit is the next group.

    Nothing waits for a group to fill. A record whose sender gave its key before is not appended
    again.

    Parameters
    ----------
    log
        Where records go. From now on nobody else appends to it.
    group_bytes
        A group has at most so many bytes, or one record.
    queue_bytes
        No more than this waits; beyond it `submit` refuses.
    settle
        Called in the thread with the outcomes of a group; `on_loop` gives one for `asyncio`.
    on_broken
        Called in the thread, once, when nothing can be acknowledged any more.
    """

    def __init__(
        self,
        log: DurableLog,
        *,
        group_bytes: int = 16 << 20,
        queue_bytes: int = 64 << 20,
        settle: Callable[[Sequence[Settled]], None] = settle,
        on_broken: Callable[[LogError], None] = lambda error: None,
    ) -> None:
        self._log = log
        self._group_bytes = group_bytes
        self._queue_bytes = queue_bytes
        self._settle = settle
        self._on_broken = on_broken
        self._queue: deque[tuple[AnyFuture, LogRecord]] = deque()
        self._queued_bytes = 0
        self._broken: LogError | None = None
        self._closing = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait, without the group that is being committed."""
        return self._queued_bytes

    def submit(self, record: LogRecord, future: AnyFuture | None = None) -> AnyFuture:
        """Queue a record; the future has its receipt when it is durable.

        Parameters
        ----------
        record
            What to keep.
        future
            One to settle; without it, a new `concurrent.futures.Future`, which cannot be
            cancelled.

        Returns
        -------
        Future
            Its exception may be `LogFull`, `LogError`, or `PayloadError`: the sender gave the same
            key with other content before.

        Raises
        ------
        LogFull
            Too much waits already; the record was not queued.
        LogError
            Nothing is acknowledged any more.
        PayloadError
            The record cannot be stored as it is.
        """
        check(record)
        if future is None:
            future = Future()
            future.set_running_or_notify_cancel()
        size = _size(record)
        with self._change:
            if self._broken is not None:
                raise self._broken
            if self._closing:
                raise LogError("the log is being closed: it takes nothing more")
            if self._queue and self._queued_bytes + size > self._queue_bytes:
                raise LogFull(
                    f"{self._queued_bytes} bytes wait to be written, and {self._queue_bytes} may: "
                    "send it again a little later"
                )
            self._queue.append((future, record))
            self._queued_bytes += size
            self._change.notify()
        return future

    def close(self) -> None:
        """Commit what waits, then stop; the log stays open."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._settle(self._commit(group))
            except Exception as error:
                # Also what nobody foresaw: those who wait must be told, and nothing acknowledged.
                broken = error if isinstance(error, LogError) else LogError(f"commit: {error!r}")
                with self._change:
                    self._broken = broken
                    waiting = [*group, *self._queue]
                    self._queue.clear()
                    self._queued_bytes = 0
                try:
                    self._settle([(future, broken) for future, _ in waiting])
                finally:
                    self._on_broken(broken)
                return

    def _next_group(self) -> list[tuple[AnyFuture, LogRecord]]:
        """Wait for records and take a group of them; empty: there will be none."""
        with self._change:
            while not self._queue and not self._closing:
                self._change.wait()
            group: list[tuple[AnyFuture, LogRecord]] = []
            room = self._group_bytes
            while self._queue and (not group or _size(self._queue[0][1]) <= room):
                one = self._queue.popleft()
                group.append(one)
                room -= _size(one[1])
                self._queued_bytes -= _size(one[1])
            return group

    def _commit(self, group: Sequence[tuple[AnyFuture, LogRecord]]) -> list[Settled]:
        """Append what is new of a group; return the outcome of each.

        Raises
        ------
        LogError
            None may be acknowledged.
        """
        settled: list[Settled] = []
        fresh: list[LogRecord] = []
        waiting: list[tuple[AnyFuture, int, bool]] = []  # its place in `fresh`; a duplicate?
        places: dict[tuple[str, str], int] = {}
        for future, record in group:
            name = (record.sender, record.key)
            if record.key and name in places:
                same = fresh[places[name]].body == record.body
                if same:
                    waiting.append((future, places[name], True))
                else:
                    settled.append((future, _other(record)))
                continue
            known = self._log.find(*name) if record.key else None
            if known is not None:
                seq, digest = known
                same = digest == blake2b(record.body, digest_size=16).digest()
                settled.append((future, Receipt(seq, True) if same else _other(record)))
                continue
            if record.key:
                places[name] = len(fresh)
            waiting.append((future, len(fresh), False))
            fresh.append(record)
        try:
            first = self._log.append(fresh) - len(fresh) + 1
        except LogFull as full:
            return settled + [(future, full) for future, _, _ in waiting]
        return settled + [
            (future, Receipt(first + place, duplicate)) for future, place, duplicate in waiting
        ]


def _size(record: LogRecord) -> int:
    return len(record.body) + RECORD_BYTES


def _other(record: LogRecord) -> PayloadError:
    return PayloadError(
        f"{record.sender!r} gave the same key {record.key!r} with other content before: "
        "a key names one payload; use a new one"
    )
