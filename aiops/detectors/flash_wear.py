"""A flash medium will be worn out soon: it is time to order another one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors.protocol import QUANTILES, Detector, Epoch, FleetShape, Forecast, Shared
from aiops.detectors.wear_prior import Histories, WearPrior, shipped_prior
from aiops.errors import SettingsError
from aiops.kernels.rows import F8, I4, Scores, no_scores
from aiops.kernels.wear import (
    DAY_S,
    FALLS_TO_QUARANTINE,
    WRITES,
    YEAR_S,
    duty_of,
    wear_chances,
    wear_horizons,
    wear_update,
)
from aiops.kernels.wear_memory import Readings, WearMemory, WearSettings
from aiops.telemetry.batch import TelemetryBatch

MONTH_S = YEAR_S / 12.0
LEAST_LINE, MOST_LINE = 0.5, 0.99


@dataclass(frozen=True)
class FlashWear:
    """Probability that a medium is soon worn out, while there is still time to replace it.

    True wear is a gamma process (van Noortwijk 2009, doi:10.1016/j.ress.2007.03.019): a stretch
    that wears m on average has variance ``scale * m``, the scale being the prior's. It goes by a
    clock at an unknown rate, which walks and may jump. Two clocks run beside each other, power-on
    time and the full drive writes of the host, and count as far as each explains what was read. The
    rate on each is learnt from the instants at which the reading steps; that it has not stepped
    since counts. Before that it is what `prior` says of the model, else of the vendor or the fleet.

    The date is that of a first passage: wear left, over a rate by writes and a pace of writes that
    both move on. The levels at which the model's 5 % and 95 % are taken are moved by how often the
    reading comes outside of them (adaptive conformal inference, Gibbs and Candes 2021,
    arXiv:2106.00170).

    **Line.** An alert is in time if the medium lasts for another `lead_s`, and false if it lasts
    for more than twice that, so the score is the probability of an end within ``2 * lead_s`` over a
    line. At a line p, 1 - p of the alerts are false. 1,000 device-months hold
    ``prior.wear_per_year * 1000 / 12`` ends, each alerted once, hence ``1 - p = alarm_budget /
    (wear_per_year * 1000 / 12)``; p stays within 0.5 and 0.99.
    """

    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months."""
    lead_s: float = field(default=90.0 * DAY_S, metadata={"line": True})
    """Time it takes to replace a medium. A change shows within `refresh_s`."""
    prior: WearPrior = field(default_factory=shipped_prior)
    """What is known of media before they have shown their own wear, and how rates move."""
    refresh_s: float = 86_400.0
    """A medium whose reading stands still is judged anew after this time, or a hundredth of what it
    has left if that is longer."""

    name: ClassVar[str] = "flash_wear"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = (
        "storage.wear.used_ratio",
        "storage.wear.step_ratio",
        "storage.wear.trust_ratio",
        "storage.power_on_time",
        "storage.bytes_written",
        "storage.bytes_written.partial",
        "storage.capacity",
        "storage.rated_bytes",
        "storage.model",
        "storage.vendor",
    )

    def __post_init__(self) -> None:
        for setting in ("alarm_budget", "lead_s", "refresh_s"):
            if not 0.0 < getattr(self, setting) < math.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )

    @property
    def line_probability(self) -> float:
        """Probability of an end within twice the lead time that is on the alert line."""
        wear_outs = self.prior.wear_per_year * 1000.0 * MONTH_S / YEAR_S
        return min(max(1.0 - self.alarm_budget / wear_outs, LEAST_LINE), MOST_LINE)

    @cached_property
    def settings(self) -> WearSettings:
        """What the kernel needs of these settings."""
        kinds, movement = self.prior.kinds, self.prior.movement
        return WearSettings(
            scale=np.array([kind.scale or movement.scale for kind in kinds]),
            code=np.array([kind.code for kind in kinds]),
            rate_log=np.array([kind.rate_log for kind in kinds]),
            rate_var=np.array([kind.rate_var for kind in kinds]),
            pace_log=np.array([kind.pace_log for kind in kinds]),
            pace_var=np.array([kind.pace_var for kind in kinds]),
            inverted=np.array([kind.inverted for kind in kinds], dtype=np.int8),
            drift=np.array(movement.drift_per_year) / YEAR_S,
            hazard=np.array(movement.jumps_per_year) / YEAR_S,
            jump_log=np.array(movement.jump_log),
            jump_var=np.array(movement.jump_var),
            moves_s=movement.moves_years * YEAR_S,
            noise=movement.day_noise,
            odds=np.array([kind.writes_odds for kind in kinds]) + movement.writes_odds,
            low=movement.low,
            high=movement.high,
            refresh_ns=int(self.refresh_s * 1e9),
            ahead_s=2.0 * self.lead_s,
            line=self.line_probability,
        )

    def init(self, shape: FleetShape) -> WearMemory:
        """Return the memory of media nothing is known of."""
        n = shape.capacity
        never = dict.fromkeys(
            (
                "ts",
                "read_ts",
                "power_on_ts",
                "first_ts",
                "writes_ts",
                "paced_ts",
                "trial_low_ts",
                "trial_high_ts",
                "due_ts",
            ),
            np.int64,
        )
        count = {
            "slips": np.int8,
            "falls": np.int8,
            "timed": np.int8,
            "partial": np.int8,
            "folds": np.int32,
        }
        both = (
            "origin",
            "origin_s",
            "origin_ratio",
            "origin_var",
            "anchor",
            "anchor_ratio",
            "anchor_var",
            "rate_log",
            "rate_var",
        )
        arrays: dict[str, Any] = {
            "prior": np.full(n, -1, dtype=np.int32),
            "clock": np.full((n, 2), np.nan),
            "low": np.full(n, self.prior.movement.low),
            "high": np.full(n, self.prior.movement.high),
        }
        arrays |= {name: np.zeros(n, dtype=kind) for name, kind in (never | count).items()}
        arrays |= {name: np.zeros((n, 2)) for name in both}
        arrays |= {name: np.zeros(n) for name in ("pace_log", "pace_var", "paced_writes", "odds")}
        return WearMemory(
            **{name: arrays.get(name, np.full(n, np.nan)) for name in WearMemory._fields}
        )

    def update(self, memory: WearMemory, batch: TelemetryBatch) -> Scores:
        """Learn from each reading and judge it.

        Observed is the reading; expected is the most wear that, at the medium's own rate, still
        leaves twice the lead time. Both are shares of the rated endurance.
        """
        scores = no_scores(len(batch))
        readings = Readings(*map(batch.column, self.reads))
        wear_update(batch.rows, readings, memory, self.settings, scores)
        return scores

    def close(self, memory: WearMemory, epoch: Epoch) -> Scores | None:
        """Say nothing: wear is judged as it is read."""
        return None

    def shared(self, memory: WearMemory, epoch: Epoch) -> Sequence[Shared]:
        """Tell of nothing that many share."""
        return ()

    def forecast(self, memory: WearMemory, device: I4) -> Forecast | None:
        """Return quantiles of the date on which each medium is worn out, ns since the epoch.

        inf: not within 100 years; NaN: no reading yet. It runs from the medium's last row; if it
        is worn out already, that is the date.
        """
        horizon_s, _ = self._horizons(memory, device)
        date = memory.ts[device][:, None] + horizon_s * 1e9
        return Forecast("storage.wear_out.date", "ns", np.array(QUANTILES), date)

    def chances(self, memory: WearMemory, device: I4, limit: F8, horizon_s: F8) -> F8:
        """Return the probability [m, q] that wear is at `limit` [m, q] after `horizon_s` [m].

        Of each `device` [m], from its last row on; NaN without a reading.
        """
        chance = np.empty(limit.shape)
        wear_chances(device, memory, self.settings, limit, horizon_s, chance)
        return chance

    def histories(self, memory: WearMemory) -> Histories:
        """Return what all media with a reading have shown so far: what a prior is learnt from."""
        seen = ~np.isnan(memory.level) & (memory.falls < FALLS_TO_QUARANTINE)
        return Histories(
            level=memory.level[seen],
            step=memory.step[seen],
            power_on_s=memory.power_on_s[seen],
            writes=np.where(memory.partial[seen] == 1, np.nan, memory.writes[seen]),
            model=memory.model[seen],
            vendor=memory.vendor[seen],
        )

    def evidence(self, memory: WearMemory, device: int) -> dict[str, float]:
        """Return wear, its rates, the pace of writes and remaining life; NaN where unknown."""
        one = np.array([device], dtype=np.int32)
        horizon_s, rate = self._horizons(memory, one)
        halved_s, _ = self._horizons(memory, one, slower=0.5)
        days = dict(zip(QUANTILES, (horizon_s[0] / DAY_S).tolist(), strict=True))
        capacity = float(memory.capacity[device])
        told = not math.isnan(memory.writes[device])
        duty = float(duty_of(device, memory))
        pace = math.exp(memory.pace_log[device]) if told else math.nan
        usual = float(memory.writes[device] / memory.power_on_s[device]) * duty
        usual = math.nan if memory.partial[device] else usual
        middle = QUANTILES.index(0.5)
        return {
            "wear_used_ratio": float(memory.level[device]),
            "step_ratio": float(memory.step[device]),
            "wear_per_year_ratio": float(rate[0, 0]) * YEAR_S,
            "wear_per_tb_ratio": float(rate[0, WRITES]) / capacity * 1e12,
            "write_rate_bytes_per_day": pace * capacity * DAY_S,
            "write_rate_change_ratio": pace / usual if usual > 0.0 else math.nan,
            "duty_ratio": duty,
            "power_on_days": float(memory.power_on_s[device]) / DAY_S,
            "remaining_days_p10": days[0.1],
            "remaining_days_p50": days[0.5],
            "remaining_days_p90": days[0.9],
            "halved_writes_gain_days": _gained(horizon_s[0, middle], halved_s[0, middle]) / DAY_S,
            "lead_days": self.lead_s / DAY_S,
            "worn_out_within_twice_lead_probability": float(memory.probability[device]),
            "source_trust_ratio": float(memory.trust[device]),
            "quarantined": float(memory.falls[device] >= FALLS_TO_QUARANTINE),
        }

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how far wear is, how fast it goes and when it will be over."""
        used = evidence["wear_used_ratio"]
        if math.isnan(used):
            return "No wear reading was seen."
        if evidence.get("quarantined"):
            return (
                "The wear reading falls as the medium ages: it runs the wrong way, and is not "
                "judged until it rises."
            )
        if used >= 1.0:
            more = " or more" if used >= 2.545 else ""
            return f"Flash is worn out: {100.0 * used:.0f} %{more} of its rated endurance is used."
        percent = 100.0 * evidence["wear_per_year_ratio"]
        rate = f"{percent:.0f}" if percent >= 10.0 else f"{percent:.2g}"
        text = f"Flash is {100.0 * used:.0f} % used and wears {rate} % a year"
        early, middle, late = (day(forecast, name) for name in ("p10", "p50", "p90"))
        if early is None:
            return text + ": no end in sight."
        if middle is None:
            return text + f": worn out not before {early} (90 %)."
        span = f"between {early} and {late} (80 %)" if late else f"not before {early} (90 %)"
        return text + f": worn out {span}, even odds by {middle}."

    def _horizons(self, memory: WearMemory, device: I4, slower: float = 1.0) -> tuple[F8, F8]:
        """Return calendar seconds left [m, q] and rates [m, 2]: 1/s, and 1 per drive write."""
        horizon_s = np.empty((len(device), len(QUANTILES)))
        rate = np.empty((len(device), 2))
        wanted = np.array(QUANTILES)
        wear_horizons(device, memory, self.settings, wanted, 1.0, slower, horizon_s, rate)
        return horizon_s, rate


def _gained(now_s: float, then_s: float) -> float:
    """Return how much later; NaN if there is no end in either case."""
    return float(then_s - now_s) if math.isfinite(now_s) else math.nan


def day(forecast: dict[str, Any] | None, name: str) -> str | None:
    """Return the day of a foretold date, None if it was not foretold."""
    date = (forecast or {}).get(name)
    return None if date is None else str(date)[:10]


if TYPE_CHECKING:
    _: Detector[WearMemory] = FlashWear()
