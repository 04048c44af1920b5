"""From conditions to a problem."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiops.fleet.inventory import Inventory
from aiops.placement.criteria import ABSENT, BIT, SETTLE_S, TERMS
from aiops.placement.problem import NEVER, SECOND, Conditions, align, at_home, pose
from aiops.placement.solver import solve
from aiops.placement.topology import resolve
from tests.placement.fleets import (
    MINUTE,
    NODES,
    NOON,
    conditions,
    inventory,
    posed,
    random_conditions,
    random_inventory,
    workload,
)
from tests.placement.test_risk import finding

HOME, NEAR, CLOUD, SHED = range(4)


def blocked(problem, i, k):
    return {name for name, bit in BIT.items() if problem.mask_reason[i, k] & bit}


def test_without_workloads_there_is_no_problem():
    of = Inventory(NODES)
    assert pose(Conditions.unknown(len(NODES)), (), of, None, NOON) is None


@pytest.mark.parametrize("seed", range(5))
def test_shapes_hold(seed):
    of = random_inventory(seed)
    problem = pose(random_conditions(of, np.random.default_rng(seed)), (), of, None, NOON)
    w, k = problem.node.shape
    assert (w, k) == (len(of.workloads), 5)
    assert problem.terms.shape == (w, k, len(TERMS))
    assert problem.terms.dtype == problem.move_cost.dtype == np.int64
    assert (problem.terms >= 0).all()
    assert (problem.mask_reason[:, -1] == 0).all()  # shed is never ruled out
    assert (problem.move_cost[:, 0] == 0).all()  # everybody is at home
    values = [round(workload.value_per_hour) for workload in of.workloads]
    assert problem.cost[:, -1].tolist() == values


def test_posing_reads_and_writes_nothing_else():
    of = random_inventory(3)
    state = random_conditions(of, np.random.default_rng(3))
    before = [getattr(state, name).copy() for name in state.__dataclass_fields__]
    memory = at_home(resolve(of))
    kept = [values.copy() for values in memory]
    pose(state, (), of, memory, NOON)
    for name, was in zip(state.__dataclass_fields__, before, strict=True):
        np.testing.assert_array_equal(getattr(state, name), was)
    for values, was in zip(memory, kept, strict=True):
        np.testing.assert_array_equal(values, was)


def test_an_option_that_does_not_exist_is_ruled_out():
    problem = posed(inventory(workload("a"), workload("b", candidates=())))
    assert (problem.mask_reason[1] == [0, ABSENT, ABSENT, 0]).all()


def test_what_a_silent_node_last_said_does_not_count():
    of = inventory()
    hot = {"temperature_c": {"gw-lyon": 95.0}}
    assert blocked(posed(of, **hot), 0, HOME) == {"temperature"}
    for silence in ({"silent": {"gw-lyon": True}},):
        problem = posed(of, **hot, **silence)
        assert blocked(problem, 0, HOME) == set()
        assert problem.cost[0, HOME] == 0


def test_nothing_moves_to_a_silent_or_cordoned_node():
    of = inventory()
    assert blocked(posed(of, silent={"gw-near": True}), 0, NEAR) == {"silence"}
    assert blocked(posed(of, cordoned={"gw-near": True}), 0, NEAR) == {"cordon"}
    assert blocked(posed(of, cordoned={"gw-lyon": True}), 0, HOME) == set()


def test_the_measured_round_trip_replaces_the_declared():
    far = replace(NODES[3], id="far", rtt_ms=100)
    of = inventory(workload(candidates=("gw-near", "cloud", "far")), nodes=(*NODES, far))
    assert posed(of).options.rtt_ms[0, :4].tolist() == [0, 2, 40, 100]
    measured = posed(of, rtt_ms={"gw-lyon": 55}).options.rtt_ms[0, :4]
    assert measured.tolist() == [0, 2, 55, 115]


def test_loss_of_both_uplinks_counts_between_sites():
    of = inventory(workload(candidates=("gw-near", "gw-oslo", "cloud")))
    loss = {"gw-lyon": 0.01, "gw-near": 0.3, "gw-oslo": 0.2}
    assert posed(of, loss_ratio=loss).options.loss_ratio[0, :4].tolist() == [0.01, 0.01, 0.2, 0.01]


@pytest.mark.parametrize(("mains", "expected"), [(np.nan, True), (0.0, True), (1.0, False)])
def test_the_battery_is_in_use_as_measured_or_else_as_declared(mains, expected):
    of = inventory(nodes=(replace(NODES[0], on_battery=True), *NODES[1:]))
    assert posed(of, on_mains={"gw-lyon": mains}).options.on_battery[0, HOME] == expected


def test_findings_add_to_the_risk_that_is_known():
    of = inventory()
    known = {"failure_risk": {"gw-lyon": 0.5}}
    firing = [finding("gw-lyon", severity="critical")]
    risk = posed(of, findings=firing, **known).options.failure_risk[0]
    assert risk.tolist() == pytest.approx([1 - 0.5 * 0.8, 0, 0, 0])


def test_a_workload_stays_for_its_dwell_unless_driven_out():
    of = inventory()
    hot = {"temperature_c": {"gw-lyon": 95.0}}
    _, memory = solve(posed(of, **hot), None)
    assert memory.choice.tolist() == [NEAR]
    dwell_s = posed(of).settings.dwell_s
    for after_s, held in ((60, True), (dwell_s - 1, True), (dwell_s, False)):
        assert posed(of, memory, NOON + int(after_s * SECOND)).held.tolist() == [held]
    assert not posed(of, memory, NOON + MINUTE, temperature_c={"gw-near": 95.0}).held.any()


def test_a_workload_is_not_held_where_there_is_no_room():
    crowd = [workload(f"w-{i}", home="gw-near", candidates=("cloud",)) for i in range(2)]
    _, memory = solve(posed(inventory(*crowd), temperature_c={"gw-near": 95.0}), None)
    _, memory = solve(posed(inventory(*crowd), memory, NOON + 60 * MINUTE), memory)
    assert memory.choice.tolist() == [0, 0]
    assert posed(inventory(*crowd), memory, NOON + 61 * MINUTE).held.all()
    shrunk = (NODES[0], replace(NODES[1], cpu_cores=0.5), *NODES[2:])
    assert not posed(inventory(*crowd, nodes=shrunk), memory, NOON + 61 * MINUTE).held.any()


def test_an_option_must_settle_before_it_is_taken_again():
    of = inventory()
    _, memory = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    well = NOON + int(SETTLE_S * SECOND)
    assert blocked(posed(of, memory, well - 1), 0, HOME) == {"settling"}
    assert blocked(posed(of, memory, well), 0, HOME) == set()


def test_memory_follows_ids_through_a_changed_inventory():
    of = inventory(workload("a"), workload("b"), workload("c"))
    _, memory = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    was = dict(zip(memory.workload.tolist(), memory.choice.tolist(), strict=True))
    # gw-near has room for two; the third is in the cloud.
    assert sorted(was.values()) == [NEAR, NEAR, CLOUD]
    in_cloud = next(name for name, k in was.items() if k == CLOUD)
    changed = inventory(
        workload("new"),
        *(workload(name, candidates=("cloud", "gw-oslo", "gw-near")) for name in "cba"),
        nodes=NODES[::-1],
    )
    topology = resolve(changed)
    aligned = align(memory, topology)
    for row, name in enumerate(topology.workload):
        at = int(topology.option[row, aligned.choice[row]])
        expected = {"new": "gw-lyon", in_cloud: "cloud"}.get(name, "gw-near")
        assert topology.node[at] == expected
        assert aligned.since_ts[row] == (NEVER if name == "new" else NOON)
    assert aligned.plan_id == memory.plan_id
    home = aligned.ruled_out_ts[:, 0].tolist()
    assert home == [NEVER, NOON, NOON, NOON]
    again = align(aligned, topology)
    assert again is aligned


def test_a_workload_whose_place_is_gone_is_taken_to_be_at_home():
    of = inventory()
    _, memory = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    aligned = align(memory, resolve(inventory(workload(candidates=("cloud",)))))
    assert aligned.choice.tolist() == [0]
    assert aligned.since_ts.tolist() == [NEVER]


def test_what_is_shed_stays_shed_in_a_wider_inventory():
    of = inventory(workload(candidates=()))
    _, memory = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    wider = resolve(inventory(workload(candidates=("cloud",))))
    assert align(memory, wider).choice.tolist() == [2]


def test_conditions_are_in_the_order_of_the_inventory():
    of = inventory()
    assert conditions(of, rtt_ms={"cloud": 5.0}).rtt_ms[-1] == 5.0
