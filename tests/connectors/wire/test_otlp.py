from __future__ import annotations

import json
import math
from base64 import b64encode

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from aiops.connectors.wire.decoded import LOGS, READINGS
from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.otlp import (
    JSON_MAX,
    NO_DEVICE,
    decode_logs,
    decode_metrics,
    error,
    logs_response,
    metrics_response,
)
from aiops.errors import PayloadError, TooLarge
from tests.connectors.wire.encoders import MS, Reading
from tests.connectors.wire.encoders_more import otlp, otlp_json
from tests.connectors.wire.mutations import mutated

NOW = 1_790_000_000_000_000_000
LIMITS = Limits()
HOST = {"attributes": [{"key": "host.name", "value": {"stringValue": "gw-1"}}]}


def rows(decoded, schema=READINGS):
    return [row for table in decoded.tables if table.schema == schema for row in table.to_pylist()]


def metrics(*told: dict, resource: dict = HOST) -> bytes:
    scope = {"metrics": list(told)}
    return json.dumps(
        {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}
    ).encode()


def logs(*told: dict, resource: dict = HOST) -> bytes:
    scope = {"logRecords": list(told)}
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}).encode()


def attribute(key: str, **value) -> dict:
    return {"key": key, "value": value}


def taken(*told: dict, resource: dict = HOST):
    """What a body becomes; as JSON and as protobuf it must be the same."""
    body = metrics(*told, resource=resource)
    decoded = decode_metrics(body, NOW, LIMITS, json=True)
    request = json_format.Parse(body, ExportMetricsServiceRequest(), ignore_unknown_fields=True)
    again = decode_metrics(request.SerializeToString(), NOW, LIMITS)
    assert again == decoded
    return decoded


def values(decoded) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in rows(decoded)}


# Points ------------------------------------------------------------------------------------------


def test_numbers_are_doubles_and_integers_as_text_or_not():
    points = [
        {"timeUnixNano": str(NOW + 1), "asDouble": 21.5},
        {"timeUnixNano": NOW + 2, "asInt": "-7"},
        {"timeUnixNano": str(NOW + 3), "asInt": 8},
        {"timeUnixNano": str(NOW + 4), "asInt": "0"},
        {"timeUnixNano": str(NOW + 5), "asDouble": "Infinity"},
    ]
    got = rows(taken({"name": "temp", "gauge": {"dataPoints": points}}))
    assert [row["value"] for row in got] == [21.5, -7.0, 8.0, 0.0, math.inf]
    assert [row["ts"].value - NOW for row in got] == [1, 2, 3, 4, 5]
    assert {(row["device_id"], row["metric"]) for row in got} == {("gw-1", "temp")}
    assert json.loads(got[0]["labels"]) == {"host.name": "gw-1"}


def test_not_a_number_is_a_reading_of_it():
    told = {"name": "t", "gauge": {"dataPoints": [{"asDouble": "NaN"}]}}
    (row,) = rows(decode_metrics(metrics(told), NOW, LIMITS, json=True))
    assert math.isnan(row["value"])


def test_a_point_without_a_time_is_of_when_it_came():
    (row,) = rows(taken({"name": "t", "gauge": {"dataPoints": [{"asInt": "1"}]}}))
    assert row["ts"].value == NOW


@pytest.mark.parametrize(("temporality", "label"), [(0, None), (1, "delta"), (2, None)])
@pytest.mark.parametrize("kind", ["sum", "histogram", "exponentialHistogram"])
def test_what_is_a_delta_says_so(kind, temporality, label):
    point = {"asInt": "3"} if kind == "sum" else {"count": "3"}
    data = {"dataPoints": [point], "aggregationTemporality": temporality}
    (row,) = rows(taken({"name": "n", kind: data}))
    assert json.loads(row["labels"]).get("aggregation_temporality") == label


@pytest.mark.parametrize(
    ("name", "told", "called"),
    [
        ("jobs.done", {"isMonotonic": True, "aggregationTemporality": 2}, "jobs.done_total"),
        ("jobs_total", {"isMonotonic": True, "aggregationTemporality": 2}, "jobs_total"),
        ("jobs.done", {"isMonotonic": True, "aggregationTemporality": 1}, "jobs.done"),
        ("jobs.open", {"aggregationTemporality": 2}, "jobs.open"),
        ("system.disk.io", {"isMonotonic": True, "aggregationTemporality": 2}, "system.disk.io"),
    ],
)
def test_a_sum_that_only_grows_and_that_nobody_knows_is_named_as_a_counter(name, told, called):
    (row,) = rows(taken({"name": name, "sum": {"dataPoints": [{"asInt": "3"}], **told}}))
    assert row["metric"] == called


