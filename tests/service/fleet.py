"""The small fleet of ``data/tiny`` as if it had reported until now."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
DAY_NS = 86_400_000_000_000
_TIME = pa.timestamp("ns", "UTC")


@cache
def _tiny() -> pa.Table:
    table = pq.read_table(ROOT / "data/tiny/telemetry").drop_columns(["recv_ts"])
    ns = table["ts"].cast(pa.int64()).to_numpy()
    return table.filter(pa.array(ns > ns.max() - 40 * DAY_NS)).sort_by("ts")


def tiny(until_ns: int) -> pa.Table:
    """Return the fleet's telemetry, moved so that its last row is of `until_ns`."""
    table = _tiny()
    ns = table["ts"].cast(pa.int64()).to_numpy()
    return table.set_column(
        table.schema.get_field_index("ts"), "ts", pa.array(ns + until_ns - ns.max()).cast(_TIME)
    )


def fallen_silent(name: str, until_ns: int, hours: int = 100) -> pa.Table:
    """Return the history of a device that reported every hour, until then: a finding of silence."""
    ts = until_ns - 3_600_000_000_000 * np.arange(hours)[::-1]
    return pa.table(
        {
            "device_id": pa.array([name] * hours).dictionary_encode(),
            "ts": pa.array(ts, _TIME),
            "temperature.celsius": pa.array(40.0 + np.arange(hours) % 7),
        }
    )
