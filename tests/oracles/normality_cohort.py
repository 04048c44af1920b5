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


def believed(fired, expected):
    return min(fired, 3.0 * expected + 3.0 * math.sqrt(expected) + 1.0)


def folded(today, counts, line, scores, prior, target):
    """Return firings by level, exposure, fired and allowed, after a day is added to them."""
    *fired, days = today
    *before, exposure, spent, allowed = counts
    keep = math.exp(-1.0 / min(max(8.0 / (target * days), 3.0), 7.0))
    after = []
    for n, old, usual in zip(fired, before, prior, strict=True):
        expected = (old + 2.0 * usual) / (exposure + 2.0) * days
        after.append(keep * old + believed(n, expected))
    of_balance = math.exp(-1.0 / 7.0)
    octaves = [math.log2(score) for score in scores]
    place = min(max(math.log2(line), octaves[0]), octaves[-1])
    under = max(j for j in range(len(scores) - 1) if octaves[j] <= place + 1e-12)
    part = (place - octaves[under]) / (octaves[under + 1] - octaves[under])
    at_line = (1.0 - part) * fired[under] + part * fired[under + 1]
    spent = of_balance * spent + believed(at_line, target * days)
    allowed = of_balance * allowed + target * days
    return [*after, keep * exposure + days, spent, allowed]


def lower_median(values):
    return sorted(values)[(len(values) - 1) // 2]


def lent(hour, lenders, own, columns, loan):
    """Return what a newcomer has after its cohort's members have lent it theirs.

    Moments, tails, largest, hours and counts; of each lender, and its own.
    """
    moments, tails, largest, hours, counts = own
    usual = {c: median(one[0][c] for one in lenders) for c in columns}
    seen = counts[loan.seen]
    weight = min(max(86_400.0 / usual[columns[loan.interval]], 16.0), 1000.0)
    for c in columns:
        moments[c] = (seen * moments[c] + weight * usual[c]) / (seen + weight)
    hours = [lower_median([one[3][h] for one in lenders]) for h in range(24)]
    shift = hours[hour % 24] / loan.parts * moments[columns[loan.spread]]
    moments[loan.level] -= shift
    moments[loan.short] -= shift
    for v, bins in enumerate(tails):
        largest[v] = max(largest[v], int(median([one[2][v] for one in lenders])))
        for b in range(len(bins)):
            shares = sum(one[1][v][b] * 4096 // max(one[1][v][0], 1) for one in lenders)
            bins[b] += int(shares * weight) * loan.unit // (len(lenders) * 4096)
    counts[loan.seen] = int(seen + weight)
    return moments, tails, largest, hours, counts
