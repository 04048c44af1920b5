"""Tells Prometheus Alertmanager: each incident is one alert (API v2, ``POST /api/v2/alerts``).

Findings are not sent: an incident is what they add up to, so a storm is one alert. An alert ends
by itself when it is no longer sent, so incidents that fire are sent again and again (`refresh`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from aiops.alerts.finding import content_id, isoformat
from aiops.connectors.telling.addresses import Egress
from aiops.connectors.telling.posting import TIMEOUT_S, Poster
from aiops.engine.ports import Message
from aiops.errors import DeliveryError, SettingsError

PATH = "/api/v2/alerts"
REPEAT_S = 60.0
BATCH = 64
"""Alerts in one request."""
SHOWN = 20
"""Devices that a description names."""
SECOND = 1_000_000_000

Labels = dict[str, str]


class AlertmanagerOutlet:
    """Posts incidents to one Alertmanager or to all of a cluster; one that takes them suffices.

    Labels are ``alertname`` (the rule), ``device`` (of an incident of one device), ``site``,
    ``cohort``, ``severity`` and ``fingerprint`` (stable over all times the incident fires, so it
    can be silenced).

    Parameters
    ----------
    urls
        Of each Alertmanager: ``https://am-1.example.org:9093``. All are told, as its
        documentation asks; they agree among themselves.
    egress
        Whom we may call.
    page_url
        Our own address, for the link from an alert to its incident; empty: no link.
    repeat_s
        Firing incidents are sent again after so many seconds; an alert that is no longer sent
        ends after three times as long.
    name
        Of this outlet, in the outbox and in metrics.
    ca_file
        Certificates to trust instead of the system's.
    timeout_s
        For one exchange with one of them.
    now
        Seconds since the epoch.

    Raises
    ------
    SettingsError
        No URL is given, one must not be called, or `repeat_s` is not more than 0.
    """

    kinds = frozenset({"incident"})

    def __init__(
        self,
        urls: Sequence[str],
        *,
        egress: Egress,
        page_url: str = "",
        repeat_s: float = REPEAT_S,
        name: str = "alertmanager",
        ca_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.repeat_s = repeat_s
        if not urls or repeat_s <= 0:
            raise SettingsError(
                f"{name} has urls {list(urls)} and repeat_s {repeat_s}; give one URL or more, and"
                " seconds above 0"
            )
        self._urls = [url.rstrip("/") + PATH for url in urls]
        for url in self._urls:
            egress.target(url)
        self._page_url = page_url.rstrip("/")
        self._now = now
        self._posters = [
            Poster(egress, ca_file=ca_file, timeout_s=timeout_s, now=now) for _ in urls
        ]
        self._sent: dict[str, Labels] = {}
        """Incident -> labels it was last sent with, to end that alert when they change."""

    def deliver(self, message: Message) -> None:
        """Send an incident.

        Raises
        ------
        DeliveryError
            None of the Alertmanagers took it.
        """
        self._send([message])

    def refresh(self, firing: Sequence[Message]) -> None:
        """Send all incidents that fire once more, so that their alerts go on.

        Raises
        ------
        DeliveryError
            None of the Alertmanagers took them.
        """
        for start in range(0, len(firing), BATCH):
            self._send(firing[start : start + BATCH])
        kept = {message.record["incident_id"] for message in firing}
        self._sent = {name: labels for name, labels in self._sent.items() if name in kept}

    def close(self) -> None:
        """Close its connections."""
        for poster in self._posters:
            poster.close()

    def _send(self, messages: Sequence[Message]) -> None:
        now_ns = int(self._now() * SECOND)
        sent = dict(self._sent)
        alerts: list[dict[str, Any]] = []
        for message in messages:
            current = self._alert(message, now_ns)
            name = message.record["incident_id"]
            before = sent.get(name, current["labels"])
            if before != current["labels"]:  # its severity rose: to Alertmanager another alert
                alerts.append({**current, "labels": before, "endsAt": isoformat(now_ns)})
            alerts.append(current)
            sent[name] = current["labels"]
            if message.record["status"] == "resolved":
                del sent[name]
        self._post(msgspec.json.encode(alerts))
        self._sent = sent

    def _alert(self, message: Message, now_ns: int) -> dict[str, Any]:
        """Return what Alertmanager calls a postable alert."""
        record = message.record
        try:
            ends_ns = now_ns + int(3 * self.repeat_s * SECOND)
            if record["status"] == "resolved":
                ends_ns = min(_nanoseconds(record["ts"]), now_ns)
            starts_ns = min(_nanoseconds(record["opened_ts"]), ends_ns, now_ns)
            alert: dict[str, Any] = {
                "labels": _labels(record),
                "annotations": {
                    "summary": record["title"],
                    "description": _description(record["devices"]),
                    "incident_id": record["incident_id"],
                },
                "startsAt": isoformat(starts_ns),
                "endsAt": isoformat(ends_ns),
            }
            if self._page_url:
                name = quote(record["incident_id"], safe="")
                alert["generatorURL"] = f"{self._page_url}/incidents/{name}"
        except (KeyError, ValueError) as error:
            raise DeliveryError(
                f"message {message.id} ({message.kind}) makes no alert: {type(error).__name__}"
                f" {error}; an incident was expected",
                permanent=True,
            ) from error
        return alert

    def _post(self, body: bytes) -> None:
        failed: list[DeliveryError] = []
        for url, poster in zip(self._urls, self._posters, strict=True):
            try:
                poster.post(url, body, {"content-type": "application/json"})
            except DeliveryError as error:
                failed.append(error)
        if len(failed) == len(self._urls):
            raise DeliveryError(
                "; ".join(map(str, failed)),
                permanent=all(error.permanent for error in failed),
                retry_after_s=min(error.retry_after_s for error in failed),
            )


def _labels(record: Mapping[str, Any]) -> Labels:
    """Return labels that stay as they are while the incident fires, but for its severity."""
    rule, _, place = record["key"].partition("@")
    scope, colon, name = place.partition(":")
    grouped = bool(colon) and scope in ("site", "cohort")
    labels = {
        "alertname": rule,
        "device": "" if grouped else place,
        "site": record["site"],
        "cohort": name if grouped and scope == "cohort" else "",
        "severity": record["severity"],
        "fingerprint": content_id("fp", record["key"]),
    }
    return {label: value for label, value in labels.items() if value}


def _description(devices: Sequence[str]) -> str:
    named = ", ".join(devices[:SHOWN])
    more = len(devices) - SHOWN
    return (f"{named} and {more} more" if more > 0 else named) or "no device any more"


def _nanoseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * SECOND + moment.microsecond * 1000
