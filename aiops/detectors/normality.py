"""A metric is not what it usually is for this device: one detector for any metric."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from aiops.detectors.normality_cohort import init_cohort, score_rows, seal
from aiops.detectors.protocol import Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.normality import (
    AHEAD_SPREAD,
    BINS,
    COUNTS,
    DAY_MEAN,
    HOURS,
    INTERVAL,
    LAST,
    MEAN,
    MOMENTS,
    PER_UNIT,
    SEEN,
    SHORT,
    SPREAD,
    STEP,
    STEP_NOW,
    TAILS,
    VIEWS,
    NormalityMemory,
    NormalitySettings,
    normality_update,
)
from aiops.kernels.rows import F8, I8, Rows, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch
from aiops.telemetry.vocabulary import describe

SHAPE: dict[str, float] = {
    "per_s": 1.0 / (4.0 * 86_400.0),
    "slowest": 1.0 / 8000.0,
    "fastest": 1.0 / 200.0,
    "short": 0.1,
    "rough": 1.0 / 16.0,
    "clip": 4.0,
    "floor": 0.01,
    "follow": 0.3,
    "learn_season": 0.05,
    "slope": 1.0,
    "cap": 6.0,
    "drift_slack": 0.5,
    "drift_keep": 0.9,
    "drift_most": 10.0,
    "drift_weight": 0.3,
    "smooth": 0.2,
    "latch": 0.98,
    "base": 3.0,
    "adapt": 0.05,
    "exceeded": 0.99,
    "unit": 4.0,
}
"""What `NormalitySettings` says of each, for all metrics alike."""


class Judged(NamedTuple):
    """All that is said of each of n rows."""

    scores: Scores
    """Before they are set against an alert line: comparable over series."""
    state: F8
    """[n] sum over views of log2(1 + surprise): the highest lately, 2 % less a row since."""
    views: Any
    """[n, 9] surprise of each of `VIEWS`, decades."""


@dataclass(frozen=True)
class Normality:
    """What is normal for a metric of a device, and how far it is left.

    Nine views look at each value: its level, the jump to it, the shift of late against the long
    mean, roughness (more or less than usual, down to a flat line), the error of a forecast, the
    time of day, the gap before it, the distance from the cohort, and slow drift over days. A view
    learns the distribution of its own statistic, so its surprise is the -log10 of a tail
    probability whatever the distribution is, and surprises are added. The smoothed sum is set
    against its usual peak on this series, so that a restless series does not page, and that against
    the alert line, which its cohort lays for the alarm budget (`normality_cohort`). The latched
    state is of the sum of their logarithms instead: it orders devices by how many views agree.

    Means are learnt with bounded influence (Huber, Ann. Math. Stat. 35, 1964,
    doi:10.1214/aoms/1177703732): an anomaly moves what is usual only a little, and what lasts
    becomes usual. See ``docs/normality.md``.
    """

    metric: str
    """Canonical name, or any name that telemetry has."""
    direction: Literal["both", "up", "down"] = "both"
    """Which side of the expected value counts."""
    min_deviation: float = 0.0
    """No smaller deviation is ever of interest; the metric's unit (of a counter: a second)."""
    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months."""
    views: tuple[str, ...] = VIEWS
    """Which ways of looking count."""

    version: ClassVar[int] = 1
    compares: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.metric:
            raise SettingsError("normality: metric is empty; name the metric to watch")
        if self.direction not in ("both", "up", "down"):
            raise SettingsError(
                f"{self.name}: direction must be both, up or down; got {self.direction!r}"
            )
        if not 0.0 <= self.min_deviation < math.inf:
            raise SettingsError(
                f"{self.name}: min_deviation must be 0 or more; got {self.min_deviation}"
            )
        if not 0.0 < self.alarm_budget < math.inf:
            raise SettingsError(
                f"{self.name}: alarm_budget must be above 0; got {self.alarm_budget}"
            )
        unknown = [view for view in self.views if view not in VIEWS]
        if unknown or not self.views:
            raise SettingsError(
                f"{self.name}: views must be some of {', '.join(VIEWS)}; got {self.views}"
            )

    @property
    def name(self) -> str:
        """What memory, rule and findings are filed under."""
        return f"normality:{self.metric}"

    @property
    def reads(self) -> tuple[str, ...]:
        """The metric."""
        return (self.metric,)

    @property
    def is_counter(self) -> bool:
        """Say whether the metric only grows, so that its rate is watched."""
        return describe(self.metric).kind == "counter"

    @cached_property
    def settings(self) -> NormalitySettings:
        """What the kernel needs of these settings."""
        return NormalitySettings(
            is_counter=self.is_counter,
            up=self.direction != "down",
            down=self.direction != "up",
            least=np.float32(self.min_deviation),
            views=tuple(view in self.views for view in VIEWS),  # type: ignore[arg-type]
            **{name: np.float32(value) for name, value in SHAPE.items()},
        )

    def init(self, shape: FleetShape) -> NormalityMemory:
        """Return the memory of devices nothing is known of."""
        n = shape.capacity
        return NormalityMemory(
            origin=np.zeros(n),
            ts=np.zeros(n, dtype=np.int64),
            moments=np.zeros((n, MOMENTS), dtype=np.float32),
            counts=np.zeros((n, COUNTS), dtype=np.uint16),
            tails=np.zeros((n, TAILS, BINS), dtype=np.uint16),
            largest=np.zeros((n, TAILS), dtype=np.uint16),
            hours=np.zeros((n, HOURS), dtype=np.int8),
            surprise=np.zeros((n, len(VIEWS)), dtype=np.uint8),
            **init_cohort(n, self.alarm_budget),
        )

    def judge(self, memory: NormalityMemory, batch: TelemetryBatch, views: bool = True) -> Judged:
        """Judge and learn the rows; scores are not yet multiples of a line."""
        n = len(batch)
        scores, state = no_scores(n), np.full(n, np.nan)
        each = np.zeros((n if views else 0, len(VIEWS)), dtype=np.float32)
        column = batch.column(self.metric)
        normality_update(batch.rows, column, memory, self.settings, *scores, state, each)
        return Judged(scores, state, each)

    def update(self, memory: NormalityMemory, batch: TelemetryBatch) -> Scores:
        """Judge and learn the rows; observed and expected are values, or rates of a counter."""
        scores = self.judge(memory, batch, views=False).scores
        score_rows(batch, scores, memory)
        return scores

    def close(self, memory: NormalityMemory, epoch: Epoch) -> Scores | None:
        """Let devices know what their cohort does, and lay the alert line; once an hour."""
        seal(memory, epoch, self.alarm_budget)
        return None

    def shared(self, memory: NormalityMemory, epoch: Epoch) -> tuple[Shared, ...]:
        """Return nothing: what many share is told by their findings together."""
        return ()

    def forecast(self, memory: NormalityMemory, device: Any) -> Forecast | None:
        """Foretell nothing."""
        return None

    def evidence(self, memory: NormalityMemory, device: int) -> dict[str, float]:
        """Return what the value was and what is usual, and how surprised each view was lately.

        In the metric's unit (of a counter: a second), decades, or seconds as the name says. A
        surprise of 3 decades is what one value in a thousand, or fewer, gives.
        """
        moment = [float(x) for x in memory.moments[device]]
        origin = 0.0 if self.is_counter else float(memory.origin[device])
        facts = {
            "value": origin + moment[LAST],
            "value_lately": origin + moment[SHORT],
            "value_usual": origin + moment[MEAN],
            "deviation_usual": moment[SPREAD],
            "step_lately": moment[STEP_NOW],
            "step_usual": moment[STEP],
            "forecast_error_usual": moment[AHEAD_SPREAD],
            "day_usual": origin + moment[DAY_MEAN],
            "interval_usual_s": moment[INTERVAL],
            "values_seen": float(memory.counts[device, SEEN]),
        }
        surprise = (memory.surprise[device] / float(PER_UNIT)).tolist()
        for view, decades in zip(VIEWS, surprise, strict=True):
            if view in self.views:
                facts[f"{view}_decades"] = decades
        return facts

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say what the most surprised view saw, in the metric's unit, and how rare that is."""
        strongest = max(self.views, key=lambda view: evidence[f"{view}_decades"])
        decades = evidence[f"{strongest}_decades"]
        if evidence["values_seen"] < 2.0:
            return f"{self.metric}: too few values were seen to know what is usual."
        rare = f"one value in {10.0**decades:,.0f}" if decades < 6.0 else "hardly ever"
        return f"{self.metric} {_seen(strongest, evidence)}; as unusual as {rare}."


