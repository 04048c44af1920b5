from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.errors import FrameError
from aiops.telemetry.aside import REASONS
from aiops.telemetry.frame import read_frame
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import NO_TIME, SET_ASIDE, NormalisedFrame
from tests.telemetry.frames import MARCH, aside_of, long_frames, rows_of, wide_frames

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


def table(**columns: list[Any]) -> pa.Table:
    n = max(map(len, columns.values()))
    identity = {"device_id": ["gw-1"] * n, "ts": [MARCH + i * SECOND for i in range(n)]}
    return pa.table(identity | columns)


# Rows --------------------------------------------------------------------------------------------


def test_rows_keep_their_order_and_what_they_carry() -> None:
    frame = normalise(
        table(
            device_id=["gw-2", "gw-1", "gw-2"],
            ts=[MARCH + 2, MARCH, MARCH + 1],
            recv_ts=[MARCH + 3, None, MARCH + 3],
            part=[None, "nvme0", ""],
            medium_id=[None, "S1", None],
            site=["lyon", None, "lyon"],
            cohort=["a", "b", None],
            temp_c=[40, None, 42],
        )
    )
    assert rows_of(frame) == [
        {
            "device_id": "gw-2",
            "ts": MARCH + 2,
            "recv_ts": MARCH + 3,
            "site": "lyon",
            "cohort": "a",
            "temperature.celsius": 40.0,
        },
        {"device_id": "gw-1", "ts": MARCH, "part": "nvme0", "medium_id": "S1", "cohort": "b"},
        {
            "device_id": "gw-2",
            "ts": MARCH + 1,
            "recv_ts": MARCH + 3,
            "site": "lyon",
            "temperature.celsius": 42.0,
        },
    ]
    assert frame.set_aside.equals(SET_ASIDE.empty_table())


def test_a_row_without_a_device_is_a_heartbeat_and_without_a_time_too_the_end() -> None:
    frame = normalise(table(device_id=[None, None], ts=[MARCH, None]))
    assert frame.device_id.code.tolist() == [-1, -1]
    assert frame.ts.tolist() == [MARCH, NO_TIME]
    assert not len(frame.set_aside)


