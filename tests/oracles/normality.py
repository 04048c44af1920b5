"""Slow, obvious twin of `aiops.kernels.normality`: one series, one value after another.

All is in double precision, from other formulas where there are any: logarithms are those of
`math.frexp`, and nothing is relative to an origin.
"""

from __future__ import annotations

import math

DAY_NS = 86_400_000_000_000
WIDTH = {"roughness": 0.125}
BINS = 11


def log2(x):
    """Logarithm to base 2, linear between powers of two, as the bits of a float have it."""
    if x == 0.0:
        return -127.0
    mantissa, exponent = math.frexp(abs(x))
    return exponent - 1 + 2.0 * mantissa - 1.0


def between(x, most):
    return max(-most, min(most, x))


class Tail:
    """Samples of one statistic: how many fell into each bin, and the largest."""

    def __init__(self, width):
        self.width = width
        self.bins = [0] * BINS  # whole eighths of a sample, as halving leaves them
        self.largest = 0

    def at_or_above(self, b):
        return self.bins[b] if b < BINS else 0

    def surprise(self, at, slope, cap):
        at = max(at, 0.0)
        b = math.floor(at / self.width)
        share = at / self.width - b
        above = self.at_or_above(b) * (1.0 - share) + self.at_or_above(b + 1) * share
        seen = log2(self.bins[0] + 8.0)
        decades = (seen - log2(above + 8.0)) * math.log10(2.0)
        sixteenth = math.floor(at * 16.0)
        if sixteenth > self.largest:
            beyond = at - (self.largest + 1) / 16.0
            beyond *= slope * min((seen - log2(8.0)) * math.log10(2.0), 1.0)
            decades += cap * beyond / (cap + beyond)
            self.largest = sixteenth
        full = self.bins[0] >= 65_000
        for j in range(BINS):
            if j <= b:
                self.bins[j] += 8
            if full:
                self.bins[j] //= 2
        if full:
            self.largest = max(self.largest - 8, 0)
        return decades


