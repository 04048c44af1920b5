"""A way to the service on which answers are lost: what was taken is sent again."""

from __future__ import annotations

import gzip
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

EVERY = 3
SPEECH = ("Content-Type", "Content-Encoding", "X-Prometheus-Remote-Write-Version")


class Lossy:
    """Passes requests on, and of every third the answer only as far as here; a context.

    While the service is down it hangs up, as a proxy does whose upstream is gone.

    Parameters
    ----------
    url
        The service.
    """

    def __init__(self, url: str) -> None:
        self.loses = True
        self.lost: set[bytes] = set()
        """What was taken, and its sender was not told; each is lost once."""
        self.spoken: set[tuple[str | None, ...]] = set()
        """Content type, encoding and version of remote write that were seen."""
        self.unanswered: set[bytes] = set()
        """What was sent and not answered, and so will come again."""
        self._answers = 0
        self._to = urlsplit(url).netloc
        self._lock = threading.Lock()
        outer = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._pass(self)

            def log_message(self, *said: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def _pass(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.spoken.add(tuple(map(request.headers.get, SPEECH)))
        # Packed again, the same has another time in it.
        packed = request.headers["Content-Encoding"] == "gzip"
        said = gzip.decompress(body) if packed else body
        self.unanswered.add(said)
        connection = http.client.HTTPConnection(self._to, timeout=30)
        try:
            connection.request("POST", request.path, body, dict(request.headers))
            answer = connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException):
            request.close_connection = True
            return
        finally:
            connection.close()
        if self._is_lost(said, answer.status):
            request.close_connection = True
            return
        self.unanswered.discard(said)
        request.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                request.send_header(name, value)
        if answer.status != 204:
            request.send_header("Content-Length", str(len(told)))
        request.end_headers()
        request.wfile.write(told)

    def settled(self) -> bool:
        """Say whether all that was sent was answered."""
        return not self.unanswered

    def _is_lost(self, said: bytes, status: int) -> bool:
        with self._lock:
            self._answers += 1
            turn = self.loses and self._answers % EVERY == 0
            lost = turn and status < 300 and said not in self.lost
            if lost:
                self.lost.add(said)
            return lost

    def __enter__(self) -> Lossy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()