@pytest.mark.parametrize("kind", ["histogram", "exponentialHistogram"])
def test_a_histogram_is_its_count_and_its_sum(kind):
    points = [{"count": "4", "sum": 10.5, "min": 1, "max": 9}, {"count": "2"}]
    decoded = taken({"name": "lag", kind: {"dataPoints": points}})
    got = [(row["metric"], row["value"]) for row in rows(decoded)]
    assert got == [("lag.count", 4.0), ("lag.sum", 10.5), ("lag.count", 2.0)]
    assert decoded.histograms == 2


def test_a_summary_has_a_reading_for_each_quantile():
    point = {
        "count": "4",
        "sum": 10.0,
        "quantileValues": [{"quantile": 0.5, "value": 2.0}, {"quantile": 0.99, "value": 7.0}],
    }
    got = rows(taken({"name": "lag", "summary": {"dataPoints": [point]}}))
    told = [(r["metric"], r["value"], json.loads(r["labels"]).get("quantile")) for r in got]
    assert told == [
        ("lag.count", 4.0, None),
        ("lag.sum", 10.0, None),
        ("lag", 2.0, "0.5"),
        ("lag", 7.0, "0.99"),
    ]


def test_a_point_that_says_only_that_a_series_ended_is_neither_taken_nor_refused():
    points = [{"flags": 1, "asDouble": 3.0}, {"flags": 0, "asDouble": 4.0}]
    ended = {"name": "h", "histogram": {"dataPoints": [{"flags": 1, "count": "1"}]}}
    decoded = taken({"name": "t", "gauge": {"dataPoints": points}}, ended)
    assert values(decoded) == {"t": 4.0}
    assert (decoded.samples, decoded.rejected) == (1, 0)


def test_a_point_without_a_value_and_one_beyond_time_are_refused():
    points = [{"timeUnixNano": str(NOW)}, {"timeUnixNano": str(2**63), "asInt": "1"}]
    decoded = taken({"name": "t", "gauge": {"dataPoints": points}}, {"name": "empty"})
    assert [(one.count, one.reason) for one in decoded.refused] == [
        (1, "a point without a value"),
        (1, "a time beyond what nanoseconds can count"),
    ]
    assert decoded.tables == ()


# Attributes --------------------------------------------------------------------------------------


def test_attributes_of_every_kind_are_spelt_as_text():
    told = [
        attribute("s", stringValue="x"),
        attribute("e", stringValue=""),
        attribute("b", boolValue=True),
        attribute("i", intValue="-5"),
        attribute("d", doubleValue=0.5),
        attribute("y", bytesValue=b64encode(b"\x00\xff").decode()),
        attribute("a", arrayValue={"values": [{"intValue": "1"}, {"stringValue": "é"}, {}]}),
        attribute("k", kvlistValue={"values": [attribute("n", boolValue=False)]}),
        {"key": "none"},
    ]
    point = {"asInt": "1", "attributes": told}
    (row,) = rows(taken({"name": "t", "gauge": {"dataPoints": [point]}}))
    assert json.loads(row["labels"]) == {
        "host.name": "gw-1", "s": "x", "e": "", "b": "true", "i": "-5", "d": "0.5", "y": "AP8=",
        "a": '[1,"é",null]', "k": '{"n":false}', "none": "",
    }  # fmt: skip


def test_the_innermost_attribute_counts_but_the_resource_says_whose_it_is():
    resource = {"attributes": [attribute("host.name", stringValue="gw-1"),
                               attribute("x", stringValue="resource"),
                               attribute("site", stringValue="lyon")]}  # fmt: skip
    point = {
        "asInt": "1",
        "attributes": [attribute("x", stringValue="point"),
                       attribute("device.id", stringValue="gw-2")],
    }  # fmt: skip
    scope = {
        "scope": {"attributes": [attribute("x", stringValue="scope"),
                                 attribute("y", stringValue="scope")]},
        "metrics": [{"name": "t", "gauge": {"dataPoints": [point, {"asInt": "2"}]}}],
    }  # fmt: skip
    body = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}
    first, second = rows(decode_metrics(json.dumps(body).encode(), NOW, LIMITS, json=True))
    assert (first["device_id"], first["site"]) == ("gw-1", "lyon")
    assert json.loads(first["labels"])["x"] == "point"
    assert json.loads(second["labels"])["x"] == "scope"
    assert json.loads(second["labels"])["y"] == "scope"


