"""A device has not been heard of for longer than its own rhythm explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors.protocol import Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.rhythm import OCTAVES, RhythmMemory, rhythm_close, rhythm_update
from aiops.kernels.rows import F8, I4, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

MONTH_S = 365.25 / 12.0 * 86_400.0


@dataclass(frozen=True)
class Silence:
    """Silence against a device's own rhythm, judged whenever an epoch closes.

    Beyond the typical interval, the tail of a device's intervals is taken to be exponential with
    the spread that was seen. Of N intervals a month, one in ``1000 * N / alarm_budget`` may be
    longer than is allowed, so with n intervals seen the device is allowed ::

        typical + k * spread,    k = n * ((1000 * N / alarm_budget) ** (1 / n) - 1)

    because an exponential interval exceeds k times the mean of n others with probability
    ``(1 + k / n) ** -n``. As n grows, k tends to the logarithm: who has hardly been seen is hardly
    ever missed, and a device that reports every hour is missed in its fourth.
    """

    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months."""
    min_silence_s: float = field(default=600.0, metadata={"line": True})
    """No shorter silence is ever an alarm."""
    memory_reports: int = 100
    """How many of its last reports a device's rhythm is learnt from."""

    name: ClassVar[str] = "silence"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.alarm_budget < math.inf:
            raise SettingsError(
                f"{self.name}: alarm_budget must be above 0; got {self.alarm_budget}"
            )
        if not 0.0 < self.min_silence_s < math.inf:
            raise SettingsError(
                f"{self.name}: min_silence_s must be above 0; got {self.min_silence_s}"
            )
        if self.memory_reports < 3:
            raise SettingsError(
                f"{self.name}: memory_reports must be 3 or more; got {self.memory_reports}"
            )

    @cached_property
    def patience(self) -> F8:
        """Spreads allowed beyond the typical interval [intervals seen, octave of the typical].

        Within an octave the shortest interval counts, which is met most often.
        """
        n = np.arange(self.memory_reports + 1, dtype=np.float64)[:, None].clip(min=1.0)
        shortest_s = 2.0 ** (np.arange(OCTAVES) - OCTAVES // 2 - 1.0)
        log_intervals = np.log(1000.0 * MONTH_S / (self.alarm_budget * shortest_s))
        k: F8 = n * np.expm1(log_intervals.clip(min=1.0) / n)
        return k

    def init(self, shape: FleetShape) -> RhythmMemory:
        """Return the memory of devices nothing is known of."""
        n = shape.capacity
        return RhythmMemory(
            last=np.zeros(n, dtype=np.int64),
            beat=np.zeros(n, dtype=np.int64),
            beats=np.zeros(n, dtype=np.int64),
            typical_s=np.zeros(n),
            variance_s2=np.zeros(n),
            spread_s=np.zeros(n),
            place=np.full(n, -1, dtype=np.int32),
            silent_s=np.full(n, np.nan),
            allowed_s=np.full(n, np.inf),
            site_silent_ratio=np.full(n, np.nan),
        )

    def update(self, memory: RhythmMemory, batch: TelemetryBatch) -> Scores:
        """Learn the rhythm; a row that comes is no sign of silence, so nothing is scored."""
        rhythm_update(batch.rows, memory, self.memory_reports)
        nothing = np.full(len(batch), np.nan)
        return Scores(nothing, nothing, nothing)

    def close(self, memory: RhythmMemory, epoch: Epoch) -> Scores | None:
        """Judge all devices; observed is the silence, expected the typical interval, seconds.

        Parts are not judged: their device speaks for them, and they for it. A medium that has been
        replaced takes its rhythm with it.
        """
        memory.place[epoch.replaced] = -1
        scores = no_scores(epoch.size)
        rhythm_close(
            epoch.clock,
            epoch.root,
            epoch.site,
            memory,
            self.patience.ravel(),
            self.min_silence_s,
            scores,
        )
        return scores

    def shared(self, memory: RhythmMemory, epoch: Epoch) -> Sequence[Shared]:
        """Tell of nothing that many share."""
        return ()

    def forecast(self, memory: RhythmMemory, device: I4) -> Forecast | None:
        """Foretell nothing."""
        return None

    def evidence(self, memory: RhythmMemory, device: int) -> dict[str, float]:
        """Return the silence and what was allowed, as the last epoch closed."""
        return {
            "silent_s": float(memory.silent_s[device]),
            "allowed_s": float(memory.allowed_s[device]),
            "typical_interval_s": float(memory.typical_s[device]),
            "reports_seen": float(memory.beats[device]),
            "site_silent_ratio": float(memory.site_silent_ratio[device]),
        }

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how long the device has been silent, and whether it is alone in that."""
        silent_s, allowed_s = evidence["silent_s"], evidence["allowed_s"]
        typical_s = evidence["typical_interval_s"]
        habit = f"it usually reports every {duration(typical_s)}" if typical_s > 0.0 else ""
        if math.isnan(silent_s):
            return "Too few reports were seen to know a rhythm."
        if silent_s < allowed_s:
            return f"Heard {duration(silent_s)} ago" + (f"; {habit}." if habit else ".")
        text = f"Silent for {duration(silent_s)}; {habit or 'only its parts report'}."
        share = evidence["site_silent_ratio"]
        if share >= 1.0:
            return text + " So is every device of its site."
        return text + (f" So are {share:.0%} of its site's devices." if share > 0.5 else "")


def duration(seconds: float) -> str:
    """Render a duration in the largest unit of which there are two."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


if TYPE_CHECKING:
    _: Detector[RhythmMemory] = Silence()
