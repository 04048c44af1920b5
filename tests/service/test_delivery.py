"""Outbox, dispatcher, webhook and a receiver that is often ill: each message has one effect."""

from __future__ import annotations

import random
import socket
import threading

from aiops.connectors.telling.addresses import Egress
from aiops.connectors.webhook import WebhookOutlet
from aiops.engine.ports import Message
from aiops.service.dispatcher import Dispatcher, Pace
from tests.connectors.telling.messages import incident
from tests.connectors.telling.receiver import Answer, Asked, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOCAL = Egress(("127.0.0.1",), ("127.0.0.1",), ("127.0.0.1",))


class IllReceiver:
    """Honours idempotency keys; now and then is busy, or hangs up before or after its work."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.effects: list[str] = []
        self.repeated = 0

    def __call__(self, asked: Asked, connection: socket.socket) -> Answer | None:
        mood = self.chance.choice(["well", "well", "busy", "hangs up", "hangs up after"])
        if mood == "busy":
            return 503, {"retry-after": "0"}, b""
        if mood != "hangs up":
            key = asked.headers["idempotency-key"]
            self.repeated += key in self.effects
            if key not in self.effects:
                self.effects.append(key)
        if mood.startswith("hangs up"):
            connection.shutdown(socket.SHUT_RDWR)
            return None
        return 200, {}, b""


def test_each_message_has_one_effect_in_order_though_many_are_sent_twice() -> None:
    messages = [incident(key=f"flash_wear@gw-{n}") for n in range(60)]
    waiting = list(messages)
    emptied = threading.Event()

    def done(name: str, message_id: str) -> None:
        waiting.remove(next(one for one in waiting if one.id == message_id))
        if not waiting:
            emptied.set()

    def pending(name: str, limit: int) -> list[Message]:
        return waiting[:limit]

    refused: list[bool] = []
    ill = IllReceiver(seed=5)
    with receiving(ill) as receiver:
        outlet = WebhookOutlet(receiver.url(), SECRET, source="/aiops", egress=LOCAL)
        told = Dispatcher(
            pending,
            done,
            lambda name, message_id, said, final: refused.append(final),
            [outlet],
            pace=Pace(first_s=1e-3, longest_s=4e-3),
        )
        told.start()
        assert emptied.wait(15)
        assert told.stop() == []
    assert ill.effects == [one.id for one in messages]
    assert ill.repeated > 0
    assert len(refused) > 20
    assert not any(refused)
