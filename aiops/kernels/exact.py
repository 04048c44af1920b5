"""The best choice of a few workloads, by looking at all that could be better."""

from __future__ import annotations

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import I1, I4, I8


@kernel
def improve(
    cost: I8,
    row: I4,
    demand: I8,
    capacity: I8,
    rank: I1,
    order: I4,
    branches: int,
    choice: I4,
) -> bool:
    """Make the feasible `choice` [w] the best one; return whether it is proven to be that.

    Depth first over the workloads as they stand in `order`, their options cheapest first (`rank`
    [w, k]). A branch ends where those that are left, each at the cheapest option that still has
    room, could not better the best (branch and bound with forward checking: Land and Doig 1960,
    doi:10.2307/1910129). Every limit is a row: `row` [w, k, q] are the rows an option takes of, -1
    none, `demand` [w, q] how much, `capacity` [r]. Looks at so many `branches` and no more; then
    `choice` is the best met so far.
    """
    workloads, options = rank.shape
    width = row.shape[2]
    free = capacity.copy()
    best = 0
    for w in range(workloads):
        best += cost[w, choice[w]]
    at = np.full(workloads + 1, -1, np.int64)  # place in `rank` of each depth
    spent = np.zeros(workloads + 1, np.int64)
    depth = 0 if workloads > 0 else -1
    looked = 0
    while depth >= 0:
        looked += 1
        if looked > branches:
            return False
        if at[depth] >= 0:  # undo what was tried here
            w = order[depth]
            k = rank[w, at[depth]]
            for q in range(width):
                if row[w, k, q] >= 0:
                    free[row[w, k, q]] += demand[w, q]
        at[depth] += 1
        w = order[depth]
        over = at[depth] == options or cost[w, rank[w, at[depth]]] >= best - spent[depth]
        if over:
            at[depth] = -1
            depth -= 1
            continue
        k = rank[w, at[depth]]
        fits = True
        for q in range(width):
            if row[w, k, q] >= 0:
                free[row[w, k, q]] -= demand[w, q]
                fits = fits and free[row[w, k, q]] >= 0
        if not fits:
            continue
        total = spent[depth] + cost[w, k]
        if depth == workloads - 1:
            best = total
            for one in range(workloads):
                choice[order[one]] = rank[order[one], at[one]]
            continue
        # the least that those who are left could cost
        least = total
        for one in range(depth + 1, workloads):
            v = order[one]
            for j in range(options):
                here = rank[v, j]
                room = True
                for q in range(width):
                    r = row[v, here, q]
                    if r >= 0 and demand[v, q] > free[r]:
                        room = False
                if room:
                    least += cost[v, here]
                    break
            if least >= best:
                break
        if least < best:
            depth += 1
            spent[depth] = total
    return True
