"""How things look in a terminal: tables and words that fit 80 columns, colour only if wanted."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

SEVERITY_STYLE = {
    "critical": "bold red",
    "high": "red",
    "warning": "yellow",
    "low": "cyan",
    "info": "dim",
}
WIDTH = 80
"""Prose is not wider, however wide the terminal."""


def console(*, stderr: bool = False) -> Console:
    """Return a console on standard output or error.

    With ``NO_COLOR`` or in a pipe it writes no escape sequence at all. Lines in a pipe are not
    broken on standard error: logs are searched.
    """
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    made = Console(stderr=stderr, highlight=False, emoji=False, color_system=colours)
    made.soft_wrap = stderr and not made.is_terminal
    return made


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
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=out,
        transient=True,
        # It lives on escape sequences.
        disable=quiet or not out.is_terminal or out.color_system is None,
    )


class Rows(Table):
    """A table whose strings are shown as they are, wherever they came from."""

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        """Add a row; only `Text` has a style."""
        super().add_row(*(plain(c) if isinstance(c, str) else c for c in cells), **how)

    def __rich_console__(self, screen: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the table, without the blanks that fill the last column."""
        drawn = (part for part in super().__rich_console__(screen, options))
        segments = [part for part in drawn if isinstance(part, Segment)]
        for line in Segment.split_lines(segments):
            text = "".join(part.text for part in line)
            yield from Segment.adjust_line_length(line, cell_len(text.rstrip()), pad=False)
            yield Segment.line()


def table(
    title: str, columns: Sequence[str], right: Iterable[str] = (), wrap: Iterable[str] = ()
) -> Rows:
    """Return an empty table.

    Columns named in `right` hold numbers, those in `wrap` prose or names of any length: these
    are folded where the terminal is narrow, and all others keep their width.
    """
    made = Rows(
        title=Text(title, style="bold", no_wrap=True, overflow="ignore") if title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    numbers, prose = set(right), set(wrap)
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in numbers else "left",
            no_wrap=name not in prose,
            overflow="fold",
            header_style="dim",
        )
    return made


def show_table(screen: Console, shown: Table, n: int = 0) -> None:
    """Print a table unless it is empty; say so if there are `n` rows and it has fewer."""
    if shown.row_count:
        screen.print()
        screen.print(shown)
    if n > shown.row_count > 0:
        screen.print(f"[dim]... and {n - shown.row_count:,} more: --top {n}[/]")


def plain(text: str, style: str = "") -> Text:
    """Return text that devices or files sent: no markup, and nothing that controls a terminal."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text), style)


def say(screen: Console, text: str, indent: str = "") -> None:
    """Print prose that devices or files may have had a part in."""
    width = min(screen.width, WIDTH)
    filled = textwrap.TextWrapper(
        width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    for line in filled.wrap(text):
        screen.print(plain(line))


def command(screen: Console, text: str, lead: str = "") -> None:
    """Print a command to copy, behind what leads to it: it is not broken into lines."""
    screen.print(Text.assemble(lead, plain(text, "bold")), soft_wrap=True)


def short(id: str) -> Text:
    """Return the beginning of an id: enough for `aiops explain`, and it fits."""
    return Text(id[:12], style="dim")


def day(moment: str | None) -> str:
    """Return the date of an RFC 3339 moment; a dash where there is none."""
    return moment[:10] if moment else "-"


def minute(moment: str | None) -> str:
    """Return date and minute of an RFC 3339 moment."""
    return moment[:16].replace("T", " ") if moment else "-"


def count(n: int, one: str, many: str = "") -> str:
    """Return "1 device" or "1,204 devices"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def percent(ratio: float | None) -> str:
    """Return "87 %" or "0.25 %"; a dash where there is none."""
    if ratio is None:
        return "-"
    value = 100.0 * ratio
    return f"{value:.0f} %" if value >= 10.0 or value == 0.0 else f"{value:.2g} %"


def size(n_bytes: float | None) -> str:
    """Return "1.2 GB"; a dash where there is none."""
    if n_bytes is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} PB"


def severity(name: str) -> Text:
    """Return the severity as a word in its colour."""
    return Text(name, style=SEVERITY_STYLE.get(name, ""))
