"""What else is used on daily counts of reboots, at its defaults and at the same false alarms.

river's ADWIN and PageHinkley, and the rule ``changes(boot_time[28d]) > n``. Only alarms of a rise
count. Tuned to a false alarm in ten years of running, on other devices of the same range of rates
in which nothing changes: ADWIN's ``delta`` (and it looks every day, not every 32), PageHinkley's
``threshold``, the rule's smallest n. So each is at its best for the devices whose delays are
compared; what the same setting does to the busiest quarter of a fleet is told beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import _reboot_limit as limit
import numpy as np
from _reboot_fleet import DAY_S, RATES, Fleet, rates
from river.drift import ADWIN, PageHinkley

from aiops.detectors.reboot_drift import RebootDrift
from aiops.kernels.drift import judge_bins
from aiops.kernels.rows import B1, F8, I8

RULE_DAYS = 28
LEARN_DAYS, AFTER_DAYS = 364, 1092
BAND = (0.3, 0.8)
RATIOS = (2.0, 3.0)
DELTAS = (0.99, 0.9, 0.7, 0.4, 0.2, 0.1, 0.03, 0.002)
MIN_INSTANCES, SLACK, ALPHA = 30, 0.005, 0.9999
"""PageHinkley's defaults."""

Watch = Callable[[I8], int]
"""Takes the daily counts [days] of a device; returns the day of its first alarm, or -1."""


def adwin(delta: float, clock: int = 1) -> Watch:
    """Return a watch for the first rise that ADWIN finds, looking every `clock` days."""

    def first(counts: I8) -> int:
        detector = ADWIN(delta=delta, clock=clock)
        for day, count in enumerate(counts.tolist()):
            mean = detector.estimation
            detector.update(count)
            if detector.drift_detected and detector.estimation > mean:
                return day
        return -1

    return first


def page_hinkley(threshold: float) -> Watch:
    """Return a watch for the first rise that PageHinkley finds."""

    def first(counts: I8) -> int:
        detector = PageHinkley(threshold=threshold, mode="up")
        for day, count in enumerate(counts.tolist()):
            detector.update(count)
            if detector.drift_detected:
                return day
        return -1

    return first


def rule(most: float) -> Watch:
    """Return a watch for the first 28 days with more than so many reboots."""

    def first(counts: I8) -> int:
        over = np.convolve(counts, np.ones(RULE_DAYS, dtype=np.int64))[: len(counts)] > most
        return int(over.argmax()) if over.any() else -1

    return first


@dataclass(frozen=True)
class Tuned:
    """A peer's setting that holds the false alarms, and their number a year at its default."""

    setting: float
    per_year: float


def mean_run_days(watch: Watch, counts: I8) -> float:
    """Return days of `counts` [days, n] watched over first alarms."""
    first = np.array([watch(counts[:, i]) for i in range(counts.shape[1])])
    return float(np.where(first < 0, len(counts), first + 1).sum() / max((first >= 0).sum(), 1))


def tune_adwin(counts: I8) -> Tuned:
    """Return the delta, between those of a grid, at which ADWIN runs for `limit.TARGET_DAYS`."""
    runs = [mean_run_days(adwin(delta), counts) for delta in DELTAS]
    rising = np.maximum.accumulate(np.log(runs))
    log = np.interp(math.log(limit.TARGET_DAYS), rising, np.log(DELTAS))
    usual = ADWIN()
    default = mean_run_days(adwin(usual.delta, usual.clock), counts)
    return Tuned(float(np.exp(log)), limit.YEAR_DAYS / default)


def mean_runs(statistic: Iterator[F8], lines: F8) -> F8:
    """Return the mean days until a statistic, given day by day [n], is above each of `lines`."""
    highest, watched = np.array(0.0), np.zeros(len(lines))
    for values in statistic:
        highest = np.maximum(highest, values)
        watched += np.searchsorted(np.sort(highest), lines, side="right")
    found = highest.size - np.searchsorted(np.sort(highest), lines, side="right")
    runs: F8 = watched / np.maximum(found, 1)
    return runs


def page_hinkley_statistic(counts: I8) -> Iterator[F8]:
    """Return what PageHinkley compares with its threshold, of all devices at once."""
    mean, total, least = (np.zeros(counts.shape[1]) for _ in range(3))
    for day, x in enumerate(counts, start=1):
        mean += (x - mean) / day
        total = ALPHA * total + x - mean - SLACK
        least = np.minimum(least, total)
        yield total - least if day >= MIN_INSTANCES else np.zeros(len(x))


