"""A real HTTP receiver: answers as it is told to, and remembers what it was asked."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes
    peer: str


Answer = tuple[int, dict[str, str], bytes]
Script = Callable[[Asked, socket.socket], Answer | None]
"""Returns the answer, or None when it has dealt with the connection itself."""


def says(status: int, headers: dict[str, str] | None = None, body: bytes = b"ok") -> Script:
    return lambda asked, connection: (status, headers or {}, body)


@dataclass
class Receiver:
    script: Script = field(default_factory=lambda: says(200))
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    arrived: threading.Event = field(default_factory=threading.Event)

    def url(self, host: str = "127.0.0.1", *, secure: bool = False, path: str = "/hook") -> str:
        return f"http{'s' if secure else ''}://{host}:{self.port}{path}"


@contextmanager
def receiving(
    script: Script | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    receiver = Receiver(script or says(200))

    class Asker(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body, self.client_address[0])
            receiver.asked.append(asked)
            receiver.arrived.set()
            answer = receiver.script(asked, self.connection)
            if answer is None:
                self.close_connection = True
                return
            status, said, content = answer
            self.send_response(status)
            for name, value in ({"content-length": str(len(content))} | said).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that leaves early is what some tests are about

    server = Server(("127.0.0.1", 0), Asker)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
