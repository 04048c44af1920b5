from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from aiops.connectors.wire.decoded import Decoded
from aiops.engine.ports import LogRecord
from aiops.errors import Busy, TooLarge
from aiops.service.keys import Principal
from aiops.service.news import News
from aiops.service.roles import Role
from aiops.service.routes.access import asked
from aiops.service.service import Service, Taken
from aiops.service.settings import read_settings
from tests.connectors.durable.power_cut import fast_directory
from tests.service.running import until

NOW = 1_790_000_000_000_000_000
ANN = Principal("ann", frozenset(Role), patterns=("*",))
DRAIN = {"kind": "drain", "reason": "so", "evidence": [], "params": {}, "expires_s": 60.0}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_directory()) as folder:
        yield Path(folder)


def service_in(folder: Path) -> Service:
    """Return a service that runs, without what serves it over HTTP."""
    service = Service(read_settings(None, data=folder / "data", engine={"epoch_s": 3600}))
    service.start()
    return service


def take(service: Service, device: str, ts: int = NOW) -> Taken:
    table = pa.table(
        {"device_id": [device], "ts": pa.array([ts], pa.timestamp("ns", "UTC")), "m": [1]}
    )
    return asyncio.run(service.take(ANN, lambda: (Decoded((table,)), None), "test"))


def say(service: Service, kind: str, /, **said: Any) -> int:
    return asyncio.run(service.say(kind, ANN, said))


def test_no_number_is_given_out_twice_when_the_log_is_lost(folder: Path) -> None:
    service = service_in(folder)
    for k in range(3):
        take(service, f"gw-{k}")
    said = say(service, "label", finding_id="f", said="wrong", note="")
    service.stop()
    shutil.rmtree(folder / "data/log")
    service = service_in(folder)
    try:
        assert take(service, "gw-9").seq > said
        again = say(service, "label", finding_id="f", said="right", note="")
        until(lambda: service.judge.seq >= again)
        labels = service.control.records("labels", {}, before=None, limit=10)
        assert [label["said"] for _, label in labels] == ["right", "wrong"]
        devices = service.judge.ask(
            lambda engine: [one[0] for one in engine.fleet.registry.identities]
        )
        assert devices.result(20) == ["gw-0", "gw-1", "gw-2", "gw-9"]
    finally:
        service.stop()


def test_who_proposes_too_much_hears_of_the_action_and_others_of_the_brake(folder: Path) -> None:
    service = service_in(folder)
    try:
        seq = say(service, "proposal", target=[f"gw-{k}" for k in range(7)], **DRAIN)
        heard = service.control.heard(seq)
        assert heard is not None
        assert (heard["kind"], heard["state"], heard["proposed_by"]) == ("drain", "held", "ann")
        told = service.control.records("actions", {}, before=None, limit=10)
        assert {(one["kind"], one.get("proposed_by")) for _, one in told} == {
            ("drain", "ann"),
            ("notify", None),
        }
    finally:
        service.stop()


def test_an_engine_that_fails_leaves_the_rest_in_order(folder: Path) -> None:
    service = service_in(folder)
    try:
        service.engine.step = None  # type: ignore[method-assign,assignment]
        take(service, "gw-1")
        until(lambda: service.judge.failure is not None)
        service.halt("ann", True)  # it can still be stopped, and what leaves is noted
        assert service.halted()
        assert "data" not in service.ready
    finally:
        service.stop()


def test_sending_again_what_is_known_does_not_stop_the_clock(folder: Path) -> None:
    service = service_in(folder)
    try:
        take(service, "gw-1")
        before = service._last_record_s
        assert take(service, "gw-1").duplicate
        assert service._last_record_s == before
        take(service, "gw-2")
        assert service._last_record_s > before
    finally:
        service.stop()


def test_nothing_new_is_missed_between_looking_and_waiting() -> None:
    changed = News()
    count = changed.count
    changed.announce()  # after somebody looked, and before he waits
    assert asyncio.run(changed.wait(count, 1e-3))
    assert not asyncio.run(changed.wait(changed.count, 1e-3))


def test_many_who_ask_the_same_at_once_ask_the_engine_once(folder: Path) -> None:
    service = service_in(folder)
    request: Any = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(service=service)))
    asked_of: list[int] = []

    async def everybody() -> list[int]:
        def question(engine: object) -> int:
            asked_of.append(1)
            return 7

        first = asyncio.ensure_future(asked(request, "seven", question))
        others = [asked(request, "seven", question) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()  # who goes away takes the answer from nobody
        return await asyncio.gather(*others)

    try:
        assert asyncio.run(everybody()) == [7] * 20
        assert len(asked_of) == 1
    finally:
        service.stop()


def test_a_clock_that_was_ahead_once_is_told_of(folder: Path) -> None:
    service = service_in(folder)
    try:
        until(lambda: service.ready == "")
        far_ns = time.time_ns() + 20 * 365 * 86_400 * 10**9
        service.submit(LogRecord("heartbeat", b"", far_ns)).result()  # type: ignore[call-arg]
        assert "the clock is" in service.ready
    finally:
        service.stop()
    service = service_in(folder)
    try:
        assert "the clock is" in service.ready
    finally:
        service.stop()


def test_what_a_person_does_is_no_longer_than_pages_of_it_can_be(folder: Path) -> None:
    service = service_in(folder)
    try:
        with pytest.raises(TooLarge, match="say less"):
            say(service, "proposal", target=["gw-1"], **DRAIN | {"params": {"a": "x" * 70_000}})
        assert service.log.last == 0
    finally:
        service.stop()


def test_a_service_that_holds_too_much_memory_takes_nothing_until_it_holds_less(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_in(folder)
    held = [service.settings.bounds.memory_bytes + (1 << 20)]
    monkeypatch.setattr("aiops.service.service.resident_bytes", lambda: held[0])
    with pytest.raises(Busy, match="of memory"):
        take(service, "gw-1")
    held[0] = 1 << 20
    service._memory_bytes = (0.0, 0)  # as if a moment had passed
    assert take(service, "gw-1").rows == 1
    service.stop()
