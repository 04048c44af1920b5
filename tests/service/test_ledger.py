from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aiops.errors import ActionError, EmptySelector
from aiops.service import ledger

ENDS = ("sent", "failed", "rejected", "expired")
EXPIRES = "2026-11-30T01:00:00Z"
Entry = tuple[int, str, str]


def chain(bodies: list[str]) -> list[Entry]:
    entries: list[Entry] = []
    for number, body in enumerate(bodies, 1):
        before = entries[-1][2] if entries else ""
        entries.append((number, body, ledger.chained(before, body)))
    return entries


BODIES = st.lists(st.text(max_size=20), min_size=3, max_size=30)


@given(BODIES)
def test_a_chain_that_nobody_touched_is_whole(bodies: list[str]) -> None:
    assert ledger.first_broken(chain(bodies)) is None


@given(BODIES, st.data())
def test_an_entry_that_is_edited_is_found(bodies: list[str], data: st.DataObject) -> None:
    entries = chain(bodies)
    at = data.draw(st.integers(0, len(entries) - 1))
    body = data.draw(st.text(max_size=20))
    assume(body != bodies[at])
    entries[at] = (entries[at][0], body, entries[at][2])
    assert ledger.first_broken(entries) == at + 1


@given(BODIES, st.data())
def test_an_edit_that_mends_its_own_hash_is_found_at_the_next(
    bodies: list[str], data: st.DataObject
) -> None:
    entries = chain(bodies)
    at = data.draw(st.integers(0, len(entries) - 2))
    before = entries[at - 1][2] if at else ""
    body = bodies[at] + "!"
    entries[at] = (at + 1, body, ledger.chained(before, body))
    assert ledger.first_broken(entries) == at + 2


@given(BODIES, st.data())
def test_entries_cut_out_of_the_middle_are_found_also_when_the_rest_is_numbered_anew(
    bodies: list[str], data: st.DataObject
) -> None:
    entries = chain(bodies)
    at = data.draw(st.integers(0, len(entries) - 2))
    to = data.draw(st.integers(at + 1, len(entries) - 1))
    left = entries[:at] + entries[to:]
    assert ledger.first_broken(left) == at + 1
    anew = [(n, body, digest) for n, (_, body, digest) in enumerate(left, 1)]
    assert ledger.first_broken(anew) == at + 1


@given(BODIES, st.data())
def test_entries_that_change_places_are_found(bodies: list[str], data: st.DataObject) -> None:
    entries = chain(bodies)
    at = data.draw(st.integers(0, len(entries) - 2))
    to = data.draw(st.integers(at + 1, len(entries) - 1))
    assume(bodies[at] != bodies[to])
    (a, b), numbers = (entries[at], entries[to]), (at + 1, to + 1)
    entries[at], entries[to] = (numbers[0], *b[1:]), (numbers[1], *a[1:])
    assert ledger.first_broken(entries) == at + 1


# Who may do what to an action --------------------------------------------------------------------


def action(**more: Any) -> dict[str, Any]:
    return {"state": "proposed", "expires_ts": EXPIRES, "proposed_by": "ann", **more}


def hour(after: float) -> int:
    return int(1_795_996_800_000_000_000 + after * 3_600_000_000_000)


def test_somebody_else_decides_on_what_is_proposed_while_its_evidence_is_fresh() -> None:
    assert ledger.refusal(action(), "bob", hour(0.5), halted=False) == ""
    assert "proposed" in ledger.refusal(action(), "ann", hour(0.5), halted=False)
    assert "stale" in ledger.refusal(action(), "bob", hour(1.0), halted=False)
    assert "halt" in ledger.refusal(action(), "bob", hour(0.5), halted=True)
    assert "no such" in ledger.refusal(None, "bob", hour(0.5), halted=False)


@pytest.mark.parametrize("state", ["held", "approved", *ENDS])
def test_only_what_is_proposed_can_be_decided_on(state: str) -> None:
    assert state in ledger.refusal(action(state=state), "bob", hour(0.5), halted=False)


@pytest.mark.parametrize("state", ["proposed", "approved", *ENDS])
def test_a_verdict_moves_only_what_is_new_or_held(state: str) -> None:
    allowed = {"verdict": "allowed", "kind": "drain"}
    assert ledger.after_verdict(state, allowed, frozenset({"drain"})) is None
    assert ledger.after_verdict(None, allowed, frozenset()) == "proposed"
    assert ledger.after_verdict("held", allowed, frozenset({"drain"})) == "approved"
    assert ledger.after_verdict("held", {"verdict": "held", "kind": "drain"}, frozenset()) == "held"


def said(**more: Any) -> dict[str, Any]:
    return {
        "kind": "drain",
        "target": ["gw-1"],
        "reason": "repair",
        "evidence": [],
        "expires_s": 60.0,
        "params": {},
        **more,
    }


@pytest.mark.parametrize("target", [[], [""], ["*"], ["all"], ["gw-1", "*"]])
def test_nobody_proposes_an_action_on_everything(target: list[str]) -> None:
    with pytest.raises(EmptySelector):
        ledger.proposed(said(target=target), "ann", 1)


def test_a_proposal_ends_and_its_parameters_can_be_written_down() -> None:
    made = ledger.proposed(said(), "ann", 1)
    assert (made.origin, made.issued_ts, made.expires_ts) == ("operator:ann", 1, 60_000_000_001)
    with pytest.raises(ActionError):
        ledger.proposed(said(expires_s=1e-12), "ann", 1)
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    with pytest.raises(ActionError, match="nested"):
        ledger.proposed(said(params={"a": deep}), "ann", 1)
