"""A flash medium fails without being worn: most that die do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors.protocol import Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.failure import (
    MEDIA,
    SECTORS,
    THRESHOLD,
    FailureColumns,
    FailureMemory,
    FailureSettings,
    failure_update,
    strongest,
)
from aiops.kernels.rows import I4, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch

DAY_S = 86_400.0
YEAR_S = 365.25 * DAY_S
MONTH_S = YEAR_S / 12.0

CHANNELS = (
    "none",
    "spare",
    "spare_warning",
    "pre_eol",
    "unreliable",
    "read_only",
    "media_errors",
    "reallocated",
)
"""What speaks, by the code that evidence has under ``channel``."""
FAILING = (3.0, 30.0)
"""Rates looked for, in multiples of `most_per_year`."""


@dataclass(frozen=True)
class FlashFailure:
    """What a medium says of its own state, and whether its errors have begun to grow.

    Nine of ten SSDs that failed in a large field study had endurance left. **State** is a fact and
    scores above 1 at once: spare blocks at or under the threshold, PRE_EOL from 2 on (80 % of the
    reserve is used), and the drive's own warnings. Temperature is none of them.

    **Growth** of media errors and of reallocated sectors is judged: a count that a medium brought
    along does not matter, and a day with any growth is one episode, however much it grew. Over
    healthy media, rates of episodes are gamma distributed; the evidence that a medium's episodes
    have become those of a failing one is an e-detector (Shin, Ramdas and Rinaldo,
    arXiv:2203.03532), which on average takes at least as long until a false alarm as its line.
    The line is therefore read off the budget, 1,000 / `alarm_budget` device-months, shared by the
    counters a medium has. A score is log evidence over log line.

    The prior is what drives in servers show (linuxhw/EnterpriseDrive, CC BY 4.0), rounded.
    """

    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months, of growth."""
    media_errors_per_year: float = 0.005
    """Mean over healthy media of episodes in which media errors grow."""
    reallocated_per_year: float = 0.08
    """Likewise of reallocated sectors."""
    episode_shape: float = 0.04
    """Shape of the gamma distribution of these rates: a few media have nearly all episodes."""
    most_per_year: float = 4.0
    """A medium with more episodes is not healthy, even if it has always been so."""
    episode_s: float = DAY_S
    """Growth within this time is one episode."""

    name: ClassVar[str] = "flash_failure"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = (
        "storage.spare_ratio",
        "storage.spare_threshold_ratio",
        "storage.critical_warning",
        "storage.pre_eol",
        "storage.media_errors",
        "storage.reallocated",
        "storage.wear.used_ratio",
    )

    def __post_init__(self) -> None:
        for setting in (
            "alarm_budget",
            "media_errors_per_year",
            "reallocated_per_year",
            "episode_shape",
            "most_per_year",
            "episode_s",
        ):
            if not 0.0 < getattr(self, setting) < math.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )

    @property
    def episodes_between_alarms(self) -> float:
        """Lengths of an episode in which the budget allows one false alarm."""
        return 1000.0 * MONTH_S / (self.alarm_budget * self.episode_s)

    @cached_property
    def settings(self) -> FailureSettings:
        """What the kernel needs of these settings."""
        per_year = np.array([self.media_errors_per_year, self.reallocated_per_year])
        return FailureSettings(
            episode_ns=int(self.episode_s * 1e9),
            shape=self.episode_shape,
            prior_s=self.episode_shape / per_year * YEAR_S,
            most_rate=self.most_per_year / YEAR_S,
            failing_rate=np.array(FAILING) * self.most_per_year / YEAR_S,
            line=self.episodes_between_alarms,
        )

    def init(self, shape: FleetShape) -> FailureMemory:
        """Return the memory of media nothing is known of."""
        n = shape.capacity
        return FailureMemory(
            ts=np.zeros(n, dtype=np.int64),
            spare=np.full(n, np.nan),
            threshold=np.full(n, np.nan),
            wear=np.full(n, np.nan),
            warning=np.full(n, -1, dtype=np.int8),
            pre_eol=np.full(n, -1, dtype=np.int8),
            level=np.full((n, 2), -1, dtype=np.int32),
            first=np.full((n, 2), -1, dtype=np.int32),
            since=np.zeros((n, 2), dtype=np.int64),
            grew=np.zeros((n, 2), dtype=np.int8),
            rests=np.zeros((n, 2), dtype=np.int8),
            episodes=np.zeros((n, 2), dtype=np.int32),
            exposure_s=np.zeros((n, 2)),
            weight=np.zeros((n, 2, len(FAILING))),
        )

    def update(self, memory: FailureMemory, batch: TelemetryBatch) -> Scores:
        """Judge the medium at each row by all that is known of it.

        Observed and expected are in the unit of the channel that speaks: spare and its threshold,
        PRE_EOL and 1, warning bits and 0, a count and what it was at first sight.
        """
        scores = no_scores(len(batch))
        columns = FailureColumns(*map(batch.column, self.reads))
        failure_update(batch.rows, columns, memory, self.settings, scores)
        return scores

    def close(self, memory: FailureMemory, epoch: Epoch) -> Scores | None:
        """Say nothing: health is judged as it is read."""
        return None

    def shared(self, memory: FailureMemory, epoch: Epoch) -> Sequence[Shared]:
        """Tell of nothing that many share."""
        return ()

    def forecast(self, memory: FailureMemory, device: I4) -> Forecast | None:
        """Foretell nothing: a medium that fails may do so now."""
        return None

    def evidence(self, memory: FailureMemory, device: int) -> dict[str, float]:
        """Return which channel speaks (its place in `CHANNELS`) and what all of them say.

        ``..._new`` counts from first sight, ``..._episodes`` the days on which it grew, out of
        ``..._watched_days``. What is not known is NaN.
        """
        channel, score = strongest(device, memory, self.settings)
        bits, reserve = int(memory.warning[device]), int(memory.pre_eol[device])
        facts = {
            "channel": float(channel),
            "line_ratio": float(score),
            "spare_ratio": float(memory.spare[device]),
            "spare_threshold_ratio": float(memory.threshold[device]),
            "pre_eol": float(reserve) if reserve > 0 else math.nan,
            "critical_warning": float(bits) if bits >= 0 else math.nan,
            "read_only": float(bits >> 3 & 1) if bits >= 0 else math.nan,
            "wear_used_ratio": float(memory.wear[device]),
        }
        for name, c in (("media_errors", MEDIA), ("reallocated", SECTORS)):
            level, first = int(memory.level[device, c]), int(memory.first[device, c])
            facts[name] = float(level) if level >= 0 else math.nan
            facts[f"{name}_new"] = float(level - first) if level >= 0 else math.nan
            facts[f"{name}_episodes"] = float(memory.episodes[device, c])
            facts[f"{name}_watched_days"] = float(memory.exposure_s[device, c]) / DAY_S
        return facts

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say what speaks, and whether wear may be the reason."""
        channel = CHANNELS[int(evidence["channel"])]
        score, used = evidence["line_ratio"], evidence["wear_used_ratio"]
        if not score > 0.0:
            return "No sign of failing flash was seen."
        if score < 1.0:
            start = "Flash may begin to fail"
        elif math.isnan(used):
            start = "Flash is failing"
        elif used < 1.0:
            start = "Flash is failing, not worn"
        else:
            start = f"Flash is failing and worn out ({100.0 * used:.0f} % of its endurance is used)"
        return f"{start}: {SAYS[channel](evidence)}."


def of_spare(evidence: dict[str, float]) -> str:
    """Say how many spare blocks are left, and how many should be."""
    spare, limit = evidence["spare_ratio"], evidence["spare_threshold_ratio"]
    if not 0.0 <= limit < 1.0:
        limit, whose = THRESHOLD, "the usual threshold"
    else:
        whose = "the threshold"
    place = "at" if spare == limit else "under" if spare < limit else "above"
    left, least = 100.0 * spare, 100.0 * limit
    return f"spare blocks are down to {left:.0f} %, {place} {whose} of {least:.0f} %"


def of_growth(name: str, one: str, many: str) -> Callable[[dict[str, float]], str]:
    """Return what says how much a count grew, and on how many days."""

    def say(evidence: dict[str, float]) -> str:
        new, days = evidence[f"{name}_new"], evidence[f"{name}_episodes"]
        before = evidence[name] - new
        text = f"{new:.0f} {one if new == 1.0 else many}, on {days:.0f} of the "
        text += f"{evidence[f'{name}_watched_days']:.0f} days it was watched"
        return text + (f"; {before:.0f} are older" if before else "")

    return say


SAYS: dict[str, Callable[[dict[str, float]], str]] = {
    "spare": of_spare,
    "spare_warning": lambda _: "the drive warns that its spare blocks are under its threshold",
    "pre_eol": lambda e: (
        f"{'90' if e['pre_eol'] == 3.0 else '80'} % of its reserve blocks are used"
    ),
    "unreliable": lambda _: "the drive warns that its reliability is degraded",
    "read_only": lambda _: "the drive has become read-only",
    "media_errors": of_growth("media_errors", "new media error", "new media errors"),
    "reallocated": of_growth("reallocated", "sector was reallocated", "sectors were reallocated"),
}
"""Channel -> what it says in words."""


if TYPE_CHECKING:
    _: Detector[FailureMemory] = FlashFailure()
