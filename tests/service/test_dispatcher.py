from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.engine.ports import Message
from aiops.errors import DeliveryError, SettingsError
from aiops.service.dispatcher import FAULTS, Courier, Dispatcher, Pace

WAIT_S = 10.0
CALM = Pace(first_s=1.0, longest_s=60.0, asked_s=3600.0, idle_s=5.0)


def message(number: int, kind: str = "incident") -> Message:
    return Message(f"m{number}", kind, {"n": number}, number)


class Outbox:
    """What control.db keeps, in memory: per outlet what is pending, done and failed."""

    def __init__(self, messages: Iterable[Message], outlets: Iterable[str]) -> None:
        self.lock = threading.Lock()
        first = list(messages)
        self.waiting = {name: list(first) for name in outlets}
        self.finished: list[tuple[str, str]] = []
        self.said: list[tuple[str, str, str, bool]] = []
        self.changed = threading.Condition(self.lock)

    def pending(self, name: str, limit: int) -> list[Message]:
        with self.lock:
            return self.waiting[name][:limit]

    def done(self, name: str, message_id: str) -> None:
        with self.changed:
            self.finished.append((name, message_id))
            self._remove(name, message_id)

    def failed(self, name: str, message_id: str, said: str, final: bool) -> None:
        with self.changed:
            self.said.append((name, message_id, said, final))
            if final:
                self._remove(name, message_id)

    def add(self, name: str, one: Message) -> None:
        with self.lock:
            self.waiting[name].append(one)

    def wait_until(self, true: Callable[[], bool]) -> bool:
        with self.changed:
            return self.changed.wait_for(true, WAIT_S)

    def _remove(self, name: str, message_id: str) -> None:
        self.waiting[name] = [one for one in self.waiting[name] if one.id != message_id]
        self.changed.notify_all()


class Told:
    """An outlet that answers as its script says, one entry a delivery; after that it takes all."""

    kinds = frozenset({"incident"})

    def __init__(self, name: str = "a", script: Sequence[Exception | None] = ()) -> None:
        self.name = name
        self.script = list(script)
        self.got: list[str] = []
        self.closed = 0

    def deliver(self, one: Message) -> None:
        self.got.append(one.id)
        error = self.script.pop(0) if self.script else None
        if error:
            raise error

    def close(self) -> None:
        self.closed += 1


class Refreshed(Told):
    repeat_s = 60.0

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.refreshed: list[list[str]] = []
        self.ill = False

    def refresh(self, firing: Sequence[Message]) -> None:
        self.refreshed.append([one.id for one in firing])
        if self.ill:
            raise DeliveryError("nobody there")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def courier(outlet: Told, outbox: Outbox, clock: Clock, **changed: Any) -> Courier:
    given = {"firing": tuple, "pace": CALM, "clock": clock, "seed": 7} | changed
    return Courier(outlet, outbox.pending, outbox.done, outbox.failed, **given)


def again(said: str = "busy", after_s: float = 0.0) -> DeliveryError:
    return DeliveryError(said, retry_after_s=after_s)


def never(said: str = "gone") -> DeliveryError:
    return DeliveryError(said, permanent=True)


def run(one: Courier, clock: Clock, until: Callable[[], bool], steps: int = 1000) -> list[float]:
    """Step until something holds, with a clock that moves as long as each step says to wait."""
    waits = []
    for _ in range(steps):
        if until():
            return waits
        wait_s = one.step()
        waits.append(wait_s)
        clock.now += wait_s
    raise AssertionError("it does not come to hold")


def test_messages_are_delivered_once_and_in_order() -> None:
    outbox, clock, told = Outbox(map(message, range(200)), "a"), Clock(), Told()
    one = courier(told, outbox, clock)
    waits = run(one, clock, lambda: not outbox.waiting["a"])
    assert told.got == [f"m{n}" for n in range(200)]
    assert [name for _, name in outbox.finished] == told.got
    assert waits == [0.0] * 4  # batches of 64: no waiting between them
    assert one.standing.delivered == 200
    assert one.step() == CALM.idle_s


