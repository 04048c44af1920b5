"""One file that holds all state and the position it belongs to: together or not at all."""

from __future__ import annotations

import os
import tokenize
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aiops.errors import CheckpointError

FORMAT = 2
"""Raised when the layout of the file changes."""

_HEADER = "header.json"

DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, tokenize.TokenError, msgspec.DecodeError),
)
"""What a zip, an array's header and JSON raise where bytes are missing or changed."""


def save(path: Path, arrays: dict[str, Any], values: dict[str, Any]) -> None:
    """Write arrays and plain values to `path`, atomically and durably.

    Written aside, fsynced and renamed, so that a reader finds the old file or the new one. The
    file is an ordinary ``.npz`` (a zip whose members carry a CRC-32) and holds no pickle.
    """
    header = msgspec.json.encode({"format": FORMAT, "values": values})
    aside = path.with_name(path.name + ".new")
    aside.parent.mkdir(parents=True, exist_ok=True)
    with open(aside, "wb") as file:
        np.savez(
            file, allow_pickle=False, **{_HEADER: np.frombuffer(header, dtype=np.uint8)}, **arrays
        )
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Read what `save` wrote; None where there is no file.

    Raises
    ------
    CheckpointError
        The file is damaged, or of a format this version does not read.
    """
    return _load(path, with_arrays=True)


def load_values(path: Path) -> dict[str, Any] | None:
    """Read only the plain values of what `save` wrote; None where there is no file.

    Raises
    ------
    CheckpointError
        As `load` does.
    """
    found = _load(path, with_arrays=False)
    return None if found is None else found[1]


def _load(path: Path, *, with_arrays: bool) -> tuple[dict[str, Any], dict[str, Any]] | None:
    if not path.exists():
        return None
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = file.files if with_arrays else [_HEADER]
            arrays = {name: file[name] for name in names}
        header = msgspec.json.decode(arrays.pop(_HEADER).tobytes())
    except DAMAGE as error:
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint ({error}); remove it and the log will be "
            f"replayed from its beginning"
        ) from error
    if header["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: format {header['format']}, this version reads {FORMAT}; remove it and the "
            f"log will be replayed from its beginning"
        )
    return arrays, header["values"]
