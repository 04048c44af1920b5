"""Repair, against the checker that shares nothing with it."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels.repair import members
from aiops.placement.instance import CLOSED
from aiops.placement.market import mend
from tests.oracles import place as oracle
from tests.placement.instances import plain, random_instance


@pytest.mark.parametrize("seed", range(10))
def test_each_row_knows_who_could_be_on_it(seed):
    rng = np.random.default_rng(seed)
    row = rng.integers(-1, 6, (9, 4, 3)).astype(np.int32)
    start = np.zeros(7, dtype=np.int64)
    members(row, start, np.empty(0, dtype=np.int32))
    member = np.empty(start[-1], dtype=np.int32)
    members(row, start, member)
    for r in range(6):
        there = [w for w in range(9) if (row[w] == r).any()]
        assert member[start[r] : start[r + 1]].tolist() == there


@pytest.mark.parametrize("seed", range(60))
def test_any_choice_is_mended(seed):
    instance = random_instance(seed, w=12, nodes=3, tight=1.0 + seed % 5)
    rng = np.random.default_rng(seed)
    wish = rng.integers(0, 5, 12).astype(np.int32)
    wish[instance.cost[np.arange(12), wish] == CLOSED] = 4
    nothing = np.zeros(len(instance.capacity))
    mended = mend(instance, wish, nothing, 0)
    assert oracle.violated(*plain(instance), mended.tolist()) == []
    better = mend(instance, wish, nothing, 10)
    assert oracle.violated(*plain(instance), better.tolist()) == []
    assert instance.total(better) <= instance.total(mended)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_could_better_alone(seed):
    instance = random_instance(seed, w=12, nodes=3, tight=3.0)
    nothing = np.zeros(len(instance.capacity))
    choice = mend(instance, np.full(12, 4, dtype=np.int32), nothing, 50)
    for i in range(12):
        for k in range(5):
            other = choice.copy()
            other[i] = k
            cheaper = instance.cost[i, k] < instance.cost[i, choice[i]]
            assert not cheaper or oracle.violated(*plain(instance), other.tolist())


def test_one_gives_way_where_both_together_gain():
    # The first two want the one gateway; the second has a detour that costs little.
    instance = random_instance(0, w=2, nodes=2)
    cost = np.array([[CLOSED, 10, CLOSED, 500], [CLOSED, 10, 20, 500]], dtype=np.int64)
    demand = np.full((2, 4), 600_000, dtype=np.int64)
    capacity = np.full_like(instance.capacity, 1_000_000)
    tight = type(instance)(
        instance.block, cost, instance.node, instance.uplink, demand, instance.room, capacity, 2
    )
    start = np.array([3, 1], dtype=np.int32)
    assert mend(tight, start, np.zeros(len(capacity)), 5).tolist() == [1, 2]
