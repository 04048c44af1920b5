"""A file system that is watched: each operation can be recorded, or fail.

SQLite's own operations pass through a VFS of ours; everything still happens on the real disk.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from aiops.connectors.durable.files import Files

_numbers = itertools.count()


class Operation(NamedTuple):
    kind: str
    """open, write, truncate, sync, rename, unlink, sync names."""
    name: str
    offset: int = 0
    """Of a write; the size a file is truncated to."""
    data: bytes = b""
    to: str = ""
    """What a file is renamed to."""


class Watched(Files):
    """Tells of each operation, before and after.

    `before` may raise an `OSError`: then the operation fails with it, a write after half of it.
    """

    def __init__(self) -> None:
        self.vfs = f"watched-{next(_numbers)}"
        self._sqlite = _Vfs(self.vfs, self)

    def before(self, kind: str, name: str) -> None:
        """Raise to let it fail."""

    def after(self, operation: Operation) -> None:
        """Take note."""

    def write(self, path: Path, data: bytes) -> None:
        self.before("open", path.name)
        path.write_bytes(b"")
        self.after(Operation("open", path.name))
        try:
            self.before("write", path.name)
        except OSError:
            path.write_bytes(data[: len(data) // 2])
            raise
        path.write_bytes(data)
        self.after(Operation("write", path.name, 0, data))
        self.before("sync", path.name)
        self.after(Operation("sync", path.name))

    def read(self, path: Path) -> bytes:
        self.before("read", path.name)
        return super().read(path)

    def rename(self, old: Path, new: Path) -> None:
        self.before("rename", old.name)
        super().rename(old, new)
        self.after(Operation("rename", old.name, to=new.name))

    def unlink(self, path: Path) -> None:
        self.before("unlink", path.name)
        there = path.exists()
        super().unlink(path)
        if there:
            self.after(Operation("unlink", path.name))

    def sync(self, directory: Path) -> None:
        self.before("sync names", directory.name)
        self.after(Operation("sync names", ""))


class _Vfs(apsw.VFS):
    def __init__(self, name: str, watch: Watched) -> None:
        super().__init__(name, base="")
        self._watch = watch

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802
        return _File(self._watch, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        base = os.path.basename(name)
        _ask(self._watch.before, "unlink", base, apsw.SQLITE_IOERR_DELETE)
        super().xDelete(name, sync)
        self._watch.after(Operation("unlink", base))
        if sync:
            self._watch.after(Operation("sync names", ""))


class _File(apsw.VFSFile):
    def __init__(self, watch: Watched, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name, self._watch = os.path.basename(path or "?"), watch
        new = not os.path.exists(path)
        _ask(watch.before, "open", self._name, apsw.SQLITE_CANTOPEN)
        super().__init__("", name, flags)
        # As SQLite's own VFS does: the first flush of a new journal also flushes its name.
        journal = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
        self._new_journal = new and bool(flags[0] & journal)
        if new:
            watch.after(Operation("open", self._name))

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        _ask(self._watch.before, "read", self._name, apsw.SQLITE_IOERR_READ)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        try:
            _ask(self._watch.before, "write", self._name, apsw.SQLITE_IOERR_WRITE)
        except apsw.Error:
            super().xWrite(data[: len(data) // 2], offset)
            raise
        super().xWrite(data, offset)
        self._watch.after(Operation("write", self._name, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        _ask(self._watch.before, "truncate", self._name, apsw.SQLITE_IOERR_TRUNCATE)
        super().xTruncate(size)
        self._watch.after(Operation("truncate", self._name, size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        # The real flush is left out: only a power cut could tell, and that is made otherwise.
        _ask(self._watch.before, "sync", self._name, apsw.SQLITE_IOERR_FSYNC)
        self._watch.after(Operation("sync", self._name))
        if self._new_journal:
            self._new_journal = False
            self._watch.after(Operation("sync names", ""))


def _ask(before: Callable[[str, str], None], kind: str, name: str, code: int) -> None:
    """Turn what `before` raises into what SQLite's own VFS would answer."""
    try:
        before(kind, name)
    except OSError as error:
        full = error.errno == errno.ENOSPC and kind == "write"
        raise apsw.exception_for(apsw.SQLITE_FULL if full else code) from error
