"""The commands, each in a file of its own that is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "demo": "See it at work, on a simulated fleet.",
    "run": "Say what wears out, what drifts and what to do about it.",
    "serve": "Run as a service: telemetry in over HTTP and MQTT, answers out.",
    "connect": "Say what to paste so that telemetry comes, and what came.",
    "doctor": "Say whether all is well, and what mends it.",
    "wear": "Rank flash by when it is worn out.",
    "reboots": "Rank devices by the evidence that they reboot more often.",
    "scan": "Say what is in files, and how they are read.",
    "place": "Say where work should run, why, and what would change that.",
    "keys": "Say who may speak to the service, and what they may do.",
    "incidents": "List what is wrong and what is blamed, and say who is on it.",
    "silence": "Page nobody of what is known or planned, for a while or each week.",
    "feedback": "Say whether findings were right, and hold those like the false ones.",
    "explain": "Say why: of a finding, an incident, an action or a plan.",
    "train": "Learn from a history what a detector is to expect.",
    "simulate": "Write a fleet whose truth is known.",
}
"""Command -> what it is for; its function has its name, in a module of that name."""
EPILOG = (
    "Exit codes: 0 done, 1 an error, 2 wrong usage or settings, 3 findings (only with "
    "--fail-on-finding), 4 nothing came (connect), 70 its log broke, 78 refused to start (serve), "
    "130 stopped by Ctrl-C, 143 stopped by SIGTERM (serve, once it starts: 0)."
)
EPILOGS = {
    "serve": "Exit codes: 0 stopped in order, by SIGTERM or Ctrl-C; 1 an error; 2 wrong usage or "
    "settings; 70 the log could promise nothing more; 78 refused to start, also with --check.",
    "connect": "Exit codes: 0 it came, or was only printed; 1 an error; 2 wrong usage or "
    "settings; 4 nothing came in time; 130 stopped by Ctrl-C.",
    "doctor": "Exit codes: 0 nothing FAILs; 1 something does, or an error; 2 wrong usage or "
    "settings; 130 stopped by Ctrl-C.",
}
"""Command -> its own exit codes, where those of all commands do not fit."""
# Plain help is folded to the width of the terminal, and its columns are narrow.
STYLE: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


class Commands(TyperGroup):
    """Imports a command when it is asked for: help does not wait for compiled kernels."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name) for name in COMMANDS}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command called so, or None."""
        if cmd_name not in COMMANDS:
            return None
        function = getattr(import_module(f"aiops.cli.{cmd_name}"), cmd_name)
        if isinstance(function, typer.Typer):  # it has commands of its own
            group = typer.main.get_command(function)
            group.epilog = EPILOG
            return group
        alone = typer.Typer(add_completion=False, **STYLE)
        alone.command(cmd_name, epilog=EPILOGS.get(cmd_name, EPILOG))(function)
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what each command is for."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(name="aiops", cls=Commands, epilog=EPILOG, no_args_is_help=True, **STYLE)


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
