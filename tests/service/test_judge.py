from __future__ import annotations

import errno
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pyarrow as pa
import pytest

from aiops.connectors.wire.packing import pack
from aiops.engine.engine import Engine, Step
from aiops.engine.ports import LogRecord, Position
from aiops.fleet import checkpoint as file
from aiops.service import judge as of_judge
from aiops.service.judge import Judge, TimedCheckpoint
from tests.connectors.durable.power_cut import fast_directory
from tests.service.fuzz import MemoryLog

NOW = 1_790_000_000_000_000_000
WAIT_S = 20.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_directory()) as folder:
        yield Path(folder)


class Still:
    """An engine that takes frames, and until it is told to stop no more than one."""

    def __init__(self) -> None:
        self.steps = 0
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()

    def step(self, frame: pa.Table) -> Step:
        self.steps += 1
        self.begun.set()
        assert self.may_go_on.wait(WAIT_S)
        return Step()

    def save(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {}

    def restore(self, arrays: dict[str, Any], values: dict[str, Any]) -> None: ...


class Desk:
    """A sink that fails as it is told, and says what it was given."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.took: list[Position] = []
        self.closed = False

    def write(self, step: Step, position: Position) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.took.append(position)

    def close(self) -> None:
        self.closed = True


def payloads(n: int) -> MemoryLog:
    """Return a log of payloads that are no frame together."""
    tables = [
        pa.table(
            {"device_id": ["gw"], "ts": pa.array([NOW], pa.timestamp("ns", "UTC")), f"m{k}": [1]}
        )
        for k in range(n)
    ]
    return MemoryLog([LogRecord("telemetry", pack([table]), NOW) for table in tables])


def judge_of(folder: Path, log: MemoryLog, engine: Any, desk: Desk, **more: Any) -> Judge:
    checkpoint = TimedCheckpoint(folder / "state.npz")
    return Judge(engine, log, [desk], checkpoint, lambda engine, n, record: None, **more)  # type: ignore[arg-type,list-item]


def test_who_is_told_to_stop_saves_and_leaves_a_backlog_for_the_next_start(folder: Path) -> None:
    engine, desk, log = Still(), Desk(), payloads(50)
    judge = judge_of(folder, log, engine, desk, linger_s=0.0)
    engine.may_go_on = judge._stopping
    judge.start(goal=50)
    assert engine.begun.wait(WAIT_S)
    judge.stop(WAIT_S)
    assert judge.failure is None
    assert engine.steps == len(desk.took) == 1
    found = file.load(folder / "state.npz")
    assert found is not None
    assert found[1]["position"] == desk.took[-1]

    rest = Desk()
    judge = judge_of(folder, log, Still(), rest)
    judge.start(goal=50)
    assert judge.caught_up.wait(WAIT_S)
    judge.stop(WAIT_S)
    assert [one["seq"] for one in desk.took + rest.took] == list(range(1, 51))


@pytest.mark.parametrize("error", [apsw.FullError("full"), OSError(errno.ENOSPC, "full")])
def test_a_full_disk_stops_the_engine_only_until_there_is_room(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_judge, "FULL_S", 0.001)
    engine, desk = Still(), Desk(*[error] * 3)
    judge = judge_of(folder, payloads(5), engine, desk)
    judge.start(goal=5)
    assert judge.caught_up.wait(WAIT_S)
    judge.stop(WAIT_S)
    assert judge.failure is None
    assert not judge.full
    assert engine.steps == 5
    assert [one["seq"] for one in desk.took] == [1, 2, 3, 4, 5]


def test_a_full_disk_keeps_nobody_from_stopping(folder: Path) -> None:
    desk = Desk(*[apsw.FullError("full")] * 1000)
    judge = judge_of(folder, payloads(5), Still(), desk)
    judge.start(goal=5)
    assert judge.ask(lambda engine: engine.steps).result(WAIT_S) in (0, 1)  # type: ignore[attr-defined]
    judge.stop(WAIT_S)
    assert desk.took == []
    assert not (folder / "state.npz").exists()


def test_a_state_for_which_there_is_no_room_is_saved_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    saved: list[Position] = []
    of = TimedCheckpoint(
        folder / "state.npz", every_s=900.0, saved=saved.append, clock=lambda: now_s[0], _at=[0.0]
    )

    def full(path: Path, arrays: Any, values: Any) -> None:
        path.with_name(f"{path.name}.new").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(file, "save", full)
        now_s[0] = 901.0
        of.save(Still(), {"seq": 7, "tables": 0})  # type: ignore[arg-type]
    assert saved == []
    assert list(folder.iterdir()) == []
    assert not of.due(1)
    now_s[0] += of_judge.UNSAVED_S
    assert of.due(1)
    of.save(Still(), {"seq": 8, "tables": 0})  # type: ignore[arg-type]
    assert saved == [{"seq": 8, "tables": 0}]


def test_sinks_stay_open_when_the_engine_fails_since_others_use_them(folder: Path) -> None:
    desk = Desk(ValueError("a fault"))
    judge = judge_of(folder, payloads(5), Still(), desk)
    judge.start(goal=5)
    judge._thread.join(WAIT_S)
    assert isinstance(judge.failure, ValueError)
    assert not desk.closed
    with pytest.raises(RuntimeError, match="does not run"):
        judge.ask(Engine.plan).result(WAIT_S)


def test_who_asks_is_answered_before_it_begins_while_it_runs_and_after_it_ended(
    folder: Path,
) -> None:
    judge = judge_of(folder, payloads(1), Still(), Desk())

    def steps(engine: Any) -> int:
        return int(engine.steps)

    with pytest.raises(RuntimeError, match="does not run"):
        judge.ask(steps).result(WAIT_S)
    judge.start(goal=1)
    assert judge.caught_up.wait(WAIT_S)
    assert judge.ask(steps).result(WAIT_S) == 1
    judge.stop(WAIT_S)
    with pytest.raises(RuntimeError, match="does not run"):
        judge.ask(steps).result(WAIT_S)
