"""`aiops wear`: which flash wears out first, and when."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.text import Text

from aiops.alerts.finding import isoformat
from aiops.cli.console import (
    console,
    count,
    day,
    emit_json,
    minute,
    percent,
    plain,
    progress,
    say,
    show_table,
    table,
)
from aiops.cli.results import Record, where
from aiops.cli.run import Format, Roles, Sources, rules, source
from aiops.cli.scan import columns
from aiops.cli.stopping import Stoppable, Stopped, stopping
from aiops.connectors.files import FRAME_ROWS
from aiops.connectors.reading.opening import BadLines
from aiops.detectors.flash_wear import FlashWear
from aiops.engine.engine import Engine, Step
from aiops.engine.ports import Position, Source
from aiops.engine.run import run as run_engine
from aiops.errors import FileError
from aiops.telemetry.layout import Layout
from aiops.wear import ranked

DAY_NS = 86_400_000_000_000
YEAR_DAYS = 365.25
NAMED = 12
"""So many columns are named where no wear was found."""


def wear(
    sources: Sources,
    limit: Annotated[
        int, typer.Option("--limit", "--top", help="Media to show.", min=1, metavar="N")
    ] = 20,
    column: Roles = None,
    stream: Format = "ndjson",
    wear_prior: Annotated[
        Path | None,
        typer.Option(help="Prior that `aiops train wear` wrote.", metavar="DIR"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all media as JSON, whatever --limit says.")
    ] = False,
) -> None:
    """Rank flash media by when they are worn out, worst first.

    A forecast is an interval: the medium is worn out by p10 with 10 %, by p90 with 90 %, and as
    likely before as after the date between them. Nothing is written; `aiops run` keeps findings.
    """
    roles = columns(column)
    (rule,) = rules(["flash_wear"], 1.0, wear_prior)
    detector: FlashWear = rule.detector  # type: ignore[assignment]  # by its name
    engine = Engine([rule], layout=roles)
    told = Named(source(sources, stream, roles, FRAME_ROWS), roles)
    found, first, last = _read(engine, detector, told, quiet=as_json)
    media = _records(found)
    answer = {
        "first": isoformat(first),
        "last": isoformat(last),
        "rows": engine.fleet.counts["rows"],
        "devices": len({name for name, _, _ in engine.fleet.registry.identities}),
        "columns": sorted(told.names),
        "counts": _counts(media, last or 0, detector.lead_s),
        "media": media,
    }
    if as_json:
        emit_json(answer)
    elif media:
        _show(console(), answer, detector.lead_s, limit)
    else:
        _show_nothing(console(), answer)


@dataclass
class Named:
    """A source, and the names of what came from it: columns, or metrics of a long frame."""

    source: Source
    roles: dict[str, str]
    names: set[str] = field(default_factory=set)

    def frames(self, after: Position | None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield the frames of the source."""
        for frame, position in self.source.frames(after):
            layout = Layout.guess(frame.schema, **self.roles)
            if layout.metric is None:
                self.names |= set(frame.column_names) - set(layout.columns.values())
            else:
                metrics = pc.unique(frame[layout.metric]).to_pylist()
                self.names |= {str(name) for name in metrics if name is not None}
            yield frame, position


def _read(
    engine: Engine, detector: FlashWear, told: Named, *, quiet: bool
) -> tuple[pa.Table, int | None, int | None]:
    """Run the engine over a source; return the ranking, and from when to when telemetry goes."""
    seen, first, last, media = 0, None, None, None
    with progress(quiet=quiet) as bar, stopping() as stop, suppress(Stopped):
        task = bar.add_task("sorting", total=None, note="")

        def watch(rows: int, step: Step) -> bool:
            nonlocal seen, first, last
            seen += rows
            epochs = [epoch for epoch in step.epochs if epoch.size]
            if epochs:
                first, last = first or epochs[0].start, epochs[-1].end
            bar.update(task, description="reading", note=count(seen, "row"))
            return not stop.signal

        def watch_ranking(done: int, n: int) -> None:
            if stop.signal:
                raise Stopped
            if done % 100 == 0:
                note = f"{done:,} of {count(n, 'medium', 'media')}"
                bar.update(task, description="ranking", completed=done, total=n, note=note)

        run_engine(engine, Stoppable(told, stop), [], watch=watch)
        media = ranked(engine, detector, watch_ranking)
    if stop.signal:
        console(stderr=True).print("Stopped; nothing was kept.")
        sys.exit(128 + stop.signal)
    bad = getattr(told.source, "bad_lines", BadLines())
    if bad.first and not engine.fleet.counts["rows"]:
        raise FileError(
            f"nothing could be read: no telemetry in {count(bad.count, 'line')}; "
            f"{bad.first[0].file}, line {bad.first[0].line}: {bad.first[0].reason}"
        )
    return media, first, last


