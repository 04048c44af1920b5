"""The guard keeps its promises for any stream of proposals."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.actions.action import KINDS
from aiops.actions.guard import (
    CEILING,
    LIMITS,
    WEIGHT,
    WINDOW_NS,
    Guard,
    GuardMemory,
    Limits,
    Population,
)
from aiops.errors import CheckpointError, SettingsError
from tests.actions.test_action import HOUR, NOON, action

MINUTE = HOUR // 60
SECOND = MINUTE // 60

DEVICES = [(f"d-{i}", f"s-{i % 3}", f"c-{i % 2}") for i in range(24)]
FLEET = Population.of((site, cohort) for _, site, cohort in DEVICES)

# Small budgets and a brake that is hard to pull, so that streams reach the budgets.
TIGHT = Limits(0.10, 0.25, 0.25, 2, 0.20, 0.50, 10, 600.0)
GUARD = Guard(LIMITS | {"disrupt": TIGHT})


def asked(kind="cordon", device=0, **more):
    name, site, cohort = DEVICES[device]
    return action(kind=kind, target=(name,), site=site, cohort=cohort, **more)


def verdicts(said):
    return {(verdict.action.id, verdict.decision) for verdict in said}


def allowed(said):
    return [
        verdict.action for verdict in said if verdict.allowed and verdict.action.origin != "guard"
    ]


proposals = st.builds(
    lambda kind, device, evidence, life, historical: asked(
        kind,
        device,
        evidence=(f"fnd-{evidence}",),
        expires_ts=NOON + life * MINUTE,
        historical=historical,
    ),
    st.sampled_from(["cordon", "drain", "schedule_maintenance", "migrate"]),
    st.integers(0, len(DEVICES) - 1),
    st.integers(0, 3),
    st.integers(1, 600),
    st.sampled_from([False, False, False, True]),
)
streams = st.lists(
    st.tuples(st.integers(0, 40), st.lists(proposals, max_size=6)), min_size=1, max_size=12
)


def run(guard, stream, memory=None, save=False):
    """Yield the time and the verdicts of each call; `save` through JSON between calls."""
    memory, now = memory or GuardMemory(), NOON
    for minutes, actions in stream:
        now += minutes * MINUTE
        yield now, guard.admit(actions, memory, now, FLEET)
        if save:
            memory = GuardMemory.restore(json.loads(json.dumps(memory.save())))


def limit_of(weight, scope, guard=GUARD):
    limits = guard.limits[weight]
    where = scope.partition(":")[0]
    share = getattr(limits, f"{where}_share")
    return max(limits.floor, int(share * FLEET.within(scope)))


@settings(max_examples=150)
@given(streams)
def test_no_budget_is_exceeded_in_any_window(stream):
    done = [(now, one) for now, said in run(GUARD, stream) for one in allowed(said)]
    for end, _ in done:
        window = [one for now, one in done if end - WINDOW_NS < now <= end]
        counted = {}
        for one in window:
            for scope in ("fleet", f"site:{one.site}", f"cohort:{one.cohort}"):
                counted.setdefault((WEIGHT[one.kind], scope), set()).update(one.touched)
        for (weight, scope), devices in counted.items():
            assert len(devices) <= limit_of(weight, scope)


@settings(max_examples=100)
@given(streams)
def test_the_same_action_is_done_once(stream):
    """However often it is asked, and whenever."""
    ids = [one.id for _, said in run(GUARD, stream) for one in allowed(said)]
    assert len(ids) == len(set(ids))


@settings(max_examples=100)
@given(streams)
def test_twice_is_once(stream):
    once = [{one.id for one in allowed(said)} for _, said in run(GUARD, stream)]
    doubled = [(minutes, actions + actions) for minutes, actions in stream]
    assert [{one.id for one in allowed(said)} for _, said in run(GUARD, doubled)] == once
    memory = GuardMemory()
    for now, said in run(GUARD, stream, memory):
        assert allowed(GUARD.admit(allowed(said), memory, now, FLEET)) == []


@settings(max_examples=100)
@given(streams, st.randoms(use_true_random=False))
def test_the_order_of_proposals_does_not_matter(stream, shuffle):
    mixed = [(minutes, shuffle.sample(actions, len(actions))) for minutes, actions in stream]
    said = [verdicts(one) for _, one in run(GUARD, stream)]
    assert [verdicts(one) for _, one in run(GUARD, mixed)] == said


@settings(max_examples=100)
@given(streams)
def test_a_checkpoint_between_calls_changes_nothing(stream):
    assert list(run(GUARD, stream, save=True)) == list(run(GUARD, stream))


@settings(max_examples=100)
@given(streams)
def test_every_action_gets_a_verdict_with_a_reason(stream):
    for (_, actions), (_, said) in zip(stream, run(GUARD, stream), strict=True):
        judged = [verdict for verdict in said if verdict.action.origin != "guard"]
        assert sorted(v.action.id for v in judged) == sorted(one.id for one in actions)
        assert all(verdict.reason for verdict in said)
        assert not any(verdict.allowed and verdict.action.historical for verdict in said)


def held_reason(said):
    (verdict,) = said
    assert not verdict.allowed
    return verdict.reason


def test_stale_evidence_expires():
    guard, one = Guard(), asked(expires_ts=NOON + HOUR)
    assert "stale since 2026-01-01T13:00:00Z" in held_reason(
        guard.admit([one], GuardMemory(), NOON + HOUR, FLEET)
    )
    assert allowed(guard.admit([one], GuardMemory(), NOON + HOUR - 1, FLEET)) == [one]


def test_time_does_not_run_backwards():
    guard, memory = Guard(), GuardMemory()
    guard.admit([], memory, NOON + HOUR, FLEET)
    assert "stale" in held_reason(guard.admit([asked()], memory, NOON, FLEET))


def test_a_target_cools_down_by_kind():
    guard, memory = Guard(LIMITS | {"disrupt": replace(TIGHT, floor=5)}), GuardMemory()
    later = {"expires_ts": NOON + 10 * HOUR}
    assert allowed(guard.admit([asked()], memory, NOON, FLEET))
    again = asked(evidence=("fnd-2",), **later)
    assert "d-0 cools down until 2026-01-01T12:10:00Z" in held_reason(
        guard.admit([again], memory, NOON + 10 * MINUTE - 1, FLEET)
    )
    other_kind = asked("drain", evidence=("fnd-2",), **later)
    assert allowed(guard.admit([other_kind], memory, NOON + MINUTE, FLEET))
    assert allowed(guard.admit([again], memory, NOON + 10 * MINUTE, FLEET))


def test_the_more_urgent_goes_first_when_the_budget_is_short():
    actions = [asked(device=i, priority=float(i), evidence=(f"f-{i}",)) for i in range(5)]
    said = GUARD.admit(actions, GuardMemory(), NOON, FLEET)
    assert [one.target[0] for one in allowed(said)] == ["d-4", "d-3"]
    assert "budget: 2 of 2 devices an hour are spent in fleet" in said[-1].reason


def test_a_budget_is_free_again_after_an_hour():
    memory, later = GuardMemory(), {"expires_ts": NOON + 10 * HOUR}
    GUARD.admit([asked(device=0), asked(device=1)], memory, NOON, FLEET)
    third = asked(device=2, **later)
    assert "next is free at 2026-01-01T13:00:00Z" in held_reason(
        GUARD.admit([third], memory, NOON + HOUR - 1, FLEET)
    )
    assert allowed(GUARD.admit([third], memory, NOON + HOUR, FLEET)) == [third]


def storm(n, kind="migrate", site="lyon", origin="placement"):
    return [
        action(
            kind=kind,
            target=(f"w-{i}",),
            devices=(f"gw-{i}",),
            origin=origin,
            site=site,
            evidence=("pln-1",),
        )
        for i in range(n)
    ]


BIG = Population(100, {"lyon": 40}, {})


@pytest.mark.parametrize("n", [26, 50, 100])
def test_a_storm_pulls_the_brake_and_is_one_note(n):
    """Half of the fleet reports 200 °C at once: nothing is done, and somebody is told."""
    guard, memory = Guard(), GuardMemory()
    note, *rest = guard.admit(storm(n), memory, NOON, BIG)
    assert note.allowed
    assert note.action.kind == "notify"
    assert f"{n} of 100 devices" in note.action.reason
    assert note.action.evidence == ("pln-1",)
    assert not any(verdict.allowed for verdict in rest)
    assert all("brake" in verdict.reason for verdict in rest)
    # Asked again, it stays braked, and nobody is told twice.
    again = guard.admit(storm(n), memory, NOON + MINUTE, BIG)
    assert len(again) == n
    assert not any(verdict.allowed for verdict in again)


def test_below_the_brake_only_budgets_count():
    said = Guard().admit(storm(25), GuardMemory(), NOON, BIG)
    assert len(allowed(said)) == 10
    assert all("budget" in verdict.reason for verdict in said if not verdict.allowed)


def test_a_storm_that_creeps_is_caught_too():
    guard, memory = Guard(), GuardMemory()
    said = [
        verdict
        for step, one in enumerate(storm(40))
        for verdict in guard.admit([one], memory, NOON + step * MINUTE, BIG)
    ]
    notes = [verdict for verdict in said if verdict.action.origin == "guard"]
    assert len(notes) == 1
    assert len(allowed(said)) == 10


def test_the_brake_holds_only_whom_it_was_pulled_for():
    guard, memory = Guard(), GuardMemory()
    mine = asked("schedule_maintenance")
    said = guard.admit([*storm(50), mine], memory, NOON, BIG)
    assert allowed(said) == [mine]


def test_the_brake_of_a_site_leaves_other_sites_alone():
    guard, memory = Guard(), GuardMemory()
    population = Population(1000, {"lyon": 10, "oslo": 10}, {})
    ask = {"kind": "cordon", "origin": "flash_wear"}
    said = guard.admit(storm(6, **ask), memory, NOON, population)
    assert said[0].action.target == ("brake:flash_wear cordon site:lyon",)
    assert allowed(said) == []
    elsewhere = action(kind="cordon", target=("gw-77",), site="oslo")
    assert allowed(guard.admit([elsewhere], memory, NOON, population)) == [elsewhere]


def test_the_brake_of_the_fleet_is_one_note_for_all_sites():
    said = Guard().admit(storm(40, "cordon", origin="flash_wear"), GuardMemory(), NOON, BIG)
    notes = [verdict.action.target for verdict in said if verdict.action.origin == "guard"]
    assert notes == [("brake:flash_wear cordon fleet",)]


def test_the_brake_is_released_when_nobody_asks_for_an_hour():
    guard, memory = Guard(), GuardMemory()
    guard.admit(storm(50), memory, NOON, BIG)
    one = replace(storm(1)[0], expires_ts=NOON + 10 * HOUR)
    assert allowed(guard.admit([one], memory, NOON + HOUR, BIG)) == [one]
    assert memory.braked == {}
    # And when it is pulled again, somebody is told again.
    late = [replace(a, expires_ts=NOON + 10 * HOUR) for a in storm(50)]
    note, *_ = guard.admit(late, memory, NOON + 2 * HOUR, BIG)
    assert note.action.origin == "guard"


def test_a_storm_of_notes_is_not_braked():
    told = [action(kind="notify", target=(f"inc-{i}",)) for i in range(19)]
    assert len(allowed(Guard().admit(told, GuardMemory(), NOON, Population(20)))) == 19


def test_an_unknown_population_leaves_only_the_floors():
    said = Guard().admit(storm(10), GuardMemory(), NOON)
    assert len(allowed(said)) == LIMITS["move"].floor
    assert allowed(Guard().admit(storm(11), GuardMemory(), NOON)) == []


def test_what_needs_a_held_action_is_held_too():
    """Also through others, however urgent it is, and in any order."""
    first = asked("migrate", 0, historical=True)
    second = asked("migrate", 1, after=(first.id,), priority=5.0)
    third = asked("migrate", 2, after=(second.id,), priority=9.0)
    free = asked("migrate", 3)
    for order in permutations([first, second, third, free]):
        said = {one.action.target: one for one in Guard().admit(order, GuardMemory(), NOON, FLEET)}
        assert [t for t, one in said.items() if one.allowed] == [free.target]
        assert second.id in said[third.target].reason
        assert said[second.target].reason == (
            f"needs what {first.id} would make possible, which is held"
        )


def test_what_makes_an_urgent_action_possible_goes_before_it():
    first = asked("migrate", 0, priority=-1.0)
    second = asked("migrate", 1, after=(first.id,), priority=9.0)
    tight = Guard(LIMITS | {"move": replace(LIMITS["move"], floor=2, fleet_share=0.01)})
    for order in permutations([first, second, asked("migrate", 2), asked("migrate", 3)]):
        said = tight.admit(order, GuardMemory(), NOON)
        assert [one.target for one in allowed(said)] == [first.target, second.target]


def test_what_was_done_before_makes_possible_what_comes_after():
    memory = GuardMemory()
    first = asked("migrate", 0)
    second = asked("migrate", 1, after=(first.id,))
    assert allowed(Guard().admit([second], memory, NOON, FLEET)) == []
    assert allowed(Guard().admit([first], memory, NOON, FLEET)) == [first]
    assert allowed(Guard().admit([second], memory, NOON + SECOND, FLEET)) == [second]


def test_who_wait_for_each_other_are_held_for_ever_and_nothing_hangs():
    first = asked("migrate", 0)
    second = asked("migrate", 1, after=(first.id,))
    first = replace(first, after=(second.id,))
    assert allowed(Guard().admit([first, second], GuardMemory(), NOON, FLEET)) == []


def test_the_guard_cannot_be_left_out():
    without = {weight: limits for weight, limits in LIMITS.items() if weight != "disrupt"}
    with pytest.raises(SettingsError, match="cannot be left out"):
        Guard(without)
    assert not any(field.type in ("bool", bool) for field in fields(Guard))


@pytest.mark.parametrize("weight", LIMITS)
@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_no_setting_goes_beyond_the_ceiling(weight, name):
    ceiling = getattr(CEILING[weight], name)
    Guard(LIMITS | {weight: replace(LIMITS[weight], **{name: ceiling})})
    for wrong in (ceiling * 1.001, -1, float("nan")):
        with pytest.raises(SettingsError, match=f"{weight}.{name}"):
            Guard(LIMITS | {weight: replace(LIMITS[weight], **{name: wrong})})


def test_each_kind_has_a_weight_and_each_default_is_within_its_ceiling():
    assert set(WEIGHT) == set(KINDS)
    for weight, limits in LIMITS.items():
        for name, value in asdict(limits).items():
            assert value <= getattr(CEILING[weight], name)


def test_a_memory_of_another_version_is_refused():
    saved = GuardMemory().save()
    with pytest.raises(CheckpointError, match="another version"):
        GuardMemory.restore(saved | {"more": 1})
    with pytest.raises(CheckpointError):
        GuardMemory.restore({})


def test_the_memory_stays_small():
    """What no longer bears on any verdict is forgotten."""
    guard, memory = Guard(), GuardMemory()
    rng = np.random.default_rng(0)
    sizes = []
    for step in range(400):
        now = NOON + step * 6 * HOUR
        some = [
            asked("migrate", int(i), evidence=(f"p-{step}",), issued_ts=now, expires_ts=now + HOUR)
            for i in rng.choice(len(DEVICES), 3, replace=False)
        ]
        guard.admit(some, memory, now, FLEET)
        sizes.append(len(json.dumps(memory.save())))
    assert max(sizes[200:]) <= 1.5 * max(sizes[:200])


def test_a_verdict_is_a_plain_record():
    (verdict,) = Guard().admit([asked()], GuardMemory(), NOON, FLEET)
    record = verdict.to_record()
    assert json.loads(json.dumps(record)) == record
    assert record["verdict"] == "allowed"
    assert record["action_id"] == verdict.action.id
    assert record["id"] != replace(verdict, reason="another").to_record()["id"]


def test_what_is_not_done_after_all_gives_its_budget_back_once() -> None:
    memory = GuardMemory()
    first, second = asked(device=0), asked(device=3)
    assert allowed(GUARD.admit([first, second], memory, NOON, FLEET)) == [first, second]
    third = asked(device=6)
    assert not allowed(GUARD.admit([third], memory, NOON + MINUTE, FLEET))
    for _ in range(2):
        GUARD.withdraw(first.id, first.kind, first.target, first.touched, memory)
    assert allowed(GUARD.admit([third], memory, NOON + 2 * MINUTE, FLEET)) == [third]
    assert not allowed(GUARD.admit([asked(device=9)], memory, NOON + 3 * MINUTE, FLEET))
    again = GUARD.admit([first], memory, NOON + 4 * MINUTE, FLEET)
    assert [one.decision for one in again] == ["held"]


def test_to_withdraw_what_was_never_allowed_changes_nothing() -> None:
    memory = GuardMemory()
    GUARD.admit([asked(device=0)], memory, NOON, FLEET)
    before = memory.save()
    stranger = asked(device=1)
    GUARD.withdraw(stranger.id, stranger.kind, stranger.target, stranger.touched, memory)
    assert memory.save() == before
