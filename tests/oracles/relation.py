"""Slow, obvious twin of `aiops.kernels.relation`: one device, lists, regressions solved afresh."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np

DAY = 86_400 * 10**9


def regression(correlation, j, others):
    """Return what the others say of metric j: a coefficient each, and the variance left."""
    among = np.array([[correlation[a][b] for b in others] for a in others])
    with_j = np.array([correlation[a][j] for a in others])
    coefficient = np.linalg.solve(among, with_j)
    return dict(zip(others, coefficient, strict=True)), 1.0 - float(with_j @ coefficient)


def student(x, variance, freedom=5.0):
    """Log density of a value, but for what does not depend on the variance."""
    return -0.5 * (freedom + 1.0) * math.log1p(x * x / (freedom * variance)) - 0.5 * math.log(
        variance
    )


def line(usual, square, days, log_chance):
    """Evidence that a day's peak exceeds with chance exp(-log_chance), known from few peaks."""
    size = square / usual / 2.0
    share = min(1.0, usual / size)
    peaks = 5.0 + 0.5 * min(days, 120.0) * share
    chance = min(math.exp(-log_chance) / share, math.exp(-2.0))
    return size * peaks * (chance ** (-1.0 / peaks) - 1.0)  # a Lomax tail: (1 + x / a)^-peaks


class Metric:
    def __init__(self, usual, square, first_line):
        self.mean = self.variance = self.lasting = self.wander = 0.0
        self.known = 0
        self.misfit = 1.0
        self.evidence = self.peak = self.ended = 0.0
        self.usual, self.square, self.line = usual, square, first_line
        self.observed = self.expected = math.nan

    def spread(self):
        return math.sqrt(self.variance)

    def least(self):
        return 1e-3 * abs(self.mean) + 1e-6


