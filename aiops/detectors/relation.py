"""Metrics of a device that always went together no longer do, though each looks normal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors.protocol import Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.relation import borrow, line_of, relation_update
from aiops.kernels.relation_memory import RelationMemory, RelationSettings
from aiops.kernels.rows import F8, I4, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch
from aiops.telemetry.vocabulary import VOCABULARY

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
DAY_S = 86_400.0
MONTH_DAYS = 365.25 / 12.0

METRICS = (
    "temperature.celsius",
    "temperature.ambient_celsius",
    "cpu.utilization_ratio",
    "battery.soc_ratio",
    "power.on_mains",
    "net.rtt_ms",
    "net.loss_ratio",
    "net.bandwidth_mbit_s",
)
"""Heat follows load and weather, charge the mains, and the way to the cloud is one thing."""
MOST_METRICS = 15
"""Bits of a signed 16-bit number: the inverse of more is no longer cheap either."""

FLOORS = {
    "net.rtt_ms": 1.0,
    "net.jitter_ms": 0.1,
    "net.bandwidth_mbit_s": 0.1,
    "net.loss_ratio": 0.001,
}
"""Metrics that vary by factors are judged by their logarithm, after this is added."""

USUAL_BUDGET = 1.0
FIRST_USUAL, FIRST_SIZE = 6.0, 10.0
"""Mean of a day's peak of evidence, and size of peaks, before any is seen."""


