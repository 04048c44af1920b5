"""Where the alert line lies: firings at every level are counted, and the budget says how many.

Cohorts count together, in tables that lie in the rows of their members (`normality_cohort`). What
is counted are firings with the rule's own course, and whole numbers: the order of devices does not
matter.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.normality_cohort import F4, U1, CohortMemory
from aiops.kernels.rows import B1, F8, I4, I8

MEMBERS = 8
"""So many devices make a cohort, as in `normality_cohort`."""
LEVELS, PER_DOUBLING = 28, 12.0
"""Levels of the score at which firings are counted, each 6 % above the one before."""
EXPOSURE, SPENT, ALLOWED, SLOTS_OF_COUNTS = LEVELS, LEVELS + 1, LEVELS + 2, LEVELS + 3
"""Slots after the levels: series-days, what fired of late, and what might have."""
FULL = 65536
"""Exposure of a day is kept in two whole numbers, the second of which counts so many."""
CLEAR = 0.8
"""An alert at a level is over below this share of it, as by the rule's default."""
FEW = 5.0
"""A level with so many firings is taken at its word; beyond it the tail is continued."""
REMEMBERED, LEAST_DAYS, MOST_DAYS = 8.0, 3.0, 7.0
"""Firings are forgotten with a time constant in which the budget allows so many, within days."""
BURST, SPARE = 3.0, 3.0
"""A day counts at most so many times what was expected, and so many of its roots more..."""
HIGHEST, LOWEST = 4.0, 0.25
"""...and the line is at most and at least so many times the one that nothing was learnt for."""
BALANCE_DAYS, BALANCE_FIRINGS, BALANCE_MOST = 7.0, 5.0, 5.0
"""What was fired too little or too much within so many days is made up for, less so while few are
allowed, and by no more than this factor."""
RAISED, RAISED_HOURS = 1.0, 36.0
"""The line of a newcomer is higher by this share, and comes down to its cohort's in so long."""
PRIOR_DAYS = 2.0
"""What is expected of firings before any were seen weighs as much as so many days of a series."""
PRIOR_EXCEEDANCES = 4.0
"""The prior steepness of the tail weighs as much as so many firings."""
TINY = 1e-12


class Tail(NamedTuple):
    """What is known of firings before any were seen, and how many there may be."""

    base: float
    """Score of the lowest level."""
    rate: float
    """Firings a series-day at a line of `base`."""
    steepness: float
    """By how much the log of that falls with each unit of the score."""
    target: float
    """Firings a device-day that the budget allows."""


@kernel
def levels_under(score: float, base: float) -> int:
    """Return how many of the levels ``base * 2 ** (j / PER_DOUBLING)`` are at or under `score`."""
    if not score >= base:
        return 0
    return min(int(PER_DOUBLING * math.log2(score / base) + 1e-9) + 1, LEVELS)


@kernel
def score_against_line(
    device: I4, usable: B1, score: F8, base: float, line: F4, level: U1, fired: U1
) -> None:
    """Turn each raw `score` [n] into multiples of its device's line; count what would have fired.

    At every level at once, by the rule's own course: a level fires when the score reaches it, and
    is over below `CLEAR` of it. The levels that fire are always the lowest so many, so one number a
    device is their whole state. Rows that are not `usable` [n] are scored and counted nowhere.
    """
    for k in range(device.shape[0]):
        s = score[k]
        if math.isnan(s):
            continue
        i = device[k]
        score[k] = s / line[i]
        if not usable[k] or (level[i] == 0 and s < base):
            continue
        reached = levels_under(s, base)
        on = min(int(level[i]), levels_under(s / CLEAR, base))
        if reached > on:
            place = 0 if fired[i, 1] <= fired[i, 3] else 2
            if reached > fired[i, place + 1]:
                fired[i, place] = on
                fired[i, place + 1] = reached
            on = reached
        level[i] = on


@kernel
def raised_by(age_h: int) -> float:
    """Return how many times as high the line is of a device whose first value is so old, hours."""
    return 1.0 + RAISED * max(0.0, 1.0 - age_h / RAISED_HOURS)


