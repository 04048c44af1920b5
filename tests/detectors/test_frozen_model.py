"""A scikit-learn model as a detector."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import IsolationForest

from aiops.alerts.rule import AlertRule
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors.frozen_model import FrozenModel
from aiops.engine.engine import Engine
from aiops.errors import SettingsError
from aiops.fleet.owner import FleetShape
from aiops.telemetry.batch import TelemetryBatch, group_bounds
from aiops.testing import BrokenLaw, check_detector
from benchmarks import novelty

READS = ("temperature.celsius", "net.loss_ratio")


def healthy_rows(n: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.column_stack([rng.normal(40.0, 4.0, n), rng.exponential(0.002, n)])


def model(**settings) -> FrozenModel:
    forest = IsolationForest(n_estimators=5, max_samples=64, random_state=0).fit(healthy_rows())
    made = FrozenModel(forest, READS, digest="abc", ordinary=-0.42, limit=-0.7)
    return replace(made, **settings)


def telemetry(**settings) -> pa.Table:
    scenario = replace(SCENARIOS["healthy"], **{"devices": 4, "sites": 2, "days": 4, **settings})
    frames = [frame for frame, _ in Simulation(scenario).frames(None)]
    return pa.concat_tables(frames, promote_options="permissive").combine_chunks()


def batch_of(values: np.ndarray, device: list[int]) -> TelemetryBatch:
    """Return rows [n, metrics] of devices, a second apart."""
    index = np.array(device, np.int32)
    return TelemetryBatch(
        device=index,
        cohort=np.zeros(len(index), np.int32),
        ts=np.arange(len(index), dtype=np.int64),
        historical=np.zeros(len(index), np.bool_),
        columns=dict(zip(READS, values.T, strict=True)),
        indptr=group_bounds(index),
    )


def test_it_obeys_every_law():
    # Missing readings: the network's are, of one device.
    table = telemetry(disordered_share=0.05)
    gone = np.array(table["device_id"].cast(pa.string())) == "gw-0002"
    place = table.schema.get_field_index("net.loss_ratio")
    loss = np.where(gone, np.nan, table["net.loss_ratio"].to_numpy())
    table = table.set_column(place, "net.loss_ratio", pa.array(loss, from_pandas=True))
    check_detector(model(), table)


def test_a_model_that_looks_at_the_rows_beside_is_caught():
    @dataclass(frozen=True)
    class Relative:
        def score_samples(self, X):  # noqa: N803
            return -np.abs(X - X.mean(axis=0)).sum(axis=1)

    with pytest.raises(BrokenLaw, match=r"order|independence"):
        check_detector(model(model=Relative(), ordinary=0.0, limit=-50.0), telemetry())


def test_the_score_is_0_in_the_ordinary_and_1_at_the_limit():
    values = healthy_rows(50)
    told = model().model.score_samples(values)
    detector = model(ordinary=float(told[3]), limit=float(told.min()) - 0.1)
    scores = detector.update(detector.init(FleetShape(1)), batch_of(values, [0] * 50))
    assert scores.score[3] == 0.0
    assert (scores.score < 1.0).all()
    at_limit = replace(detector, limit=float(told.min()))
    scores = at_limit.update(at_limit.init(FleetShape(1)), batch_of(values, [0] * 50))
    assert scores.score.max() == 1.0
    assert scores.score.argmax() == told.argmin()
    assert (scores.observed == -told).all()


def test_a_row_that_lacks_a_metric_gets_no_opinion_and_leaves_no_trace():
    values = np.array([[40.0, np.nan], [np.nan, 0.5], [90.0, 0.5], [np.nan, np.nan]])
    detector = model()
    memory = detector.init(FleetShape(3))
    scores = detector.update(memory, batch_of(values, [0, 1, 1, 2]))
    assert np.isfinite(scores.score).tolist() == [False, False, True, False]
    assert memory.rows.tolist() == [0, 1, 0]
    assert detector.evidence(memory, 1) == {
        "rows_judged": 1.0,
        "worst_score": float(scores.score[2]),
    }


def test_the_benchmark_counts_the_alarms_that_the_engine_raises():
    fault = Fault("heat", "gw-0003", 16.0, days=2.0, size=50.0)
    scenario = replace(SCENARIOS["healthy"], devices=3, sites=1, days=19, faults=(fault,))
    fleet = novelty.fleet_of(scenario)
    detector = model()
    readings = (lambda fleet: -detector.model.score_samples(fleet.values),)
    score = novelty.scores(fleet, readings, [(-detector.ordinary, -detector.limit)])
    fired = novelty.alarms(fleet, score)

    rule = AlertRule(detector, hold_s=novelty.HOLD_S)
    frames = pa.concat_tables([frame for frame, _ in Simulation(scenario).frames(None)])
    step = Engine([rule], epoch_s=3600).step(frames)
    begin = scenario.start_ns + novelty.PAST_DAYS * novelty.DAY_NS
    found = {(f.device_id, f.ts) for f in step.findings if f.status == "firing" and f.ts >= begin}
    names = [f"gw-{d + 1:04d}" for d in fleet.device[fired]]
    assert found == set(zip(names, fleet.ts[fired].tolist(), strict=True))
    assert "gw-0003" in names


def test_models_are_told_apart_by_digest():
    assert model() == model()
    assert hash(model()) == hash(model())
    assert model() != model(digest="abd")
    engine = Engine([AlertRule(model()), AlertRule(model(), "eager", line=0.5, clear=0.4)])
    assert len(engine.detectors) == 1


@pytest.mark.parametrize("settings", [{"reads": ()}, {"limit": 0.0}, {"limit": float("nan")}])
def test_settings_that_cannot_work(settings):
    with pytest.raises(SettingsError, match="below its ordinary score"):
        model(**settings)
