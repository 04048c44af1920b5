"""The command line: it shows and asks, and decides nothing."""

from __future__ import annotations

import sys

from aiops.cli.app import app
from aiops.cli.console import console
from aiops.errors import AiopsError, SettingsError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app(standalone_mode=True)
    except SettingsError as error:
        _fail(error, 2)
    except AiopsError as error:
        _fail(error, 1)


def _fail(error: AiopsError, code: int) -> None:
    console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False)
    sys.exit(code)
