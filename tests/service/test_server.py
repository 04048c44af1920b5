"""The server over real sockets: what is slow, large or malformed is cut off, the rest served."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import ssl
import stat
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
import uvloop

from aiops.errors import ServeError
from aiops.service.protocol import PEER, ServerLimits
from aiops.service.server import Server, within
from aiops.service.tls import Tls

LONG_S = 30.0
LONG = ServerLimits(LONG_S, LONG_S, idle_s=LONG_S, linger_s=LONG_S, grace_s=LONG_S)
"""No limit in time is reached: what is tested is something else."""


class App:
    """Answers with what it was asked; some paths do something else."""

    def __init__(self):
        self.asked, self.go, self.begun = [], asyncio.Event(), asyncio.Event()
        self.ended = []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("this application has no lifespan")
        path, body, more = scope["path"], b"", scope["path"] != "/unread"
        self.asked.append(path)
        self.begun.set()
        if path == "/wait":
            try:
                await self.go.wait()
            finally:
                self.ended.append(path)
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.ended.append(f"{path} gone")
                return
            body, more = body + event["body"], event["more_body"]
        said = {"path": path, "n": len(body), "peer": scope[PEER], "scheme": scope["scheme"]}
        said["headers"] = [name.decode() for name, _ in scope["headers"]]
        said["client"] = scope["client"] and scope["client"][0]
        content = b"x" * (8 << 20) if path == "/large" else json.dumps(said).encode()
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self):
        """Return status, headers and body of the next response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(body or b"null")

    async def ask(self, path, body=b""):
        await self.send(request(path, body))
        return await self.answer()

    async def rest(self):
        """Return what comes until the server closes."""
        return await self.reader.read()

    async def refused(self, status):
        """Return the detail of a refusal, after which the server closes."""
        found, headers, problem = await self.answer()
        assert found == status == problem["status"]
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert await self.rest() == b""
        return problem["detail"]


def request(path, body=b"", *headers):
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Serving:
    def __init__(self, server, app):
        self.server, self.app, self.clients = server, app, []

    async def client(self, **how):
        if "path" in how:
            opened = await asyncio.open_unix_connection(**how)
        else:
            opened = await asyncio.open_connection("127.0.0.1", self.server.port, **how)
        self.clients.append(Client(*opened))
        return self.clients[-1]


@asynccontextmanager
async def serving(limits=LONG, **settings):
    app = App()
    server = Server(app, port=0, limits=limits, **settings)
    task = asyncio.create_task(server.serve(signals=False))
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        task.result()
    here = Serving(server, app)
    try:
        yield here
    finally:
        app.go.set()
        for client in here.clients:
            client.writer.close()
        server.stop()
        await task
        assert server.connections == 0


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("aiops.service.server.TICK_S", 0.02)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    def within(coroutine):
        async def soon():
            await asyncio.wait_for(coroutine, 20.0)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(soon())

    return within


# What is served ----------------------------------------------------------------------------------


def test_requests_of_one_connection_are_answered_in_order(run):
    async def go():
        async with serving() as here:
            client = await here.client()
            status, headers, said = await client.ask("/a", b"12345")
            assert (status, said["n"], said["peer"]) == (200, 5, {})
            assert "server" not in headers
            assert "date" in headers
            await client.send(b"".join(request(f"/{n}", b"x" * n) for n in range(5)))
            for n in range(5):
                _, _, said = await client.answer()
                assert (said["path"], said["n"]) == (f"/{n}", n)
            assert not here.server.refused

    run(go())


