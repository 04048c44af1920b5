"""Small bodies that stock libraries make large, deep or slow."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.connectors.wire import prometheus_pb2 as pb
from tests.connectors.wire.encoders import snappy
from tests.service.payloads import ARROW, JSON, NDJSON, NOW, PROTOBUF, V2

MIB = 1 << 20
GIB = 1 << 30
LINE = b'{"device_id":"bomb","ts":1790000000,"a":1}\n'


class Bomb(NamedTuple):
    """A request."""

    name: str
    path: str
    body: bytes
    kind: str
    encoding: str = "identity"
    by_row: bool = False
    """Its one row is refused, which its protocol tells by 200."""


def gzip_of_zeros(size: int) -> bytes:
    """Return a gzip member of so many zeros, made without packing more than a MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    mib = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    return head + mib * (size // MIB) + b"\x03\0" + bytes(8)


def zstd_of_zeros(size: int) -> bytes:
    """Return a zstd frame of so many zeros: blocks of 128 KiB, each told in 4 bytes (RFC 8878)."""
    block = 128 * 1024
    run = (1 << 1 | block << 3).to_bytes(3, "little") + b"\0"
    last = (1 | 1 << 1 | block << 3).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd" + b"\0\x38" + run * (size // block - 1) + last


def zstd_of_a_declared(size: int) -> bytes:
    """Return a zstd frame that says it is so large, with a window as large, and ends."""
    return b"\x28\xb5\x2f\xfd" + b"\xe0" + size.to_bytes(8, "little") + b"\1\0\0"


def arrow_packed_inside() -> bytes:
    """Return a stream of 1.6 GB: the same packed batch a hundred times."""
    rows = 700_000
    zeros = pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(bytes(8 * rows))])
    batch = pa.record_batch([zeros] * 3, names=["device_id", "ts", "x"])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as stream:
        for _ in range(100):
            stream.write_batch(batch)
    return sink.getvalue().to_pybytes()


def arrow_of_nulls(rows: int) -> bytes:
    """Return a stream of so many rows, none of which needs a byte."""
    nothing = pa.Array.from_buffers(pa.null(), rows, [None])
    batch = pa.record_batch([nothing] * 3, names=["device_id", "ts", "x"])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(allow_64bit=True)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as stream:
        stream.write_batch(batch)
    return sink.getvalue().to_pybytes()


