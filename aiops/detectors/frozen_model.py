"""A scikit-learn model, trained in batch and frozen, as a detector.

A model that all devices share may not learn from the stream, or the cut of the stream would
decide what it knew. So it is trained apart, saved with a card under ``models/<name>/<version>/``
(see `connectors.models`), and only ever asked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from aiops.detectors.protocol import Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.rows import F8, I4, I8, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch


class OutlierModel(Protocol):
    """What scikit-learn's outlier detectors have: `IsolationForest`, `LocalOutlierFactor`, ...

    The score of a row must not depend, not even in its last bit, on the rows beside it. Trees keep
    to that; what multiplies matrices may not: let `testing.check_detector` say.
    """

    def score_samples(  # scikit-learn names it X
        self,
        X: npt.NDArray[np.float64],  # noqa: N803
    ) -> npt.NDArray[np.float64]:
        """Return [n] how normal each row [n, features] is; lower is more abnormal."""


class Judged(NamedTuple):
    """What findings tell of a device: the model itself remembers nothing."""

    rows: I8
    """[devices] rows judged."""
    worst: F8
    """[devices] highest score so far; 0 before the first."""


@dataclass(frozen=True)
class FrozenModel:
    """Scores each row that reports all the metrics the model was trained on."""

    model: OutlierModel = field(repr=False, compare=False)
    """Told apart by `digest`."""
    reads: tuple[str, ...]
    """Canonical metrics in the order of the model's features."""
    digest: str
    """SHA-256 of the model's file: what the settings hash sees of it."""
    ordinary: float
    """``score_samples`` of the median training row: score 0."""
    limit: float
    """``score_samples`` that is on the alert line: score 1."""
    name: str = "frozen_model"
    version: int = 1

    def __post_init__(self) -> None:
        if not self.reads or not self.limit < self.ordinary:
            raise SettingsError(
                f"{self.name} needs metrics to read and a limit below its ordinary score; got "
                f"reads={self.reads}, limit={self.limit}, ordinary={self.ordinary}"
            )

    def init(self, shape: FleetShape) -> Judged:
        """Return the memory of devices that were never judged."""
        return Judged(np.zeros(shape.capacity, dtype=np.int64), np.zeros(shape.capacity))

    def update(self, memory: Judged, batch: TelemetryBatch) -> Scores:
        """Score the complete rows; a row that lacks a metric gets no opinion."""
        features = np.column_stack([batch.column(name) for name in self.reads])
        complete = np.flatnonzero(~np.isnan(features).any(axis=1))
        scores = no_scores(len(batch))
        if len(complete):
            normality = self.model.score_samples(features[complete])
            scores.score[complete] = (self.ordinary - normality) / (self.ordinary - self.limit)
            scores.observed[complete] = -normality
            scores.expected[complete] = -self.ordinary
            device = batch.device[complete]
            np.add.at(memory.rows, device, 1)
            np.maximum.at(memory.worst, device, scores.score[complete])
        return scores

    def close(self, memory: Judged, epoch: Epoch) -> Scores | None:
        """Say nothing: a frozen model judges rows only."""
        return None

    def shared(self, memory: Judged, epoch: Epoch) -> Sequence[Shared]:
        """Tell of nothing that many share."""
        return ()

    def forecast(self, memory: Judged, device: I4) -> Forecast | None:
        """Return None: it does not forecast."""
        return None

    def evidence(self, memory: Judged, device: int) -> dict[str, float]:
        """Return how often the device was judged and its highest score."""
        return {
            "rows_judged": float(memory.rows[device]),
            "worst_score": float(memory.worst[device]),
        }

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Name the model and the metrics it looks at together."""
        return f"Unusual combination of {', '.join(self.reads)} for model {self.name}."
