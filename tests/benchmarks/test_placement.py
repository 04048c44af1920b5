"""What placement is measured against: HiGHS solves the same problem, and small ones in full."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from aiops.placement.instance import CLOSED
from aiops.placement.market import Effort, settle
from benchmarks._placement_highs import highs
from benchmarks._placement_instances import REGIMES, make
from benchmarks._placement_small import optimum, small
from benchmarks._placement_warm import warm
from tests.oracles import place as oracle
from tests.placement.instances import plain, random_instance


@pytest.mark.parametrize("regime", sorted(REGIMES))
def test_highs_and_we_agree_on_the_best_plan(regime):
    instance = make(regime, 12, 3)
    settled = settle(instance)
    peer = highs(instance, 0.0)
    assert peer.status == "Optimal"
    assert settled.cost == pytest.approx(peer.cost)
    assert highs(instance, None).bound <= settled.cost + 1e-3


@pytest.mark.parametrize("seed", range(8))
def test_the_breadth_first_optimum_is_that_of_all_choices(seed):
    instance = random_instance(seed, w=5, tight=2.0)
    best = oracle.optimum(*plain(instance))
    assert optimum(instance, best) == best
    assert optimum(instance, best + 1) == best
    assert optimum(instance, 10**9) == best


def test_the_regimes_are_ever_tighter():
    share = []
    for regime in ("provisioned", "loose", "contended", "overload"):
        instance = make(regime, 2_000, 1)
        share.append((settle(instance, effort=Effort(searches=0)).prices > 0.0).sum())
    assert share == sorted(share)


def test_small_instances_are_of_every_size_and_regime():
    found = list(small(0, 40))
    assert {len(one.cost) for one in found} == set(range(3, 13))
    for one, other in itertools.pairwise(found):
        assert one.cost.shape != other.cost.shape or not np.array_equal(one.cost, other.cost)


def test_a_fleet_that_changes_is_followed():
    result = warm("provisioned", 600, 1, 5, 1e-3)
    assert len(result.gaps) == len(result.tick_s) == 5
    instance = result.market.instance
    chosen = instance.cost[np.arange(len(instance.cost)), result.market.choice]
    assert (chosen != CLOSED).all()
    assert max(result.gaps) < 5.0
