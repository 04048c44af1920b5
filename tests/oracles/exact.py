"""The least cost of a few workloads, by recursion over all that fits. Plain Python only."""

from __future__ import annotations


def best(cost, row, demand, capacity):
    """Return the least cost; `cost` is None where closed, `row` None where nothing is taken."""

    def least(i, free):
        if i == len(cost):
            return 0
        found = None
        for k, price in enumerate(cost[i]):
            if price is None:
                continue
            left = dict(free)
            for q, r in enumerate(row[i][k]):
                if r is not None:
                    left[r] -= demand[i][q]
            if min(left.values()) < 0:
                continue
            rest = least(i + 1, left)
            if rest is not None and (found is None or price + rest < found):
                found = price + rest
        return found

    return least(0, dict(enumerate(capacity)))
