"""What a placement may cost, by trying everything. Plain Python only."""

from __future__ import annotations

import itertools


def best_at_home(cost, inside, demand, room):
    """Return the least cost of one home at given prices, by trying every subset that stays.

    `cost` holds the cheapest way out of each workload, prices included; `inside` what staying costs
    it, None where it may not. `demand` and `room` are triples.
    """
    best = None
    for stays in itertools.product((False, True), repeat=len(cost)):
        if any(stay and inside[i] is None for i, stay in enumerate(stays)):
            continue
        used = [sum(d[r] for d, stay in zip(demand, stays, strict=True) if stay) for r in range(3)]
        if any(used[r] > room[r] for r in range(3)):
            continue
        total = sum(inside[i] if stay else cost[i] for i, stay in enumerate(stays))
        best = total if best is None else min(best, total)
    return best


def violated(cost, node, uplink, demand, room, capacity, nodes, home, choice):
    """Return the hard constraints that `choice` breaks, in words; `cost` is None where closed."""
    broken = []
    used = {}

    def take(key, amount, most):
        used[key] = used.get(key, 0) + amount
        if used[key] > most and (key, "over") not in broken:
            broken.append((key, "over"))

    for i, k in enumerate(choice):
        if not 0 <= k < len(cost[i]) or cost[i][k] is None:
            broken.append((i, "closed"))
            continue
        at, link = node[i][k], uplink[i][k]
        if k == 0 and at < 0:
            for r in range(3):
                take(("home", home[i], r), demand[i][r], room[home[i]][r])
        if at >= 0:
            for r in range(3):
                take(("node", at, r), demand[i][r], capacity[3 * at + r])
        if link >= 0:
            take(("uplink", link), demand[i][3], capacity[3 * nodes + link])
    return broken


def optimum(cost, node, uplink, demand, room, capacity, nodes, home):
    """Return the least cost of any choice that breaks nothing, by trying all."""
    given = (node, uplink, demand, room, capacity, nodes, home)
    best = None
    for choice in itertools.product(*(range(len(row)) for row in cost)):
        if not violated(cost, *given, choice):
            total = sum(cost[i][k] for i, k in enumerate(choice))
            best = total if best is None else min(best, total)
    return best
