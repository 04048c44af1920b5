"""The alarm budget: one number for the whole product, split, and what was really fired of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, NamedTuple

from aiops.alerts.finding import Finding
from aiops.alerts.rule import SECOND_NS, AlertRule
from aiops.errors import SettingsError

MONTH_S = 365.25 / 12.0 * 86_400.0

SHARES: Mapping[str, float] = {
    "flash_failure": 1.0,
    "flash_wear": 1.0,
    "reboot_drift": 1.0,
    "silence": 1.0,
    "normality": 3.0,
    "relation": 1.0,
    "exhaustion": 1.0,
    "error_burst": 0.4,
    "log_burst": 0.2,
    "log_novelty": 0.2,
    "log_heartbeat": 0.2,
}
"""Weight of each family of detectors, all metrics of it together. It is also what the family may
cost when no budget is set, in false alarms per 1,000 device-months: 10 for the whole product."""
OTHER_SHARE = 1.0
"""Weight of a family that is not listed: a detector of the user's own."""


def family(detector: str) -> str:
    """Return the family of a detector's name: what stands before the metric."""
    return detector.partition(":")[0]


def split(
    rules: Sequence[AlertRule],
    alarm_budget: float | None = None,
    awaited: Iterable[str] = (),
) -> tuple[AlertRule, ...]:
    """Return `rules` whose detectors' budgets add up to `alarm_budget`.

    Each family has a share by its weight in `SHARES`, and its metrics have equal shares of that.
    Memory is not touched: a budget only moves the alert line.

    Parameters
    ----------
    rules
        Detectors without a setting ``alarm_budget`` keep theirs and take no part.
    alarm_budget
        False alarms per 1,000 device-months of the whole product; None: the sum of the weights.
    awaited
        Families that have a share although none of their metrics has been seen yet, so that the
        first one to come moves nobody else's line.

    Raises
    ------
    SettingsError
        The budget is not above 0.
    """
    if alarm_budget is not None and not 0.0 < alarm_budget < float("inf"):
        raise SettingsError(
            f"alarm_budget is false alarms per 1,000 device-months and above 0; got {alarm_budget}"
        )
    budgeted = dict.fromkeys(r.detector for r in rules if hasattr(r.detector, "alarm_budget"))
    metrics = Counter(family(detector.name) for detector in budgeted)
    weights = {name: SHARES.get(name, OTHER_SHARE) for name in dict.fromkeys([*metrics, *awaited])}
    total = sum(weights[name] for name in sorted(weights))
    unit = 1.0 if alarm_budget is None else alarm_budget / total
    share = {name: unit * weights[name] / metrics[name] for name in metrics}
    return tuple(
        replace(rule, detector=_at(rule.detector, share[family(rule.detector.name)]))
        if rule.detector in budgeted
        else rule
        for rule in rules
    )


def _at(detector: Any, alarm_budget: float) -> Any:
    """Return the detector at its share; the same object if that is what it has."""
    if detector.alarm_budget == alarm_budget or not is_dataclass(detector):
        return detector
    return replace(detector, alarm_budget=alarm_budget)  # type: ignore[type-var]  # a dataclass


class Rate(NamedTuple):
    """What a family of detectors fired, beside what it may."""

    detector: str
    """The family; ``total`` for all."""
    fired: int
    """Findings that began to fire, by devices or groups, whether true or false."""
    device_months: float
    """How long how many devices were watched."""
    per_1000_device_months: float
    """NaN: nobody was watched yet."""
    alarm_budget: float
    """False alarms per 1,000 device-months that it may fire; NaN: it has no budget."""

    def to_record(self) -> dict[str, Any]:
        """Return it as plain values; what is not known is None."""
        return {name: None if value != value else value for name, value in self._asdict().items()}


@dataclass
class Realised:
    """Running counts of what fired and of how long devices were watched. Saved with the engine.

    A device is watched from the epoch in which it is first heard, whether or not it reports: a
    detector of silence watches it, too. Its parts and media are watched with it.
    """

    device_s: int = 0
    """Seconds of event time, summed over devices."""
    until: int = 0
    """ns: up to where they are counted; 0: not at all."""
    fired: Counter[str] = field(default_factory=Counter)
    """Findings that began to fire, by family."""

    def count(self, findings: Iterable[Finding], start: int, end: int, devices: int) -> None:
        """Count an epoch from `start` to `end`, ns, in which so many `devices` were known.

        Time between two epochs in which nothing came counts for the later one.
        """
        begin = start if self.until == 0 else min(self.until, end)
        self.device_s += devices * ((end - begin) // SECOND_NS)
        self.until = max(self.until, end)
        self.fired.update(family(f.detector) for f in findings if f.status == "firing")

    @property
    def device_months(self) -> float:
        """How long how many devices were watched."""
        return self.device_s / MONTH_S

    def rates(self, rules: Sequence[AlertRule]) -> tuple[Rate, ...]:
        """Return fired and allowed by family, in order of names, and last their ``total``."""
        allowed: dict[str, float] = {}
        for detector in dict.fromkeys(rule.detector for rule in rules):
            name = family(detector.name)
            budget = float(getattr(detector, "alarm_budget", float("nan")))
            allowed[name] = allowed.get(name, 0.0) + budget
        fired = self.fired.copy()
        rates = [self._rate(name, fired[name], allowed.get(name, float("nan")))
                 for name in sorted(allowed.keys() | fired.keys())]  # fmt: skip
        known = sum(budget for budget in allowed.values() if budget == budget)
        return (*rates, self._rate("total", fired.total(), known))

    def _rate(self, name: str, fired: int, budget: float) -> Rate:
        months = self.device_months
        return Rate(
            name, fired, months, 1000.0 * fired / months if months else float("nan"), budget
        )

    def save(self) -> dict[str, Any]:
        """Return the counts as plain values, for a checkpoint."""
        return {"device_s": self.device_s, "until": self.until, "fired": dict(self.fired)}

    @classmethod
    def restore(cls, saved: Mapping[str, Any]) -> Realised:
        """Return the counts that were saved; of an older checkpoint without them, none."""
        return cls(saved.get("device_s", 0), saved.get("until", 0), Counter(saved.get("fired", {})))
