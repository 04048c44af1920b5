"""How the metrics of a device go together, and the evidence that they no longer do.

A metric's *expected* value is its linear regression on the others, read off the inverse of their
correlations (Whittaker, Graphical Models in Applied Multivariate Statistics, 1990, section 5.8:
row j of the inverse holds the coefficients, its diagonal one over the variance left).
"""

from __future__ import annotations

import math

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.relation_memory import RelationMemory, RelationSettings
from aiops.kernels.rows import F8, I4, Rows, Scores

DAY_NS = 86_400_000_000_000
SLOWEST_S = 3600.0
"""A bin stands for its own time, and for an hour at most however long nothing was heard."""
FEW = 8.0
"""Bins in which a metric has no spread yet."""
OUT = 5.0
"""A value this many spreads from its mean is not normal by itself, and left out of the relation."""
CLIP = 3.0
"""Spreads beyond which a value teaches no more than one at the limit..."""
FAR = 25.0
"""...and usual squared errors beyond which an error does not."""
TAIL = 5.0
"""Degrees of freedom of the Student t by which values are judged; its density has power 6 / 2."""
GAIN = 0.15
"""A coefficient may be off by this much of itself."""
LASTING_S = 43_200.0
"""Errors are smoothed by this time constant..."""
WANDERS = 4.0
"""...and as they last, so many times their variance is added to that of an error."""
LEAST_WANDER = 0.01
"""A lasting error whose square is less, in spreads, teaches as it is."""
EXPLAINED = 0.7
"""Share of its variance that a metric may have left, given the others, to be related to them."""
LEAK = 0.2
"""Evidence that a metric without a relation loses a bin."""
MOST = 2.0
"""Evidence is kept up to this many lines, so that it can end."""
REFRESH = 32
"""Bins after which the inverse is worked out anew."""
RIDGE = 0.02
"""Share of a metric's variance that no other metric explains."""
FIRST_DAYS = 3.0
"""Days whose peaks teach nothing: means and spreads were new."""
PRIOR_DAYS = 7.0
"""Days that what was believed of a day's peak at the start counts as."""
SIZE_A_BIN = 0.07
"""Size of peaks believed in at the start, for each bin of a day: errors last for hours..."""
LEAST_SIZE = 2.5
"""...but evidence of few bins is not surer than that."""
USUAL_SHARE = 0.5
"""Share of days with a peak, likewise."""
LONGEST_DAYS = 120.0
"""Days that a peak is remembered."""
PRIOR_SEEN = 5.0
"""Peaks that this belief counts as..."""
APART = 0.5
"""...and share of days with a peak that are news, as evidence of neighbouring days is alike."""
CALM = 0.05
"""Share of its usual rate at which a device in alarm learns."""
OTHERS = 5
"""Devices that make a cohort one can borrow from."""
BORROWED_BINS = 288.0
"""Bins that the correlations of a cohort count as."""
UNIT = 65536.0
"""Sums over a cohort are of whole parts of this many to one: in any order they are the same."""


@kernel
def relation_update(
    rows: Rows,
    values: F8,
    memory: RelationMemory,
    settings: RelationSettings,
    scores: Scores,
) -> None:
    """Take `values` [n, k] (NaN: not reported) of `rows` into bins; judge and learn what closes.

    A bin closes at the first row beyond it. A row that comes later than that after the one before
    is a bin of its own, unless it lacks something that the device reports.
    """
    k = values.shape[1]
    y, z, r = np.empty(k), np.empty(k), np.empty(k)
    work = np.empty((k, k))
    last, best, score = -1, -1, np.nan
    for i in range(values.shape[0]):
        d, ts = rows.device[i], rows.ts[i]
        if ts <= memory.ts[d]:
            continue
        if memory.start[d] != 0 and ts - memory.start[d] >= settings.bin_ns:
            judge(d, memory, settings, y, z, r, work)
            last = -1
        whole = ts - memory.ts[d] >= settings.bin_ns
        if memory.start[d] == 0:
            memory.start[d] = ts
        memory.ts[d] = ts
        for j in range(k):
            x = values[i, j]
            if x == x:
                memory.total[d, j] += np.float32(x)
                memory.rows[d, j] += np.uint16(1)
            elif memory.given[d] >> j & 1 and memory.rows[d, j] == 0:
                whole = False
        if whole:
            judge(d, memory, settings, y, z, r, work)
            last = -1
        if d != last:
            last = d
            best, score = strongest(d, memory, settings)
        scores.score[i] = score
        if best >= 0:
            scores.observed[i] = plain(memory.observed[d, best], settings.floor[best])
            scores.expected[i] = plain(memory.expected[d, best], settings.floor[best])


