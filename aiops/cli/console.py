"""How things look in a terminal: tables and words that fit 80 columns, colour only if wanted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

SEVERITY_STYLE = {
    "critical": "bold red",
    "high": "red",
    "warning": "yellow",
    "low": "cyan",
    "info": "dim",
}


def console(*, stderr: bool = False) -> Console:
    """Return a console on standard output or error; honours ``NO_COLOR`` and pipes."""
    return Console(stderr=stderr, soft_wrap=False, highlight=False)


def emit_json(value: Any) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def progress(*, quiet: bool) -> Progress:
    """Return a progress display on standard error, silent when nobody is watching."""
    out = console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=out,
        transient=True,
        disable=quiet or not out.is_terminal,
    )


def table(
    title: str, columns: Sequence[str], right: Iterable[str] = (), wrap: Iterable[str] = ()
) -> Table:
    """Return an empty table; columns named in `right` hold numbers, in `wrap` prose."""
    made = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    numbers, prose = set(right), set(wrap)
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in numbers else "left",
            no_wrap=name not in prose,
            overflow="fold" if name in prose else "ellipsis",
            header_style="dim",
        )
    return made


def short(id: str) -> Text:
    """Return the beginning of an id: enough for `aiops explain`, and it fits."""
    return Text(id[:12], style="dim")


def day(moment: str | None) -> str:
    """Return the date of an RFC 3339 moment; a dash where there is none."""
    return moment[:10] if moment else "-"


def minute(moment: str | None) -> str:
    """Return date and minute of an RFC 3339 moment."""
    return moment[:16].replace("T", " ") if moment else "-"


def days_until(moment: str | None, now: str) -> float | None:
    """Return days from `now` to `moment`, both RFC 3339."""
    if moment is None:
        return None
    span = datetime.fromisoformat(moment) - datetime.fromisoformat(now)
    return span.total_seconds() / 86_400


def count(n: int, one: str, many: str = "") -> str:
    """Return "1 device" or "1,204 devices"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def severity(name: str) -> Text:
    """Return the severity as a word in its colour."""
    return Text(name, style=SEVERITY_STYLE.get(name, ""))