def test_a_body_in_chunks_is_served(run):
    async def go():
        async with serving() as here:
            client = await here.client()
            await client.send(b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(100):
                await client.send(b"1;ext=a\r\nx\r\n")
            await client.send(b"0\r\ntrailer: a\r\n\r\n")
            said = (await client.answer())[2]
            assert (said["n"], said["headers"]) == (100, ["host", "transfer-encoding"])
            assert (await client.ask("/d"))[0] == 200

    run(go())


def test_an_upgrade_is_ignored_and_the_connection_lives_on(run):
    async def go():
        async with serving() as here:
            client = await here.client()
            asks = b"GET /u HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
            await client.send(asks + asks + request("/v", b"abc"))
            answers = [(await client.answer())[2] for _ in range(3)]
            assert [(one["path"], one["n"]) for one in answers] == [("/u", 0), ("/u", 0), ("/v", 3)]

    run(go())


def test_a_body_behind_an_upgrade_is_no_request_of_its_own(run):
    async def go():
        async with serving() as here:
            client = await here.client()
            hidden = b"GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n"
            await client.send(request("/u", hidden, "connection: upgrade", "upgrade: h2c"))
            assert "no upgrade" in await client.refused(400)
            assert not here.app.asked

    run(go())


# What is slow ------------------------------------------------------------------------------------


def test_a_connection_that_says_nothing_is_closed(run):
    async def go():
        async with serving(replace(LONG, head_s=0.2)) as here:
            client = await here.client()
            assert await client.rest() == b""
            assert here.server.refused == {"silent": 1}

    run(go())


async def drip(client, content):
    """Send a byte every 20 ms until the server does not listen any more."""
    try:
        for byte in content:
            await client.send(bytes([byte]))
            await asyncio.sleep(0.02)
    except ConnectionError:
        return


def test_a_head_that_comes_byte_by_byte_is_cut_off(run):
    async def go():
        async with serving(replace(LONG, head_s=0.3)) as here:
            for first in ((), ("/first",)):  # of a connection's first request, and of a later one
                client = await here.client()
                for path in first:
                    await client.ask(path)
                dripping = asyncio.create_task(
                    drip(client, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50)
                )
                assert "within 0.3 s" in await client.refused(408)
                dripping.cancel()
            assert here.server.refused["slow_head"] == 2
            assert here.app.asked == ["/first"]

    run(go())


def test_empty_lines_keep_no_connection_open(run):
    async def go():
        async with serving(replace(LONG, head_s=0.3)) as here:
            client = await here.client()
            await client.ask("/a")
            dripping = asyncio.create_task(drip(client, b"\r\n" * 200))
            assert await client.rest() == b""
            dripping.cancel()

    run(go())


def test_a_body_that_comes_byte_by_byte_is_cut_off(run):
    async def go():
        async with serving(replace(LONG, body_s=0.15)) as here:
            client = await here.client()
            await client.send(request("/slow", b"x" * 1000)[:-1000])
            dripping = asyncio.create_task(drip(client, b"x" * 1000))
            assert "within 0.15 s or at 16384 B/s" in await client.refused(408)
            dripping.cancel()
            assert here.app.ended == ["/slow gone"]
            assert here.server.refused == {"slow_body": 1}

    run(go())


def test_a_body_that_stops_is_cut_off_though_it_began_fast(run):
    async def go():
        async with serving(replace(LONG, body_s=0.2)) as here:
            client = await here.client()
            await client.send(request("/slow", b"x" * 100_000)[:-1])
            await client.refused(408)

    run(go())


def test_a_long_body_that_comes_fast_enough_is_served(run):
    async def go():
        async with serving(replace(LONG, body_s=0.3, body_rate=10_000.0)) as here:
            client = await here.client()
            await client.send(request("/long", b"x" * 100_000)[:-100_000])
            for _ in range(20):  # more than twice the time a body may take
                await client.send(b"x" * 5_000)
                await asyncio.sleep(0.04)
            assert (await client.answer())[2]["n"] == 100_000

    run(go())


def test_an_application_that_is_slow_to_read_is_not_the_clients_fault(run):
    async def go():
        async with serving(replace(LONG, body_s=0.2)) as here:
            client = await here.client()
            sending = asyncio.create_task(client.send(request("/wait", b"x" * 4_000_000)))
            await asyncio.sleep(0.7)  # three times as long as a body may take
            assert not here.server.refused
            here.app.go.set()
            assert (await client.answer())[2]["n"] == 4_000_000
            await sending

    run(go())


def test_an_idle_connection_is_closed(run):
    async def go():
        async with serving(replace(LONG, idle_s=0.2)) as here:
            client = await here.client()
            await client.ask("/a")
            assert await client.rest() == b""
            assert not here.server.refused, "that is no fault"

    run(go())


def test_the_rest_of_a_body_that_is_answered_is_not_waited_for(run):
    async def go():
        async with serving(replace(LONG, head_s=0.2)) as here:
            client = await here.client()
            await client.send(request("/unread", b"x" * 1000)[:-1])
            assert (await client.answer())[0] == 200
            assert await client.rest() == b"", "no second answer"

    run(go())


def test_a_body_that_ends_after_its_answer_leaves_no_connection_open(run):
    async def go():
        async with serving(replace(LONG, idle_s=0.2)) as here:
            client = await here.client()
            await client.send(request("/unread", b"x" * 10)[:-1])
            await client.answer()
            await client.send(b"x")
            assert await client.rest() == b""
            assert here.server.refused == {"silent": 1}

    run(go())


def test_a_client_that_does_not_read_its_answer_is_cut_off(run):
    async def go():
        async with serving(replace(LONG, body_s=0.15)) as here:
            with socket.create_connection(("127.0.0.1", here.server.port)) as mute:
                mute.sendall(request("/large"))
                await here.app.begun.wait()
                while here.server.connections:
                    await asyncio.sleep(0.05)
            assert here.server.refused == {"slow_reader": 1}

    run(go())


# What is too much --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\na: " + b"x" * 5000,
        b"GET / HTTP/1.1\r\na: " + b"x" * 5000 + b"\r\n\r\n",
        b"GET /" + b"x" * 5000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2000,
        b"\r\n" * 5000,
    ],
)
def test_a_head_of_any_shape_that_is_too_large_is_refused(run, head):
    async def go():
        async with serving(replace(LONG, head_bytes=4096)) as here:
            client = await here.client()
            await client.send(head)
            assert "4096 B in 100 headers" in await client.refused(431)
            assert here.server.refused == {"head_too_large": 1}

    run(go())


