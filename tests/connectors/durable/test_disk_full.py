from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from aiops.connectors.durable.log import SegmentedLog
from aiops.engine.ports import LogRecord
from aiops.errors import LogFull
from tests.connectors.durable.power_cut import InlineLog

BODY = bytes(range(256)) * 64  # 16 KiB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(log: SegmentedLog) -> int:
    """Append until there is no room; return how many records that took."""
    for taken in range(10_000):
        try:
            log.append([LogRecord("telemetry", BODY, 1, "a", f"{log.last}")])
        except LogFull:
            return taken
    raise AssertionError("the disk never became full")


@pytest.mark.parametrize("ballast_bytes", [0, 1 << 20])
def test_a_full_disk_refuses_is_trimmed_and_goes_on(small_disk: Path, ballast_bytes: int) -> None:
    log = SegmentedLog(small_disk / "log", segment_bytes=500_000, ballast_bytes=ballast_bytes)
    for _ in range(4):
        assert fill(log) > 20
        for _ in range(3):
            with pytest.raises(LogFull, match="trim the log"):
                log.append([LogRecord("telemetry", BODY * 100, 1)])
        assert log.broken == ""
        assert [seq for seq, _ in log.read(0)] == list(range(log.oldest, log.last + 1))
        assert all(one.body == BODY for _, one in log.read(0))
        free = os.statvfs(small_disk).f_bavail
        log.trim(log.last - 60)
        assert os.statvfs(small_disk).f_bavail > free
        assert log.oldest <= log.last - 60
    assert not log.damage
    log.close()


def test_a_log_on_a_full_disk_opens_reads_and_is_trimmed(small_disk: Path) -> None:
    log = SegmentedLog(small_disk / "log", segment_bytes=500_000, ballast_bytes=0)
    fill(log)
    log._let_go()  # as when the process is killed
    with (small_disk / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while file.write(bytes(size)):
                    continue
    assert os.statvfs(small_disk).f_bavail == 0
    last = log.last

    log = SegmentedLog(small_disk / "log", segment_bytes=500_000, ballast_bytes=0)
    assert log.last == last
    assert [seq for seq, _ in log.read(0)] == list(range(1, last + 1))
    with pytest.raises(LogFull):
        log.append([LogRecord("telemetry", BODY * 100, 1)])
    log.trim(last - 60)
    assert log.append([LogRecord("telemetry", BODY, 1)]) == last + 1
    assert not log.damage
    log.close()


def test_the_ballast_is_given_up_and_made_again_first(small_disk: Path) -> None:
    log = InlineLog(small_disk / "log", segment_bytes=500_000, ballast_bytes=1 << 20)
    ballast = small_disk / "log" / "ballast"
    fill(log)
    assert not ballast.exists()
    assert os.statvfs(small_disk).f_bavail * 4096 >= 1 << 20
    with pytest.raises(LogFull, match="are free"):
        log.append([LogRecord("telemetry", b"small", 1)])
    log.trim(log.last)
    log.append([LogRecord("telemetry", b"small", 1)])
    assert ballast.stat().st_blocks * 512 >= 1 << 20
    log.close()
