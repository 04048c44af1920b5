"""`aiops connect`: what to paste so that telemetry comes, and whether it came."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aiops.cli.asking import URL, Api
from aiops.cli.came import show
from aiops.cli.console import command, console, count, emit_json, plain, say, show_table, table
from aiops.errors import InputError, NotAllowed, SettingsError
from aiops.telemetry.vocabulary import closest

if TYPE_CHECKING:
    from rich.console import Console

    from aiops.service.settings import Mqtt, Settings

WAYS = {
    "prometheus": ("prometheus",),
    "vmagent": ("prometheus",),
    "otel": ("otlp_metrics", "otlp_logs"),
    "telegraf": ("influx_v2", "influx_v1"),
    "collectd": ("collectd_json",),
    "mqtt": ("mqtt",),
    "influx": ("influx_v2", "influx_v1"),
    "ndjson": ("telemetry",),
}
"""Collector -> the protocols by which its telemetry comes, as ``GET /v1/ingest`` names them."""
FOR = {
    "prometheus": "Prometheus, by remote write",
    "vmagent": "vmagent, by remote write",
    "otel": "an OpenTelemetry Collector, by OTLP over HTTP",
    "telegraf": "Telegraf",
    "collectd": "collectd, by write_http",
    "mqtt": "devices that publish to an MQTT broker, also Sparkplug B",
    "influx": "whatever writes line protocol",
    "ndjson": "a script of your own: JSON, a row a line",
}
"""Collector -> what it is."""
WHY = {
    400: "it cannot be read, or is of devices that this token may not write for",
    401: "no token, or one that is unknown, expired or revoked",
    403: "a token without the role ingest",
    413: "too large",
    415: "of another content type",
    429: "too much at once",
    503: "no room, or not ready",
}
"""Status -> what it means for who sends telemetry."""
EXIT_NOTHING = 4
"""Nothing came in time."""
LOOK_S = 1.0
SETTLE_S = 3.0
"""How long after the first sample the others are waited for."""
DEMO = "aiops_demo_"
"""How the token of a demo begins."""
TO_MAKE = "TOKEN stands for a token that may write"
KNOWN_PAGES = 20
"""So many pages of known devices are read, to say which are new."""
PAGE = 1000


def connect(
    collector: Annotated[
        str | None,
        typer.Argument(
            help=f"One of {', '.join(WAYS)}; without one these are listed.",
            metavar="COLLECTOR",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help=f"Where the service is; by default {URL}.", metavar="URL"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings of the service, for its URL, CA and broker.", metavar="FILE"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Wait until this one is heard, whoever else is.", metavar="ID"),
    ] = None,
    token: Annotated[
        str,
        typer.Option(
            envvar="AIOPS_TOKEN",
            help="The collector's token, put into the snippet.",
            metavar="TOKEN",
            show_default=False,
        ),
    ] = "",
    read_token: Annotated[
        str,
        typer.Option(
            envvar="AIOPS_READ_TOKEN",
            help="Of a key with the role read, to see what comes; by default the same.",
            metavar="TOKEN",
            show_default=False,
        ),
    ] = "",
    ca: Annotated[
        Path | None,
        typer.Option(
            help="Whose certificates are believed (PEM), here and by the collector.",
            metavar="FILE",
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the first sample.", min=0.0, metavar="S")
    ] = 300.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only print the snippet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print what to paste into a collector, wait for its first sample, and say what came.

    To standard output go the snippet and then the report of what came, with --no-wait the snippet
    alone; progress and advice go to standard error. Exit code 4: nothing came in time.
    """
    if collector is None:
        listed("" if url is None else f" --url {url}", as_json)
        return
    if collector not in WAYS:
        hint = closest(collector, WAYS)
        raise SettingsError(f"no collector {collector!r}{hint}; there are {', '.join(WAYS)}")
    broker = None
    if config is not None:
        from aiops.cli.reaching import reached
        from aiops.service.settings import read_settings

        settings = read_settings(config)
        here = reached(settings)
        url, ca = url or here.url, ca or (here.ca if url is None else None)
        broker = _broker(settings)
    url = url or URL
    api = Api(url, read_token or token, ca)
    snippet = snippet_of(collector, url, token, ca, broker)
    begun = None if no_wait or not api.token else _begun(api, collector)
    if not as_json:
        sys.stdout.write(snippet)
        sys.stdout.flush()
    aside = console(stderr=True)
    if not as_json:
        _advise(aside, collector, token, ca, device)
    if begun is None:
        if as_json:
            emit_json({"collector": collector, "snippet": snippet})
        if no_wait:
            return
        raise SettingsError(
            "no token to see with what comes: give --token or AIOPS_TOKEN (a demo's is printed by "
            "`aiops serve`; else: aiops keys make watcher --role read), or say --no-wait"
        )
    if collector == "mqtt" and not as_json:
        _brokers(aside, begun["brokers"])
    before = _known(api)
    try:
        found = _wait(api, collector, begun, wait, aside, device, quiet=as_json)
    except KeyboardInterrupt:
        aside.print(plain("stopped; what comes from now on is taken all the same"))
        raise typer.Exit(130) from None
    if found is not None and before is not None:
        here_now = [one["device_id"] for one in found["devices"]["items"]]
        found["devices"]["new"] = [one for one in here_now if one not in before]
    if as_json:
        emit_json({"collector": collector, "snippet": snippet, "came": found})
    elif found is not None:
        show(console(), found)
    if found is None:
        refused = _refused(begun, _came(api, collector, begun["now"]))
        if refused:
            say(aside, f"Of what {collector} sent, {refused}.")
        who = f" of {device}" if device else ""
        say(
            aside,
            f"Nothing{who} came from {collector} within {wait:g} s. Its own log says what it was "
            "answered; what was refused says:",
        )
        believed = "" if ca is None else f" --ca {ca}"
        command(aside, f"aiops doctor --url {url}{believed}", "  ")
        raise typer.Exit(EXIT_NOTHING)