@pytest.mark.parametrize(
    ("row", "reason", "value"),
    [
        ({"device_id": ""}, "no_device", str(MARCH)),
        ({"ts": None}, "no_time", None),
        ({"ts": 4_102_444_800}, "bad_time", "4102444800"),
        ({"ts": 946_684_799}, "clock_unset", "946684799"),
        ({"ts": 0}, "clock_unset", "0"),
        ({"ts": -5}, "clock_unset", "-5"),
        ({"device_id": None, "ts": 0}, "clock_unset", "0"),
        (
            {"ts": MARCH + 301 * SECOND, "recv_ts": MARCH},
            "ahead_of_clock",
            str(MARCH + 301 * SECOND),
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_set_aside(
    row: dict[str, Any], reason: str, value: str | None
) -> None:
    good = {"device_id": "gw-1", "ts": MARCH, "recv_ts": None}
    rows = [good, good | row, good]
    columns = {name: [each[name] for each in rows] for name in good}
    frame = normalise(pa.table(columns | {"temp_c": [1.0, 2.0, 3.0]}))
    assert [r["temperature.celsius"] for r in rows_of(frame)] == [1.0, 3.0]
    assert frame.set_aside.schema == SET_ASIDE
    (aside,) = frame.set_aside.to_pylist()
    assert aside["reason"] == reason
    assert aside["at"] == 1
    assert (aside["metric"], aside["part"], aside["value"]) == ("", "", value)
    assert aside["device_id"] == (good | row)["device_id"]
    shown = (good | row)["ts"] if reason in {"no_device", "ahead_of_clock"} else None
    assert aside["ts"] == shown


def test_a_row_just_within_the_limits_is_kept() -> None:
    edges = [946_684_800 * SECOND, 4_102_444_800 * SECOND - 1, MARCH + 300 * SECOND]
    frame = normalise(table(ts=edges, recv_ts=[None, None, MARCH]))
    assert frame.ts.tolist() == edges


def test_a_receive_time_that_cannot_be_is_no_stamp() -> None:
    frame = normalise(table(recv_ts=["soon", "1999-12-31", "2026-03-01T00:00:09Z"]))
    assert frame.recv_ts.tolist() == [NO_TIME, NO_TIME, MARCH + 9 * SECOND]
    assert aside_of(frame) == [
        ("bad_time", "recv_ts", "soon"),
        ("bad_time", "recv_ts", "1999-12-31"),
    ]


def test_values_are_set_aside_in_the_order_of_their_rows() -> None:
    frame = normalise(
        table(
            device_id=["", "gw-1", "gw-2", "gw-3"],
            temp_c=["cold", "cold", "41", "999"],
            battery_pct=[1.0, 101.0, math.inf, 50.0],
        )
    )
    assert [(r["at"], r["device_id"], r["reason"]) for r in frame.set_aside.to_pylist()] == [
        (0, "", "no_device"),
        (0, "gw-1", "not_a_number"),
        (0, "gw-1", "out_of_range"),
        (1, "gw-2", "not_finite"),
        (2, "gw-3", "out_of_range"),
    ]
    assert set(frame.set_aside["reason"].to_pylist()) <= set(REASONS)
    assert rows_of(frame)[1] == {
        "device_id": "gw-2",
        "ts": MARCH + 2 * SECOND,
        "temperature.celsius": 41.0,
    }


def test_every_reason_is_one_sentence() -> None:
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in REASONS.values())


def test_a_device_has_one_name_whatever_type_carries_it() -> None:
    names: list[pa.Array] = [
        pa.array([17, None]),
        pa.array([17.0, None]),
        pa.array([17.0, math.nan]),
        pa.array(["17", None]),
        pa.array(["17", None], pa.string_view()),
        pa.array([b"17", None]),
        pa.array(["17", None]).dictionary_encode(),
        pa.array([17, None], pa.int8()).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([1, 2]), pa.array(["x", "17", None])),
        pa.DictionaryArray.from_arrays(pa.array([1, None]), pa.array(["17", "17"])),
        pa.DictionaryArray.from_arrays(
            pa.array([200, None]), pa.array([*map(str, range(99)), "17"] * 3)
        ),
    ]
    names[-1] = pa.DictionaryArray.from_arrays(
        pa.array([17, None]), pa.array([str(i) for i in range(500)])
    )
    for name in names:
        rows = rows_of(normalise(pa.table({"device_id": name, "ts": [MARCH, MARCH]})))
        assert [row["device_id"] for row in rows] == ["17", None], name.type


def test_codes_stay_codes() -> None:
    coded = pa.DictionaryArray.from_arrays(
        pa.array([2, 0, 2], pa.int32()), pa.array(["a", "b", "c"])
    )
    frame = normalise(pa.table({"device_id": coded, "ts": [MARCH] * 3}))
    assert frame.device_id.code.tolist() == [2, 0, 2]
    assert list(frame.device_id.value) == ["a", "b", "c"]


def test_arrays_belong_to_the_frame() -> None:
    frame = normalise(table(temp_c=[1.0, 2.0]))
    for array in (
        frame.ts,
        frame.recv_ts,
        frame.device_id.code,
        *(c.value for c in frame.columns.values()),
    ):
        assert array.flags.writeable
        assert array.flags.c_contiguous


# Columns -----------------------------------------------------------------------------------------


def test_columns_that_report_nothing_are_left_out() -> None:
    frame = normalise(table(temp_c=[None, math.nan], uptime_s=[-1.0, None]))
    assert frame.columns == {}
    assert aside_of(frame) == [("out_of_range", "device.uptime", "-1")]


def test_unknown_columns_are_counted() -> None:
    frame = normalise(table(colour=["red", None], tempc=[1.0, math.nan], kind=["SSD", "SSD"]))
    assert frame.unknown == {"colour": 1, "tempc": 1}
    assert frame.columns == {}


def test_only_what_is_wanted_is_read() -> None:
    columns: dict[str, list[Any]] = {
        "temp_c": [1.0],
        "uptime_s": [2.0],
        "percentage_used": [3],
        "x": [4],
    }
    everything = normalise(table(**columns))
    assert set(everything.columns) == {
        "temperature.celsius",
        "device.uptime",
        "storage.wear.used_ratio/nvme",
    }
    for wanted in (
        "temperature.celsius",
        "storage.wear.used_ratio",
        "storage.wear.used_ratio/nvme",
    ):
        some = normalise(table(**columns), wanted=frozenset({wanted}))
        assert [key for key in some.columns if key.startswith(wanted)]
        assert len(some.columns) == 1
        assert some.unknown == {"x": 1}


def test_the_hottest_sensor_counts() -> None:
    frame = normalise(table(temp_c=[40.0, math.nan, 50.0], cpu_temp_c=[70.0, 30.0, None]))
    column = frame.columns["temperature.celsius"]
    assert column.row is None
    assert column.value.tolist() == [70.0, 30.0, 50.0]


def test_sources_stay_apart() -> None:
    frame = normalise(
        table(
            percentage_used=[10.0, 20.0, None],
            wear_source=["devstat", "177", "devstat"],
            life_time=["0x03 0x02", None, None],
        )
    )
    assert rows_of(frame)[0] == {
        "device_id": "gw-1",
        "ts": MARCH,
        "storage.wear.used_ratio/devstat": 0.1,
        "storage.wear.used_ratio/emmc": 0.2,
    }
    assert rows_of(frame)[1]["storage.wear.used_ratio/attr177_remaining"] == 0.2


def test_a_boot_id_becomes_a_number_of_its_text_alone() -> None:
    ids = ["9f6a1c9e-5c5e-4d7e-8f0c-000000000001", "9f6a1c9e-5c5e-4d7e-8f0c-000000000002", "", None]
    one = normalise(table(boot_id=ids)).columns["device.boot_id"].value
    other = normalise(table(boot_id=ids[::-1])).columns["device.boot_id"].value[::-1]
    assert np.array_equal(one, other, equal_nan=True)
    assert len(set(one[:2].tolist())) == 2
    assert np.isnan(one[2:]).all()
    assert all(value == int(value) < 2**52 for value in one[:2])
    whole = normalise(table(boot_id=[7, 8])).columns["device.boot_id"].value
    spelt = normalise(table(boot_id=["7", "8"])).columns["device.boot_id"].value
    assert whole.tolist() == spelt.tolist()


def test_parts_in_column_names_become_rows_beside_their_own() -> None:
    frame = normalise(
        table(
            device_id=["gw-1", "", "gw-2", "gw-3"],
            uptime_s=[1.0, 2.0, 3.0, 4.0],
            **{
                "diskstats/mmcblk0/lifetime_pct": [10, 20, 30, None],
                "diskstats/mmcblk1/lifetime_pct": [None, None, 40, 900],
                "diskstats/mmcblk1/total_size_bytes": [7, None, None, None],
            },
        )
    )
    wear = "storage.wear.used_ratio/emmc"
    assert rows_of(frame) == [
        {"device_id": "gw-1", "ts": MARCH, "device.uptime": 1.0},
        {"device_id": "gw-1", "ts": MARCH, "part": "mmcblk0", wear: 0.1},
        {"device_id": "gw-1", "ts": MARCH, "part": "mmcblk1", "storage.capacity": 7.0},
        {"device_id": "gw-2", "ts": MARCH + 2 * SECOND, "device.uptime": 3.0},
        {"device_id": "gw-2", "ts": MARCH + 2 * SECOND, "part": "mmcblk0", wear: 0.3},
        {"device_id": "gw-2", "ts": MARCH + 2 * SECOND, "part": "mmcblk1", wear: 0.4},
        {"device_id": "gw-3", "ts": MARCH + 3 * SECOND, "device.uptime": 4.0},
    ]
    assert [(r["at"], r["part"], r["reason"]) for r in frame.set_aside.to_pylist()] == [
        (3, "", "no_device"),
        (6, "mmcblk1", "out_of_range"),
    ]


# Shapes and libraries ----------------------------------------------------------------------------

READINGS = [
    ("smartctl_device_percentage_used", 3.0, {"device": "nvme0", "serial_number": "S1"}),
    ("node_disk_written_bytes_total", 512.0, {"device": "nvme0n1"}),
    ("node_disk_written_bytes_total", 9.0, {"device": "loop0"}),
    ("node_boot_time_seconds", 1.7e9, {}),
    ("hw.battery.charge", 2.0, {}),
    ("who knows", 1.0, {}),
    (None, 1.0, {}),
]


def long_table(labels: pa.Array) -> pa.Table:
    return pa.table(
        {
            "device_id": ["gw-1"] * len(READINGS),
            "ts": [MARCH] * len(READINGS),
            "metric": pa.array([name for name, _, _ in READINGS], pa.string()),
            "value": [value for _, value, _ in READINGS],
            "labels": labels,
        }
    )


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(
            [list(tags.items()) for _, _, tags in READINGS], pa.map_(pa.string(), pa.string())
        ),
        pa.array(
            [list(tags.items()) for _, _, tags in READINGS], pa.map_(pa.large_string(), pa.string())
        ),
        pa.array(
            [tags for _, _, tags in READINGS],
            pa.struct([("device", pa.string()), ("serial_number", pa.string())]),
        ),
        pa.array([json.dumps(tags) for _, _, tags in READINGS]),
        pa.array([json.dumps(tags) for _, _, tags in READINGS]).dictionary_encode(),
    ],
    ids=lambda labels: str(labels.type).partition("\n")[0][:30],
)
def test_labels_come_in_many_shapes(labels: pa.Array) -> None:
    frame = normalise(long_table(labels))
    base = {"device_id": "gw-1", "ts": MARCH}
    assert rows_of(frame) == [
        base | {"part": "nvme0", "medium_id": "S1", "storage.wear.used_ratio/nvme": 0.03},
        base | {"part": "nvme0", "storage.bytes_written/diskstats": 512.0},
        base,
        base | {"device.boot_time": 1.7e9},
        base,
        base,
        base,
    ]
    assert aside_of(frame) == [("out_of_range", "battery.soc_ratio", "2")]
    assert frame.unknown == {"who knows": 1, "": 1}