def _records(media: pa.Table) -> list[Record]:
    """Return rows as plain values: a date as RFC 3339, what is not known or not finite as None."""
    columns = {}
    for name, kind in zip(media.schema.names, media.schema.types, strict=True):
        values = media[name]
        if pa.types.is_timestamp(kind):
            columns[name] = [isoformat(ns) for ns in values.cast(pa.int64()).to_pylist()]
        elif pa.types.is_floating(kind):
            columns[name] = [v if math.isfinite(v) else None for v in values.to_pylist()]
        else:
            columns[name] = values.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _counts(media: list[Record], now: int, lead_s: float) -> dict[str, int]:
    """Count the media by when it is as likely as not that they are worn out."""
    lead, year = (
        isoformat(now + int(days * DAY_NS)) or "" for days in (lead_s / 86_400.0, YEAR_DAYS)
    )
    judged = [m for m in media if not m["quarantined"]]
    ahead = [m["p50"] for m in judged if m["wear_used_ratio"] < 1.0]
    soon = sum(date is not None and date <= lead for date in ahead)
    within_a_year = sum(date is not None and date <= max(lead, year) for date in ahead)
    endless = sum(date is None for date in ahead)
    return {
        "worn_out": len(judged) - len(ahead),
        "within_lead": soon,
        "within_a_year": within_a_year - soon,
        "later": len(ahead) - within_a_year - endless,
        "no_end_in_sight": endless,
        "quarantined": len(media) - len(judged),
    }


def _show(screen: Console, answer: Record, lead_s: float, limit: int) -> None:
    media, counts = answer["media"], answer["counts"]
    screen.print(
        f"[bold]{count(len(media), 'flash medium', 'flash media')}[/] of "
        f"{count(len({m['device_id'] for m in media}), 'device')}, "
        f"{minute(answer['first'])} to {minute(answer['last'])}"
    )
    judged = [m for m in media if not m["quarantined"]]
    shown = table(
        "Flash wear, worst first",
        ("device", "used", "a year", "from (p10)", "even odds", "to (p90)", "trust"),
        right=("used", "a year", "trust"),
        wrap=("device",),
    )
    for m in judged[:limit]:
        over = m["wear_used_ratio"] >= 1.0
        shown.add_row(
            where(m),
            Text(percent(m["wear_used_ratio"]), style="red" if over else ""),
            percent(m["wear_per_year_ratio"]),
            Text("worn out", style="red") if over else day(m["p10"]),
            "" if over else Text(day(m["p50"]), style="bold"),
            "" if over else day(m["p90"]),
            percent(m["source_trust_ratio"]),
        )
    show_table(screen, shown, len(judged))
    apart = [m for m in media if m["quarantined"]]
    shown = table(
        f"Not judged: {count(len(apart), 'medium', 'media')} in quarantine",
        ("device", "highest", "why"),
        right=("highest",),
        wrap=("device", "why"),
    )
    for m in apart[:limit]:
        shown.add_row(where(m), percent(m["wear_used_ratio"]), m["sentence"])
    show_table(screen, shown, len(apart))
    said = {
        "worn_out": "worn out",
        "within_lead": f"likely to end within {lead_s / 86_400.0:.0f} days",
        "within_a_year": "within a year",
        "later": "later",
        "no_end_in_sight": "with no end in sight",
        "quarantined": "in quarantine",
    }
    screen.print()
    say(screen, ", ".join(f"{counts[name]:,} {what}" for name, what in said.items()) + ".")


def _show_nothing(screen: Console, answer: Record) -> None:
    names = answer["columns"]
    rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    told = f" with {', '.join(names[:NAMED])}{rest}" if names else ""
    screen.print("[bold]No flash wear reading found.[/]")
    say(
        screen,
        f"What was found: {count(answer['rows'], 'row')} of "
        f"{count(answer['devices'], 'device')}{told}.",
    )
    screen.print(plain("`aiops scan` says how they are read."))
