"""Findings into incidents: a device is one, and a storm of devices with one cause is one.

What the devices with findings have in common beyond chance is blamed (`alerts.cause`), whatever
rules found them. Where nothing stands out, because the fleet is small, half of a site's devices
under one rule are one incident of the site all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aiops.alerts.cause import Blame, Cause
from aiops.alerts.finding import Finding, Incident, Severity
from aiops.errors import SettingsError
from aiops.fleet.attributes import Attributes

SEVERITIES: tuple[Severity, ...] = ("info", "low", "warning", "high", "critical")

GROUP = "*"
"""Stands for a device's part in what its group shares, beside names of parts."""

Opened = dict[str, dict[str, Any]]
"""Open incidents by key, as plain values: ``opened_ts``, ``severity``, ``site``, ``rule``,
``title``, ``cause`` (None: a device, or a group by its finding) and ``devices``, where each device
has the list of what fires of it: rule, part and medium."""


@dataclass(frozen=True)
class Grouping:
    """When the findings of many devices are one incident of their site."""

    storm_devices: int = 3
    """At least so many devices of a site under one rule..."""
    storm_share: float = 0.5
    """...and at least this share of all its devices."""
    blame: Blame = field(default_factory=Blame)
    """When an attribute that they share is."""

    def __post_init__(self) -> None:
        if self.storm_devices < 2 or not 0 < self.storm_share <= 1:
            raise SettingsError(
                f"a storm needs at least 2 devices and a share above 0 and at most 1; got "
                f"{self.storm_devices} and {self.storm_share}"
            )

    def group(
        self,
        findings: Sequence[Finding],
        opened: Opened,
        site_sizes: Mapping[str, int],
        ts: int,
        attributes: Attributes | None = None,
    ) -> list[Incident]:
        """Route the findings of an epoch that ended at `ts`; update `opened` in place.

        `site_sizes` holds how many devices each site has, and `attributes` what is known of all
        devices (None: nothing, and nothing is blamed). Returns a record of each incident that
        opened, changed, or was resolved, ordered by key.
        """
        before = frozenset(opened)
        blamed = sorted(key for key in opened if opened[key]["cause"] is not None)
        # Who has the traits of several causes belongs to the one that strikes the larger share.
        blamed.sort(key=lambda key: -_share(opened[key]["cause"]))
        touched: dict[str, list[str]] = {}
        for finding in findings:
            key = _route(finding, opened, ts, attributes, blamed)
            if key is not None:
                touched.setdefault(key, []).append(finding.id)
        merged = self._gather_causes(opened, touched, ts, attributes, before)
        merged += self._gather_storms(opened, touched, site_sizes, ts, before)
        records = merged + [_record(key, opened[key], touched[key], ts) for key in touched]
        for key in touched:
            if not opened[key]["devices"]:
                del opened[key]
        return sorted(records, key=lambda record: (record.key, record.status))

    def _gather_causes(
        self,
        opened: Opened,
        touched: dict[str, list[str]],
        ts: int,
        attributes: Attributes | None,
        before: frozenset[str],
    ) -> list[Incident]:
        """Fold the incidents of devices that have what is to blame into one; return those folded.

        Who belongs to a cause that is blamed already is no news: the others are looked at.
        """
        if attributes is None or not any(_is_single(key, opened) for key in touched):
            return []
        single: dict[str, list[str]] = {}
        for key in sorted(opened):
            if _is_single(key, opened):
                single.setdefault(next(iter(opened[key]["devices"])), []).append(key)
        affected = np.zeros(attributes.code.shape[1], np.bool_)
        for device in single:
            if device in attributes.place:
                affected[attributes.place[device]] = True
        explained = np.zeros(len(affected), np.bool_)
        for incident in opened.values():
            if incident["cause"] is not None:
                explained |= attributes.having(incident["cause"]["attributes"])
        name_of = list(attributes.place)
        folded: list[Incident] = []
        for cause in self.blame.causes(attributes, affected, explained):
            key = f"cause@{cause.key}"
            keys = [k for d in cause.devices.tolist() for k in single[name_of[d]]]
            site = dict(zip(cause.attribute, cause.value, strict=True)).get("site", "")
            if key not in opened:
                opened[key] = _new(ts, "info", site, "", "", _told(cause))
            folded += _fold(keys, key, opened, touched, ts, before)
            opened[key]["cause"] |= _told(cause) | {"devices": len(opened[key]["devices"])}
        return folded

    def _gather_storms(
        self,
        opened: Opened,
        touched: dict[str, list[str]],
        site_sizes: Mapping[str, int],
        ts: int,
        before: frozenset[str],
    ) -> list[Incident]:
        """Fold a site's incidents into one where there are too many; return those folded."""
        candidates = sorted(
            {
                (opened[key]["rule"], opened[key]["site"])
                for key in touched
                if opened[key]["site"] and opened[key]["cause"] is None
            }
        )
        folded: list[Incident] = []
        for rule, site in candidates:
            storm = f"{rule}@site:{site}"
            single = sorted(
                key
                for key, incident in opened.items()
                if key != storm
                and incident["devices"]
                and incident["cause"] is None
                and (incident["rule"], incident["site"]) == (rule, site)
            )
            size = site_sizes.get(site, 0)
            if len(single) < max(self.storm_devices, math.ceil(self.storm_share * size)):
                continue
            gathered = opened.setdefault(storm, _new(ts, "info", site, rule, "", None))
            folded += _fold(single, storm, opened, touched, ts, before)
            gathered["title"] = f"{rule}: {len(gathered['devices'])} of {size} devices at {site}"
        return folded


