"""Telemetry that cannot be true, a cloud that is gone, half a fleet that comes back at once."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from aiops.placement.conditions import Conditions
from aiops.placement.problem import pose
from aiops.placement.sequence import MoveLimits
from aiops.placement.solver import solve
from aiops.placement.topology import PlacementSettings, resolve
from benchmarks._placement_check import broken, violations
from tests.placement.fleets import MINUTE, NOON, random_conditions, random_inventory

LIMITS = MoveLimits(steps=12, wave=5)
SETTINGS = PlacementSettings(limits=LIMITS)


def arrays(instance):
    return {one.name: getattr(instance, one.name) for one in fields(instance)}


def told(conditions: Conditions) -> list[str]:
    return [one.name for one in fields(conditions) if getattr(conditions, one.name).dtype == float]


def checked(conditions, of, memory, ts):
    """Return problem, plan and memory, after the independent checker has seen all of it."""
    problem = pose(conditions, (), of, memory, ts, SETTINGS)
    plan, memory = solve(problem, memory)
    free = ~problem.held
    instance = arrays(problem.instance)
    assert violations(instance, plan.choice) == []
    assert broken(instance, problem.current, plan.order) == []
    assert len(plan.order) <= LIMITS.steps
    assert (plan.choice[~free] == problem.current[~free]).all()
    assert np.isfinite(plan.cost)
    assert plan.bound <= plan.cost
    return problem, plan, memory


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300, -1e300, -1.0, 0.0])
def test_readings_that_cannot_be_true_decide_nothing(seed, wrong):
    of, rng, memory = random_inventory(seed, w=40, m=6), np.random.default_rng(seed), None
    for step in range(6):
        state = random_conditions(of, rng)
        if step >= 2:
            hit = rng.random(len(of.nodes)) < 0.5
            spoilt = {
                name: np.where(hit, wrong, getattr(state, name))
                for name in told(state)
                if rng.random() < 0.7
            }
            state = replace(state, **spoilt)
        _, _, memory = checked(state, of, memory, NOON + step * MINUTE)


@pytest.mark.parametrize("seed", range(4))
def test_readings_that_stay_the_same_move_nobody(seed):
    of, memory = random_inventory(seed, w=40, m=6), None
    state = random_conditions(of, np.random.default_rng(seed))
    moves = []
    for step in range(30):
        _, plan, memory = checked(state, of, memory, NOON + 10 * step * MINUTE)
        moves.append(len(plan.moves))
    assert sum(moves[-10:]) == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_cloud_that_is_gone_is_left_and_nothing_goes_there(seed):
    of, rng, memory = random_inventory(seed, w=40, m=6), np.random.default_rng(seed), None
    topology = resolve(of)
    cloud = np.array([node.kind == "cloud" for node in of.nodes])
    assert cloud.any()
    state = random_conditions(of, rng)
    for step in range(8):
        lost = np.where(cloud & (step >= 3), 1.0, state.loss_ratio)
        rtt = np.where(cloud & (step >= 3), 1e5, state.rtt_ms)
        now = replace(state, loss_ratio=lost, rtt_ms=rtt)
        problem, plan, memory = checked(now, of, memory, NOON + step * MINUTE)
        at = topology.option[np.arange(len(plan.choice)), plan.choice]
        ruled_out = problem.mask_reason[np.arange(len(plan.choice)), plan.choice] != 0
        waits = np.isin(np.arange(len(at)), plan.order.left) | problem.held
        assert not (ruled_out & ~waits).any()


@pytest.mark.parametrize("seed", range(4))
def test_half_a_fleet_comes_back_in_one_tick(seed):
    of, rng, memory = random_inventory(seed, w=60, m=8), np.random.default_rng(seed), None
    away = rng.random(len(of.nodes)) < 0.5
    for step in range(10):
        gone = away & (2 <= step < 6)
        state = random_conditions(of, np.random.default_rng(seed))
        state = replace(state, silent=gone, age_s=np.where(gone, 1e4, state.age_s))
        problem, plan, memory = checked(state, of, memory, NOON + 10 * step * MINUTE)
        if 2 <= step < 6:
            # Unreachable is not dead: nobody leaves a node for its silence alone.
            here = problem.topology.option[np.arange(len(plan.choice)), problem.current]
            quiet = np.append(gone, False)[here] & problem.held
            assert (plan.reached[quiet] == problem.current[quiet]).all()
