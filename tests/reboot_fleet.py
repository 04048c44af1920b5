"""A small fleet whose reboots are known by heart: no chance in it, so that each count is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

START = pd.Timestamp("2025-01-06", tz="UTC")
DAYS = 260
RISE_DAY, CUT_DAY = 170, 100
POWER, SOFTWARE, PLANNED, UNTOLD = 2.0, 3.0, 1.0, 0.0
FEW = 8
"""Devices that always rebooted every two weeks."""


class Box(NamedTuple):
    """A device, and when it booted: days and causes."""

    name: str
    boots: Sequence[tuple[float, float]]
    site: str = "Lyon"
    cohort: str = "fw-1"
    days: int = DAYS


def every(days: float, first: float, until: float, cause: float) -> list[tuple[float, float]]:
    return [(float(day), cause) for day in np.arange(first, until, days)]


CUT = [(CUT_DAY + 0.25, POWER)]
FLEET = (
    Box(
        "drifter",
        every(14, 5.4, RISE_DAY, POWER) + CUT + every(2, RISE_DAY + 0.4, DAYS, SOFTWARE),
    ),
    Box("riser", every(14, 8.4, 240, UNTOLD) + every(2.5, 240.4, DAYS, UNTOLD), "Osaka"),
    *(
        Box(f"steady-{k}", every(14, 1.4 + 1.7 * k, DAYS, UNTOLD) + (CUT if k < 6 else []),
            "Lyon" if k < 6 else "Osaka")
        for k in range(FEW)
    ),
    Box("updated", every(30, 11.4, DAYS, PLANNED), "Osaka", "fw-2"),
    Box("new", [], "Osaka", "fw-2", days=1),
)  # fmt: skip
JUDGED = len(FLEET) - 1


def history(*boxes: Box) -> pa.Table:
    """Return a row a day of each of `boxes` (by default all): a boot counter, uptime and causes."""
    return pa.concat_tables(_rows(box) for box in boxes or FLEET)


def _rows(box: Box) -> pa.Table:
    day = np.arange(box.days, dtype=np.float64)
    boots = sorted([(-3.3, UNTOLD), *box.boots])
    at = np.array([boot for boot, _ in boots])
    last = np.searchsorted(at, day, side="right") - 1
    return pa.table(
        {
            "device_id": [box.name] * box.days,
            "site": [box.site] * box.days,
            "cohort": [box.cohort] * box.days,
            "ts": pa.array(START + pd.to_timedelta(day, "D"), pa.timestamp("ns", tz="UTC")),
            "device.boot_count": 7.0 + last,
            "device.uptime": np.floor((day - at[last]) * 86_400.0),
            "device.reboot_cause": np.array([cause for _, cause in boots])[last],
        }
    )
