"""Credentials: who may speak to the service, what they may do, and for which devices."""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import msgspec

from aiops.errors import FileError, NotAllowed, SettingsError
from aiops.service.roles import Role, roles_of

FORMAT = 1
"""Raised when the layout of the file changes."""
LOOK_AGAIN_S = 1.0
"""How long what the file said is held: a revocation holds after so many seconds."""
_PREFIX = "aiops"
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Principal:
    """Who sent a request, however they showed it."""

    name: str
    """Id of a credential, device of a certificate, or ``demo``."""
    roles: frozenset[Role]
    devices: frozenset[str] = frozenset()
    """Devices it may write for, by their exact ids."""
    patterns: tuple[str, ...] = ()
    """... and by patterns of a shell, such as ``gw-*``; case counts."""

    @cached_property
    def _matches(self) -> Callable[[str], object]:
        return re.compile("|".join(map(fnmatch.translate, self.patterns))).match

    def may_write(self, device_id: str) -> bool:
        """Say whether readings of this device are taken from it."""
        if device_id in self.devices:
            return True
        return bool(self.patterns) and self._matches(device_id) is not None

    def require(self, role: Role) -> None:
        """Pass if it has the role.

        Raises
        ------
        NotAllowed
            It has not.
        """
        if role not in self.roles:
            has = ", ".join(sorted(self.roles)) or "none"
            raise NotAllowed(f"this needs the role {role}, and {self.name} has {has}")


@dataclass(frozen=True)
class Credential:
    """A key as it is kept: everything but its secret. Moments are seconds since the epoch, UTC."""

    id: str
    label: str
    """In words, for people."""
    roles: frozenset[Role]
    devices: tuple[str, ...]
    """Ids and patterns of the devices it may write for; empty: none."""
    created: int
    expires: int | None = None
    revoked: int | None = None

    def valid(self, now_s: float) -> bool:
        """Say whether it opens anything at that moment."""
        return self.revoked is None and (self.expires is None or now_s < self.expires)

    def principal(self) -> Principal:
        """Return who it stands for."""
        patterns = tuple(one for one in self.devices if _PATTERN.search(one))
        exact = frozenset(self.devices).difference(patterns)
        return Principal(self.id, self.roles, exact, patterns)


@dataclass(frozen=True)
class _Kept:
    credential: Credential
    sha256: str
    """Of the secret, in hexadecimal.

    A slow hash such as Argon2 makes guessing dear where people choose the secret. This one is 256
    random bits: nobody guesses it at any speed, and devices send it with every request.
    """


@dataclass(frozen=True)
class _Contents:
    """What the file holds."""

    format: int = FORMAT
    keys: tuple[_Kept, ...] = ()
    revoked_certificates: dict[str, int] = field(default_factory=dict)
    """Serial or SHA-256 fingerprint, as `certificate_id` writes it -> when, in s."""


