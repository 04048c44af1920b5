from __future__ import annotations

import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.payloads import hostile, valid
from tests.service.running import Running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = {GenerationMode.POSITIVE: 12, GenerationMode.NEGATIVE: 8}
STREAM = "/v1/events"
"""It never ends, and is tried by itself."""
CHANCE_FINDS_NONE = {
    "POST /v1/actions/{id}/approve",  # the one who asks here has proposed them all
    "POST /v1/actions/{id}/reject",
    "GET /v1/plans/{id}",  # nothing has moved
}
CURSOR = "NDYxMTY4NjAxODQyNzM4NzkwMw"  # of the last place there may be
PROPOSAL = b'{"kind":"drain","reason":"0","target":["gw-1"],%s}'
HOSTILE: list[tuple[str, bytes]] = [
    *(
        ("/v1/actions", PROPOSAL % more)
        for more in (
            b'"params":{"a":NaN}',
            b'"params":{"a":1e999}',
            b'"params":{"a":1' + b"0" * 400 + b"}",
            b'"params":{"a":' + b"[" * 500 + b"]" * 500 + b"}",
            b'"params":{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
            b'"params":{"a":"\\ud800"}',
            b'"target":["\\ud800"]',
            b'"target":["*"]',
            b'"target":["gw-2",""]',
            b'"target":["all"]',
            b'"reason":"\\u0000"',
            b'"expires_s":1e-12',
            b'"expires_s":1e308',
        )
    ),
    ("/v1/actions", b"\xff\xfe"),
    ("/v1/what-if", b'{"kill":["camera-1","camera-2","gw-1","gw-2","cloud"]}'),
    ("/v1/what-if", b'{"heat":{"lyon":1e308,"nowhere":1}}'),
    ("/v1/what-if", b'{"heat":{"lyon":-1e308}}'),
    ("/v1/what-if", b'{"heat":{"lyon":NaN}}'),
    ("/v1/what-if", b'{"price":{"gw-1":"+1e999%"}}'),
    ("/v1/what-if", b'{"price":{"gw-1":-5}}'),
    ("/v1/what-if", b'{"price":{"gw-1":1e300}}'),
    ("/v1/what-if", b'{"rtt":{"lyon":"a lot"}}'),
    ("/v1/what-if", b'{"rtt":{"gw-1":1e300,"lyon":0}}'),
    ("/v1/findings/%00", b""),
    ("/v1/findings/%ed%a0%80", b""),
    ("/v1/devices?site=%ed%a0%80", b""),
    ("/v1/telemetry?device_id=%00&metric=%ff", b""),
    ("/v1/placements?place=%00", b""),
    ("/v1/placements/detect-1/why-not/%00", b""),
    ("/v1/events?after=99999999999999999999", b""),
    *(
        (f"/v1/{name}?cursor={cursor}", b"")
        for cursor in (CURSOR, "%ff", "MTIz" * 16)
        for name in (
            *("findings", "incidents", "forecasts", "devices", "quarantine", "telemetry", "plans"),
            *("actions", "labels", "audit", "placements"),
        )
    ),
]


def known(service: Running) -> dict[str, list[str]]:
    """Return ids that are there, by the last word of the path before them."""
    silence = {"matchers": ["device=nobody"], "for_s": 60}
    return {
        "silences": [service.client.post("/v1/silences", json=silence).json()["id"]],
        "findings": [one["id"] for one in service.items("/v1/findings")],
        "incidents": [one["incident_id"] for one in service.items("/v1/incidents")],
        "actions": [one["action_id"] for one in service.items("/v1/actions")],
        "devices": [one["device_id"] for one in service.items("/v1/devices")],
        "placements": [one["workload"] for one in service.items("/v1/placements")],
        "why-not": ["gw-1", "gw-2", "cloud", "shed", "camera-1"],
    }


