"""A classifier trained on a fleet's own failures, frozen, as a detector; and whether it still fits.

The model is trained in batch (`risk_training`) on what devices had reported by each day and on who
then failed, saved with a card, and only asked here. A model is as good as its inputs are like those
it was trained on: how they are spread is compared with the training data by cohort and week
(population stability index), and a cohort that moved away is a finding of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from aiops.detectors.protocol import Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.latest import take_latest
from aiops.kernels.rows import F8, I1, I4, I8, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
WEEK_NS = 7 * DAY_NS
DRIFTED = 0.25
"""Population stability index from which inputs are other than those of the training: the usual
reading since Siddiqi (2006), "Credit Risk Scorecards", chapter 8."""
FITS_AGAIN = 0.1
FEWEST_ASKED = 200
"""Fewer rows of a cohort in a week say nothing of a drift."""
SMALLEST_SHARE = 1e-3
"""An empty bin counts as this."""


class RiskModel(Protocol):
    """What scikit-learn's classifiers have; class 1 is to fail."""

    def predict_proba(  # scikit-learn names it X
        self,
        X: npt.NDArray[np.float64],  # noqa: N803
    ) -> npt.NDArray[np.float64]:
        """Return [n, 2] the probability of each class for each row [n, features]."""


class RiskMemory(NamedTuple):
    """What is known of each device, and how the inputs of a cohort are spread."""

    latest: F8
    """[devices, k] newest value of each metric; NaN: none yet."""
    said: I8
    """[devices, k] when it was told, ns."""
    asked: I8
    """[devices] when the model was last asked, ns."""
    probability: F8
    """[devices] what it said; NaN: never asked."""
    incomplete: I8
    """[devices] rows of which it could not be asked, because a metric is missing."""
    rows: I8
    """[devices] all rows."""
    bins: I4
    """[devices, k, b] answers of this week by the bin of each metric, see `FailureRisk.edges`."""
    sealed: I8
    """[cohorts] last week that was compared, as a number."""
    drift: F8
    """[cohorts] highest population stability index of that week."""
    drifted: I8
    """[cohorts] since when it is beyond `DRIFTED`, ns; 0: it is not."""
    worst: I1
    """[cohorts] the metric with that index."""


