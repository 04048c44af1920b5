"""A healthy fleet of several natures, through `Normality` as the engine runs it, for the budget.

Rows are made an epoch at a time and go to ``update``, the rule's own kernel and ``close``; the door
is left out, as it decides nothing here. Nobody in this fleet is ever ill, so each firing is false.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from aiops.alerts.budget import split
from aiops.alerts.rule import AlertRule
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.kernels.phase import FIRED, advance_phase
from aiops.kernels.rows import B1, F8, I4
from aiops.telemetry.batch import TelemetryBatch, group_bounds

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
MONTH_DAYS = 365.25 / 12.0
START_NS = 20_500 * DAY_NS
RAMP_DAYS = 2.0
"""How long the drift of the fleet takes."""


@dataclass
class Nature(ABC):
    """One metric of `size` devices, each with a level, a size of its noise and a state."""

    size: int
    rng: np.random.Generator
    per_hour: int
    state: F8 = field(init=False)
    level: F8 = field(init=False)
    scale: F8 = field(init=False)
    extra: F8 = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.rng.standard_normal(self.size)
        self.level = 20.0 + 10.0 * self.rng.standard_normal(self.size)
        self.scale = np.exp(0.4 * self.rng.standard_normal(self.size))
        self.extra = self.rng.random(self.size)

    def noise(self, device: I4, keep: float) -> F8:
        """Return the next value [k, rows] of a first-order autoregression, of variance 1."""
        out = np.empty((len(device), self.per_hour))
        x, fresh = self.state[device], np.sqrt(1.0 - keep * keep)
        for j in range(self.per_hour):
            x = keep * x + fresh * self.rng.standard_normal(len(device))
            out[:, j] = x
        self.state[device] = x
        return out

    @abstractmethod
    def row(self, device: I4, hour: int, louder: float, higher: float) -> F8:
        """Return values [k, rows] of an hour; a drift is louder noise and higher levels."""


class Gaussian(Nature):
    def row(self, device: I4, hour: int, louder: float, higher: float) -> F8:
        level, scale = self.level[device, None], self.scale[device, None]
        return level + scale * (louder * self.noise(device, 0.6) + 3.0 * higher)


class Seasonal(Nature):
    def row(self, device: I4, hour: int, louder: float, higher: float) -> F8:
        t = hour + np.arange(self.per_hour) / self.per_hour
        wave = np.sin(2 * np.pi * t / 24.0) + 0.4 * np.sin(4 * np.pi * t / 24.0 + 1.0)
        wave = wave * (0.5 if hour // 24 % 7 >= 5 else 1.0)
        level, scale = self.level[device, None], self.scale[device, None]
        swing = (2.0 + 4.0 * self.extra[device, None]) * wave
        return level + scale * (swing + louder * self.noise(device, 0.5) + 3.0 * higher)


class Heavy(Nature):
    def row(self, device: I4, hour: int, louder: float, higher: float) -> F8:
        level, scale = np.exp(0.05 * self.level[device, None]), self.scale[device, None]
        x = self.noise(device, 0.4)
        return level * np.exp(0.5 * scale.clip(max=2.0) * louder * x + higher)


class Bursty(Nature):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.left = np.zeros(self.size)

    def row(self, device: I4, hour: int, louder: float, higher: float) -> F8:
        begin = self.rng.random(len(device)) < 0.02 + 0.06 * self.extra[device]
        left = np.where(begin & (self.left[device] <= 0), self.rng.integers(1, 4, len(device)),
                        self.left[device])  # fmt: skip
        high = self.rng.gamma(2.0, 5.0, len(device))[:, None] * (left > 0)[:, None]
        self.left[device] = left - 1
        scale = self.scale[device, None]
        return scale * (10.0 + high * louder + louder * self.noise(device, 0.3) + 3.0 * higher)


class Counts(Nature):
    def row(self, device: I4, hour: int, louder: float, higher: float) -> F8:
        mean = 0.5 + 6.0 * self.extra[device, None] ** 2 + 2.0 * higher
        mixed = self.rng.gamma(4.0 / louder, louder / 4.0, (len(device), self.per_hour))
        return self.rng.poisson(mean * mixed).astype(np.float64)


NATURES: dict[str, type[Nature]] = {
    "gaussian": Gaussian,
    "seasonal": Seasonal,
    "heavy": Heavy,
    "bursty": Bursty,
    "counts": Counts,
}


class Fired(NamedTuple):
    """Firings of a metric, and for how long devices were watched."""

    old: F8
    """[days] firings of devices of a day or more."""
    old_days: F8
    """[days] their device-days."""
    young: F8
    """[days] firings of younger ones..."""
    young_days: F8
    """...and their device-days."""


class Fleet(NamedTuple):
    """What is simulated."""

    devices: int
    days: int
    young_a_day: int
    """Further devices that come each day, and go after one."""
    drift_day: float
    budget: float
    """False alarms per 1,000 device-months, of all metrics together."""
    per_hour: int = 4
    """Rows a device and hour."""


def simulate(
    fleet: Fleet,
    make: Callable[[str], Any],
    seed: int,
    natures: dict[str, type[Nature]] = NATURES,
) -> dict[str, Fired]:
    """Run each nature through a detector of its own, made by `make`; return what fired."""
    rules = split([AlertRule(make(f"fleet.{name}")) for name in natures], fleet.budget)
    return {
        name: _of_metric(fleet, rule, nature, np.random.default_rng([seed, k]))
        for k, (rule, (name, nature)) in enumerate(zip(rules, natures.items(), strict=True))
    }


def _of_metric(
    fleet: Fleet, rule: AlertRule, nature: type[Nature], rng: np.random.Generator
) -> Fired:
    size = fleet.devices + fleet.young_a_day * fleet.days
    detector, metric = rule.detector, rule.detector.reads[0]
    memory, signal = detector.init(FleetShape(size)), nature(size, rng, fleet.per_hour)
    phase, since = np.zeros(size, dtype=np.int8), np.zeros(size, dtype=np.int64)
    cohort = np.zeros(size, dtype=np.int32)
    root, site = np.arange(size, dtype=np.int32), np.full(size, -1, dtype=np.int32)
    comes = np.arange(fleet.young_a_day * fleet.days) // max(fleet.young_a_day, 1) * 24
    born = np.concatenate((np.zeros(fleet.devices), comes))
    fired = Fired(*(np.zeros(fleet.days) for _ in range(4)))
    for hour in range(24 * fleet.days):
        drift = min(max((hour / 24.0 - fleet.drift_day) / RAMP_DAYS, 0.0), 1.0)
        today = hour // 24
        first = fleet.devices + fleet.young_a_day * today
        device = np.concatenate(
            (np.arange(fleet.devices), np.arange(first, first + fleet.young_a_day))
        ).astype(np.int32)
        value = signal.row(device, hour, 1.0 + 0.5 * drift, drift)
        start = START_NS + hour * HOUR_NS
        batch = _batch(metric, device, cohort, value, start)
        scores = detector.update(memory, batch)
        change = np.zeros(len(batch), dtype=np.int8)
        advance_phase(
            batch.device, batch.ts, scores.score, ~batch.historical, phase, since,
            rule.line, rule.clear, int(rule.hold_s * SECOND_NS), change,
        )  # fmt: skip
        known = int(device[-1]) + 1
        epoch = Epoch(start, start + HOUR_NS, start + HOUR_NS, known,
                      root[:known], site[:known], cohort[:known])  # fmt: skip
        detector.close(memory, epoch)
        who = batch.device[change == FIRED]
        young = hour - born < 24
        fired.young[today] += np.count_nonzero(young[who])
        fired.old[today] += np.count_nonzero(~young[who])
        fired.young_days[today] += np.count_nonzero(young[device]) / 24.0
        fired.old_days[today] += np.count_nonzero(~young[device]) / 24.0
    return fired


def _batch(metric: str, device: I4, cohort: I4, value: F8, start: int) -> TelemetryBatch:
    n = value.shape[1]
    rows = np.repeat(device, n)
    ts = np.tile(start + np.arange(n) * (HOUR_NS // n), len(device))
    historical: B1 = np.zeros(len(rows), dtype=np.bool_)
    return TelemetryBatch(
        rows,
        cohort[rows],
        ts.astype(np.int64),
        historical,
        {metric: value.ravel()},
        group_bounds(rows),
    )


def rate(fired: float, device_days: float) -> float:
    """Return firings per 1,000 device-months."""
    return 1000.0 * fired / (device_days / MONTH_DAYS) if device_days else float("nan")


def figures(fleet: Fleet, found: dict[str, Fired], settle_days: int = 10) -> dict[str, float]:
    """Return the ratio of realised to budgeted alarms before and after the drift, and of the young.

    The first `settle_days` of the fleet and as many from the beginning of the drift on are told
    apart, as ``budget_ratio_settling`` and ``budget_ratio_drifting``. ``_se`` is by counts.
    """
    drift = int(fleet.drift_day)
    spans = {
        "settling": slice(1, settle_days),
        "before": slice(settle_days, drift),
        "drifting": slice(drift, drift + settle_days),
        "after": slice(drift + settle_days, fleet.days),
    }
    told: dict[str, float] = {}
    totals = Fired(*(np.sum([getattr(one, name) for one in found.values()], axis=0)
                     for name in Fired._fields))  # fmt: skip
    metrics = len(found)
    steady = 0.0
    for name, span in spans.items():
        alarms, days = totals.old[span].sum(), totals.old_days[span].sum() / metrics
        ratio = rate(alarms, days) / fleet.budget
        told[f"budget_ratio_{name}"] = ratio
        told[f"budget_ratio_{name}_se"] = ratio / np.sqrt(max(alarms, 1.0))
    kept = [spans["before"], spans["after"]]
    alarms = sum(totals.old[span].sum() for span in kept)
    days = sum(totals.old_days[span].sum() for span in kept) / metrics
    steady = rate(alarms, days)
    told["budget_ratio"] = steady / fleet.budget
    told["budget_ratio_se"] = told["budget_ratio"] / np.sqrt(max(alarms, 1.0))
    young = sum(totals.young[span].sum() for span in kept)
    young_days = sum(totals.young_days[span].sum() for span in kept) / metrics
    if young_days:
        told["young_ratio"] = rate(young, young_days) / steady
        told["young_ratio_se"] = told["young_ratio"] * np.sqrt(1.0 / max(young, 1.0) + 1.0 / alarms)
    return {name: float(value) for name, value in told.items()}