def test_a_long_column_holds_only_the_rows_of_its_metric() -> None:
    frame = normalise(long_table(pa.nulls(len(READINGS), pa.string())))
    column = frame.columns["device.boot_time"]
    assert column.row is not None
    assert (column.row.tolist(), column.value.tolist()) == ([3], [1.7e9])
    assert column.row.dtype == np.int32


def test_a_column_of_a_long_frame_names_the_part() -> None:
    frame = normalise(
        pa.table(
            {
                "device_id": ["gw-1", "gw-1", "gw-1"],
                "ts": [MARCH] * 3,
                "part": ["/dev/nvme1n1", None, ""],
                "metric": ["smartctl_device_percentage_used"] * 3,
                "value": ["3", "4", "5"],
                "device": ["nvme0", "nvme0", "nvme0"],
            }
        )
    )
    assert [row.get("part") for row in rows_of(frame)] == ["nvme1", "nvme0", None]


def test_all_libraries_lead_to_the_same_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    n = 50
    given = {
        "device_id": [f"gw-{i % 5}" for i in range(n)],
        "ts": pd.to_datetime(MARCH + np.arange(n) * DAY, utc=True),
        "temp_c": np.where(rng.random(n) < 0.3, np.nan, rng.normal(50, 40, n)),
        "percentage_used": rng.integers(0, 300, n),
        "wear_source": rng.choice(["devstat", "177", "nvme"], n),
        "life_time": rng.choice(["0x01 0x02", "0x00 0x00", "bad"], n),
        "site": rng.choice(["lyon", "oslo"], n),
    }
    pandas = pd.DataFrame(given)
    arrow = pa.Table.from_pandas(pandas, preserve_index=False)
    pq.write_table(arrow, tmp_path / "frame.parquet")
    database = duckdb.connect()
    database.execute("set timezone = 'UTC'")
    frames = {
        "arrow": arrow,
        "pandas": pandas,
        "pandas index": pandas.set_index("ts"),
        "polars": pl.from_pandas(pandas),
        "polars categories": pl.from_pandas(pandas).with_columns(
            pl.col("device_id", "site", "wear_source").cast(pl.Categorical)
        ),
        "duckdb": database.from_arrow(arrow),
        "parquet": pq.read_table(tmp_path / "frame.parquet"),
        "parquet dictionary": pq.read_table(
            tmp_path / "frame.parquet", read_dictionary=["device_id"]
        ),
        "chunks": pa.concat_tables([arrow.slice(0, 7), arrow.slice(7, 1), arrow.slice(8)]),
    }
    expected = normalise(arrow)
    assert len(expected.set_aside) > 10
    for library, frame in frames.items():
        found = normalise(read_frame(frame))
        assert rows_of(found) == rows_of(expected), library
        assert [{**row, "value": None} for row in found.set_aside.to_pylist()] == [
            {**row, "value": None} for row in expected.set_aside.to_pylist()
        ], library
        assert found.unknown == expected.unknown == {}


