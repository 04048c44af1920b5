"""What would have to be different for a workload to be somewhere else.

A flip is a change of one fact of one node, as it is measured or declared, with all that follows
from it for everybody: what solving again says, and not only what the workload itself would like.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from aiops.kernels.rows import B1, F8
from aiops.placement.options import Nodes
from aiops.placement.problem import PlacementProblem

VARIABLES: dict[str, tuple[float, float]] = {
    "rtt_ms": (0.0, 10_000.0),
    "jitter_ms": (0.0, 10_000.0),
    "loss_ratio": (0.0, 1.0),
    "soc_ratio": (0.0, 1.0),
    "temperature_c": (-40.0, 150.0),
    "utilization_ratio": (0.0, 1.0),
    "failure_risk": (0.0, 1.0),
    "declared_rtt_ms": (0.0, 10_000.0),
    "price_per_core_hour": (0.0, 1e6),
    "egress_price_per_gb": (0.0, 1e6),
}
"""What a flip is looked for in, and how far: the conditions of nodes, and what an inventory
declares of them; `declared_rtt_ms` is its `rtt_ms`."""

HERE = {"price_per_core_hour": "price"} | {
    name: name for name in ("soc_ratio", "temperature_c", "utilization_ratio", "failure_risk")
}
"""Variables that are facts of options by themselves: their names there."""
FINE, COARSE = 2.5e-4, 1e-6
"""How near a value is to where the choice changes, as a share of the way there: one that is found
by solving again, and one that is only the workload's own."""


@dataclass(frozen=True)
class Flip:
    """A change of one fact, all else the same, that changes the choice at once."""

    variable: str
    place: str
    """The node whose fact it is."""
    now: float
    at: float
    """Where the choice is another, and just before that it is not."""
    choice: str
    """The place chosen then."""

    def __str__(self) -> str:
        """Say it with four digits, rounded away from `now`: there it is still so."""
        unit = 10.0 ** (math.floor(math.log10(max(abs(self.at), 1e-9))) - 3)
        steps = self.at / unit
        there = unit * (math.ceil(steps) if self.at > self.now else math.floor(steps))
        return (
            f"It would be at {self.choice} if {self.variable} of {self.place} were"
            f" {_number(there)} instead of {_number(self.now)}"
        )

    @property
    def size(self) -> float:
        """How large the change is, as a share of the range of the variable."""
        low, high = VARIABLES[self.variable]
        return abs(self.at - self.now) / (high - low)


Ask: TypeAlias = Callable[[Nodes, int], str]
"""Where the workload would be if the nodes were so, and other than they are at one of them."""


def flips(problem: PlacementProblem, i: int, k: int, fits: B1, ask: Ask) -> Iterator[Flip]:
    """Yield changes after which workload `i` is not at its option `k`, nearest first.

    Nearest by what the workload itself would do, with the others where they are; where the choice
    then really changes is found by solving again.

    Args:
        problem: of the plan.
        i: the workload.
        k: the option it takes.
        fits: [k] options that have room for it beside all others, where they are.
        ask: solves again.
    """
    here = problem.topology.place(i, k)
    found: list[tuple[float, str, int, float, float, float]] = []
    for variable, at in _facts(problem, i):
        now = float(read(problem.nodes, variable)[at])
        low, high = VARIABLES[variable]
        for end in (low, high):
            value = _alone(problem, i, k, fits, variable, at, now, end)
            if value is not None:
                found.append((abs(value - now) / (high - low), variable, at, now, value, end))
    for _, variable, at, now, value, end in sorted(found):

        def where(value: float, variable: str = variable, at: int = at) -> str:
            return ask(changed(problem.nodes, variable, at, value), at)

        sought = _sought(now, value, end, here, where)
        if sought is not None:
            yield Flip(variable, problem.topology.node[at], now, *sought)


def read(nodes: Nodes, variable: str) -> F8:
    """Return a fact of all nodes [m+1]."""
    values: F8 = nodes.here[HERE[variable]] if variable in HERE else getattr(nodes, variable)
    return values


def changed(nodes: Nodes, variable: str, at: int, value: float) -> Nodes:
    """Return `nodes` with another value of a fact of one of them."""
    values: Any = read(nodes, variable).copy()
    values[at] = value
    if variable in HERE:
        return nodes._replace(here=nodes.here | {HERE[variable]: values})
    return nodes._replace(**{variable: values})


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"


def _facts(problem: PlacementProblem, i: int) -> Iterator[tuple[str, int]]:
    """Yield what is known of the nodes that workload `i` could be at: variable and node."""
    at = problem.topology.option[i]
    nodes = dict.fromkeys(at[at >= 0].tolist())
    for variable in VARIABLES:
        known = read(problem.nodes, variable)
        yield from ((variable, node) for node in nodes if np.isfinite(known[node]))


def _alone(
    problem: PlacementProblem,
    i: int,
    k: int,
    fits: B1,
    variable: str,
    at: int,
    now: float,
    end: float,
) -> float | None:
    """Return the nearest value at which the workload alone would leave `k`; None: up to `end` none.

    Each criterion is monotone in its variables (`Criterion.worse`), so the choice changes for good
    or not at all, as long as the fact is one of a single option.
    """

    def leaves(value: float) -> bool:
        cost = problem.priced(i, changed(problem.nodes, variable, at, value))
        cost = np.where(fits, cost, np.iinfo(np.int64).max)
        return bool(cost[k] > cost.min())

    if end == now or not leaves(end):
        return None
    low, high = now, end
    while abs(high - low) > COARSE * abs(high - now):
        middle = low + (high - low) / 2.0
        low, high = (low, middle) if leaves(middle) else (middle, high)
    return high


def _sought(
    now: float, value: float, end: float, here: str, where: Callable[[float], str]
) -> tuple[float, str] | None:
    """Return where between `now` and `end` the choice changes, and to what; None: nowhere.

    `value` is where it would if nobody else did anything: often it is just there.
    """
    low, high = now, value
    inside = value - 2.0 * FINE * (value - now)
    then = where(value)
    if then != here and where(inside) == here:
        return value, then
    if where(now) != here:
        return None  # it is about to move whatever happens
    if then == here:
        low, high = value, end
        then = where(end)
        if then == here:
            return None
    while abs(high - low) > FINE * abs(high - now):
        middle = low + (high - low) / 2.0
        place = where(middle)
        if place == here:
            low = middle
        else:
            high, then = middle, place
    return high, then