def tune_page_hinkley(counts: I8) -> Tuned:
    """Return the threshold at which PageHinkley runs for `limit.TARGET_DAYS`."""
    lines = np.geomspace(1.0, 400.0, 300)
    runs = np.maximum.accumulate(mean_runs(page_hinkley_statistic(counts), lines))
    line = np.exp(np.interp(math.log(limit.TARGET_DAYS), np.log(runs), np.log(lines)))
    return Tuned(float(line), limit.YEAR_DAYS / mean_run_days(page_hinkley(50.0), counts))


def tune_rule(counts: I8) -> Tuned:
    """Return the smallest n with which the rule runs for `limit.TARGET_DAYS`; by default 4."""
    total = np.cumsum(np.pad(counts, ((RULE_DAYS, 0), (0, 0))), axis=0)
    window = total[RULE_DAYS:] - total[:-RULE_DAYS]
    lines = np.arange(200.0)
    runs = mean_runs(iter(window), lines)
    n = float(lines[(runs >= limit.TARGET_DAYS).argmax()])
    return Tuned(n, float(limit.YEAR_DAYS / runs[4]))


@dataclass(frozen=True)
class Trial:
    """A fleet whose devices all change after a year, and its counts."""

    rate: F8
    before: I8
    """[LEARN_DAYS, n]"""
    after: dict[float, I8]
    """Of each ratio: [AFTER_DAYS, n]."""

    @property
    def judged(self) -> I8:
        """Devices whose delays are compared."""
        return np.flatnonzero((self.rate >= BAND[0]) & (self.rate < BAND[1]))

    def delays(self, watch: Watch, ratio: float) -> F8:
        """Return delays in weeks; NaN: an alarm came before the change; inf: none came."""
        days = []
        for i in self.judged.tolist():
            both = np.concatenate((self.before[:, i], self.after[ratio][:, i]))
            day = watch(both) + 1
            days.append(math.inf if day == 0 else day - LEARN_DAYS)
        delay = np.array(days, dtype=float)
        return np.where(delay > 0, delay, np.nan) / limit.WEEK_DAYS

    def engine_delays(self, ratio: float) -> F8:
        """Return the same of the engine's detector."""
        detector = RebootDrift(alarm_budget=limit.budget_for(limit.TARGET_DAYS))
        fleet = Fleet(detector, len(self.rate))
        over: B1 = np.zeros(len(self.rate), dtype=np.bool_)
        for counts in self.before:
            fleet.live(counts)
            over |= fleet.over
        judged = self.judged.astype(np.int32)
        memory = fleet.memory
        delay = np.where(over[judged], np.nan, np.inf)
        for day, counts in enumerate(self.after[ratio], start=1):
            memory.open_s[judged] += DAY_S
            memory.settled[judged] += counts[judged]
            now_s = float((fleet.day + day) * DAY_S)
            judge_bins(judged, now_s, memory, detector.settings)
            fresh = np.isinf(delay) & fleet.over[judged]
            delay[fresh] = day / limit.WEEK_DAYS
        return delay


def trial(devices: int, seed: int) -> Trial:
    """Draw a fleet and its counts."""
    rng = np.random.default_rng(seed)
    rate = rates(devices, rng)
    mean = rate / limit.WEEK_DAYS
    return Trial(
        rate,
        rng.poisson(mean, (LEARN_DAYS, devices)),
        {ratio: rng.poisson(ratio * mean, (AFTER_DAYS, devices)) for ratio in RATIOS},
    )


def quiet_counts(devices: int, years: float, seed: int, band: tuple[float, float] = BAND) -> I8:
    """Return counts [days, devices] of devices whose rates are in `band` and do not change."""
    rng = np.random.default_rng(seed)
    rate = RATES.ppf(rng.uniform(*RATES.cdf(band), devices))
    days = int(years * limit.YEAR_DAYS)
    counts: I8 = rng.poisson(rate / limit.WEEK_DAYS, (days, devices))
    return counts


def updates_per_s(counts: I8) -> dict[str, float]:
    """Return device-days a second of river's detectors, on one core."""
    values = counts.ravel().tolist()
    speed = {}
    for name, detector in (
        ("adwin", ADWIN()),
        ("adwin_daily", ADWIN(clock=1)),
        ("page_hinkley", PageHinkley(mode="up")),
    ):
        began = time.perf_counter()
        for value in values:
            detector.update(value)
        speed[name] = len(values) / (time.perf_counter() - began)
    return speed
