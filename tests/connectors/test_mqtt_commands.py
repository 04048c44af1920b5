from __future__ import annotations

import gc
import json
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from aiops.connectors.mqtt_commands import Broker, MqttOutlet
from aiops.connectors.telling.commands import PAYLOAD_TYPE, accept
from aiops.connectors.telling.signing import Signer, verify
from aiops.engine.ports import Message
from aiops.errors import DeliveryError, PayloadError, SettingsError
from tests.connectors.telling.messages import SECOND, T0, action, finding, incident

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
NOW_NS = T0 + 60 * SECOND
NOW = datetime.fromtimestamp(NOW_NS // SECOND, tz=UTC)
WAIT_S = 10.0


@contextmanager
def mosquitto(folder: Path, port: int, *lines: str) -> Iterator[None]:
    """Run a broker that is ready when this is entered."""
    assert MOSQUITTO
    config = folder / "mosquitto.conf"
    # Started by root it would become another user, who may not read the folder.
    user = ("user root",) if os.name == "posix" and os.geteuid() == 0 else ()
    told = (f"listener {port} 127.0.0.1", "log_dest stderr", *user, *lines)
    config.write_text("\n".join(told) + "\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said: list[str] = []
    drain = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    try:
        for line in process.stderr:
            said.append(line)
            if line.rstrip().endswith("running"):
                break
        else:
            pytest.fail("".join(said))
        drain.start()
        yield
    finally:
        process.terminate()
        process.wait(WAIT_S)
        if drain.is_alive():
            drain.join(5)
        process.stderr.close()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    port = free_port()
    with mosquitto(tmp_path, port, "allow_anonymous true"):
        yield Broker("127.0.0.1", port, plain=True)


class Device:
    """A device that subscribes to topics, in a session that outlives its connection."""

    def __init__(self, broker: Broker, name: str, *topics: str) -> None:
        self.taken: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self._topics = topics
        ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        self._client.on_message = lambda client, userdata, message: self.taken.put(message)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *given: ready.set()
        if context := broker.tls():
            self._client.tls_set_context(context)
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        self._client.connect(broker.host, broker.port, clean_start=False, properties=lasting)
        self._client.loop_start()
        assert ready.wait(WAIT_S)

    def _subscribe(self, client: paho.Client, *given: Any) -> None:
        client.subscribe([(topic, 1) for topic in self._topics])

    def take(self) -> paho.MQTTMessage:
        return self.taken.get(timeout=WAIT_S)

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *given: object) -> None:
        self.leave()


Make = Callable[..., MqttOutlet]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[MqttOutlet] = []

    def make_one(broker: Broker, **changed: Any) -> MqttOutlet:
        given = {"source": "/aiops", "now_ns": lambda: NOW_NS} | changed
        made.append(MqttOutlet(broker, SIGNER, **given))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


def refusal(told: MqttOutlet, message: Message) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        told.deliver(message)
    return caught.value


@needs_mosquitto
def test_a_device_gets_a_command_that_it_can_verify(broker: Broker, make: Make) -> None:
    with Device(broker, "gw-17", "aiops/command/gw-17") as device:
        make(broker).deliver(action(recorded={"counter": 9, "approvers": ["ana"]}))
        message = device.take()
    assert (message.topic, message.qos, message.retain) == ("aiops/command/gw-17", 1, False)
    told = message.properties
    assert told.ContentType == "application/vnd.dsse.envelope.v1+json"
    # The broker takes the time that it has kept it from what is left.
    assert 3500 < told.MessageExpiryInterval <= 3540
    assert ("id", action().id) == told.UserProperty[0]
    payload = verify(json.loads(message.payload), PAYLOAD_TYPE, SIGNER.public)
    command = accept(payload, device="gw-17", counter=8, now=NOW)
    assert (command.kind, command.counter, command.approvers) == ("drain", 9, ["ana"])


@needs_mosquitto
def test_each_device_gets_its_own_copy_and_cannot_use_anothers(broker: Broker, make: Make) -> None:
    with Device(broker, "all", "aiops/command/+") as device:
        make(broker).deliver(action(target=("a", "b", "c")))
        got = {m.topic: json.loads(m.payload) for m in (device.take() for _ in range(3))}
    assert got.keys() == {f"aiops/command/{name}" for name in "abc"}
    payload = verify(got["aiops/command/a"], PAYLOAD_TYPE, SIGNER.public)
    assert accept(payload, device="a", counter=0, now=NOW).target == ["a", "b", "c"]
    with pytest.raises(PayloadError, match="for a"):
        accept(payload, device="b", counter=0, now=NOW)


@needs_mosquitto
def test_sent_twice_it_is_done_once(broker: Broker, make: Make) -> None:
    with Device(broker, "gw-17", "aiops/command/gw-17") as device:
        told = make(broker)
        told.deliver(action())
        told.deliver(action())
        first, again = (
            verify(json.loads(device.take().payload), PAYLOAD_TYPE, SIGNER.public) for _ in range(2)
        )
    assert first == again
    done = accept(first, device="gw-17", counter=0, now=NOW)
    with pytest.raises(PayloadError, match="taken already"):
        accept(again, device="gw-17", counter=done.counter, now=NOW)


@needs_mosquitto
def test_a_device_that_is_away_gets_its_command_when_it_is_back(broker: Broker, make: Make) -> None:
    Device(broker, "gw-17", "aiops/command/gw-17").leave()
    make(broker).deliver(action())
    with Device(broker, "gw-17", "aiops/command/gw-17") as device:
        assert device.take().topic == "aiops/command/gw-17"


@needs_mosquitto
def test_a_command_that_nobody_listens_for_is_an_error_and_the_others_are_sent(
    broker: Broker, make: Make
) -> None:
    with Device(broker, "a", "aiops/command/a") as device:
        error = refusal(make(broker), action(target=("a", "b")))
        assert device.take().topic == "aiops/command/a"
    assert error.permanent
    assert "nobody listens to aiops/command/b:" in str(error)


@needs_mosquitto
@pytest.mark.parametrize("name", ["a/b", "+", "#", "a#", "a\n", "\x7f", "x" * 257, "/", "../a"])
def test_a_name_that_is_no_level_of_a_topic_gets_no_command_nor_does_anybody_else(
    name: str, broker: Broker, make: Make
) -> None:
    with Device(broker, "all", "aiops/#") as device:
        told = make(broker)
        error = refusal(told, action(target=("a", name)))
        told.deliver(action(target=("last",)))
        assert device.take().topic == "aiops/command/last"
    assert error.permanent


@needs_mosquitto
def test_what_is_over_or_for_people_or_not_allowed_is_not_sent(broker: Broker, make: Make) -> None:
    with Device(broker, "all", "aiops/#") as device:
        told = make(broker)
        late = make(broker, now_ns=lambda: T0 + 3600 * SECOND)
        told.deliver(action(kind="notify", target=("inc-1",)))
        assert refusal(late, action()).permanent
        assert refusal(told, action(decision="held")).permanent
        told.deliver(action(target=("last",)))
        assert device.take().topic == "aiops/command/last"


@needs_mosquitto
def test_findings_and_incidents_are_told_as_cloudevents_also_to_nobody(
    broker: Broker, make: Make
) -> None:
    told = make(broker, kinds=("finding", "incident"))
    told.deliver(finding())
    with Device(broker, "all", "aiops/event/#") as device:
        told.deliver(finding())
        told.deliver(incident(key="silence@site:a/b", devices=()))
        first, second = device.take(), device.take()
    assert first.topic == "aiops/event/finding/gw-17"
    assert first.properties.ContentType == "application/cloudevents+json"
    assert json.loads(first.payload)["type"] == "dev.aiops.finding.firing.v1"
    assert second.topic == "aiops/event/incident/silence@site:a%2Fb"


@needs_mosquitto
def test_a_broker_that_went_away_is_found_again(tmp_path: Path, make: Make) -> None:
    port = free_port()
    told = make(Broker("127.0.0.1", port, plain=True), kinds=("finding",))
    assert not refusal(told, finding()).permanent
    for _ in range(2):  # the second time it is another broker that is there at once
        with mosquitto(tmp_path, port, "allow_anonymous true"):
            told.deliver(finding())
            told.deliver(finding())
    assert not refusal(told, finding()).permanent


@dataclass
class Secured:
    broker: Broker
    device: Broker
    stranger: Broker
    """Has no certificate."""


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """Run a broker as a careful operator has it: client certificates, and who may write where."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name, cert in (
        ("server", authority.issue_cert("127.0.0.1")),
        ("aiops", authority.issue_cert("aiops.test", common_name="aiops")),
        ("gw-17", authority.issue_cert("gw-17.test", common_name="gw-17")),
    ):
        cert.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        cert.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.pem"))
    (tmp_path / "acl").write_text(
        "user aiops\ntopic write aiops/command/#\nuser gw-17\ntopic read aiops/command/gw-17\n"
    )
    (tmp_path / "acl").chmod(0o600)
    port = free_port()
    lines = (
        f"cafile {tmp_path / 'ca.pem'}",
        f"certfile {tmp_path / 'server.pem'}",
        f"keyfile {tmp_path / 'server.key'}",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {tmp_path / 'acl'}",
    )

    def known_as(name: str) -> Broker:
        files = (tmp_path / f"{name}.pem", tmp_path / f"{name}.key") if name else (None, None)
        return Broker("127.0.0.1", port, tmp_path / "ca.pem", *files)

    with mosquitto(tmp_path, port, *lines):
        yield Secured(known_as("aiops"), known_as("gw-17"), known_as(""))


@needs_mosquitto
def test_over_tls_with_certificates_on_both_sides(secured: Secured, make: Make) -> None:
    with Device(secured.device, "gw-17", "aiops/command/gw-17") as device:
        make(secured.broker).deliver(action())
        envelope = json.loads(device.take().payload)
    assert verify(envelope, PAYLOAD_TYPE, SIGNER.public)


@needs_mosquitto
def test_where_the_broker_does_not_let_us_publish_is_an_error(secured: Secured, make: Make) -> None:
    error = refusal(make(secured.broker, kinds=("finding",)), finding())
    assert error.permanent
    assert "refused aiops/event/finding/gw-17: Not authorized" in str(error)


@needs_mosquitto
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_a_certificate_or_trust_nothing_is_sent(
    secured: Secured, tmp_path: Path, make: Make
) -> None:
    assert not refusal(make(secured.stranger), action()).permanent
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    wary = Broker("127.0.0.1", secured.broker.port, tmp_path / "other.pem")
    error = refusal(make(wary), action())
    assert not error.permanent
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    del error  # paho leaves the socket of a failed handshake to the collector
    gc.collect()


@contextmanager
def silent() -> Iterator[tuple[Broker, threading.Event]]:
    """Listen, and never say anything; the event tells that somebody has come."""
    came = threading.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(WAIT_S)
        kept: list[socket.socket] = []

        def take() -> None:
            kept.append(listener.accept()[0])
            came.set()

        thread = threading.Thread(target=take)
        thread.start()
        yield Broker("127.0.0.1", listener.getsockname()[1], plain=True), came
        thread.join(WAIT_S)
        for one in kept:
            one.close()


def test_a_broker_that_says_nothing_is_given_up_in_time(make: Make) -> None:
    with silent() as (broker, _):
        begun = time.monotonic()
        error = refusal(make(broker, timeout_s=0.3), action())
        assert time.monotonic() - begun < 3
    assert not error.permanent
    assert "time is over" in str(error)


def test_close_ends_a_delivery_that_waits(make: Make) -> None:
    ended: list[DeliveryError] = []
    with silent() as (broker, came):
        told = make(broker, timeout_s=WAIT_S)
        thread = threading.Thread(target=lambda: ended.append(refusal(told, action())))
        thread.start()
        assert came.wait(WAIT_S)
        told.close()
        thread.join(1)
        assert not thread.is_alive()
    assert "we are closing" in str(ended[0])
    assert not ended[0].permanent
    assert "is closed" in str(refusal(told, action()))


@pytest.mark.parametrize(
    ("broker", "changed"),
    [
        (Broker("b.test", ca_file=Path("nowhere.pem")), {}),
        (Broker("b.test", cert_file=Path("nowhere.pem")), {}),
        (Broker("b.test"), {"kinds": ("plan",)}),
        (Broker("b.test"), {"command_topic": "aiops/#"}),
        (Broker("b.test"), {"event_topic": ""}),
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_start(
    broker: Broker, changed: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError):
        MqttOutlet(broker, SIGNER, source="/aiops", **changed)


def test_a_password_is_not_shown() -> None:
    assert "hunter2" not in repr(Broker("b.test", username="aiops", password="hunter2"))
