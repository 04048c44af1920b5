"""The laws every criterion keeps, and its formula on cases worked out by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.placement.criteria import ABSENT, BIT, CRITERIA, EVICTS, TERMS, Options, facts

FLAGS = {"shed", "away", "arriving", "on_battery", "silent", "cordoned"}
RANGES = {
    "value": (0.0, 1e7),
    "cpu_cores": (0.0, 64.0),
    "memory_gb": (0.0, 256.0),
    "slo_ms": (0.1, 1e4),
    "soc_ratio": (0.0, 1.0),
    "temperature_c": (-60.0, 150.0),
    "limit_c": (40.0, 120.0),
    "rtt_ms": (0.0, 1e4),
    "loss_ratio": (0.0, 1.0),
    "rssi_dbm": (-150.0, 0.0),
    "failure_risk": (0.0, 1.0),
    "price": (0.0, 1e6),
    "node_cores": (0.0, 64.0),
    "node_gb": (0.0, 256.0),
    "age_s": (0.0, 1e6),
    "well_s": (0.0, 1e6),
}
UNKNOWABLE = {"soc_ratio", "temperature_c", "rtt_ms", "loss_ratio", "rssi_dbm", "age_s"}
SHAPE = (3, 4)

CASES = Path(__file__).parents[1] / "cases" / "placement" / "criteria.csv"
ROWS = list(csv.DictReader(CASES.read_text(encoding="utf-8").splitlines()))


def column(name: str, rng: np.random.Generator):
    """Return values over the variable's range, with its ends and NaN more often than by chance."""
    if name in FLAGS:
        return rng.random(SHAPE) < 0.5
    low, high = RANGES[name]
    values = rng.uniform(low, high, SHAPE)
    values = np.where(rng.random(SHAPE) < 0.1, low, values)
    values = np.where(rng.random(SHAPE) < 0.1, high, values)
    if name in UNKNOWABLE:
        values = np.where(rng.random(SHAPE) < 0.2, np.nan, values)
    return values


def draw(seed: int) -> Options:
    rng = np.random.default_rng(seed)
    return Options(**{name: column(name, rng) for name in Options._fields})


seeds = st.integers(0, 2**32 - 1)
options = seeds.map(draw)

each_criterion = pytest.mark.parametrize("name", CRITERIA)
each_variable = pytest.mark.parametrize(
    ("name", "variable"), [(n, v) for n, criterion in CRITERIA.items() for v in criterion.worse]
)


def judged(name: str, o: Options):
    """Return cost and veto; zero and nowhere where the criterion has none."""
    criterion = CRITERIA[name]
    cost = criterion.cost(o) if criterion.cost else np.zeros(o.shed.shape)
    blocked = criterion.blocks(o) if criterion.blocks else np.zeros(o.shed.shape, dtype=np.bool_)
    return cost, blocked


@each_criterion
@given(o=options)
def test_costs_are_finite_and_vetoes_are_flags(name, o):
    cost, blocked = judged(name, o)
    assert cost.shape == blocked.shape == SHAPE
    assert np.isfinite(cost).all()
    assert (cost >= 0).all()
    assert blocked.dtype == np.bool_


@each_criterion
@given(o=options)
def test_the_facts_are_only_read(name, o):
    before = [values.copy() for values in o]
    judged(name, o)
    for values, was in zip(o, before, strict=True):
        np.testing.assert_array_equal(values, was)


@each_criterion
@given(o=options)
def test_an_option_is_judged_by_itself(name, o):
    """So that explanations may re-judge one workload, and later only what changed."""
    cost, blocked = judged(name, o)
    one = Options._make(values[1:2, 2:3] for values in o)
    alone = judged(name, one)
    assert alone[0].item() == cost[1, 2]
    assert alone[1].item() == blocked[1, 2]


@each_variable
@given(o=options, seed=seeds)
def test_worse_is_never_better(name, variable, o, seed):
    sign = CRITERIA[name].worse[variable]
    one, other = getattr(o, variable), column(variable, np.random.default_rng(seed))
    known = ~np.isnan(one) & ~np.isnan(other)
    low = np.where(known, np.minimum(one, other), one)
    high = np.where(known, np.maximum(one, other), one)
    better, worse = (low, high) if sign > 0 else (high, low)
    cost_better, blocked_better = judged(name, o._replace(**{variable: better}))
    cost_worse, blocked_worse = judged(name, o._replace(**{variable: worse}))
    assert (cost_better <= cost_worse * (1 + 1e-12)).all()
    assert (blocked_better <= blocked_worse).all()


@each_criterion
@given(o=options)
def test_what_is_unknown_neither_costs_nor_blocks(name, o):
    """Every variable that telemetry tells may be missing, and then nothing is held against it."""
    unknown = o._replace(**{v: np.full(SHAPE, np.nan) for v in UNKNOWABLE})
    cost, blocked = judged(name, unknown)
    known = judged(name, o)
    assert (cost <= known[0]).all()
    assert (blocked <= known[1]).all()


@each_criterion
@given(o=options)
def test_a_veto_that_does_not_evict_leaves_what_is_there(name, o):
    criterion = CRITERIA[name]
    _, blocked = judged(name, o._replace(arriving=np.zeros(SHAPE, dtype=np.bool_)))
    if not criterion.evicts:
        assert not blocked.any()
    assert (blocked <= judged(name, o)[1]).all()


@each_criterion
@given(o=options)
def test_a_veto_says_its_reason(name, o):
    criterion = CRITERIA[name]
    if criterion.blocks:
        said = criterion.clause.format(**facts(o, 0, 0))
        assert said
        assert "{" not in said


def test_each_veto_has_a_bit_of_its_own():
    assert set(BIT) == {name for name, one in CRITERIA.items() if one.blocks}
    assert set(TERMS) == {name for name, one in CRITERIA.items() if one.cost}
    assert sum(BIT.values()) < ABSENT
    assert len(set(BIT.values())) == len(BIT)
    assert {name for name, bit in BIT.items() if EVICTS & bit} == {
        name for name in BIT if CRITERIA[name].evicts
    }


DEFAULT = {name: np.nan if name in UNKNOWABLE else 0.0 for name in Options._fields} | {
    "value": 10_000.0,
    "slo_ms": 1e6,
    "limit_c": 85.0,
    "well_s": np.inf,
}


@pytest.mark.parametrize("case", ROWS, ids=lambda row: row["case"])
def test_formula(case):
    given_ = {
        key: float(value) for key, _, value in (s.partition("=") for s in case["set"].split())
    }
    values = DEFAULT | given_
    o = Options(
        **{
            name: np.array([[value]], dtype=np.bool_ if name in FLAGS else np.float64)
            for name, value in values.items()
        }
    )
    cost, blocked = judged(case["criterion"], o)
    assert cost.item() == pytest.approx(float(case["cost"]), abs=1e-6)
    assert blocked.item() == (case["blocked"] == "1")


def test_every_criterion_has_cases():
    covered = {row["criterion"] for row in ROWS}
    assert covered == set(CRITERIA)
