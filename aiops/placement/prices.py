"""What room is worth: the shadow prices of what many share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aiops.kernels.rows import F8, I4
from aiops.placement.instance import MICRO
from aiops.placement.problem import PlacementProblem

RESOURCES = (("CPU", "core"), ("memory", "GB"), ("power", "W"))
UPLINK = ("uplink", "Mbit/s")


@dataclass(frozen=True)
class Price:
    """What one more unit would save, as far as prices tell: the dearer, the scarcer."""

    place: str
    """Node, or the site whose uplink it is."""
    resource: str
    unit: str
    price: float
    """Micro-dollars per hour and unit."""
    used: float
    capacity: float

    @property
    def rent(self) -> float:
        """What all of it is worth, micro-dollars per hour."""
        return self.price * self.capacity

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values."""
        return asdict(self) | {"rent": self.rent}


def prices_of(problem: PlacementProblem, prices: F8, choice: I4) -> list[Price]:
    """Return what is scarce at `prices` [r], what is worth most first; empty: nothing is."""
    instance = problem.instance
    _, used = instance.usage(choice)
    found = []
    for row in np.flatnonzero(prices > 0.0).tolist():
        place, resource, unit = named(problem, row)
        found.append(
            Price(
                place=place,
                resource=resource,
                unit=unit,
                price=float(prices[row]),
                used=int(used[row]) / MICRO,
                capacity=int(instance.capacity[row]) / MICRO,
            )
        )
    return sorted(found, key=lambda one: (-one.rent, one.place, one.resource))


def rows_taken(problem: PlacementProblem, i: int, k: int) -> list[tuple[int, int]]:
    """Return the shared rows that option `k` of workload `i` takes of, and how many millionths."""
    instance = problem.instance
    node, uplink = int(instance.node[i, k]), int(instance.uplink[i, k])
    taken = [(3 * node + q, int(instance.demand[i, q])) for q in range(3) if node >= 0]
    if uplink >= 0:
        taken.append((3 * instance.nodes + uplink, int(instance.demand[i, 3])))
    return taken


def named(problem: PlacementProblem, row: int) -> tuple[str, str, str]:
    """Return the place, the resource and the unit of a shared row."""
    instance = problem.instance
    if row >= 3 * instance.nodes:
        return (problem.topology.uplink_site[row - 3 * instance.nodes], *UPLINK)
    return (problem.topology.node[problem.topology.shared[row // 3]], *RESOURCES[row % 3])
