"""Slow, obvious twin of the rhythm kernel. Plain Python only."""

from __future__ import annotations

import math
from typing import NamedTuple

MONTH_S = 365.25 / 12 * 86_400


class Rhythm:
    """The reports of one device or part."""

    def __init__(self, memory_beats):
        self.memory_beats = memory_beats
        self.last = 0
        self.beats = []
        self.resumed = 0
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
        if len(self.beats) == 1 and interval_s < 1:
            return
        self.beats.append(ts)
        intervals = len(self.beats) - 1
        if intervals == 0:
            return
        longest_s = self.typical_s + 6 * self.spread_s
        if interval_s > longest_s:
            self.resumed = ts
        if intervals > 10:
            interval_s = min(interval_s, longest_s)
        weight = 1 / min(intervals, self.memory_beats)
        old = self.typical_s
        self.typical_s = (1 - weight) * old + weight * interval_s
        deviation = (interval_s - old) * (interval_s - self.typical_s)
        self.variance_s2 = (1 - weight) * self.variance_s2 + weight * deviation

    def limits_s(self, budget, least_s):
        """Give the silence allowed, and from when it is overdue; None without a rhythm."""
        if len(self.beats) < 3:
            return None
        n = min(len(self.beats) - 1, self.memory_beats)
        shortest_s = 2.0 ** math.floor(math.log2(self.typical_s))
        rare = 1000 * (MONTH_S / shortest_s) / budget
        k = n * (max(rare, math.e) ** (1 / n) - 1)
        allowed_s = max(least_s, self.typical_s + k * self.spread_s)
        return allowed_s, self.typical_s + min(3, k) * self.spread_s


class Said(NamedTuple):
    """What a close says of a device."""

    score: float
    silent_s: float
    typical_s: float
    share: float | None


class Fleet:
    """Devices with their parts, at sites; `parts_of` names each device's members, itself too."""

    def __init__(self, parts_of, site_of, budget, least_s, memory_beats, wait_s):
        self.parts_of, self.site_of = parts_of, site_of
        self.budget, self.least_s, self.wait_s = budget, least_s, wait_s
        self.rhythms = {m: Rhythm(memory_beats) for group in parts_of.values() for m in group}
        self.own = set()
        self.gone, self.back = {}, {}
        self.longest_s = dict.fromkeys(parts_of, 0.0)
        self.excused = dict.fromkeys(parts_of, 0)
        self.outages = {}

    def row(self, member, ts):
        self.rhythms[member].row(ts)

    def close(self, clock):
        """Give ({device: Said}, sites that fell silent, sites that are heard again)."""
        heard = {d: max(self.rhythms[m].last for m in ms) for d, ms in self.parts_of.items()}
        limits = {}
        for device, members in self.parts_of.items():
            known = [
                (limit[0], limit[1], self.rhythms[m].typical_s)
                for m in sorted(members)
                if (limit := self.rhythms[m].limits_s(self.budget, self.least_s)) is not None
            ]
            if known:
                limits[device] = min(known, key=lambda limit: limit[0])
        silent_s = {d: max(clock - heard[d], 0) * 1e-9 for d in limits}
        late = {d for d in limits if silent_s[d] >= limits[d][1]}
        for device in limits:
            if device in late:
                self.gone[device] = heard[device]
                self.back.pop(device, None)
            else:
                self.own.discard(device)
                self.note_return(device)
        score = {
            d: max(clock - max(heard[d], self.excused[d]), 0) * 1e-9 / limits[d][0] for d in limits
        }
        share, began, over = {}, set(), set()
        for site in {self.site_of[d] for d in limits} - {None}:
            everyone = {d for d in limits if self.site_of[d] == site}
            for device in everyone & late:
                if len(everyone) > 1:
                    others = everyone - {device}
                    share[device] = len(others & late) / len(others)
            self.judge_site(
                site, everyone - self.own, late, clock, heard, limits, score, began, over
            )
        self.own |= {d for d in limits if score[d] >= 1}
        said = {d: Said(score[d], silent_s[d], limits[d][2], share.get(d)) for d in limits}
        return said, began, over

    def note_return(self, device):
        gone = self.gone.get(device, 0)
        speaking = [r for m in self.parts_of[device] if (r := self.rhythms[m]).last > gone]
        if gone and speaking and device not in self.back:
            self.back[device] = min(r.resumed if r.resumed > gone else r.last for r in speaking)
            lasted_s = (self.back[device] - gone) * 1e-9
            self.longest_s[device] = max(self.longest_s[device], lasted_s)

    def judge_site(self, site, judged, late, clock, heard, limits, score, began, over):
        gone = judged & late
        together = len(gone) >= 3 and len(gone) >= len(judged) / 2
        beyond = {d for d in judged if score[d] >= 1}
        spread_s = {d: (limits[d][1] - limits[d][2]) / 3 for d in gone}
        excess = [
            max(score[d] * limits[d][0] - limits[d][2], 0) / spread_s[d] for d in sorted(gone)
        ]
        needed = max(((limits[d][0] - limits[d][2]) / spread_s[d] for d in gone), default=0)
        quiet_s = clock - max((max(heard[d], self.excused[d]) for d in gone), default=0)
        enough = (
            sum(excess) - len(judged) * math.log(2) >= needed
            and min(excess, default=0) >= 6
            and quiet_s * 1e-9 >= self.least_s
        )
        if site in self.outages or (together and (beyond or enough)):
            if site not in self.outages:
                self.outages[site] = (max(heard[d] for d in gone), set())
                began.add(site)
            self.outages[site][1].update(gone)
            for device in gone:
                self.excused[device] = clock
                score[device] = 0.0
            if not together:
                over.add(site)
                del self.outages[site]
        elif beyond and len(judged) >= 3:
            due = min(heard[d] + limits[d][2] * 1e9 for d in beyond)
            if sum(heard[d] > due for d in judged) < len(judged) / 2:
                for device in beyond:
                    if (score[device] - 1) * limits[device][0] < self.wait_s:
                        score[device] = 0.0
