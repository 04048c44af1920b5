"""The relation kernel against its twin, and what each of its parts must do."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from aiops.detectors.protocol import FleetShape
from aiops.detectors.relation import FIRST_SIZE, FIRST_USUAL, Relation
from aiops.kernels.relation import borrow, invert, leave_out, line_of
from aiops.telemetry.batch import TelemetryBatch, group_bounds
from tests.oracles import relation as oracle

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
METRICS = ("temperature.celsius", "cpu.utilization_ratio", "net.rtt_ms", "net.bandwidth_mbit_s")
DAY_S = 86_400
START = 1_760_000_000


def story(seed, days=25, tick_s=1800, broken_from=17):
    """Rows of one device with gaps, rows in turn and values missing, and a relation that breaks."""
    rng = np.random.default_rng(seed)
    at = START + np.cumsum(rng.choice([tick_s, tick_s, 60, 4 * tick_s], days * DAY_S // tick_s))
    at = at[at < START + days * DAY_S]
    n = len(at)
    load, link = rng.gamma(2.0, 0.1, n), np.exp(0.5 * rng.standard_normal(n))
    other = np.where(at > START + broken_from * DAY_S, rng.permutation(load), load)
    values = np.stack(
        [
            30.0 + 40.0 * other + rng.standard_t(4.0, n),
            load + 0.02 * rng.standard_normal(n),
            20.0 + 50.0 / link + rng.gamma(2.0, 2.0, n),
            20.0 * link,
        ],
        axis=1,
    )
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:: int(rng.integers(200, 300)), 0] = -40.0
    return at * 10**9, values


def batch_of(ts, values, device=0):
    n = len(ts)
    return TelemetryBatch(
        device=np.full(n, device, np.int32),
        cohort=np.zeros(n, np.int32),
        ts=ts,
        historical=np.zeros(n, np.bool_),
        columns={name: values[:, j].copy() for j, name in enumerate(METRICS)},
        indptr=group_bounds(np.full(n, device, np.int32)),
    )


@pytest.mark.parametrize("seed", range(4))
def test_against_the_twin(seed):
    detector = Relation(metrics=METRICS, accept_s=2.0 * DAY_S, alarm_budget=10.0)
    ts, values = story(seed)
    memory = detector.init(FleetShape(1))
    scores = detector.update(memory, batch_of(ts, values))
    square = 2.0 * FIRST_USUAL * FIRST_SIZE
    settings = detector.settings
    twin = oracle.Device(settings.floor.tolist(), settings, FIRST_USUAL, square)
    said = [
        twin.row(int(t), [None if math.isnan(x) else float(x) for x in row])
        for t, row in zip(ts, values, strict=True)
    ]
    expected = np.array([score for _, score in said])
    np.testing.assert_allclose(scores.score, expected, rtol=2e-2, atol=2e-3)
    assert np.nanmax(expected) > 1.0, "a twin that never judges proves nothing"
    assert twin.accepted
    for name in ("mean", "variance", "misfit", "wander", "evidence", "usual", "square", "line"):
        theirs = [getattr(m, name) for m in twin.metrics]
        np.testing.assert_allclose(getattr(memory, name)[0], theirs, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_leaving_out_of_an_inverse_is_inverting_without(seed):
    rng = np.random.default_rng(seed)
    detector = Relation()
    k = len(detector.metrics)
    memory = detector.init(FleetShape(1))
    factors = rng.standard_normal((k, k + 2))
    covariance = factors @ factors.T
    row, column = np.tril_indices(k)
    memory.moment[0] = covariance[row, column]
    memory.known[0] = 1e6
    work = np.empty((k, k))
    invert(0, 2**k - 1, memory, work)
    spread = np.sqrt(np.diag(covariance))
    correlation = 0.98 * covariance / np.outer(spread, spread)
    np.fill_diagonal(correlation, 1.0)
    missing = int(rng.integers(0, 2**k - 4))
    leave_out(0, missing, memory, work)
    kept = [j for j in range(k) if not missing >> j & 1]
    there = np.linalg.inv(correlation[np.ix_(kept, kept)])
    np.testing.assert_allclose(work[np.ix_(kept, kept)], there, rtol=1e-3, atol=1e-3)


def test_metrics_that_are_one_and_the_same_have_a_finite_inverse():
    detector = Relation()
    k = len(detector.metrics)
    memory = detector.init(FleetShape(1))
    memory.moment[0], memory.known[0] = 1.0, 1e6
    work = np.empty((k, k))
    invert(0, 2**k - 1, memory, work)
    assert np.isfinite(memory.inverse).all()
    assert (np.diag(work) >= 1.0).all()


def test_the_line_is_exceeded_as_rarely_as_it_says():
    """Half of the days have exponential peaks: simulated, the line of 1 % is exceeded on 1 %."""
    rng = np.random.default_rng(7)
    n = 200_000
    peak = np.where(rng.random(n) < 0.5, rng.exponential(4.0, n), 0.0)
    line = line_of(peak.mean(), (peak**2).mean(), 1e9, math.log(100.0))
    assert np.mean(peak > line) == pytest.approx(0.01, rel=0.25)
    surer = line_of(peak.mean(), (peak**2).mean(), 10.0, math.log(100.0))
    assert surer > line, "few days leave the size open"


def test_a_new_device_borrows_from_its_cohort_and_no_other():
    detector = Relation(metrics=METRICS)
    n, settings = 14, detector.settings
    memory = detector.init(FleetShape(n))
    group = np.array([0] * 6 + [1] * 6 + [0, -1], np.int32)
    row, column = np.tril_indices(len(METRICS))
    memory.days[:12], memory.known[:12] = 30.0, 5000.0
    memory.moment[:12] = np.where(
        row == column, 1.0, np.where(np.arange(12)[:, None] < 6, 0.8, -0.5)
    )
    memory.usual[:12], memory.square[:12] = 2.0, 12.0
    memory.days[12:], memory.known[12:] = 1.0, 144.0
    borrow(group, memory, settings)
    apart = row != column
    share = 288.0 / (288.0 + 144.0)
    np.testing.assert_allclose(memory.moment[12, apart], share * 0.8, rtol=1e-4)
    np.testing.assert_allclose(memory.usual[12], 2.0, rtol=1e-4)
    assert memory.days[12] == settings.learn_days - settings.borrow_days
    assert memory.informed.tolist() == [0] * 12 + [1, 0]
    np.testing.assert_array_equal(memory.moment[13, apart], 0.0)
    before = [array.copy() for array in memory]
    borrow(group, memory, settings)
    for name, a, b in zip(memory._fields, before, memory, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_cohort_of_few_teaches_nothing():
    detector = Relation(metrics=METRICS)
    memory = detector.init(FleetShape(5))
    memory.days[:4], memory.known[:4], memory.moment[:4] = 30.0, 5000.0, 1.0
    memory.days[4], memory.known[4] = 1.0, 144.0
    borrow(np.zeros(5, np.int32), memory, detector.settings)
    assert memory.informed[4] == 0
