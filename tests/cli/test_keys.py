"""`aiops keys`: a token is shown once and to whoever asked, and what is revoked says so."""

from __future__ import annotations

import json
import stat

import pytest
from typer.testing import CliRunner

from aiops.cli.app import app
from aiops.cli.keys import seconds
from aiops.errors import SettingsError
from aiops.service.keys import KeyStore

GATEWAY = ("make", "gateway of hall 1", "--role", "ingest", "--device", "gw-1")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        environment = {"COLUMNS": "80", "NO_COLOR": "1"}
        done = CliRunner().invoke(app, ["keys", *arguments], env=environment)
        if isinstance(done.exception, SettingsError):
            raise done.exception
        assert done.exit_code == code, done.output + str(done.exception)
        assert "\x1b" not in done.output
        if "--json" not in arguments:
            assert max(map(len, done.output.splitlines())) <= 80
        return done

    return call


def test_only_the_token_goes_to_standard_output(run, tmp_path):
    said = run(*GATEWAY, "--device", "camera-*", "--expires", "90d")
    token = said.stdout.removesuffix("\n")
    store = KeyStore(tmp_path / "aiops-data" / "keys.json")
    made = store.authenticate(token)
    assert (made.label, made.devices) == ("gateway of hall 1", ("gw-1", "camera-*"))
    assert made.expires - made.created == 90 * 86_400
    words = " ".join(said.stderr.split())
    assert words.startswith(
        f"Key {made.id}, gateway of hall 1: ingest for gw-1, camera-*, until 20"
    )
    assert token not in words
    assert stat.S_IMODE((tmp_path / "aiops-data").stat().st_mode) == 0o700


def test_a_key_is_made_as_json_for_programs(run):
    made = json.loads(run("make", "x", "--role", "read", "--role", "admin", "--json").stdout)
    assert made["token"].startswith(f"aiops_{made['id']}_")
    assert (made["roles"], made["devices"], made["expires"]) == (["admin", "read"], [], None)


def test_keys_are_listed_with_what_became_of_them(run):
    assert "aiops keys make" in run("list").stdout
    run(*GATEWAY, "--data", "other")
    long = "the gateway that stands in the third hall of the plant, beside the press"
    run("make", long, "--role", "ingest", *(f"--device=gw-{n}" for n in range(12)))
    run("make", "operator", "--role", "admin", "--role", "read", "--expires", "1y")
    listed = json.loads(run("list", "--json").stdout)
    assert [one["state"] for one in listed] == ["valid", "valid"]
    assert "token" not in listed[0]
    said = run("revoke", listed[1]["id"]).stdout
    assert f"Key {listed[1]['id']}, operator, is revoked" in said
    table = run("list").stdout
    assert "revoked" in table
    assert "valid" in table
    assert listed[0]["id"] in table
    listed = json.loads(run("list", "--json").stdout)
    assert [one["state"] for one in listed] == ["valid", "revoked"]
    assert listed[1]["revoked"] >= listed[1]["created"]


def test_a_certificate_is_revoked_by_its_number(run, tmp_path):
    assert "Certificate a1b is revoked" in run("revoke", "--certificate", "0A:1B").stdout
    assert KeyStore(tmp_path / "aiops-data" / "keys.json").revoked_certificate("0A1B")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("make", "x", "--role", "root"), "no role is called 'root'"),
        (("make", "x", "--role", "ingest"), "needs --device"),
        (("make", "x", "--role", "read", "--device", "gw-1"), "only a key with the role ingest"),
        ((*GATEWAY, "--expires", "soon"), "such as 90d"),
        ((*GATEWAY, "--expires", "0d"), "such as 90d"),
        ((*GATEWAY, "--expires", "101y"), "at most 100y"),
        (("revoke", "00000000"), "aiops keys list"),
        (("revoke",), "name what to revoke"),
        (("revoke", "1", "--certificate", "2"), "name what to revoke"),
        (("revoke", "--certificate", "gw-1"), "hexadecimal"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing_behind(run, tmp_path, asked, says):
    with pytest.raises(SettingsError, match=says):
        run(*asked)
    assert not list(tmp_path.rglob("keys.json"))


def test_a_certificate_is_issued_and_its_key_is_its_owners_only(run, tmp_path):
    said = " ".join(run("certificate", "hall_1/gw", "--expires", "24h").stdout.split())
    assert "hall_1%2Fgw.pem" in said
    assert "aiops-data/authority/ca.pem" in said
    assert stat.S_IMODE((tmp_path / "hall_1%2Fgw.key").stat().st_mode) == 0o600
    assert run("revoke", "--certificate", said.split()[-1].rstrip("."))
    run("certificate", "127.0.0.1", "--server", "--out", "issued")
    assert (tmp_path / "issued" / "127.0.0.1.pem").exists()
    with pytest.raises(SettingsError, match="visible ASCII"):
        run("certificate", "gw 1")


def serial(said) -> str:
    return said.stdout.split()[-1].rstrip(".")


def test_a_certificate_is_not_issued_again_by_mistake(run, tmp_path):
    first = serial(run("certificate", "gw-1"))
    before = (tmp_path / "gw-1.pem").read_bytes()
    for out in (".", "elsewhere"):
        with pytest.raises(SettingsError, match=f"serial number {first}, good until 20.*--renew"):
            run("certificate", "gw-1", "--out", out)
    assert (tmp_path / "gw-1.pem").read_bytes() == before
    run("certificate", "gw-1", "--server", "--out", "hosts")  # of a host: another thing
    said = run("certificate", "gw-1", "--renew")
    assert f"The one before, serial number {first}, is good until" in " ".join(said.stdout.split())
    second = serial(said)
    assert (tmp_path / "gw-1.pem").read_bytes() != before
    for one in (first, second):
        run("revoke", "--certificate", one)
    run("certificate", "gw-1")  # none of the others opens anything
    listed = json.loads(run("list", "--certificates", "--json").stdout)
    assert listed[0]["serial"] == first
    assert [(one["of"], one["state"]) for one in listed] == [
        ("device", "revoked"),
        ("host", "valid"),
        ("device", "revoked"),
        ("device", "valid"),
    ]
    assert first in run("list").stdout
    assert json.loads(run("list", "--json").stdout) == []


def test_a_file_of_a_certificate_that_no_register_lists_is_not_overwritten(run, tmp_path):
    first = serial(run("certificate", "gw-1"))
    (tmp_path / "aiops-data" / "authority" / "issued.jsonl").unlink()
    with pytest.raises(SettingsError, match=first):
        run("certificate", "gw-1")
    assert "none" not in run("certificate", "gw-1", "--renew").stdout.lower()


def test_a_certificate_is_of_one_device_and_of_no_pattern(run, tmp_path):
    with pytest.raises(SettingsError, match="is a pattern"):
        run("certificate", "gw-*")
    assert not (tmp_path / "aiops-data").exists()
    assert "No certificate was issued yet" in run("list", "--certificates").stdout


def test_a_role_has_to_be_given(run):
    assert "--role" in run("make", "x", code=2).output


@pytest.mark.parametrize(
    ("duration", "expected_s"),
    [("90s", 90), ("5m", 300), ("12h", 43_200), (" 1d ", 86_400), ("2w", 1_209_600)],
)
def test_a_duration_is_a_number_and_a_letter(duration, expected_s):
    assert seconds(duration) == expected_s
