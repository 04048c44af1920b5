"""An action names its targets, and is the same action whenever it is asked for again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aiops.actions.action import Action
from aiops.errors import ActionError, EmptySelector

NOON = 1_767_268_800 * 1_000_000_000
HOUR = 3600 * 1_000_000_000


def action(**fields) -> Action:
    given = {
        "kind": "cordon",
        "target": ("gw-1",),
        "reason": "It fails.",
        "evidence": ("fnd-1",),
        "origin": "flash_wear",
        "issued_ts": NOON,
        "expires_ts": NOON + HOUR,
    }
    return Action(**(given | fields))


@pytest.mark.parametrize("target", [(), ("",), ("*",), ("all",), ("gw-1", "*")])
def test_an_empty_selector_never_means_everything(target):
    with pytest.raises(EmptySelector, match="never means everything"):
        action(target=target)
    if target:
        with pytest.raises(EmptySelector):
            action(devices=target)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "reboot"}, "no action is called 'reboot'"),
        ({"expires_ts": NOON}, "later end"),
        ({"priority": float("nan")}, "finite"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, says):
    with pytest.raises(ActionError, match=says):
        action(**wrong)


def test_targets_are_a_set_in_order():
    assert action(target=("b", "a", "b")).target == ("a", "b")
    assert action(target=("b", "a")).id == action(target=("a", "b")).id


SAME = [
    {"reason": "It fails still."},
    {"issued_ts": NOON + 1, "expires_ts": NOON + 2 * HOUR},
    {"priority": 7.0},
    {"historical": True},
]
OTHER = [
    {"kind": "drain"},
    {"target": ("gw-2",)},
    {"params": {"due": "tomorrow"}},
    {"evidence": ("fnd-2",)},
]


@pytest.mark.parametrize("change", SAME, ids=str)
def test_the_key_does_not_depend_on_how_or_when_it_is_asked(change):
    assert action(**change).id == action().id


@pytest.mark.parametrize("change", OTHER, ids=str)
def test_the_key_depends_on_what_is_done_and_on_what_evidence(change):
    assert action(**change).id != action().id


def test_budgets_count_devices_or_else_targets():
    assert action().touched == ("gw-1",)
    assert replace(action(), kind="migrate", target=("api",), devices=("gw-9",)).touched == (
        "gw-9",
    )


def test_the_record_is_plain_json():
    record = action(params={"source": "a", "target": None}).to_record()
    assert json.loads(json.dumps(record)) == record
    assert record["id"] == action(params={"source": "a", "target": None}).id
    assert record["issued_ts"] == "2026-01-01T12:00:00Z"
    assert record["target"] == ["gw-1"]