def _seen(view: str, fact: dict[str, float]) -> str:
    """Return what a view saw, in words and numbers."""
    is_at = f"is {fact['value']:.4g}"
    usual = f"{fact['value_usual']:.4g} +- {fact['deviation_usual']:.2g}"
    if view == "jump":
        return f"jumped to {fact['value']:.4g}, where a step of {fact['step_usual']:.2g} is usual"
    if view == "shift":
        return f"has lately been at {fact['value_lately']:.4g}, where {usual} is usual"
    if view == "roughness":
        more = "more" if fact["step_lately"] > fact["step_usual"] else "less"
        steps = f"steps of {fact['step_lately']:.2g} where {fact['step_usual']:.2g} is usual"
        return f"varies {more} than usual from value to value, by {steps}"
    if view == "residual":
        error = f"an error of {fact['forecast_error_usual']:.2g}"
        return f"{is_at}, not where its last values led, and {error} is usual"
    if view == "season":
        return f"{is_at}, unusual for this time of day, where it is {usual} over all"
    if view == "gap":
        return f"was not reported for longer than the usual {fact['interval_usual_s']:.4g} s"
    if view == "cohort":
        return f"{is_at}, unlike what its cohort does now, where {usual} is usual for it"
    if view == "drift":
        return f"has drifted over days, from {fact['day_usual']:.4g} to {fact['value_lately']:.4g}"
    return f"{is_at}, where {usual} is usual"


def judge_series(detector: Normality, ts: I8, value: F8) -> Judged:
    """Judge one series [n] by itself, as the engine would judge a device's."""
    n = len(ts)
    memory = detector.init(FleetShape(1))
    rows = Rows(np.array([0, n], dtype=np.int64), np.zeros(n, dtype=np.int32), ts)
    batch = TelemetryBatch(
        device=rows.device,
        cohort=np.full(n, -1, dtype=np.int32),
        ts=ts,
        historical=np.zeros(n, dtype=np.bool_),
        columns={detector.metric: value},
        indptr=rows.indptr,
    )
    return detector.judge(memory, batch)


if TYPE_CHECKING:
    _: Detector[NormalityMemory] = Normality("cpu.utilization_ratio")
