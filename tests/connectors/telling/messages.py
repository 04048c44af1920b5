"""Messages as the outbox has them, made from real findings, incidents and actions."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from aiops.actions.action import Action
from aiops.actions.guard import Verdict
from aiops.alerts.finding import Finding, Incident
from aiops.engine.ports import Message

SECOND = 1_000_000_000
T0 = 1_790_000_000 * SECOND
"""2026-09-21, in UTC."""


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as it comes back from a database: through JSON."""
    return json.loads(msgspec.json.encode(record))


def finding(**changed: Any) -> Message:
    values = {
        "rule": "flash_wear", "detector": "flash_wear", "status": "firing", "severity": "high",
        "device_id": "gw-17", "part": "nvme0", "medium_id": "S1", "site": "lyon", "cohort": "fw-2",
        "since_ts": T0, "ts": T0 + SECOND, "score": 1.5, "observed": 0.9, "expected": float("nan"),
        "sentence": "wears out in 30 days",
    }  # fmt: skip
    made = Finding(**(values | changed))
    return Message(made.id, "finding", plain(made.to_record()), T0 + 2 * SECOND)


def incident(**changed: Any) -> Message:
    values = {
        "key": "flash_wear@gw-17", "status": "firing", "severity": "high", "site": "lyon",
        "opened_ts": T0, "ts": T0, "title": "gw-17/nvme0: wears out in 30 days",
        "findings": ("fnd-1",), "devices": ("gw-17",),
    }  # fmt: skip
    made = Incident(**(values | changed))
    return Message(made.id, "incident", plain(made.to_record()), T0 + 2 * SECOND)


def action(
    *,
    decision: str = "allowed",
    created_ns: int = T0 + 2 * SECOND,
    recorded: dict[str, Any] | None = None,
    **changed: Any,
) -> Message:
    values = {
        "kind": "drain", "target": ("gw-17",), "reason": "flash of gw-17 wears out",
        "evidence": ("fnd-1", "inc-7"), "origin": "flash_wear", "issued_ts": T0,
        "expires_ts": T0 + 3600 * SECOND, "params": {"grace_s": 30}, "site": "lyon",
    }  # fmt: skip
    verdict = Verdict(Action(**(values | changed)), decision, "within limits")
    record = plain(verdict.to_record()) | (recorded or {})
    return Message(record["id"], "action", record, created_ns)
