"""Where a service of given settings is reached from this machine, and whose word is believed."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aiops.service.paths import Paths

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from aiops.service.settings import Settings

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What it listens at -> what of that is this machine."""
LOCAL = "localhost"


class Reached(NamedTuple):
    """How to ask a service."""

    url: str
    ca: Path | None
    """Whose certificates are believed, a PEM file; None: those of the system."""


def reached(settings: Settings) -> Reached:
    """Return where a service of these settings is, by a name that its certificate has.

    Believed is the authority of its data directory if that issued the certificate, and the
    certificate itself if nobody else did.
    """
    listen = settings.listen
    host = ANYWHERE.get(listen.host, listen.host)
    if listen.tls_cert is None:
        return Reached(_url("http", host, listen.port), None)
    shown = _read(listen.tls_cert)
    if shown is None:  # the start checks say what is wrong with it
        return Reached(_url("https", host, listen.port), None)
    named = _named(shown, host)
    authority = Paths(settings.data).data / "authority" / "ca.pem"
    issuers = ((path, _read(path)) for path in (authority, listen.tls_cert))
    ca = next((path for path, own in issuers if own is not None and _issued(shown, own)), None)
    return Reached(_url("https", named, listen.port), ca)


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _read(path: Path) -> Certificate | None:
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def _issued(shown: Certificate, by: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        shown.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _named(shown: Certificate, host: str) -> str:
    """Return the host if a certificate names it, else a name that it has and that is ours."""
    from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName

    try:
        names = shown.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (ExtensionNotFound, ValueError):
        return host
    hosts = [str(one) for one in names.get_values_for_type(DNSName)]
    hosts += map(str, names.get_values_for_type(IPAddress))
    ours = [host, LOCAL, "127.0.0.1", "::1"] if host == LOCAL or _loopback(host) else [host]
    named = [one for one in ours if one in hosts] + [one for one in hosts if "*" not in one]
    return named[0] if named else host


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
