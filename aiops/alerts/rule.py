"""One life cycle for every detector's scores: pending, firing, resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from aiops.alerts.finding import Finding, Severity, Status, isoformat
from aiops.detectors.protocol import Detector, Forecast, Shared
from aiops.errors import SettingsError
from aiops.fleet.owner import FleetShape
from aiops.fleet.registry import Registry
from aiops.kernels.phase import FIRED, FIRING, INACTIVE, advance_phase
from aiops.kernels.rows import B1, I1, I4, I8, Rows, Scores

SECOND_NS = 1_000_000_000


class Phases(NamedTuple):
    """Where each device stands with one rule."""

    phase: I1
    """[devices] inactive, pending or firing."""
    since: I8
    """[devices] when the score first crossed the line, ns."""


@dataclass(frozen=True)
class AlertRule:
    """When a detector's score becomes a finding. Thresholds live here, where no memory is lost."""

    detector: Detector[Any]
    name_: str = field(default="", metadata={"line": True})
    """Name in findings; the detector's name if empty."""
    line: float = field(default=1.0, metadata={"line": True})
    """Score at which a device is pending, in multiples of the detector's own line."""
    clear: float = field(default=0.8, metadata={"line": True})
    """Score below which it is well again."""
    hold_s: float = field(default=0.0, metadata={"line": True})
    """How long the score must stay before the rule fires."""
    severity: Severity = field(default="warning", metadata={"line": True})

    def __post_init__(self) -> None:
        if not 0 < self.clear <= self.line:
            raise SettingsError(
                f"rule {self.name}: clear must be above 0 and at most line; got clear="
                f"{self.clear}, line={self.line}"
            )
        if self.hold_s < 0:
            raise SettingsError(f"rule {self.name}: hold_s must be 0 or more; got {self.hold_s}")

    @property
    def name(self) -> str:
        """Name of the rule in findings and actions."""
        return self.name_ or self.detector.name

    @property
    def owner(self) -> PhaseOwner:
        """What the fleet state files the phases under."""
        return PhaseOwner(f"rule:{self.name}")

    def advance(
        self,
        phases: Phases,
        memory: Any,
        rows: Rows,
        scores: Scores,
        usable: B1,
        registry: Registry,
    ) -> list[Finding]:
        """Advance the phases by scores [n] of `rows`; return what fired or resolved, in order.

        `usable` [n] is false for rows that must not page. `memory` is the detector's, from which
        a finding takes evidence and forecast as they stand after the batch.
        """
        change = np.zeros(len(scores.score), dtype=np.int8)
        if not advance_phase(
            rows.device,
            rows.ts,
            scores.score,
            usable,
            phases.phase,
            phases.since,
            self.line,
            self.clear,
            int(self.hold_s * SECOND_NS),
            change,
        ):
            return []
        return [
            self._finding(int(i), phases, memory, rows, scores, int(change[i]), registry)
            for i in np.flatnonzero(change)
        ]

    def _finding(
        self,
        i: int,
        phases: Phases,
        memory: Any,
        rows: Rows,
        scores: Scores,
        change: int,
        registry: Registry,
    ) -> Finding:
        index = int(rows.device[i])
        device_id, part, medium_id = registry.identities[index]
        evidence = self.detector.evidence(memory, index)
        forecast = as_plain(self.detector.forecast(memory, rows.device[i : i + 1]))
        status: Status = "firing" if change == FIRED else "resolved"
        return Finding(
            rule=self.name,
            detector=self.detector.name,
            status=status,
            severity=self.severity,
            device_id=device_id,
            part=part,
            medium_id=medium_id,
            site=registry.site_of(index),
            cohort=registry.cohort_of(index),
            since_ts=int(phases.since[index]),
            ts=int(rows.ts[i]),
            score=float(scores.score[i]),
            observed=float(scores.observed[i]),
            expected=float(scores.expected[i]),
            sentence=self.detector.sentence(evidence, forecast),
            evidence=evidence,
            forecast=forecast,
            reason="" if status == "firing" else "recovered",
        )

    def of_group(self, shared: Shared, registry: Registry) -> Finding:
        """Return the finding of what a site or cohort shared."""
        by_site = shared.group == "site"
        names = registry.sites if by_site else registry.cohorts
        name = names[shared.code]
        return Finding(
            rule=self.name,
            detector=self.detector.name,
            status=shared.status,
            severity=self.severity,
            device_id="",
            part="",
            medium_id="",
            site=name if by_site else "",
            cohort="" if by_site else name,
            since_ts=shared.since,
            ts=shared.ts,
            score=shared.score,
            observed=shared.observed,
            expected=shared.expected,
            sentence=shared.sentence,
            evidence=shared.evidence,
            reason="" if shared.status == "firing" else "recovered",
            devices=tuple(sorted({registry.identities[i][0] for i in shared.device.tolist()})),
        )

    def retire(self, phases: Phases, device: I4) -> I4:
        """Forget the phases of `device` [k]; return those of them that were firing."""
        firing: I4 = device[phases.phase[device] == FIRING]
        phases.phase[device] = INACTIVE
        return firing


@dataclass(frozen=True)
class PhaseOwner:
    """Files a rule's phases in the fleet state, whatever the rule's thresholds."""

    name: str
    version: int = 1

    def init(self, shape: FleetShape) -> Phases:
        """Return phases of devices nothing is known of."""
        return Phases(
            np.full(shape.capacity, INACTIVE, dtype=np.int8),
            np.zeros(shape.capacity, dtype=np.int64),
        )


def as_plain(forecast: Forecast | None) -> dict[str, Any] | None:
    """Return the forecast of one device as plain values: ``p10``, ``p50`` and so on.

    A date becomes RFC 3339; what will never come, or is not known, becomes None.
    """
    if forecast is None:
        return None
    plain: dict[str, Any] = {"quantity": forecast.quantity, "unit": forecast.unit}
    for probability, value in zip(forecast.probability, forecast.quantile[0], strict=True):
        known = bool(np.isfinite(value))
        if forecast.unit == "ns":
            shown: Any = isoformat(int(value)) if known else None
        else:
            shown = float(value) if known else None
        plain[f"p{100 * probability:.0f}"] = shown
    return plain
