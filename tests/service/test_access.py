from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import trustme

from aiops.service.authority import Authority, Issued
from aiops.service.keys import KeyStore
from aiops.service.roles import Role
from tests.connectors.wire import encoders as encode
from tests.connectors.wire import encoders_more as encode_more
from tests.connectors.wire.encoders import Reading
from tests.service.fleet import ROOT
from tests.service.payloads import ARROW, JSON, NDJSON, NOW, PROTOBUF, V2
from tests.service.running import Running, until

ROW = re.compile(r"^\| `([A-Z]+) (/\S*)` \| `?(\w+)`? \|", re.MULTILINE)
NOBODY = ("none", "unknown", "malformed", "revoked", "expired")
BODIES: dict[str, Any] = {
    "POST /v1/actions": {"kind": "notify", "target": ["x"], "reason": "to see whether one may"},
    "POST /v1/findings/{id}/labels": {"said": "UNKNOWN"},
    "PUT /v1/halt": {"halted": False},
}
LEAKS = ("Traceback", 'File "', ".py", str(ROOT), "site-packages")


class Route(NamedTuple):
    method: str
    path: str
    role: str

    def ask(self, client: httpx.Client, headers: dict[str, str]) -> httpx.Response:
        """Ask for it; of a stream nothing is read."""
        name = f"{self.method} {self.path}"
        body = BODIES.get(name, {}) if self.method != "GET" else None
        path = re.sub(r"\{\w+\}", "no-such", self.path)
        with client.stream(self.method, path, json=body, headers=headers) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                answer.read()
            return answer


def routes() -> list[Route]:
    page = (ROOT / "docs/access.md").read_text("utf-8")
    return [Route(*found) for found in ROW.findall(page)]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def client(fleet: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fleet.url, timeout=30.0) as client:
        yield client


@pytest.fixture(scope="module")
def store(fleet: Running) -> KeyStore:
    return KeyStore(fleet.data / "keys.json")


@pytest.fixture(scope="module")
def credentials(fleet: Running, store: KeyStore) -> dict[str, dict[str, str]]:
    """Return headers by what they say of who asks."""
    every = [str(role) for role in Role]
    made = {
        role: store.make(role, [role], ["own"] if role == Role.INGEST else [])[0] for role in every
    }
    revoked, credential = store.make("revoked", every, ["*"])
    store.revoke(credential.id)
    before = KeyStore(store.path, wall=lambda: time.time() - 100)
    expired, _ = before.make("expired", every, ["*"], expires_s=50)
    headers = {role: bearer(token) for role, token in made.items()} | {
        "none": {},
        "unknown": bearer("aiops_00000000_" + "A" * 43),
        "malformed": {"Authorization": "Bearer"},
        "revoked": bearer(revoked),
        "expired": bearer(expired),
    }
    until(lambda: fleet.client.get("/v1/halt", headers=headers["read"]).status_code == 200)
    return headers


def test_every_route_is_in_the_table_and_every_route_of_the_table_is_there(fleet: Running) -> None:
    told = fleet.client.get("/openapi.json").json()["paths"]
    there = {(method.upper(), path) for path, methods in told.items() for method in methods}
    in_table = [(one.method, one.path) for one in routes()]
    assert len(set(in_table)) == len(in_table)
    assert set(in_table) == there | {("GET", "/openapi.json")}
    assert {one.role for one in routes()} == {*map(str, Role), "anybody"}


def test_every_route_lets_in_who_the_table_says_and_nobody_else(
    fleet: Running, client: httpx.Client, credentials: dict[str, dict[str, str]]
) -> None:
    wrong: list[str] = []
    for route in routes():
        for who, headers in credentials.items():
            answer = route.ask(client, headers)
            status = answer.status_code
            if route.role == "anybody" or who == route.role:
                as_told = status not in (401, 403) and status < 500
            else:
                as_told = status == (401 if who in NOBODY else 403)
            if not as_told:
                wrong.append(f"{route.method} {route.path} as {who}: {status}")
            if status >= 400 and any(leak in answer.text for leak in (*LEAKS, str(fleet.data))):
                wrong.append(f"{route.method} {route.path} as {who} tells: {answer.text}")
    assert not wrong, "\n".join(wrong)


def test_who_may_not_ask_learns_nothing_of_what_is_there(
    fleet: Running, client: httpx.Client, credentials: dict[str, dict[str, str]]
) -> None:
    there = fleet.items("/v1/findings")[0]["id"]
    for headers in (credentials["none"], credentials["ingest"]):
        answers = [client.get(f"/v1/findings/{id}", headers=headers) for id in (there, "no-such")]
        assert len({(one.status_code, one.text) for one in answers}) == 1


