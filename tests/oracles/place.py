"""Slow, obvious twin of the greedy assignment, and brute force. Plain Python only."""

from __future__ import annotations

import itertools


def place(cost, node, reserved, cpu, memory, free_cpu, free_memory, choice):
    """Return the choice of each workload; `cost` is None where an option may not be taken."""
    free = {n: [free_cpu[n], free_memory[n]] for n in range(len(free_cpu))}
    chosen = dict(enumerate(choice))
    movable = [i for i, k in chosen.items() if k == -1]
    full = set()

    def fits(i, k):
        n = node[i][k]
        return n < 0 or k == reserved[i] or (cpu[i] <= free[n][0] and memory[i] <= free[n][1])

    def take(i, k, sign):
        n = node[i][k]
        if n >= 0:
            free[n][0] -= sign * cpu[i]
            free[n][1] -= sign * memory[i]

    waiting = list(movable)
    while waiting:
        wish = {}
        for i in waiting:
            full |= {(i, k) for k in range(len(node[i])) if not fits(i, k)}
            ranked = sorted(
                (c, k) for k, c in enumerate(cost[i]) if c is not None and (i, k) not in full
            )
            regret = ranked[1][0] - ranked[0][0] if len(ranked) > 1 else float("inf")
            wish[i] = (-regret, i, ranked[0][1])
        waiting = []
        for _, i, k in sorted(wish.values()):
            if not fits(i, k):
                full.add((i, k))
                waiting.append(i)
                continue
            if reserved[i] >= 0:
                take(i, reserved[i], -1)
            take(i, k, +1)
            chosen[i] = k

    shifted = True
    while shifted:
        shifted = False
        for i in movable:
            for k, c in sorted(
                enumerate(cost[i]), key=lambda one: (one[1] is None, one[1], one[0])
            ):
                if c is None or c >= cost[i][chosen[i]]:
                    break
                n = node[i][k]
                if n < 0 or (cpu[i] <= free[n][0] and memory[i] <= free[n][1]):
                    take(i, chosen[i], -1)
                    take(i, k, +1)
                    chosen[i] = k
                    shifted = True
                    break
    return [chosen[i] for i in range(len(node))]


def cheapest(cost, node, cpu, memory, free_cpu, free_memory):
    """Return the least total cost of any assignment within the capacities, by trying all."""
    best = None
    for choice in itertools.product(*(range(len(row)) for row in node)):
        if any(cost[i][k] is None for i, k in enumerate(choice)):
            continue
        used = {}
        for i, k in enumerate(choice):
            one = used.setdefault(node[i][k], [0, 0])
            one[0] += cpu[i]
            one[1] += memory[i]
        if any(n >= 0 and (u[0] > free_cpu[n] or u[1] > free_memory[n]) for n, u in used.items()):
            continue
        total = sum(cost[i][k] for i, k in enumerate(choice))
        best = total if best is None else min(best, total)
    return best
