"""Valid payloads of every protocol, and what may be made of them by chance or malice."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from aiops.connectors.wire import arrow, collectd, influx, mqtt_json, ndjson, otlp, remote_write
from aiops.connectors.wire.decoded import Decoded
from aiops.connectors.wire.limits import Limits, unpack
from aiops.connectors.wire.sparkplug import Sparkplug
from tests.connectors.wire import encoders as encode
from tests.connectors.wire import encoders_more as encode_more
from tests.connectors.wire.encoders import Reading
from tests.connectors.wire.mutations import mutated

NOW = 1_790_000_000_000_000_000
LIMITS = Limits()
ARROW = "application/vnd.apache.arrow.stream"
NDJSON = "application/x-ndjson"
PROTOBUF = "application/x-protobuf"
V2 = f"{PROTOBUF};proto=io.prometheus.write.v2.Request"
JSON = "application/json"
Decode = Callable[[bytes], Decoded]


@dataclass(frozen=True)
class Protocol:
    """How a payload is sent, and the codec behind that."""

    name: str
    valid: tuple[bytes, ...]
    decode: Decode
    path: str = ""
    """Over HTTP; empty: over MQTT."""
    headers: dict[str, str] = field(default_factory=dict)
    encoding: str = ""
    """How it is always packed."""


READINGS = [
    Reading(f"gw-{k % 3}", NOW + k * 1_000_000_000, metric, 20.0 + k, labels, "lyon", "cm4")
    for k, (metric, labels) in enumerate(
        [("node_load1", {}), ("node_hwmon_temp_celsius", {"chip": "a"}), ("disk_used_percent", {})]
        * 4
    )
]
BARE = [one._replace(labels={}) for one in READINGS]
COLLECTD = [one._replace(metric="collectd.load.load.shortterm") for one in READINGS]


def _arrow_streams() -> tuple[bytes, ...]:
    times = pa.array([NOW, NOW + 1, None], pa.timestamp("ns", "UTC"))
    names = pa.array(["gw-0", None, "gw-2"])
    columns = {
        "temperature_celsius": pa.array([1.0, float("nan"), float("inf")]),
        "n": pa.array([1, None, -(2**62)], pa.int64()),
        "flag": pa.array([True, None, False]),
        "word": pa.array(["up", None, ""]),
        "list": pa.array([[1, 2], [], None]),
        "struct": pa.array([{"a": 1}, None, {"a": 2}]),
        "money": pa.array([1, 2, None]).cast(pa.decimal128(38, 3)),
        "bytes": pa.array([b"\xff", None, b""]),
        "day": pa.array([0, 1, None], pa.date32()),
        "span": pa.array([0, 1, None], pa.duration("us")),
    }
    wide = pa.table({"device_id": names, "ts": times, **columns})
    mapped = pa.table(
        {
            "device_id": names,
            "ts": times,
            "metric": ["a", "b", None],
            "value": [1.0, None, 3.0],
            "labels": pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
        }
    )
    return tuple(encode.arrow_stream(one) for one in (wide, mapped))


def _logs() -> bytes:
    request = ExportLogsServiceRequest()
    of_device = request.resource_logs.add()
    encode_more.attributes(of_device.resource.attributes, {"host.name": "gw-1"})
    record = of_device.scope_logs.add().log_records.add(time_unix_nano=NOW, severity_number=9)
    record.body.string_value = "disk is full"
    return request.SerializeToString()


def _http(name: str, path: str, kind: str, decode: Any, *valid: bytes, **told: Any) -> Protocol:
    more = told.pop("more", {})
    headers = {"content-type": kind} | ({"content-encoding": "snappy"} if told else {})
    return Protocol(name, valid, lambda b: decode(b, NOW, LIMITS, **more), path, headers, **told)


def protocols() -> list[Protocol]:
    """Return every protocol with valid payloads."""
    spark = Sparkplug(LIMITS)
    birth, data, *_ = [one for one in encode_more.sparkplug(BARE) if one[0].endswith("/gw-0")]
    text_topic, text = encode.collectd_text(COLLECTD[0])

    def mqtt(topic: str) -> Decode:
        return lambda body: mqtt_json.decode(topic, body, NOW, LIMITS)

    def sparkplug(topic: str) -> Decode:
        return lambda body: spark.take(topic, body, NOW)[0]

    return [
        _http(
            "arrow", "/v1/telemetry", ARROW, arrow.decode, encode.arrow(READINGS), *_arrow_streams()
        ),
        _http(
            *("ndjson", "/v1/telemetry", NDJSON, ndjson.decode),
            *(encode.ndjson(READINGS), b'{"device_id":"gw-1","ts":1790000000,"a":1,"b":"x"}\n'),
        ),
        _http("json", "/v1/telemetry", JSON, ndjson.decode_json, encode.json_array(READINGS)),
        _http(
            *("remote_write", "/api/v1/write", PROTOBUF, remote_write.decode_v1),
            encode.remote_write_v1(READINGS),
            encoding="snappy",
        ),
        _http(
            *("remote_write_2", "/api/v1/write", V2, remote_write.decode_v2),
            encode.remote_write_v2(READINGS),
            encoding="snappy",
        ),
        _http("otlp", "/v1/metrics", PROTOBUF, otlp.decode_metrics, encode_more.otlp(READINGS)),
        _http(
            *("otlp_json", "/v1/metrics", JSON, otlp.decode_metrics),
            encode_more.otlp_json(READINGS),
            more={"json": True},
        ),
        _http("otlp_logs", "/v1/logs", PROTOBUF, otlp.decode_logs, _logs()),
        _http("influx", "/api/v2/write", "text/plain", influx.decode, encode.influx(READINGS)),
        _http("collectd", "/collectd", JSON, collectd.decode, encode.collectd(COLLECTD)),
        Protocol(
            "mqtt",
            tuple(
                body
                for _, body in [
                    *encode_more.mqtt_rows(READINGS),
                    *encode_more.mqtt_objects(BARE),
                    *encode_more.senml(BARE),
                ]
            ),
            mqtt("fleet/gw-1/metrics"),
        ),
        Protocol("sparkplug_birth", (birth[1],), sparkplug(birth[0])),
        Protocol("sparkplug", (data[1],), sparkplug(data[0])),
        Protocol(
            "collectd_text",
            (text,),
            lambda body: collectd.decode_text(text_topic, body, NOW, LIMITS),
        ),
    ]


def packings() -> dict[str, Callable[[bytes], bytes]]:
    """Return how a body is packed, by ``Content-Encoding``."""
    zstd = pa.Codec("zstd")
    return {
        "gzip": lambda body: gzip.compress(body, 1),
        "deflate": zlib.compress,
        "zstd": lambda body: zstd.compress(body, asbytes=True),
        "snappy": encode.snappy,
    }


@dataclass(frozen=True)
class Payload:
    """One that is sent."""

    protocol: Protocol
    body: bytes
    encoding: str

    def decode(self) -> Decoded:
        """Decode it as the service does."""
        return self.protocol.decode(unpack(self.body, self.encoding, LIMITS))

    @property
    def headers(self) -> dict[str, str]:
        """Of the request that carries it."""
        return self.protocol.headers | {"content-encoding": self.encoding or "identity"}


WORDS = [b"\xff" * 8, b"\0" * 8, b"1e999", b"NaN", b'"', b"{" * 50, b"[" * 50, b"\\ud800", b"\n\n"]


def hostile(seed: int, of: list[Protocol] | None = None) -> Iterator[Payload]:
    """Yield payloads without end: turned bits, cuts, pieces of others, lengths, hostile words."""
    rng = np.random.default_rng(seed)
    every, pack = of or protocols(), packings()
    whole = [body for one in every for body in one.valid]
    while True:
        protocol = every[rng.integers(len(every))]
        body = protocol.valid[rng.integers(len(protocol.valid))]
        if rng.random() < 0.15:  # the head of this and the tail of another
            other = whole[rng.integers(len(whole))]
            body = body[: rng.integers(len(body) + 1)] + other[rng.integers(len(other) + 1) :]
        if rng.random() < 0.15:
            at = rng.integers(len(body) + 1)
            body = body[:at] + WORDS[rng.integers(len(WORDS))] + body[at:]
        if rng.random() < 0.15 and len(body) >= 8:  # what may be a length becomes a great one
            at, size = rng.integers(len(body) - 4), int(2 ** rng.integers(1, 32)) - 1
            body = body[:at] + size.to_bytes(4, "little") + body[at + 4 :]
        if rng.random() < 0.6:
            (body,) = mutated(body, 1, int(rng.integers(2**32)))
        encoding = protocol.encoding
        if not encoding and protocol.path and rng.random() < 0.2:
            encoding = list(pack)[rng.integers(len(pack))]
        if encoding:
            body = pack[encoding](body)
            if rng.random() < 0.15:
                (body,) = mutated(body, 1, int(rng.integers(2**32)))
        yield Payload(protocol, body, encoding)


def valid() -> Iterator[Payload]:
    """Yield each valid payload once."""
    pack = packings()
    for one in protocols():
        for body in one.valid:
            yield Payload(one, pack[one.encoding](body) if one.encoding else body, one.encoding)
