"""Signs of failing flash, one by one and weighed, against the twin."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.detectors.flash_failure import CHANNELS, DAY_S, YEAR_S, FlashFailure
from aiops.detectors.protocol import FleetShape
from aiops.kernels import failure as kernel
from aiops.kernels.failure import FailureColumns, failure_update, strongest
from aiops.kernels.rows import Rows, no_scores
from tests.oracles import failure as oracle

SECOND = 10**9
DAY_NS = 86_400 * SECOND
START = 1_760_000_000 * SECOND
FIELDS = ("spare", "threshold", "warning", "pre_eol", "media_errors", "reallocated", "wear")


def judge(rows, detector, memory=None):
    """Run the kernel over rows as the twin takes them."""
    if memory is None:
        memory = detector.init(FleetShape(1 + max(row["device"] for row in rows)))
    columns = FailureColumns(
        *(np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in FIELDS)
    )
    device = np.array([row["device"] for row in rows], dtype=np.int32)
    ts = np.array([row["ts"] for row in rows], dtype=np.int64)
    scores = no_scores(len(rows))
    grouped = Rows(np.array([0, len(rows)], dtype=np.int64), device, ts)
    failure_update(grouped, columns, memory, detector.settings, scores)
    return scores, memory


def twin(rows, detector):
    settings = detector.settings
    return oracle.failure_update(
        rows,
        settings.shape,
        settings.prior_s.tolist(),
        settings.most_rate,
        settings.failing_rate.tolist(),
        detector.episode_s,
        settings.line,
    )


def history(rng, device, n=90):
    """Draw rows of a medium that fails by halves, read unevenly, with nonsense in between."""
    shows = set(rng.permutation(FIELDS)[: rng.integers(1, len(FIELDS) + 1)].tolist())
    rows = []
    now, spare, errors, sectors = START, 1.0, int(rng.integers(0, 3)), int(rng.integers(0, 200))
    per_day = rng.choice([0.0, 0.01, 0.1], 2)
    for _ in range(n):
        days = float(rng.choice([0.25, 1.0, 7.0, 90.0], p=[0.5, 0.3, 0.15, 0.05]))
        now += int(days * rng.uniform(0.95, 1.05) * DAY_NS)
        grows = rng.random(2) < 1.0 - np.exp(-per_day * days)
        errors += int(grows[0] * rng.integers(1, 9))
        sectors += int(grows[1] * rng.integers(1, 300))
        spare = max(spare - 0.01 * rng.integers(0, 2), 0.0)
        whole = {
            "spare": 0.0 if rng.random() < 0.02 else spare,
            "threshold": float(rng.choice([0.1, 0.1, 0.0, 1.0])),
            "warning": float(rng.choice([0, 0, 0, 0, 1, 2, 4, 8, 16, 255])),
            "pre_eol": float(rng.choice([1, 1, 1, 1, 2, 3])),
            "media_errors": float(errors),
            "reallocated": float(sectors),
            "wear": 0.2,
        }
        if rng.random() < 0.05:
            whole["media_errors"] = float(rng.choice([2**16 - 1, 2**24 - 1, 2**31 - 1, 2**32]))
        if rng.random() < 0.05:
            whole["reallocated"] = 0.0
        shown = {name: value for name, value in whole.items() if name in shows}
        shown = {name: value for name, value in shown.items() if rng.random() < 0.9}
        rows.append({"device": device, "ts": now, **shown})
        if rng.random() < 0.02:
            rows.append(dict(rows[-1]))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_every_row_against_the_twin(seed):
    rng = np.random.default_rng(seed)
    rows = [row for device in range(8) for row in history(rng, device)]
    detector = FlashFailure()
    scores, memory = judge(rows, detector)
    said, media = twin(rows, detector)
    for column, expected in zip(scores, zip(*said, strict=True), strict=True):
        np.testing.assert_allclose(column, expected, rtol=1e-9)
    for i, medium in media.items():
        assert strongest(i, memory, detector.settings)[0] == medium["channel"]
        for c, counter in medium["counters"].items():
            assert memory.episodes[i, c] == sum(hit for _, hit in counter.stretches)
            assert memory.level[i, c] - memory.first[i, c] == counter.level - counter.first
    assert np.nanmax(scores.score) > 1.0
    assert (memory.episodes > 0).any()


def test_the_codes_are_the_names():
    for code, name in enumerate(CHANNELS):
        assert getattr(kernel, name.upper().replace("SPARE_WARNING", "SPARE_BIT")) == code


def last(*shown):
    """Return score and channel of a medium after rows a day apart."""
    rows = [{"device": 0, "ts": START + k * DAY_NS} | row for k, row in enumerate(shown)]
    detector = FlashFailure()
    scores, memory = judge(rows, detector)
    return scores.score[-1], CHANNELS[strongest(0, memory, detector.settings)[0]]


@pytest.mark.parametrize(
    ("row", "least", "channel"),
    [
        ({"spare": 0.10, "threshold": 0.10}, 1.5, "spare"),
        ({"spare": 0.08}, 1.6, "spare"),
        ({"spare": 0.40, "threshold": 0.50}, 1.6, "spare"),
        ({"warning": 1.0}, 1.5, "spare_warning"),
        ({"warning": 4.0}, 2.0, "unreliable"),
        ({"warning": 9.0, "spare": 0.04}, 3.0, "read_only"),
        ({"pre_eol": 2.0}, 1.25, "pre_eol"),
        ({"pre_eol": 3.0}, 2.0, "pre_eol"),
    ],
)
def test_a_state_is_a_fact_from_the_first_row(row, least, channel):
    score, speaks = last(row)
    assert score == pytest.approx(least)
    assert speaks == channel


@pytest.mark.parametrize(
    "row",
    [
        {"spare": 0.11, "threshold": 0.10},
        {"spare": 0.05, "threshold": 0.03},
        {"spare": 1.0, "threshold": 1.0},
        {"spare": 0.0, "threshold": 0.0, "warning": 0.0},
        {"warning": 2.0},
        {"warning": 16.0},
        {"warning": 255.0},
        {"pre_eol": 1.0},
        {"media_errors": 4e6, "reallocated": 5e5},
    ],
)
def test_what_is_no_failure(row):
    assert not last(row)[0] >= 1.0


def test_spare_of_zero_is_believed_of_a_medium_that_had_some():
    assert last({"spare": 0.02, "threshold": 0.0}, {"spare": 0.0, "threshold": 0.0})[0] == 2.0


def test_what_becomes_well_again_is_well():
    assert last({"pre_eol": 2.0}, {"pre_eol": 1.0})[0] == 0.0
    assert last({"warning": 8.0}, {"warning": 0.0})[0] == 0.0


def counts(name, values, gap_ns=DAY_NS):
    return [{"device": 0, "ts": START + k * gap_ns, name: float(v)} for k, v in enumerate(values)]


def test_evidence_is_the_sum_over_change_times():
    rng = np.random.default_rng(3)
    detector = FlashFailure()
    grows = np.cumsum(rng.random(60) < np.where(np.arange(60) < 40, 0.01, 0.2))
    rows = counts("reallocated", np.concatenate(([0], grows)), 7 * DAY_NS)
    _, memory = judge(rows, detector)
    stretches = [(7 * DAY_S, bool(grew)) for grew in np.diff(np.concatenate(([0], grows)))]
    settings = detector.settings
    ratios = oracle.ratios_of(
        stretches,
        settings.shape,
        settings.prior_s[1],
        settings.most_rate,
        settings.failing_rate.tolist(),
    )
    total = oracle.evidence(stretches, ratios, DAY_S)
    assert memory.weight[0, 1].sum() == pytest.approx(total, rel=1e-9)
    assert total > 100.0


def test_a_burst_is_one_episode_however_large_and_wherever_the_day_ends():
    quiet = [0] * 400
    burst = [k * 70 for k in range(5)] + [280] * 40
    for ahead in range(4):
        rows = counts("reallocated", quiet + [0] * ahead + burst, DAY_NS // 4)
        scores, memory = judge(rows, FlashFailure())
        assert memory.episodes[0, 1] == 1
        assert 0.0 < np.nanmax(scores.score) < 1.0


def test_growth_that_goes_on_stays_beyond_the_line_for_years():
    detector = FlashFailure()
    scores, memory = judge(counts("reallocated", range(3000)), detector)
    assert scores.score[20] > 1.0
    assert (scores.score[20:] > 1.0).all()
    assert np.isfinite(memory.weight).all()
    per_month = counts("reallocated", range(60), 30 * DAY_NS)
    assert (judge(per_month, detector)[0].score[6:] > 1.0).all()


def test_a_medium_that_is_quiet_again_is_believed_in_the_end():
    years = [min(k, 30) for k in range(5 * 365)]
    scores, _ = judge(counts("reallocated", years), FlashFailure())
    assert scores.score[60] > 1.0
    assert scores.score[-1] < 0.8


def test_a_rate_below_what_healthy_media_show_is_learnt():
    detector = FlashFailure(most_per_year=40.0)
    half_yearly = [k // 26 for k in range(20 * 52)]
    scores, _ = judge(counts("reallocated", half_yearly, 7 * DAY_NS), detector)
    assert np.nanmax(scores.score) < 1.0


def test_garbage_never_counts():
    for garbage in (2**16 - 1, 2**24 - 1, 2**31 - 1, 2**32 - 1, 2**32):
        for name in ("media_errors", "reallocated"):
            broken = [0.0, float(garbage)] * 30
            scores, memory = judge(counts(name, broken), FlashFailure())
            assert not memory.episodes.any()
            assert np.nanmax(scores.score) == 0.0


def test_the_state_of_a_medium_fits_in_128_bytes():
    memory = FlashFailure().init(FleetShape(1000))
    assert sum(array.nbytes for array in memory) <= 128 * 1000


def test_a_row_of_nothing_and_an_old_row_leave_no_trace():
    rows = [
        {"device": 0, "ts": START, "spare": 0.5},
        {"device": 0, "ts": START + DAY_NS},
        {"device": 0, "ts": START, "spare": 0.05},
    ]
    scores, memory = judge(rows, FlashFailure())
    assert np.isnan(scores.score[1:]).all()
    assert (memory.ts[0], memory.spare[0]) == (START, 0.5)


def test_the_prior_stands_for_as_much_exposure_as_its_mean_says():
    settings = FlashFailure(reallocated_per_year=0.5, episode_shape=0.2).settings
    assert settings.prior_s[1] == pytest.approx(0.4 * YEAR_S)
