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

from aiops.cli.asking import Api
from aiops.cli.console import command, console, count, emit_json, plain, say, show_table, table
from aiops.errors import InputError, NotAllowed, SettingsError
from aiops.telemetry.vocabulary import closest

if TYPE_CHECKING:
    from rich.console import Console

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
SHOWN = 20
"""Names of each kind that are shown; --json has all."""
DEMO = "aiops_demo_"
"""How the token of a demo begins."""
TO_MAKE = "TOKEN stands for a token that may write"
URL = "http://127.0.0.1:8470"


def connect(
    collector: Annotated[
        str, typer.Argument(help=f"One of {', '.join(WAYS)}.", metavar="COLLECTOR")
    ],
    url: Annotated[str, typer.Option(help="Where the service is.", metavar="URL")] = URL,
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
        Path | None, typer.Option(help="Whose certificates are believed (PEM).", metavar="FILE")
    ] = None,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the first sample.", min=0.0, metavar="S")
    ] = 300.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only print the snippet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print what to paste into a collector, wait for its first sample, and say what came.

    The snippet alone goes to standard output, progress to standard error. Exit code 4: nothing
    came in time.
    """
    if collector not in WAYS:
        hint = closest(collector, WAYS)
        raise SettingsError(f"no collector {collector!r}{hint}; there are {', '.join(WAYS)}")
    api = Api(url, read_token or token, ca)
    snippet = snippet_of(collector, url, token)
    begun = None if no_wait or not api.token else _begun(api, collector)
    if not as_json:
        sys.stdout.write(snippet)
        sys.stdout.flush()
    aside = console(stderr=True)
    if not as_json and collector != "mqtt" and (not token or token.startswith(DEMO)):
        what = "This token ends with the demo that printed it" if token else TO_MAKE
        say(aside, f"{what}. Make one that lasts where the service runs:")
        command(aside, f"aiops keys make {collector} --role ingest --device 'gw-*'", "  ")
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
    try:
        found = _wait(api, collector, begun, wait, aside, quiet=as_json)
    except KeyboardInterrupt:
        aside.print(plain("stopped; what comes from now on is taken all the same"))
        raise typer.Exit(130) from None
    if as_json:
        emit_json({"collector": collector, "snippet": snippet, "came": found})
    elif found is not None:
        show(console(), found)
    if found is None:
        refused = _refused(begun, _came(api, collector, begun["now"]))
        if refused:
            say(aside, f"Of what {collector} sent, {refused}.")
        say(
            aside,
            f"Nothing came from {collector} within {wait:g} s. Its own log says what it was "
            "answered; what was refused says:",
        )
        command(aside, f"aiops doctor --url {url}", "  ")
        raise typer.Exit(EXIT_NOTHING)


def snippet_of(collector: str, url: str, token: str = "") -> str:
    """Return what to paste; without a token it says TOKEN."""
    told = resources.files("aiops.cli").joinpath("snippets", f"{collector}.txt").read_text("utf-8")
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Template(told).substitute(url=url.rstrip("/"), token=token or "TOKEN", now=now)


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
    *,
    quiet: bool,
) -> dict[str, Any] | None:
    """Return what came since a moment, soon after the first of it; None: nothing in time."""
    since, end = begun["now"], time.monotonic() + wait_s
    watched = aside.is_terminal and bool(aside.color_system) and not quiet
    if not watched and not quiet:
        aside.print(plain(f"waiting for {collector}, at most {wait_s:g} s; Ctrl-C ends it"))
    with aside.status(f"waiting for {collector} (Ctrl-C ends it)") if watched else nullcontext():
        while not _came(api, collector, since)["payloads"]["came"]:
            left = end - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(LOOK_S, left))
        if not quiet and not watched:
            aside.print(plain("the first sample came; waiting for what belongs to it"))
        time.sleep(SETTLE_S)
    return _came(api, collector, since)


def show(screen: Console, found: dict[str, Any]) -> None:
    """Print what came, what it was taken for, and what is missing."""
    devices = [one["device_id"] for one in found["devices"]["items"]]
    n, known = found["devices"]["count"], [one for one in found["known"] if one["metrics"]]
    names = len(found["known"]) + len(found["unknown"])
    screen.print()
    more = ", ..." if n > 5 else ""
    say(
        screen,
        f"First samples came from {count(n, 'device')}: {', '.join(devices[:5])}{more}. "
        f"{len(known):,} of {count(names, 'name')} recognised.",
    )
    shown = table("Recognised", ["metric", "sent as", "values"], ["values"], ["metric", "sent as"])
    for one in known[:SHOWN]:
        shown.add_row(", ".join(one["metrics"]), one["name"], f"{one['values']:,}")
    _show(screen, shown, len(known))
    unused = [(one["name"], one["values"], one["hint"]) for one in found["unknown"]]
    unused += [
        (one["name"], one["values"], "known, but not with these labels")
        for one in found["known"]
        if not one["metrics"]
    ]
    shown = table("Not used", ["sent as", "values", ""], ["values"], ["sent as", ""])
    for name, values, hint in unused[:SHOWN]:
        shown.add_row(name, f"{values:,}", hint)
    _show(screen, shown, len(unused))
    shown = table("Set aside", ["reason", "count", "why"], ["count"], ["why"])
    for one in found["set_aside"]:
        shown.add_row(one["reason"], f"{one['count']:,}", one["why"])
    show_table(screen, shown)
    screen.print()
    for one in found["detectors"]:
        lacks = " or ".join(" with ".join(group) for group in one["lacks"])
        here = len(one["has"]) > len(one["elsewhere"]) or not one["has"]
        has = "has what it needs" if here else "has what it needs from elsewhere, and not from this"
        said = f"lacks {lacks}: {one['add']}" if lacks else has
        say(screen, f"{one['detector']} {said}.")


def _show(screen: Console, shown: Any, n: int) -> None:
    show_table(screen, shown)
    if n > SHOWN:
        screen.print(plain(f"... and {n - SHOWN:,} more: --json has all"))
