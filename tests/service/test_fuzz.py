from __future__ import annotations

import gzip
import itertools
import time
import tracemalloc
from collections import Counter

import pytest

from aiops.connectors.wire.limits import Limits, unpack
from aiops.errors import PayloadError
from tests.service.fuzz import fuzz
from tests.service.payloads import hostile, valid
from tests.service.running import Running

COUNT = 20_000
WARM = 5
"""Portions of a thousand after which memory is to stay as it is."""
GROWN_KIB = 16 * 1024


def test_each_protocol_takes_what_is_valid() -> None:
    taken = {p.protocol.name for p in valid() if p.decode().rows}
    assert taken == {p.protocol.name for p in valid()}


def test_no_payload_raises_what_is_no_error_of_ours_at_any_stage() -> None:
    done = fuzz(COUNT, seed=11)
    assert done.outcomes.total() == COUNT
    assert min(done.outcomes["taken"], done.outcomes["PayloadError"]) > COUNT // 5
    assert done.rows > done.outcomes["taken"]
    assert done.slowest_s < 1.0, done.slowest
    assert done.grown_kib[-1] - done.grown_kib[WARM] < GROWN_KIB


def test_a_service_answers_no_payload_with_an_error_of_its_own(fleet: Running) -> None:
    over_http = (payload for payload in hostile(seed=12) if payload.protocol.path)
    statuses: Counter[int] = Counter()
    longest_s = 0.0
    for payload in itertools.islice(over_http, 1_000):
        begun = time.monotonic()
        answer = fleet.client.post(
            payload.protocol.path, content=payload.body, headers=payload.headers
        )
        longest_s = max(longest_s, time.monotonic() - begun)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (payload, answer.text)
    assert statuses.keys() <= {200, 204, 400, 413, 429}, statuses
    assert statuses[200] + statuses[204] > 100
    assert longest_s < 2.0
    fleet.wait_judged()  # none of them has stopped the engine
    assert fleet.client.get("/readyz").status_code == 200
    assert fleet.items("/v1/telemetry")


def test_bodies_that_are_damaged_leave_no_memory_behind() -> None:
    packed = gzip.compress(bytes(range(256)) * 40)
    limits = Limits()

    def damaged(times: int) -> None:
        for _ in range(times):
            with pytest.raises(PayloadError):
                unpack(packed[:-6], "gzip", limits)

    damaged(3)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        damaged(20)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < limits.free_bytes
