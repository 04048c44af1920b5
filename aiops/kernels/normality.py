"""What is normal for a series, seen by nine views, and how surprising its next value is.

Everything about a series is small and lies together, because a tick visits a million of them:
single precision, counts of 16 bits, a profile of a byte an hour. Logarithms are read off the bits
of a number, which are piecewise linear in it, at most 0.09 octaves off, and never tie.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I1, I4, I8, Rows

S: TypeAlias = np.float32
F4: TypeAlias = npt.NDArray[np.float32]
U2: TypeAlias = npt.NDArray[np.uint16]
I2: TypeAlias = npt.NDArray[np.int16]
U1: TypeAlias = npt.NDArray[np.uint8]

VIEWS = ("level", "jump", "shift", "roughness", "residual", "season", "gap", "cohort", "drift")
LEVEL, JUMP, SHIFT, ROUGH, RESIDUAL, SEASON, GAP, COHORT, DRIFT = range(len(VIEWS))
TAILS = 8
"""The first so many views learn the distribution of their statistic."""
BINS = 11
HOURS = 24
"""Slots of a day, UTC, between which the profile is linear."""

MEAN, SPREAD, SHORT, LAST, STEP, STEP_NOW, AHEAD, AHEAD_SPREAD = range(8)
SEASON_SPREAD, INTERVAL, DAY_SUM, DAY_MEAN, DAY_SPREAD, RISE, FALL = range(8, 15)
SMOOTH, USUAL, LATCHED = range(15, 18)
MOMENTS = 18
"""Columns of `NormalityMemory.moments`: level and mean absolute deviation; mean of late; last
value; mean step, long and of late; forecast and its mean error; mean error about the hour of day;
mean interval, s; sum of today; mean and deviation of days; sums of drift up and down; surprise
smoothed, its usual peak, and its peak that fades."""
SEEN, DAY, DAY_ROWS, DAYS = range(4)
COUNTS = 4

OCTAVE_BITS = 23
OCTAVE = 1 << OCTAVE_BITS
MAGNITUDE = 0x7FFFFFFF
OF_ONE = 127 << OCTAVE_BITS
"""`octaves` of 1."""
OCTAVES = np.float32(1.0 / OCTAVE)
DECADES = np.float32(math.log10(2.0) / OCTAVE)
HALF, EIGHTH = OCTAVE_BITS - 1, OCTAVE_BITS - 3
"""Widths of bins, half an octave and an eighth, as powers of two of 2^-23 octaves."""
MARK_BITS = OCTAVE_BITS - 4
"""The largest statistic is kept in sixteenths of an octave."""
NEVER = -(1 << 40)
"""The statistic of a view that sees nothing."""

ONE_SAMPLE = 8
"""What a sample counts in a tail, so that it can be halved three times before it is forgotten."""
FULL = 65_000
"""A tail in which samples count so much is halved: half of 8,000 samples."""
FORGOTTEN = 8
"""By so many sixteenths the largest statistic is forgotten when its tail is halved."""
FREE_ROWS = np.float32(16.0)
"""So many first rows are learnt from as they are, and not judged: a spread is needed first."""
LEAK = np.float32(1.0 / 32.0)
"""Of what lies beyond the clip so much counts, so that a spread of nothing can grow."""
PER_UNIT, A_UNIT = np.float32(16.0), np.float32(1.0 / 16.0)
"""Steps of the profile in one spread, and of a surprise that is kept in a decade."""
PROFILE_MOST, PROFILE_SPREADS = 127, np.float32(8.0)
"""An hour is no more of such steps, and of spreads, from the level."""
PER_DITHER = np.float32(1.0 / 65_536.0)
SAID_MOST = np.float32(255.0)
HELD = np.float32(0.8)
"""What is left of a surprise a value later, for findings to tell."""
SEEN_MOST = 65_535
DAYS_MOST = 60_000
DAYS_LEARNT = np.float32(1.0 / 28.0)
"""Weight of a day in the mean of days, at least."""
DAYS_NEEDED = np.float32(3.0)
"""Days after which a day's distance from the usual counts half."""
GAUSSIAN = np.float32(1.25)
"""Standard deviation over mean absolute deviation, of Gaussian noise."""

