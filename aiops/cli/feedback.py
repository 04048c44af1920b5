"""`aiops feedback`: say whether findings were right, see what that would do, do it, and undo it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from aiops.cli.app import STYLE
from aiops.cli.asking import URL, Api, Ca, Token, Url
from aiops.cli.console import command, console, count, emit_json, say, show_table, table

feedback = typer.Typer(add_completion=False, no_args_is_help=True, **STYLE)

SAID = {
    "true": "TRUE_POSITIVE",
    "benign": "BENIGN_POSITIVE",
    "false": "FALSE_POSITIVE",
    "unknown": "UNKNOWN",
}
"""Word of the command line -> label."""
Word = Literal["true", "benign", "false", "unknown"]
Json = Annotated[bool, typer.Option("--json", help="Print the service's own answer.")]


@feedback.callback()
def options() -> None:
    """Teach the service which findings are worth a person's time.

    Labels wait until they are applied; from then on findings like those that people called false
    are held: recorded, and neither an incident nor a reason to act. Nothing of severity high or
    critical is ever held. `show` tells beforehand what it would do, and `undo` takes it back.
    """


@feedback.command()
def label(
    finding: Annotated[str, typer.Argument(help="Its id or fingerprint.", metavar="FINDING")],
    said: Annotated[
        Word,
        typer.Argument(
            help="true: worth acting on; benign: right, and nothing to do; false: not right.",
            metavar="true|benign|false|unknown",
        ),
    ],
    text: Annotated[str, typer.Option(help="Why, in words.", metavar="TEXT")] = "",
    url: Url = URL,
    token: Token = "",
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Say whether a finding was right."""
    told = Api(url, token, ca).send(
        f"/v1/findings/{finding}/labels", {"said": SAID[said], "text": text}
    )
    if as_json:
        emit_json(told)
        return
    say(console(), f"{told['finding_id']} is labelled {said}. See what that would change:")
    command(console(), "aiops feedback show", "  ")


@feedback.command()
def show(url: Url = URL, token: Token = "", ca: Ca = None, as_json: Json = False) -> None:
    """Say what is in force, and what it would do to apply what waits."""
    told = Api(url, token, ca).get("/v1/feedback")
    if as_json:
        emit_json(told)
        return
    _show(told)


@feedback.command()
def apply(url: Url = URL, token: Token = "", ca: Ca = None, as_json: Json = False) -> None:
    """Put all labels in force."""
    _step("apply", Api(url, token, ca), as_json)


@feedback.command()
def undo(url: Url = URL, token: Token = "", ca: Ca = None, as_json: Json = False) -> None:
    """Go back to the labels that were in force before."""
    _step("undo", Api(url, token, ca), as_json)


def _step(which: str, api: Api, as_json: bool) -> None:
    told = api.send(f"/v1/feedback/{which}")
    if as_json:
        emit_json(told)
        return
    _show(told)


def _show(told: dict[str, Any]) -> None:
    screen = console()
    if not told["labels"]:
        say(screen, "Nobody has labelled a finding yet. For example:")
        command(screen, "aiops feedback label fnd-0123456789abcdef false", "  ")
        return
    in_force = told["labels"] - told["waiting"]
    say(
        screen,
        f"{count(told['labels'], 'label')}, {in_force} in force. Of the newest "
        f"{count(told['findings'], 'finding')}, {told['held_now']} would be held by what is in "
        f"force and {told['held_then']} by all of them.",
    )
    shown = table("would be held", ["rule", "findings"], right=["findings"], wrap=["rule"])
    for rule, n in told["held_by_rule"].items():
        shown.add_row(rule, str(n))
    show_table(screen, shown)
    if told["acted_on_and_held"]:
        say(
            screen,
            "Among them are findings that somebody called right: "
            f"{', '.join(told['acted_on_and_held'])}.",
        )
    if told["precision_by_labels"] is not None:
        say(
            screen,
            f"Average precision of the labelled findings: {told['precision_by_score']:.2f} in the "
            f"order of their scores, {told['precision_by_labels']:.2f} in the order of the model, "
            "each judged before its label was learnt.",
        )
    if told["waiting"]:
        command(screen, "aiops feedback apply", "  ")
