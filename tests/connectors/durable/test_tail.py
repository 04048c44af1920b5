"""What is still in memory is what the disk would give, and never more."""

from __future__ import annotations

import random
from pathlib import Path

from aiops.connectors.durable.log import SegmentedLog
from aiops.engine.ports import LogRecord

Rows = list[tuple[int, LogRecord]]


def test_a_tail_of_any_length_changes_nothing_that_is_read(tmp_path: Path) -> None:
    rng = random.Random(5)
    sizes = [rng.choice((0, 10, 300)) for _ in range(120)]
    told = []
    for tail_bytes in (0, 700, 1 << 20):
        log = SegmentedLog(
            tmp_path / str(tail_bytes), segment_bytes=2_000, ballast_bytes=0, tail_bytes=tail_bytes
        )
        read: list[Rows] = []
        for place, size in enumerate(sizes):
            log.append([LogRecord("telemetry", bytes([place]) * size, place, "gw-1", f"k{place}")])
            if place == 40:
                log.continue_after(60)
            if place % 30 == 29:
                log.trim(log.last - 20)
                read.append(list(log.read(0, 500)))
            read.append(list(log.read(log.last - place % 7, 1)))
        read.append([one for one in [log.find("gw-1", "k3"), log.find("gw-1", "k119")] if one])
        told.append((read, log.oldest, log.damage))
        log.close()
    assert told[0] == told[1] == told[2]


def test_what_is_read_comes_from_memory_while_it_is_new(tmp_path: Path) -> None:
    log = SegmentedLog(tmp_path, ballast_bytes=0)
    record = LogRecord("telemetry", b"body", 1, "gw-1", "k")
    log.append([record])
    ((seq, found),) = log.read(0)
    assert seq == 1
    assert found.body is record.body
    log.close()
    ((_, again),) = log.read(0)
    assert again == record
    assert again.body is not record.body
