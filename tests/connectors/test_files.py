"""History in files: in the order of time, whatever the cut, the format and the interruptions."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from aiops.connectors import files as under_test
from aiops.connectors.files import FilesSource
from aiops.errors import FileError
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalise import normalise
from tests.connectors.laws import check_source, is_end, plain, rows_of

SHARED = Path(os.environ.get("AIOPS_SHARED") or Path(__file__).parents[3] / "shared")
PANEL = SHARED / "data" / "flash" / "wear_panel.csv.gz"
SECOND = 1_000_000_000


def table(rows: int = 60, seed: int = 0) -> pa.Table:
    """Telemetry in no order, several rows at each of its times."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "device_id": [f"gw-{i}" for i in rng.integers(0, 5, rows)],
            "ts": 1_700_000_000 + rng.integers(0, rows // 4, rows) * 60,
            "temperature.celsius": np.round(rng.normal(45, 5, rows), 2),
            "net.rtt_ms": pa.array([None if i % 4 else float(i) for i in range(rows)]),
        }
    )


def write(path: Path, content: pa.Table) -> Path:
    path.parent.mkdir(exist_ok=True)
    suffix = path.name.partition(".")[2]
    if suffix == "parquet":
        pa.parquet.write_table(content, path)
    elif suffix == "csv":
        pa.csv.write_csv(content, path)
    elif suffix == "csv.gz":
        with gzip.open(path, "wb") as packed:
            pa.csv.write_csv(content, packed)
    elif suffix == "ndjson":
        path.write_text("".join(json.dumps(row) + "\n" for row in content.to_pylist()))
    else:
        make = pa.ipc.new_stream if suffix == "arrows" else pa.ipc.new_file
        with make(path, content.schema) as writer:
            writer.write_table(content, 7)
    return path


def ordered(content: pa.Table) -> list[dict[str, object]]:
    rows = [{k: v for k, v in row.items() if v is not None} for row in content.to_pylist()]
    return sorted(rows, key=lambda row: (row["ts"], repr(row)))


