"""The laws of `aiops.testing`, for every detector of the registry, on simulated telemetry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors import DETECTORS
from aiops.detectors.normality import Normality
from aiops.detectors.silence import Silence
from aiops.engine.engine import Engine
from aiops.kernels.rows import no_scores
from aiops.testing import (
    BrokenLaw,
    as_history,
    check_checkpoint,
    check_cut,
    check_detector,
    check_independence,
    check_order,
    check_replay,
    check_silence,
    check_voice,
)
from tests.log_fleet import FAULTS, START, log_fleet

CLEAN = {
    "lost_share": 0.0,
    "duplicate_share": 0.01,
    "disordered_share": 0.01,
    "bad_clock_share": 0.0,
    "garbage_share": 0.0,
}


def telemetry(**settings) -> pa.Table:
    """Return a small simulated history, with faults, that ends."""
    scenario = replace(
        SCENARIOS["demo"],
        **{"devices": 6, "sites": 2, "days": 12, "faults": (), **CLEAN, **settings},
    )
    return whole(scenario)


def whole(scenario) -> pa.Table:
    """Return all a scenario's telemetry as one table, which ends with the end of a history."""
    frames = [frame for frame, _ in Simulation(scenario).frames(None)]
    return pa.concat_tables(frames, promote_options="permissive").combine_chunks()


@pytest.fixture(scope="module")
def table() -> pa.Table:
    faults = (Fault("failing", "fleet", 1.0, days=9.0),)
    return telemetry(wear_per_year=3.0, reboots_per_week=4.0, reboot_drift_share=0.5, faults=faults)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_obeys_every_law(name, table):
    if name in FAULTS:
        table = log_fleet(days=6, fault=FAULTS[name], day=4.5, step_s=3600)
    check_detector(DETECTORS[name](), table)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_silent_on_a_healthy_fleet(name):
    if name in FAULTS:
        healthy = as_history(log_fleet(devices=24, days=14, cohorts=1))
        check_silence(DETECTORS[name](alarm_budget=10.0), healthy, epoch_s=600)
        return
    scenario = replace(SCENARIOS["healthy"], devices=24, sites=3, days=60)
    check_silence(DETECTORS[name](alarm_budget=10.0), whole(scenario), epoch_s=3600)


def test_independence_of_other_cohorts_is_a_law_with_teeth():
    """Sealed cohorts are known by the end of this history, so taking half of one away shows."""
    table = as_history(telemetry(devices=8, sites=3, days=25, reboots_per_week=9.0))
    drift, rng = DETECTORS["reboot_drift"], np.random.default_rng
    check_independence(lambda: Engine([AlertRule(drift())]), table, rng(0), compares=True)
    with pytest.raises(BrokenLaw, match="independence"):
        check_independence(lambda: Engine([AlertRule(drift())]), table, rng(0))


