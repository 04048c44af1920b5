"""Payloads of chance and malice through codecs, intake, log and engine, in one process."""

from __future__ import annotations

import itertools
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiops.connectors.replay import LogSource
from aiops.engine.engine import Engine, default_rules
from aiops.engine.ports import LogRecord
from aiops.errors import AiopsError
from aiops.service.intake import Intake
from aiops.service.keys import Principal
from aiops.service.readings import Reader
from aiops.service.roles import Role
from aiops.service.settings import Bounds
from tests.service.payloads import ARROW, NOW, Payload, hostile

ANYBODY = Principal("fuzz", frozenset({Role.INGEST}), patterns=("*",))
PORTION = 1000


class MemoryLog:
    """A log of a list; a source and a reader ask no more of it."""

    def __init__(self, records: Sequence[LogRecord]) -> None:
        self.records = records

    def read(self, after: int) -> Iterator[tuple[int, LogRecord]]:
        """Yield what follows, with its number."""
        yield from enumerate(self.records[after:], after + 1)


@dataclass
class Fuzzed:
    """What became of them."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: str = ""
    grown_kib: list[int] = field(default_factory=list)
    """Most memory ever held, above what it was at the start, after each portion."""
    rows: int = 0


def fuzz(count: int, seed: int) -> Fuzzed:
    """Send so many; raises what is no error of ours, with the payload that led to it."""
    done = Fuzzed()
    intake = Intake(Bounds(devices=1000, series=10_000, metrics=500, series_per_device=64))
    engine = Engine(default_rules(), layout=None, epoch_s=60, lateness_s=0)
    begun_kib = _peak_kib()
    payloads = itertools.islice(hostile(seed), count)
    for first in range(0, count, PORTION):
        portion = list(itertools.islice(payloads, PORTION))
        records = list(_taken(portion, intake, done, NOW + first * 60_000_000))
        log = MemoryLog(records)
        for frame, _ in LogSource(log).frames(None):  # type: ignore[arg-type]
            done.rows += len(frame)
            engine.step(frame)
        _read(log)
        done.grown_kib.append(_peak_kib() - begun_kib)
    return done


def _taken(
    payloads: list[Payload], intake: Intake, done: Fuzzed, recv_ns: int
) -> Iterator[LogRecord]:
    for payload in payloads:
        begun = time.process_time()
        name = payload.protocol.name
        try:
            decoded = payload.decode()
            is_frame = payload.protocol.headers.get("content-type") == ARROW
            original = payload.body if is_frame and not payload.encoding else None
            prepared = intake.prepare(ANYBODY, decoded, original)
            done.outcomes["taken" if prepared.body else "nothing left"] += 1
            if prepared.body:
                yield LogRecord("telemetry", prepared.body, recv_ns, "fuzz")
        except AiopsError as error:
            done.outcomes[type(error).__name__] += 1
        except Exception as error:
            error.add_note(f"{name}, {payload.encoding or 'identity'}: {payload.body!r}")
            raise
        took = time.process_time() - begun
        if took > done.slowest_s:
            done.slowest_s, done.slowest = took, f"{name}: {payload.body[:200]!r}"


def _read(log: MemoryLog) -> None:
    """Read all that is in the log, as `GET /v1/telemetry` does."""
    reader = Reader(log, None, None)  # type: ignore[arg-type]
    place: int | None = 0
    while place is not None:
        _, place = reader.read(place, 10_000)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
