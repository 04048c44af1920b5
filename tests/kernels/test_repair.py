"""Repair, against the checker that shares nothing with it."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels import repair
from aiops.placement.instance import CLOSED
from aiops.placement.market import Effort, Market
from tests.oracles import place as oracle
from tests.placement.instances import plain, random_instance


def left_over(instance, choice):
    """Return what places, homes after shared nodes, and uplinks have left, one by one."""
    free = [list(instance.capacity[3 * n : 3 * n + 3].tolist()) for n in range(instance.nodes)]
    free += instance.room.tolist()
    pipe = instance.capacity[3 * instance.nodes :].tolist()
    for i, k in enumerate(choice.tolist()):
        at, link = int(instance.node[i, k]), int(instance.uplink[i, k])
        if at < 0 and k == 0:
            at = instance.nodes + int(instance.home[i])
        for q in range(3):
            if at >= 0:
                free[at][q] -= int(instance.demand[i, q])
        if link >= 0:
            pipe[link] -= int(instance.demand[i, 3])
    return free, pipe


@pytest.mark.parametrize("seed", range(60))
def test_any_choice_is_made_to_fit(seed):
    instance = random_instance(seed, w=12, nodes=3, tight=1.0 + seed % 5)
    wish = np.random.default_rng(seed).integers(0, 5, 12).astype(np.int32)
    market = Market(instance)
    market.take(wish)
    assert oracle.violated(*plain(instance), market.choice.tolist()) == []
    free, pipe = left_over(instance, market.choice)
    assert market._free.tolist() == free
    assert market._pipe.tolist() == pipe


@pytest.mark.parametrize("seed", range(20))
def test_nobody_could_better_alone(seed):
    instance = random_instance(seed, w=12, nodes=3, tight=3.0)
    market = Market(instance)
    market.take(np.full(12, 4, dtype=np.int32))
    for i in range(12):
        for k in range(5):
            other = market.choice.copy()
            other[i] = k
            cheaper = instance.cost[i, k] < instance.cost[i, market.choice[i]]
            assert not cheaper or oracle.violated(*plain(instance), other.tolist())


def test_what_fits_is_left_alone():
    for seed in range(10):
        instance = random_instance(seed, w=12, nodes=3, tight=2.0)
        market = Market(instance)
        market.take(np.full(12, 1, dtype=np.int32))
        fits = market.choice.copy()
        market.take(fits)
        assert market.choice.tolist() == fits.tolist()


def test_who_would_miss_it_least_per_unit_leaves():
    instance = random_instance(0, w=3, nodes=2)
    cost = np.full((3, 4), CLOSED, dtype=np.int64)
    cost[:, 1] = 10
    cost[:, 3] = (110, 60, 300)  # losses of 100, 50 and 290
    demand = np.zeros((3, 4), dtype=np.int64)
    demand[:, 0] = (200_000, 50_000, 500_000)  # a rate of 500, 1000 and 580 a core
    capacity = np.full_like(instance.capacity, 600_000)
    tight = type(instance)(
        instance.block,
        cost,
        instance.node,
        instance.uplink,
        demand,
        instance.room,
        capacity,
        instance.nodes,
    )
    market = Market(tight)
    market.take(np.ones(3, dtype=np.int32))
    assert market.choice.tolist() == [3, 1, 1]


@pytest.mark.parametrize("seed", range(30))
def test_trials_keep_every_limit_and_their_own_books(seed):
    instance = random_instance(seed, w=40, nodes=3, tight=2.0 + seed % 3)
    market = Market(instance)
    market.take(market.wish)
    choice, free, pipe = market.choice.copy(), market._free.copy(), market._pipe.copy()
    core = np.arange(40, dtype=np.int32)
    state = np.array([seed + 1], dtype=np.int64)
    places = market._places
    saved = repair.recreate(places, core, 200, 50.0 * (seed % 2), free, pipe, choice, state)
    assert oracle.violated(*plain(instance), choice.tolist()) == []
    assert (free.tolist(), pipe.tolist()) == left_over(instance, choice)
    assert instance.total(market.choice) - saved == instance.total(choice)
    assert saved >= 0 or seed % 2


def test_one_gives_way_where_both_together_gain():
    # The first two want the one gateway; the second has a detour that costs little.
    instance = random_instance(0, w=2, nodes=2)
    cost = np.array([[CLOSED, 10, CLOSED, 500], [CLOSED, 10, 20, 500]], dtype=np.int64)
    demand = np.full((2, 4), 600_000, dtype=np.int64)
    capacity = np.full_like(instance.capacity, 1_000_000)
    tight = type(instance)(
        instance.block,
        cost,
        instance.node,
        np.full((2, 4), -1, dtype=np.int32),
        demand,
        instance.room,
        capacity,
        instance.nodes,
    )
    market = Market(tight)
    market.take(np.array([3, 1], dtype=np.int32))
    market.search(Effort(gap=0.0, searches=50))
    assert market.choice.tolist() == [1, 2]


def test_the_numbers_are_spread_over_what_is_asked_for():
    state = np.array([1], dtype=np.int64)
    drawn = np.array([repair.draw(state, 6) for _ in range(6_000)])
    assert set(drawn.tolist()) == set(range(6))
    assert np.abs(np.bincount(drawn) - 1_000).max() < 150
