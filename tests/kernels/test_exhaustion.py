"""The kernels of exhaustion against matrices written out, and a forecast against lives drawn."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from aiops.detectors.exhaustion import Exhaustion
from aiops.detectors.protocol import FleetShape
from aiops.kernels.exhaustion import (
    EDGE,
    PARTS,
    POLISHES,
    WINDOW,
    exhaustion_update,
    find_breaks,
    seal_groups,
    weigh,
)
from aiops.kernels.passage import FIRST, NODES, RATIO, TIMES, chance_by, passages
from aiops.kernels.rows import Rows, no_scores
from tests.oracles import exhaustion as oracle

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
DETECTOR = Exhaustion()
SETTINGS = DETECTOR.settings
DAY_NS = 86_400 * 10**9
TIMES_AHEAD = FIRST * RATIO ** np.arange(TIMES)


def noise(rng, n, sd, rho):
    out = np.empty(n)
    out[0] = sd * rng.standard_normal()
    for j in range(1, n):
        out[j] = rho * out[j - 1] + sd * math.sqrt(1.0 - rho**2) * rng.standard_normal()
    return out


@pytest.mark.parametrize("seed", range(6))
def test_evidence_is_that_of_every_explanation_written_out(seed):
    rng = np.random.default_rng(seed)
    t = np.arange(-39.0, 1.0)
    keep = rng.random(40) < (0.8 if seed % 2 else 1.0)
    keep[-1] = True
    t = t[keep]
    n = len(t)
    y = 0.4 + 0.008 * np.maximum(t + 25.0, 0.0) + noise(rng, n, 0.03, 0.5)
    c = rng.normal(0.0, 2.0, n) if seed % 3 == 0 else np.zeros(n)
    broken = np.zeros(n, dtype=np.bool_)
    if seed >= 3:
        y[n // 2 :] -= 0.15
        broken[n // 2] = True
    moments = np.empty(8)
    evidence = weigh(t, y + 0.01 * c, c, broken, 0.01, SETTINGS, moments)
    expected, mean = oracle.weigh(t, y + 0.01 * c, c, broken, 0.01, SETTINGS, EDGE)
    assert evidence == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(moments, mean, rtol=1e-6, atol=1e-9)


def test_the_evidence_of_noise_is_one_on_average():
    """A Bayes factor has mean one where there is no creep: Markov's inequality needs no more."""
    rng = np.random.default_rng(1)
    runs = 1500 if COMPILED else 20
    t = np.arange(-39.0, 1.0)
    moments, none = np.empty(8), np.zeros(40)
    broken = np.zeros(40, dtype=np.bool_)
    ratio = np.empty(runs)
    for k in range(runs):
        rho = rng.choice(SETTINGS.correlation, p=SETTINGS.share)
        y = 0.5 + noise(rng, 40, 0.03, rho)
        if rng.random() < 0.5:
            y[rng.integers(EDGE, 40 - EDGE) :] += 0.1 * rng.standard_normal()
        ratio[k] = math.exp(weigh(t, y, none, broken, 0.01, SETTINGS, moments))
    assert ratio.mean() < 1.0 + 3.0 * ratio.std() / math.sqrt(runs)
    assert np.mean(ratio > 20.0) <= 1.0 / 20.0


def test_a_bin_is_the_middle_of_its_parts():
    rng = np.random.default_rng(2)
    ts = np.sort(rng.integers(0, 5 * DAY_NS, 300)) + 20_000 * DAY_NS
    value = rng.random(300)
    value[rng.random(300) < 0.2] = np.nan
    memory = DETECTOR.init(FleetShape(1))
    rows = Rows(np.array([0, 300]), np.zeros(300, np.int32), ts)
    exhaustion_update(rows, value, np.full(300, np.nan), memory, SETTINGS, no_scores(300))
    known = ~np.isnan(value)
    expected = oracle.bins_of(ts[known].tolist(), value[known].tolist(), DAY_NS, PARTS)
    last = max(expected)
    for b, (middle, _) in expected.items():
        found = memory.value[0, b % WINDOW]
        assert np.isnan(found) if b == last else found == pytest.approx(middle, rel=1e-6)
    first = expected[min(expected)][1]
    peak, var = first, 0.0
    for b in sorted(expected)[1:-1]:
        off = expected[b][1] - peak
        peak += off / 14.0
        var = 13.0 / 14.0 * (var + off * off / 14.0)
    assert memory.peak[0] == pytest.approx(peak, rel=1e-5)
    assert memory.peak_var[0] == pytest.approx(var, rel=1e-4)


def test_bins_without_a_reading_are_forgotten_and_not_kept_from_a_window_ago():
    memory = DETECTOR.init(FleetShape(1))
    day = np.array([20_000, 20_001, 20_002, 20_000 + WINDOW + 2, 20_000 + WINDOW + 3])
    rows = Rows(np.array([0, 5]), np.zeros(5, np.int32), day * DAY_NS)
    exhaustion_update(rows, np.full(5, 0.5), np.full(5, np.nan), memory, SETTINGS, no_scores(5))
    assert np.flatnonzero(~np.isnan(memory.value[0])).tolist() == [(20_002 + WINDOW) % WINDOW]


