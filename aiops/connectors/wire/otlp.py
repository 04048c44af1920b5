"""OpenTelemetry's protocol: metrics and logs as it sends them over HTTP, and what it is answered.

Source: OTLP specification 1.9, "OTLP/HTTP" and "JSON Protobuf Encoding", and the metrics data
model. How an attribute is spelt is in `aiops.connectors.wire.otlp_attributes`.
"""

from __future__ import annotations

import json as json_text
import math
from collections.abc import Sequence
from typing import Any

import msgspec
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, DataPointFlags

from aiops.connectors.wire.build import EXAMPLE, Builder
from aiops.connectors.wire.decoded import READINGS, Decoded
from aiops.connectors.wire.limits import MIB, Limits
from aiops.connectors.wire.messages import Shape, shape_of
from aiops.connectors.wire.naming import excess
from aiops.connectors.wire.otlp_attributes import Room, Series, Spelling, text_of
from aiops.errors import PayloadError, TooLarge
from aiops.telemetry.open_metrics import may_be_open

NO_DEVICE = "no device: set the resource attribute host.name (or device.id, host.id, k8s.node.name)"
TOO_LATE = "a time beyond what nanoseconds can count"
DEPTH = 64
"""Messages within messages of a JSON body; protobuf's own bound on binary ones is 100."""
NO_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
METRICS, LOGS = shape_of(ExportMetricsServiceRequest), shape_of(ExportLogsServiceRequest)
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
TS_END = 1 << 63
TOTAL = "_total"
"""How the name of a counter ends; OpenTelemetry, "Prometheus and OpenMetrics Compatibility"."""
_CUMULATIVE, _NUMBERS = frozenset({"gauge", "summary"}), frozenset({"gauge", "sum"})
POINTS_MAX = 1 << 16
"""Of one body, with its resources, scopes, metrics and quantiles."""
CELLS = 40
"""What each object of a JSON body counts as: empty ones take three bytes, and time all the same."""
VALUES = 4
"""Values, and names, of a JSON body for each object it may have: one takes up to 100 bytes."""
JSON_MAX = 6 * MIB
"""Bytes of a JSON body; as text it takes up to four times as much."""
MESSAGE = 1000
"""Characters of an answer's message."""


def decode_metrics(body: bytes, recv_ns: int, limits: Limits, json: bool = False) -> Decoded:
    """Decode an ``ExportMetricsServiceRequest``.

    A gauge's or a sum's point is a reading. A sum that only grows, and that nobody knows, has its
    name end in `TOTAL`, as in Prometheus; what a delta counts since the last one has the label
    ``aggregation_temporality = delta``. A histogram is ``NAME.count`` and ``NAME.sum``; a summary
    those, and a reading per ``quantile``. Points flagged as having no recorded value say only that
    a series ended: they are neither taken nor refused. A point without a time is of `recv_ns`.

    Raises
    ------
    PayloadError
        The body is no such request.
    TooLarge
        It holds more readings than is allowed.
    """
    request = _parse(METRICS, body, limits, json)
    build = Builder(limits)
    counted, names, room = _Counted(limits), _Names(limits), Room()
    for resource in counted(request.resource_metrics):
        spelling = Spelling(resource.resource.attributes, limits, room)
        for scope in counted(resource.scope_metrics):
            of_scope = spelling.within(scope.scope.attributes)
            points = _Points(build, counted, names, of_scope, recv_ns)
            for metric in counted(scope.metrics):
                kind = metric.WhichOneof("data")
                if kind is not None:
                    data = getattr(metric, kind)
                    points.take(metric.name, kind, data, counted(data.data_points))
    return build.decoded()


def decode_logs(body: bytes, recv_ns: int, limits: Limits, json: bool = False) -> Decoded:
    """Decode an ``ExportLogsServiceRequest``; trace and span ids are not kept.

    A record is of the time it says, else of when it was observed, else of `recv_ns`.

    Raises
    ------
    PayloadError
        The body is no such request.
    TooLarge
        It holds more records than is allowed.
    """
    request = _parse(LOGS, body, limits, json)
    build = Builder(limits)
    counted, room = _Counted(limits), Room()
    for resource in counted(request.resource_logs):
        spelling = Spelling(resource.resource.attributes, limits, room)
        for scope in counted(resource.scope_logs):
            of_scope = spelling.within(scope.scope.attributes)
            for record in counted(scope.log_records):
                event = record.event_name
                more = (("event_name", event),) if event else ()
                series = of_scope.series(record.attributes, *more)
                ts = record.time_unix_nano or record.observed_time_unix_nano or recv_ns
                text = text_of(record.body)
                if series.excess:
                    build.refuse(series.excess, text)
                elif not series.device:
                    build.refuse(NO_DEVICE, text)
                else:
                    severity = record.severity_number or math.nan
                    device, labels, site, cohort, _ = series
                    build.add_log(device, ts, severity, text, labels, site, cohort)
    return build.decoded()


