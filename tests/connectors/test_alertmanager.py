from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aiops.connectors.alertmanager import AlertmanagerOutlet
from aiops.connectors.telling.addresses import Egress
from aiops.errors import DeliveryError, SettingsError
from tests.connectors.telling.messages import SECOND, T0, finding, incident
from tests.connectors.telling.receiver import Answer, Asked, Receiver, receiving, says

LOCAL = Egress(("127.0.0.1",), ("127.0.0.1",), ("127.0.0.1",))
LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
NOW = T0 / SECOND + 600


class FakeAlertmanager:
    """Takes what the v2 API takes, refuses the rest with 400 and says why; keeps what it took.

    Rules of ``postableAlerts`` in its OpenAPI file, and of ``Alert.Validate`` behind it.
    """

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.refused: list[str] = []

    def __call__(self, asked: Asked, connection: socket.socket) -> Answer:
        try:
            self._check(asked)
        except (AssertionError, ValueError) as error:
            self.refused.append(str(error))
            return 400, {"content-type": "application/json"}, json.dumps(str(error)).encode()
        self.taken += json.loads(asked.body)
        return 200, {}, b""

    def _check(self, asked: Asked) -> None:
        assert (asked.method, asked.path) == ("POST", "/api/v2/alerts")
        assert asked.headers["content-type"] == "application/json"
        alerts = json.loads(asked.body)
        assert isinstance(alerts, list), "an array"
        assert alerts, "at least one"
        for alert in alerts:
            known = {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
            assert alert.keys() <= known, f"unknown {alert.keys() - known}"
            assert alert["labels"], "at least one label pair required"
            assert alert["labels"].get("alertname"), "alertname"
            for name, value in [*alert["labels"].items(), *alert["annotations"].items()]:
                assert LABEL.fullmatch(name), f"invalid label name {name}"
                assert isinstance(value, str), f"{name} is a string"
                assert value, f"{name} is empty"
            starts, ends = (datetime.fromisoformat(alert[name]) for name in ("startsAt", "endsAt"))
            assert starts.tzinfo, "date-time with zone"
            assert ends >= starts, "start time must be before end time"
            if "generatorURL" in alert:
                assert urlsplit(alert["generatorURL"]).scheme in ("http", "https")


OPEN: list[AlertmanagerOutlet] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def outlet(*receivers: Receiver, **changed: Any) -> AlertmanagerOutlet:
    urls = [receiver.url(path="") for receiver in receivers]
    given = {"egress": LOCAL, "now": lambda: NOW} | changed
    OPEN.append(AlertmanagerOutlet(given.pop("urls", urls), **given))
    return OPEN[-1]


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.fixture
def fake() -> FakeAlertmanager:
    return FakeAlertmanager()


def test_an_incident_is_an_alert_with_few_lasting_labels(fake: FakeAlertmanager) -> None:
    message = incident(devices=tuple(f"gw-{i:02}" for i in range(25)), key="silence@site:lyon")
    with receiving(fake) as receiver:
        outlet(receiver, page_url="https://aiops.test/").deliver(message)
    assert fake.refused == []
    (alert,) = fake.taken
    fingerprint = alert["labels"].pop("fingerprint")
    assert re.fullmatch("fp-[0-9a-f]{16}", fingerprint)
    assert alert["labels"] == {"alertname": "silence", "site": "lyon", "severity": "high"}
    assert alert["annotations"]["summary"] == message.record["title"]
    assert alert["annotations"]["description"].endswith("gw-19 and 5 more")
    incident_id = message.record["incident_id"]
    assert alert["generatorURL"] == f"https://aiops.test/incidents/{incident_id}"
    assert seconds(alert["startsAt"]) == T0 / SECOND
    assert seconds(alert["endsAt"]) == NOW + 180


@pytest.mark.parametrize(
    ("key", "labels"),
    [
        ("flash_wear@gw-17", {"alertname": "flash_wear", "device": "gw-17", "site": "lyon"}),
        ("flash_wear@gw:17", {"alertname": "flash_wear", "device": "gw:17", "site": "lyon"}),
        ("drift@cohort:fw-2", {"alertname": "drift", "cohort": "fw-2", "site": "lyon"}),
        ("silence@site:lyon", {"alertname": "silence", "site": "lyon"}),
    ],
)
def test_labels_say_what_the_incident_is_of(
    key: str, labels: dict[str, str], fake: FakeAlertmanager
) -> None:
    with receiving(fake) as receiver:
        outlet(receiver).deliver(incident(key=key))
    (alert,) = fake.taken
    assert alert["labels"].pop("fingerprint")
    assert alert["labels"] == labels | {"severity": "high"}
    assert "generatorURL" not in alert


def test_the_fingerprint_is_the_same_whenever_the_incident_fires(fake: FakeAlertmanager) -> None:
    with receiving(fake) as receiver:
        outlet(receiver).deliver(incident())
        outlet(receiver).deliver(incident(opened_ts=T0 + SECOND, ts=T0 + SECOND))
        outlet(receiver).deliver(incident(key="flash_wear@gw-18"))
    one, again, other = (alert["labels"]["fingerprint"] for alert in fake.taken)
    assert one == again != other


def test_a_resolved_incident_ends_in_the_past(fake: FakeAlertmanager) -> None:
    with receiving(fake) as receiver:
        outlet(receiver).deliver(incident(status="resolved", ts=T0 + 60 * SECOND, devices=()))
    (alert,) = fake.taken
    assert seconds(alert["endsAt"]) == T0 / SECOND + 60
    assert alert["annotations"]["description"] == "no device any more"


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_an_incident_from_the_future_is_still_a_valid_alert(
    status: str, fake: FakeAlertmanager
) -> None:
    later = T0 + 86400 * SECOND
    with receiving(fake) as receiver:
        outlet(receiver).deliver(incident(opened_ts=later, ts=later + SECOND, status=status))
    assert fake.refused == []
    (alert,) = fake.taken
    assert (seconds(alert["endsAt"]) > NOW) == (status == "firing")


def test_what_fires_is_sent_again_in_few_requests(fake: FakeAlertmanager) -> None:
    firing = [incident(key=f"flash_wear@gw-{i}") for i in range(130)]
    with receiving(fake) as receiver:
        told = outlet(receiver)
        told.refresh(firing)
        told.refresh([])
        assert len(receiver.asked) == 3
    assert [a["labels"]["device"] for a in fake.taken] == [f"gw-{i}" for i in range(130)]
    assert {seconds(alert["endsAt"]) for alert in fake.taken} == {NOW + 180}


def test_when_severity_rises_the_alert_under_the_old_labels_ends(fake: FakeAlertmanager) -> None:
    with receiving(fake) as receiver:
        told = outlet(receiver)
        told.deliver(incident())
        told.deliver(incident(severity="critical", ts=T0 + SECOND))
        told.refresh([incident(severity="critical", ts=T0 + SECOND)])
    first, old, new, again = fake.taken
    assert old["labels"] == first["labels"]
    assert seconds(old["endsAt"]) == NOW
    assert new["labels"] == again["labels"] == first["labels"] | {"severity": "critical"}
    assert seconds(new["endsAt"]) > NOW


def test_one_of_several_that_takes_it_suffices(fake: FakeAlertmanager) -> None:
    with receiving(says(500)) as ill, receiving(fake) as well:
        told = outlet(ill, well)
        told.deliver(incident())
        assert (len(ill.asked), len(well.asked)) == (1, 1)
    assert len(fake.taken) == 1


@pytest.mark.parametrize(
    ("statuses", "permanent"), [((500, 400), False), ((400, 404), True), ((503, 503), False)]
)
def test_it_is_not_taken_when_none_takes_it(statuses: tuple[int, int], permanent: bool) -> None:
    one, other = (says(status, {"retry-after": "9"}) for status in statuses)
    with receiving(one) as a, receiving(other) as b, pytest.raises(DeliveryError) as caught:
        outlet(a, b).deliver(incident())
    assert caught.value.permanent == permanent
    assert caught.value.retry_after_s == (9 if statuses == (503, 503) else 0)
    assert all(str(status) in str(caught.value) for status in statuses)


def test_a_finding_is_no_alert() -> None:
    with receiving() as receiver, pytest.raises(DeliveryError, match="makes no alert") as caught:
        outlet(receiver).deliver(finding())
    assert caught.value.permanent


@pytest.mark.parametrize(
    "changed", [{"urls": []}, {"urls": ["https://am.test"]}, {"repeat_s": 0.0}]
)
def test_settings_that_cannot_be_are_refused_at_the_start(changed: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        outlet(**{"urls": ["http://127.0.0.1:9093"]} | changed)


# The real one ------------------------------------------------------------------------------------


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Receiver]:
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("prometheus-alertmanager is not installed")
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    process = subprocess.Popen(
        [
            program,
            f"--config.file={config}",
            f"--storage.path={tmp_path}",
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    lines: list[str] = []
    drain = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
    try:
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r'address="?127\.0\.0\.1:([1-9]\d*)', line):
                break
        else:
            pytest.fail("".join(lines))
        drain.start()
        yield Receiver(port=int(found[1]))
    finally:
        process.terminate()
        process.wait(10)
        if drain.is_alive():
            drain.join(5)
        process.stderr.close()


def alerts_of(receiver: Receiver) -> dict[str, dict[str, Any]]:
    with urllib.request.urlopen(receiver.url(path="/api/v2/alerts"), timeout=5) as answer:
        return {alert["labels"]["device"]: alert for alert in json.load(answer)}


def test_a_real_alertmanager_takes_refreshes_and_ends_alerts(real: Receiver) -> None:
    now_ns = time.time_ns()
    told = outlet(real, now=time.time, page_url="https://aiops.test")
    opened = {"opened_ts": now_ns - 60 * SECOND, "ts": now_ns - 60 * SECOND}
    one, other = incident(**opened), incident(**opened, key="flash_wear@gw-18")
    told.deliver(one)
    told.deliver(other)
    found = alerts_of(real)
    assert found.keys() == {"gw-17", "gw-18"}
    assert found["gw-17"]["labels"]["site"] == "lyon"
    assert found["gw-17"]["annotations"]["summary"] == one.record["title"]
    assert found["gw-17"]["status"]["state"] in ("active", "unprocessed")
    told.refresh([one, other])
    assert alerts_of(real)["gw-17"]["endsAt"] > found["gw-17"]["endsAt"]
    told.deliver(incident(**opened | {"ts": now_ns}, status="resolved"))
    assert alerts_of(real).keys() == {"gw-18"}


def test_what_a_real_alertmanager_refuses_is_refused_for_good(real: Receiver) -> None:
    message = incident()
    message.record["title"] = {"no": "text"}
    with pytest.raises(DeliveryError, match="answered 4") as caught:
        outlet(real).deliver(message)
    assert caught.value.permanent