@kernel
def seal_firings(
    hour: int,
    start: I8,
    member: I4,
    root: I4,
    watched: B1,
    new_day: bool,
    tail: Tail,
    memory: CohortMemory,
) -> None:
    """Add the firings of the hour that ended at `hour` to those of each cohort; lay its line anew.

    `watched` [size] are the devices that were scored in this hour, each for 1/24 of a day; `root`
    [size] is the device a part belongs to: the budget is the device's, so parts share it.
    """
    fired, w = memory.fired, memory.today.shape[1]
    counts, today, folded = (
        np.empty(SLOTS_OF_COUNTS),
        np.empty(EXPOSURE + 1),
        np.empty(SLOTS_OF_COUNTS),
    )
    nothing = np.zeros(SLOTS_OF_COUNTS)
    last_root = np.full(root.shape[0], -1, dtype=np.int32)
    for g in range(start.shape[0] - 1):
        first = start[g]
        n = int(start[g + 1] - first)
        if n < MEMBERS:
            for k in range(first, start[g + 1]):
                i = member[k]
                fired[i, :] = 0
                memory.line[i] = raised_by(hour - memory.born_hour[i]) * line_of(nothing, 1.0, tail)
            continue
        for b in range(SLOTS_OF_COUNTS):
            counts[b] = memory.counted[member[first + b // w], b % w]
        for b in range(EXPOSURE + 1):
            today[b] = memory.today[member[first + b // w], b % w]
        series, devices = 0, 0
        for k in range(first, start[g + 1]):
            i = member[k]
            if watched[i]:
                series += 1
                if last_root[root[i]] != g:
                    last_root[root[i]] = g
                    devices += 1
                for place in (0, 2):
                    for b in range(fired[i, place], fired[i, place + 1]):
                        today[b] += 1.0
            fired[i, :] = 0
        rest = EXPOSURE + 1
        hours = int(today[EXPOSURE]) + series
        hours += FULL * int(memory.today[member[first + rest // w], rest % w])
        today[EXPOSURE] = hours / 24.0
        share = devices / series if series else 1.0
        folded[:] = counts
        i = member[first]
        before = memory.line[i] / raised_by(hour - 1 - memory.born_hour[i])
        fold_day(today, folded, before, share, tail)
        if new_day:
            counts[:] = folded
            today[:] = 0.0
            hours = 0
        folded[SPENT], folded[ALLOWED] = counts[SPENT], counts[ALLOWED]
        line = line_of(folded, share, tail)
        for b in range(SLOTS_OF_COUNTS):
            memory.counted[member[first + b // w], b % w] = counts[b]
        for b in range(LEVELS):
            memory.today[member[first + b // w], b % w] = int(min(today[b], FULL - 1.0))
        memory.today[member[first + EXPOSURE // w], EXPOSURE % w] = hours % FULL
        memory.today[member[first + rest // w], rest % w] = min(hours // FULL, FULL - 1)
        for k in range(first, start[g + 1]):
            i = member[k]
            memory.line[i] = raised_by(hour - memory.born_hour[i]) * line


@kernel
def fold_day(today: F8, counts: F8, line: float, share: float, tail: Tail) -> None:
    """Add the firings of a day to those of the days before, which are forgotten a little.

    `line` is where the line lay, `share` how many devices a series. Nearly all alarms of the past
    are taken to be false. A day on which many were true must not raise the line: it counts no more
    than a bad day would.
    """
    if today[EXPOSURE] == 0.0:
        return
    allowed = tail.target * share * today[EXPOSURE]
    keep = math.exp(-1.0 / min(max(REMEMBERED / max(allowed, TINY), LEAST_DAYS), MOST_DAYS))
    exposure = counts[EXPOSURE] + PRIOR_DAYS
    for b in range(LEVELS):
        score = tail.base * 2.0 ** (b / PER_DOUBLING)
        prior = tail.rate * math.exp(-tail.steepness * (score - tail.base))
        expected = (counts[b] + PRIOR_DAYS * prior) / exposure * today[EXPOSURE]
        counts[b] = keep * counts[b] + believed(today[b], expected)
    counts[EXPOSURE] = keep * counts[EXPOSURE] + today[EXPOSURE]
    keep = math.exp(-1.0 / BALANCE_DAYS)
    place = PER_DOUBLING * math.log2(max(line, tail.base) / tail.base)
    under = min(int(place), LEVELS - 2)
    between = min(place - under, 1.0)
    fired = (1.0 - between) * today[under] + between * today[under + 1]
    counts[SPENT] = keep * counts[SPENT] + believed(fired, allowed)
    counts[ALLOWED] = keep * counts[ALLOWED] + allowed


@kernel
def believed(fired: float, expected: float) -> float:
    """Return how many of the firings of a day are taken to be false, where so many are expected."""
    return min(fired, BURST * expected + SPARE * math.sqrt(expected) + 1.0)


@kernel
def rate_at(b: int, counts: F8, tail: Tail) -> float:
    """Return firings a series-day at a level: those counted, and a little of what was expected."""
    score = tail.base * 2.0 ** (b / PER_DOUBLING)
    prior = tail.rate * math.exp(-tail.steepness * (score - tail.base))
    return float((counts[b] + PRIOR_DAYS * prior) / (counts[EXPOSURE] + PRIOR_DAYS))


@kernel
def steepness_over(b: int, counts: F8, tail: Tail) -> float:
    """Return by how much the log of firings falls with each unit of the score over level `b`.

    One over the mean excess over the level, together with the prior. Excesses over a high level of
    what has a light tail are exponential (Pickands, Ann. Stat. 3, 1975,
    doi:10.1214/aos/1176343003, with shape 0).
    """
    if b + 1 == LEVELS:
        return tail.steepness
    excess = 0.0
    for c in range(b + 1, LEVELS):
        upper = tail.base * 2.0 ** (c / PER_DOUBLING)
        lower = tail.base * 2.0 ** ((c - 1) / PER_DOUBLING)
        # between two levels firings fall as in an exponential tail
        fall = math.log(max(counts[c - 1], 0.3) / max(counts[c], 0.2))
        mean = (counts[c - 1] - counts[c]) / fall if abs(fall) > 1e-3 else counts[c]
        excess += mean * (upper - lower)
    seen = counts[b] - counts[LEVELS - 1]  # how far those go that pass the last level is not known
    return float((seen + PRIOR_EXCEEDANCES) / (excess + PRIOR_EXCEEDANCES / tail.steepness))


@kernel
def score_at(target: float, counts: F8, tail: Tail) -> float:
    """Return the score at which so many fire a series-day, of firings by level."""
    before = rate_at(0, counts, tail)
    if target >= before:
        return float(tail.base - math.log(target / before) / steepness_over(0, counts, tail))
    for b in range(LEVELS):
        score = tail.base * 2.0 ** (b / PER_DOUBLING)
        rate = rate_at(b, counts, tail)
        if rate <= target:
            under = tail.base * 2.0 ** ((b - 1) / PER_DOUBLING)
            part = math.log(before / target) / math.log(before / rate)
            return float(under + part * (score - under))
        if b + 1 == LEVELS or counts[b + 1] < FEW:
            return float(score + math.log(rate / target) / steepness_over(b, counts, tail))
        before = rate
    return float(score)


@kernel
def line_of(counts: F8, share: float, tail: Tail) -> float:
    """Return the score at which as many fire as the budget allows, of what was counted.

    With `share` devices a series, each has so much of its device's budget. Where levels have few
    firings, the tail is continued (`steepness_over`). What was fired too little or too much of late
    is made up for: over months, the budget is what is fired, whatever the tail is like and however
    it changes (as adaptive conformal inference does; Gibbs and Candes, arXiv:2106.00170).
    """
    target = max(tail.target * share, 1e-12)
    usual = tail.base + max(math.log(tail.rate / target), 0.0) / tail.steepness
    balance = (counts[ALLOWED] + BALANCE_FIRINGS) / (counts[SPENT] + BALANCE_FIRINGS)
    target *= min(max(balance, 1.0 / BALANCE_MOST), BALANCE_MOST)
    line = score_at(target, counts, tail)
    return min(max(line, LOWEST * usual), HIGHEST * usual)