def _new(
    ts: int, severity: str, site: str, rule: str, title: str, cause: dict[str, Any] | None
) -> dict[str, Any]:
    """Return an incident without devices, as plain values."""
    return {
        "opened_ts": ts,
        "severity": severity,
        "site": site,
        "rule": rule,
        "title": title,
        "cause": cause,
        "devices": {},
    }


def _fold(
    keys: Sequence[str],
    into: str,
    opened: Opened,
    touched: dict[str, list[str]],
    ts: int,
    before: frozenset[str],
) -> list[Incident]:
    """Move all that `keys` have into one incident; return records of those that had been told."""
    gathered = opened[into]
    folded: list[Incident] = []
    for key in keys:
        incident = opened.pop(key)
        for device, parts in incident["devices"].items():
            gathered["devices"].setdefault(device, []).extend(parts)
        gathered["severity"] = max(gathered["severity"], incident["severity"], key=SEVERITIES.index)
        ids = touched.pop(key, [])
        touched.setdefault(into, []).extend(ids)
        if key in before:
            incident["title"] = f"now part of {into}"
            incident["devices"] = {}
            folded.append(_record(key, incident, ids, ts))
    return folded


def _is_single(key: str, opened: Opened) -> bool:
    """Say whether an incident is one of a single device, by its own findings."""
    incident = opened[key]
    if incident["cause"] is not None or len(incident["devices"]) != 1:
        return False
    ((device, _),) = incident["devices"].items()
    return key == f"{incident['rule']}@{device}"


def _share(cause: dict[str, Any]) -> float:
    return float(cause["devices"]) / max(float(cause["of"]), 1.0)


def _told(cause: Cause) -> dict[str, Any]:
    """Return a cause as plain values."""
    return {
        "attributes": dict(zip(cause.attribute, cause.value, strict=True)),
        "devices": len(cause.devices),
        "of": cause.size,
        "lift": cause.lift if math.isfinite(cause.lift) else None,
        "p": cause.p,
    }


