"""The durable log: what was acknowledged, in segments, each an SQLite database of its own."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import apsw

from aiops.connectors.durable.files import REAL, Files, no_room
from aiops.connectors.durable.keys import Keys
from aiops.connectors.durable.opening import guard, number, open_segments, set_aside
from aiops.connectors.durable.rows import check, key_hash, to_row
from aiops.connectors.durable.segment import CHUNK_BYTES, ROWS_MAX, Chunk, Damage, Segment
from aiops.connectors.durable.tail import Tail
from aiops.engine.ports import DurableLog, LogRecord
from aiops.errors import LogError, LogFull, TooLarge

_ROOM_BYTES = 1 << 20
"""What a commit may take beyond its bodies: pages of the index, a new segment, a manifest."""


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
        When the log takes so much on the disk, `append` raises `LogFull` until something is
        trimmed; it never trims by itself. The last commit, and what a segment needs beside its
        records, may go beyond.
    ballast_bytes
        Size of a file that is there to be given up when the disk is full, so that whoever has to
        write a little in order to trim can. It is made again, before anything else is taken, when
        there is room. 0: none.
    tail_bytes
        So many of the newest bytes are kept in memory too, for those who follow the log.
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
        tail_bytes: int = 16 << 20,
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
        self._tail = Tail(tail_bytes)
        self._sealer = ThreadPoolExecutor(1, "seal")
        self._sealing: Future[None] | None = None
        self._next = 1
        self._recv_ns = 0
        try:
            if not self.directory.is_dir():
                self.directory.mkdir(mode=0o700, parents=True)
                files.sync(self.directory.parent)
            self._guard: int | None = guard(self.directory)
        except OSError as error:
            raise LogError(f"the log cannot use {self.directory}: {error}") from error
        try:
            opened = open_segments(files, self.directory, self._segment)
            self._segments, self._next = opened.segments, opened.next
            self._recv_ns = max([0, *(segment.recv_ns for segment in self._segments)])
            self._count(opened.damage)
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
    def recv_ns(self) -> int:
        """When the last record was taken, ns since the epoch; 0: there has been none."""
        return self._recv_ns

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
            rows, stamped, hashes, recv_ns = [], [], [], self._recv_ns
            for seq, record in enumerate(records, self._next):
                recv_ns = max(recv_ns, record.recv_ns)
                stamped.append(record._replace(recv_ns=recv_ns))
                row = to_row(seq, stamped[-1])
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
            self._tail.add(self._next, stamped)
            self._next += len(rows)
            self._recv_ns = recv_ns
            if self._keys is not None:
                self._keys.add(hashes)
            return self.last

    def read(self, after: int, room: int = CHUNK_BYTES) -> Iterator[tuple[int, LogRecord]]:
        """Yield what was appended after the `after`-th record, oldest first, up to now.

        Records that are damaged are passed over and counted in `damage`. Of about `room` bytes
        those are read that are next: 1 for whoever wants a single record.
        """
        chunk = self._chunk(after, room)
        while chunk.last > after:
            yield from chunk.rows
            after = chunk.last
            chunk = self._chunk(after, room)

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
            following = [*(segment.first for segment in self._segments), self._next]
            # Readers first stop looking for them.
            self._segments = self._segments[len(gone) :]
            try:
                aside = [
                    path
                    for path in set_aside(self._files, self.directory)
                    if min(first for first in following if first > number(path)) <= before
                ]
                if not gone and not aside:
                    return
                try:
                    self._take_away(gone, aside)
                except OSError as error:
                    if not no_room(error):
                        raise
                    # Some file systems need room even to take a file away.
                    self._files.unlink(self._ballast)
                    self._take_away(gone, aside)
            except (apsw.Error, OSError) as error:
                self.broken = f"trimming failed: {error}"
                raise LogError(self._why()) from error
            if self._keys is not None:
                self._keys.forget(self.oldest)
            self._tail.forget(self.oldest)
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
                gone = Damage("", self._next, seq, "acknowledged, and not there any more")
                self._count([gone])
                self._retire()
                self._next = seq + 1

    def verify(self) -> list[Damage]:
        """Read all of the log, compare sealed segments with their manifests, return all damage."""
        for segment in self._segments:
            said = segment.differs() if segment.sealed else ""
            lost, after = 0, segment.first - 1
            while after < segment.last and not segment.removed:
                chunk = segment.fetch(after)
                self._count(chunk.damage)
                lost += len(chunk.damage)
                after = chunk.last
            if said and not lost and not segment.removed:
                why = f"{said}; its records are whole"
                self._count([Damage(segment.path.name, segment.first, segment.first - 1, why)])
        return list(self.damage)

    def close(self) -> None:
        """Seal what is open, if nothing went wrong, and release what is held."""
        with self._writing:
            if not self.broken:
                self._retire()
            self._let_go()
            self.broken = self.broken or "it is closed"

    def _load_keys(self) -> Keys:
        keys = Keys()
        for segment in self._segments:
            try:
                keys.add(segment.keys())
            except apsw.Error as error:
                why = f"its keys cannot be read: {error}"
                self._count([Damage(segment.path.name, segment.first, segment.first - 1, why)])
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
                if not self.broken and not no_room(error):
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
                    f"{free} bytes are free on the disk of the log and {need} are "
                    "needed: trim the log or free some"
                )
            try:
                self._files.place(self._ballast, bytes(self._ballast_bytes))
            except OSError as error:
                raise self._failed(error, need) from error

    def _failed(self, error: Exception, need: int) -> LogError:
        """Say what an error while appending means."""
        if not no_room(error):
            self.broken = f"appending failed: {error}"
            return LogError(self._why())
        try:
            self._files.unlink(self._ballast)
        except OSError as again:
            self.broken = f"the disk is full and the ballast cannot be given up: {again}"
            return LogError(self._why())
        return LogFull(
            f"the disk of the log has no room for {need} bytes: nothing was written; "
            "trim the log or free some"
        )

    def _take_away(self, segments: Sequence[Segment], paths: Sequence[Path]) -> None:
        for segment in segments:
            segment.remove()
        for path in paths:
            self._files.unlink(path)
        self._files.sync(self.directory)

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
        newest = self._tail.after(after, room)
        if newest:
            return Chunk(newest, [], newest[-1][0])
        segments = self._segments
        at = max(0, bisect_right(segments, after, key=lambda segment: segment.first) - 1)
        for segment in segments[at:]:
            if segment.last > after:
                try:
                    chunk = segment.fetch(after, room)
                except apsw.Error as error:
                    raise LogError(f"{segment.path.name} cannot be read now: {error}") from error
                self._count(chunk.damage)
                return chunk
        return Chunk([], [], after)

    def _count(self, damage: Sequence[Damage]) -> None:
        self.damage += [one for one in damage if one not in self.damage]

    def _let_go(self) -> None:
        self._sealer.shutdown(wait=True)
        self._tail.forget(self._next)
        for segment in self._segments:
            segment.close()
        if self._guard is not None:
            os.close(self._guard)
            self._guard = None
