from __future__ import annotations

import json
import re
from datetime import datetime

import pytest

from aiops.connectors.telling.cloudevents import encode, event
from aiops.engine.ports import Message
from aiops.errors import DeliveryError
from tests.connectors.telling.messages import SECOND, T0, action, finding, incident

EVERY = {
    "finding": finding(),
    "finding of a site": finding(device_id="", part="", medium_id="", cohort="", devices=("a",)),
    "incident": incident(),
    "storm": incident(key="silence@site:lyon", devices=("a", "b")),
    "action": action(),
    "action of many": action(target=("b", "a")),
}


@pytest.mark.parametrize("message", EVERY.values(), ids=EVERY)
def test_every_message_is_an_event_by_the_rules_of_the_specification(message: Message) -> None:
    told = json.loads(encode(event(message, "/aiops/lyon")))
    assert told["specversion"] == "1.0"
    assert told["datacontenttype"] == "application/json"
    assert told["data"] == message.record
    for name, value in told.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name)
        if name != "data":
            assert isinstance(value, str | int)
            assert value != ""
    for name in ("id", "source", "type", "subject"):
        assert isinstance(told[name], str)
    for name in ("time", "recordedtime", "expirytime"):
        assert name not in told or datetime.fromisoformat(told[name]).tzinfo
    assert told["recordedtime"] > told["time"]


@pytest.mark.parametrize(
    ("message", "kind", "subject", "correlated"),
    [
        (EVERY["finding"], "finding.firing", "gw-17", None),
        (finding(status="resolved"), "finding.resolved", "gw-17", None),
        (EVERY["finding of a site"], "finding.firing", "site:lyon", None),
        (incident(), "incident.opened", "gw-17", "inc"),
        (incident(ts=T0 + SECOND), "incident.updated", "gw-17", "inc"),
        (incident(ts=T0 + SECOND, status="resolved"), "incident.resolved", "gw-17", "inc"),
        (EVERY["storm"], "incident.opened", "silence@site:lyon", "inc"),
        (action(), "action.approved", "gw-17", "inc-7"),
        (action(decision="held"), "action.held", "gw-17", "inc-7"),
        (EVERY["action of many"], "action.approved", "a,b", "inc-7"),
    ],
)
def test_type_subject_and_incident_are_told(
    message: Message, kind: str, subject: str, correlated: str | None
) -> None:
    told = event(message, "/aiops")
    assert told["type"] == f"dev.aiops.{kind}.v1"
    assert told["subject"] == subject
    if correlated == "inc":
        correlated = message.record["incident_id"]
    assert told.get("correlationid") == correlated


def test_severity_is_told_in_words_and_as_a_number() -> None:
    told = event(finding(severity="critical"), "/aiops")
    assert (told["severitytext"], told["severitynumber"]) == ("critical", 21)


def test_an_action_is_told_with_its_end() -> None:
    assert event(action(), "/aiops")["expirytime"] == action().record["expires_ts"]


def test_the_same_message_is_the_same_bytes() -> None:
    turned = finding()
    turned = turned._replace(record=dict(reversed(turned.record.items())))
    assert encode(event(turned, "/aiops")) == encode(event(finding(), "/aiops"))


@pytest.mark.parametrize(
    "message",
    [
        Message("m", "plan", {}, T0),
        Message("m", "finding", {"status": "firing"}, T0),
        Message("m", "action", {"id": "act-1", "evidence": []}, T0),
    ],
)
def test_what_is_no_message_of_its_kind_is_refused_for_good(message: Message) -> None:
    with pytest.raises(DeliveryError, match="a finding, an incident or an action") as caught:
        event(message, "/aiops")
    assert caught.value.permanent
