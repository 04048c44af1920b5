"""What holds of all commands that read telemetry to its end and rank who sent it."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.process import aiops, finish, start, succeeds, wait_until

pytestmark = pytest.mark.parametrize("command", ["wear", "reboots"])


def test_where_there_is_nothing_to_rank_it_is_said_what_there_is(tmp_path, command):
    (tmp_path / "rows.csv").write_text("device,time,temp_c\ngw-1,2026-01-05T00:00:00Z,41\n")
    said = succeeds(command, "rows.csv", cwd=tmp_path)
    assert said.out.startswith("No ")
    assert "What was found: 1 row of 1 device with temp_c." in said.words
    found = succeeds(command, "rows.csv", "--json", cwd=tmp_path).json
    assert found["columns"] == ["temp_c"]
    assert (found["rows"], found["devices"]) == (1, 1)
    assert not any(found["counts"].values())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("no.csv",), 1, "no.csv"),
        (("rows.csv", "--column", "devcie=x"), 2, "did you mean device?"),
        (("-", "--stream", "avro"), 2, "ndjson or arrow"),
    ],
)
def test_what_is_wrong_is_one_clear_message(tmp_path, command, arguments, code, says):
    (tmp_path / "rows.csv").write_text("device,time,temp_c\ngw-1,2026-01-05T00:00:00Z,41\n")
    assert says in aiops(command, *arguments, cwd=tmp_path).fails(code)


def test_prose_on_standard_input(tmp_path, command):
    failed = aiops(command, "-", cwd=tmp_path, stdin=b"It was\na dark").fails(1)
    assert "no telemetry in 2 lines" in failed


def catches(process: subprocess.Popen[bytes], number: int) -> bool:
    """Say whether the process would notice the signal now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"^SigCgt:\s*(\w+)", status, re.M)[1], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stream_that_waits_is_left_at_a_signal(tmp_path, command, number, code):
    process = start(command, "-", cwd=tmp_path, stdin=subprocess.PIPE)
    wait_until(process, lambda: catches(process, signal.SIGTERM))
    process.send_signal(number)
    said = finish(process)
    assert said.code == code
    assert said.out == ""
    assert said.err.startswith("Stopped")
