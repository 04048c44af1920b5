"""Plans from prices keep every limit, and their certificate holds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiops.errors import InputError
from aiops.placement.instance import MICRO, read_instance, write_instance
from aiops.placement.market import Effort, evaluate, settle
from tests.oracles import place as oracle
from tests.placement.instances import plain, random_instance


@pytest.mark.parametrize("seed", range(40))
def test_the_optimum_lies_between_bound_and_cost(seed):
    instance = random_instance(seed, w=5, tight=1.0 + seed % 4)
    settled = settle(instance)
    best = oracle.optimum(*plain(instance))
    assert oracle.violated(*plain(instance), settled.choice.tolist()) == []
    assert settled.bound <= best <= settled.cost == instance.total(settled.choice)


def test_small_instances_are_near_the_optimum():
    excess = []
    for seed in range(100, 160):
        instance = random_instance(seed, w=5, tight=2.0)
        best = oracle.optimum(*plain(instance))
        excess.append((settle(instance).cost - best) / best)
    assert np.mean(np.array(excess) == 0.0) > 0.8
    assert np.mean(excess) < 0.01


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
    assert evaluate(instance, price)[2] <= best


def test_who_stays_is_no_dearer_than_who_starts_afresh():
    for seed in range(20):
        instance = random_instance(seed, w=40, nodes=3, tight=2.0)
        first = settle(instance)
        again = settle(instance, start=first.choice)
        assert again.cost <= first.cost
        assert settle(instance, start=again.choice).choice.tolist() == again.choice.tolist()


def test_an_instance_and_its_plan_survive_a_file(tmp_path):
    instance = random_instance(3, w=20, tight=2.0)
    settled = settle(instance)
    path = tmp_path / "plan.npz"
    write_instance(path, instance, settled.choice, settled.prices, settled.bound)
    read, choice, prices = read_instance(path)
    assert read.total(choice) == settled.cost
    at_home, shared = read.usage(choice)
    assert (at_home <= read.room).all()
    assert (shared <= read.capacity).all()
    bound = evaluate(read, prices)[2]
    assert math.ceil(bound) == settled.bound
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
