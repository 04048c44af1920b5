"""Plans from prices keep every limit, and their certificate holds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from aiops.errors import InputError
from aiops.placement.instance import CLOSED, MICRO, UNLIMITED, read_instance, write_instance
from aiops.placement.market import Effort, Market, rows_of, settle
from tests.oracles import place as oracle
from tests.placement.instances import plain, random_instance


@pytest.mark.parametrize("seed", range(40))
def test_the_optimum_lies_between_bound_and_cost(seed):
    instance = random_instance(seed, w=5, tight=1.0 + seed % 4)
    settled = settle(instance)
    best = oracle.optimum(*plain(instance))
    assert oracle.violated(*plain(instance), settled.choice.tolist()) == []
    assert settled.bound <= best <= settled.cost == instance.total(settled.choice)


def test_of_a_few_workloads_the_best_plan_is_found():
    for seed in range(100, 160):
        instance = random_instance(seed, w=6, tight=2.0)
        settled = settle(instance)
        assert settled.bound == settled.cost == oracle.optimum(*plain(instance))


@pytest.mark.parametrize("seed", range(6))
def test_larger_plans_break_nothing(seed):
    instance = random_instance(seed, w=150, nodes=4, tight=1.0 + seed)
    settled = settle(instance, effort=Effort(rounds=20))
    assert oracle.violated(*plain(instance), settled.choice.tolist()) == []
    assert settled.gap >= 0.0


@pytest.mark.parametrize("seed", range(20))
def test_any_prices_give_a_bound(seed):
    instance = random_instance(seed, w=5, tight=2.0)
    best = oracle.optimum(*plain(instance))
    rng = np.random.default_rng(seed)
    price = np.where(rng.random(len(instance.capacity)) < 0.5, 0.0, rng.uniform(0, 900, 8))
    price[2:6:3] = 0.0  # power of shared nodes is unlimited here
    assert Market(instance, price).bound <= best


def test_who_stays_is_no_dearer_than_who_starts_afresh():
    for seed in range(20):
        instance = random_instance(seed, w=40, nodes=3, tight=2.0)
        first = settle(instance)
        again = settle(instance, start=first.choice)
        assert again.cost <= first.cost
        third = settle(instance, start=again.choice)
        assert third.cost < again.cost or third.choice.tolist() == again.choice.tolist()


def test_an_instance_and_its_plan_survive_a_file(tmp_path):
    instance = random_instance(3, w=20, tight=2.0)
    settled = settle(instance)
    path = tmp_path / "plan.npz"
    write_instance(path, instance, settled.choice, settled.prices, settled.bound)
    read, choice, prices, cost, bound = read_instance(path)
    assert (cost, bound) == (settled.cost, settled.bound)
    assert read.total(choice) == settled.cost
    at_home, shared = read.usage(choice)
    assert (at_home <= read.room).all()
    assert (shared <= read.capacity).all()
    bound = Market(read, prices).bound
    assert math.ceil(bound) == settled.bound
    for wrong in (
        {"choice": settled.choice - 1},
        {"choice": settled.choice[1:]},
        {"choice": settled.choice.astype(np.float64)},
        {"prices": settled.prices[1:]},
        {"prices": np.full_like(settled.prices, np.nan)},
        {"prices": settled.prices - 1.0},
        {"node": instance.node + instance.nodes},
    ):
        with np.load(path) as held:
            np.savez(tmp_path / "wrong.npz", **(dict(held) | wrong))
        with pytest.raises(InputError, match="does not hold"):
            read_instance(tmp_path / "wrong.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(InputError, match="is no file that `write_instance` wrote"):
        read_instance(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", cost=np.zeros(3))
    with pytest.raises(InputError, match="has no block"):
        read_instance(tmp_path / "other.npz")


def test_prices_are_zero_where_nothing_is_scarce():
    instance = random_instance(1, w=6, tight=0.01)
    settled = settle(instance)
    assert not settled.prices.any()
    home, _ = instance.usage(settled.choice)
    assert (home <= instance.room).all()
    assert settled.cost == settled.bound
    assert instance.capacity.min() > MICRO


def changed(instance, rng, homes):
    """Return `instance` with other costs and rooms of `homes`."""
    cost, room = instance.cost.copy(), instance.room.copy()
    rows = rows_of(instance.block, homes)
    some = (rng.random((len(rows), cost.shape[1])) < 0.6) & (cost[rows] != CLOSED)
    shown = np.minimum(cost[rows], 10**6)
    moved = (shown * rng.uniform(0.3, 3.0, some.shape)).astype(np.int64)
    cost[rows] = np.where(some, moved, cost[rows])
    some[:, -1] = True
    cost[rows] = np.where(~some & (rng.random(some.shape) < 0.3), CLOSED, cost[rows])
    room[homes] = (room[homes] * rng.uniform(0.3, 1.7, (len(homes), 3))).astype(np.int64)
    return replace(instance, cost=cost, room=room)


def settled_market(instance):
    first = settle(instance)
    market = Market(instance, first.prices)
    market.take(first.choice)
    return market


@pytest.mark.parametrize("how", ["refresh", "follow"])
@pytest.mark.parametrize("seed", range(10))
def test_a_changed_market_is_one_made_anew_from_its_prices_and_choice(seed, how):
    rng = np.random.default_rng(seed)
    instance = random_instance(seed, w=60, nodes=4, tight=1.0 + seed % 3)
    market = settled_market(instance)
    for _ in range(10):
        homes = np.sort(rng.choice(len(instance.room), 3, replace=False)).astype(np.int32)
        instance = changed(instance, rng, homes)
        limited = instance.capacity < UNLIMITED
        grown = np.where(limited, (instance.capacity * rng.uniform(0.7, 1.3)).astype(np.int64), 0)
        instance = replace(instance, capacity=np.where(limited, grown, UNLIMITED))
        getattr(market, how)(instance, homes)
        assert oracle.violated(*plain(instance), market.choice.tolist()) == []
        anew = Market(instance, market.prices)
        anew.take(market.choice)
        assert anew.bound == market.bound <= market.cost
        assert anew.choice.tolist() == market.choice.tolist()
        for one, other in (
            (anew._free, market._free),
            (anew._pipe, market._pipe),
            (anew._usage, market._usage),
            (anew._rank, market._rank),
            (anew.wish, market.wish),
        ):
            np.testing.assert_array_equal(one, other)


def test_a_fork_goes_its_own_way():
    instance = random_instance(4, w=60, nodes=4, tight=2.0)
    market = settled_market(instance)
    before, bound = market.choice.copy(), market.bound
    other = market.fork()
    homes = np.arange(5, dtype=np.int32)
    other.follow(changed(instance, np.random.default_rng(4), homes), homes)
    assert other.choice.tolist() != before.tolist()
    assert (market.choice.tolist(), market.bound) == (before.tolist(), bound)
    assert market.cost == instance.total(before)


@pytest.mark.parametrize("seed", range(10))
def test_what_follows_a_change_is_as_good_as_before_and_moves_nobody_for_nothing(seed):
    rng = np.random.default_rng(seed)
    instance = random_instance(seed, w=80, nodes=4, tight=0.5 + seed % 3)
    market = settled_market(instance)
    for _ in range(10):
        home = rng.choice(len(instance.room), 1).astype(np.int32)
        cost = instance.cost.copy()
        rows = rows_of(instance.block, home)
        # what they have gets cheaper: no reason to go
        cost[rows, market.choice[rows]] = (0.9 * cost[rows, market.choice[rows]]).astype(np.int64)
        instance, before = replace(instance, cost=cost), market.choice.copy()
        market.follow(instance, home)
        elsewhere = np.flatnonzero(market.choice != before)
        assert market.cost <= instance.total(before)
        if len(elsewhere):  # somebody gains by it
            assert market.cost < instance.total(before)


def test_the_gap_stays_small_over_many_changes():
    rng = np.random.default_rng(5)
    instance = random_instance(5, w=300, nodes=6, tight=0.7)
    market = Market(instance)
    market.climb(Effort())
    market.take(market.wish)
    market.search(Effort())
    for _ in range(60):
        homes = np.sort(rng.choice(len(instance.room), 3, replace=False)).astype(np.int32)
        instance = changed(instance, rng, homes)
        market.refresh(instance, homes)
    afresh = settle(instance)
    assert market.cost <= 1.02 * afresh.cost
    assert market.bound >= 0.98 * afresh.bound


def test_homes_without_workloads_are_no_trouble():
    instance = random_instance(2, w=10, tight=2.0)
    block = np.concatenate([[0, 0], instance.block[1:], [10]]).astype(np.int32)
    room = np.concatenate([instance.room[:1], instance.room, instance.room[:1]])
    settled = settle(replace(instance, block=block, room=room))
    assert settled.bound <= settled.cost
    nobody = replace(
        instance,
        block=np.zeros(2, np.int32),
        room=instance.room[:1],
        **{name: getattr(instance, name)[:0] for name in ("cost", "node", "uplink", "demand")},
    )
    assert settle(nobody).cost == 0
