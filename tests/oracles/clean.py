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
