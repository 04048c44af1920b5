"""What cohorts have in common and where the line lies, against slow twins and on known tails."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiops.detectors.normality_cohort import BASE, RATE, STEEPNESS, init_cohort, tail_of
from aiops.kernels import normality_line
from aiops.kernels.normality_cohort import (
    COUNTS,
    MEMBERS,
    UNKNOWN,
    CohortMemory,
    Loan,
    group_members,
    lend,
    median_and_mad,
    seal_hour,
)
from aiops.kernels.normality_line import (
    ALLOWED,
    BALANCE_MOST,
    EXPOSURE,
    HIGHEST,
    LEAST_DAYS,
    LEVELS,
    LOWEST,
    PER_DOUBLING,
    SLOTS_OF_COUNTS,
    SPENT,
    fold_day,
    levels_under,
    line_of,
    score_against_line,
    seal_firings,
)
from tests.oracles import normality_cohort as oracle

LINES = oracle.levels(BASE, LEVELS, PER_DOUBLING)


def memory_of(n, budget=100.0):
    return CohortMemory(**init_cohort(n, budget))


def one_cohort(n):
    start, member = np.zeros(2, dtype=np.int64), np.zeros(n, dtype=np.int32)
    group_members(np.zeros(n, dtype=np.int32), 1, start, member)
    return start, member


def test_both_kernels_mean_the_same_by_a_cohort_and_its_tables_fit_into_it():
    assert normality_line.MEMBERS == MEMBERS
    assert max(SLOTS_OF_COUNTS, EXPOSURE + 2) <= MEMBERS * COUNTS


def test_levels_under_a_score_are_those_not_above_it():
    rng = np.random.default_rng(0)
    for score in [0.0, BASE, *LINES, *(LINES[-1] * 2.0 ** rng.uniform(-8, 1, 200))]:
        assert levels_under(score, BASE) == sum(line <= score * (1 + 1e-9) for line in LINES)


@pytest.mark.parametrize("seed", range(6))
def test_each_level_fires_as_a_rule_with_that_line_would(seed):
    rng = np.random.default_rng(seed)
    scores = BASE * 2.0 ** rng.normal(0.5, 1.5, 40).cumsum().clip(-2.0, 6.0) * rng.uniform(0.7, 1.3)
    memory = memory_of(1)
    n = len(scores)
    score_against_line(
        np.zeros(n, dtype=np.int32), np.ones(n, dtype=np.bool_), scores.copy(), BASE,
        memory.line, memory.level, memory.fired,
    )  # fmt: skip
    kept = sorted((int(a), int(b)) for a, b in memory.fired[0].reshape(2, 2) if b)
    assert kept == oracle.two_highest(oracle.firings(scores, LINES))


def test_a_score_is_told_in_multiples_of_the_line_and_rows_of_the_past_count_nowhere():
    memory = memory_of(2)
    memory.line[:] = 10.0, 20.0
    score = np.array([5.0, np.nan, 40.0, 80.0])
    device = np.array([0, 0, 1, 1], dtype=np.int32)
    usable = np.array([True, True, False, False])
    score_against_line(device, usable, score, BASE, memory.line, memory.level, memory.fired)
    np.testing.assert_array_equal(score, [0.5, np.nan, 2.0, 4.0])
    assert memory.level.tolist() == [levels_under(5.0, BASE), 0]
    assert memory.fired[1].tolist() == [0, 0, 0, 0]


def test_members_are_listed_by_group():
    group = np.array([3, 0, 3, 1, 0], dtype=np.int32)
    start, member = np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int32)
    group_members(group, 4, start, member)
    assert start.tolist() == [0, 2, 3, 3, 5]
    assert member.tolist() == [1, 4, 3, 0, 2]


@pytest.mark.parametrize("n", [8, 9, 100])
def test_median_and_spread_are_those_of_the_book(n):
    values = np.random.default_rng(n).standard_t(2, n)
    got = median_and_mad(values)
    assert got == pytest.approx(oracle.median_and_mad(values.tolist()), rel=1e-12)


@pytest.mark.parametrize("n", [MEMBERS, 25, 30])
def test_what_a_cohort_does_is_sealed_hour_by_hour(n):
    rng = np.random.default_rng(n)
    memory, (start, member) = memory_of(n), one_cohort(n)
    amplitude = rng.uniform(0.5, 1.5, n)
    hours = []
    for hour in range(1000, 1000 + 24 * 9):
        wave = math.sin(hour % 24 / 24 * 2 * math.pi) + 0.5 * (hour // 24 % 7 == 2)
        deviation = amplitude * wave + 0.2 * rng.standard_normal(n)
        deviation[rng.random(n) < 0.02] = np.nan
        if hour % 50 == 0:
            deviation[5:] = np.nan
        deviation = deviation.astype(np.float32).astype(np.float64)
        seal_hour(hour, start, member, deviation, memory)
        hours.append((hour, [None if math.isnan(d) else d for d in deviation.tolist()]))
    common, spread = oracle.sealed(hours, n)
    np.testing.assert_allclose(memory.common, common, atol=2e-4)
    np.testing.assert_allclose(memory.spread, spread, atol=2e-4)
    assert np.corrcoef(memory.beta, amplitude)[0, 1] > 0.8


def test_a_cohort_of_fewer_has_nothing_in_common():
    n = MEMBERS - 1
    memory, (start, member) = memory_of(n), one_cohort(n)
    seal_hour(5, start, member, np.ones(n), memory)
    assert (memory.common == 0.0).all()
    assert (memory.profile == UNKNOWN).all()


def test_the_order_of_members_does_not_matter():
    rng = np.random.default_rng(3)
    n = 40
    deviation = rng.standard_normal((48, n))
    order = rng.permutation(n)
    start, member = one_cohort(n)
    one, other = memory_of(n), memory_of(n)
    for hour in range(48):
        seal_hour(hour, start, member, deviation[hour], one)
        seal_hour(hour, start, member, deviation[hour, order], other)
    np.testing.assert_array_equal(one.common[order], other.common)
    np.testing.assert_array_equal(one.profile, other.profile)


@pytest.mark.parametrize("line", [BASE, 1.3 * BASE, 100.0 * BASE])
def test_a_day_is_folded_in_and_an_epidemic_counts_no_more_than_a_bad_day(line):
    rng = np.random.default_rng(1)
    tail = tail_of(100.0)
    counts = np.append(rng.poisson(50.0 * 0.8 ** np.arange(LEVELS)), [5000.0, 30.0, 20.0])
    today = np.append(rng.poisson(500.0 * 0.9 ** np.arange(LEVELS)), 1000.0)
    prior = [RATE * math.exp(-STEEPNESS * (score - BASE)) for score in LINES]
    expected = oracle.folded(today.tolist(), counts.tolist(), line, LINES, prior, tail.target * 0.5)
    folded = counts.copy()
    fold_day(today.astype(np.float64), folded, line, 0.5, tail)
    np.testing.assert_allclose(folded, expected, rtol=1e-12)
    assert (folded[:LEVELS] < today[:LEVELS]).all()


def test_a_day_on_which_nobody_was_watched_teaches_nothing():
    counts = np.arange(SLOTS_OF_COUNTS, dtype=np.float64)
    fold_day(np.zeros(EXPOSURE + 1), counts, 5.0, 1.0, tail_of(10.0))
    np.testing.assert_array_equal(counts, np.arange(SLOTS_OF_COUNTS))


def counts_of(rate_at, days):
    """Return firings by level of a series whose firings a day at a line are known."""
    return np.array([*(days * rate_at(line) for line in LINES), days, 0.0, 0.0])


@pytest.mark.parametrize("scale", [0.15, 0.4, 0.8])
@pytest.mark.parametrize("budget", [1000.0, 100.0, 10.0, 1.0])
def test_the_line_is_where_a_known_tail_meets_the_budget(scale, budget):
    """An exponential tail that was watched for 20,000 days, also beyond what has ever fired."""
    tail = tail_of(budget)
    line = line_of(counts_of(lambda s: 2.0 * math.exp(-(s - BASE) / scale), 20_000.0), 1.0, tail)
    exact = BASE + scale * math.log(2.0 / tail.target)
    assert line == pytest.approx(exact, rel=0.05)


def test_without_experience_the_line_is_the_prior_and_it_moves_within_bounds():
    tail = tail_of(100.0)
    usual = BASE + math.log(RATE / tail.target) / STEEPNESS
    assert line_of(np.zeros(SLOTS_OF_COUNTS), 1.0, tail) == pytest.approx(usual, rel=0.05)
    always = line_of(np.append(np.full(LEVELS, 1e6), [1e6, 0.0, 0.0]), 1.0, tail)
    never = line_of(np.append(np.zeros(LEVELS), [1e9, 0.0, 0.0]), 1.0, tail)
    slow = line_of(counts_of(lambda s: math.exp(-(s - BASE) / 5.0), 20_000.0), 1.0, tail)
    assert usual < slow < always + 1.0 < HIGHEST * usual
    assert LOWEST * usual <= never < usual


def test_what_was_fired_too_much_is_made_up_for_within_bounds():
    tail = tail_of(100.0)
    counts = counts_of(lambda s: 2.0 * math.exp(-(s - BASE)), 20_000.0)
    lines = []
    for spent in (0.0, 20.0, 50.0, 1e6):
        counts[SPENT], counts[ALLOWED] = spent, 50.0
        lines.append(line_of(counts, 1.0, tail))
    even = line_of(counts_of(lambda s: 2.0 * math.exp(-(s - BASE)), 20_000.0), 1.0, tail)
    assert lines == sorted(lines)
    assert lines[2] == pytest.approx(even)
    assert lines[-1] == pytest.approx(even + math.log(BALANCE_MOST), rel=0.02)


def test_a_smaller_budget_never_lowers_the_line():
    rng = np.random.default_rng(5)
    for _ in range(50):
        shape = np.sort(rng.gamma(0.3, 50.0, LEVELS))[::-1]
        counts = np.append(np.floor(shape), [rng.uniform(1.0, 5000.0), 0.0, 0.0])
        lines = [line_of(counts, 1.0, tail_of(budget)) for budget in (1e4, 1e3, 1e2, 10.0, 1.0)]
        assert lines == sorted(lines)


def test_parts_of_a_device_share_its_budget():
    n = 40
    start, member = one_cohort(n)
    alone, parts = memory_of(n), memory_of(n)
    everybody = np.ones(n, dtype=np.bool_)
    for memory, root in ((alone, np.arange(n)), (parts, np.arange(n) // 4)):
        seal_firings(
            1000, start, member, root.astype(np.int32), everybody, True, tail_of(100.0), memory
        )
    assert (parts.line > alone.line).all()
    np.testing.assert_allclose(
        parts.line,
        line_of(np.append(np.zeros(LEVELS), [n / 24.0, 0, 0]), 0.25, tail_of(100.0)),
        rtol=1e-2,
    )


def test_a_newcomer_is_lent_what_its_cohort_has():
    rng = np.random.default_rng(2)
    n = 20
    loan = Loan(seen=1, level=3, short=2, spread=0, interval=1, parts=16.0, unit=16, full=65_000)
    column = np.array([4, 0])
    moments = rng.gamma(4.0, 1.0, (n, 5)).astype(np.float32)
    moments[:, 0] = rng.uniform(500.0, 700.0, n)  # the interval, seconds
    tails = np.sort(rng.integers(0, 900, (n, 2, 5)), axis=2)[:, :, ::-1].astype(np.uint16)
    largest = rng.integers(0, 4000, (n, 2)).astype(np.uint16)
    hours = rng.integers(-127, 127, (n, 24)).astype(np.int8)
    seen = np.full((n, 2), 3, dtype=np.uint16)
    group = (np.arange(n) % 2).astype(np.int32)
    start, member = np.zeros(3, dtype=np.int64), np.zeros(n, dtype=np.int32)
    group_members(group, 2, start, member)
    new, lends = np.zeros(n, dtype=np.bool_), np.ones(n, dtype=np.bool_)
    new[[4, 7]], lends[[1, 3, 5]] = True, False  # of the odd ones, too few lend
    arrays = moments, tails, largest, hours, seen
    before = [array.copy() for array in arrays]
    lend(50, start, member, new, lends, column, *arrays, loan)
    lenders = [i for i in range(n) if group[i] == 0 and i != 4]
    told = oracle.lent(
        50, [[array[i].tolist() for array in before] for i in lenders],
        [array[4].tolist() for array in before], column.tolist(), loan,
    )  # fmt: skip
    for array, expected in zip(arrays, told, strict=True):
        np.testing.assert_allclose(array[4], expected, rtol=1e-5)
    untouched = np.arange(n) != 4
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array[untouched], old[untouched])


def test_the_exposure_of_a_day_of_many_is_kept():
    n = 5000
    memory, (start, member) = memory_of(n), one_cohort(n)
    root, everybody = np.arange(n, dtype=np.int32), np.ones(n, dtype=np.bool_)
    for hour in range(48):
        seal_firings(hour, start, member, root, everybody, hour % 24 == 23, tail_of(1000.0), memory)
    kept = n * (1.0 + math.exp(-1.0 / LEAST_DAYS))
    assert memory.counted.ravel()[EXPOSURE] == pytest.approx(kept, rel=1e-5)
    assert not memory.today.any()


def test_the_rule_fires_as_often_as_the_budget_allows_whatever_the_scores_are():
    """A fleet of 400 for 60 days, hourly; scores in runs, with a spread between devices."""
    rng = np.random.default_rng(11)
    n, days, budget = 400, 60, 600.0
    memory, (start, member) = memory_of(n, budget), one_cohort(n)
    device, root = np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32)
    everybody, firing = np.ones(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    scale, x, fired = np.exp(0.3 * rng.standard_normal(n)), rng.standard_normal(n), 0
    for hour in range(24 * days):
        x = 0.8 * x + 0.6 * rng.standard_normal(n)
        score = 0.7 * scale * x * x
        score_against_line(device, everybody, score, BASE, memory.line, memory.level, memory.fired)
        fired += int(np.count_nonzero(~firing & (score >= 1.0))) if hour >= 24 * 15 else 0
        firing = (firing & (score >= 0.8)) | (score >= 1.0)
        seal_firings(hour, start, member, root, everybody, hour % 24 == 23, tail_of(budget), memory)
    allowed = budget / 1000.0 * n * (days - 15) / (365.25 / 12.0)
    assert fired == pytest.approx(allowed, abs=3.0 * math.sqrt(allowed))