@dataclass(frozen=True)
class Relation:
    """Each metric of a device against what the others lead one to expect.

    Values are averaged over bins and standardised by a mean of days and a spread of weeks, robust
    both. Their correlations, of weeks too and shrunk, give for each metric what is expected of it
    given the others. **Evidence** that it no longer follows them is a CUSUM of the log likelihood
    ratio between *by itself* and *given the others*: the pointwise mutual information (Fano,
    Transmission of Information, 1961), with its sign turned. So metrics that all go far together,
    as they always do, speak for the relation; a metric without a relation has nothing to break;
    and a value that is not normal by itself is left out: other detectors say so.

    Errors last, so evidence comes in spells of any size. A device's **line** is therefore what its
    own daily peaks exceed as rarely as `alarm_budget` allows, split evenly over the metrics. Peaks
    teach only once evidence is back at zero, and a device whose evidence is high learns at a
    twentieth of the usual rate, so that a break is not learnt before it is told. What has lasted
    for `accept_s` is the new relation, and the alarm is over.

    A device new to a cohort borrows its correlations, and is judged after `borrow_s`.
    """

    metrics: tuple[str, ...] = METRICS
    """Of the vocabulary; those that a device does not report are left out."""
    alarm_budget: float = field(default=USUAL_BUDGET, metadata={"line": True})
    """False alarms per 1,000 device-months."""
    bin_s: float = 300.0
    """Values within this time are averaged, so that metrics reported in turn meet."""
    memory_s: float = 30.0 * DAY_S
    """Time constant of spreads and correlations."""
    centre_s: float = 3.0 * DAY_S
    """Time constant of means: slower changes of the seasons are nobody's fault."""
    learn_s: float = 14.0 * DAY_S
    """A device is not judged before it was seen for so many days."""
    borrow_s: float = 3.0 * DAY_S
    """Likewise, of one whose cohort is known."""
    accept_s: float = 7.0 * DAY_S
    """A broken relation that lasts so long is the new one."""

    name: ClassVar[str] = "relation"
    version: ClassVar[int] = 1
    compares: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 2 <= len(self.metrics) <= MOST_METRICS or len(set(self.metrics)) < len(self.metrics):
            raise SettingsError(
                f"{self.name}: metrics must be 2 to {MOST_METRICS} different ones; got "
                f"{', '.join(self.metrics) or 'none'}"
            )
        for setting in ("alarm_budget", "bin_s", "memory_s", "centre_s", "learn_s", "accept_s"):
            if not 0.0 < getattr(self, setting) < math.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )
        if not 0.0 <= self.borrow_s <= self.learn_s:
            raise SettingsError(
                f"{self.name}: borrow_s must be from 0 to learn_s = {self.learn_s:g}; got "
                f"{self.borrow_s:g}"
            )

    @property
    def reads(self) -> tuple[str, ...]:
        """Canonical metrics read."""
        return self.metrics

    def _log_chance(self, budget: float) -> float:
        """Return minus the log of the chance that the budget allows a metric on a day."""
        return math.log(len(self.metrics) * 1000.0 * MONTH_DAYS / budget)

    @cached_property
    def settings(self) -> RelationSettings:
        """What the kernels need of these settings."""
        return RelationSettings(
            bin_ns=int(self.bin_s * SECOND_NS),
            memory_s=self.memory_s,
            centre_s=self.centre_s,
            learn_days=self.learn_s / DAY_S,
            borrow_days=self.borrow_s / DAY_S,
            accept_ns=int(self.accept_s * SECOND_NS),
            usual_log=self._log_chance(USUAL_BUDGET),
            line_log=self._log_chance(self.alarm_budget),
            floor=np.array([FLOORS.get(name, math.nan) for name in self.metrics]),
        )

    def init(self, shape: FleetShape) -> RelationMemory:
        """Return the memory of devices nothing is known of."""
        n, k = shape.capacity, len(self.metrics)
        pairs = k * (k + 1) // 2
        diagonal = [j * (j + 1) // 2 + j for j in range(k)]
        fields: dict[str, Any] = {name: np.zeros(n, np.int64) for name in ("ts", "start")}
        fields |= {name: np.zeros(n, np.int64) for name in ("bin_ts", "since")}
        fields |= {name: np.zeros(n, np.uint16) for name in ("given", "age")}
        fields |= {name: np.zeros(n, np.int8) for name in ("informed", "accepted")}
        for name in ("total", "mean", "variance", "known", "lasting", "wander", "evidence"):
            fields[name] = np.zeros((n, k), np.float32)
        for name in ("peak", "ended"):
            fields[name] = np.zeros((n, k), np.float32)
        for name in ("observed", "expected"):
            fields[name] = np.full((n, k), np.nan, np.float32)
        moment = np.zeros((n, pairs), np.float32)
        moment[:, diagonal] = 1.0
        square = 2.0 * FIRST_USUAL * FIRST_SIZE
        line = line_of(FIRST_USUAL, square, 0.0, self.settings.usual_log)
        return RelationMemory(
            **fields,
            rows=np.zeros((n, k), np.uint16),
            moment=moment,
            inverse=np.zeros((n, pairs), np.float32),
            misfit=np.ones((n, k), np.float32),
            usual=np.full((n, k), FIRST_USUAL, np.float32),
            square=np.full((n, k), square, np.float32),
            line=np.full((n, k), line, np.float32),
            day=np.zeros(n, np.int32),
            days=np.zeros(n, np.float32),
        )

    def update(self, memory: RelationMemory, batch: TelemetryBatch) -> Scores:
        """Judge and learn the bins that close; each row has its device's score as it then is.

        Observed and expected are those of the metric with the most evidence, in its own unit, in
        the last bin that spoke against the relation.
        """
        scores = no_scores(len(batch))
        values = np.empty((len(batch), len(self.metrics)))
        for j, name in enumerate(self.metrics):
            values[:, j] = batch.columns.get(name, np.nan)
        relation_update(batch.rows, values, memory, self.settings, scores)
        return scores

    def close(self, memory: RelationMemory, epoch: Epoch) -> Scores | None:
        """Let new devices borrow from their cohorts, on the hour; say nothing."""
        if epoch.start // HOUR_NS != epoch.end // HOUR_NS:
            borrow(epoch.cohort, memory, self.settings)
        return None

    def shared(self, memory: RelationMemory, epoch: Epoch) -> Sequence[Shared]:
        """Tell of nothing that many share."""
        return ()

    def forecast(self, memory: RelationMemory, device: I4) -> Forecast | None:
        """Foretell nothing."""
        return None

    def evidence(self, memory: RelationMemory, device: int) -> dict[str, float]:
        """Return the metrics that no longer follow the others, the strongest first.

        ``line_ratio/<metric>`` is its evidence in multiples of its line, ``observed/<metric>`` and
        ``expected/<metric>`` in the metric's own unit, in the last bin that spoke against.
        """
        ratio = self._ratios(memory, device)
        facts = {}
        for j in np.argsort(-ratio, kind="stable").tolist():
            if not ratio[j] > 0.0 or math.isnan(memory.observed[device, j]):
                continue
            name = self.metrics[j]
            facts[f"line_ratio/{name}"] = float(ratio[j])
            facts[f"observed/{name}"] = self._plain(memory.observed[device, j], j)
            facts[f"expected/{name}"] = self._plain(memory.expected[device, j], j)
        return facts

    def _ratios(self, memory: RelationMemory, device: int) -> F8:
        """Return the evidence [k] of a device over its lines."""
        log, days = self.settings.line_log, float(memory.days[device])
        usual, square = memory.usual[device].tolist(), memory.square[device].tolist()
        lines = [line_of(*pair, days, log) for pair in zip(usual, square, strict=True)]
        ratio: F8 = memory.evidence[device] / np.array(lines)
        return ratio

    def _plain(self, value: float, j: int) -> float:
        """Return a judged value of metric `j` in its own unit."""
        floor = self.settings.floor[j]
        return float(value) if math.isnan(floor) else math.exp(value) - float(floor)

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Name the two metrics that contradict the others most, and by how much."""
        prefix = "observed/"
        names = [name.removeprefix(prefix) for name in evidence if name.startswith(prefix)]
        if not names:
            return "All metrics go together as they always do."
        said = [
            f"{name} was {shown(name, evidence[f'observed/{name}'])} where the others go with "
            f"{shown(name, evidence[f'expected/{name}'])}"
            for name in names[:2]
        ]
        return f"Metrics no longer go together as they did: {', and '.join(said)}."


def shown(name: str, value: float) -> str:
    """Return a value of metric `name` with its unit."""
    known = VOCABULARY.get(name)
    unit = known.unit if known else "1"
    if unit == "1":
        return f"{value:.3g}"
    return f"{value:.3g} {'degrees Celsius' if unit == 'Cel' else unit}"


if TYPE_CHECKING:
    _: Detector[RelationMemory] = Relation()
