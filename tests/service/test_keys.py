"""Credentials: kept without their secrets, found by their tokens, closed within a second."""

from __future__ import annotations

import base64
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from aiops.errors import AccessError, FileError, NotAllowed, NotAuthenticated, SettingsError
from aiops.service.identity import DemoOperator, Identity, devices_of, token_of
from aiops.service.keys import KeyStore, Principal, certificate_id
from aiops.service.roles import Role, roles_of


@dataclass
class Clock:
    now_s: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path, clock) -> KeyStore:
    return KeyStore(tmp_path / "keys.json", wall=clock, monotonic=clock)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# The store ---------------------------------------------------------------------------------------


def test_a_token_opens_what_its_key_says(store):
    token, made = store.make("gateway of hall 1", ["ingest"], ["gw-1", "camera-1", "gw-1"])
    assert token.startswith(f"aiops_{made.id}_")
    assert len(token.split("_", 2)[2]) == 43, "256 bits in base64"
    assert store.authenticate(token) == made
    assert made.devices == ("gw-1", "camera-1")
    assert store.list() == (made,)


def test_the_file_holds_no_secret_and_is_its_owners_only(store, tmp_path):
    token, _ = store.make("g", ["ingest"], ["gw-1"])
    written = store.path.read_text()
    assert token.split("_", 2)[2] not in written
    assert json.loads(written)["format"] == 1
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert not (tmp_path / "keys.json.new").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"),
        lambda t: t.replace("aiops_", "other_"),
        lambda t: t.rpartition("_")[0],
        lambda t: t + "A",
        lambda t: t.split("_")[0] + "_00000000_" + t.split("_", 2)[2],
        lambda t: "",
        lambda t: "aiops_",
        lambda t: "\udcff",
        lambda t: t + "é",
    ],
)
def test_any_other_token_opens_nothing(store, spoil):
    token, _ = store.make("g", ["ingest"], ["gw-1"])
    assert store.authenticate(spoil(token)) is None
    assert store.authenticate(token) is not None


def test_a_key_expires(store, clock):
    token, made = store.make("g", ["read"], expires_s=60)
    assert made.expires == made.created + 60
    clock.now_s += 59
    assert store.authenticate(token) == made
    clock.now_s += 1
    assert store.authenticate(token) is None


def test_what_another_process_revokes_is_refused_a_second_later(store, clock):
    token, made = store.make("g", ["read"])
    assert store.authenticate(token)
    other = KeyStore(store.path, wall=clock, monotonic=clock)
    closed = other.revoke(made.id)
    assert closed.revoked == int(clock())
    clock.now_s += 1.0
    assert store.authenticate(token) is None
    assert store.list() == (closed,)
    assert other.revoke(made.id) == closed, "again changes nothing"


def test_the_file_is_looked_at_once_a_second(store, clock, monkeypatch):
    token, _ = store.make("g", ["read"])
    looked = []
    real = os.stat
    monkeypatch.setattr(
        "aiops.service.keys.os.stat", lambda *a, **k: looked.append(a) or real(*a, **k)
    )
    for _ in range(100):
        store.authenticate(token)
    assert not looked
    clock.now_s += 1.0
    for _ in range(100):
        store.authenticate(token)
    assert len(looked) == 1


def test_a_key_that_another_process_makes_opens_a_second_later(store, clock):
    token, made = KeyStore(store.path).make("g", ["read"])
    clock.now_s += 1.0
    assert store.authenticate(token) == made


def test_keys_made_at_the_same_time_are_all_kept(tmp_path):
    stores = [KeyStore(tmp_path / "keys.json") for _ in range(4)]
    with ThreadPoolExecutor(4) as many:
        made = list(many.map(lambda n: stores[n % 4].make(f"k{n}", ["read"])[1], range(16)))
    assert {one.id for one in KeyStore(tmp_path / "keys.json").list()} == {one.id for one in made}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no file of keys"),
        ("[]", "is no file of keys"),
        (b"\xff\xfe", "is no file of keys"),
        ('{"keys": [{"sha256": "00"}]}', "is no file of keys"),
        ('{"format": 2}', "format 2"),
    ],
)
def test_a_file_that_cannot_be_read_lets_nobody_in(store, clock, content, says):
    token, _ = store.make("g", ["read"])
    store.path.write_bytes(content if isinstance(content, bytes) else content.encode())
    clock.now_s += 1.0
    for _ in range(2):  # and not only once
        with pytest.raises(FileError, match=says):
            store.authenticate(token)


def test_a_file_that_is_gone_lets_nobody_in(store, clock):
    token, _ = store.make("g", ["read"])
    store.path.unlink()
    clock.now_s += 1.0
    assert store.authenticate(token) is None


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("g", ["ingets"]), "no role is called 'ingets': there are ingest, read"),
        (("g", []), "no role is given"),
        (("  ", ["read"]), "label"),
        (("a\x1b[2J", ["read"]), "label"),
        (("g", ["read"], ["gw-1"]), "only a key with the role ingest"),
        (("g", ["ingest"], [""]), "empty"),
        (("g", ["read"], [], 0), "never open"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(store, asked, says):
    with pytest.raises(SettingsError, match=says):
        store.make(*asked)
    assert store.list() == ()


def test_a_key_that_does_not_exist_is_not_revoked(store):
    with pytest.raises(SettingsError, match="aiops keys list"):
        store.revoke("00000000")


# Principals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "writes", "not_for"),
    [
        ((), [], ["", "gw-1", "*"]),
        (("gw-1",), ["gw-1"], ["gw-10", "GW-1", "gw-", "gw-1\n", ""]),
        (("gw-*",), ["gw-1", "gw-", "gw-1/a"], ["GW-1", "agw-1", "gw"]),
        (("gw-?", "c.m", "[ab]-1"), ["gw-1", "c.m", "a-1"], ["gw-10", "cam", "c-1"]),
        (("*",), ["anything", ""], []),
    ],
)
def test_a_key_writes_for_the_devices_it_names_only(store, devices, writes, not_for):
    token, _ = store.make("g", ["ingest"], devices)
    who = store.principal(token)
    assert all(map(who.may_write, writes))
    assert not any(map(who.may_write, not_for))


