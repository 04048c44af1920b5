"""Sparkplug B 3.0 over MQTT: names told once at birth, short messages after it, and deaths."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from google.protobuf.message import DecodeError

from aiops.connectors.wire.build import Builder
from aiops.connectors.wire.decoded import READINGS, Decoded
from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.messages import shape_of
from aiops.connectors.wire.naming import excess, labels_json
from aiops.connectors.wire.sparkplug_b_pb2 import Metric, Payload
from aiops.connectors.wire.sparkplug_session import TWO_NAMES, Names, Session
from aiops.connectors.wire.sparkplug_types import BOOLEAN, NO_READINGS, reading_of
from aiops.errors import PayloadError, StateMismatch, TooLarge

CONNECTED = "device.connected"
REBIRTH = "Node Control/Rebirth"
COMMANDS = ("Node Control/", "Device Control/")
"""Beginnings of metrics that are what a node can be told to do."""
BD_SEQ = "bdSeq"
MS_NS = 1_000_000
MINUTE_NS = 60_000_000_000
VERSION = 1
PAYLOAD = shape_of(Payload)
METRICS_MAX = 1 << 15
"""Of one message; a name, remembered, takes some hundred bytes."""


class Command(NamedTuple):
    """A message to publish."""

    topic: str
    payload: bytes


class Topic(NamedTuple):
    """``spBv1.0/GROUP/KIND/NODE[/DEVICE]`` (section 4.1)."""

    group: str
    kind: str
    node: str
    device: str = ""

    @property
    def owner(self) -> str:
        """Whose readings come under it."""
        return f"{self.node}:{self.device}" if self.device else self.node


class Sparkplug:
    """What births told, by edge node, and what messages mean by it.

    What comes of a message depends on the messages before it and on nothing else. A number in
    place of a name is believed only while every message since the node's birth was seen in order;
    after that its readings are refused, and the node is asked for another birth, once. Messages
    that spell their names are taken at any time.

    The device is the edge node, or ``NODE:DEVICE``; the group becomes the label ``group``. A birth
    is also the reading ``device.connected = 1``, a death 0: that of a node for its devices too.

    Parameters
    ----------
    limits
        Bounds on one message.
    nodes
        Edge nodes that are remembered. Beyond them, one that died is forgotten for a new one.
    names
        Metrics that births of all nodes may have named, together.
    pause_ns
        Shortest time between two requests to one node, though a birth came in between.
    patience_ns
        How long to wait for a birth before it is asked for again.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        nodes: int = 10_000,
        names: int = 1 << 19,
        pause_ns: int = MINUTE_NS,
        patience_ns: int = 10 * MINUTE_NS,
    ) -> None:
        self._limits = limits
        self._most_nodes = nodes
        self._most_names = names
        self._pause_ns = pause_ns
        self._patience_ns = patience_ns
        self._sessions: dict[str, Session] = {}
        self._names = 0

    def take(self, topic: str, payload: bytes, recv_ns: int) -> tuple[Decoded, tuple[Command, ...]]:
        """Return what a message says, and what is to be published because of it.

        Commands, and states of host applications, say nothing.

        Raises
        ------
        PayloadError
            Topic or payload is none of Sparkplug's; nothing is remembered of it.
        TooLarge
            It holds more than is allowed, or names more than can be remembered; likewise.
        """
        at = _topic(topic, self._limits)
        if at is None:
            return Decoded(()), ()
        message = _payload(payload, self._limits)
        build = Builder(self._limits)
        session = self._session(at)
        if session is None:
            build.refuse("more edge nodes than can be remembered", topic, len(message.metrics))
            return build.decoded(), ()
        before = len(session)
        digest = blake2b(topic.encode() + b"\0" + payload, digest_size=8).hexdigest()
        ts = (message.timestamp * MS_NS) or recv_ns
        match at.kind:
            case "NBIRTH" | "DBIRTH":
                names = self._named(message)
                if at.kind == "NBIRTH":
                    session.begin(message, digest, _bd_seq(message), names)
                else:
                    known = session.follow(message, digest)
                    session.devices[at.device] = names if known else Names()
                self._connected(build, at, ts, 1.0)
                self._readings(build, at, message, names, recv_ns)
            case "NDATA" | "DDATA":
                holds = session.follow(message, digest)
                born = session.devices.get(at.device) if holds else None
                if not self._readings(build, at, message, born, recv_ns):
                    session.sure = False
            case "NDEATH":
                self._death(build, at, session, _bd_seq(message), recv_ns)
            case _:
                session.follow(message, digest)
                session.devices.pop(at.device, None)
                self._connected(build, at, ts, 0.0)
        self._names += len(session) - before
        asks = at.kind != "NDEATH" and session.asks(recv_ns, self._pause_ns, self._patience_ns)
        return build.decoded(), (_rebirth(at, recv_ns),) if asks else ()

    def save(self) -> dict[str, Any]:
        """Return all that is remembered, as plain JSON values.

        It is worth having only where the broker kept what was published in the meantime (an MQTT
        session that persists): a birth that was missed cannot always be told from the numbers.
        """
        nodes = msgspec.json.decode(msgspec.json.encode(self._sessions))
        return {"version": VERSION, "nodes": nodes}

    def restore(self, state: dict[str, Any]) -> None:
        """Remember what `save` returned, and nothing else.

        Raises
        ------
        StateMismatch
            It is not what `save` of this version returns.
        """
        try:
            if state["version"] != VERSION:
                raise ValueError(f"version {state['version']!r}")
            self._sessions = msgspec.convert(state["nodes"], dict[str, Session], strict=False)
        except (KeyError, TypeError, ValueError) as found:
            raise StateMismatch(
                f"what was remembered of Sparkplug's births cannot be read ({found}); "
                f"version {VERSION} can be, and without it nodes are asked for their births"
            ) from found
        self._names = sum(map(len, self._sessions.values()))

    def _session(self, at: Topic) -> Session | None:
        """Return the session of a node; None: there is no room for a new one."""
        key = f"{at.group}/{at.node}"
        if key not in self._sessions:
            if len(self._sessions) >= self._most_nodes:
                gone = next((k for k, s in self._sessions.items() if not s.devices), None)
                if gone is None:
                    return None
                del self._sessions[gone]
            self._sessions[key] = Session()
        return self._sessions[key]

    def _named(self, birth: Payload) -> Names:
        names = Names.told_by(birth)
        if self._names + len(names) > self._most_names:
            raise TooLarge(
                f"a birth of {len(names) - 1} metrics beyond {self._names} of {self._most_names} "
                "that can be remembered; let it name fewer"
            )
        return names

    def _death(
        self, build: Builder, at: Topic, session: Session, bd_seq: int | None, recv_ns: int
    ) -> None:
        """Take the death of a node: it was written when the node connected, so it is of now."""
        if None not in {bd_seq, session.bd_seq} and bd_seq != session.bd_seq:
            build.refuse("the death of a session that is over", f"{at.owner} bdSeq {bd_seq}")
            return
        for device in ["", *filter(None, session.devices)]:
            self._connected(build, at._replace(device=device), recv_ns, 0.0)
        session.end()

    def _connected(self, build: Builder, at: Topic, ts: int, value: float) -> None:
        build.add(at.owner, ts, CONNECTED, value, labels_json({"group": at.group}))

    def _readings(
        self, build: Builder, at: Topic, message: Payload, names: Names | None, recv_ns: int
    ) -> bool:
        """Take a message's metrics; return whether all that stood for names were known."""
        labels = {"group": at.group}
        told = labels_json(labels)
        all_known = True
        for metric in message.metrics:
            name, datatype = _name(metric, names)
            if name is None:
                build.refuse("an alias that no birth told: another is asked for", metric.alias)
                all_known = False
                continue
            if name == BD_SEQ or name.startswith(COMMANDS) or metric.is_null:
                continue
            ts = (metric.timestamp or message.timestamp) * MS_NS or recv_ns
            value = reading_of(metric, datatype)
            wrong = (
                "neither a name nor an alias of one metric"
                if name == TWO_NAMES
                else excess(name, labels, self._limits) or NO_READINGS.get(datatype)
            )
            if wrong:
                build.refuse(wrong, f"{at.owner} {name}")
            elif value is None:
                build.refuse("no value, or none of its datatype", f"{at.owner} {name}")
            else:
                build.add(at.owner, ts, name, value, told)
        return all_known


