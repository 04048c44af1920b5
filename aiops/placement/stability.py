"""Why work stays where it is: a move must have been worth it, or be certain to be.

See ``docs/design/stability.md``.
"""

from __future__ import annotations

import math

import numpy as np

from aiops.kernels import work as kernels
from aiops.kernels.rows import B1, I4, I8
from aiops.kernels.work import Patience, Work

PATIENCE = Patience(evidence=0.3, assurance=2.0, slack=1.25)
"""Chosen on simulated costs and on the first half of the Seattle round trips
(``benchmarks/stability.py`` says which)."""
LEVEL_S = 1200.0
"""How slowly the smoothed costs follow."""
LONGEST_H = 24.0
"""Nobody stays away from a place for longer because the move has not paid yet."""


def unknown(shape: tuple[int, int]) -> Work:
    """Return what is known of workloads and options [w, k] that were never seen: nothing."""
    return Work(
        owed=np.full(shape, np.nan),
        level=np.full(shape, np.nan),
        spent=np.zeros(shape[0]),
        least=np.zeros(shape[0]),
        beyond=np.zeros(shape[0]),
        barred_h=np.zeros(shape),
    )


def advance(
    work: Work,
    cost: I8,
    open_: B1,
    move: I8,
    current: I4,
    elapsed_s: float,
    horizon_s: float,
    patience: Patience = PATIENCE,
) -> tuple[Work, I8]:
    """Return `work` at the present costs, and the bias [w, k] that makes the least decide.

    Args:
        work: as it was; it is left alone.
        cost: [w, k] micro-dollars per hour; where not `open_`, what is lost then.
        open_: [w, k] where one may be.
        move: [w, k] micro-dollars to get there from `current`.
        current: [w] option where each is.
        elapsed_s: since the last call; a long silence counts as one horizon.
        horizon_s: over which a smoothed cost is taken to last.
        patience: what is asked of a move.
    """
    after = Work(*(array.copy() for array in work))
    bias = np.zeros(cost.shape, dtype=np.int64)
    elapsed_h = min(max(elapsed_s, 0.0), horizon_s) / 3600.0
    forget = -math.expm1(-elapsed_h * 3600.0 / LEVEL_S)
    kernels.advance(
        after, cost, open_, move, current, elapsed_h, horizon_s / 3600.0, forget, patience, bias
    )
    return after, bias


def moved(work: Work, before: I4, after: I4, open_: B1, move: I8, horizon_s: float) -> Work:
    """Return `work` when those who were at option `before` [w] have gone to `after` [w].

    `work`, `open_`, `move` [w, k] and `horizon_s` are those of `advance`.
    """
    rows = np.flatnonzero(after != before)
    left, taken = before[rows], after[rows]
    saves = np.maximum(work.level[rows, left] - work.level[rows, taken], 1e-9)
    # smoothed costs are not what is paid: it may take twice as long
    pays_h = np.clip(2.0 * move[rows, taken] / saves, horizon_s / 3600.0, LONGEST_H)
    barred_h = work.barred_h.copy()
    barred_h[rows, left] = np.where(open_[rows, left], pays_h, 0.0)  # not who was driven out
    return work._replace(
        spent=work.spent + move[np.arange(len(before)), after],
        beyond=np.where(after != before, 0.0, work.beyond),
        barred_h=barred_h,
    )
