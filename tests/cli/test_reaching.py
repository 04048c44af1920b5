"""A service is asked by a name that its certificate has, and its own authority is believed."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops.cli.asking import Api, Unreached
from aiops.cli.doctor import asked
from aiops.cli.reaching import reached
from aiops.service.authority import Authority
from aiops.service.settings import read_settings


class Alive(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ready"}')

    def log_message(self, *said: object) -> None:
        pass


def certificate(folder: Path, host: str) -> Path:
    """Issue a certificate of the authority in ``data``; the key is beside it."""
    made = Authority(folder / "data" / "authority").for_server(host, 3600)
    (folder / "own.pem").write_bytes(made.certificate)
    (folder / "own.key").write_bytes(made.key)
    return folder / "own.pem"


@pytest.fixture(params=["http", "https"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Alive)
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own = certificate(tmp_path, "localhost")
        context.load_cert_chain(own, own.with_suffix(".key"))
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who hangs up is no news
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield request.param, server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def settings(folder: Path, host: str, cert: Path, port: int = 8470):
    listen = {"host": host, "port": port, "tls_cert": cert, "tls_key": cert.with_suffix(".key")}
    return read_settings(None, data=folder / "data", listen=listen)


@pytest.mark.parametrize(
    ("listens", "named", "asked_as"),
    [
        ("127.0.0.1", "localhost", "localhost"),
        ("0.0.0.0", "localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ("::", "::1", "[::1]"),
        ("0.0.0.0", "gw.example.org", "gw.example.org"),
        ("10.0.0.5", "10.0.0.5", "10.0.0.5"),
    ],
)
def test_it_is_asked_by_a_name_that_the_certificate_has(tmp_path, listens, named, asked_as):
    own = certificate(tmp_path, named)
    found = reached(settings(tmp_path, listens, own))
    assert found == (f"https://{asked_as}:8470", tmp_path / "data" / "authority" / "ca.pem")


def test_an_authority_that_did_not_issue_the_certificate_is_not_believed_for_it(tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    own = certificate(other, "localhost")
    certificate(tmp_path, "localhost")
    assert reached(settings(tmp_path, "127.0.0.1", own)).ca is None


def test_without_tls_it_is_http(tmp_path):
    found = reached(read_settings(None, data=tmp_path, listen={"host": "0.0.0.0"}))
    assert found == ("http://127.0.0.1:8470", None)


def test_what_keeps_it_from_being_asked_is_said_with_what_fits(served, tmp_path):
    scheme, port = served
    other = "https" if scheme == "http" else "http"
    with pytest.raises(Unreached, match=f"speaks {scheme}, not {other}") as caught:
        Api(f"{other}://127.0.0.1:{port}").ask("/readyz")
    assert caught.value.mend == f"--url {scheme}://127.0.0.1:{port}"
    if scheme == "http":
        assert Api(f"http://127.0.0.1:{port}").ask("/readyz").status == 200
        return
    with pytest.raises(Unreached, match="is not believed") as caught:
        Api(f"https://localhost:{port}").ask("/readyz")
    assert "--ca" in caught.value.mend
    ca = tmp_path / "data" / "authority" / "ca.pem"
    with pytest.raises(Unreached, match="is not believed") as caught:
        Api(f"https://127.0.0.1:{port}", ca=ca).ask("/readyz")
    assert "aiops keys certificate 127.0.0.1 --server" in caught.value.mend
    here = reached(settings(tmp_path, "127.0.0.1", tmp_path / "own.pem", port))
    assert Api(here.url, ca=here.ca).ask("/readyz").status == 200


def test_doctor_does_not_say_to_start_what_runs(served):
    scheme, port = served
    other = "https" if scheme == "http" else "http"
    (look,) = asked(Api(f"{other}://127.0.0.1:{port}"))
    assert look.state == "FAIL"
    assert "aiops serve" not in look.mend
    assert scheme in look.mend