def test_a_message_that_may_be_tried_again_holds_up_those_behind_it() -> None:
    outbox, clock = Outbox(map(message, range(3)), "a"), Clock()
    told = Told(script=[None, again("one"), again("two")])
    one = courier(told, outbox, clock)
    run(one, clock, lambda: not outbox.waiting["a"])
    assert told.got == ["m0", "m1", "m1", "m1", "m2"]
    assert outbox.said == [
        ("a", "m1", "DeliveryError: one", False),
        ("a", "m1", "DeliveryError: two", False),
    ]
    assert (one.standing.delivered, one.standing.retried, one.standing.failed) == (3, 2, 0)
    assert one.standing.tries == 0


def test_each_message_is_looked_at_once_more_before_it_leaves() -> None:
    outbox, told, clock = Outbox(map(message, range(3)), "a"), Told(), Clock()
    closed: list[str] = []

    def may_leave(one: Message) -> None:
        if told.got:  # somebody pulls the switch while the first of a batch is on its way
            closed.append(one.id)
            raise again("halted")

    one = courier(told, outbox, clock, may_leave=may_leave)
    one.step()
    assert told.got == [message(0).id]
    assert closed == [message(1).id]


def test_nothing_is_tried_before_its_time() -> None:
    outbox, clock, told = Outbox([message(0)], "a"), Clock(), Told(script=[again()])
    one = courier(told, outbox, clock)
    wait_s = one.step()
    clock.now += wait_s * 0.99
    assert 0 < one.step() < wait_s * 0.02
    assert told.got == ["m0"]
    clock.now += wait_s * 0.02
    one.step()
    assert told.got == ["m0", "m0"]


def test_waits_double_with_chance_and_stop_growing() -> None:
    outbox, clock, told = Outbox([message(0)], "a"), Clock(), Told(script=[again()] * 12)
    waits = run(courier(told, outbox, clock), clock, lambda: not outbox.waiting["a"])
    for tries, wait_s in enumerate(waits[:12]):
        full = min(60.0, 2.0**tries)
        assert full / 2 <= wait_s <= full
    assert len({wait_s / 60.0 for wait_s in waits[7:12]}) == 5


def test_the_same_seed_waits_the_same_and_two_outlets_do_not() -> None:
    def waits(name: str, seed: int) -> list[float]:
        outbox, clock = Outbox([message(0)], [name]), Clock()
        told = Told(name, [again()] * 5)
        return run(courier(told, outbox, clock, seed=seed), clock, lambda: not outbox.waiting[name])

    assert waits("a", 7) == waits("a", 7)
    assert waits("a", 7) != waits("b", 7) != waits("b", 8)


@pytest.mark.parametrize(("asked_s", "waited_s"), [(120.0, 120.0), (1e9, 3600.0)])
def test_retry_after_is_heeded_within_reason(asked_s: float, waited_s: float) -> None:
    outbox, clock = Outbox([message(0)], "a"), Clock()
    told = Told(script=[again(after_s=asked_s)])
    assert courier(told, outbox, clock).step() == waited_s


@given(st.integers(1, 10_000), st.floats(0, 1e12), st.integers(0, 99))
def test_no_wait_is_longer_than_what_is_set(tries: int, asked_s: float, seed: int) -> None:
    wait_s = CALM.wait_s(tries, asked_s, random.Random(seed))
    assert min(asked_s, 3600.0) <= wait_s <= max(60.0, min(asked_s, 3600.0))
    assert wait_s >= 0.5


def test_what_is_refused_for_good_is_given_up_and_seen() -> None:
    outbox, clock = Outbox([message(0), message(1, "plan"), message(2)], "a"), Clock()
    told = Told(script=[never("gone")])
    one = courier(told, outbox, clock)
    assert one.step() == 0.0
    assert told.got == ["m0", "m2"]
    assert outbox.said == [
        ("a", "m0", "DeliveryError: gone", True),
        ("a", "m1", "DeliveryError: a takes incident; this is 'plan'", True),
    ]
    assert outbox.finished == [("a", "m2")]
    assert (one.standing.failed, one.standing.retried) == (2, 0)
    assert one.standing.said == "DeliveryError: a takes incident; this is 'plan'"


