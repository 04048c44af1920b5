"""Tells devices over MQTT 5: approved actions as signed commands, and if wanted what was found."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from aiops.connectors.telling import cloudevents
from aiops.connectors.telling.commands import PAYLOAD_TYPE, Command, commands, left_s
from aiops.connectors.telling.signing import ENVELOPE_TYPE, Signer
from aiops.engine.ports import Message
from aiops.errors import DeliveryError, SettingsError

KINDS = frozenset({"finding", "incident", "action"})
TELLS_PEOPLE = frozenset({"notify"})
"""Kinds of actions that no device carries out."""
LEVEL_MAX = 256
NOBODY_LISTENS = 0x10
"""Reason code *No matching subscribers* (MQTT 5.0, section 3.4.2.1)."""
LASTING = frozenset({0x87, 0x90, 0x99})
"""Refusals that trying again does not mend: *Not authorized*, *Topic Name invalid*, *Payload format
invalid*; others, as *Quota exceeded*, pass."""
SLICE_S = 0.1
"""So often a wait looks whether it was closed."""


@dataclass(frozen=True)
class Broker:
    """Where the MQTT broker is, and who we are to it.

    Parameters
    ----------
    host, port
        Of the broker.
    ca_file
        Certificates (PEM) that its own must come from; None: the system's.
    cert_file, key_file
        Our certificate and key (PEM), where it asks for them.
    username, password
        Where it asks for those; the password is never shown.
    plain
        Without TLS. Only where the network itself is trusted.
    client_id
        Distinct among all clients of the broker.
    """

    host: str
    port: int = 8883
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    username: str = ""
    password: str = ""
    plain: bool = False
    client_id: str = "aiops-commands"

    def __repr__(self) -> str:
        return f"Broker({self.host}:{self.port}, client_id={self.client_id!r})"

    def tls(self) -> ssl.SSLContext | None:
        """Return how to speak TLS with it; None: not at all.

        Raises
        ------
        SettingsError
            A file cannot be read, or is not what it should be.
        """
        if self.plain:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                f"MQTT broker {self.host}: ca_file {self.ca_file}, cert_file {self.cert_file},"
                f" key_file {self.key_file}: {error}; give readable PEM files that belong together"
            ) from error
        return context


class MqttOutlet:
    """Publishes with QoS 1, not retained, and waits until the broker has it.

    An action goes to ``{command_topic}/{device}``, a copy for each device, as a DSSE envelope
    that expires with the action. Devices should subscribe with a session that outlives their
    connection, so that the broker keeps commands while they are away; a device that has none is
    told to nobody, and that is said: a permanent error. Findings and incidents, if asked for, go
    to ``{event_topic}/{kind}/{subject}`` as CloudEvents.

    Parameters
    ----------
    broker
        Where to.
    signer
        Signs commands.
    source
        Who we are, for CloudEvents: a URI reference.
    command_topic, event_topic
        What topics begin with.
    name
        Of this outlet, in the outbox and in metrics.
    kinds
        Kinds of messages it takes.
    timeout_s
        For the connection, and again for all acknowledgements of one message.
    now_ns
        Time since the epoch, ns.

    Raises
    ------
    SettingsError
        A certificate cannot be read, or a kind or a topic is none.
    """

    def __init__(
        self,
        broker: Broker,
        signer: Signer,
        *,
        source: str,
        command_topic: str = "aiops/command",
        event_topic: str = "aiops/event",
        name: str = "mqtt",
        kinds: Iterable[str] = ("action",),
        timeout_s: float = 5.0,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = name
        self.kinds = frozenset(kinds)
        if extra := sorted(self.kinds - KINDS):
            raise SettingsError(f"{name}.kinds has {extra}; there are {', '.join(sorted(KINDS))}")
        for topic in (command_topic, event_topic):
            if not topic or {*topic} & {*"#+\0"} or topic.startswith("$"):
                raise SettingsError(f"{name} has topic {topic!r}; give one without # and +")
        self._broker = broker
        self._signer = signer
        self._source = source
        self._topics = {"command": command_topic, "event": event_topic}
        self._timeout_s = timeout_s
        self._now_ns = now_ns
        self._tls = broker.tls()
        self._link: _Link | None = None
        self._closed = False

    leaves = TELLS_PEOPLE
    """Kinds of actions that are none of a device's business: they are not queued for it."""

    def deliver(self, message: Message) -> None:
        """Publish a message and wait for the broker's acknowledgements.

        Raises
        ------
        DeliveryError
            Not all of it was taken. Sent once more, a command has the same counter, so that a
            device that has it does nothing.
        """
        if message.kind == "action":
            if message.record.get("kind") in TELLS_PEOPLE:
                return
            self._command(message)
        else:
            self._tell(message)

    def close(self) -> None:
        """Leave the broker; a delivery that waits ends with DeliveryError."""
        self._closed = True
        link, self._link = self._link, None
        if link:
            link.leave()

    def _command(self, message: Message) -> None:
        copies = commands(message)
        # All are made before one is sent: an action goes out whole, or not at all.
        sent = {_level(copy.device): self._envelope(message, copy) for copy in copies}
        outcome = self._publish(
            [(f"{self._topics['command']}/{level}", *one) for level, one in sent.items()]
        )
        alone = [topic for topic, code in outcome.items() if code == NOBODY_LISTENS]
        if alone:
            raise DeliveryError(
                f"nobody listens to {', '.join(alone)}: the device has no session with the broker;"
                " it should subscribe with one that outlives its connection",
                permanent=True,
            )

    def _envelope(self, message: Message, command: Command) -> tuple[bytes, Properties]:
        left = left_s(command, self._now_ns())
        if left < 1:
            raise DeliveryError(
                f"action {command.action_id} expired at {command.expires.isoformat()}; it is not"
                " sent any more",
                permanent=True,
            )
        properties = _properties(ENVELOPE_TYPE, message.id)
        properties.MessageExpiryInterval = min(left, 0xFFFFFFFF)
        envelope = self._signer.sign(command.to_bytes(), PAYLOAD_TYPE)
        return msgspec.json.encode(envelope), properties

    def _tell(self, message: Message) -> None:
        told = cloudevents.event(message, self._source)
        subject = quote(told["subject"], safe=" :@,")
        topic = f"{self._topics['event']}/{message.kind}/{subject}"
        properties = _properties(cloudevents.CONTENT_TYPE, message.id)
        self._publish([(topic, cloudevents.encode(told), properties)])

    def _publish(self, sent: list[tuple[str, bytes, Properties]]) -> dict[str, int]:
        """Publish all and return the reason code of each topic."""
        if self._closed:
            raise DeliveryError(f"{self.name} is closed")
        until = time.monotonic() + self._timeout_s
        if self._link is None or not self._link.alive():
            self._link = _Link(self._broker, self._tls, self._timeout_s, lambda: self._closed)
            until = time.monotonic() + self._timeout_s
        try:
            return self._link.publish(sent, until)
        except DeliveryError as error:
            if not error.permanent:
                # Not used again, or what it has not been acknowledged would go out later.
                self._link.leave()
                self._link = None
            raise


