"""Whether the files of a data directory are whole; nothing in it is changed by looking."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import apsw

from aiops.connectors.durable.files import REAL
from aiops.connectors.durable.log import SegmentedLog
from aiops.connectors.durable.opening import guard
from aiops.connectors.durable.segment import Damage, Segment
from aiops.errors import AiopsError, CheckpointError, LogError
from aiops.fleet import checkpoint
from aiops.service import ledger
from aiops.service.checks import Check
from aiops.service.keys import KeyStore
from aiops.service.machine import Look, disk
from aiops.service.paths import Paths
from aiops.service.settings import Settings

SOON_S = 14 * 86_400
"""A key that expires before is worth a word."""
TORN = "never acknowledged"
"""In the reason of damage that a kill leaves where nothing was promised."""


def started(checks: tuple[Check, ...]) -> Iterator[Look]:
    """Say what the start checks found."""
    for one in checks:
        state = "ok" if one.passed else "warn" if one.allowed else "FAIL"
        yield Look(one.name, state, one.found, "" if one.passed else one.fix)  # type: ignore[arg-type]


def files(settings: Settings) -> Iterator[Look]:
    """Look at everything in the data directory of these settings."""
    paths = Paths(settings.data)
    if not paths.data.is_dir():
        yield Look(
            "data", "warn", f"{paths.data} is not there yet", f"aiops serve --data {paths.data}"
        )
        return
    yield _looked("keys", lambda: keys(KeyStore(paths.keys), time.time()))
    yield room(paths.data, settings.log.shed_free_bytes)
    yield disk(paths.data)
    yield _looked("log", lambda: log(paths.log))
    yield _looked("checkpoint", lambda: state(paths.state))
    for name, look in (("control", control), ("audit", audit), ("messages", messages)):
        yield _looked(name, lambda look=look: look(paths.control))  # type: ignore[misc]
    if paths.halt.exists():
        yield Look("halt", "warn", "no action leaves while this is so", f"rm {paths.halt}")


def _looked(name: str, look: Callable[[], Look]) -> Look:
    try:
        return look()
    except (AiopsError, OSError, apsw.Error) as error:
        return Look(name, "FAIL", " ".join(str(error).split()), "restore it from a backup")


def keys(store: KeyStore, now_s: float) -> Look:
    """Look which keys are about to expire."""
    valid = [one for one in store.list() if one.valid(now_s)]
    soon = [one for one in valid if one.expires is not None and one.expires < now_s + SOON_S]
    if not valid:
        return Look("keys", "ok", "none: only a demo on this machine can be spoken to")
    if not soon:
        return Look("keys", "ok", f"{len(valid)} valid, none expires within 14 days")
    first = min(soon, key=lambda one: one.expires or 0)
    days = ((first.expires or 0) - now_s) / 86_400
    roles = " ".join(f"--role {role}" for role in sorted(first.roles))
    writes = "".join(f" --device '{device}'" for device in first.devices)
    return Look(
        "keys",
        "warn",
        f"{len(soon)} of {len(valid)} expire within 14 days; {first.label} in {days:.1f} days",
        f"aiops keys make '{first.label}' {roles}{writes} --data {store.path.parent}",
    )


def room(folder: Path, least_bytes: int) -> Look:
    """Look whether the disk has more room than what makes the service turn senders away."""
    free = REAL.free_bytes(folder)
    found = f"{free >> 20:,} MiB free; below {least_bytes >> 20:,} MiB senders are told to wait"
    if free < least_bytes:
        return Look("room", "FAIL", found, "make room, or set retain_bytes under [log] lower")
    return Look("room", "ok" if free > 2 * least_bytes else "warn", found)


def in_use(directory: Path) -> bool:
    """Say whether a service has a log open."""
    if not directory.is_dir():
        return False
    try:
        os.close(guard(directory))
    except LogError:
        return True
    return False


def log(directory: Path) -> Look:
    """Look whether the log can be read.

    If no service has it open, all of it is read, as at a start, but from a copy of what a start
    would change. If one has, the segments that are sealed are compared with their manifests.
    """
    if not directory.is_dir():
        return Look("log", "ok", "nothing was written yet")
    try:
        lock = guard(directory)
    except LogError:
        return _log_in_use(directory)
    try:
        return _log_at_rest(directory)
    finally:
        os.close(lock)


def _log_in_use(directory: Path) -> Look:
    sealed = [Segment.find_sealed(REAL, path) for path in sorted(directory.glob("*.db"))]
    wrong = [
        f"{one.path.name}: {said}"
        for one in sealed
        if one is not None and (said := one.differs()) and one.path.exists()
    ]
    if wrong:
        return _lost(directory, wrong)
    n = sum(one is not None for one in sealed)
    return Look("log", "ok", f"a service has it open; its {n} sealed segments are whole")


def _log_at_rest(directory: Path) -> Look:
    with tempfile.TemporaryDirectory(prefix="aiops-doctor-") as folder:
        for path in directory.iterdir():
            if path.name in ("lock", "ballast") or path.name.endswith((".new", "-shm")):
                continue
            segment = path.with_name(f"{path.name.partition('.')[0]}.db")
            copy = Path(folder) / path.name
            if Segment.find_sealed(REAL, segment) is None:
                copy.write_bytes(path.read_bytes())
            else:
                copy.symlink_to(path.resolve())
        read = SegmentedLog(Path(folder), ballast_bytes=0)
        try:
            damage = read.verify()
            first, last = read.oldest, read.last
        finally:
            read.close()
    lost = [one for one in damage if TORN not in one.reason]
    if lost:
        return _lost(directory, [_told(one) for one in lost])
    if damage:
        return Look("log", "warn", _told(damage[0]), "nothing need be done if it was killed")
    return Look("log", "ok", f"records {first:,} to {last:,} are whole" if last else "it is empty")


def _told(damage: Damage) -> str:
    records = f"records {damage.first_seq:,} to {damage.last_seq:,}: "
    return f"{damage.segment} {records if damage.last_seq >= damage.first_seq else ''}" + (
        damage.reason
    )


def _lost(directory: Path, wrong: list[str]) -> Look:
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return Look("log", "FAIL", f"{wrong[0]}{more}", f"restore {directory} from a backup")


def state(path: Path) -> Look:
    """Look whether the engine's state can be read."""
    if not path.exists():
        return Look("checkpoint", "ok", "none was saved yet: a start replays the log")
    try:
        checkpoint.load(path)
    except CheckpointError as error:
        return Look("checkpoint", "FAIL", str(error), f"mv {path} {path}.damaged")
    age_min = (time.time() - path.stat().st_mtime) / 60
    return Look("checkpoint", "ok", f"readable, {age_min:,.0f} min old")


