"""Tells whoever has a web address: CloudEvents over HTTPS, signed as Standard Webhooks says."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from aiops.connectors.telling.addresses import Egress
from aiops.connectors.telling.cloudevents import CONTENT_TYPE, encode, event
from aiops.connectors.telling.posting import TIMEOUT_S, Poster
from aiops.engine.ports import Message
from aiops.errors import SettingsError

SECRET_PREFIX = "whsec_"
SECRET_BYTES = (24, 64)
"""Least and most, as the specification has it."""
KINDS = frozenset({"finding", "incident", "action"})


class WebhookOutlet:
    """Posts each message to one address.

    The receiver finds the message's id in ``webhook-id`` and ``Idempotency-Key``: the same message
    may come again, and it must honour that id to take it once.

    Parameters
    ----------
    url
        Where to; its host must be listed in `egress`.
    secret
        ``whsec_`` and 24 to 64 bytes in base64: shared with the receiver, never shown.
    source
        Who we are, for CloudEvents: a URI reference.
    egress
        Whom we may call.
    name
        Of this outlet, in the outbox and in metrics.
    kinds
        Kinds of messages it takes.
    ca_file
        Certificates to trust instead of the system's.
    timeout_s
        For one whole exchange.
    now
        Seconds since the epoch.

    Raises
    ------
    SettingsError
        The URL must not be called, or the secret, a kind or `ca_file` is none.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        source: str,
        egress: Egress,
        name: str = "webhook",
        kinds: Iterable[str] = KINDS,
        ca_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.kinds = frozenset(kinds)
        if extra := sorted(self.kinds - KINDS):
            raise SettingsError(f"{name}.kinds has {extra}; there are {', '.join(sorted(KINDS))}")
        egress.target(url)
        self._url = url
        self._key = _key(name, secret)
        self._source = source
        self._now = now
        self._poster = Poster(egress, ca_file=ca_file, timeout_s=timeout_s, now=now)

    def deliver(self, message: Message) -> None:
        """Post a message.

        Raises
        ------
        DeliveryError
            It was not taken.
        """
        body = encode(event(message, self._source))
        timestamp = str(int(self._now()))
        headers = {
            "content-type": f"{CONTENT_TYPE}; charset=utf-8",
            "idempotency-key": message.id,
            "webhook-id": message.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature(self._key, message.id, timestamp, body),
        }
        self._poster.post(self._url, body, headers)

    def close(self) -> None:
        """Close its connections."""
        self._poster.close()


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the symmetric signature of Standard Webhooks 1.0: ``v1,`` and HMAC-SHA256."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def _key(name: str, secret: str) -> bytes:
    least, most = SECRET_BYTES
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not least <= len(key) <= most:
        # Raised out here, so that no cause is chained that would show the secret.
        raise SettingsError(
            f"{name}.secret is not {SECRET_PREFIX} followed by {least} to {most} bytes in base64;"
            " take one from the receiver, or make 32 random bytes"
        )
    return key