@pytest.mark.parametrize(
    ("told", "device"),
    [
        ({"service.instance.id": "i-7", "host.name": "gw-1"}, "gw-1"),
        ({"service.instance.id": "i-7"}, "i-7"),
        ({"k8s.node.name": "node-1", "service.instance.id": "i-7"}, "node-1"),
        ({"host.id": "h", "device.id": "d"}, "d"),
    ],
)
def test_the_device_is_the_best_that_the_resource_tells(told, device):
    resource = {"attributes": [attribute(name, stringValue=value) for name, value in told.items()]}
    decoded = taken({"name": "t", "gauge": {"dataPoints": [{"asInt": "1"}]}}, resource=resource)
    assert [row["device_id"] for row in rows(decoded)] == [device]


def test_a_point_names_its_device_where_the_resource_does_not():
    point = {"asInt": "1", "attributes": [attribute("host", stringValue="gw-3")]}
    decoded = taken({"name": "t", "gauge": {"dataPoints": [point]}}, resource={})
    assert [row["device_id"] for row in rows(decoded)] == ["gw-3"]


def test_points_of_nobody_are_refused_one_by_one():
    histogram = {"dataPoints": [{"count": "1", "sum": 1}]}
    gauge = {"dataPoints": [{"asInt": "1"}, {"asInt": "2"}]}
    decoded = taken(
        {"name": "t", "gauge": gauge}, {"name": "h", "histogram": histogram}, resource={}
    )
    (refused,) = decoded.refused
    assert (refused.reason, refused.count) == (NO_DEVICE, 3)
    assert refused.example.startswith("t")


def test_what_is_beyond_the_limits_is_refused_and_the_rest_taken():
    many = [attribute(f"a{i}", intValue=str(i)) for i in range(LIMITS.labels)]
    points = [
        {"asInt": "1", "attributes": many},
        {"asInt": "1", "attributes": [attribute("a", stringValue="x" * 5000)]},
        {"asInt": "1", "attributes": [attribute("n" * 300, stringValue="x")]},
        {"asInt": "4"},
    ]
    good = {"name": "t", "gauge": {"dataPoints": points}}
    decoded = taken(good, {"name": "n" * 300, "gauge": {"dataPoints": [{"asInt": "1"}]}})
    assert values(decoded) == {"t": 4.0}
    assert decoded.rejected == 4
    long = {"attributes": [attribute("host.name", stringValue="d" * 300)]}
    assert taken(good, resource=long).rejected == 4


# Logs --------------------------------------------------------------------------------------------


def test_a_log_record_is_a_message_with_its_severity_and_the_best_time_it_has():
    body = logs(
        {"timeUnixNano": str(NOW - 5), "observedTimeUnixNano": str(NOW - 4), "severityNumber": 17,
         "body": {"stringValue": "it broke"}, "traceId": "5b8efff798038103d269b633813fc60c",
         "spanId": "eee19b7ec3c1b174", "attributes": [attribute("unit", stringValue="sshd")]},
        {"observedTimeUnixNano": str(NOW - 3), "body": {"intValue": "7"}},
        {"body": {"kvlistValue": {"values": [attribute("a", intValue="1")]}}, "eventName": "boot"},
    )  # fmt: skip
    decoded = decode_logs(body, NOW, LIMITS, json=True)
    first, second, third = rows(decoded, LOGS)
    assert (first["value"], first["body"], first["ts"].value) == (17.0, "it broke", NOW - 5)
    assert json.loads(first["labels"]) == {"host.name": "gw-1", "unit": "sshd"}
    assert (second["body"], second["ts"].value) == ("7", NOW - 3)
    assert math.isnan(second["value"])
    assert (third["body"], third["ts"].value) == ('{"a":1}', NOW)
    assert json.loads(third["labels"])["event_name"] == "boot"
    assert {row["metric"] for row in (first, second, third)} == {"log.severity_number"}
    assert decoded.samples == 3


