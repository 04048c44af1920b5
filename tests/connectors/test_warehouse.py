"""Records as tables: one row an id, types that hold all of them, Parquet at once or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from aiops.connectors.warehouse import WarehouseSink
from aiops.errors import FileError
from tests.connectors.laws import Results, check_sink

FINDINGS: list[dict[str, Any]] = [
    {"id": "f1", "ts": "2026-01-01T00:00:00Z", "score": 2, "forecast": None, "evidence": {"a": 1}},
    {
        "id": "f2",
        "ts": "2026-01-01T00:01:00.5Z",
        "score": 2.5,
        "forecast": [0.1, 0.9],
        "big": 2**62,
    },
    {"id": "f3", "ts": None, "score": None, "forecast": None, 'it\'s "odd"': True, "none": None},
]
STEPS = [
    Results({"findings": FINDINGS[:2], "actions": [{"id": "a1", "kind": "cordon"}]}),
    Results({"findings": FINDINGS[1:], "plans": [{"id": "p1", "gap": float("nan")}]}),
]


def query(path: Path, question: str) -> list[dict[str, Any]]:
    with duckdb.connect(path, read_only=True) as base:
        base.execute("SET TimeZone = 'UTC'")
        rows: list[dict[str, Any]] = base.sql(question).to_arrow_table().to_pylist()
    return rows


def write(path: Path, steps: list[Results]) -> None:
    sink = WarehouseSink(path)
    for step in steps:
        sink.write(step, {})  # type: ignore[arg-type]
    sink.close()


def test_the_sink_keeps_the_laws(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"

    def kept() -> object:
        return [query(path, f"FROM {k}") for k in ("findings", "incidents", "plans", "actions")]

    check_sink(lambda: WarehouseSink(path), kept, STEPS)
    assert [row["id"] for row in query(path, "FROM findings")] == ["f1", "f2", "f3"]


def test_columns_have_types_that_hold_every_record(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    write(path, STEPS)
    types = {row["column_name"]: row["column_type"] for row in query(path, "DESCRIBE findings")}
    assert types == {
        "id": "VARCHAR",
        "ts": "TIMESTAMP WITH TIME ZONE",
        "score": "DOUBLE",
        "forecast": "JSON",
        "evidence": "JSON",
        "big": "BIGINT",
        'it\'s "odd"': "BOOLEAN",
        "none": "JSON",
    }
    rows = query(path, "FROM findings")
    assert [row["score"] for row in rows] == [2.0, 2.5, None]
    assert [row["big"] for row in rows] == [None, 2**62, None]
    assert [row['it\'s "odd"'] for row in rows] == [None, None, True]
    assert [row["ts"] and row["ts"].isoformat() for row in rows] == [
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T00:01:00.500000+00:00",
        None,
    ]
    assert query(path, "SELECT evidence ->> 'a' AS a FROM findings LIMIT 1") == [{"a": "1"}]
    assert query(path, "SELECT gap FROM plans") == [{"gap": None}]


def test_a_later_record_may_change_a_type(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    for number, value in enumerate([1, 1.5, "x"]):
        write(path, [Results({"plans": [{"id": f"p{number}", "v": value}]})])
    assert [row["v"] for row in query(path, "FROM plans")] == ["1", "1.5", '"x"']


def test_order_is_the_order_of_writing(tmp_path: Path) -> None:
    names = [f"f{n * 7919 % 1000}" for n in range(1000)]
    for begin in range(0, 1000, 250):
        part = [{"id": name} for name in names[begin : begin + 250]]
        write(tmp_path / "w.duckdb", [Results({"findings": part})])
    assert [row["id"] for row in query(tmp_path / "w.duckdb", "FROM findings")] == names


def test_a_directory_gets_parquet_too(tmp_path: Path) -> None:
    write(tmp_path / "out", STEPS)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "warehouse.duckdb",
        "findings.parquet",
        "incidents.parquet",
        "plans.parquet",
        "actions.parquet",
    }
    table = pa.parquet.read_table(tmp_path / "out" / "findings.parquet")
    assert table["id"].to_pylist() == ["f1", "f2", "f3"]
    assert table["score"].to_pylist() == [2.0, 2.5, None]
    assert pa.types.is_timestamp(table.schema.field("ts").type)
    assert pa.parquet.read_table(tmp_path / "out" / "incidents.parquet").num_rows == 0


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from aiops.connectors.warehouse import WarehouseSink\n"
        "from tests.connectors.test_warehouse import STEPS\n"
        "WarehouseSink(sys.argv[1]).write(STEPS[0], {})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "w.duckdb"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script, path], env=environment, check=False)
    assert done.returncode == -9
    write(path, STEPS)
    assert [row["id"] for row in query(path, "FROM findings")] == ["f1", "f2", "f3"]


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"something else entirely" * 1000)
    with pytest.raises(FileError, match=r"w\.duckdb cannot be opened.*delete it"):
        WarehouseSink(path)