@pytest.mark.parametrize("begun", [b"0\r\na: ", b"1;", b"0\r\n"], ids=["trailer", "chunk", "many"])
def test_what_stands_beside_a_body_in_chunks_is_not_kept_without_end(run, begun):
    async def go():
        async with serving(replace(LONG, head_bytes=4096)) as here:
            client = await here.client()
            head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            await client.send(head + begun)
            await here.app.begun.wait()
            await client.send(b"a: b\r\n" * 1000 if begun == b"0\r\n" else b"x" * 5000)
            await client.refused(431)
            assert here.app.ended == ["/ gone"]

    run(go())


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(run):
    async def go():
        async with serving(replace(LONG, body_bytes=1000)) as here:
            client = await here.client()
            await client.send(request("/a", b"x" * 1001)[:-1001])
            assert "at most 1000 B" in await client.refused(413)
            assert not here.app.asked
            assert (await (await here.client()).ask("/b", b"x" * 1000))[0] == 200

    run(go())


def test_a_client_that_sends_all_of_a_body_too_large_learns_why(run):
    async def go():
        async with serving(replace(LONG, body_bytes=1000)) as here:
            client = await here.client()
            await client.send(request("/a", b"x" * 3_000_000))
            await client.refused(413)

    run(go())


def test_a_body_in_chunks_that_becomes_too_large_is_refused(run):
    async def go():
        async with serving(replace(LONG, body_bytes=1000)) as here:
            client = await here.client()
            await client.send(b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            await client.send(b"200\r\n" + b"x" * 512 + b"\r\n")
            await here.app.begun.wait()
            await client.send(b"200\r\n" + b"x" * 512 + b"\r\n")
            await client.refused(413)
            assert here.app.ended == ["/c gone"]

    run(go())


def test_who_is_refused_is_not_told_to_continue(run, caplog):
    async def go():
        async with serving(replace(LONG, body_bytes=100)) as here:
            client = await here.client()
            await client.send(b"POST /wait HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n")
            await client.send(b"expect: 100-continue\r\n\r\n")
            await here.app.begun.wait()
            await client.send(b"80\r\n" + b"x" * 128 + b"\r\n")
            await client.refused(413)
            here.app.go.set()
            while "/wait gone" not in here.app.ended:
                await asyncio.sleep(0.01)
        assert not [one for one in caplog.records if one.name.startswith("uvicorn")]

    run(go())


@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://x:y HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(run, said):
    async def go():
        async with serving() as here:
            client = await here.client()
            await client.send(said)
            await client.refused(400)
            assert here.server.refused == {"malformed": 1}
            assert not here.app.asked

    run(go())


def test_what_was_asked_before_nonsense_is_still_answered(run):
    async def go():
        async with serving() as here:
            client = await here.client()
            await client.send(request("/wait") + b"nonsense\r\n\r\n")
            await here.app.begun.wait()
            here.app.go.set()
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await client.rest() == b""

    run(go())


def test_more_requests_than_may_wait_for_one_are_refused(run):
    async def go():
        async with serving(replace(LONG, pipelined=4)) as here:
            client = await here.client()
            await client.send(request("/wait") + request("/next") * 100)
            await here.app.begun.wait()
            here.app.go.set()
            answers = [await client.answer() for _ in range(5)]
            assert [said["path"] for _, _, said in answers] == ["/wait"] + ["/next"] * 4
            assert await client.rest() == b""
            assert here.server.refused == {"pipelined": 1}

    run(go())


def test_more_connections_than_there_may_be_are_refused_and_room_is_found_again(run):
    async def go():
        async with serving(replace(LONG, connections=2)) as here:
            first, second = await here.client(), await here.client()
            await first.ask("/a")
            await second.ask("/a")
            third = await here.client()
            status, headers, _ = await third.answer()
            assert (status, headers["retry-after"]) == (503, "1")
            assert await third.rest() == b""
            first.writer.close()
            while here.server.connections > 1:
                await asyncio.sleep(0.01)
            assert (await (await here.client()).ask("/b"))[0] == 200
            assert here.server.refused == {"connections": 1}

    run(go())


PIECES = (
    request("/a"),
    request("/b", b"x" * 5000),
    request("/unread", b"x" * 5),
    request("/c", b"abc", "expect: 100-continue"),
    b"POST /unread HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /u HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    b"HEAD /d HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
)


def mutated(dice: random.Random) -> bytes:
    """Return requests with some bytes changed, gone or added."""
    data = bytearray(b"".join(dice.choices(PIECES, k=dice.randint(1, 6))))
    for _ in range(dice.choice([0, 1, 2, 8])):
        at = dice.randrange(len(data))
        match dice.randrange(3):
            case 0:
                data[at] = dice.randrange(256)
            case 1:
                del data[at + 1 : at + dice.randint(2, 20)]
            case _:
                data[at:at] = bytes(dice.choices(b"\r\n :0123456789abcGETPOST\0\xff", k=20))
    return bytes(data)


def test_no_bytes_break_the_server_or_keep_a_connection(run, caplog):
    dice = random.Random(7)
    in_time = {"head_s": 0.15, "body_s": 0.15, "idle_s": 0.15, "linger_s": 0.15}
    limits = replace(LONG, **in_time, body_bytes=4000, head_bytes=2000, pipelined=3)

    said = [(mutated(dice), dice.choice([3, 50, 1000, 100_000])) for _ in range(200)]

    async def speak(here, data, cut):
        client = await here.client()
        try:
            for at in range(0, len(data), cut):
                await client.send(data[at : at + cut])
                await asyncio.sleep(0)
            await client.rest()
        except ConnectionError:
            client.writer.transport.abort()

    async def go():
        async with serving(limits) as here:
            for at in range(0, len(said), 50):
                await asyncio.gather(*(speak(here, *one) for one in said[at : at + 50]))
            while here.server.connections:
                await asyncio.sleep(0.02)
            refused = here.server.refused
            assert {"malformed", "body_too_large", "silent"} <= refused.keys()
            assert len(here.app.asked) > 50
        assert not [one for one in caplog.records if one.name.startswith("uvicorn")]

    run(go())


# TLS ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def written(folder: Path, cert: trustme.LeafCert, name: str) -> dict[str, Path]:
    files = {"certificate": folder / f"{name}.pem", "key": folder / f"{name}.key"}
    files["certificate"].write_bytes(b"".join(one.bytes() for one in cert.cert_chain_pems))
    files["key"].write_bytes(cert.private_key_pem.bytes())
    return files


@pytest.fixture
def tls(tmp_path, authority) -> Tls:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = written(tmp_path, authority.issue_cert("127.0.0.1"), "server")
    return Tls(**own, client_ca=tmp_path / "ca.pem")


def trusting(authority, **how):
    made = ssl.create_default_context()
    authority.configure_trust(made)
    for name, value in how.items():
        setattr(made, name, value)
    return made


def test_the_application_sees_the_certificate_of_a_device_or_none(run, tls, authority):
    async def go():
        async with serving(tls=tls) as here:
            without = await here.client(ssl=trusting(authority))
            said = (await without.ask("/a"))[2]
            assert (said["peer"], said["scheme"]) == ({}, "https")
            version = without.writer.get_extra_info("ssl_object").version()
            assert version == "TLSv1.3"

            device = authority.issue_cert("gw-1", common_name="cn-1")
            context = trusting(authority)
            device.configure_cert(context)
            for _ in range(2):
                peer = (await (await here.client(ssl=context)).ask("/b"))[2]["peer"]
                assert peer["subjectAltName"] == [["DNS", "gw-1"]]
                der = ssl.PEM_cert_to_DER_cert(device.cert_chain_pems[0].bytes().decode())
                assert peer["sha256"] == hashlib.sha256(der).hexdigest()
                assert int(peer["serialNumber"], 16) > 0

    run(go())


def test_a_certificate_of_another_authority_is_refused(run, tls, authority):
    async def go():
        async with serving(tls=tls) as here:
            context = trusting(authority)
            trustme.CA().issue_cert("gw-1").configure_cert(context)
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await (await here.client(ssl=context)).ask("/a")
            assert not here.app.asked

    run(go())


def test_old_tls_is_refused_and_tls_1_2_is_served(run, tls, authority):
    async def go():
        async with serving(tls=tls) as here:
            newer = trusting(authority, maximum_version=ssl.TLSVersion.TLSv1_2)
            assert (await (await here.client(ssl=newer)).ask("/a"))[0] == 200
            assert tls.context().minimum_version == ssl.TLSVersion.TLSv1_2
            old = trusting(authority)
            old.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await here.client(ssl=old)

    run(go())


def test_a_handshake_that_does_not_go_on_is_cut_off(run, tls):
    async def go():
        async with serving(replace(LONG, head_s=0.2), tls=tls) as here:
            client = await here.client()
            await client.send(b"\x16\x03\x01")
            assert await client.rest() == b""

    run(go())


def test_a_slow_head_is_cut_off_under_tls_too(run, tls, authority):
    async def go():
        async with serving(replace(LONG, head_s=0.5, linger_s=0.1), tls=tls) as here:
            client = await here.client(ssl=trusting(authority))
            await client.send(b"GET / HTTP/1.1\r\n")
            await client.refused(408)

    run(go())


def test_a_new_certificate_is_shown_without_a_new_start(run, tls, authority, tmp_path, monkeypatch):
    monkeypatch.setattr("aiops.service.server.CERTIFICATE_LOOK_S", 0.02)

    async def shown(here):
        client = await here.client(ssl=trusting(authority))
        return client.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]

    async def go():
        async with serving(tls=tls) as here:
            first = await shown(here)
            tls.certificate.write_text("half of one")
            await asyncio.sleep(0.1)
            assert await shown(here) == first, "what cannot be read changes nothing"
            written(tmp_path, authority.issue_cert("127.0.0.1"), "server")
            while await shown(here) == first:
                await asyncio.sleep(0.05)

    run(go())


