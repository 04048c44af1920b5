"""How prices climb: towards where nobody asks for more than there is."""

from __future__ import annotations

import numpy as np

from aiops.kernels.rows import F8, I8
from aiops.placement.instance import MICRO, UNLIMITED, Instance

MEAN, SQUARE = 0.9, 0.99
"""How slowly the ascent forgets the mean and the square of the excess (Adam, arXiv:1412.6980)."""
STEP = 0.15
"""First step of a price, as a share of what a unit costs on average."""
LONGER, SHORTER = 1.2, 0.6
"""What becomes of a row's step when its excess keeps its sign, and when it changes it (Riedmiller
and Braun 1993, doi:10.1109/ICNN.1993.298623)."""
REACH = (0.005, 100.0)
"""How far steps may shrink and grow."""
LULL = 16
"""Rounds that must have raised the bound by something, or the ascent is over."""


class Ascent:
    """Prices on their way up."""

    def __init__(self, instance: Instance, prices: F8, step: float = 1.0) -> None:
        """Start at `prices` [r]; `step` 1 suits prices of nothing, less those that are good."""
        self._rows = np.flatnonzero(instance.capacity < UNLIMITED)
        self._capacity = instance.capacity[self._rows].astype(np.float64)
        self._unit = step * STEP * unit_cost(instance)[self._rows]
        self._prices = prices.copy()
        self._mean = self._square = self._before = np.zeros(len(self._rows))
        self._length = np.ones(len(self._rows))
        self._bounds: list[float] = []

    def stalls(self, bound: float, rise: float) -> bool:
        """Return whether the best `bound` so far has not risen by `rise` for a while."""
        self._bounds.append(bound)
        return len(self._bounds) > LULL and bound - self._bounds[-1 - LULL] < rise

    def step(self, usage: I8) -> F8 | None:
        """Return the next prices [r], given what is taken [r] at the last; None: they are right."""
        excess = (usage[self._rows] - self._capacity) / np.maximum(1.0, self._capacity)
        if not (excess > 0.0).any() and not self._prices.any():
            return None
        rounds = max(1, len(self._bounds))
        trend = excess * self._before
        change = np.where(trend > 0.0, LONGER, np.where(trend < 0.0, SHORTER, 1.0))
        self._length = np.clip(self._length * change, *REACH)
        self._before = excess
        self._mean = MEAN * self._mean + (1.0 - MEAN) * excess
        self._square = SQUARE * self._square + (1.0 - SQUARE) * excess**2
        slope = self._mean / (1.0 - MEAN**rounds)
        size = np.sqrt(self._square / (1.0 - SQUARE**rounds)) + 1e-12
        moved = self._prices[self._rows] + self._unit * self._length * slope / size
        self._prices[self._rows] = np.maximum(0.0, moved)
        return self._prices


def unit_cost(instance: Instance) -> F8:
    """Return [r] what a unit of each row costs on average: the scale on which prices move."""
    asked = instance.demand.sum(axis=0) / MICRO
    unit = float(instance.cost.min(axis=1).sum()) / np.maximum(asked, 1e-6)
    uplinks = len(instance.capacity) - 3 * instance.nodes
    return np.asarray(
        np.concatenate([np.tile(unit[:3], instance.nodes), np.full(uplinks, unit[3])])
    )