def test_a_key_opens_nothing_a_second_after_it_was_revoked(
    client: httpx.Client, store: KeyStore
) -> None:
    token, credential = store.make("leaver", ["read"])
    headers = bearer(token)
    until(lambda: client.get("/v1/halt", headers=headers).status_code == 200)
    store.revoke(credential.id)
    until(lambda: client.get("/v1/halt", headers=headers).status_code == 401, timeout_s=3.0)


def test_nobody_approves_what_they_proposed(client: httpx.Client, store: KeyStore) -> None:
    both = bearer(store.make("both", ["propose", "approve"])[0])
    other = bearer(store.make("other", ["approve"])[0])
    until(lambda: client.get("/v1/halt", headers=both).status_code == 403)
    until(lambda: client.get("/v1/halt", headers=other).status_code == 403)
    asked = {"kind": "cordon", "target": ["gw-0001"], "reason": "four eyes"}
    action = client.post("/v1/actions", json=asked, headers=both).json()
    assert action["state"] in ("proposed", "held")
    path = f"/v1/actions/{action['action_id']}/approve"
    mine = client.post(path, json={}, headers=both)
    assert mine.status_code == 409
    theirs = client.post(path, json={}, headers=other)
    assert (theirs.status_code == 200) == (action["state"] == "proposed")
    if action["state"] == "proposed":
        assert "proposed" in mine.json()["detail"]
        assert theirs.json()["state"] == "approved"


# Devices -----------------------------------------------------------------------------------------

Sent = Callable[[list[Reading]], bytes]
PROTOCOLS: dict[str, tuple[str, dict[str, str], Sent]] = {
    "arrow": ("/v1/telemetry", {"content-type": ARROW}, encode.arrow),
    "ndjson": ("/v1/telemetry", {"content-type": NDJSON}, encode.ndjson),
    "json": ("/v1/telemetry", {"content-type": JSON}, encode.json_array),
    "remote write": (
        "/api/v1/write",
        {"content-type": PROTOBUF, "content-encoding": "snappy"},
        lambda readings: encode.snappy(encode.remote_write_v1(readings)),
    ),
    "remote write 2": (
        "/api/v1/write",
        {"content-type": V2, "content-encoding": "snappy"},
        lambda readings: encode.snappy(encode.remote_write_v2(readings)),
    ),
    "otlp": ("/v1/metrics", {"content-type": PROTOBUF}, encode_more.otlp),
    "otlp json": ("/v1/metrics", {"content-type": JSON}, encode_more.otlp_json),
    "influx": ("/api/v2/write", {"content-type": "text/plain"}, encode.influx),
    "influx 1": ("/write", {"content-type": "text/plain"}, encode.influx),
    "collectd": ("/collectd", {"content-type": JSON}, encode.collectd),
}
METRIC = "collectd.load.load.shortterm"
ALIKE = ("OTHER", "own ", " own", "own\u200b", "owns", "ow", "own/own", "*", "own*", "óther")


def reading(device: str, value: float = 1.0) -> Reading:
    return Reading(device, NOW, METRIC, value)


def test_a_key_writes_for_its_own_device_only_by_any_protocol(
    fleet: Running, credentials: dict[str, dict[str, str]], store: KeyStore
) -> None:
    sender = next(one.id for one in store.list() if one.label == "ingest")
    refused = 0
    for k, (name, (path, headers, sent)) in enumerate(PROTOCOLS.items()):
        known = credentials["ingest"] | headers
        mixed = [reading("own", 2 * k), reading("foreign"), reading("own", 2 * k + 1)]
        fleet.client.post(path, content=sent(mixed), headers=known)
        alone = fleet.client.post(path, content=sent([reading("foreign")]), headers=known)
        refused += 2
        assert alone.status_code == 400, name
        assert b"may not write for" in alone.content, name
    for device in ALIKE:
        answer = fleet.client.post(
            "/v1/telemetry",
            content=encode.ndjson([reading(device)]),
            headers=credentials["ingest"] | {"content-type": NDJSON},
        )
        assert answer.status_code == 400, device
        assert fleet.items("/v1/telemetry", device_id=device) == []
    assert fleet.items("/v1/telemetry", device_id="foreign") == []
    own = fleet.items("/v1/telemetry", device_id="own")
    assert sorted(float(one["value"]) for one in own) == list(range(2 * len(PROTOCOLS)))
    metrics = fleet.metrics()
    assert metrics['aiops_ingest_refused_total{reason="identity_mismatch"}'] >= refused + len(ALIKE)

    def aside() -> int:
        kept = fleet.items("/v1/quarantine", reason="identity_mismatch", sender=sender)
        return sum(int(one["rows"]) for one in kept) >= refused + len(ALIKE)

    until(aside)


