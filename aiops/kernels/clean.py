"""From a reading in its own unit to a value in the canonical one, or to *not reported*."""

from __future__ import annotations

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I8


@kernel
def clean(
    reading: F8,
    scale: float,
    offset: float,
    per: float,
    lower: float,
    upper: float,
    value: F8,
) -> tuple[int, int]:
    """Write ``(reading * scale + offset) / per`` [n] into `value` [n]; NaN outside the bounds.

    Dividing last keeps percentages exact: 69 % remaining is 0.31 used, not 0.30999. NaN in
    `reading` means *not reported* and stays. `lower` and `upper` are finite, so what is not finite
    is refused too.

    Returns
    -------
    kept, refused
        How many values were written, and how many lay outside the bounds.
    """
    kept = 0
    refused = 0
    for i in range(reading.shape[0]):
        x = (float(reading[i]) * scale + offset) / per
        if lower <= x <= upper:
            value[i] = x
            kept += 1
        else:
            value[i] = np.nan
            if not np.isnan(x):
                refused += 1
    return kept, refused


@kernel
def count_odd(ts: I8, recv_ts: I8, earliest: int, latest: int, ahead_ns: int) -> int:
    """Return how many rows [n] have a time that wants a second look.

    Their time is missing, before `earliest` or not before `latest`, or lies more than `ahead_ns`
    beyond that of the log (`recv_ts` [n], or [0] where the log stamps nothing).
    """
    odd = 0
    stamped = recv_ts.shape[0] > 0
    for i in range(ts.shape[0]):
        t = ts[i]
        if t < earliest or t >= latest or (stamped and t > recv_ts[i] + ahead_ns):
            odd += 1
    return odd
