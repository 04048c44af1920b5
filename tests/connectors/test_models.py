"""Frozen models on disk, and as detectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import FunctionTransformer

from aiops.alerts.rule import AlertRule
from aiops.connectors.models import load_model, save_model
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors.frozen_model import FrozenModel
from aiops.engine.engine import Engine
from aiops.errors import FileError, SettingsError
from aiops.testing import check_detector

KEPT = Path(__file__).resolve().parents[2] / "models" / "thermal_novelty" / "1"
ABOUT = {"what": 'A "small" one.', "trained_on": "noise", "measured": "not", "made_by": "a test"}


def small() -> FrozenModel:
    rng = np.random.default_rng(0)
    forest = IsolationForest(n_estimators=4, max_samples=32, random_state=0)
    return FrozenModel(
        model=forest.fit(rng.normal(40.0, 3.0, (200, 1))),
        reads=("temperature.celsius",),
        digest="",
        ordinary=-0.45,
        limit=-0.75,
    )


def telemetry(**settings) -> pa.Table:
    scenario = replace(SCENARIOS["healthy"], devices=4, sites=2, days=4, **settings)
    frames = [frame for frame, _ in Simulation(scenario).frames(None)]
    return pa.concat_tables(frames, promote_options="permissive").combine_chunks()


def test_what_is_saved_is_loaded_and_scores_the_same_bits(tmp_path):
    directory = tmp_path / "small" / "3"
    save_model(directory, small(), ABOUT)
    found = load_model(directory)
    assert (found.name, found.version, found.reads) == ("small", 3, ("temperature.celsius",))
    rows = np.random.default_rng(1).normal(40.0, 9.0, (500, 1))
    assert (found.model.score_samples(rows) == small().model.score_samples(rows)).all()


def test_the_kept_model_obeys_the_laws_and_finds_a_heat_wave():
    model = load_model(KEPT)
    check_detector(model, telemetry())
    hot = telemetry(faults=(Fault("heat", "site:Lyon", 2.0, days=2.0, size=60.0),))
    rule = AlertRule(model, line=0.75, clear=0.6)
    calm = Engine([rule], epoch_s=3600).step(telemetry())
    step = Engine([rule], epoch_s=3600).step(hot)
    in_lyon = [[f for f in s.findings if f.site == "Lyon"] for s in (calm, step)]
    assert len(in_lyon[1]) > len(in_lyon[0])
    assert all("thermal_novelty" in finding.sentence for finding in step.findings)


def test_a_model_that_is_not_the_one_on_its_card_is_refused(tmp_path):
    directory = tmp_path / "small" / "1"
    save_model(directory, small(), ABOUT)
    path = directory / "model.skops"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(FileError, match="the card says"):
        load_model(directory)


def test_types_that_nobody_trusts_are_refused(tmp_path):
    directory = tmp_path / "small" / "1"
    foreign = FunctionTransformer(func=telemetry)
    foreign.score_samples = None
    save_model(directory, replace(small(), model=foreign), ABOUT)
    assert skops.io.get_untrusted_types(file=directory / "model.skops")
    with pytest.raises(FileError, match="not trusted"):
        load_model(directory)


def test_a_directory_without_a_model_says_what_is_missing(tmp_path):
    with pytest.raises(FileError, match=r"no card\.toml"):
        load_model(tmp_path)


@pytest.mark.parametrize("settings", [{"reads": ()}, {"limit": 0.0}])
def test_settings_that_cannot_work(settings):
    with pytest.raises(SettingsError, match="below its ordinary score"):
        replace(small(), **settings)
