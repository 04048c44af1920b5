"""Bits of templates seen, beside their twin."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.detectors.log_novelty import LogNovelty
from aiops.fleet.owner import FleetShape
from aiops.kernels.novelty import FREE, KEPT, count_knowing, novelty_update
from tests.oracles.logs import novel

HOUR = 3_600_000_000_000


def show(memory, device, ts, template, warm_ns=100 * HOUR, gravity=None, live=True):
    gravity = np.zeros(len(ts), np.int8) if gravity is None else gravity
    alive = np.full(len(ts), live)
    novelty_update(device, ts, template, gravity, alive, memory, warm_ns, HOUR)


@pytest.mark.parametrize("seed", range(5))
def test_it_has_seen_what_its_twin_has_seen(seed):
    rng = np.random.default_rng(seed)
    n, devices = 400, 5
    device = np.sort(rng.integers(0, devices, n)).astype(np.int32)
    ts = 10**18 + np.arange(n) * HOUR
    template = (rng.zipf(1.4, n) % 2048).astype(np.int32)
    memory = LogNovelty().init(FleetShape(devices))
    for at in np.array_split(np.arange(n), 40):
        show(memory, device[at], ts[at], template[at], 20 * HOUR)
    bits = np.unpackbits(memory.seen, axis=1, bitorder="little").astype(bool)
    for d in range(devices):
        mine = device == d
        lines = list(zip(ts[mine].tolist(), template[mine].tolist(), strict=True))
        seen, new = novel(lines, 20 * HOUR)
        assert set(np.flatnonzero(bits[d]).tolist()) == seen
        fresh = [one for one in memory.fresh[d].tolist() if one != FREE]
        assert fresh == new[:KEPT]


def test_who_knows_a_template_is_counted_within_its_cohort():
    rng = np.random.default_rng(0)
    seen = np.packbits(rng.random((30, 64)) < 0.3, axis=1, bitorder="little")
    cohort = rng.integers(-1, 3, 30).astype(np.int32)
    template = rng.integers(0, 64, 12).astype(np.int32)
    asked = rng.integers(-1, 3, 12).astype(np.int32)
    known, size = np.zeros(12, np.int32), np.zeros(12, np.int32)
    count_knowing(seen, cohort, template, asked, known, size)
    bits = np.unpackbits(seen, axis=1, bitorder="little")
    for k in range(12):
        mine = cohort == asked[k]
        assert known[k] == bits[mine, template[k]].sum()
        assert size[k] == mine.sum()


def test_episodes_are_an_hour_apart_and_the_gravest_line_counts():
    memory = LogNovelty().init(FleetShape(1))
    memory.seen[0, 1] = 1 << 1  # template 9
    memory.began[0] = memory.episode[0] = 10**18
    memory.since[0] = 1
    memory.spell[0, 0], memory.episodes[0] = 9, 1
    hours = np.array([0.5, 1.0, 1.5, 1.9, 2.5])
    ts = 10**18 + (hours * HOUR).astype(np.int64)
    device = np.zeros(5, np.int32)
    show(memory, device, ts, np.full(5, 9, np.int32), gravity=np.array([0, 0, 2, 1, 0], np.int8))
    assert memory.episodes[0] == 3
    assert memory.gravity[0] == 2


def test_what_came_too_late_is_seen_and_begins_nothing():
    memory = LogNovelty().init(FleetShape(1))
    ts = 10**18 + np.arange(3) * 200 * HOUR
    show(memory, np.zeros(3, np.int32), ts, np.array([1, 2, 3], np.int32), live=False)
    assert memory.seen[0, 0] == 0b1110
    assert (memory.fresh == FREE).all()
