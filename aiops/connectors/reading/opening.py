"""What the sources of files share: finding files, opening them, and how a history ends."""

from __future__ import annotations

import difflib
import glob
import io
import os
import select
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from aiops.errors import FileError

STDIN = "-"
"""Stands for standard input where files are asked for."""

BLOCK_BYTES = 1 << 16
EXPANSION_MAX = 1000
"""A compressed stream may hold this many times its size; telemetry stays below 100."""
EXPANSION_FREE_BYTES = 1 << 26
"""Below this nobody asks how small the stream was."""
BAD_LINES_KEPT = 100

_CODECS = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_IPC_FILE_MAGIC = b"ARROW1"


@dataclass(frozen=True)
class BadLine:
    """A line that no row could be made of."""

    file: str
    line: int
    """Counted from 1."""
    reason: str


@dataclass
class BadLines:
    """All that could not be read: how much it was, and the first of it."""

    count: int = 0
    first: list[BadLine] = field(default_factory=list)
    """The first `BAD_LINES_KEPT`."""

    def add(self, file: str, line: int, reason: str) -> None:
        """Take note of a bad line."""
        self.count += 1
        if len(self.first) < BAD_LINES_KEPT:
            self.first.append(BadLine(file, line, reason))


def end_of_history(columns: pa.Schema) -> pa.Table:
    """Return the row that says all that is in, is in: no device, no time, nothing else."""
    return pa.table([pa.nulls(1, column.type) for column in columns], schema=columns)


# Finding -----------------------------------------------------------------------------------------


def suffix_of(name: str | Path) -> str:
    """Return the suffix that tells the format: ``.csv`` of ``panel.csv.gz``."""
    path = Path(name)
    return (path.with_suffix("") if path.suffix.lower() in _CODECS else path).suffix.lower()


def find_files(
    asked: str | Path | Sequence[str | Path], suffixes: Collection[str], *, pipes: bool = False
) -> list[str]:
    """Return the files asked for, each once: in the order given, sorted within a directory.

    Parameters
    ----------
    asked
        Files, directories (searched to the bottom, less what is hidden) and patterns.
    suffixes
        What a file may be called; a pipe may be called anything.
    pipes
        Whether pipes will do, among them standard input as ``-``.

    Raises
    ------
    FileError
        Nothing was asked for, something is not there, or not of a known format.
    """
    each = [asked] if isinstance(asked, str | Path) else list(asked)
    if not each:
        raise FileError("no file was named; name files, directories or patterns like 'logs/*.csv'")
    found: dict[str, str] = {}
    for one in each:
        for name in _find(str(one), suffixes, pipes):
            found.setdefault(STDIN if name == STDIN else os.path.realpath(name), name)
    return list(found.values())


def _find(asked: str, suffixes: Collection[str], pipes: bool) -> list[str]:
    path = Path(asked)
    known = ", ".join(suffixes)
    if pipes and (asked == STDIN or (path.exists() and not path.is_dir() and not path.is_file())):
        return [asked]
    if path.is_dir():
        inside = [p for p in sorted(path.rglob("*")) if p.is_file() and not _hidden(p, path)]
        fitting = [str(p) for p in inside if suffix_of(p) in suffixes]
        if not fitting:
            others = sorted({p.suffix or p.name for p in inside})
            raise FileError(
                f"directory {asked} holds no file called {known} (or that with .gz or .zst); "
                f"it holds {', '.join(others[:10]) or 'no file at all'}"
            )
        return fitting
    if path.exists():
        if suffix_of(path) not in suffixes:
            like = difflib.get_close_matches(suffix_of(path), list(suffixes), n=1)
            raise FileError(
                f"{asked}: the suffix {suffix_of(path) or '(none)'} tells no format"
                f"{f' (did you mean {like[0]}?)' if like else ''}; known are {known}"
            )
        return [asked]
    if glob.has_magic(asked):
        matched = sorted(p for p in glob.glob(asked, recursive=True) if suffix_of(p) in suffixes)
        files = [p for p in matched if os.path.isfile(p)]
        if not files:
            raise FileError(f"{asked} matches no file called {known}")
        return files
    raise FileError(f"{asked}: {_missing(path)}")


def _hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts)