DAY_NS = 86_400_000_000_000
PER_NS = np.float32(1e-9)
SLOTS_PER_NS = HOURS / DAY_NS
ZERO, ONE, TWO, HALF_OF = np.float32(0.0), np.float32(1.0), np.float32(2.0), np.float32(0.5)
TINY, HUGE = np.float32(1e-30), np.float32(np.inf)
ONE_ROW = np.float32(ONE_SAMPLE)


class NormalityMemory(NamedTuple):
    """What is known of a series of each device."""

    origin: F8
    """[c] of a gauge its first value, which moments are relative to; of a counter its last."""
    ts: I8
    """[c] time of its last value, ns; 0: none yet."""
    moments: F4
    """[c, MOMENTS] means and mean absolute deviations; see the names of columns above."""
    counts: U2
    """[c, COUNTS] values seen, the day (since 1970), values of that day, days seen."""
    tails: U2
    """[c, TAILS, BINS] how often the statistic of a view was in the bin or above, decayed."""
    largest: U2
    """[c, TAILS] logarithm of the largest statistic of a view, sixteenths of an octave."""
    hours: I1
    """[c, HOURS] deviation from the level by hour of day (UTC), in sixteenths of a spread."""
    surprise: U1
    """[c, 9] surprise of each view lately, sixteenths of a decade, 20 % less with each value."""
    # -- written by the cohort, see `normality_cohort.CohortMemory` -----------------------------
    sealed_hour: I4
    born_hour: I4
    common: F4
    """[c] what the device's cohort does in this hour, in the device's spreads; 0: not known."""
    spread: F4
    """[c] how far members are from their cohort, in their spreads."""
    beta: F4
    profile: I2
    level: U1
    fired: U1
    today: U2
    counted: F4
    line: F4


class NormalitySettings(NamedTuple):
    """Settings of the kernel. Numbers are in single precision, so that kernels stay in it."""

    is_counter: bool
    up: bool
    """Values above the expected count."""
    down: bool
    """Values below the expected count."""
    least: np.float32
    """Deviation below which nothing counts, in the metric's unit."""
    views: tuple[bool, bool, bool, bool, bool, bool, bool, bool, bool]
    """Which of `VIEWS` count."""
    per_s: np.float32
    """Weight of a second in slow means..."""
    slowest: np.float32
    fastest: np.float32
    """...and of a value, at least and at most."""
    short: np.float32
    """Weight of a value in the mean of late."""
    rough: np.float32
    """Weight of a step in the mean step of late."""
    clip: np.float32
    """Spreads beyond which a value counts as no further away."""
    floor: np.float32
    """Least spread, relative to the mean."""
    follow: np.float32
    """Weight of a value in the forecast of the next."""
    learn_season: np.float32
    """Weight of a value in its hour of day."""
    slope: np.float32
    """Surprise of an octave beyond the largest statistic seen, decades."""
    cap: np.float32
    """Surprise beyond the largest seen tends to this, decades."""
    drift_slack: np.float32
    """Standard deviations that a day may be off, without end."""
    drift_keep: np.float32
    """What is left of a sum of drift a day later."""
    drift_most: np.float32
    """A sum of drift grows no further."""
    drift_weight: np.float32
    """Surprise of one in a sum of drift, decades."""
    smooth: np.float32
    """Weight of a value in the smoothed surprise."""
    latch: np.float32
    """What is left of the latched state a value later."""
    base: np.float32
    """Added to the usual peak of the smoothed surprise, which is divided by both, decades."""
    adapt: np.float32
    """How fast the usual peak is learnt, decades a value."""
    exceeded: np.float32
    """Share of values with which the smoothed surprise stays under its usual peak."""
    unit: np.float32
    """Score of a smoothed surprise at the usual peak and base together."""


@kernel
def octaves(x: S) -> int:
    """Return the logarithm of |x| to base 2, from its bits; units 2^-23, 127 octaves too high."""
    bits = int(np.float32(x).view(np.int32))
    return bits & MAGNITUDE


