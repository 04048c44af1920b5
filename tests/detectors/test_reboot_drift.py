"""Reboot drift: false alarms against the budget, delay, and what is said."""

from __future__ import annotations

import os

import numpy as np
import pytest

from aiops.detectors.protocol import Epoch, FleetShape
from aiops.detectors.reboot_drift import MONTH_S, WEEK_S, RebootDrift
from aiops.errors import SettingsError
from aiops.telemetry.batch import TelemetryBatch

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
DAY_NS = 86_400 * 10**9
START = 1_760_000_000 * 10**9
CLEAR = 0.8


def run(detector, per_day, days, factor=lambda day: 1.0, seed=0, cohort=-1):
    """Read the boot counters of devices once a day; return memory, first alert and alerts [n].

    Reboots are Poisson, `per_day` [n] times `factor` of the day. An alert ends below `CLEAR`.
    """
    rng = np.random.default_rng(seed)
    n = len(per_day)
    memory = detector.init(FleetShape(n))
    device = np.arange(n, dtype=np.int32)
    nowhere = np.full(n, -1, np.int32)
    count = np.zeros(n)
    first, alerts, firing = np.full(n, -1), np.zeros(n, int), np.zeros(n, bool)
    for day in range(days + 1):
        batch = TelemetryBatch(
            device=device,
            cohort=np.zeros(n, np.int32),
            ts=np.full(n, START + day * DAY_NS),
            historical=np.zeros(n, np.bool_),
            columns={"device.boot_count": count.copy()},
            indptr=np.arange(n + 1),
        )
        score = detector.update(memory, batch).score
        ts = int(batch.ts[0])
        detector.close(
            memory, Epoch(ts - DAY_NS, ts, ts, n, device, nowhere, np.full(n, cohort, np.int32))
        )
        first = np.where((first < 0) & (score >= 1.0), day, first)
        alerts += (score >= 1.0) & ~firing
        firing = np.where(score >= 1.0, True, firing & (score >= CLEAR))
        count += rng.poisson(per_day * factor(day))
    return memory, first, alerts


def test_false_alarms_stay_within_the_budget():
    n = 1000 if COMPILED else 20
    days = 609
    per_day = np.random.default_rng(1).gamma(1.5, 0.4 / 1.5, n) / 7.0
    _, _, alerts = run(RebootDrift(alarm_budget=100.0), per_day, days, cohort=0)
    thousand_months = n * days * 86_400 / MONTH_S / 1000.0
    rate = alerts.sum() / thousand_months
    # Alerts of one device come in clusters: the error is taken over devices.
    error = alerts.std(ddof=1) * np.sqrt(n) / thousand_months
    print(f"false alarms per 1,000 device-months: {rate:.1f} +- {error:.1f}, budget 100")
    assert rate - 2.0 * error < 100.0
    if COMPILED:
        assert rate + 2.0 * error < 100.0
        assert rate > 10.0, "a detector that never speaks keeps any budget"


@pytest.mark.skipif(not COMPILED, reason="some 100,000 bins: needs compiled kernels")
@pytest.mark.parametrize("per_week", [0.05, 0.2, 1.0, 3.0])
def test_the_budget_holds_whatever_the_rate(per_week):
    n, days = 400, 609
    _, _, alerts = run(RebootDrift(alarm_budget=100.0), np.full(n, per_week / 7.0), days, seed=2)
    thousand_months = n * days * 86_400 / MONTH_S / 1000.0
    rate = alerts.sum() / thousand_months
    error = alerts.std(ddof=1) * np.sqrt(n) / thousand_months
    print(f"at {per_week} a week: {rate:.1f} +- {error:.1f}, budget 100")
    assert rate - 2.0 * error < 100.0


def test_three_times_as_many_reboots_are_noticed_within_weeks():
    n = 400 if COMPILED else 20
    changed = 364
    detector = RebootDrift(alarm_budget=1000.0 / 120.0)  # one false alarm in ten years
    _, first, _ = run(
        detector,
        np.full(n, 0.5 / 7.0),
        changed + 210,
        lambda day: 3.0 if day >= changed else 1.0,
        seed=3,
    )
    early = (first >= 0) & (first < changed)
    weeks = np.where(first < 0, np.inf, (first - changed) / 7.0)[~early]
    found = np.isfinite(weeks).mean()
    print(f"median delay {np.median(weeks):.1f} weeks, found in 30 weeks: {found:.3f}")
    assert early.mean() < 0.15
    # 6.6 weeks is the median of the same mixture with its line calibrated by simulation.
    assert np.median(weeks) < (10.0 if COMPILED else 16.0)
    assert found > 0.9


def test_forecast_follows_the_rate_and_its_change():
    detector = RebootDrift()
    changed = 200
    calm, looping = 0.5 / 7.0, 0.8
    memory, _, _ = run(
        detector,
        np.array([calm, calm, 0.0]),
        changed + 60,
        lambda day: np.array([1.0, looping / calm if day >= changed else 1.0, 1.0]),
        seed=5,
    )
    forecast = detector.forecast(memory, np.array([0, 1, 2], np.int32))
    per_week = forecast.quantile * WEEK_S
    assert (np.diff(per_week, axis=1) > 0.0).all()
    assert per_week[0, 0] < 0.5 < per_week[0, -1]
    assert per_week[1, 0] < 7.0 * looping < 2.0 * per_week[1, -1]
    assert per_week[2, -1] < 0.12
    evidence = detector.evidence(memory, 1)
    assert evidence["exposure_days"] == changed + 60
    assert 0.0 <= evidence["onset_s"] / 86_400.0 - START / DAY_NS - changed < 15.0
    assert 0.25 < evidence["rate_before_per_week"] < 1.0
    # A counter read once a day tells of one episode a day: 7 (1 - exp(-0.8)) a week.
    assert 3.0 < evidence["rate_after_per_week"] < 5.0
    sentence = detector.sentence(evidence, None)
    assert sentence.startswith("Reboots ")
    assert f"{evidence['reboots_counted']:.0f} unplanned reboots in all 260 days" in sentence


def test_nothing_is_foretold_of_devices_never_seen():
    detector = RebootDrift()
    memory = detector.init(FleetShape(2))
    assert np.isnan(detector.forecast(memory, np.array([1], np.int32)).quantile).all()
    assert "Too little" in detector.sentence(detector.evidence(memory, 1), None)


@pytest.mark.parametrize(
    "wrong", [{"alarm_budget": 0.0}, {"bin_s": -1.0}, {"rate_sigma": np.nan}, {"gap_s": -1.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        RebootDrift(**wrong)
