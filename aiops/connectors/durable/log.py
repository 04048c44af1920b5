"""The durable log: what was acknowledged, in segments, each an SQLite database of its own."""

from __future__ import annotations

import fcntl
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import apsw

from aiops.connectors.durable.files import REAL, Files, no_room
from aiops.connectors.durable.keys import Keys
from aiops.connectors.durable.rows import check, key_hash, to_row
from aiops.connectors.durable.segment import CHUNK_BYTES, ROWS_MAX, Chunk, Lost, Manifest, Segment
from aiops.engine.ports import DurableLog, LogRecord
from aiops.errors import LogError, LogFull, TooLarge

_ROOM_BYTES = 1 << 20
"""What a commit may take beyond its bodies: pages of the index, a new segment, a manifest."""
_ASIDE = "set aside: it cannot be opened"
_CUT = "its last write was cut off and never acknowledged, or it is damaged"
_GONE = "what followed is not there"


class Damage(NamedTuple):
    """Records of one segment that were written and are lost."""

    segment: str
    first_seq: int
    last_seq: int
    """An upper bound when the end of the segment is what is missing."""
    reason: str


class SegmentedLog(DurableLog):
    """A `DurableLog` in a directory.

    Each segment is a file that is written by one run, in order, sealed, and then only read; it goes
    as a whole when all of it is trimmed. Damage costs at most the segment it is in, is counted in
    `damage`, and never gives out other bytes than were written.

    Parameters
    ----------
    directory
        Made, for its owner alone, if it is not there. No two logs may have it open at once.
    segment_bytes
        A segment is sealed when its bodies have so many bytes.
    retain_bytes
        The log takes no more than this on the disk: when it has, `append` raises `LogFull` until
        something is trimmed. It never trims by itself.
    ballast_bytes
        Size of a file that is there to be given up when the disk is full, so that whoever has to
        write a little in order to trim can. It is made again, before anything else is taken, when
        there is room. 0: none.
    files
        The file system.

    Raises
    ------
    LogError
        Another process has the directory open, or it cannot be read or written.

    Notes
    -----
    SQLite with ``synchronous=FULL``: a commit is one flush of the write-ahead log, which holds each
    page with a checksum. `read` may go on in other threads while records are appended.
    """

    _segment: type[Segment] = Segment

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = 64 << 20,
        retain_bytes: int = 16 << 30,
        ballast_bytes: int = 16 << 20,
        files: Files = REAL,
    ) -> None:
        self.directory = Path(directory)
        self.damage: list[Damage] = []
        self.broken: str = ""
        """Why nothing more can be acknowledged; empty: it can."""
        self._segment_bytes = segment_bytes
        self._retain_bytes = retain_bytes
        self._ballast_bytes = ballast_bytes
        self._ballast = self.directory / "ballast"
        self._files = files
        self._writing = threading.RLock()
        self._segments: list[Segment] = []  # never changed in place: readers hold it
        self._active: Segment | None = None
        self._keys: Keys | None = None
        self._sealer = ThreadPoolExecutor(1, "seal")
        self._sealing: Future[None] | None = None
        self._next = 1
        self._recv_ns = 0
        try:
            if not self.directory.is_dir():
                self.directory.mkdir(mode=0o700, parents=True)
                files.sync(self.directory.parent)
            self._guard: int | None = _guard(self.directory)
        except OSError as error:
            raise LogError(f"the log cannot use {self.directory}: {error}") from error
        try:
            self._open()
        except (apsw.Error, OSError) as error:
            self._let_go()
            raise LogError(f"the log in {self.directory} cannot be opened: {error}") from error
        except BaseException:
            self._let_go()
            raise

    @property
    def last(self) -> int:
        """Number of the last record; 0: there has been none."""
        return self._next - 1

    @property
    def oldest(self) -> int:
        """Number from which on records are kept."""
        segments = self._segments
        return segments[0].first if segments else self._next

    @property
    def bytes_on_disk(self) -> int:
        """Bytes that the segments take."""
        return sum(segment.size for segment in self._segments)

    def append(self, records: Sequence[LogRecord]) -> int:
        """Make the records durable, together or not at all; return the number of the last.

        A record whose `recv_ns` lies before that of the last one is given that one's.

        Raises
        ------
        LogFull
            There is no room; nothing was written, and it may be tried again when there is.
        LogError
            It is not known whether the disk has them: nothing may be acknowledged any more.
        PayloadError
            One of them cannot be stored as it is; none was.
        """
        for record in records:
            check(record)
        if len(records) > ROWS_MAX:
            raise TooLarge(f"{len(records)} records at once: at most {ROWS_MAX} can be appended")
        with self._writing:
            self._check_sound()
            if not records:
                return self.last
            need = sum(len(record.body) for record in records)
            self._make_room(need)
            rows, hashes, recv_ns = [], [], self._recv_ns
            for seq, record in enumerate(records, self._next):
                recv_ns = max(recv_ns, record.recv_ns)
                row = to_row(seq, record._replace(recv_ns=recv_ns))
                rows.append(row)
                if row[-1] is not None:
                    hashes.append((row[-1], seq))
            try:
                self._writable(len(rows)).append(rows, recv_ns)
            except (apsw.Error, OSError) as error:
                raise self._failed(error, need) from error
            except BaseException:
                self.broken = "appending was interrupted"
                raise
            self._next += len(rows)
            self._recv_ns = recv_ns
            if self._keys is not None:
                self._keys.add(hashes)
            return self.last

    def read(self, after: int) -> Iterator[tuple[int, LogRecord]]:
        """Yield what was appended after the `after`-th record, oldest first, up to now.

        Records that are damaged are passed over and counted in `damage`.
        """
        chunk = self._chunk(after, CHUNK_BYTES)
        while chunk.last > after:
            yield from chunk.rows
            after = chunk.last
            chunk = self._chunk(after, CHUNK_BYTES)

    def find(self, sender: str, key: str) -> tuple[int, bytes] | None:
        """Return number and body's BLAKE2b-128 of the record of that sender and key, or None.

        Of several, the first. A record that is damaged is not found.
        """
        if not key:
            return None
        with self._writing:
            if self._keys is None:
                self._keys = self._load_keys()
            seqs = self._keys.seqs(key_hash(sender, key))
        for seq in seqs:
            for found, record in self._chunk(seq - 1, 1).rows[:1]:
                if found == seq and (record.sender, record.key) == (sender, key):
                    return found, blake2b(record.body, digest_size=16).digest()
        return None

    def trim(self, before: int) -> None:
        """Forget what lies before the `before`-th record, as far as whole segments do.

        The newest segment always stays: it is what numbering goes on from.

        Raises
        ------
        LogError
            A file could not be taken away.
        """
        with self._writing:
            self._check_sound()
            gone = [segment for segment in self._segments[:-1] if segment.last < before]
            aside = [path for path in self._set_aside() if self._following(path) <= before]
            if not gone and not aside:
                return
            # Readers first stop looking for them.
            self._segments = self._segments[len(gone) :]
            try:
                for segment in gone:
                    segment.remove()
                for path in aside:
                    self._files.unlink(path)
                self._files.sync(self.directory)
            except (apsw.Error, OSError) as error:
                self.broken = f"trimming failed: {error}"
                raise LogError(self._why()) from error
            if self._keys is not None:
                self._keys.forget(self.oldest)
            self._seal_later()

    def newest(self, retain: int) -> int:
        """Return the number before which can be trimmed so that about `retain` bytes are left."""
        for segment in reversed(self._segments):
            retain -= segment.size
            if retain <= 0:
                return segment.first
        return self.oldest

    def continue_after(self, seq: int) -> None:
        """Let numbering go on after `seq`, which somebody else knows to have been given out.

        When the log ends before it, the records between are lost, and counted in `damage`. The
        file of a run that was killed cannot show by itself that its end was cut off.
        """
        with self._writing:
            if self._next <= seq:
                self._count("", [Lost(self._next, seq, "acknowledged, and not there any more")])
                self._retire()
                self._next = seq + 1

    def verify(self) -> list[Damage]:
        """Read all of the log, compare sealed segments with their manifests, return all damage."""
        for segment in self._segments:
            name = segment.path.name
            try:
                said = segment.differs() if segment.sealed else ""
            except OSError as error:
                said = f"its file or manifest cannot be read: {error}"
            before, after = len(self.damage), segment.first - 1
            while after < segment.last and not segment.removed:
                chunk = segment.fetch(after)
                self._count(name, chunk.lost)
                after = chunk.last
            if said and not segment.removed and len(self.damage) == before:
                no_record = Lost(segment.first, segment.first - 1, f"{said}; its records are whole")
                self._count(name, [no_record])
        return list(self.damage)

    def close(self) -> None:
        """Seal what is open, if nothing went wrong, and release what is held."""
        with self._writing:
            if not self.broken:
                self._retire()
            self._let_go()
            self.broken = self.broken or "it is closed"

    # Opening --------------------------------------------------------------------------------------

    def _open(self) -> None:
        names = self._files.names(self.directory)
        bases = {name for name in names if name.endswith(".db")}
        segments: list[Segment] = []
        strays: list[Path] = []
        changed = False
        for name in names:
            path = self.directory / name
            base = name.partition("-")[0]
            if name.endswith((".new", "-shm")):
                self._files.unlink(path)  # half made: never opened
                changed = True
            elif name.endswith(".sealed") and f"{path.stem}.db" not in bases:
                strays.append(path)
            elif name.endswith(("-wal", "-journal")) and base not in bases:
                self._files.rename(path, path.with_name(f"{name}.damaged"))
                changed = True
        for name in sorted(bases):
            path = self.directory / name
            segment = self._segment.find_sealed(self._files, path)
            if segment is None:
                recovered = self._segment.recover(self._files, path)
                if recovered is None:
                    for file in (path, Path(f"{path}-wal"), Path(f"{path}-journal")):
                        if file.name in names:
                            self._files.rename(file, file.with_name(f"{file.name}.damaged"))
                    changed = True
                    continue
                segment, lost = recovered
                self._count(name, lost)
                if segment.next == segment.first:  # nothing was ever committed
                    segment.remove()
                    changed = True
                    continue
            else:
                for kind in ("wal", "journal"):  # taken away before, but not for good
                    self._files.unlink(Path(f"{path}-{kind}"))
            segments.append(segment)
        oldest = min((segment.first for segment in segments), default=0)
        for path in [path for path in strays if _number(path) < oldest]:
            self._files.unlink(path)  # left over from trimming
            strays.remove(path)
        if changed:
            self._files.sync(self.directory)
        self._segments = segments
        nexts = [1, *(segment.next for segment in segments)]
        nexts += [found.next for found in map(self._manifest, strays) if found]
        newest = max((segment.first for segment in segments), default=0)
        # What a newest segment that cannot be opened held, at most.
        nexts += [_number(p) + ROWS_MAX for p in self._set_aside() if _number(p) > newest]
        self._next = max(nexts)
        self._recv_ns = max([0, *(segment.recv_ns for segment in segments)])
        self._count_gaps()
        self._seal(*(segment for segment in segments if not segment.sealed))
        if self.broken:
            raise LogError(self._why())

    def _manifest(self, path: Path) -> Manifest | None:
        return Manifest.load(self._files.read(path))

    def _set_aside(self) -> list[Path]:
        names = self._files.names(self.directory)
        return [self.directory / name for name in names if name.endswith(".damaged")]

    def _following(self, path: Path) -> int:
        """Return the number of the first segment after one that was set aside."""
        firsts = (segment.first for segment in self._segments)
        return min((first for first in firsts if first > _number(path)), default=self._next)

    def _count_gaps(self) -> None:
        """Count what lies between segments, and after the last of them."""
        ends = {_number(path): (_number(path), path.name, _ASIDE) for path in self._set_aside()}
        for segment in self._segments:
            cut = segment.next > segment.last + 1
            ends[segment.first] = (segment.last + 1, segment.path.name, _CUT if cut else _GONE)
        for first, following in pairwise([*sorted(ends), self._next]):
            end, name, why = ends[first]
            if end < following:
                self._count(name, [Lost(end, following - 1, why)])

    def _load_keys(self) -> Keys:
        keys = Keys()
        for segment in self._segments:
            try:
                keys.add(segment.keys())
            except apsw.Error as error:
                said = f"its keys cannot be read: {error}"
                self._count(segment.path.name, [Lost(segment.first, segment.first - 1, said)])
        return keys

    # Writing --------------------------------------------------------------------------------------

    def _writable(self, rows: int) -> Segment:
        """Return the segment that takes the next rows."""
        active = self._active
        if active is not None:
            full = active.written_bytes >= self._segment_bytes
            if not full and active.last + rows < active.first + ROWS_MAX:
                return active
            self._retire()
        self._active = self._segment.begin(self._files, self.directory, self._next)
        self._segments = [*self._segments, self._active]
        return self._active

    def _retire(self) -> None:
        """Write no more into the active segment."""
        if self._active is not None:
            self._active = None
            self._seal_later()

    def _seal_later(self) -> None:
        """Seal what is not, beside the appending: one pass at a time, so that they do not pile."""
        if self._sealing is not None:
            self._sealing.result()
        waiting = [s for s in self._segments if not s.sealed and s is not self._active]
        if waiting:
            self._sealing = self._later(lambda: self._seal(*waiting))

    def _later(self, work: Callable[[], None]) -> Future[None]:
        return self._sealer.submit(work)

    def _seal(self, *segments: Segment) -> None:
        for segment in segments:
            try:
                segment.seal()
            except (apsw.Error, OSError) as error:
                # Without room it stays readable as it is, and is tried again after the next trim.
                if not self.broken and not _full(error):
                    self.broken = f"{segment.path.name} could not be sealed: {error}"

    def _make_room(self, need: int) -> None:
        """Refuse before anything is written; make the ballast again if it was given up."""
        used = self.bytes_on_disk
        if used + need > self._retain_bytes:
            raise LogFull(
                f"the log takes {used} bytes and may take {self._retain_bytes}: "
                "it goes on when old segments are trimmed"
            )
        if self._ballast_bytes and not self._files.size(self._ballast):
            need += self._ballast_bytes + _ROOM_BYTES
            free = self._files.free_bytes(self.directory)
            if free < need:
                raise LogFull(
                    f"{free} bytes are free on the disk of {self.directory} and {need} are "
                    "needed: trim the log or free some"
                )
            try:
                self._files.place(self._ballast, bytes(self._ballast_bytes))
            except OSError as error:
                raise self._failed(error, need) from error

    def _failed(self, error: Exception, need: int) -> LogError:
        """Say what an error while appending means."""
        if not _full(error):
            self.broken = f"appending failed: {error}"
            return LogError(self._why())
        try:
            self._files.unlink(self._ballast)
        except OSError as again:
            self.broken = f"the disk is full and the ballast cannot be given up: {again}"
            return LogError(self._why())
        return LogFull(
            f"the disk of {self.directory} has no room for {need} bytes: nothing was written; "
            "trim the log or free some"
        )

    def _check_sound(self) -> None:
        if self.broken:
            raise LogError(self._why())

    def _why(self) -> str:
        return (
            f"the log in {self.directory} takes nothing more: {self.broken}. "
            "Open it again: what was acknowledged is then read from the disk"
        )

    # Both -----------------------------------------------------------------------------------------

    def _chunk(self, after: int, room: int) -> Chunk:
        """Return what comes after a record; when nothing does, it ends there too."""
        segments = self._segments
        at = max(0, bisect_right(segments, after, key=lambda segment: segment.first) - 1)
        for segment in segments[at:]:
            if segment.last > after:
                chunk = segment.fetch(after, room)
                self._count(segment.path.name, chunk.lost)
                return chunk
        return Chunk([], [], after)

    def _count(self, name: str, lost: Sequence[Lost]) -> None:
        for one in lost:
            damage = Damage(name, *one)
            if damage not in self.damage:
                self.damage.append(damage)

    def _let_go(self) -> None:
        self._sealer.shutdown(wait=True)
        for segment in self._segments:
            segment.close()
        if self._guard is not None:
            os.close(self._guard)
            self._guard = None


def _guard(directory: Path) -> int:
    """Take the lock that keeps other processes out; it goes when the process does."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LogError(
            f"another process has the log in {directory} open: stop it, or use another directory"
        ) from error
    return descriptor


def _full(error: Exception) -> bool:
    return no_room(error) if isinstance(error, OSError) else isinstance(error, apsw.FullError)


def _number(path: Path) -> int:
    return int(path.name.partition(".")[0])