@kernel
def within(x: S, most: S) -> S:
    """Return `x`, but no further from 0 than `most`."""
    return min(max(x, -most), most)


@kernel
def sided(x: S, up: bool, down: bool) -> S:
    """Return `x`, or 0 if it lies on the side that does not count."""
    if (x > ZERO and not up) or (x < ZERO and not down):
        return ZERO
    return x


@kernel
def end_day(i: int, moments: F4, counts: U2, floor: S, settings: NormalitySettings) -> None:
    """Take the mean of a day that is over into two cumulative sums of drift, and into the usual."""
    mean = moments[i, DAY_SUM] / np.float32(counts[i, DAY_ROWS])
    days = np.float32(counts[i, DAYS])
    away = mean - moments[i, DAY_MEAN]
    if days == ZERO:
        moments[i, DAY_MEAN] = mean
        counts[i, DAYS] = 1
        return
    spread = max(moments[i, DAY_SPREAD], floor)
    z = ZERO
    if np.float32(abs(away)) >= settings.least:
        z = (
            sided(away / (GAUSSIAN * spread), settings.up, settings.down)
            * days
            / (days + DAYS_NEEDED)
        )
    z = within(z, settings.clip)
    rise = settings.drift_keep * moments[i, RISE] + z - settings.drift_slack
    fall = settings.drift_keep * moments[i, FALL] - z - settings.drift_slack
    moments[i, RISE] = min(max(rise, ZERO), settings.drift_most)
    moments[i, FALL] = min(max(fall, ZERO), settings.drift_most)
    weight = max(DAYS_LEARNT, ONE / (days + ONE))
    if days > DAYS_NEEDED:
        away = within(away, settings.clip * spread)
    moments[i, DAY_MEAN] += weight * away
    moments[i, DAY_SPREAD] += weight * (np.float32(abs(away)) - moments[i, DAY_SPREAD])
    counts[i, DAYS] = min(int(counts[i, DAYS]) + 1, DAYS_MOST)


@kernel
def begin(i: int, y: S, ts: int, moments: F4, counts: U2) -> None:
    """Take the first value of a series."""
    counts[i, SEEN] = 1
    moments[i, MEAN] = y
    moments[i, SHORT] = y
    moments[i, LAST] = y
    moments[i, AHEAD] = y
    counts[i, DAY] = ts // DAY_NS
    counts[i, DAY_ROWS] = 1
    moments[i, DAY_SUM] = y


