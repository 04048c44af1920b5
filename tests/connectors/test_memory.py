"""Frames in memory: any library's, with crashes and pauses among them."""

from __future__ import annotations

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from aiops.connectors.memory import CRASH, PAUSE, Crashed, MemorySink, MemorySource
from aiops.errors import FrameError
from tests.connectors.laws import Results, check_sink, check_source, is_end, rows_of

COLUMNS = {"device_id": ["a", "b"], "ts": [1_700_000_000, 1_700_000_001]}


def test_a_source_keeps_the_laws() -> None:
    frames = [
        pa.table(COLUMNS),
        pa.table(COLUMNS).slice(0, 0),
        pa.table({"device_id": ["c"], "ts": [3]}),
    ]
    assert len(check_source(lambda: MemorySource(frames))) == 3
    assert len(check_source(lambda: MemorySource([]))) == 1


@pytest.mark.parametrize("library", [pa.table, pl.DataFrame, pd.DataFrame, "duckdb"])
def test_a_frame_may_be_of_any_library(library: object) -> None:
    if library == "duckdb":
        with duckdb.connect() as base:
            base.register("columns", pa.table(COLUMNS))
            source = MemorySource([base.sql("FROM columns")])
    else:
        source = MemorySource([library(COLUMNS)])  # type: ignore[operator]
    assert rows_of(list(source.frames(None))) == pa.table(COLUMNS).to_pylist()


def test_what_is_no_frame_is_refused_at_once() -> None:
    with pytest.raises(FrameError, match="list"):
        MemorySource([[1, 2]])  # type: ignore[list-item]


def test_a_crash_comes_once_and_is_resumed_behind_it() -> None:
    early, late = pa.table(COLUMNS), pa.table({"device_id": ["c"], "ts": [3]})
    source = MemorySource([early, CRASH, late])
    frames = source.frames(None)
    frame, position = next(frames)
    assert frame.equals(early)
    with pytest.raises(Crashed):
        next(frames)
    rest = list(source.frames(position))
    assert [len(frame) for frame, _ in rest] == [1, 1]
    assert rest[0][0].equals(late)


def test_a_pause_is_no_end_of_history() -> None:
    early, late = pa.table(COLUMNS), pa.table({"device_id": ["c"], "ts": [3]})
    source = MemorySource([early, PAUSE, late])
    ((frame, position),) = source.frames(None)
    assert not is_end(frame)
    later, end = (frame for frame, _ in source.frames(position))
    assert later.equals(late)
    assert is_end(end)


def test_the_sink_keeps_the_laws() -> None:
    sink = MemorySink()
    refused = pa.table({"reason": ["bad"], "device_id": ["a"]})
    steps = [
        Results({"findings": [{"id": "f1", "score": 2.0}], "actions": [{"id": "a1"}]}, refused),
        Results({"findings": [{"id": "f2", "score": 3.0}]}),
    ]

    def kept() -> object:
        return {kind: list(ids) for kind, ids in sink.records.items()}, list(sink.set_aside)

    check_sink(lambda: sink, kept, steps)
    assert sink.records["findings"] == {
        "f1": {"id": "f1", "score": 2.0},
        "f2": {"id": "f2", "score": 3.0},
    }
    assert sink.set_aside == [{"reason": "bad", "device_id": "a"}]