def test_a_role_that_is_lacking_is_named(store):
    who = store.principal(store.make("g", ["read", "feedback"])[0])
    who.require(Role.READ)
    with pytest.raises(NotAllowed, match=rf"role approve, and {who.name} has feedback, read"):
        who.require(Role.APPROVE)
    assert roles_of(["read", "feedback"]) == who.roles


# Identity ----------------------------------------------------------------------------------------

PEER = {
    "subject": ((("organizationName", "fleet"),), (("commonName", "cn-1"),)),
    "serialNumber": "0A1B",
    "sha256": "ff" * 32,
}


def test_a_token_is_taken_in_each_of_its_forms(store):
    token, made = store.make("g", ["ingest"], ["gw-1"])
    who = Identity(store)
    forms = [f"Bearer {token}", f"bearer  {token}", f"Token {token}", basic(made.id, token)]
    assert {who.identify(form).name for form in forms} == {made.id}


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (None, "who asks"),
        ("", "is not known"),
        ("Bearer", "without a token"),
        ("Bearer aiops_00000000_x", "unknown, expired or revoked"),
        ("Digest x", "'Digest' is not known"),
        ("Basic %%%", "not base64"),
        ("Basic /w==", "not base64"),
        (basic("user", ""), "without a token"),
    ],
)
def test_who_shows_nothing_that_is_known_is_not_let_in(store, header, says):
    with pytest.raises(NotAuthenticated, match=says):
        Identity(store, client_certs=False).identify(header, PEER)


def test_a_demo_has_one_operator_whose_token_nobody_else_has(store):
    demo, other = DemoOperator(), DemoOperator()
    who = Identity(store, demo=demo)
    assert who.identify(f"Bearer {demo.token}") is demo.principal
    assert demo.principal.may_write("anything")
    assert demo.principal.roles == set(Role)
    for token in (other.token, "aiops_demo_", "é"):
        with pytest.raises(NotAuthenticated):
            who.identify(f"Bearer {token}")
    with pytest.raises(NotAuthenticated):
        Identity(store).identify(f"Bearer {demo.token}")


@pytest.mark.parametrize(
    ("names", "devices"),
    [
        ((), ("cn-1",)),
        ((("IP Address", "10.0.0.1"), ("email", "a@b")), ("cn-1",)),
        ((("DNS", "gw-1"),), ("gw-1",)),
        ((("URI", "urn:aiops:device:gw_1"), ("DNS", "gw-2")), ("gw_1", "gw-2")),
        ((("URI", "spiffe://fleet/gw-1"),), ("spiffe://fleet/gw-1",)),
        ((("DNS", "*"),), ("*",)),
    ],
)
def test_a_certificate_writes_for_the_devices_it_names_only(store, names, devices):
    peer = PEER | {"subjectAltName": names}
    assert devices_of(peer) == devices
    who = Identity(store, client_certs=True).identify(None, peer)
    assert who == Principal(devices[0], frozenset({Role.INGEST}), frozenset(devices))
    assert all(map(who.may_write, devices))
    assert not who.may_write("gw-3"), "a star in a certificate is no pattern"


@pytest.mark.parametrize("number", ["0A1B", "a1b", "00:0a:1b", "FF" * 32, ":".join(["ff"] * 32)])
def test_a_certificate_is_revoked_by_serial_or_fingerprint(store, clock, number):
    who = Identity(store, client_certs=True)
    assert who.identify(None, PEER).name == "cn-1"
    KeyStore(store.path).revoke_certificate(number)
    clock.now_s += 1.0
    with pytest.raises(NotAuthenticated, match="revoked"):
        who.identify(None, PEER)
    assert who.identify(None, PEER | {"serialNumber": "0A1C", "sha256": ""}).name == "cn-1"


def test_a_certificate_that_names_nobody_or_is_not_there_lets_nobody_in(store):
    who = Identity(store, client_certs=True)
    with pytest.raises(NotAuthenticated, match="names no device"):
        who.identify(None, {"subject": ((("organizationName", "x"),),)})
    with pytest.raises(AccessError, match="or a client certificate"):
        who.identify(None, {})
    with pytest.raises(SettingsError, match="hexadecimal"):
        certificate_id("gw-1")


def test_a_bad_token_is_not_made_good_by_a_certificate(store):
    with pytest.raises(NotAuthenticated, match="unknown"):
        Identity(store, client_certs=True).identify("Bearer nobody", PEER)


def test_the_user_name_of_basic_is_not_looked_at():
    assert token_of(basic("telegraf", "aiops_1_a:b")) == "aiops_1_a:b"
