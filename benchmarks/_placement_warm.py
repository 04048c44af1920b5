"""A fleet that never stands still: one home in a hundred is another one after every tick."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aiops.placement.instance import CLOSED, Instance
from aiops.placement.market import Effort, Market, rows_of
from benchmarks._placement_instances import make

SHARE = 0.01
"""Of the homes, that change in a tick."""
STAY, SPREAD = 0.7, 0.25
"""Costs move as the exponential of an autoregression: what stays of it, and what is added."""
SHUT = 0.03
"""Probability that an option of a home that changes is ruled out until the home changes again."""


@dataclass(frozen=True)
class Warm:
    """What was measured; gaps in per cent, times in CPU seconds."""

    cold_s: float
    """Of a cold solve of the first instance, with the same good-enough gap."""
    tick_s: list[float]
    gaps: list[float]
    """After every tick."""
    cold_gap: float
    """Of a cold solve of the last instance."""
    market: Market


def warm(regime: str, size: int, seed: int, ticks: int, gap: float) -> Warm:
    """Return how `ticks` of changes are followed, from a plan that was solved cold to `gap`."""
    instance = make(regime, size, seed)
    effort = Effort(gap=gap)
    cold, first = _timed(instance, effort)
    market = Market(instance, first.prices)
    market.take(first.choice)
    seconds, gaps = [], []
    for homes in _changes(instance, seed, ticks):
        began = time.process_time()
        market.refresh(instance, homes)
        seconds.append(time.process_time() - began)
        gaps.append(100.0 * market.settled().gap)
    _, last = _timed(instance, effort)
    return Warm(cold, seconds, gaps, 100.0 * last.settled().gap, market)


def _timed(instance: Instance, effort: Effort) -> tuple[float, Market]:
    began = time.process_time()
    market = Market(instance)
    market.climb(effort)
    market.take(market.wish)
    market.search(effort)
    return time.process_time() - began, market


def _changes(instance: Instance, seed: int, ticks: int) -> Iterator[np.ndarray]:
    """Change `instance` in place, tick by tick; yield the homes that changed."""
    rng = np.random.default_rng([seed, 1])
    cost, room = instance.cost.copy(), instance.room.copy()
    d, k = len(room), cost.shape[1]
    level = np.zeros((d, k))
    for _ in range(ticks):
        homes = np.sort(rng.choice(d, max(1, int(SHARE * d)), replace=False)).astype(np.int32)
        level[homes] = STAY * level[homes] + rng.normal(0.0, SPREAD, (len(homes), k))
        level[homes, -1] = 0.0  # what a workload is worth stays
        shut = np.zeros((d, k), dtype=np.bool_)
        shut[homes, :-1] = rng.random((len(homes), k - 1)) < SHUT
        rows = rows_of(instance.block, homes)
        home = instance.home[rows]
        open_ = (cost[rows] != CLOSED) & ~shut[home]
        moved = np.where(open_, cost[rows], 0) * np.exp(level[home])
        instance.cost[rows] = np.where(open_, np.rint(moved).astype(np.int64), CLOSED)
        factor = np.clip(np.exp(level[homes, :1]), 0.3, 1.0)
        instance.room[homes] = (room[homes] * factor).astype(np.int64)
        yield homes
