from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.service.running import Running, until

NDJSON = {"content-type": "application/x-ndjson"}


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_what_was_acknowledged_is_there_after_a_kill_and_after_a_stop(tmp_path: Path) -> None:
    now = time.time_ns()
    with Running(tmp_path / "data") as service:
        sent = lines(*({"device_id": "gw-1", "ts": now + i, "temp_c": 40 + i} for i in range(3)))
        answer = service.client.post("/v1/telemetry", content=sent, headers=NDJSON)
        assert answer.json() | {"seq": 0} == {
            "rows": 3,
            "seq": 0,
            "duplicate": False,
            "refused": [],
        }
        service.kill()
        service.start()
        assert [one["value"] for one in service.items("/v1/telemetry")] == ["40", "41", "42"]
        late = service.client.post(
            "/v1/telemetry",
            content=lines({"device_id": "gw-2", "ts": time.time_ns(), "temp_c": 1}),
            headers=NDJSON,
        )
        assert late.status_code == 200
        assert service.stop() == 0
        service.start()
        assert len(service.items("/v1/telemetry")) == 4
        devices = until(lambda: service.items("/v1/devices"))
        assert {one["device_id"] for one in devices} >= {"gw-1"}


@pytest.mark.parametrize("path", ["/v1/findings", "/metrics", "/v1/telemetry"])
def test_nothing_is_told_to_whom_nobody_knows(tmp_path: Path, path: str) -> None:
    with Running(tmp_path / "data", ready=False) as service:
        answer = service.client.get(path, headers={"Authorization": "Bearer aiops_x_y"})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
