"""Who may hand over a payload now: bounded bytes, bounded delay, and a fair share for everybody.

How many payloads may be under way at once follows from how long it takes to make them durable
(additive increase, multiplicative decrease, as TCP does and as Vector's adaptive concurrency does
for requests): so what is accepted is answered soon, and the rest is told at once to come again.
When not all can be served, those are served who had less than their share of late.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiops.errors import Busy

TARGET_S = 0.15
"""How long a payload may take before fewer are let in."""
DECREASE = 0.85
LEAST, FIRST, MOST = 2.0, 16.0, 256.0
"""Payloads that may be under way: at least, at first, at most."""
MEMORY_S = 5.0
"""How fast it is forgotten who had how much."""
COUNT_S = 0.5
"""How often senders are counted."""
GENEROUS = 1.25
"""Of a fair share, how much one may have when not all can be served."""
PRESSED = 0.5
"""Of what may be under way, from where on shares count."""
SENDERS = 100_000
"""Senders that are remembered."""
SLOW_S = 0.5
"""A payload that comes slower than that has no place until it has come."""
SLOW_SHARE = 0.25
"""Of the bytes that may be under way, what one sender may have that come slowly."""


class Place:
    """What a payload that was let in has."""

    def __init__(self, of: Admission, sender: str, size: int, begun_s: float) -> None:
        self._of = of
        self.sender, self.size, self.begun_s = sender, size, begun_s
        self.slow = False

    def wait(self) -> None:
        """Say that it comes slowly: it has no place until it has come."""
        self._of._comes(self, slow=True)

    def come(self) -> None:
        """Say that all of it is there: how long it takes counts from now on."""
        self._of._comes(self, slow=False)


class Admission:
    """Lets payloads in.

    Parameters
    ----------
    most_bytes
        What may be under way at most.
    clock
        Monotonic, in s.
    """

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self.limit = FIRST
        """How many payloads may be under way now."""
        self.under_way = 0
        self.under_way_bytes = 0
        self._slow: Counter[str] = Counter()
        """Sender -> bytes of what comes slowly."""
        self._reduced = -math.inf
        self._usage: dict[str, tuple[float, float]] = {}
        self._total = (0.0, 0.0)
        self._active = (1, -math.inf)
        """How many senders there were of late, and when that was counted."""

    @contextmanager
    def enter(self, sender: str, size: int) -> Iterator[Place]:
        """Let in a payload of about `size` bytes for as long as the block lasts.

        Whoever still has to read it says so to the place that is given.

        Raises
        ------
        Busy
            There is no room, or the sender had its share; when to come again, it says.
        """
        begun = self._clock()
        with self._lock:
            refusal = self._refusal(sender, size, begun)
            if refusal:
                raise Busy(refusal, retry_after_s=1.0)
            self.under_way += 1
            self.under_way_bytes += size
            self._use(sender, size, begun)
        place = Place(self, sender, size, begun)
        try:
            yield place
        finally:
            with self._lock:
                if place.slow:  # it never came
                    self._crawls(place, -1)
                else:
                    self._learn(self._clock() - place.begun_s)
                self.under_way -= 1
                self.under_way_bytes -= size

    def _comes(self, place: Place, *, slow: bool) -> None:
        with self._lock:
            if slow != place.slow:
                self._crawls(place, 1 if slow else -1)
            if not slow:
                place.begun_s = self._clock()

    def _crawls(self, place: Place, change: int) -> None:
        """Take the place of a payload that comes slowly (1), or give it back (-1)."""
        place.slow = change > 0
        self.under_way -= change
        self._slow[place.sender] += change * place.size
        if not self._slow[place.sender]:
            del self._slow[place.sender]

    def share(self, sender: str) -> float:
        """Return what a sender had of late, as a multiple of its fair share."""
        now = self._clock()
        if now - self._active[1] > COUNT_S:
            self._active = (sum(self._now(used, now) > 1 for used in self._usage.values()), now)
        mine = self._now(self._usage.get(sender, (0.0, now)), now)
        return mine * max(self._active[0], 1) / max(self._now(self._total, now), 1.0)

    def _refusal(self, sender: str, size: int, now: float) -> str:
        if not self.under_way_bytes:
            return ""
        if self._slow[sender] + size > max(SLOW_SHARE * self._most, size):
            return "much of yours is under way already, and comes slowly"
        if self.under_way + 1 > self.limit or self.under_way_bytes + size > self._most:
            return "as much is under way as can be handled in time"
        if self.under_way + 1 > PRESSED * self.limit and self.share(sender) > GENEROUS:
            return "others are waiting, and you had more than your share"
        return ""

    def _learn(self, took_s: float) -> None:
        if took_s > TARGET_S:
            now = self._clock()
            if now - self._reduced > TARGET_S:  # what is under way now was let in before
                self._reduced = now
                self.limit = max(LEAST, DECREASE * self.limit)
        elif self.under_way > PRESSED * self.limit:
            self.limit = min(MOST, self.limit + 1.0 / self.limit)

    def _use(self, sender: str, size: int, now: float) -> None:
        if len(self._usage) >= SENDERS:
            self._usage = {k: used for k, used in self._usage.items() if self._now(used, now) > 1.0}
            while len(self._usage) >= SENDERS:
                self._usage.pop(next(iter(self._usage)))
        used = self._usage.get(sender, (0.0, now))
        self._usage[sender] = (self._now(used, now) + size, now)
        self._total = (self._now(self._total, now) + size, now)

    @staticmethod
    def _now(used: tuple[float, float], now: float) -> float:
        return used[0] * math.exp((used[1] - now) / MEMORY_S)
