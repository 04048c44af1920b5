"""What the members of a cohort have in common, sealed every hour, and what they lend newcomers.

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
COUNTS = 4
"""Columns of the tables of firings; see `normality_line`."""
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
LENT_LEAST, LENT_MOST = 16.0, 1000.0
"""What a newcomer is lent weighs as much as the values of a day, but within these."""
DAY_S = 86_400.0
SHARES_KEPT = 4096
"""Tails are added up in whole parts of themselves, so that the order of members does not matter."""


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
