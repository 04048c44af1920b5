from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from aiops.service.app import make_app
from aiops.service.identity import DemoOperator
from aiops.service.service import Service
from aiops.service.settings import Bounds, Settings
from tests.connectors.wire.encoders import Reading, remote_write_v1, snappy

NDJSON = {"content-type": "application/x-ndjson"}
LINES = {"content-type": "text/plain"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
PROTOBUF = {"content-type": "application/x-protobuf"}
NOW = time.time_ns()
MS = 1_000_000


def row(**told: object) -> str:
    return json.dumps({"device_id": "gw-1", "ts": NOW, "temp_c": 40} | told) + "\n"


def stream() -> bytes:
    table = pa.table({"device_id": ["gw-1"], "ts": [NOW], "temp_c": [40.0]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


Request = tuple[str, bytes | str, dict[str, str]]


def sent(data: Path, *requests: Request) -> list[int]:
    """Send requests, which must be taken; return how long the log is after each."""
    answers = answered(Settings(data=data), *requests)
    assert {answer.is_success for answer, _ in answers} == {True}
    return [length for _, length in answers]


def answered(settings: Settings, *requests: Request) -> list[tuple[httpx.Response, int]]:
    """Send requests to a service that does not judge; return its answers and log's length."""

    async def send() -> list[tuple[httpx.Response, int]]:
        demo = DemoOperator()
        service = Service(settings, demo=demo)
        transport = httpx.ASGITransport(make_app(service))
        headers = {"Authorization": f"Bearer {demo.token}"}
        answers = []
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://aiops") as client:
                for path, body, more in requests:
                    answer = await client.post(path, content=body, headers=headers | more)
                    answers.append((answer, service.log.last))
        finally:
            await asyncio.to_thread(service.stop)
        return answers

    return asyncio.run(send())


TIMED = {
    "ndjson": ("/v1/telemetry", row(), NDJSON),
    "arrow": ("/v1/telemetry", stream(), ARROW),
    "influx": ("/write", f"smart,host=gw-1 temp=40 {NOW}", LINES),
}


@pytest.mark.parametrize("request_", TIMED.values(), ids=list(TIMED))
def test_what_is_sent_again_is_taken_once_also_after_a_restart(
    tmp_path: Path, request_: Request
) -> None:
    assert sent(tmp_path, request_, request_) == [1, 1]
    assert sent(tmp_path, request_) == [1]


def test_what_has_no_time_is_new_each_time(tmp_path: Path) -> None:
    untimed = "/write", "smart,host=gw-1 temp=40", LINES
    assert sent(tmp_path, untimed, untimed) == [1, 2]


def test_what_differs_in_a_value_or_a_time_is_new(tmp_path: Path) -> None:
    bodies = [row(), row(temp_c=41), row(ts=NOW + 1), row()]
    found = sent(tmp_path, *(("/v1/telemetry", body, NDJSON) for body in bodies))
    assert found == [1, 2, 3, 3]


def test_a_key_of_its_own_tells_two_that_are_the_same_apart(tmp_path: Path) -> None:
    keyed = [("/v1/telemetry", row(), NDJSON | {"idempotency-key": key}) for key in "aab"]
    assert sent(tmp_path, *keyed) == [1, 1, 2]


def test_prometheus_is_told_to_wait_in_the_way_that_it_heeds(tmp_path: Path) -> None:
    # On 429 it gives a batch up, unless `retry_on_http_429` is set.
    readings = [Reading("gw-1", NOW // MS * MS + n * MS, "up", float(n), {}) for n in range(4)]
    settings = Settings(data=tmp_path, bounds=Bounds(device_burst_rows=1, device_rows_per_s=1e-3))
    write = "/api/v1/write", snappy(remote_write_v1(readings)), PROTOBUF
    first, second = answered(settings, write, write)
    assert (first[0].status_code, first[1]) == (204, 1)
    assert (second[0].status_code, second[1]) == (503, 1)
    assert int(second[0].headers["retry-after"]) >= 1
