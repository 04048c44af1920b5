"""SIGTERM and Ctrl-C end a service in order, whenever and however often they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiops.cli.signals import SAID
from tests.service.running import Running, until

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="a service runs compiled"
)


def test_a_service_told_twice_to_stop_while_it_starts_ends_in_order(tmp_path):
    data = tmp_path / "data"
    command = [sys.executable, "-m", "aiops", "serve", "--data", str(data), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        until(lambda: (data / "log").exists())
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert said.count(SAID) == 1
    assert b"Traceback" not in said
    assert b"listens" not in said


def test_ctrl_c_ends_a_service_in_order_and_it_says_so_at_once(tmp_path: Path):
    row = {"device_id": "gw-1", "ts": time.time_ns(), "temp_c": 41}
    with Running(tmp_path / "data") as service:
        assert service.client.post("/v1/telemetry", json=[row]).status_code == 200
        service.process.send_signal(signal.SIGINT)
        until(lambda: SAID.decode() in list(service.said))
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(60) == 0
    assert "Traceback" not in "".join(service.said)
    assert (tmp_path / "data" / "state.npz").exists()
