"""A device logs far more lines of one template than it usually does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from aiops.detectors.error_burst import ErrorBurst
from aiops.detectors.protocol import Detector, Epoch, FleetShape, Forecast, Shared
from aiops.kernels.errors import F4, ErrorMemory, error_update
from aiops.kernels.rows import F8, I4, I8, Rows, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

BUCKETS = 8
"""A device's templates are counted in so many heaps: in a burst one outweighs the rest of its."""


class BurstMemory(NamedTuple):
    """What `ErrorMemory` has of a counter, of each heap of templates of each device."""

    template: I4
    """[c, BUCKETS] of which the last line came."""
    reading: F8
    ts: I8
    errors: F8
    time_s: F8
    recent: F4
    recent_s: F4
    block: I4
    of_block: F8
    total: I8
    squares: I8
    blocks: I4
    total_s: I8
    cohort_rate: F8
    cohort_clump: F4
    cohort_days: F4
    sealed_hour: I4
    surprise: F4

    def flat(self) -> ErrorMemory:
        """Return the heaps of all devices one after another, in the same memory."""
        heaps: Any = (array.reshape(-1, *array.shape[2:]) for array in self[1:])
        return ErrorMemory(*heaps)


@dataclass(frozen=True)
class LogBurst:
    """Lines of a template within minutes and hours, against the device's own rate.

    The templates of a device are counted in `BUCKETS` heaps, whatever their number, and each heap
    is judged as `ErrorBurst` judges a counter, whenever the device logs anything.
    """

    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months, all templates of a device together."""
    rate_per_day: float = 20.0
    """Lines of a heap of a device of which, and of whose cohort, nothing is known."""
    clump: float = 3.0
    """How many lines come at once, before anything is seen."""
    shape: float = 0.5
    memory_days: float = 30.0

    name: ClassVar[str] = "log_burst"
    version: ClassVar[int] = 1
    compares: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("log.lines",)

    def __post_init__(self) -> None:
        _ = self.of_heap  # refuses settings that cannot be

    @cached_property
    def of_heap(self) -> ErrorBurst:
        """What judges one heap, at its share of the budget."""
        return ErrorBurst(
            metric="lines",
            alarm_budget=self.alarm_budget / BUCKETS,
            rate_per_day=self.rate_per_day,
            clump=self.clump,
            shape=self.shape,
            memory_days=self.memory_days,
        )

    def init(self, shape: FleetShape) -> BurstMemory:
        """Return the memory of devices nothing is known of."""
        n = shape.capacity
        flat = self.of_heap.init(FleetShape(n * BUCKETS))
        heaps: Any = (array.reshape(n, BUCKETS, *array.shape[1:]) for array in flat)
        return BurstMemory(np.zeros((n, BUCKETS), dtype=np.int32), *heaps)

    def update(self, memory: BurstMemory, batch: TelemetryBatch) -> Scores:
        """Judge and learn all heaps at each row with a line; the one that stands out speaks.

        Observed and expected are lines of one window.
        """
        scores = no_scores(len(batch))
        logs = batch.logs
        if logs is None or not len(logs.row):
            return scores
        at, place = np.unique(logs.row, return_inverse=True)
        device = batch.device[at]
        heap = logs.template % BUCKETS
        came = np.bincount(place * BUCKETS + heap, minlength=len(at) * BUCKETS)
        came = came.reshape(-1, BUCKETS)
        begin = np.append(True, device[1:] != device[:-1])
        start = np.flatnonzero(begin)[np.cumsum(begin) - 1]
        running = np.cumsum(came, axis=0)
        known = np.nan_to_num(memory.reading[device])
        count = known + running - (running[start] - came[start])
        memory.template[batch.device[logs.row], heap] = logs.template  # the last one stays
        index = np.add.outer(device * BUCKETS, np.arange(BUCKETS)).ravel().astype(np.int32)
        heaps = no_scores(len(index))
        rows = Rows(np.arange(len(index) + 1), index, np.repeat(batch.ts[at], BUCKETS))
        error_update(rows, count.ravel(), memory.flat(), self.of_heap.settings, heaps)
        said = np.nan_to_num(heaps.score, nan=-1.0).reshape(-1, BUCKETS)
        most = np.arange(len(at)) * BUCKETS + said.argmax(axis=1)
        for of_row, of_heap in zip(scores, heaps, strict=True):
            of_row[at] = of_heap[most]
        return scores

    def close(self, memory: BurstMemory, epoch: Epoch) -> Scores | None:
        """Seal, once an hour, how many lines the devices of each cohort have of each heap."""
        size = epoch.size
        heap = ((epoch.cohort[:, None] + 1) * BUCKETS + np.arange(BUCKETS)).ravel() - 1
        some: Any = (array[: size * BUCKETS] for array in memory.flat())
        return self.of_heap.close(
            ErrorMemory(*some), epoch._replace(size=size * BUCKETS, cohort=heap)
        )

    def shared(self, memory: BurstMemory, epoch: Epoch) -> Sequence[Shared]:
        """Return nothing: what many devices have at once is an incident."""
        return ()

    def forecast(self, memory: BurstMemory, device: I4) -> Forecast | None:
        """Foretell nothing."""
        return None

    def evidence(self, memory: BurstMemory, device: int) -> dict[str, float]:
        """Return the heap that surprises most, its template by number, and what is usual of it."""
        share = (memory.surprise[device] / self.of_heap.settings.line).max(axis=1)
        heap = int(share.argmax())
        found = self.of_heap.evidence(memory.flat(), device * BUCKETS + heap)
        found["lines"] = found.pop("errors")
        found["lines_at_once"] = found.pop("errors_at_once")
        return {"template": float(memory.template[device, heap]), **found}

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how many lines came in which time, and how many usually do."""
        window, usual = evidence["window_s"], evidence["usual_per_day"]
        within = f"{window / 3600.0:.0f} h" if window >= 3600.0 else f"{window / 60.0:.0f} min"
        text = f"About {evidence['lines']:.0f} log lines of a kind within {within}"
        if math.isnan(usual):
            return f"{text}; too little was seen to know what is usual."
        return f"{text}; usually {usual:.2g} a day, in its cohort {evidence['cohort_per_day']:.2g}."


if TYPE_CHECKING:
    _: Detector[BurstMemory] = LogBurst()
