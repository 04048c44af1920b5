"""Unplanned reboots have become more frequent than the device's past, or its cohort, explains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from aiops.detectors.protocol import QUANTILES, Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.boots import BootColumns, boots_update
from aiops.kernels.cause import (
    COHORT,
    COHORT_TOLD,
    OWN,
    SITE,
    SITE_TOLD,
    join_shared,
    settle,
    share_reboots,
)
from aiops.kernels.drift import BLOCK_DAYS, extreme_rate, judge_bins, score_rows, seal_cohorts
from aiops.kernels.reboot_memory import RebootMemory, RebootSettings
from aiops.kernels.rows import F8, I4, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

SECOND_NS = 1_000_000_000
DAY_S = 86_400.0
WEEK_S = 7.0 * DAY_S
MONTH_S = 365.25 / 12.0 * DAY_S

FACTOR = 1.2
"""Between two hazards of the grid: any rate is within 10 % of one."""
HAZARDS = 28
RECENT = 11
SLOWEST_PER_WEEK = 0.05
"""The grid reaches from a reboot in twenty weeks to one a day; beyond, its ends do."""
STEPS, STEP_SHARES = (4, 6, 9, 13), (1.2, 1.2, 1.4, 0.1)
"""Ratios to its own past looked for, in powers of `FACTOR`: x2.1, x3.0, x5.2 and x11 (loops)."""
RATIOS = (1.42, 1.6, 2.1, 3.0, 4.4, 6.2)
RATIO_SHARES = (1.6, 1.2, 1.0, 1.0, 1.2, 1.4)
"""Ratios to a known rate looked for."""
COHORT_SHARE = 1.0 / 32.0
FLAT_SHARE = 0.3
FRAILTIES = (math.inf, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25)
"""A week's common factor varies by 0, 35, 50, 71, 100, 141 or 200 %."""