def _name(metric: Metric, names: Names | None) -> tuple[str | None, int]:
    """Return name and datatype of a metric; None: it has an alias that is not known."""
    if metric.name:
        known = names.datatypes.get(metric.name, 0) if names else 0
        return metric.name, metric.datatype or known
    if not metric.HasField("alias"):
        return TWO_NAMES, 0
    name, datatype = names.aliases.get(metric.alias, (None, 0)) if names else (None, 0)
    return name, metric.datatype or datatype


def _topic(topic: str, limits: Limits) -> Topic | None:
    """Return what a topic says; None: it is one of no readings.

    Raises
    ------
    PayloadError
        It is not of Sparkplug.
    """
    match topic.split("/"):
        case ["spBv1.0", "STATE", *_] | ["spBv1.0", _, "NCMD" | "DCMD", *_]:
            return None
        case ["spBv1.0", group, "NBIRTH" | "NDEATH" | "NDATA" as kind, node]:
            at = Topic(group, kind, node)
        case ["spBv1.0", group, "DBIRTH" | "DDEATH" | "DDATA" as kind, node, device] if device:
            at = Topic(group, kind, node, device)
        case _:
            at = Topic("", "", "")
    longest = max(len(at.owner.encode()), len(at.group.encode()))
    if not at.group or not at.node or longest > limits.name_bytes:
        raise PayloadError(
            f"no topic of Sparkplug B: {topic[:200]!r}; it is spBv1.0/GROUP/KIND/NODE[/DEVICE], "
            f"names of at most {limits.name_bytes} bytes"
        )
    return at


def _payload(payload: bytes, limits: Limits) -> Payload:
    most = min(METRICS_MAX, limits.cells // len(READINGS) - 1)  # and that it is connected
    try:
        message: Payload = PAYLOAD.parsed(payload, most, "metrics")
    except DecodeError as found:
        raise PayloadError(f"the payload is none of Sparkplug B: {found}") from found
    return message


def _bd_seq(message: Payload) -> int | None:
    told = next((metric for metric in message.metrics if metric.name == BD_SEQ), None)
    return None if told is None else told.long_value or told.int_value


def _rebirth(at: Topic, now_ns: int) -> Command:
    """Return the request for another birth (section 6.4.25)."""
    now_ms = now_ns // MS_NS
    asks = Metric(name=REBIRTH, timestamp=now_ms, datatype=BOOLEAN, boolean_value=True)
    payload = Payload(timestamp=now_ms, metrics=[asks])
    return Command(f"spBv1.0/{at.group}/NCMD/{at.node}", payload.SerializeToString())