def _opened(path: Path) -> apsw.Connection:
    opened = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    opened.set_busy_timeout(10_000)
    return opened


def control(path: Path) -> Look:
    """Look whether the database of results is whole, by SQLite's own check."""
    if not path.exists():
        return Look("control", "ok", "nothing was found yet")
    with _opened(path) as db:
        said = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)")]
    if said != ["ok"]:
        return Look("control", "FAIL", "; ".join(said), f"restore {path} from a backup")
    return Look("control", "ok", f"{path.name} is whole, {path.stat().st_size >> 10:,} KiB")


def audit(path: Path) -> Look:
    """Look whether the chain of the audit holds."""
    if not path.exists():
        return Look("audit", "ok", "nothing was done yet")
    with _opened(path) as db:
        (n,) = next(iter(db.execute("SELECT count(*) FROM audit")))
        broken = ledger.first_broken(db.execute("SELECT seq, body, hash FROM audit ORDER BY seq"))
    if broken is None:
        return Look("audit", "ok", f"{n:,} entries, each as it was written")
    return Look(
        "audit",
        "FAIL",
        f"entry {broken:,} of {n:,} was altered, moved or removed",
        f"keep {path}, and compare it with a backup",
    )


def messages(path: Path) -> Look:
    """Look what outlets said of messages that they have not taken."""
    if not path.exists():
        return Look("messages", "ok", "there was none yet")
    with _opened(path) as db:
        rows = list(
            db.execute(
                "SELECT outlet, state, count(*), min(created_ns), (SELECT error FROM outbox AS last"
                " WHERE last.outlet = one.outlet AND last.state = one.state AND error IS NOT NULL"
                " ORDER BY seq DESC LIMIT 1) AS said FROM outbox AS one"
                " WHERE state IN ('pending', 'failed') GROUP BY 1, 2 HAVING said IS NOT NULL"
            )
        )
    if not rows:
        return Look("messages", "ok", "no outlet said that it cannot take one")
    told = []
    for outlet, state, n, first_ns, said in rows:
        since = f"{datetime.fromtimestamp(first_ns // 10**9, tz=UTC):%Y-%m-%d %H:%M} UTC"
        what = f"wait, the oldest since {since}" if state == "pending" else "refused for good"
        told.append(f"{outlet}: {n:,} {what}; last: {' '.join(said.split())}")
    mend = "see the receiver; the settings of the outlet and [egress] say how it is called"
    return Look("messages", "warn", "; ".join(told), mend)
