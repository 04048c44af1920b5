"""Which payloads came lately, by protocol: enough to look at them again in the log."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from typing import NamedTuple

KEPT = 256
"""Payloads of each protocol that are remembered."""


class Arrival(NamedTuple):
    """A payload that the log has."""

    at_ns: int
    """When it was taken, ns since the epoch, UTC."""
    seq: int
    """Of its record in the log."""
    rows: int


class Arrivals:
    """Counts what came, and remembers the newest payloads of each protocol.

    Nothing of a payload is looked at here: telemetry that comes pays for one entry in a queue.
    """

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        """Rows since the start, by protocol."""
        self._newest: dict[str, deque[Arrival]] = {}

    def note(self, protocol: str, arrival: Arrival) -> None:
        """Take a payload into account; of each protocol from one thread at a time."""
        self.rows[protocol] += arrival.rows
        self._newest.setdefault(protocol, deque(maxlen=KEPT)).append(arrival)

    def last_ns(self, protocol: str) -> int | None:
        """Return when the last payload came by a protocol, or None."""
        newest = self._newest.get(protocol)
        return newest[-1].at_ns if newest else None

    def since(self, at_ns: int, protocols: Collection[str] = ()) -> list[Arrival]:
        """Return the payloads remembered that came after a moment, newest first.

        `protocols`: only by these; none: by all.
        """
        found = [
            arrival
            for protocol, newest in list(self._newest.items())
            if not protocols or protocol in protocols
            for arrival in newest.copy()
            if arrival.at_ns > at_ns
        ]
        return sorted(found, reverse=True)
