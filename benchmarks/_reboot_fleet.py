"""Fleets whose rates nobody tells the detector, day by day: run lengths, delays, discoveries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import _reboot_limit as limit
import numpy as np
from scipy import stats

from aiops.alerts.selection import Selection
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.detectors.reboot_drift import RebootDrift
from aiops.kernels.drift import judge_bins, known_rate_update
from aiops.kernels.reboot_memory import RebootMemory
from aiops.kernels.rows import B1, F8, I4, I8

DAY_S = 86_400
DAY_NS = DAY_S * 10**9
START_DAY = 19_700
"""Days since the epoch on which simulated fleets begin."""
SHAPE, MEAN_RATE = 1.5, 0.4
RATES = stats.gamma(SHAPE, scale=MEAN_RATE / SHAPE)
"""Rates of a fleet's devices, per week."""
QUARTILES = tuple(float(edge) for edge in RATES.ppf((0.0, 0.25, 0.5, 0.75, 1.0)))
BANDS = (0.0, 0.1, 0.3, 0.8, math.inf)
BAND_NAMES = ("below_01", "01_03", "03_08", "above_08")
RATIOS = (2.0, 3.0, 5.0)
NEVER_WEEKS = 156
"""A change not found in three years is taken to be never found."""


def rates(devices: int, rng: np.random.Generator) -> F8:
    """Return rates of `devices`, per week, as evenly over the distribution as they can be."""
    drawn: F8 = RATES.ppf((rng.permutation(devices) + rng.random(devices)) / devices)
    return drawn


class Fleet:
    """A detector's memory of devices of one cohort, driven by their reboots of each day."""

    def __init__(self, detector: RebootDrift, devices: int) -> None:
        self.detector = detector
        self.memory = detector.init(FleetShape(devices))
        self.day = START_DAY
        self._same = np.zeros(devices, dtype=np.int32)
        self._own = np.arange(devices, dtype=np.int32)

    def epoch(self) -> Epoch:
        """Return the epoch that is the current day."""
        start, end = self.day * DAY_NS, (self.day + 1) * DAY_NS
        n = len(self._own)
        return Epoch(start, end, end, n, self._own, np.full(n, -1, np.int32), self._same)

    def live(self, episodes: np.ndarray, device: I4 | slice = slice(None)) -> None:
        """Let `device` run for a day with so many episodes; the others are switched off."""
        self.memory.open_s[device] += DAY_S
        self.memory.settled[device] += episodes
        self.close()

    def close(self) -> None:
        """End the day."""
        self.detector.close(self.memory, self.epoch())
        self.day += 1

    @property
    def over(self) -> B1:
        """Whose evidence is at its line."""
        over: B1 = self.memory.level >= self.detector.settings.line
        return over


# -- run lengths without a change -----------------------------------------------------------------


@dataclass(frozen=True)
class RunLengths:
    """Days until the first alarm [n], or until it was no longer waited for."""

    rate: F8
    days: F8
    alarmed: B1

    def mean_of(self, of: B1) -> tuple[float, float]:
        """Return the mean run of `of` [n] over its target, and its standard error.

        Running time over alarms: right for those not waited for if the hazard stays.
        """
        alarms = int(self.alarmed[of].sum())
        mean = self.days[of].sum() / max(alarms, 1) / limit.TARGET_DAYS
        return float(mean), float(mean / math.sqrt(max(alarms, 1)))


def run_lengths(devices: int, years: float, seed: int) -> RunLengths:
    """Let a fleet in which nothing changes run until each has raised an alarm, or for `years`."""
    rng = np.random.default_rng(seed)
    rate = rates(devices, rng)
    fleet = Fleet(RebootDrift(alarm_budget=limit.budget_for(limit.TARGET_DAYS)), devices)
    days = np.full(devices, np.inf)
    left = np.arange(devices, dtype=np.int32)
    last = int(years * limit.YEAR_DAYS)
    for day in range(1, last + 1):
        fleet.live(rng.poisson(rate[left] / limit.WEEK_DAYS), left)
        over = fleet.over[left]
        if over.any():
            days[left[over]] = day
            left = left[~over]
            if not len(left):
                break
    return RunLengths(rate, np.minimum(days, last), np.isfinite(days))