class Device:
    """What one device has shown, and what is thought of it."""

    def __init__(self, floors, settings, usual, square):
        self.set, self.floors = settings, floors
        first = line(usual, square, 0.0, settings.usual_log)
        self.metrics = [Metric(usual, square, first) for _ in floors]
        k = range(len(floors))
        self.moment = {(a, b): 1.0 if a == b else 0.0 for a in k for b in k}
        self.heard = self.began = self.judged = self.broke = self.day = 0
        self.days = 0.0
        self.values = [[] for _ in floors]
        self.given, self.age, self.correlation = set(), 0, None
        self.accepted = False

    def row(self, ts, values):
        """Take a row (None: not reported); return the strongest metric and the score."""
        if ts <= self.heard:
            return None
        bin_ns = self.set.bin_ns
        if self.began and ts - self.began >= bin_ns:
            self.judge()
        lone = ts - self.heard >= bin_ns
        self.began = self.began or ts
        self.heard = ts
        for kept, value in zip(self.values, values, strict=True):
            if value is not None:
                kept.append(value)
        if lone and all(self.values[j] for j in self.given):
            self.judge()
        return self.score()

    def score(self):
        if self.days < self.set.learn_days:
            return None, 0.0 if self.accepted else math.nan
        best = max(range(len(self.metrics)), key=lambda j: self.ratio(self.metrics[j]))
        m = self.metrics[best]
        if m.evidence == 0.0:
            return None, 0.0
        return best, m.evidence / line(m.usual, m.square, self.days, self.set.line_log)

    @staticmethod
    def ratio(m):
        return m.evidence / m.line

    def judge(self):
        ts, self.began = self.began, 0
        if ts // DAY != self.day:
            if self.day:
                self.next_day()
            self.day = ts // DAY
        passed_s = min(max(ts - self.judged, self.set.bin_ns) / 1e9, 3600.0)
        self.judged = ts
        y, z = {}, {}
        for j, m in enumerate(self.metrics):
            if self.values[j]:
                y[j] = fmean(self.values[j])
                if not math.isnan(self.floors[j]):
                    y[j] = math.log(max(y[j], 0.0) + self.floors[j])
                if m.known >= 8 and m.spread() > 2.0 * m.least():
                    z[j] = (y[j] - m.mean) / m.spread()
        self.values = [[] for _ in self.metrics]
        normal = {j for j in z if abs(z[j]) <= 5.0}
        error, left = {}, {}
        if len(normal) > 1:
            if not normal <= self.given or self.age >= 32:
                self.given |= normal
                self.age = 0
                self.correlation = self.shrunk()
            self.age += 1
            for j in normal:
                others = sorted(normal - {j})
                coefficient, left[j] = regression(self.correlation, j, others)
                error[j] = z[j] - sum(coefficient[m] * z[m] for m in others)
                leverage = sum((coefficient[m] * z[m]) ** 2 for m in others)
                self.weigh(j, y[j], z[j], error[j], left[j], leverage)
        worst = 0.0
        for m in self.metrics:
            m.evidence = min(m.evidence, 2.0 * m.line)
            worst = max(worst, m.evidence / m.line)
            if m.evidence > 0.0:
                m.peak = max(m.peak, m.evidence)
            else:
                m.ended, m.peak = max(m.ended, m.peak), 0.0
        gate = max(0.05, 1.0 / (1.0 + (2.0 * worst) ** 4))
        self.learn(passed_s, gate, y, z, error, left)
        if worst < 0.8 or self.days < self.set.learn_days:
            self.broke = 0
        elif worst >= 1.0 and not self.broke:
            self.broke = ts
        if self.broke and ts - self.broke >= self.set.accept_ns:
            self.accept()

    def weigh(self, j, y, z, error, left, leverage):
        m, alone = self.metrics[j], max(0.1, self.moment[j, j])
        variance = left * m.misfit + 4.0 * m.wander
        if variance > 0.7 * alone:
            m.evidence = max(0.0, m.evidence - 0.2)
            return
        variance += 0.15**2 * leverage
        more = student(z, alone) - student(error, variance)
        m.evidence = max(0.0, m.evidence + more)
        if more > 0.0:
            m.observed, m.expected = y, y - error * m.spread()

    def shrunk(self):
        k = range(len(self.metrics))
        out = [[0.0] * len(k) for _ in k]
        for a in k:
            for b in k:
                scale = math.sqrt(self.moment[a, a] * self.moment[b, b])
                if a == b:
                    out[a][b] = 1.0
                elif scale > 0.0:
                    bins = min(self.metrics[a].known, self.metrics[b].known)
                    keep = 0.98 * bins / (bins + 2.0 * len(k))
                    out[a][b] = keep * min(1.0, max(-1.0, self.moment[a, b] / scale))
        return out

    def learn(self, passed_s, gate, y, z, error, left):
        was = [m.known for m in self.metrics]
        clipped = [min(3.0, max(-3.0, z.get(j, 0.0))) for j in range(len(self.metrics))]
        for j in y:
            m = self.metrics[j]
            warm = 2.0 / (was[j] + 2.0)
            rate = gate * max(warm, passed_s / self.set.memory_s)
            step = y[j] - m.mean
            if was[j] >= 8:
                far = 3.0 * math.hypot(m.spread(), m.least())
                step = min(far, max(-far, step))
            m.mean += gate * max(warm, passed_s / self.set.centre_s) * step
            if was[j]:
                m.variance += rate * (step**2 - m.variance)
            m.known += 1
            if was[j] < 8:
                continue
            for b in y:
                if b <= j:
                    old = self.moment[j, b]
                    self.moment[j, b] = old + rate * (clipped[j] * clipped[b] - old)
                    self.moment[b, j] = self.moment[j, b]
            if j in error:
                off = min(3.0, max(-3.0, error[j]))
                m.lasting += min(1.0, passed_s / 43_200.0) * (off - m.lasting)
                m.wander += rate * (min(m.lasting**2, 9.0 * m.wander + 0.01) - m.wander)
                m.misfit += rate * (min(error[j] ** 2 / left[j], 25.0 * m.misfit) - m.misfit)

    def next_day(self):
        self.days += 1.0
        learnt = self.days - 3.0
        size = max(0.07 * max(m.known for m in self.metrics) / 3.0, 2.5)
        for m in self.metrics:
            if learnt == 0.0:
                m.usual, m.square = 0.5 * size, size**2
            peak, m.ended = min(m.ended, m.line), 0.0
            if learnt >= 0.0:
                weight = 1.0 / min(learnt + 7.0, 120.0)
                m.usual += weight * (peak - m.usual)
                m.square += weight * (peak**2 - m.square)
                m.line = line(m.usual, m.square, self.days, self.set.usual_log)

    def accept(self):
        self.broke, self.accepted = 0, True
        self.days = self.set.learn_days - self.set.borrow_days
        for m in self.metrics:
            m.evidence = m.peak = m.lasting = 0.0
            m.misfit = 1.0
            m.known = min(m.known, 32)
