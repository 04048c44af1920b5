"""From a problem to a plan with a certified gap."""

from __future__ import annotations

import numpy as np

from aiops.kernels.rows import F8, I4
from aiops.placement.instance import Instance
from aiops.placement.market import DRIFTED, WARM, Settlement, settle
from aiops.placement.plan import Plan, planned
from aiops.placement.problem import PlacementMemory, PlacementProblem, remembered

__all__ = ["PlacementMemory", "revert", "solve"]


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
    instance, rows = problem.free
    prices = np.empty(0) if memory is None else memory.prices
    settled = _settled(instance, problem.current[rows], prices)
    plan = planned(problem, settled, "" if memory is None else memory.plan_id.item())
    return plan, remembered(problem, plan.reached, settled.prices, plan.id)


def _settled(instance: Instance, before: I4, prices: F8) -> Settlement:
    """Go on from the last prices if they are of this fleet, and from nothing if that fails."""
    if len(prices) == len(instance.capacity):
        settled = settle(instance, prices, before, WARM)
        if settled.gap <= DRIFTED:
            return settled
    return settle(instance, start=before)


def revert(memory: PlacementMemory, plan: Plan, workloads: frozenset[str]) -> PlacementMemory:
    """Return `memory` as if `plan` had not moved `workloads`: their moves were not carried out."""
    undone = np.array(
        [name in workloads for name in plan.problem.topology.workload], dtype=np.bool_
    )
    return memory._replace(
        choice=np.where(undone, plan.problem.current, memory.choice).astype(np.int32),
        spent=np.where(undone, plan.problem.work.spent, memory.spent),
        beyond=np.where(undone, plan.problem.work.beyond, memory.beyond),
        barred_h=np.where(undone[:, None], plan.problem.work.barred_h, memory.barred_h),
    )
