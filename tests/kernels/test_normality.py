"""The kernel of normality against its slow twin, and what holds of it whatever is thrown at it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiops.detectors.normality import Normality
from aiops.fleet.owner import FleetShape
from aiops.kernels.normality import VIEWS, normality_update, octaves
from aiops.kernels.rows import Rows
from tests.oracles.normality import Series, log2

MINUTE = 60 * 10**9
START = 1_767_571_200 * 10**9


def stream(name, n=900, seed=7):
    """Return times [n] and values [n] of a stream that is called so."""
    rng = np.random.default_rng(seed)
    step = np.full(n, 10 * MINUTE)
    value = 50.0 + rng.normal(0.0, 2.0, n)
    if name == "constant":
        value[:] = 42.0
    elif name == "heavy":
        value = rng.standard_t(2.0, n)
    elif name == "counts":
        value = rng.poisson(0.2, n).astype(float)
    elif name == "irregular":
        step = rng.integers(1, 40, n) * MINUTE // 3 + rng.integers(0, 999, n)
        step[n // 2] = 3 * 86_400 * 10**9
    elif name == "missing":
        value[rng.random(n) < 0.3] = np.nan
        value[5], value[6] = np.inf, -np.inf
    elif name == "drifting":
        value += np.linspace(0.0, 60.0, n) + np.where(np.arange(n) > 700, 25.0, 0.0)
    elif name == "daily":
        value += 20.0 * np.sin(np.arange(n) * 2 * np.pi / 144.0)
    elif name == "flat":
        value[n // 2 : n // 2 + 120] = value[n // 2]
    return START + np.cumsum(step), value


STREAMS = (
    "gaussian", "constant", "heavy", "counts", "irregular", "missing", "drifting", "daily", "flat",
)  # fmt: skip


def judge(detector, ts, value, cohort=None, pieces=1):
    """Return score, state and surprises of one series, cut into pieces."""
    memory = detector.init(FleetShape(1))
    if cohort:
        memory.common[0], memory.spread[0] = cohort
    found = []
    for part in np.array_split(np.arange(len(ts)), pieces):
        n = len(part)
        rows = Rows(np.array([0, n]), np.zeros(n, dtype=np.int32), ts[part])
        out = [np.full(n, -1.0) for _ in range(4)]
        views = np.zeros((n, len(VIEWS)), dtype=np.float32)
        normality_update(rows, value[part], memory, detector.settings, *out, views)
        found.append((*out, views))
    return *(np.concatenate(column) for column in zip(*found, strict=True)), memory


def agree(detector, ts, value, cohort=None):
    """Check the kernel against its twin, value by value."""
    score, _, _, state, views, _ = judge(detector, ts, value, cohort)
    twin = Series(detector.settings, cohort)
    off, off_views = [], []
    for k, (t, x) in enumerate(zip(ts.tolist(), value.tolist(), strict=True)):
        said = twin.take(t, x)
        if said is None:
            assert math.isnan(score[k])
            assert math.isnan(state[k])
            continue
        off.append((abs(score[k] - said[0]), abs(state[k] - said[1])))
        off_views.append([abs(views[k, v] - said[2].get(w, 0.0)) for v, w in enumerate(VIEWS)])
    # A statistic on the edge of a bin may fall to either side of it, in single precision; that is
    # a sample more or less in one bin.
    assert np.median(off) < 1e-3
    assert np.quantile(off, 0.99) < 0.03
    assert np.max(off) < 0.25
    assert np.quantile(off_views, 0.99) < 0.03


@pytest.mark.parametrize("name", STREAMS)
def test_the_kernel_agrees_with_its_twin(name):
    agree(Normality("m"), *stream(name))


def test_it_agrees_where_tails_are_halved_and_days_add_up():
    ts, value = stream("gaussian", n=10_000)
    agree(Normality("m"), ts, value)


@pytest.mark.parametrize("settings", [{"direction": "up"}, {"direction": "down"},
                                      {"min_deviation": 3.0}])  # fmt: skip
def test_it_agrees_on_sides_and_least_deviations(settings):
    agree(Normality("m", **settings), *stream("drifting"))


def test_it_agrees_on_counters_which_begin_anew():
    ts, value = stream("counts")
    total = np.cumsum(value)
    total[500:] -= total[500]
    agree(Normality("m_total"), ts, total)


def test_it_agrees_on_a_cohort():
    agree(Normality("m"), *stream("daily"), cohort=(0.5, 0.25))


def test_a_logarithm_is_read_off_the_bits():
    for x in (1.0, 1.5, 2.0, 3.0, 0.1, -7.3, 1e-20, 2.0**100):
        x = float(np.float32(x))
        assert octaves(np.float32(x)) / 2**23 - 127 == pytest.approx(log2(x), abs=1e-6)
        assert abs(octaves(np.float32(x)) / 2**23 - 127 - math.log2(abs(x))) < 0.09
    assert octaves(np.float32(0.0)) == 0


@pytest.mark.parametrize("name", STREAMS)
def test_how_a_series_is_cut_changes_no_bit(name):
    ts, value = stream(name)
    whole = judge(Normality("m"), ts, value)
    cut = judge(Normality("m"), ts, value, pieces=53)
    for a, b in zip(whole[:5], cut[:5], strict=True):
        assert a.tobytes() == b.tobytes()
    for name_, a, b in zip(whole[5]._fields, whole[5], cut[5], strict=True):
        assert a.tobytes() == b.tobytes(), name_


def test_a_constant_series_scores_nothing_whatever_it_is():
    for constant in (0.0, 1.0, -3e-12, 5e17):
        ts, value = stream("constant")
        score, *_ = judge(Normality("m"), ts, np.full_like(value, constant))
        assert math.isnan(score[0])
        assert (score[1:] == 0.0).all()


def test_what_says_nothing_is_not_scored_and_touches_no_memory():
    ts, value = stream("gaussian")
    plain = judge(Normality("m"), ts, value)
    twice = np.repeat(np.arange(len(ts)), 2)
    nothing = np.resize([np.nan, np.inf, -np.inf], 2 * len(ts))
    both = np.where(np.arange(2 * len(ts)) % 2 == 0, value[twice], nothing)
    later = ts[twice] + np.arange(2 * len(ts)) % 2
    mixed = judge(Normality("m"), later, both)
    assert np.isnan(mixed[0][1::2]).all()
    assert mixed[0][::2].tobytes() == plain[0].tobytes()
    for name, a, b in zip(plain[5]._fields, plain[5], mixed[5], strict=True):
        assert a.tobytes() == b.tobytes(), name


def test_a_row_seen_before_is_not_scored_again():
    ts, value = stream("gaussian", n=100)
    again = judge(Normality("m"), np.concatenate((ts, ts)), np.concatenate((value, value)))
    assert np.isnan(again[0][100:]).all()
    assert again[5].moments.tobytes() == judge(Normality("m"), ts, value)[5].moments.tobytes()


def test_a_score_does_not_saturate():
    ts, value = stream("gaussian")
    scores = []
    for size in (1e2, 1e3, 1e4, 1e6, 1e9):
        last = value.copy()
        last[-1] += size
        scores.append(judge(Normality("m"), ts, last)[0][-1])
    assert (np.diff(scores) > 0.0).all()


def test_an_anomaly_is_hardly_learnt_yet_a_new_normal_is_accepted():
    ts, value = stream("gaussian", n=12_000)
    spiked = value.copy()
    spiked[2000:2010] += 1000.0
    plain = judge(Normality("m"), ts[:2010], value[:2010])[5]
    after = judge(Normality("m"), ts[:2010], spiked[:2010])[5]
    assert abs(after.moments[0, 0] - plain.moments[0, 0]) < 5.0, "of 1,000"
    moved = value.copy()
    moved[2000:] += 40.0
    score, *_ = judge(Normality("m"), ts, moved)
    usual, new = score[1500:2000].max(), score[2000:2200].max()
    assert new > 1.5 * usual
    assert score[-500:].max() < new
    assert np.median(score[-500:]) < 1.3 * np.median(score[1500:2000])
    assert np.median(score[2000:2200]) > 1.5 * np.median(score[1500:2000])
