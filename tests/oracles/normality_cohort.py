"""Slow, obvious twins of `aiops.kernels.normality_cohort`: plain lists, one level at a time."""

from __future__ import annotations

import math
from statistics import median


def levels(base, count, per_doubling):
    return [base * 2.0 ** (j / per_doubling) for j in range(count)]


class Rule:
    """An alert rule with one line: fires at it, is over below a share of it."""

    def __init__(self, line, clear):
        self.line, self.clear, self.firing = line, clear * line, False

    def fires(self, score):
        if self.firing and score < self.clear:
            self.firing = False
        if not self.firing and score >= self.line:
            self.firing = True
            return True
        return False


def firings(scores, lines, clear=0.8):
    """Return for each score how many of the rules, one a line, fire at it, by line."""
    rules = [Rule(line, clear) for line in lines]
    return [[rule.fires(score) for rule in rules] for score in scores]


def two_highest(fired):
    """Return the two firings, as (from above which level, to which), that reach highest."""
    spans = []
    for row in fired:
        at = [j for j, yes in enumerate(row) if yes]
        if at:
            spans.append((min(at), max(at) + 1))
    kept = []
    for span in spans:
        if len(kept) < 2:
            kept.append(span)
            continue
        lowest = min(kept, key=lambda s: s[1])
        if span[1] > lowest[1]:
            kept.remove(lowest)
            kept.append(span)
    return sorted(kept)


def median_and_mad(values):
    middle = median(values)
    return middle, 1.4826 * median([abs(v - middle) for v in values])


class Profile:
    """Median deviations by hour of day and, of 24 members or more, by hour of the week."""

    def __init__(self, members, share=0.3):
        self.members, self.share, self.day, self.week = members, share, {}, {}

    def learn(self, hour, middle):
        tables = [(self.day, hour % 24)]
        if self.members >= 24:
            tables.append((self.week, hour % 168))
        for table, b in tables:
            old = table.get(b)
            table[b] = middle if old is None else old + self.share * (middle - old)

    def expected(self, hour):
        return self.week.get(hour % 168, self.day.get(hour % 24))


def sealed(hours, members):
    """Return expected deviation and spread of each member after hours of deviations, or None.

    `hours` is a list of (hour, [deviation of each member, or None]).
    """
    profile = Profile(members)
    beta, pu, pp = [1.0] * members, [0.0] * members, [0.0] * members
    common, spread = [0.0] * members, [1.0] * members
    for hour, deviations in hours:
        said = [d for d in deviations if d is not None]
        if len(said) < 8:
            common = [0.0] * members
            continue
        was = profile.expected(hour)
        profile.learn(hour, median(said))
        shown = was or 0.0
        rest = [d - b * shown for d, b in zip(deviations, beta, strict=True) if d is not None]
        middle, wide = median_and_mad(rest)
        coming = profile.expected(hour + 1)
        for i, d in enumerate(deviations):
            if was is not None and d is not None:
                pu[i] += (was * d - pu[i]) / 168.0
                pp[i] += (was * was - pp[i]) / 168.0
                prior = wide * wide / 168.0
                beta[i] = min(max((pu[i] + prior) / (pp[i] + prior), 0.0), 4.0)
            spread[i] = max(wide, 0.05)
            common[i] = middle + beta[i] * (coming or 0.0)
    return common, spread


def folded(today, counts, scores, base, rate, steepness):
    """Return counts and exposure after a day: [firings by level], exposure."""
    (fired, days), (before, exposure) = today, counts
    keep = math.exp(-1.0 / 14.0)
    after = []
    for n, old, score in zip(fired, before, scores, strict=True):
        prior = 50.0 * rate * math.exp(-steepness * (score - base))
        expected = (old + prior) / (exposure + 50.0) * days
        after.append(keep * old + min(n, 3.0 * expected + 3.0))
    return after, keep * exposure + days