@kernel
def plain(x: float, floor: float) -> float:
    """Return what a judged value is in the metric's own unit."""
    return math.exp(x) - floor if floor == floor else x


@kernel
def line_of(usual: float, square: float, days: float, log_chance: float) -> float:
    """Return the evidence from which a day comes back with chance exp(-log_chance).

    On some days there is evidence, and its peak is then exponentially distributed, as the tail of
    a CUSUM is (Siegmund, Sequential Analysis, 1985, doi:10.1007/978-1-4757-1862-1). Mean and mean
    square of a day's peak give size and share. The size is known from so many peaks only, so the
    line is that of the predictive distribution, a Lomax (Lomax, J. Am. Stat. Assoc. 49, 1954,
    doi:10.1080/01621459.1954.10501239).
    """
    size = square / (2.0 * usual)
    share = min(usual / size, 1.0)
    seen = PRIOR_SEEN + APART * min(days, LONGEST_DAYS) * share
    return size * seen * (math.exp(max(log_chance + math.log(share), 2.0) / seen) - 1.0)


@kernel
def strongest(d: int, memory: RelationMemory, settings: RelationSettings) -> tuple[int, float]:
    """Return the metric with the most evidence (-1: none has any), and the score of the device.

    Most by the lines of the default budget: those of another follow them.
    """
    if memory.days[d] < settings.learn_days:
        return -1, 0.0 if memory.accepted[d] else np.nan
    best, most = -1, 0.0
    for j in range(memory.evidence.shape[1]):
        if memory.evidence[d, j] > most * memory.line[d, j]:
            best, most = j, memory.evidence[d, j] / memory.line[d, j]
    if best < 0:
        return -1, 0.0
    usual, square = memory.usual[d, best], memory.square[d, best]
    line = line_of(usual, square, memory.days[d], settings.line_log)
    return best, memory.evidence[d, best] / line


@kernel
def judge(
    d: int,
    memory: RelationMemory,
    settings: RelationSettings,
    y: F8,
    z: F8,
    r: F8,
    work: F8,
) -> None:
    """Close the bin of device `d`: judge it by what is known, then learn it."""
    k = y.shape[0]
    ts = memory.start[d]
    if ts // DAY_NS != memory.day[d]:
        turn_day(d, memory, settings)
        memory.day[d] = ts // DAY_NS
    passed_s = min(max(ts - memory.bin_ts[d], settings.bin_ns) * 1e-9, SLOWEST_S)
    memory.bin_ts[d] = ts
    memory.start[d] = 0

    mask = 0
    for j in range(k):
        y[j], z[j], r[j] = np.nan, 0.0, np.nan
        if memory.rows[d, j] == 0:
            continue
        x = float(memory.total[d, j]) / float(memory.rows[d, j])
        floor = settings.floor[j]
        y[j] = math.log(max(x + floor, floor)) if floor == floor else x
        memory.total[d, j] = np.float32(0.0)
        memory.rows[d, j] = np.uint16(0)
        least = least_spread(memory.mean[d, j])
        if memory.known[d, j] >= FEW and memory.variance[d, j] > 4.0 * least * least:
            z[j] = (y[j] - memory.mean[d, j]) / math.sqrt(memory.variance[d, j])
            if abs(z[j]) <= OUT:
                mask |= 1 << j

    if mask & (mask - 1):
        given = int(memory.given[d])
        if mask & ~given or memory.age[d] >= REFRESH:
            given |= mask
            invert(d, given, memory, work)
            memory.given[d] = given
            memory.age[d] = 0
        memory.age[d] += np.uint16(1)
        leave_out(d, given & ~mask, memory, work)
        weigh(d, mask, memory, work, y, z, r)

    score = 0.0
    for j in range(k):
        evidence = memory.evidence[d, j]
        if evidence > 0.0:
            evidence = min(evidence, MOST * memory.line[d, j])
            memory.evidence[d, j] = evidence
            memory.peak[d, j] = max(memory.peak[d, j], evidence)
            score = max(score, evidence / memory.line[d, j])
        elif memory.peak[d, j] > 0.0:
            memory.ended[d, j] = max(memory.ended[d, j], memory.peak[d, j])
            memory.peak[d, j] = np.float32(0.0)

    learn(d, passed_s, max(1.0 / (1.0 + (2.0 * score) ** 4), CALM), memory, settings, work, y, z, r)
    if score < 0.8 or memory.days[d] < settings.learn_days:
        memory.since[d] = 0
    elif score >= 1.0 and memory.since[d] == 0:
        memory.since[d] = ts
    if memory.since[d] != 0 and ts - memory.since[d] >= settings.accept_ns:
        accept(d, memory, settings)


