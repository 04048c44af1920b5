from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.actions.action import Action
from aiops.engine.engine import Engine, Step, default_rules
from aiops.engine.ports import LogRecord, Message
from aiops.errors import CheckpointError, DeliveryError
from aiops.service.control import Control
from aiops.testing import check_sink
from tests.connectors.durable.power_cut import fast_directory
from tests.service.fleet import DAY_NS, fallen_silent

NOW = 1_790_000_000_000_000_000
HOUR_NS = 3_600_000_000_000
TABLES = ("meta", "records", "latest", "outbox", "quarantine", "audit")


class Everything:
    """An outlet that is told of everything."""

    name = "desk"
    kinds = frozenset({"finding", "incident", "action"})

    def deliver(self, message: Message) -> None: ...

    def close(self) -> None: ...


def control_at(path: Path, **more: Any) -> Control:
    return Control(path, [Everything()], **more)


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the database holds, by table."""
    db = apsw.Connection(str(path))
    try:
        return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}
    finally:
        db.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_directory()) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    """What an engine finds while devices fall silent one after the other, with a bad row in it."""
    engine = Engine(default_rules(), layout=None, epoch_s=3600, lateness_s=0)
    frames = [fallen_silent(f"gw-{k}", NOW + k * DAY_NS) for k in range(5)]
    frames[1] = frames[1].set_column(
        2, "temperature.celsius", [[2000.0, *frames[1]["temperature.celsius"].to_pylist()[1:]]]
    )
    found = [engine.step(frame) for frame in frames]
    told = [step.records() for step in found]
    assert all(any(records[kind] for records in told) for kind in ("findings", "incidents"))
    assert any(len(step.set_aside) for step in found)
    return found


def best(steps: list[Step]) -> Step:
    return max(steps, key=lambda step: sum(map(len, step.records().values())))


# As a sink ---------------------------------------------------------------------------------------


def test_writing_a_step_twice_leaves_what_writing_it_once_leaves(
    folder: Path, steps: list[Step]
) -> None:
    path = folder / "control.db"
    check_sink(lambda: control_at(path), lambda: content(path), best(steps))
    assert len(content(path)["records"]) > 2


@pytest.mark.parametrize("back", [1, 3, 5])
def test_steps_that_are_run_again_after_a_crash_change_nothing(
    folder: Path, steps: list[Step], back: int
) -> None:
    path = folder / "control.db"
    control = control_at(path)
    for n, step in enumerate(steps):
        control.write(step, {"seq": n, "tables": 0})
    once = content(path)
    for n, step in list(enumerate(steps))[-back:]:
        control.write(step, {"seq": n, "tables": 0})
    control.close()
    assert content(path) == once


def test_a_step_is_there_with_its_position_or_not_at_all_wherever_it_is_cut_off(
    folder: Path, steps: list[Step]
) -> None:
    step = best(steps)
    path = folder / "control.db"
    control = control_at(path)
    control.write(steps[0], {"seq": 1, "tables": 0})
    before = content(path)
    cuts: list[Path] = []

    def cut(cursor: object, sql: str, bindings: object) -> bool:
        """Copy the files as they are, before a statement."""
        cuts.append(folder / f"cut-{len(cuts)}")
        cuts[-1].mkdir()
        for file in folder.glob("control.db*"):
            shutil.copy(file, cuts[-1])
        return True

    control._db.exec_trace = cut
    control.write(step, {"seq": 2, "tables": 0})
    control._db.exec_trace = None
    after = content(path)
    assert after != before
    assert len(cuts) > 10
    for where in cuts:
        assert content(where / "control.db") == before
        again = control_at(where / "control.db")
        again.write(step, {"seq": 2, "tables": 0})
        again.close()
        assert content(where / "control.db") == after
    control.close()


def test_a_step_that_fails_at_any_statement_leaves_nothing_and_can_be_written_again(
    folder: Path, steps: list[Step]
) -> None:
    step, path = best(steps), folder / "control.db"
    control = control_at(path)
    before = content(path)
    told: list[int] = []
    control.on_commit = lambda: told.append(1)
    for k in range(10_000):
        left = [k]

        def fails(cursor: object, sql: str, bindings: object, left: list[int] = left) -> bool:
            left[0] -= 1
            if left[0] < 0 and sql != "ROLLBACK":
                raise InterruptedError("here")
            return True

        control._db.exec_trace = fails
        try:
            control.write(step, {"seq": 2, "tables": 0})
            break
        except InterruptedError:
            control._db.exec_trace = None
            assert content(path) == before
            assert not told
    control._db.exec_trace = None
    assert k > 10
    assert told == [1]
    assert control.meta("position") == '{"seq": 2, "tables": 0}'
    control.close()


def test_a_disk_that_is_full_is_told_as_such_and_costs_nothing(
    folder: Path, steps: list[Step]
) -> None:
    once = control_at(folder / "once.db")
    control = control_at(folder / "control.db")
    control.set_aside("over_quota", "key-1", 7, "gw-1", at_ns=NOW)
    once.set_aside("over_quota", "key-1", 7, "gw-1", at_ns=NOW)
    pages = control._db.execute("PRAGMA page_count").fetchall()[0][0]
    full = 0
    for n, step in enumerate(steps):
        once.write(step, {"seq": n, "tables": 0})
        control._db.execute(f"PRAGMA max_page_count = {pages}")
        while True:
            before = content(folder / "control.db")
            try:
                control.write(step, {"seq": n, "tables": 0})
                break
            except apsw.FullError:
                full += 1
                assert content(folder / "control.db") == before
                pages += 1
                control._db.execute(f"PRAGMA max_page_count = {pages}")
    assert full > 3
    once.close()
    control.close()
    assert content(folder / "control.db") == content(folder / "once.db")


def test_what_was_refused_at_the_door_outlives_a_transaction_that_failed(
    folder: Path, steps: list[Step]
) -> None:
    control = control_at(folder / "control.db")
    control.set_aside("over_quota", "key-1", 7, "gw-1", at_ns=NOW)

    def fails(cursor: object, sql: str, bindings: object) -> bool:
        if sql.startswith("INSERT OR REPLACE INTO meta"):
            raise InterruptedError
        return True

    control._db.exec_trace = fails
    with pytest.raises(InterruptedError):
        control.write(steps[-1], {"seq": 1, "tables": 0})
    control._db.exec_trace = None
    control.close()
    assert [row[-1] for row in content(folder / "control.db")["quarantine"]] == [7]


def test_messages_are_of_the_kinds_an_outlet_takes_each_once_and_oldest_first(
    folder: Path, steps: list[Step]
) -> None:
    control = control_at(folder / "control.db")
    for n, step in enumerate(steps):
        control.write(step, {"seq": n, "tables": 0})
    pending = control.pending("desk", 1000)
    assert {one.kind for one in pending} >= {"finding", "incident"}
    assert len({one.id for one in pending}) == len(pending)
    for one in pending[::2]:
        control.delivered("desk", one.id)
    assert control.pending("desk", 1000) == pending[1::2]
    control.failed("desk", pending[1].id, "later", permanent=False)
    assert control.pending("desk", 1000) == pending[1::2]
    control.failed("desk", pending[1].id, "never", permanent=True)
    assert control.pending("desk", 1000) == pending[3::2]
    control.close()


def test_a_database_of_another_version_is_left_alone(folder: Path) -> None:
    control = control_at(folder / "control.db")
    control._set("format", "0")
    control.close()
    with pytest.raises(CheckpointError, match="format 0"):
        control_at(folder / "control.db")


# Actions -----------------------------------------------------------------------------------------

TRANSITIONS = {
    None: {"held", "proposed", "approved"},
    "held": {"proposed", "approved"},
    "proposed": {"approved", "rejected", "expired"},
    "approved": {"sent", "failed"},
    "sent": set(),
    "failed": set(),
    "rejected": set(),
    "expired": set(),
}
KINDS = ("drain", "notify")
PEOPLE = st.sampled_from(["ann", "bob"])
EVENTS = st.one_of(
    st.tuples(st.just("verdict"), st.sampled_from(["allowed", "held"]), PEOPLE),
    st.tuples(st.sampled_from(["approval", "rejection"]), PEOPLE),
    st.tuples(st.just("delivered")),
    st.tuples(st.just("failed"), st.booleans()),
    st.tuples(st.just("halt"), st.booleans()),
    st.tuples(st.just("passes"), st.integers(1, 3)),
    st.tuples(st.just("again")),
)


class Desk:
    """Somebody who does things to one action, and looks at what becomes of it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.halted = False
        self.control = control_at(folder / "control.db", halted=lambda: self.halted)
        self.number, self.now = 0, NOW
        target = ("gw-1",)
        self.action = Action(kind, target, "why", (), "silence", NOW, NOW + 4 * HOUR_NS)  # type: ignore[arg-type]
        self.proposer: str | None = None
        self.said: list[tuple[int, LogRecord]] = []
        self.state: str | None = None

    def hear(self, kind: str, who: str, said: Any) -> None:
        self.number += 1
        record = LogRecord(kind, json.dumps(said).encode(), self.now, who)
        self.said.append((self.number, record))
        self.control.hear(self.number, record)

    def do(self, event: tuple[Any, ...]) -> None:
        match event:
            case ("verdict", verdict, who):
                record = self.action.to_record() | {
                    **{"action_id": self.action.id, "verdict": verdict, "verdict_reason": "so"},
                    "proposed_by": who,
                }
                self.hear("proposal", who, [record])
            case (("approval" | "rejection") as kind, who):
                self.hear(kind, who, {"action_id": self.action.id, "reason": "because"})
            case ("delivered",):
                for one in self.control.pending("desk", 10):
                    self.control.delivered("desk", one.id)
            case ("failed", permanent):
                for one in self.control.pending("desk", 10):
                    self.control.failed("desk", one.id, "no", permanent)
            case ("halt", on):
                self.halted = on
            case ("passes", hours):
                self.now += hours * HOUR_NS
                ended = SimpleNamespace(end=self.now)
                self.control.write(Step(epochs=(ended,)), {"seq": 0, "tables": 0})  # type: ignore[arg-type]
            case ("again",):  # as after a crash
                for number, record in self.said:
                    self.control.hear(number, record)

    def look(self, before: str | None) -> None:
        found = self.control.action(self.action.id)
        self.state = found["state"] if found else None
        if self.state != before:
            assert self.state in TRANSITIONS[before]
        if found and self.state == "approved" and found["state_by"] != "engine":
            assert found["state_by"] != found["proposed_by"]
        if found and self.state == "approved" and found["kind"] == "drain":
            assert found["state_by"] in ("ann", "bob")
        waiting = [one for one in self.control.pending("desk", 10) if one.kind == "action"]
        assert len(waiting) == (self.state == "approved" and not self.halted)
        assert self.control.audit_broken() is None