# -- delays ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delays:
    """Delays [n, 2] in weeks of the engine and of SR that knows both rates.

    NaN: an alarm came before the change; inf: none came in three years. Both are shifted by the
    same part of a day, by half a day at most, so that medians are not whole days.
    """

    rate: F8
    weeks: F8

    def median_ratio(self, of: B1, draws: int, seed: int) -> tuple[float, float, float, float]:
        """Return both medians of `of` [n], the engine's over the oracle's, and its error."""
        weeks = self.weeks[of]
        medians = self._medians(weeks)
        if not np.isfinite(medians).all():
            return (*medians, math.nan, math.nan)
        rng = np.random.default_rng(seed)
        again = np.array(
            [self._medians(weeks[rng.integers(0, len(weeks), len(weeks))]) for _ in range(draws)]
        )
        again = again[np.isfinite(again).all(axis=1)]
        error = float(np.std(again[:, 0] / again[:, 1]))
        return (*medians, medians[0] / medians[1], error)

    @staticmethod
    def _medians(weeks: F8) -> tuple[float, float]:
        engine, oracle = (np.nanquantile(weeks[:, judge], 0.5, method="lower") for judge in (0, 1))
        return float(engine), float(oracle)

    def tail(self, of: B1, judge: int) -> tuple[float, float]:
        """Return the 90th percentile of `of` [n] in weeks, and the share never found."""
        weeks = self.weeks[of, judge]
        return (
            float(np.nanquantile(weeks, 0.9, method="lower")),
            float(np.isinf(weeks).sum() / np.count_nonzero(~np.isnan(weeks))),
        )


def oracle_lines(rate: F8, ratio: float, runs: int, seed: int) -> F8:
    """Return the log line [n] of the SR oracle for each rate, between simulated ones."""
    grid = np.geomspace(max(rate.min(), 0.005), rate.max() * 1.01, 9)
    lines = [limit.sr_line(float(at) / limit.WEEK_DAYS, ratio, runs, seed)[0] for at in grid]
    return np.interp(np.log(rate), np.log(grid), np.log(lines))


def delays(
    devices: int, learnt_weeks: tuple[int, ...], runs: int, seed: int
) -> dict[tuple[int, float], Delays]:
    """Return the delays after each number of weeks without a change, for each ratio.

    A device that changes is one of few: what is known of the cohort stays as it was then.
    """
    rng = np.random.default_rng(seed)
    rate = rates(devices, rng)
    fleet = Fleet(RebootDrift(alarm_budget=limit.budget_for(limit.TARGET_DAYS)), devices)
    lines = {ratio: oracle_lines(rate, ratio, runs, seed) for ratio in RATIOS}
    sr = {ratio: np.zeros(devices) for ratio in RATIOS}
    quiet = {ratio: np.ones((devices, 2), dtype=np.bool_) for ratio in RATIOS}
    found = {}
    for week in range(max(learnt_weeks)):
        for _ in range(7):
            counts = rng.poisson(rate / limit.WEEK_DAYS)
            fleet.live(counts)
            for ratio in RATIOS:
                sr[ratio] = sr_day(sr[ratio], counts, rate, ratio)
                quiet[ratio] &= ~np.column_stack((fleet.over, np.log(sr[ratio]) >= lines[ratio]))
        if week + 1 in learnt_weeks:
            for ratio in RATIOS:
                weeks = changed(fleet, rate, ratio, sr[ratio], quiet[ratio], lines[ratio], rng)
                found[week + 1, ratio] = Delays(rate, weeks)
    return found


