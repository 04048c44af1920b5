"""Findings into incidents: a device is one, and a storm at a site is one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiops.alerts.finding import Finding, Incident, Severity
from aiops.errors import SettingsError

SEVERITIES: tuple[Severity, ...] = ("info", "low", "warning", "high", "critical")

GROUP = "*"
"""Stands for a device's part in what its group shares, beside names of parts."""

Opened = dict[str, dict[str, Any]]
"""Open incidents by key, as plain values: ``opened_ts``, ``severity``, ``site``, ``rule``,
``title`` and ``devices``, where each device has the list of its parts and media that are
firing."""


@dataclass(frozen=True)
class Grouping:
    """When the findings of many devices are one incident of their site."""

    storm_devices: int = 3
    """At least so many devices of a site under one rule..."""
    storm_share: float = 0.5
    """...and at least this share of all its devices."""

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
    ) -> list[Incident]:
        """Route the findings of an epoch that ended at `ts`; update `opened` in place.

        `site_sizes` holds how many devices each site has. Returns a record of each incident that
        opened, changed, or was resolved, ordered by key.
        """
        touched: dict[str, list[str]] = {}
        for finding in findings:
            key = _route(finding, opened, ts)
            if key is not None:
                touched.setdefault(key, []).append(finding.id)
        merged = self._gather_storms(opened, touched, site_sizes, ts)
        records = merged + [_record(key, opened[key], touched[key], ts) for key in touched]
        for key in touched:
            if not opened[key]["devices"]:
                del opened[key]
        return sorted(records, key=lambda record: (record.key, record.status))

    def _gather_storms(
        self,
        opened: Opened,
        touched: dict[str, list[str]],
        site_sizes: Mapping[str, int],
        ts: int,
    ) -> list[Incident]:
        """Fold a site's incidents into one where there are too many; return those folded."""
        candidates = sorted(
            {(opened[key]["rule"], opened[key]["site"]) for key in touched if opened[key]["site"]}
        )
        folded: list[Incident] = []
        for rule, site in candidates:
            storm = f"{rule}@site:{site}"
            single = sorted(
                key
                for key, incident in opened.items()
                if key != storm
                and incident["devices"]
                and (incident["rule"], incident["site"]) == (rule, site)
            )
            size = site_sizes.get(site, 0)
            if len(single) < max(self.storm_devices, math.ceil(self.storm_share * size)):
                continue
            gathered = opened.setdefault(
                storm,
                {"opened_ts": ts, "severity": "info", "site": site, "rule": rule, "devices": {}},
            )
            for key in single:
                incident = opened.pop(key)
                for device, parts in incident["devices"].items():
                    gathered["devices"].setdefault(device, []).extend(parts)
                gathered["severity"] = max(
                    gathered["severity"], incident["severity"], key=SEVERITIES.index
                )
                ids = touched.pop(key, [])
                touched.setdefault(storm, []).extend(ids)
                incident["title"] = f"now part of {storm}"
                incident["devices"] = {}
                folded.append(_record(key, incident, ids, ts))
            gathered["title"] = f"{rule}: {len(gathered['devices'])} of {size} devices at {site}"
        return folded


def _route(finding: Finding, opened: Opened, ts: int) -> str | None:
    """Add the finding to its incident, or take it out; return the incident's key."""
    if finding.group:
        return _route_group(finding, opened, ts)
    name = "/".join(filter(None, (finding.part, finding.medium_id)))
    keys = (f"{finding.rule}@site:{finding.site}", f"{finding.rule}@{finding.device_id}")
    if finding.status == "resolved":
        for key in keys:
            parts = opened.get(key, {}).get("devices", {}).get(finding.device_id)
            if parts and name in parts:
                parts.remove(name)
                if not parts:
                    del opened[key]["devices"][finding.device_id]
                return key
        return None
    key = keys[0] if keys[0] in opened else keys[1]
    incident = _incident_of(finding, key, opened, ts)
    incident["severity"] = max(incident["severity"], finding.severity, key=SEVERITIES.index)
    parts = incident["devices"].setdefault(finding.device_id, [])
    if name not in parts:
        parts.append(name)
    return key


def _incident_of(finding: Finding, key: str, opened: Opened, ts: int) -> dict[str, Any]:
    """Return the incident of that key, opened by this finding if it is not open yet."""
    return opened.setdefault(
        key,
        {
            "opened_ts": ts,
            "severity": finding.severity,
            "site": finding.site,
            "rule": finding.rule,
            "title": f"{finding.where}: {finding.sentence}",
            "devices": {},
        },
    )


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
    )
