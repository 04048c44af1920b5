"""The small authority: a device that shows its certificate is let in as itself."""

from __future__ import annotations

import asyncio
import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest

from aiops.errors import FileError, SettingsError
from aiops.service.authority import Authority, write_private
from aiops.service.checks import validity
from aiops.service.identity import Identity
from aiops.service.keys import KeyStore
from aiops.service.protocol import PEER
from aiops.service.server import Server
from aiops.service.tls import Tls

DAY_S = 86_400


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path / "authority")


def written(folder, issued, name):
    write_private(folder / f"{name}.pem", issued.certificate)
    write_private(folder / f"{name}.key", issued.key)
    return folder / f"{name}.pem", folder / f"{name}.key"


@pytest.mark.parametrize("device", ["gw-1", "GW_1/disk", "10.0.0.1", "a" * 64 + ".x", "*"])
def test_a_device_is_let_in_as_itself(tmp_path, authority, device):
    tls = Tls(
        *written(tmp_path, authority.for_server("127.0.0.1", DAY_S), "server"),
        client_ca=authority.certificate,
    )
    issued = authority.for_device(device, DAY_S)
    own = written(tmp_path, issued, "device")
    store = KeyStore(tmp_path / "keys.json")
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "http":
            seen.append(Identity(store, client_certs=True).identify(None, scope[PEER]))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    async def go():
        server = Server(app, port=0, tls=tls)
        serving = asyncio.create_task(server.serve(signals=False))
        await server.ready.wait()
        trusting = ssl.create_default_context(cafile=authority.certificate)
        trusting.load_cert_chain(*own)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"204"
        writer.close()
        server.stop()
        await serving

    asyncio.run(go())
    assert seen[0].devices == {device}
    assert store.revoke_certificate(issued.serial) == issued.serial.lstrip("0")


def test_an_authority_is_made_once_and_only_its_owner_can_sign(tmp_path):
    first = Authority(tmp_path / "authority")
    made = first.certificate.read_bytes()
    assert stat.S_IMODE(first.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(first.key.parent.stat().st_mode) == 0o700
    assert Authority(tmp_path / "authority").certificate.read_bytes() == made


def test_a_certificate_is_valid_as_long_as_asked_and_never_longer_than_its_authority(tmp_path):
    now = datetime(2027, 1, 1, tzinfo=UTC)
    authority = Authority(tmp_path / "authority", now)
    issued = authority.for_device("gw-1", DAY_S)
    assert issued.until == now + timedelta(days=1)
    certificate, _ = written(tmp_path, issued, "gw-1")
    assert validity(certificate) == (now.timestamp() - 300, now.timestamp() + DAY_S)
    late = Authority(tmp_path / "authority", now + timedelta(days=3649))
    assert late.for_device("gw-1", 100 * DAY_S).until == now + timedelta(days=3650)


@pytest.mark.parametrize("device", ["", "gw 1", "gw\n1", "gerät", "a" * 257])
def test_a_name_that_cannot_stand_in_a_certificate_is_refused(authority, device):
    with pytest.raises(SettingsError, match="visible ASCII"):
        authority.for_device(device, DAY_S)
    with pytest.raises(SettingsError, match="no name and no address"):
        authority.for_server(device + "_", DAY_S)


def test_half_an_authority_is_an_error_in_words(tmp_path, authority):
    authority.key.unlink()
    with pytest.raises(FileError, match=r"ca\.key: No such file"):
        Authority(tmp_path / "authority")
    authority.key.write_text("none")
    with pytest.raises(FileError, match="authority"):
        Authority(tmp_path / "authority")
