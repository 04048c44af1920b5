"""What is best possible when the rate, and what it rises to, are known; the engine beside it.

Runs are of daily bins with Poisson counts. The oracles are Shiryaev-Roberts (SR) and CUSUM for the
one ratio that comes; their lines are set by simulation so that a run without a change lasts as
long as asked for. For SR that is precise: its value less the number of bins is a martingale, so
the mean run lasts as many bins as its mean value at the alarm, which varies far less than the runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np

from aiops.detectors.reboot_drift import RebootDrift
from aiops.kernels.drift import known_rate_update
from aiops.kernels.rows import B1, F8

WEEK_DAYS = 7.0
YEAR_DAYS = 365.25
TARGET_DAYS = 10.0 * YEAR_DAYS
"""A false alarm in ten years of running."""
STEADY_DAYS = 364
"""A change that finds the statistics in their steady state comes after 52 weeks."""
JUDGES = ("engine", "sr", "cusum")


def budget_for(days: float) -> float:
    """Return the alarm budget, per 1,000 device-months, that allows one in `days`."""
    return 1000.0 * YEAR_DAYS / 12.0 / days


def zeta(ratio: float) -> float:
    """Return the mean SR run over its line, in continuous time and for a high line, inverted."""
    log = math.log(ratio)
    return (ratio - 1.0 - log) / (ratio * log - (ratio - 1.0))


@numba.njit
def _sr_values(mean: float, ratio: float, line: float, runs: int, seed: int) -> np.ndarray:
    """Return the SR statistic at its alarm, of runs without a change."""
    np.random.seed(seed)
    drop = math.exp(-(ratio - 1.0) * mean)
    value = np.empty(runs)
    for run in range(runs):
        r = 0.0
        while r < line:
            r = (1.0 + r) * drop * ratio ** np.random.poisson(mean)
        value[run] = r
    return value


@numba.njit
def _cusum_run(mean: float, ratio: float, line: float, runs: int, seed: int) -> float:
    """Return the mean bins until the CUSUM, a log likelihood ratio, meets the line."""
    np.random.seed(seed)
    up, down = math.log(ratio), (ratio - 1.0) * mean
    bins = 0
    for _ in range(runs):
        c = 0.0
        while c < line:
            bins += 1
            c = max(c, 0.0) + np.random.poisson(mean) * up - down
    return bins / runs


@cache
def sr_line(mean: float, ratio: float, runs: int, seed: int) -> tuple[float, float]:
    """Return the line (bins) at which SR runs for `TARGET_DAYS`, and its relative standard error.

    `mean`: reboots expected in a bin.
    """
    line, error = TARGET_DAYS * zeta(ratio), 0.0
    for step in range(2):  # the overshoot hardly depends on the line, so the second is exact
        value = _sr_values(mean, ratio, line, runs, seed + step)
        error = float(value.std() / math.sqrt(runs) / value.mean())
        line *= TARGET_DAYS / value.mean()
    return line, error


def cusum_line(mean: float, ratio: float, runs: int, seed: int) -> float:
    """Return the line (nats) at which CUSUM runs for `TARGET_DAYS`.

    The log of the mean run grows with the line, for high lines by as much.
    """
    line = 1.0
    for step in range(8):
        some = runs if step > 5 else runs // 8
        line += math.log(TARGET_DAYS / _cusum_run(mean, ratio, line, some, seed + step))
    return line


def engine_run(rate: float, runs: int, seed: int) -> tuple[float, float, float, float]:
    """Return the engine's mean run without a change over its target, when the rate is known.

    By its mean value at the alarm, as for SR, and its standard error; then by counting bins, and
    its. `rate` is per week.
    """
    detector = RebootDrift(alarm_budget=budget_for(TARGET_DAYS))
    settings = detector.settings
    rng = np.random.default_rng(seed)
    weight = np.zeros((runs, len(settings.ratio)))
    expected, level = np.full(runs, rate / WEEK_DAYS), np.zeros(runs)
    values, days = [], []
    day = 0
    while len(weight):
        day += 1
        n = len(weight)
        known_rate_update(
            rng.poisson(rate / WEEK_DAYS, n), expected[:n], weight, settings, level[:n]
        )
        over = level[:n] >= settings.line
        if over.any():
            values.append(weight[over].sum(axis=1))
            days += [day] * int(over.sum())
            weight = np.ascontiguousarray(weight[~over])
    value, day_of = np.concatenate(values), np.array(days)
    return (
        value.mean() / TARGET_DAYS,
        value.std() / math.sqrt(runs) / TARGET_DAYS,
        day_of.mean() / TARGET_DAYS,
        day_of.std() / math.sqrt(runs) / TARGET_DAYS,
    )


@dataclass(frozen=True)
class Runs:
    """What is known of each run [n]: the statistics, and who has not raised an alarm yet."""

    weight: F8
    """[n, k] of the engine's mixture."""
    sr: F8
    cusum: F8
    quiet: B1
    """[n, judges]"""

    def chosen(self, of: B1) -> Runs:
        """Return the runs of `of` [n], copied."""
        return Runs(*(np.ascontiguousarray(part[of]) for part in vars(self).values()))


