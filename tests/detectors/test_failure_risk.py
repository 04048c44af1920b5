"""A model of a fleet's own failures: trained, saved, asked, and watched."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiops.alerts.rule import AlertRule
from aiops.connectors.models import load_model, save_model
from aiops.detectors.failure_risk import DAY_NS, HOUR_NS
from aiops.detectors.risk_training import Examples, examples, train
from aiops.engine.engine import Engine
from aiops.errors import FileError, SettingsError
from aiops.testing import check_detector
from tests.cli.process import aiops, succeeds

READS = ("temperature.celsius", "net.loss_ratio")
START = 1_767_571_200 * 10**9


def history(seed=0, devices=300, days=60, signal=True):
    """Give device-days of which a fifth of the devices run hot for two weeks and then fail."""
    rng = np.random.default_rng(seed)
    device = np.repeat(np.arange(devices), days)
    day = np.tile(np.arange(days), devices)
    ts = START + day * DAY_NS
    features = np.column_stack([rng.normal(45.0, 4.0, len(day)), rng.exponential(0.002, len(day))])
    failing = rng.permutation(devices)[: devices // 5]
    failed = {int(d): np.array([START + int(rng.integers(20, days)) * DAY_NS]) for d in failing}
    for d, times in failed.items():
        rows = device == d
        to_go = (times[0] - ts) // DAY_NS
        if signal:
            features[rows & (to_go <= 14) & (to_go > 0), 0] += 20.0
        gone = rows & (ts >= times[0])
        features[gone] = np.nan
    alive = ~np.isnan(features[:, 0])
    return device[alive].astype(np.int32), ts[alive], features[alive], failed


@pytest.fixture(scope="module")
def trained():
    return train(examples(*history(), 14.0), READS, 14.0, 20.0)


def test_who_is_seen_to_live_through_the_horizon_is_no_failure_and_who_is_not_is_left_out():
    device = np.zeros(3, np.int32)
    ts = START + np.array([0, 5, 9]) * DAY_NS
    told = examples(device, ts, np.zeros((3, 1)), {0: np.array([START + 8 * DAY_NS])}, 4.0)
    assert (((told.ts - START) // DAY_NS).tolist(), told.fails.tolist()) == ([0, 5], [False, True])


def test_it_finds_the_failures_of_devices_it_has_not_seen_within_its_budget(trained):
    _, quality = trained
    assert quality.found > 0.9
    assert quality.false_per_1000_device_months <= 20.0
    assert quality.average_precision > 10.0 * quality.share


def test_without_a_signal_it_is_no_better_than_chance():
    _, quality = train(examples(*history(1, signal=False), 14.0), READS, 14.0, 20.0)
    assert quality.average_precision < 2.0 * quality.share
    assert quality.found < 0.2


def test_too_few_failures_are_refused():
    device, ts, features, failed = history(devices=30)
    with pytest.raises(FileError, match="at least 20"):
        train(
            examples(device, ts, features, dict(list(failed.items())[:5]), 14.0), READS, 14.0, 20.0
        )


def telemetry(celsius, hours=48, seed=0, devices=4, cohort="cm4"):
    """Give hourly rows; the two metrics come in rows of their own."""
    rng = np.random.default_rng(seed)
    rows = []
    for hour in range(hours):
        for d in range(devices):
            at = np.datetime64(START + hour * HOUR_NS + d * 10**9, "ns")
            about = {"device_id": f"gw-{d}", "cohort": cohort, "ts": at}
            warm = celsius[d] if isinstance(celsius, list) else celsius
            rows.append(about | {READS[0]: warm + rng.normal(), READS[1]: None})
            later = about | {"ts": at + np.timedelta64(60, "s")}
            rows.append(later | {READS[0]: None, READS[1]: float(rng.exponential(0.002))})
    return pa.Table.from_pylist([*rows, dict.fromkeys(rows[0])])


def test_it_obeys_every_law(trained):
    check_detector(trained[0], telemetry([45.0, 66.0, 44.0, 46.0]))


def test_a_device_like_those_that_failed_is_found_and_told_why(trained):
    found = Engine([AlertRule(trained[0])]).step(telemetry([45.0, 66.0, 44.0, 46.0])).findings
    (finding,) = [one for one in found if one.device_id]
    assert finding.device_id == "gw-1"
    assert finding.evidence["temperature.celsius.adds"] > finding.evidence["net.loss_ratio.adds"]
    assert finding.evidence["coverage_ratio"] == 0.5  # of its first two rows one lacked the loss
    assert "Most of it is temperature.celsius at 6" in finding.sentence


def test_a_cohort_whose_inputs_moved_away_is_one_finding_and_resolves(trained):
    def weeks(celsius, begin):
        table = telemetry(celsius, hours=24 * 15, devices=4)
        ts = pa.array(table["ts"].to_numpy() + np.timedelta64(begin, "D"))
        table = table.slice(0, len(table) - 1)
        return table.set_column(table.schema.names.index("ts"), "ts", ts[: len(table)])

    detector = trained[0]
    spread = [41.0, 45.0, 47.0, 49.0]
    engine = Engine([AlertRule(detector)], epoch_s=3600)
    told = []
    for celsius, begin in ((spread, 0), ([58.0] * 4, 15)):
        told += engine.step(weeks(celsius, begin)).findings
    drift = [f for f in told if not f.device_id]
    assert [(f.cohort, f.status) for f in drift] == [("cm4", "firing")]
    assert "temperature.celsius are spread otherwise" in drift[0].sentence
    assert drift[0].evidence["stability_index"] > 0.25


def test_it_comes_back_from_disk_with_the_same_bits(trained, tmp_path):
    save_model(tmp_path / "risk" / "1", trained[0], {"what": "a test"})
    again = load_model(tmp_path / "risk" / "1")
    assert (again.name, again.reads, again.limit) == ("risk", READS, trained[0].limit)
    x = np.random.default_rng(0).normal(50.0, 10.0, (50, 2))
    assert np.array_equal(again.model.predict_proba(x), trained[0].model.predict_proba(x))


def test_settings_that_make_no_sense_are_refused(trained):
    from dataclasses import replace

    with pytest.raises(SettingsError, match="limit"):
        replace(trained[0], limit=0.0)
    with pytest.raises(SettingsError, match="median"):
        replace(trained[0], usual=())


def test_the_command_line_trains_and_says_what_it_is_worth(tmp_path):
    device, ts, features, failed = history(devices=200)
    names = np.array([f"gw-{d}" for d in range(200)])
    table = {"device_id": names[device], "ts": pa.array(ts).cast(pa.timestamp("ns", "UTC"))}
    table |= dict(zip(READS, features.T, strict=True))
    pq.write_table(pa.table(table).sort_by("ts"), tmp_path / "history.parquet")
    gone = pa.table(
        {
            "device_id": names[list(failed)],
            "ts": pa.array([int(t[0]) for t in failed.values()]).cast(pa.timestamp("ns", "UTC")),
        }
    )
    pq.write_table(gone, tmp_path / "failures.parquet")
    asked = ("train", "risk", "history.parquet", "--failures", "failures.parquet", "--horizon", 14)
    told = succeeds(*asked, "--alarm-budget", 20, "--json", cwd=tmp_path).json
    assert set(told["reads"]) == set(READS)
    assert told["found"] > 0.8
    card = (tmp_path / "models/failure_risk/1/card.toml").read_text()
    assert "held out" in card
    assert json.dumps("failure_risk") in card
    nobody = aiops(*asked, "--metric", "battery.soc_ratio", cwd=tmp_path)
    assert "no device reports all of battery.soc_ratio" in nobody.fails(1)


def test_examples_can_be_chosen():
    told = Examples(np.arange(3, dtype=np.int32), np.arange(3), np.zeros((3, 1)), np.ones(3, bool))
    assert told.of(np.array([True, False, True])).device.tolist() == [0, 2]
