"""Prices for what is shared, a plan from them, and a bound that says how good it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aiops.kernels.blocks import price_blocks
from aiops.kernels.repair import members, repair
from aiops.kernels.rows import F8, I4, I8
from aiops.placement.instance import CLOSED, MICRO, UNLIMITED, Instance

MEAN, SQUARE = 0.9, 0.99
"""How slowly the ascent forgets the mean and the square of the excess (Adam, arXiv:1412.6980)."""
STEP = 0.15
"""First step of a price, as a share of what a unit costs on average."""
COOL = 20.0
"""Rounds after which the steps are half as long."""


@dataclass(frozen=True)
class Effort:
    """Where the solver stops: never by the clock, so that a replay decides alike."""

    rounds: int = 80
    """Of the ascent of prices, each over all workloads."""
    passes: int = 8
    """Of improvement over all workloads."""


@dataclass(frozen=True)
class Settlement:
    """A feasible choice with its certificate."""

    choice: I4
    """[w]"""
    prices: F8
    """[r] micro-dollars per hour and unit of each shared row."""
    cost: int
    """Micro-dollars per hour."""
    bound: int
    """No feasible choice is cheaper."""

    @property
    def gap(self) -> float:
        """How much dearer than the bound, as a share of it."""
        return (self.cost - self.bound) / self.bound if self.bound > 0 else float(self.cost > 0)


def settle(
    instance: Instance,
    prices: F8 | None = None,
    start: I4 | None = None,
    effort: Effort | None = None,
) -> Settlement:
    """Return a plan of `instance` that is near the best, and by how much at most.

    Args:
        instance: the problem.
        prices: [r] to start from, as of an earlier plan; None: nothing is priced.
        start: [w] where everybody is; it is mended too, and kept if it is no dearer.
        effort: when to stop.
    """
    effort = effort or Effort()
    w = len(instance.cost)
    finite = instance.capacity < UNLIMITED
    unit = _unit_cost(instance)[finite]
    price = np.zeros(len(instance.capacity)) if prices is None else prices.copy()
    best_price, best_bound, best_choice = price.copy(), -np.inf, np.full(w, -1, dtype=np.int32)
    mean = square = np.zeros(int(finite.sum()))
    for at in range(effort.rounds + 1):
        choice, usage, bound = evaluate(instance, price)
        if bound > best_bound:
            best_price, best_bound, best_choice = price.copy(), bound, choice
        excess = (usage[finite] - instance.capacity[finite]) / np.maximum(
            1.0, instance.capacity[finite]
        )
        if not (excess > 0.0).any() and not price.any():
            break
        mean = MEAN * mean + (1.0 - MEAN) * excess
        square = SQUARE * square + (1.0 - SQUARE) * excess**2
        slope = mean / (1.0 - MEAN ** (at + 1))
        size = np.sqrt(square / (1.0 - SQUARE ** (at + 1))) + 1e-12
        step = STEP * unit / (1.0 + at / COOL)
        price[finite] = np.maximum(0.0, price[finite] + step * slope / size)
    mended = mend(instance, best_choice, best_price, effort.passes)
    if start is not None:
        open_ = instance.cost[np.arange(w), start] != CLOSED
        shed = instance.cost.shape[1] - 1
        stayed = np.where(open_, start, shed).astype(np.int32)
        stayed = mend(instance, stayed, best_price, effort.passes)
        if instance.total(stayed) <= instance.total(mended):
            mended = stayed
    # Costs are whole, so the least of them is no less than the next whole number.
    return Settlement(mended, best_price, instance.total(mended), math.ceil(best_bound))


def evaluate(instance: Instance, price: F8) -> tuple[I4, I8, float]:
    """Return what is best for each home at `price` [r]: choice [w], its usage [r], the bound."""
    choice = np.empty(len(instance.cost), dtype=np.int32)
    usage = np.empty_like(instance.capacity)
    term = np.empty(len(instance.block) - 1)
    price_blocks(
        instance.block,
        instance.cost,
        instance.node,
        instance.uplink,
        instance.demand,
        instance.room,
        instance.nodes,
        price,
        usage,
        choice,
        term,
    )
    # Whole thousandths below each term: a sum that is the same in any order, and never above.
    below = int(np.floor(1e3 * term - 1e-6 * np.abs(term)).astype(np.int64).sum()) / 1e3
    priced = np.flatnonzero(price > 0.0)
    return choice, usage, below - float((price[priced] * (instance.capacity[priced] / MICRO)).sum())


def mend(instance: Instance, choice: I4, price: F8, passes: int) -> I4:
    """Return a feasible choice [w] near `choice`, improved in so many passes."""
    row, capacity = as_rows(instance)
    start = np.zeros(len(capacity) + 1, dtype=np.int64)
    members(row, start, np.empty(0, dtype=np.int32))
    member = np.empty(start[-1], dtype=np.int32)
    members(row, start, member)
    mended = choice.copy()
    repair(
        instance.cost,
        row,
        instance.demand,
        capacity,
        start,
        member,
        _loss(instance, choice, price),
        passes,
        mended,
    )
    return mended


def as_rows(instance: Instance) -> tuple[I4, I8]:
    """Return the rows [w, k, 4] of options, and capacities: homes are rows after the shared."""
    w, k = instance.cost.shape
    shared = len(instance.capacity)
    row = np.full((w, k, 4), -1, dtype=np.int32)
    for resource in range(3):
        row[:, :, resource] = np.where(instance.node >= 0, 3 * instance.node + resource, -1)
        own = np.where(instance.node[:, 0] >= 0, row[:, 0, resource], shared + 3 * instance.home)
        row[:, 0, resource] = np.where(instance.node[:, 0] >= 0, own, own + resource)
    row[:, :, 3] = np.where(instance.uplink >= 0, 3 * instance.nodes + instance.uplink, -1)
    row[:, -1] = -1
    capacity = np.concatenate([instance.capacity, instance.room.ravel()])
    row[(row >= 0) & (capacity[row] >= UNLIMITED)] = -1
    row[instance.cost == CLOSED] = -1
    return row, capacity


def _loss(instance: Instance, choice: I4, price: F8) -> F8:
    """Return how much dearer, with prices, the next best option of each workload is."""
    rows = np.arange(len(choice))
    demand = instance.demand / MICRO
    priced = np.where(instance.cost == CLOSED, np.inf, instance.cost.astype(np.float64))
    for resource in range(3):
        of_node = np.append(price[resource : 3 * instance.nodes : 3], 0.0)
        priced += of_node[instance.node] * demand[:, resource : resource + 1]
    priced += np.append(price[3 * instance.nodes :], 0.0)[instance.uplink] * demand[:, 3:]
    here = priced[rows, choice]
    priced[rows, choice] = np.inf
    return np.asarray(np.maximum(0.0, np.nan_to_num(priced.min(axis=1) - here, posinf=1e300)))


def _unit_cost(instance: Instance) -> F8:
    """Return [r] what a unit of each row costs on average: the scale on which prices move."""
    asked = instance.demand.sum(axis=0) / MICRO
    unit = float(instance.cost.min(axis=1).sum()) / np.maximum(asked, 1e-6)
    uplinks = len(instance.capacity) - 3 * instance.nodes
    return np.asarray(
        np.concatenate([np.tile(unit[:3], instance.nodes), np.full(uplinks, unit[3])])
    )
