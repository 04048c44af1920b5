"""A log line that used to come at regular intervals has stopped; the device goes on logging."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors.protocol import Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.heartbeat import (
    FREE,
    OCTAVES,
    SLOTS,
    HeartbeatMemory,
    heartbeat_update,
    most_overdue,
)
from aiops.kernels.rows import F8, I4, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

SECOND_NS = 1_000_000_000
DAY_S = 86_400.0
MONTH_S = 365.25 / 12.0 * DAY_S


@dataclass(frozen=True)
class LogHeartbeat:
    """The silence of a regular line against its own rhythm, by the clock of the device's own log.

    The rule is that of `Silence`: beyond the typical interval the tail is taken to be exponential,
    and of the N intervals of a month one in ``1000 * N / alarm_budget`` may be longer than allowed.
    A device that says nothing at all is not judged here. A line that stays away for `forget_days`
    is no longer expected.
    """

    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months, all lines of a device together."""
    memory_beats: int = 100
    """How many of its last intervals a line's rhythm is learnt from."""
    forget_days: float = 7.0

    name: ClassVar[str] = "log_heartbeat"
    version: ClassVar[int] = 1
    compares: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("log.lines",)

    def __post_init__(self) -> None:
        for setting in ("alarm_budget", "forget_days"):
            if not 0.0 < getattr(self, setting) < math.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )
        if self.memory_beats < 10:
            raise SettingsError(
                f"{self.name}: memory_beats must be 10 or more; got {self.memory_beats}"
            )

    @cached_property
    def patience(self) -> F8:
        """Spreads allowed beyond the typical interval [intervals seen, octave of the typical]."""
        n = np.arange(self.memory_beats + 1, dtype=np.float64)[:, None].clip(min=1.0)
        shortest_s = 2.0 ** (np.arange(OCTAVES) - OCTAVES // 2 - 1.0)
        chances = 1000.0 * MONTH_S * SLOTS / (self.alarm_budget * shortest_s)
        k: F8 = n * np.expm1(np.log(chances).clip(min=1.0) / n)
        return k.ravel()

    def init(self, shape: FleetShape) -> HeartbeatMemory:
        """Return the memory of devices nothing is known of."""
        n, slots = shape.capacity, (shape.capacity, SLOTS)
        return HeartbeatMemory(
            template=np.full(slots, FREE, dtype=np.int32),
            last=np.zeros(slots, dtype=np.int64),
            beats=np.zeros(slots, dtype=np.int32),
            typical_s=np.zeros(slots, dtype=np.float32),
            variance_s2=np.zeros(slots, dtype=np.float32),
            heard=np.zeros(n, dtype=np.int64),
        )

    def update(self, memory: HeartbeatMemory, batch: TelemetryBatch) -> Scores:
        """Learn the rhythms; a line that comes is no sign that it has stopped."""
        logs = batch.logs
        if logs is not None:
            heartbeat_update(
                batch.device[logs.row],
                batch.ts[logs.row],
                logs.template,
                ~batch.historical[logs.row],
                memory,
                self.memory_beats,
            )
        return no_scores(len(batch))

    def close(self, memory: HeartbeatMemory, epoch: Epoch) -> Scores | None:
        """Judge all devices; observed is the silence of a line, expected its interval, seconds."""
        device = np.flatnonzero(memory.heard[: epoch.size]).astype(np.int32)
        if not len(device):
            return None
        scores = no_scores(epoch.size)
        missed, ratio, allowed_s = self._overdue(memory, device)
        scores.score[device] = ratio
        scores.observed[device] = ratio * allowed_s
        judged = missed != FREE
        slot = device[judged], missed[judged]
        scores.expected[slot[0]] = memory.typical_s[slot]
        return scores

    def _overdue(self, memory: HeartbeatMemory, device: I4) -> tuple[I4, F8, F8]:
        """Return slot, silence in multiples of what is allowed (0: none is regular), and that."""
        missed = np.empty(len(device), dtype=np.int32)
        ratio, allowed_s = np.zeros(len(device)), np.full(len(device), np.nan)
        forget_ns = int(self.forget_days * DAY_S * SECOND_NS)
        most_overdue(memory, device, self.patience, forget_ns, missed, ratio, allowed_s)
        return missed, ratio, allowed_s

    def shared(self, memory: HeartbeatMemory, epoch: Epoch) -> Sequence[Shared]:
        """Return nothing."""
        return ()

    def forecast(self, memory: HeartbeatMemory, device: I4) -> Forecast | None:
        """Foretell nothing."""
        return None

    def evidence(self, memory: HeartbeatMemory, device: int) -> dict[str, float]:
        """Return the line that is most overdue, by its template's number, and its rhythm."""
        slot = int(self._overdue(memory, np.array([device], dtype=np.int32))[0][0])
        if slot == FREE:
            return {"beats_seen": 0.0}
        return {
            "template": float(memory.template[device, slot]),
            "silent_s": float(memory.heard[device] - memory.last[device, slot]) * 1e-9,
            "typical_interval_s": float(memory.typical_s[device, slot]),
            "deviation_s": float(memory.variance_s2[device, slot]) ** 0.5,
            "beats_seen": float(memory.beats[device, slot]),
        }

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how long it has not come, and how often it used to; the engine adds the line."""
        if not evidence["beats_seen"]:
            return "No line of its log is regular any more."
        silent, typical = evidence["silent_s"], evidence["typical_interval_s"]
        return (
            f"A line that comes every {_lasting(typical)} has not come for {_lasting(silent)}, "
            f"while others did."
        )


def _lasting(seconds: float) -> str:
    """Render a duration in the largest unit of which there are two."""
    for unit, size in (("days", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


if TYPE_CHECKING:
    _: Detector[HeartbeatMemory] = LogHeartbeat()
