"""What if: the plan of a fleet that is not quite as it is, with a certificate of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from aiops.errors import InputError
from aiops.kernels.rows import B1, F8
from aiops.placement.explain import place_name
from aiops.placement.options import Nodes, gather
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
    """Factor on the price of cores and memory: 1.1 is a tenth dearer."""
    rtt: Mapping[str, float] = field(default_factory=dict)
    """Factor on the round trip to the cloud."""

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
        named = {name: given[name] for name in ("kill", "cordon") if name in given}
        for name, value in named.items():
            if isinstance(value, str) or not all(isinstance(one, str) for one in value):
                raise InputError(f"{name} is {value!r}; give a list of names of nodes or sites")
        scaled: dict[str, dict[str, float]] = {}
        for name in ("heat", "price", "rtt"):
            if name not in given:
                continue
            if not isinstance(given[name], Mapping):
                raise InputError(f"{name} is {given[name]!r}; give a number for each name")
            scaled[name] = {str(one): _number(name, v) for one, v in given[name].items()}
        return cls(
            kill=tuple(named.get("kill", ())),
            cordon=tuple(named.get("cordon", ())),
            heat=scaled.get("heat", {}),
            price=scaled.get("price", {}),
            rtt=scaled.get("rtt", {}),
        )


@dataclass(frozen=True)
class WhatIf:
    """Two plans, and what is between them."""

    before: Plan
    after: Plan

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
                place_name(problem, i, int(self.before.choice[i])),
                place_name(problem, i, int(self.after.choice[i])),
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
    """Return `problem` under `overlay`; only options at what is different are judged anew."""
    topology = problem.topology
    here, touched = dict(problem.nodes.here), np.zeros(len(topology.node) + 1, dtype=np.bool_)

    def at(name: str) -> B1:
        nodes = topology.called.get(name, [])
        if not nodes:
            some = ", ".join(topology.node[:4])
            raise InputError(f"no node or site is called {name!r}; there are {some} and so on")
        of = np.zeros(len(touched), dtype=np.bool_)
        of[nodes] = True
        touched[of] = True
        return of

    def changed(fact: str, value: F8 | float | bool, where: B1) -> None:
        here[fact] = np.where(where, value, here[fact])

    for name in overlay.kill:
        changed("gone", True, at(name))
    for name in overlay.cordon:
        changed("cordoned", True, at(name))
    for name, degrees in overlay.heat.items():
        where = at(name)
        for fact in ("temperature_c", "ambient_c"):
            changed(fact, here[fact] + degrees, where)
    for name, factor in overlay.price.items():
        where = at(name)
        for fact in ("price", "memory_price"):
            changed(fact, here[fact] * factor, where)
    rtt_ms = problem.nodes.rtt_ms
    for name, factor in overlay.rtt.items():
        rtt_ms = np.where(at(name), rtt_ms * factor, rtt_ms)
    nodes: Nodes = problem.nodes._replace(here=here, rtt_ms=rtt_ms)
    rows = np.flatnonzero(touched[topology.option].any(axis=1)).astype(np.int32)
    options = gather(topology, nodes, problem.current, rows)
    return problem.altered(rows, options, nodes)


def _number(name: str, value: object) -> float:
    """Return a number, or a percentage as the factor it is: ``"+10%"`` is 1.1."""
    try:
        if isinstance(value, str) and value.endswith("%"):
            return 1.0 + float(value[:-1]) / 100.0
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or (name != "heat" and number < 0.0):
        raise InputError(f'{name} of {value!r}; give a number such as 1.1, or "+10%"')
    return number
