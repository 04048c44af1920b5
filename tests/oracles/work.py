"""Work functions by their definition, and the rule on them one workload at a time. Plain Python."""

from __future__ import annotations

import itertools
import math


def work_function(costs, move, start):
    """Return the least that any sequence of places could have cost that ends in each option.

    By trying all of them. `costs` [t][k] for the whole of each tick, None where closed; a move
    costs `move`, also the one after the last tick.
    """
    options = range(len(costs[0]))
    least = [math.inf] * len(costs[0])
    for path in itertools.product(options, repeat=len(costs)):
        if any(tick[at] is None for tick, at in zip(costs, path, strict=True)):
            continue
        paid = sum(tick[at] for tick, at in zip(costs, path, strict=True))
        paid += move * sum(a != b for a, b in zip((start, *path), path, strict=False))
        for k in options:
            least[k] = min(least[k], paid + (move if k != path[-1] else 0))
    return least


def advance(known, cost, opens, move, here, elapsed_h, horizon_h, forget, patience):
    """Return what is known of one workload after a tick, and its bias [k].

    `known` is (owed, level, spent, least, beyond, barred_h) with None in `owed` and `level` for
    what is new; `patience` (evidence, assurance, slack).
    """
    owed, level, spent, least, beyond, barred_h = known
    evidence, assurance, slack = patience
    options = range(len(cost))
    open_ = [k for k in options if opens[k]]
    dear = max(1.0, *move)
    new = level[here] is None
    level = [
        float(c) if v is None else v + forget * (c - v) for v, c in zip(level, cost, strict=True)
    ]
    barred_h = [max(0.0, hours - elapsed_h) for hours in barred_h]
    if not open_:
        return (owed, level, spent, least, beyond, barred_h), None

    began = [o if o is not None else (0.0 if k == here else dear) for k, o in enumerate(owed)]
    total = {k: began[k] + cost[k] * elapsed_h for k in open_}
    lowest = min(total.values())
    over = [total[k] - lowest if k in total else math.inf for k in options]
    least += lowest
    if here in total:
        spent += cost[here] * elapsed_h

    lost = over[here] + beyond
    beyond = max(0.0, min(lost, 2.0 * dear) - min(over[here], dear))
    bias = [0] * len(cost)
    for k in open_:
        if k == here:
            continue
        if here not in total:
            bias[k] = round(level[k] + (over[k] + move[k]) / horizon_h) - cost[k]
            continue
        saves, saved = horizon_h * (level[here] - level[k]), lost - over[k]
        if new:
            gain = saves - move[k]
        elif spent <= slack * least + dear:
            gain = min(saved - evidence * dear, saved + saves - assurance * dear)
            if barred_h[k] > 0.0:
                gain = min(gain, -dear)
        else:
            gain = over[here] - over[k] - dear
        # cheaper by what is gained an hour; who gains nothing is dearer by 1 at least
        per_hour = math.floor(-gain / horizon_h)
        bias[k] = cost[here] - cost[k] + (per_hour if gain > 0.0 else per_hour + 1)
    return ([min(o, dear) for o in over], level, spent, least, beyond, barred_h), bias
