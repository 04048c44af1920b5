from __future__ import annotations

import json
import signal
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from aiops.cli.connect import EXIT_NOTHING, WAYS, snippet_of
from aiops.service.keys import KeyStore
from tests.cli.process import aiops, finish, start, succeeds, too_wide
from tests.service.running import Running, until

LINES = "application/x-ndjson"


def send(service: Running, *rows: dict[str, object]) -> None:
    text = "".join(json.dumps(row | {"ts": time.time_ns()}) + "\n" for row in rows)
    answer = service.client.post("/v1/telemetry", content=text, headers={"content-type": LINES})
    assert answer.status_code == 200, answer.text


def waiting(*arguments: object, cwd: Path) -> subprocess.Popen[bytes]:
    """Start a command, and return once it says that it waits."""
    process = start("connect", *arguments, cwd=cwd)
    assert process.stderr is not None
    for line in process.stderr:
        if b"waiting for" in line:
            break
    return process


@pytest.mark.parametrize("collector", WAYS)
def test_each_snippet_fits_and_names_address_and_token(collector):
    said = snippet_of(collector, "http://127.0.0.1:8470/", "aiops_x_y")
    assert not too_wide(snippet_of(collector, "http://127.0.0.1:8470"))
    assert "$" not in said.replace("<<END", "")
    if collector != "mqtt":
        assert "http://127.0.0.1:8470" in said
        assert "aiops_x_y" in said
        assert "TOKEN" in snippet_of(collector, "http://h:1")


def test_snippets_of_toml_are_toml():
    told = tomllib.loads(snippet_of("telegraf", "http://h:1", "t"))
    assert told["outputs"]["influxdb_v2"][0]["urls"] == ["http://h:1"]
    settings, _, _ = snippet_of("mqtt", "http://h:1").partition("# 2.")
    assert tomllib.loads(settings)["mqtt"][0]["port"] == 1883


def test_the_snippet_alone_goes_to_standard_output(tmp_path):
    said = succeeds("connect", "telegraf", "--no-wait", "--token", "t", cwd=tmp_path)
    assert said.out == snippet_of("telegraf", "http://127.0.0.1:8470", "t")


def test_without_a_token_it_says_how_one_is_made(tmp_path):
    said = aiops("connect", "prometheus", cwd=tmp_path)
    assert said.code == 2
    assert said.out == snippet_of("prometheus", "http://127.0.0.1:8470")
    assert "aiops keys make prometheus --role ingest --device 'gw-*'" in said.err
    assert "--no-wait" in said.err


def test_of_a_demo_it_says_that_the_token_will_not_last(the_service, tmp_path):
    asked = ("--url", the_service.url, "--token", the_service.token, "--no-wait")
    said = aiops("connect", "otel", *asked, cwd=tmp_path)
    assert said.code == 0
    assert "ends with the demo" in said.words
    assert "aiops keys make otel" in said.err


def test_it_waits_for_the_first_sample_and_says_what_came(the_service, tmp_path):
    send(the_service, {"device_id": "before", "device.uptime": 1})
    process = waiting(
        "ndjson", "--url", the_service.url, "--token", the_service.token, cwd=tmp_path
    )
    send(
        the_service,
        {"device_id": "gw-1", "temp_c": 41, "froth": 1, "battery.soc_ratio": 7},
        {"device_id": "gw-2", "temp_c": 42, "froth": 2, "battery.soc_ratio": 0.5},
    )
    said = finish(process)
    assert said.code == 0, said
    assert not too_wide(said.out.partition("END\n\n")[2])
    assert "2 devices" in said.words
    assert "before" not in said.out
    assert "2 of 3 names recognised" in said.words
    assert "temperature.celsius" in said.out
    assert "froth" in said.out
    assert "out_of_range" in said.out
    assert "flash_wear lacks storage.wear.used_ratio" in said.words
    assert "smartctl_exporter" in said.out
    assert "\x1b" not in said.out + said.err


def test_the_snippets_of_influx_and_ndjson_are_taken_as_they_stand(the_service):
    sent = snippet_of("influx", "http://h", "t").partition("--data-binary '")[2].rstrip("'\n")
    answer = the_service.client.post("/api/v2/write?precision=s", content=sent)
    assert answer.status_code == 204, answer.text
    sent = snippet_of("ndjson", "http://h", "t").partition("<<END\n")[2].removesuffix("END\n")
    answer = the_service.client.post("/v1/telemetry", content=sent, headers={"content-type": LINES})
    assert answer.json()["rows"] == 2
    told = the_service.client.get("/v1/ingest").json()
    assert not told["unknown"] or "storage.wear.used_ratio" not in str(told["unknown"])
    names = {name for one in told["known"] for name in one["metrics"]}
    assert {"storage.wear.used_ratio", "temperature.celsius", "device.uptime"} <= names