class _Counted:
    """Counts messages of one body: empty ones take two bytes each, and time all the same."""

    def __init__(self, limits: Limits) -> None:
        self.most = self.left = min(limits.cells // len(READINGS), POINTS_MAX)

    def __call__(self, messages: Sequence[Any]) -> Sequence[Any]:
        """Return the messages, unless there are more than are allowed."""
        self.left -= len(messages)
        if self.left < 0:
            raise TooLarge(
                f"more than {self.most} resources, scopes, metrics and points in one payload; "
                "send them in several"
            )
        return messages


class _Names(dict[str, str | None]):
    """Names of metrics, and in what each is beyond the limits, in words."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits

    def __missing__(self, name: str) -> str | None:
        found = self[name] = excess(name, {}, self.limits)
        return found


class _Points:
    """The points of the metrics of one scope, on their way into a builder."""

    def __init__(
        self, build: Builder, counted: _Counted, names: _Names, spelling: Spelling, recv_ns: int
    ) -> None:
        self.build = build
        self.counted = counted
        self.names = names
        self.spelling = spelling
        self.recv_ns = recv_ns

    def take(self, name: str, kind: str, data: Any, points: Sequence[Any]) -> None:
        """Take the points of a metric's data, which is of a `kind`."""
        delta = kind not in _CUMULATIVE and data.aggregation_temporality == DELTA
        more = (("aggregation_temporality", "delta"),) if delta else ()
        if kind == "sum" and data.is_monotonic and not delta and may_be_open(name):
            name = name if name.endswith(TOTAL) else name + TOTAL
        if kind in _NUMBERS:
            self._numbers(name, points, more)
        else:
            self._distributions(name, points, more, kind == "summary")

    def _numbers(self, name: str, points: Sequence[Any], more: tuple[tuple[str, str], ...]) -> None:
        add, series_of, wrong = self.build.add, self.spelling.series, self.names[name]
        for point in points:
            if point.flags & NO_VALUE:
                continue
            series = series_of(point.attributes, *more)
            value = point.as_double or point.as_int
            if not value:
                if point.WhichOneof("value") is None:
                    self.build.refuse("a point without a value", name)
                    continue
                value = point.as_double  # of -0.0 the sign stays
            ts = point.time_unix_nano or self.recv_ns
            device, labels, site, cohort, excess_ = series
            if (device and not wrong and not excess_ and ts < TS_END) or self._may(
                name, series, ts
            ):
                add(device, ts, name, value, labels, site, cohort)

    def _distributions(
        self, name: str, points: Sequence[Any], more: tuple[tuple[str, str], ...], summary: bool
    ) -> None:
        for point in points:
            if point.flags & NO_VALUE:
                continue
            series = self.spelling.series(point.attributes, *more)
            ts = point.time_unix_nano or self.recv_ns
            if not self._may(name, series, ts):
                continue
            self._add(series, ts, f"{name}.count", point.count)
            if summary or point.HasField("sum"):
                self._add(series, ts, f"{name}.sum", point.sum)
            if summary:
                for at in self.counted(point.quantile_values):
                    quantile = ("quantile", f"{at.quantile:g}")
                    of_quantile = self.spelling.series(point.attributes, *more, quantile)
                    self._add(of_quantile, ts, name, at.value)
            else:
                self.build.histograms += 1

    def _add(self, series: Series, ts: int, name: str, value: float) -> None:
        device, labels, site, cohort, _ = series
        self.build.add(device, ts, name, value, labels, site, cohort)

    def _may(self, name: str, series: Series, ts: int) -> bool:
        """Say whether a point can be taken; count it as refused if not."""
        wrong = self.names[name] or series.excess
        if wrong:
            return self.build.refuse(wrong, name)
        if not series.device:
            return self.build.refuse(NO_DEVICE, f"{name} {(series.labels or '')[:EXAMPLE]}")
        return ts < TS_END or self.build.refuse(TOO_LATE, f"{name} {ts}")


# Answers -----------------------------------------------------------------------------------------


def metrics_response(decoded: Decoded, json: bool = False) -> bytes:
    """Return the ``ExportMetricsServiceResponse`` to what was decoded: how much was refused."""
    response = ExportMetricsServiceResponse()
    if decoded.rejected:
        response.partial_success.rejected_data_points = decoded.rejected
        response.partial_success.error_message = _reasons(decoded)
    return _written(response, json)


def logs_response(decoded: Decoded, json: bool = False) -> bytes:
    """Return the ``ExportLogsServiceResponse`` to what was decoded: how much was refused."""
    response = ExportLogsServiceResponse()
    if decoded.rejected:
        response.partial_success.rejected_log_records = decoded.rejected
        response.partial_success.error_message = _reasons(decoded)
    return _written(response, json)


def error(code: int, message: str, json: bool = False) -> bytes:
    """Return the body of a refusal, a ``google.rpc.Status``.

    Parameters
    ----------
    code
        Of gRPC, below 128: 3 cannot be read, 7 may not, 8 too much, 14 try again, 16 who are you?
    """
    message = message[:MESSAGE]
    if json:
        return msgspec.json.encode({"code": code, "message": message})
    text = message.encode()
    # The two fields by hand: int32 code = 1, string message = 2.
    return bytes([0x08, code, 0x12]) + _varint(len(text)) + text


def _varint(value: int) -> bytes:
    return (bytes([value & 0x7F | 0x80]) + _varint(value >> 7)) if value > 0x7F else bytes([value])


def _reasons(decoded: Decoded) -> str:
    told = (
        f"{one.count} x {one.reason}{f' (first: {one.example})' if one.example else ''}"
        for one in decoded.refused
    )
    return "; ".join(told)[:MESSAGE]


def _written(response: Any, json: bool) -> bytes:
    if json:
        return msgspec.json.encode(json_format.MessageToDict(response))
    written: bytes = response.SerializeToString()
    return written


# Bodies ------------------------------------------------------------------------------------------


def _parse(shape: Shape, body: bytes, limits: Limits, json: bool) -> Any:
    """Return the body as a message of a shape."""
    if json:
        _check_json(body, limits)
    try:
        return _from_json(shape.message, body) if json else shape.parsed(body)
    except TooLarge:
        raise
    except Exception as found:  # of the JSON and protobuf parsers; both raise of all kinds
        raise PayloadError(
            f"the body is no {shape.name} in {'JSON' if json else 'protobuf'}: "
            f"{str(found)[:200] or type(found).__name__}; "
            "Content-Type must say which of the two it is"
        ) from found


def _check_json(body: bytes, limits: Limits) -> None:
    """Raise `TooLarge` where the parser would take too much; signs in texts are counted too."""
    most = limits.cells // CELLS
    wrong = ""
    if len(body) > JSON_MAX:
        wrong = f"{len(body)} bytes of JSON in one body, of at most {JSON_MAX}"
    elif body.count(b"{") > most:
        wrong = f"more than {most} objects in one body"
    elif sum(map(body.count, (b",", b":", b"["))) > VALUES * most:
        wrong = f"more than {VALUES * most} values and names in one body"
    if wrong:
        raise TooLarge(f"{wrong}; send it in several, or as protobuf")


def _from_json(request: Any, body: bytes) -> Any:
    told = json_text.loads(body.decode(), object_hook=_object)
    if not isinstance(told, dict):
        raise ValueError("it is no object")
    return json_format.ParseDict(
        told, request(), ignore_unknown_fields=True, max_recursion_depth=DEPTH
    )


_IDS = frozenset({"traceId", "spanId", "trace_id", "span_id"})


_INNER = METRICS.inner | LOGS.inner
_NUMBER = 64
"""Characters of a number told as text, at most."""


def _object(message: dict[str, Any]) -> dict[str, Any]:
    """Return an object as the parser may have it.

    Ids of traces are dropped: OTLP writes them as hex, where all other bytes are base64. A text in
    place of a message the parser would take for one, and look for a field for each character.
    """
    for name in _IDS & message.keys():
        del message[name]
    for name in _INNER & message.keys():
        told = message[name]
        for one in told if isinstance(told, list) else (told,):
            if isinstance(one, str) and len(one) > _NUMBER:
                raise ValueError(f"{name} is a text, and should be an object")
    return message