DAY = 86_400_000_000_000
VOICES = {
    # name -> the fault, and by how many days after its onset it must have been said
    "exhaustion": (Fault("leak", "gw-0005", 15.0, size=2.0), 14.0),
    "flash_failure": (Fault("failing", "gw-0003", 20.0, days=30.0), 29.0),
    "flash_wear": (Fault("wear", "gw-0003", 2.0, days=40.0), 37.0),
    "reboot_drift": (Fault("reboots", "gw-0004", 30.0, size=20.0), 25.0),
    # It has a battery, whose charge and temperature know the hour alike.
    "relation": (Fault("heat", "gw-0003", 30.0, days=20.0, size=15.0), 4.0),
    "silence": (Fault("dead", "gw-0005", 20.0), 1.0),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_detector_of_logs_says_its_own_fault_in_time(name):
    fleet = {"devices": 24, "days": 8, "cohorts": 1}
    onset = START + int(6.0 * DAY)
    said = ("gw-1", onset, onset + DAY)
    detector = DETECTORS[name](alarm_budget=30.0)
    check_voice(detector, as_history(log_fleet(**fleet, fault=FAULTS[name])), [said], epoch_s=600)
    with pytest.raises(BrokenLaw, match="voice"):
        check_voice(detector, as_history(log_fleet(**fleet)), [said], epoch_s=600)


@pytest.mark.parametrize("name", [name for name in DETECTORS if name not in FAULTS])
def test_a_detector_says_its_own_fault_in_time(name):
    fault, days = VOICES[name]
    scenario = replace(
        SCENARIOS["healthy"], devices=8, sites=2, days=60, faults=(fault,), reboots_per_week=1.0
    )
    onset = scenario.start_ns + int(fault.start_day * DAY)
    said = (fault.where, onset, onset + int(days * DAY))
    check_voice(DETECTORS[name](), whole(scenario), [said], epoch_s=3600)
    with pytest.raises(BrokenLaw, match="voice"):
        check_voice(DETECTORS[name](), whole(replace(scenario, faults=())), [said], epoch_s=3600)


@pytest.mark.parametrize("metric", ["temperature.celsius", "storage.bytes_written"])
def test_normality_obeys_every_law_on_a_gauge_and_on_a_counter(metric, table):
    check_detector(Normality(metric), table)


@pytest.mark.parametrize("metric", ["temperature.celsius", "memory.utilization_ratio"])
def test_normality_is_silent_on_a_healthy_fleet(metric):
    scenario = replace(SCENARIOS["healthy"], devices=24, sites=3, days=60)
    check_silence(Normality(metric, alarm_budget=10.0), whole(scenario), epoch_s=3600)


def test_normality_says_its_own_fault_in_time():
    fault = Fault("heat", "gw-0003", 30.0, days=5.0, size=60.0)
    scenario = replace(SCENARIOS["healthy"], devices=8, sites=2, days=60, faults=(fault,))
    onset = scenario.start_ns + int(fault.start_day * DAY)
    said = (fault.where, onset, onset + DAY)
    watch = Normality("temperature.celsius", alarm_budget=30.0)
    check_voice(watch, whole(scenario), [said], epoch_s=3600)
    with pytest.raises(BrokenLaw, match="voice"):
        check_voice(watch, whole(replace(scenario, faults=())), [said], epoch_s=3600)


def test_the_law_of_silence_catches_a_detector_that_cries_wolf():
    healthy = whole(replace(SCENARIOS["healthy"], devices=4, sites=1, days=10))
    with pytest.raises(BrokenLaw, match="silence"):
        check_silence(Lawless(), healthy, epoch_s=3600)


def everything(table: pa.Table) -> Engine:
    """Return an engine with all rules and with workloads to place."""
    inventory = Simulation(replace(SCENARIOS["demo"], devices=6, sites=2, faults=())).inventory()
    return Engine(inventory=inventory, epoch_s=3600)


def test_all_that_a_step_returns_obeys_cut_order_checkpoint_and_replay():
    faults = (
        Fault("heat", "site:Lyon", 3.0, days=3.0, size=25.0),
        Fault("outage", "site:Lyon", 8.3, days=0.2),
    )
    eventful = telemetry(faults=faults, reboots_per_week=8.0, wear_per_year=8.0)
    rng = np.random.default_rng(3)

    def make() -> Engine:
        return everything(eventful)

    step = make().step(eventful)
    assert step.findings, "a law about nothing is no law"
    assert step.plans, "the heat wave moves something"
    assert step.allowed
    check_cut(make, eventful, rng)
    check_order(make, eventful, rng)
    check_checkpoint(make, eventful, rng)
    check_replay(make, eventful)


# -- a law that nothing can break is none: each catches a detector made to break it --------------


class Sums(NamedTuple):
    total: np.ndarray


@dataclass(frozen=True)
class Lawless(Silence):
    """Reads the temperature and can break one law at a time."""

    breaks: str = ""
    name: str = "lawless"

    @property
    def reads(self):
        return ("temperature.celsius",)

    def init(self, shape):
        return Sums(np.zeros(shape.capacity))

    def update(self, memory, batch):
        scores = no_scores(len(batch))
        value = batch.column("temperature.celsius")
        known = ~np.isnan(value)
        scores.score[known] = value[known]
        if self.breaks == "cut":
            scores.score[known] += len(batch)
        if self.breaks == "independence":
            memory.total[0] += np.nansum(value)
            scores.score[known] += memory.total[0]
        if self.breaks == "nan":
            scores.score[~known] = 0.0
        return scores

    def close(self, memory, epoch):
        return None

    def shared(self, memory, epoch):
        return ()

    def evidence(self, memory, device):
        return {}

    def sentence(self, evidence, forecast):
        return "lawless"


def test_the_laws_hold_for_an_obedient_detector(table):
    check_detector(Lawless(), table)


def test_the_law_of_independence_catches_shared_learning(table):
    with pytest.raises(BrokenLaw, match=r"order|independence"):
        check_detector(Lawless(breaks="independence"), table)


def test_a_score_that_depends_on_the_batch_is_caught(table):
    # Rows of an epoch are one batch however the stream is cut, so here it is who else is in it.
    with pytest.raises(BrokenLaw, match="independence"):
        check_detector(Lawless(breaks="cut"), table)


def test_the_law_of_replay_catches_scores_of_old_rows(table):
    class Stuck(Engine):
        """An engine whose fleet forgets what it has seen."""

        def step(self, frame):
            self.fleet = Engine([AlertRule(Lawless())]).fleet
            return super().step(frame)

    with pytest.raises(BrokenLaw, match="replay"):
        check_replay(lambda: Stuck([AlertRule(Lawless())]), table)
