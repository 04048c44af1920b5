"""The same readings mean the same, whatever protocol brings them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pytest

from aiops.connectors.wire import arrow, influx, ndjson, remote_write
from aiops.connectors.wire.limits import Limits, unpack
from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import Encoded
from tests.connectors.wire import encoders
from tests.connectors.wire.encoders import MS, Reading

LIMITS = Limits()
T = 1_760_000_000_000 * MS
READINGS = [
    Reading(f"gw-{device}", T + minute * 60_000 * MS, metric, value, labels, site, "B")
    for device, site in ((1, "north"), (2, None))
    for minute in range(5)
    for metric, value, labels in (
        ("node_boot_time_seconds", 1_759_000_000.0, {}),
        ("node_disk_written_bytes_total", 1e9 + minute, {"device": "sda"}),
        ("node_disk_written_bytes_total", 2e9 + minute, {"device": "nvme0n1"}),
        ("smartctl_device_percentage_used", 12.0, {"device": "nvme0"}),
    )
]
WAYS = {
    "ndjson": (encoders.ndjson, ndjson.decode),
    "json": (encoders.json_array, ndjson.decode_json),
    "remote write 1.0": (
        lambda readings: encoders.snappy(encoders.remote_write_v1(readings)),
        lambda body, now, limits: remote_write.decode_v1(
            unpack(body, "snappy", limits), now, limits
        ),
    ),
    "remote write 2.0": (encoders.remote_write_v2, remote_write.decode_v2),
    "influx": (encoders.influx, influx.decode),
}


def name(column: Encoded | None, row: int) -> str:
    return "" if column is None or column.code[row] < 0 else column.value[column.code[row]]


def meant(tables: Iterable[pa.Table]) -> list[tuple[object, ...]]:
    """Device, time, part, site, cohort, metric and value of all that is known."""
    found: list[tuple[object, ...]] = []
    for table in tables:
        frame = normalise(table)
        assert not frame.unknown
        assert not len(frame.set_aside)
        names = frame.device_id, frame.part, frame.site, frame.cohort
        for metric, (rows, values) in frame.columns.items():
            rows = np.arange(len(frame)) if rows is None else rows
            for row, value in zip(rows.tolist(), values.tolist(), strict=True):
                told = (name(column, row) for column in names)
                found.append((int(frame.ts[row]), *told, metric, value))
    return sorted(found)


@pytest.mark.parametrize("way", WAYS)
def test_a_fleet_means_the_same_in_every_protocol(way):
    encode, decode = WAYS[way]
    done = decode(encode(READINGS), 0, LIMITS)
    assert done.refused == ()
    expected = meant(arrow.decode(encoders.arrow(READINGS), 0, LIMITS).tables)
    assert len(expected) == len(READINGS)
    assert meant(done.tables) == expected
