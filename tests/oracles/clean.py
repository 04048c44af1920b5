"""What `aiops.kernels.clean` must do, one value at a time."""

from __future__ import annotations

import math


def clean(
    readings: list[float], scale: float, offset: float, per: float, lower: float, upper: float
) -> tuple[list[float], int, int]:
    """Return the values, how many were kept and how many were refused."""
    values: list[float] = []
    refused = 0
    for reading in readings:
        if math.isnan(reading):
            values.append(math.nan)
            continue
        value = (reading * scale + offset) / per
        if math.isfinite(value) and lower <= value <= upper:
            values.append(value)
        else:
            values.append(math.nan)
            refused += 1
    return values, sum(not math.isnan(value) for value in values), refused


def count_odd(
    rows: list[tuple[int, int]], stamped: bool, earliest: int, latest: int, ahead: int
) -> int:
    """Return how many rows (time, stamp) are out of range or too far beyond their stamp."""
    return sum(
        not earliest <= ts < latest or (stamped and ts > stamp + ahead) for ts, stamp in rows
    )
