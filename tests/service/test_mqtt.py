from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paho.mqtt.client as paho
import pytest

from aiops.connectors.wire.limits import Limits
from aiops.service import mqtt as of_mqtt
from aiops.service.mqtt import Listener
from aiops.service.settings import Mqtt

WAIT_S = 20.0


def listener_in(folder: Path, **told: Any) -> tuple[Listener, list[tuple[Any, ...]]]:
    """Return a listener of a service that takes nothing, and what was set aside."""
    aside: list[tuple[Any, ...]] = []
    service: Any = SimpleNamespace(
        limits=Limits(1 << 20, 1 << 20),
        paths=SimpleNamespace(data=folder),
        brokers={},
        control=SimpleNamespace(set_aside=lambda *said, at_ns: aside.append(said)),
    )
    return Listener(service, Mqtt(host="127.0.0.1", **told)), aside


class Acked:
    def __init__(self) -> None:
        self.mids: list[int] = []

    def ack(self, mid: int, qos: int) -> None:
        self.mids.append(mid)


@pytest.mark.parametrize(
    "topic", [b"fleet/gw-1/metrics", b"spBv1.0/a/NDATA/b", b"fleet/\xff/metrics"]
)
def test_no_message_ends_the_thread_that_listens(tmp_path: Path, topic: bytes) -> None:
    listener, aside = listener_in(tmp_path)
    message = paho.MQTTMessage(mid=7, topic=topic)
    message.payload, message.qos = b"{\xff", 1
    client = Acked()
    listener._on_message(client, None, message)
    assert client.mids == [7]
    assert len(aside) == 1


def test_what_sparkplug_told_is_no_condition_for_starting(tmp_path: Path) -> None:
    kept = tmp_path / "sparkplug-aiops.json"
    kept.write_bytes(b"")  # as after a power cut
    listener, _ = listener_in(tmp_path, port=1, tls=False)
    listener.start()
    listener.stop()
    assert kept.read_bytes() != b""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho's socket
def test_a_broker_that_does_not_answer_keeps_nobody_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_mqtt, "STOP_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WAIT_S)
        listener, _ = listener_in(tmp_path, port=silent.getsockname()[1])
        listener.start()
        accepted, _ = silent.accept()  # it waits for TLS now
        listener.stop()
        (left,) = [one for one in threading.enumerate() if "paho" in one.name]
        accepted.close()
    left.join(WAIT_S)
    assert not left.is_alive()