SUFFIXES = ["parquet", "csv", "csv.gz", "ndjson", "arrow", "arrows"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("frame_rows", [1, 13, 1000])
def test_a_source_keeps_the_laws(tmp_path: Path, suffix: str, frame_rows: int) -> None:
    path = write(tmp_path / f"t.{suffix}", table())
    frames = check_source(lambda: FilesSource(path, frame_rows=frame_rows))
    layout = Layout.guess(frames[0][0].schema)
    last = 0
    for frame, position in frames[:-1]:
        times = normalise(frame, layout).ts
        assert (np.diff(times) >= 0).all()
        assert times[0] > last
        last = times[-1]
        assert position == {"after_ts": last, "undated": 0}
        if frame is not frames[-2][0]:
            before_last = len(frame) - np.count_nonzero(times == last)
            assert before_last < frame_rows <= len(frame)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_tells_the_same(tmp_path: Path, suffix: str) -> None:
    content = table()
    expected = normalise(_sorted(content), Layout.guess(content.schema))
    path = write(tmp_path / f"t.{suffix}", content)
    (frame, _), _ = FilesSource(path).frames(None)
    found = normalise(frame, Layout.guess(frame.schema))
    assert found.ts.tolist() == expected.ts.tolist()
    assert not len(found.set_aside)

    def said(read: object) -> list[tuple[object, ...]]:
        names = [read.device_id.value[code] for code in read.device_id.code]
        columns = {}
        for name, column in read.columns.items():
            dense = np.full(len(read.ts), np.nan)
            dense[slice(None) if column.row is None else column.row] = column.value
            columns[name] = dense
        assert set(columns) == {"temperature.celsius", "net.rtt_ms"}
        values = zip(columns["temperature.celsius"], columns["net.rtt_ms"], strict=True)
        return sorted(map(repr, zip(read.ts.tolist(), names, values, strict=True)))

    assert said(found) == said(expected)


def _sorted(content: pa.Table) -> pa.Table:
    return content.sort_by([("ts", "ascending"), ("device_id", "ascending")])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("pieces", [2, 7, 60])
def test_the_cut_into_files_changes_nothing(tmp_path: Path, suffix: str, pieces: int) -> None:
    content = table()
    whole = write(tmp_path / f"whole.{suffix}", content)
    deal = np.random.default_rng(1).integers(0, pieces, len(content))
    for piece in range(pieces):
        write(tmp_path / "cut" / f"{piece}.{suffix}", content.filter(pa.array(deal == piece)))
    expected = list(FilesSource(whole, frame_rows=13).frames(None))
    found = list(FilesSource(tmp_path / "cut", frame_rows=13).frames(None))
    assert plain(found) == plain(expected)


@pytest.mark.skipif(not PANEL.exists(), reason=f"needs the drive panel at shared/{PANEL.name}")
def test_the_panel_cut_into_1_7_and_1000_files_is_the_same_history(tmp_path: Path) -> None:
    whole = list(FilesSource(PANEL, frame_rows=3000).frames(None))
    assert sum(len(frame) for frame, _ in whole) == 34_207 + 1
    header, *lines = gzip.decompress(PANEL.read_bytes()).splitlines(keepends=True)
    for pieces in (1, 7, 1000):
        folder = tmp_path / str(pieces)
        folder.mkdir()
        for piece in range(pieces):
            (folder / f"{piece}.csv").write_bytes(b"".join([header, *lines[piece::pieces]]))
        cut = list(FilesSource(folder, frame_rows=3000).frames(None))
        assert [position for _, position in cut] == [position for _, position in whole]
        assert all(a.equals(b) for (a, _), (b, _) in zip(cut, whole, strict=True))


def test_formats_mix_and_columns_may_be_missing(tmp_path: Path) -> None:
    content = table()
    a = write(tmp_path / "a.parquet", content.slice(0, 20))
    b = write(tmp_path / "b.csv", content.slice(20, 20).drop_columns("net.rtt_ms"))
    c = write(tmp_path / "c.ndjson", content.slice(40).append_column("site", pa.array(["x"] * 20)))
    frames = check_source(lambda: FilesSource([a, b, c], frame_rows=10))
    rows = rows_of(frames)
    assert [row["ts"] for row in rows] == sorted(map(str, content["ts"].to_pylist()))
    assert sum("site" in row for row in rows) == 20
    assert frames[0][0].schema.equals(frames[-1][0].schema)


def test_integers_and_fractions_of_different_files_are_numbers(tmp_path: Path) -> None:
    a = write(tmp_path / "a.parquet", pa.table({"device_id": ["a"], "ts": [10**9], "x": [1]}))
    b = write(tmp_path / "b.parquet", pa.table({"device_id": ["a"], "ts": [10**9 + 1], "x": [1.5]}))
    (frame, _), _ = FilesSource([a, b]).frames(None)
    assert frame["x"].to_pylist() == [1.0, 1.5]


def test_how_a_column_is_stored_does_not_matter(tmp_path: Path) -> None:
    names = pa.array(["a", "b"])
    stored = [
        names.dictionary_encode(),
        names.cast(pa.large_string()),
        names.cast(pa.string_view()),
        pa.array(["x", "y"]),
    ]
    for number, device in enumerate(stored):
        columns = [
            device,
            pa.array([1_700_000_000 + 2 * number, 1_700_000_001 + 2 * number]),
            pa.array([1, 2]),
            pa.array([3, 4]),
        ]
        # of two columns with one name the first is meant
        write(tmp_path / f"{number}.arrow", pa.table(columns, names=["device_id", "ts", "x", "x"]))
    (frame, _), _ = FilesSource(tmp_path).frames(None)
    assert frame["device_id"].to_pylist() == ["a", "b"] * 3 + ["x", "y"]
    assert frame["x"].to_pylist() == [1, 2] * 4


def test_names_that_differ_in_case_are_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('device_id,ts,Wear,wear,"a ""b"";--"\na,1700000000,1,2,3\n')
    (frame, _), _ = FilesSource(path).frames(None)
    assert frame.drop_columns("ts").to_pylist() == [
        {"device_id": "a", "Wear": "1", "wear": "2", 'a "b";--': "3"}
    ]


@pytest.mark.parametrize(
    ("times", "order"),
    [
        (["1700000060", "999999999", "1700000000.5"], [1, 2, 0]),
        (["2023-11-14T23:00:00+02:00", "2023-11-14 20:59:59", "2023-11-14T21:00:01Z"], [1, 0, 2]),
        (["1700000000000000002", "1700000000000000001", "1700000000000000003"], [1, 0, 2]),
        (["2023-11-15", "1700000000", "20231116"], [1, 0, 2]),
    ],
)
def test_times_are_ordered_as_the_front_door_reads_them(
    tmp_path: Path, times: list[str], order: list[int]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("device_id,ts\n" + "".join(f"a,{time}\n" for time in times))
    frames = check_source(lambda: FilesSource(path, frame_rows=1))
    assert [row["ts"] for row in rows_of(frames)] == [times[i] for i in order]


def test_rows_come_as_the_log_took_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "device_id,ts,recv_ts,x\n"
        "a,1700000000,1700000500,late\nb,1700000100,1700000101,2\nc,1700000300,,3\n,,1700000000,\n"
    )
    frames = check_source(lambda: FilesSource(path, frame_rows=1))
    assert [row["x"] for row in rows_of(frames)] == ["2", "3", "late"]


def test_nanoseconds_and_zones_survive(tmp_path: Path) -> None:
    ts = [1_700_000_000_000_000_003, 1_700_000_000_000_000_001]
    for kind in (
        pa.timestamp("ns", "UTC"),
        pa.timestamp("ns"),
        pa.timestamp("us", "Europe/Berlin"),
    ):
        at = pa.array(ts, pa.int64()).cast(pa.timestamp("ns")).cast(kind, safe=False)
        path = write(tmp_path / "t.parquet", pa.table({"device_id": ["a", "b"], "ts": at}))
        (frame, _), _ = FilesSource(path).frames(None)
        read = normalise(frame, Layout.guess(frame.schema)).ts.tolist()
        assert read == sorted(at.cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist())


def test_rows_without_a_readable_time_come_last(tmp_path: Path) -> None:
    lines = [f"d{i},{'soon' if i % 3 else 1_700_000_000 + i},{i}" for i in range(20)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["device_id,ts,x", *lines]))
    for frame_rows in (1, 3, 100):
        frames = check_source(lambda: FilesSource(path, frame_rows=frame_rows))  # noqa: B023
        late = [row["ts"] for row in rows_of(frames)]
        assert late == sorted(late, key=lambda ts: (ts == "soon", ts))
        assert frames[-1][1]["undated"] == 13


