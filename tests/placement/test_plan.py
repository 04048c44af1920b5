"""A plan names itself, its moves and its gap."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aiops.errors import InputError
from aiops.placement.sequence import MoveLimits
from aiops.placement.solver import solve
from tests.placement.fleets import MINUTE, NOON, inventory, posed, workload


def instance_and_choices(plan):
    instance, rows = plan.problem.free
    assert rows.tolist() == list(range(len(rows)))
    return instance, plan.problem.current, plan.choice


HOT = {"temperature_c": {"gw-lyon": 95.0}}


def test_a_move_says_what_why_and_for_how_much():
    problem = posed(inventory(workload(state_gb=0.001)), **HOT)
    plan, _ = solve(problem, None)
    (move,) = plan.moves
    assert (move.workload, move.source, move.target) == ("api", "gw-lyon", "gw-near")
    assert move.forced
    assert move.reason == "gw-lyon is at 95.0 °C, limit 85.0 °C; so it goes to gw-near"
    # It cannot stay, so what it saves is measured against being shed.
    assert move.saving == problem.cost[0, -1] - problem.cost[0, 1]
    assert move.move_cost == problem.move_cost[0, 1]
    assert (move.home, move.site, move.cohort) == ("gw-lyon", "lyon", "g1")


def test_a_move_that_pays_names_the_term_it_pays_in():
    plan, _ = solve(posed(inventory(), temperature_c={"gw-lyon": 82.0}), None)
    (move,) = plan.moves
    assert not move.forced
    assert move.saving == plan.problem.cost[0, 0] - plan.problem.cost[0, 1] > 0
    assert "mostly for temperature" in move.reason
    assert str(move.saving) in move.reason


def test_what_is_too_much_for_now_stays_and_is_not_said_to_move():
    of = inventory(workload("a"), workload("b"))
    plan, _ = solve(posed(of, temperature_c={"gw-lyon": 82.0}), None)
    assert len(plan.moves) == 2
    settings = replace(plan.problem.settings, limits=MoveLimits(steps=1))
    part = replace(plan, problem=replace(plan.problem, settings=settings))
    (move,) = part.moves
    (left,) = part.order.left
    stays = plan.problem.topology.workload[left]
    assert move.workload != stays
    assert part.where(stays) == "gw-lyon"
    assert part.to_record()["placement"][stays] == "gw-lyon"
    assert [leg.kind for leg in move.legs] == ["move"]


def test_work_that_ran_nowhere_returns():
    of = inventory(workload(candidates=()))
    plan, memory = solve(posed(of, **HOT), None)
    assert plan.moves[0].target is None
    back, _ = solve(posed(of, memory, NOON + 60 * MINUTE), memory)
    (move,) = back.moves
    assert (move.source, move.target, move.home) == (None, "gw-lyon", "gw-lyon")


def test_ids_are_functions_of_content_and_history():
    of = inventory()
    plan, memory = solve(posed(of, **HOT), None)
    assert plan.id == solve(posed(of, **HOT), None)[0].id
    assert plan.id != solve(posed(of, ts=NOON + 1, **HOT), None)[0].id
    same, memory = solve(posed(of, memory, NOON + MINUTE, **HOT), memory)
    assert same.id == plan.id
    back, memory = solve(posed(of, memory, NOON + 60 * MINUTE), memory)
    again, _ = solve(posed(of, memory, NOON + 120 * MINUTE, **HOT), memory)
    # The same move as at first, but not the same plan: sinks must not take it for a repetition.
    assert again.moves[0].target == plan.moves[0].target
    assert len({plan.id, back.id, again.id}) == 3


def test_a_first_plan_that_moves_nothing_has_a_name():
    plan, memory = solve(posed(inventory()), None)
    assert plan.moves == ()
    assert plan.id
    assert memory.plan_id.tolist() == [plan.id]


def test_the_record_is_plain_json():
    plan, _ = solve(posed(inventory(workload("a"), workload("b", candidates=())), **HOT), None)
    record = plan.to_record()
    assert json.loads(json.dumps(record)) == record
    assert record["placement"] == {"a": "gw-near", "b": None}
    assert record["ts"] == "2026-01-01T12:00:00Z"
    assert [move["workload"] for move in record["moves"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("cost", "bound", "gap"), [(0, 0, 0.0), (110, 100, 0.1), (5, 0, float("inf"))]
)
def test_the_gap_is_relative_to_the_bound(cost, bound, gap):
    problem = posed(inventory())
    plan = replace(solve(problem, None)[0], cost=cost, bound=bound)
    assert plan.gap == pytest.approx(gap)
    assert plan.to_record()["gap"] == (None if gap == float("inf") else pytest.approx(gap))


def test_an_unknown_workload_is_refused():
    plan, _ = solve(posed(inventory()), None)
    with pytest.raises(InputError, match="no workload 'web'"):
        plan.explain("web")
    with pytest.raises(InputError):
        plan.where("web")
