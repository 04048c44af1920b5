"""What the members of a cohort have in common, sealed every hour, and where the alert line lies.

A table of a cohort is kept in the rows of its first members: slot ``b`` is column ``b % w`` of the
member ``b // w``. So a memory has no second axis of cohorts, and a device's cohort never changes.
All statistics are medians and whole numbers: the order of devices does not matter.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, F8, I4, I8

F4: TypeAlias = npt.NDArray[np.float32]
U1: TypeAlias = npt.NDArray[np.uint8]
U2: TypeAlias = npt.NDArray[np.uint16]
I2: TypeAlias = npt.NDArray[np.int16]

MEMBERS = 8
"""So many devices make a cohort; fewer say nothing of one another."""
HOURS_OF_DAY, HOURS_OF_WEEK = 24, 168
SLOTS = 8
"""Columns of `CohortMemory.profile`: a cohort of 3 members knows a day, one of 24 a week."""
LEVELS, PER_DOUBLING = 30, 6.0
"""Levels of the score at which firings are counted, each 12 % above the one before..."""
COUNTS = 4
"""...in rows of so many columns; the slot after the last level is exposure."""
FULL = 65536
"""Exposure of a day is kept in two whole numbers, the second of which counts so many."""
CLEAR = 0.8
"""An alert at a level is over below this share of it, as by the rule's default."""
NEW_SHARE = 0.3
"""Weight of the hour just ended in its bin of a profile."""
NARROW = 0.05
"""A cohort is never taken to agree better than this, in its members' own scales."""
STEEP, TINY = 4.0, 1e-9
"""A device moves at most so many times as much as its cohort does in a day."""
BETA_SHARE = 1.0 / 48.0
"""Weight of an hour in a device's share in its cohort's profile."""
PARTS, UNKNOWN = 256.0, -32768
"""How a profile is kept in whole numbers."""
FEW = 5.0
"""A level with so many firings is taken at its word; beyond it the tail is continued."""
MOST_DAYS = 14.0
"""Firings are forgotten with this time constant, days."""
BURST, SPARE = 3.0, 3.0
"""A day counts at most so many times what was expected, and so many firings more..."""
HIGHEST, LOWEST = 4.0, 0.25
"""...and the line is at most and at least so many times the one that nothing was learnt for."""
LENT_SPREAD, LENT_TAIL = 8, 64
"""What a newcomer is lent weighs as much as so many of its own values."""
SHARES_KEPT = 4096
"""Tails are added up in whole parts of themselves, so that the order of members does not matter."""
PRIOR_DAYS = 50.0
"""What is expected of firings before any were seen weighs as much as so many days of a series."""
PRIOR_EXCEEDANCES = 2.0
"""The prior steepness of the tail weighs as much as so many firings."""


class CohortMemory(NamedTuple):
    """The part of a detector's memory that a cohort writes; a device's own row, but for tables."""

    sealed_hour: I4
    """[devices] hour since the epoch up to which its cohort is sealed; 0: never."""
    born_hour: I4
    """[devices] hour in which it was first seen; 0: not yet."""
    common: F4
    """[devices] deviation expected in this hour for what its cohort does, in own scales."""
    spread: F4
    """[devices] how far members are from their cohort, robust standard deviation, own scales."""
    beta: F4
    """[devices] how much of the cohort's profile it shows."""
    profile: I2
    """[devices, SLOTS] table of the cohort: median deviation by hour of day, then of week, in
    1 / `PARTS`; `UNKNOWN`: not yet."""
    level: U1
    """[devices] levels of the score that are firing: the lowest so many."""
    fired: U1
    """[devices, 4] the two highest firings of this hour: from above which level, to which."""
    today: U2
    """[devices, COUNTS] table of the cohort: firings at each level today, and series-hours in two
    slots."""
    counted: F4
    """[devices, COUNTS] table of the cohort: firings and series-days before today, decayed."""
    line: F4
    """[devices] score on the alert line; sealed daily."""


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
def group_members(group: I4, groups: int, start: I8, member: I4) -> None:
    """Write the devices of each group to `member` [size], ascending, from `start` [groups + 1]."""
    size = group.shape[0]
    for g in range(groups + 1):
        start[g] = 0
    for i in range(size):
        start[group[i] + 1] += 1
    for g in range(groups):
        start[g + 1] += start[g]
    place = start[:groups].copy()
    for i in range(size):
        member[place[group[i]]] = i
        place[group[i]] += 1


