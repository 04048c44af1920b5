from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiops.connectors.durable.group import GroupCommit, Receipt, on_loop, settle
from aiops.connectors.durable.log import SegmentedLog
from aiops.engine.ports import LogRecord
from aiops.errors import LogError, LogFull, PayloadError, TooLarge

SECONDS = 20  # a deadlock fails; nothing waits so long


def one(body: bytes, key: str = "", sender: str = "press-7") -> LogRecord:
    return LogRecord("telemetry", body, 1, sender, key)


class Gate:
    """A log in memory whose appends wait until they are let through, or fail."""

    def __init__(self) -> None:
        self.groups: list[list[LogRecord]] = []
        self.records: list[LogRecord] = []
        self.errors: list[Exception] = []
        self.entered = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def append(self, records: Sequence[LogRecord]) -> int:
        self.entered.release()
        assert self.let.acquire(timeout=SECONDS)
        if self.errors:
            raise self.errors.pop(0)
        self.groups.append(list(records))
        self.records += records
        return len(self.records)

    def find(self, sender: str, key: str) -> None:
        return None


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SegmentedLog]:
    log = SegmentedLog(tmp_path / "log", ballast_bytes=0)
    yield log
    log.close()


def in_front(gate: Gate, commit: GroupCommit) -> Any:
    """Submit a record and return when it is being committed: what follows has to queue."""
    first = commit.submit(one(b"first"))
    assert gate.entered.acquire(timeout=SECONDS)
    return first


def test_a_receipt_comes_when_the_record_is_in_the_log(log: SegmentedLog) -> None:
    commit = GroupCommit(log)
    receipts = [commit.submit(one(bytes([n]))).result(SECONDS) for n in range(5)]
    assert receipts == [Receipt(n, False) for n in range(1, 6)]
    assert [record.body for _, record in log.read(0)] == [bytes([n]) for n in range(5)]
    commit.close()


def test_what_queued_during_a_commit_is_the_next_group() -> None:
    gate = Gate()
    commit = GroupCommit(gate, group_bytes=4_000)
    in_front(gate, commit)
    futures = [commit.submit(one(bytes(400))) for _ in range(6)]
    gate.let.release(3)
    assert [future.result(SECONDS).seq for future in futures] == [2, 3, 4, 5, 6, 7]
    assert list(map(len, gate.groups)) == [1, 4, 2]
    commit.close()


def test_a_key_that_was_used_gives_its_first_receipt_again(log: SegmentedLog) -> None:
    commit = GroupCommit(log)
    assert commit.submit(one(b"a", "k")).result(SECONDS) == Receipt(1, False)
    assert commit.submit(one(b"a", "k")).result(SECONDS) == Receipt(1, True)
    assert commit.submit(one(b"a", "k", "press-8")).result(SECONDS) == Receipt(2, False)
    with pytest.raises(PayloadError, match="other content"):
        commit.submit(one(b"b", "k")).result(SECONDS)
    commit.close()
    assert log.last == 2


def test_a_key_in_flight_is_known_too() -> None:
    gate = Gate()
    commit = GroupCommit(gate)
    in_front(gate, commit)
    futures = [commit.submit(one(body, "k")) for body in (b"a", b"a", b"b")]
    gate.let.release(2)
    assert futures[0].result(SECONDS) == Receipt(2, False)
    assert futures[1].result(SECONDS) == Receipt(2, True)
    with pytest.raises(PayloadError):
        futures[2].result(SECONDS)
    commit.close()


def test_a_key_is_known_after_a_restart(tmp_path: Path) -> None:
    for duplicate in (False, True, True):
        log = SegmentedLog(tmp_path, ballast_bytes=0)
        commit = GroupCommit(log)
        assert commit.submit(one(b"a", "k")).result(SECONDS) == Receipt(1, duplicate)
        commit.close()
        log.close()


def test_more_than_may_wait_is_refused_and_the_rest_is_taken() -> None:
    gate = Gate()
    commit = GroupCommit(gate, queue_bytes=3_000)
    in_front(gate, commit)
    queued = [commit.submit(one(bytes(500))) for _ in range(2)]
    with pytest.raises(LogFull, match="a little later"):
        commit.submit(one(bytes(2_000)))
    assert commit.queued_bytes <= 3_000
    gate.let.release(2)
    assert [future.result(SECONDS).seq for future in queued] == [2, 3]
    commit.close()


def test_a_full_log_refuses_a_group_and_takes_the_next() -> None:
    gate = Gate()
    gate.errors = [LogFull("no room")]
    commit = GroupCommit(gate)
    first = in_front(gate, commit)
    second = commit.submit(one(b"second"))
    gate.let.release(2)
    with pytest.raises(LogFull, match="no room"):
        first.result(SECONDS)
    assert second.result(SECONDS) == Receipt(1, False)
    commit.close()


@pytest.mark.parametrize("error", [LogError("flush failed"), RuntimeError("nobody foresaw")])
def test_a_broken_log_fails_all_who_wait_and_all_who_come(error: Exception) -> None:
    gate = Gate()
    gate.errors = [error]
    told: list[LogError] = []
    commit = GroupCommit(gate, on_broken=told.append)
    futures = [in_front(gate, commit), commit.submit(one(b"waits"))]
    gate.let.release()
    for future in futures:
        with pytest.raises(LogError, match=str(error)):
            future.result(SECONDS)
    commit.close()
    with pytest.raises(LogError, match=str(error)):
        commit.submit(one(b"late"))
    assert len(told) == 1
    assert gate.records == []


def test_a_record_that_cannot_be_kept_harms_no_other(log: SegmentedLog) -> None:
    commit = GroupCommit(log)
    with pytest.raises(TooLarge):
        commit.submit(one(bytes((64 << 20) + 1)))
    with pytest.raises(PayloadError, match="Unicode"):
        commit.submit(one(b"", "\ud800"))
    assert commit.submit(one(b"good")).result(SECONDS).seq == 1
    commit.close()


def test_closing_commits_what_waits() -> None:
    gate = Gate()
    commit = GroupCommit(gate)
    futures = [in_front(gate, commit), commit.submit(one(b"waits"))]
    gate.let.release(2)
    commit.close()
    assert [future.result(0).seq for future in futures] == [1, 2]
    with pytest.raises(LogError, match="closed"):
        commit.submit(one(b"late"))


def test_an_event_loop_is_woken_once_a_group() -> None:
    gate = Gate()
    wakes: list[int] = []

    async def serve() -> list[int]:
        loop = asyncio.get_running_loop()
        wake = on_loop(loop)

        def counted(settled: Any) -> None:
            wakes.append(len(settled))
            wake(settled)

        commit = GroupCommit(gate, settle=counted)
        first = commit.submit(one(b"first"), loop.create_future())
        assert gate.entered.acquire(timeout=SECONDS)
        futures = [first] + [commit.submit(one(b"x"), loop.create_future()) for _ in range(3)]
        futures.append(commit.submit(one(b"x"), loop.create_future()))
        futures.pop().cancel()
        gate.let.release(2)
        receipts = await asyncio.wait_for(asyncio.gather(*futures), SECONDS)
        await asyncio.to_thread(commit.close)
        return [receipt.seq for receipt in receipts]

    assert asyncio.run(serve()) == [1, 2, 3, 4]
    assert wakes == [1, 4]


def test_settling_passes_over_a_future_that_is_done() -> None:
    async def twice() -> Receipt:
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        settle([(future, Receipt(1, False)), (future, Receipt(2, False))])
        return await future

    assert asyncio.run(twice()) == Receipt(1, False)
