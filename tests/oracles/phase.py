"""Slow, obvious twin of the alert phases. Plain Python only."""

from __future__ import annotations

import math


def advance_phase(rows, line, clear, hold):
    """Give 'fired', 'resolved' or None for each row (device, ts, score, usable), in order."""
    state = {}
    said = []
    for device, ts, score, usable in rows:
        name, since = state.get(device, ("inactive", None))
        word = None
        if usable and not math.isnan(score):
            if score >= line:
                if name == "inactive":
                    name, since = "pending", ts
                if name == "pending" and ts - since >= hold:
                    name, word = "firing", "fired"
            elif score < clear:
                word = "resolved" if name == "firing" else None
                name = "inactive"
        state[device] = (name, since)
        said.append(word)
    return said
