from __future__ import annotations

import multiprocessing
import os
import random
from pathlib import Path

from aiops.connectors.durable.log import SegmentedLog
from tests.connectors.durable.writer import SEGMENT_BYTES, append_until_killed, made_from

LIVES = 20


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    # Processes are forked off one that has loaded everything: a life then takes no second.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.connectors.durable.writer"])
    rng = random.Random(7)
    acknowledged: dict[int, str] = {}
    for life in range(LIVES):
        reader, told = context.Pipe(duplex=False)
        process = context.Process(target=append_until_killed, args=(tmp_path, life, told))
        process.start()
        told.close()
        lines, wanted = b"", rng.randint(1, 120)
        while lines.count(b"\n") < wanted:
            more = os.read(reader.fileno(), 1 << 16)
            assert more, "it died by itself"
            lines += more
        process.kill()
        process.join()
        while more := os.read(reader.fileno(), 1 << 16):
            lines += more
        reader.close()
        process.close()
        for line in lines.decode().splitlines():
            seq, key = line.split()
            assert int(seq) not in acknowledged
            acknowledged[int(seq)] = key

    log = SegmentedLog(tmp_path, segment_bytes=SEGMENT_BYTES, ballast_bytes=0)
    found = {seq: (one.key, one.body) for seq, one in log.read(0)}
    assert len(acknowledged) > LIVES
    assert {seq: found.get(seq) for seq in acknowledged} == {
        seq: (key, made_from(key).body) for seq, key in acknowledged.items()
    }
    assert all(made_from(key).body == body for key, body in found.values())
    assert not log.damage
    log.close()
