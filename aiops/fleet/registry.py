"""Identities as dense integers: device, part and medium; site and cohort as codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from aiops.fleet.inventory import Inventory
from aiops.kernels.rows import I4, I8
from aiops.telemetry.columns import Remembered
from aiops.telemetry.normalised import Encoded, NormalisedFrame

Identity = tuple[str, str, str]
"""`device_id`, `part` and `medium_id`; part and medium are empty for the device itself."""


class Registry:
    """Maps identities to dense indices, in the order in which they were first seen.

    A part's device is registered with it, so that what is found of the part can be told of the
    device. Site and cohort come from the inventory; what it leaves open, from the first row that
    says.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.identities: list[Identity] = []
        self.sites: list[str] = []
        self.cohorts: list[str] = []
        self._index: dict[Identity, int] = {}
        self._root: list[int] = []
        self._site: list[int] = []
        self._cohort: list[int] = []
        self._tables: Remembered[I4] = Remembered()
        none = np.zeros(0, dtype=np.int32)
        self._cached: tuple[I4, I4, I4] = (none, none, none)

    def __len__(self) -> int:
        return len(self.identities)

    @property
    def root(self) -> I4:
        """[size] index of the device each identity belongs to."""
        return self._arrays()[0]

    @property
    def site(self) -> I4:
        """[size] code into `sites`; -1 for none."""
        return self._arrays()[1]

    @property
    def cohort(self) -> I4:
        """[size] code into `cohorts`; -1 for none."""
        return self._arrays()[2]

    def _arrays(self) -> tuple[I4, I4, I4]:
        if len(self._cached[0]) != len(self.identities):
            self._cached = (
                np.array(self._root, dtype=np.int32),
                np.array(self._site, dtype=np.int32),
                np.array(self._cohort, dtype=np.int32),
            )
        return self._cached

    def site_of(self, index: int) -> str:
        """Return the site's name, or ""."""
        code = self._site[index]
        return self.sites[code] if code >= 0 else ""

    def cohort_of(self, index: int) -> str:
        """Return the cohort's name, or ""."""
        code = self._cohort[index]
        return self.cohorts[code] if code >= 0 else ""

    def find(self, device_id: str, part: str = "", medium_id: str = "") -> int | None:
        """Return the index of an identity, or None."""
        return self._index.get((device_id, part, medium_id))

    def resolve(self, frame: NormalisedFrame) -> I4:
        """Return the index of each row [n], registering who is new; -1 for heartbeats."""
        if frame.part is None and frame.medium_id is None:
            return self._resolve_devices(frame)
        codes, names = _combine(frame)
        table = np.full(len(names) + 1, -1, dtype=np.int32)
        first_row = _first_rows(codes, len(names))
        table[:-1] = [self._index.get(one, -1) for one in names]
        for code in np.flatnonzero(table[:-1] < 0).tolist():  # already in order of appearance
            known = self._index.get(names[code])
            table[code] = (
                self._register(names[code], frame, int(first_row[code])) if known is None else known
            )
        return table[codes]

    def _resolve_devices(self, frame: NormalisedFrame) -> I4:
        codes, values = frame.device_id
        table = self._table_of(values)
        if len(codes):
            unknown = codes[(codes >= 0) & (table[codes] < 0)]
            if len(unknown):
                table = table.copy()
                first_row = _first_rows(codes, len(values))
                for code in _in_order_of_appearance(unknown, len(values)):
                    table[code] = self._register(
                        (values[code], "", ""), frame, int(first_row[code])
                    )
                self._remember(values, table)
        resolved: I4 = table[codes]
        return resolved

    def _table_of(self, values: Sequence[str]) -> I4:
        """Return [len(values) + 1] index of each device name (-1: unknown); the last is of none.

        Live frames repeat their dictionary; looking it up once is most of the cost of admission.
        """
        known = self._tables.get(id(values))
        if known is not None:
            return known
        index = self._index
        table = np.fromiter(
            (index.get((value, "", ""), -1) for value in values), np.int32, count=len(values)
        )
        table = np.append(table, np.int32(-1))
        self._remember(values, table)
        return table

    def _remember(self, values: Sequence[str], table: I4) -> None:
        """Keep the table of names that are all known: it stays as it is."""
        if (table[:-1] >= 0).all():
            self._tables.put(id(values), table, len(values), values)

    def _register(self, identity: Identity, frame: NormalisedFrame | None, row: int) -> int:
        device_id, part, medium_id = identity
        if part or medium_id:
            root = self._index.get((device_id, "", ""))
            if root is None:
                root = self._register((device_id, "", ""), frame, row)
        else:
            root = len(self.identities)
        node = self._inventory.by_id.get(device_id)
        site = node.site if node else ""
        cohort = node.cohort if node else ""
        if frame is not None:
            site = site or _text(frame.site, row)
            cohort = cohort or _text(frame.cohort, row)
        index = len(self.identities)
        self.identities.append(identity)
        self._index[identity] = index
        self._root.append(root)
        self._site.append(_code(self.sites, site) if site else self._inherit(self._site, root))
        self._cohort.append(
            _code(self.cohorts, cohort) if cohort else self._inherit(self._cohort, root)
        )
        return index

    @staticmethod
    def _inherit(codes: list[int], root: int) -> int:
        return codes[root] if root < len(codes) else -1

    def save(self) -> dict[str, Any]:
        """Return plain values from which `restore` makes this registry again."""
        return {
            "identities": self.identities,
            "sites": self.sites,
            "cohorts": self.cohorts,
            "root": self._root,
            "site": self._site,
            "cohort": self._cohort,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Become the registry that was saved."""
        self.identities = [(d, p, m) for d, p, m in saved["identities"]]
        self._index = {identity: i for i, identity in enumerate(self.identities)}
        self.sites, self.cohorts = list(saved["sites"]), list(saved["cohorts"])
        self._root, self._site = list(saved["root"]), list(saved["site"])
        self._cohort = list(saved["cohort"])
        self._tables = Remembered()


def _combine(frame: NormalisedFrame) -> tuple[I4, list[Identity]]:
    """Return codes [n] of the distinct identities of a frame, and those identities."""
    device = frame.device_id
    part = frame.part or Encoded(np.full(len(frame), -1, np.int32), ())
    medium = frame.medium_id or Encoded(np.full(len(frame), -1, np.int32), ())
    parts, media = len(part.value) + 1, len(medium.value) + 1
    key: I8 = device.code.astype(np.int64)
    key = (key * parts + (part.code + 1)) * media + (medium.code + 1)
    key[device.code < 0] = -1
    encoded = pa.array(key, mask=key < 0).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    rest, of_medium = np.divmod(encoded.dictionary.to_numpy(zero_copy_only=False), media)
    of_device, of_part = np.divmod(rest, parts)
    named = (device.value, ("", *part.value), ("", *medium.value))
    columns = (
        map(values.__getitem__, places.tolist())
        for values, places in zip(named, (of_device, of_part, of_medium), strict=True)
    )
    names: list[Identity] = list(zip(*columns, strict=True))
    return codes, names


def _first_rows(codes: I4, size: int) -> I8:
    """Return [size] the first row of each code (0 where it has none)."""
    first = np.zeros(size, dtype=np.int64)
    rows = np.flatnonzero(codes >= 0)[::-1]
    first[codes[rows]] = rows
    return first


def _in_order_of_appearance(codes: I4, size: int) -> list[int]:
    """Return the distinct codes, first come first: indices must not depend on the cut."""
    first = np.full(size, -1, dtype=np.int64)
    rows = np.flatnonzero(codes >= 0)[::-1]
    first[codes[rows]] = rows
    present = np.flatnonzero(first >= 0)
    order: list[int] = present[np.argsort(first[present], kind="stable")].tolist()
    return order


def _text(column: Encoded | None, row: int) -> str:
    if column is None or column.code[row] < 0:
        return ""
    return str(column.value[column.code[row]])


def _code(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)
