from __future__ import annotations

import errno
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops.engine.ports import LogRecord
from aiops.errors import LogError, LogFull
from tests.connectors.durable.power_cut import InlineLog, fast_directory
from tests.connectors.durable.watched import Watched

CHANGES = ("open", "write", "truncate", "sync", "rename", "unlink", "sync names")


class Failing(Watched):
    """Fails the n-th operation that changes something, or all from there on."""

    def __init__(self, nth: int, code: int, *, lasting: bool) -> None:
        super().__init__()
        self.left, self.code, self.lasting = nth, code, lasting
        self.failed: str = ""

    def before(self, kind: str, name: str) -> None:
        # A disk that stays full still lets files be flushed and taken away.
        full = self.lasting and self.code == errno.ENOSPC
        if kind not in (CHANGES[:2] if full else CHANGES):
            return
        self.left -= 1
        if self.left == 0 or (self.lasting and self.left < 0):
            self.failed = self.failed or f"{kind} {name}"
            raise OSError(self.code, "made to fail")


class Story:
    """Appends, seals, trims and starts again; keeps what was promised."""

    def __init__(self, files: Watched, directory: Path) -> None:
        self.given: dict[int, set[LogRecord]] = {}
        self.acknowledged: dict[int, LogRecord] = {}
        self.kept_from = 1
        self.refused = 0
        self.broken = False
        self.log: InlineLog | None = None
        self._files, self._directory = files, directory
        try:
            self._tell(random.Random(4))
        except LogError:
            self.broken = True
            if self.log is not None:
                assert self.log.broken
                for _ in range(3):
                    with pytest.raises(LogError):
                        self.log.append([LogRecord("telemetry", b"too late", 0)])
        self._close()

    def _tell(self, rng: random.Random) -> None:
        log = self._start()
        for turn in range(1, 15):
            group = [
                LogRecord("telemetry", rng.randbytes(rng.choice([9, 5_000])), turn, "a", f"{key}")
                for key in range(turn * 10, turn * 10 + rng.choice([1, 3]))
            ]
            for seq, one in enumerate(group, log.last + 1):
                self.given.setdefault(seq, set()).add(one)
            try:
                last = log.append(group)
            except LogFull:
                self.refused += 1
                continue
            for seq, one in enumerate(group, last - len(group) + 1):
                self.acknowledged[seq] = one
            if turn % 5 == 0:
                self.kept_from = max(1, last - 4)
                log.trim(self.kept_from)
            if turn == 8:
                self._close()
                log = self._start()
            if turn == 12:
                log._let_go()  # as when the process is killed
                self.log = None
                log = self._start()

    def _start(self) -> InlineLog:
        self.log = InlineLog(
            self._directory, segment_bytes=20_000, ballast_bytes=4_096, files=self._files
        )
        return self.log

    def _close(self) -> None:
        if self.log is not None:
            self.log.close()
            self.broken |= self.log.broken != "it is closed"
            self.log = None

    def holds(self, directory: Path) -> None:
        log = InlineLog(directory, segment_bytes=20_000, ballast_bytes=0)
        found = dict(log.read(0))
        for seq, one in self.acknowledged.items():
            assert seq < self.kept_from or found.get(seq) == one
        assert all(one in self.given[seq] for seq, one in found.items())
        assert log.last >= max(self.acknowledged, default=0)
        seq = log.append([LogRecord("telemetry", b"goes on", 0, "b", "again")])
        assert log.find("b", "again") is not None
        log.close()
        # A write that was cut off cannot be told from damage: it may be counted.
        last = max(self.acknowledged, default=0)
        assert all(last < one.first_seq < seq for one in log.damage)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_directory()) as parent:
        yield Path(parent)


# When SQLite goes on after an error of a VFS in Python and meets another, apsw can raise but one.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("lasting", [False, True])
def test_no_error_of_the_disk_costs_an_acknowledged_record(
    place: Path, code: int, lasting: bool
) -> None:
    refused = 0
    nth = 0
    while True:
        nth += 4 if lasting else 1
        files = Failing(nth, code, lasting=lasting)
        story = Story(files, place / f"{nth}")
        if not files.failed:
            break
        try:
            story.holds(place / f"{nth}")
        except AssertionError as error:
            raise AssertionError(f"{files.failed}, operation {nth}: {error}") from error
        refused += story.refused
        # On closing, SQLite passes over a failed flush of a rollback journal it is done with.
        flush = files.failed.startswith("sync") and not files.failed.endswith("-journal")
        assert story.broken or not (flush and code == errno.EIO), files.failed
    assert nth > 150
    assert (refused > 0) == (code == errno.ENOSPC)
