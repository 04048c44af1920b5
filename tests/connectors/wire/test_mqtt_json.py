from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.connectors.wire import senml
from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.mqtt_json import decode, device_in, instant
from aiops.connectors.wire.naming import labels_json
from aiops.connectors.wire.senml import OTHER_DEVICE
from aiops.errors import PayloadError, TooLarge
from tests.connectors.wire import encoders_more
from tests.connectors.wire.encoders import MS, SECOND, Reading
from tests.connectors.wire.mutations import mutated

NOW = 1_790_000_000_000_000_000
LIMITS = Limits()
TOPIC = "fleet/gw-1/metrics"


def rows(decoded):
    return [row for table in decoded.tables for row in table.to_pylist()]


def told(decoded):
    return [(r["device_id"], r["metric"], r["value"], r["ts"].value - NOW) for r in rows(decoded)]


def take(body, topic=TOPIC):
    return decode(topic, json.dumps(body).encode(), NOW, LIMITS)


# Objects and rows --------------------------------------------------------------------------------


def test_an_object_is_a_reading_for_each_of_its_metrics():
    decoded = take(
        {"temp_c": 21.5, "door": True, "boot": "a-7", "off": None, "ts": NOW // SECOND + 5}
    )
    assert told(decoded) == [
        ("gw-1", "temp_c", 21.5, 5 * SECOND),
        ("gw-1", "door", 1.0, 5 * SECOND),
        ("gw-1", "boot", "a-7", 5 * SECOND),
    ]
    assert (decoded.samples, decoded.rejected) == (3, 0)


def test_an_object_says_where_its_device_belongs():
    (row,) = rows(take({"temp_c": 1, "site": "lyon", "cohort": "b2", "device_id": "gw-1"}))
    assert (row["site"], row["cohort"], row["labels"]) == ("lyon", "b2", None)


def test_an_array_may_mix_objects_and_rows():
    body = [
        {"temp_c": 1, "ts": "2026-09-21T14:13:20Z"},
        {"metric": "disk", "value": 2, "ts": NOW, "labels": {"disk": "sda", "n": 1}, "unit": "By"},
        {"metric": "disk", "value": 3, "labels": None, "fan": 2},
    ]
    decoded = take(body)
    assert told(decoded) == [
        ("gw-1", "temp_c", 1.0, 0),
        ("gw-1", "disk", 2.0, 0),
        ("gw-1", "disk", 3.0, 0),
    ]
    labels = [row["labels"] and json.loads(row["labels"]) for row in rows(decoded)]
    assert labels == [None, {"disk": "sda", "n": "1", "unit": "By"}, {"fan": "2"}]


@pytest.mark.parametrize("name", ["device_id", "device.id", "gateway_id", "node_id"])
def test_what_names_another_device_is_refused(name):
    decoded = take([{"a": 1, "b": 2, name: "gw-2"}, {"metric": "a", "value": 1, name: 7}, {"c": 3}])
    assert [(one.reason, one.count) for one in decoded.refused] == [(OTHER_DEVICE, 3)]
    assert told(decoded) == [("gw-1", "c", 3.0, 0)]


def test_the_number_of_a_message_is_no_reading_and_no_label():
    body = [{"seq": 7, "epoch": 2, "a": 1}, {"seq": 8, "metric": "b", "value": 2}]
    decoded = take(body)
    assert told(decoded) == [("gw-1", "a", 1.0, 0), ("gw-1", "b", 2.0, 0)]
    assert [row["labels"] for row in rows(decoded)] == [None, None]


def test_what_is_no_reading_is_refused_and_counted():
    decoded = take([5, {"a": [1], "b": {"c": 1}, "": 1, "n" * 300: 1, "t": "x" * 5000, "ok": 1}])
    assert {one.reason: one.count for one in decoded.refused} == {
        "a row that is no object": 1,
        "a value that is no number, text or truth": 2,
        "no metric name": 1,
        "a metric name of more than 256 bytes": 1,
        "a text of more than 4096 bytes": 1,
    }
    assert told(decoded) == [("gw-1", "ok", 1.0, 0)]
    assert take({"a": 1, "site": "x" * 5000}).rejected == 1


@pytest.mark.parametrize("ts", ["soon", True, [1], "9" * 99])
def test_a_time_that_is_none_refuses_its_readings(ts):
    decoded = take({"a": 1, "b": 2, "ts": ts})
    assert [(one.reason, one.count) for one in decoded.refused] == [
        ("a time that cannot be read", 2)
    ]


def test_a_time_beyond_the_calendar_is_refused():
    assert take({"a": 1, "ts": 1e300}).rejected == 1
    assert take({"a": 1, "ts": -(10**40)}).rejected == 1


@pytest.mark.parametrize(
    ("stamp", "ns"),
    [
        (1_790_000_000, NOW),
        (1_790_000_000.25, NOW + SECOND // 4),
        (1_790_000_000_001, NOW + MS),
        (1_790_000_000_000_001, NOW + 1000),
        (1_790_000_000_000_000_001, NOW + 1),
        ("2026-09-21T16:13:20.5+02:00", NOW + SECOND // 2),
        ("1790000000", NOW),
        (0, 0),
    ],
)
def test_a_number_is_a_time_in_the_unit_that_its_size_tells(stamp, ns):
    assert instant(stamp) == ns


@pytest.mark.parametrize(
    "topic",
    [
        "fleet/gw-1",
        "fleet//metrics",
        "fleet/gw-1/events",
        "x/gw-1/metrics",
        "",
        "fleet/a/b/metrics",
    ],
)
def test_a_topic_of_no_readings_is_refused(topic):
    with pytest.raises(PayloadError, match="fleet/DEVICE/metrics"):
        device_in(topic)


def test_a_topic_with_too_long_a_device_is_refused():
    with pytest.raises(PayloadError, match="256 bytes"):
        take({"a": 1}, f"fleet/{'d' * 300}/metrics")


@pytest.mark.parametrize(
    "body",
    [b"", b"1", b"null", b'"x"', b"{", b"\xff", b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"a":1e999}',
     b"[" * 100_000, b'{"a":' * 100_000],
)  # fmt: skip
def test_what_is_no_json_of_readings_is_said_to_be_none(body):
    with pytest.raises(PayloadError, match="the body is"):
        decode(TOPIC, body, NOW, LIMITS)


def test_more_readings_than_allowed_are_too_many():
    with pytest.raises(TooLarge, match="more than 100 readings"):
        decode(TOPIC, json.dumps({f"m{i}": i for i in range(101)}).encode(), NOW, Limits(cells=700))


@pytest.mark.parametrize("first", [b"", b'{"n":"a"},'])
def test_more_rows_than_allowed_are_too_many_though_they_are_empty(first):
    body = b"[" + first + b",".join([b"{}"] * 101) + b"]"
    with pytest.raises(TooLarge, match="in one body"):
        decode(TOPIC, body, NOW, Limits(cells=700))
    if first:
        with pytest.raises(TooLarge, match="records in one body"):
            senml.decode(body, NOW, Limits(cells=700))


# SenML -------------------------------------------------------------------------------------------


def test_base_fields_hold_for_the_records_after_them():
    pack = [
        {"bn": "gw-1/", "bt": 1.79e9, "bu": "Cel", "bver": 10, "n": "temp", "v": 21.5},
        {"n": "hum", "u": "%RH", "t": 5, "v": 40},
        {"n": "door", "vb": True},
        {"n": "state", "vs": "open"},
        {"bt": 1.79e9 + 60, "bn": "gw-1:"},
        {"n": "temp", "t": -1.5, "v": 22},
    ]
    decoded = take(pack)
    by_metric = sorted(told(decoded), key=str)
    assert by_metric == sorted(
        [
            ("gw-1", "temp", 21.5, 0),
            ("gw-1", "hum", 40.0, 5 * SECOND),
            ("gw-1", "door", 1.0, 0),
            ("gw-1", "temp", 22.0, 58 * SECOND + SECOND // 2),
            ("gw-1", "state", "open", 0),
        ],
        key=str,
    )
    units = {row["metric"]: json.loads(row["labels"])["unit"] for row in rows(decoded)}
    assert units == {"temp": "Cel", "hum": "%RH", "door": "Cel", "state": "Cel"}
    assert not decoded.refused


def test_a_time_below_2_to_the_28_is_counted_from_now():
    pack = [{"n": "a", "v": 1}, {"n": "b", "v": 1, "t": -10.5}, {"n": "c", "v": 1, "t": 2**28 - 1},
            {"n": "d", "v": 1, "t": 2**28}, {"bt": -5, "n": "e", "v": 1}]  # fmt: skip
    assert [(metric, ts) for _, metric, _, ts in told(take(pack))] == [
        ("a", 0),
        ("b", -10 * SECOND - SECOND // 2),
        ("c", (2**28 - 1) * SECOND),
        ("d", 2**28 * SECOND - NOW),
        ("e", -5 * SECOND),
    ]


def test_a_base_value_is_added_to_numbers():
    pack = [
        {"n": "a", "bv": 20, "v": 1.5},
        {"n": "b"},
        {"n": "c", "vs": "x"},
        {"n": "d", "vd": "eA"},
    ]
    decoded = take(pack)
    assert sorted((m, v) for _, m, v, _ in told(decoded) if m != "c") == [("a", 21.5), ("b", 20.0)]
    assert decoded.rejected == 1


@pytest.mark.parametrize(
    ("bn", "n", "metric"),
    [
        ("", "temp", "temp"),
        ("gw-1/", "temp", "temp"),
        ("gw-1:", "temp", "temp"),
        ("gw-1/cpu", "/load", "cpu/load"),
        ("urn:dev:os:gw-1:", "temp", "temp"),
        ("cpu.", "load", "cpu.load"),
        ("", "Properties/hw", "Properties/hw"),
    ],
)
def test_a_metric_is_the_name_behind_the_device(bn, n, metric):
    assert told(take([{"bn": bn, "n": n, "v": 1}])) == [("gw-1", metric, 1.0, 0)]


@pytest.mark.parametrize("bn", ["gw-2/", "gw-2:", "urn:dev:mac:0024befffe804ff1:", "gw-11/"])
def test_a_base_name_of_another_device_is_refused(bn):
    decoded = take([{"bn": bn, "n": "temp", "v": 1}, {"n": "x", "v": 2}])
    assert [(one.reason, one.count) for one in decoded.refused] == [(OTHER_DEVICE, 2)]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"n": "a", "v": "x"}, "none of SenML"),
        ({"n": "a", "v": True}, "none of SenML"),
        ({"n": "a", "vb": 1}, "none of SenML"),
        ({"n": "a", "t": "now", "v": 1}, "none of SenML"),
        ({"n": "a", "bver": 11, "v": 1}, "version of SenML after 10"),
        ({"n": "a", "v": 1, "must_": 1}, "must be understood: must_"),
        ({"n": "a", "v": 1, "t": 1e300}, "beyond the calendar"),
        ({"n": "a"}, "without a number"),
        ({"n": "a", "s": 5}, "without a number"),
        ({"v": 5}, "no metric name"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(record, reason):
    decoded = take([{"n": "first", "v": 1}, record])
    assert len(rows(decoded)) == 1
    (refused,) = decoded.refused
    assert reason in refused.reason
    assert refused.count == 1


def test_a_pack_over_http_says_whose_it_is():
    pack = [
        {"bn": "urn:dev:mac:0024befffe804ff1:", "n": "temp", "v": 1},
        {"bn": "gw-2/", "n": "a", "v": 2},
        {"bn": "", "n": "b", "v": 3},
    ]
    decoded = senml.decode(json.dumps(pack).encode(), NOW, LIMITS)
    assert told(decoded) == [
        ("urn:dev:mac:0024befffe804ff1", "temp", 1.0, 0),
        ("gw-2", "a", 2.0, 0),
    ]
    assert [one.reason for one in decoded.refused] == ["no label names the device"]
    long = [{"bn": "d" * 300 + "/", "n": "a", "v": 2}]
    assert senml.decode(json.dumps(long).encode(), NOW, LIMITS).rejected == 1
    with pytest.raises(PayloadError, match="no SenML pack"):
        senml.decode(b'{"a": 1}', NOW, LIMITS)


# All of it ---------------------------------------------------------------------------------------

PLACELESS = {"labels": st.just({}), "site": st.none(), "cohort": st.none()}
PLAIN = st.builds(
    Reading,
    device=st.sampled_from(["gw-1", "gw-2"]),
    ts_ns=st.integers(1_000_000_000_000, 3_000_000_000_000).map(lambda ms: ms * MS),
    metric=st.sampled_from(["temp", "cpu.load", "größe"]),
    value=st.floats(allow_nan=False, allow_infinity=False),
    **PLACELESS,
)
LABELLED = st.builds(
    Reading._replace,
    PLAIN,
    labels=st.dictionaries(st.sampled_from(["a", "b"]), st.text(min_size=1, max_size=5)),
    site=st.sampled_from([None, "lyon"]),
    cohort=st.sampled_from([None, "b2"]),
)


def through(messages):
    return [row for topic, body in messages for row in rows(decode(topic, body, NOW, LIMITS))]


@settings(max_examples=60)
@given(st.lists(LABELLED, max_size=12))
def test_rows_come_out_as_they_went_in(readings):
    found = [
        (r["device_id"], r["ts"].value, r["metric"], r["value"], r["labels"] or "{}",
         r["site"], r["cohort"])
        for r in through(encoders_more.mqtt_rows(readings))
    ]  # fmt: skip
    told = [(*r[:4], labels_json(r.labels) or "{}", r.site, r.cohort) for r in readings]
    assert sorted(map(str, found)) == sorted(map(str, told))


@settings(max_examples=60)
@given(st.lists(PLAIN, max_size=12, unique_by=lambda r: r[:3]))
@pytest.mark.parametrize("encode", [encoders_more.mqtt_objects, encoders_more.senml])
def test_objects_and_packs_come_out_as_they_went_in(encode, readings):
    near = [  # a double of seconds tells a microsecond, not a nanosecond
        (r["device_id"], round(r["ts"].value / MS), r["metric"], r["value"])
        for r in through(encode(readings))
    ]
    assert sorted(near) == sorted((r.device, r.ts_ns // MS, r.metric, r.value) for r in readings)


@pytest.mark.parametrize("encode", [encoders_more.mqtt_rows, encoders_more.senml])
def test_a_damaged_body_is_read_or_refused(encode):
    readings = [Reading("gw-1", NOW + i * SECOND, "temp", i / 7) for i in range(6)]
    ((topic, body),) = encode(readings)
    refused = 0
    for damaged in mutated(body, 2000):
        try:
            decode(topic, damaged, NOW, LIMITS)
        except PayloadError:
            refused += 1
    assert 200 < refused < 2000


@pytest.mark.parametrize(
    "around", ["{%s}", '{"device_id":1,%s}', '{"metric":"m","value":1,%s}', '{"n":"x",%s}']
)
def test_whatever_the_depth_a_body_is_read_or_refused(around):
    outcomes = set()
    for depth in [*range(1, 1000, 37), *range(880, 1010)]:
        deep = '"a":' + "[" * depth + "]" * depth
        try:
            decoded = decode(TOPIC, f"[{around % deep}]".encode(), NOW, LIMITS)
            outcomes.add(decoded.rejected)
        except PayloadError:
            outcomes.add("refused")
    assert "refused" in outcomes
    assert len(outcomes) > 1
