"""A small certificate authority, to begin with mutual TLS; a large fleet has its own."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aiops.errors import FileError, SettingsError
from aiops.service.identity import URN

OWN_S = 10 * 365 * 86_400
"""How long the authority itself is valid."""
BACKDATED_S = 300
"""A clock that is a little slow finds a new certificate valid."""
_HOST = re.compile(
    r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*"
)
REGISTER = "issued.jsonl"
_VISIBLE = re.compile(r"[!-~]{1,256}")


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, both PEM."""

    certificate: bytes
    key: bytes
    serial: str
    """Hexadecimal, as `aiops keys revoke --certificate` takes it."""
    until: datetime


@dataclass(frozen=True)
class Entry:
    """What the register has of a certificate that was issued."""

    name: str
    """Device or host."""
    server: bool
    """Whether it is a host's."""
    serial: str
    until: datetime


class Authority:
    """Issues certificates; its own key and certificate lie in a folder of its own.

    Parameters
    ----------
    folder
        Holds ``ca.pem`` and ``ca.key``; both are made if neither is there. Beside them
        ``issued.jsonl`` lists what was issued, a certificate a line.
    now
        When it is, UTC; by default what the clock says.

    Raises
    ------
    FileError
        Only one of the two is there, or they cannot be read.
    """

    def __init__(self, folder: Path, now: datetime | None = None) -> None:
        self.certificate, self.key = folder / "ca.pem", folder / "ca.key"
        self.register = folder / REGISTER
        self._now = now or datetime.now(UTC)
        if not self.certificate.exists() and not self.key.exists():
            self._found()
        try:
            key = serialization.load_pem_private_key(self.key.read_bytes(), None)
            self._own = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        except OSError as error:
            raise FileError(f"authority {error.filename}: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise FileError(f"authority {folder}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise FileError(f"{self.key} is no key of an elliptic curve, as this authority makes")
        self._signs = key

    def for_device(self, device: str, lasts_s: int) -> Issued:
        """Issue a certificate by which a device says who it is.

        Its subject alternative name is the device's id: as DNS name if it could be one, else as
        URI ``urn:aiops:device:ID``.

        Raises
        ------
        SettingsError
            The id cannot stand in a certificate.
        """
        if not _VISIBLE.fullmatch(device):
            raise SettingsError(
                f"a certificate names a device in visible ASCII, and not {device!r}"
            )
        is_host = len(device) <= 253 and _HOST.fullmatch(device)
        name = x509.DNSName(device) if is_host else x509.UniformResourceIdentifier(URN + device)
        return self._issue(device, [name], ExtendedKeyUsageOID.CLIENT_AUTH, lasts_s)

    def for_server(self, host: str, lasts_s: int) -> Issued:
        """Issue a certificate for a host's name or address.

        Raises
        ------
        SettingsError
            It is neither.
        """
        name: x509.GeneralName
        try:
            name = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            if not _HOST.fullmatch(host):
                raise SettingsError(f"{host!r} is no name and no address of a host") from None
            name = x509.DNSName(host)
        return self._issue(host, [name], ExtendedKeyUsageOID.SERVER_AUTH, lasts_s)

    def _issue(
        self, name: str, names: list[x509.GeneralName], usage: x509.ObjectIdentifier, lasts_s: int
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        until = min(self._now + timedelta(seconds=lasts_s), self._own.not_valid_after_utc)
        common = x509.NameAttribute(NameOID.COMMON_NAME, name[:64])
        built = (
            self._begun(x509.Name([common]), key.public_key(), until)
            .issuer_name(self._own.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._signs.public_key()),
                critical=False,
            )
            .sign(self._signs, hashes.SHA256())
        )
        serial = f"{built.serial_number:x}"
        server = usage == ExtendedKeyUsageOID.SERVER_AUTH
        entry = {"name": name, "server": server, "serial": serial, "until": until.isoformat()}
        with open(self.register, "a", encoding="utf-8") as register:  # before anybody has it
            register.write(json.dumps(entry) + "\n")
        return Issued(built.public_bytes(serialization.Encoding.PEM), _pem(key), serial, until)

    def _found(self) -> None:
        """Make the authority itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aiops device authority")])
        until = self._now + timedelta(seconds=OWN_S)
        built = (
            self._begun(name, key.public_key(), until)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(self.key, _pem(key))
        self.certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))

    def _begun(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(seconds=BACKDATED_S))
            .not_valid_after(until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def issued(folder: Path) -> list[Entry]:
    """Return what the authority in a folder has issued, oldest first; nothing if there is none.

    Raises
    ------
    FileError
        The register cannot be read.
    """
    path = folder / REGISTER
    try:
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        read = [json.loads(line) for line in lines]
        return [
            Entry(one["name"], one["server"], one["serial"], datetime.fromisoformat(one["until"]))
            for one in read
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path} cannot be read ({error}); move it away: what it lists stays valid"
        ) from error


def shown(path: Path) -> Entry | None:
    """Return what a file of a certificate holds; None: there is none, or it holds another thing."""
    try:
        read = x509.load_pem_x509_certificate(path.read_bytes())
        usage = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    server = ExtendedKeyUsageOID.SERVER_AUTH in usage
    return Entry(path.stem, server, f"{read.serial_number:x}", read.not_valid_after_utc)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, in the place of one that may be there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(opened, "wb") as file:
        file.write(content)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _usage(**for_what: bool) -> x509.KeyUsage:
    kinds = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    more = ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{kind: for_what.get(kind, False) for kind in (*kinds, *more)})
