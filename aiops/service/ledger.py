"""The states of an action, and who may move it from one to the next.

::

    held ──► proposed ──► approved ──► sent
                │             └──────► failed
                ├──► rejected
                └──► expired

An action of a kind that needs nobody's approval goes to ``approved`` at once. Sent, failed,
rejected and expired are ends: nothing leaves them, so no replay does anything twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from aiops.actions.action import Action
from aiops.errors import ActionError

SECOND_NS = 1_000_000_000
PARAMS_DEPTH = 16
"""What is nested deeper in an action's parameters is refused."""
DECISIONS = {"approval": "approved", "rejection": "rejected"}
"""What a person says in the log -> the state it leads to."""


def proposed(said: Mapping[str, Any], who: str, at_ns: int) -> Action:
    """Return the action that somebody proposes at that moment.

    Raises
    ------
    ActionError
        There must be no such action: its target is everything, it expires at once, or its
        parameters are nested too deep to be written down.
    """
    if _is_deeper(said["params"], PARAMS_DEPTH):
        raise ActionError(f"params are nested deeper than {PARAMS_DEPTH}; give flatter ones")
    return Action(
        kind=said["kind"],
        target=tuple(said["target"]),
        reason=said["reason"],
        evidence=tuple(said["evidence"]),
        origin=f"operator:{who}",
        issued_ts=at_ns,
        expires_ts=at_ns + int(said["expires_s"] * SECOND_NS),
        params=said["params"],
    )


def _is_deeper(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth < 0 or any(_is_deeper(one, depth - 1) for one in inner)


def after_verdict(
    before: str | None, verdict: Mapping[str, Any], automatic: frozenset[str]
) -> str | None:
    """Return the state a verdict of the guard leads to; None: it changes nothing."""
    if before not in (None, "held"):
        return None
    if verdict["verdict"] != "allowed":
        return "held"
    return "approved" if verdict["kind"] in automatic else "proposed"


def refusal(action: Mapping[str, Any] | None, who: str, now_ns: int, *, halted: bool) -> str:
    """Say why `who` may not decide on an action now; empty: he may."""
    if action is None:
        return "there is no such action"
    if action["state"] != "proposed":
        return f"it is {action['state']}, and only what is proposed can be decided on"
    if expired(action, now_ns):
        return f"its evidence is stale since {action['expires_ts']}"
    if action.get("proposed_by") == who:
        return "who proposed an action does not decide on it"
    if halted:
        return "the halt switch is on"
    return ""


def expired(action: Mapping[str, Any], now_ns: int) -> bool:
    """Say whether the evidence for an action is stale."""
    end = datetime.fromisoformat(action["expires_ts"])
    return now_ns >= int(end.timestamp() * 1e9)


def chained(before: str, body: str) -> str:
    """Return the hash of an audit entry, which seals all entries before it."""
    return hashlib.sha256(f"{before}\n{body}".encode()).hexdigest()


def first_broken(entries: Iterable[tuple[int, str, str]]) -> int | None:
    """Return the first entry (number, body, hash) that was altered, moved or removed, or None."""
    before, expected = "", 1
    for seq, body, digest in entries:
        if seq != expected or digest != chained(before, body):
            return expected
        before, expected = digest, seq + 1
    return None
