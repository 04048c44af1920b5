"""A resource will run out, or a reading pass its limit: slowly, so that there is time to act."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from aiops.detectors.protocol import QUANTILES, Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.exhaustion import (
    PARTS,
    WINDOW,
    exhaustion_update,
    judge,
    seal_groups,
)
from aiops.kernels.exhaustion_memory import ExhaustionMemory, ExhaustionSettings
from aiops.kernels.passage import passages
from aiops.kernels.rows import B1, I4, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch
from aiops.telemetry.vocabulary import VOCABULARY

DAY_S = 86_400.0
WEEK_S = 7.0 * DAY_S
MONTH_S = 365.25 / 12.0 * DAY_S

CORRELATIONS = (0.0, 0.4, 0.7, 0.85)
SHARES = (0.35, 0.35, 0.24, 0.06)
"""Of neighbouring bins, and how likely each is beforehand: noise may wander for days."""
ONSETS = (-12.0, -16.0, -24.0, -32.0, -48.0, -64.0)
"""Bins back at which a creep may have begun."""
DWELL = 8.0
"""Bins that a false alarm lasts, at least: neighbouring windows have nearly the same evidence."""
MEMBERS = 6
"""A site or cohort with fewer devices does not tell what the weather did."""
RESOLUTION = 2e-4
"""Of the way from 0 to the limit: smaller differences are not believed."""
LEAST_ROOM = 0.6
"""Of the way from 0 to the limit: a creep is looked for as fast as fills this in the horizon."""
AMBIENT = "temperature.ambient_celsius"
SHOWN = {"1": (100.0, " %"), "Cel": (1.0, " degrees Celsius"), "dBm": (1.0, " dBm")}
"""Unit -> what it is multiplied by in sentences, and called."""


@dataclass(frozen=True)
class Exhaustion:
    """Evidence that a reading creeps towards its limit, and the date on which it is there.

    Each bin (a day) is the median of its hours. The last 64 of them are explained by a level, a
    slope towards the limit, noise with unknown correlation, jumps, of which those back (a restart)
    end no leak, and, with `compares`, by the surroundings: the air's temperature where the device
    tells it, else what its site or cohort did. The evidence is the ratio of the likelihoods with
    and without a slope, all unknowns integrated over.

    **Line.** By Markov's inequality the evidence of a bin without a slope is at or above K with
    probability 1 / K at most, so the line is K = the bins in which the budget allows one false
    alarm. A score is log evidence over log line, but no more than twice the probability of being at
    the limit within `horizon_s`: a slow creep far from its limit does not page.

    The date is that of a first passage of the highest hour of a bin. A creep is taken to be as
    likely beforehand as a false alarm in each bin of the window.
    """

    metric: str = "memory.utilization_ratio"
    """Canonical name of a gauge."""
    limit: float = 1.0
    """In the metric's unit."""
    direction: Literal["up", "down"] = "up"
    """Whether the limit is above or below."""
    compares: bool = False
    """Only what goes beyond the surroundings, or the group, counts."""
    horizon_s: float = 60.0 * DAY_S
    """How far ahead an end matters."""
    bin_s: float = DAY_S
    """What is judged at once; noise of a day's rhythm is gone from a day's median."""
    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months."""

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.direction not in ("up", "down"):
            raise SettingsError(f"{self.name}: direction is up or down; got {self.direction!r}")
        if not math.isfinite(self.limit):
            raise SettingsError(f"{self.name}: limit must be finite; got {self.limit}")
        for setting in ("horizon_s", "bin_s", "alarm_budget"):
            if not 0.0 < getattr(self, setting) < math.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )

    @property
    def name(self) -> str:
        """``exhaustion:`` and the metric: each metric has a memory of its own."""
        return f"exhaustion:{self.metric}"

    @property
    def reads(self) -> tuple[str, ...]:
        """The metric alone: a row that tells only of the surroundings says nothing of it."""
        return (self.metric,)

    @property
    def also_reads(self) -> tuple[str, ...]:
        """The surroundings, where they are compared with."""
        return (AMBIENT,) if self.compares and self.metric == "temperature.celsius" else ()

    @property
    def bins_between_alarms(self) -> float:
        """Bins of a device in which the budget allows one false alarm."""
        return max(1000.0 * MONTH_S / (self.alarm_budget * self.bin_s), math.e)

    @cached_property
    def settings(self) -> ExhaustionSettings:
        """What the kernels need of these settings."""
        sign = 1.0 if self.direction == "up" else -1.0
        return ExhaustionSettings(
            sign=sign,
            limit=sign * self.limit,
            bin_ns=int(self.bin_s * 1e9),
            horizon=self.horizon_s / self.bin_s,
            line=math.log(self.bins_between_alarms / DWELL),
            resolution=RESOLUTION * max(abs(self.limit), 1e-9),
            least_room=LEAST_ROOM * max(abs(self.limit), 1e-9),
            compares=self.compares,
            correlation=np.array(CORRELATIONS),
            share=np.array(SHARES) / sum(SHARES),
            onset=np.array(ONSETS),
        )

    def init(self, shape: FleetShape) -> ExhaustionMemory:
        """Return the memory of devices nothing is known of."""
        n = shape.capacity
        arrays: dict[str, Any] = {
            "part": np.zeros((n, PARTS), dtype=np.float32),
            "readings": np.zeros((n, PARTS), dtype=np.uint8),
            "told": np.zeros(n, dtype=np.int8),
            "turned": np.zeros(n, dtype=np.int8),
            "value": np.full((n, WINDOW), np.nan, dtype=np.float32),
            "outside": np.full((n, WINDOW if self.compares else 0), np.nan, dtype=np.float32),
            "outside_sum": np.zeros(n),
            "ts": np.full(n, np.iinfo(np.int64).min),
        }
        for name in ("open_bin", "closed", "sealed", "judged"):
            arrays[name] = np.full(n, -1, dtype=np.int32)
        for name in ("outside_count", "span"):
            arrays[name] = np.zeros(n, dtype=np.int32)
        for name in set(ExhaustionMemory._fields) - set(arrays):
            arrays[name] = np.full(n, np.nan, dtype=np.float32)
        return ExhaustionMemory(**arrays)

    def update(self, memory: ExhaustionMemory, batch: TelemetryBatch) -> Scores:
        """Take the readings; score them by the bins that were judged before.

        Observed is the reading, expected the level from which it crept; in the metric's unit.
        """
        scores = no_scores(len(batch))
        outside = batch.column(AMBIENT if self.also_reads else "")
        exhaustion_update(
            batch.rows, batch.column(self.metric), outside, memory, self.settings, scores
        )
        return scores

    def close(self, memory: ExhaustionMemory, epoch: Epoch) -> Scores | None:
        """Judge the devices a bin of which has become full; seal the groups' past before that."""
        turned = np.flatnonzero(memory.turned[: epoch.size]).astype(np.int32)
        if len(turned) == 0:
            return None
        if self.compares:
            self._seal(memory, epoch)
        judge(turned, memory, self.settings)
        promising = turned[memory.span[turned] > 0]
        if len(promising):
            passages(promising, memory, self.settings, np.empty(0), np.empty((len(promising), 0)))
        return None

    def _seal(self, memory: ExhaustionMemory, epoch: Epoch) -> None:
        """Once a bin, work out what each group did until the bin before the last one.

        Who has reported in the last bin has filled the one before it: groups are complete there.
        """
        size = epoch.size
        last_bin = (epoch.end - 1) // self.settings.bin_ns - 2
        known = memory.closed[:size] > last_bin - WINDOW
        due = known & (memory.told[:size] == 0) & (memory.sealed[:size] < last_bin)
        if last_bin < 0 or not due.any():
            return
        group = _groups(epoch, known)
        group[~np.isin(group, group[due])] = -1
        member = np.flatnonzero(group >= 0).astype(np.int32)
        if len(member) == 0:
            return
        order = member[np.argsort(group[member], kind="stable")]
        start = np.flatnonzero(np.diff(group[order], prepend=-1, append=-1)).astype(np.int32)
        seal_groups(order, start, last_bin, memory, self.settings)

    def shared(self, memory: ExhaustionMemory, epoch: Epoch) -> Sequence[Shared]:
        """Tell of nothing that many share."""
        return ()

    def forecast(self, memory: ExhaustionMemory, device: I4) -> Forecast | None:
        """Return quantiles of the date on which the limit is met, ns since the epoch.

        inf: not within 20 years of days; NaN: nothing creeps, or it was not judged yet.
        """
        date = np.full((len(device), len(QUANTILES)), np.nan)
        prior = WINDOW / self.bins_between_alarms
        for k in np.flatnonzero(memory.span[device] > 0).tolist():
            i = device[k : k + 1]
            odds = math.exp(min(float(memory.evidence[i[0]]), 700.0)) * prior
            wanted = np.array(QUANTILES) * (1.0 + 1.0 / odds)
            ahead = np.empty((1, len(QUANTILES)))
            passages(i, memory, self.settings, wanted, ahead)
            middle_ns = (float(memory.judged[i[0]]) + 0.5) * self.settings.bin_ns
            date[k] = middle_ns + ahead[0] * self.settings.bin_ns
        return Forecast(f"{self.metric}.limit.date", "ns", np.array(QUANTILES), date)

    def evidence(self, memory: ExhaustionMemory, device: int) -> dict[str, float]:
        """Return level, creep and its error, noise, resets and evidence; NaN where unknown.

        Values are in the metric's unit, and signed as it is.
        """
        bins_a_day = DAY_S / self.bin_s
        sign = self.settings.sign
        return {
            "level": sign * float(memory.level[device]),
            "limit": self.limit,
            "creep_per_day": sign * float(memory.slope[device]) * bins_a_day,
            "creep_per_day_sd": math.sqrt(float(memory.slope_var[device])) * bins_a_day,
            "began_at": sign * float(memory.start[device]),
            "span_days": float(memory.span[device]) / bins_a_day,
            "noise_sd": math.sqrt(float(memory.noise_var[device])),
            "noise_correlation": float(memory.correlation[device]),
            "highest_hour_above": float(memory.peak[device]),
            "drops_per_day": float(memory.resets[device]) * bins_a_day,
            "evidence_ratio": math.exp(min(float(memory.evidence[device]), 700.0)),
            "within_horizon_probability": float(memory.chance[device]),
            "horizon_days": self.horizon_s / DAY_S,
            "surroundings_told": float(memory.told[device]),
        }

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how fast it creeps, where it is, and when it will be at the limit."""
        factor, unit = SHOWN.get(_unit(self.metric), (1.0, ""))
        what = WORDS.get(self.metric, self.metric)
        if not evidence["span_days"] > 0.0:
            return f"{what} does not creep towards its limit."
        creep = abs(factor * evidence["creep_per_day"])
        verb = "rises" if self.direction == "up" else "falls"
        beyond = " beyond what its surroundings explain" if self.compares else ""
        level, limit = factor * evidence["level"], factor * self.limit
        text = f"{what} {verb} by {creep:.2g}{unit} a day{beyond}"
        if not self.compares:
            text += f" and is at {level:.3g}{unit}"
        dates = [str((forecast or {}).get(name) or "")[:10] for name in ("p10", "p50", "p90")]
        if not dates[1]:
            return f"{text}; its limit of {limit:.3g}{unit} is not in sight."
        late = f"and {dates[2]} (80 %)" if dates[2] else "and later (80 %)"
        return (
            f"{text}: at its limit of {limit:.3g}{unit} between {dates[0]} {late}, even odds by "
            f"{dates[1]}."
        )


WORDS = {
    "memory.utilization_ratio": "Memory in use",
    "process.open_files_ratio": "The share of open file descriptors",
    "temperature.celsius": "Temperature",
    "battery.health_ratio": "Battery capacity",
    "net.loss_ratio": "Packet loss",
    "net.rssi_dbm": "Signal strength",
}


CREEPS: tuple[Exhaustion, ...] = tuple(
    replace(creep, alarm_budget=1.0 / 6.0)
    for creep in (
        Exhaustion(),
        Exhaustion("process.open_files_ratio"),
        Exhaustion("temperature.celsius", 85.0, compares=True, horizon_s=365.0 * DAY_S),
        Exhaustion("battery.health_ratio", 0.8, "down", horizon_s=180.0 * DAY_S, bin_s=WEEK_S),
        Exhaustion("net.rssi_dbm", -90.0, "down", horizon_s=180.0 * DAY_S),
        Exhaustion("net.loss_ratio", 0.5),
    )
)
"""What creeps towards a limit in a fleet: the limits are those of most hardware, and all of them
together have one detector's alarm budget."""


def _unit(metric: str) -> str:
    return VOCABULARY[metric].unit if metric in VOCABULARY else ""


def _groups(epoch: Epoch, known: B1) -> I4:
    """Return what each device is compared with [size]: its site, else its cohort; -1: nothing.

    Parts are compared with parts. A group has `MEMBERS` of which something is `known` [size].
    """
    is_part = (epoch.root != np.arange(epoch.size)).astype(np.int32)
    group = np.full(epoch.size, -1, dtype=np.int32)
    for kind, code in enumerate((epoch.cohort, epoch.site)):
        belongs = known & (code >= 0)
        key = (4 * code + 2 * kind + is_part)[belongs]
        if len(key):
            enough = np.bincount(key)[key] >= MEMBERS
            at = np.flatnonzero(belongs)[enough]
            group[at] = key[enough]
    return group


if TYPE_CHECKING:
    _: Detector[ExhaustionMemory] = Exhaustion()