def sr_day(sr: F8, counts: np.ndarray, rate: F8, ratio: float) -> F8:
    """Return the SR statistic [n] after a day of `counts` [n]."""
    gain = counts * math.log(ratio) - (ratio - 1.0) * rate / limit.WEEK_DAYS
    after: F8 = np.clip((1.0 + sr) * np.exp(gain), 1e-300, 1e300)
    return after


def changed(
    fleet: Fleet,
    rate: F8,
    ratio: float,
    sr: F8,
    quiet: B1,
    lines: F8,
    rng: np.random.Generator,
) -> F8:
    """Return delays [n, 2] after every device's rate has risen by `ratio`."""
    settings = fleet.detector.settings
    memory = RebootMemory(*(array.copy() for array in fleet.memory))
    waiting = quiet.copy()
    delay = np.where(quiet, np.inf, np.nan)
    left = np.flatnonzero(waiting.any(axis=1)).astype(np.int32)
    sr = sr[left]
    for day in range(1, 7 * NEVER_WEEKS + 1):
        counts = rng.poisson(ratio * rate[left] / limit.WEEK_DAYS)
        memory.open_s[left] += DAY_S
        memory.settled[left] += counts
        judge_bins(left, float((fleet.day + day) * DAY_S), memory, settings)
        sr = sr_day(sr, counts, rate[left], ratio)
        over = np.column_stack((memory.level[left] >= settings.line, np.log(sr) >= lines[left]))
        row, judge = np.nonzero(over & waiting[left])
        delay[left[row], judge] = day / limit.WEEK_DAYS
        waiting[left[row], judge] = False
        going = waiting[left].any(axis=1)
        left, sr = left[going], sr[going]
    return delay + rng.uniform(-0.5, 0.5, (len(delay), 1)) / limit.WEEK_DAYS


# -- a large fleet of which few change ------------------------------------------------------------


@dataclass(frozen=True)
class Watch:
    """A year of watching after a year of learning."""

    devices: int = 100_000
    share: float = 0.005
    """So many change within the year watched."""
    ratio: float = 3.0
    learn_days: int = 364
    watch_days: int = 364
    soon_days: int = 84
    least_rate: float = 0.3
    """Per week: who has fewer reboots cannot be found within 12 weeks."""


@dataclass(frozen=True)
class Policy:
    """When a device's evidence becomes an alarm."""

    budget: float
    """False alarms per 1,000 device-months."""
    selection: Selection | None


class Alarms:
    """Alarms of a fleet [n] under a policy: on, and off again at 0.8 of the line."""

    def __init__(self, policy: Policy, devices: int) -> None:
        detector = RebootDrift(alarm_budget=policy.budget)
        self._policy, self._line, self._bin_s = policy, detector.settings.line, detector.bin_s
        self._firing: B1 = np.zeros(devices, dtype=np.bool_)

    def day(self, level: np.ndarray, log_evidence: F8) -> B1:
        """Return [n] who raises an alarm now."""
        over = level >= self._line
        selection = self._policy.selection
        if selection is not None and over.any():
            over &= selection.select(log_evidence, self._bin_s)
        self._firing &= level >= 0.8 * self._line
        fresh: B1 = over & ~self._firing
        self._firing |= fresh
        return fresh


