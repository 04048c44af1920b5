"""Whether to move yet: work functions of metrical task systems, with a forecast."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, F8, I4, I8


class Work(NamedTuple):
    """What is carried from one decision to the next."""

    owed: F8
    """[w, k] micro-dollars: work function less its minimum. NaN: the option is new."""
    level: F8
    """[w, k] micro-dollars per hour: what it costs, smoothed; where closed, what is lost then."""
    spent: F8
    """[w] micro-dollars, moves included."""
    least: F8
    """[w] micro-dollars that nobody could have spent less than, had all been known."""
    beyond: F8
    """[w] micro-dollars that the present place has lost beyond what `owed` holds of it."""
    barred_h: F8
    """[w, k] for so long it does not go back there: until leaving it has paid."""


class Patience(NamedTuple):
    """How much is asked of a move before it is made; see `placement.stability`."""

    evidence: float
    """Share of the cost of a move that must have been lost already by not being there."""
    assurance: float
    """What was lost, and what is expected over the horizon, as multiples of the cost of a move."""
    slack: float
    """As long as what was spent is within so many times the least, forecasts are trusted."""


@kernel
def advance(
    work: Work,
    cost: I8,
    open_: B1,
    move: I8,
    current: I4,
    elapsed_h: float,
    horizon_h: float,
    forget: float,
    patience: Patience,
    bias: I8,
) -> None:
    """Advance `work` by `elapsed_h`, and write what to add to costs so that the least decides.

    `cost` [w, k] are micro-dollars per hour, what is lost where it is closed; `open_` where one may
    be; `move` [w, k] what it costs to get there from option `current` [w]. `forget` is the weight
    of what is new in `level`.

    The work function of an option is the least that any sequence of places that ends there could
    have cost (Borodin, Linial, Saks 1992, doi:10.1145/146585.146588); moving is the same between
    any two, the dearest of `move`. Who was never seen goes where the horizon pays for the move. Who
    was moves when another place would have saved a share of the move already, and what it would
    have saved and what it saves over the horizon at smoothed costs is a multiple of it; and not
    back to a place before leaving it has paid (`Work.barred_h`). Where that has done badly, what
    was saved must pay for the move alone: the rule whose cost stays below 2k - 1 times the least.
    Compared are work functions before they are cut at the cost of a move, or nobody would ever
    move.

    `bias` is 0 for the present place. Where that is closed, the others cost what they will, with
    what they owe and the move spread over the horizon.
    """
    workloads, options = cost.shape
    ahead = np.empty(options)
    for w in range(workloads):
        here = current[w]
        dear = 1.0
        for k in range(options):
            dear = max(dear, float(move[w, k]))
        fresh = np.isnan(work.level[w, here])
        # all up to now: who is closed is reached by a move
        lowest = np.inf
        for k in range(options):
            work.barred_h[w, k] = max(0.0, work.barred_h[w, k] - elapsed_h)
            known = not np.isnan(work.owed[w, k])
            ahead[k] = work.owed[w, k] if known else (0.0 if k == here else dear)
            if np.isnan(work.level[w, k]):
                work.level[w, k] = cost[w, k]
            else:
                work.level[w, k] += forget * (cost[w, k] - work.level[w, k])
            if open_[w, k]:
                ahead[k] += cost[w, k] * elapsed_h
                lowest = min(lowest, ahead[k])
            else:
                ahead[k] = np.inf
        if lowest == np.inf:
            continue
        work.least[w] += lowest
        for k in range(options):
            ahead[k] -= lowest
            work.owed[w, k] = min(ahead[k], dear)
        if open_[w, here]:
            work.spent[w] += cost[w, here] * elapsed_h
        trusted = work.spent[w] <= patience.slack * work.least[w] + dear
        # cut at one move, a small advantage that lasts would never add up to more
        lost = ahead[here] + work.beyond[w]
        work.beyond[w] = max(0.0, min(lost, 2.0 * dear) - work.owed[w, here])
        for k in range(options):
            bias[w, k] = 0
            if k == here or not open_[w, k]:
                continue
            if not open_[w, here]:
                wanted = work.level[w, k] + (ahead[k] + move[w, k]) / horizon_h
                bias[w, k] = int(np.rint(wanted)) - cost[w, k]
                continue
            saves = horizon_h * (work.level[w, here] - work.level[w, k])
            saved = lost - ahead[k]
            if fresh:
                gain = saves - move[w, k]
            elif trusted:
                gain = min(
                    saved - patience.evidence * dear, saved + saves - patience.assurance * dear
                )
                if work.barred_h[w, k] > 0.0:
                    gain = min(gain, -dear)
            else:
                gain = ahead[here] - ahead[k] - dear
            # whole numbers, and never 0: a move that gains nothing is not made
            worse = int(np.floor(-gain / horizon_h))
            worse = worse if worse < 0 else worse + 1
            bias[w, k] = cost[w, here] + worse - cost[w, k]