def test_as_json_it_is_one_document(the_service, tmp_path):
    asked = ("--url", the_service.url, "--token", the_service.token, "--json")
    process = start("connect", "ndjson", *asked, cwd=tmp_path)
    while process.poll() is None:  # it says nothing, so that it is heard sooner or later
        send(the_service, {"device_id": "gw-9", "temp_c": 4})
        time.sleep(0.2)
    said = finish(process)
    assert (said.code, said.err) == (0, "")
    assert said.json["collector"] == "ndjson"
    assert said.json["came"]["devices"]["items"][0]["device_id"] == "gw-9"


def test_exit_code_4_says_that_nothing_came_in_time(the_service, tmp_path):
    asked = ("--url", the_service.url, "--token", the_service.token, "--wait", 0)
    said = aiops("connect", "collectd", *asked, cwd=tmp_path)
    assert said.code == EXIT_NOTHING == 4
    assert "Nothing came from collectd" in said.words
    assert f"aiops doctor --url {the_service.url}" in said.err


def test_if_nothing_came_it_says_what_was_answered_meanwhile(the_service, tmp_path):
    asked = ("--url", the_service.url, "--token", the_service.token, "--wait", 2)
    process = waiting("influx", *asked, cwd=tmp_path)
    wrong = {"Authorization": "Token aiops_x_y"}
    assert the_service.client.post("/write", content="a b=1", headers=wrong).status_code == 401
    said = finish(process)
    assert said.code == EXIT_NOTHING
    assert "1 request answered 401 (no token, or one that is unknown" in said.words


def test_a_service_that_listens_to_no_broker_says_so_at_once(the_service, tmp_path):
    asked = ("--url", the_service.url, "--token", the_service.token, "--wait", 0)
    said = aiops("connect", "mqtt", *asked, cwd=tmp_path)
    assert said.code == EXIT_NOTHING
    assert "listens to no broker yet" in said.words


def test_ctrl_c_ends_the_waiting_cleanly(the_service, tmp_path):
    process = waiting("otel", "--url", the_service.url, "--token", the_service.token, cwd=tmp_path)
    process.send_signal(signal.SIGINT)
    said = finish(process)
    assert said.code == 130
    assert "Traceback" not in said.err


def test_a_token_that_may_only_write_needs_one_beside_it_that_may_read(the_service, tmp_path):
    store = KeyStore(the_service.data / "keys.json")
    write, _ = store.make("collector", ["ingest"], ["gw-*"])
    asked = ("connect", "influx", "--url", the_service.url, "--token", write, "--wait", 0)
    own = {"Authorization": f"Bearer {write}"}
    until(lambda: the_service.client.get("/v1/halt", headers=own).status_code == 403)
    assert "--read-token" in aiops(*asked, cwd=tmp_path).fails(1)
    said = aiops(*asked, "--read-token", the_service.token, cwd=tmp_path)
    assert said.code == EXIT_NOTHING
    assert write in said.out
    assert the_service.token not in said.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("promethus",), 2, "did you mean prometheus"),
        (("otel", "--token", "t", "--url", "http://127.0.0.1:1"), 1, "no service answers"),
        (("otel", "--token", "t", "--url", "ftp://h"), 2, "no URL"),
        (("otel", "--token", "t", "--ca", "no.pem"), 2, "--ca no.pem"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, arguments, code, says):
    assert says in aiops("connect", *arguments, cwd=tmp_path).fails(code)


def test_a_token_nobody_knows_is_said(the_service, tmp_path):
    asked = ("connect", "otel", "--url", the_service.url, "--token", "aiops_x_y")
    assert "unknown, expired or revoked" in aiops(*asked, cwd=tmp_path).fails(1)


def test_snippets_of_yaml_are_yaml():
    yaml = pytest.importorskip("yaml")
    (written,) = yaml.safe_load(snippet_of("prometheus", "http://h:1", "t"))["remote_write"]
    assert written["url"] == "http://h:1/api/v1/write"
    told = yaml.safe_load(snippet_of("otel", "http://h:1", "t"))
    pipeline = told["service"]["pipelines"]["metrics"]
    for kind, names in pipeline.items():
        assert set(names) <= set(told[kind])
    assert told["exporters"]["otlphttp/aiops"]["headers"]["Authorization"] == "Bearer t"
