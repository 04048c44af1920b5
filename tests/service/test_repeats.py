from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from aiops.service.app import make_app
from aiops.service.identity import DemoOperator
from aiops.service.service import Service
from aiops.service.settings import Settings

NDJSON = {"content-type": "application/x-ndjson"}
LINES = {"content-type": "text/plain"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
NOW = time.time_ns()


def row(**told: object) -> str:
    return json.dumps({"device_id": "gw-1", "ts": NOW, "temp_c": 40} | told) + "\n"


def stream() -> bytes:
    table = pa.table({"device_id": ["gw-1"], "ts": [NOW], "temp_c": [40.0]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def sent(data: Path, *requests: tuple[str, bytes | str, dict[str, str]]) -> list[Any]:
    """Send requests to a service that does not judge; return how long its log is after each."""

    async def send() -> list[Any]:
        demo = DemoOperator()
        service = Service(Settings(data=data), demo=demo)
        transport = httpx.ASGITransport(make_app(service))
        headers = {"Authorization": f"Bearer {demo.token}"}
        lengths = []
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://aiops") as client:
                for path, body, more in requests:
                    answer = await client.post(path, content=body, headers=headers | more)
                    assert answer.is_success, answer.text
                    lengths.append(service.log.last)
        finally:
            await asyncio.to_thread(service.stop)
        return lengths

    return asyncio.run(send())


TIMED = {
    "ndjson": ("/v1/telemetry", row(), NDJSON),
    "arrow": ("/v1/telemetry", stream(), ARROW),
    "influx": ("/write", f"smart,host=gw-1 temp=40 {NOW}", LINES),
}


@pytest.mark.parametrize("request_", TIMED.values(), ids=list(TIMED))
def test_what_is_sent_again_is_taken_once_also_after_a_restart(
    tmp_path: Path, request_: tuple[str, bytes | str, dict[str, str]]
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
