"""A detector for each metric that arrives and has none: nobody has to name it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from aiops.alerts.budget import split
from aiops.alerts.rule import AlertRule
from aiops.detectors.protocol import Detector

Watch = Callable[[str], Detector[Any]]
"""Makes the detector of a metric."""


def watching(
    rules: Sequence[AlertRule], watch: Watch | None, alarm_budget: float | None
) -> tuple[tuple[AlertRule, ...], Watch | None]:
    """Return `rules` and `watch` whose budgets add up to `alarm_budget`; see `split`."""
    if watch is None:
        return tuple(rules), None
    *given, of_all = split([*rules, AlertRule(watch("of all"))], alarm_budget)
    budget = getattr(of_all.detector, "alarm_budget", None)
    if budget is None:
        return tuple(given), watch

    def budgeted(metric: str) -> Detector[Any]:
        detector: Any = watch(metric)
        made: Detector[Any] = replace(detector, alarm_budget=budget)
        return made

    return tuple(given), budgeted


class Watched:
    """The metrics that are watched, in the order in which they came, and their rules.

    Parameters
    ----------
    make
        None: nothing is watched. What a detector has as ``alarm_budget`` is that of all of them
        together: they share it.
    """

    def __init__(self, make: Watch | None) -> None:
        self.make = make
        self.metrics: list[str] = []

    def add(self, metrics: Iterable[str], taken: Collection[str]) -> bool:
        """Watch metrics that are new, unless a detector of that name is `taken`; say if any is."""
        if self.make is None:
            return False
        known = set(self.metrics)
        new = [name for name in sorted(metrics) if name not in known]
        new = [name for name in new if self.make(name).name not in taken]
        self.metrics += new
        return bool(new)

    def remove(self, metrics: Collection[str]) -> list[AlertRule]:
        """Watch some metrics no longer; return the rules they had."""
        gone = [rule for rule in self.rules() if rule.detector.reads[0] in metrics]
        self.metrics = [name for name in self.metrics if name not in metrics]
        return gone

    def rules(self) -> tuple[AlertRule, ...]:
        """Return a rule for each metric."""
        if self.make is None:
            return ()
        rules = [AlertRule(self.make(name)) for name in self.metrics]
        if not rules:
            return ()
        return split(rules, getattr(rules[0].detector, "alarm_budget", None))
