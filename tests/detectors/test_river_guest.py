"""River models as guests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from river import anomaly, preprocessing

from aiops.alerts.rule import AlertRule
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors.river_guest import RiverGuest
from aiops.engine.engine import Engine
from aiops.errors import CheckpointError, SettingsError
from aiops.notebook import detect
from aiops.testing import BrokenLaw, check_detector

TEMPERATURE = "temperature.celsius"
CALM = replace(SCENARIOS["healthy"], devices=3, sites=1, days=3)
GAUSS = anomaly.GaussianScorer()


def telemetry(scenario=CALM) -> pa.Table:
    frames = [frame for frame, _ in Simulation(scenario).frames(None)]
    return pa.concat_tables(frames, promote_options="permissive").combine_chunks()


def trees() -> anomaly.HalfSpaceTrees:
    limits = {TEMPERATURE: (0.0, 50.0), "net.rtt_ms": (10.0, 60.0)}
    return anomaly.HalfSpaceTrees(n_trees=3, height=3, window_size=20, limits=limits, seed=1)


def bell() -> anomaly.GaussianScorer:
    return anomaly.GaussianScorer(grace_period=24)


def scaled():
    forest = anomaly.HalfSpaceTrees(n_trees=3, height=3, window_size=20, seed=1)
    return preprocessing.MinMaxScaler() | forest


GUESTS = (
    RiverGuest(trees, (TEMPERATURE, "net.rtt_ms"), name="trees"),
    RiverGuest(bell, (TEMPERATURE,), line=0.99, name="bell"),
    RiverGuest(scaled, (TEMPERATURE, "net.rtt_ms"), name="scaled"),
)


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
def test_a_guest_obeys_the_laws(guest):
    table = telemetry(replace(CALM, disordered_share=0.05))
    check_detector(guest, table)
    scores = detect(table, guest)["score"].to_numpy()
    assert (scores[-24:] > 0.0).any(), "a law about nothing is no law"


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
def test_the_scores_are_those_of_river(guest):
    """A model of river's own, fed the rows of one device by hand, gives the same bits."""
    table = telemetry(replace(CALM, devices=1))
    model, expected = guest.make(), []
    for row in table.select(list(guest.reads)).drop_null().to_pylist():
        asked = ({}, row[TEMPERATURE]) if guest.name == "bell" else (row,)
        expected.append(model.score_one(*asked) / guest.line)
        model.learn_one(*asked)
    found = detect(table, guest)["score"].to_numpy()
    assert len(found) == len(expected) > 24
    assert found.tobytes() == np.array(expected).tobytes()


def test_the_laws_catch_a_guest_that_all_devices_share():
    shared = bell()
    makes = iter([bell(), bell()])
    guest = RiverGuest(lambda: next(makes, shared), (TEMPERATURE,))
    with pytest.raises(BrokenLaw, match=r"cut|order|independence"):
        check_detector(guest, telemetry())


def test_metrics_that_a_row_lacks_are_no_features():
    table = telemetry(replace(CALM, devices=1))
    place = table.schema.get_field_index("net.rtt_ms")
    rtt = table["net.rtt_ms"].to_numpy().copy()
    rtt[::3] = np.nan
    table = table.set_column(place, "net.rtt_ms", pa.array(rtt, from_pandas=True))
    model, expected = trees(), []
    for row in table.select([TEMPERATURE, "net.rtt_ms"]).to_pylist():
        features = {name: value for name, value in row.items() if value is not None}
        if features:
            expected.append(model.score_one(features) / 0.95)
            model.learn_one(features)
    found = detect(table, GUESTS[0])["score"].to_numpy()
    assert found.tobytes() == np.array(expected).tobytes()


def test_a_guest_gives_findings_like_any_detector():
    hot = replace(CALM, days=14, faults=(Fault("heat", "fleet", 10.0, days=3.0, size=40.0),))
    guest = RiverGuest(bell, (TEMPERATURE,), line=0.999, name="bell")
    step = Engine([AlertRule(guest)], epoch_s=3600).step(telemetry(hot))
    fired = [f for f in step.findings if f.status == "firing"]
    assert {f.device_id for f in fired} == {"gw-0001", "gw-0002", "gw-0003"}
    assert TEMPERATURE in fired[0].sentence


def test_a_guest_cannot_be_saved_and_says_what_to_do():
    def engine() -> Engine:
        return Engine([AlertRule(RiverGuest(bell, (TEMPERATURE,)))])

    ran = engine()
    ran.step(telemetry())
    with pytest.raises(CheckpointError, match=r"river_guest.*no pickle.*train a model in batch"):
        ran.save()

    class Boastful(RiverGuest):
        is_guest = False

    with pytest.raises(CheckpointError):
        check_detector(Boastful(bell, (TEMPERATURE,)), telemetry())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"make": bell, "reads": ()}, "at least one metric"),
        ({"make": bell, "reads": (TEMPERATURE, "net.rtt_ms")}, "exactly one"),
        ({"make": bell, "reads": (TEMPERATURE,), "line": 0.0}, "line must be above 0"),
        ({"make": lambda: GAUSS, "reads": (TEMPERATURE,)}, "each device needs its own"),
        ({"make": preprocessing.MinMaxScaler, "reads": (TEMPERATURE,)}, "no anomaly detector"),
        (
            {"make": lambda: preprocessing.MinMaxScaler() | bell(), "reads": (TEMPERATURE,)},
            "ends in one without a target",
        ),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(SettingsError, match=message):
        RiverGuest(**settings)
