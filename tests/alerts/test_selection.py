"""e-d-BH against its definition, and the error over patience it promises."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.alerts.selection import MONTH_S, Selection
from aiops.errors import SettingsError

DAY_S = 86_400.0


def by_definition(values, bins, ratio):
    """Return who is selected: for the largest k of which k have K * bins / (ratio * k), the k."""
    judged = [v for v in values if np.isfinite(v)]
    best = 0
    for k in range(1, len(judged) + 1):
        asked = len(judged) * bins / (ratio * k)
        if sum(np.exp(v) >= asked for v in judged) >= k:
            best = k
    asked = len(judged) * bins / (ratio * best) if best else np.inf
    return [bool(np.isfinite(v) and np.exp(v) >= asked) for v in values]


@pytest.mark.parametrize("seed", range(40))
def test_selects_whom_the_definition_selects(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    values = rng.normal(rng.uniform(0, 12), 4.0, n)
    values[rng.random(n) < 0.1] = -np.inf
    values[rng.random(n) < 0.1] = np.nan
    selection = Selection(float(rng.uniform(0.01, 0.9)), float(rng.uniform(0.5, 24.0)))
    bins = selection.patience_months * MONTH_S / DAY_S
    found = selection.select(values, DAY_S)
    assert found.tolist() == by_definition(values, bins, selection.false_discovery_ratio)


def test_nobody_is_selected_of_nobody():
    assert Selection().select(np.zeros(0), DAY_S).tolist() == []
    assert not Selection().select(np.full(5, -np.inf), DAY_S).any()


def test_more_evidence_never_loses_a_place():
    rng = np.random.default_rng(7)
    selection = Selection(0.2, 6.0)
    for _ in range(50):
        values = rng.normal(9.0, 4.0, 40)
        more = values + rng.exponential(1.0, 40) * (rng.random(40) < 0.3)
        assert (selection.select(more, DAY_S) >= selection.select(values, DAY_S)).all()


def test_a_larger_fleet_asks_for_more():
    alone = np.array([np.log(4000.0)])
    selection = Selection(0.1, 6.0)
    assert selection.select(alone, DAY_S).all()
    assert not selection.select(np.append(alone, np.zeros(99)), DAY_S).any()


def test_the_share_of_false_ones_stays_within_the_promise():
    """One e-detector each, known rates; a tenth of the devices has changed at the start."""
    rng = np.random.default_rng(3)
    devices, days, ratio, repeats = 400, 180, 3.0, 20
    expected = 0.5 / 7.0
    changed = np.arange(devices) < devices // 10
    selection = Selection(0.1, days * DAY_S / MONTH_S)
    shares = []
    for _ in range(repeats):
        value = np.zeros(devices)
        for _day in range(days):
            count = rng.poisson(np.where(changed, ratio, 1.0) * expected)
            value = (1.0 + value) * ratio**count * np.exp(-(ratio - 1.0) * expected)
        selected = selection.select(np.log(value), DAY_S)
        assert selected[changed].mean() > 0.3
        shares.append((selected & ~changed).sum() / max(selected.sum(), 1))
    assert np.mean(shares) <= 0.1


@pytest.mark.parametrize(
    "wrong",
    [{"false_discovery_ratio": 1.0}, {"false_discovery_ratio": 0.0}, {"patience_months": 0}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Selection(**wrong)
