"""A fleet's telemetry as requests of each protocol, rendered before anything is measured.

Devices report 16 metrics; a request holds those of a block of devices at one instant. Blocks come
in turn, so that each series is sent in the order of time.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Iterator

import cramjam
import numpy as np
import pyarrow as pa
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from benchmarks._load import rendered

SECOND = 1_000_000_000
METRICS = (
    "temperature.celsius",
    "temperature.ambient_celsius",
    "cpu.utilization_ratio",
    "memory.utilization_ratio",
    "battery.soc_ratio",
    "net.rtt_ms",
    "net.jitter_ms",
    "net.loss_ratio",
    "net.bandwidth_mbit_s",
    "device.uptime",
    "storage.critical_warning",
    "load1",
    "load5",
    "processes",
    "context_switches",
    "open_files",
)
"""Eleven that the engine reads, and five that it does not."""
FAULT = "storage.critical_warning"


def values(device: np.ndarray, step: int) -> np.ndarray:
    """Return [devices, metrics] what devices report at a step: healthy, and never the same."""
    wave = 0.5 + 0.4 * np.sin(device[:, None] * 0.7 + np.arange(len(METRICS)) + 0.1 * step)
    wave[:, METRICS.index("device.uptime")] = 1e6 + device + step
    wave[:, METRICS.index(FAULT)] = 0.0
    return wave


def names(device: np.ndarray) -> list[str]:
    return [f"gw-{i:06d}" for i in device.tolist()]


def arrow_table(device: np.ndarray, ts_ns: int, step: int) -> pa.Table:
    told = values(device, step)
    columns = {
        "device_id": pa.array(names(device)).dictionary_encode(),
        "ts": pa.array(np.full(len(device), ts_ns)).cast(pa.timestamp("ns", tz="UTC")),
    }
    return pa.table(columns | {name: told[:, k] for k, name in enumerate(METRICS)})


def arrow(device: np.ndarray, ts_ns: int, step: int) -> bytes:
    table, sink = arrow_table(device, ts_ns, step), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def ndjson(device: np.ndarray, ts_ns: int, step: int) -> bytes:
    told = values(device, step).round(4).tolist()
    rows = (
        json.dumps({"device_id": name, "ts": ts_ns, **dict(zip(METRICS, row, strict=True))})
        for name, row in zip(names(device), told, strict=True)
    )
    return ("\n".join(rows) + "\n").encode()


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of a protobuf message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


EXPORTED = (
    ("node_hwmon_temp_celsius", {"chip": "thermal_thermal_zone0", "sensor": "temp1"}),
    ("node_boot_time_seconds", {}),
    ("node_cpu_seconds_total", {"cpu": "0", "mode": "idle"}),
    ("node_memory_MemAvailable_bytes", {}),
    ("node_memory_MemTotal_bytes", {}),
    ("node_filesystem_avail_bytes", {"device": "/dev/mmcblk0p2", "mountpoint": "/"}),
    ("node_disk_written_bytes_total", {"device": "mmcblk0"}),
    ("node_disk_io_time_seconds_total", {"device": "mmcblk0"}),
    ("node_network_receive_bytes_total", {"device": "eth0"}),
    ("node_network_transmit_bytes_total", {"device": "eth0"}),
    ("smartctl_device_percentage_used", {"device": "nvme0"}),
    ("smartctl_device_temperature", {"device": "nvme0", "temperature_type": "current"}),
    ("node_load1", {}),
    ("node_load5", {}),
    ("node_procs_running", {}),
    ("node_context_switches_total", {}),
)
"""What node exporter and smartctl exporter call the like, with the labels they give."""


def exported(device: np.ndarray, ts_ns: int, step: int) -> np.ndarray:
    """Return [devices, series] values as those exporters have them."""
    told = values(device, step) * 100
    told[:, 1] = ts_ns // SECOND - step - 1e6 - device  # booted long ago, and not since
    for counter in (2, 6, 7, 8, 9, 15):
        told[:, counter] = 1e9 + device * 1000 + step * 4096
    told[:, 10] = device % 60
    return told


def _labels(name: str, metric: str, own: dict[str, str]) -> bytes:
    told = {
        "__name__": metric,
        "environment": "production",
        "instance": f"{name}:9100",
        "job": "edge",
        "region": "eu-west",
        "site": f"site-{int(name[-2:])}",
        "team": "fleet",
    } | own
    pairs = (_field(1, k.encode()) + _field(2, v.encode()) for k, v in sorted(told.items()))
    return b"".join(_field(1, pair) for pair in pairs)


def remote_write(device: np.ndarray, ts_ns: int, step: int) -> bytes:
    """Prometheus remote write 1.0, compressed: seven to nine labels a series."""
    told = exported(device, ts_ns, step)
    when = b"\x10" + _varint(ts_ns // 1_000_000)
    series = (
        _field(1, _labels(name, metric, own) + _field(2, b"\x09" + struct.pack("<d", v) + when))
        for name, row in zip(names(device), told.tolist(), strict=True)
        for (metric, own), v in zip(EXPORTED, row, strict=True)
    )
    return bytes(cramjam.snappy.compress_raw(b"".join(series)))


def otlp(device: np.ndarray, ts_ns: int, step: int) -> bytes:
    """OTLP metrics as protobuf, gzip: a resource for each device."""
    request = ExportMetricsServiceRequest()
    told = values(device, step).tolist()
    for name, row in zip(names(device), told, strict=True):
        resource = request.resource_metrics.add()
        resource.resource.attributes.add(key="host.name").value.string_value = name
        scope = resource.scope_metrics.add()
        for metric, value in zip(METRICS, row, strict=True):
            scope.metrics.add(name=metric).gauge.data_points.add(
                time_unix_nano=ts_ns, as_double=value
            )
    return gzip.compress(request.SerializeToString(), 1)


def influx(device: np.ndarray, ts_ns: int, step: int) -> bytes:
    told = values(device, step).round(4).tolist()
    lines = (
        f"edge,host={name} "
        + ",".join(f"{metric}={value}" for metric, value in zip(METRICS, row, strict=True))
        + f" {ts_ns}"
        for name, row in zip(names(device), told, strict=True)
    )
    return "\n".join(lines).encode()


PROTOCOLS: dict[str, tuple[str, Callable[[np.ndarray, int, int], bytes], dict[str, str], int, int]]
PROTOCOLS = {
    "arrow": (
        "/v1/telemetry",
        arrow,
        {"Content_Type": "application/vnd.apache.arrow.stream"},
        5000,
        1,
    ),
    "ndjson": ("/v1/telemetry", ndjson, {"Content_Type": "application/x-ndjson"}, 500, 1),
    "remote_write": (
        "/api/v1/write",
        remote_write,
        {
            "Content_Type": "application/x-protobuf",
            "Content_Encoding": "snappy",
            "X_Prometheus_Remote_Write_Version": "0.1.0",
        },
        125,
        16,
    ),
    "otlp": (
        "/v1/metrics",
        otlp,
        {"Content_Type": "application/x-protobuf", "Content_Encoding": "gzip"},
        125,
        16,
    ),
    "influx": ("/api/v2/write?precision=ns", influx, {"Content_Type": "text/plain"}, 250, 16),
}
"""Path, encoder, headers, devices of a request, and what of each device is counted."""


def requests(
    protocol: str,
    n: int,
    begin_ns: int,
    *,
    devices: int,
    headers: dict[str, str] | None = None,
    block: int = 0,
) -> list[bytes]:
    """Return `n` requests; when all devices have reported, a second is over."""
    path, encode, told, usual, _ = PROTOCOLS[protocol]
    return [
        rendered(
            path, encode(device, begin_ns + step * SECOND, step), "aiops", **told, **headers or {}
        )
        for device, step in _turns(n, devices, block or usual)
    ]


def _turns(n: int, devices: int, block: int) -> Iterator[tuple[np.ndarray, int]]:
    blocks = max(1, devices // block)
    for k in range(n):
        step, place = divmod(k, blocks)
        yield np.arange(place * block, (place + 1) * block), step


def counted(protocol: str, block: int = 0) -> int:
    """Return how many rows, samples or points a request holds."""
    *_, usual, each = PROTOCOLS[protocol]
    return (block or usual) * each
