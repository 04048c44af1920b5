"""Slow, obvious twin of blame: all subsets counted by hand. Plain Python only."""

from __future__ import annotations

from itertools import combinations
from math import comb


def chance(total, hits, size, hit):
    """Give the probability that so many or more of `size` are among the `hits`."""
    worse = range(hit, min(size, hits) + 1)
    return sum(comb(hits, k) * comb(total - hits, size - k) for k in worse) / comb(total, size)


def candidates(devices):
    """Give each value, and each pair of values of two attributes, with who has it."""
    names = sorted({name for one in devices for name in one})
    found = {}
    for count in (1, 2):
        for chosen in combinations(names, count):
            for place, one in enumerate(devices):
                if all(one.get(name) is not None for name in chosen):
                    key = tuple((name, one[name]) for name in chosen)
                    found.setdefault(key, set()).add(place)
    return found


def best(devices, affected):
    """Give, for each candidate, p after Bonferroni."""
    total, hits = len(devices), len(affected)
    fair = {k: v for k, v in candidates(devices).items() if 3 <= len(v) < total}
    return {
        key: min(1.0, len(fair) * chance(total, hits, len(who), len(who & affected)))
        for key, who in fair.items()
    }
