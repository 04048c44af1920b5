"""Who decides where work runs, tick by tick; and the best in hindsight."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aiops.kernels.rows import F8, I8
from aiops.kernels.work import Patience
from aiops.placement import stability
from benchmarks._stability_data import DOLLARS, Trace

Policy = Callable[[F8, I8], I8]
"""Measured costs [w, k], where each is [w] -> where each goes [w]."""
SHUT = 10**9
"""Stands for a cost of who is where nobody may be, micro-dollars per hour."""


class Outcome(NamedTuple):
    """What a policy paid, by workload."""

    cost: F8
    """[w] micro-dollars, moves included."""
    moves: F8
    """[w]"""
    returns: int
    """A to B to A within the time in which the first move would have paid, not forced."""


def hindsight(trace: Trace, start: I8) -> Outcome:
    """Return the least that could have been paid, by dynamic programming over all ticks."""
    ticks, w, k = trace.true.shape
    hours, rows = trace.tick_s / 3600.0, np.arange(w)
    least = np.tile(trace.move[:, None], (1, k))
    least[rows, start] = 0.0
    came = np.empty((ticks, w), dtype=np.int8)
    moved = np.empty((ticks, w, k), dtype=np.bool_)
    for tick in range(ticks):
        came[tick] = least.argmin(axis=1)
        via = least[rows, came[tick]] + trace.move
        moved[tick] = via[:, None] < least
        least = np.minimum(least, via[:, None]) + _finite(trace.true[tick]) * hours
    at, moves = least.argmin(axis=1), np.zeros(w)
    cost = least[rows, at]
    for tick in range(ticks - 1, -1, -1):
        goes = moved[tick, rows, at]
        moves += goes
        at = np.where(goes, came[tick], at)
    return Outcome(cost, moves + (at != start), 0)


def played(trace: Trace, start: I8, policy: Policy) -> Outcome:
    """Return what `policy` pays, which sees what is measured and pays what is true."""
    w = len(start)
    hours, rows = trace.tick_s / 3600.0, np.arange(w)
    at, cost, moves, returns = start.copy(), np.zeros(w), np.zeros(w), 0
    left, since, paying = np.full(w, -1), np.zeros(w), np.zeros(w)
    forced = np.zeros(w, dtype=np.bool_)
    for tick, (true, measured) in enumerate(zip(trace.true, trace.measured, strict=True)):
        to = policy(measured, at)
        went = np.flatnonzero(to != at)
        driven = ~np.isfinite(measured[went, at[went]])
        back = (to[went] == left[went]) & ~driven & ~forced[went]
        returns += int((back & (tick - since[went] < paying[went])).sum())
        gain = np.abs(_finite(true[went, at[went]]) - _finite(true[went, to[went]]))
        left[went], since[went], forced[went] = at[went], tick, driven
        paying[went] = trace.move[went] / np.maximum(gain * hours, 1e-9)
        cost[went] += trace.move[went]
        moves[went] += 1
        at = to
        cost += _finite(true[rows, at]) * hours
    return Outcome(cost, moves, returns)


def greedy(measured: F8, at: I8) -> I8:
    """Go where it is cheapest now."""
    return np.asarray(measured.argmin(axis=1))


class Hysteresis:
    """Go where it is cheapest if that saves a share, and not sooner than so long after the last."""

    def __init__(self, share: float, cooldown_s: float = 0.0, tick_s: float = 1.0) -> None:
        self.share, self.wait = share, cooldown_s / tick_s
        self.tick, self.last = 0, np.empty(0)

    def __call__(self, measured: F8, at: I8) -> I8:
        if not self.tick:
            self.last = np.full(len(at), -np.inf)
        rows, best = np.arange(len(at)), measured.argmin(axis=1)
        here = measured[rows, at]
        goes = measured[rows, best] < (1.0 - self.share) * here
        goes &= (self.tick - self.last >= self.wait) | ~np.isfinite(here)
        self.last[goes] = self.tick
        self.tick += 1
        return np.where(goes, best, at)


class Told:
    """Sees true costs in place of readings; goes where it is cheapest if that pays in so long.

    No peer, as nobody is told; nor a bound, as its threshold is one and knows no future. Beside who
    reads with noise it shows what the noise costs, where costs wander and do not spike.
    """

    def __init__(self, trace: Trace, pays_s: float) -> None:
        self.true, self.move, self.pays_h = iter(trace.true), trace.move, pays_s / 3600.0

    def __call__(self, measured: F8, at: I8) -> I8:
        true, rows = _finite(next(self.true)), np.arange(len(at))
        best = true.argmin(axis=1)
        goes = (true[rows, at] - true[rows, best]) * self.pays_h > self.move
        return np.where(goes, best, at)


class Engine:
    """What the engine does: the kernel's bias, and the least of cost and bias."""

    def __init__(
        self, trace: Trace, horizon_s: float = 3600.0, patience: Patience = stability.PATIENCE
    ) -> None:
        w, k = trace.true.shape[1:]
        self.work, self.patience = stability.unknown((w, k)), patience
        self.move, self.tick_s, self.horizon_s = trace.move, trace.tick_s, horizon_s
        self.began = False

    def __call__(self, measured: F8, at: I8) -> I8:
        rows, open_ = np.arange(len(at)), np.isfinite(measured)
        cost = np.rint(np.where(open_, measured, DOLLARS)).astype(np.int64)
        move = np.tile(np.rint(self.move).astype(np.int64)[:, None], (1, cost.shape[1]))
        move[rows, at] = 0
        elapsed_s = self.tick_s if self.began else 0.0
        self.began = True
        self.work, bias = stability.advance(
            self.work,
            cost,
            open_,
            move,
            at.astype(np.int32),
            elapsed_s,
            self.horizon_s,
            self.patience,
        )
        to = np.where(open_, cost + bias, np.iinfo(np.int64).max).argmin(axis=1)
        self.work = stability.moved(self.work, at, to, open_, move, self.horizon_s)
        return np.asarray(to)


WORK_FUNCTION = Patience(evidence=1.0, assurance=-1e9, slack=1.0)
"""Forecasts count for nothing."""


def _finite(costs: F8) -> F8:
    return np.asarray(np.where(np.isfinite(costs), costs, SHUT))
