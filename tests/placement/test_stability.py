"""Workloads stay until a move is worth it, and what that costs is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.placement import stability
from aiops.placement.stability import PATIENCE
from benchmarks._stability_data import Trace
from benchmarks._stability_policies import WORK_FUNCTION, Engine, greedy, hindsight, played
from tests.oracles import work as oracle

MOVE = 1_000.0
MINUTE_S = 60.0


def trace(costs, tick_s=MINUTE_S, move=MOVE):
    """Return costs [t, w, k] that are measured as they are."""
    costs = np.asarray(costs, dtype=np.float64)
    return Trace(costs, costs, np.full(costs.shape[1], move), tick_s)


def walk(policy, costs, tick_s=MINUTE_S, start=0):
    """Return where one workload is after each tick of `costs` [t, k]."""
    at, been = np.array([start]), []
    for tick in np.asarray(costs, dtype=np.float64):
        at = policy(tick[None, :], at)
        been.append(int(at[0]))
    return been


def engine(costs, **given):
    return Engine(trace(np.asarray(costs)[:, None, :]), **given)


def test_hindsight_is_the_least_of_all_sequences_of_places():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        costs = rng.integers(0, 90_000, (5, 1, 3)).astype(np.float64)
        costs[rng.random(costs.shape) < 0.1] = np.inf
        costs[:, 0, 0] = np.minimum(costs[:, 0, 0], 90_000.0)
        best = hindsight(trace(costs), np.array([1]))
        paid = [[c / 60.0 if np.isfinite(c) else None for c in tick[0]] for tick in costs.tolist()]
        assert best.cost[0] == pytest.approx(min(oracle.work_function(paid, MOVE, 1)))


def test_hindsight_counts_its_moves():
    costs = np.full((60, 1, 2), 1_000.0)
    costs[:20, 0, 1] = costs[20:40, 0, 0] = costs[40:, 0, 1] = 90_000.0
    best = hindsight(trace(costs), np.array([0]))
    assert best.moves[0] == 2
    assert best.cost[0] == pytest.approx(60 * 1_000.0 / 60.0 + 2 * MOVE)


def test_a_spike_moves_nobody():
    costs = np.full((200, 2), [5_000.0, 6_000.0])
    costs[100:103, 0] = 15_000.0
    assert set(walk(engine(costs), costs)) == {0}
    assert 1 in walk(lambda measured, at: greedy(measured, at), costs)


def test_what_lasts_is_followed():
    costs = np.full((400, 2), [5_000.0, 6_000.0])
    costs[100:, 0] = 15_000.0
    been = walk(engine(costs), costs)
    assert been[99] == 0
    moved = been.index(1)
    assert 9_000.0 * (moved - 100) / 60.0 < 3.0 * MOVE
    assert set(been[moved:]) == {1}


def test_who_must_leave_leaves_at_once_and_does_not_hurry_back():
    costs = np.full((400, 2), [5_000.0, 6_000.0])
    costs[100:110, 0] = np.inf
    been = walk(engine(costs), costs)
    assert been[99] == 0
    assert set(been[100:110]) == {1}
    back = been.index(0, 100) if 0 in been[100:] else len(been)
    # a fifth less an hour: not before it had lost a share of the move by being away
    assert 1_000.0 * (back - 109) / 60.0 >= PATIENCE.evidence * MOVE


def test_nobody_goes_back_before_leaving_has_paid():
    # It leaves 0 for 1; 1 gets worse than 0 at once, and then 2 better than both.
    costs = np.full((400, 3), [9_000.0, 5_000.0, 30_000.0])
    costs[60:, 1] = 11_500.0
    been = walk(engine(costs), costs)
    left, back = been.index(1), 60 + been[60:].index(0)
    pays_min = 60.0 * MOVE / (9_000.0 - 5_000.0)
    assert back - left > 2.0 * pays_min
    costs[70:, 2] = 1_000.0
    elsewhere = walk(engine(costs), costs)
    assert 2 in elsewhere[70:back]
    # Who is driven out may come back.
    costs = np.full((400, 2), [5_000.0, 9_000.0])
    costs[60:70, 0] = np.inf
    assert 0 in walk(engine(costs), costs)[70:200]


def test_costs_that_swing_within_the_price_of_a_move_move_nobody():
    tick = np.arange(2_000)
    swing = np.where(tick % 4 < 2, 1_500.0, -1_500.0)
    swing[0] = 0.0  # who was never seen goes by what is first read
    costs = np.stack([20_000.0 + swing, 20_000.0 - swing], axis=1)
    assert set(walk(engine(costs), costs)) == {0}
    assert len(set(walk(greedy, costs))) == 2


@pytest.mark.parametrize("tick_s", [10.0, 60.0, 600.0])
def test_the_rule_is_the_same_however_often_it_is_asked(tick_s):
    hours = 12.0
    costs = np.full((int(hours * 3600 / tick_s), 2), [5_000.0, 5_600.0])
    third = len(costs) // 3
    costs[third:, 0] = 9_000.0
    been = walk(Engine(trace(costs[:, None, :], tick_s)), costs)
    late_h = (been.index(1) - third) * tick_s / 3600.0
    assert late_h == pytest.approx(0.5, abs=0.2 + tick_s / 3600.0)


def test_a_long_silence_counts_as_one_horizon():
    shape, current = (1, 2), np.zeros(1, dtype=np.int32)
    cost, move = np.array([[9_000, 5_000]]), np.array([[0, 500_000]])
    work, _ = stability.advance(
        stability.unknown(shape), cost, np.ones(shape, dtype=bool), move, current, 0.0, 3600.0
    )
    ages = {}
    for elapsed_s in (-5.0, 0.0, 3600.0, 30 * 86_400.0):
        ages[elapsed_s], _ = stability.advance(
            work, cost, np.ones(shape, dtype=bool), move, current, elapsed_s, 3600.0
        )
    assert ages[3600.0].owed.tolist() == ages[30 * 86_400.0].owed.tolist()
    assert ages[3600.0].owed.tolist() == [[0.0, 496_000.0]]  # 4,000 nearer than a move
    assert ages[-5.0].owed.tolist() == ages[0.0].owed.tolist() == work.owed.tolist()


def test_what_was_known_is_left_alone():
    shape = (3, 4)
    before = stability.unknown(shape)
    stability.advance(
        before,
        np.arange(12).reshape(shape),
        np.ones(shape, dtype=bool),
        np.ones(shape, dtype=np.int64),
        np.zeros(3, dtype=np.int32),
        60.0,
        3600.0,
    )
    assert all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(before, stability.unknown(shape), strict=True)
    )


@pytest.mark.parametrize("patience", [PATIENCE, WORK_FUNCTION])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("n", [2, 3, 4])
def test_costs_stay_below_the_bound_of_work_functions(n, seed, patience):
    rng = np.random.default_rng([n, seed])
    w, ticks = 12, 150
    charge = rng.choice([2_000.0, 20_000.0, 60_000.0], (w, 1))
    random = charge * (rng.random((ticks, w, n)) < rng.uniform(0.1, 0.6))
    start = np.zeros(w, dtype=np.int64)
    most = (2 * n - 1) * hindsight(trace(random), start).cost + n * MOVE
    assert (
        played(trace(random), start, Engine(trace(random), patience=patience)).cost < most
    ).all()

    # one that charges wherever the workload is
    cruel, at, paid = np.zeros((ticks, w, n)), start, np.zeros(w)
    policy = Engine(trace(cruel), patience=patience)
    for tick in range(ticks):
        cruel[tick, np.arange(w), at] = charge[:, 0]
        to = policy(cruel[tick], at)
        paid += MOVE * (to != at) + cruel[tick, np.arange(w), to] / 60.0
        at = to
    assert (paid < (2 * n - 1) * hindsight(trace(cruel), start).cost + n * MOVE).all()


@pytest.mark.parametrize("tick_s", [60.0, 300.0, 3600.0])
def test_a_small_advantage_that_lasts_is_taken_in_the_end(tick_s):
    # a fifth of an hour's cost, saved for ever, pays for a move of 1,000 within hours
    work, current = stability.unknown((1, 2)), np.zeros(1, np.int32)
    cost, open_ = np.array([[5_000, 4_100]]), np.ones((1, 2), np.bool_)
    move = np.array([[0, 1_000]])
    hours = 0.0
    while hours < 24.0:
        work, bias = stability.advance(work, cost, open_, move, current, tick_s, 3600.0)
        if hours == 0.0:
            # it has been here all the time, whatever the first plan would have said
            bias[:] = [[0, 1_000]]
        if (cost + bias)[0].argmin() == 1:
            break
        hours += tick_s / 3600.0
    assert 1.0 < hours < 12.0
