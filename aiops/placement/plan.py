"""A plan: where each workload runs from now on, what that costs, and how far from the best."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from aiops.errors import InputError
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.placement.counterfactual import flips
from aiops.placement.criteria import EVICTS, TERMS
from aiops.placement.explain import (
    Explanation,
    clauses,
    explain,
    lacking,
    rfc3339,
    spare,
    why_not,
)
from aiops.placement.market import DRIFTED, FEW, WARM, Market, Settlement, settle
from aiops.placement.options import Nodes
from aiops.placement.prices import Price, prices_of
from aiops.placement.problem import PlacementProblem
from aiops.placement.sequence import MoveSequence, StepKind, sequence


class Leg(NamedTuple):
    """One step of a move."""

    wave: int
    kind: StepKind
    workload: str
    source: str | None
    target: str | None
    fence: bool
    """The source does not answer: it must be cut off before a second copy starts."""


@dataclass(frozen=True)
class Move:
    """One workload that changes its place."""

    workload: str
    source: str | None
    """Node it leaves; None: it ran nowhere."""
    target: str | None
    """Node it goes to; None: it is shed."""
    reason: str
    saving: int
    """Micro-dollars per hour, against staying; against being shed when it cannot stay."""
    move_cost: int
    """Micro-dollars, once."""
    forced: bool
    """Its place is ruled out, so it cannot stay."""
    home: str
    """The node it belongs to, whose service is disturbed wherever it runs."""
    site: str
    cohort: str
    """Of its home."""
    stateful: bool
    """Its state goes with it."""
    legs: tuple[Leg, ...]
    """Its steps; more than one where it must make way meanwhile."""
    together: tuple[str, ...]
    """Workloads, itself among them, that wait for each other: all of them move or none does."""
    after: tuple[str, ...]
    """Other workloads whose moves make room for it."""

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values for sinks."""
        return vars(self) | {
            "legs": [leg._asdict() for leg in self.legs],
            "together": list(self.together),
            "after": list(self.after),
        }


