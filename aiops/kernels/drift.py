"""The evidence that a device's reboot rate has risen: against its past, and against its cohort."""

from __future__ import annotations

import math

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.reboot_memory import F4, U2, RebootMemory, RebootSettings
from aiops.kernels.rows import F8, I4, I8, Rows, Scores

DAY_S = 86_400.0
BINS_AT_ONCE = 3660
"""More bins than this are never judged at once: nobody was there to count for ten years."""
REVIVAL = 1e-12
"""No rate is ever less likely than this, so that after years a baseline can still be relearnt."""
BLOCK_DAYS = 7
"""Bins of a block, in which rates may be raised or lowered together."""
MOST = 1e30
"""No weight grows beyond this: single precision ends at 3e38."""
PAIRED_A_DAY, PAIRED_A_WEEK = 4, 6
"""More episodes of a bin or block are not paired: one boot loop must not speak for a cohort."""
EPISODES_NEEDED = 20
"""A cohort with fewer says nothing of its rate."""
PAIRS_NEEDED = 400.0
"""How rates spread is told by ordered pairs of one device's episodes: so many, and it is to 7 %."""
CLEAR_DAILY, CLEAR_DISPERSION = 3.0, 2.5
"""So many standard errors more pairs than chance gives, and a cohort is taken not to be Poisson."""
LEAST_DAILY, LEAST_DISPERSION = 0.25, 0.06
"""So many more pairs are worth a change of mind: blocks differ, and some devices' rates drift."""
OUT_OF_STEP = 2.0
"""What lasts for a week seldom starts with a block: so much more than blocks show is taken."""
DATED, SURE = 4.0, 8.0
"""A change is dated from so much evidence on, nats, and its date kept from so much on."""
EXTREME = 3.7
"""Normal quantile: one device in 10,000 of the cohort reboots more often than is compared with."""


@kernel
def score_rows(
    rows: Rows,
    boot_id: F8,
    boot_time: F8,
    uptime: F8,
    boot_count: F8,
    power_cycles: F8,
    memory: RebootMemory,
    settings: RebootSettings,
    scores: Scores,
) -> None:
    """Score rows [n] that say something new of boots, by what their device was judged last.

    `memory` must not have seen the rows yet.
    """
    device, ts = rows.device, rows.ts
    known_ts, level, bins = memory.ts, memory.level, memory.bins
    score, observed, expected = scores.score, scores.observed, scores.expected
    per_line = 1.0 / settings.line
    for k in range(device.shape[0]):
        i = device[k]
        silent = (
            math.isnan(boot_id[k])
            and math.isnan(boot_time[k])
            and math.isnan(uptime[k])
            and math.isnan(boot_count[k])
            and math.isnan(power_cycles[k])
        )
        if silent or bins[i] == 0 or ts[k] <= known_ts[i]:
            score[k] = np.nan
            observed[k] = np.nan
            expected[k] = np.nan
            continue
        score[k] = level[i] * per_line
        observed[k] = memory.rate_after[i]
        expected[k] = memory.rate_before[i]


