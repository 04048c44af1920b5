"""The Lagrangian of a placement instance: one small knapsack a home, prices for what is shared."""

from __future__ import annotations

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I1, I4, I8

CLOSED = np.iinfo(np.int64).max
"""Cost of an option that may not be taken."""
MILLIONTH = 1e-6
NODES = 20_000
"""Branches of one knapsack that are looked into."""


@kernel
def pack(n: int, gain: F8, demand: I8, room: I8, taken: I8, left: F8, state: I8) -> float:
    """Mark in `taken` a subset of items that fits `room`; return a bound on what any could gain.

    Depth first over the items, which stand by falling gain; a branch ends when all that is left
    could not better the best. `gain` [n] is above 0, `demand` [n, 3], `room` [3]; `taken` [n] is
    written 0 or 1; `left` and `state` [n+1] are scratch; all may be longer. Exact within `NODES`
    branches: the subset is the best, and gains the bound. Beyond, the bound is the most that the
    branches not looked into could gain.
    (Martello and Toth, Knapsack Problems, 1990, section 2.5.)
    """
    left[n] = 0.0
    for at in range(n - 1, -1, -1):
        left[at] = left[at + 1] + gain[at]
    state[: n + 1] = 0  # 0 not tried, 1 taken, 2 left out
    cpu, memory, power = room[0], room[1], room[2]
    taken[:n] = 0
    best = -1.0
    value = 0.0
    depth = 0
    bound = -1.0
    looked = 0
    while depth >= 0:
        looked += 1
        if looked > NODES:
            # where the search stands, and the other branch of each item it took
            bound = value + left[depth]
            before = value
            for at in range(depth - 1, -1, -1):
                if state[at] == 1:
                    before -= gain[at]
                    bound = max(bound, before + left[at + 1])
            break
        if depth < n and value + left[depth] > best:
            fits = demand[depth, 0] <= cpu and demand[depth, 1] <= memory
            if fits and demand[depth, 2] <= power:
                state[depth] = 1
                value += gain[depth]
                cpu -= demand[depth, 0]
                memory -= demand[depth, 1]
                power -= demand[depth, 2]
            else:
                state[depth] = 2
            depth += 1
            continue
        if depth == n and value > best:
            best = value
            for at in range(n):
                taken[at] = 1 if state[at] == 1 else 0
        depth -= 1
        while depth >= 0 and state[depth] == 2:
            depth -= 1
        if depth >= 0:
            state[depth] = 2
            value -= gain[depth]
            cpu += demand[depth, 0]
            memory += demand[depth, 1]
            power += demand[depth, 2]
            depth += 1
    return max(best, bound)


@kernel
def rank_options(cost: I8, rows: I4, rank: I1) -> None:
    """Write the options of the workloads `rows`, cheapest first, into `rank` [w, k].

    Of equal ones the first comes first; those that are `CLOSED` come last.
    """
    for w in rows:
        for k in range(cost.shape[1]):
            at = k
            while at > 0 and cost[w, rank[w, at - 1]] > cost[w, k]:
                rank[w, at] = rank[w, at - 1]
                at -= 1
            rank[w, at] = k


