"""Slow creep of a reading towards a limit: the evidence that there is one."""

from __future__ import annotations

import math

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.exhaustion_memory import ExhaustionMemory, ExhaustionSettings
from aiops.kernels.rows import B1, F8, I4, Rows, Scores

PARTS = 24
"""A bin is the middle of so many parts' means: an hour with a thousand rows counts as one hour."""
WINDOW = 64
"""Bins that are looked back on."""
LEAST = 12
"""Bins with a reading without which nothing is said."""
BREAKS = 6
"""Jumps at most that get a level of their own, the largest first..."""
BREAK_SPREADS = 6.0
"""...which are changes so many spreads away from the usual change."""
PLAIN = 2.5
"""Standard errors by which a slope must be above 0 to be weighed; see `steepest`."""
EDGE = 2
"""A jump that was not noticed has so many bins on either side, at least."""
PEAK_SHARE = 1.0 / 14.0
"""How much one bin tells of how far its highest part is beyond its middle."""
RESETS, RESET_BINS = 0.5, 90.0
"""Drops back, in so many bins, that are assumed before any are seen."""
POLISHES = 3
"""Rounds in which levels of devices and bins of a group are told apart."""


@kernel
def exhaustion_update(
    rows: Rows,
    value: F8,
    outside: F8,
    memory: ExhaustionMemory,
    settings: ExhaustionSettings,
    scores: Scores,
) -> None:
    """Take readings [n] and, where told, those of the surroundings [n]; score by what is known.

    A row is scored by the bins that were judged before it. Observed is the reading, expected the
    level at which the window that was judged begins; both in the metric's unit.
    """
    part_ns = settings.bin_ns // PARTS
    for k in range(rows.device.shape[0]):
        if math.isnan(value[k]):
            continue
        i = rows.device[k]
        if rows.ts[k] <= memory.ts[i]:
            continue
        memory.ts[i] = rows.ts[k]
        b = rows.ts[k] // settings.bin_ns
        if memory.open_bin[i] < b:
            close_bin(i, memory, settings)
            memory.open_bin[i] = b
        p = min((rows.ts[k] - b * settings.bin_ns) // part_ns, PARTS - 1)
        count = min(memory.readings[i, p] + 1, 255)
        old = memory.part[i, p] if count > 1 else 0.0
        memory.part[i, p] = old + (settings.sign * value[k] - old) / count
        memory.readings[i, p] = count
        if settings.compares and not math.isnan(outside[k]):
            memory.outside_sum[i] += settings.sign * outside[k]
            memory.outside_count[i] += 1
            memory.told[i] = 1
        if memory.judged[i] >= 0:
            grown = memory.evidence[i] / settings.line
            scores.score[k] = max(min(grown, 2.0 * memory.chance[i]), 0.0)
            scores.observed[k] = value[k]
            scores.expected[k] = settings.sign * memory.start[i]


@kernel
def close_bin(i: int, memory: ExhaustionMemory, settings: ExhaustionSettings) -> None:
    """Keep the middle of the open bin of device `i`, if it has any reading."""
    b = memory.open_bin[i]
    if b < 0 or memory.closed[i] >= b:
        return
    some = np.empty(PARTS)
    n = 0
    for p in range(PARTS):
        if memory.readings[i, p] > 0:
            some[n] = memory.part[i, p]
            n += 1
            memory.readings[i, p] = 0
    if n == 0:
        return
    skipped = min(b - memory.closed[i] - 1, WINDOW) if memory.closed[i] >= 0 else WINDOW
    for back in range(1, skipped + 1):
        memory.value[i, (b - back) % WINDOW] = np.nan
    middle = np.median(some[:n])
    memory.value[i, b % WINDOW] = middle
    if settings.compares and memory.told[i] == 1:
        for back in range(1, skipped + 1):
            memory.outside[i, (b - back) % WINDOW] = np.nan
        known = memory.outside_count[i] > 0
        mean = memory.outside_sum[i] / memory.outside_count[i] if known else np.nan
        memory.outside[i, b % WINDOW] = mean
        memory.sealed[i] = b
    memory.outside_sum[i] = 0.0
    memory.outside_count[i] = 0
    beyond = np.max(some[:n]) - middle
    if math.isnan(memory.peak[i]):
        memory.peak[i] = beyond
        memory.peak_var[i] = 0.0
    else:
        off = beyond - memory.peak[i]
        memory.peak[i] += PEAK_SHARE * off
        memory.peak_var[i] = (1.0 - PEAK_SHARE) * (memory.peak_var[i] + PEAK_SHARE * off * off)
    memory.closed[i] = b
    memory.turned[i] = 1


@kernel
def judge(device: I4, memory: ExhaustionMemory, settings: ExhaustionSettings) -> None:
    """Judge the windows of `device` [k]: is there a creep, how fast, and is the limit near.

    A window is a level, a creep, and noise whose neighbours are correlated; for each noticed jump
    a level of its own; and perhaps one jump that was not noticed, anywhere. All unknowns, the
    correlation among them, are integrated over with and without a creep, so that neither wandering
    noise nor a jump is taken for one: the ratio of the two integrals is the evidence (a Bayes
    factor; Kass and Raftery 1995, doi:10.1080/01621459.1995.10476572). It is averaged over where
    the creep may have begun, with equal shares. What was before it tells what noise is like.
    """
    t, y, c = np.empty(WINDOW), np.empty(WINDOW), np.empty(WINDOW)
    broken = np.empty(WINDOW, dtype=np.bool_)
    mean = np.empty(8)
    for i in device:
        memory.turned[i] = 0
        n = gather(i, memory, settings, t, y, c)
        if n < LEAST:
            continue
        memory.judged[i] = memory.closed[i] + round(t[n - 1])
        last = t[n - 1]
        for j in range(n):
            t[j] -= last
        find_breaks(n, y, c, settings, broken)
        recall_resets(i, n, t, y, broken, memory)
        memory.evidence[i] = 0.0
        memory.chance[i] = 0.0
        memory.span[i] = 0
        memory.start[i] = y[0]
        memory.level[i] = y[n - 1]
        room = max(settings.limit - memory.peak[i] - y[n - 1], settings.resolution)
        highest = steepest(t[:n], y[:n], c[:n], broken[:n], settings)
        if highest * settings.horizon < 0.4 * room:
            continue
        usual = max(room, settings.least_room) / settings.horizon
        memory.evidence[i] = weigh(t[:n], y[:n], c[:n], broken[:n], usual, settings, mean)
        memory.level[i] = mean[0]
        memory.slope[i] = mean[1]
        memory.level_var[i] = max(mean[2] - mean[0] * mean[0], 0.0)
        memory.slope_var[i] = max(mean[3] - mean[1] * mean[1], 0.0)
        memory.both_cov[i] = mean[4] - mean[0] * mean[1]
        memory.noise_var[i] = mean[5]
        memory.correlation[i] = mean[6]
        memory.away[i] = y[n - 1] - mean[0]
        memory.span[i] = max(round(-mean[7]), 1)
        memory.start[i] = mean[0] + mean[1] * mean[7]


@kernel
def gather(
    i: int, memory: ExhaustionMemory, settings: ExhaustionSettings, t: F8, y: F8, c: F8
) -> int:
    """Write the window of device `i` in order of time; return how many bins have a reading.

    `t` counts bins from the last full one, `c` is the surroundings (0 where none are compared).
    """
    n = 0
    closed, sealed = memory.closed[i], memory.sealed[i]
    for back in range(WINDOW - 1, -1, -1):
        b = closed - back
        if b < 0:
            continue
        value = memory.value[i, b % WINDOW]
        around = 0.0
        if settings.compares:
            around = memory.outside[i, b % WINDOW]
            if b > sealed or b <= sealed - WINDOW:
                around = np.nan
        if math.isnan(value) or math.isnan(around):
            continue
        t[n] = -back
        y[n] = value
        c[n] = around
        n += 1
    return n


@kernel
def find_breaks(n: int, y: F8, c: F8, settings: ExhaustionSettings, broken: B1) -> None:
    """Mark the bins [n] before which the reading jumped, the largest jumps first."""
    step = np.empty(n - 1)
    for j in range(1, n):
        step[j - 1] = (y[j] - c[j]) - (y[j - 1] - c[j - 1])
    usual = np.median(step)
    off = np.abs(step - usual)
    spread = max(1.4826 * np.median(off), settings.resolution)
    broken[:n] = False
    for _ in range(BREAKS):
        j = int(np.argmax(off))
        if off[j] <= BREAK_SPREADS * spread:
            break
        broken[j + 1] = True
        off[j] = 0.0


@kernel
def recall_resets(i: int, n: int, t: F8, y: F8, broken: B1, memory: ExhaustionMemory) -> None:
    """Keep how often device `i` drops back, and to where."""
    drops, floor, lowest = 0, 0.0, y[0]
    for j in range(1, n):
        lowest = min(lowest, y[j])
        if broken[j] and y[j] < y[j - 1]:
            drops += 1
            floor += y[j]
    memory.resets[i] = (drops + RESETS) / (RESET_BINS - t[0])
    memory.floor[i] = floor / drops if drops > 0 else lowest


@kernel
def steepest(t: F8, y: F8, c: F8, broken: B1, settings: ExhaustionSettings) -> float:
    """Return the highest clear slope of a line since an onset, pieces between jumps apart.

    Clear is what is `PLAIN` standard errors above 0 if neighbours were not correlated, which makes
    a slope clearer than it is: it is cheap, and rules out most devices. -inf: none is clear.
    """
    n = t.shape[0]
    highest = -np.inf
    for onset in settings.onset:
        begin = 0
        while t[begin] < onset:
            begin += 1
        sxx, sxy, syy = 0.0, 0.0, (n - begin) * settings.resolution**2
        first, freedom = begin, n - begin - 1.0
        for j in range(begin + 1, n + 1):
            if j < n and not broken[j]:
                continue
            mean_t, mean_y = 0.0, 0.0
            for k in range(first, j):
                mean_t += t[k]
                mean_y += y[k] - c[k]
            mean_t /= j - first
            mean_y /= j - first
            for k in range(first, j):
                sxx += (t[k] - mean_t) ** 2
                sxy += (t[k] - mean_t) * (y[k] - c[k] - mean_y)
                syy += (y[k] - c[k] - mean_y) ** 2
            first = j
            freedom -= 1.0
        if sxx > 0.0 and freedom > 0.0 and sxy > 0.0:
            error = (syy - sxy * sxy / sxx) / freedom / sxx
            if sxy / sxx > PLAIN * math.sqrt(error):
                highest = max(highest, sxy / sxx)
    return highest


@kernel
def weigh(
    t: F8,
    y: F8,
    c: F8,
    broken: B1,
    usual: float,
    settings: ExhaustionSettings,
    moments: F8,
) -> float:
    """Return the log evidence for a creep in a window [n], and the moments of what it is.

    `moments` become the means, over all that may be, of level, slope, level^2, slope^2, their
    product, the variance of the noise, its correlation, and the onset. Slopes are beforehand
    normal around 0 with a deviation of `usual` a bin, and only upward; of scale and nuisances
    nothing is known (Liang et al. 2008, doi:10.1198/016214507000001337, for the integrals).
    """
    n = t.shape[0]
    most = BREAKS + 2
    q, at_end, norm, along = np.empty((most, n)), np.empty(most), np.empty(most), np.empty(most)
    keep, scale, raw = np.empty(n), np.empty(n), np.empty(n)
    rest, ramp = np.empty(n), np.empty(n)
    jump_ss, jump_sy, jump_end = np.empty(n), np.empty(n), np.empty(n)
    moments[:] = 0.0
    with_sum, without_sum, top_with, top_without = 0.0, 0.0, -np.inf, -np.inf
    onsets = 0
    for o in range(settings.onset.shape[0]):
        onsets += is_within(settings.onset[o], t)
    jumps = max(n - 2 * EDGE + 1, 1)
    jump_prior = math.log(0.5 / jumps) - 0.5 * math.log1p(n)
    shrunk = n / (n + 1.0)
    least = n * settings.resolution**2
    for r in range(settings.correlation.shape[0]):
        rho = settings.correlation[r]
        base = math.log(settings.share[r])
        for j in range(n):
            keep[j] = rho ** (t[j] - t[j - 1]) if j > 0 else 0.0
            scale[j] = math.sqrt((1.0 - keep[j] ** 2) / (1.0 - rho * rho))
            base -= math.log(scale[j])
        # Columns that explain without a creep: level, surroundings, a level after each jump.
        p, mark = 0, 0
        for column in range(most):
            if column > 1:
                mark += 1
                while mark < n and not broken[mark]:
                    mark += 1
                if mark == n:
                    break
            for j in range(n):
                raw[j] = 1.0 if column == 0 or (column > 1 and j >= mark) else 0.0
                if column == 1:
                    raw[j] = c[j]
            whiten(raw, keep, scale, q[p])
            size = np.dot(q[p], q[p])
            at_end[p] = raw[n - 1]
            for b in range(p):
                share = np.dot(q[p], q[b]) / norm[b]
                q[p] -= share * q[b]
                at_end[p] -= share * at_end[b]
            norm[p] = np.dot(q[p], q[p])
            if norm[p] > 1e-9 * size:
                base -= 0.5 * math.log(norm[p])
                p += 1
        freedom = float(n - p)
        whiten(y, keep, scale, rest)
        level, level_var = 0.0, 0.0
        for b in range(p):
            share = np.dot(rest, q[b]) / norm[b]
            rest -= share * q[b]
            level += share * at_end[b]
            level_var += at_end[b] ** 2 / norm[b]
        yy = np.dot(rest, rest) + least
        log = base + math.log(0.5) - 0.5 * freedom * math.log(yy)
        top_without, without_sum = added(top_without, without_sum, log)
        # One jump that was not noticed, before bin k: what it has in common with each column.
        along[:] = 0.0
        whole, common = 0.0, 0.0
        for k in range(n - 1, 0, -1):
            enters, stays = 1.0 / scale[k], (1.0 - keep[k]) / scale[k]
            jump_ss[k] = whole + enters * enters
            jump_sy[k] = common + rest[k] * enters
            jump_end[k] = 1.0
            for b in range(p):
                share = along[b] + q[b, k] * enters
                jump_ss[k] -= share * share / norm[b]
                jump_end[k] -= share * at_end[b] / norm[b]
                along[b] += q[b, k] * stays
            whole += stays * stays
            common += rest[k] * stays
            if k < EDGE or k > n - EDGE or jump_ss[k] < 1e-6 * enters * enters:
                jump_ss[k] = 0.0
                continue
            left = yy - shrunk * jump_sy[k] ** 2 / jump_ss[k]
            log = base + jump_prior - 0.5 * freedom * math.log(left)
            top_without, without_sum = added(top_without, without_sum, log)
        for o in range(settings.onset.shape[0]):
            onset = settings.onset[o]
            if not is_within(onset, t):
                continue
            for j in range(n):
                raw[j] = max(t[j], onset)
            whiten(raw, keep, scale, ramp)
            ramp_end = 0.0
            for b in range(p):
                share = np.dot(ramp, q[b]) / norm[b]
                ramp -= share * q[b]
                ramp_end -= share * at_end[b]
            tt, yt = np.dot(ramp, ramp), np.dot(rest, ramp)
            common = 0.0
            for k in range(n, 0, -1):
                left, lean, cross, end = yy, tt, yt, ramp_end
                where, where_var, prior = level, level_var, math.log(0.5)
                if k < n:
                    st = common + ramp[k] / scale[k]
                    common += ramp[k] * (1.0 - keep[k]) / scale[k]
                    ss, sy = jump_ss[k], jump_sy[k]
                    if ss == 0.0:
                        continue
                    left -= shrunk * sy * sy / ss
                    lean -= st * st / ss
                    cross -= st * sy / ss
                    end -= st / ss * jump_end[k]
                    where += shrunk * sy / ss * jump_end[k]
                    where_var += shrunk * jump_end[k] ** 2 / ss
                    prior = jump_prior
                if lean < 1e-9 * tt:
                    continue
                variance = max(left - cross * cross / lean, least) / freedom
                known = usual * usual * lean / variance
                belief = known / (1.0 + known)
                left -= belief * cross * cross / lean
                variance = left / max(freedom - 2.0, 1.0)
                slope = belief * cross / lean
                slope_var = belief * variance / lean
                upward = math.erfc(-slope / math.sqrt(2.0 * slope_var))
                if upward < 1e-12:
                    continue
                log = base + prior - 0.5 * freedom * math.log(left)
                log += math.log(upward / onsets) - 0.5 * math.log1p(known)
                where += slope * end
                where_var = variance * where_var + slope_var * end * end
                if log > top_with:
                    moments *= math.exp(top_with - log)
                share = math.exp(min(log - top_with, 0.0))
                top_with, with_sum = added(top_with, with_sum, log)
                moments[0] += share * where
                moments[1] += share * slope
                moments[2] += share * (where * where + where_var)
                moments[3] += share * (slope * slope + slope_var)
                moments[4] += share * (where * slope + slope_var * end)
                moments[5] += share * variance / (1.0 - rho * rho)
                moments[6] += share * rho
                moments[7] += share * onset
    if with_sum == 0.0:
        return -np.inf
    moments /= with_sum
    return top_with + math.log(with_sum) - top_without - math.log(without_sum)


@kernel
def is_within(onset: float, t: F8) -> bool:
    """Say whether a creep may begin there: enough bins of it, and not long before the first."""
    return onset >= 1.25 * t[0] and onset <= -8.0


@kernel
def whiten(column: F8, keep: F8, scale: F8, out: F8) -> None:
    """Write what is new in each entry [n] of a column of correlated noise, to one variance."""
    out[0] = column[0] / scale[0]
    for j in range(1, column.shape[0]):
        out[j] = (column[j] - keep[j] * column[j - 1]) / scale[j]


@kernel
def added(top: float, total: float, log: float) -> tuple[float, float]:
    """Add exp(`log`) to exp(`top`) times `total`."""
    if log > top:
        return log, total * math.exp(top - log) + 1.0
    return top, total + math.exp(log - top)


@kernel
def seal_groups(
    order: I4, start: I4, last_bin: int, memory: ExhaustionMemory, settings: ExhaustionSettings
) -> None:
    """Tell each member what its group did, up to and with `last_bin`.

    Devices `order` stand by group, which begin at `start` [g + 1]. What a group did in a bin is the
    median over members of how far each is from its own level; the levels are medians over bins
    (median polish; Tukey 1977). Members that report their surroundings themselves are left alone.
    """
    both = np.empty(max(WINDOW, order.shape[0]))
    for g in range(start.shape[0] - 1):
        member = order[start[g] : start[g + 1]]
        n = member.shape[0]
        level, course = np.zeros(n), np.zeros(WINDOW)
        for _ in range(POLISHES):
            for m in range(n):
                some = 0
                for back in range(WINDOW):
                    b = last_bin - back
                    value = reading(member[m], b, memory) - course[back]
                    if not math.isnan(value):
                        both[some] = value
                        some += 1
                level[m] = np.median(both[:some]) if some > 0 else np.nan
            for back in range(WINDOW):
                some = 0
                for m in range(n):
                    value = reading(member[m], last_bin - back, memory) - level[m]
                    if not math.isnan(value):
                        both[some] = value
                        some += 1
                course[back] = np.median(both[:some]) if 2 * some >= n else np.nan
        for i in member:
            if memory.told[i] == 1:
                continue
            for back in range(WINDOW):
                if last_bin - back >= 0:
                    memory.outside[i, (last_bin - back) % WINDOW] = course[back]
            memory.sealed[i] = last_bin


@kernel
def reading(i: int, b: int, memory: ExhaustionMemory) -> float:
    """Return the middle of bin `b` of device `i`; NaN: not known, or no longer."""
    if b < 0 or b > memory.closed[i] or b <= memory.closed[i] - WINDOW:
        return np.nan
    return float(memory.value[i, b % WINDOW])
