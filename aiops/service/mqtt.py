"""Telemetry over MQTT: acknowledged to the broker, and to the device, once it is in the log.

A broker's own acknowledgement says that the broker has a message, not that anybody else has, and
brokers lose what they have. So a device that numbers what it publishes (``"seq"`` and maybe
``"epoch"``, the number of its boot) hears ``{"epoch", "seq"}`` on ``fleet/DEVICE/ack`` once the
disk has it, and may then forget it.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from aiops.connectors.durable.group import Receipt
from aiops.connectors.wire import collectd, mqtt_json
from aiops.connectors.wire.decoded import Decoded
from aiops.connectors.wire.sparkplug import Sparkplug
from aiops.engine.ports import LogRecord
from aiops.errors import Busy, LogError, LogFull, PayloadError, SettingsError
from aiops.service.arrivals import Arrival
from aiops.service.keys import Principal
from aiops.service.outlets import secret_of
from aiops.service.roles import Role
from aiops.service.service import Service, key_of
from aiops.service.settings import Mqtt

SESSION_S = 7 * 86_400
"""The broker keeps what comes while we are away for so long."""
UNACKNOWLEDGED = 512
"""Messages the broker may send before it hears of the first: back-pressure."""
PAUSE_S = 0.2
STOP_S = 2.0
"""A broker that does not even answer is waited for no longer."""
logger = structlog.get_logger("aiops.mqtt")


class _Numbered(msgspec.Struct):
    seq: int
    epoch: int | str | None = None


_numbered = msgspec.json.Decoder(_Numbered | list[_Numbered])


class Listener:
    """Listens to one broker.

    The broker says who may publish under which topic (``pattern write fleet/%u/#``); a message is
    the word of the device that its topic names.

    Parameters
    ----------
    service
        Who takes what is heard.
    told
        Where the broker is, and how to speak with it.

    Raises
    ------
    SettingsError
        A certificate cannot be read.
    """

    def __init__(self, service: Service, told: Mqtt) -> None:
        self._service = service
        self._told = told
        self._who = Principal(f"mqtt:{told.host}", frozenset({Role.INGEST}), patterns=("*",))
        self._sparkplug = Sparkplug(service.limits)
        self._state = service.paths.data / f"sparkplug-{told.client_id}.json"
        self._stopping = threading.Event()
        self.connected = threading.Event()
        """Set once subscriptions are granted."""
        service.brokers[f"{told.host}:{told.port}"] = self.connected
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=told.client_id,
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        if told.username:
            client.username_pw_set(told.username, secret_of(told.password_file))
        if told.tls:
            client.tls_set_context(_tls(told))
        client.reconnect_delay_set(1, 30)

    def start(self) -> None:
        """Connect, and keep trying."""
        if self._state.exists():
            kept = self._state.read_bytes()
            self._state.unlink()  # after a crash it would be of another time
            try:
                self._sparkplug.restore(msgspec.json.decode(kept))
            except Exception as error:  # it was not flushed: edge nodes are asked to begin anew
                logger.warning("what Sparkplug told is lost", because=str(error))
                self._sparkplug = Sparkplug(self._service.limits)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_S
        properties.ReceiveMaximum = UNACKNOWLEDGED
        told = self._told
        self._client.connect_async(
            told.host, told.port, keepalive=30, clean_start=False, properties=properties
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; what was not acknowledged comes again."""
        self._stopping.set()
        self._client.disconnect()
        ending = threading.Thread(target=self._client.loop_stop, daemon=True)  # it may connect yet
        ending.start()
        ending.join(STOP_S)
        aside = self._state.with_suffix(".new")
        aside.write_bytes(msgspec.json.encode(self._sparkplug.save()))
        aside.replace(self._state)

    # In the client's thread ----------------------------------------------------------------------

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, props: Any) -> None:
        if reason.is_failure:
            logger.warning("broker refuses", host=self._told.host, because=str(reason))
            return
        client.subscribe([(topic, 1) for topic in self._told.topics])

    def _on_subscribe(self, client: Any, data: Any, mid: int, codes: Any, props: Any) -> None:
        refused = [
            topic for topic, code in zip(self._told.topics, codes, strict=False) if code.is_failure
        ]
        if refused:
            logger.warning("broker refuses topics", host=self._told.host, topics=refused)
        self.connected.set()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, props: Any) -> None:
        self.connected.clear()
        if reason.is_failure and not self._stopping.is_set():
            logger.warning("broker lost", host=self._told.host, because=str(reason))

    def _on_message(self, client: Any, data: Any, message: paho.MQTTMessage) -> None:
        now = time.time_ns()
        service, payload = self._service, bytes(message.payload)
        try:
            decoded = self._decode(message.topic, payload, now)
            prepared = service.intake.prepare(self._who, decoded)
        except Exception as error:
            # Sent again it would be the same: it is kept to be looked at, and the broker may go on.
            # Whatever it is, the client's thread must not end of it.
            if not isinstance(error, PayloadError):
                logger.exception("a message cannot be decoded", host=self._told.host)
            service.control.set_aside(
                f"undecodable: {error}"[:200], self._who.name, 1, _topic(message), at_ns=now
            )
            client.ack(message.mid, message.qos)
            return
        for one in prepared.refused:
            service.control.set_aside(
                one.reason, self._who.name, one.count, one.example or message.topic, at_ns=now
            )
        told = _acknowledgement(message.topic, payload)

        def durable(receipt: Receipt) -> None:
            if not receipt.duplicate:
                service.arrivals.note("mqtt", Arrival(now, receipt.seq, prepared.rows))
            client.ack(message.mid, message.qos)
            if told is not None:
                client.publish(f"fleet/{mqtt_json.device_in(message.topic)}/ack", told, qos=1)

        if not prepared.body:
            client.ack(message.mid, message.qos)
            return
        # What the broker sends again, as it heard no acknowledgement, is the same frames.
        key = key_of(prepared.body)
        self._submit(LogRecord("telemetry", prepared.body, now, self._who.name, key), durable)

    def _decode(self, topic: str, payload: bytes, now_ns: int) -> Decoded:
        limits = self._service.limits
        if len(payload) > limits.body_bytes:
            raise PayloadError(f"a message of {len(payload)} bytes; {limits.body_bytes} are taken")
        if topic.startswith("spBv1.0/"):
            decoded, commands = self._sparkplug.take(topic, payload, now_ns)
            for command in commands:
                self._client.publish(command.topic, command.payload, qos=0)
            return decoded
        if topic.startswith("collectd/"):
            return collectd.decode_text(topic, payload, now_ns, limits)
        return mqtt_json.decode(topic, payload, now_ns, limits)

    def _submit(self, record: LogRecord, durable: Callable[[Receipt], None]) -> None:
        """Put a record into the log; while there is no room the broker has to wait."""
        while not self._stopping.is_set():
            try:
                self._service.check_room()
                future = self._service.submit(record)
                break
            except (Busy, LogFull):
                self._stopping.wait(PAUSE_S)
            except LogError:
                return  # nothing is acknowledged any more
        else:
            return  # not acknowledged: it comes again

        def settled(done: Any) -> None:
            if done.exception() is None:  # else it is not acknowledged, and comes again
                durable(done.result())

        future.add_done_callback(settled)


def _topic(message: paho.MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        return "no UTF-8"


def _acknowledgement(topic: str, payload: bytes) -> bytes | None:
    """Return what a device that numbers its messages is told; None: this one does not."""
    if not topic.startswith("fleet/"):
        return None
    try:
        found = _numbered.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return None
    last = found if isinstance(found, _Numbered) else found[-1] if found else None
    return None if last is None else msgspec.json.encode({"epoch": last.epoch, "seq": last.seq})


def _tls(told: Mqtt) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=told.ca)
        if told.cert is not None:
            context.load_cert_chain(told.cert, told.key)
    except OSError as error:
        raise SettingsError(
            f"mqtt {told.host}: ca {told.ca}, cert {told.cert}, key {told.key}: {error}; give "
            f"readable PEM files that belong together"
        ) from error
    return context
