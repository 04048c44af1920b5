"""From a problem to a plan with a certified gap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aiops.kernels.rows import B1, F8, I4
from aiops.placement.instance import UNLIMITED, Instance
from aiops.placement.market import WARM, Settlement, settle
from aiops.placement.plan import Plan, name_plan
from aiops.placement.problem import PlacementMemory, PlacementProblem, remembered
from aiops.placement.sequence import sequence

__all__ = ["PlacementMemory", "replan", "revert", "solve"]

DRIFTED = 0.01
"""Gap beyond which prices are sought afresh."""


def solve(
    problem: PlacementProblem, memory: PlacementMemory | None
) -> tuple[Plan, PlacementMemory]:
    """Return a plan, and the memory of a fleet in which it was carried out.

    A workload whose place is still admissible moves only if `stability` lets it, or where it makes
    room for others that gain more by it than it loses.

    Args:
        problem: as `pose` gives it.
        memory: of the last plan, the one that posed the problem; None: there is none.
    """
    instance, rows = instance_of(problem)
    before = problem.current[rows]
    settled = _settled(instance, before, np.empty(0) if memory is None else memory.prices)
    last = "" if memory is None else memory.plan_id.item()
    plan = _planned(problem, instance, rows, settled, last)
    return plan, remembered(problem, plan.reached, settled.prices, plan.id)


def replan(plan: Plan, problem: PlacementProblem) -> Plan:
    """Return the plan of a `problem` that differs a little from the plan's, from where that is."""
    instance, rows = instance_of(problem)
    settled = settle(instance, plan.prices, plan.choice[rows], WARM)
    return _planned(problem, instance, rows, settled, plan.id)


def _planned(
    problem: PlacementProblem, instance: Instance, rows: I4, settled: Settlement, last: str
) -> Plan:
    """Return what was settled for `rows` as a plan of `problem`, with the moves that lead there."""
    before = problem.current[rows]
    silent: B1 = problem.nodes.here["silent"][problem.node[rows, before]]
    order = sequence(
        instance,
        before,
        settled.choice,
        problem.settings.limits,
        stateful=problem.topology.state_gb[rows] > 0.0,
        unreachable=silent,
    )
    order = replace(order, workload=rows[order.workload], left=rows[order.left])
    choice = problem.current.copy()
    choice[rows] = settled.choice
    held = np.flatnonzero(problem.held)
    return Plan(
        id=name_plan(problem, order.reached(problem.current), last),
        problem=problem,
        choice=choice,
        order=order,
        prices=settled.prices,
        cost=_total(problem, choice),
        bound=settled.bound + int(problem.effective[held, problem.current[held]].sum()),
    )


def _settled(instance: Instance, before: I4, prices: F8) -> Settlement:
    """Go on from the last prices if they are of this fleet, and from nothing if that fails."""
    if len(prices) == len(instance.capacity):
        settled = settle(instance, prices, before, WARM)
        if settled.gap <= DRIFTED:
            return settled
    return settle(instance, start=before)


def instance_of(problem: PlacementProblem) -> tuple[Instance, I4]:
    """Return the workloads that are free to move as an instance, and their rows in `problem`.

    What is held has its room taken off beforehand.
    """
    whole, held = problem.instance, problem.held
    rows = np.flatnonzero(~held).astype(np.int32)
    nowhere = whole.cost.shape[1] - 1
    at_home, shared = whole.usage(np.where(held, problem.current, nowhere).astype(np.int32))
    homes = np.bincount(whole.home[rows], minlength=len(whole.room))
    instance = Instance(
        block=np.append(0, np.cumsum(homes)).astype(np.int32),
        cost=whole.cost[rows],
        node=whole.node[rows],
        uplink=whole.uplink[rows],
        demand=whole.demand[rows],
        room=np.where(whole.room < UNLIMITED, whole.room - at_home, UNLIMITED),
        capacity=np.where(whole.capacity < UNLIMITED, whole.capacity - shared, UNLIMITED),
        nodes=whole.nodes,
    )
    return instance, rows


def revert(memory: PlacementMemory, plan: Plan, workloads: frozenset[str]) -> PlacementMemory:
    """Return `memory` as if `plan` had not moved `workloads`: their moves were not carried out."""
    undone = np.array(
        [name in workloads for name in plan.problem.topology.workload], dtype=np.bool_
    )
    return memory._replace(
        choice=np.where(undone, plan.problem.current, memory.choice).astype(np.int32),
        spent=np.where(undone, plan.problem.work.spent, memory.spent),
        beyond=np.where(undone, plan.problem.work.beyond, memory.beyond),
    )


def _total(problem: PlacementProblem, choice: I4) -> int:
    return int(problem.effective[np.arange(len(choice)), choice].sum())