@kernel
def least_spread(mean: float) -> float:
    """Return the spread below which a metric with this mean is constant."""
    return 1e-3 * abs(mean) + 1e-6


@kernel
def weigh(d: int, mask: int, memory: RelationMemory, inverse: F8, y: F8, z: F8, r: F8) -> None:
    """Add to each metric's evidence how much better it is explained alone than by the others.

    The increment is the log of a value's density by itself over that given the others. On average
    it falls by their mutual information while the relation holds, and evidence that stops at zero
    is a CUSUM (Page, Biometrika 41, 1954, doi:10.1093/biomet/41.1-2.100). Values that go far
    together, as they always do, speak for the relation.
    """
    k = z.shape[0]
    for j in range(k):
        if not mask >> j & 1:
            continue
        explained, leverage = 0.0, 0.0
        for m in range(k):
            part = inverse[j, m] * z[m]
            explained += part
            leverage += part * part
        part = inverse[j, j] * z[j]
        left = 1.0 / inverse[j, j]
        r[j] = explained * left
        variance = left * memory.misfit[d, j] + WANDERS * memory.wander[d, j]
        alone = max(memory.moment[d, j * (j + 1) // 2 + j], 0.1)
        if variance > EXPLAINED * alone:
            memory.evidence[d, j] = max(memory.evidence[d, j] - LEAK, 0.0)
            continue
        variance += (GAIN * left) ** 2 * max(leverage - part * part, 0.0)
        ratio = (TAIL * variance + r[j] * r[j]) * alone / ((TAIL * alone + z[j] * z[j]) * variance)
        cube = ratio * ratio * ratio
        more = 0.5 * math.log(cube * cube * variance / alone)
        memory.evidence[d, j] = max(memory.evidence[d, j] + more, 0.0)
        if more > 0.0:
            memory.observed[d, j] = y[j]
            memory.expected[d, j] = y[j] - r[j] * math.sqrt(memory.variance[d, j])


@kernel
def learn(
    d: int,
    passed_s: float,
    gate: float,
    memory: RelationMemory,
    settings: RelationSettings,
    inverse: F8,
    y: F8,
    z: F8,
    r: F8,
) -> None:
    """Take the bin into means, variances, products and errors, each with bounded influence.

    Rates are those of exponential forgetting (Roberts, Technometrics 1, 1959,
    doi:10.1080/00401706.1959.10489860), higher while little is known; `gate` slows them down.
    """
    slow, quick = passed_s / settings.memory_s, passed_s / settings.centre_s
    moment = memory.moment[d]
    for j in range(y.shape[0]):
        if y[j] != y[j]:
            continue
        known = float(memory.known[d, j])
        warm = 2.0 / (known + 2.0)
        rate = gate * max(warm, slow)
        step = y[j] - memory.mean[d, j]
        variance = float(memory.variance[d, j])
        memory.known[d, j] = min(known + 1.0, 1e6)
        if known >= FEW:
            least = least_spread(memory.mean[d, j])
            far = CLIP * math.sqrt(variance + least * least)
            step = min(max(step, -far), far)
        memory.mean[d, j] += gate * max(warm, quick) * step
        if known > 0.0:
            memory.variance[d, j] += rate * (step * step - variance)
        if known < FEW:
            continue
        z[j] = min(max(z[j], -CLIP), CLIP)
        row = j * (j + 1) // 2
        for m in range(j + 1):
            there = rate if y[m] == y[m] else 0.0
            moment[row + m] += np.float32(there * (z[j] * z[m] - moment[row + m]))
        if r[j] == r[j]:
            off = min(max(r[j], -CLIP), CLIP)
            memory.lasting[d, j] += min(passed_s / LASTING_S, 1.0) * (off - memory.lasting[d, j])
            wander = float(memory.wander[d, j])
            lasting = min(float(memory.lasting[d, j]) ** 2, CLIP * CLIP * wander + LEAST_WANDER)
            memory.wander[d, j] += rate * (lasting - wander)
            misfit = float(memory.misfit[d, j])
            memory.misfit[d, j] += rate * (min(r[j] * r[j] * inverse[j, j], FAR * misfit) - misfit)


@kernel
def invert(d: int, mask: int, memory: RelationMemory, work: F8) -> None:
    """Work the inverse of the correlations of the metrics in `mask` out anew.

    By Gauss and Jordan. Correlations are shrunk towards none by `RIDGE` and by as much as few bins
    leave open (Ledoit and Wolf, J. Multivariate Anal. 88, 2004, doi:10.1016/S0047-259X(03)00096-4,
    for why), and a pivot below what that leaves is raised to it.
    """
    k = work.shape[0]
    for j in range(k):
        row = j * (j + 1) // 2
        work[j, j] = 1.0
        for m in range(j):
            size = memory.moment[d, row + j] * memory.moment[d, m * (m + 1) // 2 + m]
            x = 0.0
            if mask >> j & 1 and mask >> m & 1 and size > 0.0:
                bins = min(memory.known[d, j], memory.known[d, m])
                keep = (1.0 - RIDGE) * bins / (bins + 2.0 * k)
                x = keep * min(max(memory.moment[d, row + m] / math.sqrt(size), -1.0), 1.0)
            work[j, m] = x
            work[m, j] = x
    for p in range(k):
        pivot = max(work[p, p], 0.5 * RIDGE)
        for m in range(k):
            work[p, m] = work[p, m] / pivot if m != p else 1.0 / pivot
        for j in range(k):
            if j != p:
                factor = work[j, p]
                for m in range(k):
                    if m != p:
                        work[j, m] -= factor * work[p, m]
                work[j, p] = -factor / pivot
    for j in range(k):
        row = j * (j + 1) // 2
        for m in range(j + 1):
            both = mask >> j & 1 and mask >> m & 1
            memory.inverse[d, row + m] = work[j, m] if both else 0.0


@kernel
def leave_out(d: int, missing: int, memory: RelationMemory, work: F8) -> None:
    """Write the inverse of the metrics but those `missing` into `work` [k, k].

    What is left of an inverse when a variable is left out is its Schur complement.
    """
    k = work.shape[0]
    for j in range(k):
        row = j * (j + 1) // 2
        for m in range(j + 1):
            work[j, m] = memory.inverse[d, row + m]
            work[m, j] = work[j, m]
    for p in range(k if missing else 0):
        if not missing >> p & 1:
            continue
        for j in range(k):
            if j != p and work[j, p] != 0.0:
                factor = work[j, p] / work[p, p]
                for m in range(k):
                    work[j, m] -= factor * work[p, m]
        work[p, :] = 0.0
        work[:, p] = 0.0


@kernel
def turn_day(d: int, memory: RelationMemory, settings: RelationSettings) -> None:
    """Learn the highest peak of the day that is over, and begin another."""
    if memory.day[d] == 0:
        return
    memory.days[d] += np.float32(1.0)
    days = memory.days[d] - FIRST_DAYS
    weight = 1.0 / min(days + PRIOR_DAYS, LONGEST_DAYS)
    size = max(SIZE_A_BIN * memory.known[d].max() / FIRST_DAYS, LEAST_SIZE)
    for j in range(memory.ended.shape[1]):
        if days == 0.0:
            memory.usual[d, j] = USUAL_SHARE * size
            memory.square[d, j] = 2.0 * USUAL_SHARE * size * size
        peak = min(memory.ended[d, j], memory.line[d, j])
        memory.ended[d, j] = np.float32(0.0)
        if days < 0.0:
            continue
        memory.usual[d, j] += weight * (peak - memory.usual[d, j])
        memory.square[d, j] += weight * (peak * peak - memory.square[d, j])
        usual, square = memory.usual[d, j], memory.square[d, j]
        memory.line[d, j] = line_of(usual, square, memory.days[d], settings.usual_log)


@kernel
def accept(d: int, memory: RelationMemory, settings: RelationSettings) -> None:
    """Take what has lasted so long as the usual relation, which is learnt quickly."""
    memory.since[d] = 0
    memory.accepted[d] = 1
    memory.days[d] = settings.learn_days - settings.borrow_days
    for j in range(memory.evidence.shape[1]):
        memory.evidence[d, j] = np.float32(0.0)
        memory.peak[d, j] = np.float32(0.0)
        memory.lasting[d, j] = np.float32(0.0)
        memory.misfit[d, j] = np.float32(1.0)
        memory.known[d, j] = min(memory.known[d, j], np.float32(4.0 * FEW))


@kernel
def borrow(group: I4, memory: RelationMemory, settings: RelationSettings) -> None:
    """Let the new ones of the first [size] devices know the relations of their `group` [size].

    Those are of devices that have learnt long enough. A device is new in its second day, when it
    has means and spreads of its own: correlations are blended with what it saw so far.
    """
    size, wanted = group.shape[0], 0
    for i in range(size):
        if is_new(i, memory):
            wanted += 1
    if wanted == 0:
        return
    groups = 0
    for i in range(size):
        groups = max(groups, group[i] + 1)
    t, k = memory.moment.shape[1], memory.mean.shape[1]
    both = np.zeros((groups, t), dtype=np.int64)
    product = np.zeros((groups, t), dtype=np.int64)
    metric = np.zeros((groups, 4, k), dtype=np.int64)
    for i in range(size):
        g = group[i]
        if g < 0 or memory.days[i] < settings.learn_days:
            continue
        for j in range(k):
            if memory.known[i, j] < BORROWED_BINS:
                continue
            metric[g, 0, j] += round(memory.misfit[i, j] * UNIT)
            metric[g, 1, j] += round(memory.wander[i, j] * UNIT)
            metric[g, 2, j] += round(memory.usual[i, j] * UNIT)
            metric[g, 3, j] += round(memory.square[i, j] * UNIT)
            for m in range(j + 1):
                if memory.known[i, m] >= BORROWED_BINS:
                    both[g, j * (j + 1) // 2 + m] += 1
                    product[g, j * (j + 1) // 2 + m] += round(
                        memory.moment[i, j * (j + 1) // 2 + m] * UNIT
                    )
    for i in range(size):
        g = group[i]
        if g < 0 or not is_new(i, memory) or both[g].max() < OTHERS:
            continue
        memory.informed[i] = 1
        memory.days[i] = settings.learn_days - settings.borrow_days
        memory.age[i] = REFRESH
        for j in range(k):
            row = j * (j + 1) // 2
            unit = UNIT * both[g, row + j]
            if both[g, row + j] < OTHERS:
                continue
            memory.misfit[i, j] = metric[g, 0, j] / unit
            memory.wander[i, j] = metric[g, 1, j] / unit
            memory.usual[i, j] = metric[g, 2, j] / unit
            memory.square[i, j] = metric[g, 3, j] / unit
            memory.line[i, j] = line_of(
                memory.usual[i, j], memory.square[i, j], memory.days[i], settings.usual_log
            )
            share = BORROWED_BINS / (BORROWED_BINS + memory.known[i, j])
            for m in range(j + 1):
                if both[g, row + m] >= OTHERS:
                    theirs = product[g, row + m] / (UNIT * both[g, row + m])
                    memory.moment[i, row + m] += share * (theirs - memory.moment[i, row + m])


@kernel
def is_new(i: int, memory: RelationMemory) -> bool:
    """Say whether device `i` has seen a day, and nothing of its cohort."""
    return bool(memory.informed[i] == 0 and 1.0 <= memory.days[i] <= FIRST_DAYS)
