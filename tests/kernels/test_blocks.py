"""Each home solved for itself, against trying every subset."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels.blocks import pack, rank_options
from aiops.placement.market import Market
from tests.oracles import place as oracle
from tests.placement.instances import plain, random_instance


@pytest.mark.parametrize("seed", range(30))
def test_pack_finds_the_best_subset(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    gain = np.sort(rng.uniform(1.0, 100.0, n))[::-1].copy()
    demand = rng.integers(0, 100, (n, 3)).astype(np.int64)
    room = rng.integers(0, 250, 3).astype(np.int64)
    taken = np.empty(n, np.int64)
    value = pack(n, gain, demand, room, taken, np.empty(n + 1), np.empty(n + 1, np.int64))
    best = oracle.best_at_home(
        gain.tolist(), [0.0] * n, demand.tolist(), room.tolist()
    )  # what stays in saves its gain
    assert value == pytest.approx(gain.sum() - best)
    assert (demand[taken == 1].sum(axis=0) <= room).all()
    assert gain[taken == 1].sum() == pytest.approx(value)


def test_a_home_of_many_is_searched_so_far_and_no_farther():
    rng = np.random.default_rng(1)
    gain = np.sort(rng.uniform(90.0, 100.0, 60))[::-1].copy()
    demand = rng.integers(50, 100, (60, 3)).astype(np.int64)
    room = np.full(3, 1_500, np.int64)
    taken = np.empty(60, np.int64)
    bound = pack(60, gain, demand, room, taken, np.empty(61), np.empty(61, np.int64))
    assert (demand[taken == 1].sum(axis=0) <= room).all()
    found = gain[taken == 1].sum()
    # No subset has more than 30 items: that many of the best is what none can pass.
    assert 0.0 < found <= bound <= gain.sum()
    assert found <= gain[:30].sum()


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_is_the_sum_of_homes_less_what_prices_pay(seed):
    instance = random_instance(seed, w=8, tight=2.0)
    rng = np.random.default_rng(seed)
    price = rng.uniform(0, 500, len(instance.capacity)) * (rng.random(8) < 0.6)
    price[2:6:3] = 0.0
    market = Market(instance, price)
    choice, usage, bound = market.wish, market._usage, market.bound
    cost, node, uplink, demand, room, capacity, nodes, home = plain(instance)

    def priced(i, k):
        at, link = node[i][k], uplink[i][k]
        rows = [] if at < 0 else [(3 * at + r, demand[i][r]) for r in range(3)]
        rows += [] if link < 0 else [(3 * nodes + link, demand[i][3])]
        return cost[i][k] + sum(price[row] * amount / 1e6 for row, amount in rows)

    total = 0.0
    for h in range(len(room)):
        mine = [i for i in range(len(cost)) if home[i] == h]
        out = [min(priced(i, k) for k in range(1, 4) if cost[i][k] is not None) for i in mine]
        inside = [cost[i][0] for i in mine]
        total += oracle.best_at_home(out, inside, [demand[i] for i in mine], room[h])
    total -= sum(p * c / 1e6 for p, c in zip(price.tolist(), capacity, strict=True))
    assert total - 2e-3 * len(room) <= bound <= total + 1e-6
    np.testing.assert_array_equal(usage, instance.usage(choice)[1])


@pytest.mark.parametrize("seed", range(10))
def test_options_stand_by_cost(seed):
    instance = random_instance(seed, w=9)
    rank = np.empty(instance.cost.shape, np.int8)
    rank_options(instance.cost, np.arange(9, dtype=np.int32), rank)
    for i, row in enumerate(instance.cost.tolist()):
        assert rank[i].tolist() == sorted(range(len(row)), key=lambda k: (row[k], k))


@pytest.mark.parametrize("seed", range(10))
def test_what_a_choice_costs_with_prices_is_no_less_than_what_is_best(seed):
    instance = random_instance(seed, w=9, tight=2.0)
    price = np.random.default_rng(seed).uniform(0, 500, len(instance.capacity))
    price[2:6:3] = 0.0
    market = Market(instance, price)
    value, homes = np.zeros(len(instance.room)), np.arange(len(instance.room), dtype=np.int32)
    for choice in (market.wish, market.choice):
        market._excess(homes, choice, value)
        assert (value >= -2e-3).all()
    market._excess(homes, market.wish, value)
    assert value == pytest.approx(0.0, abs=2e-3)
