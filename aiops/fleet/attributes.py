"""What is known of devices that they may have in common: site, cohort, and what the owner says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aiops.fleet.inventory import Inventory
from aiops.fleet.registry import Identity, Registry
from aiops.kernels.rows import B1, I4


@dataclass(frozen=True)
class Attributes:
    """A code for each attribute and device."""

    name: tuple[str, ...]
    """[a]"""
    code: I4
    """[a, devices] index into `value`; -1: not known."""
    value: tuple[Sequence[str], ...]
    """[a] the names of the values."""
    place: dict[str, int] = field(default_factory=dict, repr=False)
    """Id of a device -> its place among them."""

    def of(self, device_id: str, name: str) -> str:
        """Return the value of an attribute of a device; empty: not known."""
        place = self.place.get(device_id)
        if place is None or name not in self.name:
            return ""
        a = self.name.index(name)
        code = int(self.code[a, place])
        return "" if code < 0 else self.value[a][code]

    def having(self, values: Mapping[str, str]) -> B1:
        """Return [devices] who has all of these values."""
        found = np.ones(self.code.shape[1], np.bool_)
        for name, value in values.items():
            known = name in self.name and value in self.value[self.name.index(name)]
            if not known:
                return np.zeros(self.code.shape[1], np.bool_)
            a = self.name.index(name)
            found &= self.code[a] == list(self.value[a]).index(value)
        return found


class Known:
    """The attributes of all devices, made anew when there are more of them."""

    def __init__(self, registry: Registry, inventory: Inventory) -> None:
        self._registry, self._inventory = registry, inventory
        self._made: tuple[int, Sequence[Identity], Attributes] | None = None

    def at(self, size: int) -> Attributes:
        """Return those of the devices among the first `size` identities."""
        made, identities = self._made, self._registry.identities
        if made is None or made[0] != size or made[1] is not identities:
            found = attributes_of(self._registry, self._inventory, size)
            made = self._made = (size, identities, found)
        return made[2]


def attributes_of(registry: Registry, inventory: Inventory, size: int | None = None) -> Attributes:
    """Return the attributes of the devices (not of parts) among the first `size` identities.

    Site and cohort are those of the registry; the others are `Node.attributes`. Values are in the
    order of their names, so that nothing depends on who reported first.
    """
    root = registry.root[:size]
    device = np.flatnonzero(root == np.arange(len(root)))
    place = {registry.identities[i][0]: k for k, i in enumerate(device.tolist())}
    names: list[str] = []
    codes: list[I4] = []
    values: list[Sequence[str]] = []
    for name, code, told in (
        ("site", registry.site[device], registry.sites),
        ("cohort", registry.cohort[device], registry.cohorts),
    ):
        order = sorted(range(len(told)), key=lambda k, told=told: told[k])  # type: ignore[misc]
        rank = np.full(len(told) + 1, -1, np.int32)  # the last one: not known
        rank[order] = np.arange(len(told), dtype=np.int32)
        names.append(name)
        codes.append(rank[code])
        values.append([told[k] for k in order])
    said: dict[str, dict[str, str]] = {}
    for node in inventory.nodes:
        if node.id in place:
            for name, value in node.attributes.items():
                said.setdefault(name, {})[node.id] = value
    for name in sorted(set(said) - set(names)):
        told = sorted(set(said[name].values()))
        index = {value: k for k, value in enumerate(told)}
        column = np.full(len(device), -1, np.int32)
        for device_id, value in said[name].items():
            column[place[device_id]] = index[value]
        names.append(name)
        codes.append(column)
        values.append(told)
    return Attributes(tuple(names), np.array(codes), tuple(values), place)
