"""What a power cut may leave on a disk, and whether the log reads all of it that it must.

``python -m tests.connectors.durable.power_cut --states 10000`` tries so many states.

The run is recorded by a watched file system. Then, at each of its operations, disks are made as a
power cut at that moment may leave them: what was flushed is there; writes since are there, are not,
are there in part and in any order, or are torn at 512 B; names made, changed or taken since are so
up to some point. The log must open on each, without help, with every acknowledged record.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from aiops.connectors.durable.log import SegmentedLog
from aiops.connectors.durable.segment import Segment
from aiops.engine.ports import LogRecord
from aiops.errors import LogError
from tests.connectors.durable.watched import Operation, Watched

SECTOR = 512


class InlineLog(SegmentedLog):
    """Seals in the thread that appends, so that a run is the same each time."""

    def _later(self, work: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        done.set_result(work())
        return done


def fast_directory() -> str | None:
    """Where files cost least: states are made there, and no flush has to be real."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() else None


@dataclass
class Run:
    """What happened, in order, and what was promised when."""

    start: dict[str, bytes] = field(default_factory=dict)
    """What was on the disk before."""
    operations: list[Operation] = field(default_factory=list)
    promised: list[tuple[int, int]] = field(default_factory=list)
    """Per operation: last record acknowledged before it, and first that is not trimmed."""
    records: dict[int, LogRecord] = field(default_factory=dict)
    """All that was ever given to the log, by number."""


class _Recorded(Watched):
    def __init__(self, run: Run, acknowledged: int = 0, kept_from: int = 1) -> None:
        super().__init__()
        self.run = run
        self.acknowledged = acknowledged
        self.kept_from = kept_from
        self.fail_flush = False

    def before(self, kind: str, name: str) -> None:
        if self.fail_flush and kind == "sync" and name.endswith("-wal"):
            self.fail_flush = False
            self.after(Operation("sync failed", name))
            raise OSError(errno.EIO, "made to fail")

    def after(self, operation: Operation) -> None:
        self.run.operations.append(operation)
        self.run.promised.append((self.acknowledged, self.kept_from))


def record(log_type: type[SegmentedLog], commits: int = 60, seed: int = 1) -> Run:
    """Run a log with seals, trims, a clean restart, kills and a failed flush, and record it."""
    rng = random.Random(seed)
    run = Run()
    files = _Recorded(run)
    with tempfile.TemporaryDirectory(dir=fast_directory()) as parent:
        directory = Path(parent) / "log"
        directory.mkdir()

        def start() -> SegmentedLog:
            return log_type(directory, segment_bytes=60_000, ballast_bytes=0, files=files)

        log = start()
        for turn in range(1, commits + 1):
            group = [_some(rng, turn) for _ in range(rng.choice([1, 1, 2, 5]))]
            for seq, one in enumerate(group, log.last + 1):
                run.records[seq] = one
            files.fail_flush = turn == 31
            try:
                files.acknowledged = log.append(group)
            except LogError:
                log._let_go()
                log = start()
                # What can be read is promised, too: who sends it again is told that it is there.
                files.acknowledged = log.last
            if turn % 11 == 0:
                files.kept_from = max(1, files.acknowledged - 12)
                log.trim(files.kept_from)
            if turn % 25 == 0:
                log.close()
                log = start()
            elif turn % 18 == 0:
                log._let_go()  # as when the process is killed: nothing is written
                log = start()
        log._let_go()
    return run


def record_opening(first: Run, at: int, found: dict[str, bytes]) -> Run:
    """Open a log on a disk that a power cut left, append and close it, and record that."""
    run = Run(found, records=dict(first.records))
    files = _Recorded(run, *first.promised[at])
    with tempfile.TemporaryDirectory(dir=fast_directory()) as parent:
        directory = Path(parent)
        for name, data in found.items():
            (directory / name).write_bytes(data)
        log = InlineLog(directory, segment_bytes=60_000, ballast_bytes=0, files=files)
        files.acknowledged = max((seq for seq, _ in log.read(0)), default=0)
        more = LogRecord("telemetry", b"more", 99, "press-7", "more")
        run.records[log.append([more])] = more
        log.close()
    return run


