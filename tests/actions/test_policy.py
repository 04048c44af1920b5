"""The policy is a table: what is noticed or planned on the left, what is proposed on the right."""

from __future__ import annotations

import csv
import json
from dataclasses import fields, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from aiops.actions.guard import LIMITS, Guard, GuardMemory, Limits
from aiops.actions.policy import EXPIRES_S, RESPONSES, Policy
from aiops.alerts.finding import Finding, Incident, isoformat
from aiops.errors import SettingsError
from aiops.fleet.inventory import Inventory, Node
from aiops.placement.criteria import BIT
from aiops.placement.problem import pose
from aiops.placement.solver import solve
from benchmarks._placement_check import broken
from tests.placement.fleets import (
    inventory,
    posed,
    random_conditions,
    random_inventory,
    workload,
)

NOON = 1_767_268_800 * 1_000_000_000
DAY = 86_400 * 1_000_000_000

CASES = Path(__file__).parents[1] / "cases" / "actions" / "policy.csv"
ROWS = list(csv.DictReader(CASES.read_text(encoding="utf-8").splitlines()))


def finding(
    device="gw-0", detector="flash_wear", cohort="fw-2", status="firing", p10=None, ts=NOON
):
    forecast = {"quantity": "storage.wear_out.date", "unit": "ns", "p10": p10, "p50": None}
    return Finding(
        rule=detector,
        detector=detector,
        status=status,
        severity="high",
        device_id=device,
        part="mmcblk0",
        medium_id="",
        site="lyon",
        cohort=cohort,
        since_ts=ts,
        ts=ts,
        score=1.5,
        observed=0.9,
        expected=0.5,
        sentence="90 % of its endurance is used.",
        forecast=forecast if p10 else None,
    )


def incident(key="silence@site:lyon", status="firing", severity="high", ts=NOON):
    return Incident(
        key=key,
        status=status,
        severity=severity,
        site="lyon",
        opened_ts=NOON,
        ts=ts,
        title="silence: 6 of 6 devices at lyon",
        findings=("fnd-1",),
        devices=("gw-0", "gw-1"),
    )


@pytest.mark.parametrize("case", ROWS, ids=lambda row: row["case"])
def test_table(case):
    p10 = isoformat(NOON + int(case["p10_days"]) * DAY) if case["p10_days"] else None
    findings = [
        finding(f"gw-{i}", case["detector"], case["cohort"], case["status"], p10)
        for i in range(int(case["devices"]))
    ]
    said = [
        " ".join([action.kind, *action.target, action.params.get("due", "")]).strip()
        for action in Policy().decide((), findings, None)
    ]
    assert said == [word for word in case["expected"].split(";") if word]


def test_every_entry_of_the_table_has_a_case():
    assert set(RESPONSES) <= {row["detector"].partition(":")[0] for row in ROWS}


def test_maintenance_says_what_where_and_why():
    one = finding(p10=isoformat(NOON + 44 * DAY))
    (action,) = Policy().decide((), [one], None)
    assert action.evidence == (one.id,)
    assert action.origin == "flash_wear"
    assert (action.site, action.cohort) == ("lyon", "fw-2")
    assert action.params["part"] == "mmcblk0"
    assert action.reason.startswith(
        "gw-0/mmcblk0: 90 % of its endurance is used; due by 2026-01-31"
    )
    assert action.issued_ts == NOON
    assert action.expires_ts == NOON + EXPIRES_S["schedule_maintenance"] * 1_000_000_000


def test_the_nearer_date_is_the_more_urgent():
    soon, late = (
        finding(device, p10=isoformat(NOON + days * DAY)) for device, days in (("b", 30), ("a", 90))
    )
    assert [a.target for a in Policy().decide((), [late, soon], None)] == [("b",), ("a",)]


def test_a_crowd_may_gather_over_several_epochs():
    earlier = [finding(f"gw-{i}", "reboot_drift", ts=NOON - DAY) for i in range(4)]
    last = finding("gw-4", "reboot_drift")
    (alone,) = Policy().decide((), [last], None)
    assert alone.kind == "schedule_maintenance"
    (action,) = Policy().decide((), [last], None, firing=[*earlier, last])
    assert (action.kind, action.target) == ("hold_rollout", ("fw-2",))
    assert set(action.evidence) == {one.id for one in [*earlier, last]}


