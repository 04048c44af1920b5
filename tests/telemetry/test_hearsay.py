from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest

from aiops.engine.engine import Engine
from aiops.telemetry.normalise import normalise
from tests.telemetry.frames import MARCH

SECOND = 1_000_000_000
STALE = struct.unpack("<d", (0x7FF0000000000002).to_bytes(8, "little"))[0]


def readings(*rows: tuple[str, str, float]) -> pa.Table:
    device, metric, value = zip(*rows, strict=True)
    return pa.table(
        {
            "device_id": device,
            "ts": [MARCH + i * SECOND for i in range(len(rows))],
            "metric": metric,
            "value": pa.array(np.array(value)),
        }
    )


@pytest.mark.parametrize(
    ("metric", "value", "spoke"),
    [
        ("up", 0.0, False),
        ("up", 1.0, True),
        ("scrape_duration_seconds", 0.1, False),
        ("node_load1", STALE, False),
        ("node_load1", float("nan"), True),
        ("node_load1", 0.0, True),
    ],
)
def test_who_is_only_spoken_of_has_not_spoken(metric: str, value: float, spoke: bool) -> None:
    frame = normalise(readings(("gw-1", metric, value)))
    assert len(frame) == 1
    assert (frame.device_id.code[0] >= 0) == spoke


def test_what_is_said_of_a_device_does_not_make_it_known_to_the_fleet() -> None:
    engine = Engine()
    step = engine.step(readings(("gw-1", "node_load1", 1.0), ("gw-2", "up", 0.0)))
    assert not len(step.set_aside)
    assert [identity[0] for identity in engine.fleet.registry.identities] == ["gw-1"]
    assert engine.fleet.counts["rows"] == 1


def test_readings_beside_hearsay_are_read() -> None:
    frame = normalise(
        readings(("gw-1", "up", 0.0), ("gw-1", "temperature.celsius", 40.0), ("gw-1", "up", 1.0))
    )
    column = frame.columns["temperature.celsius"]
    assert column.row is not None
    assert column.row.tolist() == [1]
    assert column.value.tolist() == [40.0]
    assert "up" in frame.unknown
