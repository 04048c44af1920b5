from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from aiops.connectors.telling.commands import PAYLOAD_TYPE, Command, accept, commands, left_s
from aiops.connectors.telling.signing import Signer, _make, pae, public_key, verify
from aiops.errors import DeliveryError, PayloadError, SettingsError
from tests.connectors.telling.messages import SECOND, T0, action

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OPENSSL_VERIFY = [
    "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-sigfile", "sig",
]  # fmt: skip
NOW = datetime.fromtimestamp(T0 // SECOND, tz=UTC)


def test_what_is_signed_is_what_the_specification_shows() -> None:
    signed = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == signed


@given(st.text(max_size=20), st.binary(max_size=40), st.text(max_size=20), st.binary(max_size=40))
def test_no_two_documents_are_signed_as_the_same_bytes(
    kind: str, payload: bytes, other_kind: str, other: bytes
) -> None:
    assert (pae(kind, payload) == pae(other_kind, other)) == (
        (kind, payload) == (other_kind, other)
    )


def test_a_key_is_made_once_readable_by_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        first = Signer.at(tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert Signer.at(tmp_path / "key.pem").key_id == first.key_id
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


def test_all_who_start_at_once_have_one_key(tmp_path: Path) -> None:
    found: list[str] = []
    at_once = threading.Barrier(8)

    def start() -> None:
        at_once.wait(5)
        found.append(Signer.at(tmp_path / "key.pem").key_id)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


def test_whoever_comes_second_does_not_replace_the_key(tmp_path: Path) -> None:
    first = Signer.at(tmp_path / "key.pem")
    _make(tmp_path / "key.pem")  # as of a process that saw no file a moment ago
    assert Signer.at(tmp_path / "key.pem").key_id == first.key_id
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Signer.at(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(SettingsError, match="mode 0640"):
        Signer.at(tmp_path / "key.pem")


def test_what_is_no_ed25519_key_is_refused(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for content, said in ((b"no key", "no private key"), (other, "Ed25519")):
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(SettingsError, match=said):
            Signer.at(path)
    with pytest.raises(SettingsError, match="directory"):
        Signer.at(tmp_path / "nowhere" / "key.pem")
    with pytest.raises(SettingsError):
        public_key(b"no key")


def test_a_signature_is_verified_with_the_exported_key() -> None:
    key = public_key(SIGNER.public_pem)
    assert verify(SIGNER.sign(b"payload", "a/b"), "a/b", key) == b"payload"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_it_with_the_exported_key(tmp_path: Path) -> None:
    envelope = SIGNER.sign(b"drain gw-17", PAYLOAD_TYPE)
    files = {
        "key.pem": SIGNER.public_pem,
        "sig": base64.b64decode(envelope["signatures"][0]["sig"]),
        "signed": pae(PAYLOAD_TYPE, base64.b64decode(envelope["payload"])),
        "other": pae(PAYLOAD_TYPE, b"drain gw-18"),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    verdicts = {
        name: subprocess.run(
            [
                *[
                    "openssl",
                    "pkeyutl",
                    "-verify",
                    "-pubin",
                    "-inkey",
                    "key.pem",
                    "-rawin",
                    "-sigfile",
                    "sig",
                    "-in",
                ],
                name,
            ],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        ).returncode
        for name in ("signed", "other")
    }
    assert verdicts == {"signed": 0, "other": 1}


def test_base64_for_urls_is_read_as_well() -> None:
    envelope = SIGNER.sign(bytes(range(256)), "a/b")
    envelope["payload"] = envelope["payload"].translate(str.maketrans("+/", "-_"))
    assert verify(envelope, "a/b", SIGNER.public) == bytes(range(256))


@given(st.integers(0, 2**31), st.integers(0, 7))
def test_one_changed_bit_is_noticed(place: int, bit: int) -> None:
    envelope = SIGNER.sign(b"drain gw-17", "a/b")
    signed = bytearray(b"drain gw-17" + base64.b64decode(envelope["signatures"][0]["sig"]))
    signed[place % len(signed)] ^= 1 << bit
    envelope["payload"] = base64.b64encode(signed[:11]).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(signed[11:]).decode()
    with pytest.raises(PayloadError):
        verify(envelope, "a/b", SIGNER.public)


def test_another_type_another_key_and_what_is_no_envelope_are_refused() -> None:
    envelope = SIGNER.sign(b"payload", "a/b")
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    with pytest.raises(PayloadError, match="a/c was expected"):
        verify(envelope, "a/c", SIGNER.public)
    with pytest.raises(PayloadError, match="none of 1"):
        verify(envelope | {"payloadType": "a/c"}, "a/c", SIGNER.public)
    with pytest.raises(PayloadError, match="none of 1"):
        verify(envelope, "a/b", stranger)
    with pytest.raises(PayloadError, match="none of 0"):
        verify(envelope | {"signatures": []}, "a/b", SIGNER.public)
    for broken in ({}, envelope | {"payload": "%"}, envelope | {"signatures": [1]}):
        with pytest.raises(PayloadError, match="no DSSE envelope"):
            verify(broken, "a/b", SIGNER.public)


def test_an_action_is_a_command_for_each_of_its_devices() -> None:
    message = action(target=("b", "a"), recorded={"approvers": ["ana"], "counter": 41})
    made = commands(message)
    assert [one.device for one in made] == ["a", "b"]
    for one in made:
        assert one.action_id == message.record["action_id"]
        assert one.target == ["a", "b"]
        assert (one.kind, one.params, one.approvers) == ("drain", {"grace_s": 30}, ["ana"])
        assert one.counter == 41
        assert one.expires - one.issued == timedelta(hours=1)
    homes = commands(action(kind="migrate", target=("camera",), devices=("gw-1", "gw-2")))
    assert [one.device for one in homes] == ["gw-1", "gw-2"]
    assert homes[0].counter == T0 + 2 * SECOND


@pytest.mark.parametrize(
    "message",
    [
        action(decision="held"),
        action(historical=True),
        action(recorded={"verdict": "proposed"}),
        action(recorded={"expires_ts": "soon"}),
        action(recorded={"counter": "1"}),
        action()._replace(record={"verdict": "allowed"}),
    ],
)
def test_what_is_not_allowed_now_makes_no_command(message: object) -> None:
    with pytest.raises(DeliveryError) as caught:
        commands(message)  # type: ignore[arg-type]
    assert caught.value.permanent


def test_a_device_takes_a_command_once_in_its_time_and_no_other() -> None:
    command = commands(action(recorded={"counter": 5}))[0]
    envelope = SIGNER.sign(command.to_bytes(), PAYLOAD_TYPE)
    payload = verify(envelope, PAYLOAD_TYPE, SIGNER.public)
    assert accept(payload, device="gw-17", counter=4, now=NOW) == command
    with pytest.raises(PayloadError, match="taken already"):
        accept(payload, device="gw-17", counter=5, now=NOW)
    with pytest.raises(PayloadError, match="for gw-17"):
        accept(payload, device="gw-18", counter=4, now=NOW)
    with pytest.raises(PayloadError, match="expired"):
        accept(payload, device="gw-17", counter=4, now=NOW + timedelta(hours=1))
    with pytest.raises(PayloadError, match="no command"):
        accept(b"{}", device="gw-17", counter=4, now=NOW)


def test_what_is_left_of_a_commands_time_is_in_whole_seconds() -> None:
    command: Command = commands(action())[0]
    assert left_s(command, T0 + SECOND // 2) == 3599
    assert left_s(command, T0 + 3600 * SECOND) == 0
    assert left_s(command, T0 + 3602 * SECOND) == -2