def test_an_incident_is_told_once_for_each_state_it_goes_through():
    def told(*changes):
        return {Policy().decide([incident(**change)], (), None)[0].id for change in changes}

    assert len(told({}, {"ts": NOON + DAY})) == 1
    states = {}, {"severity": "critical"}, {"status": "resolved"}
    assert len(told(*states)) == len(states)
    (action,) = Policy().decide([incident(status="resolved")], (), None)
    assert action.reason == "resolved: silence: 6 of 6 devices at lyon"
    assert action.target == (incident().incident_id,)


def test_each_move_is_a_migration_that_disturbs_its_home():
    of = inventory(workload("a"), workload("b", candidates=()))
    plan, _ = solve(posed(of, temperature_c={"gw-lyon": 95.0}), None)
    actions = Policy().decide((), (), plan)
    assert {action.target for action in actions} == {("a",), ("b",)}
    for action, move in zip(sorted(actions, key=lambda a: a.target), plan.moves, strict=True):
        assert action.kind == "migrate"
        assert action.devices == ("gw-lyon",)
        assert action.params == {"wave": 0, "source": move.source, "target": move.target}
        assert action.after == ()
        assert action.evidence == (plan.id,)
        assert action.reason == move.reason
        assert action.priority == move.saving


FULL = (
    Node("a", "gateway", "lyon", "g1", cpu_cores=1, memory_gb=4),
    Node("b", "gateway", "lyon", "g1", cpu_cores=1, memory_gb=4, rtt_ms=2),
    Node("c", "gateway", "lyon", "g1", cpu_cores=1, memory_gb=4, rtt_ms=2),
    Node("cloud", "cloud", rtt_ms=40, cpu_cores=1e4, memory_gb=1e4, price_per_core_hour=2_000),
)


def moved(places, to, nodes=FULL, silent=(), **fields):
    """Return a plan that takes each workload from the place it is at to another."""
    names = [node.id for node in nodes]
    works = [
        workload(f"w{i}", "a", ("b", "c", "cloud")[: len(nodes) - 1], cpu_cores=1.0, **fields)
        for i in range(len(places))
    ]
    problem = posed(Inventory(nodes, tuple(works)))
    options = [*names, None]
    before, after = (np.array([options.index(p) for p in ps], np.int32) for ps in (places, to))
    plan, _ = solve(problem, None)
    lost = np.array([place in silent for place in places])
    mask = problem.mask_reason.copy()
    mask[lost, before[lost]] |= BIT["gone"]
    gone = np.array([name in silent for name in (*names, None)])
    nodes = problem.nodes._replace(here=problem.nodes.here | {"silent": gone})
    problem = replace(problem, current=before, mask_reason=mask, nodes=nodes)
    return replace(plan, problem=problem, choice=after)


def test_a_move_comes_after_the_one_that_makes_room_for_it():
    actions = Policy().decide((), (), moved(["a", "b", "c"], ["b", "c", "cloud"]))
    first, second, third = sorted(actions, key=lambda action: action.params["wave"])
    assert [one.target for one in (first, second, third)] == [("w2",), ("w1",), ("w0",)]
    assert (first.after, second.after, third.after) == ((), (first.id,), (second.id,))


def test_who_waits_for_each_other_is_one_action():
    (action,) = Policy().decide((), (), moved(["a", "b"], ["b", "a"]))
    assert action.target == ("w0", "w1")
    assert action.after == ()
    assert action.reason.startswith("w0, w1 wait for each other: ")
    steps = [(one["wave"], one["kind"], one["workload"]) for one in action.params["steps"]]
    hopping, other = steps[0][2], steps[1][2]
    assert steps == [(0, "hop", hopping), (1, "move", other), (2, "move", hopping)]
    ends = {one["workload"]: one["target"] for one in action.params["steps"]}
    assert ends == {"w0": "b", "w1": "a"}
    assert (action.site, action.cohort, action.devices) == ("lyon", "g1", ("a",))
    json.dumps(action.to_record())


