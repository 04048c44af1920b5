"""What must hold before the service listens: each check with why it matters and what mends it.

On loopback, and without a proxy in front, a demo may start as it is. Anywhere else every check must
pass; one may be let fail by its name, which is shown, and there is no switch for all of them.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography.x509 import load_pem_x509_certificate

from aiops.errors import FileError, ServeError, SettingsError
from aiops.service.keys import KeyStore
from aiops.service.roles import Role
from aiops.service.tls import Tls

SQLITE_LEAST = (3, 51, 3)
"""Older ones can corrupt a database in WAL mode when its log is reset."""
YEAR_LEAST = 2026


@dataclass(frozen=True)
class Exposure:
    """Where the service would listen, and what makes that safe."""

    data: Path
    host: str = "127.0.0.1"
    unix: Path | None = None
    """A socket file in the place of `host`."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    """Whose certificates say who a device is."""
    behind_proxy: tuple[str, ...] = ()
    """Addresses and networks of a proxy that does TLS in front."""
    free_bytes: int = 256 << 20
    """Room that the disk must have."""
    allow: tuple[str, ...] = ()
    """Checks that may fail, by name."""

    @property
    def demo(self) -> bool:
        """Whether only this machine can reach it, and no proxy lets others in."""
        return self.loopback and not self.behind_proxy

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it; a host's name other than localhost is not."""
        if self.unix is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True)
class Check:
    """What was looked at, and what was found."""

    name: str
    passed: bool
    found: str
    why: str
    """Why it matters."""
    fix: str
    """The one command, or setting, that mends it; empty if it passed."""
    allowed: bool = False
    """It failed, and may."""

    @property
    def stops(self) -> bool:
        """Whether the service must not start."""
        return not (self.passed or self.allowed)


def start_checks(
    exposure: Exposure,
    keys: KeyStore,
    sqlite_version: str,
    *,
    wall: Callable[[], float] = time.time,
) -> tuple[Check, ...]:
    """Check what must hold where the service would listen.

    Parameters
    ----------
    exposure
        Where it would listen.
    keys
        Its credentials.
    sqlite_version
        Of the library that keeps its log, such as "3.51.3".
    wall
        Clock, in s since the epoch.

    Returns
    -------
    tuple of Check
        Those that apply; to a demo only what could lose data. `Check.stops` says which of them
        keep it from starting.

    Raises
    ------
    SettingsError
        `Exposure.allow` names a check that does not exist.
    """
    unknown = sorted(set(exposure.allow) - set(CHECKS))
    if unknown:
        known = ", ".join(CHECKS)
        raise SettingsError(f"allow: no check is called {unknown[0]!r}; there are {known}")
    seen = _Seen(exposure, keys, sqlite_version, wall())
    done = []
    for name, of in CHECKS.items():
        if exposure.demo and not of.always:
            continue
        passed, found = of.look(seen)
        fix = "" if passed else of.fix.format(e=exposure)
        allowed = not passed and name in exposure.allow
        done.append(Check(name, passed, found, of.why, fix, allowed))
    return tuple(done)


def must_start(checks: Iterable[Check]) -> None:
    """Pass if none of the checks stops the service.

    Raises
    ------
    ServeError
        One or more do; the message has a line for each: what was found, why it matters, the fix.
    """
    stopping = [check for check in checks if check.stops]
    if stopping:
        lines = [f"{c.name}: {c.found}. {c.why} Mend it: {c.fix}" for c in stopping]
        beyond = any(c.name in CHECKS and not CHECKS[c.name].always for c in stopping)
        because = ", as beyond this machine it is not safe" if beyond else ""
        raise ServeError("\n".join([f"not started{because}:", *lines]))


@dataclass(frozen=True)
class _Seen:
    e: Exposure
    keys: KeyStore
    sqlite: str
    now_s: float


Found = tuple[bool, str]
"""Whether it is as it must be, and how it is, in words."""


class _Of(NamedTuple):
    look: Callable[[_Seen], Found]
    why: str
    fix: str
    always: bool = False
    """Also for a demo."""


def _tls(seen: _Seen) -> Found:
    e = seen.e
    if e.tls_cert is None and e.tls_key is None and e.behind_proxy:
        return _proxies(e.behind_proxy)
    if e.tls_cert is None or e.tls_key is None:
        return False, "there is no certificate with its key, and no proxy that has one"
    try:
        Tls(e.tls_cert, e.tls_key, e.client_ca).context()
    except ServeError as error:
        return False, str(error)
    return True, f"{e.tls_cert} and its key"


def _proxies(addresses: tuple[str, ...]) -> Found:
    for one in addresses:
        try:
            network = ipaddress.ip_network(one)
        except ValueError:
            return False, f"behind_proxy {one!r} is no address and no network"
        if network.prefixlen == 0:
            return False, f"behind_proxy {one!r} believes everybody"
    return True, f"a proxy at {', '.join(addresses)} does TLS"


