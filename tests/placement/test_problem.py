"""From conditions to a problem."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiops.fleet.inventory import Inventory, Node, Site
from aiops.placement.conditions import PLAUSIBLE, Conditions
from aiops.placement.criteria import ABSENT, BIT, FRESH_S, TERMS
from aiops.placement.instance import CLOSED, UNLIMITED
from aiops.placement.problem import align, at_home, pose, rule_out
from aiops.placement.solver import solve
from aiops.placement.topology import resolve
from tests.oracles.place import violated
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
from tests.placement.instances import plain
from tests.placement.test_criteria import draw
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
    values = {workload.id: round(workload.value_per_hour) for workload in of.workloads}
    assert problem.cost[:, -1].tolist() == [values[name] for name in problem.topology.workload]
    assert (problem.cost == problem.terms.sum(axis=2)).all()
    for i in range(w):
        assert (problem.terms_of(i) == problem.terms[i]).all()


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


def test_a_workload_at_a_silent_node_stays_unless_driven_out():
    of = inventory()
    silent = np.array([True, False, False, False])
    quiet = replace(conditions(of), silent=silent)
    assert pose(quiet, (), of, None, NOON).held.tolist() == [True]
    assert posed(of).held.tolist() == [False]
    wrong = inventory(
        workload(arch=("riscv64",)), nodes=(replace(NODES[0], arch="arm64"), *NODES[1:])
    )
    assert not pose(quiet, (), wrong, None, NOON).held.any()


def test_a_workload_is_not_held_where_there_is_no_room():
    crowd = [workload(f"w-{i}", home="gw-near", candidates=("cloud",)) for i in range(2)]
    quiet = replace(conditions(inventory(*crowd)), silent=np.array([False, True, False, False]))
    assert pose(quiet, (), inventory(*crowd), None, NOON).held.all()
    shrunk = (NODES[0], replace(NODES[1], cpu_cores=0.5), *NODES[2:])
    assert not pose(quiet, (), inventory(*crowd, nodes=shrunk), None, NOON).held.any()


def test_who_was_driven_out_returns_when_being_away_has_cost_enough():
    of, minutes = inventory(), []
    _, memory = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    assert memory.choice.tolist() == [NEAR]
    for minute in range(1, 240):
        _, memory = solve(posed(of, memory, NOON + minute * MINUTE), memory)
        minutes += [minute] * int(memory.choice[0] == HOME)
    assert 5 <= minutes[0] <= 120
    assert minutes == list(range(minutes[0], 240))


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
        assert np.isnan(aligned.owed[row]).all() == (name == "new")
        assert np.isnan(aligned.level[row, aligned.choice[row]]) == (name == "new")
    assert aligned.plan_id == memory.plan_id
    assert aligned.ts == memory.ts == NOON
    again = align(aligned, topology)
    assert again is aligned


def test_a_workload_whose_place_is_gone_is_taken_to_be_at_home():
    of = inventory()
    _, memory = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    aligned = align(memory, resolve(inventory(workload(candidates=("cloud",)))))
    assert aligned.choice.tolist() == [0]
    assert aligned.ts.tolist() == [NOON]


def test_what_is_shed_stays_shed_in_a_wider_inventory():
    of = inventory(workload(candidates=()))
    _, memory = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    wider = resolve(inventory(workload(candidates=("cloud",))))
    assert align(memory, wider).choice.tolist() == [2]


def test_conditions_are_in_the_order_of_the_inventory():
    of = inventory()
    assert conditions(of, rtt_ms={"cloud": 5.0}).rtt_ms[-1] == 5.0


# What cannot be believed --------------------------------------------------------------------------


def test_what_cannot_be_true_is_unknown_and_counted():
    of = inventory()
    wrong = {
        "rtt_ms": {"gw-lyon": -5.0, "gw-near": np.inf},
        "temperature_c": {"gw-lyon": 1e9},
        "soc_ratio": {"gw-lyon": 7.0},
        "failure_risk": {"gw-near": 2.0},
        "age_s": {"gw-oslo": -3.0},
    }
    problem = posed(of, **wrong)
    assert problem.doubtful == 6
    right = posed(of)
    assert right.doubtful == 0
    np.testing.assert_array_equal(problem.cost, right.cost)
    np.testing.assert_array_equal(problem.mask_reason, right.mask_reason)


@pytest.mark.parametrize("seed", range(8))
def test_rubbish_still_poses_a_problem_that_has_a_plan(seed):
    rng = np.random.default_rng(seed)
    of = random_inventory(seed, w=20, m=5)
    odd = np.array([np.nan, np.inf, -np.inf, -1.0, 1e300, -1e300, 0.0, 7.0])
    state = random_conditions(of, rng)
    state = replace(state, **{name: rng.choice(odd, len(of.nodes)) for name in PLAUSIBLE})
    problem = pose(state, (), of, None, NOON)
    assert problem.doubtful > 0
    assert (problem.cost >= 0).all()
    plan, _ = solve(problem, None)
    assert problem.open[np.arange(20), plan.choice].all()


def test_what_was_said_too_long_ago_does_not_count_and_draws_nothing_there():
    of = inventory()
    old = {"age_s": {"gw-lyon": FRESH_S + 1, "gw-near": FRESH_S + 1}}
    problem = posed(of, temperature_c={"gw-lyon": 95.0, "gw-near": 95.0}, **old)
    assert blocked(problem, 0, HOME) == set()
    assert blocked(problem, 0, NEAR) == {"freshness"}


# Rules --------------------------------------------------------------------------------------------


def test_data_stays_in_its_region_but_at_home():
    nodes = (NODES[0], NODES[1], replace(NODES[3], region="us"), Node("any", "cloud"))
    of = Inventory(
        nodes,
        (workload(candidates=("gw-near", "cloud", "any"), residency=("eu", "ch")),),
        (Site("lyon", region="eu"),),
    )
    problem = posed(of)
    # A region nobody declared is none of those asked for.
    assert [blocked(problem, 0, k) for k in range(4)] == [
        set(),
        set(),
        {"residency"},
        {"residency"},
    ]
    assert problem.topology.said(0, 2)["node_region"] == "us"
    assert problem.topology.said(0, 2)["regions"] == "eu or ch"
    # Home is where the data is made, whatever is known of it.
    assert blocked(posed(replace(of, sites=())), 0, HOME) == set()


def test_what_is_not_built_for_a_node_does_not_run_there():
    nodes = (replace(NODES[0], arch="arm64"), replace(NODES[1], arch="amd64"), *NODES[2:])
    of = inventory(workload(arch=("arm64",)), nodes=nodes)
    # Of the cloud no architecture is known: that rules nothing out.
    assert [blocked(posed(of), 0, k) for k in range(3)] == [set(), {"arch"}, set()]


def test_kinds_bind_only_away_from_home():
    of = inventory(workload(kinds=("cloud",)))
    assert [blocked(posed(of), 0, k) for k in range(3)] == [set(), {"kind"}, set()]


def test_a_declared_cordon_counts_like_a_told_one():
    of = inventory(nodes=(NODES[0], replace(NODES[1], cordoned=True), *NODES[2:]))
    assert blocked(posed(of), 0, NEAR) == {"cordon"}


# Instance -----------------------------------------------------------------------------------------


def test_an_instance_packs_the_homes_nobody_else_may_use():
    nodes = (
        Node("a", site="x", cpu_cores=1, memory_gb=2, supply_w=9, idle_w=4),
        Node("b", site="x", cpu_cores=3, memory_gb=4),
        Node("gw", "gateway", "x", cpu_cores=5, memory_gb=6, supply_w=20),
        Node("cloud", "cloud", cpu_cores=100, memory_gb=200),
    )
    works = (
        workload("2", "b", ("gw", "cloud"), bandwidth_mbit_s=3),
        workload("1", "a", ("gw", "cloud"), power_w=6.0),
        workload("0", "b", ("cloud",)),
        workload("9", "gw", ("cloud",)),
    )
    of = Inventory(nodes, works, (Site("x", uplink_mbit_s=7),))
    problem = posed(of)
    instance = problem.instance
    assert problem.topology.workload == ("1", "0", "2", "9")
    assert instance.block.tolist() == [0, 1, 3, 4]
    assert instance.nodes == 2
    unlimited = [UNLIMITED] * 3
    assert instance.room.tolist() == [
        [1_000_000, 2_000_000, 5_000_000],
        [3_000_000, 4_000_000, UNLIMITED],
        unlimited,
    ]
    assert instance.capacity.tolist() == [
        *(5_000_000, 6_000_000, 20_000_000),
        *(100_000_000, 200_000_000, UNLIMITED),
        7_000_000,
    ]
    gw, cloud = 0, 1
    assert instance.node.tolist() == [
        [-1, gw, cloud, -1],
        [-1, cloud, -1, -1],
        [-1, gw, cloud, -1],
        [gw, cloud, -1, -1],
    ]
    # Only what lies beyond the uplink of the home's site crosses it.
    assert instance.uplink.tolist() == [
        [-1, -1, 0, -1],
        [-1, 0, -1, -1],
        [-1, -1, 0, -1],
        [-1, 0, -1, -1],
    ]
    assert instance.demand[:, 2].tolist() == [6_000_000, 2_500_000, 2_500_000, 2_500_000]
    assert instance.demand[:, 3].tolist() == [0, 0, 3_000_000, 0]
    # Six watts are more than the supply of "a" leaves, so its workload must go.
    assert blocked(problem, 0, HOME) == {"power"}
    assert instance.cost[0, 0] == CLOSED
    assert (instance.cost[:, 1:][problem.mask_reason[:, 1:] == 0] < CLOSED).all()


def test_the_power_of_a_node_is_shared_by_its_workloads():
    """Each alone would fit; together they draw more than the battery gives."""
    nodes = (replace(NODES[0], on_battery=True, battery_wh=80.0, endurance_h=8.0), *NODES[1:])
    of = inventory(*(workload(f"w-{i}", power_w=3.0, cpu_cores=0.1) for i in range(3)), nodes=nodes)
    charge = {"soc_ratio": {"gw-lyon": 0.75}}  # 6 W
    problem = posed(of, **charge)
    assert problem.node_power[0] == 6_000_000
    assert problem.node_power[1] == UNLIMITED
    plan, _ = solve(problem, None)
    at_home = [name for name in problem.topology.workload if plan.where(name) == "gw-lyon"]
    assert len(at_home) <= 2
    (move,) = plan.moves[:1]
    assert "gw-lyon" in (move.source or "")


def test_the_uplink_of_a_site_is_shared_by_what_crosses_it():
    of = Inventory(
        NODES,
        tuple(
            workload(f"w-{i}", candidates=("cloud",), bandwidth_mbit_s=4, value_per_hour=1e5)
            for i in range(3)
        ),
        (Site("lyon", uplink_mbit_s=8.0),),
    )
    plan, _ = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    where = sorted(str(plan.where(f"w-{i}")) for i in range(3))
    assert where == ["None", "cloud", "cloud"]


def test_traffic_is_paid_for_at_both_ends():
    of = Inventory(
        (*NODES[:3], replace(NODES[3], egress_price_per_gb=90_000)),
        (workload(candidates=("gw-near", "gw-oslo", "cloud"), egress_gb_per_hour=0.5),),
        (Site("lyon", price_per_gb=2_000), Site("oslo", price_per_gb=300)),
    )
    egress = posed(of).terms[0, :, TERMS.index("egress")]
    assert egress.tolist() == [0, 0, 1_150, 46_000, 0]


@pytest.mark.parametrize("seed", range(6))
def test_a_plan_breaks_no_row(seed):
    of = random_inventory(seed, w=40, m=6, tight=1.5)
    rng, memory = np.random.default_rng(seed), None
    for step in range(3):
        problem = pose(random_conditions(of, rng), (), of, memory, NOON + step * 10 * MINUTE)
        plan, memory = solve(problem, memory)
        assert violated(*plain(problem.instance), plan.choice.tolist()) == []


def test_what_lies_between_home_and_node():
    works = workload(candidates=("gw-near", "gw-oslo", "cloud"))
    of = Inventory(NODES, (works,), (Site("lyon", uplink_mbit_s=20.0),))
    told = {
        "jitter_ms": {"gw-lyon": 3.0, "gw-oslo": 7.0},
        "bandwidth_mbit_s": {"gw-oslo": 5.0},
    }
    options = posed(of, **told).options
    # Local ways are not measured; of two ends the worse counts; a declared uplink stands in.
    np.testing.assert_array_equal(options.jitter_ms[0], [np.nan, np.nan, 7.0, 3.0, np.nan])
    np.testing.assert_array_equal(options.link_mbit_s[0], [np.nan, np.nan, 5.0, 20.0, np.nan])
    measured = posed(of, bandwidth_mbit_s={"gw-lyon": 4.0, "gw-oslo": 5.0}).options
    assert measured.link_mbit_s[0, 2:4].tolist() == [4.0, 4.0]


def test_the_uplink_of_a_site_is_not_that_of_its_cloud():
    """A region may be filed under a site; what reaches it still crosses one uplink."""
    cloud = replace(NODES[3], site="lyon", egress_price_per_gb=5_000)
    of = Inventory(
        (*NODES[:3], cloud),
        (
            workload(candidates=("cloud",), egress_gb_per_hour=1.0),
            workload("there", "cloud", ("gw-lyon",), egress_gb_per_hour=1.0),
        ),
        (Site("lyon", uplink_mbit_s=20.0, price_per_gb=100),),
    )
    problem = posed(of)
    egress = problem.terms[:, :, TERMS.index("egress")]
    assert egress.tolist() == [[0, 5_100, 0], [0, 100, 0]]
    assert problem.topology.uplink.tolist() == [[-1, 0, -1], [-1, 0, -1]]


def test_declared_air_counts_where_none_is_measured():
    node = replace(NODES[0], ambient_c=33.0, thermal_resistance_c_per_w=5.0)
    of = inventory(nodes=(node, *NODES[1:]))
    assert posed(of).node_power[0] == 10_000_000
    assert posed(of, ambient_c={"gw-lyon": 43.0}).node_power[0] == 8_000_000


def test_nothing_rules_out_running_nowhere():
    o = draw(3)
    absent = np.zeros(o.shed.shape, dtype=np.bool_)
    hot = o._replace(limit_c=np.full_like(o.limit_c, -99.0))
    hot = hot._replace(temperature_c=np.zeros_like(o.limit_c))
    mask = rule_out(hot, absent)
    assert hot.shed.any()
    assert (mask[hot.shed] == 0).all()
    assert (mask[~hot.shed] != 0).all()


def test_a_workload_is_not_held_where_power_is_short():
    crowd = [workload(f"w-{i}", power_w=4.0) for i in range(2)]
    quiet = replace(conditions(inventory(*crowd)), silent=np.array([True, False, False, False]))
    assert pose(quiet, (), inventory(*crowd), None, NOON).held.all()
    starved = (replace(NODES[0], supply_w=6.0), *NODES[1:])
    assert not pose(quiet, (), inventory(*crowd, nodes=starved), None, NOON).held.any()


def test_a_resolved_inventory_poses_the_same_problem():
    of = random_inventory(2)
    state = random_conditions(of, np.random.default_rng(2))
    one, other = (pose(state, (), inv, None, NOON) for inv in (of, resolve(of)))
    np.testing.assert_array_equal(one.cost, other.cost)
    np.testing.assert_array_equal(one.mask_reason, other.mask_reason)


def test_the_order_of_an_inventory_does_not_matter():
    of = random_inventory(4, w=12)
    turned = replace(of, workloads=of.workloads[::-1])
    state = random_conditions(of, np.random.default_rng(4))
    one, other = (pose(state, (), inv, None, NOON) for inv in (of, turned))
    assert one.topology.workload == other.topology.workload
    np.testing.assert_array_equal(one.cost, other.cost)


def test_workloads_judged_in_pieces_are_judged_alike(monkeypatch):
    of = random_inventory(6, w=30)
    state = random_conditions(of, np.random.default_rng(6))
    whole = pose(state, (), of, None, NOON)
    monkeypatch.setattr("aiops.placement.problem.CHUNK", 7)
    pieces = pose(state, (), of, None, NOON)
    np.testing.assert_array_equal(whole.cost, pieces.cost)
    np.testing.assert_array_equal(whole.mask_reason, pieces.mask_reason)
