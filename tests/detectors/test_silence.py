"""Silence: false alarms against the budget, and what is said."""

from __future__ import annotations

import os

import numpy as np
import pytest

from aiops.detectors.protocol import Epoch, FleetShape
from aiops.detectors.silence import MONTH_S, Silence, duration
from aiops.errors import SettingsError
from aiops.telemetry.batch import TelemetryBatch, group_bounds

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
START = 1_760_000_000 * 10**9


def feed(detector, memory, device, ts):
    device, ts = np.asarray(device, np.int32), np.asarray(ts, np.int64)
    order = np.lexsort((ts, device))
    n = len(device)
    batch = TelemetryBatch(
        device=device[order],
        cohort=np.zeros(n, np.int32),
        ts=ts[order],
        historical=np.zeros(n, np.bool_),
        columns={},
        indptr=group_bounds(device[order]),
    )
    detector.update(memory, batch)


def close(detector, memory, clock, size, site=None):
    root = np.arange(size, dtype=np.int32)
    site = np.zeros(size, np.int32) if site is None else np.asarray(site, np.int32)
    return detector.close(memory, Epoch(clock, clock, clock, size, root, site, site))


def every(seconds, n, start=START):
    return start + (np.arange(n) * seconds * 1e9).astype(np.int64)


@pytest.mark.parametrize(
    ("name", "every_s", "draw"),
    [
        ("exponential", 1200.0, lambda rng, n: rng.exponential(1200.0, n)),
        ("lossy", 900.0, lambda rng, n: 900.0 * rng.geometric(0.95, n)),
        ("regular", 900.0, lambda rng, n: 900.0 * rng.uniform(0.9, 1.1, n)),
    ],
)
def test_false_alarms_stay_within_the_budget(name, every_s, draw):
    devices, budget = (400 if COMPILED else 10), 100.0
    detector = Silence(alarm_budget=budget, min_silence_s=1.0)
    memory = detector.init(FleetShape(devices))
    rng = np.random.default_rng(8)
    n = int(MONTH_S / every_s)
    times = START + np.cumsum(draw(rng, (devices, n)) * 1e9, axis=1).astype(np.int64)
    alarms = np.zeros(devices)
    # The silence before a report is longest just before it.
    for k in range(n):
        if k:
            judged = np.zeros(devices)
            allowed = close(detector, memory, int(times[:, k].max()), devices)
            silent_s = (times[:, k] - memory.last[:devices]) * 1e-9
            limit_s = allowed.observed / allowed.score
            judged = silent_s >= limit_s
            alarms += judged
        feed(detector, memory, np.arange(devices), times[:, k])
    rate = alarms.sum() / (devices / 1000.0)
    error = alarms.std(ddof=1) * np.sqrt(devices) / (devices / 1000.0)
    print(f"{name}: {rate:.1f} +- {error:.1f} false alarms per 1,000 device-months, budget 100")
    assert rate - 2.0 * error <= budget


@pytest.mark.parametrize(("every_s", "reports"), [(60.0, 10.0), (3600.0, 4.0), (86_400.0, 4.0)])
def test_a_regular_device_is_missed_after_a_few_reports(every_s, reports):
    detector = Silence()
    memory = detector.init(FleetShape(1))
    ts = every(every_s, 150)
    feed(detector, memory, np.zeros(150), ts)
    late = int(ts[-1] + (reports + 0.01) * every_s * 1e9)
    early = int(ts[-1] + 1.5 * every_s * 1e9)
    assert close(detector, memory, late, 1).score[0] >= 1.0
    assert close(detector, memory, early, 1).score[0] < 1.0


def test_who_was_seen_twice_has_no_rhythm():
    detector = Silence()
    memory = detector.init(FleetShape(3))
    feed(detector, memory, [0, 0, 1, 1, 1], [*every(60, 2), *every(60, 3)])
    score = close(detector, memory, START + 10**15, 3).score
    assert np.isnan(score[[0, 2]]).all()
    assert score[1] > 1.0


def test_the_clock_may_stand_behind_a_device():
    detector = Silence()
    memory = detector.init(FleetShape(1))
    feed(detector, memory, np.zeros(5), every(60, 5))
    scores = close(detector, memory, START, 1)
    assert scores.score[0] == 0.0
    assert scores.observed[0] == 0.0
    assert scores.expected[0] == pytest.approx(60.0)


def test_a_bigger_budget_is_less_patient():
    assert (Silence(alarm_budget=10.0).patience <= Silence().patience).all()
    assert Silence(alarm_budget=10.0).patience[50, 40] < Silence().patience[50, 40]


def test_the_sentence_says_whether_the_site_is_silent_too():
    detector = Silence()
    memory = detector.init(FleetShape(5))
    ts = every(60, 100)
    feed(detector, memory, np.repeat(np.arange(4), 100), np.tile(ts, 4))
    later = int(ts[-1] + 50 * 60 * 10**9)
    feed(detector, memory, [3], [later - 10**9])
    site = [0, 0, 1, 1, 1]
    close(detector, memory, later, 5, site)
    said = [detector.sentence(detector.evidence(memory, i), None) for i in range(5)]
    habit = "Silent for 50 min; it usually reports every 60 s."
    assert said[0] == f"{habit} So is every device of its site."
    assert said[2] == habit
    assert said[3].startswith("Heard 1 s ago")
    assert said[4].startswith("Too few reports")


def test_durations():
    said = [duration(s) for s in (59.0, 119.0, 3000.0, 8000.0, 4 * 86_400.0)]
    assert said == ["59 s", "119 s", "50 min", "2 h", "4 days"]


@pytest.mark.parametrize(
    "wrong", [{"alarm_budget": -1.0}, {"min_silence_s": 0.0}, {"memory_reports": 2}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Silence(**wrong)