@settings(max_examples=100)
@given(st.sampled_from(KINDS), st.lists(EVENTS, max_size=14))
def test_an_action_goes_from_state_to_state_as_it_may_and_never_out_of_its_end(
    kind: str, events: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory(dir=fast_directory()) as folder:
        desk = Desk(Path(folder), kind)
        for event in events:
            before = desk.state
            desk.do(event)
            desk.look(before)
        desk.control.close()


def test_counters_of_commands_rise_also_when_the_database_is_lost(folder: Path) -> None:
    counters = []
    for n in range(2):
        desk = Desk(folder, "drain")
        desk.now += n * HOUR_NS
        for target in ("gw-1", "gw-2"):
            desk.action = replace(desk.action, target=(target,))
            desk.do(("verdict", "allowed", "ann"))
            desk.do(("approval", "bob"))
            found = desk.control.action(desk.action.id)
            assert found is not None
            counters.append(found["counter"])
        desk.control.close()
        for file in folder.glob("control.db*"):
            file.unlink()
    assert counters == sorted(set(counters))


def test_no_action_leaves_that_is_halted_or_stale_when_its_turn_comes(folder: Path) -> None:
    desk = Desk(folder, "drain")
    desk.do(("verdict", "allowed", "ann"))
    desk.do(("approval", "bob"))
    (message,) = desk.control.pending("desk", 10)  # as a courier has it, who is busy with others
    desk.control.may_leave(message, NOW)
    desk.halted = True
    with pytest.raises(DeliveryError, match="halt switch") as halted:
        desk.control.may_leave(message, NOW)
    assert not halted.value.permanent
    desk.halted = False
    with pytest.raises(DeliveryError, match="stale") as stale:
        desk.control.may_leave(message, NOW + 4 * HOUR_NS)
    assert stale.value.permanent


def test_an_action_that_is_approved_is_told_once_and_ends_when_it_is_taken(folder: Path) -> None:
    desk = Desk(folder, "drain")
    for event in [("verdict", "held", "ann"), ("verdict", "allowed", "ann"), ("approval", "ann")]:
        desk.do(event)
    desk.look("held")
    assert desk.state == "proposed"
    desk.do(("approval", "bob"))
    desk.look("proposed")
    assert desk.state == "approved"
    desk.halted = True
    assert desk.control.pending("desk", 10) == []
    desk.halted = False
    assert [one.id for one in desk.control.pending("desk", 10)] == [desk.action.id]
    desk.do(("delivered",))
    desk.look("approved")
    assert desk.state == "sent"
    audit = [entry["what"] for _, entry in desk.control.audit(before=None, limit=100)]
    assert audit[0] == "action sent"
    assert "approval refused" in audit
    desk.control.close()


# The audit ---------------------------------------------------------------------------------------

TOUCH = {
    "edited": "UPDATE audit SET body = replace(body, 'who', 'whom') WHERE seq = 500",
    "dropped": "DELETE FROM audit WHERE seq = 500",
    "cut out": "DELETE FROM audit WHERE seq BETWEEN 500 AND 800",
    "swapped": "UPDATE audit SET seq = CASE seq WHEN 500 THEN -1 ELSE 500 END"
    " WHERE seq IN (500, 501); UPDATE audit SET seq = 501 WHERE seq = -1",
}


@pytest.mark.parametrize("how", TOUCH)
def test_an_audit_that_was_touched_is_found_out(folder: Path, how: str) -> None:
    control = control_at(folder / "control.db")
    with control.transaction():
        for n in range(1000):
            control._audit(NOW + n, "who", "what", f"subject {n}", "")
    assert control.audit_broken() is None
    db = apsw.Connection(str(folder / "control.db"))
    db.execute(TOUCH[how])
    db.close()
    assert control.audit_broken() == 500
    control.close()


# Who is told -------------------------------------------------------------------------------------


class Devices(Everything):
    """An outlet that has nothing to do with notes to people."""

    name = "devices"
    leaves = frozenset({"notify"})


def test_an_action_goes_to_whom_it_concerns_and_says_when_that_is_nobody(folder: Path) -> None:
    control = Control(folder / "control.db", [Devices()])
    note = Action("notify", ("gw-1",), "worn out", ("fnd-1",), "flash_wear", NOW, NOW + HOUR_NS)
    record = note.to_record() | {
        "action_id": note.id,
        "verdict": "allowed",
        "verdict_reason": "within budget",
    }
    with control.transaction():
        control._take_verdict(record, NOW)
    assert control.pending("devices", 10) == []
    found = control.action(note.id)
    assert found is not None
    assert found["state"] == "approved"
    assert "no outlet takes it" in found["state_reason"]
    control.close()


def test_what_was_refused_at_the_door_is_seen_without_a_step_of_the_engine(folder: Path) -> None:
    control = control_at(folder / "control.db")
    control.set_aside("no_device", "key-1", 3, "line 1", at_ns=NOW)
    assert control.refused({}, before=None, limit=10) == []
    control.flush()
    ((_, row),) = control.refused({}, before=None, limit=10)
    assert (row["reason"], row["rows"]) == ("no_device", 3)
    control.close()


def test_old_records_are_forgotten_and_what_stands_is_not(
    folder: Path, steps: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    control = control_at(folder / "control.db")
    for step in steps:
        control.write(step, {"seq": 1, "tables": 0})
    for message in control.pending("desk", 100):
        control.delivered("desk", message.id)  # actions are sent now, and were approved before
    firing = control.firing()
    before = content(folder / "control.db")
    monkeypatch.setattr("aiops.service.control.RECORD_ROWS", 0)
    control.prune()
    after = content(folder / "control.db")
    assert 0 < len(after["records"]) < len(before["records"])
    assert after["latest"] == before["latest"]
    assert after["audit"] == before["audit"]
    assert control.firing() == firing
    assert len(control.events(0, 10_000)) == len(after["records"])
    control.close()
