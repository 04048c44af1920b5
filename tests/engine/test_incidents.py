"""The stream of incidents obeys the laws, with a cause to blame and what people say in between."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.life import LifeSettings
from aiops.alerts.rule import AlertRule
from aiops.detectors.silence import Silence
from aiops.engine.engine import Engine
from aiops.fleet.inventory import Inventory, Node
from aiops.testing import END, check_checkpoint, check_cut, check_order, check_replay

START, EVERY_S, DEVICES = 1_767_571_200, 600, 24


def inventory() -> Inventory:
    return Inventory(
        tuple(
            Node(
                f"gw-{d:02}",
                site=f"s{d % 6}",
                attributes={"firmware": "2.1" if d % 4 == 0 else "2.0"},
            )
            for d in range(DEVICES)
        )
    )


def history() -> pa.Table:
    """Give two days of rows; devices with one firmware are not heard of for two hours, twice."""
    rng = np.random.default_rng(2)
    rows = []
    for d in range(DEVICES):
        ts = START + rng.uniform(0.0, EVERY_S) + np.arange(40 * 6) * EVERY_S
        if d % 4 == 0:
            for begin in (30.0, 34.0):
                gone = START + begin * 3600 + rng.uniform(0.0, 1800.0)
                ts = ts[(ts < gone) | (ts > gone + 7200.0)]
        rows += [(f"gw-{d:02}", moment, 20.0) for moment in ts]
    rows.sort(key=lambda row: row[1])
    device, ts, value = zip(*rows, strict=True)
    table = pa.table(
        {
            "device_id": device,
            "ts": pa.array((np.array(ts) * 1e9).astype(np.int64), pa.timestamp("ns", "UTC")),
            "temperature.celsius": value,
        }
    )
    return pa.concat_tables([table, pa.Table.from_pylist([END], schema=table.schema)])


def engine() -> Engine:
    made = Engine(
        [AlertRule(Silence())],
        inventory=inventory(),
        life=LifeSettings(flaps=2, calm_s=3600.0),
        epoch_s=300,
        selection=None,
    )
    said = {"matchers": ["firmware=2.0", "device=gw-01"], "for_s": 86_400 * 3}
    made.life.heard("silence", said, "ann", START * 10**9)
    return made


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return history().combine_chunks()


def test_the_firmware_is_blamed_and_its_second_outage_is_the_same_incident(table: pa.Table) -> None:
    told = [i for i in engine().step(table).incidents if i.key.startswith("cause@")]
    assert {i.key for i in told} == {"cause@firmware:2.1"}
    assert len({i.incident_id for i in told}) == 1
    assert max(i.reopened for i in told) >= 1
    assert max(len(i.devices) for i in told) >= 4
    assert told[-1].status == "resolved"


def test_incidents_obey_the_laws(table: pa.Table) -> None:
    rng = np.random.default_rng(1)
    check_cut(engine, table, rng)
    check_order(engine, table, rng)
    check_replay(engine, table)
    for _ in range(2):
        check_checkpoint(engine, table, rng)
