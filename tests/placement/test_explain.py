"""Explanations add up, and what they say would flip a choice does flip it."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from aiops.errors import InputError
from aiops.placement.counterfactual import VARIABLES, Flip, changed
from aiops.placement.explain import rfc3339
from aiops.placement.market import settle
from aiops.placement.problem import pose
from aiops.placement.sequence import MoveLimits
from aiops.placement.solver import solve
from aiops.placement.topology import PlacementSettings
from tests.placement.fleets import NODES, NOON, conditions, inventory, posed, workload
from tests.placement.test_solver import walk

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"


@pytest.mark.parametrize("seed", range(6))
def test_the_terms_of_each_option_sum_to_its_cost(seed):
    for problem, plan, _ in walk(seed, steps=2, w=12, m=4):
        total = 0
        for i, name in enumerate(problem.topology.workload):
            explanation = plan.explain(name)
            for option in explanation.options:
                assert sum(option.terms.values()) == option.cost
            (chosen,) = (o for o in explanation.options if o.place == explanation.choice)
            if i not in plan.order.left:
                assert explanation.choice == (plan.where(name) or "shed")
            assert chosen.cost == problem.cost[i, plan.choice[i]]
            total += chosen.effective
        # What each workload is said to contribute is what the plan says it costs.
        assert total == plan.cost


@pytest.mark.parametrize("seed", range(6))
def test_the_choice_is_open_and_the_runner_up_is_next(seed):
    for _, plan, _ in walk(seed, steps=2, w=12, m=4):
        for name in plan.problem.topology.workload:
            explanation = plan.explain(name)
            at = {option.place: option for option in explanation.options}
            assert at[explanation.choice].blocked == ()
            if explanation.runner_up is None:
                assert all(o.blocked or o.place == explanation.choice for o in at.values())
                continue
            runner = at[explanation.runner_up]
            assert runner.blocked == ()
            assert explanation.margin == runner.effective - at[explanation.choice].effective
            others = [o for o in at.values() if not o.blocked and o.place != explanation.choice]
            assert runner.effective == min(o.effective for o in others)
            # Nobody has a cheaper option with room left: the solver would have taken it.
            assert explanation.margin >= 0 or explanation.held


def best_when(plan, i, flip, value):
    """Return where workload `i` is in the best plan there is if a fact of a node is another."""
    problem = plan.problem
    at = problem.topology.node_at[flip.place]
    nodes = changed(problem.nodes, flip.variable, at, value)
    other = problem.altered(nodes, np.arange(len(problem.topology.node)) == at)
    instance, rows = other.free
    settled = settle(instance, start=plan.choice[rows])
    assert settled.cost == settled.bound  # few workloads: it is proven
    return problem.topology.place(i, int(settled.choice[np.searchsorted(rows, i)]))


@pytest.mark.parametrize("seed", range(6))
def test_a_flip_flips_and_just_before_it_does_not(seed):
    told = 0
    for _, plan, _ in walk(seed, steps=2, w=8, m=4, tight=0.2):
        for i, name in enumerate(plan.problem.topology.workload):
            explanation = plan.explain(name)
            for flip in explanation.flips:
                way = flip.at - flip.now
                assert flip.choice != explanation.choice
                assert best_when(plan, i, flip, flip.at) == flip.choice
                assert best_when(plan, i, flip, flip.at - 1e-3 * way) == explanation.choice
                low, high = VARIABLES[flip.variable]
                assert low <= flip.at <= high
                told += 1
    assert told > 0


def test_a_fact_of_a_node_is_one_for_all_who_are_there():
    # Two on a camera with room for one; the other one leaves when the gateway is dear.
    of = inventory(
        workload("a", value_per_hour=20_000.0, cpu_cores=0.6, candidates=("gw-near",)),
        workload("b", value_per_hour=19_000.0, cpu_cores=0.6, candidates=("gw-near",)),
        nodes=(replace(NODES[0], cpu_cores=1.0), replace(NODES[1], price_per_core_hour=1_000.0)),
    )
    plan, _ = solve(posed(of), None)
    assert {plan.where("a"), plan.where("b")} == {"gw-lyon", "gw-near"}
    for name in ("a", "b"):
        if plan.where(name) == "gw-near":
            assert not any(flip.choice == "gw-lyon" for flip in plan.explain(name).flips)


def test_what_is_printed_is_on_the_far_side():
    low = Flip("soc_ratio", "gw", 0.9, 0.30004, "cloud")
    high = Flip("price_per_core_hour", "gw", 38_000.0, 120_000.4, "cloud")
    assert str(low) == "It would be at cloud if soc_ratio of gw were 0.3 instead of 0.9"
    assert str(high).endswith("were 120,100 instead of 38,000")
    assert "were 74.22 " in str(Flip("rtt_ms", "gw", 6.0, 74.2127, "cloud"))
    assert "were 74.21 " in str(Flip("rtt_ms", "gw", 90.0, 74.2127, "cloud"))


def test_flips_come_smallest_first():
    for _, plan, _ in walk(0, steps=1, w=8, m=4, tight=0.2):
        for name in plan.problem.topology.workload:
            sizes = [flip.size for flip in plan.explain(name).flips]
            assert sizes == sorted(sizes)


def test_each_variable_can_flip():
    of = inventory(
        workload(candidates=("cloud",), latency_slo_ms=100.0),
        nodes=(replace(NODES[0], on_battery=True), *NODES[1:]),
    )
    plan, _ = solve(
        posed(
            of,
            temperature_c={"gw-lyon": 60.0},
            soc_ratio={"gw-lyon": 0.9},
            rtt_ms={"gw-lyon": 60.0},
        ),
        None,
    )
    found = {(flip.variable, flip.place): flip for flip in plan.explain("api").flips}
    limit = found["temperature_c", "gw-lyon"]
    assert 70.0 < limit.at <= 85.0
    assert limit.choice == "cloud"
    assert 0.15 <= found["soc_ratio", "gw-lyon"].at < 0.5
    # The work is at home, and no round trip to the cloud is short enough to be worth its price.
    assert ("rtt_ms", "gw-lyon") not in found
    hot, _ = solve(posed(of, temperature_c={"gw-lyon": 95.0}, rtt_ms={"gw-lyon": 60.0}), None)
    (flip,) = (f for f in hot.explain("api").flips if f.variable == "rtt_ms")
    assert flip.at == pytest.approx(100.0)
    assert flip.choice == "shed"


def test_what_rules_an_option_out_is_said_with_numbers():
    of = inventory(workload(latency_slo_ms=30.0), workload("big", cpu_cores=3.0))
    plan, _ = solve(posed(of, temperature_c={"gw-near": 91.25}, loss_ratio={"gw-lyon": 0.05}), None)
    api = {option.place: option.blocked for option in plan.explain("api").options}
    assert api["gw-near"] == ("is at 91.2 °C, limit 85.0 °C",)
    (late,) = api["cloud"]
    assert "50.5 ms (RTT 40.0 ms, 5.0% lost), SLO 30.0 ms" in late
    big = {option.place: option.blocked for option in plan.explain("big").options}
    assert "needs 3 cores and 0.5 GB, the node has 1 and 4" in big["gw-near"]


def test_a_full_node_is_said_to_be_full():
    of = inventory(*(workload(f"w-{i}") for i in range(3)))
    plan, _ = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    (elsewhere,) = (name for name in ("w-0", "w-1", "w-2") if plan.where(name) == "cloud")
    (near,) = (o for o in plan.explain(elsewhere).options if o.place == "gw-near")
    assert near.blocked == ("has too little CPU left beside the others",)


def test_a_held_workload_says_why():
    of = inventory()
    quiet = replace(conditions(of), silent=np.array([True, False, False, False]))
    plan, _ = solve(pose(quiet, (), of, None, NOON), None)
    explanation = plan.explain("api")
    assert explanation.held
    assert explanation.flips == ()
    assert "unreachable is not dead" in explanation.text()


@pytest.mark.parametrize("seed", range(4))
def test_the_text_fits_a_terminal_and_the_record_is_plain(seed):
    for _, plan, _ in walk(seed, steps=2, w=10, m=4):
        for at, name in enumerate(plan.problem.topology.workload):
            explanation = plan.explain(name)
            lines = explanation.text().splitlines()
            assert max(map(len, lines)) <= 80
            assert lines[0].startswith(f"{name} is at {explanation.choice}")
            if at % 3:  # a record looks for all that would change the choice
                continue
            record = explanation.to_record()
            assert json.loads(json.dumps(record))["choice"] == explanation.choice


def test_long_names_and_large_sums_fit_too():
    name = "a-gateway-with-a-very-long-name-that-nobody-would-choose-but-somebody-will-have"
    of = inventory(
        workload("w" * 90, home=name, candidates=("cloud",), value_per_hour=3e12),
        nodes=(replace(NODES[0], id=name), *NODES[1:]),
    )
    plan, _ = solve(posed(of, temperature_c={name: 84.0}, loss_ratio={name: 0.1}), None)
    assert max(map(len, plan.explain("w" * 90).text().splitlines())) <= 80


def test_times_are_rfc_3339():
    assert rfc3339(NOON) == "2026-01-01T12:00:00Z"
    assert rfc3339(NOON + 1_500_000) == "2026-01-01T12:00:00.001500Z"


def test_a_move_that_waits_says_so():
    of = inventory(workload("a"), workload("b"))
    settings = PlacementSettings(limits=MoveLimits(steps=1))
    hot = conditions(of, temperature_c={"gw-lyon": 95.0})
    plan, _ = solve(pose(hot, (), of, None, NOON, settings), None)
    (left,) = plan.order.left.tolist()
    name = plan.problem.topology.workload[left]
    assert plan.where(name) == "gw-lyon"
    assert plan.explain(name).waits
    assert "It is still at gw-lyon: its move has to wait." in plan.explain(name).text()


def test_what_is_scarce_is_said_with_its_price():
    of = inventory(*(workload(f"w-{i}", value_per_hour=10_000.0 * (i + 1)) for i in range(30)))
    plan, _ = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    (most, *_) = plan.scarce
    assert (most.place, most.resource, most.unit) == ("gw-near", "CPU", "core")
    assert 0.0 < most.used <= most.capacity == 1.0
    elsewhere = next(w.id for w in of.workloads if plan.where(w.id) == "cloud")
    said = plan.why_not(elsewhere, "gw-near")
    assert "has too little CPU left beside the others" in said
    assert f"its CPU costs {most.price:.0f} micro-dollars an hour and unit" in said
    assert "gw-near is scarce: CPU" in plan.explain(elsewhere).text()


def test_why_not_says_what_is_in_the_way():
    of = inventory(workload(latency_slo_ms=60.0))
    plan, _ = solve(posed(of, rtt_ms={"gw-lyon": 41.0}), None)
    assert plan.where("api") == "gw-lyon"
    assert plan.why_not("api", "gw-lyon") == "api is at gw-lyon."
    dear = plan.why_not("api", "cloud")
    gap = next(o for o in plan.explain("api").options if o.place == "cloud").effective
    assert f"cloud is {gap - plan.cost} micro-dollars an hour dearer than gw-lyon" in dear
    assert "absence" in dear
    with pytest.raises(InputError, match="api may run at gw-lyon, gw-near, cloud, shed; 'moon'"):
        plan.why_not("api", "moon")
    far, _ = solve(posed(of, rtt_ms={"gw-lyon": 410.0}), None)
    assert "SLO 60.0 ms" in far.why_not("api", "cloud")


@pytest.mark.parametrize("seed", range(4))
def test_a_flip_is_confirmed_by_solving_again(seed):
    told = confirmed = 0
    for problem, plan, _ in walk(seed, steps=2, w=40, m=20, tight=0.3):
        for name in problem.topology.workload[:: 1 if COMPILED else 4]:
            i = problem.topology.workload.index(name)
            for flip in plan.explain(name).flips:
                beyond = flip.at + (flip.at - flip.now) * 1e-6
                short = flip.now + (flip.at - flip.now) * (1 - 1e-3)
                at = problem.topology.node_at[flip.place]
                where = np.arange(len(problem.topology.node)) == at
                for value, place in ((beyond, flip.choice), (short, plan.explain(name).choice)):
                    nodes = changed(problem.nodes, flip.variable, at, value)
                    again = plan.replan(problem.altered(nodes, where))
                    told += 1
                    confirmed += problem.topology.place(i, int(again.choice[i])) == place
    assert told > 50
    assert confirmed >= 0.99 * told
