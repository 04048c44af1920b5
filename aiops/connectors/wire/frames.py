"""Frames of the sender's own making: refused whole, or row by row, before they are acknowledged."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from pyarrow import types

from aiops.connectors.wire.build import Refusals
from aiops.errors import FrameError, PayloadError
from aiops.telemetry.columns import column_of, read_names
from aiops.telemetry.layout import Layout


def checked(table: pa.Table, refusals: Refusals) -> pa.Table:
    """Return the rows of a frame that name a device, and tell `refusals` of the others.

    A row without a device is nobody's; a row of nothing at all means to the engine that a history
    is at its end, which no payload may say.

    Raises
    ------
    PayloadError
        No column can be the device or the time, or two columns have the same name.
    """
    name, times = Counter(table.schema.names).most_common(1)[0] if table.num_columns else ("", 1)
    if times > 1:
        raise PayloadError(
            f"{times} columns are called {name[:40]!r}; which of them holds cannot be known: give "
            "each its own name"
        )
    try:
        layout = Layout.guess(table.schema)
    except FrameError as cause:
        raise PayloadError(str(cause)) from cause
    if all(map(_all_there, table[layout.device].chunks)):
        return table
    named = read_names(column_of(table, layout.device)).code >= 0
    missing = len(named) - int(np.count_nonzero(named))
    if not missing:
        return table
    refusals.add(f"no device in column {layout.device!r}", count=missing)
    return table.take(pa.array(np.flatnonzero(named)))


def _all_there(device: pa.Array) -> bool:
    """Say whether surely every row has a name, without looking at any."""
    if types.is_dictionary(device.type):
        return not device.null_count and _all_there(device.dictionary)
    return not device.null_count and (types.is_string(device.type) or types.is_integer(device.type))
