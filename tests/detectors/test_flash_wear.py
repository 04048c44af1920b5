"""Flash wear: how often the truth lies where it was foretold, the line, and what is said."""

from __future__ import annotations

import os

import numpy as np
import pytest

from aiops.detectors.flash_wear import YEAR_S, FlashWear
from aiops.detectors.protocol import QUANTILES, FleetShape
from aiops.errors import SettingsError
from aiops.telemetry.batch import TelemetryBatch

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
WEEK_S = 7 * 86_400
START = 1_760_000_000 * 10**9
ASKED = (0.3, 0.5, 0.7, 0.9)


def read(detector, memory, ts, reading, tick, power_on):
    n = len(reading)
    batch = TelemetryBatch(
        device=np.arange(n, dtype=np.int32),
        cohort=np.zeros(n, np.int32),
        ts=np.full(n, ts),
        historical=np.zeros(n, np.bool_),
        columns={
            "storage.wear.used_ratio": reading,
            "storage.wear.step_ratio": np.full(n, tick),
            "storage.power_on_time": power_on,
        },
        indptr=np.arange(n + 1),
    )
    return detector.update(memory, batch)


def lives(rng, n, scale):
    """Draw the true wear [n, weeks] of media that wear 20 % a year, give or take a factor 2."""
    per_week = 0.2 * np.exp(0.7 * rng.standard_normal(n)) * WEEK_S / YEAR_S
    weeks = int(2.5 / per_week.min())
    return np.cumsum(scale * rng.gamma(np.tile(per_week[:, None] / scale, weeks)), axis=1)


def foretell(detector, wear, tick, rng):
    """Read `wear` weekly; return (wear asked at, weeks left, quantiles foretold) of each question.

    A question is put once about each medium, somewhere within the five per cent from `ASKED` on.
    """
    n = len(wear)
    end = (wear < 1.0).sum(axis=1)
    at = np.stack(
        [(wear < asked + 0.05 * rng.random(n)[:, None]).sum(axis=1) for asked in ASKED], axis=1
    )
    memory = detector.init(FleetShape(n))
    answers = []
    for week in range(int(end.max())):
        now = START + (week + 1) * WEEK_S * 10**9
        alive = week < end
        reading = np.where(alive, np.floor(wear[:, week] / tick + 1e-9) * tick, np.nan)
        read(detector, memory, now, reading, tick, np.where(alive, (week + 1.0) * WEEK_S, np.nan))
        medium, question = np.nonzero((at == week) & alive[:, None])
        if len(medium):
            date = detector.forecast(memory, medium.astype(np.int32)).quantile
            left = (date - now) * 1e-9 / WEEK_S
            answers += zip(question, (end - week)[medium], left, strict=True)
    return answers


@pytest.mark.parametrize("tick", [0.1, 0.01])
def test_four_of_five_wear_out_between_p10_and_p90(tick):
    n = 300 if COMPILED else 8
    rng = np.random.default_rng(6)
    detector = FlashWear()
    answers = foretell(detector, lives(rng, n, detector.wear_scale), tick, rng)
    low, middle, high = (QUANTILES.index(q) for q in (0.1, 0.5, 0.9))
    inside = []
    for question, asked in enumerate(ASKED):
        true, found = zip(*((t, f) for q, t, f in answers if q == question), strict=True)
        true, found = np.array(true), np.array(found)
        within = (found[:, low] <= true) & (true <= found[:, high])
        inside.append(within.mean())
        error = np.abs(found[:, middle] - true).mean()
        print(f"{asked:.0%} used, ticks of {tick}: cover {within.mean():.3f}, MAE {error:.1f} wk")
    # Three standard deviations of a share of 300 are 0.07.
    margin = 0.08 if COMPILED else 0.45
    assert np.abs(np.array(inside) - 0.8).max() < margin, inside


