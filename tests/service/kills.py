"""A service that is killed again and again while four senders write to it."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from aiops.connectors.durable.log import SegmentedLog
from aiops.connectors.replay import LogSource
from aiops.engine.run import run
from aiops.service.control import Control
from aiops.service.rehearsal import make_engine
from aiops.service.settings import Settings
from tests.connectors.wire.encoders import Reading, arrow, arrow_stream, ndjson, remote_write_v1
from tests.connectors.wire.encoders import snappy as packed
from tests.connectors.wire.encoders_more import otlp
from tests.service.fleet import DAY_NS, fallen_silent
from tests.service.running import Running

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
PROTOBUF = {"content-type": "application/x-protobuf"}
PROTOCOLS: dict[str, tuple[str, dict[str, str], Callable[[list[Reading]], bytes]]] = {
    "arrow": ("/v1/telemetry", ARROW, arrow),
    "ndjson": ("/v1/telemetry", {"content-type": "application/x-ndjson"}, ndjson),
    "remote": (
        "/api/v1/write",
        PROTOBUF | {"content-encoding": "snappy"},
        lambda readings: packed(remote_write_v1(readings)),
    ),
    "otlp": ("/v1/metrics", PROTOBUF, otlp),
}
# The state is saved often, so that kills fall into that too.
PACE = {"epoch_s": 1, "lateness_s": 0, "checkpoint_rows": 300}
CONFIG = "[engine]\n" + "".join(f"{name} = {value}\n" for name, value in PACE.items())
BEGIN_MS = 1_790_000_000_000
ROWS = 3
KINDS = ("findings", "incidents", "plans", "actions")


def batch(protocol: str, number: int) -> list[Reading]:
    """Return the readings of a batch: their values tell which, and no two are alike."""
    return [
        Reading(protocol, (BEGIN_MS + value) * 1_000_000, "node_load1", float(value))
        for value in range(number * ROWS, (number + 1) * ROWS)
    ]


@dataclass
class Told:
    """What the senders heard."""

    acknowledged: dict[str, set[int]] = field(default_factory=lambda: {p: set() for p in PROTOCOLS})
    begun: Counter[str] = field(default_factory=Counter)
    """How many batches each began to send."""
    repeated: int = 0
    """Batches of which nobody knew whether they had been taken, and that had been."""
    refused: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Batches acknowledged."""
        return sum(map(len, self.acknowledged.values()))


class Senders:
    """One thread for each protocol; a batch is sent until it is acknowledged, under one key."""

    def __init__(self, url: str, headers: dict[str, str], told: Told) -> None:
        self._url, self._headers, self._told = url, headers, told
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(p,)) for p in PROTOCOLS]
        for thread in self._threads:
            thread.start()

    def _send(self, protocol: str) -> None:
        told = self._told
        path, headers, encode = PROTOCOLS[protocol]
        with httpx.Client(
            base_url=self._url, headers=self._headers | headers, verify=False
        ) as client:
            while not self._stop.is_set():
                number = len(told.acknowledged[protocol])
                told.begun[protocol] = number + 1
                try:
                    answer = client.post(
                        path,
                        content=encode(batch(protocol, number)),
                        headers={"idempotency-key": f"{protocol}-{number}"},
                    )
                except httpx.TransportError:
                    return  # it is dead: the batch is sent again in its next life
                if not answer.is_success:
                    told.refused.append(f"{protocol}: {answer.status_code} {answer.text}")
                    return
                if path == "/v1/telemetry":
                    told.repeated += answer.json()["duplicate"]
                told.acknowledged[protocol].add(number)

    def join(self, *, stop: bool = False) -> None:
        """Wait until all have ended; `stop`: tell them to."""
        if stop:
            self._stop.set()
        for thread in self._threads:
            thread.join(30)


@dataclass
class Outcome:
    """What is left after the last kill."""

    told: Told
    lost: list[str]
    """Acknowledged batches of which not every reading is there."""
    twice: list[str]
    """Readings that are there more than once."""
    foreign: int
    """Readings that nobody sent."""
    records: dict[str, str]
    """What the service says it found: id -> body."""
    again: dict[str, str]
    """What an engine finds that reads the same log in one go."""


def kill_again_and_again(directory: Path, kills: int, seed: int, most_batches: int) -> Outcome:
    """Kill a service so many times, each after at most so many acknowledged batches; look."""
    rng = random.Random(seed)
    told = Told()
    data = directory / "data"
    with Running(data, CONFIG, ready=False) as service:
        for life in range(kills):
            silent = fallen_silent(f"silent-{life}", time.time_ns() - DAY_NS)
            answer = service.client.post(
                "/v1/telemetry", content=arrow_stream(silent), headers=ARROW
            )
            assert answer.status_code == 200, answer.text
            senders = Senders(service.url, service.headers, told)
            goal = told.total + rng.randint(0, most_batches)
            while told.total < goal:
                assert service.process.poll() is None, "".join(service.said)
                assert not told.refused, told.refused
                time.sleep(rng.random() * 0.01)
            service.kill()
            senders.join()
            service.start()
        senders = Senders(service.url, service.headers, told)  # what was under way is sent again
        goal = told.total + 2 * len(PROTOCOLS)
        while told.total < goal and not told.refused:
            time.sleep(0.01)
        senders.join(stop=True)
        service.wait_ready()
        found = _readings(service)
        assert service.stop() == 0
    again = _in_one_go(data, directory / "again.db")
    return _compare(told, found, _records(data / "control.db"), again)


def _readings(service: Running) -> Counter[tuple[Any, ...]]:
    counts: Counter[tuple[Any, ...]] = Counter()
    for protocol in PROTOCOLS:
        for row in service.items("/v1/telemetry", device_id=protocol):
            name = row["metric"], float(row["value"])
            counts[protocol, *name, row["ts"]] += 1
    return counts


def _compare(
    told: Told,
    found: Counter[tuple[Any, ...]],
    records: dict[str, str],
    again: dict[str, str],
) -> Outcome:
    lost, sent = [], set()
    for protocol in PROTOCOLS:
        for number in range(told.begun[protocol]):
            wanted = {
                (r.device, r.metric, r.value, _moment(r.ts_ns)) for r in batch(protocol, number)
            }
            sent |= wanted
            if number in told.acknowledged[protocol] and not wanted <= found.keys():
                lost.append(f"{protocol}-{number}")
    twice = [str(one) for one, times in found.items() if times > 1]
    return Outcome(told, lost, twice, len(found.keys() - sent), records, again)


def _moment(ns: int) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 1_000_000_000))
    return f"{whole}.{ns % 1_000_000_000:09d}Z"


def _in_one_go(data: Path, path: Path) -> dict[str, str]:
    """Run an engine over the log, without a stop, and return what is kept of its results."""
    log = SegmentedLog(data / "log", ballast_bytes=0)
    engine = make_engine(Settings.model_validate({"data": data, "engine": PACE}))
    control = Control(path)
    run(engine, LogSource(log, hear=control.hear), [control])
    assert not log.damage
    log.close()
    return _records(path)


def _records(path: Path) -> dict[str, str]:
    control = Control(path)
    try:
        rows = itertools.chain.from_iterable(
            control.records(kind, {}, before=None, limit=100_000) for kind in KINDS
        )
        # The counter of an action only ever grows; what a replay offers again leaves gaps in it.
        return {record["id"]: repr(record | {"counter": 0}) for _, record in rows}
    finally:
        control.close()
