"""Hands what waits in the outbox to the outlets: in order, again and again, each by itself."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from aiops.engine.ports import Message, Outlet
from aiops.errors import DeliveryError, SettingsError

Pending = Callable[[str, int], list[Message]]
"""Outlet and how many at most -> messages that it has not got yet, oldest first."""
Done = Callable[[str, str], None]
"""Outlet and message id: it has been delivered; it is not pending any more."""
Failed = Callable[[str, str, str, bool], None]
"""Outlet, message id, what was said, whether that is final: if so it is not pending any more."""
Firing = Callable[[], Sequence[Message]]
"""Incidents that fire now, as the messages that told of them last."""
MayLeave = Callable[[Message], None]
"""Raises DeliveryError for what must not leave now; asked of each message at the last moment."""

BATCH = 64
"""Messages that are taken from the outbox at once."""
FAULTS = 3
"""Errors other than DeliveryError until a message is given up."""


@dataclass(frozen=True)
class Pace:
    """How long to wait, and for what.

    Parameters
    ----------
    first_s, longest_s
        Before the first repetition, and the most before any: each wait is twice the one before,
        and by chance up to half shorter, so that many senders do not come back together.
    asked_s
        The most that a receiver's Retry-After is heeded.
    idle_s
        Between looks into an empty outbox when nobody says that there is something.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    asked_s: float = 3600.0
    idle_s: float = 1.0

    def wait_s(self, tries: int, asked_s: float, chance: random.Random) -> float:
        """Return how long to wait after the `tries`-th failure in a row."""
        grown = min(self.longest_s, self.first_s * 2.0 ** min(tries - 1, 32))
        return max(grown * chance.uniform(0.5, 1.0), min(asked_s, self.asked_s))


@dataclass(frozen=True)
class Standing:
    """How it goes with an outlet, for pages and metrics."""

    delivered: int = 0
    retried: int = 0
    """Failures after which it is tried again; also those of the outbox and of a refresh."""
    failed: int = 0
    """Messages that were given up."""
    tries: int = 0
    """Failures in a row, of the message that is next."""
    wait_s: float = 0.0
    """How long it was decided to wait after the last of them."""
    said: str = ""
    """What went wrong last; stays when all is well again."""


class Courier:
    """Delivers to one outlet; `step` does what is due and never waits for anything but the outlet.

    A message that may be tried again holds up those behind it: order is kept. A message that is
    refused for good is given up, and the next one is taken. So is one on which an outlet fails in
    a way it should not, `FAULTS` times in a row: it must not hold up the others for ever.

    Parameters
    ----------
    outlet
        Whom to deliver to.
    pending, done, failed, firing
        The outbox.
    may_leave
        Has the last word.
    pace
        How long to wait.
    clock
        Seconds that never go back.
    seed
        Of the chance in waits; the name of the outlet is added to it.
    """

    def __init__(
        self,
        outlet: Outlet,
        pending: Pending,
        done: Done,
        failed: Failed,
        firing: Firing,
        *,
        may_leave: MayLeave = lambda message: None,
        pace: Pace,
        clock: Callable[[], float],
        seed: int,
    ) -> None:
        self.outlet = outlet
        self.standing = Standing()
        self.stopping = False
        self._pending = pending
        self._done = done
        self._failed = failed
        self._firing = firing
        self._may_leave = may_leave
        self._pace = pace
        self._clock = clock
        self._chance = random.Random(f"{seed} {outlet.name}")
        self._retry_at = clock()
        self._refresh = getattr(outlet, "refresh", None)
        self._repeat_s = float(getattr(outlet, "repeat_s", 0.0))
        self._refresh_at = clock()

    def step(self) -> float:
        """Do what is due; return after how many seconds something will be."""
        worked = False
        try:
            if self._refresh and self._clock() >= self._refresh_at:
                self._refresh_at = self._clock() + self._repeat_s
                self._refresh(self._firing())
            if self._clock() >= self._retry_at:
                worked = self._deliver_batch()
        except Exception as error:  # of the outbox or of a refresh: no message is to blame
            self._later(error)
        now = self._clock()
        due = [self._retry_at if self._retry_at > now else now + self._pace.idle_s * (not worked)]
        if self._refresh:
            due.append(self._refresh_at)
        return max(0.0, min(due) - now)

    def _deliver_batch(self) -> bool:
        """Deliver what is pending until one has to wait; say whether to look again at once."""
        batch = self._pending(self.outlet.name, BATCH)
        for message in batch:
            if self.stopping:
                return False
            try:
                self._deliver(message)
            except Exception as error:  # also a fault of the outlet's own
                said = f"{type(error).__name__}: {error}"
                if self._final(error):
                    self._failed(self.outlet.name, message.id, said, True)
                    self._gave_up(said)
                    continue
                self._later(error)
                self._failed(self.outlet.name, message.id, said, False)
                return False
            else:
                self._done(self.outlet.name, message.id)
                self.standing = replace(
                    self.standing, delivered=self.standing.delivered + 1, tries=0, wait_s=0.0
                )
        return bool(batch)

    def _deliver(self, message: Message) -> None:
        if message.kind not in self.outlet.kinds:
            raise DeliveryError(
                f"{self.outlet.name} takes {', '.join(sorted(self.outlet.kinds))}; this is"
                f" {message.kind!r}",
                permanent=True,
            )
        self._may_leave(message)
        self.outlet.deliver(message)

    def _final(self, error: Exception) -> bool:
        if isinstance(error, DeliveryError):
            return error.permanent
        # While we stop, its connections are closed under it: anything may come of that.
        return self.standing.tries + 1 >= FAULTS and not self.stopping

    def _gave_up(self, said: str) -> None:
        self.standing = replace(
            self.standing, failed=self.standing.failed + 1, tries=0, wait_s=0.0, said=said
        )

    def _later(self, error: Exception) -> None:
        tries = self.standing.tries + 1
        asked_s = error.retry_after_s if isinstance(error, DeliveryError) else 0.0
        wait_s = self._pace.wait_s(tries, asked_s, self._chance)
        self._retry_at = self._clock() + wait_s
        self.standing = replace(
            self.standing,
            retried=self.standing.retried + 1,
            tries=tries,
            wait_s=wait_s,
            said=f"{type(error).__name__}: {error}",
        )


