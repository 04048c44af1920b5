"""The evidence kernels against sums over every possible change, and laws of their own."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from scipy import stats

from aiops.detectors.protocol import FleetShape
from aiops.detectors.reboot_drift import FRAILTIES, RebootDrift
from aiops.kernels.drift import (
    extreme_rate,
    judge_bins,
    known_rate_update,
    overshoot,
    seal_cohorts,
)
from tests.oracles import drift as oracle

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
DAY_S = 86_400.0
DETECTOR = RebootDrift()
SETTINGS = DETECTOR.settings
SINGLE = 2e-4  # single precision, over some dozens of bins


def judged(counts, dispersion=0, cohort_rate=math.nan, cohort_shape=100.0, at_once=1):
    """Return the memory of devices that had `counts` [n, days], judged `at_once` days at a time."""
    n, days = counts.shape
    memory = DETECTOR.init(FleetShape(n))
    memory.dispersion[:] = dispersion
    memory.cohort_rate[:] = cohort_rate
    memory.cohort_shape[:] = cohort_shape
    device = np.arange(n, dtype=np.int32)
    for day in range(0, days, at_once):
        memory.open_s[:] += DAY_S * at_once
        memory.settled[:] += counts[:, day : day + at_once].sum(axis=1)
        judge_bins(device, (20_000 + day + at_once) * DAY_S, memory, SETTINGS)
    return memory


@pytest.mark.parametrize("dispersion", range(len(FRAILTIES)))
def test_evidence_is_the_sum_over_every_change_there_may_have_been(dispersion):
    rng = np.random.default_rng(dispersion)
    counts = rng.poisson(rng.uniform(0.02, 0.6, (6, 1)), (6, 17))
    memory = judged(counts, dispersion)
    means = (DETECTOR.rate * DAY_S).tolist()
    for i, row in enumerate(counts.tolist()):
        expected = oracle.evidence_of_a_change(
            row,
            means,
            DETECTOR.prior.tolist(),
            SETTINGS.steps.tolist(),
            SETTINGS.share.tolist(),
            FRAILTIES[dispersion],
        )
        share = 1.0 - SETTINGS.cohort_share
        assert memory.evidence[i] == pytest.approx(math.log1p(share * expected), rel=SINGLE)


@pytest.mark.parametrize("dispersion", [0, 3])
def test_the_cohort_adds_its_share_of_the_evidence(dispersion):
    rng = np.random.default_rng(7)
    counts = rng.poisson(0.4, (5, 16))
    rate = 0.05 / DAY_S
    memory = judged(counts, dispersion, cohort_rate=rate, cohort_shape=30.0)
    alone = judged(counts, dispersion)
    extreme = extreme_rate(np.float32(rate), np.float32(30.0)) * DAY_S
    for i, row in enumerate(counts.tolist()):
        surplus = oracle.evidence_of_a_surplus(
            row, extreme, SETTINGS.ratio, SETTINGS.ratio_share, FRAILTIES[dispersion]
        )
        expected = math.expm1(alone.evidence[i]) + SETTINGS.cohort_share * surplus
        assert memory.evidence[i] == pytest.approx(math.log1p(expected), rel=SINGLE)


def test_a_known_rate_gives_the_mixture_of_shiryaev_roberts():
    rng = np.random.default_rng(1)
    counts, expected = rng.poisson(0.3, (4, 20)), np.array([0.1, 0.3, 0.02, 1.5])
    weight = np.zeros((4, len(SETTINGS.ratio)), dtype=np.float32)
    level = np.zeros(4)
    for day in range(20):
        known_rate_update(counts[:, day], expected, weight, SETTINGS, level)
    for i, row in enumerate(counts.tolist()):
        found = oracle.evidence_of_a_surplus(row, expected[i], SETTINGS.ratio, SETTINGS.ratio_share)
        assert weight[i].sum() == pytest.approx(found, rel=SINGLE)
        assert level[i] > math.log1p(weight[i].sum())


def test_pairs_are_counted_as_they_are_defined():
    rng = np.random.default_rng(2)
    counts = rng.poisson(rng.gamma(1.0, 0.5, (8, 1)), (8, 50))
    memory = judged(counts)
    for i, row in enumerate(counts.tolist()):
        found = [memory.same_day[i], memory.next_day[i], memory.same_week[i], memory.next_week[i]]
        assert found == list(oracle.pairs(row))
        assert memory.episodes[i] == sum(row)
        assert memory.bins[i] == 50


@pytest.mark.parametrize("seed", range(3))
def test_a_cohort_is_what_the_others_are(seed):
    rng = np.random.default_rng(seed)
    n = 12
    memory = DETECTOR.init(FleetShape(n))
    group = rng.integers(0, 3, n).astype(np.int32)
    memory.bins[:] = rng.integers(0, 400, n) * (rng.random(n) < 0.9)
    memory.episodes[:] = rng.poisson(memory.bins * rng.gamma(2.0, 0.05, n))
    seal_cohorts(group, memory, SETTINGS)
    for g in range(3):
        members = np.flatnonzero(group == g)
        expected = oracle.cohort_of_the_others(
            memory.episodes[members].tolist(), memory.bins[members].tolist()
        )
        for i, (mean, shape) in zip(members, expected, strict=True):
            np.testing.assert_allclose(memory.cohort_rate[i] * DAY_S, mean, rtol=1e-6)
            if not math.isnan(mean):
                assert memory.cohort_shape[i] == pytest.approx(shape, rel=1e-6)


def test_the_order_of_devices_seals_the_same_bits():
    rng = np.random.default_rng(5)
    counts = rng.poisson(rng.gamma(1.5, 0.05, (40, 1)), (40, 70))
    order = rng.permutation(40)
    one, other = judged(counts), judged(counts[order])
    group = (np.arange(40) % 2).astype(np.int32)
    seal_cohorts(group, one, SETTINGS)
    seal_cohorts(group[order], other, SETTINGS)
    for name, a, b in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(a[order], b, err_msg=name)


def test_a_prior_learnt_late_is_as_good_as_one_known_from_the_start():
    before = judged(np.random.default_rng(9).poisson(0.1, (1, 30))).before[0].astype(float)
    memory = DETECTOR.init(FleetShape(2))
    memory.before[0] = before
    memory.bins[:], memory.episodes[:] = (30, 10_000), (3, 600)
    seal_cohorts(np.zeros(2, dtype=np.int32), memory, SETTINGS)
    assert memory.informed[0] == 1
    mean, shape = float(memory.cohort_rate[0]), float(memory.cohort_shape[0])
    gamma = stats.gamma.pdf(SETTINGS.rate, shape, scale=mean / shape) * SETTINGS.rate
    known = (1.0 - SETTINGS.flat_share) * gamma / gamma.sum() + SETTINGS.flat_share / len(gamma)
    expected = before / DETECTOR.prior * known
    np.testing.assert_allclose(memory.before[0], expected / expected.sum(), rtol=1e-3, atol=1e-9)


def test_quiet_days_may_be_judged_at_once():
    counts = np.zeros((3, 21), dtype=np.int64)
    one, many = judged(counts), judged(counts, at_once=21)
    for name in ("before", "after", "evidence", "bins", "day_of_week", "same_week"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name), err_msg=name)
    np.testing.assert_allclose(one.level, many.level, rtol=1e-5)  # a rate is kept in single


@pytest.mark.parametrize("a_day", [0, 1, 24])
def test_nothing_overflows(a_day):
    days = 400 if COMPILED else 60
    counts = np.full((1, days), a_day)
    counts[0, : days // 2] = 0
    memory = judged(counts, cohort_rate=0.01 / DAY_S)
    for name, array in zip(memory._fields, memory, strict=True):
        if array.dtype.kind == "f" and name in ("before", "after", "surplus", "evidence", "level"):
            assert np.isfinite(array).all(), name
    rises = [evidence for evidence in (memory.evidence[0],) if evidence > SETTINGS.line]
    assert bool(rises) == (a_day > 0)


def test_a_change_is_dated_by_the_episode_from_which_on_they_come_faster():
    rng = np.random.default_rng(11)
    before, after = 300, 40
    counts = np.concatenate(
        (rng.poisson(0.05, (20, before)), rng.poisson(0.6, (20, after))), axis=1
    )
    memory = judged(counts)
    onset = memory.onset_day - 20_000 - before
    assert np.abs(np.median(onset)) < 6.0
    assert np.isnan(judged(np.zeros((1, 90), dtype=np.int64)).onset_day[0])


@pytest.mark.parametrize("ratio", [1.5, 2.0, 3.0])
def test_the_overshoot_is_that_of_simulated_ladders(ratio):
    """Under the change the log likelihood ratio climbs; E exp(-overshoot) is what is asked for."""
    rng = np.random.default_rng(4)
    jump, drift = math.log(ratio), ratio - 1.0
    passed = []
    for _ in range(3000 if COMPILED else 1000):
        value = 0.0
        while value < 12.0:  # far from the start, in waiting times of the raised rate
            value += jump - drift * rng.exponential(1.0 / ratio)
        passed.append(math.exp(12.0 - value))
    error = np.std(passed) / math.sqrt(len(passed))
    assert overshoot(ratio, 0.0) == pytest.approx(np.mean(passed), abs=4.0 * error)


@pytest.mark.parametrize("shape", [0.5, 1.5, 5.0, 100.0])
def test_the_extreme_rate_is_near_the_quantile_of_the_gamma_distribution(shape):
    expected = stats.gamma.ppf(1.0 - 1e-4, shape, scale=2.0 / shape)
    assert extreme_rate(2.0, shape) == pytest.approx(expected, rel=0.06)
    assert extreme_rate(math.nan, shape) == 0.0
