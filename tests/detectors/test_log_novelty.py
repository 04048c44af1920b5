"""New log lines: what is told, and how many false alarms rare but normal lines give."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.detectors.log_novelty import LogNovelty
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.engine.engine import Engine
from aiops.errors import SettingsError
from aiops.telemetry.batch import LogBatch, TelemetryBatch, group_bounds
from aiops.telemetry.templates import Templates
from aiops.testing import as_history
from tests.log_fleet import START, log_fleet

HOUR = 3600 * 10**9
DAY = 24 * HOUR
USUAL, RARE, FAULT = 20, 600, 2000


def batch(device, ts, template, severity):
    order = np.lexsort((template, ts, device))
    device, ts = device[order].astype(np.int32), ts[order]
    first = np.append(True, (device[1:] != device[:-1]) | (ts[1:] != ts[:-1]))
    row = (np.cumsum(first) - 1).astype(np.int32)
    logs = LogBatch(
        row,
        template[order].astype(np.int32),
        severity[order],
        pa.nulls(len(row), pa.large_string()),
        Templates(),
    )
    return TelemetryBatch(
        device=device[first],
        cohort=np.zeros(first.sum(), np.int32),
        ts=ts[first],
        historical=np.zeros(first.sum(), np.bool_),
        columns={"log.lines": np.ones(first.sum())},
        indptr=group_bounds(device[first]),
        logs=logs,
    )


def alarms(detector, devices, days, rng, per_month, step_h=2, faults=(), own=1):
    """Return when which device began to fire: usual lines, rare ones by chance, and faults.

    Each device has rare lines at `per_month`, of 600 kinds of any gravity; a third of them goes on
    for up to a week. `faults` are (device, day), each with a line of its `own`, or of all (0).
    """
    memory = detector.init(FleetShape(devices))
    everyone = np.arange(devices, dtype=np.int32)
    place = np.zeros(devices, dtype=np.int32)
    going = [np.zeros((0, 4), dtype=np.int64)]
    firing, fired = np.zeros(devices, dtype=np.bool_), []
    steps = days * 24 // step_h
    chance = per_month * step_h / 24 / 30.44
    for k in range(steps):
        now = START + k * step_h * HOUR
        new = np.flatnonzero(rng.random(devices) < chance)
        lasting = np.where(rng.random(len(new)) < 1 / 3, rng.integers(1, 84, len(new)), 1)
        kind = rng.integers(USUAL, USUAL + RARE, len(new))
        going.append(np.column_stack((new, kind, k + lasting, 9 + 4 * (kind % 3))))
        for d, day in faults:
            if k == day * 24 // step_h:
                going.append(np.array([[d, FAULT + own * (d % 40), k + 100, 17]]))
        alive = np.concatenate(going)
        alive = alive[alive[:, 2] > k]
        going = [alive]
        device = np.concatenate((everyone, alive[:, 0]))
        template = np.concatenate((1 + (everyone + k) % (USUAL - 1), alive[:, 1]))
        severity = np.concatenate((np.full(devices, 9.0), alive[:, 3].astype(float)))
        ts = now + rng.integers(0, HOUR, len(device))
        detector.update(memory, batch(device, ts, template, severity))
        end = now + HOUR
        closed = detector.close(memory, Epoch(now, end, end, devices, everyone, place, place))
        if closed is not None:
            score = closed.score
            over = score >= 1.0
            fired += [(int(d), k * step_h / 24) for d in np.flatnonzero(over & ~firing)]
            firing = over | (firing & ~(score < 0.8))
    return fired


@pytest.mark.parametrize(("budget", "per_month"), [(30.0, 0.3), (30.0, 2.0), (300.0, 2.0)])
def test_rare_but_normal_lines_stay_within_the_budget(budget, per_month):
    """A fleet that keeps on showing lines it never showed, from its first day on."""
    fired = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        fired += alarms(LogNovelty(alarm_budget=budget), 150, 60, rng, per_month)
    allowed = 3 * 150 * 60 / 30.44 * budget / 1000
    assert len(fired) <= allowed + 3 * np.sqrt(allowed)


def test_the_first_days_of_a_fleet_do_not_flood():
    fired = alarms(LogNovelty(alarm_budget=30.0), 300, 10, np.random.default_rng(5), 5.0)
    assert len(fired) <= 4


@pytest.mark.parametrize("seed", range(3))
def test_a_fault_that_goes_on_is_told_within_two_days(seed):
    rng = np.random.default_rng(seed)
    fired = alarms(LogNovelty(alarm_budget=10.0), 150, 30, rng, 0.05, faults=[(7, 20)])
    assert any(d == 7 and 20 <= t <= 22 for d, t in fired), fired


def test_what_many_begin_to_log_is_not_new():
    """An update of the firmware: everybody logs a new line."""
    faults = [(d, 20) for d in range(150)]
    rng = np.random.default_rng(2)
    assert not alarms(LogNovelty(alarm_budget=10.0), 150, 40, rng, 0.0, faults=faults, own=0)


def test_the_finding_says_what_is_new_and_how_many_others_know_it():
    engine = Engine([AlertRule(LogNovelty(alarm_budget=300.0))], epoch_s=600)
    history = as_history(log_fleet(devices=12, days=7, fault="filesystem", cohorts=1))
    fired = [f for f in engine.step(history).findings if f.status == "firing"]
    assert "gw-1" in {f.device_id for f in fired}
    said = next(f for f in fired if f.device_id == "gw-1")
    assert "never did before (error)" in said.sentence
    assert "none of the others" in said.sentence
    assert "as in “EXT4-fs error (device mmcblk0p2)" in said.sentence
    assert said.evidence["others_that_log_it"] == 0.0


@pytest.mark.parametrize(
    "wrong", [{"alarm_budget": 0.0}, {"warm_days": -1.0}, {"rare_share": 1.0}, {"quiet_h": np.inf}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        LogNovelty(**wrong)