def test_that_a_workload_must_be_stopped_meanwhile_is_said_and_its_state_kept():
    (action,) = Policy().decide((), (), moved(["a", "b"], ["b", "a"], FULL[:2], state_gb=1.0))
    kinds = [one["kind"] for one in action.params["steps"]]
    assert kinds == ["stop", "move", "start"]
    stopped = action.params["steps"][0]["workload"]
    assert action.reason.endswith(
        f"; meanwhile {stopped} must be stopped, with the state of {stopped} kept"
    )


def test_a_fence_comes_before_a_second_copy_of_what_has_state():
    (action,) = Policy().decide((), (), moved(["a"], ["b"], silent=["a"], state_gb=1.0))
    fence, move = action.params["steps"]
    assert (fence["kind"], fence["source"], "target" in fence) == ("fence", "a", False)
    assert (move["kind"], move["source"], move["target"]) == ("move", "a", "b")
    (action,) = Policy().decide((), (), moved(["a"], ["b"], silent=["a"]))
    assert "steps" not in action.params


def test_what_the_guard_lets_through_breaks_no_capacity():
    """Whatever it holds: what needs the room of what is held is held with it."""
    held, stranded = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        of = random_inventory(seed, w=14, m=4, tight=1.3)
        _, memory = solve(posed(of), None)
        problem = pose(random_conditions(of, rng), (), of, memory, NOON + 3 * 3600 * 10**9)
        plan, _ = solve(problem, memory)
        actions = Policy().decide((), (), plan)
        floor = Limits(1e-6, 1e-6, 1e-6, int(rng.integers(1, 3)), 0.5, 1.0, 100, 0.0)
        said = Guard(LIMITS | {"move": floor}).admit(actions, GuardMemory(), plan.ts)
        go = {name for one in said if one.allowed for name in one.action.target}
        instance, rows = problem.free
        names = [problem.topology.workload[row] for row in rows]
        at = {int(row): i for i, row in enumerate(rows)}
        steps = [step._replace(workload=at[step.workload]) for step in plan.order]
        steps = [step for step in steps if names[step.workload] in go]
        arrays = {one.name: getattr(instance, one.name) for one in fields(instance)}
        assert broken(arrays, problem.current[rows], steps) == [], seed
        held += sum(not one.allowed for one in said)
        stranded += sum("would make possible" in one.reason for one in said)
    assert held > 20
    assert stranded > 0


def test_a_plan_without_moves_asks_for_nothing():
    plan, _ = solve(posed(inventory()), None)
    assert Policy().decide((), (), plan) == ()


def test_the_order_of_what_comes_in_does_not_matter():
    findings = [
        finding("gw-0"),
        finding("gw-1", p10=isoformat(NOON + 44 * DAY)),
        finding("gw-2", "reboot_drift"),
        finding("gw-3", "reboot_drift", ts=NOON + 1),
    ]
    incidents = [incident(), incident("flash_wear@gw-0", severity="low")]
    policy = Policy(crowd_devices=2)
    said = policy.decide(incidents, findings, None)
    assert {action.kind for action in said} == {"notify", "schedule_maintenance", "hold_rollout"}
    for order in permutations(findings):
        assert policy.decide(incidents[::-1], order, None) == said


def test_what_a_cohort_shares_holds_its_rollout_and_what_a_site_shares_nothing():
    ours = replace(finding("", "reboot_drift"), site="", part="", devices=("gw-0", "gw-1"))
    (action,) = Policy().decide((), [ours], None)
    assert (action.kind, action.target) == ("hold_rollout", ("fw-2",))
    assert action.evidence == (ours.id,)
    for detector in RESPONSES:
        site = replace(finding("", detector, cohort=""), devices=("gw-0", "gw-1"))
        assert Policy(crowd_devices=2).decide((), [site], None, firing=[site] * 3) == ()


def test_what_comes_of_historical_rows_is_marked():
    findings, incidents = [finding(), finding("x", "reboot_drift")], [incident()]
    plan, _ = solve(posed(inventory(), temperature_c={"gw-lyon": 95.0}), None)
    live = Policy().decide(incidents, findings, plan)
    marked = Policy().decide(incidents, findings, plan, historical=True)
    assert marked == tuple(replace(action, historical=True) for action in live)
    assert not any(action.historical for action in live)


@pytest.mark.parametrize("wrong", [{"lead_s": -1}, {"inspect_s": 0}, {"crowd_devices": 1}])
def test_settings_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(SettingsError, match=name):
        Policy(**wrong)
