"""Slow, obvious twin of the rhythm kernel. Plain Python only."""

from __future__ import annotations

import math

MONTH_S = 365.25 / 12 * 86_400


class Rhythm:
    """The reports of one device or part."""

    def __init__(self, memory_beats):
        self.memory_beats = memory_beats
        self.last = 0
        self.beats = []
        self.typical_s = 0.0
        self.variance_s2 = 0.0

    @property
    def spread_s(self):
        return max(1.5 * math.sqrt(self.variance_s2), self.typical_s / 6)

    def row(self, ts):
        if ts <= self.last:
            return
        self.last = ts
        interval_s = (ts - self.beats[-1]) * 1e-9 if self.beats else None
        if len(self.beats) >= 2 and interval_s < min(self.typical_s / 4, 60):
            return
        self.beats.append(ts)
        intervals = len(self.beats) - 1
        if intervals == 0:
            return
        if intervals > 10:
            interval_s = min(interval_s, self.typical_s + 6 * self.spread_s)
        weight = 1 / min(intervals, self.memory_beats)
        old = self.typical_s
        self.typical_s = (1 - weight) * old + weight * interval_s
        deviation = (interval_s - old) * (interval_s - self.typical_s)
        self.variance_s2 = (1 - weight) * self.variance_s2 + weight * deviation

    def allowed_s(self, budget, least_s):
        """Give the silence allowed; None without a rhythm."""
        if len(self.beats) < 3:
            return None
        n = min(len(self.beats) - 1, self.memory_beats)
        shortest_s = 2.0 ** math.floor(math.log2(self.typical_s))
        rare = 1000 * (MONTH_S / shortest_s) / budget
        k = n * (max(rare, math.e) ** (1 / n) - 1)
        return max(least_s, self.typical_s + k * self.spread_s)


def judge(rows, parts_of, site_of, clock, budget, least_s, memory_beats):
    """Give {device: (score, silent_s, typical_s, share of its site)} of those that are judged.

    `rows` are (device, ts); `parts_of` names each device's members, itself among them.
    """
    rhythms = {member: Rhythm(memory_beats) for group in parts_of.values() for member in group}
    for device, ts in rows:
        rhythms[device].row(ts)
    said = {}
    for device, members in parts_of.items():
        known = [
            (allowed, rhythms[m].typical_s)
            for m in sorted(members)
            if (allowed := rhythms[m].allowed_s(budget, least_s)) is not None
        ]
        if known:
            allowed, typical = min(known, key=lambda pair: pair[0])
            silent_s = max(clock - max(rhythms[m].last for m in members), 0) * 1e-9
            said[device] = (silent_s / allowed, silent_s, typical)
    shares = {}
    for device in said:
        peers = [said[other][0] >= 1 for other in said if site_of[other] == site_of[device]]
        alone = site_of[device] is None or len(peers) < 2 or said[device][0] < 1
        shares[device] = None if alone else sum(peers) / len(peers)
    return said, shares
