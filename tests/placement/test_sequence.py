"""Moves in waves: an independent checker looks at every state on the way."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

from aiops.errors import InputError, SettingsError
from aiops.placement.instance import CLOSED, MICRO, UNLIMITED, Instance
from aiops.placement.sequence import MoveLimits, sequence
from benchmarks._placement_check import broken, violations
from benchmarks._placement_instances import make

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
SMALL = 2500 if COMPILED else 600
LARGE = 20_000 if COMPILED else 3_000

ALL = MoveLimits(steps=10**6, wave=10**6, node=10**6, uplink=10**6)


def arrays(instance):
    return {field.name: getattr(instance, field.name) for field in fields(instance)}


def fits(instance, choice):
    at_home, shared = instance.usage(choice)
    return bool((at_home <= instance.room).all() and (shared <= instance.capacity).all())


def some_choice(instance, rng):
    """Return a random choice that keeps every capacity."""
    w, k = instance.cost.shape
    choice = np.full(w, k - 1, np.int32)
    for i in rng.permutation(w):
        for option in rng.permutation(k - 1):
            if instance.cost[i, option] != CLOSED:
                choice[i] = option
                if fits(instance, choice):
                    break
                choice[i] = k - 1
    return choice


def small(seed):
    """Return an instance and two choices of it; in a third of them what is before is over."""
    rng = np.random.default_rng(seed)
    d, k, m, u = (int(rng.integers(*of)) for of in ((1, 5), (2, 6), (1, 4), (0, 3)))
    sizes = rng.integers(0, 5, d)
    w = int(sizes.sum())
    cost = rng.integers(1, 100, (w, k)).astype(np.int64)
    cost[:, :-1][rng.random((w, k - 1)) < 0.1] = CLOSED
    node = rng.integers(0, m, (w, k)).astype(np.int32)
    node[np.repeat(rng.random(d) < 0.7, sizes), 0] = -1
    node[:, -1] = -1
    uplink = rng.integers(-1, u, (w, k)).astype(np.int32) if u else np.full((w, k), -1, np.int32)
    uplink[:, [0, -1]] = -1
    capacity = rng.integers(4, 18, 3 * m + u).astype(np.int64)
    capacity[rng.random(len(capacity)) < 0.2] = UNLIMITED
    instance = Instance(
        block=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        cost=cost,
        node=node,
        uplink=uplink,
        demand=rng.integers(0, 6, (w, 4)).astype(np.int64),
        room=rng.integers(0, 12, (d, 3)).astype(np.int64),
        capacity=capacity,
        nodes=m,
    )
    before, after = some_choice(instance, rng), some_choice(instance, rng)
    if seed % 3 == 0:
        stray = rng.random(w) < 0.3
        before[stray] = rng.integers(0, k, int(stray.sum()))
    return instance, before, after, rng


def hosts(*node, room=10, options=2):
    """Return workloads on shared hosts with `room` cores each, as many options, and shed.

    `node` lists, for each workload, its cores and its cost at each host; None: ruled out.
    """
    w = len(node)
    cost = np.array([[CLOSED if c is None else c for c in one[1:]] for one in node], np.int64)
    demand = np.zeros((w, 4), np.int64)
    demand[:, 0] = [one[0] * MICRO for one in node]
    at = np.tile(np.append(np.arange(options), -1), (w, 1)).astype(np.int32)
    capacity = np.full(3 * options, UNLIMITED, np.int64)
    capacity[::3] = np.array(room) * MICRO
    return Instance(
        block=np.array([0, w], np.int32),
        cost=cost,
        node=at,
        uplink=np.full_like(at, -1),
        demand=demand,
        room=np.zeros((1, 3), np.int64),
        capacity=capacity,
        nodes=options,
    )


def as_i4(*values):
    return np.array(values, np.int32)


# -- random instances -----------------------------------------------------------------------------


def test_no_state_on_the_way_breaks_a_capacity_and_the_plan_is_reached():
    kinds = Counter()
    for seed in range(SMALL):
        instance, before, after, _ = small(seed)
        moves = sequence(instance, before, after, ALL)
        given = arrays(instance)
        assert violations(given, after) == []
        assert broken(given, before, moves) == [], seed
        assert (moves.reached(before) == after).all(), seed
        assert not len(moves.left)
        kinds.update(step.kind for step in moves)
    assert set(kinds) == {"move", "hop", "stop", "start"}
    assert kinds["move"] > 20 * kinds["hop"], "make way only when all wait for each other"


def test_limits_hold_and_what_is_left_is_said():
    cut = 0
    for seed in range(SMALL // 2):
        instance, before, after, rng = small(seed)
        limits = MoveLimits(*(int(rng.integers(*of)) for of in ((0, 6), (1, 4), (1, 3), (1, 3))))
        moves = sequence(instance, before, after, limits)
        assert broken(arrays(instance), before, moves) == [], seed
        assert len(moves) <= limits.steps
        expected = after.copy()
        expected[moves.left] = before[moves.left]
        assert (moves.reached(before) == expected).all(), seed
        waves = Counter(moves.wave.tolist())
        assert list(waves) == list(range(len(waves)))
        assert max(waves.values(), default=0) <= limits.wave
        touched = Counter()
        for step in moves:
            if step.kind != "stop":
                for of, name in (instance.node, "node"), (instance.uplink, "uplink"):
                    ends = {int(of[step.workload, k]) for k in (step.source, step.target)}
                    touched.update((step.wave, name, end) for end in ends - {-1})
        for (_, name, _), count in touched.items():
            assert count <= getattr(limits, name)
        cut += len(moves.left) > 0
    assert cut > SMALL // 10


def test_what_waits_for_nothing_that_is_left_out_breaks_no_capacity():
    """Whatever is held on the way: the rest is safe if it lacks nothing that it waits for."""
    dropped = 0
    for seed in range(SMALL // 2):
        instance, before, after, rng = small(seed)
        steps = list(sequence(instance, before, after, ALL))
        assert all(other < at for at, step in enumerate(steps) for other in step.after)
        held = {step.together for step in steps if rng.random() < 0.15}
        for step in steps:  # in order, but for those that wait for each other: twice
            held |= {step.together for other in step.after if steps[other].together in held}
        for step in steps:
            held |= {step.together for other in step.after if steps[other].together in held}
        kept = [step for step in steps if step.together not in held]
        assert broken(arrays(instance), before, kept) == [], seed
        # nobody is left on a hop, or stopped for a while
        ends = {step.workload: step.target for step in kept}
        assert all(after[w] == target for w, target in ends.items())
        dropped += 0 < len(kept) < len(steps)
    assert dropped > SMALL // 20


def test_the_same_comes_out_again():
    for seed in range(50):
        instance, before, after, _ = small(seed)
        limits = MoveLimits(steps=4, wave=2)
        first = list(sequence(instance, before, after, limits))
        copied = replace(instance, cost=instance.cost.copy())
        assert list(sequence(copied, before.copy(), after.copy(), limits)) == first


def random_plan(instance, seed):
    """Return a plan of a large instance: one after another to where it is cheap, about."""
    rng = np.random.default_rng(seed)
    cost = np.where(instance.cost == CLOSED, np.inf, instance.cost.astype(float))
    order = np.argsort(cost * rng.lognormal(0.0, 0.3, cost.shape), axis=1).tolist()
    capacity, room, home = instance.capacity.tolist(), instance.room.tolist(), instance.home
    choice = np.empty(len(cost), np.int32)
    for i in rng.permutation(len(cost)).tolist():
        demand = instance.demand[i].tolist()
        for k in order[i]:
            if cost[i, k] == np.inf:
                continue
            node, uplink = int(instance.node[i, k]), int(instance.uplink[i, k])
            rows = [(capacity, 3 * node + r, r) for r in range(3) if node >= 0]
            rows += [(room[home[i]], r, r) for r in range(3) if node < 0 and k == 0]
            rows += [(capacity, 3 * instance.nodes + uplink, 3)] if uplink >= 0 else []
            if all(free[row] >= demand[r] for free, row, r in rows):
                for free, row, r in rows:
                    free[row] -= demand[r]
                choice[i] = k
                break
    return choice


@pytest.mark.parametrize("regime", ["provisioned", "contended"])
def test_large_fleets(regime):
    instance = make(regime, LARGE, 1)
    before, after = random_plan(instance, 1), random_plan(instance, 2)
    given = arrays(instance)
    for limits in ALL, MoveLimits(steps=10**6), MoveLimits(steps=LARGE // 20):
        moves = sequence(instance, before, after, limits)
        assert broken(given, before, moves) == []
        assert len(moves) <= limits.steps
        if limits.steps == 10**6:
            assert (moves.reached(before) == after).all()
        else:
            assert 0.9 * limits.steps <= len(moves), "the budget is used"


# -- cases ----------------------------------------------------------------------------------------


def test_two_full_hosts_swap_by_way_of_the_cloud():
    instance = hosts((10, 5, 1, 8, 99), (10, 1, 5, 7, 99), room=(10, 10, 100), options=3)
    moves = sequence(instance, as_i4(0, 1), as_i4(1, 0))
    assert [(s.workload, s.source, s.target, s.kind, s.wave) for s in moves] == [
        (1, 1, 2, "hop", 0),  # the cloud costs it less than the other
        (0, 0, 1, "move", 1),
        (1, 2, 0, "move", 2),
    ]
    assert [s.after for s in moves] == [(), (0,), (0, 1)]
    assert {s.together for s in moves} == {0}, "all or none"
    assert not len(moves.interrupted)


def test_without_a_refuge_who_is_worth_least_is_stopped_and_started_again():
    instance = hosts((10, 5, 1, 99), (10, 1, 5, 98))
    moves = sequence(instance, as_i4(0, 1), as_i4(1, 0))
    assert [(s.workload, s.kind) for s in moves] == [(1, "stop"), (0, "move"), (1, "start")]
    assert moves.interrupted.tolist() == [1]


def test_what_is_shed_makes_room_at_once():
    instance = hosts((10, 5, 1, 9), (10, 9, 5, 1))
    moves = sequence(instance, as_i4(0, 1), as_i4(1, 2))
    assert [(s.workload, s.kind, s.wave) for s in moves] == [(1, "stop", 0), (0, "move", 0)]
    assert moves.wave.tolist() == [0, 0]
    assert list(moves)[1].after == (0,)


def test_of_what_is_short_of_a_budget_the_least_saving_stays():
    instance = hosts((1, 9, 5, 99), (1, 9, 1, 99), (1, None, 8, 9), (1, 9, 3, 99))
    before, after = as_i4(0, 0, 0, 0), as_i4(1, 1, 1, 1)
    kept = [
        sorted(sequence(instance, before, after, MoveLimits(steps=n)).workload) for n in range(5)
    ]
    # Who may not stay goes first, whatever it saves; then 8, 6 and 4.
    assert kept == [[], [2], [1, 2], [1, 2, 3], [0, 1, 2, 3]]


def test_a_move_is_not_made_without_the_move_that_makes_room_for_it():
    # 0 saves much, but only where 1 has been.
    instance = hosts((10, 99, 1, 99, 200), (10, 9, 8, 7, 200), room=(10, 10, 10), options=3)
    before, after = as_i4(0, 1), as_i4(1, 2)
    assert sequence(instance, before, after, MoveLimits(steps=1)).workload.tolist() == [1]
    assert sequence(instance, before, after, MoveLimits(steps=2)).workload.tolist() == [1, 0]


def test_a_host_that_is_over_is_only_relieved():
    # Its power fell: 12 of 6. Two leave, one that saves much wants in.
    instance = hosts(
        (6, 1, 2, 9), (3, 1, 2, 9), (3, 1, 9, 99), (2, 1, 50, 99), room=(6, 100), options=2
    )
    before, after = as_i4(0, 0, 0, 1), as_i4(1, 0, 0, 1)
    moves = sequence(instance, before, after)
    assert moves.workload.tolist() == [0]
    after = as_i4(1, 1, 0, 0)
    moves = sequence(instance, before, after)
    assert broken(arrays(instance), before, moves) == []
    assert moves.workload.tolist() == [0, 1, 3]
    assert moves.wave.tolist() == [0, 0, 1]
    assert sequence(instance, before, after, MoveLimits(steps=1)).workload.tolist() == [0]


def test_who_relieves_a_host_goes_before_who_only_saves():
    instance = hosts(
        (6, 1, 2, 2, 9), (3, 1, 9, 9, 99), (1, 50, 50, 1, 99), room=(6, 100, 100), options=3
    )
    before, after = as_i4(0, 0, 1), as_i4(1, 0, 2)
    assert sequence(instance, before, after, MoveLimits(steps=1)).workload.tolist() == [0]


def test_silence_moves_nobody_and_a_fence_comes_before_a_second_copy():
    quiet = np.array([True, True, True, False])
    state = np.array([True, True, False, True])
    #            silent only    may not stay       no state           not silent
    instance = hosts((1, 9, 1, 99), (1, None, 1, 99), (1, None, 1, 99), (1, None, 1, 99))
    before, after = as_i4(0, 0, 0, 0), as_i4(1, 1, 1, 1)
    moves = sequence(instance, before, after, stateful=state, unreachable=quiet)
    assert moves.left.tolist() == [0]
    assert {s.workload: s.fence for s in moves} == {1: True, 2: False, 3: False}
    shed = sequence(instance, before, as_i4(0, 2, 2, 2), stateful=state, unreachable=quiet)
    assert not shed.fence.any(), "no second copy starts"


def test_who_waits_for_the_silent_stays_too():
    instance = hosts((10, 9, 1, 99, 99), (10, 9, 9, 1, 99), room=(10, 10, 10), options=3)
    before, after = as_i4(0, 1), as_i4(1, 2)
    moves = sequence(instance, before, after, unreachable=np.array([False, True]))
    assert not len(moves)
    assert moves.left.tolist() == [0, 1]


def test_only_the_first_copy_is_fenced_off():
    instance = hosts((10, None, 1, 8, 99), (10, 1, 5, 70, 99), room=(10, 10, 100), options=3)
    both = np.array([True, True])
    moves = sequence(instance, as_i4(0, 1), as_i4(1, 0), stateful=both, unreachable=~both)
    assert not moves.fence.any()
    moves = sequence(
        instance, as_i4(0, 1), as_i4(1, 0), stateful=both, unreachable=np.array([True, False])
    )
    assert [(s.workload, s.kind, s.fence) for s in moves] == [
        (0, "hop", True),
        (1, "move", False),
        (0, "move", False),
    ]


# -- storms ---------------------------------------------------------------------------------------


def test_a_cloud_outage_moves_no_more_than_the_limits():
    instance = make("contended", LARGE, 3)
    before = random_plan(instance, 1)
    regions = instance.node >= instance.nodes - 2
    out = replace(instance, cost=np.where(regions, CLOSED, instance.cost))
    after = random_plan(out, 1)
    evicted = int(regions[np.arange(len(before)), before].sum())
    assert evicted > 20
    limits = MoveLimits(steps=evicted // 2, wave=20)
    moves = sequence(out, before, after, limits)
    assert 0 < len(moves) <= limits.steps
    assert np.bincount(moves.wave).max() <= limits.wave
    given = arrays(out)
    assert broken(given, before, moves) == []
    # Who has lost its place goes before who would only save by going.
    assert regions[moves.workload, before[moves.workload]].mean() > 0.9
    # Half a storm later: what is left is the next plan's, and the storm ends.
    at, ticks = before, 0
    while (at != after).any():
        made = sequence(out, at, after, limits)
        assert broken(given, at, made) == []
        assert len(made)
        at, ticks = made.reached(at), ticks + 1
        assert ticks < 200
    assert violations(given, at) == []


def test_half_the_fleet_coming_back_at_once_moves_no_more_than_the_limits():
    instance = make("provisioned", LARGE, 4)
    home, rng = instance.home, np.random.default_rng(4)
    gone = rng.random(len(instance.room)) < 0.5
    cost = instance.cost.copy()
    cost[gone[home], 0] = CLOSED
    away = random_plan(replace(instance, cost=cost), 1)
    back = random_plan(instance, 1)
    limits = MoveLimits(steps=LARGE // 100, wave=10, node=2, uplink=1)
    moves = sequence(instance, away, back, limits)
    assert (away != back).sum() > 3 * limits.steps
    assert 0 < len(moves) <= limits.steps
    assert np.bincount(moves.wave).max() <= limits.wave
    assert broken(arrays(instance), away, moves) == []


# -- what is refused ------------------------------------------------------------------------------


def test_a_plan_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="no room"):
        sequence(hosts((10, 1, 1, 9), (10, 1, 1, 9)), as_i4(0, 1), as_i4(1, 1))
    with pytest.raises(InputError, match="workload 0 to option 1, which is ruled out"):
        sequence(hosts((1, 1, None, 9)), as_i4(0), as_i4(1))
    for wrong in as_i4(0, 0), as_i4(3), as_i4(-1):
        with pytest.raises(InputError, match="below 3 for each of 1"):
            sequence(hosts((1, 1, 1, 9)), as_i4(0), wrong)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"wave": 0}, {"node": 0}, {"uplink": 2**31}])
def test_limits_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(SettingsError, match=name):
        MoveLimits(**wrong)


def test_nothing_to_do_is_done_at_once():
    instance = hosts((1, 1, 1, 9))
    moves = sequence(instance, as_i4(0), as_i4(0))
    assert (len(moves), len(moves.left), list(moves)) == (0, 0, [])
