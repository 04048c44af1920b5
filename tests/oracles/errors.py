"""Slow, obvious twins of judging counts of errors. Sums over whole distributions, plain Python."""

from __future__ import annotations

import math
from fractions import Fraction


def negative_binomial(a, p, count):
    """Return the probability of `count` clumps: a gamma of shape `a` mixes Poissons."""
    log = math.lgamma(a + count) - math.lgamma(a) - math.lgamma(count + 1)
    return math.exp(log + a * math.log(p) + count * math.log1p(-p))


def sizes(clumps, clump, most):
    """Return the probability of each number of errors, up to `most`, that so many clumps have."""
    end = 1.0 / clump
    of = [1.0] + [0.0] * most
    for _ in range(clumps):
        of = [
            sum(of[n - k] * end * (1.0 - end) ** (k - 1) for k in range(1, n + 1))
            for n in range(most + 1)
        ]
    return of


def tail(errors, clump, a, p):
    """Return the probability of `errors` or more: one minus that of each fewer."""
    fewer = 0.0
    for clumps in range(errors):
        fewer += negative_binomial(a, p, clumps) * sum(sizes(clumps, clump, errors - 1))
    return 1.0 - fewer


def clump(counts, prior):
    """Return how many errors come at once, by the counts of stretches of time."""
    total, squares = sum(counts), sum(c * c for c in counts)
    mean = Fraction(total, len(counts)) if counts else 0
    weight = 2.0 * prior
    biased = squares + weight * (2.0 * prior - 1.0) - float(mean) * total
    return max(1.0, (1.0 + biased / (total + weight)) / 2.0)