def _some(rng: random.Random, turn: int) -> LogRecord:
    size = rng.choice([0, 40, 700, 9_000, 30_000])
    # Repetitive payloads are what weak checksums fall for.
    body = bytes([turn]) * size if rng.random() < 0.5 else rng.randbytes(size)
    return LogRecord("telemetry", body, turn, "press-7", rng.choice(["", f"key-{rng.random()}"]))


class Disk:
    """Files as they surely are, and what is on its way to them."""

    def __init__(self, start: dict[str, bytes]) -> None:
        self._content = {file: bytearray(data) for file, data in enumerate(start.values())}
        self._pending: dict[int, list[Operation]] = {file: [] for file in self._content}
        self._names = {name: file for file, name in enumerate(start)}
        self._live = dict(self._names)
        self._renamings: list[tuple[Operation, int]] = []

    def apply(self, operation: Operation) -> None:
        """Let an operation happen."""
        kind, name = operation.kind, operation.name
        if kind == "sync names":
            self._names = dict(self._live)
            self._renamings.clear()
        elif kind == "sync":
            file = self._live[name]
            for one in self._pending[file]:
                _write(self._content[file], one)
            self._pending[file].clear()
        elif kind == "sync failed":
            # Linux may take the pages for written: no later flush writes them.
            self._pending[self._live[name]].clear()
        elif kind in ("write", "truncate"):
            self._pending[self._live[name]].append(operation)
        else:
            file = len(self._content)
            if kind == "open" and name in self._live:
                # Opened anew by name: emptied.
                self._pending[self._live[name]].append(Operation("truncate", name, 0))
                return
            if kind == "open":
                self._content[file], self._pending[file] = bytearray(), []
            self._renamings.append((operation, file))
            _rename(self._live, operation, file)

    def after_power_cut(self, rng: random.Random) -> dict[str, bytes]:
        """Return one of the disks that may be found."""
        names = dict(self._names)
        for operation, file in self._renamings[: _some_of(len(self._renamings), rng)]:
            _rename(names, operation, file)
        how = rng.choice(("none", "all", "some", "some in any order", "torn"))
        return {name: self._file(file, how, rng) for name, file in names.items()}

    def _file(self, file: int, how: str, rng: random.Random) -> bytes:
        pending = self._pending[file]
        if how == "none" or not pending:
            return bytes(self._content[file])
        if how.startswith("some"):
            share = rng.random()
            pending = [one for one in pending if rng.random() < share]
        if how == "some in any order":
            pending = rng.sample(pending, len(pending))
        if how == "torn":
            pending = [part for one in pending for part in _sectors(one) if rng.random() < 0.7]
        content = bytearray(self._content[file])
        for one in pending:
            _write(content, one)
        return bytes(content)


def _some_of(count: int, rng: random.Random) -> int:
    return rng.choice((0, count, rng.randint(0, count)))


def _rename(names: dict[str, int], operation: Operation, file: int) -> None:
    if operation.kind == "open":
        names[operation.name] = file
    elif operation.kind == "unlink":
        names.pop(operation.name, None)
    elif operation.name in names:
        names[operation.to] = names.pop(operation.name)


