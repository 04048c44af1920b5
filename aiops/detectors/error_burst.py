"""More errors than a device usually has: log lines, failed reads, corrected bits, crashes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors.protocol import Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.errors import WINDOWS_S, ErrorMemory, ErrorSettings, clump_of, error_update
from aiops.kernels.rows import I4, I8, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

DAY_S = 86_400.0
MONTH_S = 365.25 / 12.0 * DAY_S
SEAL_NS = 3_600_000_000_000
LOOKS = 4.0
"""A window that slides gives so many chances for a false alarm as it is long, about."""
COHORT_DAYS = 10.0
"""What is assumed of a cohort counts as so many days of one device."""

_ERRORS = re.compile(
    r"(^|[._])(err|errs|errors?|ecc|crash|crashes|panics?|oom_kills?|failures|faults)([._]|$)"
)
_NO_COUNT = re.compile(r"(ratio|rate|percent|pct|seconds|bytes|celsius)$")


def counts_errors(name: str) -> bool:
    """Say whether a metric is a counter of errors, by its name without labels."""
    bare = name.partition("{")[0].lower()
    return _ERRORS.search(bare) is not None and _NO_COUNT.search(bare) is None


@dataclass(frozen=True)
class ErrorBurst:
    """Counts of errors in the last minutes and hours, against the device's own rate.

    The rate is uncertain, so the count expected of a window is negative binomial: a gamma
    distribution of the rate, learnt from the device's own past and, while that is short, from its
    cohort's sealed one. Errors that come in clumps count by the clump. The alert line is the
    probability that the budget leaves for a window: low counts need no rule of their own.
    """

    metric: str = "log.errors"
    """A counter of errors."""
    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months."""
    rate_per_day: float = 0.5
    """Errors of a device of which, and of whose cohort, nothing is known."""
    clump: float = 3.0
    """How many errors come at once, before anything is seen."""
    shape: float = 0.5
    """Of the gamma distribution of rates over the devices of a cohort: 0.5 is wide."""
    memory_days: float = 30.0
    """For how long a device's own errors are remembered, about."""

    version: ClassVar[int] = 1
    compares: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for setting in ("alarm_budget", "rate_per_day", "shape", "memory_days"):
            if not 0.0 < getattr(self, setting) < math.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )
        if not 1.0 <= self.clump < math.inf:
            raise SettingsError(f"{self.name}: clump must be 1 or more; got {self.clump}")
        if not self.metric:
            raise SettingsError("error_burst: metric must name a counter; got nothing")

    @property
    def name(self) -> str:
        """Name in findings; what its memory is filed under."""
        return "error_burst" if self.metric == "log.errors" else f"error_burst:{self.metric}"

    @property
    def reads(self) -> tuple[str, ...]:
        """The counter."""
        return (self.metric,)

    @cached_property
    def settings(self) -> ErrorSettings:
        """What the kernel needs of these settings."""
        tests = 1000.0 * MONTH_S * LOOKS / np.array(WINDOWS_S) * len(WINDOWS_S)
        return ErrorSettings(
            memory_s=self.memory_days * DAY_S,
            shape=self.shape,
            line=np.log10(np.maximum(tests / self.alarm_budget, 10.0)),
            longest_s=7.0 * DAY_S,
        )

    def init(self, shape: FleetShape) -> ErrorMemory:
        """Return the memory of devices nothing is known of."""
        n, windows = shape.capacity, (shape.capacity, len(WINDOWS_S))
        return ErrorMemory(
            reading=np.full(n, np.nan),
            ts=np.zeros(n, dtype=np.int64),
            errors=np.zeros(n),
            time_s=np.zeros(n),
            recent=np.zeros(windows, dtype=np.float32),
            recent_s=np.zeros(windows, dtype=np.float32),
            block=np.zeros(n, dtype=np.int32),
            of_block=np.zeros(n),
            total=np.zeros(n, dtype=np.int64),
            squares=np.zeros(n, dtype=np.int64),
            blocks=np.zeros(n, dtype=np.int32),
            total_s=np.zeros(n, dtype=np.int64),
            cohort_rate=np.full(n, self.rate_per_day / DAY_S),
            cohort_clump=np.full(n, self.clump, dtype=np.float32),
            cohort_days=np.zeros(n, dtype=np.float32),
            sealed_hour=np.zeros(n, dtype=np.int32),
            surprise=np.zeros(windows, dtype=np.float32),
        )

    def update(self, memory: ErrorMemory, batch: TelemetryBatch) -> Scores:
        """Judge and learn the counts; observed and expected are errors of one window."""
        scores = no_scores(len(batch))
        error_update(batch.rows, batch.column(self.metric), memory, self.settings, scores)
        return scores

    def close(self, memory: ErrorMemory, epoch: Epoch) -> Scores | None:
        """Seal, once an hour, how many errors the devices of each cohort have."""
        size = epoch.size
        hour = epoch.end // SEAL_NS
        if size and memory.sealed_hour[0] != hour:
            memory.sealed_hour[:size] = hour
            self._seal(memory, epoch.cohort + 1)
        return None

    def _seal(self, memory: ErrorMemory, cohort: I4) -> None:
        """Sums are of whole numbers, so the order of devices does not show."""
        size = len(cohort)

        def summed(values: Any) -> I8:
            total: I8 = np.bincount(cohort, weights=values[:size].astype(np.float64))
            return total

        total, total_s, squares, blocks = (
            summed(v) for v in (memory.total, memory.total_s, memory.squares, memory.blocks)
        )
        assumed_s = COHORT_DAYS * DAY_S
        rate = (total + self.rate_per_day * COHORT_DAYS) / (total_s + assumed_s)
        counted = zip(total.tolist(), squares.tolist(), blocks.tolist(), strict=True)
        clump = np.array([clump_of(t, s, b, self.clump) for t, s, b in counted])
        memory.cohort_rate[:size] = rate[cohort]
        memory.cohort_clump[:size] = clump[cohort]
        memory.cohort_days[:size] = (total_s / DAY_S)[cohort]

    def shared(self, memory: ErrorMemory, epoch: Epoch) -> Sequence[Shared]:
        """Return nothing: what many devices have at once is an incident."""
        return ()

    def forecast(self, memory: ErrorMemory, device: I4) -> Forecast | None:
        """Foretell nothing."""
        return None

    def evidence(self, memory: ErrorMemory, device: int) -> dict[str, float]:
        """Return the window that surprises most, its errors, and what is usual of the device."""
        share = memory.surprise[device] / self.settings.line
        window = int(np.argmax(share))
        time_s = float(memory.time_s[device])
        usual = float(memory.errors[device]) / time_s * DAY_S if time_s else math.nan
        clump = clump_of(
            int(memory.total[device]),
            int(memory.squares[device]),
            int(memory.blocks[device]),
            float(memory.cohort_clump[device]),
        )
        return {
            "errors": float(memory.recent[device, window]),
            "window_s": WINDOWS_S[window],
            "usual_per_day": usual,
            "cohort_per_day": float(memory.cohort_rate[device]) * DAY_S,
            "errors_at_once": clump,
            "surprise_log10": float(memory.surprise[device, window]),
        }

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how many errors came in which time, and how many usually do."""
        window, usual = evidence["window_s"], evidence["usual_per_day"]
        within = f"{window / 3600.0:.0f} h" if window >= 3600.0 else f"{window / 60.0:.0f} min"
        text = f"About {evidence['errors']:.0f} of {self.metric} within {within}"
        if math.isnan(usual):
            return f"{text}; too little was seen to know what is usual."
        cohort = evidence["cohort_per_day"]
        return f"{text}; usually {usual:.2g} a day, in its cohort {cohort:.2g}."


if TYPE_CHECKING:
    _: Detector[ErrorMemory] = ErrorBurst()
