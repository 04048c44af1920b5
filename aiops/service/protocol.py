"""HTTP/1.1 as uvicorn speaks it, with the limits in time and size that uvicorn has not."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from aiops.service.problem import KINDS

KIB, MIB = 1 << 10, 1 << 20
PEER = "aiops.peer"
"""Key of the ASGI scope: the verified client certificate as `ssl.SSLSocket.getpeercert` gives it,
with its ``sha256`` fingerprint; an empty dict: none."""


@dataclass(frozen=True)
class ServerLimits:
    """What one connection, and all of them together, may take."""

    head_s: float = 5.0
    """From the first byte of a request (or the connection) until its head is there."""
    body_s: float = 30.0
    """A body takes at most so long, unless it arrives at `body_rate`; so does a response that its
    reader is slow to take."""
    body_rate: float = 16.0 * KIB
    """Bytes per second."""
    idle_s: float = 30.0
    """Between two requests of a connection."""
    linger_s: float = 5.0
    """From closing a connection until it is cut off, whatever is still unsent."""
    grace_s: float = 10.0
    """What is being served when the server stops may take so long; then it is answered 503."""
    head_bytes: int = 64 * KIB
    headers: int = 100
    """How many a request may have."""
    body_bytes: int = 8 * MIB
    """As it comes over the wire."""
    connections: int = 1024
    pipelined: int = 16
    """Requests that may wait for the answer to an earlier one of their connection."""


class Guarded(HttpToolsProtocol):
    """One connection.

    Nothing here sets a timer: the server calls `check` ten times a second for each connection.

    Parameters
    ----------
    config, server_state, app_state
        As uvicorn has them.
    limits
        What is enforced.
    refused
        Reason -> how often; it is added to.
    may_connect
        Says of a client's address whether it may; None: all may.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        limits: ServerLimits,
        refused: Counter[str],
        may_connect: Callable[[str], bool] | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.limits, self.refused, self.may_connect = limits, refused, may_connect
        self.peer: dict[str, Any] = {}
        self._deaf = False  # what else arrives is not looked at
        self._dull = 0  # bytes in a row that ended no head and gave no body
        self._head_due: float | None = None
        self._head_begun = False
        self._body_due: float | None = None
        self._body_bytes = 0
        self._recent = 0  # of these, since `body_s` before the body is due
        self._unread: tuple[float, int] | None = None  # since when a response is stuck, and bytes
        self._closing: float | None = None
        self._serving: RequestResponseCycle | None = None

    # What the transport calls

    def connection_made(self, transport: Any) -> None:
        """Begin; the first head is due."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and (der := tls.getpeercert(binary_form=True)):
            self.peer = tls.getpeercert() | {"sha256": hashlib.sha256(der).hexdigest()}
        self._head_due = self.loop.time() + self.limits.head_s
        if len(self.connections) > self.limits.connections:
            self._refuse(_Refusal(503, "connections", "too many connections; try again soon"))
        elif self.may_connect and not (self.client and self.may_connect(self.client[0])):
            self._refuse(_Refusal(403, "past_the_proxy", "this is reached through its proxy"))

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        if self._head_due is None and self._body_due is None:
            self._head_due = self.loop.time() + self.limits.head_s
        self._dull += len(data)
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as asked:  # it may be ignored: RFC 9110, 7.8
                data = data[asked.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError as error:
                raised = error.__context__
                malformed = _Refusal(400, "malformed", "this is no HTTP/1.1 request")
                self._refuse(raised if isinstance(raised, _Refusal) else malformed)
                return
        if self._dull > self.limits.head_bytes:
            self._refuse(self._head_too_large())

    def pause_writing(self) -> None:
        """Note since when the client does not read what it asked for."""
        super().pause_writing()
        self._unread = (self.loop.time(), self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Go on: it has read."""
        super().resume_writing()
        self._unread = None

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head_begun = True
        self._head_due = self.loop.time() + self.limits.head_s
        self.scope[PEER] = self.peer  # type: ignore[literal-required]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer, behind the body, is none: nobody has checked it."""
        if self._body_due is None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over, or a refusal in its place."""
        limits = self.limits
        self._head_due, self._head_begun, self._dull = None, False, 0
        if len(self.pipeline) >= limits.pipelined:
            raise _Refusal(400, "pipelined", f"at most {limits.pipelined} requests may wait")
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > limits.head_bytes or len(self.headers) > limits.headers:
            raise self._head_too_large()
        of = dict(self.headers)
        if int(of.get(b"content-length", 0)) > limits.body_bytes:
            raise self._body_too_large()
        if self.parser.should_upgrade() and {b"content-length", b"transfer-encoding"} & of.keys():
            # The parser takes the body for the new protocol's: it would be a request of its own.
            raise _Refusal(400, "upgrade", "ask for no upgrade in a request that has a body")
        super().on_headers_complete()
        self._body_due, self._body_bytes = self.loop.time() + limits.body_s, 0
        self._recent = 0

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._dull = 0
        self._body_bytes += len(body)
        self._recent += len(body)
        if self._body_bytes > self.limits.body_bytes:
            raise self._body_too_large()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._body_due = None
        if not self._busy():  # answered before it had come; uvicorn's own timer is off by now
            self._head_due = self.loop.time() + self.limits.idle_s
        super().on_message_complete()

    # What uvicorn calls

    def on_response_complete(self) -> None:
        """Go on to the next request; what is left of this one is not waited for very long."""
        due = self.loop.time() + self.limits.head_s
        if self._body_due is not None:
            self._body_due = due
        elif self._head_due is not None:
            self._head_due = due
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is served, which need not be the last that was asked."""
        if self._serving is not None:
            self._serving.disconnected = True
            self._serving.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    # What the server calls

    def check(self, now_s: float) -> None:
        """Close the connection if it takes longer than it may.

        Parameters
        ----------
        now_s
            Time of the event loop.
        """
        limits = self.limits
        if self._closing is not None or self.transport.is_closing():
            self._closing = self._closing or now_s
            if now_s > self._closing + limits.linger_s:
                self.transport.abort()
        elif self._unread is not None and self._stuck(now_s, *self._unread):
            self.refused["slow_reader"] += 1
            self.transport.abort()
        elif self._body_due is not None:
            if now_s > self._body_due:
                self._judge_body(now_s)
        elif self._head_due is not None and now_s > self._head_due and not self._busy():
            reason = "slow_head" if self._head_begun else "silent"
            detail = f"a head has to arrive within {limits.head_s:g} s"
            self._refuse(_Refusal(408, reason, detail))

    # Inside

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _judge_body(self, now_s: float) -> None:
        """Give a body more time if it came fast enough, or if the application is what is slow."""
        limits = self.limits
        fast = self._recent >= limits.body_rate * limits.body_s
        if self._busy() and (fast or self.flow.read_paused):
            self._body_due, self._recent = now_s + limits.body_s, 0
            return
        least = f"{limits.body_s:g} s or at {limits.body_rate:g} B/s"
        self._refuse(_Refusal(408, "slow_body", f"a body has to arrive within {least}"))

    def _stuck(self, now_s: float, since: float, unsent: int) -> bool:
        took, read = now_s - since, unsent - self.transport.get_write_buffer_size()
        return took > self.limits.body_s and read < self.limits.body_rate * took

    def _head_too_large(self) -> _Refusal:
        most = f"{self.limits.head_bytes} B in {self.limits.headers} headers"
        return _Refusal(431, "head_too_large", f"a head has at most {most}")

    def _body_too_large(self) -> _Refusal:
        return _Refusal(413, "body_too_large", f"a body has at most {self.limits.body_bytes} B")

    def _refuse(self, why: _Refusal) -> None:
        """Say why and close; what was asked before, and came whole, is still answered."""
        self.refused[why.reason] += 1
        self._deaf = True
        busy = self._busy()
        if busy and self._body_due is None:  # it came whole
            self.cycle.keep_alive = False
            return
        answered = self._body_due is not None and not busy
        begun = busy and (self.cycle.response_started or bool(self.pipeline))
        if busy:
            self.cycle.waiting_for_100_continue = False
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if answered or begun or why.reason == "silent":
            self.transport.close()
            return
        self.transport.write(self._problem(why))
        if why.status in (403, 503) or not self.transport.can_write_eof():
            self.transport.close()
            return
        # Closed at once, what still comes would reset the connection, and the client might never
        # read why. `check` cuts it off.
        self._closing = self.loop.time()
        try:
            self.transport.write_eof()
        except OSError:  # it is gone already
            self.transport.abort()

    def _problem(self, why: _Refusal) -> bytes:
        """Return a whole response with problem details (RFC 9457)."""
        title = HTTPStatus(why.status).phrase
        told = {
            "type": f"urn:aiops:problem:{why.status}",
            "title": KINDS.get(why.status, title),
            "status": why.status,
            "detail": str(why),
        }
        body = json.dumps(told).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *([(b"retry-after", b"1")] if why.status == 503 else []),
        ]
        lines = [f"HTTP/1.1 {why.status} {title}".encode(), *(n + b": " + v for n, v in headers)]
        return b"\r\n".join([*lines, b"", body])


class _Flow(FlowControl):
    """Lets a request that is still served find its connection gone; uvicorn's loop would raise."""

    def resume_reading(self) -> None:
        """Read on, if there is still something to read from."""
        if not self._transport.is_closing():
            super().resume_reading()


class _Refusal(Exception):
    """Raised where the parser calls: it would else go on with what it has."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.reason = status, reason
