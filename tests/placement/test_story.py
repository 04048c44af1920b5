"""A heat wave: work leaves the hot site, returns when it cools, and does not flap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiops.fleet.inventory import Inventory, Node, Workload
from aiops.placement.problem import Conditions, PlacementMemory, pose
from aiops.placement.solver import solve
from tests.placement.fleets import MINUTE, NOON

WAVE = (60, 180)  # minutes


def site() -> Inventory:
    """Return a hot site of three gateways, a cool one next to it, and a cloud region."""
    nodes = [Node(f"hot-{i}", "gateway", "lyon", cpu_cores=2, rtt_ms=3) for i in range(3)]
    nodes.append(Node("cool", "gateway", "lyon", cpu_cores=1, rtt_ms=3))
    nodes.append(
        Node("cloud", "cloud", rtt_ms=40, cpu_cores=100, memory_gb=100, price_per_core_hour=4_000)
    )
    slo = {0: 1000.0, 1: 1000.0, 2: 20.0}
    workloads = [
        Workload(
            f"w-{i}-{j}",
            f"hot-{i}",
            cpu_cores=0.4,
            latency_slo_ms=slo[j],
            value_per_hour=20_000.0,
            candidates=("cool", "cloud"),
        )
        for i in range(3)
        for j in range(3)
    ]
    return Inventory(tuple(nodes), tuple(workloads))


def heat(minute: int, peak_c: float) -> float:
    return peak_c if WAVE[0] <= minute < WAVE[1] else 50.0


def states(of: Inventory, peak_c: float, minutes: int, noise: float = 0.0, seed: int = 0):
    """Yield minute and conditions; `noise` is relative, of every reading."""
    rng = np.random.default_rng(seed)
    hot = np.array([node.id.startswith("hot") for node in of.nodes])
    cloud = np.array([node.kind == "cloud" for node in of.nodes])

    def read(true):
        values = np.where(cloud, np.nan, true)
        return values * (1.0 + noise * rng.standard_normal(len(hot)))

    for minute in range(minutes):
        yield (
            minute,
            replace(
                Conditions.unknown(len(hot)),
                temperature_c=read(np.where(hot, heat(minute, peak_c), 40.0)),
                rtt_ms=read(35.0),
                loss_ratio=np.clip(read(0.01), 0, 1),
                soc_ratio=np.clip(read(0.8), 0, 1),
                age_s=np.where(cloud, np.nan, 10.0),
            ),
        )


def play(of, conditions):
    """Yield minute and plan of each epoch."""
    memory: PlacementMemory | None = None
    for minute, state in conditions:
        problem = pose(state, (), of, memory, NOON + minute * MINUTE)
        plan, memory = solve(problem, memory)
        yield minute, plan


def moves_of(plans):
    return [(minute, move) for minute, plan in plans for move in plan.moves]


def test_work_leaves_the_heat_and_returns_home_when_it_cools():
    of = site()
    moves = moves_of(play(of, states(of, 95.0, 300)))
    left = {move.workload: move for minute, move in moves if minute == WAVE[0]}
    assert set(left) == {workload.id for workload in of.workloads}
    for name, move in left.items():
        assert move.forced
        # The strict ones fit only into the cool neighbour, or nowhere: the cloud is too far.
        assert move.target in (("cool", None) if name.endswith("2") else ("cool", "cloud"))
    assert {move.target for move in left.values()} == {"cool", "cloud", None}
    back = {move.workload: (minute, move) for minute, move in moves if minute >= WAVE[1]}
    for name, (minute, move) in back.items():
        assert move.target == f"hot-{name[2]}"
        # Who ran nowhere is back at once; who ran elsewhere, when that has cost enough.
        assert minute - WAVE[1] in (range(5) if left[name].target is None else range(5, 90))
    # Home is free and near: everybody who went to the cloud or was shed is back.
    assert {name for name, move in left.items() if move.target != "cool"} <= set(back)


def test_below_the_limit_the_strict_stay_and_pay():
    """At 82 of 85 °C leaving pays, but only for those whose replies may take so long."""
    of = site()
    plans = list(play(of, states(of, 82.0, 120)))
    strict = [w.id for w in of.workloads if w.id.endswith("2")]
    _, last = plans[-1]
    stayed = [name for name in strict if (last.where(name) or "").startswith("hot")]
    assert stayed
    for name in stayed:
        cloud = next(o for o in last.explain(name).options if o.place == "cloud")
        assert any("SLO" in reason for reason in cloud.blocked)
    assert all(
        not (last.where(w.id) or "hot").startswith("hot")
        for w in of.workloads
        if not w.id.endswith("2")
    )


def returns_within_payback(moves):
    """Return A -> B -> A returns that came before the first move had paid for itself.

    A move that was forced, or made room for others, pays nothing back itself.
    """
    found = []
    last = {}
    for minute, move in moves:
        then, first = last.get(move.workload, (None, None))
        last[move.workload] = (minute, move)
        if first is None or (move.source, move.target) != (first.target, first.source):
            continue
        own = not first.forced and first.saving > 0
        payback_min = min(60.0, 60 * first.move_cost / first.saving) if own else 0.0
        if not move.forced and minute - then < payback_min:
            found.append((then, minute, move))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_noisy_telemetry_does_not_make_work_flap(seed):
    of = site()
    noisy = list(states(of, 80.0, 360, noise=0.15, seed=seed))
    moves = moves_of(play(of, noisy))
    assert moves
    assert returns_within_payback(moves) == []
    # The same readings without memory: each epoch takes what looks best, and it flaps all day.
    flapping, at = 0, {}
    for minute, state in noisy:
        plan, _ = solve(pose(state, (), of, None, NOON + minute * MINUTE), None)
        for workload in of.workloads:
            place = plan.where(workload.id)
            flapping += place != at.get(workload.id, workload.home)
            at[workload.id] = place
    assert len(moves) < flapping / 5


def test_a_site_that_falls_silent_is_left_alone():
    """The hot readings that came last must not drive work out: unreachable is not dead."""
    of = site()
    silent = np.array([node.site == "lyon" for node in of.nodes])

    def fading():
        for minute, state in states(of, 95.0, 300):
            if minute >= 30:
                state = replace(state, silent=silent, age_s=np.where(silent, 1e4, np.nan))
            yield minute, state

    assert moves_of(play(of, fading())) == []


def test_findings_of_coming_failure_move_work_too():
    of = site()
    (_, state), *_ = states(of, 50.0, 1)
    risky = np.array([node.id == "hot-0" for node in of.nodes])
    problem = pose(replace(state, failure_risk=np.where(risky, 0.5, 0.0)), (), of, None, NOON)
    plan, _ = solve(problem, None)
    assert plan.moves
    assert {move.source for move in plan.moves} == {"hot-0"}
    assert all("failure_risk" in move.reason for move in plan.moves)