@kernel
def normality_update(
    rows: Rows,
    column: F8,
    memory: NormalityMemory,
    settings: NormalitySettings,
    score: F8,
    observed: F8,
    expected: F8,
    state: F8,
    views: F4,
) -> None:
    """Score the values [n] of `column`, in order, and learn them.

    Writes `score` [n], what was `observed` and `expected` [n], the latched `state` [n], and
    `views` [n, 9], surprises in decades; a `views` of no rows is left alone.
    """
    device, times = rows.device, rows.ts
    origins, last, common_of, agreement_of = memory.origin, memory.ts, memory.common, memory.spread
    moments, counts, tails, largest = memory.moments, memory.counts, memory.tails, memory.largest
    hours, surprises = memory.hours, memory.surprise
    watched, up, down, least = settings.views, settings.up, settings.down, settings.least
    slope, cap = settings.slope, settings.cap
    wide = views.shape[0] > 0
    at = np.zeros(len(VIEWS), dtype=np.int64)
    size = np.full(len(VIEWS), HUGE, dtype=np.float32)
    width = np.full(TAILS, HALF, dtype=np.int64)
    width[ROUGH] = EIGHTH
    on = np.zeros(len(VIEWS), dtype=np.bool_)
    for v in range(len(VIEWS)):
        on[v] = watched[v]
    for k in range(device.shape[0]):
        i, ts, value = device[k], times[k], column[k]
        before, start = last[i], origins[i]
        known = math.isfinite(value) and (before == 0 or ts > before)
        if known:
            last[i] = ts
            if settings.is_counter:
                origins[i] = value
                known = before != 0 and value >= start
                value = (value - start) * 1e9 / np.float64(ts - before) if known else np.nan
                start = 0.0
            elif counts[i, SEEN] == 0:
                origins[i] = value
                start = value
        y = np.float32(value - start)
        if not known or counts[i, SEEN] == 0:
            score[k] = np.nan
            observed[k] = np.nan
            expected[k] = np.nan
            state[k] = np.nan
            if known:
                begin(i, y, ts, moments, counts)
            continue
        seen = np.float32(counts[i, SEEN])
        fresh = ONE / (seen + ONE)
        free = seen < FREE_ROWS
        clip = HUGE if free else settings.clip
        passed = np.float32(ts - before) * PER_NS
        slow = max(min(max(passed * settings.per_s, settings.slowest), settings.fastest), fresh)

        mean = moments[i, MEAN]
        floor = settings.floor * np.float32(abs(np.float32(start) + mean)) + TINY
        spread = max(moments[i, SPREAD], floor)
        of_spread = octaves(spread)
        away = y - mean

        day = ts // DAY_NS
        if day != counts[i, DAY]:
            end_day(i, moments, counts, floor, settings)
            counts[i, DAY] = day
            counts[i, DAY_ROWS] = 0
            moments[i, DAY_SUM] = ZERO
        if counts[i, DAY_ROWS] < SEEN_MOST:
            counts[i, DAY_ROWS] += 1
            moments[i, DAY_SUM] += y

        at[LEVEL] = octaves(sided(away, up, down)) - of_spread
        size[LEVEL] = away
        near = within(away, clip * spread)
        near += (away - near) * LEAK
        moments[i, MEAN] = mean + slow * near
        moments[i, SPREAD] += slow * (np.float32(abs(near)) - moments[i, SPREAD])

        step = y - moments[i, LAST]
        usual = max(moments[i, STEP], floor)
        of_step = octaves(usual)
        at[JUMP] = octaves(sided(step, up, down)) - of_step
        size[JUMP] = step
        step = np.float32(abs(step))
        moments[i, LAST] = y
        moments[i, STEP] += slow * (min(step, clip * usual) - moments[i, STEP])

        now = moments[i, STEP_NOW]
        now += max(settings.rough, fresh) * (min(step, TWO * settings.clip * usual) - now)
        moments[i, STEP_NOW] = now
        at[ROUGH] = abs(octaves(max(now, floor)) - of_step)
        size[ROUGH] = now - usual

        short = moments[i, SHORT]
        short += max(settings.short, fresh) * (within(away, settings.clip * spread) + mean - short)
        moments[i, SHORT] = short
        at[SHIFT] = octaves(sided(short - mean, up, down)) - of_spread + 2 * OCTAVE
        size[SHIFT] = short - mean

        ahead = y - moments[i, AHEAD]
        usual = max(moments[i, AHEAD_SPREAD], floor)
        at[RESIDUAL] = octaves(sided(ahead, up, down)) - octaves(usual)
        size[RESIDUAL] = ahead
        ahead = within(ahead, clip * usual)
        moments[i, AHEAD_SPREAD] += slow * (np.float32(abs(ahead)) - moments[i, AHEAD_SPREAD])
        moments[i, AHEAD] += settings.follow * ahead

        hour = np.float32(np.float64(ts - day * DAY_NS) * SLOTS_PER_NS)
        slot = min(int(hour), HOURS - 1)
        after = hour - np.float32(slot)
        slot_2 = slot + 1 if slot + 1 < HOURS else 0
        tick = spread * A_UNIT
        in_season = (
            np.float32(hours[i, slot]) * (ONE - after) + np.float32(hours[i, slot_2]) * after
        )
        in_season *= tick
        off = away - in_season
        usual = max(moments[i, SEASON_SPREAD], floor)
        at[SEASON] = octaves(sided(off, up, down)) - octaves(usual)
        size[SEASON] = off
        off = within(off, clip * usual)
        moments[i, SEASON_SPREAD] += slow * (np.float32(abs(off)) - moments[i, SEASON_SPREAD])
        learnt = settings.learn_season * within(off, PROFILE_SPREADS * spread) / tick
        dither = np.float32((ts // 1_000_000 & 0xFFFF) * 2_654_435_761 & 0xFFFF) * PER_DITHER
        step_to = hours[i, slot] + math.floor(learnt * (ONE - after) + dither)
        hours[i, slot] = min(max(step_to, -PROFILE_MOST), PROFILE_MOST)
        step_to = hours[i, slot_2] + math.floor(learnt * after + dither)
        hours[i, slot_2] = min(max(step_to, -PROFILE_MOST), PROFILE_MOST)

        usual = moments[i, INTERVAL]
        at[GAP] = octaves(passed) - octaves(max(usual, TINY))
        moved = passed if free else min(passed, clip * usual)
        moments[i, INTERVAL] += max(slow, ONE / seen) * (moved - usual)

        common, agreement = common_of[i], agreement_of[i]
        at[COHORT] = NEVER
        if common != ZERO or agreement != ONE:
            apart = away - common * spread
            size[COHORT] = apart
            at[COHORT] = octaves(sided(apart, up, down)) - of_spread - octaves(agreement) + OF_ONE

        total, agreed = ZERO, ZERO
        for v in range(TAILS):
            if free or at[v] == NEVER:
                continue
            a = max(at[v], 0)
            w = width[v]
            b = a >> w
            above, more = ZERO, ZERO
            if b < BINS:
                above = np.float32(tails[i, v, b])
            if b < BINS - 1:
                more = np.float32(tails[i, v, b + 1])
            above += (more - above) * np.float32(a & ((1 << w) - 1)) / np.float32(1 << w)
            count = tails[i, v, 0]
            rows_seen = octaves(np.float32(count) + ONE_ROW)
            s = np.float32(rows_seen - octaves(above + ONE_ROW)) * DECADES
            mark = a >> MARK_BITS
            if mark > largest[i, v]:
                beyond = np.float32(a - ((np.int64(largest[i, v]) + 1) << MARK_BITS)) * OCTAVES
                beyond *= slope * min(np.float32(rows_seen - octaves(ONE_ROW)) * DECADES, ONE)
                s += cap * beyond / (cap + beyond)
                largest[i, v] = mark
            for j in range(BINS):
                tails[i, v, j] += ONE_SAMPLE if j <= b else 0
            if count >= FULL:
                for j in range(BINS):
                    tails[i, v, j] >>= 1
                largest[i, v] = max(int(largest[i, v]) - FORGOTTEN, 0)
            if not on[v] or np.float32(abs(size[v])) < least:
                s = ZERO
            total += s
            agreed += np.float32(octaves(ONE + s) - OF_ONE) * OCTAVES
            held = max(s * PER_UNIT, HELD * np.float32(surprises[i, v]))
            surprises[i, v] = int(min(held + HALF_OF, SAID_MOST))
            if wide:
                views[k, v] = s
        s = ZERO
        if on[DRIFT]:
            s = settings.drift_weight * max(moments[i, RISE], moments[i, FALL])
        total += s
        agreed += np.float32(octaves(ONE + s) - OF_ONE) * OCTAVES
        surprises[i, DRIFT] = int(min(s * PER_UNIT + HALF_OF, SAID_MOST))
        if wide:
            views[k, DRIFT] = s
        if counts[i, SEEN] < SEEN_MOST:
            counts[i, SEEN] += 1

        smooth = moments[i, SMOOTH]
        smooth += settings.smooth * (total - smooth)
        moments[i, SMOOTH] = smooth
        usual = moments[i, USUAL]
        score[k] = settings.unit * smooth / (settings.base + usual)
        if smooth > usual:
            usual += settings.adapt * settings.exceeded * min(smooth - usual, ONE)
        else:
            usual -= settings.adapt * (ONE - settings.exceeded)
        moments[i, USUAL] = max(usual, ZERO)
        latched = max(settings.latch * moments[i, LATCHED], agreed)
        moments[i, LATCHED] = latched
        state[k] = latched
        observed[k] = value
        expected[k] = start + np.float64(mean + in_season)
