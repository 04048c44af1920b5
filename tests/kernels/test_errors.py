"""The probability of errors, beside its twin; and what is learnt of a counter."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from aiops.detectors.error_burst import ErrorBurst
from aiops.fleet.owner import FleetShape
from aiops.kernels.errors import clump_of, error_update, log_beta_tail, log_clumped_tail
from aiops.kernels.rows import Rows, no_scores
from tests.oracles import errors as twin

SECOND = 10**9
DAY = 86_400
START = 1_760_000_000


@pytest.mark.parametrize("a", [0.3, 0.5, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("clump", [1.0, 1.5, 3.0, 8.0])
def test_the_tail_is_that_of_its_twin(a, p, clump):
    for errors in (1, 2, 3, 7, 20):
        expected = twin.tail(errors, clump, a, p)
        found = math.exp(log_clumped_tail(float(errors), clump, a, math.log1p(-p), math.log(p)))
        if a * (1.0 - p) / p <= 100.0:  # beyond, large counts are approximated
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("k", [0.0, -1.0])
def test_none_or_more_errors_are_certain(k):
    assert log_beta_tail(k, 0.5, math.log(0.1), math.log(0.9)) == 0.0
    assert log_clumped_tail(k + 0.9, 3.0, 0.5, math.log(0.1), math.log(0.9)) == 0.0


def test_tails_fall_and_never_stick_at_a_limit():
    for clump in (1.0, 3.0):
        tails = [
            log_clumped_tail(float(n), clump, 0.5, math.log(1e-4), math.log1p(-1e-4))
            for n in range(1, 390)
        ]
        assert all(b < a for a, b in pairwise(tails))
        assert np.isfinite(tails).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_clump_is_that_of_its_twin(seed):
    counts = np.random.default_rng(seed).poisson(0.3, 200) * (1 + seed)
    total, squares = int(counts.sum()), int((counts**2).sum())
    found = clump_of(total, squares, len(counts), 3.0)
    assert found == pytest.approx(twin.clump(counts.tolist(), 3.0))


def test_the_clump_of_geometric_clumps_is_found():
    rng = np.random.default_rng(1)
    counts = [int(rng.geometric(0.2, rng.poisson(0.05)).sum()) for _ in range(40_000)]
    found = clump_of(sum(counts), sum(c * c for c in counts), len(counts), 1.0)
    assert found == pytest.approx(5.0, rel=0.1)


def judged(seconds, counts, pieces=1, **settings):
    """Return scores of one device's readings, shown in pieces."""
    detector = ErrorBurst(**settings)
    memory = detector.init(FleetShape(1))
    ts = (START + np.array(seconds, dtype=np.int64)) * SECOND
    counts = np.array(counts, dtype=np.float64)
    found = []
    for at in np.array_split(np.arange(len(ts)), pieces):
        scores = no_scores(len(at))
        bounds = np.array([0, len(at)])
        rows = Rows(bounds, np.zeros(len(at), np.int32), ts[at])
        error_update(rows, counts[at], memory, detector.settings, scores)
        found.append(scores.score)
    return np.concatenate(found), memory


def test_a_counter_that_begins_anew_or_is_first_seen_high_is_no_burst():
    seconds = np.arange(0, 10 * DAY, 600)
    steady = np.full(len(seconds), 1e6)
    steady[len(steady) // 2 :] = 0.0
    score, _ = judged(seconds, steady)
    assert np.nanmax(score) == 0.0


def test_the_first_error_after_ten_quiet_days_is_no_burst_and_thirty_are():
    seconds = np.arange(0, 10 * DAY, 600)
    counts = np.zeros(len(seconds))
    counts[-1] = 1.0
    assert judged(seconds, counts)[0][-1] < 1.0
    counts[-1] = 30.0
    assert judged(seconds, counts)[0][-1] > 1.0


def test_a_day_is_waited_before_anything_is_said():
    score, _ = judged(np.arange(0, DAY // 2, 600), np.arange(0, 72 * 50, 50))
    assert np.isnan(score).all()


def test_irregular_readings_of_one_course_are_judged_alike():
    """Errors at the same moments, read often or seldom in between."""
    rng = np.random.default_rng(2)
    errors = np.sort(rng.uniform(0, 20 * DAY, 40)).astype(np.int64)
    often = np.union1d(np.arange(0, 20 * DAY, 300), errors)
    seldom = np.union1d(np.arange(0, 20 * DAY, 7200), errors)
    told = []
    for seconds in (often, seldom):
        counts = np.searchsorted(errors, seconds, side="right")
        score, memory = judged(seconds, counts)
        told.append((np.nanmax(score), memory.time_s[0], memory.errors[0]))
    assert told[0] == pytest.approx(told[1], rel=0.25)


def test_the_cut_does_not_show():
    rng = np.random.default_rng(3)
    seconds = np.cumsum(rng.integers(1, 4000, 2000))
    counts = np.cumsum(rng.poisson(0.1, 2000))
    whole, memory = judged(seconds, counts)
    pieces, other = judged(seconds, counts, pieces=37)
    np.testing.assert_array_equal(whole, pieces)
    for a, b in zip(memory, other, strict=True):
        np.testing.assert_array_equal(a, b)