class Dispatcher:
    """Runs a thread for each outlet, so that one that is dead delays no other.

    Parameters
    ----------
    pending, done, failed
        The outbox; called from all threads at once.
    outlets
        Whom to deliver to; their names are distinct. They are closed by `stop`.
    firing
        Incidents that fire now, for outlets that have ``refresh``.
    may_leave
        Has the last word on each message.
    pace
        How long to wait.
    seed
        Of the chance in waits.

    Raises
    ------
    SettingsError
        Two outlets have one name.
    """

    def __init__(
        self,
        pending: Pending,
        done: Done,
        failed: Failed,
        outlets: Iterable[Outlet],
        *,
        firing: Firing = tuple,
        may_leave: MayLeave = lambda message: None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        seed: int = 0,
    ) -> None:
        settled = pace or Pace()
        self._couriers = [
            Courier(
                one,
                pending,
                done,
                failed,
                firing,
                may_leave=may_leave,
                pace=settled,
                clock=clock,
                seed=seed,
            )
            for one in outlets
        ]
        names = [courier.outlet.name for courier in self._couriers]
        if len(set(names)) < len(names):
            raise SettingsError(f"outlets are called {', '.join(names)}; give each its own name")
        self._wakes = [threading.Event() for _ in names]
        self._threads = [
            threading.Thread(target=_run, args=pair, name=f"outlet {name}", daemon=True)
            for name, pair in zip(names, zip(self._couriers, self._wakes, strict=True), strict=True)
        ]

    def start(self) -> None:
        """Begin to deliver."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Say that there is something new in the outbox: it is looked at now, not later."""
        for event in self._wakes:
            event.set()

    def standings(self) -> dict[str, Standing]:
        """Return how it goes with each outlet, by name."""
        return {courier.outlet.name: courier.standing for courier in self._couriers}

    def stop(self, within_s: float = 1.0) -> list[str]:
        """Stop delivering and close the outlets; return the names of those that still hang.

        What is being delivered may finish in half of `within_s`; then its connection is cut. A
        message that is cut off stays pending, and is sent again at the next start.
        """
        until = time.monotonic() + within_s
        for courier in self._couriers:
            courier.stopping = True
        self.wake()
        self._join(time.monotonic() + within_s / 2)
        for courier in self._couriers:
            courier.outlet.close()
        self._join(until)
        return [
            courier.outlet.name
            for courier, thread in zip(self._couriers, self._threads, strict=True)
            if thread.is_alive()
        ]

    def _join(self, until: float) -> None:
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))


def _run(courier: Courier, wake: threading.Event) -> None:
    while not courier.stopping:
        wait_s = courier.step()
        if not courier.stopping:
            wake.wait(wait_s)
            wake.clear()
