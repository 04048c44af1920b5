"""One list of readings in every protocol: what a sender of each would put on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from tests.connectors.wire import prometheus_pb2 as pb

MS = 1_000_000
SECOND = 1_000_000_000


class Reading(NamedTuple):
    """Times are whole milliseconds, which every protocol can tell."""

    device: str
    ts_ns: int
    metric: str
    value: float
    labels: Mapping[str, str] = {}
    site: str | None = None
    cohort: str | None = None

    def all_labels(self, device: str) -> dict[str, str]:
        """All it is known by, where labels are all there is; `device` is the device's label."""
        known = {device: self.device, "site": self.site, "cohort": self.cohort, **self.labels}
        return {name: value for name, value in sorted(known.items()) if value}


def arrow(readings: Sequence[Reading], **options: object) -> bytes:
    """A long frame; options are those of `pyarrow.ipc.IpcWriteOptions`."""
    table = pa.table(
        {
            "device_id": pa.array([r.device for r in readings]).dictionary_encode(),
            "ts": pa.array([r.ts_ns for r in readings], pa.timestamp("ns", "UTC")),
            "metric": pa.array([r.metric for r in readings]).dictionary_encode(),
            "value": pa.array([r.value for r in readings], pa.float64()),
            "labels": [json.dumps(dict(r.labels)) if r.labels else None for r in readings],
            "site": pa.array([r.site for r in readings], pa.string()),
            "cohort": pa.array([r.cohort for r in readings], pa.string()),
        }
    )
    return arrow_stream(table, **options)


def arrow_stream(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def rows(readings: Iterable[Reading]) -> list[dict[str, object]]:
    return [
        {
            "device_id": r.device,
            "ts": r.ts_ns,
            "metric": r.metric,
            "value": r.value,
            "labels": dict(r.labels) or None,
            "site": r.site,
            "cohort": r.cohort,
        }
        for r in readings
    ]


def ndjson(readings: Iterable[Reading]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows(readings)).encode()


def json_array(readings: Iterable[Reading]) -> bytes:
    return json.dumps(rows(readings), indent=1).encode()


def address(device: str) -> str:
    return f"[{device}]:9100" if ":" in device else f"{device}:9100"


def _by_series(readings: Iterable[Reading]) -> list[tuple[dict[str, str], list[Reading]]]:
    """Neighbouring readings of a series; the device is an instance with a port."""
    return [
        ({"__name__": metric, **labels, "instance": address(labels["instance"])}, list(group))
        for (metric, labels), group in groupby(
            readings, key=lambda r: (r.metric, r.all_labels("instance"))
        )
    ]


def label_bytes(labels: Mapping[str, str]) -> list[bytes]:
    return [
        pb.Label(name=name.encode(), value=value.encode()).SerializeToString()
        for name, value in labels.items()
    ]


def remote_write_v1(readings: Iterable[Reading]) -> bytes:
    """A ``WriteRequest``, not yet packed."""
    request = pb.WriteRequest()
    for labels, group in _by_series(readings):
        samples = [pb.Sample(value=r.value, timestamp=r.ts_ns // MS) for r in group]
        request.timeseries.append(pb.TimeSeries1(labels=label_bytes(labels), samples=samples))
    return request.SerializeToString()


def remote_write_v2(readings: Iterable[Reading]) -> bytes:
    """A ``Request`` of version 2.0, not yet packed."""
    request = pb.Request()
    symbols = {"": 0}
    for labels, group in _by_series(readings):
        refs = [
            symbols.setdefault(text, len(symbols)) for label in labels.items() for text in label
        ]
        samples = [pb.Sample(value=r.value, timestamp=r.ts_ns // MS) for r in group]
        request.timeseries.append(pb.TimeSeries2(labels_refs=refs, samples=samples))
    request.symbols.extend(text.encode() for text in symbols)
    return request.SerializeToString()


def snappy(body: bytes) -> bytes:
    """A block, as remote write is sent."""
    packed: bytes = pa.Codec("snappy").compress(body, asbytes=True)
    return packed


def _escaped(text: str, these: str) -> str:
    return "".join(f"\\{c}" if c in these else c for c in text)


def influx(readings: Iterable[Reading], *, unit_ns: int = 1) -> bytes:
    """Line protocol; a metric's name is cut at its first underscore: measurement and field."""
    lines = []
    for r in readings:
        measurement, _, field = r.metric.partition("_")
        tags = "".join(
            f",{_escaped(name, ',= ')}={_escaped(value, ',= ')}"
            for name, value in r.all_labels("host").items()
        )
        head = _escaped(measurement, ", ") + tags
        lines.append(f"{head} {_escaped(field or 'value', ',= ')}={r.value!r} {r.ts_ns // unit_ns}")
    return "\n".join(lines).encode()


def collectd(readings: Iterable[Reading]) -> bytes:
    """What write_http sends; metrics must be called ``collectd.PLUGIN.TYPE[.SOURCE]``."""
    told = []
    for r in readings:
        _, plugin, kind, *source = r.metric.split(".")
        told.append(
            {
                "values": [r.value],
                "dstypes": ["gauge"],
                "dsnames": source or ["value"],
                "time": r.ts_ns / SECOND,
                "interval": 10.0,
                "host": r.device,
                "plugin": plugin,
                "plugin_instance": r.labels.get("plugin_instance", ""),
                "type": kind,
                "type_instance": r.labels.get("type_instance", ""),
                "meta": {n: v for n, v in (("site", r.site), ("cohort", r.cohort)) if v},
            }
        )
    return json.dumps(told).encode()


def collectd_text(reading: Reading) -> tuple[str, bytes]:
    """What collectd's MQTT plugin publishes: topic and payload."""
    _, plugin, kind, *_ = reading.metric.split(".")
    plugin_instance = reading.labels.get("plugin_instance", "")
    type_instance = reading.labels.get("type_instance", "")
    plugin += f"-{plugin_instance}" if plugin_instance else ""
    kind += f"-{type_instance}" if type_instance else ""
    text = f"{reading.ts_ns / SECOND:.3f}:{reading.value!r}\0"
    return f"collectd/{reading.device}/{plugin}/{kind}", text.encode()
