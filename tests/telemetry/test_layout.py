from __future__ import annotations

import pyarrow as pa
import pytest

from aiops.errors import FrameError
from aiops.telemetry.layout import Layout

LABELS = pa.map_(pa.string(), pa.string())


def schema(*names: str, **typed: pa.DataType) -> pa.Schema:
    return pa.schema([*((name, pa.string()) for name in names), *typed.items()])


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        ("device_id ts temp_c", {"device": "device_id", "time": "ts"}),
        ("Host @timestamp uptime", {"device": "Host", "time": "@timestamp"}),
        ("time gateway site temp_c", {"device": "gateway", "time": "time", "site": "site"}),
        # a node's own id goes before "device", which is then one of its disks
        ("host device time x", {"device": "host", "time": "time", "part": "device"}),
        ("device time x", {"device": "device", "time": "time"}),
        # a serial number is a medium's only beside a part
        ("device_id serial_no ts", {"device": "device_id", "time": "ts"}),
        (
            "device_id disk serial_no ts",
            {"device": "device_id", "time": "ts", "part": "disk", "medium": "serial_no"},
        ),
        ("serial ts", {"device": "serial", "time": "ts"}),
        (
            "device_id part medium_id site cohort ts recv_ts",
            {
                "device": "device_id",
                "time": "ts",
                "recv_time": "recv_ts",
                "part": "part",
                "medium": "medium_id",
                "site": "site",
                "cohort": "cohort",
            },
        ),
        (
            "device_id ts metric value",
            {"device": "device_id", "time": "ts", "metric": "metric", "value": "value"},
        ),
        (
            "instance timestamp __name__ value",
            {"device": "instance", "time": "timestamp", "metric": "__name__", "value": "value"},
        ),
        # one without the other is a wide frame that happens to have such a column
        ("device_id ts value", {"device": "device_id", "time": "ts"}),
        ("device_id ts name x", {"device": "device_id", "time": "ts"}),
        (
            "drive_id kind model probed_before",
            {"device": "drive_id", "time": "probed_before", "cohort": "model"},
        ),
    ],
)
def test_roles_are_guessed_from_names(columns: str, roles: dict[str, str]) -> None:
    layout = Layout.guess(schema(*columns.split()))
    assert layout.columns == roles
    assert layout.is_long == ("metric" in roles)
    assert layout.guessed == frozenset(roles)


def test_labels_are_nested_or_text() -> None:
    long = ("device_id", "ts", "metric", "value")
    assert Layout.guess(schema(*long, labels=LABELS)).labels == "labels"
    assert Layout.guess(schema(*long, "attributes")).labels == "attributes"
    assert Layout.guess(schema(*long, labels=pa.float64())).labels is None
    assert Layout.guess(schema("device_id", "ts", "labels")).labels is None


def test_a_metric_is_named_by_text() -> None:
    coded = pa.dictionary(pa.int32(), pa.string())
    assert Layout.guess(schema("device_id", "ts", "value", metric=coded)).is_long
    assert not Layout.guess(schema("device_id", "ts", "value", metric=pa.float64())).is_long


def test_the_index_of_a_pandas_frame_may_be_the_time() -> None:
    name = {"__index_level_0__": pa.timestamp("ns")}
    assert Layout.guess(schema("host", **name)).time == "__index_level_0__"
    with pytest.raises(FrameError, match="no column can be the time"):
        Layout.guess(schema("host", __index_level_0__=pa.int64()))


def test_what_is_asked_for_wins() -> None:
    frame = schema("device_id", "when", "ts", "metric", "value", "rack")
    layout = Layout.guess(frame, time="when", site="rack", metric=None)
    assert layout.columns == {"device": "device_id", "time": "when", "site": "rack"}
    assert layout.guessed == {"device"}
    assert str(layout) == "wide frame: device = device_id (guessed), time = when, site = rack"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device": "devcie_id"}, "no column 'devcie_id' to be the device; did you mean device_id"),
        ({"tiem": "ts"}, "no role 'tiem'; did you mean time"),
        ({"device": None}, "no column can be the device among device_id, ts, value"),
        ({"metric": "device_id"}, None),
        ({"value": "value"}, "needs a metric and a value"),
    ],
)
def test_what_cannot_be_is_said(asked: dict[str, str | None], message: str | None) -> None:
    frame = schema("device_id", "ts", "value")
    if message is None:
        with pytest.raises(FrameError, match="no column can be the device"):
            Layout.guess(frame, **asked)
        return
    with pytest.raises(FrameError, match=message):
        Layout.guess(frame, **asked)


def test_a_layout_is_checked_against_each_frame() -> None:
    layout = Layout("device_id", "ts", site="site")
    layout.check(schema("device_id", "ts", "site"))
    with pytest.raises(FrameError, match="no column 'site' to be the site"):
        layout.check(schema("device_id", "ts"))
