"""The one-call front door gives what the engine gives."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aiops
from aiops.errors import FrameError, SettingsError

FILE = "data/wear/telemetry"


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pq.read_table(FILE).drop_columns(["recv_ts"])


@pytest.fixture(scope="module")
def expected(table) -> pa.Table:
    return aiops.detect(table)


def test_scores_have_a_row_for_each_row_a_detector_was_shown(expected):
    assert expected.column_names[:2] == ["detector", "device_id"]
    assert set(expected["detector"].to_pylist()) == set(aiops.DETECTORS)
    assert np.isfinite(expected["score"].to_numpy()).any()


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb", "shuffled"])
def test_any_frame_and_any_order_give_the_same_bits(library, table, expected):
    rng = np.random.default_rng(0)
    frame = {
        "pandas": lambda: pd.read_parquet(FILE).drop(columns="recv_ts"),
        "polars": lambda: pl.from_arrow(table),
        "duckdb": lambda: duckdb.from_arrow(table),
        "shuffled": lambda: table.take(pa.array(rng.permutation(len(table)))),
    }[library]()
    found = aiops.detect(frame)
    for name in expected.column_names:
        one, other = (t[name].to_pandas() for t in (expected, found))
        pd.testing.assert_series_equal(one, other, check_exact=True)


def test_live_and_notebook_agree(table):
    """The same rows, fed to an engine a few at a time, give the same findings with the same ids."""
    step = aiops.replay(table)
    ordered = table.sort_by([("ts", "ascending")])
    engine = aiops.Engine()
    live = [engine.step(ordered.slice(at, 97)) for at in range(0, len(ordered), 97)]
    end = pa.Table.from_pylist([dict.fromkeys(ordered.column_names)], schema=ordered.schema)
    live.append(engine.step(end))
    assert [f.id for one in live for f in one.findings] == [f.id for f in step.findings]
    assert [v.action.id for one in live for v in one.verdicts] == [
        v.action.id for v in step.verdicts
    ]
    assert step.findings


def test_nothing_in_gives_nothing_out():
    empty = pd.DataFrame({"device_id": pd.Series([], dtype="str"), "ts": pd.Series([], dtype=int)})
    assert aiops.detect(empty).num_rows == 0


def test_errors_say_what_would_work(table):
    with pytest.raises(SettingsError, match="did you mean flash_wear"):
        aiops.detect(table, ["flash_wera"])
    with pytest.raises(FrameError, match="no column can be the device"):
        aiops.detect(pd.DataFrame({"ts": [1], "x": [1.0]}))
    renamed = table.rename_columns({"device_id": "box"})
    assert aiops.detect(renamed, ["flash_wear"], layout={"device": "box"}).num_rows
