"""What a device is told to do, and what it must check before it does it.

A command is one action for one device. It is signed (`signing`), it expires, and it carries a
counter that only rises: so it cannot be altered, aimed at another device, kept for later, or sent
twice to an effect.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from aiops.alerts.finding import isoformat
from aiops.engine.ports import Message
from aiops.errors import DeliveryError, PayloadError

PAYLOAD_TYPE = "application/vnd.aiops.command.v1+json"

_encode = msgspec.json.Encoder(order="sorted", enc_hook=lambda value: value.item()).encode


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An action for one device, as it is signed."""

    action_id: str
    """Idempotency key."""
    kind: str
    device: str
    """For whom this copy is."""
    target: list[str]
    """All that the action acts on."""
    params: dict[str, Any]
    reason: str
    evidence: list[str]
    approvers: list[str]
    """Who approved it; empty: a policy did, within the guard's limits."""
    issued: datetime
    expires: datetime
    counter: int
    """Rises from action to action, and is the same each time one is sent."""

    def to_bytes(self) -> bytes:
        """Return the payload that is signed."""
        return _encode(self)


_decode = msgspec.json.Decoder(Command).decode


def commands(message: Message) -> list[Command]:
    """Return the commands of an approved action, one for each device it is carried out on.

    Those are the action's devices, or its targets where it names no devices. Who approved it is
    the record's ``approvers``, the counter its ``counter``, or without one the time the message
    was made, in ns: of two messages the later must have the larger.

    Raises
    ------
    DeliveryError
        The action is not allowed, is history, or lacks a field: permanent.
    """
    record = message.record
    try:
        if record["verdict"] != "allowed" or record.get("historical"):
            raise DeliveryError(
                f"action {message.id} is {record['verdict']}"
                f"{' and history' if record.get('historical') else ''}; only what is allowed now"
                " is sent to devices",
                permanent=True,
            )
        shared = {
            "action_id": record.get("action_id") or record["id"],
            "kind": record["kind"],
            "target": record["target"],
            "params": record.get("params", {}),
            "reason": record.get("reason", ""),
            "evidence": record["evidence"],
            "approvers": record.get("approvers", []),
            "issued": record["issued_ts"],
            "expires": record["expires_ts"],
            "counter": record.get("counter", message.created_ns),
        }
        devices = record.get("devices") or record["target"]
        return [
            msgspec.convert({**shared, "device": name}, Command, strict=True) for name in devices
        ]
    except (KeyError, msgspec.ValidationError) as error:
        raise DeliveryError(
            f"action {message.id} makes no command: {type(error).__name__} {error}", permanent=True
        ) from error


def accept(payload: bytes, *, device: str, counter: int, now: datetime) -> Command:
    """Return the command in a verified payload, when this device should carry it out now.

    This is what a device must check after `signing.verify`; it then keeps the command's counter
    before it acts.

    Parameters
    ----------
    payload
        As `signing.verify` returned it.
    device
        Who we are.
    counter
        Of the last command that was taken; 0: none yet.
    now
        The time, in UTC.

    Raises
    ------
    PayloadError
        It is no command, for another device, taken already, or no longer good.
    """
    try:
        command = _decode(payload)
    except msgspec.DecodeError as error:
        raise PayloadError(f"no command: {error}") from error
    if command.device != device:
        raise PayloadError(f"the command is for {command.device}; this is {device}")
    if command.counter <= counter:
        raise PayloadError(
            f"the command has counter {command.counter}; one with {counter} was taken already"
        )
    if now >= command.expires:
        raise PayloadError(f"the command expired at {command.expires.isoformat()}")
    return command


def left_s(command: Command, now_ns: int) -> int:
    """Return for how many whole seconds a command is still good; 0 or less: it has expired."""
    moment = datetime.fromisoformat(isoformat(now_ns) or "")
    return int((command.expires - moment).total_seconds())
