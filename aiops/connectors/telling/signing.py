"""Signatures on what devices act upon: Ed25519 over DSSE envelopes.

DSSE (Dead Simple Signing Envelope, v1.0) signs the bytes together with what kind of bytes they
are, so nothing has to be brought into a canonical form, and a signature on one kind of document is
worth nothing on another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from aiops.errors import PayloadError, SettingsError

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
"""Media type of an envelope."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b" ".join(
        (b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload)
    )


def key_id(public: Ed25519PublicKey) -> str:
    """Return a key's name: SHA-256 of its DER form (SubjectPublicKeyInfo), as hex."""
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


class Signer:
    """Signs with one private key.

    Parameters
    ----------
    private
        The key; `Signer.at` reads or makes the one in a file.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.key_id = key_id(self.public)

    @classmethod
    def at(cls, path: str | Path) -> Signer:
        """Return the signer whose key is in a PEM file; without the file, make key and file.

        The file is readable by its owner only (mode 0600), appears whole or not at all, and is
        never replaced.

        Raises
        ------
        SettingsError
            The file cannot be read or made, is readable by others, or holds no Ed25519 key.
        """
        file = Path(path)
        try:
            if not file.exists():
                _make(file)
            mode = stat.S_IMODE(file.stat().st_mode)
            pem = file.read_bytes()
        except OSError as error:
            raise SettingsError(
                f"signing key {file}: {error.strerror}; name a file in a directory of our own"
            ) from error
        if os.name == "posix" and mode & 0o077:
            raise SettingsError(
                f"signing key {file} has mode {mode:04o}: others can read it; make a new key, or"
                " if it was read by nobody, set its mode to 0600"
            )
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SettingsError(
                f"signing key {file} is no private key in PEM without a password: {error}"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise SettingsError(
                f"signing key {file} is {type(private).__name__}; an Ed25519 key is needed"
            )
        return cls(private)

    @property
    def public_pem(self) -> bytes:
        """The public key, for those who verify."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, payload: bytes, payload_type: str) -> dict[str, Any]:
        """Return a DSSE envelope of the payload, as plain values."""
        signature = self._private.sign(pae(payload_type, payload))
        return {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [
                {"keyid": self.key_id, "sig": base64.b64encode(signature).decode()},
            ],
        }


def public_key(pem: bytes) -> Ed25519PublicKey:
    """Read a public key.

    Raises
    ------
    SettingsError
        It is no Ed25519 key in PEM.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"no public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"the key is {type(key).__name__}; an Ed25519 key is needed")
    return key


def verify(envelope: Mapping[str, Any], payload_type: str, key: Ed25519PublicKey) -> bytes:
    """Return the payload of an envelope, when the key has signed it as `payload_type`.

    The key id in the envelope is a hint that nobody signed, and is not looked at.

    Raises
    ------
    PayloadError
        It is no envelope, holds another type, or no signature in it is of this key.
    """
    try:
        found, body = envelope["payloadType"], envelope["payload"]
        signatures = [_decode(entry["sig"]) for entry in envelope["signatures"]]
        payload = _decode(body)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise PayloadError(f"no DSSE envelope: {type(error).__name__} {error}") from error
    if found != payload_type:
        raise PayloadError(f"the envelope holds {found!r}; {payload_type} was expected")
    signed = pae(payload_type, payload)
    if not any(_is_of(key, signature, signed) for signature in signatures):
        raise PayloadError(
            f"none of {len(signatures)} signatures is of key {key_id(key)[:16]} over this payload"
        )
    return payload


def _is_of(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _decode(text: str) -> bytes:
    """Decode base64, standard or URL-safe: DSSE lets a signer choose."""
    try:
        return base64.b64decode(text.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except binascii.Error as error:
        raise ValueError(f"base64: {error}") from error


def _make(file: Path) -> None:
    """Write a new key beside `file`, then give it that name unless another has it by then."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(opened, "wb") as out:
            out.write(pem)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            return  # another process was first: its key is the key
        if os.name == "posix":  # elsewhere a directory cannot be opened
            folder = os.open(file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        draft.unlink()
