"""Slow, obvious twin of the wear kernel. Plain Python only.

What is learnt is restated; what follows from it is computed another way: the gamma distribution by
its series, and rate and position by summing over fine grids.
"""

from __future__ import annotations

import math

FASTEST_PER_S = 100.0 / 31_557_600.0
DAY_S = 86_400.0


class Medium:
    """One medium, and what its readings have shown."""

    def __init__(self, prior_shape, prior_rate, scale):
        self.prior = (prior_shape, prior_shape / prior_rate)
        self.scale = scale
        self.ts = 0
        self.slips = 0
        self.forget()

    def forget(self):
        self.level = None
        self.power = []
        self.first_ts = None
        self.timed = False

    # -- the clock -----------------------------------------------------------------------------

    def duty(self):
        if not self.power or self.power[-1][0] - self.power[0][0] < DAY_S * 1e9:
            return 1.0
        (ts0, on0), (ts1, on1) = self.power[0], self.power[-1]
        return min(max((on1 - on0) / ((ts1 - ts0) * 1e-9), 0.02), 1.0)

    def clock(self, ts):
        if not self.power:
            return (ts - self.first_ts) * 1e-9
        last_ts, on = self.power[-1]
        return on + self.duty() * (ts - last_ts) * 1e-9

    def powered(self, ts, on):
        if on is not None:
            highest = max([on, *(known for _, known in self.power)])
            self.power.append((ts, highest))

    # -- the evidence --------------------------------------------------------------------------

    def begin(self, reading, tick, clock):
        self.level, self.tick, self.timed = reading, tick, bool(self.power)
        self.past = (0.0, 0.0)
        spread = tick**2 / 12
        if self.power and reading <= FASTEST_PER_S * clock:
            self.origin = (0.0, 0.0, 0.0)
            place = reading / tick
            at = clock * place / (place + 0.5)
            self.anchor = (at, reading, spread if reading > 0 else 0.0)
        else:
            self.origin = self.anchor = (clock, reading + tick / 2, spread)

    def recent(self):
        (from_s, from_w, from_var), (to_s, to_w, to_var) = self.origin, self.anchor
        worn = to_w - from_w
        if worn <= 1e-15 or worn > FASTEST_PER_S * (to_s - from_s):
            return 0.0, 0.0
        quanta = worn**2 / (self.scale * worn + from_var + to_var)
        return quanta, quanta / (worn / (to_s - from_s))

    def kept(self):
        quanta, seconds = self.recent()
        past, past_s = self.past
        if quanta == 0 or past == 0:
            return 1.0
        sigmas = abs(math.log((quanta / seconds) / (past / past_s)))
        if sigmas / math.sqrt(1 / quanta + 1 / past) <= 2.0:
            return 1.0
        # As much past as makes it just two standard deviations.
        return 1 / (sigmas**2 / 4 - 1 / quanta) / past

    def posterior(self):
        quanta, seconds = self.recent()
        kept = self.kept()
        return (
            self.prior[0] + kept * self.past[0] + quanta,
            self.prior[1] + kept * self.past[1] + seconds,
        )

    def cross(self, reading, tick, clock):
        shape, inverse = self.posterior()
        rate = shape / inverse
        gap_s = clock - self.seen_s
        came = min(tick, rate * gap_s)
        within = self.anchor[1] - self.level + rate * (self.seen_s - self.anchor[0])
        way = (reading - self.level) - min(max(within, 0.0), tick) + came / 2
        back_s = min(gap_s * (came / 2) / way, gap_s) if way > 0 else 0.0
        quanta, seconds = self.recent()
        if quanta >= 10:
            kept = self.kept()
            self.past = (kept * self.past[0] + quanta, kept * self.past[1] + seconds)
            self.origin = self.anchor
        self.level, self.tick = reading, tick
        self.anchor = (clock - back_s, reading, came**2 / 12)

    # -- a row ---------------------------------------------------------------------------------

    def row(self, ts, reading, tick, on):
        """Learn a row; say whether it was believed."""
        if ts <= self.ts or (reading is None and on is None):
            return False
        self.ts = ts
        fell = on is not None and self.power and on < self.power[-1][1] - 3600
        if reading is None:
            if not fell:
                self.powered(ts, on)
                self.first_ts = self.power[0][0]
            return False
        if self.level is not None:
            rise = reading - self.level
            fell = fell or rise < -2.5 * tick
            fell = fell or rise > 2.5 * tick + FASTEST_PER_S * (ts - self.read_ts) * 1e-9
        if fell:
            self.slips += 1
            if self.slips < 5:
                return False
            self.forget()
        self.slips = 0
        self.read_ts = ts
        self.first_ts = self.first_ts or ts
        self.powered(ts, on)
        clock = self.clock(ts)
        if self.level is None or (self.power and not self.timed):
            self.begin(reading, tick, clock)
        else:
            clock = max(clock, self.seen_s)
            if reading > self.level + tick / 2:
                self.cross(reading, tick, clock)
        self.seen_s = clock
        return True


def gamma_below(x, shape):
    """Probability that a gamma variable of scale 1 is below x, by the series of the integral."""
    if x <= 0:
        return 0.0
    term = total = 1.0 / shape
    k = 1
    while term > 1e-15 * total:
        term *= x / (shape + k)
        total += term
        k += 1
    return min(math.exp(shape * math.log(x) - x - math.lgamma(shape)) * total, 1.0)


def worn_within(horizon_s, shape, inverse, since_s, level, tick, scale, rates=120, places=40):
    """Probability of reaching 1 within `horizon_s`, summed over rates and places within the tick.

    Wear was `level` for certain, and has stayed within `tick` for `since_s`.
    """
    numerator = denominator = 0.0
    for n in range(rates):
        rate = shape / inverse * math.exp(-8.0 + 11.0 * n / (rates - 1))
        prior = math.exp(shape * math.log(rate * inverse) - rate * inverse)
        done = rate * since_s / scale
        edges = [tick * k / places for k in range(places + 1)]
        cdf = [gamma_below(x / scale, done) if done > 0 else 1.0 for x in edges]
        if done > 0:
            cdf[0] = 0.0
        stays = cdf[-1] if done > 0 else 1.0
        comes = rate * horizon_s / scale
        ends = 0.0
        if done > 0:
            for k in range(places):
                middle = (edges[k] + edges[k + 1]) / 2
                left = (1.0 - level - middle) / scale
                ends += (cdf[k + 1] - cdf[k]) * (1.0 - gamma_below(left, comes))
        else:
            ends = 1.0 - gamma_below((1.0 - level) / scale, comes)
        numerator += prior * ends
        denominator += prior * stays
    return numerator / denominator