def _route(
    finding: Finding,
    opened: Opened,
    ts: int,
    attributes: Attributes | None,
    blamed: Sequence[str],
) -> str | None:
    """Add the finding to its incident, or take it out; return the incident's key.

    `blamed` are the keys of incidents that have a cause, best first.
    """
    if finding.group:
        return _route_group(finding, opened, ts)
    name = "/".join((finding.rule, finding.part, finding.medium_id))
    own = f"{finding.rule}@site:{finding.site}", f"{finding.rule}@{finding.device_id}"
    if finding.status == "resolved":
        for key in (*blamed, *own):
            parts = opened.get(key, {}).get("devices", {}).get(finding.device_id)
            if parts and name in parts:
                parts.remove(name)
                if not parts:
                    del opened[key]["devices"][finding.device_id]
                return key
        return None
    shared = (key for key in blamed if _has(finding.device_id, opened[key], attributes))
    key = next(shared, own[0] if own[0] in opened else own[1])
    incident = _incident_of(finding, key, opened, ts)
    incident["severity"] = max(incident["severity"], finding.severity, key=SEVERITIES.index)
    parts = incident["devices"].setdefault(finding.device_id, [])
    if name not in parts:
        parts.append(name)
    return key


def _has(device_id: str, incident: dict[str, Any], attributes: Attributes | None) -> bool:
    """Say whether a device has what an incident blames."""
    blamed = incident["cause"]["attributes"].items()
    return attributes is not None and all(attributes.of(device_id, k) == v for k, v in blamed)


def _incident_of(finding: Finding, key: str, opened: Opened, ts: int) -> dict[str, Any]:
    """Return the incident of that key, opened by this finding if it is not open yet."""
    title = f"{finding.where}: {finding.sentence}"
    fresh = _new(ts, finding.severity, finding.site, finding.rule, title, None)
    return opened.setdefault(key, fresh)


def _route_group(finding: Finding, opened: Opened, ts: int) -> str | None:
    """Open the incident of a site or cohort for its devices, or close it; return its key."""
    key = f"{finding.rule}@{finding.group}"
    if finding.status == "resolved" and key not in opened:
        return None
    incident = _incident_of(finding, key, opened, ts)
    incident["title"] = f"{finding.where}: {finding.sentence}"
    if finding.status == "resolved":
        for device in [d for d, parts in incident["devices"].items() if GROUP in parts]:
            incident["devices"][device].remove(GROUP)
            if not incident["devices"][device]:
                del incident["devices"][device]
    else:
        incident["severity"] = max(incident["severity"], finding.severity, key=SEVERITIES.index)
        for device in finding.devices:
            parts = incident["devices"].setdefault(device, [])
            if GROUP not in parts:
                parts.append(GROUP)
    return key


def _record(key: str, incident: dict[str, Any], findings: Sequence[str], ts: int) -> Incident:
    cause = incident["cause"]
    if cause is not None and incident["devices"]:
        cause = incident["cause"] = cause | {"devices": len(incident["devices"])}
        incident["title"] = _cause_title(incident)
    return Incident(
        key=key,
        status="firing" if incident["devices"] else "resolved",
        severity=incident["severity"],
        site=incident["site"],
        opened_ts=incident["opened_ts"],
        ts=ts,
        title=incident["title"],
        findings=tuple(findings),
        devices=tuple(sorted(incident["devices"])),
        cause=cause,
    )


def _cause_title(incident: dict[str, Any]) -> str:
    """Say whom it concerns, what is blamed, and how much it stands out."""
    cause = incident["cause"]
    blamed = " and ".join(f"{name} {value}" for name, value in cause["attributes"].items())
    rules = sorted(
        {name.split("/", 1)[0] for parts in incident["devices"].values() for name in parts}
    )
    stands = (
        "no other device is"
        if cause["lift"] is None
        else f"{cause['lift']:.3g} times as likely as others"
    )
    of = max(cause["of"], cause["devices"])
    return f"{', '.join(rules)}: {cause['devices']} of {of} devices with {blamed} ({stands})"
