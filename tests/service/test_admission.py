from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.errors import Busy
from aiops.service.admission import FIRST, LEAST, MOST, TARGET_S, Admission, Place

MIB = 1 << 20
BODY = 64 * 1024


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def simulate(
    arrivals: dict[str, float], seconds: float, bytes_per_s: float, seed: int
) -> tuple[Counter[str], Counter[str]]:
    """Let senders come at random so many times a second; return what was served, and what asked.

    What is let in is served in turn, at so many bytes a second. Who is told to wait comes again no
    sooner than any other time.
    """
    clock, rng, number = Clock(), random.Random(seed), itertools.count()
    admission = Admission(64 * MIB, clock)
    waiting = [(rng.expovariate(rate), next(number), name) for name, rate in arrivals.items()]
    heapq.heapify(waiting)
    under_way: list[tuple[float, int, AbstractContextManager[Place]]] = []
    free_s = 0.0
    served, asked = Counter[str](), Counter[str]()
    while waiting[0][0] < seconds:
        at, _, name = heapq.heappop(waiting)
        while under_way and under_way[0][0] <= at:
            clock.now_s, _, entered = heapq.heappop(under_way)
            entered.__exit__(None, None, None)
        clock.now_s = at
        heapq.heappush(waiting, (at + rng.expovariate(arrivals[name]), next(number), name))
        asked[name] += 1
        entered = admission.enter(name, BODY)
        try:
            entered.__enter__()
        except Busy:
            continue
        served[name] += 1
        free_s = max(free_s, at) + BODY / bytes_per_s
        heapq.heappush(under_way, (free_s, next(number), entered))
    return served, asked


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_who_sends_a_hundred_times_its_share_takes_nothing_from_the_others(seed: int) -> None:
    others = {f"gw-{k}": 2.0 for k in range(50)}
    # All of the others together need half of what can be served; the loud one ten times all.
    bytes_per_s = 2 * 100 * BODY
    served, asked = simulate(others | {"loud": 2000.0}, 60.0, bytes_per_s, seed)
    share = [served[name] / asked[name] for name in others]
    assert sum(share) / len(share) >= 0.95
    assert min(share) >= 0.85
    assert served["loud"] < 0.2 * asked["loud"]
    assert served["loud"] > 60  # it is not shut out


def test_without_a_crowd_one_may_have_all() -> None:
    served, asked = simulate({"gw": 100.0}, 30.0, 200 * BODY, seed=1)
    assert served == asked


def test_what_can_be_served_is_served_when_all_want_too_much() -> None:
    senders = {f"gw-{k}": 40.0 for k in range(20)}
    served, _ = simulate(senders, 30.0, 200 * BODY, seed=1)
    assert served.total() >= 0.8 * 200 * 30
    assert min(served.values()) > 0.5 * max(served.values())


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 8 * MIB)), max_size=60))
def test_the_limit_stays_within_its_bounds_and_nothing_stays_under_way(
    served: list[tuple[float, int]],
) -> None:
    clock = Clock()
    admission = Admission(16 * MIB, clock)
    assert admission.limit == FIRST
    for took_s, size in served:
        with admission.enter("gw", size):
            assert (admission.under_way, admission.under_way_bytes) == (1, size)
            clock.now_s += took_s
        assert LEAST <= admission.limit <= MOST
    assert (admission.under_way, admission.under_way_bytes) == (0, 0)


def several(admission: Admission, clock: Clock, takes_s: float, times: int) -> None:
    """Keep as much under way as there may be, each for so long."""
    for _ in range(times):
        with ExitStack() as under_way:
            with suppress(Busy):
                while True:
                    under_way.enter_context(admission.enter("gw", BODY))
            clock.now_s += takes_s


def test_slow_answers_let_less_in_and_quick_ones_more() -> None:
    clock = Clock()
    admission = Admission(64 * MIB, clock)
    several(admission, clock, 2 * TARGET_S, 50)
    assert admission.limit == LEAST
    several(admission, clock, TARGET_S / 10, 1000)
    assert admission.limit > 4 * FIRST


def test_what_fails_is_under_way_no_more() -> None:
    admission = Admission(16 * MIB, Clock())
    with pytest.raises(ZeroDivisionError), admission.enter("gw", MIB):
        raise ZeroDivisionError
    assert admission.under_way_bytes == 0


def test_no_more_is_under_way_than_the_limit() -> None:
    admission = Admission(16 * MIB, Clock())
    with admission.enter("a", 13 * MIB), pytest.raises(Busy) as busy:
        admission.enter("b", 4 * MIB).__enter__()
    assert busy.value.retry_after_s >= 1.0
    with ExitStack() as under_way:
        for k in range(int(FIRST)):
            under_way.enter_context(admission.enter(f"gw-{k}", 1))
        with pytest.raises(Busy):
            admission.enter("one more", 1).__enter__()


def test_a_body_larger_than_the_limit_is_let_in_alone() -> None:
    admission = Admission(16 * MIB, Clock())
    with admission.enter("a", 17 * MIB):
        assert admission.under_way_bytes == 17 * MIB


def test_senders_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiops.service.admission.SENDERS", 100)
    admission = Admission(16 * MIB, Clock())
    for k in range(1000):
        with admission.enter(f"gw-{k}", 10):
            pass
    assert len(admission._usage) <= 100


def test_without_shares_the_others_would_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiops.service.admission.GENEROUS", float("inf"))
    others = {f"gw-{k}": 2.0 for k in range(50)}
    served, asked = simulate(others | {"loud": 2000.0}, 20.0, 200 * BODY, seed=1)
    assert sum(served[name] for name in others) < 0.5 * sum(asked[name] for name in others)


def test_payloads_that_come_slowly_take_no_place_and_say_nothing_of_how_long_others_take() -> None:
    clock = Clock()
    admission = Admission(64 * MIB, clock)
    with ExitStack() as slow:
        for k in range(100):
            place = slow.enter_context(admission.enter(f"gw-{k}", BODY))
            place.wait()
        assert admission.under_way == 0
        with admission.enter("quick", BODY) as place:
            place.come()
        clock.now_s += 60.0
        place = slow.enter_context(admission.enter("later", BODY))
        place.wait()
        clock.now_s += 60.0
        place.come()
        assert admission.under_way == 1
    assert (admission.under_way, admission.under_way_bytes) == (0, 0)
    assert admission.limit >= FIRST
    assert not admission._slow


def test_one_sender_does_not_fill_all_room_with_what_comes_slowly() -> None:
    admission = Admission(64 * MIB, Clock())
    with ExitStack() as slow:
        for _ in range(2):
            slow.enter_context(admission.enter("gw-1", 8 * MIB)).wait()
        with pytest.raises(Busy, match="comes slowly"):
            slow.enter_context(admission.enter("gw-1", 8 * MIB))
        slow.enter_context(admission.enter("gw-2", 8 * MIB))