class _Link:
    """One connection to the broker, driven by whoever waits for it: no thread of its own.

    It is never mended. What a broken one had not got acknowledged is sent by the next delivery,
    which knows whether it has expired by then.
    """

    def __init__(
        self,
        broker: Broker,
        tls: ssl.SSLContext | None,
        timeout_s: float,
        closed: Callable[[], bool],
    ) -> None:
        self._where = f"MQTT broker {broker.host}:{broker.port}"
        self._closed = closed
        self._answer: ReasonCode | None = None
        self._codes: dict[int, ReasonCode] = {}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = timeout_s
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        if broker.username:
            self._client.username_pw_set(broker.username, broker.password)
        if tls:
            self._client.tls_set_context(tls)
        try:
            # No keep-alive: nobody would send it between deliveries.
            self._client.connect(broker.host, broker.port, keepalive=0, clean_start=True)
            self._wait(lambda: self._answer is not None, time.monotonic() + timeout_s)
            if self._answer is None or self._answer.is_failure:
                # Who is refused now may be let in later: a wrong password loses no message.
                raise DeliveryError(f"{self._where} refused us: {self._answer}")
        except (OSError, ValueError) as error:
            raise DeliveryError(f"{self._where} did not answer: {error}") from error
        except DeliveryError:
            self.leave()
            raise

    def alive(self) -> bool:
        """Say whether the broker is still there, as far as that can be seen from here."""
        return self._client.loop(timeout=0.0) == MQTTErrorCode.MQTT_ERR_SUCCESS

    def publish(self, sent: list[tuple[str, bytes, Properties]], until: float) -> dict[str, int]:
        """Publish each and wait until all are acknowledged."""
        topics: dict[int, str] = {}
        for topic, payload, properties in sent:
            told = self._client.publish(topic, payload, qos=1, retain=False, properties=properties)
            if told.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise DeliveryError(f"{self._where}: {paho.error_string(told.rc)}")
            topics[told.mid] = topic
        self._wait(lambda: self._codes.keys() >= topics.keys(), until)
        codes = {topic: self._codes.pop(mid) for mid, topic in topics.items()}
        refused = {topic: code for topic, code in codes.items() if code.is_failure}
        if refused:
            said = "; ".join(f"{topic}: {code}" for topic, code in refused.items())
            raise DeliveryError(
                f"{self._where} refused {said}; look whether it lets us publish there",
                permanent=all(code.value in LASTING for code in refused.values()),
            )
        return {topic: code.value for topic, code in codes.items()}

    def leave(self) -> None:
        """Say goodbye, if anybody hears it."""
        self._client.disconnect()

    def _wait(self, done: Callable[[], bool], until: float) -> None:
        while not done():
            left = until - time.monotonic()
            if left <= 0 or self._closed():
                said = "we are closing" if self._closed() else "time is over"
                raise DeliveryError(f"{self._where} has not acknowledged: {said}")
            code = self._client.loop(timeout=min(left, SLICE_S))
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS and not done():
                raise DeliveryError(f"{self._where} is gone: {paho.error_string(code)}")

    def _on_connect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._answer = code

    def _on_publish(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        code: ReasonCode,
        properties: Properties,
    ) -> None:
        self._codes[mid] = code


def _properties(content_type: str, message_id: str) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1  # it is text
    properties.ContentType = content_type
    properties.UserProperty = ("id", message_id)
    return properties


def _level(device: str) -> str:
    """Return a device's name, when it is one level of a topic: or it would reach another device."""
    # A broker ends the connection on control characters, and would on every further try.
    if not device.isprintable() or not 1 <= len(device) <= LEVEL_MAX or {*device} & {*"/#+"}:
        raise DeliveryError(
            f"device {device[:LEVEL_MAX]!r} cannot be a level of a topic, where / # + have a"
            f" meaning: no command can be sent to it; name it in 1 to {LEVEL_MAX} other characters",
            permanent=True,
        )
    return device
