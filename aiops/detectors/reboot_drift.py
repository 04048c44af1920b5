"""Unplanned reboots have become more frequent than this device's own past explains."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors.protocol import QUANTILES, Detector, Epoch, FleetShape, Forecast
from aiops.errors import SettingsError
from aiops.kernels.reboot import BootColumns, RebootMemory, RebootSettings, reboot_update
from aiops.kernels.rows import F8, I4, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

DAY_S = 86_400.0
WEEK_S = 7.0 * DAY_S
MONTH_S = 365.25 / 12.0 * DAY_S

FACTOR = 1.2
"""Between two hazards of the grid: any rate is within 10 % of one."""
HAZARDS = 40
SLOWEST_PER_WEEK = 0.01
"""The grid reaches from a reboot in two years to one or two a day; beyond, its ends stand in."""
STEPS = (2, 4, 6, 9, 16)
"""Ratios looked for, in powers of `FACTOR`: x1.4, x2.1, x3.0, x5.2 and, for reboot loops, x18."""


@dataclass(frozen=True)
class RebootDrift:
    """Evidence, in a device's own running time, that its reboot rate rose.

    A mixture Shiryaev-Roberts e-detector over an unknown rate and an unknown rise. Its evidence
    grows by one a bin on average as long as nothing changes, whatever the rate, so on average it
    takes at least as many bins until a false alarm as the line asks for (Shin, Ramdas and Rinaldo,
    arXiv:2203.03532). The line is therefore not tuned but read off the budget: 1,000 /
    `alarm_budget` device-months of running time. A score is log evidence over log line, so that
    an alert that clears at 0.8 does not fire again at the next reboot.

    The rate before is assumed log-normal over devices: half of them reboot less than
    `rate_per_week`, 95 % within a factor of exp(2 * `rate_sigma`).
    """

    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months."""
    rate_per_week: float = 0.25
    """Median over devices of unplanned reboots, before anything is seen."""
    rate_sigma: float = 1.5
    """Standard deviation over devices of the log of that rate."""
    bin_s: float = DAY_S
    """Running time judged at once, with or without reboots in it. A reboot waits this long."""
    episode_s: float = 3600.0
    """Reboots this soon after one another are one."""
    gap_s: float = DAY_S
    """Running time credited, at most, to a gap in which the device went down."""

    name: ClassVar[str] = "reboot_drift"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = (
        "device.boot_id",
        "device.boot_time",
        "device.uptime",
        "device.boot_count",
        "device.reboot_planned",
        "storage.power_cycles",
        "storage.power_on_time",
    )

    def __post_init__(self) -> None:
        for setting in ("alarm_budget", "rate_per_week", "rate_sigma", "bin_s", "episode_s"):
            if not 0.0 < getattr(self, setting) < np.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )
        if self.gap_s < 0.0:
            raise SettingsError(f"{self.name}: gap_s must be 0 or more; got {self.gap_s}")

    @property
    def bins_between_alarms(self) -> float:
        """Bins of a device's running time in which the budget allows one false alarm."""
        return 1000.0 * MONTH_S / (self.alarm_budget * self.bin_s)

    @cached_property
    def rate(self) -> F8:
        """Hazards of the grid [h], 1/s of running time."""
        steps = np.arange(HAZARDS, dtype=np.float64)
        rate: F8 = SLOWEST_PER_WEEK / WEEK_S * FACTOR**steps
        return rate

    @cached_property
    def prior(self) -> F8:
        """Probability [h] of each hazard of a device of which nothing is known."""
        distance = np.log(self.rate * WEEK_S / self.rate_per_week) / self.rate_sigma
        weight = np.exp(-0.5 * distance**2)
        share: F8 = weight / weight.sum()
        return share

    @cached_property
    def settings(self) -> RebootSettings:
        """What the kernel needs of these settings."""
        return RebootSettings(
            bin_s=self.bin_s,
            gap_s=self.gap_s,
            episode_ns=int(self.episode_s * 1e9),
            line=math.log1p(self.bins_between_alarms),
            rate=self.rate,
            quiet=np.exp(-self.rate * self.bin_s),
            steps=np.array(STEPS, dtype=np.int64),
        )

    def init(self, shape: FleetShape) -> RebootMemory:
        """Return the memory of devices nothing is known of."""
        n = shape.capacity
        return RebootMemory(
            ts=np.zeros(n, dtype=np.int64),
            boot_id=np.full(n, np.nan),
            boot_time_s=np.full(n, np.nan),
            uptime_s=np.full(n, np.nan),
            uptime_ts=np.zeros(n, dtype=np.int64),
            boot_count=np.full(n, np.nan),
            power_cycles=np.full(n, np.nan),
            power_on_s=np.full(n, np.nan),
            episode_ts=np.zeros(n, dtype=np.int64),
            reboots=np.zeros(n, dtype=np.int64),
            planned=np.zeros(n, dtype=np.int64),
            bins=np.zeros(n, dtype=np.int64),
            open_s=np.zeros(n),
            open_hit=np.zeros(n),
            before=np.tile(self.prior, (n, 1)),
            after=np.zeros((n, HAZARDS)),
            evidence=np.zeros(n),
            rate_before=np.full(n, np.nan),
            rate_after=np.full(n, np.nan),
        )

    def update(self, memory: RebootMemory, batch: TelemetryBatch) -> Scores:
        """Count the reboots of each row; observed and expected are rates after and before, 1/s."""
        scores = no_scores(len(batch))
        columns = BootColumns(*map(batch.column, self.reads))
        reboot_update(batch.rows, columns, memory, self.settings, scores)
        return scores

    def close(self, memory: RebootMemory, epoch: Epoch) -> Scores | None:
        """Say nothing: a device that does not run does not reboot."""
        return None

    def forecast(self, memory: RebootMemory, device: I4) -> Forecast | None:
        """Return quantiles of the unplanned reboot rate from now on, 1/s of running time.

        That the rate has changed is taken to be as likely beforehand as a false alarm, so the
        evidence over the line, in bins, is its odds.
        """
        weight = memory.before[device] + memory.after[device] / self.bins_between_alarms
        below = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
        upper = np.log(self.rate * math.sqrt(FACTOR))
        edge = np.concatenate(([upper[0] - math.log(FACTOR)], upper))
        quantile = np.full((len(device), len(QUANTILES)), np.nan)
        for row in np.flatnonzero(memory.bins[device] > 0):
            share = np.concatenate(([0.0], below[row]))
            quantile[row] = np.exp(np.interp(QUANTILES, share, edge))
        return Forecast("reboot.rate", "1/s", np.array(QUANTILES), quantile)

    def evidence(self, memory: RebootMemory, device: int) -> dict[str, float]:
        """Return counts, exposure and rates before and since the change.

        `evidence_ratio`: how many times more likely the history is with a change, at a time of
        which nothing is known, than without.
        """
        bins = float(memory.bins[device])
        return {
            "reboots_counted": float(memory.reboots[device]),
            "planned_ignored": float(memory.planned[device]),
            "exposure_days": (bins * self.bin_s + float(memory.open_s[device])) / DAY_S,
            "rate_before_per_week": float(memory.rate_before[device]) * WEEK_S,
            "rate_after_per_week": float(memory.rate_after[device]) * WEEK_S,
            "evidence_ratio": math.expm1(float(memory.evidence[device])) / max(bins, 1.0),
        }

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how often the device reboots now and how often it used to."""
        before, after = evidence["rate_before_per_week"], evidence["rate_after_per_week"]
        if math.isnan(after):
            return "Too little running time was seen to say how often it reboots."
        counted, days = evidence["reboots_counted"], evidence["exposure_days"]
        text = (
            f"Reboots {after:.2g} times a week instead of {before:.2g}: "
            f"{counted:.0f} unplanned {'reboot' if counted == 1 else 'reboots'} "
            f"in {days:.0f} days of running"
        )
        planned = evidence["planned_ignored"]
        return text + (f"; {planned:.0f} planned not counted." if planned else ".")


if TYPE_CHECKING:
    _: Detector[RebootMemory] = RebootDrift()