def test_every_route_answers_as_its_description_says(fleet: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{fleet.url}/openapi.json", headers=fleet.headers)
    ids = known(fleet)
    assert all(ids.values())
    wrong: list[str] = []
    statuses: Counter[tuple[str, int]] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == STREAM or "ingest" in (operation.tags or ()):
            continue
        for mode, examples in EXAMPLES.items():
            said = _try(fleet, operation, mode, examples, ids, statuses)
            wrong += [said] if said else []
    assert not wrong, "\n\n".join(wrong)
    answered = {label for label, status in statuses if status < 300}
    assert {label for label, _ in statuses} - answered <= CHANCE_FINDS_NONE
    assert fleet.client.get("/readyz").status_code == 200


def _try(
    service: Running,
    operation: Any,
    mode: GenerationMode,
    examples: int,
    ids: dict[str, list[str]],
    statuses: Counter[tuple[str, int]],
) -> str:
    """Ask so often, and return what is wrong with an answer, or nothing."""

    @seed(1)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode),
        chance=st.randoms(use_true_random=False),
    )
    def ask(case: Any, chance: random.Random) -> None:
        if mode is GenerationMode.POSITIVE and chance.random() < 0.8:
            for word, name in pairwise(operation.path.split("/")):
                if name.startswith("{") and word in ids:
                    case.path_parameters[name.strip("{}")] = chance.choice(ids[word])
        response = case.call(base_url=service.url, headers=service.headers)
        statuses[operation.label, response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    try:
        ask()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # what asks for nothing cannot be asked wrongly
    except (Exception, FailureGroup) as error:  # all are listed together
        told = error.exceptions if isinstance(error, FailureGroup) else [error]
        return f"{operation.label}: " + "\n".join(map(str, told))
    return ""


def test_no_hostile_request_fails_the_service_or_stops_the_engine(fleet: Running) -> None:
    answers = [
        fleet.client.request(
            "POST" if body else "GET",
            path,
            content=body,
            headers={"content-type": "application/json"},
        )
        for path, body in HOSTILE
    ]
    failed = [(str(one.request.url), one.text) for one in answers if one.status_code >= 500]
    assert not failed
    assert fleet.client.get("/readyz").json() == {"status": "ready"}
    targets = [one["target"] for one in fleet.items("/v1/actions") if one["kind"] == "drain"]
    assert targets
    assert all(target == ["gw-1"] for target in targets)


def test_every_protocol_answers_as_its_description_says(fleet: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{fleet.url}/openapi.json", headers=fleet.headers)
    every = [one.ok() for one in schema.get_all_operations()]
    operations = {one.path: one for one in every if one.method == "post"}
    some = itertools.islice((one for one in hostile(seed=3) if one.protocol.path), 150)
    paths = set()
    for payload in itertools.chain((one for one in valid() if one.protocol.path), some):
        path = payload.protocol.path
        answer = fleet.client.post(path, content=payload.body, headers=payload.headers)
        operation = operations[path]
        assert str(answer.status_code) in operation.definition.raw["responses"], answer.text
        if answer.content:
            operation.validate_response(answer)
        paths.add(path)
    untried = {one.path for one in operations.values() if "ingest" in (one.tags or ())} - paths
    assert untried <= {"/write"}  # it is /api/v2/write under another name


# The stream of events ----------------------------------------------------------------------------


def propose(service: Running, reason: str) -> str:
    """Return the action's id."""
    asked = {"kind": "notify", "target": ["somebody"], "reason": reason, "evidence": [reason]}
    answer = service.client.post("/v1/actions", json=asked)
    assert answer.status_code == 202, answer.text
    action_id: str = answer.json()["action_id"]
    return action_id


def events(
    service: Running, until: Callable[[list[tuple[int, str]]], bool], **asked: Any
) -> list[tuple[int, str]]:
    """Return number and data of events from a stream, until there are enough."""
    found: list[tuple[int, str]] = []
    with service.client.stream("GET", STREAM, **asked) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        number = 0
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                number = int(value)
            elif name == "data":
                found.append((number, value))
                if until(found):
                    break
    return found


def test_a_stream_of_events_is_resumed_without_gap_or_repeat_over_a_restart(fleet: Running) -> None:
    for k in range(3):
        propose(fleet, f"before {k}")
    seen = events(fleet, lambda found: len(found) == 2, params={"after": 0})
    for portion in (1, 2):
        last = {"Last-Event-ID": str(seen[-1][0])}
        seen += events(fleet, lambda found, n=portion: len(found) == n, headers=last)
    fleet.kill()
    fleet.start()
    newest = propose(fleet, "after")

    def is_there(found: list[tuple[int, str]]) -> bool:
        return newest in found[-1][1]

    seen += events(fleet, is_there, headers={"Last-Event-ID": str(seen[-1][0])})
    numbers = [number for number, _ in seen]
    assert numbers == sorted(set(numbers))
    assert seen == events(fleet, is_there, params={"after": 0})
    ids = [json.loads(data)["id"] for _, data in seen]
    assert len(ids) == len(set(ids)) >= 6


def test_a_stream_that_is_open_hears_what_is_new(fleet: Running) -> None:
    heard: list[tuple[int, str]] = []
    begun = threading.Event()

    def listen() -> None:
        with fleet.client.stream("GET", STREAM) as answer:
            begun.set()
            for line in answer.iter_lines():
                if line.startswith("data: ") and "news" in line:
                    heard.append((0, line))
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    assert begun.wait(10)
    propose(fleet, "news")
    listener.join(10)
    assert len(heard) == 1