@kernel
def median_and_mad(value: F8) -> tuple[float, float]:
    """Return the median of `value` [n] and 1.4826 times the median distance from it.

    Rousseeuw and Croux, JASA 88 (1993), doi:10.1080/01621459.1993.10476408, for what it resists.
    """
    middle = float(np.median(value))
    return middle, 1.4826 * float(np.median(np.abs(value - middle)))


@kernel
def expected_of_hour(hour: int, n: int, member: I4, first: int, profile: I2) -> float:
    """Return the profile of a cohort of `n` members in an hour since the epoch; NaN: unknown."""
    w = profile.shape[1]
    b = HOURS_OF_DAY + hour % HOURS_OF_WEEK
    found = UNKNOWN
    if n * w >= HOURS_OF_DAY + HOURS_OF_WEEK:
        found = profile[member[first + b // w], b % w]
    if found == UNKNOWN:
        b = hour % HOURS_OF_DAY
        found = profile[member[first + b // w], b % w]
    return np.nan if found == UNKNOWN else found / PARTS


@kernel
def learn_hour(hour: int, middle: float, n: int, member: I4, first: int, profile: I2) -> None:
    """Take the `middle` by which a cohort of `n` members missed its profile in an hour into it."""
    w = profile.shape[1]
    for b in (hour % HOURS_OF_DAY, HOURS_OF_DAY + hour % HOURS_OF_WEEK):
        if b >= HOURS_OF_DAY and n * w < HOURS_OF_DAY + HOURS_OF_WEEK:
            continue
        i, c = member[first + b // w], b % w
        old = profile[i, c]
        if old != UNKNOWN:
            learnt = old + NEW_SHARE * middle * PARTS
        elif b >= HOURS_OF_DAY:
            learnt = float(
                profile[member[first + (hour % HOURS_OF_DAY) // w], hour % HOURS_OF_DAY % w]
            )
        else:
            learnt = middle * PARTS
        profile[i, c] = int(min(max(np.rint(learnt), UNKNOWN + 1.0), 32767.0))


@kernel
def seal_hour(hour: int, start: I8, member: I4, deviation: F8, memory: CohortMemory) -> None:
    """Seal what each cohort did in `hour`, the hour since the epoch that has just ended.

    `deviation` [size] is how far each device was from its own level, in own scales; NaN: it said
    nothing in this hour. Writes what is expected of each member in the hour that begins: its share
    of the cohort's profile, and what moved the whole cohort lately beyond that.
    """
    common, spread, beta = memory.common, memory.spread, memory.beta
    for g in range(start.shape[0] - 1):
        first = start[g]
        n = int(start[g + 1] - first)
        if n < MEMBERS:
            continue
        was = expected_of_hour(hour, n, member, first, memory.profile)
        value = np.empty(n)
        said = 0
        for k in range(first, start[g + 1]):
            i = member[k]
            if not math.isnan(deviation[i]):
                value[said] = deviation[i] - (0.0 if math.isnan(was) else beta[i] * was)
                said += 1
        if said < MEMBERS:
            for k in range(first, start[g + 1]):
                common[member[k]] = 0.0
            continue
        middle, wide = median_and_mad(value[:said])
        learn_hour(hour, middle, n, member, first, memory.profile)
        next_hour = expected_of_hour(hour + 1, n, member, first, memory.profile)
        for k in range(first, start[g + 1]):
            i = member[k]
            if not math.isnan(was) and not math.isnan(deviation[i]):
                # normalised least mean squares (Nagumo and Noda, IEEE TAC 12, 1967,
                # doi:10.1109/TAC.1967.1098599), of an error that is clipped
                left = min(max(deviation[i] - beta[i] * was, -STEEP * wide), STEEP * wide)
                share = beta[i] + BETA_SHARE * was * left / (was * was + wide * wide + TINY)
                beta[i] = min(max(share, 0.0), STEEP)
            spread[i] = max(wide, NARROW)
            common[i] = middle + (0.0 if math.isnan(next_hour) else beta[i] * next_hour)


@kernel
def lend(
    start: I8,
    member: I4,
    new: B1,
    lends: B1,
    seen: I8,
    column: I8,
    moments: F4,
    tails: U2,
    unit: int,
) -> None:
    """Give who is `new` [size] what those of its cohort have who lend [size].

    Each `column` of `moments` [size, m] becomes a mean of its own, by how many values were `seen`
    [size], and of the lenders' median. To `tails` [size, views, bins], which count a value as
    `unit`, the lenders' mean share of values in each bin is added. Own values soon outweigh both.
    """
    views, bins = tails.shape[1], tails.shape[2]
    total = np.empty((views, bins), dtype=np.int64)
    for g in range(start.shape[0] - 1):
        lenders, newcomers = 0, 0
        for k in range(start[g], start[g + 1]):
            lenders += lends[member[k]] and not new[member[k]]
            newcomers += new[member[k]]
        if newcomers == 0 or lenders < MEMBERS:
            continue
        value = np.empty(lenders)
        for c in column:
            at = 0
            for k in range(start[g], start[g + 1]):
                i = member[k]
                if lends[i] and not new[i]:
                    value[at] = moments[i, c]
                    at += 1
            usual = float(np.median(value))
            for k in range(start[g], start[g + 1]):
                i = member[k]
                if new[i]:
                    own = float(seen[i])
                    lent = (own * moments[i, c] + LENT_SPREAD * usual) / (own + LENT_SPREAD)
                    moments[i, c] = np.float32(lent)
        total[:] = 0
        for k in range(start[g], start[g + 1]):
            i = member[k]
            if lends[i] and not new[i]:
                for v in range(views):
                    whole = max(int(tails[i, v, 0]), 1)
                    for b in range(bins):
                        total[v, b] += int(tails[i, v, b]) * SHARES_KEPT // whole
        for k in range(start[g], start[g + 1]):
            i = member[k]
            if new[i]:
                for v in range(views):
                    for b in range(bins):
                        more = total[v, b] * LENT_TAIL * unit // (lenders * SHARES_KEPT)
                        tails[i, v, b] = min(int(tails[i, v, b]) + more, FULL - 1)


@kernel
def seal_firings(
    start: I8, member: I4, root: I4, watched: B1, new_day: bool, tail: Tail, memory: CohortMemory
) -> None:
    """Add the firings of the hour to those of each cohort; on a new day, lay its line anew.

    `watched` [size] are the devices that were scored in this hour, each for 1/24 of a day; `root`
    [size] is the device a part belongs to: the budget is the device's, so parts share it.
    """
    fired, w = memory.fired, memory.today.shape[1]
    counts, today = np.empty(LEVELS + 1), np.empty(LEVELS + 1)
    last_root = np.full(root.shape[0], -1, dtype=np.int32)
    for g in range(start.shape[0] - 1):
        first = start[g]
        n = int(start[g + 1] - first)
        if n < MEMBERS:
            for k in range(first, start[g + 1]):
                fired[member[k], :] = 0
                memory.line[member[k]] = line_of(np.zeros(LEVELS + 1), 1.0, tail)
            continue
        for b in range(LEVELS + 1):
            today[b] = memory.today[member[first + b // w], b % w]
            counts[b] = memory.counted[member[first + b // w], b % w]
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
        rest = LEVELS + 1
        today[LEVELS] += series + FULL * float(memory.today[member[first + rest // w], rest % w])
        if new_day:
            today[LEVELS] /= 24.0
            fold_day(today, counts, tail)
            today[:] = 0.0
        for b in range(LEVELS + 1):
            memory.today[member[first + b // w], b % w] = int(min(today[b], FULL - 1.0))
            memory.counted[member[first + b // w], b % w] = counts[b]
        hours = int(today[LEVELS])
        memory.today[member[first + LEVELS // w], LEVELS % w] = hours % FULL
        memory.today[member[first + rest // w], rest % w] = min(hours // FULL, FULL - 1)
        line = line_of(counts, devices / series if series else 1.0, tail)
        for k in range(first, start[g + 1]):
            memory.line[member[k]] = line


@kernel
def fold_day(today: F8, counts: F8, tail: Tail) -> None:
    """Add the firings of a day to those of the days before, which are forgotten a little.

    Nearly all alarms of the past are taken to be false. A day on which many were true must not
    raise the line: it counts `BURST` times what was expected, and `SPARE` more, at most.
    """
    keep = math.exp(-1.0 / MOST_DAYS)
    exposure = counts[LEVELS] + PRIOR_DAYS
    for b in range(LEVELS):
        score = tail.base * 2.0 ** (b / PER_DOUBLING)
        prior = tail.rate * math.exp(-tail.steepness * (score - tail.base))
        expected = (counts[b] + PRIOR_DAYS * prior) / exposure * today[LEVELS]
        counts[b] = keep * counts[b] + min(today[b], BURST * expected + SPARE)
    counts[LEVELS] = keep * counts[LEVELS] + today[LEVELS]


@kernel
def line_of(counts: F8, devices_per_series: float, tail: Tail) -> float:
    """Return the score at which as many fire as the budget allows, of firings by level [LEVELS].

    The slot after the last level is their exposure, series-days. Where levels have few firings the
    tail is taken to be exponential, as steep as the mean excess over the highest level that has
    more says, together with the prior: so do excesses over a high level of what has light tails
    (Pickands, Ann. Stat. 3, 1975, doi:10.1214/aos/1176343003, with shape 0).
    """
    target = max(tail.target * devices_per_series, 1e-12)
    exposure = counts[LEVELS] + PRIOR_DAYS
    usual = tail.base + math.log(tail.rate / target) / tail.steepness
    usual = max(usual, tail.base)
    line = tail.base
    before = 0.0
    for b in range(LEVELS):
        score = tail.base * 2.0 ** (b / PER_DOUBLING)
        prior = tail.rate * math.exp(-tail.steepness * (score - tail.base))
        rate = (counts[b] + PRIOR_DAYS * prior) / exposure
        if rate <= target and b > 0:
            under = tail.base * 2.0 ** ((b - 1) / PER_DOUBLING)
            share = math.log(before / target) / math.log(before / rate) if rate < before else 1.0
            line = under + share * (score - under)
            break
        if b + 1 == LEVELS or counts[b + 1] < FEW:
            # mean excess over this level, with what is expected beforehand
            total, excess = counts[b], 0.0
            for c in range(b + 1, LEVELS):
                upper = tail.base * 2.0 ** (c / PER_DOUBLING)
                lower = tail.base * 2.0 ** ((c - 1) / PER_DOUBLING)
                # between two levels firings fall as in an exponential tail
                fall = math.log(max(counts[c - 1], 0.3) / max(counts[c], 0.2))
                mean = (counts[c - 1] - counts[c]) / fall if abs(fall) > 1e-3 else counts[c]
                excess += mean * (upper - lower)
            steep = (total + PRIOR_EXCEEDANCES) / (excess + PRIOR_EXCEEDANCES / tail.steepness)
            line = score + max(math.log(rate / target), 0.0) / steep
            break
        before = rate
    return min(max(line, LOWEST * usual), HIGHEST * usual)
