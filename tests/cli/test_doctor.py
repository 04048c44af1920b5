from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.process import aiops, too_wide


def states(said) -> dict[str, str]:
    return {one["name"]: one["state"] for one in said.json}


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """Return settings of a service that is not running, at a port where nobody is."""
    config = tmp_path / "quiet.toml"
    config.write_text(f'data = "{tmp_path / "data"}"\n[listen]\nport = 1\n')
    return config


def test_before_the_first_start_there_is_nothing_wrong(quiet, tmp_path):
    said = aiops("doctor", "--config", quiet, cwd=tmp_path)
    assert said.code == 0, said
    assert "is not there yet" in said.words
    assert f"aiops serve --data {tmp_path}" in said.words
    assert "FAIL," in said.out
    assert not too_wide(said.out.partition("\n\n")[0])
    assert "\x1b" not in said.out
    assert not (tmp_path / "data").exists()


def test_files_that_cannot_be_read_fail_with_what_mends_them(quiet, tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "state.npz").write_bytes(b"no checkpoint")
    (tmp_path / "data" / "keys.json").write_bytes(b"{")
    os.chmod(tmp_path / "data" / "keys.json", 0o600)
    said = aiops("doctor", "--config", quiet, "--json", cwd=tmp_path)
    assert said.code == 1
    assert {name for name, state in states(said).items() if state == "FAIL"} == {
        "keys",
        "checkpoint",
    }
    (mend,) = (one["mend"] for one in said.json if one["name"] == "checkpoint")
    assert mend.startswith("mv ")


def test_files_and_service_are_looked_at_together_while_it_runs(the_service, tmp_path):
    asked = ("--data", the_service.data, "--url", the_service.url, "--token", the_service.token)
    said = aiops("doctor", *asked, "--json", cwd=tmp_path)
    assert said.code == 0, said
    told = states(said)
    assert {"python", "log", "audit", "control", "checkpoint", "disk"} <= set(told)
    assert {"ready", "clocks", "backlog", "saved", "outbox", "silence", "halt"} <= set(told)
    assert "a service has it open" in said.out
    assert "FAIL" not in told.values()


def test_the_halt_switch_is_said_with_the_command_that_ends_it(the_service, tmp_path):
    asked = ("doctor", "--url", the_service.url, "--token", the_service.token)
    try:
        assert the_service.client.put("/v1/halt", json={"halted": True}).status_code == 200
        said = aiops(*asked, cwd=tmp_path)
    finally:
        assert the_service.client.put("/v1/halt", json={"halted": False}).status_code == 200
    assert said.code == 0
    assert "the halt switch is on" in said.words
    assert "curl -X PUT" in said.out


def test_a_service_says_little_without_a_token(the_service, tmp_path):
    said = aiops("doctor", "--url", the_service.url, "--json", cwd=tmp_path)
    assert said.code == 0
    assert states(said) == {"ready": "ok", "service": "warn"}


@pytest.mark.parametrize("token", ["", "aiops_x_y"])
def test_a_service_that_does_not_answer_or_knows_nobody_fails(the_service, tmp_path, token):
    url = the_service.url if token else "http://127.0.0.1:1"
    said = aiops("doctor", "--url", url, "--json", cwd=tmp_path, AIOPS_TOKEN=token)
    assert said.code == 1
    assert states(said)["service"] == "FAIL"
