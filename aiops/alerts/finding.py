"""Findings and incidents: what was noticed, as values."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

Status = Literal["firing", "resolved"]
Reason = Literal["", "recovered", "replaced"]
"""A finding is resolved when the score came back, or when the medium has left."""
Severity = Literal["info", "low", "warning", "high", "critical"]

Phase = Literal["pending", "firing", "acknowledged", "flapping", "resolved"]
"""Of an incident; see `alerts.life`."""


def content_id(prefix: str, *parts: object) -> str:
    """Return an id that is a function of content alone: the same on every replay."""
    digest = hashlib.blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()
    return f"{prefix}-{digest}"


def isoformat(ts: int | None) -> str | None:
    """Render ns since the epoch as RFC 3339 in UTC, to the microsecond."""
    if ts is None:
        return None
    moment = datetime.fromtimestamp(ts // 1_000_000_000, tz=UTC)
    micros = ts % 1_000_000_000 // 1000
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{micros:06d}Z" if micros else "Z")


def fingerprint(rule: str, device_id: str, part: str, medium_id: str) -> str:
    """Return the stable name of *this rule on this part*, whenever it fires."""
    return content_id("fp", rule, device_id, part, medium_id)


def group_fingerprint(rule: str, group: str) -> str:
    """Return the stable name of *this rule on this site or cohort* (`Finding.group`)."""
    return content_id("fp", rule, group)


@dataclass(frozen=True)
class Finding:
    """A device's score stayed beyond a rule's line, or came back from there.

    What happened to a whole site or cohort at once is one finding, of no device: `device_id` is
    empty, of `site` and `cohort` the one that is concerned is named, and `devices` lists whom.
    """

    rule: str
    detector: str
    status: Status
    severity: Severity
    device_id: str
    part: str
    medium_id: str
    site: str
    cohort: str
    since_ts: int
    """When the score first crossed the line, ns."""
    ts: int
    """When this became a finding (or was resolved), ns."""
    score: float
    observed: float
    expected: float
    sentence: str
    """What was found, in words."""
    evidence: dict[str, float] = field(default_factory=dict)
    forecast: dict[str, Any] | None = None
    reason: Reason = ""
    """Why it was resolved; empty while it fires."""
    devices: tuple[str, ...] = ()
    """Of a finding of a group: the devices concerned, sorted."""
    relevance: float | None = None
    """Probability that people act on it, by what they said of others; None: no labels in force."""
    held: bool = False
    """By those labels it is no incident and leads to no action: it is only recorded."""
    quiet: str = ""
    """Id of a silence that matches it: nobody is paged."""

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Finding:
        """Return the finding of plain values read back from JSON, where NaN became null."""
        numbers = {k: _number(plain[k]) for k in ("score", "observed", "expected")}
        evidence = {k: _number(v) for k, v in plain["evidence"].items()}
        devices = tuple(plain.get("devices", ()))
        return cls(**(plain | numbers | {"evidence": evidence, "devices": devices}))

    @property
    def fingerprint(self) -> str:
        """Stable name of *this rule on this part*, or on this group, whenever it fires."""
        if self.group:
            return group_fingerprint(self.rule, self.group)
        return fingerprint(self.rule, self.device_id, self.part, self.medium_id)

    @property
    def id(self) -> str:
        """Name of this very record."""
        return content_id("fnd", self.fingerprint, self.status, self.since_ts, self.ts)

    @property
    def group(self) -> str:
        """``site:lyon`` or ``cohort:fw-2.1`` of a finding of a group, else empty."""
        if self.device_id:
            return ""
        return f"site:{self.site}" if self.site else f"cohort:{self.cohort}"

    @property
    def where(self) -> str:
        """Display name of the device, part or group: ``gw-17/nvme0``, ``site lyon``."""
        if self.group:
            return self.group.replace(":", " ", 1)
        return "/".join(name for name in (self.device_id, self.part) if name)

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values for sinks."""
        return {
            "id": self.id,
            "fingerprint": self.fingerprint,
            **asdict(self),
            "since_ts": isoformat(self.since_ts),
            "ts": isoformat(self.ts),
        }


def _number(value: float | None) -> float:
    return math.nan if value is None else value


@dataclass(frozen=True)
class Incident:
    """Findings that belong together: a storm is one incident."""

    key: str
    """What they share, e.g. ``silence@site:lyon`` or ``flash_wear@gw-17``."""
    status: Status
    severity: Severity
    site: str
    opened_ts: int
    ts: int
    title: str
    findings: tuple[str, ...]
    """Ids of the findings that opened or changed it."""
    devices: tuple[str, ...]
    """All devices in it now, sorted."""
    cause: dict[str, Any] | None = None
    """What is blamed: ``attributes`` with their values, how many ``devices`` are affected ``of``
    how many that have them, the ``lift`` (null: only they are) and ``p``; None: nothing is."""
    phase: Phase = "firing"
    """Where it is in its life."""
    quiet: str = ""
    """Why nobody is paged: id of a silence, or in words; empty: somebody is."""
    paged: bool = True
    """Somebody has been paged of it, now or before."""
    reopened: int = 0
    """How often it fired again after it had been resolved."""

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Incident:
        """Return the incident of plain values read back from JSON."""
        lists = {name: tuple(plain[name]) for name in ("findings", "devices")}
        return cls(**(plain | lists))

    @property
    def incident_id(self) -> str:
        """Name of the incident as long as it is open."""
        return content_id("inc", self.key, self.opened_ts)

    @property
    def id(self) -> str:
        """Name of this very record of the incident."""
        return content_id("inr", self.incident_id, self.status, self.ts, self.devices)

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values for sinks."""
        return {
            "id": self.id,
            "incident_id": self.incident_id,
            **asdict(self),
            "opened_ts": isoformat(self.opened_ts),
            "ts": isoformat(self.ts),
        }
