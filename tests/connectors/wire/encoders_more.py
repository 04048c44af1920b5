"""The same list of readings in the protocols of telemetry agents, brokers and industry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import count

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from aiops.connectors.wire.sparkplug_b_pb2 import Metric, Payload
from tests.connectors.wire.encoders import MS, SECOND, Reading

Message = tuple[str, bytes]
"""Topic and payload."""
DOUBLE, INT64 = 10, 4


def attributes(into, labels) -> None:
    for name, value in labels.items():
        into.add(key=name).value.string_value = value


def otlp_request(readings: Iterable[Reading]) -> ExportMetricsServiceRequest:
    """A resource for every device and a gauge for every metric of it."""
    request = ExportMetricsServiceRequest()
    scopes, gauges = {}, {}
    for r in readings:
        place = r.device, r.site, r.cohort
        if place not in scopes:
            of_device = request.resource_metrics.add()
            attributes(of_device.resource.attributes, r._replace(labels={}).all_labels("host.name"))
            scopes[place] = of_device.scope_metrics.add()
        if (place, r.metric) not in gauges:
            gauges[place, r.metric] = scopes[place].metrics.add(name=r.metric).gauge
        point = gauges[place, r.metric].data_points.add(time_unix_nano=r.ts_ns, as_double=r.value)
        attributes(point.attributes, r.labels)
    return request


def otlp(readings: Iterable[Reading]) -> bytes:
    return otlp_request(readings).SerializeToString()


def otlp_json(readings: Iterable[Reading]) -> bytes:
    return json_format.MessageToJson(otlp_request(readings), indent=None).encode()


def mqtt_rows(readings: Iterable[Reading]) -> list[Message]:
    """An array of rows for every device."""
    rows: dict[str, list[dict[str, object]]] = {}
    for r in readings:
        row = {"metric": r.metric, "value": r.value, "ts": r.ts_ns, "labels": dict(r.labels)}
        place = {"site": r.site, "cohort": r.cohort}
        rows.setdefault(r.device, []).append(row | {k: v for k, v in place.items() if v})
    return [(f"fleet/{d}/metrics", json.dumps(of).encode()) for d, of in rows.items()]


def mqtt_objects(readings: Iterable[Reading]) -> list[Message]:
    """An object for every device and time; it has no place for labels."""
    objects: dict[tuple[str, int], dict[str, object]] = {}
    for r in readings:
        assert not r.labels
        place = {"ts": r.ts_ns / SECOND, "site": r.site, "cohort": r.cohort}
        objects.setdefault((r.device, r.ts_ns), place)[r.metric] = r.value
    return [(f"fleet/{d}/metrics", json.dumps(of).encode()) for (d, _), of in objects.items()]


def senml(readings: Iterable[Reading]) -> list[Message]:
    """A pack for every device; it has no place for labels, site and cohort."""
    packs: dict[str, list[dict[str, object]]] = {}
    for r in readings:
        assert not r.labels
        pack = packs.setdefault(r.device, [])
        base = {} if pack else {"bn": f"{r.device}/", "bver": 10}
        pack.append(base | {"n": r.metric, "t": r.ts_ns / SECOND, "v": r.value})
    return [(f"fleet/{d}/metrics", json.dumps(pack).encode()) for d, pack in packs.items()]


def sparkplug(readings: Sequence[Reading], group: str = "plant") -> list[Message]:
    """A birth that names everything and tells nothing, and a message for every reading after it.

    It has no place for labels, site and cohort.
    """
    names: dict[str, dict[str, int]] = {}
    for r in readings:
        assert not r.labels
        aliases = names.setdefault(r.device, {})
        aliases.setdefault(r.metric, len(aliases))
    first_ms = min((r.ts_ns for r in readings), default=0) // MS
    messages, seq = [], {device: count(1) for device in names}
    for device, aliases in names.items():
        told = [
            Metric(name=name, alias=alias, datatype=DOUBLE, is_null=True)
            for name, alias in aliases.items()
        ]
        told.append(Metric(name="bdSeq", datatype=INT64, long_value=0))
        birth = Payload(timestamp=first_ms, seq=0, metrics=told)
        messages.append((f"spBv1.0/{group}/NBIRTH/{device}", birth.SerializeToString()))
    for r in readings:
        alias = names[r.device][r.metric]
        metric = Metric(alias=alias, timestamp=r.ts_ns // MS, double_value=r.value)
        data = Payload(timestamp=r.ts_ns // MS, seq=next(seq[r.device]) % 256, metrics=[metric])
        messages.append((f"spBv1.0/{group}/NDATA/{r.device}", data.SerializeToString()))
    return messages
