"""A flash medium will be worn out soon: it is time to order another one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiops.detectors.protocol import QUANTILES, Detector, Epoch, FleetShape, Forecast
from aiops.errors import SettingsError
from aiops.kernels.rows import F8, I4, Scores, no_scores
from aiops.kernels.wear import WearMemory, WearSettings, duty_of, wear_horizons, wear_update
from aiops.telemetry.batch import TelemetryBatch

DAY_S = 86_400.0
YEAR_S = 365.25 * DAY_S
MONTH_S = YEAR_S / 12.0
LEAST_LINE, MOST_LINE = 0.5, 0.99


@dataclass(frozen=True)
class FlashWear:
    """Probability that a medium is soon worn out, while there is still time to replace it.

    True wear is a gamma process (van Noortwijk 2009, doi:10.1016/j.ress.2007.03.019): a stretch
    that wears m on average has variance `wear_scale` * m. Its rate is unknown, gamma distributed
    over media with mean `wear_per_year` and relative deviation `wear_deviation`, and is learnt from
    the instants at which the reading steps; that it has not stepped since counts too. A medium
    whose power-on time is known at first sight is known from its first hour.

    **Line.** An alert is in time if the medium lasts for another `lead_s`, and false if it lasts
    for more than twice that, so the score is the probability of an end within ``2 * lead_s`` over a
    line. At a line p, 1 - p of the alerts are false. 1,000 device-months hold ``wear_per_year *
    1000 / 12`` ends, each alerted once, hence ``1 - p = alarm_budget / (wear_per_year * 1000 /
    12)``; p stays within 0.5 and 0.99.

    The prior is an assumption and wide on purpose: it gives way to the first few per cent of wear.
    """

    alarm_budget: float = field(default=1.0, metadata={"line": True})
    """False alarms per 1,000 device-months."""
    lead_s: float = field(default=90.0 * DAY_S, metadata={"line": True})
    """Time it takes to replace a medium. A change shows within `refresh_s`."""
    wear_per_year: float = 0.05
    """Mean over media, of the rated endurance, in a year of power-on time."""
    wear_deviation: float = 1.5
    """Standard deviation over media of their wear rate, relative to its mean."""
    wear_scale: float = 0.005
    """Variance over mean of the wear of any stretch: how uneven the workload is."""
    refresh_s: float = 86_400.0
    """A medium whose reading stands still is judged anew after this time."""

    name: ClassVar[str] = "flash_wear"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = (
        "storage.wear.used_ratio",
        "storage.wear.step_ratio",
        "storage.power_on_time",
    )

    def __post_init__(self) -> None:
        for setting in (
            "alarm_budget",
            "lead_s",
            "wear_per_year",
            "wear_deviation",
            "wear_scale",
            "refresh_s",
        ):
            if not 0.0 < getattr(self, setting) < math.inf:
                raise SettingsError(
                    f"{self.name}: {setting} must be above 0; got {getattr(self, setting)}"
                )

    @property
    def line_probability(self) -> float:
        """Probability of an end within twice the lead time that is on the alert line."""
        wear_outs = self.wear_per_year * 1000.0 * MONTH_S / YEAR_S
        return min(max(1.0 - self.alarm_budget / wear_outs, LEAST_LINE), MOST_LINE)

    @cached_property
    def settings(self) -> WearSettings:
        """What the kernel needs of these settings."""
        return WearSettings(
            scale=self.wear_scale,
            prior_shape=self.wear_deviation**-2.0,
            prior_rate=self.wear_per_year / YEAR_S,
            refresh_ns=int(self.refresh_s * 1e9),
            ahead_s=2.0 * self.lead_s,
            line=self.line_probability,
        )

    def init(self, shape: FleetShape) -> WearMemory:
        """Return the memory of media nothing is known of."""
        n = shape.capacity
        return WearMemory(
            ts=np.zeros(n, dtype=np.int64),
            read_ts=np.zeros(n, dtype=np.int64),
            level=np.full(n, np.nan),
            step=np.full(n, np.nan),
            power_on_s=np.full(n, np.nan),
            power_on_ts=np.zeros(n, dtype=np.int64),
            first_power_on_s=np.full(n, np.nan),
            first_ts=np.zeros(n, dtype=np.int64),
            timed=np.zeros(n, dtype=np.int8),
            clock_s=np.zeros(n),
            past_shape=np.zeros(n),
            past_s=np.zeros(n),
            origin_s=np.zeros(n),
            origin_ratio=np.zeros(n),
            origin_var=np.zeros(n),
            anchor_s=np.zeros(n),
            anchor_ratio=np.zeros(n),
            anchor_var=np.zeros(n),
            slips=np.zeros(n, dtype=np.int64),
            judged_ts=np.zeros(n, dtype=np.int64),
            probability=np.full(n, np.nan),
            replace_ratio=np.full(n, np.nan),
        )

    def update(self, memory: WearMemory, batch: TelemetryBatch) -> Scores:
        """Learn from each reading and judge it.

        Observed is the reading; expected is the most wear that, at the medium's own rate, still
        leaves twice the lead time. Both are shares of the rated endurance.
        """
        scores = no_scores(len(batch))
        wear, step, power_on = map(batch.column, self.reads)
        wear_update(batch.rows, wear, step, power_on, memory, self.settings, scores)
        return scores

    def close(self, memory: WearMemory, epoch: Epoch) -> Scores | None:
        """Say nothing: wear is judged as it is read."""
        return None

    def forecast(self, memory: WearMemory, device: I4) -> Forecast | None:
        """Return quantiles of the date on which each medium is worn out, ns since the epoch.

        inf: not within 100 years; NaN: no reading yet. It runs from the medium's last row; if it
        is worn out already, that is the date.
        """
        horizon_s, _ = self._horizons(memory, device)
        date = memory.ts[device][:, None] + horizon_s * 1e9
        return Forecast("storage.wear_out.date", "ns", np.array(QUANTILES), date)

    def evidence(self, memory: WearMemory, device: int) -> dict[str, float]:
        """Return wear, rate, duty and remaining life; times of the medium's clock say so."""
        horizon_s, rate = self._horizons(memory, np.array([device], dtype=np.int32))
        days = dict(zip(QUANTILES, (horizon_s[0] / DAY_S).tolist(), strict=True))
        return {
            "wear_used_ratio": float(memory.level[device]),
            "step_ratio": float(memory.step[device]),
            "wear_per_year_ratio": float(rate[0]) * YEAR_S,
            "duty_ratio": float(duty_of(device, memory)),
            "power_on_days": float(memory.power_on_s[device]) / DAY_S,
            "remaining_days_p10": days[0.1],
            "remaining_days_p50": days[0.5],
            "remaining_days_p90": days[0.9],
            "lead_days": self.lead_s / DAY_S,
            "worn_out_within_twice_lead_probability": float(memory.probability[device]),
        }

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say how far wear is, how fast it goes and when it will be over."""
        used = evidence["wear_used_ratio"]
        if math.isnan(used):
            return "No wear reading was seen."
        if used >= 1.0:
            return f"Flash is worn out: {100.0 * used:.0f} % of its rated endurance is used."
        percent = 100.0 * evidence["wear_per_year_ratio"] * evidence["duty_ratio"]
        rate = f"{percent:.0f}" if percent >= 10.0 else f"{percent:.2g}"
        text = f"Flash is {100.0 * used:.0f} % used and wears {rate} % a year"
        early, middle, late = (day(forecast, name) for name in ("p10", "p50", "p90"))
        if early is None:
            return text + ": no end in sight."
        if middle is None:
            return text + f": worn out not before {early} (90 %)."
        span = f"between {early} and {late} (80 %)" if late else f"not before {early} (90 %)"
        return text + f": worn out {span}, even odds by {middle}."

    def _horizons(self, memory: WearMemory, device: I4) -> tuple[F8, F8]:
        """Return calendar seconds left [m, q] and the rate [m], 1/s of the medium's clock."""
        horizon_s = np.empty((len(device), len(QUANTILES)))
        rate = np.empty(len(device))
        wear_horizons(device, memory, self.settings, np.array(QUANTILES), horizon_s, rate)
        return horizon_s, rate


def day(forecast: dict[str, Any] | None, name: str) -> str | None:
    """Return the day of a foretold date, None if it was not foretold."""
    date = (forecast or {}).get(name)
    return None if date is None else str(date)[:10]


if TYPE_CHECKING:
    _: Detector[WearMemory] = FlashWear()
