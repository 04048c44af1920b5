"""What is known of the nodes, and what of that can be believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aiops.kernels.rows import B1, F8

PLAUSIBLE: dict[str, tuple[float, float]] = {
    "soc_ratio": (0.0, 1.0),
    "on_mains": (0.0, 1.0),
    "temperature_c": (-60.0, 150.0),
    "ambient_c": (-90.0, 90.0),
    "rtt_ms": (0.0, 600_000.0),
    "jitter_ms": (0.0, 600_000.0),
    "loss_ratio": (0.0, 1.0),
    "rssi_dbm": (-150.0, 0.0),
    "bandwidth_mbit_s": (0.0, 1e6),
    "utilization_ratio": (0.0, 1.0),
    "failure_risk": (0.0, 1.0),
    "age_s": (0.0, np.inf),
}
"""What a condition can be; anything else is a fault of the sensor or of who reads it."""

READINGS = tuple(name for name in PLAUSIBLE if name not in ("failure_risk", "age_s"))
"""Conditions that the node itself reports, and that grow old with it."""


@dataclass(frozen=True)
class Conditions:
    """The last known state of each node of the inventory, in its order; NaN: unknown."""

    soc_ratio: F8
    on_mains: F8
    """1 on mains, 0 on battery; NaN: as the inventory declares."""
    temperature_c: F8
    ambient_c: F8
    """Air around the node; NaN: as the inventory declares."""
    rtt_ms: F8
    """From the node to the cloud."""
    jitter_ms: F8
    """Standard deviation of that."""
    loss_ratio: F8
    rssi_dbm: F8
    bandwidth_mbit_s: F8
    """From the node to the cloud."""
    utilization_ratio: F8
    """Share of processor time in use."""
    failure_risk: F8
    """Probability of failing within `criteria.HORIZON_H`, besides what findings tell."""
    cordoned: B1
    """Closed to new work, besides what the inventory declares."""
    silent: B1
    """Not heard of for longer than its own rhythm explains."""
    age_s: F8
    """Time since the node last reported; NaN: it never did, as a cloud region."""

    @classmethod
    def unknown(cls, n: int) -> Conditions:
        """Return the conditions of `n` nodes of which nothing is known."""
        no = np.zeros(n, dtype=np.bool_)
        unknown: Any = {name: np.full(n, np.nan) for name in PLAUSIBLE}
        return cls(**unknown, cordoned=no, silent=no)


def believed(conditions: Conditions, fresh_s: float) -> tuple[Conditions, int]:
    """Return `conditions` without what cannot be true, and how many values that was.

    What is refused is not known, and so is what a silent node, or one not heard of for `fresh_s`,
    said last: otherwise the last reading before a node fell silent could drive its workloads out
    for ever. Unreachable is not dead.
    """
    kept: Any = {}
    doubtful = 0
    for name, (low, high) in PLAUSIBLE.items():
        given = getattr(conditions, name)
        wrong = ~np.isnan(given) & ~((given >= low) & (given <= high))
        doubtful += int(np.count_nonzero(wrong))
        kept[name] = np.where(wrong, np.nan, given)
    old = conditions.silent | (kept["age_s"] > fresh_s)
    for name in READINGS:
        kept[name] = np.where(old, np.nan, kept[name])
    return replace(conditions, **kept), doubtful
