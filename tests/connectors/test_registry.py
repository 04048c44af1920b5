"""What can be named in settings is there, and is what the engine wants of it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from aiops.connectors import SINKS, SOURCES
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import NO_TIME


def test_every_source_and_sink_has_the_verbs_of_its_port() -> None:
    assert all(callable(getattr(source, "frames", None)) for source in SOURCES.values())
    for sink in SINKS.values():
        assert callable(getattr(sink, "write", None))
        assert callable(getattr(sink, "close", None))


def test_names_are_sorted() -> None:
    assert list(SOURCES) == sorted(SOURCES)
    assert list(SINKS) == sorted(SINKS)


def test_every_history_ends_as_the_front_door_knows_it(tmp_path: Path) -> None:
    rows = pa.table({"device_id": ["a"], "ts": [1_700_000_000], "temperature.celsius": [40.0]})
    (tmp_path / "t.ndjson").write_text(json.dumps(rows.to_pylist()[0]))
    with pa.ipc.new_stream(tmp_path / "t.arrows", rows.schema) as writer:
        writer.write_table(rows)
    given = {
        "arrow": tmp_path / "t.arrows",
        "files": tmp_path / "t.ndjson",
        "memory": [rows],
        "ndjson": tmp_path / "t.ndjson",
        "smartctl": tmp_path / "a.json",
    }
    report = {"temperature": {"current": 40}, "local_time": {"time_t": 1_700_000_000}}
    (tmp_path / "a.json").write_text(json.dumps(report))
    for name in given.keys() | SOURCES.keys():
        (row, _), (end, _) = SOURCES[name](given[name]).frames(None)
        said = normalise(row, Layout.guess(row.schema))
        assert (said.device_id.value, said.ts.tolist()) == (["a"], [1_700_000_000 * 10**9])
        last = normalise(end, Layout.guess(end.schema))
        assert (last.device_id.code.tolist(), last.ts.tolist()) == ([-1], [NO_TIME])
        assert not len(last.set_aside)
