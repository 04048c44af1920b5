"""One POST at a time to a host that may be called: checked address, bounded time, bounded answer.

httpcore is what httpx stands on. It is used without httpx, since what must hold here holds at its
connections: the name is resolved and checked where the socket is opened, so neither a changed DNS
answer nor a reader of URLs can move it, and the whole exchange has one deadline. It follows no
redirects and knows no proxies.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path

import httpcore

from aiops.connectors.telling.addresses import Egress
from aiops.errors import DeliveryError, SettingsError

TIMEOUT_S = 5.0
"""For the whole exchange: name, connection, request, answer."""
ANSWER_BYTES = 64 << 10
"""Of an answer's body at most so much is read; it is never shown."""
RETRYABLE = frozenset({408, 425, 429})
"""So is every 5xx."""


class Poster:
    """Posts for one outlet, from one thread; `close` may be called from another and ends a call.

    Parameters
    ----------
    egress
        Whom it may call.
    ca_file
        Certificates (PEM) to trust instead of the system's.
    timeout_s
        For one whole exchange.
    now
        Seconds since the epoch, to read a Retry-After that is a date.

    Raises
    ------
    SettingsError
        `ca_file` cannot be read.
    """

    def __init__(
        self,
        egress: Egress,
        *,
        ca_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._egress = egress
        self._now = now
        try:
            trusted = ssl.create_default_context(cafile=ca_file) if ca_file else _trusted()
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"ca_file {ca_file}: {error}; give a readable file of certificates in PEM"
            ) from error
        self._connections = _Connections(egress, timeout_s)
        self._pool = httpcore.ConnectionPool(
            ssl_context=trusted,
            max_connections=10,
            max_keepalive_connections=2,
            keepalive_expiry=20.0,
            network_backend=self._connections,
        )

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        """Post `body` and return when it was taken (2xx).

        Raises
        ------
        DeliveryError
            It was not; `permanent` where the answer says that the same request would not be
            taken later either (3xx, and 4xx but 408, 425 and 429).
        """
        try:
            target = self._egress.target(url)
        except SettingsError as error:
            raise DeliveryError(str(error), permanent=True) from error
        where = f"{target.host}:{target.port}"
        self._connections.begin()
        # The parts are given as they were checked: the URL is not read a second time.
        parsed = httpcore.URL(
            scheme=b"https" if target.secure else b"http",
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )
        named = {"host": _authority(url), "user-agent": "aiops-edge", **headers}
        sent = [(name.encode("ascii"), value.encode("utf-8")) for name, value in named.items()]
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._connections.timeout_s)
        try:
            with self._pool.stream(
                "POST", parsed, headers=sent, content=body, extensions={"timeout": timeouts}
            ) as answer:
                _read(answer)
        except (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError) as error:
            raise DeliveryError(
                f"{where} was not asked: {type(error).__name__} {error}", permanent=True
            ) from error
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            httpcore.ConnectionNotAvailable,
            OSError,
        ) as error:
            raise DeliveryError(
                f"{where} did not answer: {type(error).__name__} {error}".rstrip()
            ) from error
        self._judge(where, answer)

    def close(self) -> None:
        """Close all connections; a call that waits for an answer ends with DeliveryError."""
        self._connections.abort()
        with suppress(RuntimeError):  # a call is under way: it ends now and closes its own
            self._pool.close()

    def _judge(self, where: str, answer: httpcore.Response) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        retryable = status in RETRYABLE or status >= 500
        after_s = _retry_after_s(answer.headers, self._now()) if retryable else 0.0
        raise DeliveryError(
            f"{where} answered {status}", permanent=not retryable, retry_after_s=after_s
        )


@cache
def _trusted() -> ssl.SSLContext:
    """Return the system's trust, read once: it takes longer than a call."""
    return ssl.create_default_context()


def _authority(url: str) -> str:
    return url.split("/", 3)[2].split("?")[0]


def _read(answer: httpcore.Response) -> None:
    """Read the answer so that its connection can be used again; leave the rest of a long one."""
    size = 0
    for chunk in answer.iter_stream():
        size += len(chunk)
        if size > ANSWER_BYTES:
            return


def _retry_after_s(headers: Iterable[tuple[bytes, bytes]], now_s: float) -> float:
    """Return what Retry-After (RFC 9110, section 10.2.3) asks for; 0 where it says nothing."""
    said = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    text = said.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now_s)


class _Connections(httpcore.NetworkBackend):
    """Opens sockets to checked addresses only; holds the deadline of the call under way."""

    def __init__(self, egress: Egress, timeout_s: float) -> None:
        self._egress = egress
        self._sockets = httpcore.SyncBackend()
        self._until = 0.0
        self._closed = False
        self._open: set[_Stream] = set()
        self.timeout_s = timeout_s

    def begin(self) -> None:
        self._until = time.monotonic() + self.timeout_s

    def left_s(self) -> float:
        """Return what is left of the time for this call."""
        if self._closed:
            raise httpcore.ReadError("we are closing")
        left = self._until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout(f"{self.timeout_s:g} s are over")
        return left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of the host that takes it; TLS still names the host."""
        failed: Exception | None = None
        for address in self._egress.addresses(host.strip("[]"), port):
            try:
                stream = self._sockets.connect_tcp(
                    address, port, self.left_s(), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Stream(stream, self)
        raise failed or httpcore.ConnectError(f"{host} has no address")

    def abort(self) -> None:
        """End whatever waits on an open socket; what is still connecting ends when it has."""
        self._closed = True
        for stream in tuple(self._open):
            opened = stream.get_extra_info("socket")
            with suppress(OSError):  # it is closed already
                # Not the method of a TLS socket, which would take the session from its reader.
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


class _Stream(httpcore.NetworkStream):
    """A stream whose every wait ends with the call's deadline."""

    def __init__(self, inner: httpcore.NetworkStream, owner: _Connections) -> None:
        self._inner = inner
        self._owner = owner
        # What is asked of the socket itself, the inner stream answers.
        self.get_extra_info = inner.get_extra_info  # type: ignore[method-assign]
        owner._open.add(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._owner.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._owner.left_s())

    def close(self) -> None:
        self._owner._open.discard(self)
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self._owner._open.discard(self)
        secured = self._inner.start_tls(ssl_context, server_hostname, self._owner.left_s())
        return _Stream(secured, self._owner)
