from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from aiops.errors import FrameError
from aiops.telemetry.frame import read_frame

TABLE = pa.table(
    {"device_id": ["gw-1", "gw-2", None], "ts": [1, 2, 3], "temp_c": [40.5, None, 41.0]}
)


def test_every_library_comes_through_one_door(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "frame.parquet")
    database = duckdb.connect()
    database.register("t", TABLE)
    frames = {
        "table": TABLE,
        "batch": TABLE.to_batches()[0],
        "reader": TABLE.to_reader(),
        "pandas": TABLE.to_pandas(types_mapper=pd.ArrowDtype),
        "polars": pl.from_arrow(TABLE),
        "duckdb": database.sql("select * from t"),
        "parquet": pq.read_table(tmp_path / "frame.parquet"),
        "dataset": ds.dataset(tmp_path / "frame.parquet").scanner().to_reader(),
    }
    for library, frame in frames.items():
        read = read_frame(frame)
        assert read.column_names == TABLE.column_names, library
        assert read.to_pylist() == TABLE.to_pylist(), library


class Recorded:
    """A frame of a library nobody has heard of."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


def test_the_protocol_is_all_that_counts() -> None:
    assert read_frame(Recorded()).equals(TABLE)


def test_what_is_no_frame_says_what_would_work() -> None:
    with pytest.raises(FrameError, match=r"builtins\.list came.*from_pylist"):
        read_frame([{"device_id": "gw-1"}])
    with pytest.raises(FrameError, match=r"collect\(\) first"):
        read_frame(pl.LazyFrame({"a": [1]}))
    with pytest.raises(FrameError, match="the whole frame, not one of its columns"):
        read_frame(TABLE.column("ts"))


def test_a_column_of_several_types_says_what_to_do() -> None:
    with pytest.raises(FrameError, match=r"device_id.*give it one type"):
        read_frame(pd.DataFrame({"device_id": ["a", 2], "ts": [1, 2]}))
