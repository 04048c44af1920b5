"""Start checks: a demo starts as it is, and beyond this machine each thing must hold."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from aiops.errors import ServeError, SettingsError
from aiops.service.checks import CHECKS, Exposure, must_start, start_checks, validity
from aiops.service.keys import KeyStore

NOW = datetime(2027, 3, 1, tzinfo=UTC)
SQLITE = "3.54.1"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def write(path: Path, content: bytes, mode: int) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


class Place:
    """A machine on which everything is as it must be."""

    def __init__(self, folder: Path, authority: trustme.CA):
        cert = authority.issue_cert(
            "aiops.example", not_before=datetime(2027, 1, 1), not_after=datetime(2028, 1, 1)
        )
        data = folder / "data"
        data.mkdir(mode=0o700)
        self.folder, self.authority, self.now = folder, authority, NOW
        self.exposed = Exposure(
            data,
            host="0.0.0.0",
            tls_cert=write(folder / "cert.pem", cert.cert_chain_pems[0].bytes(), 0o644),
            tls_key=write(folder / "key.pem", cert.private_key_pem.bytes(), 0o600),
            free_bytes=1,
        )
        self.keys = KeyStore(data / "keys.json", wall=self.wall)
        self.gateway = self.keys.make("gateway", ["ingest"], ["gw-1"])[1]
        self.operator = self.keys.make("operator", ["admin", "read"], expires_s=86_400 * 90)[1]

    def wall(self) -> float:
        return self.now.timestamp()

    def checks(self, sqlite=SQLITE, **changed):
        exposed = replace(self.exposed, **changed)
        done = start_checks(exposed, self.keys, sqlite, wall=self.wall)
        return {check.name: check for check in done}

    def failing(self, **changed) -> dict[str, str]:
        return {n: c.found for n, c in self.checks(**changed).items() if not c.passed}


@pytest.fixture
def place(tmp_path, authority) -> Place:
    return Place(tmp_path, authority)


def test_where_everything_is_as_it_must_be_it_starts(place):
    checks = place.checks()
    assert list(checks) == list(CHECKS)
    assert not place.failing()
    must_start(checks.values())


@pytest.mark.parametrize(
    ("where", "demo"),
    [
        ({"host": "127.0.0.1"}, True),
        ({"host": "127.9.9.9"}, True),
        ({"host": "::1"}, True),
        ({"host": "localhost"}, True),
        ({"host": "0.0.0.0", "unix": Path("socket")}, True),
        ({"host": "127.0.0.1", "behind_proxy": ("127.0.0.1",)}, False),
        ({"host": "0.0.0.0"}, False),
        ({"host": "::"}, False),
        ({"host": ""}, False),
        ({"host": "192.168.1.5"}, False),
        ({"host": "gw-1"}, False),
        ({"host": "127.0.0.1.example"}, False),
    ],
)
def test_only_what_nobody_else_can_reach_is_a_demo(tmp_path, where, demo):
    bare = Exposure(tmp_path / "none" / "yet", free_bytes=1, **where)
    assert bare.demo is demo
    done = start_checks(bare, KeyStore(tmp_path / "keys.json"), SQLITE, wall=NOW.timestamp)
    if demo:
        assert {check.name for check in done} == {"clock", "free_disk", "sqlite"}
        must_start(done)
    else:
        with pytest.raises(ServeError, match="operator_keys"):
            must_start(done)


def test_what_is_not_set_is_not_spoken_of_as_a_file(tmp_path):
    bare = Exposure(tmp_path, host="0.0.0.0", free_bytes=1)
    done = start_checks(bare, KeyStore(tmp_path / "keys.json"), SQLITE, wall=NOW.timestamp)
    told = {check.name: check for check in done}
    assert told["tls_key_mode"].found == "there is none"
    assert [check.name for check in done if "None" in check.found + check.fix] == []
    assert all(bool(check.fix) is not check.passed for check in done)


@pytest.mark.parametrize(("host", "beyond"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_only_what_listens_beyond_this_machine_is_refused_for_that(tmp_path, host, beyond):
    full = Exposure(tmp_path, host=host, free_bytes=1 << 60)
    done = start_checks(full, KeyStore(tmp_path / "keys.json"), SQLITE, wall=NOW.timestamp)
    with pytest.raises(ServeError, match=r"^not started") as caught:
        must_start(done)
    assert ("beyond this machine" in str(caught.value)) is beyond


def spoil_key_mode(place):
    place.exposed.tls_key.chmod(0o644)


def spoil_match(place):
    other = place.authority.issue_cert("other")
    write(place.exposed.tls_key, other.private_key_pem.bytes(), 0o600)


def spoil_data_mode(place):
    place.exposed.data.chmod(0o705)


def spoil_keys_mode(place):
    place.keys.path.chmod(0o640)


def spoil_gateway(place):
    place.keys.revoke(place.gateway.id)


def spoil_operator(place):
    place.now = datetime(2027, 7, 1, tzinfo=UTC)  # its key has expired, the certificate has not


def spoil_dates(place):
    place.now = datetime(2028, 1, 1, 0, 0, 1, tzinfo=UTC)
    place.keys.make("operator", ["read"])


def spoil_clock(place):
    place.now = datetime(1970, 1, 1, tzinfo=UTC)


def nothing(place):
    return


CASES = [
    (nothing, {"tls_cert": None, "tls_key": None}, {"tls": "no certificate with its key"}),
    (nothing, {"tls_key": None}, {"tls": "no certificate with its key"}),
    (nothing, {"tls_key": Path("no.pem")}, {"tls": "no.pem: No such file"}),
    (nothing, {"client_ca": Path("no.pem")}, {"tls": "no.pem: No such file"}),
    (spoil_match, {}, {"tls": "MISMATCH"}),
    (spoil_key_mode, {}, {"tls_key_mode": "mode 0644"}),
    (spoil_dates, {}, {"tls_dates": "valid until 2028-01-01 00:00 UTC"}),
    (spoil_clock, {}, {"clock": "1970-01-01", "tls_dates": "not valid before 2027-01-01"}),
    (spoil_data_mode, {}, {"data_dir_mode": "mode 0705"}),
    (spoil_keys_mode, {}, {"data_dir_mode": "keys.json has mode 0640"}),
    (spoil_gateway, {}, {"device_keys": "no valid keys with the role ingest"}),
    (spoil_operator, {}, {"operator_keys": "no valid keys with the role admin or read"}),
    (
        nothing,
        {"free_bytes": 1 << 60},
        {"free_disk": "MiB are free, and 1,099,511,627,776 MiB are needed"},
    ),
    (nothing, {"sqlite": "3.51.2"}, {"sqlite": "SQLite 3.51.2"}),
    (nothing, {"sqlite": "3.9.0"}, {"sqlite": "SQLite 3.9.0"}),
    (
        nothing,
        {"tls_cert": None, "tls_key": None, "behind_proxy": ("10.0.0.0/99",)},
        {"tls": "is no address and no network"},
    ),
    (
        nothing,
        {"tls_cert": None, "tls_key": None, "behind_proxy": ("0.0.0.0/0",)},
        {"tls": "believes everybody"},
    ),
]


@pytest.mark.parametrize(("spoil", "changed", "found"), CASES)
def test_what_is_not_as_it_must_be_is_named_with_what_mends_it(place, spoil, changed, found):
    spoil(place)
    failing = place.failing(**changed)
    assert failing.keys() == found.keys()
    for name, part in found.items():
        assert part in failing[name]
    with pytest.raises(ServeError) as stopped:
        must_start(place.checks(**changed).values())
    said = str(stopped.value)
    for name in found:
        assert f"\n{name}: {failing[name]}. {CHECKS[name].why} Mend it: " in said
    assert "{" not in said
    assert len(said.splitlines()) == 1 + len(found)


def test_every_check_has_a_case_that_fails(place):
    owner = {"data_dir_owner"}  # has a test of its own
    assert owner.union(*(found for _, _, found in CASES)) == set(CHECKS)


def test_data_of_another_user_is_found(place, monkeypatch):
    other = place.exposed.data.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert "data_dir_owner" in place.failing()


def test_a_key_that_root_lends_to_a_group_is_closed_enough(place, monkeypatch):
    key = place.exposed.tls_key
    key.chmod(0o640)
    assert place.failing().keys() == {"tls_key_mode"}
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert "tls_key_mode" not in place.failing()
        key.chmod(0o660)
        assert "tls_key_mode" in place.failing()


def test_a_proxy_does_tls_and_a_client_authority_lets_devices_in(place):
    plain = {"tls_cert": None, "tls_key": None, "behind_proxy": ("10.0.0.5", "fd00::/64")}
    assert not place.failing(**plain)
    place.keys.revoke(place.gateway.id)
    place.authority.cert_pem.write_to_path(place.folder / "ca.pem")
    assert not place.failing(client_ca=place.folder / "ca.pem")
    assert "device_keys" in place.failing(**plain, client_ca=place.folder / "ca.pem"), (
        "behind a proxy no device shows its certificate"
    )


def test_one_check_may_fail_by_its_name_and_that_is_seen(place):
    place.exposed.data.chmod(0o755)
    place.exposed.tls_key.chmod(0o644)
    allowed = place.checks(allow=("data_dir_mode",))["data_dir_mode"]
    assert (allowed.passed, allowed.allowed, allowed.stops) == (False, True, False)
    with pytest.raises(ServeError, match="tls_key_mode") as stopped:
        must_start(place.checks(allow=("data_dir_mode",)).values())
    assert "data_dir_mode" not in str(stopped.value)
    with pytest.raises(SettingsError, match="no check is called 'all'; there are tls, "):
        place.checks(allow=("all",))


def test_keys_that_cannot_be_read_are_none(place):
    place.keys.path.write_text("{")
    place.keys._look_at = -1.0  # as if a second had passed
    assert "is no file of keys" in place.failing()["operator_keys"]


def test_how_long_a_certificate_is_valid_is_read(place, tmp_path):
    assert validity(place.exposed.tls_cert) == (
        datetime(2027, 1, 1, tzinfo=UTC).timestamp(),
        datetime(2028, 1, 1, tzinfo=UTC).timestamp(),
    )
    with pytest.raises(ValueError, match="PEM"):
        validity(write(tmp_path / "x.pem", b"none", 0o600))
