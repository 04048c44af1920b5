"""Bursts of errors: what is told, and how many false alarms errors of chance give."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.detectors import EVERY_METRIC
from aiops.detectors.error_burst import ErrorBurst, counts_errors
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.errors import SettingsError
from aiops.telemetry.batch import TelemetryBatch, group_bounds

STEP_S = 1200
DAY_S = 86_400
START = 1_760_000_000 * 10**9


def scores(detector, counts, cohort=None):
    """Return scores [devices, steps] of counters read every `STEP_S`, epochs of a day."""
    devices, steps = counts.shape
    per_day = DAY_S // STEP_S
    memory = detector.init(FleetShape(devices))
    place = np.zeros(devices, np.int32) if cohort is None else cohort
    everyone = np.arange(devices, dtype=np.int32)
    found = []
    for at in range(0, steps, per_day):
        some = counts[:, at : at + per_day]
        device = np.repeat(everyone, some.shape[1])
        ts = START + (at + 1 + np.arange(some.shape[1])) * STEP_S * 10**9
        batch = TelemetryBatch(
            device=device,
            cohort=place[device],
            ts=np.tile(ts, devices),
            historical=np.zeros(len(device), np.bool_),
            columns={detector.metric: some.ravel().astype(np.float64)},
            indptr=group_bounds(device),
        )
        found.append(detector.update(memory, batch).score.reshape(some.shape))
        end = int(ts[-1])
        detector.close(memory, Epoch(end, end, end, devices, everyone, place, place))
    return np.concatenate(found, axis=1), memory


def fires(score):
    """Return how often each device begins to fire [devices], and clears below 0.8."""
    firing, fired = np.zeros(len(score), np.bool_), np.zeros(len(score), np.int64)
    for now in score.T:
        over = now >= 1.0
        fired += over & ~firing
        firing = over | (firing & ~(now < 0.8))
    return fired


def clumps(rng, rate_per_day, clump, devices, days):
    """Return counters of devices whose rates differ, with errors in clumps of geometric size."""
    rates = rng.gamma(0.5, rate_per_day / 0.5, devices) / clump
    steps = days * DAY_S // STEP_S
    events = rng.poisson(rates[:, None] * STEP_S / DAY_S, (devices, steps))
    extra = np.zeros_like(events)
    hit = events > 0
    if clump > 1.0:
        extra[hit] = rng.negative_binomial(events[hit], 1.0 / clump)
    return np.cumsum(events + extra, axis=1)


@pytest.mark.parametrize("rate", [0.05, 1.0, 50.0])
@pytest.mark.parametrize("clump", [1.0, 4.0])
def test_errors_of_chance_stay_within_the_budget(rate, clump):
    budget, devices, days = 100.0, 200, 30
    counts = clumps(np.random.default_rng(0), rate, clump, devices, days)
    score, _ = scores(ErrorBurst(alarm_budget=budget), counts)
    allowed = devices * days / 30.44 * budget / 1000
    assert fires(score).sum() <= allowed + 3 * np.sqrt(allowed)


def test_a_burst_is_told_at_once_and_is_over_in_days():
    rng = np.random.default_rng(1)
    counts = clumps(rng, 1.0, 2.0, 50, 20)
    burst = 10 * DAY_S // STEP_S
    counts[7, burst:] += 60
    score, memory = scores(ErrorBurst(), counts)
    assert score[7, burst] >= 1.0
    assert score[7, -1] < 0.8
    assert fires(np.delete(score, 7, axis=0)).sum() == 0
    detector = ErrorBurst()
    sentence = detector.sentence(detector.evidence(memory, 7), None)
    assert "of log.errors within" in sentence


def test_a_new_device_borrows_the_rate_of_its_cohort():
    """In one cohort fifty errors an hour are usual, in the other none are."""
    rng = np.random.default_rng(2)
    steps = 10 * DAY_S // STEP_S
    noisy = rng.poisson(50 * STEP_S / 3600, (20, steps))
    counts = np.concatenate((noisy, np.zeros_like(noisy)))
    cohort = np.repeat(np.array([0, 1], np.int32), 20)
    newest = [19, 39]
    counts[newest] = noisy[:2]
    counts = np.cumsum(counts, axis=1).astype(np.float64)
    counts[newest, : 9 * DAY_S // STEP_S] = np.nan
    score, _ = scores(ErrorBurst(), counts, cohort)
    first_hours = score[:, 9 * DAY_S // STEP_S + 1 :][:, :12]
    assert np.nanmax(first_hours[19]) < 1.0
    assert np.nanmax(first_hours[39]) > 1.0


def test_what_stays_becomes_usual():
    steps = 60 * DAY_S // STEP_S
    rate = np.where(np.arange(steps) < steps // 3, 2.0, 20.0) * STEP_S / DAY_S
    counts = np.cumsum(np.random.default_rng(3).poisson(rate, (30, steps)), axis=1)
    score, _ = scores(ErrorBurst(alarm_budget=100.0), counts)
    last_week = score[:, -7 * DAY_S // STEP_S :]
    assert fires(last_week).sum() <= 1


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("node_network_receive_errs_total", True),
        ("ecc.corrected", True),
        ("kernel.oom_kills", True),
        ("app_crashes_total", True),
        ('disk_io_errors{device="sda"}', True),
        ("error_ratio", False),
        ("http.requests", False),
        ("terrors", False),
    ],
)
def test_counters_of_errors_are_known_by_their_names(name, counts):
    assert counts_errors(name) is counts


@pytest.mark.parametrize(
    "wrong", [{"alarm_budget": 0.0}, {"clump": 0.5}, {"shape": np.inf}, {"metric": ""}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        ErrorBurst(**wrong)


def test_what_counts_errors_is_watched_for_bursts_and_everything_else_for_what_is_normal():
    assert EVERY_METRIC("log.errors") == ErrorBurst()
    assert EVERY_METRIC("node_edac_correctable_errors_total").name.startswith("error_burst:")
    assert EVERY_METRIC("errors").name == "normality:errors"  # a gauge, by its name
    assert EVERY_METRIC("log.lines").name == "normality:log.lines"
