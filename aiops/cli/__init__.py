"""The command line: it shows and asks, and decides nothing."""

from __future__ import annotations

import sys

from aiops.cli.app import app
from aiops.cli.console import console, plain
from aiops.errors import AiopsError, SettingsError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app(prog_name="aiops")
    except AiopsError as error:
        _fail(" ".join(str(error).split()), 2 if isinstance(error, SettingsError) else 1)
    except OSError as error:  # a full disk, a file where a directory should be
        _fail(f"{error.filename or 'the system'}: {error.strerror}", 1)


def _fail(said: str, code: int) -> None:
    console(stderr=True).print("[bold red]error:[/]", plain(said))
    sys.exit(code)
