"""OpenTelemetry logs come in, and a finding goes out that quotes the line."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.connectors.wire.encoders_more import attributes
from tests.service.running import Running, until

SECOND_NS = 1_000_000_000
USUAL = "session opened for user {}"
FAULT = "EXT4-fs error (device mmcblk0p2): block {}: checksum is bad"


def request(lines: list[tuple[int, int, str]]) -> bytes:
    """Return an OTLP request with records of a device: time, severity and body."""
    request = ExportLogsServiceRequest()
    of_device = request.resource_logs.add()
    attributes(of_device.resource.attributes, {"host.name": "gw-7"})
    for ts, severity, body in lines:
        record = of_device.scope_logs.add().log_records.add(time_unix_nano=ts)
        record.severity_number = severity
        record.body.string_value = body
    return request.SerializeToString()


def test_a_burst_of_errors_over_otlp_is_a_finding() -> None:
    with tempfile.TemporaryDirectory() as folder, Running(Path(folder) / "data") as service:

        def send(lines: list[tuple[int, int, str]]) -> None:
            headers = {"content-type": "application/x-protobuf"}
            answer = service.client.post("/v1/logs", content=request(lines), headers=headers)
            assert answer.status_code == 200, answer.text

        now = time.time_ns()
        past = [now - (3 * 86_400 - 300 * k) * SECOND_NS for k in range(860)]
        send([(ts, 9, USUAL.format(k)) for k, ts in enumerate(past)])
        service.wait_judged()
        assert not service.items("/v1/findings")
        begun = time.time_ns()
        for k in range(400):
            if k % 100 == 0:
                send([(time.time_ns() + n, 17, FAULT.format(977 * (k + n))) for n in range(100)])
                time.sleep(0.5)

        def found() -> list[dict[str, object]]:
            return [f for f in service.items("/v1/findings") if f["rule"] == "error_burst"]

        until(found)
        finding = found()[0]
        assert finding["device_id"] == "gw-7"
        assert finding["status"] == "firing"
        assert "errors" in str(finding["sentence"])
        assert time.time_ns() > begun
