"""Inventory files: sites, nodes and workloads as JSON or TOML."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aiops.errors import FileError, SettingsError
from aiops.fleet.inventory import Inventory, Node, Site, Workload
from aiops.placement.topology import resolve

Entry = TypeVar("Entry", Node, Site, Workload)


def read_inventory(path: str | Path) -> Inventory:
    """Read an inventory from a ``.json`` or ``.toml`` file.

    The file holds the lists ``nodes``, ``workloads`` and ``sites`` (``[[nodes]]`` in TOML), whose
    entries have the fields of `Node`, `Workload` and `Site`; any may be absent.

    Raises
    ------
    FileError
        The file cannot be read or parsed, has an unknown field or a value of the wrong type, names
        a node, workload or site twice, a workload whose home or candidate is no node, or a number
        that cannot be, such as a negative price.
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
    _only(document, ("nodes", "workloads", "sites"), f"inventory {path}")
    nodes = _entries(path, document, "nodes", Node)
    workloads = _entries(path, document, "workloads", Workload)
    inventory = Inventory(nodes, workloads, _entries(path, document, "sites", Site))
    try:
        resolve(inventory)
    except SettingsError as error:
        raise FileError(f"inventory {path}: {error}") from error
    return inventory


def write_inventory(inventory: Inventory, path: str | Path) -> None:
    """Write `inventory` as JSON, aside and renamed."""
    content = {name: getattr(inventory, name) for name in ("nodes", "workloads", "sites")}
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
        alike = get_close_matches(unknown[0], names, n=1)
        perhaps = f" (did you mean {alike[0]!r}?)" if alike else ""
        raise FileError(f"{where} has {unknown[0]!r}{perhaps}; known are {', '.join(names)}")