@dataclass(frozen=True)
class RebootDrift:
    """Evidence, in a device's own running time, that its reboot rate rose.

    A mixture Shiryaev-Roberts e-detector over an unknown rate and an unknown rise, with a small
    share for the comparison with its cohort. Its evidence grows by one a bin on average as long as
    nothing changes, whatever the rate, so on average it takes at least as many bins until a false
    alarm as the line asks for (Shin, Ramdas and Rinaldo, arXiv:2203.03532). The line is therefore
    not tuned but read off the budget: 1,000 / `alarm_budget` device-months of running time. A score
    is log evidence over log line, so that an alert that clears at 0.8 does not fire again at the
    next reboot.

    Reboots that many devices of a site or cohort had at one moment are nobody's own: they leave
    the devices' counts and become one finding of the group. Rates of a cohort, how they spread and
    whether its reboots come in bursts are learnt from the *others* of it and sealed once a day.
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
    version_s: float = 1800.0
    """A reboot this near to a change of the software version was planned."""
    window_s: float = 600.0
    """Reboots within this have one cause, if they are more than chance explains..."""
    chance: float = 1e-6
    """...which is if so many at one moment are less likely than this."""
    open_s: float = DAY_S
    """What many shared is over when this long nobody had such a reboot."""

    name: ClassVar[str] = "reboot_drift"
    version: ClassVar[int] = 2
    compares: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = (
        "device.boot_id",
        "device.boot_time",
        "device.uptime",
        "device.boot_count",
        "device.reboot_planned",
        "device.reboot_cause",
        "device.software_version",
        "device.maintenance",
        "device.shutdown_clean",
        "storage.power_cycles",
        "storage.power_on_time",
        "storage.unsafe_shutdowns",
    )

    def __post_init__(self) -> None:
        positive = ("alarm_budget", "rate_per_week", "rate_sigma", "bin_s", "episode_s", "window_s")
        for setting in (*positive, "open_s"):
            if not 0.0 < getattr(self, setting) < np.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )
        for setting in ("gap_s", "version_s"):
            if getattr(self, setting) < 0.0:
                raise SettingsError(
                    f"{self.name}: {setting} must be 0 or more; got {getattr(self, setting)}"
                )
        if not 0.0 < self.chance < 1.0:
            raise SettingsError(f"{self.name}: chance must be within 0 and 1; got {self.chance}")

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
        """What the kernels need of these settings."""
        quiet, again, hit = self._likelihoods()
        return RebootSettings(
            bin_s=self.bin_s,
            gap_s=self.gap_s,
            episode_ns=int(self.episode_s * SECOND_NS),
            version_ns=int(self.version_s * SECOND_NS),
            window_ns=int(self.window_s * SECOND_NS),
            open_ns=int(self.open_s * SECOND_NS),
            chance=self.chance,
            usual=self.rate_per_week / WEEK_S,
            line=math.log1p(self.bins_between_alarms),
            rate=self.rate,
            prior=self.prior,
            steps=np.array(STEPS, dtype=np.int64),
            share=np.array(STEP_SHARES) / sum(STEP_SHARES),
            frailty=np.array(FRAILTIES),
            quiet=quiet,
            again=again,
            hit=hit,
            ratio=np.array(RATIOS),
            ratio_share=np.array(RATIO_SHARES) / sum(RATIO_SHARES),
            cohort_share=COHORT_SHARE,
            flat_share=FLAT_SHARE,
        )

    def _likelihoods(self) -> tuple[F8, F8, F8]:
        """Return factors [q, d, h] of the likelihood of a bin; see `RebootSettings`.

        Given n episodes in the d bins of a block so far, x more in the next bin have the negative
        binomial likelihood (m / b)^x (a / b)^(k + n) times what does not depend on the hazard,
        where m is the bin's mean, a = k + d m, b = a + m, and k the frailty's shape.
        """
        mean = (self.rate * self.bin_s)[None, None, :]
        day = np.arange(BLOCK_DAYS, dtype=np.float64)[None, :, None]
        shape = np.array(FRAILTIES[1:])[:, None, None]
        start, end = shape + day * mean, shape + (day + 1.0) * mean
        poisson = np.broadcast_to(np.exp(-mean), (1, BLOCK_DAYS, HAZARDS))
        quiet = np.concatenate((poisson, (start / end) ** shape))
        again = np.concatenate((np.ones_like(poisson), start / end))
        hit = np.concatenate((np.broadcast_to(mean, poisson.shape), shape * mean / end))
        return quiet, again, hit

    def init(self, shape: FleetShape) -> RebootMemory:
        """Return the memory of devices nothing is known of."""
        n = shape.capacity
        unknown = ("boot_id", "boot_time_s", "uptime_s", "boot_count", "power_cycles", "power_on_s")
        fields: dict[str, Any] = {name: np.full(n, np.nan) for name in (*unknown, "version")}
        for name in ("ts", "boot_time_ts", "uptime_ts", "version_ts", "episode_ts", "planned_ts"):
            fields[name] = np.zeros(n, dtype=np.int64)
        for name in ("pending_lo", "pending_hi", "pending_seen", "shared_ts"):
            fields[name] = np.zeros(n, dtype=np.int64)
        for name in ("reboots", "planned", "power", "software", "settled", "pending", "shared"):
            fields[name] = np.zeros(n, dtype=np.int32)
        for name in ("episodes", "bins"):
            fields[name] = np.zeros(n, dtype=np.int32)
        for name in ("maintained", "pending_cause", "shared_by", "yesterday", "day_of_week"):
            fields[name] = np.zeros(n, dtype=np.int8)
        for name in ("week", "dispersion", "daily", "informed"):
            fields[name] = np.zeros(n, dtype=np.int8)
        for name in ("evidence", "level", "same_day", "next_day", "same_week", "next_week"):
            fields[name] = np.zeros(n, dtype=np.float32)
        for name in (
            "onset_day",
            "rate_before",
            "rate_after",
            "cohort_rate",
            "cohort_shape",
            "unsafe",
        ):
            fields[name] = np.full(n, np.nan, dtype=np.float32)
        return RebootMemory(
            **fields,
            open_s=np.zeros(n),
            recent=np.zeros((n, RECENT), dtype=np.uint16),
            last_week=np.full(n, -1, dtype=np.int8),
            week_before=np.full(n, -1, dtype=np.int8),
            sealed_day=np.zeros(n, dtype=np.uint16),
            before=np.tile(self.prior.astype(np.float32), (n, 1)),
            after=np.zeros((n, HAZARDS), dtype=np.float32),
            surplus=np.zeros((n, len(RATIOS)), dtype=np.float32),
        )

    def update(self, memory: RebootMemory, batch: TelemetryBatch) -> Scores:
        """Count the reboots of each row, which are judged when their epoch closes.

        Scores are as of the last closed epoch; observed and expected are rates after and before
        the change, 1/s.
        """
        scores = no_scores(len(batch))
        columns = BootColumns(*map(batch.column, self.reads))
        sources = (columns.boot_id, columns.boot_time, columns.uptime, columns.boot_count)
        score_rows(batch.rows, *sources, columns.power_cycles, memory, self.settings, scores)
        boots_update(batch.rows, columns, memory, self.settings)
        return scores

    def close(self, memory: RebootMemory, epoch: Epoch) -> Scores | None:
        """Tell shared reboots from a device's own, and judge what running time has become full."""
        size = epoch.size
        waiting = np.flatnonzero(memory.pending[:size]).astype(np.int32)
        if len(waiting):
            self._share(memory, epoch, waiting)
            settle(epoch.end, waiting, memory, self.settings)
        full = np.flatnonzero(memory.open_s[:size] >= self.bin_s).astype(np.int32)
        if len(full):
            judge_bins(full, epoch.end / SECOND_NS, memory, self.settings)
        today = epoch.end // int(DAY_S * SECOND_NS)
        if size and memory.sealed_day[0] != today:
            memory.sealed_day[:size] = today
            is_part = epoch.root != np.arange(size)
            group = (2 * (epoch.cohort + 1) + is_part).astype(np.int32)
            seal_cohorts(group, memory, self.settings)
        return None

    def _share(self, memory: RebootMemory, epoch: Epoch, waiting: I4) -> None:
        """Hand over to sites and cohorts what pending reboots they share."""
        groups = {COHORT: epoch.cohort, SITE: epoch.site}
        for by, group in groups.items():
            flagged = np.flatnonzero(
                (_kind(memory.shared_by[: epoch.size]) == by)
                & (memory.shared_ts[: epoch.size] > epoch.end - self.settings.open_ns)
            )
            moments = {(int(group[i]), int(memory.shared_ts[i])) for i in flagged}
            for code, moment in sorted(moments):
                join_shared(by, code, moment, waiting, group[waiting], memory, self.settings)
        fresh = waiting[memory.pending_seen[waiting] >= epoch.start]
        for by, group in groups.items():
            waits = waiting[(memory.pending[waiting] > 0) & np.isin(group[waiting], group[fresh])]
            waits = waits[group[waits] >= 0]
            if len(waits) < 2:
                continue
            waits = waits[np.argsort(group[waits], kind="stable")]
            odds = self._odds(memory, group)[group[waits]]
            share_reboots(by, waits, group[waits], epoch.site[waits], odds, memory, self.settings)

    def _odds(self, memory: RebootMemory, group: I4) -> F8:
        """Return how many episodes a nanosecond all members of each group have together."""
        belongs = group >= 0
        code = group[belongs]
        size = len(group)
        waiting = memory.settled[:size] + (memory.pending[:size] > 0)
        seen = memory.episodes[:size] + waiting
        exposure_s = memory.bins[:size] * self.bin_s + memory.open_s[:size]
        episodes = np.bincount(code, weights=seen[belongs]) + 1.0
        exposures_s = np.bincount(code, weights=exposure_s[belongs]) + 1.0 / self.settings.usual
        odds: F8 = np.bincount(code) * episodes / exposures_s / SECOND_NS
        return odds

    def shared(self, memory: RebootMemory, epoch: Epoch) -> Sequence[Shared]:
        """Return what sites and cohorts shared: once it is complete, and when it is over."""
        by = memory.shared_by[: epoch.size]
        if not by.any():
            return ()
        return [*self._shared(SITE, "site", epoch.site, memory, epoch),
                *self._shared(COHORT, "cohort", epoch.cohort, memory, epoch)]  # fmt: skip

    def _shared(
        self,
        kind: int,
        name: Literal["site", "cohort"],
        group: I4,
        memory: RebootMemory,
        epoch: Epoch,
    ) -> Iterator[Shared]:
        by = memory.shared_by[: epoch.size]
        flagged = np.flatnonzero(_kind(by) == kind).astype(np.int32)
        for code in np.unique(group[flagged]).tolist():
            device = flagged[group[flagged] == code]
            moments = memory.shared_ts[device]
            told = bool((by[device] == kind + 1).any())
            over = epoch.end - int(moments.max()) >= self.settings.open_ns
            ready = epoch.end - int(memory.pending_seen[device].min()) >= self.settings.window_ns
            if not told and not ready:
                continue
            if not told or over:
                yield self._occurrence(name, code, group, device, moments, over and told, epoch)
            by[device] = OWN if over and told else kind + 1

    def _occurrence(
        self,
        name: Literal["site", "cohort"],
        code: int,
        group: I4,
        device: I4,
        moments: Any,
        over: bool,
        epoch: Epoch,
    ) -> Shared:
        members = int(np.count_nonzero((group == code) & (epoch.root == np.arange(epoch.size))))
        times = len(np.unique(moments // self.settings.window_ns))
        text = f"{len(device)} of {members} devices rebooted at one moment"
        text += f", {times} times" if times > 1 else ""
        why = "their site's power is the likeliest cause" if name == "site" else (
            "at several sites: what they have in common is the likeliest cause"
        )  # fmt: skip
        return Shared(
            group=name,
            code=code,
            status="resolved" if over else "firing",
            since=int(moments.min()),
            ts=epoch.end,
            score=1.0,
            observed=float(len(device)),
            expected=0.0,
            device=device,
            evidence={
                "devices_rebooted": float(len(device)),
                "devices_of_the_group": float(members),
                "moments": float(times),
            },
            sentence=f"{text}; {why}, and it is not counted as their own.",
        )

    def log_evidence(self, memory: RebootMemory, size: int) -> F8:
        """Return the log [size] of an e-detector's value, in bins; -inf: nothing judged yet."""
        judged = memory.bins[:size] > 0
        return np.where(judged, memory.evidence[:size].astype(np.float64), -np.inf)

    def forecast(self, memory: RebootMemory, device: I4) -> Forecast | None:
        """Return quantiles of the unplanned reboot rate from now on, 1/s of running time.

        That the rate has changed is taken to be as likely beforehand as a false alarm, so the
        evidence over the line, in bins, is its odds.
        """
        weight = memory.before[device] + memory.after[device] / self.bins_between_alarms
        quantile = self._quantiles(weight.astype(np.float64))
        quantile[memory.bins[device] == 0] = np.nan
        return Forecast("reboot.rate", "1/s", np.array(QUANTILES), quantile)

    def _quantiles(self, weight: F8) -> F8:
        """Return quantiles [m, q] of the rate whose hazards weigh `weight` [m, h], 1/s."""
        total = weight.sum(axis=1, keepdims=True)
        below = np.cumsum(weight, axis=1) / np.where(total > 0.0, total, np.nan)
        upper = np.log(self.rate * math.sqrt(FACTOR))
        edge = np.concatenate(([upper[0] - math.log(FACTOR)], upper))
        quantile = np.full((len(weight), len(QUANTILES)), np.nan)
        for row in np.flatnonzero(~np.isnan(below[:, -1])):
            share = np.concatenate(([0.0], below[row]))
            quantile[row] = np.exp(np.interp(QUANTILES, share, edge))
        return quantile

    def evidence(self, memory: RebootMemory, device: int) -> dict[str, float]:
        """Return counts, exposure, rates before and since the change, cohort and evidence.

        `evidence_ratio`: how many times more likely the history is with a change, at a time of
        which nothing is known, than without. Intervals are p10 and p90.
        """
        bins = float(memory.bins[device])
        after = self._quantiles(memory.after[device][None].astype(np.float64))[0] * WEEK_S
        onset_s = float(memory.onset_day[device]) * DAY_S
        before = self._before(memory, device)
        cohort = float(memory.cohort_rate[device])
        shape = float(memory.cohort_shape[device])
        counts = {
            "reboots_counted": float(memory.reboots[device]),
            "power_told": float(memory.power[device]),
            "software_told": float(memory.software[device]),
            "planned_ignored": float(memory.planned[device]),
            "shared_ignored": float(memory.shared[device]),
            "exposure_days": (bins * self.bin_s + float(memory.open_s[device])) / DAY_S,
        }
        return counts | {
            "rate_before_per_week_p10": float(before[0]),
            "rate_before_per_week": float(before[1]),
            "rate_before_per_week_p90": float(before[2]),
            "rate_after_per_week_p10": float(after[1]),
            "rate_after_per_week": float(after[2]),
            "rate_after_per_week_p90": float(after[3]),
            "onset_s": onset_s,
            "e_value": math.expm1(float(memory.evidence[device])),
            "evidence_ratio": math.expm1(float(memory.evidence[device])) / max(bins, 1.0),
            "cohort_rate_per_week": cohort * WEEK_S,
            "cohort_extreme_per_week": extreme_rate(cohort, shape) * WEEK_S
            if cohort > 0
            else math.nan,
            "cohort_dispersion_ratio": 1.0 / FRAILTIES[int(memory.dispersion[device])],
        }

    def _before(self, memory: RebootMemory, device: int) -> F8:
        """Return p10, p50 and p90 of the rate before the change, episodes a week.

        The logarithm of a rate of which n episodes were seen is uncertain by 1 / sqrt(n).
        """
        since_s = float(memory.ts[device]) / SECOND_NS - float(memory.onset_day[device]) * DAY_S
        exposure_s = float(memory.bins[device]) * self.bin_s - np.nan_to_num(since_s)
        rate = float(memory.rate_before[device])
        spread = 1.2816 / math.sqrt(max(rate * exposure_s, 0.0) + 1.0)
        before: F8 = rate * WEEK_S * np.exp(spread * np.array([-1.0, 0.0, 1.0]))
        return before

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how often the device reboots now, how often it used to, and why as far as it told."""
        before, after = evidence["rate_before_per_week"], evidence["rate_after_per_week"]
        if math.isnan(after):
            return "Too little running time was seen to say how often it reboots."
        onset_s = evidence["onset_s"]
        now = (forecast or {}).get("p50")
        text = f"Reboots {before if now is None else now * WEEK_S:.2g} times a week"
        if not math.isnan(onset_s):
            since = np.datetime64(int(onset_s), "s").astype("datetime64[D]")
            text = f"Reboots {after:.2g} times a week since about {since} instead of {before:.2g}"
        counted, days = evidence["reboots_counted"], evidence["exposure_days"]
        told = [f"{evidence[f'{why}_told']:.0f} {why}" for why in ("power", "software")
                if evidence[f"{why}_told"]]  # fmt: skip
        text += f": {counted:.0f} unplanned {'reboot' if counted == 1 else 'reboots'}"
        text += f" ({', '.join(told)})" if told else ""
        text += f" in all {days:.0f} days of running"
        apart = [f"{evidence[f'{why}_ignored']:.0f} {why}" for why in ("planned", "shared")
                 if evidence[f"{why}_ignored"]]  # fmt: skip
        return text + (f"; {' and '.join(apart)} not counted." if apart else ".")


def _kind(by: Any) -> Any:
    """Return `SITE` or `COHORT` whether or not the group's finding has been made."""
    return np.where(by == SITE_TOLD, SITE, np.where(by == COHORT_TOLD, COHORT, by))


if TYPE_CHECKING:
    _: Detector[RebootMemory] = RebootDrift()
