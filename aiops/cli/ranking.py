"""What commands share that read telemetry to its end and rank who sent it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from aiops.alerts.finding import Finding, isoformat
from aiops.cli.console import console, count, plain, progress, say
from aiops.cli.results import Record
from aiops.cli.stopping import Stoppable, Stopped, stopping
from aiops.connectors.reading.opening import BadLines
from aiops.engine.engine import Engine, Step
from aiops.engine.ports import Position, Source
from aiops.engine.run import run as run_engine
from aiops.errors import FileError
from aiops.telemetry.layout import Layout

NAMED = 12
"""So many columns are named where nothing was found."""
Rank = Callable[[Callable[[int, int], None]], pa.Table]
"""Returns the ranking; is given what to tell, before each, how many are done, and of how many."""


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


@dataclass(frozen=True)
class Ranking:
    """A source read to its end."""

    table: pa.Table
    first: int | None
    """When its telemetry begins, ns; None: there is none..."""
    last: int | None
    """...and when it ends."""
    groups: list[Finding]
    """Of whole sites and cohorts."""

    def answer(self, engine: Engine, told: Named) -> Record:
        """Return what `--json` prints beside the ranking."""
        return {
            "first": isoformat(self.first),
            "last": isoformat(self.last),
            "rows": engine.fleet.counts["rows"],
            "devices": len({name for name, _, _ in engine.fleet.registry.identities}),
            "columns": sorted(told.names),
        }


def ranking(
    engine: Engine, told: Named, rank: Rank, *, nouns: tuple[str, str], quiet: bool
) -> Ranking:
    """Run the engine over a source to its end and rank; `nouns` are one and many of what.

    Ends the process where it is stopped by a signal.

    Raises
    ------
    FileError
        Lines were read, and in none was telemetry.
    """
    seen, first, last, table = 0, None, None, None
    groups: list[Finding] = []
    with progress(quiet=quiet) as bar, stopping() as stop, suppress(Stopped):
        task = bar.add_task("sorting", total=None, note="")

        def watch(rows: int, step: Step) -> bool:
            nonlocal seen, first, last
            seen += rows
            epochs = [epoch for epoch in step.epochs if epoch.size]
            if epochs:
                first, last = first or epochs[0].start, epochs[-1].end
            groups.extend(finding for finding in step.findings if finding.group)
            bar.update(task, description="reading", note=count(seen, "row"))
            return not stop.signal

        def watch_ranking(done: int, n: int) -> None:
            if stop.signal:
                raise Stopped
            if done % 100 == 0:
                note = f"{done:,} of {count(n, *nouns)}"
                bar.update(task, description="ranking", completed=done, total=n, note=note)

        run_engine(engine, Stoppable(told, stop), [], watch=watch)
        table = rank(watch_ranking)
    if stop.signal:
        console(stderr=True).print("Stopped; nothing was kept.")
        sys.exit(128 + stop.signal)
    bad = getattr(told.source, "bad_lines", BadLines())
    if bad.first and not engine.fleet.counts["rows"]:
        raise FileError(
            f"nothing could be read: no telemetry in {count(bad.count, 'line')}; "
            f"{bad.first[0].file}, line {bad.first[0].line}: {bad.first[0].reason}"
        )
    return Ranking(table, first, last, groups)


def records(table: pa.Table) -> list[Record]:
    """Return rows as plain values: a date as RFC 3339, what is not known or not finite as None."""
    columns = {}
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        values = table[name]
        if pa.types.is_timestamp(kind):
            columns[name] = [isoformat(ns) for ns in values.cast(pa.int64()).to_pylist()]
        elif pa.types.is_floating(kind):
            columns[name] = [v if math.isfinite(v) else None for v in values.to_pylist()]
        else:
            columns[name] = values.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def show_nothing(screen: Console, answer: Record, what: str) -> None:
    """Say that no `what` was found, and what was."""
    names = answer["columns"]
    rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    told = f" with {', '.join(names[:NAMED])}{rest}" if names else ""
    screen.print(f"[bold]No {what} found.[/]")
    say(
        screen,
        f"What was found: {count(answer['rows'], 'row')} of "
        f"{count(answer['devices'], 'device')}{told}.",
    )
    screen.print(plain("`aiops scan` says how they are read."))
