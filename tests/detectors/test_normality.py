"""Each view of normality finds its own fault, and healthy series of many natures stay quiet."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.detectors.normality import Normality, judge_series
from aiops.errors import SettingsError
from aiops.fleet.owner import FleetShape
from aiops.kernels.normality import VIEWS
from aiops.kernels.rows import Rows
from aiops.telemetry.batch import TelemetryBatch

STEP = 10 * 60 * 10**9
DAY = 144
START = 1_767_571_200 * 10**9
ROWS = 21 * DAY
ONSET = 14 * DAY + 70
QUIET = 6.0
"""No healthy series below has a score as high, after its first two days."""


def healthy(nature, rng):
    """Return a series without a fault."""
    t = np.arange(ROWS)
    noise = rng.normal(0.0, 2.0, ROWS)
    if nature == "gaussian":
        return 50.0 + noise
    if nature == "heavy-tailed":
        return 50.0 + 2.0 * rng.standard_t(3.0, ROWS)
    if nature == "bursty":
        burst = (rng.random(ROWS) < 0.02) * rng.gamma(2.0, 20.0, ROWS)
        return 10.0 + np.abs(noise) + np.convolve(burst, [1.0, 0.6, 0.3], "same")
    if nature == "counts":
        return rng.poisson(3.0, ROWS).astype(float)
    if nature == "seasonal":
        return 50.0 + 20.0 * np.sin(2 * np.pi * t / DAY) + noise
    if nature == "autoregressive":
        value = np.zeros(ROWS)
        for k in range(1, ROWS):
            value[k] = 0.8 * value[k - 1] + noise[k]
        return 50.0 + value
    raise AssertionError(nature)


NATURES = ("gaussian", "heavy-tailed", "bursty", "counts", "seasonal", "autoregressive")


def fault(kind, rng):
    """Return times and values of a series in which something goes wrong at `ONSET`."""
    ts, value = START + np.arange(ROWS) * STEP, healthy("gaussian", rng)
    t = np.arange(ROWS)
    late = t >= ONSET
    if kind == "level step":
        value[late] += 30.0
    elif kind == "spike":
        value[ONSET] += 40.0
    elif kind == "shift":
        value[late] += 3.5
    elif kind == "flat line":
        value[late] = value[ONSET]
    elif kind == "noisier":
        value[late] += rng.normal(0.0, 6.0, late.sum())
    elif kind == "off its course":
        slow = 50.0 + 8.0 * np.sin(2 * np.pi * t / (5 * DAY)) + 0.05 * (value - 50.0)
        value = slow + np.where(t == ONSET, 1.5, 0.0)
    elif kind == "slow drift":
        value += np.maximum(t - ONSET, 0) / DAY * 0.8
    elif kind == "time of day":
        value += 30.0 * np.maximum(np.sin(2 * np.pi * t / DAY), 0.0)
        # The day's peak comes at night: a value that is usual, though not at this hour.
        night = late & (t % DAY > 90) & (t < ONSET + DAY)
        value[night] += 25.0
    elif kind == "gap":
        ts[late] += 8 * 3600 * 10**9
    else:
        raise AssertionError(kind)
    return ts, value


FAULTS = {
    # fault -> the view that is to find it, and by how many rows after it at most
    "level step": ("level", 3),
    "spike": ("jump", 1),
    "shift": ("shift", 40),
    "flat line": ("roughness", 80),
    "noisier": ("roughness", 40),
    "off its course": ("residual", 1),
    "slow drift": ("drift", 6 * DAY),
    "time of day": ("season", 40),
    "gap": ("gap", 1),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_view_finds_its_own_fault(kind):
    view, rows = FAULTS[kind]
    ts, value = fault(kind, np.random.default_rng(3))
    views = judge_series(Normality("m"), ts, value).views[:, VIEWS.index(view)]
    usual = np.quantile(views[2 * DAY : ONSET], 0.999)
    found = views[ONSET : ONSET + rows].max()
    assert found >= 1.9, "as rare as one value in 80"
    assert found > usual
    without = judge_series(Normality("m", views=tuple(v for v in VIEWS if v != view)), ts, value)
    assert (without.views[:, VIEWS.index(view)] == 0.0).all()


@pytest.mark.parametrize("kind", ["level step", "spike", "noisier", "time of day", "slow drift"])
def test_a_score_rises_above_all_that_was_usual(kind):
    ts, value = fault(kind, np.random.default_rng(3))
    score = judge_series(Normality("m"), ts, value).scores.score
    rows = FAULTS[kind][1]
    assert score[ONSET : ONSET + rows].max() > 1.1 * score[2 * DAY : ONSET].max()


@pytest.mark.parametrize("nature", NATURES)
def test_a_healthy_series_is_quiet_whatever_its_nature(nature):
    ts = START + np.arange(ROWS) * STEP
    for seed in range(3):
        value = healthy(nature, np.random.default_rng(seed))
        score = judge_series(Normality("m"), ts, value).scores.score[2 * DAY :]
        assert score.max() < QUIET
        assert np.median(score) < 1.7


def test_a_restless_series_raises_its_own_bar():
    """A spike that pages on a quiet series does not on one that has such spikes every day."""
    ts = START + np.arange(ROWS) * STEP
    quiet = healthy("gaussian", np.random.default_rng(5))
    restless = quiet.copy()
    restless[np.arange(40, ROWS, 97)] += 30.0
    at = 12 * DAY
    for value in (quiet, restless):
        value[at : at + 2] += 30.0
    calm, used = (judge_series(Normality("m"), ts, v).scores.score for v in (quiet, restless))
    assert calm[at : at + 3].max() > 1.5 * used[at : at + 3].max()


def test_the_direction_and_the_least_deviation_are_settings():
    ts, value = fault("level step", np.random.default_rng(3))
    level = VIEWS.index("level")
    after = slice(ONSET, ONSET + 3)
    up = judge_series(Normality("m", direction="up"), ts, value).views[after, level]
    down = judge_series(Normality("m", direction="down"), ts, value).views[after, level]
    assert up.max() > 2.0
    assert down.max() < 0.7
    small = judge_series(Normality("m", min_deviation=100.0), ts, value)
    signed = [VIEWS.index(v) for v in VIEWS if v != "gap"]
    assert (small.views[:, signed] == 0.0).all()


def test_a_counter_is_watched_by_its_rate():
    ts = START + np.arange(ROWS) * STEP
    rate = healthy("gaussian", np.random.default_rng(1))
    total = np.cumsum(rate) * STEP * 1e-9
    judged = judge_series(Normality("requests_total"), ts, total)
    assert Normality("requests_total").is_counter
    assert np.isnan(judged.scores.observed[:2]).all()
    np.testing.assert_allclose(judged.scores.observed[2:], rate[2:], rtol=1e-6)
    assert Normality("storage.power_on_time").is_counter
    assert not Normality("temperature.celsius").is_counter


@pytest.mark.parametrize("kind", FAULTS)
def test_a_finding_says_what_was_seen_in_words_and_numbers(kind):
    ts, value = fault(kind, np.random.default_rng(3))
    end = ONSET + FAULTS[kind][1]
    detector = Normality("m")
    memory = detector.init(FleetShape(1))
    rows = Rows(np.array([0, end]), np.zeros(end, dtype=np.int32), ts[:end])
    nothing = np.zeros(end, dtype=np.bool_)
    cohort = np.full(end, -1, dtype=np.int32)
    columns = {"m": value[:end]}
    detector.update(
        memory, TelemetryBatch(rows.device, cohort, rows.ts, nothing, columns, rows.indptr)
    )
    evidence = detector.evidence(memory, 0)
    assert evidence["value"] == pytest.approx(value[end - 1], rel=1e-5)
    assert evidence["value_usual"] == pytest.approx(value[:end].mean(), abs=8.0)
    assert evidence["interval_usual_s"] == pytest.approx(600.0, rel=0.02)
    text = detector.sentence(evidence, None)
    assert text.startswith("m ")
    assert any(character.isdigit() for character in text)


def test_a_device_that_said_nothing_has_a_sentence_too():
    detector = Normality("m")
    memory = detector.init(FleetShape(1))
    assert "too few" in detector.sentence(detector.evidence(memory, 0), None)


def test_a_series_takes_at_most_400_bytes():
    memory = Normality("m").init(FleetShape(100))
    assert sum(array.nbytes for array in memory) <= 400 * 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": ""}, "metric is empty"),
        ({"metric": "m", "direction": "left"}, "both, up or down"),
        ({"metric": "m", "min_deviation": -1.0}, "min_deviation"),
        ({"metric": "m", "alarm_budget": 0.0}, "alarm_budget"),
        ({"metric": "m", "views": ("level", "smell")}, "views must be some of"),
        ({"metric": "m", "views": ()}, "views must be some of"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        Normality(**settings)