def test_a_layout_overrules_the_guess_and_must_fit() -> None:
    columns = table(device_id=["x"], when=["2026-03-01"], temp_c=[20.0])
    frame = normalise(columns, Layout.guess(columns.schema, time="when"))
    assert frame.ts.tolist() == [MARCH]
    with pytest.raises(FrameError, match="no column 'nowhere' to be the site"):
        normalise(columns, Layout("device_id", "ts", site="nowhere"))
    with pytest.raises(FrameError, match="no column can be the time"):
        normalise(columns.drop_columns(["ts", "when"]))


# Anything ----------------------------------------------------------------------------------------


def check(frame: NormalisedFrame) -> None:
    """Hold what every normalised frame promises."""
    n = len(frame)
    assert len(frame.device_id.code) == len(frame.recv_ts) == n
    for names in (frame.device_id, frame.part, frame.medium_id, frame.site, frame.cohort):
        if names is not None:
            assert len(names.code) == n
            assert names.code.dtype == np.int32
            assert len(set(names.value)) == len(names.value)
            assert all(-1 <= code < len(names.value) for code in names.code)
    for row, value in frame.columns.values():
        assert value.dtype == np.float64
        assert not np.isinf(value).any()
        assert not np.isnan(value).all()
        if row is None:
            assert len(value) == n
        else:
            assert row.dtype == np.int32
            assert len(row) == len(value)
            assert (np.diff(row) > 0).all()
            assert 0 <= row[0] <= row[-1] < n
    at = frame.set_aside["at"].to_numpy()
    assert (np.diff(at) >= 0).all()
    assert ((at >= 0) & (at <= n)).all()


@given(wide_frames())
def test_no_wide_frame_is_too_much(frame: pa.Table) -> None:
    check(normalise(frame))


@given(long_frames())
def test_no_long_frame_is_too_much(frame: pa.Table) -> None:
    check(normalise(frame))


@given(st.one_of(wide_frames(), long_frames()), st.data())
def test_how_a_frame_is_cut_changes_nothing(frame: pa.Table, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, frame.num_rows))
    full = normalise(frame)
    parts = [normalise(frame.slice(0, cut)), normalise(frame.slice(cut))]
    assert rows_of(full) == [row for part in parts for row in rows_of(part)]
    assert full.set_aside.drop_columns(["at"]).to_pylist() == [
        row for part in parts for row in part.set_aside.drop_columns(["at"]).to_pylist()
    ]
    at = [
        a + shift
        for part, shift in zip(parts, (0, len(parts[0])), strict=True)
        for a in part.set_aside["at"].to_pylist()
    ]
    assert full.set_aside["at"].to_pylist() == at
    counted: dict[str, int] = {}
    for part in parts:
        for name, count in part.unknown.items():
            counted[name] = counted.get(name, 0) + count
    assert full.unknown == counted
