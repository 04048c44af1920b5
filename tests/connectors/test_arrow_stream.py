"""Arrow IPC: streams and files, cut by batch, resumed by row."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from aiops.connectors.arrow_stream import ArrowStreamSource
from aiops.errors import FileError
from tests.connectors.laws import check_source, rows_of

TABLE = pa.table(
    {
        "device_id": pa.array([f"gw-{i % 7}" for i in range(100)]).dictionary_encode(),
        "ts": pa.array(
            [1_700_000_000_000_000_000 + i for i in range(100)], pa.timestamp("ns", "UTC")
        ),
        "temperature.celsius": pa.array([None if i % 9 == 0 else i / 3 for i in range(100)]),
    }
)


def write(path: Path, *, file: bool = False, batch_rows: int = 30, table: pa.Table = TABLE) -> Path:
    make = pa.ipc.new_file if file else pa.ipc.new_stream
    with make(path, table.schema) as writer:
        writer.write_table(table.slice(0, 0))
        writer.write_table(table, batch_rows)
    return path


@pytest.mark.parametrize("file", [False, True])
@pytest.mark.parametrize("frame_rows", [1 << 17, 7, 1])
def test_a_source_keeps_the_laws(tmp_path: Path, file: bool, frame_rows: int) -> None:
    path = write(tmp_path / "t.arrow", file=file)
    frames = check_source(lambda: ArrowStreamSource(path, frame_rows=frame_rows))
    assert pa.concat_tables([frame for frame, _ in frames[:-1]]).to_pylist() == TABLE.to_pylist()
    assert max(len(frame) for frame, _ in frames) == min(frame_rows, 30)


def test_files_follow_one_another(tmp_path: Path) -> None:
    write(tmp_path / "a.arrows", table=TABLE.slice(0, 60))
    write(tmp_path / "b.feather", table=TABLE.slice(60), file=True)
    frames = check_source(lambda: ArrowStreamSource(tmp_path))
    assert rows_of(frames) == rows_of(
        list(ArrowStreamSource(write(tmp_path / "c.ipc")).frames(None))
    )


def test_a_file_without_rows_is_a_history_without_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "t.arrows", table=TABLE.slice(0, 0))
    frames = check_source(lambda: ArrowStreamSource(path))
    assert [frame.column_names for frame, _ in frames] == [TABLE.column_names]


@pytest.mark.parametrize("file", [False, True])
def test_what_is_cut_off_is_refused_behind_what_is_whole(tmp_path: Path, file: bool) -> None:
    path = write(tmp_path / "t.arrow", file=file)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    seen: list[int] = []
    with pytest.raises(FileError, match=r"t\.arrow.* Arrow IPC"):
        seen.extend(len(frame) for frame, _ in ArrowStreamSource(path).frames(None))
    assert sum(seen) == (0 if file else 60)


@pytest.mark.parametrize("content", [b"", b"device_id,ts\n", b"ARROW1"])
def test_what_is_no_arrow_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.arrow"
    path.write_bytes(content)
    with pytest.raises(FileError, match="not readable as Arrow IPC"):
        list(ArrowStreamSource(path).frames(None))


def test_offsets_that_point_outside_are_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.arrows", table=pa.table({"device_id": ["aaaa", "bbbb"], "ts": [1, 2]})
    )
    content = path.read_bytes()
    offsets = pa.array([0, 4, 8], pa.int32()).buffers()[1].to_pybytes()[:12]
    assert content.count(offsets) == 1
    path.write_bytes(content.replace(offsets, b"\0\0\0\0" + b"\xff\xff\xff\x7f" * 2))
    with pytest.raises(FileError, match="damaged Arrow IPC"):
        list(ArrowStreamSource(path).frames(None))


def test_a_position_elsewhere_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.arrows")
    *_, (_, end) = ArrowStreamSource(path).frames(None)
    write(path, table=TABLE.slice(0, 50))
    with pytest.raises(FileError, match="behind row 100, but there are only 50"):
        list(ArrowStreamSource(path).frames(end))
    with pytest.raises(FileError, match="not among"):
        list(ArrowStreamSource(write(tmp_path / "u.arrows")).frames(end))


def test_a_live_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    seen = threading.Event()

    def send() -> None:
        with pipe.open("wb", buffering=0) as file, pa.ipc.new_stream(file, TABLE.schema) as writer:
            writer.write_table(TABLE.slice(0, 5))
            seen.wait(timeout=20)
            writer.write_table(TABLE.slice(5, 5))

    sender = threading.Thread(target=send)
    sender.start()
    frames = ArrowStreamSource(pipe).frames(None)
    first, _ = next(frames)
    assert len(first) == 5
    assert not seen.is_set()
    seen.set()
    assert [len(frame) for frame, _ in frames] == [5, 1]
    sender.join()


def test_a_file_cannot_come_through_a_pipe_and_a_stream_can(tmp_path: Path) -> None:
    script = (
        "import sys; from aiops.connectors.arrow_stream import ArrowStreamSource\n"
        "sys.stdout.write(str(sum(f.num_rows for f, _ in ArrowStreamSource().frames(None))))"
    )

    def run(path: Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-c", script],
            input=path.read_bytes(),
            capture_output=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )

    assert run(write(tmp_path / "t.arrows")).stdout == b"101"
    refused = run(write(tmp_path / "t.arrow", file=True))
    assert b"cannot come through a pipe" in refused.stderr