class KeyStore:
    """Credentials in one JSON file, which only its owner can read.

    Each change is written aside, fsynced and renamed. Another process may change the file: it is
    looked at again at most once a second. Safe to use from several threads.

    Parameters
    ----------
    path
        The file; it need not exist.
    wall, monotonic
        Clocks, in s.

    Raises
    ------
    FileError
        On any use: the file cannot be read, or is no file of credentials. Nobody is let in then.
    """

    def __init__(
        self,
        path: Path,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._wall, self._monotonic = wall, monotonic
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._look_at = -1.0
        self._is = _Contents()
        self._known: dict[str, tuple[_Kept, Principal]] = {}
        self._refresh(at_once=True)

    def make(
        self,
        label: str,
        roles: Iterable[str],
        devices: Iterable[str] = (),
        expires_s: int | None = None,
    ) -> tuple[str, Credential]:
        """Make a credential and return its token, which is kept nowhere, and the credential.

        Parameters
        ----------
        label
            In words, for people.
        roles
            Names of roles.
        devices
            Ids of the devices it may write for, or patterns such as ``gw-*``.
        expires_s
            How many seconds from now it is good for; None: until it is revoked.

        Raises
        ------
        SettingsError
            Unknown role, no label, devices without the role to write, or it would never be good.
        """
        given, named = roles_of(roles), tuple(dict.fromkeys(devices))
        if not label.strip() or not label.isprintable():
            raise SettingsError(f"a key needs a label in printable words, and {label!r} is none")
        if named and Role.INGEST not in given:
            raise SettingsError(f"only a key with the role {Role.INGEST} may name devices")
        if not all(named):
            raise SettingsError("a device has a name, and one of those given is empty")
        if expires_s is not None and expires_s <= 0:
            raise SettingsError(f"a key that expires in {expires_s} s would never open anything")
        secret, now = secrets.token_urlsafe(32), int(self._wall())
        with self._changing() as now_is:
            taken = {one.credential.id for one in now_is.keys}
            while (id := secrets.token_hex(4)) in taken:
                pass
            until = None if expires_s is None else now + expires_s
            made = Credential(id, label, given, named, now, until)
            self._write(replace(now_is, keys=(*now_is.keys, _Kept(made, _sha256(secret)))))
        return f"{_PREFIX}_{id}_{secret}", made

    def revoke(self, id: str) -> Credential:
        """Close a credential for good; return it. One that is revoked already stays as it is.

        Raises
        ------
        SettingsError
            There is no such credential.
        """
        if id not in self._refresh(at_once=True):  # no key is ever deleted
            raise SettingsError(f"no key has the id {id!r}: `aiops keys list` shows all")
        with self._changing() as now_is:
            kept = {one.credential.id: one for one in now_is.keys}
            if kept[id].credential.revoked is None:
                closed = replace(kept[id].credential, revoked=int(self._wall()))
                kept[id] = replace(kept[id], credential=closed)
                self._write(replace(now_is, keys=tuple(kept.values())))
        return kept[id].credential

    def revoke_certificate(self, number: str) -> str:
        """Refuse a client certificate from now on; return its number as it is kept.

        Parameters
        ----------
        number
            Its serial number or its SHA-256 fingerprint, in hexadecimal, with or without colons.

        Raises
        ------
        SettingsError
            It is no hexadecimal number.
        """
        id = certificate_id(number)
        with self._changing() as now_is:
            revoked = {id: int(self._wall())} | now_is.revoked_certificates
            self._write(replace(now_is, revoked_certificates=revoked))
        return id

    def list(self) -> tuple[Credential, ...]:
        """Return all credentials, oldest first, with those that have expired or are revoked."""
        return tuple(kept.credential for kept, _ in self._refresh().values())

    def authenticate(self, token: str) -> Credential | None:
        """Return the credential whose token this is, or None: unknown, expired or revoked."""
        kept = self._find(token)
        return None if kept is None else kept[0].credential

    def principal(self, token: str) -> Principal | None:
        """Return who it is whose token this is, or None, as `authenticate` does."""
        kept = self._find(token)
        return None if kept is None else kept[1]

    def revoked_certificate(self, *numbers: str) -> bool:
        """Say whether a client certificate with any of these numbers is refused."""
        self._refresh()
        refused = self._is.revoked_certificates
        return bool(refused) and any(certificate_id(one) in refused for one in numbers if one)

    def _find(self, token: str) -> tuple[_Kept, Principal] | None:
        prefix, _, rest = token.partition("_")
        id, _, secret = rest.partition("_")
        found = self._refresh().get(id)  # an id is no secret: only what follows it is
        if found is None or prefix != _PREFIX:
            return None
        same = hmac.compare_digest(_sha256(secret), found[0].sha256)
        return found if same and found[0].credential.valid(self._wall()) else None

    def _refresh(self, *, at_once: bool = False) -> dict[str, tuple[_Kept, Principal]]:
        """Return what the file says, or said a second ago; there is none before the first key."""
        now = self._monotonic()
        if not at_once and now < self._look_at:
            return self._known
        with self._lock:
            try:
                is_now = os.stat(self.path)
                seen = (is_now.st_mtime_ns, is_now.st_ino, is_now.st_size)
            except FileNotFoundError:
                seen = None
            except OSError as error:
                raise FileError(f"keys {self.path}: {error.strerror}") from error
            if seen is None:
                self._is, self._known = _Contents(), {}
            elif seen != self._seen:
                self._is = _read(self.path)
                self._known = {
                    one.credential.id: (one, one.credential.principal()) for one in self._is.keys
                }
            self._seen, self._look_at = seen, now + LOOK_AGAIN_S
            return self._known

    @contextmanager
    def _changing(self) -> Iterator[_Contents]:
        """Keep other processes from changing the file, and give what it says."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self.path.with_name(self.path.name + ".lock")
        lock = _opened(beside, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._refresh(at_once=True)
            yield self._is
            self._refresh(at_once=True)
        finally:
            os.close(lock)

    def _write(self, to_be: _Contents) -> None:
        aside = self.path.with_name(self.path.name + ".new")
        aside.unlink(missing_ok=True)  # of a process that was killed: it may have any mode
        with open(_opened(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(to_be, order="sorted")))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def certificate_id(number: str) -> str:
    """Write a serial number or fingerprint in the one way in which it is kept.

    Raises
    ------
    SettingsError
        It is no hexadecimal number.
    """
    digits = number.replace(":", "").strip().lower()
    if not re.fullmatch(r"[0-9a-f]+", digits):
        raise SettingsError(
            f"certificate {number!r}: give its serial number or SHA-256 fingerprint in hexadecimal"
        )
    return digits.lstrip("0") or "0"


def _read(path: Path) -> _Contents:
    try:
        read = msgspec.json.decode(path.read_bytes(), type=_Contents)
    except OSError as error:
        raise FileError(f"keys {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:  # bytes that are no UTF-8 are among these
        raise FileError(f"{path} is no file of keys: {error}") from error
    if read.format != FORMAT:
        raise FileError(f"{path} has format {read.format}, and this version reads {FORMAT}")
    return read


def _opened(path: Path, flags: int) -> int:
    """Open a file that only its owner can read: whose the folder is, not root who looks after it.

    Otherwise the service could not read its keys once root had revoked one.
    """
    opened = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        folder = os.stat(path.parent)
        os.fchown(opened, folder.st_uid, folder.st_gid)
    return opened


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