def test_a_long_message_is_cut_and_one_of_nobody_is_refused():
    long = {"body": {"stringValue": "é" * 4000}}
    (row,) = rows(decode_logs(logs(long), NOW, LIMITS, json=True), LOGS)
    assert len(row["body"].encode()) == LIMITS.value_bytes
    decoded = decode_logs(logs(long, resource={}), NOW, LIMITS, json=True)
    assert decoded.tables == ()
    assert [(one.reason, one.count) for one in decoded.refused] == [(NO_DEVICE, 1)]
    assert len(decoded.refused[0].example) <= 120


def test_logs_as_protobuf_are_what_they_are_as_json():
    request = ExportLogsServiceRequest()
    of_gw = request.resource_logs.add()
    of_gw.resource.attributes.add(key="host.name").value.string_value = "gw-1"
    record = of_gw.scope_logs.add().log_records.add(severity_number=9, time_unix_nano=NOW)
    record.trace_id, record.body.string_value = b"\x01" * 16, "hello"
    decoded = decode_logs(request.SerializeToString(), NOW, LIMITS)
    told = {"severityNumber": 9, "timeUnixNano": str(NOW), "body": {"stringValue": "hello"}}
    assert decoded.tables == decode_logs(logs(told), NOW, LIMITS, json=True).tables


# Answers -----------------------------------------------------------------------------------------


def test_a_full_success_says_nothing_and_a_partial_one_how_much():
    good = taken({"name": "t", "gauge": {"dataPoints": [{"asInt": "1"}]}})
    assert metrics_response(good) == b""
    assert metrics_response(good, json=True) == b"{}"
    bad = taken({"name": "t", "gauge": {"dataPoints": [{}, {}, {"asInt": "1"}]}})
    told = ExportMetricsServiceResponse.FromString(metrics_response(bad)).partial_success
    assert told.rejected_data_points == 2
    assert told.error_message == "2 x a point without a value (first: t)"
    assert json.loads(metrics_response(bad, json=True)) == {
        "partialSuccess": {"rejectedDataPoints": "2", "errorMessage": told.error_message}
    }


def test_answers_to_logs_count_records():
    nobody = decode_logs(logs({"body": {"stringValue": "x"}}, resource={}), NOW, LIMITS, json=True)
    told = ExportLogsServiceResponse.FromString(logs_response(nobody)).partial_success
    assert told.rejected_log_records == 1
    assert "host.name" in told.error_message
    assert logs_response(decode_logs(b"", NOW, LIMITS)) == b""
    assert (
        json.loads(logs_response(nobody, json=True))["partialSuccess"]["rejectedLogRecords"] == "1"
    )


