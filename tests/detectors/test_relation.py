"""Relation: silent while metrics move together or are missing, loud when one stops following."""

from __future__ import annotations

import os

import numpy as np
import pytest

from aiops.detectors.protocol import FleetShape
from aiops.detectors.relation import METRICS, Relation
from aiops.errors import SettingsError
from aiops.telemetry.batch import TelemetryBatch

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
DAY_S = 86_400
TICK_S = 1800
START = 1_760_000_000
DEVICES = 60 if COMPILED else 3
THREE = ("temperature.celsius", "cpu.utilization_ratio", "net.rtt_ms")


def weather(devices, days, seed=0):
    """Return time and load [devices, ticks] with days, bursts and heavy tails, and their noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(0, int(days * DAY_S), TICK_S)
    hour = at / 3600.0 + rng.uniform(0.0, 24.0, (devices, 1))
    load = 0.3 + 0.15 * np.sin(2.0 * np.pi * hour / 24.0)
    shock = rng.standard_t(4.0, load.shape)
    slow = np.zeros(devices)
    for t in range(len(at)):  # an autoregression of some hours
        slow = 0.8 * slow + 0.6 * shock[:, t]
        load[:, t] += 0.04 * slow
    noise = rng.standard_t(4.0, (2, *load.shape))
    return at, np.clip(load, 0.02, 1.0), noise


def told(at, load, noise, heat=40.0):
    """Return what devices report: temperature follows load, and nothing else does."""
    temperature = 25.0 + heat * load + noise[0]
    return dict(zip(THREE, (temperature, load, 50.0 + 2.0 * noise[1]), strict=True))


def watch(at, columns, detector=None):
    """Return scores [devices, ticks], the memory and the detector, of devices from `START` on."""
    detector = detector or Relation(metrics=THREE)
    devices, ticks = next(iter(columns.values())).shape
    n = devices * ticks
    batch = TelemetryBatch(
        device=np.repeat(np.arange(devices, dtype=np.int32), ticks),
        cohort=np.zeros(n, np.int32),
        ts=np.tile((START + at) * 10**9, devices),
        historical=np.zeros(n, np.bool_),
        columns={name: column.reshape(-1) for name, column in columns.items()},
        indptr=np.arange(devices + 1, dtype=np.int64) * ticks,
    )
    memory = detector.init(FleetShape(devices))
    scores = detector.update(memory, batch)
    return scores.score.reshape(devices, ticks), memory, detector


def alarms(score):
    """Count how often devices began to fire, as the default rule has it."""
    count = 0
    for row in score:
        firing = False
        for x in row[~np.isnan(row)].tolist():
            count += not firing and x >= 1.0
            firing = x >= 1.0 or (firing and x >= 0.8)
    return count


def test_a_device_is_not_judged_in_its_first_two_weeks():
    at, load, noise = weather(DEVICES, 20)
    score, _, _ = watch(at, told(at, load, noise))
    known = ~np.isnan(score)
    first = at[np.argmax(known, axis=1)] / DAY_S
    assert known.any(axis=1).all()
    assert first.min() > 13.0
    assert first.max() < 16.0


@pytest.mark.skipif(not COMPILED, reason="too long without the compiler")
def test_healthy_devices_keep_a_budget_of_ten():
    at, load, noise = weather(150, 120, seed=1)
    score, _, _ = watch(at, told(at, load, noise), Relation(metrics=THREE, alarm_budget=10.0))
    months = 150 * (120 - 14) / 30.44
    assert alarms(score) <= 10.0 * months / 1000.0 + 3.0 * (10.0 * months / 1000.0) ** 0.5


def test_metrics_that_go_far_together_are_no_break():
    """Twice the load that ever was, for three days: heat follows, so the relation holds."""
    at, load, noise = weather(DEVICES, 40, seed=2)
    busy = (at > 30 * DAY_S) & (at < 33 * DAY_S)
    more = np.where(busy, load + 0.25, load)
    score, memory, _ = watch(at, told(at, more, noise))
    spread = np.sqrt(memory.variance[:, 1])
    assert (0.25 / spread > 1.5).all(), "the load was plainly higher"
    assert np.nanmax(score[:, at > 30 * DAY_S]) < 1.0


@pytest.mark.parametrize(
    ("broken", "within_days"), [("gain", 4.0), ("stuck", 4.0), ("others", 4.0)]
)
def test_a_broken_relation_is_found_though_each_metric_stays_where_it_was(broken, within_days):
    at, load, noise = weather(DEVICES, 40, seed=3)
    after = at >= 30 * DAY_S
    columns = told(at, load, noise)
    before = columns["temperature.celsius"][:, ~after]
    middle = np.median(before, axis=1, keepdims=True)
    if broken == "gain":  # the fan runs at full speed: as warm on average, whatever the load
        instead = middle + 0.25 * (columns["temperature.celsius"] - middle) + noise[0]
    elif broken == "stuck":
        instead = np.broadcast_to(middle, load.shape)
    else:  # cables changed over: the temperature of another one, of like habits
        instead = np.roll(columns["temperature.celsius"], 1, axis=0)
    broke = dict(columns)
    broke["temperature.celsius"] = np.where(after, instead, columns["temperature.celsius"])
    low, high = before.min(axis=1), before.max(axis=1)
    there = broke["temperature.celsius"][:, after]
    inside = (there >= low[:, None]) & (there <= high[:, None])
    assert inside.mean() > 0.99, "the break must not be visible in the metric itself"
    score, memory, detector = watch(at, broke)
    assert not (score[:, ~after] >= 1.0).any()
    in_time = after & (at < (30 + within_days) * DAY_S)
    assert (score[:, in_time] >= 1.0).any(axis=1).mean() >= 0.9
    healthy, _, _ = watch(at, columns)
    assert not (healthy[:, after] >= 1.0).any()
    at_end = at < (30 + within_days) * DAY_S
    _, memory, _ = watch(at[at_end], {name: x[:, at_end] for name, x in broke.items()})
    facts = detector.evidence(memory, 0)
    assert {name.partition("/")[0] for name in facts} == {"line_ratio", "observed", "expected"}
    assert "observed/net.rtt_ms" not in facts, "what is not related is not blamed"
    sentence = detector.sentence(facts, None)
    assert "temperature.celsius was" in sentence
    assert "cpu.utilization_ratio was" in sentence
    assert "degrees Celsius" in sentence


def test_a_break_that_lasts_becomes_the_relation_and_the_alarm_ends():
    at, load, noise = weather(DEVICES, 70, seed=4)
    after = at >= 30 * DAY_S
    columns = told(at, load, noise)
    swapped = np.roll(columns["temperature.celsius"], 1, axis=0)
    columns["temperature.celsius"] = np.where(after, swapped, columns["temperature.celsius"])
    score, memory, _ = watch(at, columns)
    fired = (score >= 1.0).any(axis=1)
    assert fired.mean() >= 0.6, "some have a neighbour of the very same hours"
    assert memory.accepted[fired].mean() >= 0.8
    assert not (score[:, at >= 55 * DAY_S] >= 0.8).any()


def test_a_break_that_ends_is_over_and_was_not_learnt():
    at, load, noise = weather(DEVICES, 50, seed=5)
    stuck = (at >= 30 * DAY_S) & (at < 34 * DAY_S)
    columns = told(at, load, noise)
    columns["temperature.celsius"] = np.where(stuck, 37.0, columns["temperature.celsius"])
    score, memory, _ = watch(at, columns)
    assert (score[:, stuck] >= 1.0).any(axis=1).mean() >= 0.9
    assert not memory.accepted.any()
    assert not (score[:, at >= 42 * DAY_S] >= 0.8).any()
    correlation = memory.moment[:, 1] / np.sqrt(memory.moment[:, 0] * memory.moment[:, 2])
    assert (correlation > 0.8).all()


def test_missing_and_constant_metrics_are_left_out():
    at, load, noise = weather(DEVICES, 40, seed=6)
    columns = told(at, load, noise)
    columns["net.rtt_ms"] = np.full_like(load, 20.0)
    gone = (at >= 25 * DAY_S) & (at < 27 * DAY_S)
    columns["cpu.utilization_ratio"] = np.where(gone, np.nan, load)
    score, memory, _ = watch(at, columns)
    assert np.nanmax(score) < 1.0
    assert (memory.evidence[:, 2] == 0.0).all()
    assert (score[:, -1] >= 0.0).all()


def test_one_metric_alone_has_no_relation():
    at, load, noise = weather(DEVICES, 20, seed=7)
    score, _, _ = watch(at, {"temperature.celsius": told(at, load, noise)["temperature.celsius"]})
    assert np.nanmax(score) == 0.0


def test_metrics_reported_in_turn_meet_in_a_bin():
    """A collector sends each metric by itself, seconds apart: the same is found."""
    at, load, noise = weather(2, 40, seed=3)
    after = at >= 30 * DAY_S
    columns = told(at, load, noise)
    columns["temperature.celsius"] = np.where(after, 37.0, columns["temperature.celsius"])
    turns = (at[:, None] + np.array([0, 20, 40])).reshape(-1)
    apart = {}
    for j, (name, values) in enumerate(columns.items()):
        apart[name] = np.full((2, len(at), 3), np.nan)
        apart[name][:, :, j] = values
        apart[name] = apart[name].reshape(2, -1)
    score, _, _ = watch(turns, apart)
    assert not (score[:, turns < 30 * DAY_S] >= 1.0).any()
    assert (score[:, turns >= 30 * DAY_S] >= 1.0).any(axis=1).all()


def test_memory_of_a_device_is_less_than_a_kibibyte():
    memory = Relation().init(FleetShape(1))
    assert len(METRICS) == 8
    assert sum(array.nbytes for array in memory) < 1024


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingsError, match="2 to 15"):
        Relation(metrics=("cpu.utilization_ratio",))
    with pytest.raises(SettingsError, match="2 to 15"):
        Relation(metrics=("cpu.utilization_ratio", "cpu.utilization_ratio"))
    with pytest.raises(SettingsError, match="memory_s must be above 0"):
        Relation(memory_s=0.0)
    with pytest.raises(SettingsError, match="borrow_s"):
        Relation(borrow_s=15.0 * DAY_S)


def test_nothing_is_foretold_and_nothing_said_when_all_is_well():
    detector = Relation()
    memory = detector.init(FleetShape(1))
    assert detector.forecast(memory, np.zeros(1, np.int32)) is None
    assert detector.evidence(memory, 0) == {}
    assert "go together" in detector.sentence({}, None)
