"""Slow, obvious twins of `aiops.kernels.drift`: sums over every time a change can have been."""

from __future__ import annotations

import math
from itertools import pairwise


def poisson(x, mean):
    return math.exp(-mean) * mean**x / math.factorial(x)


def negative_binomial(x, mean, shape):
    """Probability of x events whose rate a gamma factor of that shape raises or lowers."""
    odds = math.lgamma(shape + x) - math.lgamma(shape) - math.lgamma(x + 1.0)
    return math.exp(
        odds + shape * math.log(shape / (shape + mean)) + x * math.log(mean / (shape + mean))
    )


def in_a_block(counts, mean, shape):
    """Probability of the last of `counts`, given those before it in the same block of days."""
    if shape == math.inf:
        return poisson(counts[-1], mean)
    before, n = counts[:-1], sum(counts[:-1])
    days = len(before)
    # The factor is gamma again once a part of the block was seen.
    posterior = shape + n
    scale = mean * posterior / (shape + days * mean)
    return negative_binomial(counts[-1], scale, posterior)


def likelihoods(counts, mean, shape, block):
    """Return the probability of each day's count, given the days before."""
    found = []
    for day in range(len(counts)):
        start = day - day % block
        found.append(in_a_block(counts[start : day + 1], mean, shape))
    return found


def evidence_of_a_change(counts, means, prior, steps, shares, shape=math.inf, block=7):
    """Return the e-detector after all of `counts`, by every day, rate and rise there may have been.

    `means` [h] are expected counts a day, `prior` [h] how likely each is; a change multiplies the
    rate by whole `steps` of the grid, each with its share.
    """
    by_rate = [likelihoods(counts, mean, shape, block) for mean in means]
    unchanged = sum(p * math.prod(f) for p, f in zip(prior, by_rate, strict=True))
    total = 0.0
    for day in range(len(counts)):
        for i, probability in enumerate(prior):
            for step, share in zip(steps, shares, strict=True):
                if i + step < len(means):
                    before = math.prod(by_rate[i][:day])
                    after = math.prod(by_rate[i + step][day:])
                    total += probability * share * before * after
    return total / unchanged


def evidence_of_a_surplus(counts, mean, ratios, shares, shape=math.inf, block=7):
    """Return the mixture of Shiryaev-Roberts statistics, by every day the rise may have been."""
    usual = likelihoods(counts, mean, shape, block)
    total = 0.0
    for ratio, share in zip(ratios, shares, strict=True):
        raised = likelihoods(counts, mean * ratio, shape, block)
        for day in range(len(counts)):
            total += share * math.prod(raised[day:]) / math.prod(usual[day:])
    return total


def pairs(counts, block=7, a_day=4, a_week=6):
    """Return ordered pairs within days, in days that follow, within blocks, two blocks apart."""
    x = [min(count, a_day) for count in counts]
    same_day = sum(k * (k - 1) for k in x)
    next_day = sum(a * b for a, b in pairwise(x))
    weeks = [sum(counts[k : k + block]) for k in range(0, len(counts) - block + 1, block)]
    weeks = [min(week, a_week) for week in weeks]
    apart = list(zip(weeks, weeks[2:], strict=False))
    same_week = sum(a * (a - 1) + b * (b - 1) for a, b in apart)
    return same_day, next_day, same_week, sum(2 * a * b for a, b in apart)


def cohort_of_the_others(episodes, bins):
    """Return mean rate a bin and shape of the rates of all devices but each one in turn."""
    found = []
    for left_out in range(len(episodes)):
        rest = [k for k in range(len(episodes)) if k != left_out and bins[k] > 0]
        n, time = sum(episodes[k] for k in rest), sum(bins[k] for k in rest)
        if n < 20:
            found.append((math.nan, math.nan))
            continue
        mean = n / time
        twice = sum(episodes[k] * (episodes[k] - 1) for k in rest)
        square = (twice + math.sqrt(2.0 * twice)) / sum(bins[k] ** 2 for k in rest)
        variance = max(square - mean * mean, 1e-12)
        found.append((mean, min(max(mean * mean / variance, 0.5), 100.0)))
    return found
