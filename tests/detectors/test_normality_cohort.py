"""A cohort in `Normality`: laws on a fleet that has one, newcomers, and the alarm budget."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.connectors.simulator import SCENARIOS, Simulation
from aiops.detectors.normality import Normality
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.engine.engine import Engine
from aiops.kernels.normality import MEAN, SEEN, SPREAD
from aiops.telemetry.batch import TelemetryBatch, group_bounds
from aiops.testing import BrokenLaw, as_history, check_detector, check_independence
from benchmarks._budget_fleet import NATURES, Fleet, figures, simulate

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
runs = pytest.mark.skipif(not JIT, reason="a fleet whose kernels are plain Python is slow")
METRIC = "temperature.celsius"
HOUR_NS = 3_600_000_000_000
START = 20_500 * 24 * HOUR_NS


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Return twelve devices of one cohort for five days, hourly: its median is sealed by then."""
    scenario = replace(SCENARIOS["demo"], devices=12, sites=1, days=5, faults=(), lost_share=0.0,
                       duplicate_share=0.01, disordered_share=0.01, bad_clock_share=0.0,
                       garbage_share=0.0)  # fmt: skip
    frames = [frame for frame, _ in Simulation(scenario).frames(None)]
    whole = pa.concat_tables(frames, promote_options="permissive").combine_chunks()
    return _of_one_cohort(whole)


def _of_one_cohort(table: pa.Table) -> pa.Table:
    named = pa.array([None if d is None else "gateways" for d in table["device_id"].to_pylist()])
    at = table.schema.get_field_index("cohort")
    return table.append_column("cohort", named) if at < 0 else table.set_column(at, "cohort", named)


def test_the_laws_hold_where_a_cohort_tells_something(table):
    detector = Normality(METRIC)
    engine = Engine([AlertRule(detector)])
    engine.step(as_history(table))
    memory = engine.fleet.recall(detector)
    assert (memory.spread[:12] != 1.0).any(), "a law about nothing is no law"
    check_detector(detector, table)


def test_the_scores_of_a_device_depend_on_its_cohort(table):
    history = as_history(table)
    rng = np.random.default_rng(0)
    with pytest.raises(BrokenLaw, match="independence"):
        check_independence(lambda: Engine([AlertRule(Normality(METRIC))]), history, rng)


class Play:
    """A detector fed hour by hour, four rows a device."""

    def __init__(self, size):
        self.detector = Normality("x")
        self.memory = self.detector.init(FleetShape(size))
        self.cohort = np.zeros(size, dtype=np.int32)

    def hour(self, hour, device, value):
        rows = np.repeat(device, 4).astype(np.int32)
        start = START + hour * HOUR_NS
        ts = np.tile(start + np.arange(4) * HOUR_NS // 4, len(device))
        scores = self.detector.update(
            self.memory,
            TelemetryBatch(rows, self.cohort[rows], ts, np.zeros(len(rows), dtype=np.bool_),
                           {"x": value.ravel()}, group_bounds(rows)),
        )  # fmt: skip
        n = int(device[-1]) + 1
        index = np.arange(n, dtype=np.int32)
        site = np.full(n, -1, dtype=np.int32)
        epoch = Epoch(start, start + HOUR_NS, start + HOUR_NS, n, index, site, self.cohort[:n])
        self.detector.close(self.memory, epoch)
        return scores.score.reshape(len(device), 4)


def test_a_newcomer_knows_at_once_how_much_its_cohort_moves_and_lets_go_of_it():
    rng = np.random.default_rng(3)
    play, old = Play(21), np.arange(20)
    spread = 5.0
    for hour in range(24 * 4):
        play.hour(hour, old, 100.0 + spread * rng.standard_normal((20, 4)))
    everybody = np.arange(21)
    for hour in range(24 * 4, 24 * 4 + 1):
        play.hour(hour, everybody, 100.0 + spread * rng.standard_normal((21, 4)))
    moments = play.memory.moments
    assert moments[20, SPREAD] == pytest.approx(np.median(moments[:20, SPREAD]), rel=0.15)
    assert play.memory.counts[20, SEEN] > 50
    assert play.memory.line[20] > 1.5 * play.memory.line[0]
    for hour in range(24 * 4 + 1, 24 * 12):  # its own noise is a fifth of that
        value = 100.0 + spread * rng.standard_normal((21, 4))
        value[20] = 100.0 + 1.0 * rng.standard_normal(4)
        play.hour(hour, everybody, value)
    assert moments[20, SPREAD] < 0.5 * np.median(moments[:20, SPREAD])
    assert play.memory.line[20] == play.memory.line[0]
    assert moments[20, MEAN] + play.memory.origin[20] == pytest.approx(100.0, abs=1.0)


def test_what_moves_the_whole_cohort_is_expected_of_each():
    """Half a day in, all devices move up by three spreads: the others do not stand out by it."""
    rng = np.random.default_rng(4)
    play, device = Play(30), np.arange(30)
    for hour in range(24 * 6):
        moved = 3.0 if hour >= 24 * 5 else 0.0
        play.hour(hour, device, moved + rng.standard_normal((30, 4)))
        if hour == 24 * 5 - 1:
            before = play.memory.common.copy()
        if hour == 24 * 5 + 8:
            during = play.memory.common.copy()
    assert np.abs(before).max() < 1.0
    assert during.min() > 1.0


@runs
def test_the_budget_is_met_by_a_healthy_fleet_and_newcomers_fire_no_more_than_twice_as_often():
    """A tenth of the benchmark's devices; the benchmark has all, and a change half way."""
    fleet = Fleet(devices=1_000, days=26, young_a_day=60, drift_day=26.0, budget=400.0)
    found = simulate(fleet, Normality, 1, {name: NATURES[name] for name in ("gaussian", "counts")})
    told = figures(fleet, found, settle_days=8)
    assert told["budget_ratio_before"] == pytest.approx(
        1.0, abs=0.2 + 3.0 * told["budget_ratio_before_se"]
    )
    assert told["young_ratio"] < 2.0