@kernel
def price_blocks(
    homes: I4,
    block: I4,
    cost: I8,
    rank: I1,
    node: I4,
    uplink: I4,
    demand: I8,
    room: I8,
    nodes: int,
    price: F8,
    usage: I8,
    choice: I4,
    term: I8,
) -> None:
    """Solve the own problem of each of `homes` at given prices of what is shared.

    Arrays are those of `placement.instance.Instance`, `rank` is that of `rank_options`; `price` [r]
    is in micro-dollars per hour and unit. Written for `homes`: `choice` [w], the option of each
    workload that is best for its home; `term` [d], what that costs with prices, in thousandths of
    a micro-dollar per hour, rounded down. `usage` [r] of the shared rows, which is that of `choice`
    before and after. The sum of `term` less prices times capacities is a lower bound on the cost of
    any plan (Geoffrion 1974, doi:10.1007/BFb0120690).
    """
    options = cost.shape[1]
    most = 0
    for i in homes:
        most = max(most, block[i + 1] - block[i])
    gain = np.empty(most)
    asked = np.empty((most, 3), np.int64)
    row = np.empty(most, np.int64)
    taken = np.empty(most, np.int64)
    left = np.empty(most + 1)
    state = np.empty(most + 1, np.int64)
    for i in homes:
        total = 0.0
        n = 0
        cpu, memory, power = room[i, 0], room[i, 1], room[i, 2]
        for w in range(block[i], block[i + 1]):
            was = choice[w]
            best = np.inf
            take = options - 1
            for j in range(options):
                k = rank[w, j]
                # prices only add: nobody later can be cheaper
                if cost[w, k] == CLOSED or float(cost[w, k]) >= best:
                    break
                at, link = node[w, k], uplink[w, k]
                if k == 0 and at < 0:
                    continue
                value = float(cost[w, k])
                if at >= 0:
                    value += MILLIONTH * (
                        price[3 * at] * demand[w, 0]
                        + price[3 * at + 1] * demand[w, 1]
                        + price[3 * at + 2] * demand[w, 2]
                    )
                if link >= 0:
                    value += MILLIONTH * price[3 * nodes + link] * demand[w, 3]
                if value < best:
                    best = value
                    take = k
            total += best
            at, link = node[w, was], uplink[w, was]
            if at >= 0:
                for resource in range(3):
                    usage[3 * at + resource] -= demand[w, resource]
            if link >= 0:
                usage[3 * nodes + link] -= demand[w, 3]
            choice[w] = take
            if node[w, 0] < 0 and cost[w, 0] != CLOSED and float(cost[w, 0]) < best:
                # by falling gain, so that `pack` meets good subsets first
                gained = best - float(cost[w, 0])
                at = n
                while at > 0 and gain[at - 1] < gained:
                    gain[at] = gain[at - 1]
                    row[at] = row[at - 1]
                    at -= 1
                gain[at] = gained
                row[at] = w
                n += 1
                cpu -= demand[w, 0]
                memory -= demand[w, 1]
                power -= demand[w, 2]
        if n > 0 and cpu >= 0 and memory >= 0 and power >= 0:
            for at in range(n):
                choice[row[at]] = 0
                total -= gain[at]
        elif n > 0:
            for at in range(n):
                for resource in range(3):
                    asked[at, resource] = demand[row[at], resource]
            total -= pack(n, gain, asked, room[i], taken, left, state)
            for at in range(n):
                if taken[at] == 1:
                    choice[row[at]] = 0
        # never above what it costs, whatever was lost in the last digits
        term[i] = int(np.floor(1e3 * total - 1e-6 * abs(total)))
        for w in range(block[i], block[i + 1]):
            k = choice[w]
            at, link = node[w, k], uplink[w, k]
            if at >= 0:
                for resource in range(3):
                    usage[3 * at + resource] += demand[w, resource]
            if link >= 0:
                usage[3 * nodes + link] += demand[w, 3]


@kernel
def price_choice(
    homes: I4,
    block: I4,
    cost: I8,
    node: I4,
    uplink: I4,
    demand: I8,
    nodes: int,
    price: F8,
    choice: I4,
    value: F8,
) -> None:
    """Write into `value` [d] what each of `homes` costs with prices where `choice` [w] puts it."""
    for i in homes:
        total = 0.0
        for w in range(block[i], block[i + 1]):
            k = choice[w]
            total += float(cost[w, k])
            at, link = node[w, k], uplink[w, k]
            if at >= 0:
                for resource in range(3):
                    total += MILLIONTH * price[3 * at + resource] * demand[w, resource]
            if link >= 0:
                total += MILLIONTH * price[3 * nodes + link] * demand[w, 3]
        value[i] = total
