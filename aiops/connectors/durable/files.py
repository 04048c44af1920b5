"""All that the log asks of a file system, in one place: tests record it and break it here."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import apsw

_PART_BYTES = 1 << 20


class Files:
    """The file system as it is. SQLite does its own input and output, natively.

    A subclass may record operations or let them fail; it then names in `vfs` a SQLite VFS of its
    own, registered with `apsw`, which does the same to what SQLite reads and writes.
    """

    vfs: str | None = None
    """Name of the SQLite VFS; None: SQLite's own, with no Python between it and the disk."""

    def names(self, directory: Path) -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(os.listdir(directory))

    def size(self, path: Path) -> int:
        """Return the bytes of a file, 0 when there is none."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, path: Path) -> bytes:
        """Return all of a file."""
        return path.read_bytes()

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file, in hexadecimal digits."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def write(self, path: Path, data: bytes) -> None:
        """Write a file anew and flush it to the disk; that its name lasts, `sync` sees to."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest[:_PART_BYTES]) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, in place of whatever has it."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Take a file away, if it is there."""
        path.unlink(missing_ok=True)

    def sync(self, directory: Path) -> None:
        """Flush the names in a directory to the disk."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, directory: Path) -> int:
        """Return how many bytes the file system has left for us."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize

    def place(self, path: Path, data: bytes) -> None:
        """Make a file that is there whole and for good, or not at all."""
        aside = path.with_name(path.name + ".new")
        try:
            self.write(aside, data)
        except OSError:
            self.unlink(aside)  # it may be the last room there was
            raise
        self.rename(aside, path)
        self.sync(path.parent)


REAL = Files()


def no_room(error: Exception) -> bool:
    """Tell whether an error says that the disk, or a quota on it, is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, apsw.FullError)