@dataclass(frozen=True)
class FailureRisk:
    """The probability that a device fails within a horizon, once an hour, against a line.

    The line is the probability that kept to the alarm budget on devices the model had not seen.
    """

    model: RiskModel = field(repr=False, compare=False)
    """Told apart by `digest`."""
    reads: tuple[str, ...]
    """Canonical metrics in the order of the model's features."""
    digest: str
    """SHA-256 of the model's file: what the settings hash sees of it."""
    horizon_days: float
    limit: float = field(metadata={"line": True})
    """Probability that is on the alert line."""
    usual: tuple[float, ...]
    """[k] median of each metric in training: what explains a probability is compared with it."""
    edges: tuple[tuple[float, ...], ...]
    """[k] inner edges of bins that held equal shares of the training rows; equal ones are one."""
    shares: tuple[tuple[float, ...], ...]
    """[k] the share of the training rows in each bin."""
    name: str = "failure_risk"
    version: int = 1

    compares: ClassVar[bool] = True
    """What it says of a cohort depends on the cohort's devices."""

    def __post_init__(self) -> None:
        k = len(self.reads)
        if not k or not k == len(self.usual) == len(self.edges) == len(self.shares):
            raise SettingsError(
                f"{self.name} needs a median and bins for each metric; got reads={self.reads}, "
                f"{len(self.usual)} medians and {len(self.edges)} lists of bins"
            )
        if not 0.0 < self.limit <= 1.0 or not self.horizon_days > 0.0:
            raise SettingsError(
                f"{self.name} needs a limit above 0 and at most 1 and a horizon above 0 days; got "
                f"{self.limit} and {self.horizon_days}"
            )

    def init(self, shape: FleetShape) -> RiskMemory:
        """Return the memory of devices nothing is known of."""
        n, k = shape.capacity, len(self.reads)
        most = max(len(shares) for shares in self.shares)
        return RiskMemory(
            latest=np.full((n, k), np.nan),
            said=np.zeros((n, k), np.int64),
            asked=np.zeros(n, np.int64),
            probability=np.full(n, np.nan),
            incomplete=np.zeros(n, np.int64),
            rows=np.zeros(n, np.int64),
            bins=np.zeros((n, k, most), np.int32),
            sealed=np.zeros(n, np.int64),
            drift=np.full(n, np.nan),
            drifted=np.zeros(n, np.int64),
            worst=np.zeros(n, np.int8),
        )

    def update(self, memory: RiskMemory, batch: TelemetryBatch) -> Scores:
        """Ask the model once an hour and device, when all its metrics are known; else no opinion.

        A value counts for a day.
        """
        n, scores = len(batch), no_scores(len(batch))
        value = np.column_stack([batch.column(name) for name in self.reads])
        features, wanted = np.empty_like(value), np.zeros(n, np.bool_)
        take_latest(
            batch.indptr,
            batch.device,
            batch.ts,
            value,
            DAY_NS,
            HOUR_NS,
            memory.latest,
            memory.said,
            memory.asked,
            features,
            wanted,
        )
        np.add.at(memory.rows, batch.device, 1)
        np.add.at(memory.incomplete, batch.device, np.isnan(features).any(axis=1))
        rows = np.flatnonzero(wanted)
        if not len(rows):
            return scores
        device = batch.device[rows]
        probability = self.model.predict_proba(features[rows])[:, 1]
        scores.score[rows] = probability / self.limit
        scores.observed[rows] = probability
        scores.expected[rows] = self.limit
        memory.probability[device] = probability  # the last of a device's rows stays
        for m, edges in enumerate(self.edges):
            place = np.searchsorted(np.array(edges), features[rows, m], side="right")
            np.add.at(memory.bins[:, m], (device, place), 1)
        return scores

    def close(self, memory: RiskMemory, epoch: Epoch) -> Scores | None:
        """Say nothing of devices: what is new is said with their rows."""
        return None

    def shared(self, memory: RiskMemory, epoch: Epoch) -> Sequence[Shared]:
        """Compare a cohort's inputs of a week with the training's; tell who moved away."""
        week = epoch.end // WEEK_NS
        told: list[Shared] = []
        for code in np.unique(epoch.cohort[epoch.cohort >= 0]).tolist():
            if memory.sealed[code] == week:
                continue
            begun, memory.sealed[code] = memory.sealed[code], week
            member = np.flatnonzero(epoch.cohort == code)
            seen = memory.bins[member].sum(axis=0, dtype=np.int64)
            memory.bins[member] = 0
            asked = int(seen[0].sum())
            if begun == 0 or asked < FEWEST_ASKED:
                continue
            index = [self._stability(m, seen[m]) for m in range(len(self.reads))]
            memory.drift[code] = max(index)
            memory.worst[code] = int(np.argmax(index))
            since = int(memory.drifted[code])
            if since == 0 and memory.drift[code] >= DRIFTED:
                memory.drifted[code] = epoch.end
                told.append(self._moved(memory, epoch, code, "firing", epoch.end, asked, member))
            elif since and memory.drift[code] < FITS_AGAIN:
                memory.drifted[code] = 0
                told.append(self._moved(memory, epoch, code, "resolved", since, asked, member))
        return told

    def _stability(self, m: int, seen: I8) -> float:
        """Return the population stability index of one metric, given counts by bin [b]."""
        expected = np.maximum(np.array(self.shares[m]), SMALLEST_SHARE)
        share = np.maximum(seen[: len(expected)] / seen.sum(), SMALLEST_SHARE)
        return float(((share - expected) * np.log(share / expected)).sum())

    def _moved(
        self,
        memory: RiskMemory,
        epoch: Epoch,
        code: int,
        status: Any,
        since: int,
        asked: int,
        member: npt.NDArray[np.int64],
    ) -> Shared:
        metric, index = self.reads[memory.worst[code]], float(memory.drift[code])
        away = "are spread otherwise than" if status == "firing" else "are spread again as"
        return Shared(
            group="cohort",
            code=code,
            status=status,
            since=since,
            ts=epoch.end,
            score=index / DRIFTED,
            observed=index,
            expected=DRIFTED,
            device=np.unique(epoch.root[member]).astype(np.int32),
            evidence={"stability_index": index, "answers": float(asked)},
            sentence=f"Readings of {metric} {away} where model {self.name} was trained "
            f"(stability index {index:.2f}).",
        )

    def forecast(self, memory: RiskMemory, device: I4) -> Forecast | None:
        """Return None: it tells a probability, and no date."""
        return None

    def evidence(self, memory: RiskMemory, device: int) -> dict[str, float]:
        """Return the probability, how often the model can be asked, and what each metric adds.

        What a metric adds is by how much the probability falls when it has its usual value.
        """
        known = memory.latest[device]
        probability = float(memory.probability[device])
        told = {
            "failure_probability": probability,
            "horizon_days": self.horizon_days,
            "coverage_ratio": 1.0
            - float(memory.incomplete[device]) / max(float(memory.rows[device]), 1.0),
        }
        if np.isnan(known).any():
            return told
        usual = np.tile(known, (len(known), 1))
        np.fill_diagonal(usual, self.usual)
        without = self.model.predict_proba(usual)[:, 1]
        for name, value, less in zip(self.reads, known, without, strict=True):
            told[name] = float(value)
            told[f"{name}.adds"] = probability - float(less)
        return told

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how likely it fails, and which metric says so most."""
        said = (
            f"Fails within {self.horizon_days:g} days with a probability of "
            f"{evidence['failure_probability']:.0%}, as devices like it did."
        )
        adds = {name: evidence.get(f"{name}.adds", 0.0) for name in self.reads}
        most = max(self.reads, key=lambda name: adds[name])
        if adds[most] <= 0.0:
            return said
        usual = self.usual[self.reads.index(most)]
        return f"{said} Most of it is {most} at {evidence[most]:.4g}, usually {usual:.4g}."
