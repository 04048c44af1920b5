"""Readings that say something about a device without the device having spoken.

A Prometheus that cannot reach a gateway goes on writing ``up`` = 0 in its name, once a scrape, and
marks the end of its series. Taken as rows of the device, they would make it look alive. They move
the clock, as a heartbeat does, and nothing else.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyarrow import types

from aiops.kernels.rows import B1
from aiops.telemetry.columns import column_of, read_names, read_numbers
from aiops.telemetry.layout import Layout

STALE = 0x7FF0000000000002
"""Bits of the NaN that ends a series: Prometheus remote write 1.0, "Stale Markers"."""
WHEN_ZERO = frozenset({"up"})
"""Metrics that are the device's own word only while they are not 0."""
SCRAPE = "scrape_"
"""Prefix of what a scraper measures of its own work."""


def hearsay(table: pa.Table, layout: Layout) -> B1 | None:
    """Return which rows [n] of a long frame no device spoke; None: each is its device's word."""
    if not layout.is_long:
        return None
    code, names = read_names(column_of(table, str(layout.metric)))
    values = column_of(table, str(layout.value))
    told: B1 | None = None
    if types.is_float64(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        if np.isnan(numbers).any():
            told = numbers.view(np.int64) == STALE
    scrape = [name.startswith(SCRAPE) for name in names]
    zero = [name in WHEN_ZERO for name in names]
    if any(scrape):
        told = _or(told, np.array([*scrape, False])[code])
    if any(zero):
        number = read_numbers(values)[0]
        told = _or(told, np.array([*zero, False])[code] & (number == 0.0))
    return told if told is not None and told.any() else None


def _or(a: B1 | None, b: B1) -> B1:
    return b if a is None else a | b
