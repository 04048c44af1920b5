"""How surprising the errors of the last minutes and hours are, given how many there usually are."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I4, I8, Rows, Scores

F4: TypeAlias = npt.NDArray[np.float32]

WINDOWS_S = (600.0, 3600.0, 21_600.0)
"""Errors of about so long are looked at together: each weighs less by 1 / e after that time."""
BLOCK_S = 3600.0
"""Errors of one such stretch of time may belong together, as those of one boot do."""
CLUMPS = 4.0
"""No stretch teaches more than this many clumps: or one bad hour would be what is usual."""
SURPRISING, ANOMALOUS = 4.0, 0.1
"""Errors less likely than 1e-4 have this weight: what stays becomes usual, but slowly."""
FEW = 400.0
"""Up to so many errors the probability is summed, clump by clump."""
TRUSTED_S, TRUSTED_DAYS = 86_400.0, 10.0
"""A device is judged once it has been seen for a day, or devices of its cohort for ten in all."""
LOG_TINY = -700.0


class ErrorMemory(NamedTuple):
    """What each device's counter has shown."""

    reading: F8
    """[c] last reading; NaN: none yet."""
    ts: I8
    """[c] when, ns; 0: never."""
    errors: F8
    """[c] errors learnt, older ones weighing less."""
    time_s: F8
    """[c] time in which they came, weighed alike."""
    recent: F4
    """[c, windows] errors of late."""
    recent_s: F4
    """[c, windows] time in which they came."""
    block: I4
    """[c] which stretch of `BLOCK_S` since 1970 the last reading was in."""
    of_block: F8
    """[c] errors in it so far."""
    total: I8
    """[c] errors ever, as far as they teach; likewise the next three."""
    squares: I8
    """[c] sum over stretches of their errors squared."""
    blocks: I4
    """[c] stretches of time, with or without errors."""
    total_s: I8
    """[c] time in which they came."""
    cohort_rate: F8
    """[c] errors a second of the device's cohort, as last sealed."""
    cohort_clump: F4
    """[c] how many errors come at once in its cohort, as last sealed."""
    cohort_days: F4
    """[c] for how long devices of its cohort had been seen, all together, as last sealed."""
    sealed_hour: I4
    """[c] hours since 1970 of the last sealing."""
    surprise: F4
    """[c, windows] -log10 of the probability of so many or more, as last judged."""


class ErrorSettings(NamedTuple):
    """What the kernel needs of the detector's settings."""

    memory_s: float
    """For how long errors are remembered, about."""
    shape: float
    """Of the gamma distribution of a device's rate around its cohort's: 0.5 is wide."""
    line: F8
    """[windows] surprise at the alert line."""
    longest_s: float
    """A gap between readings counts as no longer."""