def test_times_that_cannot_be_do_not_make_one_long_frame(tmp_path: Path) -> None:
    relative = pa.table({"device_id": ["a"] * 50, "ts": list(range(50))})
    frames = check_source(lambda: FilesSource(write(tmp_path / "t.csv", relative), frame_rows=20))
    assert [len(frame) for frame, _ in frames] == [20, 20, 10, 1]


def test_rows_without_device_and_time_cannot_end_the_history(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("device_id,ts,x\na,1700000000,1\n,,2\n,1700000001,3\n,,\n,then,4\n")
    source = FilesSource(path)
    rows = rows_of(list(source.frames(None)))
    assert rows == [
        {"device_id": "a", "ts": "1700000000", "x": "1"},
        {"ts": "1700000001", "x": "3"},
        {"ts": "then", "x": "4"},
    ]
    assert source.bad_lines.count == 2
    assert "neither" in source.bad_lines.first[0].reason


def test_bad_lines_of_csv_are_told_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(
        b'device_id;ts;x\r\na;1700000000;"1;5"\r\n\r\nb;1700000001\r\nc;1700000002;3;4\r\n'
        b'd;1700000003;"torn\r\ne;1700000004;\xff\r\nf;1700000005;""\r\ng;17000'
    )
    source = FilesSource(path)
    rows = rows_of(list(source.frames(None)))
    assert rows == [
        {"device_id": "a", "ts": "1700000000", "x": "1;5"},
        {"device_id": "f", "ts": "1700000005"},
    ]
    assert [(Path(bad.file).name, bad.line) for bad in source.bad_lines.first] == [
        ("t.csv", n) for n in (4, 5, 6, 7, 9)
    ]
    list(source.frames(None))
    assert source.bad_lines.count == 5


def test_bad_lines_of_ndjson_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_text('{"device_id":"a","ts":1700000000}\nnonsense\n{"x":1}\n')
    source = FilesSource(path)
    assert len(rows_of(list(source.frames(None)))) == 1
    assert [bad.line for bad in source.bad_lines.first] == [2, 3]


def test_files_of_other_senders_are_not_mixed_in_silence(tmp_path: Path) -> None:
    a = tmp_path / "a.csv"
    b = tmp_path / "b.csv"
    a.write_text("device_id,ts,x\na,1700000000,1\n")
    b.write_text("hostname,ts,x\nb,1700000000,1\n")
    with pytest.raises(FileError, match=r"b\.csv does not fit the others.*hostname"):
        list(FilesSource([a, b]).frames(None))
    both = tmp_path / "both.ndjson"
    both.write_text('{"device_id":"a","ts":1}\n{"hostname":"b","ts":1}\n')
    with pytest.raises(FileError, match="does not fit the others"):
        list(FilesSource(both).frames(None))


def test_roles_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("who,at,ts\na,1700000060,1\nb,1700000000,2\n")
    with pytest.raises(FileError, match="no column can be the device"):
        list(FilesSource(path).frames(None))
    frames = check_source(lambda: FilesSource(path, roles={"device": "who", "time": "at"}))
    assert [row["who"] for row in rows_of(frames)] == ["b", "a"]


def test_a_history_may_grow(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", table())
    *_, (_, end) = FilesSource(tmp_path).frames(None)
    later = end["after_ts"] // SECOND + 60
    (tmp_path / "b.csv").write_text(f"device_id,ts\nnew,{later}\n")
    frames = list(FilesSource(tmp_path).frames(end))
    assert rows_of(frames) == [{"device_id": "new", "ts": str(later)}]
    assert is_end(frames[-1][0])


def test_sorting_needs_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Columns and sort keys together need well over the memory allowed: no sort without disk.
    rows = 1_000_000
    ts = np.random.default_rng(0).permutation(rows) + 1_700_000_000
    columns = {f"x{i}": np.arange(rows) + 0.5 for i in range(12)}
    path = write(
        tmp_path / "t.parquet", pa.table({"device_id": ts.astype(str), "ts": ts} | columns)
    )
    monkeypatch.setattr(under_test, "MEMORY", "128MB")
    spill = tmp_path / "spill"
    spill.mkdir()
    count = last = spilt = 0
    for frame, position in FilesSource(path, spill=spill).frames(None):
        count += len(frame)
        assert position["after_ts"] >= last
        last = position["after_ts"]
        spilt = max(spilt, sum(p.stat().st_size for p in spill.rglob("*") if p.is_file()))
    assert count == rows + 1
    assert spilt > 0
    assert not list(spill.iterdir())


def test_a_source_left_early_cleans_up(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", table())
    spill = tmp_path / "spill"
    spill.mkdir()
    frames = FilesSource(path, frame_rows=5, spill=spill).frames(None)
    next(frames)
    assert list(spill.iterdir())
    frames.close()  # type: ignore[attr-defined]
    assert not list(spill.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.parquet", b"PAR1 it is not", r"t\.parquet: not readable as Parquet"),
        ("t.arrow", b"neither", r"t\.arrow: not readable as Arrow"),
        ("t.csv", b"a,a\n1,2\n", "a name of its own"),
        ("t.csv", b"\xff\xfed\x00,\x00", r"t\.csv"),
        ("t.csv", b"", "nothing in"),
        ("t.csv.gz", b"\x1f\x8b\x08", "nothing in"),
        ("t.ndjson", b"\n\n", "nothing in"),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileError, match=says):
        list(FilesSource(path).frames(None))


def test_damage_met_while_sorting_is_an_error_of_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", table(5000))
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"t\.parquet: damaged Parquet"):
        list(FilesSource(path).frames(None))


def test_lists_in_one_file_and_text_in_another_do_not_fit(tmp_path: Path) -> None:
    a = write(tmp_path / "a.parquet", pa.table({"device_id": ["a"], "ts": [1], "x": [[1, 2]]}))
    b = write(tmp_path / "b.parquet", pa.table({"device_id": ["a"], "ts": [2], "x": ["y"]}))
    with pytest.raises(FileError, match="column x is list"):
        list(FilesSource([a, b]).frames(None))


def test_the_size_is_known_before(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", table())
    assert FilesSource(path).size_bytes == path.stat().st_size