def _tls_dates(seen: _Seen) -> Found:
    if seen.e.tls_cert is None:
        return True, "there is no certificate"
    try:
        begins, ends = validity(seen.e.tls_cert)
    except (OSError, ValueError) as error:
        return False, f"{seen.e.tls_cert} cannot be read: {error}"
    if seen.now_s < begins:
        return False, f"the certificate is not valid before {_day(begins)}"
    return seen.now_s < ends, f"the certificate is valid until {_day(ends)}"


def _tls_key_mode(seen: _Seen) -> Found:
    key = seen.e.tls_key
    # root may lend it to a group: that is how a service that is not root gets one
    lent = key is not None and key.exists() and key.stat().st_uid == 0 != os.geteuid()
    return _closed(key, 0o027 if lent else 0o077)


def _data_mode(seen: _Seen) -> Found:
    for path, to in ((seen.keys.path, 0o077), (seen.e.data, 0o007)):
        passed, found = _closed(path, to)
        if not passed:
            break
    return passed, found


def _data_owner(seen: _Seen) -> Found:
    if not seen.e.data.exists():
        return True, f"{seen.e.data} is not there yet"
    owner, own = seen.e.data.stat().st_uid, os.geteuid()
    return owner == own, f"{seen.e.data} belongs to user {owner}, and this is user {own}"


def _closed(path: Path | None, to: int) -> Found:
    """Say whether a file has none of the permissions `to`."""
    if path is None:
        return True, "there is none"
    if not path.exists():
        return True, f"{path} is not there yet"
    mode = stat.S_IMODE(path.stat().st_mode)
    return not mode & to, f"{path} has mode {mode:04o}"


def _devices(seen: _Seen) -> Found:
    if seen.e.client_ca is not None and seen.e.tls_cert is not None:
        return True, f"devices show certificates of {seen.e.client_ca}"
    return _has_key(seen, {Role.INGEST})


def _operators(seen: _Seen) -> Found:
    return _has_key(seen, {Role.READ, Role.ADMIN})


def _has_key(seen: _Seen, roles: set[Role]) -> Found:
    wanted = " or ".join(sorted(roles))
    try:
        known = seen.keys.list()
    except FileError as error:
        return False, str(error)
    n = sum(bool(roles & one.roles) and one.valid(seen.now_s) for one in known)
    return n > 0, f"{n or 'no'} valid key{'' if n == 1 else 's'} with the role {wanted}"


def _clock(seen: _Seen) -> Found:
    now = datetime.fromtimestamp(seen.now_s, tz=UTC)
    return now.year >= YEAR_LEAST, f"the clock says {now:%Y-%m-%d %H:%M} UTC"


def _room(seen: _Seen) -> Found:
    place = seen.e.data
    while not place.exists():
        place = place.parent
    free, least = shutil.disk_usage(place).free, seen.e.free_bytes
    return free >= least, f"{free >> 20:,} MiB are free, and {least >> 20:,} MiB are needed"


def _sqlite(seen: _Seen) -> Found:
    found = tuple(int(part) for part in seen.sqlite.split(".") if part.isdecimal())
    return found >= SQLITE_LEAST, f"SQLite {seen.sqlite}"


def validity(certificate: Path) -> tuple[float, float]:
    """Return from when to when the first certificate of a PEM file is valid, in s since the epoch.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It holds no certificate.
    """
    read = load_pem_x509_certificate(certificate.read_bytes())
    return read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()


def _day(moment_s: float) -> str:
    return f"{datetime.fromtimestamp(moment_s, tz=UTC):%Y-%m-%d %H:%M} UTC"


CHECKS = {
    "tls": _Of(
        _tls,
        "Without TLS, tokens and telemetry can be read and changed on their way.",
        "set tls_cert and tls_key under [listen], or behind_proxy",
    ),
    "tls_dates": _Of(
        _tls_dates,
        "Devices refuse a certificate that is out of date.",
        "renew {e.tls_cert}, or set the clock",
    ),
    "tls_key_mode": _Of(
        _tls_key_mode,
        "Who can read the key can pose as this service.",
        "chmod 600 {e.tls_key}",
    ),
    "device_keys": _Of(
        _devices,
        "Without them no device can report.",
        "aiops keys make gateway --role ingest --device gw-1 --data {e.data}",
    ),
    "operator_keys": _Of(
        _operators,
        "Without one nobody can see what it finds.",
        "aiops keys make operator --role admin --role read --data {e.data}",
    ),
    "data_dir_mode": _Of(
        _data_mode,
        "It holds the telemetry, the keys and the record of what was done.",
        "chmod -R go-rwx {e.data}",
    ),
    "data_dir_owner": _Of(
        _data_owner,
        "Whose it is can change what was recorded, and what is written now is another's.",
        "chown -R $(id -u) {e.data}",
    ),
    "clock": _Of(
        _clock,
        "Expiry of keys and the order of what happened depend on it.",
        "timedatectl set-ntp true",
        always=True,
    ),
    "free_disk": _Of(
        _room,
        "What is acknowledged must be on disk first.",
        "make room, or name another disk with --data",
        always=True,
    ),
    "sqlite": _Of(
        _sqlite,
        "SQLite before 3.51.3 can corrupt a log when it is reset.",
        "pip install --upgrade apsw",
        always=True,
    ),
}
"""Name -> what looks, why it matters and what mends it."""
