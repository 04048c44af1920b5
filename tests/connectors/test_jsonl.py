"""Lines of records: whole, in order, once, whatever happened to the writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aiops.connectors.jsonl import JsonlSink
from aiops.errors import FileError
from aiops.telemetry.normalised import SET_ASIDE
from tests.connectors.laws import Results, check_sink

REFUSED = pa.table(
    {
        "reason": ["not a number", "not a number", "late"],
        "device_id": ["a", "a", "b"],
        "part": ["", "", "nvme0"],
        "ts": [1, 1, 2],
        "metric": ["x", "x", None],
        "value": ["?", "?", None],
    },
    schema=SET_ASIDE.remove(0),
)


def steps(count: int = 6) -> list[Results]:
    return [
        Results(
            {
                "findings": [
                    {"id": f"f{n}-{i}", "score": n / 3, "evidence": {"z": i, "a": 1e-9}}
                    for i in range(n % 3)
                ],
                "actions": [{"id": f"a{n}", "verdict": "held", "where": ("b", "a")}],
            },
            REFUSED.slice(0, n),
        )
        for n in range(count)
    ]


def kept(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def write(directory: Path, those: list[Results]) -> dict[str, bytes]:
    sink = JsonlSink(directory)
    for step in those:
        sink.write(step, {})  # type: ignore[arg-type]
    sink.close()
    return kept(directory)


def test_the_sink_keeps_the_laws(tmp_path: Path) -> None:
    check_sink(lambda: JsonlSink(tmp_path / "out"), lambda: kept(tmp_path / "out"), steps())


def test_each_kind_has_its_file_and_each_record_its_line(tmp_path: Path) -> None:
    found = write(tmp_path, steps())
    assert set(found) == {
        f"{kind}.jsonl" for kind in ("findings", "incidents", "plans", "actions", "set_aside")
    }
    assert found["incidents.jsonl"] == found["plans.jsonl"] == b""
    findings = [record for step in steps() for record in step.records()["findings"]]
    assert [json.loads(line) for line in found["findings.jsonl"].splitlines()] == findings
    refused = [json.loads(line) for line in found["set_aside.jsonl"].splitlines()]
    assert [row["reason"] for row in refused] == ["not a number", "late"]


def test_values_have_one_spelling(tmp_path: Path) -> None:
    record = {
        "z": float("nan"),
        "id": "x",
        "y": {"b": float("inf"), "a": 0.1 + 0.2},
        "n": np.float64(1.5),
        "i": np.int64(3),
        "f": np.bool_(True),
        "é": 1e22,
    }
    line = write(tmp_path, [Results({"findings": [record]})])["findings.jsonl"]
    assert line.decode() == (
        '{"f":true,"i":3,"id":"x","n":1.5,"y":{"a":0.30000000000000004,"b":null},"z":null,'
        '"é":1e22}\n'
    )
    backwards = dict(reversed(record.items()))
    assert write(tmp_path / "b", [Results({"findings": [backwards]})])["findings.jsonl"] == line


def test_wherever_a_crash_tore_the_files_a_replay_makes_them_whole(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", steps())
    torn = tmp_path / "torn"
    for name in ("findings.jsonl", "actions.jsonl"):
        for cut in range(0, len(whole[name]), 7):
            write(torn, steps())
            (torn / name).write_bytes(whole[name][:cut])
            (torn / "set_aside.jsonl").unlink()
            assert write(torn, steps()) == whole


def test_a_killed_writer_leaves_what_an_unkilled_one_leaves(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from aiops.connectors.jsonl import JsonlSink\n"
        "from tests.connectors.test_jsonl import steps\n"
        "sink = JsonlSink(sys.argv[1])\n"
        "for n, step in enumerate(steps(int(sys.argv[3]))):\n"
        "    sink.write(step, {})\n"
        "    if n == int(sys.argv[2]):\n"
        "        with open(sys.argv[1] + '/findings.jsonl', 'ab') as file:\n"
        '            file.write(b\'{"id":"f\')\n'
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for stop in ("1", "4", "none"):
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "out", stop.replace("none", "-1"), "6"],
            env=environment,
            check=False,
        )
        assert done.returncode == (0 if stop == "none" else -9)
    assert kept(tmp_path / "out") == write(tmp_path / "whole", steps())


def test_other_lines_are_not_written_behind(tmp_path: Path) -> None:
    (tmp_path / "findings.jsonl").write_text('{"id":"a"}\n{"score":1}\n')
    with pytest.raises(FileError, match=r"findings\.jsonl: line 2 is no record"):
        JsonlSink(tmp_path)
    assert (tmp_path / "findings.jsonl").read_text() == '{"id":"a"}\n{"score":1}\n'


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("")
    with pytest.raises(FileError, match="out"):
        JsonlSink(path)


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = JsonlSink(tmp_path)
    first, second = ({"id": name, "text": "x" * 50} for name in "ab")
    sink.write(Results({"findings": [first]}), {})  # type: ignore[arg-type]
    before = kept(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(FileError, match="No space left"):
            sink.write(Results({"findings": [second]}), {})  # type: ignore[arg-type]
    assert kept(tmp_path) == before
    sink.write(Results({"findings": [second]}), {})  # type: ignore[arg-type]
    assert kept(tmp_path)["findings.jsonl"].count(b"\n") == 2


def test_refused_rows_are_limited(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "one", set_aside_max=1)
    none = JsonlSink(tmp_path / "none", set_aside_max=0)
    for step in steps():
        sink.write(step, {})  # type: ignore[arg-type]
        none.write(step, {})  # type: ignore[arg-type]
    assert kept(tmp_path / "one")["set_aside.jsonl"].count(b"\n") == 1
    assert kept(tmp_path / "none")["set_aside.jsonl"] == b""
