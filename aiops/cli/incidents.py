"""`aiops incidents`: what is wrong and what is blamed, and who is on it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from aiops.cli.app import STYLE
from aiops.cli.asking import URL, Api, Ca, Token, Url
from aiops.cli.console import (
    command,
    console,
    count,
    emit_json,
    minute,
    say,
    severity,
    show_table,
    table,
)

incidents = typer.Typer(add_completion=False, invoke_without_command=True, **STYLE)
Json = Annotated[bool, typer.Option("--json", help="Print the service's own answer.")]
Until = Literal["cleared", "worse", "time", "now"]


@incidents.callback()
def listed(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also what is resolved.")] = False,
    top: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 20,
    url: Url = URL,
    token: Token = "",
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """List incidents, the newest first, with what is blamed.

    Findings of many devices that share something beyond chance are one incident, and what they
    share is named with its lift: how much likelier those are to be affected who have it.
    """
    if context.invoked_subcommand is not None:
        return
    told = Api(url, token, ca).get(
        "/v1/incidents", status="" if everything else "firing", limit=top
    )
    if as_json:
        emit_json(told)
        return
    screen = console()
    if not told["items"]:
        say(screen, "No incident." if everything else "Nothing fires.")
        return
    shown = table(
        count(len(told["items"]), "incident"),
        ("severity", "since", "what", "incident"),
        wrap=("what",),
    )
    for one in told["items"]:
        shown.add_row(
            severity(one["severity"]),
            minute(one["opened_ts"]),
            f"{one['title']}{_standing(one)}",
            one["incident_id"],
        )
    show_table(screen, shown)
    if told["next"] is not None:
        say(screen, f"There are more: --top {min(2 * top, 1000)}.")
    command(screen, "aiops incidents acknowledge INCIDENT", "  ")


@incidents.command()
def acknowledge(
    incident: Annotated[str, typer.Argument(help="Its id.", metavar="INCIDENT")],
    until: Annotated[
        Until,
        typer.Option(
            help="cleared: it is resolved; worse: more severe, or twice the devices; time: see "
            "--for; now: take it back.",
            metavar="cleared|worse|time|now",
        ),
    ] = "cleared",
    hours: Annotated[float, typer.Option("--for", help="Hours.", min=0.01, metavar="HOURS")] = 1.0,
    comment: Annotated[str, typer.Option(help="Why, in words.", metavar="TEXT")] = "",
    url: Url = URL,
    token: Token = "",
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Say that somebody is on it: nobody else is paged until it is over."""
    told = Api(url, token, ca).send(
        f"/v1/incidents/{incident}/acknowledge",
        {"until": until, "for_s": hours * 3600.0, "comment": comment},
    )
    if as_json:
        emit_json(told)
        return
    done = {
        "now": "is not acknowledged any more",
        "time": f"is acknowledged for {hours:g} h",
        "worse": "is acknowledged until it is worse",
        "cleared": "is acknowledged until it is resolved",
    }
    say(console(), f"{told['incident_id']} {done[until]}, from the end of this epoch.")


def _standing(one: dict[str, Any]) -> str:
    """Say what else there is to know: that nobody is paged, and that it came back."""
    said = []
    if one["status"] == "resolved":
        said.append("resolved")
    elif one.get("quiet"):
        quiet = one["quiet"]
        said.append(f"silenced by {quiet}" if quiet.startswith("sil-") else quiet)
    if one.get("reopened"):
        said.append(f"reopened {count(one['reopened'], 'time')}")
    return f" [{', '.join(said)}]" if said else ""