@dataclass(frozen=True)
class Watched:
    """What the year brought, by device [n]."""

    watch: Watch
    rate: F8
    change: F8
    """Day of the change since the fleet began, inf: none."""
    alarm: I8
    """Alarms raised while watched."""
    false: I8
    """Those of them that came without a change, or before it."""
    after: F8
    """Day of the first alarm since the change, inf: none."""
    oracle: F8
    """[n, 2] highest log SR, of rates known, while watched without a change, and soon after it."""

    told: F8 | None = None
    """[n, 2] the same of the engine's own mixture, told every rate before but no ratio."""

    @property
    def to_find(self) -> B1:
        """Whose change should be found, and in time."""
        last = self.watch.learn_days + self.watch.watch_days - self.watch.soon_days
        to_find: B1 = (self.rate >= self.watch.least_rate) & (self.change <= last)
        return to_find

    @property
    def false_share(self) -> tuple[float, float]:
        """The false share of all alarms, and its standard error."""
        alarms = max(int(self.alarm.sum()), 1)
        share = float(self.false.sum() / alarms)
        return share, math.sqrt(share * (1.0 - share) / alarms)

    @property
    def found(self) -> B1:
        """[k] which of `to_find` were found in time."""
        wanted = self.to_find
        found: B1 = self.after[wanted] - self.change[wanted] <= self.watch.soon_days
        return found

    def oracle_finds(self, false_share: float, highest: F8 | None = None) -> B1:
        """Return [k] which of `to_find` SR of known rates finds in time at that false share.

        It has one line for all, as low as that allows. `highest` is `oracle`, or `told`.
        """
        before, soon = (self.oracle if highest is None else highest).T
        quiet = np.sort(before)
        own = np.sort(np.where(soon > before, soon, -np.inf))
        lines = np.sort(np.concatenate((quiet[quiet > 2.0], own[own > 2.0])))
        wrong = len(quiet) - np.searchsorted(quiet, lines)
        right = len(own) - np.searchsorted(own, lines)
        held = lines[wrong <= false_share * (wrong + right)]
        line = held[0] if len(held) else math.inf
        wanted = self.to_find
        finds: B1 = (soon[wanted] >= line) & (before[wanted] < line)
        return finds


def watch_fleet(watch: Watch, policies: dict[str, Policy], seed: int) -> dict[str, Watched]:
    """Simulate a fleet in which few change, under several policies at once."""
    rng = np.random.default_rng(seed)
    n = watch.devices
    rate = rates(n, rng)
    fleet = Fleet(RebootDrift(), n)
    change = np.full(n, np.inf)
    drifts = rng.choice(n, rng.binomial(n, watch.share), replace=False)
    change[drifts] = watch.learn_days + rng.integers(0, watch.watch_days, len(drifts))
    alarms = {name: Alarms(policy, n) for name, policy in policies.items()}
    count = {name: np.zeros(n, dtype=np.int64) for name in policies}
    false = {name: np.zeros(n, dtype=np.int64) for name in policies}
    after = {name: np.full(n, np.inf) for name in policies}
    sr = np.zeros(n)
    oracle, told = np.full((n, 2), -np.inf), np.full((n, 2), -np.inf)
    settings = fleet.detector.settings
    mixture = np.zeros((n, len(settings.ratio)), dtype=np.float32)
    level, daily = np.zeros(n), rate / limit.WEEK_DAYS
    for day in range(watch.learn_days + watch.watch_days):
        drifted = change <= day
        counts = rng.poisson(np.where(drifted, watch.ratio, 1.0) * rate / limit.WEEK_DAYS)
        fleet.live(counts)
        sr = sr_day(sr, counts, rate, watch.ratio)
        known_rate_update(counts, daily, mixture, settings, level)
        evidence = fleet.detector.log_evidence(fleet.memory, n)
        for name in policies:
            fresh = alarms[name].day(fleet.memory.level, evidence)
            if day >= watch.learn_days:
                count[name] += fresh
                false[name] += fresh & ~drifted
                after[name][fresh & drifted & np.isinf(after[name])] = day + 1
        if day >= watch.learn_days:
            soon = drifted & (day + 1 - change <= watch.soon_days)
            for highest, now in ((oracle, np.log(sr)), (told, level)):
                highest[:, 0] = np.where(drifted, highest[:, 0], np.maximum(highest[:, 0], now))
                highest[:, 1] = np.where(soon, np.maximum(highest[:, 1], now), highest[:, 1])
    return {
        name: Watched(watch, rate, change, count[name], false[name], after[name], oracle, told)
        for name in policies
    }