@dataclass(frozen=True)
class Race:
    """The engine and the oracles on the same counts, at a known rate and for one ratio."""

    rate: float
    """Per week."""
    ratio: float
    lines: F8
    """[judges] as logs."""
    detector: RebootDrift

    def start(self, runs: int) -> Runs:
        """Return runs that begin now."""
        return Runs(
            np.zeros((runs, len(self.detector.settings.ratio))),
            np.zeros(runs),
            np.zeros(runs),
            np.ones((runs, len(JUDGES)), dtype=np.bool_),
        )

    def day(self, runs: Runs, counts: np.ndarray) -> B1:
        """Take a day's `counts` [n] in; return who is over its line now [n, judges]."""
        n = len(counts)
        level, mean = np.zeros(n), self.rate / WEEK_DAYS
        known_rate_update(counts, np.full(n, mean), runs.weight, self.detector.settings, level)
        gain = counts * math.log(self.ratio) - (self.ratio - 1.0) * mean
        runs.sr[:] = (1.0 + runs.sr) * np.exp(gain)
        runs.cusum[:] = np.maximum(runs.cusum, 0.0) + gain
        log_sr = np.log(np.maximum(runs.sr, 1e-300))
        return np.column_stack((level, log_sr, runs.cusum)) >= self.lines

    def delays(self, runs: int, quiet_days: int, seed: int) -> F8:
        """Return delays [runs, judges] in weeks; NaN: an alarm came before the change."""
        rng = np.random.default_rng(seed)
        now = self.start(runs)
        mean = self.rate / WEEK_DAYS
        for _ in range(quiet_days):
            now.quiet[:] &= ~self.day(now, rng.poisson(mean, runs))
        delay = np.where(now.quiet, 0.0, np.nan)
        left = np.arange(runs)
        day = 0
        while len(left):
            day += 1
            over = self.day(now, rng.poisson(self.ratio * mean, len(left))) & now.quiet
            row, judge = np.nonzero(over)
            delay[left[row], judge] = day / WEEK_DAYS
            now.quiet[:] &= ~over
            going = now.quiet.any(axis=1)
            if not going.all():
                left, now = left[going], now.chosen(going)
        return delay


def race(rate: float, ratio: float, runs: int, seed: int) -> Race:
    """Return the race with its lines set."""
    detector = RebootDrift(alarm_budget=budget_for(TARGET_DAYS))
    mean = rate / WEEK_DAYS
    sr = math.log(sr_line(mean, ratio, runs, seed)[0])
    cusum = cusum_line(mean, ratio, runs, seed)
    return Race(rate, ratio, np.array([detector.settings.line, sr, cusum]), detector)


def ratio_of_means(of: F8, to: F8) -> tuple[float, float]:
    """Return mean(of) / mean(to) of pairs [n] with NaN for what does not count, and its error."""
    n = len(of)
    parts = []
    for part in (of, to):
        counts = ~np.isnan(part)
        mean = part[counts].mean()
        parts.append((mean, np.where(counts, part - mean, 0.0) / counts.mean() / mean))
    ratio = parts[0][0] / parts[1][0]
    return float(ratio), float(ratio * np.std(parts[0][1] - parts[1][1]) / math.sqrt(n))
