"""What comes of a frame of telemetry: everything `Engine.step` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from aiops.actions.guard import Verdict
from aiops.alerts.finding import Finding, Incident
from aiops.fleet.owner import Epoch
from aiops.fleet.registry import Identity
from aiops.kernels.rows import Scores
from aiops.placement.plan import Plan
from aiops.telemetry.batch import TelemetryBatch
from aiops.telemetry.normalised import SET_ASIDE

NOTHING_ASIDE = SET_ASIDE.remove(0).empty_table()
"""What is set aside of most frames."""


@dataclass(frozen=True)
class Scored:
    """What one detector said of the rows of one epoch."""

    detector: str
    batch: TelemetryBatch
    """The rows it was shown: those that report something it reads."""
    scores: Scores
    identities: Sequence[Identity]
    """Names of the dense indices in `batch.device`."""


@dataclass(frozen=True)
class Step:
    """All that came of a frame: the results of the epochs it closed, oldest first."""

    findings: tuple[Finding, ...] = ()
    incidents: tuple[Incident, ...] = ()
    plans: tuple[Plan, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    """Each action with what the guard says of it, and why."""
    set_aside: pa.Table = field(default_factory=lambda: NOTHING_ASIDE)
    """Rows and values refused, each with its reason."""
    scored: tuple[Scored, ...] = ()
    epochs: tuple[Epoch, ...] = ()

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Return everything sinks keep, as plain values by kind; each record has an ``id``."""
        return {
            "findings": [finding.to_record() for finding in self.findings],
            "incidents": [incident.to_record() for incident in self.incidents],
            "plans": [plan.to_record() for plan in self.plans],
            "actions": [verdict.to_record() for verdict in self.verdicts],
        }

    @property
    def allowed(self) -> tuple[Verdict, ...]:
        """Actions that may be carried out now."""
        return tuple(verdict for verdict in self.verdicts if verdict.allowed)

    @property
    def held(self) -> tuple[Verdict, ...]:
        """Actions that may not."""
        return tuple(verdict for verdict in self.verdicts if not verdict.allowed)


def joined(steps: list[Step]) -> Step:
    """Return several steps as one."""
    if not steps:
        return Step()
    if len(steps) == 1:
        return steps[0]
    tuples = {
        name: tuple(item for step in steps for item in getattr(step, name))
        for name in Step.__dataclass_fields__
        if name != "set_aside"
    }
    tables = [NOTHING_ASIDE, *(step.set_aside for step in steps if len(step.set_aside))]
    return Step(**tuples, set_aside=pa.concat_tables(tables))
