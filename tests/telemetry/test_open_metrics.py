"""Readings under names that nobody knows: which are kept, in what shape, and under what name."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import NormalisedFrame
from aiops.telemetry.open_metrics import NAME_MAX, label_set, open_name, split_name
from aiops.telemetry.vocabulary import VOCABULARY, describe
from tests.telemetry.frames import MARCH, aside_of, long_frames, wide_frames


def opened(table: pa.Table) -> NormalisedFrame:
    return normalise(table, open_metrics=True)


def readings(frame: NormalisedFrame) -> list[tuple[int, str, dict[str, Any] | None, float]]:
    """Return row, name, labels and value of each open reading."""
    if frame.open is None:
        return []
    row, name, labels, value, names, sets = frame.open
    assert (np.diff(row) >= 0).all()
    assert np.isfinite(value).all()
    assert row.dtype == name.dtype == labels.dtype == np.int32
    return [
        (r, names[n], None if k < 0 else json.loads(sets[k]), v)
        for r, n, k, v in zip(row.tolist(), name.tolist(), labels.tolist(), value, strict=True)
    ]


def wide(**columns: Any) -> pa.Table:
    n = len(next(iter(columns.values())))
    return pa.table({"device_id": ["gw-1"] * n, "ts": [MARCH + i for i in range(n)], **columns})


def long(labels: pa.Array, metric: list[str], value: Any, **columns: Any) -> pa.Table:
    n = len(metric)
    return pa.table(
        {
            "device_id": ["gw-1"] * n,
            "ts": [MARCH + i for i in range(n)],
            "metric": metric,
            "value": value,
            "labels": labels,
            **columns,
        }
    )


def test_numbers_of_a_wide_frame_are_kept_and_words_counted():
    frame = opened(
        wide(
            froth=[1.5, None, math.nan],
            on=[True, False, None],
            count=pa.array([3, None, 5], pa.uint8()),
            colour=["red", "12.5", None],
            when=pa.array([1, 2, 3], pa.timestamp("s")),
            temp_c=[20.0, 21.0, 22.0],
        )
    )
    assert readings(frame) == [
        (0, "froth", None, 1.5),
        (0, "on", None, 1.0),
        (0, "count", None, 3.0),
        (1, "on", None, 0.0),
        (2, "count", None, 5.0),
    ]
    assert frame.unknown == {"colour": 2, "when": 3}
    assert list(frame.columns) == ["temperature.celsius"]


def test_nothing_is_kept_unless_it_is_asked_for():
    frame = normalise(wide(froth=[1.5]))
    assert frame.open is None
    assert frame.unknown == {"froth": 1}


def test_rows_that_are_refused_take_their_readings_along():
    table = wide(froth=[1.0, 2.0, 3.0]).set_column(1, "ts", [[MARCH, 5, MARCH]])
    assert readings(opened(table)) == [(0, "froth", None, 1.0), (1, "froth", None, 3.0)]


def test_readings_stay_with_their_row_where_parts_get_rows_of_their_own():
    columns = {"diskstats/mmcblk0/lifetime_pct": [3.0, 4.0], "froth": [1.0, 2.0]}
    frame = opened(wide(**columns))
    assert len(frame) == 4
    assert [(row, value) for row, _, _, value in readings(frame)] == [(0, 1.0), (2, 2.0)]


def test_what_is_infinite_is_set_aside():
    assert aside_of(opened(wide(froth=[math.inf, 1.0]))) == [("not_finite", "froth", "inf")]
    frame = opened(long(pa.nulls(2), ["froth", "b"], [-math.inf, 1.0]))
    assert aside_of(frame) == [("not_finite", "froth", "-inf")]
    assert readings(frame) == [(1, "b", None, 1.0)]


def test_a_long_frame_keeps_numbers_in_texts_and_no_buckets():
    labels = [{"le": "5"}, {"le": "5"}, None, None, {"a": "b"}]
    frame = opened(
        long(
            pa.array([None if one is None else json.dumps(one) for one in labels]),
            ["took_bucket", "le_bucket_size", "froth", "froth", "temp_c"],
            ["1", "2", "high", "0x10", "20"],
        )
    )
    assert readings(frame) == [(1, "le_bucket_size", {"le": "5"}, 2.0), (3, "froth", None, 16.0)]
    assert frame.unknown == {"took_bucket": 1, "froth": 1}
    assert list(frame.columns) == ["temperature.celsius"]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([json.dumps({"device": "eth0"}), None]),
        pa.array([json.dumps({"device": "eth0"}), None]).dictionary_encode(),
        pa.array([{"device": "eth0"}, None], pa.struct([("device", pa.string())])),
        pa.array([[("device", "eth0")], None], pa.map_(pa.string(), pa.string())),
    ],
    ids=["json", "dictionary", "struct", "map"],
)
def test_labels_of_any_shape_say_the_same(labels):
    frame = opened(long(labels, ["up", "froth"], [1.0, 2.0]))
    sets = [label_set(json.dumps(told or {})) for _, _, told, _ in readings(frame)]
    assert sets == [(("device", "eth0"),), ()]


def test_columns_of_texts_beside_the_value_are_labels():
    table = long(
        pa.array(['{"mode": "idle"}', "no object"]),
        ["busy", "busy"],
        [1.0, 2.0],
        cpu=["0", None],
        site=["lyon", "lyon"],
        weight=[1.0, 2.0],
    )
    assert [told for _, _, told, _ in readings(opened(table))] == [{"cpu": "0", "mode": "idle"}, {}]


def test_labels_of_the_device_and_the_scrape_are_no_part_of_a_name():
    text = json.dumps({"instance": "gw-1:9100", "site": "lyon", "cpu": 0, "none": None, "": ""})
    assert label_set(text) == (("cpu", "0"),)
    assert label_set("[1]") == label_set("{") == label_set("[" * 100_000) == ()


def test_names_are_spelt_as_prometheus_spells_them():
    name = open_name("up", (("a", 'x"y\\z'), ("b", "1,c=2")))
    assert name == 'up{a="x\\"y\\\\z",b="1,c=2"}'
    assert split_name(name) == ("up", ("a", "b"))
    assert split_name("up") == ("up", ())
    assert open_name("x" * NAME_MAX, ()) == "x" * NAME_MAX
    assert open_name("x" * NAME_MAX, (("a", "b"),)) is None
    assert open_name("x", (("a", "\x00"),)) is None


def test_what_a_name_alone_says():
    counter = describe('jobs_total{queue="a"}')
    assert (counter.kind, counter.resets, counter.unit) == ("counter", True, "")
    assert describe("jobs").kind == "gauge"
    assert describe("device.uptime") is VOCABULARY["device.uptime"]
    assert not describe("device.uptime").watched
    assert describe("temperature.celsius").watched
    assert not any(metric.watched for metric in VOCABULARY.values() if metric.kind == "code")


@given(st.one_of(wide_frames(), long_frames()), st.data())
def test_how_a_frame_is_cut_changes_nothing(table: pa.Table, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, table.num_rows))
    whole = opened(table)
    parts = [opened(table.slice(0, cut)), opened(table.slice(cut))]
    shift = (0, len(parts[0]))
    joined = [
        (row + more, *told)
        for part, more in zip(parts, shift, strict=True)
        for row, *told in readings(part)
    ]
    assert readings(whole) == joined
    known = {}
    for part in parts:
        for name, n in part.unknown.items():
            known[name] = known.get(name, 0) + n
    assert whole.unknown == known


@given(st.one_of(wide_frames(), long_frames()))
def test_every_value_is_known_kept_refused_or_counted(table: pa.Table) -> None:
    plain, frame = normalise(table), opened(table)
    kept: dict[str, int] = {}
    for _, name, _, _ in readings(frame):
        kept[name] = kept.get(name, 0) + 1
    for name, n in plain.unknown.items():
        infinite = sum(told[:2] == ("not_finite", name) for told in aside_of(frame))
        assert frame.unknown.get(name, 0) + kept.get(name, 0) + infinite <= n
    assert set(kept) <= set(plain.unknown)
    assert list(frame.columns) == list(plain.columns)
