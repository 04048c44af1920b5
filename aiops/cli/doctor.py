"""`aiops doctor`: is all well, and what mends what is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from aiops.cli.asking import Api, Unreached
from aiops.cli.console import command, console, emit_json, say, table
from aiops.cli.serve import checks_of
from aiops.errors import AiopsError, FileError
from aiops.service import pulse
from aiops.service.machine import Look, machine

if TYPE_CHECKING:
    from rich.console import Console

STYLE = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}


def doctor(
    url: Annotated[
        str | None,
        typer.Option(help="A running service, here or elsewhere.", metavar="URL"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A data directory; by default aiops-data.", metavar="DIR")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="The settings of the service (TOML).", metavar="FILE")
    ] = None,
    token: Annotated[
        str,
        typer.Option(
            envvar="AIOPS_TOKEN",
            help="Of a key with the role read, to ask the service.",
            metavar="TOKEN",
            show_default=False,
        ),
    ] = "",
    ca: Annotated[
        Path | None, typer.Option(help="Whose certificates are believed (PEM).", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say whether machine, files and service are well, and the one command that mends each.

    Without --url it looks at this machine and at a data directory, and if a service has that open
    it asks it, where the settings say that it listens, by a name that its certificate has. With
    --url alone it only asks. Nothing is changed by looking. Exit code 1: something FAILs.
    """
    aside = console(stderr=True)
    watched = aside.is_terminal and bool(aside.color_system) and not as_json
    with aside.status("looking (Ctrl-C ends it)") if watched else nullcontext():
        looks = list(_looks(url, data, config, token, ca))
    if as_json:
        emit_json([look._asdict() for look in looks])
    else:
        show(console(), looks)
    raise typer.Exit(any(look.state == "FAIL" for look in looks))


def _looks(
    url: str | None, data: Path | None, config: Path | None, token: str, ca: Path | None
) -> Iterator[Look]:
    if url is not None and data is None and config is None:
        yield from asked(Api(url, token, ca))
        return
    found = list(machine())
    yield from found
    if any(look.state == "FAIL" for look in found):
        return  # what follows needs what is missing
    from aiops.cli.reaching import reached
    from aiops.service.checkup import files, in_use, started
    from aiops.service.paths import Paths
    from aiops.service.settings import read_settings

    settings = read_settings(config, **({} if data is None else {"data": data}))
    with suppress(FileError):  # keys that cannot be read: `files` says so
        yield from started(checks_of(settings))
    yield from files(settings)
    if url is None and not in_use(Paths(settings.data).log):
        yield Look("service", "ok", f"none runs on {settings.data}; only files were looked at")
        return
    here = reached(settings)
    yield from asked(Api(url or here.url, token, ca or (here.ca if url is None else None)))


def asked(api: Api) -> Iterator[Look]:
    """Ask a service how it is."""
    try:
        answer = api.ask("/readyz")
    except Unreached as error:
        yield Look("service", "FAIL", error.what, error.mend)
        return
    yield pulse.ready(answer.status, answer.json)
    if not api.token:
        mend = "export AIOPS_TOKEN=..., of a key with --role read"
        yield Look("service", "warn", "without a token it says no more", mend)
        return
    believed = "" if api.ca is None else f"--cacert {api.ca} "
    ask = f"curl {believed}-H \"Authorization: Bearer $AIOPS_TOKEN\" '{api.url}{{path}}'"
    try:
        begun = time.time()
        now = api.get("/v1/ingest", since="2100-01-01T00:00:00Z")["now"]
        yield pulse.clock(now, begun, time.time())
        figures = pulse.samples(api.ask("/metrics").body.decode())
        yield from pulse.figures(figures, ask)
        silent = api.get(
            "/v1/findings", rule="silence", status="firing", current="true", limit=1000
        )
        heard = figures.get("aiops_devices_active", [({}, 0.0)])[0][1]
        yield pulse.silence(silent["items"], int(heard), ask)
    except AiopsError as error:
        yield Look("service", "FAIL", str(error), "aiops keys make watcher --role read")


def show(screen: Console, looks: list[Look]) -> None:
    """Print what was found, and then what mends what is not well."""
    shown = table("", ["", "what", "found"], wrap=["found"])
    for look in looks:
        shown.add_row(Text(look.state, STYLE[look.state]), look.name, look.found)
    screen.print(shown)
    ill = [look for look in looks if look.state != "ok" and look.mend]
    if ill:
        screen.print()
    for look in ill:
        command(screen, look.mend, f"{look.name}: ")
    failed = sum(look.state == "FAIL" for look in looks)
    warned = sum(look.state == "warn" for look in looks)
    screen.print()
    if failed or warned:
        say(screen, f"{failed} FAIL, {warned} warn, {len(looks) - failed - warned} ok.")
    else:
        say(screen, f"All {len(looks)} are well.")
