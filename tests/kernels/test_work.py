"""Work functions against all sequences of places, and the rule on them against its slow twin."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels import work as kernels
from aiops.kernels.work import Patience, Work
from tests.oracles import work as oracle

PATIENCE = Patience(evidence=0.3, assurance=2.0, slack=1.25)


def blank(w, k):
    nothing = np.full((w, k), np.nan)
    return Work(nothing, nothing.copy(), *np.zeros((3, w)), np.zeros((w, k)))


def advanced(
    work, cost, open_, move, current, hours=1.0, horizon_h=1.0, forget=0.25, patience=PATIENCE
):
    """Return `work` a tick later and the bias; `work` is left alone."""
    after = Work(*(array.copy() for array in work))
    bias = np.zeros(cost.shape, dtype=np.int64)
    kernels.advance(
        after,
        cost,
        open_,
        move,
        current.astype(np.int32),
        hours,
        horizon_h,
        forget,
        patience,
        bias,
    )
    return after, bias


def moves(rng, w, k, current):
    move = rng.integers(1, 3_000, (w, k))
    move[np.arange(w), current] = 0
    return move


def chosen(cost, open_, bias):
    return np.where(open_, cost + bias, np.iinfo(np.int64).max).argmin(axis=1)


def unknown_as_none(values):
    return [None if np.isnan(v) else v for v in values.tolist()]


@pytest.mark.parametrize("seed", range(30))
def test_what_is_owed_is_the_least_over_all_sequences_of_places(seed):
    rng = np.random.default_rng(seed)
    k, ticks, dear = 2 + seed % 3, 5, int(rng.integers(50, 1_500))
    start = np.array([rng.integers(k)])
    move = np.where(np.arange(k) == start[:, None], 0, dear)
    work, seen = blank(1, k), []
    for _ in range(ticks):
        cost = rng.integers(0, 1_000, (1, k))
        open_ = rng.random((1, k)) < 0.8
        open_[0, rng.integers(k)] = True
        work, _ = advanced(work, cost, open_, move, start)
        seen.append([c if o else None for c, o in zip(cost[0].tolist(), open_[0], strict=True)])
    truth = oracle.work_function(seen, dear, int(start[0]))
    assert work.least[0] == min(truth)
    assert work.owed[0].tolist() == [one - min(truth) for one in truth]


@pytest.mark.parametrize("seed", range(20))
def test_as_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    w, k, rows = 16, 2 + seed % 4, np.arange(16)
    work, current = blank(w, k), rng.integers(0, k, w)
    kinds = set()
    for _ in range(40):
        cost = rng.integers(0, 5_000, (w, k)) * rng.choice([1, 1, 30], (w, 1))
        open_ = rng.random((w, k)) < 0.9
        move = moves(rng, w, k, current)
        hours, forget = rng.choice([0.0, 0.01, 0.3, 1.0]), rng.choice([0.0, 0.1, 1.0])
        before, (work, bias) = work, advanced(work, cost, open_, move, current, hours, 2.0, forget)
        for i in range(w):
            known, expected = oracle.advance(
                (
                    unknown_as_none(before.owed[i]),
                    unknown_as_none(before.level[i]),
                    before.spent[i],
                    before.least[i],
                    before.beyond[i],
                    before.barred_h[i].tolist(),
                ),
                cost[i].tolist(),
                open_[i].tolist(),
                move[i].tolist(),
                int(current[i]),
                hours,
                2.0,
                forget,
                PATIENCE,
            )
            owed, level, spent, least, beyond, barred_h = known
            assert unknown_as_none(work.owed[i]) == pytest.approx(owed)
            assert work.level[i].tolist() == pytest.approx(level)
            assert work.barred_h[i].tolist() == pytest.approx(barred_h)
            if expected is None:
                continue
            found = (work.spent[i], work.least[i], work.beyond[i])
            assert found == pytest.approx((spent, least, beyond))
            assert np.abs(bias[i] - expected).max() <= 1  # rounding of what lies on the edge
            kinds.add((bool(open_[i, current[i]]), work.spent[i] > 1.25 * work.least[i] + 1.0))
        there = open_.any(axis=1)
        to = np.where(there, chosen(cost, open_, bias), current)
        barred_h = np.where(rng.random((w, k)) < 0.2, rng.choice([0.3, 2.0]), work.barred_h)
        work = work._replace(spent=work.spent + move[rows, to], barred_h=barred_h)
        current = to
    assert len(kinds) == 4  # open or not, trusted or not: all were met


@pytest.mark.parametrize("seed", range(10))
def test_a_tick_cut_in_two_is_the_same_tick(seed):
    rng = np.random.default_rng(seed)
    w, k = 8, 4
    work, current = blank(w, k), rng.integers(0, k, w)
    move = moves(rng, w, k, current)
    for _ in range(10):
        cost, open_ = rng.integers(0, 3_000, (w, k)), rng.random((w, k)) < 0.9
        whole, _ = advanced(work, cost, open_, move, current, 0.5, forget=1.0 - 0.25)
        half, _ = advanced(work, cost, open_, move, current, 0.25, forget=0.5)
        twice, _ = advanced(half, cost, open_, move, current, 0.25, forget=0.5)
        for one, other in zip(whole, twice, strict=True):
            assert np.allclose(one, other, rtol=1e-12)
        work = whole


@pytest.mark.parametrize("seed", range(10))
def test_what_is_charged_everywhere_changes_no_decision(seed):
    rng = np.random.default_rng(seed)
    w, k = 8, 4
    trusting = PATIENCE._replace(slack=np.inf)
    low, current = blank(w, k), rng.integers(0, k, w)
    high = blank(w, k)
    for _ in range(20):
        cost, open_ = rng.integers(0, 3_000, (w, k)), rng.random((w, k)) < 0.9
        more = rng.integers(0, 1_000, (w, 1))
        move = moves(rng, w, k, current)
        low, one = advanced(low, cost, open_, move, current, patience=trusting, forget=0.5)
        # the smoothed costs are of the same past, so what is added stays the same
        high, other = advanced(
            high, cost + 500, open_, move, current, patience=trusting, forget=0.5
        )
        assert np.array_equal(low.owed, high.owed, equal_nan=True)
        there = open_[np.arange(w), current]
        assert np.array_equal(one[there], other[there])
        # and of work functions alone also if more is charged at one time than at another
        shifted, _ = advanced(low, cost + more, open_, move, current)
        assert np.array_equal(shifted.owed, advanced(low, cost, open_, move, current)[0].owed)
        current = np.where(open_.any(axis=1), chosen(cost, open_, one), current)


def test_rows_and_options_may_stand_in_any_order():
    rng = np.random.default_rng(5)
    w, k = 12, 5
    row, column = rng.permutation(w), rng.permutation(k)
    work, current = blank(w, k), rng.integers(0, k, w)
    turned = blank(w, k)
    for _ in range(30):
        cost, open_ = rng.integers(0, 9_000, (w, k)), rng.random((w, k)) < 0.9
        move, hours = moves(rng, w, k, current), rng.choice([0.1, 1.0])
        work, bias = advanced(work, cost, open_, move, current, hours)
        turned, other = advanced(
            turned,
            *(array[row][:, column] for array in (cost, open_, move)),
            np.argsort(column)[current[row]],
            hours,
        )
        assert np.array_equal(bias[row][:, column], other)
        assert np.array_equal(work.owed[row][:, column], turned.owed, equal_nan=True)
        assert np.array_equal(work.spent[row], turned.spent)
        current = np.where(open_.any(axis=1), chosen(cost, open_, bias), current)


def test_what_was_closed_owes_a_move_and_no_more():
    cost, move = np.array([[1_000, 10]]), np.array([[0, 400]])
    work, here = blank(1, 2), np.array([0])
    work, _ = advanced(work, cost, np.array([[True, False]]), move, here, 1.0)
    for _ in range(50):
        work, bias = advanced(work, cost, np.array([[True, False]]), move, here, 1.0)
    assert work.owed.tolist() == [[0.0, 400.0]]
    assert bias.tolist() == [[0, 0]]
    # it opens again, and is cheaper: nobody goes back before that has paid for the move
    spent, moved = 0.0, False
    while not moved:
        work, bias = advanced(work, cost, np.array([[True, True]]), move, here, 0.05)
        moved = (cost + bias)[0, 1] < cost[0, 0]
        spent += (1_000 - 10) * 0.05
    assert spent > (1.0 + PATIENCE.evidence) * 400 - (1_000 - 10) * 0.05
    assert spent < 3.0 * 400


def test_compared_are_work_functions_before_they_are_cut():
    # cut at the cost of a move first, none is ever more than a move behind, and nobody moves
    alone = Patience(evidence=1.0, assurance=-np.inf, slack=0.0)
    cost, move, open_ = np.array([[300, 0]]), np.array([[0, 1_000]]), np.ones((1, 2), dtype=bool)
    work, here = blank(1, 2), np.array([0])
    work, _ = advanced(work, cost, open_, move, here, 0.0, patience=alone)
    went = []
    for _ in range(10):
        work, bias = advanced(work, cost, open_, move, here, 1.0, patience=alone)
        went.append(bool((cost + bias)[0, 1] < cost[0, 0]))
    assert went.index(True) == 6  # 2,100 lost here: more than the move there, and one back


def test_where_nothing_is_open_nothing_is_paid_or_owed():
    rng = np.random.default_rng(1)
    cost, current = rng.integers(0, 9_000, (4, 3)), np.zeros(4, dtype=np.int64)
    work, _ = advanced(blank(4, 3), cost, np.ones((4, 3), dtype=bool), cost, current)
    same, bias = advanced(work, cost, np.zeros((4, 3), dtype=bool), cost, current)
    for name in ("owed", "spent", "least"):
        assert np.array_equal(getattr(work, name), getattr(same, name))
    assert not bias.any()
