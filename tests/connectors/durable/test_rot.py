from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiops.connectors.durable.log import SegmentedLog
from aiops.connectors.durable.segment import ROWS_MAX
from aiops.engine.ports import LogRecord
from tests.connectors.durable.power_cut import InlineLog, fast_directory

TRIALS = 60
SETTINGS = {"segment_bytes": 150_000, "ballast_bytes": 0}


def four_bytes(data: bytearray, rng: random.Random) -> None:
    for _ in range(4):
        data[rng.randrange(len(data))] ^= rng.randint(1, 255)


def garbage(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + 4096] = rng.randbytes(len(data[at : at + 4096]))


def truncation(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


@pytest.fixture(scope="module")
def good() -> Iterator[tuple[Path, dict[int, LogRecord]]]:
    """A log of a process that was killed: sealed segments, and one with all in its WAL."""
    rng = random.Random(5)
    with tempfile.TemporaryDirectory(dir=fast_directory()) as parent:
        log = InlineLog(Path(parent) / "log", **SETTINGS)
        for number in range(110):
            body = rng.randbytes(4_000) if number % 2 else bytes([number]) * 4_000
            log.append([LogRecord("telemetry", body, number, "press-7", f"key-{number}")])
        records = dict(log.read(0))
        log._let_go()
        yield log.directory, records


@pytest.mark.parametrize("rot", [four_bytes, garbage, truncation])
@pytest.mark.parametrize("where", ["*[0-9].db", "*.db-wal", "*.sealed"])
def test_rot_is_counted_and_costs_its_segment_at_most(
    good: tuple[Path, dict[int, LogRecord]],
    rot: Callable[[bytearray, random.Random], None],
    where: str,
) -> None:
    directory, records = good
    last = max(records)
    firsts = [int(path.stem) for path in sorted(directory.glob("*[0-9].db"))]
    spans = dict(zip(firsts, [*firsts[1:], last + 1], strict=True))
    assert len(spans) == 3
    harmed = 0
    for trial in range(TRIALS):
        rng = random.Random(trial)
        with tempfile.TemporaryDirectory(dir=fast_directory()) as parent:
            copy = Path(parent) / "log"
            shutil.copytree(directory, copy)
            victim = rng.choice(sorted(copy.glob(where)))
            first = int(victim.name.partition(".")[0])
            data = bytearray(victim.read_bytes())
            rot(data, rng)
            victim.write_bytes(data)

            log = SegmentedLog(copy, **SETTINGS)
            found = dict(log.read(0))
            lost = set(records) - set(found)
            assert all(records[seq] == one for seq, one in found.items())
            assert lost <= set(range(first, spans[first]))
            if where == "*.db-wal" and rot is truncation:
                # Of a WAL that just ends, nobody but who was told can say that it was longer.
                log.continue_after(last)
            assert all(
                any(one.first_seq <= seq <= one.last_seq for one in log.damage) for seq in lost
            )
            assert log.last >= last
            seq = log.append([LogRecord("telemetry", b"after", 0, "press-7", "after")])
            assert last < seq <= last + ROWS_MAX
            assert log.find("press-7", "after") is not None
            gone = lost and records[min(lost)].key
            assert not gone or log.find("press-7", gone) is None
            harmed += bool(lost)
            log.close()
    assert harmed > TRIALS // 4 or where == "*.sealed"


def test_a_segment_that_cannot_be_opened_is_set_aside(
    good: tuple[Path, dict[int, LogRecord]], tmp_path: Path
) -> None:
    directory, records = good
    copy = tmp_path / "log"
    shutil.copytree(directory, copy)
    victim = sorted(copy.glob("*[0-9].db"))[1]
    victim.with_suffix(".sealed").unlink()
    victim.write_bytes(b"not a database" * 9_000)

    for _ in range(2):
        log = SegmentedLog(copy, **SETTINGS)
        aside = victim.with_name(f"{victim.name}.damaged")
        assert aside.read_bytes().startswith(b"not a database")
        assert [one.segment for one in log.damage] == [aside.name]
        assert log.damage[0].first_seq == int(victim.stem)
        assert len(dict(log.read(0))) == len(records) - (
            log.damage[0].last_seq - log.damage[0].first_seq + 1
        )
        log.close()

    log = SegmentedLog(copy, **SETTINGS)
    log.trim(int(victim.stem))
    assert aside.exists()
    log.trim(log.damage[0].last_seq + 1)
    assert not aside.exists()
    log.close()


def test_verify_tells_a_change_that_no_record_shows(
    good: tuple[Path, dict[int, LogRecord]], tmp_path: Path
) -> None:
    directory, records = good
    copy = tmp_path / "log"
    shutil.copytree(directory, copy)
    victim = min(copy.glob("*[0-9].db"))
    data = bytearray(victim.read_bytes())
    data[60] ^= 1  # the user's version, in the header
    victim.write_bytes(data)
    log = SegmentedLog(copy, **SETTINGS)
    assert dict(log.read(0)) == records
    assert not log.damage
    (said,) = log.verify()
    assert said.segment == victim.name
    assert "SHA-256" in said.reason
    assert said.last_seq < said.first_seq
    log.close()
