"""Greedy assignment under capacities, largest regret first."""

from __future__ import annotations

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, I4, I8

CLOSED = np.iinfo(np.int64).max
"""Cost of an option that may not be taken."""


@kernel
def place(
    cost: I8,
    node: I4,
    reserved: I4,
    cpu: I8,
    memory: I8,
    free_cpu: I8,
    free_memory: I8,
    tried: B1,
    choice: I4,
) -> None:
    """Give each workload with `choice` -1 an option that has room, in rounds.

    A round closes the options that have no room left, orders the waiting workloads by regret (how
    much dearer the second cheapest option is than the cheapest; no second: first of all; ties by
    row) and lets each take its cheapest. Who finds that full by now closes it and waits for the
    next round, so no workload takes part in more rounds than it has options. This is the regret
    order of Martello and Toth for the generalised assignment problem (Knapsack Problems, 1990,
    section 7.4). Then, row by row, whoever finds room in a cheaper option takes it, until nobody
    does: room that was given back late is used.

    `cost` [w, k] is `CLOSED` where an option may not be taken. `node` [w, k] is -1 where an option
    takes no room; each workload needs one of those, open. `reserved` [w] is the option whose room
    is the workload's already (given back when another is taken), or -1. `cpu` and `memory` [w] are
    demands. `free_cpu` and `free_memory` [m] lose what is placed; `tried` [w, k] is scratch, all
    false on entry; `choice` [w] is written where it was -1.
    """
    options = cost.shape[1]
    best = np.empty(cost.shape[0], np.int64)
    regret = np.empty(cost.shape[0], np.int64)
    movable = np.flatnonzero(choice == -1)

    waiting = movable.copy()
    while waiting.shape[0] > 0:
        for at in range(waiting.shape[0]):
            i = waiting[at]
            first = CLOSED
            second = CLOSED
            best[i] = -1
            for k in range(options):
                n = node[i, k]
                if n >= 0 and k != reserved[i]:
                    tried[i, k] |= cpu[i] > free_cpu[n] or memory[i] > free_memory[n]
                if tried[i, k]:
                    continue
                if cost[i, k] < first:
                    second = first
                    first = cost[i, k]
                    best[i] = k
                elif cost[i, k] < second:
                    second = cost[i, k]
            regret[i] = CLOSED if second == CLOSED else second - first
        order = waiting[np.argsort(-regret[waiting], kind="mergesort")]
        left = 0
        for at in range(order.shape[0]):
            i = order[at]
            n = node[i, best[i]]
            if n >= 0 and best[i] != reserved[i]:
                if cpu[i] > free_cpu[n] or memory[i] > free_memory[n]:
                    tried[i, best[i]] = True
                    waiting[left] = i
                    left += 1
                    continue
                free_cpu[n] -= cpu[i]
                free_memory[n] -= memory[i]
            if reserved[i] >= 0 and best[i] != reserved[i]:
                n = node[i, reserved[i]]
                if n >= 0:
                    free_cpu[n] += cpu[i]
                    free_memory[n] += memory[i]
            choice[i] = best[i]
        waiting = np.sort(waiting[:left])

    shifted = True
    while shifted:
        shifted = False
        for at in range(movable.shape[0]):
            i = movable[at]
            now = choice[i]
            for k in range(options):
                n = node[i, k]
                if cost[i, k] < cost[i, choice[i]] and (
                    n < 0 or (cpu[i] <= free_cpu[n] and memory[i] <= free_memory[n])
                ):
                    choice[i] = k
            if choice[i] != now:
                shifted = True
                n = node[i, choice[i]]
                if n >= 0:
                    free_cpu[n] -= cpu[i]
                    free_memory[n] -= memory[i]
                n = node[i, now]
                if n >= 0:
                    free_cpu[n] += cpu[i]
                    free_memory[n] += memory[i]
