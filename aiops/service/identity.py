"""Who sent a request: told by a token or a client certificate, and never by what it says."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from aiops.errors import NotAuthenticated
from aiops.service.keys import KeyStore, Principal
from aiops.service.roles import Role

SCHEMES = "Bearer TOKEN, Token TOKEN or Basic with the token as password"
URN = "urn:aiops:device:"
"""What a device id that is no host name may follow in a certificate's URI."""


class DemoOperator:
    """Whoever started a demo: all roles, all devices, a token that ends with the process."""

    def __init__(self) -> None:
        self.token = f"aiops_demo_{secrets.token_urlsafe(32)}"
        self.principal = Principal("demo", frozenset(Role), patterns=("*",))


class Identity:
    """Tells who sent a request.

    Failed attempts are not slowed down: a token is 256 random bits, and guessing is hopeless.

    Parameters
    ----------
    store
        Credentials.
    demo
        Whoever may do everything, on loopback only; None: nobody.
    client_certs
        Whether a client certificate, which the server has verified, says which device it is.
    """

    def __init__(
        self, store: KeyStore, *, demo: DemoOperator | None = None, client_certs: bool = False
    ) -> None:
        self.store, self.demo, self.client_certs = store, demo, client_certs

    def identify(
        self, authorization: str | None, peer_cert: Mapping[str, Any] | None = None
    ) -> Principal:
        """Return who sent a request; a token counts for more than a certificate.

        Parameters
        ----------
        authorization
            The header of that name, or None.
        peer_cert
            The verified client certificate, as `ssl.SSLSocket.getpeercert` gives it, with its
            ``sha256`` fingerprint if that is known; None or empty: there is none.

        Raises
        ------
        NotAuthenticated
            There is no credential, or one that is unknown, expired or revoked.
        """
        if authorization is not None:
            return self._bearer(token_of(authorization))
        if peer_cert and self.client_certs:
            return self._device(peer_cert)
        ways = " or a client certificate" if self.client_certs else ""
        raise NotAuthenticated(f"who asks? Send a token (Authorization: {SCHEMES}){ways}")

    def _bearer(self, token: str) -> Principal:
        demo = self.demo
        if demo is not None and hmac.compare_digest(
            token.encode("utf-8", "surrogatepass"), demo.token.encode()
        ):
            return demo.principal
        found = self.store.principal(token)
        if found is None:
            raise NotAuthenticated("this token is unknown, expired or revoked")
        return found

    def _device(self, peer: Mapping[str, Any]) -> Principal:
        if self.store.revoked_certificate(peer.get("serialNumber", ""), peer.get("sha256", "")):
            raise NotAuthenticated("this client certificate is revoked")
        names = devices_of(peer)
        if not names:
            raise NotAuthenticated("this client certificate names no device")
        return Principal(names[0], frozenset({Role.INGEST}), frozenset(names))


def token_of(authorization: str) -> str:
    """Return the token that the value of an ``Authorization`` header carries.

    ``Bearer`` is of RFC 6750, ``Token`` of InfluxDB 2, ``Basic`` (RFC 7617) for clients that know
    nothing else: its user name is not looked at, as the token itself says whose it is.

    Raises
    ------
    NotAuthenticated
        It is of another scheme, or malformed.
    """
    scheme, _, value = authorization.strip().partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer" | "token":
            token = value
        case "basic":
            try:
                pair = base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise NotAuthenticated(
                    "Authorization: Basic is not base64 of user:token"
                ) from error
            token = pair.partition(":")[2]
        case _:
            raise NotAuthenticated(f"Authorization: {scheme[:20]!r} is not known; send {SCHEMES}")
    if not token:
        raise NotAuthenticated(f"Authorization: {scheme} without a token; send {SCHEMES}")
    return token


def devices_of(peer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the devices that a client certificate names, always by exact ids.

    Those are the DNS names and URIs of its subject alternative name (of
    ``urn:aiops:device:ID`` the id); only without any, its common name (RFC 6125, section 6.4.4).
    """
    named = tuple(
        value.removeprefix(URN) if kind == "URI" else value
        for kind, value in peer.get("subjectAltName", ())
        if kind in ("DNS", "URI")
    )
    common = tuple(
        value for pairs in peer.get("subject", ()) for kind, value in pairs if kind == "commonName"
    )
    return tuple(filter(None, named or common))
