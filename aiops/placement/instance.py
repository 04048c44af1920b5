"""What the solver reads: who may run where, at what cost and beside whom. Arrays and nothing else.

Whole numbers throughout, micro-dollars per hour and millionths of a unit, so that a sum is the same
in whatever order it is made.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from aiops.errors import InputError
from aiops.kernels.rows import F8, I4, I8

CLOSED = np.iinfo(np.int64).max
"""Cost of an option that is ruled out."""
UNLIMITED = 2**60
"""Capacity where there is no limit."""
MICRO = 1_000_000
"""Amounts are held as whole millionths of a core, GB, W or Mbit/s."""
RESOURCES = ("cpu", "memory", "power", "bandwidth")


@dataclass(frozen=True)
class Instance:
    """A generalised assignment problem in blocks.

    Each workload takes one option. A home that only its own workloads may use is a small knapsack,
    packed exactly; a node or an uplink that many may use is *shared*: its rows have prices.
    """

    block: I4
    """[d+1] the workloads of home i are the rows ``block[i]:block[i+1]``."""
    cost: I8
    """[w, k] micro-dollars per hour; `CLOSED`: ruled out. The first option is the home, the last is
    shed: running nowhere, never ruled out."""
    node: I4
    """[w, k] shared node of the option; -1: none, as for shed and for a home packed exactly."""
    uplink: I4
    """[w, k] uplink that the option's traffic crosses; -1: none."""
    demand: I8
    """[w, 4] millionths of `RESOURCES`."""
    room: I8
    """[d, 3] CPU, memory and power of each home that is packed exactly."""
    capacity: I8
    """[r] rows 3n, 3n+1 and 3n+2: CPU, memory and power of shared node n; then Mbit/s of each
    uplink."""
    nodes: int
    """Shared nodes; ``r - 3 * nodes`` uplinks."""

    def __post_init__(self) -> None:
        w, k = self.cost.shape
        right = {
            "block": (self.block.shape[0],),
            "node": (w, k),
            "uplink": (w, k),
            "demand": (w, 4),
            "room": (self.block.shape[0] - 1, 3),
            "capacity": (max(len(self.capacity), 3 * self.nodes),),
        }
        for name, shape in right.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(f"{name} of an instance has shape {found}; give {shape}")
        if k < 2 or (w and (self.cost[:, -1] == CLOSED).any()):
            raise InputError("the last option of a workload is shed, and is never ruled out")
        if self.block[0] != 0 or self.block[-1] != w or (np.diff(self.block) < 0).any():
            raise InputError(f"block must rise from 0 to the {w} workloads there are")

    @cached_property
    def home(self) -> I4:
        """[w] home of each workload."""
        homes = np.arange(len(self.block) - 1, dtype=np.int32)
        return np.repeat(homes, np.diff(self.block))

    def total(self, choice: I4) -> int:
        """Return what `choice` [w] costs, micro-dollars per hour."""
        return int(self.cost[np.arange(len(choice)), choice].sum())

    def usage(self, choice: I4) -> tuple[I8, I8]:
        """Return what `choice` [w] takes of the homes [d, 3] and of the shared rows [r]."""
        rows = np.arange(len(choice))
        node, uplink = self.node[rows, choice], self.uplink[rows, choice]
        at_home = np.zeros_like(self.room)
        own = (choice == 0) & (node < 0)
        np.add.at(at_home, self.home[own], self.demand[own, :3])
        shared = np.zeros_like(self.capacity)
        placed = np.flatnonzero(node >= 0)
        for resource in range(3):
            np.add.at(shared, 3 * node[placed] + resource, self.demand[placed, resource])
        crossing = np.flatnonzero(uplink >= 0)
        np.add.at(shared, 3 * self.nodes + uplink[crossing], self.demand[crossing, 3])
        return at_home, shared


def write_instance(
    path: Path, instance: Instance, choice: I4, prices: F8, bound: int, seed: int = 0
) -> None:
    """Write an instance and a plan of it as one ``npz``: what is needed to recompute it all.

    Besides the arrays of `Instance`: ``choice`` [w], ``prices`` [r] in micro-dollars per hour and
    unit (core, GB, W, Mbit/s), ``plan_cost`` and ``plan_bound`` in micro-dollars per hour, and
    ``seed``.
    """
    arrays: dict[str, Any] = {one.name: getattr(instance, one.name) for one in fields(instance)}
    arrays |= {"choice": choice, "prices": prices, "seed": seed}
    arrays |= {"plan_cost": instance.total(choice), "plan_bound": bound}
    np.savez_compressed(path, **arrays)


class Written(NamedTuple):
    """What a file holds."""

    instance: Instance
    choice: I4
    """[w]"""
    prices: F8
    """[r]"""
    cost: int
    """As the file states it; so the bound."""
    bound: int


def read_instance(path: Path) -> Written:
    """Return what `write_instance` wrote.

    Anybody can recount it. The cost is the sum of ``cost[w, choice[w]]``; what is taken of a row is
    the sum of ``demand`` over those who are there; and the bound at prices p [r] is the sum over
    homes of the least that its workloads can pay, with p times what they take of what is shared,
    while they fit into their ``room``; less the sum of p times ``capacity``.

    Raises
    ------
    InputError
        The file holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            held = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, BadZipFile, AttributeError) as error:
        raise InputError(f"{path} is no file that `write_instance` wrote: {error}") from error
    names = {field.name for field in fields(Instance)}
    missing = sorted((names | {"choice", "prices", "plan_cost", "plan_bound"}) - set(held))
    if missing:
        raise InputError(
            f"{path} has no {', '.join(missing)}; give a file that `write_instance` wrote"
        )
    arrays = {name: held[name] for name in names - {"nodes"}}
    instance = Instance(**arrays, nodes=int(held["nodes"]))
    choice, prices = held["choice"], held["prices"]
    (w, k), r = instance.cost.shape, len(instance.capacity)
    uplinks = r - 3 * instance.nodes
    for name, ok in (
        ("choice: a whole number from 0 below k for each workload", _within(choice, w, 0, k)),
        ("node: -1 or a shared node", _within(instance.node.ravel(), w * k, -1, instance.nodes)),
        ("uplink: -1 or an uplink", _within(instance.uplink.ravel(), w * k, -1, uplinks)),
        (
            "prices: a finite number, 0 or more, for each shared row",
            prices.shape == (r,) and bool((np.isfinite(prices) & (prices >= 0.0)).all()),
        ),
    ):
        if not ok:
            raise InputError(f"{path} does not hold {name}")
    return Written(instance, choice, prices, int(held["plan_cost"]), int(held["plan_bound"]))


def _within(values: Any, size: int, low: int, high: int) -> bool:
    whole = values.shape == (size,) and np.issubdtype(values.dtype, np.integer)
    return whole and bool(((values >= low) & (values < high)).all())
