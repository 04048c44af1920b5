"""Whether a directory is fit for the log: what is looked at before it is promised anything."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple

import apsw

SQLITE_LEAST = (3, 51, 3)
"""Before it, resetting a write-ahead log could corrupt the database (3.7.0 to 3.51.2)."""

NOT_LOCAL = ("nfs", "nfs4", "9p", "cifs", "smb3", "fuse")
"""File systems where a flush or a lock may not mean what it says."""

NOT_LASTING = ("tmpfs", "ramfs", "overlay")
"""File systems that go with the machine or the container."""

FREE_BYTES_LEAST = 1 << 30
FREE_SHARE_LEAST = 0.1
FLUSH_MS_LEAST, FLUSH_MS_MOST = 0.05, 50.0
_FLUSHES = 21


class Finding(NamedTuple):
    """What one check found."""

    check: str
    """``sqlite``, ``file system``, ``owner``, ``flush`` or ``room``."""
    level: Literal["good", "warning", "refusal"]
    said: str
    """In words: what was found and, if it is not good, what would be."""


def examine(directory: Path, *, allow: Collection[str] = ()) -> list[Finding]:
    """Check SQLite, file system, owner and mode, flushing and free room, in this order.

    Parameters
    ----------
    directory
        Of the log; made, for its owner alone, if it is not there.
    allow
        Types of file systems that are taken though they are not fit, such as ``tmpfs`` for a test:
        they are then a warning.

    Raises
    ------
    OSError
        The directory cannot be made or written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [
        sqlite_version(),
        file_system(directory, allow),
        owner(directory),
        flush(directory),
        room(directory),
    ]


def sqlite_version(found: str | None = None) -> Finding:
    """Check the version of SQLite that `apsw` brings."""
    found = apsw.sqlite_lib_version() if found is None else found
    said = f"SQLite {found}"
    if tuple(map(int, found.split("."))) >= SQLITE_LEAST:
        return Finding("sqlite", "good", said)
    least = ".".join(map(str, SQLITE_LEAST))
    return Finding("sqlite", "refusal", f"{said} can corrupt a log: install apsw {least} or later")


def file_system(directory: Path, allow: Collection[str] = (), mounts: str | None = None) -> Finding:
    """Check the type of the file system, as ``/proc/self/mountinfo`` (`mounts`) has it."""
    if mounts is None:
        listed = Path("/proc/self/mountinfo")
        mounts = listed.read_text() if listed.exists() else ""
    kind, longest = "", -1
    resolved = directory.resolve()
    for line in mounts.splitlines():
        place, _, rest = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), place.split(" ")[4]))
        # Of two at one place, the later hides the earlier.
        if resolved.is_relative_to(point) and len(point.parts) >= longest:
            kind, longest = rest.split(" ")[0], len(point.parts)
    said = f"{directory} is on {kind or 'an unknown file system'}"
    if not kind:
        return Finding("file system", "warning", f"{said}: make sure that it is a local disk")
    if kind.partition(".")[0] in NOT_LOCAL:
        fault = "whose flushes and locks cannot be relied on"
    elif kind in NOT_LASTING:
        fault = "which does not outlast the machine or the container"
    else:
        return Finding("file system", "good", said)
    if kind in allow:
        return Finding("file system", "warning", f"{said}, {fault}; it is allowed")
    return Finding(
        "file system", "refusal", f"{said}, {fault}: use a local disk, or allow {kind} by name"
    )


def owner(directory: Path) -> Finding:
    """Check that the directory is ours and nobody else's."""
    found = directory.stat()
    mode = f"{found.st_mode & 0o7777:04o}"
    said = f"{directory} belongs to user {found.st_uid} with mode {mode}"
    if found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return Finding("owner", "good", said)
    wanted = f"it must belong to user {os.geteuid()} with mode 0700"
    return Finding("owner", "refusal", f"{said}: {wanted}")


def flush(directory: Path) -> Finding:
    """Measure how long it takes to write 4 KiB and flush them: the median of some."""
    probe = directory / "probe"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    took_ms = []
    try:
        for _ in range(_FLUSHES):
            began = time.perf_counter()
            os.write(descriptor, bytes(4096))
            os.fsync(descriptor)
            took_ms.append((time.perf_counter() - began) * 1e3)
    finally:
        os.close(descriptor)
        probe.unlink()
    return flush_taken(statistics.median(took_ms))


def flush_taken(median_ms: float) -> Finding:
    """Judge how long a flush takes."""
    said = f"a write of 4 KiB is flushed in {median_ms:.3g} ms"
    if median_ms < FLUSH_MS_LEAST:
        return Finding("flush", "warning", f"{said}: too fast for a disk that keeps its word")
    if median_ms > FLUSH_MS_MOST:
        return Finding("flush", "warning", f"{said}: each acknowledgement waits for one")
    return Finding("flush", "good", said)


def room(directory: Path) -> Finding:
    """Check that the disk has room."""
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    share = found.f_bavail / max(1, found.f_blocks)
    said = f"{free / 2**30:.1f} GiB ({share:.0%}) of the disk are free"
    if free >= FREE_BYTES_LEAST and share >= FREE_SHARE_LEAST:
        return Finding("room", "good", said)
    return Finding("room", "warning", f"{said}: at least 1 GiB and 10% should be")