def test_a_refusal_is_a_status_of_grpc():
    file = descriptor_pb2.FileDescriptorProto(name="status_for_test.proto", syntax="proto3")
    status = file.message_type.add(name="StatusForTest")
    kinds = descriptor_pb2.FieldDescriptorProto
    status.field.add(name="code", number=1, type=kinds.TYPE_INT32, label=kinds.LABEL_OPTIONAL)
    status.field.add(name="message", number=2, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    read = message_factory.GetMessageClass(pool.FindMessageTypeByName("StatusForTest")).FromString
    for message in ("", "bad", "é" * 300, "x" * 5000):
        told = read(error(3, message))
        assert (told.code, told.message) == (3, message[:1000])
        assert json.loads(error(3, message, json=True)) == {"code": 3, "message": message[:1000]}


# Bodies ------------------------------------------------------------------------------------------

READING = st.builds(
    Reading,
    device=st.sampled_from(["gw-1", "gw-2", "Gerät 3"]),
    ts_ns=st.integers(1, 2**62).map(lambda ns: ns // MS * MS or MS),
    metric=st.sampled_from(["temp", "cpu.load", "größe"]),
    value=st.floats(allow_nan=False),
    labels=st.dictionaries(st.sampled_from(["a", "b"]), st.text(min_size=1, max_size=5)),
    site=st.sampled_from([None, "lyon"]),
    cohort=st.sampled_from([None, "b2"]),
)


@settings(max_examples=60)
@given(st.lists(READING, max_size=12))
def test_readings_come_out_as_they_went_in(readings):
    told = [
        (
            r["device_id"],
            r["ts"].value,
            r["metric"],
            r["value"],
            json.loads(r["labels"]),
            r["site"],
            r["cohort"],
        )
        for r in rows(decode_metrics(otlp(readings), NOW, LIMITS))
    ]
    expected = [
        (r.device, r.ts_ns, r.metric, r.value, r.all_labels("host.name"), r.site, r.cohort)
        for r in readings
    ]
    assert sorted(map(str, told)) == sorted(map(str, expected))
    json_rows = rows(decode_metrics(otlp_json(readings), NOW, LIMITS, json=True))
    assert json_rows == rows(decode_metrics(otlp(readings), NOW, LIMITS))


SAMPLE = [
    Reading(f"gw-{i % 3}", NOW + i * MS, "temp", i / 7, {"sensor": f"s{i % 2}"}, "lyon")
    for i in range(12)
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("decode", [decode_metrics, decode_logs])
def test_a_damaged_body_is_read_or_refused(decode, as_json):
    if decode is decode_metrics:
        body = otlp_json(SAMPLE) if as_json else otlp(SAMPLE)
    else:
        told = {
            "severityNumber": 9,
            "body": {"kvlistValue": {"values": [attribute("a", intValue=1)]}},
        }
        body = logs(told, told)
        if not as_json:
            body = json_format.Parse(body, ExportLogsServiceRequest()).SerializeToString()
    refused = 0
    for damaged in mutated(body, 2000):
        try:
            decode(damaged, NOW, LIMITS, json=as_json)
        except PayloadError:
            refused += 1
    assert 200 < refused < 2000


def nested(depth: int) -> bytes:
    value = '{"arrayValue":{"values":[' * depth + '{"intValue":"1"}' + "]}}" * depth
    return (
        b'{"resourceMetrics":[{"resource":{"attributes":[{"key":"host.name","value":'
        + value.encode()
        + b"}]}}]}"
    )


@pytest.mark.parametrize("depth", [40, 90, 2000, 200_000])
def test_a_body_that_is_too_deep_is_refused(depth):
    said = "ExportMetricsServiceRequest in JSON" if depth < 100_000 else "objects in one body"
    with pytest.raises(PayloadError, match=said):
        decode_metrics(nested(depth), NOW, LIMITS, json=True)
    inner = b""
    for _ in range(min(depth, 2000)):
        inner = (
            b"\x2a"
            + varint(len(inner) + 1 + len(varint(len(inner))))
            + b"\x0a"
            + varint(len(inner))
            + inner
        )
    if depth > 60:
        body = wrapped(1, wrapped(1, wrapped(1, wrapped(2, inner))))
        with pytest.raises(PayloadError, match="ExportMetricsServiceRequest in protobuf"):
            decode_metrics(body, NOW, LIMITS)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def wrapped(field: int, inner: bytes) -> bytes:
    return bytes([field << 3 | 2]) + varint(len(inner)) + inner


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x00" * 5000,
        wrapped(1, b"\x12\x00" * 5000),
        wrapped(1, wrapped(2, b"\x12\x00" * 5000)),
        wrapped(1, wrapped(2, wrapped(2, wrapped(5, b"\x0a\x00" * 5000)))),
    ],
)
def test_more_messages_than_allowed_are_too_many_before_any_is_read(body):
    few = Limits(cells=7 * 4000)
    with pytest.raises(TooLarge, match="more than 4000 resources"):
        decode_metrics(body, NOW, few)


def test_more_objects_of_json_than_allowed_are_too_many_before_any_is_read():
    body = b'{"resourceMetrics":[' + b",".join([b"{}"] * 1000) + b"]}"
    assert decode_metrics(body, NOW, Limits(cells=40 * 1001), json=True).tables == ()
    with pytest.raises(TooLarge, match="more than 1000 objects"):
        decode_metrics(body, NOW, Limits(cells=40 * 1000), json=True)


@pytest.mark.parametrize("one", [b"1,", b"[],", b'"":1,'])
def test_more_values_of_json_than_allowed_are_too_many_before_any_is_read(one):
    with pytest.raises(TooLarge, match="more than 40 values and names"):
        decode_metrics(one * 41, NOW, Limits(cells=40 * 10), json=True)


@pytest.mark.parametrize("where", ['{"resource": %s}', '{"scopeMetrics": [%s]}', "%s"])
def test_a_text_in_place_of_a_message_is_not_looked_into(where):
    body = '{"resourceMetrics": [' + where % ('"' + "x" * 100 + '"') + "]}"
    with pytest.raises(PayloadError, match="is a text, and should be an object"):
        decode_metrics(body.encode(), NOW, LIMITS, json=True)


def test_a_body_of_json_that_is_too_long_is_said_to_be_smaller_as_protobuf():
    with pytest.raises(TooLarge, match="or as protobuf"):
        decode_metrics(b" " * (JSON_MAX + 1), NOW, LIMITS, json=True)
    with pytest.raises(PayloadError, match="in JSON"):
        decode_metrics(b" " * JSON_MAX, NOW, LIMITS, json=True)


def distinct(n: int, length: int) -> bytes:
    """As many points, each a series of its own, of a resource with an attribute of this length."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    for key, value in {"host.name": "gw-1", "note": "x" * length}.items():
        resource.resource.attributes.add(key=key).value.string_value = value
    points = resource.scope_metrics.add().metrics.add(name="t").gauge.data_points
    for k in range(n):
        points.add(as_double=1.0).attributes.add(key="k").value.string_value = str(k)
    return request.SerializeToString()


def test_series_that_share_long_attributes_are_too_many_sooner():
    assert decode_metrics(distinct(2000, 4000), NOW, LIMITS).samples == 2000
    assert decode_metrics(distinct(3000, 2000), NOW, LIMITS).samples == 3000
    with pytest.raises(TooLarge, match="too many series in one payload"):
        decode_metrics(distinct(3000, 4000), NOW, LIMITS)


def test_ten_thousand_points_with_attributes_are_taken():
    request = ExportMetricsServiceRequest.FromString(distinct(10_000, 100))
    for point in request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points:
        for k in range(9):
            point.attributes.add(key=f"attribute.{k}").value.string_value = "a value of it"
    assert decode_metrics(request.SerializeToString(), NOW, LIMITS).samples == 10_000


def test_quantiles_count_like_points():
    summary = b"".join([b"\x32\x00"] * 5000)
    body = wrapped(1, wrapped(2, wrapped(2, wrapped(11, wrapped(1, summary)))))
    host = wrapped(1, wrapped(1, b"\x0a\x09host.name\x12\x03\x0a\x01a"))
    metric = wrapped(2, wrapped(2, b"\x0a\x01t" + wrapped(11, wrapped(1, summary))))
    with pytest.raises(TooLarge, match="more than 4000 resources"):
        decode_metrics(wrapped(1, host + metric), NOW, Limits(cells=7 * 4000))
    assert decode_metrics(body, NOW, Limits(cells=7 * 4000)).rejected == 1  # nobody's: not read


def test_groups_and_what_is_cut_short_are_refused_before_anything_is_made():
    with pytest.raises(PayloadError, match="in protobuf: groups; Content-Type"):
        decode_metrics(b"\x0a\x00\xa3\x06\xa4\x06", NOW, LIMITS)
    with pytest.raises(PayloadError, match="in protobuf: damaged"):
        decode_logs(b"\x0a\x00\x0a\x05", NOW, LIMITS)


def test_many_empty_attributes_are_counted_and_not_read():
    resource = wrapped(1, b"\x0a\x00" * 5000)
    points = wrapped(
        2, wrapped(2, b"\x0a\x01t" + wrapped(5, wrapped(1, b"\x31" + (1).to_bytes(8, "little"))))
    )
    decoded = decode_metrics(wrapped(1, resource + points), NOW, LIMITS)
    assert [(one.reason, one.count) for one in decoded.refused] == [("more than 64 attributes", 1)]


@pytest.mark.parametrize(
    "body", [b"[]", b"1", b"null", b"{", b"\xff\xfe", b'{"resourceMetrics": 5}',
             b'{"resourceMetrics":[{"resource":{"attributes":[{"key":"\\ud800"}]}}]}']
)  # fmt: skip
def test_what_is_no_request_is_said_to_be_none(body):
    with pytest.raises(PayloadError, match="Content-Type must say"):
        decode_metrics(body, NOW, LIMITS, json=True)


def test_unknown_fields_are_passed_over():
    body = metrics({"name": "t", "gauge": {"dataPoints": [{"asInt": "1", "new": [1]}]}, "new": {}})
    assert values(decode_metrics(body, NOW, LIMITS, json=True)) == {"t": 1.0}


def test_ids_of_traces_are_hex_and_of_any_length():
    exemplar = {"asInt": "1", "traceId": "abc", "spanId": "a"}
    body = metrics(
        {"name": "t", "gauge": {"dataPoints": [{"asInt": "1", "exemplars": [exemplar]}]}}
    )
    assert values(decode_metrics(body, NOW, LIMITS, json=True)) == {"t": 1.0}
