"""From a choice that breaks capacities to one that keeps them, and then to a cheaper one."""

from __future__ import annotations

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I4, I8

CLOSED = np.iinfo(np.int64).max
"""Cost of an option that may not be taken."""


@kernel
def members(row: I4, start: I8, member: I4) -> None:
    """List the workloads that have an option on each row, once each, in their order.

    `row` [w, k, q] is -1 where an option takes nothing. Row r gets ``member[start[r]:start[r+1]]``;
    `start` [r+1] is written in a first call, with `member` empty, and `member`, of length
    ``start[-1]``, in a second.
    """
    rows = start.shape[0] - 1
    last = np.full(rows, -1, np.int64)
    count = np.zeros(rows, np.int64)
    for w in range(row.shape[0]):
        for k in range(row.shape[1]):
            for q in range(row.shape[2]):
                r = row[w, k, q]
                if r >= 0 and last[r] != w:
                    if member.shape[0] > 0:
                        member[start[r] + count[r]] = w
                    last[r] = w
                    count[r] += 1
    start[0] = 0
    for r in range(rows):
        start[r + 1] = start[r] + count[r]


@kernel
def repair(
    cost: I8,
    row: I4,
    demand: I8,
    capacity: I8,
    start: I8,
    member: I4,
    loss: F8,
    passes: int,
    choice: I4,
) -> int:
    """Make `choice` [w] feasible, then cheaper; return how many passes found something.

    Every limit is a row here, those of homes as well: `row` [w, k, q] are the rows an option takes
    of, -1 none, and `demand` [w, q] how much; `capacity` [r]. ``member[start[r]:start[r+1]]``
    are the workloads with an option on row r. `loss` [w] is how much each would miss its place,
    micro-dollars per hour: of a row that is over, who would miss it least per unit leaves first.

    Who had to leave takes the cheapest option with room, by falling worth. Then, pass by pass, each
    workload takes a cheaper option that has room, or that has once one other gives way, if both
    together gain by it. The last option of a workload is always open and takes no row.
    """
    workloads, options = cost.shape
    width = row.shape[2]
    free = capacity.copy()
    for w in range(workloads):
        for q in range(width):
            r = row[w, choice[w], q]
            if r >= 0:
                free[r] -= demand[w, q]

    # who leaves
    left = np.empty(workloads, np.int64)
    leaving = 0
    for r in range(capacity.shape[0]):
        if free[r] >= 0:
            continue
        on = np.empty(start[r + 1] - start[r], np.int64)
        rate = np.empty(on.shape[0])
        n = 0
        for at in range(start[r], start[r + 1]):
            w = member[at]
            for q in range(width):
                if row[w, choice[w], q] == r and demand[w, q] > 0:
                    on[n] = w
                    rate[n] = loss[w] / demand[w, q]
                    n += 1
        for at in np.argsort(rate[:n], kind="mergesort"):
            if free[r] >= 0:
                break
            w = on[at]
            for q in range(width):
                other = row[w, choice[w], q]
                if other >= 0:
                    free[other] += demand[w, q]
            choice[w] = options - 1
            left[leaving] = w
            leaving += 1

    # where they go
    worth = np.empty(leaving)
    for at in range(leaving):
        w = left[at]
        worth[at] = -float(cost[w, options - 1] - cost[w].min())
    for at in np.argsort(worth, kind="mergesort"):
        w = left[at]
        best = options - 1
        for k in range(options - 1):
            if cost[w, k] >= cost[w, best]:
                continue
            fits = True
            for q in range(width):
                r = row[w, k, q]
                if r >= 0 and demand[w, q] > free[r]:
                    fits = False
            if fits:
                best = k
        choice[w] = best
        for q in range(width):
            if row[w, best, q] >= 0:
                free[row[w, best, q]] -= demand[w, q]

    done = 0
    for _ in range(passes):
        better = False
        for w in range(workloads):
            for k in range(options):
                now = choice[w]
                if cost[w, k] >= cost[w, now]:
                    continue
                # who moves gives its own room back first
                for q in range(width):
                    if row[w, now, q] >= 0:
                        free[row[w, now, q]] += demand[w, q]
                short = -1
                shorts = 0
                for q in range(width):
                    r = row[w, k, q]
                    if r >= 0 and demand[w, q] > free[r]:
                        shorts += 1
                        short = r
                moved = shorts == 0
                if not moved:
                    gain = cost[w, now] - cost[w, k]
                    best_loss = gain
                    best_other = -1
                    best_to = -1
                    for at in range(start[short], start[short + 1]):
                        v = member[at]
                        was = choice[v]
                        if v == w or was == options - 1:
                            continue
                        uses = False
                        for q in range(width):
                            uses |= row[v, was, q] == short
                        if not uses:
                            continue
                        for q in range(width):
                            if row[v, was, q] >= 0:
                                free[row[v, was, q]] += demand[v, q]
                        fits = True
                        for q in range(width):
                            r = row[w, k, q]
                            if r >= 0 and demand[w, q] > free[r]:
                                fits = False
                        if fits:
                            for q in range(width):
                                if row[w, k, q] >= 0:
                                    free[row[w, k, q]] -= demand[w, q]
                            for to in range(options):
                                if cost[v, to] == CLOSED or to == was:
                                    continue
                                if cost[v, to] - cost[v, was] >= best_loss:
                                    continue
                                fits = True
                                for q in range(width):
                                    r = row[v, to, q]
                                    if r >= 0 and demand[v, q] > free[r]:
                                        fits = False
                                if fits:
                                    best_loss = cost[v, to] - cost[v, was]
                                    best_other = v
                                    best_to = to
                            for q in range(width):
                                if row[w, k, q] >= 0:
                                    free[row[w, k, q]] += demand[w, q]
                        for q in range(width):
                            if row[v, was, q] >= 0:
                                free[row[v, was, q]] -= demand[v, q]
                    if best_other >= 0:
                        was = choice[best_other]
                        for q in range(width):
                            if row[best_other, was, q] >= 0:
                                free[row[best_other, was, q]] += demand[best_other, q]
                            if row[best_other, best_to, q] >= 0:
                                free[row[best_other, best_to, q]] -= demand[best_other, q]
                        choice[best_other] = best_to
                        moved = True
                if moved:
                    choice[w] = k
                    better = True
                for q in range(width):
                    if row[w, choice[w], q] >= 0:
                        free[row[w, choice[w], q]] -= demand[w, q]
        if not better:
            break
        done += 1
    return done