class Series:
    """One series and all that is known of it. `settings` are the kernel's."""

    def __init__(self, settings, cohort=None):
        self.set = settings
        self.cohort = cohort
        self.seen = 0
        self.ts = None
        self.counter = None
        self.tails = {}
        self.hours = [0] * 24
        self.days = []
        self.interval = 0.0
        self.today, self.today_values = None, []
        self.spread = self.step = self.step_now = self.ahead_error = self.season_error = 0.0
        self.day_mean = self.day_spread = self.rise = self.fall = 0.0
        self.smooth = self.usual = self.latched = 0.0

    def sided(self, x):
        if (x > 0.0 and not self.set.up) or (x < 0.0 and not self.set.down):
            return 0.0
        return x

    def rate(self, ts, value):
        """Return what is watched of a value; None: nothing."""
        if not math.isfinite(value) or (self.ts is not None and ts <= self.ts):
            return None, None
        before, self.ts = self.ts, ts
        passed = None if before is None else (ts - before) * 1e-9
        if not self.set.is_counter:
            return value, passed
        last, self.counter = self.counter, value
        if last is None or value < last:
            return None, None
        return (value - last) / passed, passed

    def take(self, ts, value):
        """Return score, state and surprises of a value, or None if it says nothing."""
        x, passed = self.rate(ts, value)
        if x is None:
            return None
        day = ts // DAY_NS
        if self.seen == 0:
            self.seen = 1
            self.level = self.short = self.last = self.forecast = x
            self.today, self.today_values = day, [x]
            return None
        s, n = self.set, self.seen
        free = n < 16
        clip = math.inf if free else float(s.clip)
        slow = max(min(max(passed * s.per_s, s.slowest), s.fastest), 1.0 / (n + 1))
        floor = s.floor * abs(self.level) + 1e-30
        spread, step_usual = max(self.spread, floor), max(self.step, floor)
        ahead_usual = max(self.ahead_error, floor)
        season_usual = max(self.season_error, floor)
        if day != self.today:
            self.end_day(floor)
            self.today, self.today_values = day, []
        self.today_values.append(x)

        away, step, ahead = x - self.level, x - self.last, x - self.forecast
        self.short += max(s.short, 1.0 / (n + 1)) * (
            self.level + between(away, s.clip * spread) - self.short
        )
        moved = self.short - self.level
        self.step_now += max(s.rough, 1.0 / (n + 1)) * (
            min(abs(step), 2.0 * s.clip * step_usual) - self.step_now
        )
        hour = (ts - day * DAY_NS) * 24.0 / DAY_NS
        slot, after = int(hour), hour - int(hour)
        in_season = self.hours[slot] * (1.0 - after) + self.hours[(slot + 1) % 24] * after
        off = away - in_season * spread / 16.0

        common, agreement = self.cohort or (0.0, 1.0)
        apart = away - common * spread
        saw = {
            "level": (log2(self.sided(away)) - log2(spread), away),
            "jump": (log2(self.sided(step)) - log2(step_usual), step),
            "shift": (log2(self.sided(moved)) - log2(spread) + 2.0, moved),
            "roughness": (
                abs(log2(max(self.step_now, floor)) - log2(step_usual)),
                self.step_now - step_usual,
            ),
            "residual": (log2(self.sided(ahead)) - log2(ahead_usual), ahead),
            "season": (log2(self.sided(off)) - log2(season_usual), off),
            "gap": (log2(passed) - log2(max(self.interval, 1e-30)), math.inf),
        }
        if self.cohort:
            saw["cohort"] = (log2(self.sided(apart)) - log2(spread) - log2(agreement), apart)
        surprises = {}
        for view, (at, size) in saw.items():
            if free:
                surprises[view] = 0.0
                continue
            tail = self.tails.setdefault(view, Tail(WIDTH.get(view, 0.5)))
            decades = tail.surprise(at, s.slope, s.cap)
            surprises[view] = 0.0 if abs(size) < s.least else decades
        surprises["drift"] = s.drift_weight * max(self.rise, self.fall)
        total = sum(surprises.values())
        agreed = sum(log2(1.0 + decades) for decades in surprises.values())

        # learn
        near = between(away, clip * spread)
        near += (away - near) / 32.0
        self.level += slow * near
        self.spread += slow * (abs(near) - self.spread)
        self.step += slow * (min(abs(step), clip * step_usual) - self.step)
        self.last = x
        ahead = between(ahead, clip * ahead_usual)
        self.ahead_error += slow * (abs(ahead) - self.ahead_error)
        self.forecast += s.follow * ahead
        off = between(off, clip * season_usual)
        self.season_error += slow * (abs(off) - self.season_error)
        learnt = s.learn_season * between(off, 8.0 * spread) * 16.0 / spread
        dither = (ts // 1_000_000 * 2_654_435_761) % 65_536 / 65_536
        for where, weight in ((slot, 1.0 - after), ((slot + 1) % 24, after)):
            moved_to = self.hours[where] + math.floor(learnt * weight + dither)
            self.hours[where] = int(between(moved_to, 127))
        gap = passed if free else min(passed, s.clip * self.interval)
        self.interval += max(slow, 1.0 / n) * (gap - self.interval)
        self.seen += 1

        self.smooth += s.smooth * (total - self.smooth)
        score = s.unit * self.smooth / (s.base + self.usual)
        if self.smooth > self.usual:
            self.usual += s.adapt * s.exceeded * min(self.smooth - self.usual, 1.0)
        else:
            self.usual = max(self.usual - s.adapt * (1.0 - s.exceeded), 0.0)
        self.latched = max(s.latch * self.latched, agreed)
        return score, self.latched, surprises

    def end_day(self, floor):
        s = self.set
        mean = sum(self.today_values) / len(self.today_values)
        n = len(self.days)
        self.days.append(mean)
        if n == 0:
            self.day_mean = mean
            return
        away, spread = mean - self.day_mean, max(self.day_spread, floor)
        z = 0.0
        if abs(away) >= s.least:
            z = between(self.sided(away / (1.25 * spread)) * n / (n + 3.0), s.clip)
        most = s.drift_most
        self.rise = min(max(s.drift_keep * self.rise + z - s.drift_slack, 0.0), most)
        self.fall = min(max(s.drift_keep * self.fall - z - s.drift_slack, 0.0), most)
        if n > 3:
            away = between(away, s.clip * spread)
        weight = max(1.0 / 28.0, 1.0 / (n + 1))
        self.day_mean += weight * away
        self.day_spread += weight * (abs(away) - self.day_spread)
