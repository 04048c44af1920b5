"""`aiops serve`: the engine as a service."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer

from aiops.cli.asking import URL
from aiops.cli.console import command, console, emit_json, plain, say, table
from aiops.cli.signals import Signals
from aiops.errors import ServeError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from aiops.service.checks import Check
    from aiops.service.service import Service
    from aiops.service.settings import Settings

EXIT_CONFIG = 78
"""Refused to start, as sysexits.h has it."""
EXIT_BROKEN = 70
"""The log could promise nothing any more."""

Config = Annotated[
    Path | None, typer.Option(help="Settings (TOML); see docs/service.md.", metavar="FILE")
]
Data = Annotated[
    Path | None,
    typer.Option(help="Where everything is kept; by default aiops-data.", metavar="DIR"),
]


def serve(
    config: Config = None,
    data: Data = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen at; beyond 127.0.0.1 it needs TLS and keys."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="0: any that is free.", min=0, max=65535)] = None,
    inventory: Annotated[
        Path | None,
        typer.Option(help="Nodes and workloads (JSON or TOML), to decide what runs where."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it would start, and why not.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: as JSON.")] = False,
) -> None:
    """Take telemetry over HTTP and MQTT, judge it, and answer.

    What is acknowledged is on disk. On 127.0.0.1 it is a demo with one printed token; to listen
    elsewhere it needs TLS, and keys for devices and operators (`aiops keys make`). SIGTERM stops
    it in order: what was accepted is committed and saved, and judged now or after the next start.
    """
    signals = Signals()
    if not check:
        signals.listen()
    settings = told(config, data, host, port, inventory)
    from aiops.service.checks import must_start

    checks = checks_of(settings)
    if check:
        show_checks(settings, checks, as_json)
        raise typer.Exit(EXIT_CONFIG if any(one.stops for one in checks) else 0)
    try:
        must_start(checks)
    except ServeError as error:
        for line in str(error).splitlines():
            console(stderr=True).print(plain(line))
        raise typer.Exit(EXIT_CONFIG) from None
    _log_to_stderr()
    if signals.heard:  # nothing was begun
        raise typer.Exit
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_serve(settings, signals))
    raise typer.Exit(code)


def told(
    config: Path | None,
    data: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    inventory: Path | None = None,
) -> Settings:
    """Return the settings that a command line leads to.

    Raises
    ------
    SettingsError
        A part of the service is not installed, or a setting is wrong.
    """
    try:
        import aiops.service.app  # noqa: F401  # all that it needs
        from aiops.service.settings import read_settings
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("aiops"):
            raise
        raise SettingsError(
            f"the service needs {error.name}: pip install 'aiops-edge[serve]'"
        ) from error
    listen = {k: v for k, v in {"host": host, "port": port}.items() if v is not None}
    given: dict[str, Any] = {"data": data, "inventory": inventory, "listen": listen or None}
    return read_settings(config, **{k: v for k, v in given.items() if v is not None})


def checks_of(settings: Settings) -> tuple[Check, ...]:
    """Return the start checks for where it would listen."""
    import apsw

    from aiops.service.checks import Exposure, start_checks
    from aiops.service.keys import KeyStore
    from aiops.service.paths import Paths

    listen = settings.listen
    exposure = Exposure(
        settings.data,
        listen.host,
        tls_cert=listen.tls_cert,
        tls_key=listen.tls_key,
        client_ca=listen.client_ca,
        behind_proxy=listen.behind_proxy,
        free_bytes=settings.log.stop_free_bytes,
        allow=listen.allow,
    )
    keys = KeyStore(Paths(settings.data).keys)
    checks = start_checks(exposure, keys, apsw.sqlite_lib_version())
    return (*checks, *_rehearsed(settings))


def _rehearsed(settings: Settings) -> Iterator[Check]:
    """Yield what the real parts say of the settings."""
    from aiops.service.checks import Check
    from aiops.service.paths import Paths
    from aiops.service.rehearsal import objections

    why = "It would take telemetry, and judge and tell nothing."
    state = Paths(settings.data).state
    mends = {
        "engine": "edit the settings under [engine], or inventory",
        "outlets": "edit the settings under [egress], [[webhook]], [[alertmanager]] or "
        "[[mqtt_commands]]",
        "state": f"mv {state} {state}.old  # what is in the log is judged again",
    }
    found = dict(objections(settings))
    for name, mend in mends.items():
        said = found.get(name, "")
        yield Check(name, not said, said or "fits the settings", why, mend)
        if said:
            return  # without it the others cannot be looked at


def show_checks(settings: Settings, checks: tuple[Check, ...], as_json: bool) -> None:
    """Print what was checked."""
    if as_json:
        emit_json(
            [
                {k: getattr(c, k) for k in ("name", "passed", "allowed", "found", "why", "fix")}
                for c in checks
            ]
        )
        return
    screen = console()
    where = f"{settings.listen.host}:{settings.listen.port}"
    stops = [one for one in checks if one.stops]
    say(screen, f"Would {'not start' if stops else 'start'} at {where}, data in {settings.data}.")
    shown = table("", ["", "check", "found"], wrap=["found"])
    for one in checks:
        mark = "ok" if one.passed else "may" if one.allowed else "NO"
        shown.add_row(mark, one.name, one.found)
    screen.print(shown)
    for one in stops:
        screen.print()
        say(screen, f"{one.name}: {one.why}")
        command(screen, one.fix, "  mend it: ")


async def _serve(settings: Settings, signals: Signals) -> int:
    """Run the service until it is told to stop; return the exit code."""
    from aiops.service.app import make_app
    from aiops.service.identity import DemoOperator
    from aiops.service.mqtt import Listener
    from aiops.service.protocol import ServerLimits
    from aiops.service.server import Server
    from aiops.service.service import Service
    from aiops.service.tls import Tls

    listen = settings.listen
    demo = DemoOperator() if _demo(settings) else None
    loop = asyncio.get_running_loop()
    broken: list[BaseException] = []

    def on_broken(error: BaseException) -> None:
        broken.append(error)
        loop.call_soon_threadsafe(server.stop)

    def on_ready() -> None:
        if not signals.heard:
            _banner(server.url, settings, demo.token if demo else None)

    os.umask(0o077)
    service = Service(settings, demo=demo, on_broken=on_broken)
    tls = None
    if listen.tls_cert is not None and listen.tls_key is not None:
        tls = Tls(listen.tls_cert, listen.tls_key, listen.client_ca)
    server = Server(
        make_app(service),
        listen.host,
        listen.port,
        tls=tls,
        limits=ServerLimits(
            head_s=listen.head_s,
            body_s=listen.body_s,
            idle_s=listen.idle_s,
            body_bytes=settings.bounds.body_bytes,
            connections=listen.connections,
        ),
        trusted_proxies=listen.behind_proxy,
        on_ready=on_ready,
    )
    signals.call(lambda: loop.call_soon_threadsafe(server.stop))
    service.start()
    listeners = [Listener(service, one) for one in settings.mqtt]
    for listener in listeners:
        listener.start()
    gc.collect()
    gc.freeze()  # what is there now stays: it need not be looked at again and again
    stop_streams = loop.create_task(_stop_streams(server, service))
    try:
        await server.serve(signals=False)
    finally:
        signals.call(None)
        stop_streams.cancel()
        for listener in listeners:
            await asyncio.to_thread(listener.stop)
        await asyncio.to_thread(service.stop)
        gc.unfreeze()
    if broken:
        console(stderr=True).print(plain(f"stopped: {broken[0]}"))
        return EXIT_BROKEN
    return 0


async def _stop_streams(server: Any, service: Service) -> None:
    """End event streams when the server begins to stop: it waits for what is being served."""
    await server.stopping()
    service.ending = True
    service.changed.announce()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the faster event loop where there is one."""
    try:
        import uvloop
    except ModuleNotFoundError:  # on Windows
        return None
    return uvloop.new_event_loop


def _demo(settings: Settings) -> bool:
    from aiops.service.checks import Exposure

    listen = settings.listen
    return Exposure(settings.data, listen.host, behind_proxy=listen.behind_proxy).demo


def _banner(url: str, settings: Settings, token: str | None) -> None:
    screen: Console = console(stderr=True)
    screen.print(plain(f"aiops listens at {url}, data in {settings.data}"))
    if token is not None:
        screen.print(plain("DEMO: loopback only. The operator's token, until it ends:"))
        screen.print(plain(f"  {token}"), soft_wrap=True)
        at = "" if url == URL else f" --url {url}"
        screen.print(plain("Next, with AIOPS_TOKEN set to it, in another terminal:"))
        for name in ("connect", "doctor"):
            screen.print(plain(f"  aiops {name}{at}"), soft_wrap=True)
    overridden = ", ".join(settings.listen.allow)
    if overridden:
        screen.print(plain(f"ALLOWED TO FAIL: {overridden}", "bold red"))


def _log_to_stderr() -> None:
    """Write the log as lines of JSON; libraries' warnings go the same way."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
