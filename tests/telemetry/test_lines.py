"""Which rows of a frame are log lines, how grave, and what they say."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from aiops.telemetry.layout import Layout
from aiops.telemetry.line_reading import read_severity
from aiops.telemetry.lines import LogLines
from aiops.telemetry.normalise import normalise

TS = pa.array([1_760_000_000 * 10**9] * 3).cast(pa.timestamp("ns", tz="UTC"))


def wide(**columns):
    return pa.table({"device_id": ["gw-1", "gw-2", "gw-3"], "ts": TS, **columns})


@pytest.mark.parametrize(
    ("name", "told", "severity"),
    [
        ("severity", "ERROR", 17.0),
        ("severity", "warn4", 13.0),
        ("level", " Info ", 9.0),
        ("severity_number", 21, 21.0),
        ("severity", "so so", math.nan),
        ("PRIORITY", "3", 17.0),
        ("priority", 0, 21.0),
        ("priority", 9, math.nan),
        ("severity", None, math.nan),
    ],
)
def test_severities_are_told_in_many_ways(name, told, severity):
    np.testing.assert_equal(read_severity(pa.array([told]), name).tolist(), [severity])


def test_a_wide_row_with_a_text_is_a_log_line_and_its_numbers_stay_metrics():
    table = wide(message=["a", None, "c"], level=["error", "info", "warn"], cpu_percent=[1, 2, 3])
    found = normalise(table)
    assert found.logs is not None
    assert found.logs.row.tolist() == [0, 2]
    assert found.logs.severity.tolist() == [17.0, 13.0]
    assert found.logs.text.to_pylist() == ["a", "c"]
    assert not {"message", "level"} & set(found.unknown)


def test_a_level_without_a_line_is_no_severity():
    layout = Layout.guess(wide(level=[0.2, 0.3, 0.4]).schema)
    assert layout.text is None
    assert layout.severity is None
    assert normalise(wide(level=[0.2, 0.3, 0.4])).logs is None


def test_a_long_row_is_a_line_if_its_metric_says_so():
    table = wide(
        metric=["log.severity_number", "temperature.celsius", "log.severity_number"],
        value=[17.0, 40.0, math.nan],
        body=["x", None, "z"],
    )
    found = normalise(table)
    assert found.logs.row.tolist() == [0, 2]
    np.testing.assert_equal(found.logs.severity.tolist(), [17.0, math.nan])


def test_lines_are_read_only_if_somebody_asks_for_what_comes_of_them():
    table = wide(message=["a", "b", "c"])
    assert normalise(table, wanted=frozenset({"temperature.celsius"})).logs is None
    assert normalise(table, wanted=frozenset({"log.errors"})).logs is not None


def test_rows_that_are_set_aside_take_their_lines_with_them():
    table = wide(message=["a", "b", "c"]).set_column(0, "device_id", pa.array(["gw-1", "", "gw-3"]))
    found = normalise(table)
    assert found.logs.row.tolist() == [0, 1]
    assert found.logs.text.to_pylist() == ["a", "c"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_any_kind_of_text_is_read(kind):
    found = normalise(wide(message=pa.array(["a", "b", "c"], kind)))
    assert found.logs.text.to_pylist() == ["a", "b", "c"]


def test_text_that_is_no_unicode_is_read_as_far_as_it_is():
    bad = pa.StringArray.from_buffers(
        3, pa.py_buffer(np.array([0, 1, 3, 4], np.int32)), pa.py_buffer(b"a\xff\xfeb")
    )
    assert normalise(wide(message=bad)).logs.text.to_pylist() == ["a", "\ufffd\ufffd", "b"]


def test_lines_survive_being_cut_moved_and_saved():
    lines = LogLines(
        np.array([0, 0, 2, 5], np.int32),
        np.array([9.0, math.nan, 17.0, 13.0]),
        pa.array(["a", "ä", "", "d"], pa.large_string()),
    )
    assert lines.cut(0, 3).text.to_pylist() == ["a", "ä", ""]
    cut = lines.cut(2, 6)
    assert (cut.row.tolist(), cut.text.to_pylist()) == ([0, 3], ["", "d"])
    moved = lines.moved(np.array([3, -1, 1, -1, -1, -1]))
    assert (moved.row.tolist(), moved.text.to_pylist()) == ([1, 3, 3], ["", "a", "ä"])
    arrays = {}
    cut.save("k", arrays)
    again = LogLines.restore("k", arrays)
    assert again.text.to_pylist() == ["", "d"]
    np.testing.assert_array_equal(again.row, cut.row)
    assert LogLines.restore("other", arrays) is None
