"""The life of incidents: pending, firing, acknowledged, flapping, resolved, reopened; and quiet.

`Grouping` says what belongs together and whether it fires. Here each of its records is followed: an
incident that fires again soon after it was resolved is the same one, reopened; one that comes and
goes is held as one that flaps. Whatever is the reason that nobody should be paged stands in
`Incident.quiet`; the record is kept all the same. All of it follows from the records, from what
people said at their places in the log, and from the time of the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from aiops.alerts.finding import Finding, Incident, Phase, Severity
from aiops.alerts.incident import GROUP, SEVERITIES, Opened
from aiops.alerts.silences import SECOND_NS, Silence
from aiops.errors import SettingsError
from aiops.fleet.attributes import Attributes
from aiops.kernels.rows import B1

HEARD = ("acknowledgement", "silence", "silence end")
"""Kinds of records of the log that are heard here."""
SILENCES_MOST = 1000
KEPT_S = 7 * 86_400
"""A silence that is over is shown for so long."""
WORSE_DEVICES = 2.0
"""An incident is worse when it is more severe, or has so many times the devices."""


@dataclass(frozen=True)
class LifeSettings:
    """How patient one is with incidents that come and go."""

    pending_s: float = 0.0
    """So long an incident that is not critical may end by itself before anybody is paged."""
    reopen_s: float = 21_600.0
    """What fires again within so long after it was resolved is the same incident, reopened."""
    flaps: int = 4
    """What is resolved so often within `flap_window_s`..."""
    flap_window_s: float = 21_600.0
    calm_s: float = 3600.0
    """...is over only when it has not fired for so long."""

    def __post_init__(self) -> None:
        times = (self.pending_s, self.reopen_s, self.flap_window_s, self.calm_s)
        if min(times) < 0.0 or self.flaps < 2 or self.calm_s > self.reopen_s:
            raise SettingsError(
                "life: times must be 0 or more, flaps 2 or more, and calm_s at most reopen_s; got "
                f"{asdict(self)}"
            )


@dataclass(frozen=True)
class Acknowledgement:
    """Somebody is on it: nobody else is paged until it is over."""

    author: str
    until: str
    """``cleared``; ``worse``: or more severe, or of twice the devices; ``time``: or so late."""
    until_ts: int
    severity: Severity
    devices: int
    """As it was when it was acknowledged."""

    def holds(self, incident: Incident, ts: int) -> bool:
        """Say whether it is still in force for an incident that fires."""
        if self.until == "time":
            return ts < self.until_ts
        return self.until == "cleared" or (
            SEVERITIES.index(incident.severity) <= SEVERITIES.index(self.severity)
            and len(incident.devices) < WORSE_DEVICES * self.devices
        )


@dataclass
class _Told:
    """An incident that is not over, as it was told last."""

    incident: Incident
    loud: bool = False
    """Somebody was paged."""
    calm_ts: int | None = None
    """It flaps, does not fire at present, and is over at this time; None: it fires."""


@dataclass
class _Past:
    """What is remembered of an incident that was resolved."""

    opened_ts: int
    reopened: int
    ends: list[int]
    """When it was resolved, within the window in which that counts."""


class Life:
    """What is known of incidents beside who is in them."""

    def __init__(self, settings: LifeSettings | None = None) -> None:
        self.settings = settings or LifeSettings()
        self.silences: dict[str, Silence] = {}
        """By id, in the order in which they were made."""
        self._acknowledged: dict[str, Acknowledgement] = {}
        """By id of the incident."""
        self._told: dict[str, _Told] = {}
        self._past: dict[str, _Past] = {}
        self._in_force: frozenset[str] | None = None
        """Silences as all incidents were judged last; None: all are to be judged anew."""
        self._restless: set[str] = set()
        """Keys of incidents whose state may change as time goes on."""
        self._masks: dict[str, B1] = {}
        self._masked: Attributes | None = None

    # What people say -------------------------------------------------------------------------

    def heard(self, kind: str, said: Mapping[str, Any], author: str, ts: int) -> None:
        """Take in a record of the log: ``acknowledgement``, ``silence`` or ``silence end``.

        What concerns nothing that is there (an incident that was resolved meanwhile) is nothing.
        """
        self._in_force = None
        if kind == "acknowledgement":
            self._acknowledge(said, author, ts)
        elif kind == "silence":
            self._silence(said, author, ts)
        elif said["silence_id"] in self.silences:
            silence = self.silences[said["silence_id"]]
            if not silence.over(ts):
                self.silences[silence.id] = replace(silence, ended_ts=ts)

    def _acknowledge(self, said: Mapping[str, Any], author: str, ts: int) -> None:
        told = next(
            (t for t in self._told.values() if t.incident.incident_id == said["incident_id"]), None
        )
        if told is None:
            return
        incident = told.incident
        if said["until"] == "now":
            self._acknowledged.pop(incident.incident_id, None)
            return
        until_ts = ts + int(said.get("for_s") or 0) * SECOND_NS
        self._acknowledged[incident.incident_id] = Acknowledgement(
            author, said["until"], until_ts, incident.severity, len(incident.devices)
        )

    def _silence(self, said: Mapping[str, Any], author: str, ts: int) -> None:
        try:
            silence = Silence.said(said, author, ts)
        except SettingsError:  # the log is of a version that took it: it stops no replay
            return
        self._forget(ts)
        self.silences[silence.id] = silence

    def _forget(self, ts: int) -> None:
        """Forget silences that have been over for long, and the oldest when there are too many."""
        for name in [n for n, s in self.silences.items() if s.over(ts - KEPT_S * SECOND_NS)]:
            del self.silences[name]
        while len(self.silences) >= SILENCES_MOST:
            del self.silences[next(iter(self.silences))]

    # Each epoch ------------------------------------------------------------------------------

    def mark(
        self,
        findings: Sequence[Finding],
        firing: Mapping[str, Finding],
        ts: int,
        attributes: Attributes | None,
    ) -> list[Finding]:
        """Return the findings of an epoch that ends at `ts`; those that are silenced say so.

        What was silenced when it fired (`firing`, by fingerprint) is when it is resolved.
        """
        active = self._active(ts)
        marked = []
        for finding in findings:
            if finding.status == "resolved":
                before = firing.get(finding.fingerprint)
                said = "" if before is None else before.quiet
            else:
                devices = finding.devices if finding.group else (finding.device_id,)
                rules = (finding.rule,)
                said = self._silenced(active, finding.severity, rules, devices, attributes)
            marked.append(replace(finding, quiet=said) if said else finding)
        return marked

    def follow(
        self, records: Sequence[Incident], opened: Opened, ts: int, attributes: Attributes | None
    ) -> list[Incident]:
        """Return what is to be told at `ts` of the incidents, ordered by key.

        `records` are those of `Grouping.group`, of this epoch; an incident that is the same as one
        before gets its time in `opened`. An incident whose state changes without a record, because
        time went on or somebody said something, is told too.
        """
        told: list[Incident] = []
        changed: set[str] = set()
        for record in records:
            changed.add(record.key)
            if record.status == "resolved":
                told += self._resolved(record, ts)
            else:
                self._fired(record, opened, ts)
        active = self._active(ts)
        in_force = frozenset(silence.id for silence in active)
        all_anew = in_force != self._in_force
        judged = set(self._told) if all_anew else changed | self._restless
        self._in_force = in_force
        for key in sorted(judged & self._told.keys()):
            one = self._told[key]
            self._restless.add(key)
            if one.calm_ts is not None:
                if ts >= one.calm_ts:
                    told.append(self._end(key, replace(one.incident, ts=ts, findings=())))
                continue
            now = self._judged(one.incident, opened, ts, active, attributes)
            before = one.incident
            now = replace(now, paged=one.loud or not now.quiet)
            if now.phase == "firing":
                self._restless.discard(key)
            if key not in changed and (now.phase, now.quiet) == (before.phase, before.quiet):
                continue
            if key not in changed:
                now = replace(now, ts=ts, findings=())
            one.incident, one.loud = now, now.paged
            told.append(now)
        for key in [k for k, past in self._past.items() if self._is_stale(past, ts)]:
            del self._past[key]
        return sorted(told, key=lambda record: (record.key, record.status))

    def _fired(self, record: Incident, opened: Opened, ts: int) -> None:
        """Take in that an incident fires: a new one, one that goes on, or one from before."""
        one = self._told.get(record.key)
        past = self._past.get(record.key)
        if one is None and past is not None and self._is_recent(past, ts):
            opened[record.key]["opened_ts"] = past.opened_ts
            past.reopened += 1
            record = replace(record, opened_ts=past.opened_ts, reopened=past.reopened)
        elif one is None:
            if past is not None:
                self._past[record.key] = _Past(record.opened_ts, 0, past.ends)
        else:
            opened[record.key]["opened_ts"] = one.incident.opened_ts
            record = replace(
                record, opened_ts=one.incident.opened_ts, reopened=one.incident.reopened
            )
            if one.calm_ts is not None and past is not None:
                past.reopened += 1
                record = replace(record, reopened=past.reopened)
        loud = one is not None and one.loud
        self._told[record.key] = _Told(record, loud)

    def _resolved(self, record: Incident, ts: int) -> list[Incident]:
        """Take in that an incident does not fire any more; return what is told of it."""
        one = self._told.get(record.key)
        if one is None:  # it came and went within an epoch
            one = self._told[record.key] = _Told(record, loud=True)
        record = replace(record, opened_ts=one.incident.opened_ts, reopened=one.incident.reopened)
        if record.title.startswith("now part of "):
            return [self._end(record.key, record)]
        past = self._past.setdefault(record.key, _Past(record.opened_ts, record.reopened, []))
        since = ts - int(self.settings.flap_window_s * SECOND_NS)
        past.opened_ts = record.opened_ts
        past.ends = [end for end in past.ends if end > since] + [ts]
        if len(past.ends) >= self.settings.flaps and self.settings.calm_s > 0:
            one.calm_ts = ts + int(self.settings.calm_s * SECOND_NS)
            if one.incident.phase == "flapping":
                return []
            one.incident = replace(
                one.incident, phase="flapping", quiet="flapping", ts=ts, findings=record.findings
            )
            return [one.incident]
        return [self._end(record.key, record)]

    def _end(self, key: str, record: Incident) -> Incident:
        """Return that an incident is over. Who was not paged is not told that it is over."""
        one = self._told.pop(key)
        self._restless.discard(key)
        self._acknowledged.pop(record.incident_id, None)
        return replace(
            record,
            status="resolved",
            phase="resolved",
            paged=one.loud,
            devices=(),
            quiet="" if one.loud else one.incident.quiet,
        )

    def _judged(
        self,
        incident: Incident,
        opened: Opened,
        ts: int,
        active: Sequence[Silence],
        attributes: Attributes | None,
    ) -> Incident:
        """Return an incident that fires, with its phase and whether anybody is to be paged."""
        acknowledged = self._acknowledged.get(incident.incident_id)
        if acknowledged is not None and not acknowledged.holds(incident, ts):
            del self._acknowledged[incident.incident_id]
            acknowledged = None
        phase: Phase = "firing"
        quiet = ""
        pending_ns = int(self.settings.pending_s * SECOND_NS)
        past = self._past.get(incident.key)
        if acknowledged is not None:
            phase, quiet = "acknowledged", f"acknowledged by {acknowledged.author}"
        elif past is not None and len(self._ends(past, ts)) >= self.settings.flaps:
            phase, quiet = "flapping", "flapping"
        elif incident.severity != "critical" and ts - incident.opened_ts < pending_ns:
            phase, quiet = "pending", "pending"
        if quiet and phase == "flapping" and incident.severity == "critical":
            quiet = ""
        rules = _rules(opened[incident.key]) if active else ()
        silenced = self._silenced(active, incident.severity, rules, incident.devices, attributes)
        return replace(incident, phase=phase, quiet=silenced or quiet)

    # Silences --------------------------------------------------------------------------------

    def _active(self, ts: int) -> list[Silence]:
        return [silence for silence in self.silences.values() if silence.holds(ts)]

    def _silenced(
        self,
        active: Sequence[Silence],
        severity: str,
        rules: Sequence[str],
        devices: Iterable[str],
        attributes: Attributes | None,
    ) -> str:
        """Return the id of a silence that matches all of it; empty: there is none."""
        if not active or attributes is None:
            return ""
        if self._masked is not attributes:
            self._masked, self._masks = attributes, {}
        place = [attributes.place.get(device, -1) for device in devices]
        for silence in active:
            if not silence.heeds(severity, rules):
                continue
            mask = self._masks.get(silence.id)
            if mask is None:
                mask = self._masks[silence.id] = silence.covers(attributes)
            if place and min(place) >= 0 and bool(mask[np.array(place)].all()):
                return silence.id
        return ""

    # Times -----------------------------------------------------------------------------------

    def _ends(self, past: _Past, ts: int) -> list[int]:
        since = ts - int(self.settings.flap_window_s * SECOND_NS)
        return [end for end in past.ends if end > since]

    def _is_recent(self, past: _Past, ts: int) -> bool:
        return ts - past.ends[-1] <= int(self.settings.reopen_s * SECOND_NS)

    def _is_stale(self, past: _Past, ts: int) -> bool:
        return not self._is_recent(past, ts) and not self._ends(past, ts)

    # Saving ----------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "silences": [asdict(silence) for silence in self.silences.values()],
            "acknowledged": {name: asdict(one) for name, one in self._acknowledged.items()},
            "told": [asdict(one) for one in self._told.values()],
            "past": {key: asdict(one) for key, one in self._past.items()},
        }

    @classmethod
    def restore(cls, plain: Mapping[str, Any], settings: LifeSettings | None = None) -> Life:
        """Return the one that was saved; empty values (of an older checkpoint): a new one."""
        life = cls(settings)
        if not plain:
            return life
        silences = map(Silence.from_plain, plain["silences"])
        life.silences = {silence.id: silence for silence in silences}
        life._acknowledged = {
            name: Acknowledgement(**one) for name, one in plain["acknowledged"].items()
        }
        for one in plain["told"]:
            incident = Incident.from_plain(one["incident"])
            life._told[incident.key] = _Told(incident, one["loud"], one["calm_ts"])
        life._past = {key: _Past(**one) for key, one in plain["past"].items()}
        return life


def _rules(incident: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all rules that fire in an open incident, sorted."""
    found = {
        incident["rule"] if name == GROUP else name.split("/", 1)[0]
        for names in incident["devices"].values()
        for name in names
    }
    return tuple(sorted(found))
