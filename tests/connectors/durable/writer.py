"""A process that appends from four threads, until it is killed, and tells what is acknowledged."""

from __future__ import annotations

import os
import random
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from aiops.connectors.durable.group import GroupCommit
from aiops.connectors.durable.log import SegmentedLog
from aiops.engine.ports import LogRecord

SEGMENT_BYTES = 300_000


def made_from(key: str) -> LogRecord:
    """Return the one record that has a key."""
    rng = random.Random(key)
    body = rng.randbytes(rng.choice([10, 2_000, 20_000]))
    return LogRecord("telemetry", body, 1, key.partition("-")[0], key)


def append_until_killed(directory: Path, life: int, told: Connection) -> None:
    """Append, and write a line for each record that is acknowledged."""
    log = SegmentedLog(directory, segment_bytes=SEGMENT_BYTES, ballast_bytes=0)
    commit = GroupCommit(log)

    def write(thread: int) -> None:
        for number in range(1_000_000):
            key = f"{thread}-{life}-{number}"
            receipt = commit.submit(made_from(key)).result()  # type: ignore[call-arg]
            os.write(told.fileno(), f"{receipt.seq} {key}\n".encode())

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
