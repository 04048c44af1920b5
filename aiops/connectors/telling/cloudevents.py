"""What is told, as CloudEvents 1.0 in structured JSON (CloudEvents specification, v1.0.2)."""

from __future__ import annotations

from typing import Any

import msgspec

from aiops.alerts.finding import isoformat
from aiops.engine.ports import Message
from aiops.errors import DeliveryError

CONTENT_TYPE = "application/cloudevents+json"
SEVERITY_NUMBER = {"info": 9, "low": 10, "warning": 13, "high": 17, "critical": 21}
"""Severity numbers of OpenTelemetry logs, which the severity extension shares."""

_encode = msgspec.json.Encoder(order="sorted", enc_hook=lambda value: value.item()).encode


def event(message: Message, source: str) -> dict[str, Any]:
    """Return a message as a CloudEvent; attributes that it has no value for are left out.

    Parameters
    ----------
    message
        A finding, an incident or an action, as `Step.records` has it.
    source
        Who tells it: a URI reference, ``/aiops/lyon`` or ``https://aiops.example.org``.

    Raises
    ------
    DeliveryError
        The record is of no known kind, or lacks a field of its kind.
    """
    try:
        attributes = _OF_KIND[message.kind](message.record)
    except KeyError as error:
        raise DeliveryError(
            f"message {message.id} is {message.kind!r} with {sorted(message.record)}, without"
            f" {error}; a finding, an incident or an action was expected",
            permanent=True,
        ) from error
    told = {
        "specversion": "1.0",
        "id": message.id,
        "source": source,
        "datacontenttype": "application/json",
        "recordedtime": isoformat(message.created_ns),
        **attributes,
        "data": message.record,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def encode(told: dict[str, Any]) -> bytes:
    """Return an event as JSON: keys sorted, so the same event is the same bytes."""
    return _encode(told)


def _finding(record: dict[str, Any]) -> dict[str, Any]:
    group = f"site:{record['site']}" if record["site"] else f"cohort:{record['cohort']}"
    return {
        "type": f"dev.aiops.finding.{record['status']}.v1",
        "subject": record["device_id"] or group,
        "time": record["ts"],
        "correlationid": record.get("incident_id"),
        **_severity(record),
    }


def _incident(record: dict[str, Any]) -> dict[str, Any]:
    opened = record["ts"] == record["opened_ts"]
    state = "resolved" if record["status"] == "resolved" else "opened" if opened else "updated"
    return {
        "type": f"dev.aiops.incident.{state}.v1",
        "subject": record["devices"][0] if len(record["devices"]) == 1 else record["key"],
        "time": record["ts"],
        "correlationid": record["incident_id"],
        **_severity(record),
    }


def _action(record: dict[str, Any]) -> dict[str, Any]:
    incidents = [name for name in record["evidence"] if name.startswith("inc-")]
    state = "approved" if record["verdict"] == "allowed" else record["verdict"]
    return {
        "type": f"dev.aiops.action.{state}.v1",
        "subject": ",".join(record["target"]),
        "time": record["issued_ts"],
        "correlationid": record.get("incident_id") or (incidents[0] if incidents else None),
        "expirytime": record["expires_ts"],
    }


def _severity(record: dict[str, Any]) -> dict[str, Any]:
    severity = record["severity"]
    return {"severitytext": severity, "severitynumber": SEVERITY_NUMBER[severity]}


_OF_KIND = {"finding": _finding, "incident": _incident, "action": _action}