def listed(options: str, as_json: bool) -> None:
    """Print for which collectors there is something to paste; `options` are for the example."""
    if as_json:
        emit_json(FOR)
        return
    screen = console()
    say(screen, "What sends the telemetry? There is something to paste for:")
    shown = table("", ["collector", "what it is"], wrap=["what it is"])
    for name, what in FOR.items():
        shown.add_row(name, what)
    show_table(screen, shown)
    screen.print()
    command(screen, f"aiops connect prometheus{options}", "For example: ")


def _broker(settings: Settings) -> Mqtt | None:
    return settings.mqtt[0] if settings.mqtt else None


def snippet_of(
    collector: str,
    url: str,
    token: str = "",
    ca: Path | None = None,
    broker: Mqtt | None = None,
) -> str:
    """Return what to paste; without a token it says TOKEN.

    `ca` is a file of certificates that the collector is to believe, `broker` the one that the
    service listens to. Lines of a snippet that begin with a question mark are for a `ca`.
    """
    told = resources.files("aiops.cli").joinpath("snippets", f"{collector}.txt").read_text("utf-8")
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    host, port, tls = "127.0.0.1", 1883, False
    if collector == "mqtt":
        ca = None  # that is the service's, and this is of a broker
        if broker is not None:
            host, port, tls, ca = broker.host, broker.port, broker.tls, broker.ca
    lines = told.splitlines(keepends=True)
    kept = [line.removeprefix("?") for line in lines if ca or not line.startswith("?")]
    return Template("".join(kept)).substitute(
        url=url.rstrip("/"),
        token=token or "TOKEN",
        now=now,
        ca="" if ca is None else ca.resolve(),
        host=host,
        port=port,
        tls=str(tls).lower(),
    )


def _advise(
    aside: Console, collector: str, token: str, ca: Path | None, device: str | None
) -> None:
    """Say what the snippet needs that is not in it."""
    if collector == "mqtt":
        return
    if ca is not None:
        say(aside, f"Where the collector runs elsewhere, copy {ca} there, and name it there.")
    if not token or token.startswith(DEMO):
        what = "This token ends with the demo that printed it" if token else TO_MAKE
        say(aside, f"{what}. Make one that lasts where the service runs:")
        made = f"aiops keys make {collector} --role ingest --device '{device or 'gw-*'}'"
        command(aside, made, "  ")


def _begun(api: Api, collector: str) -> dict[str, Any]:
    try:
        return _came(api, collector, "")
    except NotAllowed as error:
        raise NotAllowed(
            f"{error}: to see what comes give --read-token, or say --no-wait"
        ) from error


def _came(api: Api, collector: str, since: str) -> dict[str, Any]:
    told = api.get("/v1/ingest", by=WAYS[collector], since=since)
    if not isinstance(told, dict) or "payloads" not in told:
        raise InputError(f"{api.url} is no service of this version: it has no GET /v1/ingest")
    return told


def _known(api: Api) -> frozenset[str] | None:
    """Return the devices that a service has heard of; None: there are too many to read."""
    lately = api.get("/v1/ingest")["devices"]["items"]
    known = {one["device_id"] for one in lately}
    cursor = None
    for _ in range(KNOWN_PAGES):
        page = api.get("/v1/devices", limit=PAGE, cursor=cursor)
        known.update(one["device_id"] for one in page["items"])
        cursor = page["next"]
        if cursor is None:
            return frozenset(known)
    return None


def _brokers(aside: Console, brokers: list[dict[str, Any]]) -> None:
    """Say whether the service listens to anybody who could have something."""
    if not brokers:
        say(aside, "The service listens to no broker yet: give it the first part, and restart it.")
    for one in brokers:
        if not one["connected"]:
            say(aside, f"The broker {one['broker']} is not reached, or does not let it subscribe.")


def _refused(begun: dict[str, Any], now: dict[str, Any]) -> str:
    """Say in words which requests were answered with an error between two answers."""
    before = {(one["protocol"], one["status"]): one["count"] for one in begun["errors"]}
    new: Counter[int] = Counter()
    for one in now["errors"]:
        new[one["status"]] += one["count"] - before.get((one["protocol"], one["status"]), 0)
    return ", ".join(
        f"{count(n, 'request')} answered {status} ({WHY.get(status, 'an error')})"
        for status, n in new.items()
        if n
    )


def _wait(
    api: Api,
    collector: str,
    begun: dict[str, Any],
    wait_s: float,
    aside: Console,
    device: str | None,
    *,
    quiet: bool,
) -> dict[str, Any] | None:
    """Return what came since a moment, soon after the first of it; None: nothing in time.

    If a device is named, its first sample is waited for.
    """
    since, end = begun["now"], time.monotonic() + wait_s
    who = f"{device} by {collector}" if device else collector
    watched = aside.is_terminal and bool(aside.color_system) and not quiet

    def has_come() -> bool:
        came = _came(api, collector, since)
        if device is None:
            return bool(came["payloads"]["came"])
        return any(one["device_id"] == device for one in came["devices"]["items"])

    if not watched and not quiet:
        aside.print(plain(f"waiting for {who}, at most {wait_s:g} s; Ctrl-C ends it"))
    with aside.status(f"waiting for {who} (Ctrl-C ends it)") if watched else nullcontext():
        while not has_come():
            left = end - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(LOOK_S, left))
        if not quiet and not watched:
            aside.print(plain("the first sample came; waiting for what belongs to it"))
        time.sleep(SETTLE_S)
    return _came(api, collector, since)