@kernel
def judge_bins(device: I4, now_s: float, memory: RebootMemory, settings: RebootSettings) -> None:
    """Judge the bins that are full of each of `device` [k]; settled episodes fall into them evenly.

    *Against its past*: Shiryaev-Roberts over hazards instead of over pairs of hazard and ratio. The
    ratios are whole steps of the hazards' grid, so that a change leads from one node to another
    and what counts afterwards is only where it led. All weights are divided by the marginal
    likelihood of no change, so that their sum is a sum of likelihood ratios and grows, as long as
    nothing changes, by one a bin on average: an e-detector (Shin, Ramdas and Rinaldo,
    arXiv:2203.03532). *Against its cohort*: a mixture of Shiryaev-Roberts statistics, from the rate
    that hardly one of the cohort exceeds. The weighted mean of both is an e-detector, too.

    Episodes are Poisson, or, where the cohort has shown otherwise, negative binomial by blocks of
    `BLOCK_DAYS` bins: a gamma-distributed factor raises or lowers the rate of a whole block.

    `level` divides the weights by what an episode on average carries them past the line, so that
    the line is met on average and not exceeded (see `overshoot`).
    """
    rate, steps, share = settings.rate, settings.steps, settings.share
    bin_s = settings.bin_s
    h, r, k = rate.shape[0], steps.shape[0], settings.ratio.shape[0]
    log_first = math.log(rate[0])
    log_step = math.log(rate[1] / rate[0])
    likelihood, fresh = np.empty(h), np.empty(h)
    for i in device:
        filled = memory.open_s[i]
        closing = int(min(filled // bin_s, BINS_AT_ONCE))
        if closing < 1:
            continue
        memory.open_s[i] = filled % bin_s
        fallen = int(memory.settled[i])
        memory.settled[i] = 0
        before, after = memory.before[i], memory.after[i]
        frailty = settings.frailty[memory.dispersion[i]]
        quiet = settings.quiet[memory.dispersion[i]]
        again = settings.again[memory.dispersion[i]]
        hit = settings.hit[memory.dispersion[i]]
        extreme = extreme_rate(memory.cohort_rate[i], memory.cohort_shape[i]) * bin_s
        compared = extreme > 0.0
        mean_before = 0.0
        if memory.bins[i] > 0:
            mean_before = (math.log(memory.rate_before[i]) - log_first) / log_step
        for b in range(closing):
            x = (fallen * (b + 1)) // closing - (fallen * b) // closing
            day, week = memory.day_of_week[i], memory.week[i]
            x = counted(i, x, memory)
            for j in range(h):
                likelihood[j] = quiet[day, j]
            for _ in range(week if frailty < np.inf else 0):
                for j in range(h):
                    likelihood[j] *= again[day, j]
            for _ in range(x):
                for j in range(h):
                    likelihood[j] *= hit[day, j]
            for j in range(h):
                fresh[j] = 0.0
            for s in range(r):
                for j in range(steps[s], h):
                    fresh[j] += before[j - steps[s]] * share[s]
            kept, begun, unchanged, mean = 0.0, 0.0, 0.0, 0.0
            for j in range(h):
                kept += after[j] * likelihood[j]
                begun += fresh[j] * likelihood[j]
                unchanged += before[j] * likelihood[j]
                mean += before[j] * j
            scale = 1.0 / unchanged
            for j in range(h):
                after[j] = min((after[j] + fresh[j]) * likelihood[j] * scale, MOST)
                before[j] = max(before[j] * likelihood[j] * scale, REVIVAL)
            mean_before = mean + (mean_before - mean) * kept / (kept + begun)
            if x > 0:
                remember(i, int((now_s - (closing - 1 - b) * bin_s) // DAY_S), x, memory)
            if compared:
                surplus_bin(
                    memory.surplus[i], settings.ratio_share, settings.ratio, x, extreme,
                    frailty, day, week,
                )  # fmt: skip
        memory.bins[i] += closing

        total, mean_after = 0.0, 0.0
        for j in range(h):
            total += after[j]
            mean_after += after[j] * j
        own = 1.0 - settings.cohort_share
        memory.rate_before[i] = math.exp(log_first + mean_before * log_step)
        memory.rate_after[i] = math.exp(log_first + mean_after / total * log_step)
        ratio = math.exp((mean_after / total - mean_before) * log_step)
        evidence = own * total
        expected = memory.rate_before[i] * bin_s
        level = own * total / (overshoot(ratio, expected) if frailty == np.inf else 1.0)
        if compared:
            surplus, mean = 0.0, 0.0
            for j in range(k):
                surplus += memory.surplus[i, j]
                mean += memory.surplus[i, j] * settings.ratio[j]
            evidence += settings.cohort_share * surplus
            past = overshoot(mean / surplus, extreme) if frailty == np.inf else 1.0
            level += settings.cohort_share * surplus / past
        memory.evidence[i] = math.log1p(evidence)
        memory.level[i] = math.log1p(level)
        if memory.level[i] < DATED:
            memory.onset_day[i] = np.nan
        elif memory.level[i] < SURE or not memory.onset_day[i] < memory.recent[i, 0]:
            memory.onset_day[i] = onset_of(
                memory.recent[i], now_s / DAY_S, memory.rate_before[i] * DAY_S
            )


@kernel
def counted(i: int, x: int, memory: RebootMemory) -> int:
    """Return how many episodes `x` in a bin of device `i` count as, and remember them in pairs.

    Of a Poisson process, whatever its rate, there are as many ordered pairs of episodes within a
    bin as between a bin and the next, and as many within blocks as between a block and the next
    but one, on average. More pairs within than between is how a cohort shows that its episodes
    come in bursts, or that its blocks are not alike.
    """
    memory.episodes[i] += x
    paired = min(x, PAIRED_A_DAY)
    memory.same_day[i] += paired * (paired - 1)
    memory.next_day[i] += paired * memory.yesterday[i]
    memory.yesterday[i] = paired
    if memory.daily[i]:
        x = min(x, 1)
    week = min(memory.week[i] + x, 100)
    if memory.day_of_week[i] + 1 < BLOCK_DAYS:
        memory.day_of_week[i] += 1
        memory.week[i] = week
        return x
    week = min(week, PAIRED_A_WEEK)
    other = memory.week_before[i]
    if other >= 0:
        memory.same_week[i] += week * (week - 1) + other * (other - 1)
        memory.next_week[i] += 2 * week * other
    memory.week_before[i] = memory.last_week[i]
    memory.last_week[i] = week
    memory.day_of_week[i] = 0
    memory.week[i] = 0
    return x


@kernel
def remember(i: int, day: int, x: int, memory: RebootMemory) -> None:
    """Keep `day` as that of the last `x` episodes of device `i`."""
    recent = memory.recent[i]
    for _ in range(min(x, recent.shape[0])):
        for a in range(recent.shape[0] - 1):
            recent[a] = recent[a + 1]
        recent[recent.shape[0] - 1] = day


@kernel
def onset_of(recent: U2, today: float, per_day: float) -> float:
    """Return the likeliest day of a change from a known rate to any higher one.

    Of a Poisson process the likelihood is highest just after one of the `recent` episodes; the
    change is put half way between that and the next.
    """
    best, onset = -np.inf, np.nan
    n = recent.shape[0]
    for a in range(n - 1):
        if recent[a] == 0:
            continue
        days = max(today - float(recent[a]), 1.0)
        later = float(n - 1 - a)
        gain = later * math.log(later / (per_day * days)) - later + per_day * days
        if later > per_day * days and gain > best:
            best, onset = gain, 0.5 * (float(recent[a]) + float(recent[a + 1]))
    return onset


@kernel
def surplus_bin(
    weight: F4,
    share: F8,
    ratio: F8,
    x: int,
    expected: float,
    frailty: float,
    day: int,
    week: int,
) -> None:
    """Take a bin with `x` episodes, where `expected` are, into Shiryaev-Roberts weights [k].

    Each is the statistic of one ratio (Roberts, Technometrics 8, 1966,
    doi:10.1080/00401706.1966.10490374), in bins times its share. With a `frailty` that is not
    infinite, the block had `week` episodes in `day` bins before.
    """
    if frailty == np.inf:
        for j in range(ratio.shape[0]):
            gain = math.exp(x * math.log(ratio[j]) - (ratio[j] - 1.0) * expected)
            weight[j] = min((weight[j] + share[j]) * gain, MOST)
        return
    old = frailty + week
    usual = old * math.log(frailty + expected * day) - (old + x) * math.log(
        frailty + expected * (day + 1)
    )
    for j in range(ratio.shape[0]):
        more = expected * ratio[j]
        raised = old * math.log(frailty + more * day) - (old + x) * math.log(
            frailty + more * (day + 1)
        )
        gain = math.exp(x * math.log(ratio[j]) + raised - usual)
        weight[j] = min((weight[j] + share[j]) * gain, MOST)


@kernel
def known_rate_update(
    episodes: I8, expected: F8, weight: F4, settings: RebootSettings, level: F8
) -> None:
    """Take a bin of each of n devices whose rate is known: `episodes` [n] where `expected` [n] are.

    `weight` [n, k] is the mixture; `level` [n] becomes the log of what compares with the line.
    """
    ratio, share = settings.ratio, settings.ratio_share
    for i in range(episodes.shape[0]):
        surplus_bin(weight[i], share, ratio, episodes[i], expected[i], np.inf, 0, 0)
        total, mean = 0.0, 0.0
        for j in range(ratio.shape[0]):
            total += weight[i, j]
            mean += weight[i, j] * overshoot(ratio[j], expected[i])
        level[i] = math.log1p(total * total / mean)


@kernel
def overshoot(ratio: float, expected: float) -> float:
    """Return by what a line must be multiplied that an average run is to last for.

    The evidence for a rate `ratio` times as high passes the line with an episode and lands above
    it. In the limit of a high line and of continuous time an average run lasts for line / zeta,
    and zeta = D(before | after) / D(after | before), by the ladder heights of a compound process
    with drift down and jumps up (Pollak, Ann. Stat. 15, 1987, doi:10.1214/aos/1176350373, for
    what the limit depends on). A bin of which `expected` episodes are expected ends, on average,
    half a bin later than the episode fell, and by then the evidence has come down again.
    """
    ratio = max(ratio, 1.05)
    log = math.log(ratio)
    zeta = (ratio - 1.0 - log) / (ratio * log - (ratio - 1.0))
    return zeta * math.exp(-0.5 * (ratio - 1.0) * expected)


@kernel
def extreme_rate(mean: float, shape: float) -> float:
    """Return the rate that one in 10,000 exceeds, of gamma-distributed ones; 0: not known.

    Wilson and Hilferty, PNAS 17 (1931), doi:10.1073/pnas.17.12.684.
    """
    if not mean > 0.0:
        return 0.0
    width = 1.0 / (9.0 * shape)
    return mean * (1.0 - width + EXTREME * math.sqrt(width)) ** 3


@kernel
def seal_cohorts(group: I4, memory: RebootMemory, settings: RebootSettings) -> None:
    """Let each of the first [size] devices know what the *others* of its `group` [size] are like.

    The sums are of whole numbers, so the order of devices does not matter, and taking a device's
    own part off leaves exactly what the others have. A device that did not know its cohort yet
    has its `before` weighted anew, as if the cohort had been known when it was first seen.
    """
    size = group.shape[0]
    groups = 0
    for i in range(size):
        groups = max(groups, group[i] + 1)
    sums = np.zeros((groups, 8))
    for i in range(size):
        if memory.bins[i] > 0:
            for c in range(8):
                sums[group[i], c] += part_of(i, c, memory)
    others = np.empty(8)
    for i in range(size):
        for c in range(8):
            others[c] = sums[group[i], c]
            if memory.bins[i] > 0:
                others[c] -= part_of(i, c, memory)
        episodes, bins, pairs, squares, same_day, next_day, same_week, next_week = others
        if episodes < EPISODES_NEEDED:
            memory.cohort_rate[i] = np.nan
            continue
        mean = episodes / bins
        square = (pairs + math.sqrt(2.0 * pairs)) / squares
        variance = max(square - mean * mean, 1e-12)
        memory.cohort_rate[i] = mean / settings.bin_s
        memory.cohort_shape[i] = min(max(mean * mean / variance, 0.5), 100.0)
        more = same_day - next_day
        clear = CLEAR_DAILY * math.sqrt(2.0 * same_day + next_day)
        memory.daily[i] = more > max(clear, LEAST_DAILY * next_day)
        if memory.daily[i]:  # then a block has no pairs within one of its days
            same_week *= BLOCK_DAYS / (BLOCK_DAYS - 1.0)
        more = same_week - next_week
        clear = CLEAR_DISPERSION * math.sqrt(2.0 * same_week + 2.0 * next_week)
        if more <= max(clear, LEAST_DISPERSION * next_week):
            memory.dispersion[i] = 0
        else:
            frailty = next_week / (OUT_OF_STEP * more)
            q = 0
            while q + 1 < settings.frailty.shape[0] and settings.frailty[q] > 1.25 * frailty:
                q += 1
            memory.dispersion[i] = q
        if pairs >= PAIRS_NEEDED and not memory.informed[i]:
            inform(i, memory, settings)


@kernel
def part_of(i: int, c: int, memory: RebootMemory) -> float:
    """Return what device `i` adds to the `c`-th sum of its cohort."""
    n, bins = float(memory.episodes[i]), float(memory.bins[i])
    if c == 0:
        return n
    if c == 1:
        return bins
    if c == 2:
        return n * (n - 1.0)
    if c == 3:
        return bins * bins
    pairs = memory.same_day[i], memory.next_day[i], memory.same_week[i], memory.next_week[i]
    return float(pairs[c - 4])


@kernel
def inform(i: int, memory: RebootMemory, settings: RebootSettings) -> None:
    """Weight `before` of device `i` by what its cohort's rates say beyond the prior it began with.

    That is exact: what was learnt from its own episodes stays a factor of it.
    """
    rate, prior = settings.rate, settings.prior
    shape, mean = memory.cohort_shape[i], memory.cohort_rate[i]
    before = memory.before[i]
    h = rate.shape[0]
    gamma = np.empty(h)
    total = 0.0
    for j in range(h):
        relative = max(rate[j], 0.5 * rate[0]) / mean
        gamma[j] = math.exp(shape * (math.log(relative) - relative + 1.0))
        total += gamma[j]
    weight = 0.0
    for j in range(h):
        known = (1.0 - settings.flat_share) * gamma[j] / total + settings.flat_share / h
        before[j] *= known / prior[j]
        weight += before[j]
    for j in range(h):
        before[j] = max(before[j] / weight, REVIVAL)
    memory.informed[i] = 1