def test_jumps_are_found_and_creeps_are_not_jumps():
    rng = np.random.default_rng(3)
    y = 0.3 + 0.01 * np.arange(40.0) + 0.01 * rng.standard_normal(40)
    y[25:] -= 0.25
    broken = np.empty(WINDOW, dtype=np.bool_)
    find_breaks(40, y, np.zeros(40), SETTINGS, broken)
    assert np.flatnonzero(broken[:40]).tolist() == [25]


def test_what_a_group_did_is_a_median_polish():
    rng = np.random.default_rng(4)
    last = 20_100
    heat = Exhaustion("temperature.celsius", 85.0, compares=True)
    memory = heat.init(FleetShape(9))
    table = rng.normal(50.0, 5.0, (9, 1)) + rng.normal(0.0, 3.0, WINDOW) + rng.random((9, WINDOW))
    table = table.astype(np.float32).astype(np.float64)
    table[rng.random(table.shape) < 0.2] = np.nan
    table[:6, 5] = np.nan
    memory.closed[:] = last
    for back in range(WINDOW):
        memory.value[:, (last - back) % WINDOW] = table[:, back]
    member = np.array([1, 2, 3, 5, 6, 7, 8], np.int32)
    memory.told[6] = 1
    seal_groups(member, np.array([0, 7], np.int32), last, memory, heat.settings)
    expected = oracle.polish(table[member], POLISHES)
    assert np.isnan(expected).any()
    for back in range(WINDOW):
        found = memory.outside[[1, 2, 3, 5, 7, 8], (last - back) % WINDOW]
        np.testing.assert_allclose(found, expected[back], rtol=1e-6)
    assert np.isnan(memory.outside[[0, 4, 6]]).all(), "strangers, and who tells its own air"


def state(**changed):
    known = {
        "level": 0.6, "slope": 0.01, "level_var": 1e-4, "slope_var": 4e-6, "both_cov": 1e-5,
        "away": 0.02, "noise_var": 1e-3, "correlation": 0.5, "resets": 0.01, "floor": 0.3,
        "peak": 0.03, "peak_var": 1e-4, "start": 0.2,
    } | changed  # fmt: skip
    memory = DETECTOR.init(FleetShape(1))
    for name, value in known.items():
        getattr(memory, name)[0] = value
    memory.span[0] = 40
    return memory, known


@pytest.mark.parametrize(
    "changed",
    [{}, {"slope": 0.002}, {"correlation": 0.0, "away": -0.05}, {"level": 0.99}, {"resets": 0.05}],
)
def test_chances_are_those_of_every_level_and_slope(changed):
    memory, known = state(**changed)
    passed = np.empty(TIMES)
    chance_by(0, memory, SETTINGS, passed)
    expected = oracle.chance_by(known, 1.0, TIMES_AHEAD, NODES)
    np.testing.assert_allclose(passed, expected, rtol=1e-4, atol=1e-7)
    wanted = np.array([0.05, 0.5, 0.9])
    ahead = np.empty((1, 3))
    passages(np.zeros(1, np.int32), memory, SETTINGS, wanted, ahead)
    for w, p in enumerate(wanted):
        found = np.interp(p, np.append(0.0, expected), np.append(0.0, TIMES_AHEAD))
        reached = expected[-1] >= p
        assert ahead[0, w] == pytest.approx(found, rel=1e-3) if reached else ahead[0, w] == np.inf


@pytest.mark.skipif(not COMPILED, reason="some 100,000 days drawn one by one")
@pytest.mark.parametrize("resets", [1e-4, 0.02])
def test_dates_are_those_of_lives_drawn_from_the_same_posterior(resets):
    memory, _ = state(resets=resets)
    rng = np.random.default_rng(5)
    lives, days = 2000, 400
    cov = np.array([[1e-4, 1e-5], [1e-5, 4e-6]])
    level, pace = rng.multivariate_normal([0.6, 0.01], cov, lives).T
    level, pace = level[pace > 0.0].copy(), pace[pace > 0.0]
    lives = len(pace)
    x, met = np.full(lives, 0.02), np.full(lives, np.inf)
    for day in range(1, days + 1):
        x = 0.5 * x + math.sqrt(1e-3 * 0.75) * rng.standard_normal(lives)
        level += pace
        level[rng.random(lives) < resets] = 0.3
        over = level + x + 0.03 + 0.01 * rng.standard_normal(lives) >= 1.0
        met[over & np.isinf(met)] = day
    passed = np.empty(TIMES)
    chance_by(0, memory, SETTINGS, passed)
    for day in (20, 35, 50, 100, 300):
        foretold = np.interp(day, TIMES_AHEAD, passed)
        assert foretold == pytest.approx(np.mean(met <= day), abs=0.06), day