def test_tls_that_cannot_be_set_up_says_which_file(tls, tmp_path, authority):
    with pytest.raises(ServeError, match=r"no\.pem.*No such file"):
        replace(tls, certificate=tmp_path / "no.pem").context()
    other = written(tmp_path, authority.issue_cert("x"), "other")
    with pytest.raises(ServeError, match=r"other\.key.*MISMATCH"):
        replace(tls, key=other["key"]).context()
    (tmp_path / "empty").touch()
    with pytest.raises(ServeError, match="empty"):
        replace(tls, client_ca=tmp_path / "empty").context()


# Where it listens --------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_an_error_in_words(run):
    async def go():
        async with serving() as here:
            port = here.server.port
            with pytest.raises(ServeError, match=f"http://127.0.0.1:{port}: .*in use"):
                await Server(App(), port=port).serve(signals=False)

    run(go())


def test_a_unix_socket_is_its_owners_only_and_a_dead_one_is_replaced(run, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def go():
        async with serving(unix=path) as here:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert (await (await here.client(path=path)).ask("/a"))[2]["client"] is None
            with pytest.raises(ServeError, match="in use"):
                await Server(App(), unix=path).serve(signals=False)
            assert (await (await here.client(path=path)).ask("/a"))[0] == 200
        assert not path.exists()

    run(go())


def test_only_a_trusted_proxy_says_who_the_client_is(run):
    async def go():
        forwarded = request("/a", b"", "x-forwarded-for: 192.0.2.7", "x-forwarded-proto: https")
        for trusted, client in (((), "127.0.0.1"), (("127.0.0.0/8",), "192.0.2.7")):
            async with serving(trusted_proxies=trusted) as here:
                asking = await here.client()
                await asking.send(forwarded)
                assert (await asking.answer())[2]["client"] == client

    run(go())


def test_past_its_proxy_nobody_reaches_plain_http(run, tls, authority):
    async def go():
        async with serving(trusted_proxies=("192.0.2.0/24",)) as here:
            assert "proxy" in await (await here.client()).refused(403)
            assert here.server.refused == {"past_the_proxy": 1}
        async with serving(trusted_proxies=("192.0.2.0/24",), tls=tls) as here:
            assert (await (await here.client(ssl=trusting(authority))).ask("/a"))[0] == 200
        with pytest.raises(ServeError, match="everywhere"):
            await Server(App(), port=0, trusted_proxies=("everywhere",)).serve(signals=False)

    run(go())


def test_an_address_is_in_a_network_in_both_of_its_forms():
    ours = within(("10.0.0.0/8", "fd00::/8", "192.0.2.7"))
    assert all(map(ours, ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "192.0.2.7"]))
    assert not any(map(ours, ["11.0.0.1", "::ffff:11.0.0.1", "fe80::1", "192.0.2.8", "", "gw-1"]))


