"""What if: the plan of a fleet that is not quite as it is, with a certificate of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from aiops.errors import InputError
from aiops.kernels.rows import B1, F8
from aiops.placement.plan import Plan
from aiops.placement.problem import PlacementProblem


@dataclass(frozen=True)
class Overlay:
    """What is to be thought different. Names are of nodes, or of sites: all their nodes."""

    kill: tuple[str, ...] = ()
    """Gone, with all that is there."""
    cordon: tuple[str, ...] = ()
    """Closed to new work."""
    heat: Mapping[str, float] = field(default_factory=dict)
    """Degrees warmer, of the node and of the air around it."""
    price: Mapping[str, float] = field(default_factory=dict)
    """Factor on the price of cores and memory: 1.1, or ``"+10%"``, is a tenth dearer."""
    rtt: Mapping[str, float] = field(default_factory=dict)
    """Factor on the round trip of the node: of what it measures to the cloud, and of what the
    inventory declares. Where a home measures its way, that counts and not what a cloud declares."""

    def __post_init__(self) -> None:
        for name in ("kill", "cordon"):
            value: Any = getattr(self, name)
            if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
                raise InputError(f"{name} is {value!r}; give a list of names of nodes or sites")
            object.__setattr__(self, name, tuple(value))
        for name in ("heat", "price", "rtt"):
            value = getattr(self, name)
            if not isinstance(value, Mapping):
                raise InputError(f"{name} is {value!r}; give a number for each name")
            given = {str(one): _number(name, v) for one, v in value.items()}
            object.__setattr__(self, name, given)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Overlay:
        """Return what a file or a command line says.

        Raises
        ------
        InputError
            It says something else.
        """
        known = {one.name for one in fields(cls)}
        if stray := sorted(set(given) - known):
            raise InputError(
                f"an overlay has {', '.join(sorted(known))}; it was given {', '.join(stray)}"
            )
        return cls(**given)


@dataclass(frozen=True)
class WhatIf:
    """Two plans, and what is between them."""

    before: Plan
    after: Plan

    @property
    def same(self) -> bool:
        """Whether no option would be other than it is."""
        one, other = self.before.problem, self.after.problem
        return (
            np.array_equal(one.cost, other.cost)
            and np.array_equal(one.mask_reason, other.mask_reason)
            and np.array_equal(one.node_power, other.node_power)
        )

    @property
    def cost(self) -> int:
        """How much dearer an hour it would be, micro-dollars."""
        return self.after.cost - self.before.cost

    @property
    def moved(self) -> list[tuple[str, str, str]]:
        """Workloads that would be somewhere else: which, where they are, where they would be."""
        problem = self.before.problem
        return [
            (
                problem.topology.workload[i],
                problem.topology.place(i, int(self.before.choice[i])),
                problem.topology.place(i, int(self.after.choice[i])),
            )
            for i in np.flatnonzero(self.before.choice != self.after.choice).tolist()
        ]

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values."""
        return {
            "cost_per_hour": self.after.cost,
            "dearer_per_hour": self.cost,
            "bound_per_hour": self.after.bound,
            "gap": self.after.gap,
            "unit": "micro-dollars",
            "moved": [{"workload": w, "from": old, "to": new} for w, old, new in self.moved],
        }


def what_if(plan: Plan, overlay: Overlay) -> WhatIf:
    """Return what `plan` would be under `overlay`, from its prices and places.

    Raises
    ------
    InputError
        The overlay names something that is not there.
    """
    return WhatIf(plan, plan.replan(overlaid(plan.problem, overlay)))


def overlaid(problem: PlacementProblem, overlay: Overlay) -> PlacementProblem:
    """Return `problem` under `overlay`; only options at what is different are judged anew.

    Raises
    ------
    InputError
        The overlay names something that is not there, or scales what is not known there.
    """
    topology, nodes = problem.topology, problem.nodes
    here, touched = dict(nodes.here), np.zeros(len(topology.node) + 1, dtype=np.bool_)

    def at(name: str) -> B1:
        called = topology.called.get(name, [])
        if not called:
            some, more = topology.node[:4], " and so on" if len(topology.node) > 4 else ""
            raise InputError(
                f"no node or site is called {name!r}; there are {', '.join(some)}{more}"
            )
        of = np.zeros(len(touched), dtype=np.bool_)
        of[called] = True
        touched[of] = True
        return of

    def known(what: str, name: str, where: B1, *values: F8) -> None:
        if not any(np.nan_to_num(value[where]).any() for value in values):
            raise InputError(f"no {what} of {name} is known, so it cannot be another")

    for name in overlay.kill:
        here["gone"] = here["gone"] | at(name)
    for name in overlay.cordon:
        here["cordoned"] = here["cordoned"] | at(name)
    for name, degrees in overlay.heat.items():
        where = at(name)
        known("temperature", name, where, here["temperature_c"], here["ambient_c"])
        for fact in ("temperature_c", "ambient_c"):
            here[fact] = np.where(where, here[fact] + degrees, here[fact])
    for name, factor in overlay.price.items():
        where = at(name)
        known("price", name, where, here["price"], here["memory_price"])
        for fact in ("price", "memory_price"):
            here[fact] = np.where(where, here[fact] * factor, here[fact])
    rtt_ms, declared_ms = nodes.rtt_ms, nodes.declared_rtt_ms
    for name, factor in overlay.rtt.items():
        where = at(name)
        known("round trip", name, where, rtt_ms, declared_ms)
        rtt_ms = np.where(where, rtt_ms * factor, rtt_ms)
        declared_ms = np.where(where, declared_ms * factor, declared_ms)
    other = nodes._replace(here=here, rtt_ms=rtt_ms, declared_rtt_ms=declared_ms)
    return problem.altered(other, touched[:-1])


def _number(name: str, value: object) -> float:
    """Return a number, or a percentage as the factor it is: ``"+10%"`` is 1.1."""
    number, percent = float("nan"), isinstance(value, str) and value.endswith("%")
    try:
        if isinstance(value, str):
            number = 1.0 + float(value[:-1]) / 100.0 if percent else float(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
    except ValueError:
        pass  # said below
    if name == "heat":
        if percent or not np.isfinite(number):
            raise InputError(f"heat of {value!r}; give degrees, such as +5")
    elif not np.isfinite(number) or number < 0.0:
        raise InputError(f'{name} of {value!r}; give a factor such as 1.1, or "+10%", not below 0')
    return number
