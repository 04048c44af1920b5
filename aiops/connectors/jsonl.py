"""Records as lines of JSON, a file a kind: safe on disk after each step, and never twice."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aiops.alerts.finding import content_id
from aiops.errors import FileError

if TYPE_CHECKING:
    from aiops.engine.engine import Step
    from aiops.engine.ports import Position

KINDS = ("findings", "incidents", "plans", "actions")
SET_ASIDE_MAX = 1_000_000
"""Refused rows that are kept; what a broken device sends must not fill the disk."""

_encode = msgspec.json.Encoder(order="deterministic", enc_hook=lambda value: value.item()).encode
"""Keys sorted; floats as short as they can be; NaN and infinities as null; NumPy's as Python's."""


class _Identity(msgspec.Struct):
    id: str


_identity = msgspec.json.Decoder(_Identity).decode


class JsonlSink:
    """Appends records to ``findings.jsonl``, ``incidents.jsonl`` and so on in a directory.

    A record that is there already is not written again, and a line that a crash tore is removed
    when the files are opened. So a run that is killed and resumed leaves the same bytes as one
    that never stopped. Refused rows go to ``set_aside.jsonl``, each distinct one once.

    Parameters
    ----------
    directory
        Made if it is not there.
    set_aside_max
        Refused rows kept; 0: none.

    Raises
    ------
    FileError
        The directory cannot be made or written to, or a file in it holds other lines.
    """

    def __init__(self, directory: str | Path, *, set_aside_max: int = SET_ASIDE_MAX) -> None:
        folder = Path(directory)
        self._set_aside_max = set_aside_max
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._files = {kind: _Lines(folder / f"{kind}.jsonl") for kind in (*KINDS, "set_aside")}
            if os.name == "posix":  # elsewhere a directory cannot be opened
                _sync(folder)
        except OSError as error:
            raise FileError(f"{error.filename or folder}: {error.strerror}") from error

    def write(self, step: Step, position: Position) -> None:
        """Append what is new and wait until the disk has it."""
        for kind, records in step.records().items():
            self._files[kind].append(records)
        refused = self._files["set_aside"]
        room = self._set_aside_max - len(refused.known)
        if room > 0 and len(step.set_aside):
            rows = step.set_aside.to_pylist()
            refused.append([{"id": content_id("row", *row.values())} | row for row in rows], room)

    def close(self) -> None:
        """Do nothing: each step was finished by itself."""


class _Lines:
    """A file of records, and which ones it has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self.known: set[str] = set()
        path.touch()
        with path.open("r+b") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):  # torn: it will be written again, whole
                    file.truncate(self._size)
                    break
                try:
                    self.known.add(_identity(line).id)
                except msgspec.DecodeError as error:
                    raise FileError(
                        f"{path}: line {number} is no record with an id ({error}); move the file "
                        f"away, or name another directory"
                    ) from error
                self._size += len(line)

    def append(self, records: list[dict[str, Any]], room: int | None = None) -> None:
        """Append those that are not there, `room` of them at most, all or none."""
        fresh = {r["id"]: _encode(r) + b"\n" for r in records if r["id"] not in self.known}
        names = list(fresh)[:room]
        if not names:
            return
        lines = b"".join(fresh[name] for name in names)
        try:
            with self._path.open("ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):  # on a full disk there is room for less
                os.truncate(self._path, self._size)
            raise FileError(f"{self._path}: {error.strerror}") from error
        self._size += len(lines)
        self.known.update(names)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