# How it stops ------------------------------------------------------------------------------------


def test_what_is_being_served_ends_before_the_server_does(run):
    async def go():
        async with serving() as here:
            client, idle = await here.client(), await here.client()
            await idle.ask("/a")
            here.app.begun.clear()
            await client.send(request("/wait"))
            await here.app.begun.wait()
            here.server.stop()
            assert await idle.rest() == b"", "an idle connection is closed at once"
            with pytest.raises(OSError, match=r"refused|Connect"):
                await here.client()
            here.app.go.set()
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (200, "close")

    run(go())


def test_what_does_not_end_in_time_is_answered_503(run):
    async def go():
        async with serving(replace(LONG, grace_s=0.2)) as here:
            client = await here.client()
            await client.send(request("/wait"))
            await here.app.begun.wait()
            here.server.stop()
            answer = await client.rest()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in answer
            assert here.app.ended == ["/wait"]

    run(go())


def test_asked_twice_it_stops_at_once(run):
    async def go():
        async with serving() as here:
            client = await here.client()
            await client.send(request("/wait"))
            await here.app.begun.wait()
            here.server.stop()
            here.server.stop()
            assert (await client.rest()).startswith(b"HTTP/1.1 503 ")

    run(go())


def test_sigterm_stops_it_and_leaves_the_process_alone(run):
    async def go():
        server = Server(App(), port=0, on_ready=lambda: os.kill(os.getpid(), signal.SIGTERM))
        await server.serve()
        assert server.connections == 0

    before = signal.getsignal(signal.SIGTERM)
    run(go())
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_application_that_does_not_start_is_an_error(run):
    async def fails(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no room"})

    async def go():
        with pytest.raises(ServeError, match="did not start"):
            await Server(fails, port=0).serve(signals=False)

    run(go())