def remote_write(labels: list[tuple[bytes, bytes]]) -> bytes:
    """Return a request of one series with these labels."""
    known = [(b"__name__", b"m"), (b"instance", b"bomb"), *labels]
    told = [pb.Label(name=name, value=value).SerializeToString() for name, value in known]
    series = pb.TimeSeries1(labels=told, samples=[pb.Sample(value=1.0, timestamp=NOW // 10**6)])
    return pb.WriteRequest(timeseries=[series]).SerializeToString()


def otlp(attributes: list[tuple[str, str]]) -> bytes:
    """Return a request of one point with these attributes."""
    request = ExportMetricsServiceRequest()
    of_device = request.resource_metrics.add()
    of_device.resource.attributes.add(key="host.name").value.string_value = "bomb"
    gauge = of_device.scope_metrics.add().metrics.add(name="m").gauge
    point = gauge.data_points.add(time_unix_nano=NOW, as_double=1.0)
    for name, value in attributes:
        point.attributes.add(key=name).value.string_value = value
    return request.SerializeToString()


def bombs() -> Iterator[Bomb]:
    """Yield all of them."""
    telemetry, metrics, write = "/v1/telemetry", "/v1/metrics", "/api/v1/write"
    many = [(f"l{k}", "v") for k in range(100_000)]
    long = [("l", "v" * MIB)]
    of_bytes = [(name.encode(), value.encode()) for name, value in many]
    deep = 200_000

    yield Bomb("gzip of 2 GiB", telemetry, gzip_of_zeros(2 * GIB), NDJSON, "gzip")
    yield Bomb("zstd of 2 GiB", telemetry, zstd_of_zeros(2 * GIB), NDJSON, "zstd")
    yield Bomb("zstd of 2 GiB, OTLP", metrics, zstd_of_zeros(2 * GIB), PROTOBUF, "zstd")
    yield Bomb("zstd that declares an EiB", metrics, zstd_of_a_declared(1 << 60), PROTOBUF, "zstd")
    yield Bomb("gzip of gzip", telemetry, gzip.compress(gzip_of_zeros(2 * GIB)), NDJSON, "gzip")
    yield Bomb(
        *("gzip, gzip", telemetry, gzip.compress(gzip_of_zeros(2 * GIB)), NDJSON, "gzip, gzip")
    )
    yield Bomb("deflate of 2 GiB", telemetry, gzip_of_zeros(2 * GIB)[10:-8], NDJSON, "deflate")
    yield Bomb(
        "snappy that declares 4 GiB", write, b"\xff\xff\xff\xff\x0f" + b"a" * 64, PROTOBUF, "snappy"
    )
    yield Bomb("Arrow packed inside", telemetry, arrow_packed_inside(), ARROW)
    yield Bomb("Arrow of 2^40 nulls", telemetry, arrow_of_nulls(1 << 40), ARROW)
    yield Bomb("deep arrays", telemetry, b"[" * deep, JSON)
    yield Bomb("deep lines", telemetry, b'{"device_id":' * deep + b"\n", NDJSON, by_row=True)
    value = LINE[:-2] + b',"x":' + b"[" * deep + b"]" * deep + b"}\n"
    yield Bomb("deep value", telemetry, value, NDJSON, by_row=True)
    yield Bomb("deep OTLP", metrics, b'{"resourceMetrics":[' * deep, JSON)
    yield Bomb("deep collectd", "/collectd", b"[" * deep, JSON)
    deep_bytes = b""
    for _ in range(3_000):
        size, head = len(deep_bytes), b"\x0a"
        while size > 127:
            head, size = head + bytes([size & 127 | 128]), size >> 7
        deep_bytes = head + bytes([size]) + deep_bytes
    yield Bomb("deep protobuf", metrics, deep_bytes, PROTOBUF)
    for word in ("NaN", "Infinity"):
        row = LINE.replace(b'"a":1', b'"a":' + word.encode())
        yield Bomb(f"JSON {word}", telemetry, b"[" + row + b"]", JSON)
    twice = LINE.replace(b'"a":1', b'"device_id":"bomb-2"')
    yield Bomb("JSON names twice", telemetry, twice, NDJSON, by_row=True)
    yield Bomb("many empty series", write, snappy(b"\x0a\0" * (4 * MIB)), PROTOBUF, "snappy")
    symbols = b"\x22\0" * (4 * MIB)
    yield Bomb("many empty symbols", write, snappy(symbols), V2, "snappy")
    yield Bomb("100,000 labels", write, snappy(remote_write(of_bytes)), PROTOBUF, "snappy")
    yield Bomb(
        "a label of a MiB", write, snappy(remote_write([(b"l", b"v" * MIB)])), PROTOBUF, "snappy"
    )
    yield Bomb("100,000 attributes", metrics, otlp(many), PROTOBUF, by_row=True)
    yield Bomb("an attribute of a MiB", metrics, otlp(long), PROTOBUF, by_row=True)
    tags = b",".join(b"%s=%s" % pair for pair in of_bytes)
    yield Bomb("100,000 tags", "/write", b"m,host=bomb," + tags + b" a=1", "text/plain")
    yield Bomb("a tag of a MiB", "/write", b"m,host=bomb,l=" + b"v" * MIB + b" a=1", "text/plain")
    row = {"device_id": "bomb", "ts": NOW, "metric": "m", "value": 1.0}
    labelled = json.dumps(row | {"labels": dict(many)}).encode()
    yield Bomb("100,000 labels in JSON", telemetry, labelled, JSON, by_row=True)
    wide = {"device_id": "bomb", "ts": NOW} | {f"c{k}": 1 for k in range(100_000)}
    yield Bomb("100,000 columns", telemetry, json.dumps(wide).encode(), JSON, by_row=True)
    yield Bomb("a body of 9 MiB", telemetry, LINE * (9 * MIB // len(LINE)), NDJSON)
    yield Bomb("a million objects", telemetry, b"[" + b"{}," * MIB + b"{}]", JSON)
    yield Bomb("a million lines", telemetry, b"{}\n" * MIB, NDJSON)


def many_messages() -> Bomb:
    """Return a request of four million messages that hold nothing."""
    return Bomb("many empty messages", "/v1/metrics", b"\x0a\0" * (4 * MIB - 1), PROTOBUF)
