"""How likely each node fails soon, as the findings that are firing say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from aiops.kernels.rows import F8
from aiops.placement.criteria import HORIZON_H

HORIZON_NS = int(HORIZON_H * 3600) * 1_000_000_000

SEVERITY_RISK: dict[str, float] = {
    "info": 0.0,
    "low": 0.001,
    "warning": 0.01,
    "high": 0.05,
    "critical": 0.2,
}
"""Probability of failing within the horizon where a finding foretells no date."""

UNREACHABLE = frozenset({"silence"})
"""Detectors that say nobody hears from a node, which is no sign that it fails."""


class Firing(Protocol):
    """What is read of a finding."""

    @property
    def detector(self) -> str:
        """Name of the detector."""

    @property
    def status(self) -> str:
        """``firing`` or ``resolved``."""

    @property
    def severity(self) -> str:
        """A key of `SEVERITY_RISK`."""

    @property
    def device_id(self) -> str:
        """The node."""

    @property
    def sentence(self) -> str:
        """It in one plain sentence."""

    @property
    def forecast(self) -> Mapping[str, Any] | None:
        """As `dates` reads it."""


def failure_risk(findings: Iterable[Firing], node_at: Mapping[str, int], now_ts: int) -> F8:
    """Return the probability [m] that each node fails within `HORIZON_H`.

    Findings are taken as independent: 1 - prod(1 - p).
    """
    survives = np.ones(len(node_at))
    for at, p, _ in _told(findings, node_at, now_ts):
        survives[at] *= 1.0 - p
    return 1.0 - survives


def threats(findings: Iterable[Firing], node_at: Mapping[str, int], now_ts: int) -> dict[int, str]:
    """Return what the likeliest reason of each node to fail is, in one sentence."""
    worst: dict[int, tuple[float, str]] = {}
    for at, p, sentence in _told(findings, node_at, now_ts):
        if p > 0.0:
            worst[at] = max(worst.get(at, (0.0, "")), (p, sentence))
    return {at: sentence for at, (_, sentence) in worst.items()}


def _told(
    findings: Iterable[Firing], node_at: Mapping[str, int], now_ts: int
) -> Iterator[tuple[int, float, str]]:
    """Yield the node, the probability of failing within the horizon, and why, of each finding."""
    for finding in findings:
        at = node_at.get(finding.device_id)
        if at is None or finding.status != "firing" or finding.detector in UNREACHABLE:
            continue
        foretold = probability_by(now_ts + HORIZON_NS, finding.forecast, now_ts)
        p = SEVERITY_RISK.get(finding.severity, 0.0) if foretold is None else foretold
        yield at, p, finding.sentence


def dates(forecast: Mapping[str, Any] | None) -> dict[float, float]:
    """Return the foretold date, ns, of each probability; inf: never.

    Reads a finding's forecast (``p10``, ``p50``, ... in RFC 3339, None where nothing is known or it
    never comes). Empty when no date is foretold.
    """
    if forecast is None or forecast.get("unit") != "ns":
        return {}
    stated = sorted(
        (float(key[1:]) / 100.0, value)
        for key, value in forecast.items()
        if key[:1] == "p" and key[1:].isdigit()
    )
    if all(value is None for _, value in stated):
        return {}
    return {p: math.inf if value is None else _nanoseconds(value) for p, value in stated}


def probability_by(ts: int, forecast: Mapping[str, Any] | None, now_ts: int) -> float | None:
    """Return the probability that the foretold date is at or before `ts`; None: none foretold.

    Linear between the quantiles, and from `now_ts`, when nothing has happened, to the first.
    """
    foretold = {p: date for p, date in dates(forecast).items() if math.isfinite(date)}
    if not foretold:
        return None
    probability, date = [0.0, *foretold], [float(now_ts), *foretold.values()]
    passed = [p for p, when in foretold.items() if when <= now_ts]
    if passed:
        return passed[-1]
    return float(np.interp(float(ts), date, probability))


def _nanoseconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() * 1e9
