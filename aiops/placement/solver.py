"""From a problem to a plan with a certified gap: greedy by regret, in whole micro-dollars."""

from __future__ import annotations

import numpy as np

from aiops.kernels.place import CLOSED, place
from aiops.kernels.rows import I4
from aiops.placement.plan import Plan, name_plan
from aiops.placement.problem import (
    PlacementMemory,
    PlacementProblem,
    demand,
    overfull,
    remembered,
)

__all__ = ["PlacementMemory", "solve"]


def solve(
    problem: PlacementProblem, memory: PlacementMemory | None
) -> tuple[Plan, PlacementMemory]:
    """Return a plan, and the memory of a fleet in which it was carried out.

    A workload whose place is still admissible moves only if the saving over the dwell exceeds the
    cost of the move. It is also made to give way to others, but only where that pays for all of
    them together: the cheaper of two assignments is taken, one in which nobody can be displaced
    and one in which room goes to whoever would miss it most.

    The bound is the sum of each workload's cheapest open option, as if it had all nodes to itself.
    """
    kept, free = assign(problem, displace=False), assign(problem, displace=True)
    choice = free if _total(problem, free) < _total(problem, kept) else kept
    cheapest = np.where(problem.open, problem.effective, CLOSED).min(axis=1)
    last = "" if memory is None else memory.plan_id.item()
    plan = Plan(
        id=name_plan(problem, choice, last),
        problem=problem,
        choice=choice,
        cost=_total(problem, choice),
        bound=int(cheapest.sum()),
    )
    return plan, remembered(problem, choice, plan.id)


def assign(problem: PlacementProblem, displace: bool) -> I4:
    """Return a feasible choice [w]; unless `displace`, whoever may stay where it is can."""
    topology, current = problem.topology, problem.current
    node = topology.option[np.arange(len(current)), current]
    stays = problem.open[np.arange(len(current)), current] & (node >= 0)
    stays &= ~np.append(overfull(topology, node), False)[node]
    stays &= ~problem.held & (not displace)
    settled = np.where(stays | problem.held, node, -1).astype(np.int32)
    choice = np.where(problem.held, current, -1).astype(np.int32)
    m = len(topology.node)
    place(
        np.where(problem.open, problem.effective, CLOSED),
        topology.option,
        np.where(stays, current, -1).astype(np.int32),
        topology.cpu,
        topology.memory,
        topology.node_cpu - demand(topology.cpu, settled, m),
        topology.node_memory - demand(topology.memory, settled, m),
        np.zeros(topology.option.shape, dtype=np.bool_),
        choice,
    )
    return choice


def revert(memory: PlacementMemory, plan: Plan, workloads: frozenset[str]) -> PlacementMemory:
    """Return `memory` as if `plan` had not moved `workloads`: their moves were not carried out."""
    undone = np.array(
        [name in workloads for name in plan.problem.topology.workload], dtype=np.bool_
    )
    return memory._replace(
        choice=np.where(undone, plan.problem.current, memory.choice).astype(np.int32),
        since_ts=np.where(undone, plan.problem.since_ts, memory.since_ts),
    )


def _total(problem: PlacementProblem, choice: I4) -> int:
    return int(problem.effective[np.arange(len(choice)), choice].sum())
