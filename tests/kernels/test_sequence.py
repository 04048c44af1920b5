"""Waves and what waits for what, against slow twins."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels import sequence as kernels
from tests.oracles import sequence as oracle

KINDS = ("move", "hop", "stop", "start")


def posed(seed):
    """Return movers and what is free, as arrays and as the twins take them.

    What the targets take fits, by construction, if nobody else is there; in half of the cases
    some rows are over at the start.
    """
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 13)), int(rng.integers(2, 6))
    places, uplinks = int(rng.integers(1, 5)), int(rng.integers(0, 3))
    cost = rng.integers(1, 60, (n, k)).astype(np.int64)
    cost[:, :-1][rng.random((n, k - 1)) < 0.2] = kernels.CLOSED
    place = rng.integers(-1, places, (n, k)).astype(np.int32)
    uplink = rng.integers(-1, max(uplinks, 1), (n, k)).astype(np.int32)
    uplink[:] = uplink if uplinks else -1
    place[:, -1] = uplink[:, -1] = -1
    demand = rng.integers(0, 5, (n, 4)).astype(np.int64)
    target = rng.integers(0, k, n).astype(np.int32)
    cost[np.arange(n), target] = rng.integers(1, 60, n)
    source = ((target + rng.integers(1, k, n)) % k).astype(np.int32)

    def used(choice):
        rows = np.zeros(3 * places + uplinks, np.int64)
        for i, option in enumerate(choice):
            for resource in range(3):
                if place[i, option] >= 0:
                    rows[3 * place[i, option] + resource] += demand[i, resource]
            if uplink[i, option] >= 0:
                rows[3 * places + uplink[i, option]] += demand[i, 3]
        return rows

    slack = rng.integers(0, 4, 3 * places + uplinks)
    least = used(target) if seed % 2 else np.maximum(used(target), used(source))
    free = least + slack - used(source)
    limit = rng.integers(1, 5, 3).astype(np.int32) if seed % 3 else np.full(3, 100, np.int32)
    movers = kernels.Movers(cost, place, uplink, demand, target)
    room = kernels.Room(free, np.zeros(places + uplinks, np.int32), limit)
    slow = [
        {
            "cost": [None if c == kernels.CLOSED else c for c in cost[i].tolist()],
            "takes": [
                [
                    *(((r, ("place", p, r)), int(demand[i, r])) for r in range(3) if p >= 0),
                    *(((3, ("uplink", u)), int(demand[i, 3])) for _ in range(1) if u >= 0),
                ]
                for p, u in zip(place[i].tolist(), uplink[i].tolist(), strict=True)
            ],
            "at": [
                (p if p >= 0 else None, u if u >= 0 else None)
                for p, u in zip(place[i].tolist(), uplink[i].tolist(), strict=True)
            ],
            "demand": demand[i].tolist(),
            "target": int(target[i]),
        }
        for i in range(n)
    ]
    names = [("place", p, r) for p in range(places) for r in range(3)]
    names += [("uplink", u) for u in range(uplinks)]
    return movers, room, source, slow, dict(zip(names, free.tolist(), strict=True))


def run(movers, room, source):
    steps = np.empty((3 * len(source), 5), np.int32)
    return steps[: kernels.order_moves(movers, room, source, steps)]


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_waves_equal_those_of_the_twin(first):
    kinds = set()
    for seed in range(first, first + 100):
        movers, room, source, slow, free = posed(seed)
        expected = oracle.order_moves(slow, free, source.tolist(), *room.limit.tolist())
        found = [(*step[:4], KINDS[step[4]]) for step in run(movers, room, source).tolist()]
        assert found == expected, seed
        assert not room.busy.any()
        kinds |= {step[4] for step in found}
    assert kinds == set(KINDS)


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_what_waits_for_what_equals_the_twin(first):
    most = 0
    for seed in range(first, first + 100):
        movers, room, source, slow, free = posed(seed)
        before = room.free.copy()
        steps = run(movers, room, source)
        pairs = np.empty((17 * len(steps), 2), np.int32)
        count = kernels.rely(movers, before, len(room.busy), steps, pairs)
        plain = [(*step[:4], KINDS[step[4]]) for step in steps.tolist()]
        found = sorted(set(map(tuple, pairs[:count].tolist())))
        assert found == oracle.rely(slow, free, plain), seed
        most = max(most, count)
    assert most > 10


def test_a_plan_that_does_not_fit_has_no_order():
    movers, room, source, *_ = posed(0)
    movers.place[:, 0] = 0
    movers.target[:] = 0
    movers.demand[:] = 5
    room.free[:] = 4
    source[:] = movers.cost.shape[1] - 1
    steps = np.empty((3 * len(source), 5), np.int32)
    assert kernels.order_moves(movers, room, source, steps) == -1
