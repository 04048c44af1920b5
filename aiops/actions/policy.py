"""What is proposed for incidents, findings and a plan: one table, and no decision about when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiops.actions.action import KINDS, Action, Kind
from aiops.alerts.finding import Finding, Incident, isoformat
from aiops.errors import SettingsError
from aiops.placement.plan import Leg, Move, Plan
from aiops.placement.risk import dates

SECOND = 1_000_000_000
DAY_S = 86_400.0

RESPONSES: dict[str, tuple[Kind, ...]] = {
    "flash_wear": ("schedule_maintenance",),
    "flash_failure": ("schedule_maintenance",),
    "exhaustion": ("schedule_maintenance",),
    # Many of one cohort: what they share is suspect, not each device.
    "reboot_drift": ("hold_rollout", "schedule_maintenance"),
    # Unreachable is not dead: nothing is moved, drained or fenced for silence alone.
    "silence": (),
}
"""Detector, without its metric -> what its findings ask for; of several, the first that applies.

Besides, each incident is notified, and each move of a plan is a migration.
"""

EXPIRES_S: dict[Kind, float] = {
    "migrate": 900.0,
    "hold_rollout": 3600.0,
    "schedule_maintenance": 7 * DAY_S,
    "notify": DAY_S,
}
"""How long the evidence for an action stays fresh."""

PLACEMENT = "placement"
PAUSE = frozenset({"stop", "start"})
"""Legs of a workload that does not run meanwhile."""
SEVERITIES = ("info", "low", "warning", "high", "critical")


@dataclass(frozen=True)
class Policy:
    """Turns what was noticed and planned into proposals."""

    lead_s: float = 14 * DAY_S
    """Maintenance is due so long before the date that one part in ten does not outlive (p10)."""
    inspect_s: float = 14 * DAY_S
    """Due after so long when no date is foretold."""
    crowd_devices: int = 5
    """So many firing devices of one cohort hold its rollout."""

    def __post_init__(self) -> None:
        if not (0 <= self.lead_s <= 365 * DAY_S and DAY_S <= self.inspect_s <= 365 * DAY_S):
            raise SettingsError(
                f"policy.lead_s is {self.lead_s} and inspect_s {self.inspect_s}; give lead_s"
                f" 0 to {365 * DAY_S:g} and inspect_s {DAY_S:g} to {365 * DAY_S:g}"
            )
        if self.crowd_devices < 2:
            raise SettingsError(
                f"policy.crowd_devices is {self.crowd_devices}; a crowd is 2 or more"
            )

    def decide(
        self,
        incidents: Sequence[Incident],
        findings: Sequence[Finding],
        plan: Plan | None,
        *,
        firing: Iterable[Finding] = (),
        historical: bool = False,
    ) -> tuple[Action, ...]:
        """Return what should be done, in an order that depends on content alone.

        Args:
            incidents: records of incidents that opened, changed or were resolved.
            findings: that fired or were resolved in this epoch.
            plan: of this epoch; None when nothing is placed.
            firing: all findings that are open, also from earlier epochs.
            historical: all of it comes of rows whose epochs had closed; nothing will be done.
        """
        fired = [finding for finding in findings if finding.status == "firing"]
        actions = [
            *(self._notify(incident, historical) for incident in incidents),
            *self._respond(fired, [*fired, *firing], historical),
            *self._migrate(plan, historical),
        ]
        # Several findings may ask for the same; the latest says until when that holds.
        unique = {action.id: action for action in sorted(actions, key=lambda a: a.issued_ts)}
        return tuple(sorted(unique.values(), key=_order))

    def _notify(self, incident: Incident, historical: bool) -> Action:
        resolved = "resolved: " if incident.status == "resolved" else ""
        # The incident is named, not its record: once for each status and severity it goes through.
        return Action(
            kind="notify",
            target=(incident.incident_id,),
            reason=resolved + incident.title,
            evidence=(incident.incident_id,),
            origin=incident.key.partition("@")[0],
            params={"status": incident.status, "severity": incident.severity},
            site=incident.site,
            priority=float(SEVERITIES.index(incident.severity)),
            historical=historical,
            issued_ts=incident.ts,
            expires_ts=_stale("notify", incident.ts),
        )

    def _respond(
        self, fired: Sequence[Finding], firing: Sequence[Finding], historical: bool
    ) -> Iterator[Action]:
        crowds = self._crowds(firing)
        for finding in fired:
            if finding.group:
                yield from self._respond_to_group(finding, historical)
                continue
            crowd = crowds.get((finding.detector, finding.cohort), {})
            for kind in RESPONSES.get(_family(finding), ()):
                if kind == "hold_rollout" and crowd:
                    yield self._hold_rollout(finding, crowd, historical)
                    break
                if kind == "schedule_maintenance":
                    yield self._maintain(finding, historical)
                    break

    def _respond_to_group(self, finding: Finding, historical: bool) -> Iterator[Action]:
        """Hold the rollout of a cohort; what a site shared is for people to look at."""
        if finding.cohort and "hold_rollout" in RESPONSES.get(_family(finding), ()):
            crowd = dict.fromkeys(finding.devices, finding.id)
            yield self._hold_rollout(finding, crowd, historical)

    def _crowds(self, firing: Iterable[Finding]) -> dict[tuple[str, str], dict[str, str]]:
        """Return device -> finding of each (detector, cohort) that many devices fire for."""
        members: dict[tuple[str, str], dict[str, str]] = {}
        for finding in firing:
            if finding.cohort and not finding.group:
                group = members.setdefault((finding.detector, finding.cohort), {})
                group[finding.device_id] = min(finding.id, group.get(finding.device_id, finding.id))
        return {key: group for key, group in members.items() if len(group) >= self.crowd_devices}

    def _hold_rollout(self, finding: Finding, crowd: dict[str, str], historical: bool) -> Action:
        return Action(
            kind="hold_rollout",
            target=(finding.cohort,),
            reason=f"{finding.detector} fires on {len(crowd)} devices of cohort {finding.cohort}:"
            " no more of it is rolled out until somebody has looked",
            evidence=tuple(sorted(set(crowd.values()))),
            origin=finding.detector,
            cohort=finding.cohort,
            priority=float(len(crowd)),
            historical=historical,
            issued_ts=finding.ts,
            expires_ts=_stale("hold_rollout", finding.ts),
        )

    def _maintain(self, finding: Finding, historical: bool) -> Action:
        due_ts = finding.ts + int(self.inspect_s * SECOND)
        p10 = dates(finding.forecast).get(0.1, math.inf)
        if math.isfinite(p10):
            due_ts = max(finding.ts, int(p10) - int(self.lead_s * SECOND))
        due = isoformat(due_ts // SECOND * SECOND)
        return Action(
            kind="schedule_maintenance",
            target=(finding.device_id,),
            reason=f"{finding.where}: {finding.sentence.rstrip('.')}; due by {due}",
            evidence=(finding.id,),
            origin=finding.detector,
            params={"part": finding.part, "medium_id": finding.medium_id, "due": due},
            site=finding.site,
            cohort=finding.cohort,
            priority=-(due_ts / SECOND) / DAY_S,
            historical=historical,
            issued_ts=finding.ts,
            expires_ts=_stale("schedule_maintenance", finding.ts),
        )

    def _migrate(self, plan: Plan | None, historical: bool) -> Iterator[Action]:
        if plan is None:
            return
        groups: dict[tuple[str, ...], list[Move]] = {}
        for move in plan.moves:
            groups.setdefault(move.together, []).append(move)
        asked = {
            together: self._migration(moves, plan, historical) for together, moves in groups.items()
        }
        by_workload = {name: one.id for together, one in asked.items() for name in together}
        for together, moves in groups.items():
            before = {by_workload[name] for move in moves for name in move.after}
            yield replace(asked[together], after=tuple(before))

    def _migration(self, moves: Sequence[Move], plan: Plan, historical: bool) -> Action:
        """Return one action for all that wait for each other: they move all or none."""
        first, reason = moves[0], moves[0].reason
        legs = sorted((leg for move in moves for leg in move.legs), key=_turn)
        params: dict[str, Any] = {"wave": legs[0].wave}
        if len(moves) == 1:
            params |= {"source": first.source, "target": first.target}
        else:
            names = ", ".join(move.workload for move in moves)
            reason = f"{names} wait for each other: " + "; ".join(move.reason for move in moves)
        stopped = [move.workload for move in moves if {leg.kind for leg in move.legs} >= PAUSE]
        if stopped:
            kept = [move.workload for move in moves if move.workload in stopped and move.stateful]
            reason += f"; meanwhile {', '.join(stopped)} must be stopped"
            reason += f", with the state of {', '.join(kept)} kept" if kept else ""
        if len(legs) > 1 or legs[0].fence:
            params["steps"] = [step for leg in legs for step in _steps(leg)]
        return Action(
            kind="migrate",
            target=tuple(move.workload for move in moves),
            reason=reason,
            evidence=(plan.id,),
            origin=PLACEMENT,
            params=params,
            devices=tuple(move.home for move in moves),
            site=_shared(move.site for move in moves),
            cohort=_shared(move.cohort for move in moves),
            priority=float(sum(move.saving for move in moves)),
            historical=historical,
            issued_ts=plan.ts,
            expires_ts=_stale("migrate", plan.ts),
        )


def _turn(leg: Leg) -> tuple[int, bool, str]:
    return leg.wave, leg.kind != "stop", leg.workload


def _steps(leg: Leg) -> Iterator[dict[str, Any]]:
    """Yield what is to be done for a leg; the old copy is cut off before a second one starts."""
    step = {"wave": leg.wave, "workload": leg.workload, "source": leg.source}
    if leg.fence:
        yield step | {"kind": "fence"}
    yield step | {"kind": leg.kind, "target": leg.target}


def _shared(names: Iterable[str]) -> str:
    """Return the one name there is; empty: there are several."""
    distinct = set(names)
    return distinct.pop() if len(distinct) == 1 else ""


def _order(action: Action) -> tuple[int, float, tuple[str, ...], str]:
    return KINDS.index(action.kind), -action.priority, action.target, action.id


def _stale(kind: Kind, ts: int) -> int:
    return ts + int(EXPIRES_S[kind] * SECOND)


def _family(finding: Finding) -> str:
    """Return the detector of a finding without the metric that may stand behind it."""
    return finding.detector.partition(":")[0]
