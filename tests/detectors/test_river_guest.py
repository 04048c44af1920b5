"""River models as guests."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from river import anomaly

from aiops.alerts.rule import AlertRule
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors.river_guest import RiverGuest
from aiops.engine.engine import Engine
from aiops.errors import CheckpointError, SettingsError
from aiops.testing import check_detector

TEMPERATURE = "temperature.celsius"
CALM = replace(SCENARIOS["healthy"], devices=3, sites=1, days=3)


def telemetry(scenario=CALM) -> pa.Table:
    frames = [frame for frame, _ in Simulation(scenario).frames(None)]
    return pa.concat_tables(frames, promote_options="permissive").combine_chunks()


def trees() -> anomaly.HalfSpaceTrees:
    limits = {TEMPERATURE: (-20.0, 100.0), "net.rtt_ms": (0.0, 500.0)}
    return anomaly.HalfSpaceTrees(n_trees=3, height=4, window_size=20, limits=limits, seed=1)


def bell() -> anomaly.GaussianScorer:
    return anomaly.GaussianScorer(grace_period=24)


@pytest.mark.parametrize(
    "guest",
    [
        RiverGuest(trees, (TEMPERATURE, "net.rtt_ms"), name="trees"),
        RiverGuest(bell, (TEMPERATURE,), line=0.99, name="bell"),
    ],
    ids=lambda guest: guest.name,
)
def test_a_guest_obeys_the_laws(guest):
    check_detector(guest, telemetry())


def test_a_guest_gives_findings_like_any_detector():
    hot = replace(CALM, days=14, faults=(Fault("heat", "fleet", 10.0, days=3.0, size=40.0),))
    guest = RiverGuest(bell, (TEMPERATURE,), line=0.999, name="bell")
    step = Engine([AlertRule(guest)], epoch_s=3600).step(telemetry(hot))
    fired = [f for f in step.findings if f.status == "firing"]
    assert {f.device_id for f in fired} == {"gw-0001", "gw-0002", "gw-0003"}
    assert TEMPERATURE in fired[0].sentence


def test_a_guest_cannot_be_saved_and_says_what_to_do():
    engine = Engine([AlertRule(RiverGuest(bell, (TEMPERATURE,)))])
    engine.step(telemetry())
    with pytest.raises(CheckpointError, match=r"no pickle.*train a model in batch"):
        engine.save()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"make": bell, "reads": ()}, "at least one metric"),
        ({"make": bell, "reads": (TEMPERATURE, "net.rtt_ms")}, "exactly one"),
        ({"make": bell, "reads": (TEMPERATURE,), "line": 0.0}, "line must be above 0"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(SettingsError, match=message):
        RiverGuest(**settings)
