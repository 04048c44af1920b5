"""From a problem to a plan with a certified gap."""

from __future__ import annotations

import numpy as np

from aiops.kernels.rows import I4
from aiops.placement.instance import CLOSED, UNLIMITED, Instance
from aiops.placement.market import settle
from aiops.placement.plan import Plan, name_plan
from aiops.placement.problem import (
    PlacementMemory,
    PlacementProblem,
    demand,
    remembered,
)

__all__ = ["PlacementMemory", "solve"]


def solve(
    problem: PlacementProblem, memory: PlacementMemory | None
) -> tuple[Plan, PlacementMemory]:
    """Return a plan, and the memory of a fleet in which it was carried out.

    A workload whose place is still admissible moves only if the saving over the dwell exceeds the
    cost of the move, or where it makes room for others that gain more by it than it loses.

    Args:
        problem: as `pose` gives it.
        memory: of the last plan, the one that posed the problem; None: there is none.
    """
    instance, rows = instance_of(problem)
    settled = settle(instance, start=problem.current[rows])
    choice = problem.current.copy()
    choice[rows] = settled.choice
    held = np.flatnonzero(problem.held)
    last = "" if memory is None else memory.plan_id.item()
    plan = Plan(
        id=name_plan(problem, choice, last),
        problem=problem,
        choice=choice,
        cost=_total(problem, choice),
        bound=settled.bound + int(problem.effective[held, problem.current[held]].sum()),
    )
    return plan, remembered(problem, choice, plan.id)


def instance_of(problem: PlacementProblem) -> tuple[Instance, I4]:
    """Return the workloads that are free to move as an instance, and their rows in `problem`.

    A home that nobody else has among its options is packed exactly; every other node is shared.
    What is held has its room taken off beforehand.
    """
    topology, held = problem.topology, problem.held
    m, k = len(topology.node), topology.option.shape[1]
    taken = np.where(held, topology.option[np.arange(len(held)), problem.current], -1)
    free_cpu = topology.node_cpu - demand(topology.cpu, taken, m)
    free_memory = topology.node_memory - demand(topology.memory, taken, m)

    home = topology.option[:, 0]
    shared = np.zeros(m + 1, dtype=np.bool_)
    shared[topology.option[:, 1:]] = True
    shared[-1] = False
    at = np.cumsum(shared[:-1]) - 1
    code = np.where(shared, np.append(at, -1), -1).astype(np.int32)
    # By id within a home: the plan must not depend on the order of the inventory's workloads.
    rows = np.lexsort((np.array(topology.workload, dtype=np.str_), home)).astype(np.int32)
    rows = rows[~held[rows]]
    homes, first = np.unique(home[rows], return_index=True)
    room = np.full((len(homes), 3), UNLIMITED, dtype=np.int64)
    room[:, 0], room[:, 1] = free_cpu[homes], free_memory[homes]
    nodes = int(shared.sum())
    capacity = np.full(3 * nodes, UNLIMITED, dtype=np.int64)
    capacity[0::3], capacity[1::3] = free_cpu[shared[:-1]], free_memory[shared[:-1]]
    asked = np.zeros((len(rows), 4), dtype=np.int64)
    asked[:, 0], asked[:, 1] = topology.cpu[rows], topology.memory[rows]
    instance = Instance(
        block=np.append(first, len(rows)).astype(np.int32),
        cost=np.where(problem.open[rows], problem.effective[rows], CLOSED),
        node=code[topology.option[rows]],
        uplink=np.full((len(rows), k), -1, dtype=np.int32),
        demand=asked,
        room=room,
        capacity=capacity,
        nodes=nodes,
    )
    return instance, rows


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