@kernel
def log_beta_tail(k: float, a: float, log_q: float, log_p: float) -> float:
    """Return the log of the regularised incomplete beta function I_q(k, a).

    It is the probability that a negative binomial count of shape `a`, which fails with probability
    `q` = 1 - `p`, is `k` or more; `k` need not be whole. By the continued fraction of Lentz: Press
    et al., Numerical Recipes, 6.4; DLMF 8.17.22.
    """
    if k <= 0.0:
        return 0.0
    q = math.exp(log_q)
    front = math.lgamma(k + a) - math.lgamma(k) - math.lgamma(a) + k * log_q + a * log_p
    swapped = q > (k + 1.0) / (k + a + 2.0)
    x, first, second = (1.0 - q, a, k) if swapped else (q, k, a)
    tiny = 1e-300
    c, d = 1.0, 1.0 - (first + second) * x / (first + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    h = d
    for m in range(1, 300):
        even = m * (second - m) * x / ((first + 2.0 * m - 1.0) * (first + 2.0 * m))
        d = 1.0 + even * d
        d = 1.0 / (d if abs(d) > tiny else tiny)
        c = 1.0 + even / c
        c = c if abs(c) > tiny else tiny
        h *= d * c
        odd = -(first + m) * (first + second + m) * x
        odd /= (first + 2.0 * m) * (first + 2.0 * m + 1.0)
        d = 1.0 + odd * d
        d = 1.0 / (d if abs(d) > tiny else tiny)
        c = 1.0 + odd / c
        c = c if abs(c) > tiny else tiny
        step = d * c
        h *= step
        if abs(step - 1.0) < 1e-12:
            break
    log_part = front + math.log(h) - math.log(first)
    if not swapped:
        return min(log_part, 0.0)
    return math.log1p(-min(math.exp(log_part), 1.0 - 1e-16))


@kernel
def log_clumped_tail(s: float, clump: float, a: float, log_q: float, log_p: float) -> float:
    """Return the log probability of `s` errors or more that come in clumps.

    The number of clumps is negative binomial as in `log_beta_tail`, and the size of each geometric
    with mean `clump`: j clumps are s errors or more if of s - 1 trials, each of which ends a clump
    with probability 1 / clump, fewer than j do. Large counts are taken as whole multiples of the
    size-biased clump, which has their variance.
    """
    errors = math.floor(s)
    if errors < 1.0:
        return 0.0
    if clump <= 1.001:
        return log_beta_tail(errors, a, log_q, log_p)
    q = math.exp(log_q)
    if errors > FEW or a * q / math.exp(log_p) > FEW / 4.0:
        return log_beta_tail(s / (2.0 * clump - 1.0), a / (2.0 - 1.0 / clump), log_q, log_p)
    trials = errors - 1.0
    end = 1.0 / clump
    clumps = math.exp(a * log_p)
    below = 0.0
    ended = math.exp(trials * math.log1p(-end))
    total = 0.0
    rest = 1.0
    j = 0.0
    while j < errors:
        total += clumps * below
        rest -= clumps
        clumps *= (a + j) / (j + 1.0) * q
        if j <= trials:
            below += ended
            ended *= (trials - j) / (j + 1.0) * end / (1.0 - end)
        j += 1.0
    more = log_beta_tail(errors, a, log_q, log_p)
    return min(math.log(total + math.exp(more)), 0.0) if total > 0.0 else more


@kernel
def clump_of(total: float, squares: float, blocks: float, prior: float) -> float:
    """Return how many errors come at once, at least 1.

    Of a Poisson count c, E[c^2] / E[c] - E[c] is 1; of clumps whose size is geometric with mean m
    it is 2 m - 1. Two clumps like the cohort's count as seen before.
    """
    weight = 2.0 * prior
    mean = total / blocks if blocks > 0.0 else 0.0
    biased = squares + weight * (2.0 * prior - 1.0) - mean * total
    return max(0.5 + 0.5 * biased / (total + weight), 1.0)


@kernel
def error_update(
    rows: Rows, count: F8, memory: ErrorMemory, settings: ErrorSettings, scores: Scores
) -> None:
    """Judge and learn the readings `count` [n] of a counter that only grows.

    Scored are surprise (of the window where it is largest, in multiples of its line), the errors of
    that window, and how many were expected. A counter that falls has begun anew. The first reading
    of a device is what it had before anybody looked.
    """
    windows = len(WINDOWS_S)
    device, ts = rows.device, rows.ts
    for k in range(device.shape[0]):
        new, i, t = count[k], device[k], ts[k]
        if np.isnan(new) or t <= memory.ts[i]:
            continue
        old = memory.reading[i]
        memory.reading[i] = new
        if np.isnan(old):
            memory.ts[i] = t
            memory.block[i] = np.int32(t * 1e-9 / BLOCK_S)
            continue
        elapsed = (t - memory.ts[i]) * 1e-9
        gap = min(elapsed, settings.longest_s)
        memory.ts[i] = t
        delta = new - old if new >= old else new
        clump = clump_of(
            memory.total[i], memory.squares[i], memory.blocks[i], memory.cohort_clump[i]
        )
        shape = settings.shape
        prior_s = shape / memory.cohort_rate[i]
        worst, most = 0.0, 0.0
        keep = math.exp(-elapsed / settings.memory_s)
        memory.errors[i] *= keep
        memory.time_s[i] *= keep
        for w in range(windows):
            fade = math.exp(-elapsed / WINDOWS_S[w])
            recent = memory.recent[i, w] * fade + delta
            recent_s = memory.recent_s[i, w] * fade + gap
            memory.recent[i, w] = recent
            memory.recent_s[i, w] = recent_s
            window_s = max(recent_s, WINDOWS_S[w])
            # What is judged has no part in what it is judged by.
            seen = max(memory.errors[i] + delta - recent, 0.0)
            seen_s = max(memory.time_s[i] + gap - recent_s, 0.0)
            if seen_s < TRUSTED_S and memory.cohort_days[i] < TRUSTED_DAYS:
                continue
            a = seen / clump + shape
            b = seen_s + prior_s * clump
            log_p = -math.log1p(window_s / b)
            log_q = math.log(window_s / (window_s + b))
            log_tail = log_clumped_tail(recent, clump, a, log_q, log_p)
            surprise = -max(log_tail, LOG_TINY) / math.log(10.0)
            memory.surprise[i, w] = surprise
            most = max(most, surprise)
            if surprise / settings.line[w] >= worst:
                worst = surprise / settings.line[w]
                scores.observed[k] = recent
                scores.expected[k] = a * clump / b * window_s
                scores.score[k] = worst
        weight = 1.0 if most < SURPRISING else ANOMALOUS
        memory.errors[i] += weight * delta
        memory.time_s[i] += gap
        memory.total_s[i] += np.int64(gap)
        block = np.int32(t * 1e-9 / BLOCK_S)
        if block != memory.block[i]:
            mean = memory.total[i] / max(memory.blocks[i], 1)
            taught = np.int64(min(memory.of_block[i], CLUMPS * clump + 2.0 * mean + 1.0))
            memory.total[i] += taught
            memory.squares[i] += taught * taught
            memory.blocks[i] += max(1, np.int32(gap / BLOCK_S))
            memory.block[i] = block
            memory.of_block[i] = 0.0
        memory.of_block[i] += delta