@pytest.mark.skipif(not COMPILED, reason="judges 300 media every week: needs compiled kernels")
def test_alerts_come_in_time_and_few_are_false():
    n, tick = 300, 0.01
    detector = FlashWear()
    wear = lives(np.random.default_rng(9), n, detector.wear_scale)
    end = (wear < 1.0).sum(axis=1)
    memory = detector.init(FleetShape(n))
    alert = np.full(n, -1)
    for week in range(int(end.max())):
        reading = np.where(week < end, np.floor(wear[:, week] / tick + 1e-9) * tick, np.nan)
        on_s = np.where(week < end, (week + 1.0) * WEEK_S, np.nan)
        now = START + (week + 1) * WEEK_S * 10**9
        score = read(detector, memory, now, reading, tick, on_s).score
        alert = np.where((alert < 0) & (score >= 1.0), week, alert)
    days = (end - alert)[alert >= 0] * 7.0
    false = (days > 180.0).mean()
    error = np.sqrt(false * (1.0 - false) / len(days))
    in_time = (days >= 90.0).mean() * len(days) / n
    print(f"false alerts: {false:.3f} +- {error:.3f}, in time: {in_time:.3f}, of {n}")
    # What the line allows, of as many ends; the fleet wears out faster than the prior says.
    assert false - 2.0 * error < 1.0 - detector.line_probability
    assert in_time > 0.8


def test_healthy_media_are_left_alone():
    n = 200 if COMPILED else 10
    rng = np.random.default_rng(7)
    detector = FlashWear()
    memory = detector.init(FleetShape(n))
    wear, on_s = rng.uniform(0.0, 0.7, n), rng.uniform(1.0, 4.0, n) * YEAR_S
    highest = 0.0
    for week in range(52):
        wear += detector.wear_scale * rng.gamma(
            0.03 * WEEK_S / YEAR_S / detector.wear_scale, size=n
        )
        now = START + week * WEEK_S * 10**9
        reading = np.floor(wear * 10.0) / 10.0
        scores = read(detector, memory, now, reading, 0.1, on_s + week * WEEK_S)
        highest = max(highest, scores.score.max())
    print(f"highest score: {highest:.3f}")
    assert highest < 0.8


def test_the_line_follows_the_budget():
    assert FlashWear().line_probability == pytest.approx(0.76)
    assert FlashWear(alarm_budget=0.5).line_probability == pytest.approx(0.88)
    assert FlashWear(alarm_budget=0.001).line_probability == 0.99
    assert FlashWear(alarm_budget=100.0).line_probability == 0.5


def test_what_is_expected_leaves_the_lead_time():
    detector = FlashWear()
    memory = detector.init(FleetShape(1))
    scores = read(detector, memory, START, np.array([0.5]), 0.01, np.array([5.0 * YEAR_S]))
    assert scores.observed[0] == 0.5
    assert scores.expected[0] == pytest.approx(1.0 - 0.1 * 180.0 / 365.25, abs=0.005)
    assert scores.score[0] < 0.01


def test_the_sentence_names_wear_rate_and_dates():
    detector = FlashWear()
    memory = detector.init(FleetShape(3))
    wear = np.array([0.83, 1.0, 0.0])
    read(detector, memory, START, wear, 0.01, np.array([9.0, 5.0, 3.0]) * YEAR_S)
    dates = {"p10": "2026-11-03T00:00:00Z", "p50": "2027-06-14T05:00:00Z", "p90": None}
    evidence = detector.evidence(memory, 0)
    assert evidence["wear_per_year_ratio"] == pytest.approx(0.092, abs=0.003)
    assert evidence["remaining_days_p10"] < 365.25 * 0.17 / 0.092 < evidence["remaining_days_p90"]
    assert detector.sentence(evidence, dates) == (
        "Flash is 83 % used and wears 9.2 % a year: "
        "worn out not before 2026-11-03 (90 %), even odds by 2027-06-14."
    )
    dates["p90"] = "2028-02-01T00:00:00Z"
    assert "between 2026-11-03 and 2028-02-01 (80 %)" in detector.sentence(evidence, dates)
    assert "100 % of its rated" in detector.sentence(detector.evidence(memory, 1), dates)
    assert "no end in sight" in detector.sentence(detector.evidence(memory, 2), None)


def test_of_an_unknown_medium_nothing_is_foretold():
    detector = FlashWear()
    memory = detector.init(FleetShape(1))
    assert np.isnan(detector.forecast(memory, np.zeros(1, np.int32)).quantile).all()
    assert detector.sentence(detector.evidence(memory, 0), None) == "No wear reading was seen."


@pytest.mark.parametrize("wrong", [{"alarm_budget": 0.0}, {"lead_s": -1.0}, {"wear_scale": np.nan}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        FlashWear(**wrong)
