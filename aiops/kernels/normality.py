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
BINS = 10
HOURS = 24

MEAN, SPREAD, SHORT, LAST, STEP, STEP_NOW, AHEAD, AHEAD_SPREAD = range(8)
SEASON_SPREAD, INTERVAL, DAY_SUM, DAY_MEAN, DAY_SPREAD, RISE, FALL = range(8, 15)
SMOOTH, USUAL, LATCHED = range(15, 18)
MOMENTS = 18
SEEN, DAY, DAY_ROWS, DAYS = range(4)
COUNTS = 4

OCTAVE_BITS = 23
OCTAVE = 1 << OCTAVE_BITS
HALF, QUARTER = OCTAVE_BITS - 1, OCTAVE_BITS - 2
"""Widths of bins, as powers of two of 2^-23 octaves."""
MAGNITUDE = 0x7FFFFFFF
DECADES = np.float32(math.log10(2.0) / OCTAVE)
OCTAVES = np.float32(1.0 / OCTAVE)
ONE_SAMPLE = 16
"""What a sample counts in a tail, so that it can be halved four times before it is forgotten."""
FULL = 65_000
"""A tail in which samples count so much is halved: half of 4,000 samples."""
TINY = np.float32(1e-30)
ZERO, ONE, HALF_OF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
FREE_ROWS = np.float32(16.0)
"""So many first rows are learnt from as they are, and their scores fade in."""
SEEN_MOST = 65_535
DAY_NS = 86_400_000_000_000
PER_NS = np.float32(1e-9)
SLOTS_PER_NS = HOURS / DAY_NS
PER_UNIT = np.float32(16.0)
"""Steps of the profile in one spread."""
PROFILE_MOST = 127
DAYS_LEARNT = np.float32(1.0 / 28.0)
DAYS_MOST = 60_000
DAY_NEEDED = np.float32(3.0)
"""Days after which a day's distance from the usual counts half."""
GAUSSIAN = np.float32(1.25)
"""Standard deviation over mean absolute deviation, of Gaussian noise."""


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
    hours: I1
    """[c, HOURS] deviation from the level by hour of day (UTC), in sixteenths of a spread."""
    surprise: U1
    """[c, 9] surprise of each view at the last value, sixteenths of a decade."""
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
    per_s: np.float32
    """Weight of a second in slow means..."""
    slowest: np.float32
    fastest: np.float32
    """...and of a value, at least and at most."""
    short: np.float32
    """Weight of a value in short means."""
    rough: np.float32
    """Weight of a step in the roughness of now."""
    clip: np.float32
    """Spreads beyond which a value counts as no further away."""
    floor: np.float32
    """Least spread, relative to the mean."""
    follow: np.float32
    """Weight of a value in the forecast of the next."""
    learn_season: np.float32
    slope: np.float32
    """Surprise of an octave beyond the largest statistic seen, decades."""
    cap: np.float32
    """Surprise beyond the largest seen tends to this, decades."""
    drift_slack: np.float32
    drift_keep: np.float32
    drift_most: np.float32
    drift_weight: np.float32
    smooth: np.float32
    latch: np.float32
    base: np.float32
    adapt: np.float32
    exceeded: np.float32
    unit: np.float32


@kernel
def octaves(x: S) -> int:
    """Return the logarithm of |x| to base 2, from its bits; units 2^-23, 127 octaves too high."""
    bits = int(np.float32(x).view(np.int32))
    return bits & MAGNITUDE


@kernel
def surprise_of(at: int, width: int, tail: U2, settings: NormalitySettings) -> S:
    """Return how surprising a statistic is, decades, and count it in its `tail` [BINS].

    `at` is its logarithm over that of where the first bin begins; bins are 2^`width` wide. The
    surprise is -log10 of the share of samples at or above it; beyond the largest bin seen it grows
    with the logarithm of the statistic, ever more slowly, but without end.
    """
    at = max(at, 0)
    b = at >> width
    total = np.float32(tail[0])
    above = ZERO
    if b < BINS:
        above = np.float32(tail[b])
        if b + 1 < BINS:
            more = np.float32(tail[b + 1])
            share = np.float32(at & ((1 << width) - 1)) * np.float32(1.0 / (1 << width))
            above += (more - above) * share
    one = np.float32(ONE_SAMPLE)
    seen = octaves(total + one)
    surprise = np.float32(seen - octaves(above + one)) * DECADES
    top = min(b, BINS - 1)
    while top >= 0 and tail[top] == 0:
        top -= 1
    beyond = at - ((top + 1) << width)
    if beyond > 0 and top >= 0:
        e = np.float32(beyond) * OCTAVES * settings.slope
        e *= min(np.float32(seen - octaves(one)) * DECADES, ONE)
        surprise += settings.cap * e / (settings.cap + e)
    for j in range(BINS):
        tail[j] += ONE_SAMPLE if j <= b else 0
    if tail[0] >= FULL:
        for j in range(BINS):
            tail[j] >>= 1
    return surprise


