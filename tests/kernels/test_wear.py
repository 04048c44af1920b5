"""Learning wear, and foretelling its end, against the twin."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiops.detectors.flash_wear import YEAR_S, FlashWear
from aiops.detectors.protocol import FleetShape
from aiops.kernels.rows import Rows, no_scores
from aiops.kernels.wear import below, posterior, wear_horizons, wear_update
from tests.oracles import wear as oracle

SECOND = 10**9
DAY_S = 86_400
START = 1_760_000_000 * SECOND


def judge(rows, detector, memory=None):
    """Run the kernel over rows (device, ts, reading, tick, power on), None for not reported."""
    if memory is None:
        memory = detector.init(FleetShape(1 + max(row[0] for row in rows)))
    columns = [
        np.array([np.nan if row[c] is None else row[c] for row in rows], dtype=np.float64)
        for c in (2, 3, 4)
    ]
    device = np.array([row[0] for row in rows], dtype=np.int32)
    ts = np.array([row[1] for row in rows], dtype=np.int64)
    scores = no_scores(len(rows))
    grouped = Rows(np.array([0, len(rows)], dtype=np.int64), device, ts)
    wear_update(grouped, *columns, memory, detector.settings, scores)
    return scores, memory


def history(rng, device, tick, powered):
    """Draw rows of a medium with gaps, slips, recalculations and, in the end, a replacement."""
    rows = []
    ts = START + int(rng.integers(0, 10**12))
    on_s, wear = float(rng.uniform(0, 4e7)), float(rng.uniform(0, 0.4))
    per_s = float(rng.uniform(0.02, 1.0)) / YEAR_S
    for k in range(220):
        gap_s = float(rng.choice([6 * 3600, 3 * DAY_S, 60 * DAY_S], p=[0.5, 0.45, 0.05]))
        ts += int(gap_s * SECOND)
        ran_s = gap_s * rng.uniform(0.5, 0.9)
        on_s += ran_s
        wear += 0.005 * rng.gamma(max(per_s * ran_s / 0.005, 1e-9))
        if k == 110:
            per_s *= 6.0
        if k == 180:
            wear, on_s = 0.0, 0.0
        reading = math.floor(wear / tick) * tick
        shown_on = on_s - on_s % 3600 if powered and rng.random() < 0.8 else None
        u = rng.random()
        if u < 0.02:
            reading = max(reading - tick, 0.0)
        elif u < 0.04:
            reading = 0.0
        elif u < 0.05:
            reading = 2.55
        elif u < 0.06:
            shown_on = None if shown_on is None else 0.0
        elif u < 0.09:
            reading = None
        rows.append((device, ts, reading, tick, shown_on))
        if u > 0.98:
            rows.append(rows[-1])
    return rows


@pytest.mark.parametrize("powered", [True, False])
@pytest.mark.parametrize("tick", [0.1, 0.01])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_learnt_against_the_twin(seed, tick, powered):
    rng = np.random.default_rng(seed)
    detector = FlashWear()
    settings = detector.settings
    memory = detector.init(FleetShape(3))
    believed = 0
    for device in range(3):
        medium = oracle.Medium(settings.prior_shape, settings.prior_rate, settings.scale)
        rows = history(rng, device, tick, powered)
        for row in rows:
            scores, _ = judge([row], detector, memory)
            said = medium.row(row[1], row[2], row[3] or 0.01, row[4])
            assert said == (not math.isnan(scores.score[0]))
            assert said == (scores.observed[0] == row[2])
            believed += said
            if said:
                found = (memory.level[device], memory.clock_s[device], memory.anchor_s[device])
                expected = (medium.level, medium.seen_s, medium.anchor[0])
                np.testing.assert_allclose(found, expected, rtol=1e-9)
                np.testing.assert_allclose(
                    posterior(device, memory, settings), medium.posterior(), rtol=1e-6
                )
    assert believed > 500


@pytest.mark.parametrize("since_years", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("level", "tick"), [(0.3, 0.1), (0.9, 0.1), (0.85, 0.05)])
def test_what_is_foretold_against_brute_force(level, tick, since_years):
    detector = FlashWear(wear_scale=0.01)
    settings = detector.settings
    memory = detector.init(FleetShape(1))
    judge([(0, START, level, tick, 1e8 * level)], detector, memory)
    since_s = since_years * YEAR_S
    memory.anchor_var[0] = 0.0
    memory.clock_s[0] = memory.anchor_s[0] + since_s
    shape, inverse = posterior(0, memory, settings)

    quantile = np.array([0.1, 0.5, 0.9])
    horizon_s, rate = np.empty((1, 3)), np.empty(1)
    wear_horizons(np.zeros(1, np.int32), memory, settings, quantile, horizon_s, rate)
    for wanted, h in zip(quantile, horizon_s[0], strict=True):
        if h == 0.0 or math.isinf(h):
            continue
        found = oracle.worn_within(h, shape, inverse, since_s, level, tick, settings.scale)
        assert found == pytest.approx(wanted, abs=0.04)
    assert np.isfinite(horizon_s[0, 0])


def test_wilson_and_hilferty_are_good_enough():
    for shape in (1.0, 3.0, 10.0, 100.0):
        for factor in (0.2, 0.5, 1.0, 1.5, 3.0):
            exact = oracle.gamma_below(factor * shape, shape)
            assert below(factor * shape, shape, shape) == pytest.approx(exact, abs=0.01)


def test_a_worn_out_medium_is_worn_out_now():
    scores, memory = judge([(0, START, 1.0, 0.1, None)], FlashWear())
    assert scores.score[0] == pytest.approx(1.0 / FlashWear().line_probability)
    assert FlashWear().forecast(memory, np.zeros(1, np.int32)).quantile[0, 2] == START


def test_a_slip_is_not_learnt_and_a_replacement_is():
    steady = [(0, START + k * DAY_S * SECOND, 0.5, 0.01, 1e7 + k * DAY_S) for k in range(10)]
    detector = FlashWear()
    _, memory = judge(steady, detector)
    before = [array.copy() for array in memory]
    slip = [(0, steady[-1][1] + 1, 0.02, 0.01, None), (0, steady[-1][1] + 2, 0.5, 0.01, 3600.0)]
    scores, _ = judge(slip, detector, memory)
    assert np.isnan(scores.score).all()
    for name, old, new in zip(memory._fields, before, memory, strict=True):
        if name not in ("ts", "slips"):
            np.testing.assert_array_equal(old, new)
    later = steady[-1][1] + DAY_S * SECOND
    new = [(0, later + k * SECOND, 0.0, 0.01, 3600.0 + k) for k in range(5)]
    scores, _ = judge(new, detector, memory)
    assert np.isnan(scores.score[:2]).all()
    assert scores.score[4] < 0.01
    assert memory.level[0] == 0.0


def test_between_judgements_the_last_one_is_repeated():
    detector = FlashWear()
    rows = [(0, START + k * 3600 * SECOND, 0.97, 0.01, 3e7 + k * 3600) for k in range(60)]
    scores, _ = judge(rows, detector)
    assert len(np.unique(scores.expected)) == 3


def test_duty_stretches_what_is_left():
    detector = FlashWear()
    left = []
    for duty in (1.0, 0.25):
        rows = [
            (0, START + k * DAY_S * SECOND, 0.5, 0.01, 5e7 + k * DAY_S * duty) for k in range(30)
        ]
        _, memory = judge(rows, detector)
        date = detector.forecast(memory, np.zeros(1, np.int32)).quantile[0, 2]
        left.append(date - rows[-1][1])
    assert left[1] / left[0] == pytest.approx(4.0, rel=0.05)
