"""`aiops silence`: page nobody of what is known or planned."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from aiops.cli.app import STYLE
from aiops.cli.asking import URL, Api, Ca, Token, Url
from aiops.cli.console import console, emit_json, minute, say, show_table, table

silence = typer.Typer(add_completion=False, no_args_is_help=True, **STYLE)
Json = Annotated[bool, typer.Option("--json", help="Print the service's own answer.")]


@silence.callback()
def options() -> None:
    """Page nobody of what is known or planned: once, or each day or week as a maintenance window.

    What is silenced is found and recorded all the same. What is critical is silenced only by a
    silence that says so.
    """


@silence.command()
def add(
    matchers: Annotated[
        list[str],
        typer.Argument(
            help="All must match: name=value, name!=value, name=~regex, name!~regex; names are "
            "rule, severity, device, site, cohort and the inventory's attributes.",
            metavar="MATCHER...",
        ),
    ],
    hours: Annotated[float, typer.Option("--for", help="Hours.", min=0.01, metavar="HOURS")] = 1.0,
    begin: Annotated[
        str, typer.Option("--from", help="RFC 3339; by default now.", metavar="TIME")
    ] = "",
    every: Annotated[
        Literal["", "day", "week"],
        typer.Option(help="Comes again at the same time of UTC.", metavar="day|week"),
    ] = "",
    critical: Annotated[bool, typer.Option(help="Silence what is critical, too.")] = False,
    comment: Annotated[str, typer.Option(help="Why, in words.", metavar="TEXT")] = "",
    url: Url = URL,
    token: Token = "",
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Silence what matches."""
    said = {
        "matchers": matchers,
        "from": begin or None,
        "for_s": hours * 3600.0,
        "every": every,
        "critical": critical,
        "comment": comment,
    }
    told = Api(url, token, ca).send("/v1/silences", said)
    if as_json:
        emit_json(told)
        return
    again = f", each {every}" if every else ""
    what = f"{minute(told['from_ts'])} to {minute(told['until_ts'])}{again}"
    say(console(), f"{told['id']} silences {', '.join(told['matchers'])} from {what}.")


@silence.command(name="list")
def listed(url: Url = URL, token: Token = "", ca: Ca = None, as_json: Json = False) -> None:
    """List silences, the newest first."""
    told = Api(url, token, ca).get("/v1/silences")
    if as_json:
        emit_json(told)
        return
    screen = console()
    if not told["items"]:
        say(screen, "Nothing is silenced.")
        return
    shown = table("Silences", ("state", "from", "to", "what", "silence"), wrap=("what",))
    for one in told["items"]:
        what = ", ".join(one["matchers"])
        again = f", each {one['every']}" if one["every"] else ""
        why = f" ({one['comment']})" if one["comment"] else ""
        shown.add_row(
            one["state"],
            minute(one["from_ts"]),
            minute(one["until_ts"]),
            f"{what}{again}{why}",
            one["id"],
        )
    show_table(screen, shown)


@silence.command()
def end(
    silence: Annotated[str, typer.Argument(help="Its id.", metavar="SILENCE")],
    url: Url = URL,
    token: Token = "",
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """End a silence now."""
    told = Api(url, token, ca).send(f"/v1/silences/{silence}", method="DELETE")
    if as_json:
        emit_json(told)
        return
    say(console(), f"{told['id']} is over.")