def _write(content: bytearray, operation: Operation) -> None:
    offset, data = operation.offset, operation.data
    if operation.kind == "truncate":
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _sectors(operation: Operation) -> Iterator[Operation]:
    offset, data = operation.offset, operation.data
    if operation.kind == "truncate":
        yield operation
        return
    end = offset + len(data)
    edges = [offset, *range((offset // SECTOR + 1) * SECTOR, end, SECTOR), end]
    for low, high in pairwise(edges):
        yield operation._replace(offset=low, data=data[low - offset : high - offset])


def states(run: Run, count: int, seed: int) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield about `count` different disks, each with the operation before which power failed."""
    rng = random.Random(seed)
    total = len(run.operations)
    cuts = Counter(rng.randrange(total) for _ in range(count))
    seen: set[int] = set()
    disk = Disk(run.start)
    for at, operation in enumerate(run.operations):
        for _ in range(cuts[at]):
            for _ in range(8):
                found = disk.after_power_cut(rng)
                known = hash((run.promised[at], tuple(sorted(found.items()))))
                if known not in seen:
                    seen.add(known)
                    yield at, found
                    break
        disk.apply(operation)


def verdict(run: Run, at: int, found: dict[str, bytes], directory: Path) -> str:
    """Open the log on a disk; return what is wrong with what it says, or nothing."""
    directory.mkdir()
    for name, data in found.items():
        (directory / name).write_bytes(data)
    try:
        log = InlineLog(directory, segment_bytes=60_000, ballast_bytes=0)
    except LogError as error:
        return f"does not open: {error}"
    try:
        acknowledged, kept_from = run.promised[at]
        read = dict(log.read(0))
        for seq, one in read.items():
            if run.records.get(seq) != one:
                return f"record {seq} is not what was written"
        missing = sum(seq not in read for seq in range(kept_from, acknowledged + 1))
        if missing:
            return f"lost {missing} acknowledged"
        if any(one.first_seq <= acknowledged and one.last_seq >= kept_from for one in log.damage):
            return "counts as lost what is there"
        if log.last < acknowledged:
            return "gives out a number again"
        if any(name.endswith(("-wal", "-journal", ".new")) for name in os.listdir(directory)):
            return "leaves things lying about"
        more = LogRecord("telemetry", b"after", 0, "press-7", "after")
        seq = log.append([more])
        found_again = log.find("press-7", "after")
        if found_again is None or found_again[0] != seq:
            return "does not take more"
    finally:
        log._let_go()
    return ""


def search(run: Run, count: int, seed: int) -> tuple[int, Counter[str]]:
    """Try about `count` states; return how many were tried, and what was wrong how often."""
    tried = 0
    wrong: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=fast_directory()) as parent:
        for at, found in states(run, count, seed):
            said = verdict(run, at, found, Path(parent) / f"{tried}")
            tried += 1
            if said:
                wrong[said] += 1
    return tried, wrong


def search_openings(run: Run, openings: int, count: int, seed: int) -> tuple[int, Counter[str]]:
    """Let power fail again while a log is opened after it failed, about `count` times for each."""
    tried = 0
    wrong: Counter[str] = Counter()
    for at, found in states(run, openings, seed):
        more, said = search(record_opening(run, at, found), count, seed + tried)
        tried += more
        wrong += said
    return tried, wrong


class NormalSegment(Segment):
    """A control: commits are not flushed."""

    synchronous = "NORMAL"


class OffSegment(Segment):
    """A control: nothing is flushed."""

    synchronous = "OFF"


class NormalLog(InlineLog):
    _segment = NormalSegment


class OffLog(InlineLog):
    _segment = OffSegment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    for log_type in (InlineLog, NormalLog, OffLog):
        began = time.perf_counter()
        tried, wrong = 0, Counter[str]()
        while tried < asked.states:
            run = record(log_type, seed=asked.seed + tried)
            more, found = search(run, min(2_000, asked.states - tried), asked.seed + tried)
            tried += more
            wrong += found
            if log_type is InlineLog:
                more, found = search_openings(run, 100, 4, asked.seed + tried)
                tried += more
                wrong += found
        took = time.perf_counter() - began
        print(f"{log_type.__name__}: {tried} states in {took:.0f} s, {wrong.total()} wrong")
        for said, count in wrong.most_common(8):
            print(f"  {count:6d}  {said}")


if __name__ == "__main__":
    main()
