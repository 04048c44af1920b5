"""NDJSON: a row is what its line says, however the lines are cut, packed and interrupted."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.ndjson import NdjsonSource
from aiops.connectors.reading import json_lines, opening
from aiops.connectors.reading.lines import LINE_BYTES_MAX
from aiops.errors import FileError
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalise import normalise
from tests.connectors.laws import check_source, is_end, rows_of

LINES = [
    b'{"device_id":"a","ts":1700000000,"temperature.celsius":41}',
    b'{"device_id":"b","ts":1700000000,"temperature.celsius":41.50,"site":"lyon"}',
    b'{"device_id":"a","ts":1700000060,"temperature.celsius":"42"}',
    b"",
    b"not json at all",
    b'{"device_id":"b","ts":1700000060,"temperature.celsius":NaN,"net.rtt_ms":7}',
    b'{"device_id":"a","ts":1700000120.5,"device.boot_id":17}\r',
    b'{"device_id":"b","ts":"2023-11-14T22:15:20Z","device.boot_id":"x17","up":true}',
    b"[1, 2]",
    b'{"temperature.celsius": 3}',
    b'{"device_id":null,"ts":1700000180}',
    b'{"device_id":"a","ts":1700000180,"labels":{"disk":"sda","size":1.50},"note":"\xc3\xa9"}',
    b'{"device_id":"a","ts":170000',
]
BAD = {5, 9, 10, 13}
"""Their numbers, counted from 1."""


def write(path: Path, lines: list[bytes] = LINES, end: bytes = b"\n") -> Path:
    path.write_bytes(b"\n".join(lines) + end)
    return path


@pytest.mark.parametrize("chunk_bytes", [1, 60, 100, 200, 10_000])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_source_keeps_the_laws_whatever_its_chunks(
    tmp_path: Path, chunk_bytes: int, end: bytes
) -> None:
    path = write(tmp_path / "t.ndjson", end=end)
    frames = check_source(lambda: NdjsonSource(path, chunk_bytes=chunk_bytes))
    assert rows_of(frames) == rows_of(list(NdjsonSource(path).frames(None)))
    assert frames[-1][1]["bad"] == len(BAD)
    assert frames[-1][1]["offset"] == path.stat().st_size


def test_values_are_the_text_of_their_lines(tmp_path: Path) -> None:
    frames = list(NdjsonSource(write(tmp_path / "t.ndjson")).frames(None))
    rows = rows_of(frames)
    assert [row["temperature.celsius"] for row in rows if "temperature.celsius" in row] == [
        "41",
        "41.50",
        "42",
    ]
    assert [row["ts"] for row in rows[3:6]] == [
        "1700000060",
        "1700000120.5",
        "2023-11-14T22:15:20Z",
    ]
    assert rows[4]["device.boot_id"] == "17"
    assert rows[5]["up"] == "1"
    assert rows[6] == {"ts": "1700000180"}
    assert rows[7]["labels"] == '{"disk":"sda","size":1.50}'
    assert rows[7]["note"] == "é"
    assert all(kind == pa.string() for frame, _ in frames for kind in frame.schema.types)


def test_bad_lines_are_told_and_never_fatal(tmp_path: Path) -> None:
    source = NdjsonSource(write(tmp_path / "t.ndjson"), chunk_bytes=100)
    list(source.frames(None))
    assert {bad.line for bad in source.bad_lines.first} == BAD
    reasons = {bad.line: bad.reason for bad in source.bad_lines.first}
    assert "malformed" in reasons[5]
    assert "list" in reasons[9]
    assert reasons[10] == "no device or no time among temperature.celsius"


@pytest.mark.parametrize(
    "line",
    [
        b'{"device_id":"a","ts":1,"x":"\\ud800"}',
        b'{"device_id":"a","ts":1,"x":"\\ud800","y":NaN}',
        b'{"device_id":"a","ts":1,"x":"\xff"}',
        b'{"device_id":"a","ts":1,"x":' + b"9" * 5000 + b"}",
        b'{"device_id":"a","ts":1,"x":' + b"[" * 100_000 + b"}",
        b'{"device_id":"a","ts":1,"x":NaN' + b"[" * 100_000 + b"}",
        b'{"device_id":"a","ts":1} {"device_id":"b","ts":1}',
        b'{"device_id":"a","ts":1,"x":NaN,}',
        b"NaN",
        b"null",
        b"{}",
        b"{" + b",".join(b'"k%d":1' % i for i in range(5000)) + b',"device_id":"a","ts":1}',
    ],
)
def test_what_is_no_row_costs_its_line_only(tmp_path: Path, line: bytes) -> None:
    source = NdjsonSource(write(tmp_path / "t.ndjson", [LINES[0], line, LINES[1]]))
    rows = rows_of(list(source.frames(None)))
    assert [row["device_id"] for row in rows] == ["a", "b"]
    assert [bad.line for bad in source.bad_lines.first] == [2]


def test_a_long_line_is_bad_however_it_is_cut(tmp_path: Path) -> None:
    fits = b'{"device_id":"f","ts":1,"x":"' + b"x" * (LINE_BYTES_MAX - 31) + b'"}'
    assert len(fits) == LINE_BYTES_MAX
    path = write(tmp_path / "t.ndjson", [LINES[0], fits, fits + b" ", fits * 7, LINES[1]])
    for chunk_bytes in (1000, 700_000, 1 << 22):
        source = NdjsonSource(path, chunk_bytes=chunk_bytes)
        rows = rows_of(list(source.frames(None)))
        assert [row["device_id"] for row in rows] == ["a", "f", "b"]
        assert [bad.line for bad in source.bad_lines.first] == [3, 4]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(0, 9), max_size=2),
)
objects = st.fixed_dictionaries(
    {"ts": st.integers(0, 2**40)},
    optional=dict.fromkeys(("device_id", "host", "x", "site", "metric", "value"), scalars),
)


@settings(max_examples=60)
@given(st.lists(objects, max_size=12), st.integers(1, 300))
def test_the_front_door_reads_each_line_alike_whatever_the_cut(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], chunk_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "t.ndjson"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def read(chunk_bytes: int) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for frame, _ in NdjsonSource(path, chunk_bytes=chunk_bytes).frames(None):
            layout = Layout.guess(frame.schema)
            for row in frame.to_pylist():
                said = {name: value for name, value in row.items() if value is not None}
                kept = normalise(pa.Table.from_pylist([row], schema=frame.schema), layout)
                found.append((said, len(kept), kept.set_aside.to_pylist()))
        return found

    assert read(chunk_bytes) == read(1 << 20) == read(1)


def test_rows_of_other_senders_do_not_change_how_a_row_is_read(tmp_path: Path) -> None:
    lines = [
        b'{"device_id":"a","ts":1700000000,"temperature.celsius":40}',
        b'{"host":"b","ts":1700000001,"temperature.celsius":41}',
        b'{"host":"c","ts":1700000002,"temperature.celsius":42}',
        b'{"device_id":"d","ts":1700000003,"temperature.celsius":43}',
    ]
    path = write(tmp_path / "t.ndjson", lines)
    for chunk_bytes in (1, 100, 1000):
        frames = check_source(lambda: NdjsonSource(path, chunk_bytes=chunk_bytes))  # noqa: B023
        names = [
            name
            for frame, _ in frames[:-1]
            for name in frame.column(Layout.guess(frame.schema).device).to_pylist()
        ]
        assert names == ["a", "b", "c", "d"]


def test_a_frame_of_too_many_cells_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "CELLS_MAX", 30)
    lines = [b'{"device_id":"a","ts":%d,"k%d":1}' % (i + 1, i) for i in range(40)]
    path = write(tmp_path / "t.ndjson", lines)
    frames = check_source(lambda: NdjsonSource(path))
    assert len(frames) > 5
    assert all(frame.num_rows * frame.num_columns <= 30 for frame, _ in frames)
    assert [row["ts"] for row in rows_of(frames)] == [str(i + 1) for i in range(40)]


def test_a_role_can_be_named(tmp_path: Path) -> None:
    lines = [b'{"who":"a","at":1700000000,"x":1}', b'{"who":"b","at":1700000001,"where":"lyon"}']
    roles = {"device": "who", "time": "at", "site": "where"}
    path = write(tmp_path / "t.ndjson", lines)
    frames = check_source(lambda: NdjsonSource(path, roles=roles, chunk_bytes=1))
    for frame, _ in frames:
        assert Layout.guess(frame.schema, **roles).site == "where"


@pytest.mark.parametrize("pack", ["gzip", "zstd", "members"])
def test_packed_files_read_like_plain_ones(tmp_path: Path, pack: str) -> None:
    content = write(tmp_path / "plain.ndjson").read_bytes()
    packed = {
        "gzip": lambda: gzip.compress(content),
        "zstd": lambda: pa.compress(content, codec="zstd", asbytes=True),
        "members": lambda: gzip.compress(content[:100]) + gzip.compress(content[100:]),
    }[pack]()
    path = tmp_path / "packed.ndjson.gz"  # the content tells, not the name
    path.write_bytes(packed)
    frames = check_source(lambda: NdjsonSource(path, chunk_bytes=150))
    assert rows_of(frames) == rows_of(list(NdjsonSource(tmp_path / "plain.ndjson").frames(None)))


def test_what_follows_damage_is_lost_and_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ts = rng.integers(1, 10**9, 20_000)
    lines = [b'{"device_id":"d%d","ts":%d}' % (i, t) for i, t in enumerate(ts)]
    packed = gzip.compress(b"\n".join(lines))
    path = tmp_path / "torn.ndjson.gz"
    path.write_bytes(packed[: len(packed) // 2])
    frames = check_source(lambda: NdjsonSource(path, chunk_bytes=50_000))
    source = NdjsonSource(path)
    rows = rows_of(list(source.frames(None)))
    assert rows == rows_of(frames)
    assert 0 < len(rows) < 20_000
    assert "runcated" in source.bad_lines.first[-1].reason


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "EXPANSION_FREE_BYTES", 1 << 20)
    path = tmp_path / "bomb.ndjson.zst"
    path.write_bytes(pa.compress(b"\n" * (64 << 20), codec="zstd", asbytes=True))
    with pytest.raises(FileError, match="decompression bomb"):
        list(NdjsonSource(path).frames(None))


def test_files_follow_one_another_and_a_history_may_grow(tmp_path: Path) -> None:
    write(tmp_path / "a.ndjson", LINES[:3])
    write(tmp_path / "b.jsonl", LINES[5:8])
    frames = check_source(lambda: NdjsonSource(tmp_path, chunk_bytes=100))
    assert [Path(position["file"]).name for _, position in frames][-1] == "b.jsonl"
    end = frames[-1][1]
    with (tmp_path / "b.jsonl").open("ab") as file:
        file.write(LINES[1] + b"\n")
    later = list(NdjsonSource(tmp_path).frames(end))
    assert [row["site"] for row in rows_of(later)] == ["lyon"]
    assert is_end(later[-1][0])


def test_a_position_in_another_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ndjson")
    *_, (_, end) = NdjsonSource(path).frames(None)
    write(path, LINES[:1])
    with pytest.raises(FileError, match="begin without the checkpoint"):
        list(NdjsonSource(path).frames(end))
    with pytest.raises(FileError, match="not among"):
        list(NdjsonSource(write(tmp_path / "b.ndjson")).frames(end))


def test_standard_input_is_read_and_resumed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.ndjson")
    script = (
        "import json, sys; from aiops.connectors.ndjson import NdjsonSource\n"
        "after = json.loads(sys.argv[1])\n"
        "source = NdjsonSource('-', chunk_bytes=100)\n"
        "sys.stdout.write(json.dumps([(f.num_rows, p) for f, p in source.frames(after)]))"
    )

    def run(after: object) -> list[tuple[int, dict[str, object]]]:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(after)],
            input=path.read_bytes(),
            capture_output=True,
            check=True,
            env=environment,
        )
        return [(rows, place) for rows, place in json.loads(done.stdout)]

    whole = run(None)
    assert sum(rows for rows, _ in whole) == len(rows_of(list(NdjsonSource(path).frames(None)))) + 1
    rest = run(whole[0][1])
    assert sum(rows for rows, _ in rest) == sum(rows for rows, _ in whole[1:])


def test_a_live_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    seen = threading.Event()
    shown: list[bool] = []

    def send() -> None:
        with pipe.open("wb", buffering=0) as file:
            file.write(LINES[0] + b"\n" + LINES[1][:10])
            shown.append(seen.wait(timeout=20))
            file.write(LINES[1][10:] + b"\n")

    sender = threading.Thread(target=send)
    sender.start()
    frames = NdjsonSource(pipe).frames(None)
    first, _ = next(frames)
    seen.set()
    assert [len(first), *(len(frame) for frame, _ in frames)] == [1, 1, 1]
    sender.join()
    assert shown == [True]
