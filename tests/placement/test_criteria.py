"""The laws every criterion keeps, and its formula on cases worked out by hand."""

from __future__ import annotations

import csv
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.connectors.inventory import read_inventory
from aiops.placement.criteria import ABSENT, BIT, CRITERIA, EVICTS, TERMS, facts, spare_watts
from aiops.placement.options import Options, reply_ms, throttle

FLAGS = {
    "shed",
    "away",
    "arriving",
    "foreign",
    "unbuilt",
    "unfit",
    "on_battery",
    "silent",
    "gone",
    "cordoned",
}
RANGES = {
    "value": (0.0, 1e7),
    "cpu_cores": (0.0, 64.0),
    "memory_gb": (0.0, 256.0),
    "power_w": (0.0, 200.0),
    "bandwidth_mbit_s": (0.0, 1e3),
    "payload_kb": (0.0, 1e6),
    "compute_ms": (0.0, 1e4),
    "egress_gb_h": (0.0, 1e3),
    "data_loss_cost": (0.0, 1e9),
    "speed": (0.01, 100.0),
    "battery_wh": (0.0, 1e4),
    "endurance_h": (0.1, 100.0),
    "harvest_w": (0.0, 100.0),
    "idle_w": (0.0, 20.0),
    "supply_w": (0.0, 100.0),
    "ambient_c": (-60.0, 90.0),
    "heating": (0.1, 50.0),
    "tau_s": (0.0, 1e5),
    "memory_price": (0.0, 1e6),
    "energy_price": (0.0, 1e7),
    "carbon_g_kwh": (0.0, 2e3),
    "egress_price": (0.0, 1e6),
    "jitter_ms": (0.0, 1e4),
    "link_mbit_s": (0.0, 1e4),
    "utilization_ratio": (0.0, 1.0),
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
}
UNKNOWABLE = {
    "soc_ratio",
    "temperature_c",
    "ambient_c",
    "utilization_ratio",
    "rtt_ms",
    "jitter_ms",
    "loss_ratio",
    "rssi_dbm",
    "link_mbit_s",
    "age_s",
    "battery_wh",
    "supply_w",
    "heating",
}
WORDS = dict.fromkeys(("archs", "regions", "kinds", "node_arch", "node_region", "node_kind"), "?")
"""What `Topology.said` adds to the facts."""
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
        said = criterion.clause.format(**facts(o, 0, 0), **WORDS)
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
    "speed": 1.0,
    "endurance_h": 1.0,
}


def option(**values) -> Options:
    """Return one option of one workload."""
    return Options(
        **{
            name: np.array([[value]], dtype=np.bool_ if name in FLAGS else np.float64)
            for name, value in (DEFAULT | values).items()
        }
    )


@pytest.mark.parametrize("case", ROWS, ids=lambda row: row["case"])
def test_formula(case):
    given_ = {
        key: float(value) for key, _, value in (s.partition("=") for s in case["set"].split())
    }
    o = option(**given_)
    cost, blocked = judged(case["criterion"], o)
    assert cost.item() == pytest.approx(float(case["cost"]), abs=1e-6)
    assert blocked.item() == (case["blocked"] == "1")


def test_every_criterion_has_cases():
    covered = {row["criterion"] for row in ROWS}
    assert covered == set(CRITERIA)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        (name, variable)
        for name, criterion in CRITERIA.items()
        for variable in criterion.worse
        if variable in UNKNOWABLE - {"loss_ratio"}  # which is guessed from the signal
    ],
)
@given(o=options)
def test_one_missing_fact_is_never_worse_than_the_best(name, variable, o):
    """One fact is missing, all others are there."""
    best = np.full(SHAPE, RANGES[variable][0 if CRITERIA[name].worse[variable] > 0 else 1])
    cost, blocked = judged(name, o._replace(**{variable: np.full(SHAPE, np.nan)}))
    known = judged(name, o._replace(**{variable: best}))
    assert (cost <= known[0] * (1 + 1e-12)).all()
    assert (blocked <= known[1]).all()


def test_heat_slows_a_node_down_to_two_fifths():
    cool, warm, hot = (throttle(option(temperature_c=t)).item() for t in (60.0, 77.5, 99.0))
    assert (cool, warm, hot) == (1.0, pytest.approx(0.7), pytest.approx(0.4))


def test_a_reply_waits_for_everything_on_its_way():
    far = {"away": 1, "rtt_ms": 40, "jitter_ms": 10, "loss_ratio": 0.2}
    assert reply_ms(option(**far)).item() == pytest.approx(40 + 23.3 + 0.25 * 200)
    # 125 kB are a megabit; at half speed and half busy 5 ms are 20.
    sent = {"payload_kb": 125, "link_mbit_s": 10}
    slow = {"compute_ms": 5, "speed": 0.5, "utilization_ratio": 0.5}
    assert reply_ms(option(**far, **sent, **slow)).item() == pytest.approx(113.3 + 100 + 20)
    # At home nothing is on the way.
    assert reply_ms(option(rtt_ms=40, jitter_ms=10, **sent, **slow)).item() == pytest.approx(20)


def test_the_least_budget_is_the_one_that_is_said():
    battery = {"on_battery": 1, "soc_ratio": 0.25, "battery_wh": 100, "endurance_h": 5}
    heat = {"ambient_c": 23, "heating": 4, "temperature_c": 60}
    clause = CRITERIA["power"].clause
    for given_, watts, why in [
        (battery, 2.0, "25.0% of 100 Wh must last 5 h"),
        (heat, 15.0, "60.0 °C in air of 23.0 °C, 4 °C/W"),
        ({"supply_w": 12}, 12.0, "the supply gives 12 W"),
        (battery | heat | {"supply_w": 12}, 2.0, "Wh must last"),
    ]:
        o = option(power_w=20, **given_)
        assert spare_watts(o).item() == pytest.approx(watts)
        said = clause.format(**facts(o, 0, 0))
        assert f"can spare {watts:.2f} W of the 20.00 W needed" in said
        assert why in said


PAGE = Path(__file__).parents[2] / "docs" / "placement.md"
WEIGHTS = re.findall(r"^\| `(\w+)\.([A-Z_]+)` \| ([\d.]+)", PAGE.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("module", "name", "stated"), WEIGHTS)
def test_a_weight_is_what_the_page_says(module, name, stated):
    assert getattr(import_module(f"aiops.placement.{module}"), name) == float(stated)


def test_every_weight_and_every_criterion_is_on_the_page():
    assert len(WEIGHTS) > 10
    stated = {name for _, name, _ in WEIGHTS}
    for module in ("criteria", "options", "power"):
        for name, value in vars(import_module(f"aiops.placement.{module}")).items():
            if name.isupper() and isinstance(value, float):
                assert name in stated, f"{name} is missing in docs/placement.md"
    text = PAGE.read_text("utf-8")
    assert [name for name in CRITERIA if f"`{name}`" not in text] == []


def test_the_inventory_on_the_page_can_be_read(tmp_path):
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "fleet.toml").write_text(toml, "utf-8")
    assert read_inventory(tmp_path / "fleet.toml").workloads[0].power_w == 3.0
