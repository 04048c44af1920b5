from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from aiops.cli.came import close, folded, show
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


@pytest.mark.parametrize(
    ("collector", "has"),
    [
        ("prometheus", "    tls_config:\n      ca_file: /etc/ca.pem\n"),
        ("vmagent", "  -remoteWrite.tlsCAFile='/etc/ca.pem' \\\n"),
        ("otel", "    tls:\n      ca_file: /etc/ca.pem\n"),
        ("telegraf", '  tls_ca = "/etc/ca.pem"\n'),
        ("collectd", '    CACert "/etc/ca.pem"\n'),
        ("influx", "  --cacert '/etc/ca.pem' \\\n"),
        ("ndjson", "  --cacert '/etc/ca.pem' \\\n"),
    ],
)
def test_a_snippet_names_whose_certificates_are_believed(collector, has):
    assert has in snippet_of(collector, "https://h:1", "t", Path("/etc/ca.pem"))
    plain = snippet_of(collector, "https://h:1", "t")
    assert "ca.pem" not in plain
    assert "\n?" not in plain


def test_the_snippet_of_mqtt_is_of_the_broker_that_the_settings_name(tmp_path):
    config = tmp_path / "aiops.toml"
    config.write_text('[[mqtt]]\nhost = "broker.example.org"\nca = "/etc/broker.pem"\n')
    said = aiops("connect", "mqtt", "--config", config, "--no-wait", cwd=tmp_path)
    assert said.code == 0
    told = tomllib.loads(said.out.partition("# 2.")[0])["mqtt"][0]
    assert (told["host"], told["port"], told["tls"]) == ("broker.example.org", 8883, True)
    assert told["ca"] == "/etc/broker.pem"
    assert "mosquitto_pub -h broker.example.org -p 8883" in said.out
    assert "--cafile '/etc/broker.pem'" in said.out


def test_without_a_collector_they_are_listed(tmp_path):
    said = succeeds("connect", cwd=tmp_path)
    assert not too_wide(said.out)
    assert [name for name in WAYS if name not in said.out] == []
    assert set(succeeds("connect", "--json", cwd=tmp_path).json) == set(WAYS)


def report(*devices: str, new: tuple[str, ...] | None = (), name: str = "x", hint: str = "") -> str:
    found = {
        "devices": {"count": len(devices), "items": [{"device_id": one} for one in devices]},
        "known": [],
        "unknown": [{"name": name, "values": 1, "hint": hint}],
        "set_aside": [],
        "detectors": [],
    }
    if new is not None:
        found["devices"]["new"] = list(new)
    screen = Console(file=io.StringIO(), width=80, color_system=None)
    show(screen, found)
    assert not too_wide(screen.file.getvalue())
    assert all(line == line.rstrip() for line in screen.file.getvalue().splitlines())
    return screen.file.getvalue()


def test_new_devices_come_first_and_others_are_said_to_be_known():
    told = " ".join(report("gw-1", "gw-9", new=("gw-9",)).split())
    assert "First samples came from 2 devices. gw-9 was not heard before. gw-1 was heard" in told
    told = " ".join(report("gw-1", "gw-2").split())
    assert told.startswith("Samples came from 2 devices. gw-1, gw-2 were heard before. If another")
    assert "before" not in report("gw-1", new=None)


@pytest.mark.parametrize("device", ["localhost", "127.0.0.1", "::1", "localhost.localdomain"])
def test_a_device_called_localhost_is_warned_of(device):
    assert f"{device} is no name for a device" in " ".join(report("gw-1", device).split())
    assert "no name for a device" not in report("gw-1", "10.0.0.1")


def test_a_long_name_is_broken_between_its_words():
    name = "node_hwmon_temp_celsius_of_the_third_sensor_beside_the_press_in_hall_seven"
    assert "".join(folded(name).split("\n")) == name
    assert all(line.endswith("_") for line in folded(name).split("\n")[:-1])
    told = report("gw-1", name=name)
    assert [one for one in folded(name).split("\n") if one not in told] == []


@pytest.mark.parametrize(
    ("name", "hint", "said"),
    [
        ("go_gc_duration", "did you mean soc_duration or up_duration?", ""),
        (
            "uptime.device",
            "did you mean device.uptime or device.up?",
            "did you mean device.uptime?",
        ),
        ("temp_celcius", "did you mean temp_celsius?", "did you mean temp_celsius?"),
        ("x", "", ""),
    ],
)
def test_only_a_name_of_the_same_words_is_suggested(name, hint, said):
    assert close(name, hint) == said


def test_a_device_that_is_named_is_waited_for_and_no_other(the_service, tmp_path):
    asked = ("--url", the_service.url, "--token", the_service.token, "--device", "gw-77")
    process = waiting("ndjson", *asked, "--wait", 60, cwd=tmp_path)
    send(the_service, {"device_id": "gw-1", "temp_c": 4})
    send(the_service, {"device_id": "gw-77", "temp_c": 4})
    said = finish(process)
    assert said.code == 0
    assert re.search(r"gw-77\b.* not heard before", said.words)
    send(the_service, {"device_id": "gw-1", "temp_c": 4})
    assert aiops("connect", "ndjson", *asked, "--wait", 0, cwd=tmp_path).code == EXIT_NOTHING


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
    send(the_service, {"device_id": "earlier", "device.uptime": 1})
    process = waiting(
        "ndjson", "--url", the_service.url, "--token", the_service.token, cwd=tmp_path
    )
    send(
        the_service,
        {"device_id": "new-1", "temp_c": 41, "froth": 1, "battery.soc_ratio": 7},
        {"device_id": "new-2", "temp_c": 42, "froth": 2, "battery.soc_ratio": 0.5},
    )
    said = finish(process)
    assert said.code == 0, said
    assert not too_wide(said.out.partition("END\n\n")[2])
    assert "2 devices" in said.words
    assert "earlier" not in said.out
    assert "new-1, new-2 were not heard before" in said.words
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