def _missing(path: Path) -> str:
    """Say what of the path is not there, and what is there instead."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no directory {folder}"
    like = difflib.get_close_matches(path.name, os.listdir(folder), n=2)
    return "no such file" + (f"; did you mean {' or '.join(like)}?" if like else "")


# Opening -----------------------------------------------------------------------------------------


class _Counted(io.BufferedReader):
    """Counts what was taken from it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.taken += len(content)
        return content


def _open(name: str) -> _Counted:
    try:
        return _Counted(io.FileIO(0 if name == STDIN else name, closefd=name != STDIN))
    except OSError as error:
        raise FileError(f"{name}: {error.strerror}") from error


class ByteStream:
    """The bytes of a file or pipe, decompressed (gzip, zstd) if they begin like it.

    What follows damage in a compressed stream is lost; `damage` says so once it is reached.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.damage = ""
        self._raw = _open(name)
        head = self._raw.peek(4)[:4]
        codec = next((codec for magic, codec in _MAGIC.items() if head.startswith(magic)), None)
        self._unpacked: Any = None
        if codec:
            self._unpacked = pa.CompressedInputStream(pa.PythonFile(self._raw, mode="r"), codec)
        self._ready = bytearray()
        self._produced = 0

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        (self._unpacked or self._raw).close()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes: less only at the end, or if a pipe has no more just now.

        Raises
        ------
        FileError
            The disk fails, or the stream is a decompression bomb.
        """
        try:
            if self._unpacked is not None:
                return self._unpack(size)
            return self._raw.read(size) if self._raw.seekable() else self._drain(size)
        except OSError as error:
            raise FileError(f"{self.name}: {error}") from error

    def skip(self, offset: int) -> None:
        """Go on behind the first `offset` bytes.

        Raises
        ------
        FileError
            There are not so many.
        """
        if self._unpacked is None and self._raw.seekable():
            there = self._raw.seek(0, io.SEEK_END)
            self._raw.seek(min(offset, there))
        else:
            there = 0
            while there < offset and (block := self.read(min(BLOCK_BYTES, offset - there))):
                there += len(block)
        if there < offset:
            raise FileError(
                f"{self.name}: the position to go on from is behind byte {offset}, but there are "
                f"only {there}: it is another file by now; begin without the checkpoint"
            )

    def _unpack(self, size: int) -> bytes:
        # Always in blocks from the start, so that damage costs the same whoever reads, from where.
        while len(self._ready) < size and not self.damage:
            try:
                block = self._unpacked.read(BLOCK_BYTES)
            except OSError as error:
                self.damage = str(error)
                break
            if not block:
                break
            self._produced += len(block)
            if self._produced > max(EXPANSION_FREE_BYTES, EXPANSION_MAX * self._raw.taken):
                raise FileError(
                    f"{self.name}: more than {EXPANSION_MAX} times its size when unpacked: "
                    f"a decompression bomb? Unpack it yourself if it is not"
                )
            self._ready += block
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def _drain(self, size: int) -> bytes:
        """Wait for the first bytes of a pipe, then take what is there."""
        blocks = [self._raw.read1(size)]
        left = size - len(blocks[0])
        while blocks[-1] and left and select.select([self._raw], [], [], 0)[0]:
            blocks.append(self._raw.read1(left))
            left -= len(blocks[-1])
        return b"".join(blocks)


@contextmanager
def open_arrow(name: str) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Open an Arrow IPC stream or file; give its schema and its batches, each validated.

    Raises
    ------
    FileError
        It cannot be opened, is not Arrow IPC, or is cut off or damaged on the way.
    """
    with _open(name) as raw:
        is_file = raw.peek(6)[:6] == _IPC_FILE_MAGIC
        if is_file and not raw.seekable():
            raise FileError(
                f"{name}: an Arrow IPC file cannot come through a pipe; pass its path, or write "
                f"an Arrow IPC stream"
            )
        # Through Python only what must: a pipe cannot be opened a second time.
        stored = pa.OSFile(name) if raw.seekable() and name != STDIN else pa.PythonFile(raw, "r")
        try:
            reader = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(stored)
        except (pa.ArrowException, OSError, MemoryError) as error:
            raise FileError(f"{name}: not readable as Arrow IPC: {error}") from error
        with stored, reader:
            yield reader.schema, _batches(name, reader, is_file)


def _batches(name: str, reader: Any, is_file: bool) -> Iterator[pa.RecordBatch]:
    try:
        for batch in map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader:
            batch.validate(full=True)
            yield batch
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise FileError(f"{name}: damaged Arrow IPC: {error}") from error
