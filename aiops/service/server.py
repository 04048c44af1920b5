"""Serve an application over HTTP/1.1: listen, keep each connection to its limits, stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from aiops.errors import ServeError
from aiops.service.protocol import Guarded, ServerLimits
from aiops.service.tls import Tls

log = logging.getLogger(__name__)

TICK_S = 0.1
"""How often connections are looked at."""
CERTIFICATE_LOOK_S = 10.0
"""How often the certificate's file is looked at: short-lived ones are replaced while it runs."""


@dataclass
class Server:
    """Serves an ASGI application on one address.

    Parameters
    ----------
    app
        The application. Its scope has the client's certificate under `protocol.PEER`.
    host, port
        Where to listen; port 0: any that is free.
    unix
        Listen on this socket instead, which only its owner can open.
    tls
        None: plain HTTP.
    limits
        What a connection may take.
    trusted_proxies
        Addresses and networks whose ``X-Forwarded-For`` and ``-Proto`` are believed. Without TLS
        of its own the server is then reached from these only.
    on_ready
        Called when connections are accepted.
    """

    app: Any
    host: str = "127.0.0.1"
    port: int = 8080
    unix: Path | None = None
    tls: Tls | None = None
    limits: ServerLimits = field(default_factory=ServerLimits)
    trusted_proxies: tuple[str, ...] = ()
    on_ready: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.refused: Counter[str] = Counter()
        """Reason -> how many connections or requests were refused before the application."""
        self.ready = asyncio.Event()
        self._state = ServerState()
        self._stop = asyncio.Event()
        self._hurry = False
        self._listening: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        if self.unix is not None:
            return f"unix:{self.unix}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def stop(self) -> None:
        """Stop in order: what is being served has `grace_s` left; called again, it has none.

        Only from the thread of the event loop.
        """
        self._hurry = self._stop.is_set()
        self._stop.set()

    async def stopping(self) -> None:
        """Return once it has been told to stop: what streams without end should end now."""
        await self._stop.wait()

    async def serve(self, *, signals: bool = True) -> None:
        """Serve until SIGTERM, SIGINT or `stop`, then return.

        Parameters
        ----------
        signals
            Whether the signals are taken, which only the main thread can.

        Raises
        ------
        ServeError
            The application did not start, the address cannot be had, or TLS cannot be set up.
        """
        context = None if self.tls is None else self.tls.context()
        proxies = list(self.trusted_proxies)
        config = Config(
            self._answered,
            interface="asgi3",
            loop="none",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            server_header=False,
            timeout_keep_alive=self.limits.idle_s,  # type: ignore[arg-type]  # a timer takes both
        )
        config.load()
        lifespan = config.lifespan_class(config)
        self._date(config)
        await lifespan.startup()
        if lifespan.should_exit:
            raise ServeError("the application did not start: its log says why")
        try:
            await self._listen(config, context, lifespan.state)
            with self._signals() if signals else contextlib.nullcontext():
                self.ready.set()
                self.on_ready()
                await self._watch(config, context)
                await self._finish()
        finally:
            if self._listening is not None:
                self._listening.close()
                if self.unix is not None:
                    self.unix.unlink(missing_ok=True)
            await lifespan.shutdown()

    # Inside

    async def _answered(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application; answer 503 if it is cut off because the server stops."""
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._stop.is_set() or scope["type"] != "http":
                raise
            with contextlib.suppress(RuntimeError):  # an answer has begun already
                headers = [(b"retry-after", b"1"), (b"connection", b"close")]
                await send({"type": "http.response.start", "status": 503, "headers": headers})
                await send({"type": "http.response.body", "body": b""})

    async def _listen(
        self, config: Config, context: ssl.SSLContext | None, app_state: dict[str, Any]
    ) -> None:
        def protocol() -> Guarded:
            return Guarded(
                config,
                self._state,
                app_state,
                limits=self.limits,
                refused=self.refused,
                may_connect=may_connect,
            )

        plain_behind_proxy = self.trusted_proxies and context is None and self.unix is None
        may_connect = within(self.trusted_proxies) if plain_behind_proxy else None
        loop = asyncio.get_running_loop()
        slow = None if context is None else self.limits.head_s
        try:
            if self.unix is not None:
                where: dict[str, Any] = {"sock": _unix_socket(self.unix)}
            else:
                where = {"host": self.host, "port": self.port}
            self._listening = await loop.create_server(
                protocol, ssl=context, ssl_handshake_timeout=slow, backlog=1024, **where
            )
        except OSError as error:
            said = error.strerror or str(error)
            raise ServeError(f"cannot listen on {self.url}: {said}") from error
        if self.unix is None:
            self.port = self._listening.sockets[0].getsockname()[1]

    async def _watch(self, config: Config, context: ssl.SSLContext | None) -> None:
        """Look at every connection again and again until it is time to stop."""
        loop = asyncio.get_running_loop()
        date_s = certificate_s = loop.time()
        shown = self._certificate_stamp()
        while not self._stop.is_set():
            now = loop.time()
            self._check(now)
            if now >= date_s + 1.0:
                self._date(config)
                date_s = now
            if context is not None and now >= certificate_s + CERTIFICATE_LOOK_S:
                certificate_s = now
                shown = self._renew(context, shown)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), TICK_S)

    def _check(self, now_s: float) -> None:
        for connection in list(self._state.connections):
            connection.check(now_s)  # type: ignore[union-attr]  # all are Guarded

    def _date(self, config: Config) -> None:
        date = formatdate(usegmt=True).encode()
        self._state.default_headers = [(b"date", date), *config.encoded_headers]

    def _certificate_stamp(self) -> tuple[int, ...]:
        if self.tls is None:
            return ()
        try:
            return tuple(os.stat(f).st_mtime_ns for f in (self.tls.certificate, self.tls.key))
        except OSError:  # it is just being replaced, or gone: what was loaded is shown on
            return ()

    def _renew(self, context: ssl.SSLContext, shown: tuple[int, ...]) -> tuple[int, ...]:
        """Show a new certificate if there is one; return the stamp of what is shown."""
        assert self.tls is not None
        stamp = self._certificate_stamp()
        if not stamp or stamp == shown:
            return shown
        try:
            self.tls.load(context)
        except ServeError as error:  # perhaps one of the two files is not there yet
            log.warning("the certificate was not renewed: %s", error)
            return shown
        log.info("the certificate was renewed: %s", self.tls.certificate)
        return stamp

    async def _finish(self) -> None:
        """Accept nobody, let what is being served end, cut off what does not."""
        assert self._listening is not None
        loop, state = asyncio.get_running_loop(), self._state
        self._listening.close()
        for connection in list(state.connections):
            connection.shutdown()
        until = loop.time() + self.limits.grace_s
        while (state.connections or state.tasks) and loop.time() < until and not self._hurry:
            await asyncio.sleep(TICK_S / 2)
            self._check(loop.time())
        for task in state.tasks:
            task.cancel("the server stops")
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=1.0)
        for connection in list(state.connections):
            connection.transport.close()  # what is written is sent, if it is read at once
        await asyncio.sleep(TICK_S if state.connections else 0)
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop, taken = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)
        for one in taken:
            loop.add_signal_handler(one, self.stop)
        try:
            yield
        finally:
            for one in taken:
                loop.remove_signal_handler(one)


def within(networks: tuple[str, ...]) -> Callable[[str], bool]:
    """Return what says of an address whether it is in one of the networks.

    Raises
    ------
    ServeError
        One of them is no address and no network.
    """
    try:
        known = [ipaddress.ip_network(one) for one in networks]
    except ValueError as error:
        raise ServeError(f"trusted proxies: {error}") from error

    def is_within(address: str) -> bool:
        try:
            at = ipaddress.ip_address(address)
        except ValueError:
            return False
        at = getattr(at, "ipv4_mapped", None) or at  # as a socket of both families has it
        return any(at in network for network in known)

    return is_within


def _unix_socket(path: Path) -> socket.socket:
    """Bind a socket that only its owner can open, in the place of one nobody listens on.

    Raises
    ------
    OSError
        Somebody listens there, or it cannot be made.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
                try:
                    asking.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()
        before = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
    except OSError:
        made.close()
        raise
    return made
