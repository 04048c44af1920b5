"""Slow, obvious twin of the wear kernel. Plain Python only.

What is learnt is restated; what follows from it is computed another way: the rate by summing over a
fine grid, its mode by bisection, the end of wear by drawing lives (Monte Carlo, seeded), the gamma
distribution by its series.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from dataclasses import dataclass

YEAR_S = 31_557_600.0
DAY_S = 86_400.0
FASTEST_PER_S = 100.0 / YEAR_S
TIME, WRITES, PACE = 0, 1, 2
FLEET = -1.0


@dataclass
class World:
    """What is known beforehand; triples are of wear by time, wear by writes, pace of writes."""

    kinds: dict
    """code -> (scale, log rates, variances, log pace, its variance, log odds, inverted)"""
    drift: tuple
    hazard: tuple
    jump_log: tuple
    jump_var: tuple
    noise: float
    low: float
    high: float


@dataclass
class Clock:
    """Wear as one clock tells it: points are (clock, wear, variance of wear)."""

    now: float
    origin: tuple
    origin_s: float
    anchor: tuple


class Medium:
    """One medium, and what its rows have shown."""

    def __init__(self, world):
        self.world = world
        self.ts = 0
        self.read_ts = 0
        self.slips = 0
        self.last = None
        self.capacity = self.model = self.vendor = None
        self.low, self.high = world.low, world.high
        self.foretold = None  # when the reading comes to the trial, at the earliest and the latest
        self.forget()

    def forget(self):
        self.level = self.tick = None
        self.power = []
        self.first_ts = None
        self.timed = False
        self.writes = None  # (ts, full drive writes)
        self.partial = False  # without those before the medium was first seen
        self.paced = None  # likewise, up to which the pace is known
        self.clocks = {}
        self.folds = self.falls = 0
        self.kind = None
        self.trial = None

    def look_up(self):
        known = [code for code in (self.model, self.vendor) if code in self.world.kinds]
        kind = (known or [FLEET])[0]
        if kind == self.kind:
            return
        self.kind = kind
        self.scale, logs, variances, pace, pace_var, self.odds, inverted = self.world.kinds[kind]
        self.rate = list(zip(logs, variances, strict=True))
        if self.paced is None:
            self.pace = (pace, pace_var)
        if inverted:
            self.falls = 3

    # -- clocks --------------------------------------------------------------------------------

    def duty(self):
        if not self.power or self.power[-1][0] - self.power[0][0] < DAY_S * 1e9:
            return 1.0
        (ts0, on0), (ts1, on1) = self.power[0], self.power[-1]
        return min(max((on1 - on0) / ((ts1 - ts0) * 1e-9), 0.02), 1.0)

    def time_at(self, ts):
        if not self.power:
            return (ts - self.first_ts) * 1e-9
        last_ts, on = self.power[-1]
        return on + self.duty() * (ts - last_ts) * 1e-9

    def writes_at(self, ts):
        last_ts, writes = self.writes
        return writes + math.exp(self.pace[0]) * (ts - last_ts) * 1e-9

    def wrote(self, ts, writes):
        if self.writes is not None and writes < self.writes[1]:
            self.odds = max(self.odds - 4.0, -9.0)  # it does not count what it says it counts
        if self.paced is None:
            if writes > 0 and not self.partial and self.power and self.power[-1][1] > YEAR_S / 12:
                self.follow(writes, self.power[-1][1])
            self.paced = (ts, writes)
        elif writes < self.paced[1]:
            self.paced = (ts, writes)
        elif ts - self.paced[0] >= DAY_S * 1e9:
            self.follow(writes - self.paced[1], (ts - self.paced[0]) * 1e-9)
            self.paced = (ts, writes)
        self.writes = (ts, writes)

    def follow(self, writes, span_s):
        """Filter the log pace: the mean of a walk over the span was seen, its end is asked for."""
        mean, var = self.pace
        walk = self.world.drift[PACE] * span_s
        noise = self.world.noise * DAY_S / span_s
        seen = math.log(max(writes / span_s, math.exp(mean) / 1000))
        leaps = 1 - math.exp(-self.world.hazard[PACE] * span_s)
        cases = []
        for chance, shift, spread in (
            (1 - leaps, 0.0, 0.0),
            (leaps, self.world.jump_log[PACE], self.world.jump_var[PACE]),
        ):
            before, before_var = mean + shift, var + spread
            seen_var = before_var + walk / 3 + noise
            shared = before_var + walk / 2
            after = before + shared / seen_var * (seen - before)
            after_var = before_var + walk - shared**2 / seen_var
            likely = math.exp(-((seen - before) ** 2) / (2 * seen_var)) / math.sqrt(seen_var)
            cases.append((chance * (likely + 1e-12), after, after_var))
        total = sum(weight for weight, _, _ in cases)
        centre = sum(weight * after for weight, after, _ in cases) / total
        square = sum(w * (var + (after - centre) ** 2) for w, after, var in cases) / total
        self.pace = (centre, max(square, 1e-6))

    # -- evidence ------------------------------------------------------------------------------

    def begin(self, which, level, tick, now):
        spread = tick**2 / 12
        known = bool(self.power) and level <= FASTEST_PER_S * self.power[-1][1]
        if which == WRITES and self.partial:
            known = False
        elif which == WRITES and known and level > 0:
            mean, var = self.rate[WRITES]
            off = math.log((level + tick / 2) / max(now, 1e-12)) - mean
            known = abs(off) <= 3 * math.sqrt(var + 0.05)
        if known:
            place = level / tick
            at = now * place / (place + 0.5)
            born = (0.0, 0.0, 0.0)
            return Clock(now, born, 0.0, (at, level, spread if level > 0 else 0.0))
        here = (now, level + tick / 2, spread)
        return Clock(now, here, self.time_at(self.ts), here)

    def recent(self, which):
        """Return wear from origin to anchor in quanta, and how long one took times their number."""
        (from_at, from_wear, from_var) = self.clocks[which].origin
        (to_at, to_wear, to_var) = self.clocks[which].anchor
        worn, passed = to_wear - from_wear, to_at - from_at
        if worn <= 1e-12 or passed <= 0:
            return 0.0, 0.0
        quanta = worn**2 / (self.scale * worn + from_var + to_var)
        return quanta, passed * quanta / worn

    def usual_rate(self, which):
        """Return the likeliest rate, by bisection."""
        mean, var = self.rate[which]
        quanta, weight = self.recent(which)
        low, high = mean - 60.0, mean + 60.0
        for _ in range(80):
            x = (low + high) / 2
            rises = (mean - x) / var + quanta - weight * math.exp(min(x, 300.0)) > 0
            low, high = (x, high) if rises else (low, x)
        return math.exp(low)

    def cross(self, which, level, tick, now):
        clock = self.clocks[which]
        rate = self.usual_rate(which)
        gap = now - clock.now
        at, wear, _ = clock.anchor
        inside = min(max(wear - self.level + rate * (clock.now - at), 0.0), tick)
        came = min(tick, rate * gap)
        way = level + came / 2 - (self.level + inside)
        back = min(gap * (came / 2) / way, gap) if way > 0 else 0.0
        # Wear leaps over a level, by half a quantum on average.
        clock.anchor = (now - back, level + min(self.scale, tick) / 2, came**2 / 12)

    def span_s(self, which):
        return max(self.clocks[TIME].now - self.clocks[which].origin_s, 0.0)

    def rates(self, which, points=1200):
        """Return log rates and the density of each, had nothing been seen since the anchor.

        Their integral is the probability of what was seen, up to what both clocks share.
        """
        world = self.world
        mean, var = self.rate[which]
        quanta, weight = self.recent(which)
        span_s = self.span_s(which)
        var += world.drift[which] * span_s / 3
        leaps = 1 - math.exp(-world.hazard[which] * span_s)
        far = math.sqrt(var + (world.jump_var[which] if leaps > 1e-6 else 0.0))
        low = mean - abs(world.jump_log[which]) - 8 * far
        high = mean + abs(world.jump_log[which]) + 8 * far
        if quanta > 0:
            seen = math.log(quanta / weight)
            low, high = min(low, seen - 1), max(high, seen + 1)
            # Where the likelihood is less than e^-60 of its best, nothing is to be found.
            best = quanta * seen - quanta
            xs = [low + (high - low) * k / 4000 for k in range(4001)]
            near = [x for x in xs if quanta * x - weight * math.exp(min(x, 300.0)) > best - 60]
            if near:
                low, high = near[0] - 0.1, near[-1] + 0.1
        gap = (high - low) / points
        xs = [low + gap * (k + 0.5) for k in range(points)]
        logs = []
        for x in xs:
            prior = (1 - leaps) * normal(x - mean, var)
            prior += leaps * normal(x - mean - world.jump_log[which], var + world.jump_var[which])
            likely = math.log(prior) if prior > 0 else -1e4
            if quanta > 0:
                likely += quanta * (x + math.log(weight)) - weight * math.exp(min(x, 300.0))
                likely -= math.lgamma(quanta)
            logs.append(likely)
        return xs, [math.exp(max(like, -700.0)) * gap for like in logs]

    def fold(self):
        if max(self.recent(which)[0] for which in self.clocks) < 10:
            return
        seen, after = {}, {}
        for which in self.clocks:
            xs, weights = self.rates(which)
            total = sum(weights)
            mean = sum(x * w for x, w in zip(xs, weights, strict=True)) / total
            var = sum((x - mean) ** 2 * w for x, w in zip(xs, weights, strict=True)) / total
            seen[which] = math.log(total)
            after[which] = (mean, var + self.world.drift[which] * self.span_s(which) / 3)
        self.odds = min(max(self.odds + self.better(seen), -9.0), 9.0)
        for which, rate in after.items():
            clock = self.clocks[which]
            self.rate[which] = rate
            clock.origin_s += self.span_s(which)
            clock.origin = clock.anchor
        self.folds += 1

    def better(self, seen):
        """Return how much better writes explain than time what both have `seen`, a log ratio."""
        if WRITES not in self.clocks:
            return 0.0
        if abs(self.clocks[TIME].origin_s - self.clocks[WRITES].origin_s) > 1.0:
            return 0.0  # they tell of different stretches
        if self.recent(TIME)[0] > 0 and self.recent(WRITES)[0] == 0:
            return -4.0  # writes stood still
        return seen[WRITES] - seen[TIME]

    def try_interval(self):
        """Move the levels of the interval by how the last trial went, if it is over."""
        if self.trial is not None:
            if self.level < self.trial - 1e-9:
                return
            earliest, latest = self.foretold
            self.low += 0.02 * (0.05 - (self.ts < earliest))
            self.high -= 0.02 * (0.05 - (self.ts > latest))
            self.low = min(max(self.low, 0.002), 0.4)
            self.high = min(max(self.high, 0.6), 0.998)
        self.trial = self.level + max(self.tick, 0.05)

    # -- a row ---------------------------------------------------------------------------------

    def contradicts(self, ts, reading, tick, fell):
        if fell:
            return True
        if self.level is None:
            return False
        rise = reading - self.level
        if rise < -2.5 * tick or (reading >= 2.545 and self.level < 1.0):
            return True
        return rise > 2.5 * tick + FASTEST_PER_S * (ts - self.read_ts) * 1e-9

    def row(
        self,
        ts,
        wear=None,
        step=None,
        power_on=None,
        written=None,
        partial=None,
        capacity=None,
        rated=None,
        model=None,
        vendor=None,
        trust=None,
    ):
        """Learn a row; say whether its reading was believed and may be judged."""
        if ts <= self.ts:
            return False
        self.capacity = self.capacity or capacity
        if (model or self.model, vendor or self.vendor) != (self.model, self.vendor):
            self.model, self.vendor = model or self.model, vendor or self.vendor
            if self.folds == 0:
                self.look_up()
        if wear is None and power_on is None and written is None:
            return False
        self.ts = ts
        if self.kind is None:
            self.look_up()
        if power_on is not None and power_on > 20 * YEAR_S:
            power_on = None
        tick = step or 0.01
        if wear is None and rated is not None and written is not None:
            wear = math.floor(written / rated / tick) * tick
        fell = power_on is not None and bool(self.power) and power_on < self.power[-1][1] - 3600
        if wear is not None:
            change = 0.0 if self.last is None else wear - self.last
            if change < -tick / 2 and not fell:
                self.falls = min(self.falls + 1, 3)
            elif change > tick / 2:
                self.falls = 0
            self.last = wear
            if self.contradicts(ts, wear, tick, fell):
                self.slips += 1
                if self.slips < 5 or self.falls == 3:
                    return False
                self.forget()
                self.look_up()
            self.slips = 0
            self.read_ts = ts
            self.first_ts = self.first_ts or ts
        elif fell:
            return False
        if power_on is not None:
            highest = max([power_on, *(known for _, known in self.power)])
            self.power.append((ts, highest))
            self.first_ts = self.power[0][0]
        if written is not None and self.capacity:
            self.partial = partial == 1
            self.wrote(ts, written / self.capacity)
        if wear is None:
            return False
        self.take_in(ts, wear, tick)
        return self.falls < 3

    def take_in(self, ts, reading, tick):
        born = self.level is None
        stepped = born or reading > self.level + tick / 2
        told = {TIME: self.time_at(ts)}
        if self.writes is not None:
            told[WRITES] = self.writes_at(ts)
        begins = [which for which in told if which not in self.clocks]
        if self.power and not self.timed:
            begins.append(TIME)
        level = self.level
        if stepped or begins:
            # A finer tick may have moved the reading by less than half of it.
            level, self.tick = max(reading, reading if born else self.level), tick
        for which, now in told.items():
            if which in begins:
                self.clocks[which] = self.begin(which, level, tick, now)
                continue
            now = max(now, self.clocks[which].now)
            if level > self.level:
                self.cross(which, level, tick, now)
            self.clocks[which].now = now
        self.timed, self.level = bool(self.power), level
        if stepped:
            self.fold()
            if not born:
                self.try_interval()

    # -- what is to come -----------------------------------------------------------------------

    def ends(self, limit, horizons_s, lives=3000, seed=0, steps=8):
        """Return the chance of wear at `limit` within each horizon, by drawing lives.

        A rate and a place within the tick that have not made the reading step; a walk with jumps
        from then on; and gamma wear along it.
        """
        dice = random.Random(seed)
        evidence = {}
        drawn = {}
        for which in self.clocks:
            found, tries, total = self.nows(which, dice, lives)
            drawn[which] = found
            evidence[which] = math.log(total * max(len(found), 0.5) / tries)
        odds = -math.inf
        if WRITES in self.clocks:
            odds = self.odds + self.better(evidence)
        share = {WRITES: 1 / (1 + math.exp(-min(max(odds, -700.0), 9.0)))}
        share[TIME] = 1 - share[WRITES]
        chances = [0.0] * len(horizons_s)
        for which, found in drawn.items():
            found = found[: math.ceil(share[which] * len(found))]
            for x, place in found:
                for k, wear in enumerate(self.life(which, x, place, horizons_s, dice, steps)):
                    if wear >= limit - 1e-9:
                        chances[k] += share[which] / len(found)
        return chances

    def nows(self, which, dice, lives):
        """Draw (log rate, wear above the level) of now, until `lives` have not stepped."""
        xs, weights = self.rates(which)
        total = sum(weights)
        sums, so_far = [], 0.0
        for weight in weights:
            so_far += weight
            sums.append(so_far)
        at, wear, var = self.clocks[which].anchor
        since = self.clocks[which].now - at
        found, tries = [], 0
        while len(found) < lives and tries < 40 * lives:
            tries += 1
            x = xs[min(bisect_left(sums, dice.random() * total), len(xs) - 1)]
            place = wear - self.level + math.sqrt(12 * var) * (dice.random() - 0.5)
            place += gamma(dice, math.exp(x) * since, self.scale)
            if place < self.tick:
                found.append((x, max(place, 0.0)))
        return found, tries, total

    def life(self, which, x, place, horizons_s, dice, steps):
        world = self.world
        # Evidence is of the mean rate since the origin; now it has walked on from that.
        known = world.drift[which] * self.span_s(which) / 3
        moving = PACE if which == WRITES else TIME
        drift = world.drift[TIME]
        per_s = self.duty()
        if which == WRITES:
            drift = world.drift[WRITES] + world.drift[PACE]
            known += self.pace[1]
            per_s = math.exp(self.pace[0])
        x += dice.gauss(0.0, math.sqrt(known))
        if drift == world.hazard[moving] == 0:
            steps = 1
        wear, then, out = self.level + place, 0.0, []
        for horizon_s in horizons_s:
            gap_s = (horizon_s - then) / steps
            worn = 0.0
            for _ in range(steps):
                half = math.sqrt(drift * gap_s / 2)
                x += dice.gauss(0.0, half)
                if dice.random() < world.hazard[moving] * gap_s:
                    x += dice.gauss(world.jump_log[moving], math.sqrt(world.jump_var[moving]))
                worn += math.exp(x) * per_s * gap_s
                x += dice.gauss(0.0, half)
            wear += gamma(dice, worn, self.scale)
            then = horizon_s
            out.append(wear)
        return out


def normal(off, var):
    """Return the normal density, but for a constant."""
    return math.exp(-off * off / (2 * var)) / math.sqrt(var)


def gamma(dice, mean, scale):
    """Draw a gamma variable of that mean, and of variance `scale` times as much."""
    return dice.gammavariate(mean / scale, scale) if mean > 1e-12 else mean


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
