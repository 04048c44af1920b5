"""One file of the log: an SQLite database that is written once, in order, and then sealed.

While it is written, all its rows are in its write-ahead log (WAL). Sealing moves them into the
database proper and writes a manifest beside it with its SHA-256; from then on it is only read.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import apsw

from aiops.connectors.durable.files import Files
from aiops.connectors.durable.manifest import FORMAT, Manifest
from aiops.connectors.durable.rows import INSERT, RECORD_BYTES_MAX, ROW_BYTES, SCHEMA
from aiops.connectors.durable.scan import Scan
from aiops.engine.ports import LogRecord
from aiops.errors import LogError

ROWS_MAX = 1 << 20
"""Of one segment. When its end is lost, numbering goes on `ROWS_MAX` after its first: no number
that was ever given out is given out again."""

PAGE_BYTES = 1 << 14
"""Measured with records of 2 and 64 kB: fastest or within a tenth of it for each."""

CHUNK_BYTES = 4 << 20
"""Of bodies, read at a time."""

_NOT_ITS_FAULT = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.FullError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.PermissionsError,
)
"""Errors that do not say that a file is damaged."""

_WAL_HEAD = 32
_WAL_FRAME = 24 + PAGE_BYTES


class Damage(NamedTuple):
    """Records of one segment that were written and are lost."""

    segment: str
    """Name of its file."""
    first_seq: int
    last_seq: int
    """An upper bound when the end of the segment is what is missing; less than `first_seq`: the
    file is damaged, and all its records are whole."""
    reason: str


class Chunk(NamedTuple):
    """What a segment holds after some record."""

    rows: list[tuple[int, LogRecord]]
    damage: list[Damage]
    last: int
    """All up to this number is in `rows` or `damage`."""


class Segment:
    """The records from `first` on.

    Parameters
    ----------
    files
        The file system.
    path
        ``<first>.db``.

    Use `begin`, `find_sealed` or `recover` to get one.
    """

    synchronous = "FULL"

    def __init__(self, files: Files, path: Path) -> None:
        self.path = path
        self.first = int(path.stem)
        self.last = self.first - 1
        self.next = self.first
        self.recv_ns = 0
        self.written_bytes = 0
        self.size = 0
        """Bytes it takes on disk."""
        self.sealed = False
        self.removed = False
        self._files = files
        self._manifest = path.with_suffix(".sealed")
        self._settled = False  # no WAL is needed to read it
        self._connection: apsw.Connection | None = None
        self._lock = threading.RLock()  # of the connection
        self._sealing = threading.RLock()

    @classmethod
    def begin(cls, files: Files, directory: Path, first: int) -> Segment:
        """Make an empty one, ready to be written."""
        segment = cls(files, directory / f"{first:020d}.db")
        files.place(segment.path, _empty())
        segment._open_to_write()
        segment._measure()
        return segment

    @classmethod
    def find_sealed(cls, files: Files, path: Path) -> Segment | None:
        """Return the segment at a path if it has a manifest."""
        segment = cls(files, path)
        try:
            manifest = Manifest.load(files.read(segment._manifest))
        except OSError:
            return None
        if manifest is None or manifest.first != segment.first:
            return None
        segment._take(manifest)
        return segment

    @classmethod
    def recover(cls, files: Files, path: Path) -> tuple[Segment, list[Damage]] | None:
        """Open one that was not sealed, and read it all; None: it cannot be opened."""
        segment = cls(files, path)
        # SQLite throws the WAL of an empty database away: look before it is asked.
        if files.size(path) < len(_empty()):
            return None
        try:
            segment._open_to_write()
            last = segment._value("SELECT max(seq) FROM records")
            frames = segment._value("PRAGMA wal_checkpoint(NOOP)", column=1)
            if last is not None and not segment.first <= last < segment.first + ROWS_MAX:
                raise apsw.CorruptError(f"it holds record {last}")
        except _NOT_ITS_FAULT:
            segment.close()
            raise
        except apsw.Error:
            segment.close()
            return None
        segment.last = segment.first - 1 if last is None else last
        damage: list[Damage] = []
        chunk = Chunk([], [], segment.first - 1)
        while chunk.last < segment.last:
            chunk = segment.fetch(chunk.last)
            damage += chunk.damage
            segment.recv_ns = max([segment.recv_ns, *(r.recv_ns for _, r in chunk.rows)])
        whole = not damage and not segment._cut_off(max(frames, 0))
        segment.next = segment.last + 1 if whole else segment.first + ROWS_MAX
        segment._measure()
        return segment, damage

    def append(self, rows: Sequence[tuple[Any, ...]], recv_ns: int) -> None:
        """Write rows, all or none, and flush them to the disk."""
        with self._lock:
            connection = self._connection
            assert connection is not None
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(INSERT, rows)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self.last, self.recv_ns = rows[-1][0], recv_ns
            self.next = self.last + 1
            self.written_bytes += sum(len(row[6]) + ROW_BYTES for row in rows)
            self._measure()

    def fetch(self, after: int, room: int = CHUNK_BYTES) -> Chunk:
        """Read about `room` bytes on after a record; what is damaged is skipped and told."""
        at = max(after, self.first - 1)
        try:
            with self._reading() as connection:
                scan = Scan(connection, at, self.last, room)
            return Chunk(scan.rows, self._damage(scan.lost), scan.at)
        except (apsw.Error, LogError) as error:
            if self.removed:
                return Chunk([], [], self.last)
            missing = isinstance(error, apsw.CantOpenError) and not self._files.size(self.path)
            if isinstance(error, (LogError, *_NOT_ITS_FAULT)) and not missing:
                raise
            why = f"its file cannot be opened: {error}"
            return Chunk([], [Damage(self.path.name, at + 1, self.last, why)], self.last)

    def keys(self) -> list[tuple[int, int]]:
        """Return hash and number of each record that has a key.

        Raises
        ------
        apsw.Error
            They cannot be read.
        """
        wanted = "SELECT key_hash, seq FROM records {} WHERE key_hash IS NOT NULL AND seq <= ?"
        with self._reading() as connection:
            try:
                found = connection.execute(wanted.format(""), (self.last,)).fetchall()
            except apsw.CorruptError:  # the index, perhaps, and not the table
                found = connection.execute(wanted.format("NOT INDEXED"), (self.last,)).fetchall()
        return [(hashed, seq) for hashed, seq in found if type(hashed) is type(seq) is int]

    def seal(self) -> None:
        """Move all into the database proper and write the manifest; may be tried again.

        Raises
        ------
        apsw.FullError, OSError
            There is no room yet; it stays as it was, and readable.
        """
        with self._sealing:
            if self.sealed or self.removed:
                return
            with self._lock:
                if self._connection is None and not self._settled:
                    return  # closed before: its WAL is still needed
                if self._connection is not None:
                    self._value("PRAGMA wal_checkpoint(TRUNCATE)")
                    mode = self._value("PRAGMA journal_mode=DELETE")  # takes the WAL away
                    if mode != "delete":
                        raise apsw.IOError(f"{self.path.name} cannot leave WAL mode: {mode}")
                    self._settled = True
                    self.close()
                self._measure()
            for side in self._sides():  # of a journal that was done with before a power cut
                self._files.unlink(side)
            manifest = Manifest(
                self.first,
                self.last,
                self.next,
                self.recv_ns,
                self._files.size(self.path),
                self._files.digest(self.path),
            )
            self._files.place(self._manifest, manifest.dump())
            self._take(manifest)

    def differs(self) -> str:
        """Tell how a sealed segment differs from its manifest; empty: it does not."""
        try:
            manifest = Manifest.load(self._files.read(self._manifest))
            size = self._files.size(self.path)
            if manifest is None:
                return "its manifest is damaged"
            if size != manifest.size:
                return f"it has {size} bytes and was sealed with {manifest.size}"
            same = self._files.digest(self.path) == manifest.sha256
        except OSError as error:
            return f"it cannot be compared with its manifest: {error}"
        return "" if same else "its SHA-256 is another"

    def remove(self) -> None:
        """Take it off the disk; the directory is not flushed."""
        with self._sealing, self._lock:
            self.removed = True
            self.close()
            for path in self._own_files():
                self._files.unlink(path)

    def close(self) -> None:
        """Let go of the connection; nothing is written."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                # A rollback that fails here is made up for at opening; nothing rests on it.
                with suppress(apsw.Error):
                    connection.close()

    def _damage(self, lost: list[tuple[int, str]]) -> list[Damage]:
        """Return runs of records that are lost for one reason."""
        runs: list[Damage] = []
        for seq, reason in lost:
            if runs and runs[-1].reason == reason and runs[-1].last_seq == seq - 1:
                runs[-1] = runs[-1]._replace(last_seq=seq)
            else:
                runs.append(Damage(self.path.name, seq, seq, reason))
        return runs

    def _own_files(self) -> list[Path]:
        # The database first: without it the others are strays, which opening the log clears.
        return [self.path, *self._sides(), self._manifest]

    def _sides(self) -> list[Path]:
        return [Path(f"{self.path}-{kind}") for kind in ("wal", "journal")]

    def _measure(self) -> None:
        self.size = sum(map(self._files.size, self._own_files()))

    def _take(self, manifest: Manifest) -> None:
        self.last, self.next, self.recv_ns = manifest.last, manifest.next, manifest.recv_ns
        self.size = manifest.size + len(manifest.dump())
        self.sealed = self._settled = True

    def _open_to_write(self) -> None:
        connection = apsw.Connection(
            str(self.path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=self._files.vfs
        )
        self._connection = connection
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, 2 * RECORD_BYTES_MAX)
        # Closing must not write: after a failed flush nobody knows what is on the disk.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # Exclusive first, so that the index of the WAL is in memory and not in a mapped file.
        for pragma in (
            "locking_mode=EXCLUSIVE",
            f"synchronous={self.synchronous}",
            "wal_autocheckpoint=0",
            "mmap_size=0",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        with self._lock:
            if self._connection is not None:
                yield self._connection
                return
            if not self._settled:
                raise LogError(f"{self.path.name} is closed: open the log to read it")
        connection = apsw.Connection(
            f"file:{quote(str(self.path))}?immutable=1",
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
            vfs=self._files.vfs,
        )
        with closing(connection):
            connection.limit(apsw.SQLITE_LIMIT_LENGTH, 2 * RECORD_BYTES_MAX)
            connection.execute("PRAGMA mmap_size=0").fetchall()
            yield connection

    def _value(self, query: str, *, column: int = 0) -> Any:
        assert self._connection is not None
        return self._connection.execute(query).fetchall()[0][column]

    def _cut_off(self, frames: int) -> bool:
        """Tell whether a whole commit lies in the WAL beyond what can be read.

        Either a power cut tore the last write, which was then never acknowledged, or the disk
        damaged one that was: the file alone does not say which. A write that just stops, as when
        the process is killed, ends in no whole commit.
        """
        wal = Path(f"{self.path}-wal")
        begin = _WAL_HEAD + frames * _WAL_FRAME
        if self._files.size(wal) < begin + _WAL_FRAME:
            return False
        data = self._files.read(wal)
        # SQLite file format, section 4.1: the last frame of a commit has the size of the database.
        frames_left = range(begin, len(data) - _WAL_FRAME + 1, _WAL_FRAME)
        return any(any(data[start + 4 : start + 8]) for start in frames_left)


@functools.cache
def _empty() -> bytes:
    """Return the database without rows, which opens as one with a write-ahead log."""
    with closing(apsw.Connection(":memory:")) as connection:
        for pragma in (f"page_size={PAGE_BYTES}", f"user_version={FORMAT}"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute(SCHEMA).fetchall()
        image = bytearray(connection.serialize("main"))
    image[18:20] = b"\x02\x02"  # SQLite file format, section 1.3.3: 2 is WAL
    return bytes(image)