@kernel
def within(x: S, most: S) -> S:
    """Return `x`, but no further from 0 than `most`."""
    return min(max(x, -most), most)


@kernel
def sided(x: S, settings: NormalitySettings) -> S:
    """Return `x`, or 0 if it lies on the side that does not count."""
    if (x > ZERO and not settings.up) or (x < ZERO and not settings.down):
        return ZERO
    return x


@kernel
def end_day(moments: F4, counts: U2, floor: S, settings: NormalitySettings) -> None:
    """Take the mean of a day that is over into two cumulative sums of drift, and into the usual."""
    mean = moments[DAY_SUM] / np.float32(counts[DAY_ROWS])
    days = np.float32(counts[DAYS])
    away = mean - moments[DAY_MEAN]
    if days == ZERO:
        moments[DAY_MEAN] = mean
        counts[DAYS] = 1
        return
    spread = max(moments[DAY_SPREAD], floor)
    z = ZERO
    if np.float32(abs(away)) >= settings.least:
        z = sided(away / (GAUSSIAN * spread), settings) * days / (days + DAY_NEEDED)
    z = within(z, settings.clip)
    rise = settings.drift_keep * moments[RISE] + z - settings.drift_slack
    fall = settings.drift_keep * moments[FALL] - z - settings.drift_slack
    moments[RISE] = min(max(rise, ZERO), settings.drift_most)
    moments[FALL] = min(max(fall, ZERO), settings.drift_most)
    weight = max(DAYS_LEARNT, ONE / (days + ONE))
    if days > DAY_NEEDED:
        away = within(away, settings.clip * spread)
    moments[DAY_MEAN] += weight * away
    moments[DAY_SPREAD] += weight * (np.float32(abs(away)) - moments[DAY_SPREAD])
    counts[DAYS] = min(int(counts[DAYS]) + 1, DAYS_MOST)


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

    Writes `score` [n], what was `observed`
    and `expected` [n], the latched `state` [n], and `views` [n, 9], surprises in decades; a `views`
    of no rows is left alone.
    """
    for g in range(rows.indptr.shape[0] - 1):
        i = rows.device[rows.indptr[g]]
        moments, counts, tails = memory.moments[i], memory.counts[i], memory.tails[i]
        profile, surprise = memory.hours[i], memory.surprise[i]
        for k in range(rows.indptr[g], rows.indptr[g + 1]):
            value = column[k]
            ts = rows.ts[k]
            score[k] = np.nan
            observed[k] = np.nan
            expected[k] = np.nan
            state[k] = np.nan
            if not math.isfinite(value) or (memory.ts[i] != 0 and ts <= memory.ts[i]):
                continue
            before = memory.ts[i]
            passed = np.float32(ts - before) * PER_NS
            if settings.is_counter:
                start = memory.origin[i]
                memory.origin[i] = value
                if before == 0 or value < start:
                    memory.ts[i] = ts
                    continue
                value = (value - start) / np.float64(passed)
            elif counts[SEEN] == 0:
                memory.origin[i] = value
            origin = 0.0 if settings.is_counter else memory.origin[i]
            memory.ts[i] = ts
            y = np.float32(value - origin)
            if counts[SEEN] == 0:
                counts[SEEN] = 1
                moments[MEAN] = y
                moments[SHORT] = y
                moments[LAST] = y
                moments[AHEAD] = y
                counts[DAY] = ts // DAY_NS
                counts[DAY_ROWS] = 1
                moments[DAY_SUM] = y
                continue
            seen = np.float32(counts[SEEN])
            fresh = ONE / (seen + ONE)
            free = seen < FREE_ROWS
            slow = max(min(max(passed * settings.per_s, settings.slowest), settings.fastest), fresh)

            mean = moments[MEAN]
            floor = settings.floor * np.float32(abs(np.float32(origin) + mean)) + TINY
            spread = max(moments[SPREAD], floor)
            away = y - mean
            near = within(away, settings.clip * spread)
            of_spread = octaves(spread)

            step = y - moments[LAST]
            usual_step = max(moments[STEP], floor)
            short = moments[SHORT] + max(settings.short, fresh) * (mean + near - moments[SHORT])
            step_now = moments[STEP_NOW] + max(settings.rough, fresh) * (
                min(np.float32(abs(step)), settings.clip * usual_step) - moments[STEP_NOW]
            )
            of_step = octaves(usual_step)
            rougher = octaves(max(step_now, floor)) - of_step

            ahead = y - moments[AHEAD]
            usual_ahead = max(moments[AHEAD_SPREAD], floor)

            slot_f = np.float32(np.float64(ts % DAY_NS) * SLOTS_PER_NS)
            slot = min(int(slot_f), HOURS - 1)
            after = slot_f - np.float32(slot)
            slot_2 = slot + 1 if slot + 1 < HOURS else 0
            step_of_profile = spread / PER_UNIT
            usual_now = (
                np.float32(profile[slot]) * (ONE - after) + np.float32(profile[slot_2]) * after
            ) * step_of_profile
            off_season = away - usual_now
            usual_off = max(moments[SEASON_SPREAD], floor)

            interval = moments[INTERVAL]
            common, agreement = memory.common[i], memory.spread[i]
            apart = away - common * spread

            day = ts // DAY_NS
            if day != counts[DAY]:
                end_day(moments, counts, floor, settings)
                counts[DAY] = day
                counts[DAY_ROWS] = 0
                moments[DAY_SUM] = ZERO
            if counts[DAY_ROWS] < SEEN_MOST:
                counts[DAY_ROWS] += 1
                moments[DAY_SUM] += y

            total = ZERO
            for v in range(9):
                s = ZERO
                if v == LEVEL:
                    x = sided(away, settings)
                    s = surprise_of(octaves(x) - of_spread, HALF, tails[LEVEL], settings)
                elif v == JUMP:
                    x = sided(step, settings)
                    s = surprise_of(octaves(x) - of_step, HALF, tails[JUMP], settings)
                elif v == SHIFT:
                    x = sided(short - mean, settings)
                    at = octaves(x) - of_spread + 2 * OCTAVE
                    s = surprise_of(at, HALF, tails[SHIFT], settings)
                elif v == ROUGH:
                    x = step_now - usual_step
                    s = surprise_of(abs(rougher), QUARTER, tails[ROUGH], settings)
                elif v == RESIDUAL:
                    x = sided(ahead, settings)
                    at = octaves(x) - octaves(usual_ahead)
                    s = surprise_of(at, HALF, tails[RESIDUAL], settings)
                elif v == SEASON:
                    x = sided(off_season, settings)
                    at = octaves(x) - octaves(usual_off)
                    s = surprise_of(at, HALF, tails[SEASON], settings)
                elif v == GAP:
                    x = settings.least
                    at = octaves(passed) - octaves(max(interval, TINY))
                    s = surprise_of(at, HALF, tails[GAP], settings)
                elif v == COHORT:
                    x = sided(apart, settings)
                    if common == ZERO and agreement == ONE:
                        x = ZERO
                    else:
                        at = octaves(x) - of_spread - (octaves(agreement) - octaves(ONE))
                        s = surprise_of(at, HALF, tails[COHORT], settings)
                else:
                    x = settings.least
                    s = settings.drift_weight * max(moments[RISE], moments[FALL])
                if not settings.views[v] or np.float32(abs(x)) < settings.least:
                    s = ZERO
                total += s
                surprise[v] = int(min(s * PER_UNIT + HALF_OF, np.float32(255.0)))
                if views.shape[0]:
                    views[k, v] = s
            if free:
                total *= seen / FREE_ROWS

            moments[MEAN] = mean + slow * (away if free else near)
            limit = np.float32(abs(away if free else near))
            moments[SPREAD] += slow * (limit - moments[SPREAD])
            limit = np.float32(abs(step))
            if not free:
                limit = min(limit, settings.clip * usual_step)
            moments[STEP] += slow * (limit - moments[STEP])
            moments[STEP_NOW] = step_now
            moments[SHORT] = short
            moments[LAST] = y
            limit = ahead if free else within(ahead, settings.clip * usual_ahead)
            moments[AHEAD_SPREAD] += slow * (np.float32(abs(limit)) - moments[AHEAD_SPREAD])
            moments[AHEAD] += settings.follow * limit
            limit = off_season if free else within(off_season, settings.clip * usual_off)
            moments[SEASON_SPREAD] += slow * (np.float32(abs(limit)) - moments[SEASON_SPREAD])
            # Rounding is dithered by the time, so that what is less than a step is learnt, too.
            dither = np.float32((ts // 1_000_000 * 2_654_435_761) & 0xFFFF) * np.float32(1 / 65536)
            learnt = settings.learn_season * limit / step_of_profile
            more = math.floor(learnt * (ONE - after) + dither)
            profile[slot] = min(max(int(profile[slot]) + more, -PROFILE_MOST), PROFILE_MOST)
            more = math.floor(learnt * after + dither)
            profile[slot_2] = min(max(int(profile[slot_2]) + more, -PROFILE_MOST), PROFILE_MOST)
            limit = passed if free else min(passed, settings.clip * interval)
            moments[INTERVAL] = interval + max(slow, ONE / seen) * (limit - interval)
            counts[SEEN] = min(int(counts[SEEN]) + 1, SEEN_MOST)

            smooth = moments[SMOOTH] + settings.smooth * (total - moments[SMOOTH])
            moments[SMOOTH] = smooth
            usual = moments[USUAL]
            score[k] = settings.unit * smooth / (settings.base + usual)
            if smooth > usual:
                usual += settings.adapt * settings.exceeded * min(smooth - usual, ONE)
            else:
                usual -= settings.adapt * (ONE - settings.exceeded)
            moments[USUAL] = max(usual, ZERO)
            moments[LATCHED] = max(settings.latch * moments[LATCHED], total)
            state[k] = moments[LATCHED]
            observed[k] = value
            expected[k] = origin + np.float64(mean + usual_now)