@dataclass(frozen=True)
class Plan:
    """A choice for each workload, in whole micro-dollars per hour.

    `cost` and `bound` count each chosen option and what its move has to overcome.
    """

    problem: PlacementProblem
    choice: I4
    """[w] option of each workload in the end."""
    prices: F8
    """[r] micro-dollars per hour and unit of each shared row of `problem.instance`."""
    cost: int
    bound: int
    """No assignment is cheaper than this."""
    last: str
    """Id of the plan before; empty: there was none."""

    @cached_property
    def id(self) -> str:
        """A function of content and of the plan before: unchanged as long as nothing moves."""
        return name_plan(self.problem, self.reached, self.last)

    @cached_property
    def order(self) -> MoveSequence:
        """How `choice` is reached, or as much of it as may move now."""
        problem, (instance, rows) = self.problem, self.problem.free
        before = problem.current[rows]
        silent: B1 = problem.nodes.here["silent"][problem.node[rows, before]]
        order = sequence(
            instance,
            before,
            self.choice[rows],
            problem.settings.limits,
            stateful=problem.topology.state_gb[rows] > 0.0,
            unreachable=silent,
        )
        return replace(order, workload=rows[order.workload], left=rows[order.left])

    @cached_property
    def market(self) -> Market:
        """The market of those who are free to move, as the plan leaves it: to be forked."""
        instance, rows = self.problem.free
        market = Market(instance, self.prices)
        market.take(self.choice[rows])
        return market

    @property
    def ts(self) -> int:
        """When it was made: event time, ns."""
        return self.problem.ts

    @property
    def gap(self) -> float:
        """How much dearer than the bound at most, as a share of it; certified, not measured."""
        if self.cost == self.bound:
            return 0.0
        return (self.cost - self.bound) / self.bound if self.bound else math.inf

    @property
    def terms(self) -> I8:
        """[w, c] terms of the chosen options."""
        return np.asarray(self.problem.terms[np.arange(len(self.choice)), self.choice])

    @cached_property
    def reached(self) -> I4:
        """[w] option of each workload when all moves are made; `order` says who has to wait."""
        return self.order.reached(self.problem.current)

    @cached_property
    def moves(self) -> tuple[Move, ...]:
        """What has to be done now, in the inventory's order of workloads; empty: all stay."""
        return tuple(self._moves())

    @cached_property
    def _waiting(self) -> frozenset[int]:
        return frozenset(self.order.left.tolist())

    @cached_property
    def _spare(self) -> tuple[I8, I8]:
        return spare(self.problem, self.choice)

    def where(self, workload: str) -> str | None:
        """Return the node `workload` runs on from now on; None: it is shed."""
        i = self._row(workload)
        return _name(self.problem, i, int(self.reached[i]))

    def explain(self, workload: str) -> Explanation:
        """Return why `workload` is where it is, and what would change that.

        Raises
        ------
        InputError
            The plan has no such workload.
        """
        i = self._row(workload)
        return explain(
            self.problem,
            self.prices,
            self.choice,
            i,
            waits=i in self._waiting,
            free=self._spare,
            seek=lambda fits: flips(
                self.problem, i, int(self.choice[i]), fits, partial(self._ask, i)
            ),
        )

    def _ask(self, i: int, nodes: Nodes, at: int) -> str:
        """Return where workload `i` would be if the nodes were other than they are `at` one."""
        where = np.zeros(len(self.problem.topology.node), dtype=np.bool_)
        where[at] = True
        again = self.replan(self.problem.altered(nodes, where))
        return self.problem.topology.place(i, int(again.choice[i]))

    @property
    def scarce(self) -> list[Price]:
        """What room is worth where it is scarce, what is worth most first."""
        return prices_of(self.problem, self.prices, self.choice)

    def why_not(self, workload: str, place: str) -> str:
        """Return in words why `workload` is not at `place`, a node id or ``shed``.

        Raises
        ------
        InputError
            The plan has no such workload, or that has no such option.
        """
        return why_not(self.problem, self.prices, self.choice, self._row(workload), place)

    def replan(self, problem: PlacementProblem) -> Plan:
        """Return the plan of a `problem` that differs a little from this one's, from where it is.

        The work is in proportion to what differs, as long as the same workloads are free to move.
        """
        (instance, rows), (before, same) = problem.free, self.problem.free
        if len(rows) <= FEW or not np.array_equal(rows, same):
            settled = settle(instance, self.prices, self.choice[rows], WARM)
            return planned(problem, settled, self.id)
        costs = np.flatnonzero((instance.cost != before.cost).any(axis=1))
        rooms = np.flatnonzero((instance.room != before.room).any(axis=1))
        market = self.market.fork()
        market.follow(instance, np.union1d(instance.home[costs], rooms).astype(np.int32))
        settled = market.settled()
        if settled.gap > max(DRIFTED, self.gap):
            settled = settle(instance, start=self.choice[rows])
        return planned(problem, settled, self.id)

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values for sinks."""
        topology = self.problem.topology
        return {
            "id": self.id,
            "ts": rfc3339(self.ts),
            "cost_per_hour": self.cost,
            "bound_per_hour": self.bound,
            "gap": self.gap if math.isfinite(self.gap) else None,
            "unit": "micro-dollars",
            "placement": {
                name: _name(self.problem, i, int(self.reached[i]))
                for i, name in enumerate(topology.workload)
            },
            "moves": [move.to_record() for move in self.moves],
        }

    def _row(self, workload: str) -> int:
        try:
            return self.problem.topology.row_of[workload]
        except KeyError:
            known = ", ".join(self.problem.topology.workload[:5])
            raise InputError(
                f"no workload {workload!r} in plan {self.id}; it has {known} and so on"
            ) from None

    def _moves(self) -> Iterator[Move]:
        problem, topology = self.problem, self.problem.topology
        legs, together, after = self._order()
        for i in np.unique(self.order.workload).tolist():
            old, new = int(problem.current[i]), int(self.choice[i])
            forced = bool(problem.mask_reason[i, old] & EVICTS)
            against = topology.option.shape[1] - 1 if forced else old
            home = int(topology.option[i, 0])
            yield Move(
                workload=topology.workload[i],
                source=_name(problem, i, old),
                target=_name(problem, i, new),
                reason=self._reason(i, old, new, forced),
                saving=int(problem.cost[i, against] - problem.cost[i, new]),
                move_cost=int(problem.move_cost[i, new]),
                forced=forced,
                home=topology.node[home],
                site=topology.node_site[home],
                cohort=topology.node_cohort[home],
                stateful=bool(topology.state_gb[i] > 0.0),
                legs=tuple(legs[i]),
                together=tuple(topology.workload[one] for one in together[i]),
                after=tuple(topology.workload[one] for one in sorted(after[i])),
            )

    def _order(self) -> tuple[dict[int, list[Leg]], dict[int, list[int]], dict[int, set[int]]]:
        """Return, of each workload that moves, its legs, with whom, and after whom."""
        problem = self.problem
        steps = list(self.order)
        members: dict[int, list[int]] = {}
        for step in steps:
            members.setdefault(step.together, []).append(step.workload)
        legs: dict[int, list[Leg]] = {}
        together: dict[int, list[int]] = {}
        after: dict[int, set[int]] = {}
        for step in steps:
            i = step.workload
            source, target = (_name(problem, i, k) for k in (step.source, step.target))
            leg = Leg(
                step.wave, step.kind, problem.topology.workload[i], source, target, step.fence
            )
            legs.setdefault(i, []).append(leg)
            together[i] = sorted(set(members[step.together]))
            others = {steps[s].workload for s in step.after if steps[s].together != step.together}
            after.setdefault(i, set()).update(others)
        return legs, together, after

    def _reason(self, i: int, old: int, new: int, forced: bool) -> str:
        problem = self.problem
        source, target = (_name(problem, i, k) or "nowhere" for k in (old, new))
        if forced:
            why = " and ".join(clauses(problem, problem.options_of(slice(i, i + 1)), i, old))
            goes = f"so it goes to {target}"
            then = "no other place is open to it" if target == "nowhere" else goes
            return f"{source} {why}; {then}"
        if lacking(problem, self._spare, self.choice, i)[old].any():
            return f"{source} has no room for it beside workloads that would lose more by leaving"
        terms = problem.terms_of(i)
        saved = terms[old] - terms[new]
        mostly = TERMS[int(saved.argmax())]
        if mostly == "failure_risk" and (node := int(problem.node[i, old])) in problem.threats:
            mostly += f" ({problem.threats[node].rstrip('.')})"
        return (
            f"{target} costs {saved.sum()} micro-dollars an hour less than {source},"
            f" mostly for {mostly}"
        )


def planned(problem: PlacementProblem, settled: Settlement, last: str) -> Plan:
    """Return what was settled for those who are free to move as a plan of `problem`."""
    _, rows = problem.free
    choice = problem.current.copy()
    choice[rows] = settled.choice
    held = np.flatnonzero(problem.held)
    return Plan(
        problem=problem,
        choice=choice,
        prices=settled.prices,
        cost=int(problem.effective[np.arange(len(choice)), choice].sum()),
        bound=settled.bound + int(problem.effective[held, problem.current[held]].sum()),
        last=last,
    )


def name_plan(problem: PlacementProblem, choice: I4, last: str) -> str:
    """Return the id of a plan: that of the `last` one if nothing moves."""
    moved = np.flatnonzero(choice != problem.current).tolist()
    if last and not moved:
        return last
    text = [last, str(problem.ts)]
    for i in moved:
        text += [problem.topology.workload[i], _name(problem, i, int(choice[i])) or ""]
    digest = hashlib.blake2b("\0".join(text).encode(), digest_size=8).hexdigest()
    return f"pln-{digest}"


def _name(problem: PlacementProblem, i: int, k: int) -> str | None:
    at = int(problem.topology.option[i, k])
    return problem.topology.node[at] if at >= 0 else None
