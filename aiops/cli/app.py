"""The commands, each in a file of its own."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from aiops.cli import demo, explain, run, scan, simulate

EPILOG = (
    "Exit codes: 0 done, 1 an error, 2 wrong usage or settings, "
    "3 findings (only with --fail-on-finding), 130 interrupted."
)

app = typer.Typer(
    name="aiops",
    help="Turn a fleet's telemetry into a small number of justified, safe actions.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode="rich",
)
app.command("demo", epilog=EPILOG)(demo.demo)
app.command("run", epilog=EPILOG)(run.run)
app.command("scan", epilog=EPILOG)(scan.scan)
app.command("explain", epilog=EPILOG)(explain.explain)
app.command("simulate", epilog=EPILOG)(simulate.simulate)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aiops {metadata.version('aiops-edge')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Turn a fleet's telemetry into a small number of justified, safe actions."""
