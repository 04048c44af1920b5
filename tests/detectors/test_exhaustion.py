"""Exhaustion: what is found and what is not, its dates, its words, and what placement does."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors import defaults
from aiops.detectors.exhaustion import CREEPS, MONTH_S, WINDOW, Exhaustion
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.engine.engine import Engine
from aiops.errors import SettingsError
from aiops.placement.solver import solve
from aiops.telemetry.batch import TelemetryBatch
from aiops.telemetry.vocabulary import VOCABULARY
from aiops.testing import check_detector, check_independence
from benchmarks import _exhaustion_world as world
from tests.placement.fleets import inventory, posed, workload

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
compiled = pytest.mark.skipif(not COMPILED, reason="thousands of windows: needs compiled kernels")
MEMORY, HEAT = CREEPS[0], CREEPS[2]
QUARTER_DAY_S = 21_600.0


def simulated(**settings) -> pa.Table:
    clean = {"lost_share": 0.0, "bad_clock_share": 0.0, "garbage_share": 0.0}
    scenario = replace(SCENARIOS["demo"], **{"faults": (), **clean, **settings})
    frames = [frame for frame, _ in Simulation(scenario).frames(None)]
    return pa.concat_tables(frames, promote_options="permissive").combine_chunks()


# -- laws, on histories long enough that all is judged ---------------------------------------------


@pytest.fixture(scope="module")
def site() -> pa.Table:
    leak = Fault("leak", "gw-0002", 3.0, size=6.0)
    return simulated(devices=14, sites=1, days=10, interval_s=7200, faults=(leak,))


@compiled
@pytest.mark.parametrize("detector", [MEMORY, HEAT], ids=lambda one: one.metric)
def test_it_obeys_every_law_once_it_judges(detector, site):
    quick = replace(detector, bin_s=QUARTER_DAY_S, horizon_s=detector.horizon_s)
    engine = Engine([AlertRule(quick)])
    engine.step(site)
    memory = engine.fleet.recall(quick)
    assert (memory.judged >= 0).sum() >= 10, "a law about nothing is no law"
    assert (memory.span > 0).any()
    check_detector(quick, site)


def test_heat_depends_on_its_site_and_on_no_other(site):
    quick = replace(HEAT, bin_s=QUARTER_DAY_S)
    rng = np.random.default_rng(0)
    check_independence(lambda: Engine([AlertRule(quick)]), site, rng, compares=True)
    assert not MEMORY.compares, "a leak that a whole cohort has is still a leak"


# -- what is found, and what is not ----------------------------------------------------------------


def test_a_leak_is_found_ten_days_before_memory_runs_out():
    n = 40 if COMPILED else 2
    readings = world.memory(np.random.default_rng(1), n, 110, restart_days=math.inf)
    out = world.exhausted(readings, 1.0)
    said = world.run(MEMORY, readings, np.ceil(out).astype(int) - 1)
    lead = np.where(said.first >= 0, out - said.first, -1.0)
    assert np.mean(lead >= 10.0) >= (0.85 if COMPILED else 0.5)
    assert (said.first[said.first >= 0] > 30).all(), "nothing leaks before day 30"
    found = said.first >= 0
    inside = (said.dates[found, 0] <= out[found]) & (out[found] <= said.dates[found, -1])
    assert inside.mean() >= (0.75 if COMPILED else 0.5)


@compiled
@pytest.mark.parametrize("kind", ["memory", "jumps", "correlated"])
def test_false_alarms_stay_within_the_budget(kind):
    rng = np.random.default_rng(2)
    n, days, budget = 100, 120, 20.0
    readings = world.memory(rng, n, days, 0.0, highest=0.75)
    if kind == "jumps":
        readings = world.memory(rng, n, days, 0.0, shift_days=30.0)
    if kind == "correlated":
        last = np.full(n, math.exp(-1.0 / (24.0 * 6.0)))
        noise = world.correlated(rng, (n, 24 * days), np.full(n, 0.05), last)
        readings = readings._replace(value=0.5 + noise)
    alerts = world.run(Exhaustion(alarm_budget=budget), readings).alerts.sum()
    expected = budget * n * days * 86_400.0 / MONTH_S / 1000.0
    print(f"{kind}: {alerts} false alarms where the budget allows {expected:.1f}")
    assert alerts <= expected + 3.0 * math.sqrt(expected)


@compiled
def test_heat_is_told_from_weather_by_the_neighbours():
    readings = world.heat(np.random.default_rng(3), 6, 10, 125, 0.1)
    said = world.run(HEAT, readings)
    creeps = readings.onset >= 0
    assert np.mean(said.first[creeps] >= 30) >= 0.8
    assert said.alerts[~creeps].sum() == 0
    slopes = said.memory.slope[creeps & (said.memory.span > 0)]
    assert np.median(slopes) == pytest.approx(0.1, abs=0.03)
    alone = world.heat(np.random.default_rng(3), 60, 1, 100, 0.1)
    said = world.run(HEAT, alone)
    assert (said.memory.judged == -1).all(), "without neighbours nothing is known of the weather"


def shown(detector, columns, days):
    """Show one device hourly `columns`, a day at a time; return the memory and the last score."""
    memory, score = detector.init(FleetShape(1)), math.nan
    one = np.zeros(1, np.int32)
    for day in range(days):
        at = world.START_NS + day * world.DAY_NS + np.arange(24) * world.HOUR_NS
        batch = TelemetryBatch(
            device=np.zeros(24, np.int32),
            cohort=np.zeros(24, np.int32),
            ts=at,
            historical=np.zeros(24, np.bool_),
            columns={name: value[24 * day : 24 * day + 24] for name, value in columns.items()},
            indptr=np.array([0, 24]),
        )
        score = detector.update(memory, batch.reporting(detector.reads)).score[-1:]
        detector.close(memory, Epoch(int(at[0]), int(at[-1]) + 1, int(at[-1]), 1, one, one, one))
    return memory, float(score[0]) if len(score) else math.nan


@pytest.mark.parametrize("creep", [0.0, 0.15])
def test_heat_is_told_from_air_that_the_device_reports(creep):
    rng = np.random.default_rng(4)
    hour = np.arange(24 * 70)
    air = 10.0 + 0.3 * hour / 24 + 5.0 * np.sin(hour / 24 * 2 * np.pi) + np.repeat(
        3.0 * rng.standard_normal(70), 24
    )  # fmt: skip
    warm = 35.0 + air + 0.5 * rng.standard_normal(len(hour)) + creep / 24 * hour
    columns = {"temperature.celsius": warm, "temperature.ambient_celsius": air}
    memory, score = shown(HEAT, columns, 70)
    assert memory.told[0] == 1
    assert score >= 1.0 if creep else score < 0.5
    if creep:
        assert HEAT.evidence(memory, 0)["creep_per_day"] == pytest.approx(creep, abs=0.03)


def test_a_restart_is_no_end_of_a_leak_but_many_restarts_are_no_end_at_all():
    rng = np.random.default_rng(5)
    days = np.arange(24 * 75) / 24
    noise = 0.02 * np.repeat(rng.standard_normal(75), 24)
    once = 0.3 + 0.012 * np.where(days < 30, days, days - 30) + noise
    memory, score = shown(MEMORY, {MEMORY.metric: once}, 75)
    assert score >= 1.0
    assert memory.resets[0] > 0.5 / 90.0
    often = 0.3 + 0.012 * (days % 4.0) + noise
    memory, score = shown(MEMORY, {MEMORY.metric: often}, 75)
    assert not score >= 0.5


def test_a_constant_and_a_gap_say_nothing():
    memory, score = shown(MEMORY, {MEMORY.metric: np.full(24 * 40, 0.5)}, 40)
    assert score == 0.0
    value = np.full(24 * 150, 0.5)
    value[24 * 20 : 24 * 130] = np.nan
    memory, _ = shown(MEMORY, {MEMORY.metric: value}, 150)
    assert np.isnan(memory.value[0]).sum() >= WINDOW - 20, (
        "what is older than a window is forgotten"
    )


# -- dates, words, settings ------------------------------------------------------------------------


def test_dates_and_words_of_a_leak_of_which_all_is_known():
    rng = np.random.default_rng(6)
    days = np.arange(24 * 60) / 24
    value = 0.2 + 0.01 * days + 0.005 * rng.standard_normal(len(days))
    memory, score = shown(MEMORY, {MEMORY.metric: value}, 60)
    assert score >= 1.0
    told = MEMORY.forecast(memory, np.zeros(1, np.int32))
    assert told is not None
    assert (told.quantity, told.unit) == ("memory.utilization_ratio.limit.date", "ns")
    left = (told.quantile[0] - world.START_NS) / world.DAY_NS
    assert left[2] == pytest.approx(80.0, abs=3.0)
    assert left[0] < left[1] < left[2] < left[3]
    evidence = MEMORY.evidence(memory, 0)
    assert evidence["creep_per_day"] == pytest.approx(0.01, rel=0.05)
    assert evidence["within_horizon_probability"] > 0.5
    sentence = MEMORY.sentence(evidence, {"p10": "2026-03-20T00:00:00Z", "p50": "2026-03-23T0Z"})
    assert sentence == (
        "Memory in use rises by 1 % a day and is at 78.5 %: at its limit of 100 % between "
        "2026-03-20 and later (80 %), even odds by 2026-03-23."
    )
    nothing = MEMORY.evidence(MEMORY.init(FleetShape(1)), 0)
    assert MEMORY.sentence(nothing, None) == "Memory in use does not creep towards its limit."


def test_a_battery_loses_capacity_downwards_by_the_week():
    battery = CREEPS[3]
    weeks = np.arange(24 * 7 * 40) / (24 * 7)
    value = 0.97 - 0.003 * weeks + 0.002 * np.random.default_rng(7).standard_normal(len(weeks))
    memory, score = shown(battery, {battery.metric: value}, 7 * 40)
    assert score >= 1.0
    told = battery.forecast(memory, np.zeros(1, np.int32))
    assert told is not None
    end = (told.quantile[0, 2] - world.START_NS) / (7 * world.DAY_NS)
    assert end == pytest.approx((0.97 - 0.8) / 0.003, abs=4.0)
    assert "Battery capacity falls" in battery.sentence(battery.evidence(memory, 0), None)


def test_metrics_are_known_and_the_budget_is_one_detectors():
    assert {creep.metric for creep in CREEPS} <= VOCABULARY.keys()
    assert sum(creep.alarm_budget for creep in CREEPS) == pytest.approx(1.0)
    assert set(CREEPS) <= set(defaults())
    assert defaults("exhaustion") == CREEPS


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"direction": "left"}, "up or down"),
        ({"limit": math.nan}, "limit must be finite"),
        ({"bin_s": 0.0}, "bin_s must be above 0"),
        ({"alarm_budget": -1.0}, "alarm_budget must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(SettingsError, match=said):
        Exhaustion(**settings)


# -- through the engine, to placement --------------------------------------------------------------


def test_work_leaves_a_node_whose_memory_runs_out_and_says_why():
    leak = Fault("leak", "gw-0005", 15.0, size=2.0)
    history = simulated(devices=6, sites=1, days=32, faults=(leak,), update_days=0)
    end = pa.table([pa.nulls(1, kind) for kind in history.schema.types], schema=history.schema)
    engine = Engine([AlertRule(creep) for creep in CREEPS], epoch_s=3600)
    step = engine.step(pa.concat_tables([history, end]))
    firing = [f for f in step.findings if f.status == "firing"]
    assert [f.device_id for f in firing] == ["gw-0005"]
    foretold = engine.forecasts().to_pylist()
    assert "gw-0005" in {row["device_id"] for row in foretold}
    assert {row["quantity"] for row in foretold} == {"memory.utilization_ratio.limit.date"}

    finding = replace(firing[0], device_id="gw-lyon", part="")
    assert finding.forecast is not None
    end_ts = int(datetime.fromisoformat(finding.forecast["p50"]).timestamp()) * 10**9
    of = inventory(workload(value_per_hour=50_000.0, candidates=("gw-near",)))
    assert not solve(posed(of, ts=end_ts), None)[0].moves
    problem = posed(of, ts=end_ts, findings=[finding])
    plan, _ = solve(problem, None)
    assert [move.target for move in plan.moves] == ["gw-near"]
    assert "mostly for failure_risk (Memory in use rises by" in plan.moves[0].reason
    early = posed(of, ts=finding.ts, findings=[finding])
    assert 0.0 < early.options.failure_risk[0, 0] < problem.options.failure_risk[0, 0]