def test_a_fault_of_an_outlet_costs_one_message_and_only_after_some_tries() -> None:
    outbox, clock = Outbox([message(0), message(1)], "a"), Clock()
    told = Told(script=[ZeroDivisionError("oh")] * FAULTS)
    run(courier(told, outbox, clock), clock, lambda: not outbox.waiting["a"])
    assert told.got == ["m0"] * FAULTS + ["m1"]
    assert [final for *_, final in outbox.said] == [False] * (FAULTS - 1) + [True]
    assert outbox.said[-1][2] == "ZeroDivisionError: oh"


def test_what_comes_of_stopping_is_no_fault_and_nothing_more_is_begun() -> None:
    outbox, clock = Outbox([message(0), message(1)], "a"), Clock()
    told = Told(script=[ZeroDivisionError("oh")] * FAULTS)
    one = courier(told, outbox, clock)
    run(one, clock, lambda: one.standing.tries == FAULTS - 1)
    one.stopping = True
    assert one.step() > 0
    assert told.got == ["m0"] * (FAULTS - 1)
    one.stopping = False

    def stop_meanwhile(given: Message, deliver: Callable[[Message], None] = told.deliver) -> None:
        one.stopping = True
        deliver(given)

    told.deliver = stop_meanwhile  # type: ignore[method-assign]
    one.step()
    assert told.got == ["m0"] * FAULTS
    assert not any(final for *_, final in outbox.said)
    one.stopping = False
    run(one, clock, lambda: bool(outbox.finished))
    assert outbox.finished == [("a", "m0")]
    assert told.got[-1] == "m0"


def test_an_outbox_that_fails_is_asked_again_and_loses_nothing() -> None:
    outbox, clock, told = Outbox([message(0), message(1)], "a"), Clock(), Told()
    ill = [OSError("disk"), None, OSError("disk"), None, None]

    def done(name: str, message_id: str) -> None:
        if error := ill.pop(0):
            raise error
        outbox.done(name, message_id)

    def pending(name: str, limit: int) -> list[Message]:
        if len(told.got) == 1 and not clock.now > 101.5:
            raise OSError("disk")
        return outbox.pending(name, limit)

    one = Courier(told, pending, done, outbox.failed, tuple, pace=CALM, clock=clock, seed=7)
    run(one, clock, lambda: not outbox.waiting["a"])
    # At least once: what was delivered but not noted is delivered again.
    assert told.got == ["m0", "m0", "m1", "m1"]
    assert one.standing.retried >= 2
    assert one.standing.said == "OSError: disk"


def test_what_fires_is_refreshed_at_its_pace_beside_the_messages() -> None:
    outbox, clock, told = Outbox([message(0)], "a"), Clock(), Refreshed()
    one = courier(told, outbox, clock, firing=lambda: [message(7)])
    run(one, clock, lambda: clock.now >= 100 + 180)
    assert told.refreshed == [["m7"]] * 3
    assert told.got == ["m0"]


def test_a_refresh_that_fails_is_seen_and_comes_again() -> None:
    outbox, clock, told = Outbox([message(0)], "a"), Clock(), Refreshed()
    told.ill = True
    one = courier(told, outbox, clock)
    one.step()
    assert one.standing.said == "DeliveryError: nobody there"
    assert one.standing.retried == 1
    run(one, clock, lambda: len(told.refreshed) == 3)
    assert told.got == ["m0"]
    assert 100 + 120 <= clock.now <= 100 + 120 + CALM.idle_s


def test_a_refresh_is_not_held_up_by_a_message_that_waits() -> None:
    outbox, clock, told = Outbox([message(0)], "a"), Clock(), Refreshed()
    told.script = [again(after_s=1000.0)]
    run(courier(told, outbox, clock), clock, lambda: clock.now >= 100 + 600)
    assert told.got == ["m0"]
    assert len(told.refreshed) == 10


# Threads -----------------------------------------------------------------------------------------


