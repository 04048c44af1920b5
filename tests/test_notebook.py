"""The one-call front door gives what the engine gives."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aiops
from aiops.errors import FrameError, SettingsError
from aiops.notebook import SCORES

FILE = "data/wear/telemetry"
MESSY = replace(
    aiops.SCENARIOS["tiny"],
    devices=5,
    days=21,
    disordered_share=0.02,
    duplicate_share=0.02,
    link_outages_per_month=8.0,
)
"""Half of the devices send later what they could not send: much of this comes late."""


@pytest.fixture(scope="module", params=["received", "own time"])
def table(request) -> pa.Table:
    found = pq.read_table(FILE)
    return found if request.param == "received" else found.drop_columns(["recv_ts"])


@pytest.fixture(scope="module")
def expected(table) -> pa.Table:
    return aiops.detect(table)


@pytest.fixture(scope="module")
def logged() -> list[pa.Table]:
    """Return frames as a log took them, with the end of the history."""
    return [frame for frame, _ in aiops.Simulation(MESSY).frames(None)]


def same(one: pa.Table, other: pa.Table) -> None:
    assert one.schema == other.schema
    for name in one.column_names:
        pd.testing.assert_series_equal(one[name].to_pandas(), other[name].to_pandas(), rtol=0)
        if pa.types.is_floating(one.schema.field(name).type):
            assert one[name].to_numpy().tobytes() == other[name].to_numpy().tobytes(), name


def said(*steps: aiops.Step) -> list[str]:
    """Return all records in order, as text: NaN equals itself there."""
    return [
        repr(record)
        for kind in ("findings", "incidents", "plans", "actions")
        for step in steps
        for record in step.records()[kind]
    ]


def test_scores_have_a_row_for_each_row_a_detector_was_shown(expected):
    assert expected.schema == SCORES
    families = {name.partition(":")[0] for name in expected["detector"].to_pylist()}
    of_logs = {"error_burst", "log_burst", "log_heartbeat", "log_novelty"}  # there are none
    assert families == {*aiops.DETECTORS, "normality"} - of_logs
    assert np.isfinite(expected["score"].to_numpy()).any()


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb", "parquet", "shuffled"])
def test_any_frame_and_any_order_give_the_same_bits(library, table, expected, tmp_path):
    path = tmp_path / "telemetry.parquet"
    pq.write_table(table, path)
    rng = np.random.default_rng(0)
    frame = {
        "pandas": lambda: pd.read_parquet(path),
        "polars": lambda: pl.read_parquet(path),
        "duckdb": lambda: duckdb.from_parquet(str(path)),
        "parquet": lambda: pq.ParquetFile(path).read(),
        "shuffled": lambda: table.take(pa.array(rng.permutation(len(table)))),
    }[library]()
    same(aiops.detect(frame), expected)


def test_a_live_run_gives_the_same_bits(logged):
    """Frame by frame as the log took them, or stored by device and replayed: no difference."""
    engine = aiops.Engine()
    live = [engine.step(frame) for frame in logged]
    by_device = pl.from_arrow(pa.concat_tables(logged[:-1])).sort("device_id", "ts")
    step = aiops.replay(by_device)

    assert any(one.batch.historical.any() for one in step.scored), "nothing came late"
    assert {f.detector for f in step.findings} >= {"flash_wear", "reboot_drift", "silence"}
    assert said(*live) == said(step)
    kept = [row for one in live for row in one.set_aside.to_pylist()]
    assert sorted(map(repr, kept)) == sorted(map(repr, step.set_aside.to_pylist()))

    found = {}
    for scored in (one for each in live for one in each.scored):
        names = [scored.identities[device] for device in scored.batch.device.tolist()]
        values = zip(*(column.tolist() for column in scored.scores), strict=True)
        for name, ts, value in zip(names, scored.batch.ts.tolist(), values, strict=True):
            found[(scored.detector, *name, ts)] = np.array(value).tobytes()
    told = aiops.detect(by_device)
    keys = zip(
        *(told[name].to_pylist() for name in SCORES.names[:4]),
        told["ts"].cast(pa.int64()).to_pylist(),
        strict=True,
    )
    values = np.column_stack([told[name].to_numpy() for name in SCORES.names[5:]])
    assert {key: row.tobytes() for key, row in zip(keys, values, strict=True)} == found


def test_a_history_may_bring_its_end(logged):
    last = pa.concat_tables(logged[-9:])
    assert said(aiops.replay(last))
    assert said(aiops.replay(last)) == said(aiops.replay(last.slice(0, len(last) - 1)))


def test_times_that_are_text_are_in_order_of_time():
    rows = [("2026-01-09 23:00", 20.0), ("2026-01-10 01:00", 22.0), ("2026-01-10 00:00", 21.0)]
    frame = pd.DataFrame(rows, columns=["time", "temperature.celsius"]).assign(host="gw-1")
    frame["time"] = frame["time"].astype("category")
    step = aiops.replay(frame, "silence")
    assert np.diff([t for one in step.scored for t in one.batch.ts]).tolist() == [3600 * 10**9] * 2
    assert not len(step.set_aside)


def test_texts_of_polars_go_in(table):
    texts = table.slice(0, 1000).cast(
        pa.schema(
            [
                field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
                for field in table.schema
            ]
        )
    )
    same(aiops.detect(pl.from_arrow(texts), "flash_wear"), aiops.detect(texts, "flash_wear"))


def test_nothing_in_gives_nothing_out():
    empty = pd.DataFrame({"device_id": pd.Series([], dtype="str"), "ts": pd.Series([], dtype=int)})
    assert aiops.detect(empty).equals(SCORES.empty_table())


def test_one_detector_needs_no_list(table):
    table = table.slice(0, 1000)
    same(aiops.detect(table, "flash_wear"), aiops.detect(table, [aiops.FlashWear()]))
    same(aiops.detect(table, aiops.FlashWear()), aiops.detect(table, ["flash_wear"]))


@pytest.mark.parametrize(
    ("detectors", "message"),
    [
        (["flash_wera"], "did you mean flash_wear"),
        (aiops.FlashWear, r"write FlashWear\(\)"),
        (["silence", 3], "3 came.*flash_wear"),
    ],
)
def test_a_detector_that_is_none_is_refused(detectors, message, table):
    with pytest.raises(SettingsError, match=message):
        aiops.detect(table, detectors)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"ts": [1], "x": [1.0]}), "no column can be the device"),
        (pd.DataFrame({"device_id": ["a"], "x": [1.0]}), "no column can be the time"),
        ([{"device_id": "a", "ts": 1}], "a frame was expected, builtins.list came"),
        (pl.LazyFrame({"device_id": ["a"], "ts": [1]}), "call .collect"),
    ],
)
def test_a_frame_that_is_none_is_refused(frame, message):
    with pytest.raises(FrameError, match=message):
        aiops.replay(frame)


def test_columns_can_be_named(table, expected):
    renamed = table.rename_columns({"device_id": "box", "ts": "at"})
    same(aiops.detect(renamed, layout={"device": "box", "time": "at"}), expected)
    with pytest.raises(FrameError, match="no column 'boxes' to be the device; did you mean box"):
        aiops.detect(renamed, layout={"device": "boxes", "time": "at"})
