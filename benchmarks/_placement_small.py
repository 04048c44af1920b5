"""Small instances, where every choice that could be better than ours can be looked at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aiops.placement.instance import CLOSED, UNLIMITED, Instance
from benchmarks._placement_instances import REGIMES, make

SIZES = range(3, 13)


def small(seed: int, count: int) -> Iterator[Instance]:
    """Yield instances of 3 to 12 workloads, of all regimes in turn."""
    for one in range(count):
        yield make(sorted(REGIMES)[one % len(REGIMES)], SIZES[one % len(SIZES)], seed + one)


def optimum(instance: Instance, known: int) -> int:
    """Return the least cost of any choice, or `known`, which some choice has, if none is cheaper.

    Breadth first: all choices of the first workload, then all that extend them, and so on, but for
    those that break a limit, or that cost as much as `known` with the others at their cheapest.
    """
    w, k = instance.cost.shape
    shared = len(instance.capacity)
    home = np.repeat(np.arange(len(instance.room)), np.diff(instance.block))
    limit = np.concatenate([instance.capacity, instance.room.ravel()])
    rest = np.append(np.cumsum(instance.cost.min(axis=1)[::-1])[::-1], 0)
    spent, used = np.zeros(1, np.int64), np.zeros((1, len(limit)), np.int64)
    for i in range(w):
        next_spent, next_used = [], []
        for option in range(k):
            price = int(instance.cost[i, option])
            if price == CLOSED:
                continue
            taken = np.zeros(len(limit), np.int64)
            at, link = int(instance.node[i, option]), int(instance.uplink[i, option])
            if at >= 0:
                taken[3 * at : 3 * at + 3] += instance.demand[i, :3]
            elif option == 0:
                own = shared + 3 * home[i]
                taken[own : own + 3] += instance.demand[i, :3]
            if link >= 0:
                taken[3 * instance.nodes + link] += instance.demand[i, 3]
            total = spent + price
            fits = (used + taken <= np.maximum(limit, np.where(taken > 0, limit, UNLIMITED))).all(1)
            fits &= total + rest[i + 1] < known
            next_spent.append(total[fits])
            next_used.append(used[fits] + taken)
        spent, used = np.concatenate(next_spent), np.concatenate(next_used)
        if not len(spent):
            return known
    return int(spent.min())
