"""Inventory files: nodes and workloads as JSON or TOML."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aiops.errors import FileError
from aiops.fleet.inventory import Inventory, Node, Workload

Entry = TypeVar("Entry", Node, Workload)


def read_inventory(path: str | Path) -> Inventory:
    """Read an inventory from a ``.json`` or ``.toml`` file.

    The file holds two lists, ``nodes`` and ``workloads`` (``[[nodes]]`` in TOML), whose entries
    have the fields of `Node` and `Workload`; either may be absent.

    Raises
    ------
    FileError
        The file cannot be read or parsed, has an unknown field or a value of the wrong type, names
        a node or workload twice, or a workload whose home or candidate is no node.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"inventory {path}: {error.strerror}") from error
    try:
        if path.suffix == ".toml":
            document: Any = tomllib.loads(content.decode())
        elif path.suffix == ".json":
            document = msgspec.json.decode(content)
        else:
            raise FileError(f"inventory {path}: name it .json or .toml")
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"inventory {path} is no {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(document, dict):
        raise FileError(
            f"inventory {path}: expected 'nodes' and 'workloads', found a list or value"
        )
    _only(document, ("nodes", "workloads"), f"inventory {path}")
    nodes = _entries(path, document, "nodes", Node)
    workloads = _entries(path, document, "workloads", Workload)
    known = {node.id for node in nodes}
    for workload in workloads:
        for name in (workload.home, *workload.candidates):
            if name not in known:
                raise FileError(
                    f"inventory {path}: workload {workload.id!r} names {name!r}, "
                    f"which is none of the {len(known)} nodes"
                )
    return Inventory(nodes, workloads)


def write_inventory(inventory: Inventory, path: str | Path) -> None:
    """Write `inventory` as JSON, aside and renamed."""
    content = {"nodes": inventory.nodes, "workloads": inventory.workloads}
    path = Path(path)
    aside = path.with_name(f".{path.name}.partial")
    aside.write_bytes(msgspec.json.format(msgspec.json.encode(content)))
    aside.replace(path)


def _entries(
    path: Path, document: dict[str, Any], key: str, kind: type[Entry]
) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    seen: set[str] = set()
    names = tuple(field.name for field in fields(kind))
    found = document.get(key, [])
    if not isinstance(found, list):
        raise FileError(f"inventory {path}: {key} must be a list")
    for place, raw in enumerate(found):
        where = f"inventory {path}: {key}[{place}]"
        try:
            entry = msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            raise FileError(f"{where}: {error}") from error
        _only(raw, names, where)
        if entry.id in seen:
            raise FileError(f"{where}: {entry.id!r} is there twice")
        seen.add(entry.id)
        entries.append(entry)
    return tuple(entries)


def _only(found: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise FileError(f"{where} has {unknown[0]!r}; known are {', '.join(names)}")