def test_what_is_hidden_behind_the_end_of_a_stream_is_not_written(
    fleet: Running, credentials: dict[str, dict[str, str]]
) -> None:
    before = len(fleet.items("/v1/telemetry", device_id="own"))
    body = encode.arrow([reading("own", 5.0)]) + encode.arrow([reading("foreign")])
    fleet.client.post(
        "/v1/telemetry", content=body, headers=credentials["ingest"] | {"content-type": ARROW}
    )
    assert fleet.items("/v1/telemetry", device_id="foreign") == []
    assert len(fleet.items("/v1/telemetry", device_id="own")) <= before + 1


class Behind(NamedTuple):
    """A service that is spoken to over TLS."""

    service: Running
    store: KeyStore
    of_server: trustme.CA
    authority: Authority

    def client(self, certificate: Issued | None = None, token: str = "") -> httpx.Client:
        """Return a client that shows a certificate."""
        context = ssl.create_default_context()
        self.of_server.configure_trust(context)
        if certificate is not None:
            shown = self.service.data.parent / f"{certificate.serial}.pem"
            shown.write_bytes(certificate.certificate + certificate.key)
            context.load_cert_chain(shown)
        headers = bearer(token) if token else {}
        return httpx.Client(base_url=self.service.url, verify=context, headers=headers)


@pytest.fixture(scope="module")
def behind(fleet: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("tls")
    of_server = trustme.CA()
    issued = of_server.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "server.key")
    (folder / "server.key").chmod(0o600)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "server.pem", append=True)
    authority = Authority(folder / "authority")
    config = (
        "[engine]\nepoch_s = 1\nlateness_s = 0\n[listen]\n"
        f'tls_cert = "{folder}/server.pem"\ntls_key = "{folder}/server.key"\n'
        f'client_ca = "{authority.certificate}"\n'
    )
    with Running(folder / "data", config, ready=False) as service:
        yield Behind(service, KeyStore(folder / "data/keys.json"), of_server, authority)


def test_a_certificate_writes_for_its_own_device_only_and_until_it_is_revoked(
    behind: Behind,
) -> None:
    token, _ = behind.store.make("reader", ["read"])
    issued = behind.authority.for_device("gw-1", 3600)
    headers = {"content-type": NDJSON}

    with behind.client(issued) as device, behind.client(token=token) as reader:
        mixed = encode.ndjson([reading("gw-1"), reading("gw-2")])
        answer = device.post("/v1/telemetry", content=mixed, headers=headers)
        assert answer.json()["refused"] == [
            {"reason": "identity_mismatch", "rows": 1, "example": "gw-2"}
        ]
        alone = encode.ndjson([reading("gw-2")])
        assert device.post("/v1/telemetry", content=alone, headers=headers).status_code == 400
        assert device.get("/v1/findings").status_code == 403
        until(lambda: reader.get("/v1/halt").status_code == 200)
        rows = reader.get("/v1/telemetry").json()["items"]
        assert [one["device_id"] for one in rows] == ["gw-1"]

        behind.store.revoke_certificate(issued.serial)

        def refused() -> bool:
            again = encode.ndjson([reading("gw-1", time.time())])
            return device.post("/v1/telemetry", content=again, headers=headers).status_code == 401

        until(refused, timeout_s=3.0)  # over the connection that is open


def test_a_certificate_of_nobody_known_opens_nothing(behind: Behind, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "authority").for_device("gw-1", 3600)
    body, headers = encode.ndjson([reading("gw-1")]), {"content-type": NDJSON}
    with behind.client(stranger) as client, pytest.raises(httpx.TransportError):
        client.post("/v1/telemetry", content=body, headers=headers)
    with behind.client() as client:
        assert client.post("/v1/telemetry", content=body, headers=headers).status_code == 401
    with behind.client(behind.authority.for_device("gw-3", 3600)) as client:
        unknown = bearer("aiops_00000000_" + "A" * 43)  # a token counts for more
        answer = client.post("/v1/telemetry", content=body, headers=headers | unknown)
        assert answer.status_code == 401