class Hanging(Told):
    """Hangs in each delivery until it is closed; or if deaf, until the test is over."""

    def __init__(self, name: str, *, deaf: bool = False) -> None:
        super().__init__(name)
        self.deaf = deaf
        self.entered = threading.Event()
        self.release = threading.Event()

    def deliver(self, one: Message) -> None:
        self.entered.set()
        self.release.wait(WAIT_S)
        raise RuntimeError("its connection was closed under it")

    def close(self) -> None:
        super().close()
        if not self.deaf:
            self.release.set()


def dispatcher(outbox: Outbox, *outlets: Told, **given: Any) -> Dispatcher:
    return Dispatcher(outbox.pending, outbox.done, outbox.failed, outlets, **given)


def test_one_dead_outlet_delays_no_other_and_stopping_is_quick() -> None:
    outbox = Outbox(map(message, range(100)), ["dead", "ill", "well"])
    dead, ill, well = Hanging("dead"), Told("ill", [again()] * 1000), Told("well")
    told = dispatcher(outbox, dead, ill, well, pace=Pace(first_s=3600.0, longest_s=3600.0))
    told.start()
    assert dead.entered.wait(WAIT_S)
    assert outbox.wait_until(lambda: len(outbox.finished) == 100)
    begun = time.monotonic()
    assert told.stop() == []
    assert time.monotonic() - begun < 1.0
    assert well.got == [f"m{n}" for n in range(100)]
    assert ill.got == ["m0"]
    assert (dead.closed, ill.closed, well.closed) == (1, 1, 1)
    # What was cut off by stopping is not lost, whatever its outlet made of that.
    assert outbox.waiting["dead"][0].id == "m0"
    assert not any(final for *_, final in outbox.said)


def test_an_outlet_that_cannot_be_cut_off_is_named_and_left() -> None:
    outbox = Outbox([message(0)], ["deaf", "well"])
    deaf, well = Hanging("deaf", deaf=True), Told("well")
    told = dispatcher(outbox, deaf, well)
    told.start()
    assert deaf.entered.wait(WAIT_S)
    begun = time.monotonic()
    assert told.stop(within_s=0.2) == ["deaf"]
    assert time.monotonic() - begun < 1.0
    deaf.release.set()
    for thread in told._threads:
        thread.join(WAIT_S)
    assert outbox.waiting["deaf"]


def test_waking_it_delivers_at_once_what_is_new() -> None:
    outbox = Outbox([message(0)], ["a", "b"])
    a, b = Told("a"), Told("b")
    told = dispatcher(outbox, a, b, pace=Pace(idle_s=3600.0))
    told.start()
    assert outbox.wait_until(lambda: len(outbox.finished) == 2)
    outbox.add("b", message(1))
    told.wake()
    assert outbox.wait_until(lambda: len(outbox.finished) == 3)
    assert told.standings()["b"].delivered + told.standings()["a"].delivered >= 2
    assert told.stop() == []
    assert (a.got, b.got) == (["m0"], ["m0", "m1"])


def test_stopping_what_was_never_started_closes_its_outlets() -> None:
    one = Told()
    assert dispatcher(Outbox([], "a"), one).stop() == []
    assert one.closed == 1


def test_no_message_is_lost_or_out_of_order_under_chance_and_many_threads() -> None:
    chance = random.Random(11)
    names = [f"o{n}" for n in range(8)]
    outbox = Outbox(map(message, range(60)), names)
    outlets = [
        Told(name, [chance.choice([None, again(), None, never()]) for _ in range(90)])
        for name in names
    ]
    told = dispatcher(outbox, *outlets, pace=Pace(first_s=1e-4, longest_s=1e-3, idle_s=0.05))
    told.start()
    assert outbox.wait_until(lambda: not any(outbox.waiting.values()))
    assert told.stop() == []
    for one in outlets:
        given_up = [name for who, name, _, final in outbox.said if final and who == one.name]
        done = [name for who, name in outbox.finished if who == one.name]
        assert sorted(done + given_up) == sorted(f"m{n}" for n in range(60))
        assert list(dict.fromkeys(one.got)) == [f"m{n}" for n in range(60)]
        standing = told.standings()[one.name]
        assert (standing.delivered, standing.failed) == (len(done), len(given_up))


def test_two_outlets_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="its own name"):
        dispatcher(Outbox([], "a"), Told("a"), Told("a"))
