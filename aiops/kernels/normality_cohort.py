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
from aiops.kernels.rows import B1, F8, I1, I4, I8

F4: TypeAlias = npt.NDArray[np.float32]
U1: TypeAlias = npt.NDArray[np.uint8]
U2: TypeAlias = npt.NDArray[np.uint16]
I2: TypeAlias = npt.NDArray[np.int16]

MEMBERS = 8
"""So many devices make a cohort; fewer say nothing of one another."""
HOURS_OF_DAY, HOURS_OF_WEEK = 24, 168
SLOTS = 8
"""Columns of `CohortMemory.profile`: a cohort of 3 members knows a day, one of 24 a week."""
LEVELS, PER_DOUBLING = 28, 12.0
"""Levels of the score at which firings are counted, each 6 % above the one before..."""
COUNTS = 4
"""...in rows of so many columns; the slot after the last level is exposure."""
EXPOSURE, SPENT, ALLOWED, SLOTS_OF_COUNTS = LEVELS, LEVELS + 1, LEVELS + 2, LEVELS + 3
"""Slots after the levels: series-days, what fired of late, and what might have."""
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
REMEMBERED, LEAST_DAYS, MOST_DAYS = 8.0, 3.0, 7.0
"""Firings are forgotten with a time constant in which the budget allows so many, within days."""
BURST, SPARE = 3.0, 3.0
"""A day counts at most so many times what was expected, and so many of its roots more..."""
HIGHEST, LOWEST = 4.0, 0.25
"""...and the line is at most and at least so many times the one that nothing was learnt for."""
LENT_LEAST, LENT_MOST = 16.0, 1000.0
"""What a newcomer is lent weighs as much as the values of a day, but within these."""
DAY_S = 86_400.0
SHARES_KEPT = 4096
"""Tails are added up in whole parts of themselves, so that the order of members does not matter."""
BALANCE_DAYS, BALANCE_FIRINGS, BALANCE_MOST = 7.0, 5.0, 5.0
"""What was fired too little or too much within so many days is made up for, less so while few are
allowed, and by no more than this factor."""
RAISED, RAISED_HOURS = 1.0, 36.0
"""The line of a newcomer is higher by this share, and comes down to its cohort's in so long."""
PRIOR_DAYS = 2.0
"""What is expected of firings before any were seen weighs as much as so many days of a series."""
PRIOR_EXCEEDANCES = 4.0
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


class Loan(NamedTuple):
    """Where a detector keeps what is lent."""

    seen: int
    """Column of the values seen."""
    level: int
    """Column of moments with its level..."""
    short: int
    """...and with its level lately."""
    spread: int
    """Which of the columns that are lent has the spread..."""
    interval: int
    """...and which the interval between values, seconds."""
    parts: float
    """Steps of the profile of a day in a spread."""
    unit: int
    """What a value counts in a tail."""
    full: int
    """The most that a tail counts."""


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
def middle_of(value: I8) -> int:
    """Return the lower median of `value` [n], n > 0, of bytes with a sign."""
    count = np.zeros(256, dtype=np.int64)
    for k in range(value.shape[0]):
        count[value[k] + 128] += 1
    below, at = 0, -1
    while 2 * below < value.shape[0]:
        at += 1
        below += count[at]
    return at - 128


@kernel
def lend(
    hour: int,
    start: I8,
    member: I4,
    new: B1,
    lends: B1,
    column: I8,
    moments: F4,
    tails: U2,
    largest: U2,
    hours: I1,
    seen: U2,
    loan: Loan,
) -> None:
    """Give who is `new` [size] what those of its cohort have who lend [size].

    Each `column` of `moments` [size, m], and `hours` [size, 24], the profile of a day in parts of a
    spread, become means of its own, by how many values were `seen` [size, .], and of the lenders'
    median. To `tails` [size, views, bins] the lenders' mean share of values in each bin is added;
    `largest` [size, views] is no less than their median. The level is its own, less what its
    cohort has in this `hour` of the day. All of it weighs as much as the values of a day, so it is
    let go of as these come.
    """
    views, bins = tails.shape[1], tails.shape[2]
    total = np.empty((views, bins), dtype=np.int64)
    usual = np.empty(column.shape[0])
    for g in range(start.shape[0] - 1):
        lenders, newcomers = 0, 0
        for k in range(start[g], start[g + 1]):
            lenders += lends[member[k]] and not new[member[k]]
            newcomers += new[member[k]]
        if newcomers == 0 or lenders < MEMBERS:
            continue
        who = np.empty(lenders, dtype=np.int32)
        at = 0
        for k in range(start[g], start[g + 1]):
            if lends[member[k]] and not new[member[k]]:
                who[at] = member[k]
                at += 1
        value = np.empty(lenders)
        for c in range(column.shape[0]):
            for k in range(lenders):
                value[k] = moments[who[k], column[c]]
            usual[c] = np.median(value)
        shape = np.empty(hours.shape[1], dtype=np.int8)
        most = np.empty(views, dtype=np.int64)
        part = np.empty(lenders, dtype=np.int64)
        for h in range(hours.shape[1]):
            for k in range(lenders):
                part[k] = hours[who[k], h]
            shape[h] = middle_of(part)
        for v in range(views):
            for k in range(lenders):
                value[k] = largest[who[k], v]
            most[v] = int(np.median(value))
        total[:] = 0
        for k in range(lenders):
            for v in range(views):
                whole = max(int(tails[who[k], v, 0]), 1)
                for b in range(bins):
                    total[v, b] += int(tails[who[k], v, b]) * SHARES_KEPT // whole
        for k in range(start[g], start[g + 1]):
            i = member[k]
            if not new[i]:
                continue
            own = float(seen[i, loan.seen])
            interval = max(usual[loan.interval], 1.0)
            weight = min(max(DAY_S / interval, LENT_LEAST), LENT_MOST)
            for c in range(column.shape[0]):
                lent = (own * moments[i, column[c]] + weight * usual[c]) / (own + weight)
                moments[i, column[c]] = np.float32(lent)
            spread = moments[i, column[loan.spread]]
            shift = np.float32(shape[hour % 24] / loan.parts) * spread
            moments[i, loan.level] -= shift
            moments[i, loan.short] -= shift
            for h in range(hours.shape[1]):
                hours[i, h] = shape[h]
            for v in range(views):
                largest[i, v] = max(int(largest[i, v]), most[v])
                for b in range(bins):
                    more = int(total[v, b] * weight) * loan.unit // (lenders * SHARES_KEPT)
                    tails[i, v, b] = min(int(tails[i, v, b]) + more, loan.full)
            seen[i, loan.seen] = int(own + weight)


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
