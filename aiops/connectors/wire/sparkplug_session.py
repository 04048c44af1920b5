"""What an edge node's birth told, and whether every message since has been seen in order."""

from __future__ import annotations

import msgspec

from aiops.connectors.wire.sparkplug_b_pb2 import Payload

TWO_NAMES = ""
"""In place of the name of an alias that a birth gave to two metrics."""


class Names(msgspec.Struct):
    """Metrics that a birth named."""

    aliases: dict[int, tuple[str, int]] = {}
    """Alias -> name and datatype."""
    datatypes: dict[str, int] = {}

    @classmethod
    def told_by(cls, birth: Payload) -> Names:
        """Return the names of a birth's metrics."""
        names = cls()
        for metric in birth.metrics:
            if not metric.name:
                continue
            names.datatypes[metric.name] = metric.datatype
            if metric.HasField("alias"):
                known = names.aliases.get(metric.alias, (metric.name, 0))
                name = metric.name if known[0] == metric.name else TWO_NAMES
                names.aliases[metric.alias] = name, metric.datatype
        return names

    def __len__(self) -> int:
        return len(self.datatypes) + 1


class Session(msgspec.Struct):
    """One edge node, from birth to birth."""

    sure: bool = False
    """All messages since the birth were seen, in order: aliases mean what it told."""
    bd_seq: int | None = None
    """Number of its connection to the broker, that its death will tell too."""
    seq: int = 0
    """Number of its last message, 0 to 255 and again from 0."""
    born_ms: int = 0
    """When the birth was sent, by the node's clock."""
    digest: str = ""
    """Of the last message: one that comes twice is no gap."""
    asked_ns: int | None = None
    """When another birth was last asked for."""
    waits: bool = False
    """No birth has come since."""
    devices: dict[str, Names] = {}
    """Devices behind it that are born, and itself as ""."""

    def __len__(self) -> int:
        return sum(map(len, self.devices.values()))

    def begin(self, birth: Payload, digest: str, bd_seq: int | None, names: Names) -> None:
        """Take the node's birth: nothing that was told before it holds.

        A birth sent no later than the one that is known comes late, or the node's clock was set
        back; only another birth can tell which.
        """
        if self.sure and digest == self.digest:
            return
        self.sure = not birth.timestamp or birth.timestamp > self.born_ms
        self.bd_seq = bd_seq
        self.seq = birth.seq
        self.born_ms = birth.timestamp
        self.digest = digest
        self.waits = False
        self.devices = {"": names}

    def follow(self, message: Payload, digest: str) -> bool:
        """Take a message after the birth; return whether names of the birth hold for it."""
        if self.sure and digest != self.digest:
            late = message.timestamp and message.timestamp < self.born_ms
            self.sure = not late and message.HasField("seq") and message.seq == (self.seq + 1) % 256
            self.seq = message.seq
            self.digest = digest
        return self.sure

    def end(self) -> None:
        """Take the node's death."""
        self.sure = False
        self.digest = ""
        self.devices = {}

    def asks(self, now_ns: int, pause_ns: int, patience_ns: int) -> bool:
        """Say whether to ask for another birth now, and remember that it is asked for."""
        apart = patience_ns if self.waits else pause_ns
        if self.sure or (self.asked_ns is not None and now_ns - self.asked_ns < apart):
            return False
        self.asked_ns = now_ns
        self.waits = True
        return True
