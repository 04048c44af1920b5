"""A device logs what neither it nor its cohort has logged before, and goes on doing so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors.protocol import Detector, Epoch, FleetShape, Forecast, Shared
from aiops.errors import SettingsError
from aiops.kernels.novelty import (
    CLASSES,
    FREE,
    KEPT,
    LEVELS,
    NoveltyMemory,
    count_knowing,
    novelty_update,
)
from aiops.kernels.rows import F8, I4, I8, Scores, no_scores
from aiops.telemetry.batch import TelemetryBatch
from aiops.telemetry.lines import ERROR, WARNING
from aiops.telemetry.templates import TEMPLATES_MAX

SECOND_NS = 1_000_000_000
MONTH_NS = 365.25 / 12.0 * 86_400.0 * SECOND_NS
ASSUMED_MONTHS = 10.0
"""What is assumed counts as so many device-months of a cohort."""
OWN_MONTHS = 1.0
"""What its cohort shows counts for a device as so many spells."""
GRAVITIES = ("info", "warning", "error")


@dataclass(frozen=True)
class LogNovelty:
    """New log templates, judged by how often anything as new, grave and lasting is seen.

    A template is new when the device has been heard for `warm_days` and never showed it, and rare
    when at most `rare_share` of the others of its cohort ever did. New and rare ones begin a
    *spell*, which is over once they have not been seen for `quiet_h`, or after `spell_days`. Spells
    differ in gravity and in how many episodes they have. Those of the cohort and of the device that
    came as far are counted, and so the rate is known at which a healthy fleet has such: rare but
    normal lines raise it. The alert line is where it meets the budget.
    """

    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months."""
    warm_days: float = 3.0
    """For how long all that a device logs is taken to be usual of it."""
    rare_share: float = 0.01
    episode_s: float = 600.0
    """Lines of a spell this soon after one another are one episode."""
    quiet_h: float = 24.0
    spell_days: float = 3.0
    spells_per_month: float = 1.0
    """Spells of a healthy device of which, and of whose cohort, nothing is known."""

    name: ClassVar[str] = "log_novelty"
    version: ClassVar[int] = 1
    compares: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("log.lines",)

    def __post_init__(self) -> None:
        for setting in (
            *("alarm_budget", "warm_days", "episode_s", "quiet_h", "spell_days"),
            "spells_per_month",
        ):
            if not 0.0 < getattr(self, setting) < math.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )
        if not 0.0 <= self.rare_share < 1.0:
            raise SettingsError(
                f"{self.name}: rare_share must be within 0 and 1; got {self.rare_share}"
            )

    @cached_property
    def assumed(self) -> F8:
        """Spells [CLASSES, LEVELS] a device-month that come as far, before anything is seen.

        Each gravity a third of the one below, each level (twice the episodes) half of the one
        before.
        """
        grave = 3.0 ** -np.arange(CLASSES)[:, None]
        lasting = 2.0 ** -np.arange(LEVELS)[None, :]
        rate: F8 = self.spells_per_month * grave * lasting
        return rate

    def init(self, shape: FleetShape) -> NoveltyMemory:
        """Return the memory of devices nothing is known of."""
        n = shape.capacity
        times: dict[str, Any] = {
            name: np.zeros(n, dtype=np.int64) for name in ("since", "last", "began", "episode")
        }
        return NoveltyMemory(
            seen=np.zeros((n, TEMPLATES_MAX // 8), dtype=np.uint8),
            **times,
            fresh=np.full((n, KEPT), FREE, dtype=np.int32),
            fresh_class=np.zeros((n, KEPT), dtype=np.int8),
            spell=np.full((n, KEPT), FREE, dtype=np.int32),
            episodes=np.zeros(n, dtype=np.int32),
            gravity=np.zeros(n, dtype=np.int8),
            peers=np.zeros(n, dtype=np.int32),
            rate=np.full(n, np.inf),
            reached=np.zeros((n, CLASSES, LEVELS), dtype=np.uint16),
        )

    def update(self, memory: NoveltyMemory, batch: TelemetryBatch) -> Scores:
        """Note what is new; all is judged when the epoch closes."""
        logs = batch.logs
        if logs is not None:
            grave = np.nan_to_num(logs.severity, nan=0.0)
            gravity = (grave >= WARNING).astype(np.int8) + (grave >= ERROR).astype(np.int8)
            novelty_update(
                batch.device[logs.row],
                batch.ts[logs.row],
                logs.template,
                gravity,
                ~batch.historical[logs.row],
                memory,
                int(self.warm_days * 86_400 * SECOND_NS),
                int(self.episode_s * SECOND_NS),
            )
        return no_scores(len(batch))

    def close(self, memory: NoveltyMemory, epoch: Epoch) -> Scores | None:
        """Judge spells; observed are episodes, expected spells as grave and lasting a month."""
        size = epoch.size
        self._begin(memory, epoch)
        within = np.flatnonzero(memory.began[:size])
        if not len(within):
            return None
        clock = memory.last[within]  # its own: who falls silent is not well again
        over = (clock - memory.episode[within] > self.quiet_h * 3600 * SECOND_NS) | (
            clock - memory.began[within] > self.spell_days * 86_400 * SECOND_NS
        )
        scores = no_scores(size)
        rate = np.minimum(memory.rate[within], self._rates(memory, epoch, within))
        memory.rate[within] = rate  # what is told of a spell is not taken back while it lasts
        score = (self.alarm_budget / 1000.0 / CLASSES / rate) ** 0.25
        scores.score[within] = np.where(over, 0.0, score)
        scores.observed[within] = memory.episodes[within]
        scores.expected[within] = rate
        self._finish(memory, within[over])
        return scores

    def _begin(self, memory: NoveltyMemory, epoch: Epoch) -> None:
        """Begin spells with those templates that are new to a device and rare in its cohort."""
        size = epoch.size
        fresh = np.flatnonzero(memory.fresh[:size, 0] != FREE)
        if not len(fresh):
            return
        place, slot = np.nonzero(memory.fresh[fresh] != FREE)
        device = fresh[place].astype(np.int32)
        template = memory.fresh[device, slot]
        asked, answer = np.unique(
            np.column_stack((epoch.cohort[device], template)), axis=0, return_inverse=True
        )
        known, members = (np.zeros(len(asked), dtype=np.int32) for _ in range(2))
        logged = np.flatnonzero(memory.since[:size])
        count_knowing(
            memory.seen[logged],
            epoch.cohort[logged].astype(np.int32),
            asked[:, 1].astype(np.int32),
            asked[:, 0].astype(np.int32),
            known,
            members,
        )
        others = known[answer.ravel()] - 1
        rare = others <= self.rare_share * (members[answer.ravel()] - 1)
        grave = memory.fresh_class[device, slot]
        for i, which, gravity, peers in zip(
            device[rare].tolist(),
            template[rare].tolist(),
            grave[rare].tolist(),
            others[rare].tolist(),
            strict=True,
        ):
            self._add(memory, i, which, gravity, peers)
        memory.fresh[fresh] = FREE
        memory.fresh_class[fresh] = 0

    @staticmethod
    def _add(memory: NoveltyMemory, i: int, template: int, gravity: int, peers: int) -> None:
        """Add a template to the spell of a device, which it may begin."""
        if memory.began[i] == 0:
            memory.began[i] = memory.episode[i] = memory.last[i]
            memory.episodes[i], memory.gravity[i], memory.peers[i] = 1, gravity, peers
        free = np.flatnonzero(memory.spell[i] == FREE)
        if not len(free):
            return
        memory.spell[i, free[0]] = template
        if gravity > memory.gravity[i]:  # the gravest speaks
            memory.spell[i, [0, free[0]]] = memory.spell[i, [free[0], 0]]
            memory.gravity[i], memory.peers[i] = gravity, peers

    def _rates(self, memory: NoveltyMemory, epoch: Epoch, within: I8) -> F8:
        """Return at which rate [k], 1/month, devices have spells like those they are in.

        Spells that go on count for the others of the cohort as far as they have come.
        """
        size = epoch.size
        cohort = epoch.cohort + 1
        months = np.where(
            memory.since[:size] > 0,
            np.maximum(memory.last[:size] - memory.since[:size], 0) // SECOND_NS,
            0,
        )
        cohorts = int(cohort.max()) + 1
        of_cohort_s = np.bincount(cohort, weights=months.astype(np.float64), minlength=cohorts)
        cell = memory.gravity[within].astype(np.int64), self._level(memory, within)
        ended = memory.reached[:size].astype(np.int64)
        reached = np.zeros((cohorts, CLASSES, LEVELS), dtype=np.int64)
        np.add.at(reached, cohort, ended)
        for level in range(LEVELS):
            so_far = cell[1] >= level
            np.add.at(reached[:, :, level], (cohort[within[so_far]], cell[0][so_far]), 1)
        mine = cohort[within]
        others = reached[mine, cell[0], cell[1]] - 1.0
        of_cohort = of_cohort_s[mine] * SECOND_NS / MONTH_NS
        assumed = self.assumed[cell]
        rate = (others + assumed * ASSUMED_MONTHS) / (of_cohort + ASSUMED_MONTHS)
        own = ended[within, cell[0], cell[1]]
        own_months = months[within] * SECOND_NS / MONTH_NS
        rated: F8 = (own + OWN_MONTHS) / (own_months + OWN_MONTHS / rate)
        return rated

    @staticmethod
    def _level(memory: NoveltyMemory, device: I8) -> I8:
        """Return the level [k] of the spells of devices."""
        episodes = np.maximum(memory.episodes[device], 1)
        level: I8 = np.minimum(np.log2(episodes).astype(np.int64), LEVELS - 1)
        return level

    def _finish(self, memory: NoveltyMemory, device: I8) -> None:
        """Count spells that are over, and forget them."""
        for i, level in zip(device.tolist(), self._level(memory, device).tolist(), strict=True):
            reached = memory.reached[i, memory.gravity[i], : level + 1]
            reached[reached < np.iinfo(np.uint16).max] += 1
        memory.began[device] = 0
        memory.spell[device] = FREE
        memory.gravity[device] = 0
        memory.rate[device] = np.inf

    def shared(self, memory: NoveltyMemory, epoch: Epoch) -> Sequence[Shared]:
        """Return nothing: what many devices begin to log is not rare, and so not new."""
        return ()

    def forecast(self, memory: NoveltyMemory, device: I4) -> Forecast | None:
        """Foretell nothing."""
        return None

    def evidence(self, memory: NoveltyMemory, device: int) -> dict[str, float]:
        """Return the gravest new template by its number, and how far its spell has come."""
        if memory.began[device] == 0:
            return {"episodes": 0.0}
        return {
            "template": float(memory.spell[device, 0]),
            "new_templates": float(np.count_nonzero(memory.spell[device] != FREE)),
            "episodes": float(memory.episodes[device]),
            "gravity": float(memory.gravity[device]),
            "began_s": float(memory.began[device] // SECOND_NS),
            "others_that_log_it": float(memory.peers[device]),
        }

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say that it is new, how grave and how often; the engine adds the line itself."""
        if not evidence["episodes"]:
            return "No new log lines of late."
        kind = GRAVITIES[int(evidence["gravity"])]
        times, others = int(evidence["episodes"]), int(evidence["others_that_log_it"])
        again = f", {times} times at intervals" if times > 1 else ""
        more = int(evidence["new_templates"]) - 1
        text = f"Logs what it never did before ({kind}){again}; "
        text += f"{others or 'none'} of the others of its cohort did"
        return text + (f"; {more} more new lines beside it." if more else ".")


if TYPE_CHECKING:
    _: Detector[NoveltyMemory] = LogNovelty()
