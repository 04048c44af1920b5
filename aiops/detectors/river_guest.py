"""Any river anomaly model as a detector: a guest for notebooks and benchmarks.

river keeps a Python object a stream and learns a row at a time, so a guest is some hundred times
slower than a kernel, and its memory cannot be saved: a checkpoint holds arrays and no pickle. It
takes part in everything else, scores, rules and findings included. For the models that learn from
labels, which is river's place in a running engine, see `alerts.feedback`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from river.base import AnomalyDetector, SupervisedAnomalyDetector
from river.compose import Pipeline

from aiops.detectors.protocol import Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.rows import I4, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

Model = AnomalyDetector | SupervisedAnomalyDetector | Pipeline
"""A pipeline counts as what it ends in, for river's own `isinstance` too."""


class Guests(NamedTuple):
    """One model a device, made when the device first reports."""

    model: npt.NDArray[np.object_]
    """[devices]"""


@dataclass(frozen=True)
class RiverGuest:
    """A river anomaly model for each device, on the metrics it reads.

    A row is scored, then learnt, with those metrics it reports as the features; a supervised
    model (as `river.anomaly.GaussianScorer`) takes the one metric it reads as the target.
    """

    make: Callable[[], Model]
    """Makes a fresh model, always the same: one that draws numbers needs a seed, e.g.
    ``lambda: preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1)``."""
    reads: tuple[str, ...]
    """Canonical metrics; exactly one for a supervised model."""
    line: float = field(default=0.95, metadata={"line": True})
    """The model's own score that is on the alert line. What a score means differs: of
    `GaussianScorer`, one ordinary row in 20 is beyond 0.95."""
    name: str = "river_guest"
    version: int = 1
    is_guest: ClassVar[bool] = True
    """Its memory cannot be saved: the law of the checkpoint does not apply."""

    def __post_init__(self) -> None:
        model = self.make()
        supervised = isinstance(model, SupervisedAnomalyDetector)
        piped = isinstance(model, Pipeline)
        if not (isinstance(model, AnomalyDetector) or (supervised and not piped)):
            raise SettingsError(
                f"{self.name}: make gives {model}, which is no anomaly detector of river, nor a "
                f"pipeline that ends in one without a target"
            )
        if model is self.make():
            raise SettingsError(
                f"{self.name}: make gives the same {model} again, and each device needs its own; "
                f"construct it inside, as in make=lambda: anomaly.GaussianScorer()"
            )
        if not self.reads or (supervised and len(self.reads) != 1):
            raise SettingsError(
                f"{self.name} reads {self.reads}; name at least one metric, and exactly one for a "
                f"model with a target, as GaussianScorer"
            )
        if not self.line > 0:
            raise SettingsError(f"{self.name}: line must be above 0; got {self.line}")

    def init(self, shape: FleetShape) -> Guests:
        """Return room for models that do not exist yet."""
        return Guests(np.full(shape.capacity, None, dtype=object))

    def update(self, memory: Guests, batch: TelemetryBatch) -> Scores:
        """Score and learn each row, in order."""
        scores = no_scores(len(batch))
        columns = [batch.column(name) for name in self.reads]
        for i, device in enumerate(batch.device.tolist()):
            row: dict[Hashable, float] = {
                name: float(column[i])
                for name, column in zip(self.reads, columns, strict=True)
                if not np.isnan(column[i])
            }
            if not row:
                continue
            if memory.model[device] is None:
                memory.model[device] = self.make()
            scores.score[i] = _learn(memory.model[device], row) / self.line
            scores.observed[i] = next(iter(row.values()))
        return scores

    def close(self, memory: Guests, epoch: Epoch) -> Scores | None:
        """Say nothing: a guest judges rows only."""
        return None

    def shared(self, memory: Guests, epoch: Epoch) -> Sequence[Shared]:
        """Tell of nothing that many share."""
        return ()

    def forecast(self, memory: Guests, device: I4) -> Forecast | None:
        """Return None: river's anomaly models do not forecast."""
        return None

    def evidence(self, memory: Guests, device: int) -> dict[str, float]:
        """Return nothing: river's models do not give reasons."""
        return {}

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Name the metrics; more is not known."""
        return f"Unusual {', '.join(self.reads)} by a river model."


def _learn(model: Model, row: dict[Hashable, float]) -> float:
    """Return the model's score of a row, which it then learns."""
    if isinstance(model, SupervisedAnomalyDetector):
        (target,) = row.values()
        score = model.score_one({}, target)
        model.learn_one({}, target)
    else:
        score = model.score_one(row)
        model.learn_one(row)
    return float(score)
