"""A medium is swapped: the new one begins a life, and the old one's findings say why they end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.silence import Silence
from aiops.engine.engine import Engine
from aiops.fleet.inventory import Inventory
from aiops.testing import check_checkpoint, check_cut, check_order, check_replay

DAY = 86_400
START = 1_772_323_200
SWAP = 40
"""Day on which the worn medium S1 of gw-1 is replaced by S2."""


def row(device, medium, day, **said):
    part = "nvme0" if medium else None
    return {
        "device_id": device,
        "part": part,
        "medium_id": medium,
        "ts": None if day is None else START + int(day * DAY),
        "storage.wear.used_ratio/nvme": said.get("wear"),
        "storage.power_on_time": said.get("on_h", 0.0) * 3600.0 if "wear" in said else None,
        "temp_c": said.get("temp_c"),
    }


def swapped(days=80) -> pa.Table:
    """Return a fleet in which one worn medium is replaced, and one goes on being worn."""
    rows = []
    for day in range(days):
        old = day < SWAP
        wear = 0.90 + 0.004 * day if old else 0.004 * (day - SWAP)
        on_h = 30_000.0 + 24.0 * day if old else 24.0 * (day - SWAP)
        rows.append(row("gw-1", "S1" if old else "S2", day, wear=wear // 0.01 / 100, on_h=on_h))
        rows.append(row("gw-2", "S7", day + 0.01, wear=1.02, on_h=30_000.0 + 24.0 * day))
        rows.append(row("gw-3", "S8", day + 0.02, wear=0.02, on_h=24.0 * day))
    return pa.Table.from_pylist([*rows, row(None, None, None)])


def engine(**settings) -> Engine:
    return Engine(epoch_s=3600, **settings)


def test_findings_of_a_medium_that_left_are_resolved_and_say_why():
    made = engine()
    step = made.step(swapped())
    of_old = [f for f in step.findings if f.medium_id == "S1" and f.detector == "flash_wear"]
    assert [(f.status, f.reason) for f in of_old] == [("firing", ""), ("resolved", "replaced")]
    fired, resolved = of_old
    assert resolved.fingerprint == fired.fingerprint
    assert resolved.sentence == "The medium was replaced by S2."
    assert resolved.to_record()["reason"] == "replaced"
    at = START + SWAP * DAY
    assert at <= resolved.ts // 1_000_000_000 <= at + 3600
    # Whoever is still there goes on asking, and the new medium has a life of its own.
    assert {f.medium_id for f in made._firing.values()} == {"S7"}
    assert not [f for f in step.findings if f.medium_id == "S2"]
    incidents = [i.status for i in step.incidents if i.key == "flash_wear@gw-1"]
    assert incidents == ["firing", "resolved"]


def test_nothing_is_foretold_or_asked_of_a_medium_that_left():
    made = engine()
    step = made.step(swapped())
    foretold = made.forecasts().filter(pa.compute.field("detector") == "flash_wear")
    assert set(foretold["medium_id"].to_pylist()) == {"S2", "S7", "S8"}
    asked = [v.action for v in step.verdicts if v.action.kind == "schedule_maintenance"]
    of_old = [a for a in asked if a.params["medium_id"] == "S1"]
    assert of_old
    assert all(a.issued_ts < (START + SWAP * DAY) * 1_000_000_000 for a in of_old)


def test_a_medium_that_is_worn_when_it_comes_does_not_close_with_the_one_that_left():
    table = swapped().to_pylist()
    for one in table:
        if one["medium_id"] == "S2":
            one["storage.wear.used_ratio/nvme"] = 1.5
    made = engine()
    step = made.step(pa.Table.from_pylist(table))
    assert {f.medium_id for f in made._firing.values()} == {"S2", "S7"}
    assert made._opened["flash_wear@gw-1"]["devices"] == {"gw-1": ["flash_wear/nvme0/S2"]}
    assert [f.medium_id for f in step.findings if f.reason == "replaced"] == ["S1"]


def test_silence_forgets_the_rhythm_of_a_medium_that_left():
    rows = [row("gw-1", "S1", k / 1440, wear=0.5) for k in range(2 * 1440)]
    rows += [row("gw-1", "S2", 2 + k / 4, wear=0.0) for k in range(120)]
    rows += [row("gw-2", None, k / 24, temp_c=20.0) for k in range(32 * 24)]
    rows.sort(key=lambda one: one["ts"])
    table = pa.Table.from_pylist([*rows, row(None, None, None)])
    rules = [AlertRule(Silence()), AlertRule(FlashWear())]
    step = engine(rules=rules, inventory=Inventory()).step(table)
    assert [f for f in step.findings if f.detector == "silence"] == []


@pytest.mark.parametrize("check", [check_cut, check_order, check_checkpoint])
def test_a_swap_obeys_the_laws(check):
    check(engine, swapped(60), np.random.default_rng(5))


def test_a_swap_obeys_the_law_of_replay():
    check_replay(engine, swapped(60))
