"""Frozen models on disk."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from aiops.alerts.rule import AlertRule
from aiops.connectors.models import load_model, save_model
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors.frozen_model import FrozenModel
from aiops.engine.engine import Engine
from aiops.errors import FileError
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


@pytest.fixture
def directory(tmp_path) -> Path:
    """Return where a small model was saved."""
    saved = tmp_path / "small" / "3"
    save_model(saved, small(), ABOUT)
    return saved


def reword(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def replace_model(directory: Path, content: bytes) -> None:
    """Put another file in place of the model, and its digest on the card."""
    path = directory / "model.skops"
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(content)
    reword(directory / "card.toml", old, hashlib.sha256(content).hexdigest())


def telemetry(**settings) -> pa.Table:
    scenario = replace(SCENARIOS["healthy"], devices=4, sites=2, days=4, **settings)
    frames = [frame for frame, _ in Simulation(scenario).frames(None)]
    return pa.concat_tables(frames, promote_options="permissive").combine_chunks()


def test_what_is_saved_is_loaded_and_scores_the_same_bits(directory):
    found = load_model(str(directory))
    assert (found.name, found.version) == ("small", 3)
    settings = {"name": found.name, "version": found.version, "digest": found.digest}
    assert found == replace(small(), **settings)
    rows = np.random.default_rng(1).normal(40.0, 9.0, (500, 1))
    expected = small().model.score_samples(rows)
    assert found.model.score_samples(rows).tobytes() == expected.tobytes()
    assert np.concatenate([found.model.score_samples(row[None]) for row in rows]).tobytes() == (
        expected.tobytes()
    )


def test_the_card_says_what_it_was_told(directory):
    card = tomllib.loads((directory / "card.toml").read_text(encoding="utf-8"))
    assert {name: card[name] for name in ABOUT} == ABOUT
    assert card["sha256"] == load_model(directory).digest


def test_the_kept_model_obeys_the_laws_and_finds_what_is_hot_and_loses_packets():
    model = load_model(KEPT)
    calm = telemetry()
    check_detector(model, calm)
    faults = (
        Fault("heat", "site:Lyon", 2.0, days=2.0, size=60.0),
        Fault("link", "site:Osaka", 2.0, days=1.0, size=40.0),
    )
    rule = AlertRule(model, hold_s=6 * 3600.0)
    step = Engine([rule], epoch_s=3600).step(telemetry(faults=faults))
    fired = [f for f in step.findings if f.status == "firing"]
    assert {f.site for f in fired} == {"Lyon", "Osaka"}
    assert all("thermal_novelty" in f.sentence for f in fired)
    assert not Engine([rule], epoch_s=3600).step(calm).findings


def test_the_kept_model_is_small_and_its_card_is_whole():
    assert (KEPT / "model.skops").stat().st_size < 300_000
    card = tomllib.loads((KEPT / "card.toml").read_text(encoding="utf-8"))
    assert card.keys() > ABOUT.keys()
    assert card["made_by"].endswith("--write models/thermal_novelty/1")


def test_a_model_that_is_not_the_one_on_its_card_is_refused(directory):
    path = directory / "model.skops"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"the card says.*restore the file"):
        load_model(directory)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (FunctionTransformer(func=telemetry), "test_models.telemetry"),
        (FunctionTransformer(func=Path.unlink), "unlink"),
    ],
)
def test_types_that_nobody_trusts_are_refused(model, named, directory):
    replace_model(directory, skops.io.dumps(model))
    with pytest.raises(FileError, match=f"not trusted: .*{named}.*nothing of it was loaded"):
        load_model(directory)


def test_what_cannot_score_rows_is_refused(directory):
    replace_model(directory, skops.io.dumps(StandardScaler()))
    with pytest.raises(FileError, match="StandardScaler, which has no score_samples"):
        load_model(directory)


def test_what_is_no_model_file_is_refused(directory):
    replace_model(directory, b"PK but no zip")
    with pytest.raises(FileError, match="cannot be read as a skops file"):
        load_model(directory)


@pytest.mark.parametrize("missing", ["card.toml", "model.skops"])
def test_a_directory_says_what_is_missing(missing, directory):
    (directory / missing).unlink()
    with pytest.raises(FileError, match=f"{missing}: cannot be read .*<name>/<version>"):
        load_model(directory)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sha256", "sha512", "is no card .*sha256"),
        ("limit = -0.75", "limit = 'low'", r"is no card \(Expected `float`, got `str`.*limit"),
        ("what = ", "what: ", "is no card .*line 2"),
    ],
)
def test_a_card_says_what_it_must(old, new, message, directory):
    reword(directory / "card.toml", old, new)
    with pytest.raises(FileError, match=message):
        load_model(directory)


@pytest.mark.parametrize("place", ["small", "small/first", "small/1.2"])
def test_a_directory_is_a_name_and_a_number(place, tmp_path):
    for act in (lambda at: save_model(at, small(), ABOUT), load_model):
        with pytest.raises(FileError, match="<name>/<version>, and the version a number"):
            act(tmp_path / place)
    assert not list(tmp_path.iterdir())
