"""What is in a log's directory when it is opened, and what a run before may have left behind."""

from __future__ import annotations

import fcntl
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import apsw

from aiops.connectors.durable.files import Files, no_room
from aiops.connectors.durable.manifest import Manifest
from aiops.connectors.durable.segment import ROWS_MAX, Damage, Segment
from aiops.errors import LogError

_OURS = re.compile(r"(\d{20}\.(db|db-wal|db-journal|db-shm|sealed)|ballast)(\.new|\.damaged)?")
"""Names of files of a log; whatever else is in its directory is let be."""

_ASIDE = "it was set aside: it cannot be opened"
_CUT = "its last write was cut off and never acknowledged, or it is damaged"
_GONE = "what followed is not there"


class Opened(NamedTuple):
    """The segments of a log, oldest first; all are sealed, unless there is no room to."""

    segments: list[Segment]
    next: int
    """Number that the next record gets."""
    damage: list[Damage]


def guard(directory: Path) -> int:
    """Take the lock that keeps other processes out; it goes with the descriptor returned.

    Raises
    ------
    LogError
        Another log has it.
    """
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LogError(
            f"the log in {directory} is open elsewhere: stop that process, or use another directory"
        ) from error
    return descriptor


def open_segments(files: Files, directory: Path, segment_type: type[Segment]) -> Opened:
    """Clear up, recover and seal what was not sealed, set aside what cannot be opened, number on.

    Raises
    ------
    apsw.Error, OSError
        The disk does not do what it is asked to.
    """
    names = [name for name in files.names(directory) if _OURS.fullmatch(name)]
    databases = [name for name in names if name.endswith(".db")]
    strays = _clear_up(files, directory, names)
    segments: list[Segment] = []
    damage: list[Damage] = []
    for name in databases:
        path = directory / name
        sides = [directory / side for side in (f"{name}-wal", f"{name}-journal") if side in names]
        segment = segment_type.find_sealed(files, path)
        if segment is not None:
            for side in sides:  # had been taken away before, but not for good
                files.unlink(side)
            segments.append(segment)
            continue
        recovered = segment_type.recover(files, path)
        if recovered is None or not _sealed(recovered[0]):
            for file in (path, *sides):
                if files.size(file):
                    files.rename(file, file.with_name(f"{file.name}.damaged"))
            continue
        segment, found = recovered
        damage += found
        if segment.next == segment.first:
            segment.remove()  # nothing was ever committed
        else:
            segments.append(segment)
    files.sync(directory)
    aside = set_aside(files, directory)
    following = _following(files, segments, aside, strays)
    return Opened(segments, following, damage + _gaps(segments, aside, following))


def set_aside(files: Files, directory: Path) -> list[Path]:
    """Return the files that could not be opened and are kept for whoever can."""
    names = filter(_OURS.fullmatch, files.names(directory))
    return [directory / name for name in names if name.endswith(".damaged")]


def number(path: Path) -> int:
    """Return the number of the first record of a segment, from the name of any of its files."""
    return int(path.name.partition(".")[0])


def _sealed(segment: Segment) -> bool:
    """Seal one that was recovered, if there is room; tell whether it is good for reading."""
    try:
        if segment.next > segment.first:
            segment.seal()
    except (apsw.CorruptError, apsw.NotADBError):
        segment.close()
        return False
    except (apsw.FullError, OSError) as error:
        if not no_room(error):
            raise
    return True


def _clear_up(files: Files, directory: Path, names: list[str]) -> list[Path]:
    """Take away what is half made or left over; return manifests that lost their database."""
    firsts = [number(Path(name)) for name in names if name.endswith(".db")]
    strays = []
    for name in names:
        path = directory / name
        if name.endswith((".new", "-shm")):
            files.unlink(path)
        elif name.endswith((".db-wal", ".db-journal")) and number(path) not in firsts:
            files.rename(path, path.with_name(f"{name}.damaged"))
        elif name.endswith(".sealed") and number(path) not in firsts:
            if number(path) < min(firsts, default=0):
                files.unlink(path)  # left over from trimming
            else:
                strays.append(path)
    return strays


def _following(files: Files, segments: list[Segment], aside: list[Path], strays: list[Path]) -> int:
    """Return a number that was never given out."""
    newest = max((segment.first for segment in segments), default=0)
    lines = [Manifest.load(files.read(path)) for path in strays]
    return max(
        [1]
        + [segment.next for segment in segments]
        + [manifest.next for manifest in lines if manifest is not None]
        # What a newest segment that cannot be opened held, at most.
        + [number(path) + ROWS_MAX for path in aside if number(path) > newest]
    )


def _gaps(segments: list[Segment], aside: list[Path], following: int) -> list[Damage]:
    """Return what is missing between segments, and after the last of them."""
    ends = {number(path): (number(path), path.name, _ASIDE) for path in aside}
    for segment in segments:
        cut = segment.next > segment.last + 1
        ends[segment.first] = (segment.last + 1, segment.path.name, _CUT if cut else _GONE)
    damage = []
    for first, beyond in pairwise([*sorted(ends), following]):
        end, name, why = ends[first]
        if end < beyond:
            damage.append(Damage(name, end, beyond - 1, why))
    return damage
