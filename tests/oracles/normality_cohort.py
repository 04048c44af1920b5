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

    def learn(self, hour, missed_by):
        old = self.day.get(hour % 24)
        new = missed_by if old is None else old + self.share * missed_by
        self.day[hour % 24] = round(new * 256) / 256
        if self.members >= 24:
            old = self.week.get(hour % 168)
            new = self.day[hour % 24] if old is None else old + self.share * missed_by
            self.week[hour % 168] = round(new * 256) / 256

    def expected(self, hour):
        return self.week.get(hour % 168, self.day.get(hour % 24))


def sealed(hours, members):
    """Return expected deviation and spread of each member after hours of deviations, or None.

    `hours` is a list of (hour, [deviation of each member, or None]).
    """
    profile = Profile(members)
    beta = [1.0] * members
    common, spread = [0.0] * members, [1.0] * members
    for hour, deviations in hours:
        said = [d for d in deviations if d is not None]
        if len(said) < 8:
            common = [0.0] * members
            continue
        was = profile.expected(hour)
        shown = was or 0.0
        rest = [d - b * shown for d, b in zip(deviations, beta, strict=True) if d is not None]
        middle, wide = median_and_mad(rest)
        profile.learn(hour, middle)
        coming = profile.expected(hour + 1)
        for i, d in enumerate(deviations):
            if was is not None and d is not None:
                left = min(max(d - beta[i] * was, -4.0 * wide), 4.0 * wide)
                step = was * left / (was * was + wide * wide + 1e-9) / 48.0
                beta[i] = min(max(beta[i] + step, 0.0), 4.0)
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


def lent(moments, tails, own_moments, own_tails, seen, columns, unit):
    """Return moments and tails of a newcomer after its cohort's members have lent it theirs."""
    spread = list(own_moments)
    for c in columns:
        usual = median(row[c] for row in moments)
        spread[c] = (seen * own_moments[c] + 8 * usual) / (seen + 8)
    tail = [list(row) for row in own_tails]
    for v, bins in enumerate(tail):
        for b in range(len(bins)):
            shares = sum(one[v][b] * 4096 // max(one[v][0], 1) for one in tails)
            bins[b] += shares * 64 * unit // (len(tails) * 4096)
    return spread, tail
