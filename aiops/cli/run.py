"""`aiops run`: telemetry in, findings and guarded actions out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from aiops.alerts.finding import isoformat
from aiops.alerts.rule import AlertRule
from aiops.cli.console import console, count, emit_json, progress
from aiops.cli.results import FORECASTS, TOTALS, Results, show
from aiops.cli.scan import columns
from aiops.connectors.arrow_stream import ArrowStreamSource
from aiops.connectors.files import FilesSource
from aiops.connectors.inventory import read_inventory
from aiops.connectors.jsonl import JsonlSink
from aiops.connectors.ndjson import NdjsonSource
from aiops.connectors.warehouse import WarehouseSink
from aiops.detectors import DETECTORS
from aiops.engine.engine import Engine, Step
from aiops.engine.ports import Sink, Source
from aiops.engine.run import Checkpoint
from aiops.engine.run import run as run_engine
from aiops.errors import FileError, SettingsError
from aiops.fleet.inventory import Inventory
from aiops.telemetry.vocabulary import closest

STATE = "state.npz"
ABOUT = "run.json"


def run(
    sources: Annotated[
        list[str],
        typer.Argument(help="Files, directories or patterns; - for a stream on standard input."),
    ],
    out: Annotated[
        Path, typer.Option(help="Directory for results and state; the same command resumes.")
    ] = Path("aiops-out"),
    fresh: Annotated[bool, typer.Option(help="Forget what is in the directory.")] = False,
    inventory: Annotated[
        Path | None, typer.Option(help="Nodes and workloads (JSON or TOML); places workloads.")
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(help=f"Only these: {', '.join(DETECTORS)}.", metavar="NAME"),
    ] = None,
    alarm_budget: Annotated[
        float, typer.Option(help="False alarms per 1,000 device-months and detector.", min=1e-6)
    ] = 1.0,
    epoch: Annotated[int, typer.Option(help="Length of an epoch, seconds.", min=1)] = 60,
    lateness: Annotated[
        int, typer.Option(help="How long an epoch waits for late rows, seconds.", min=0)
    ] = 120,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="ROLE=COLUMN where a guess is wrong, e.g. --column device=serial.",
            metavar="ROLE=COLUMN",
        ),
    ] = None,
    stream: Annotated[
        str, typer.Option(help="What standard input holds: ndjson or arrow.", metavar="FORMAT")
    ] = "ndjson",
    warehouse: Annotated[
        Path | None,
        typer.Option(help="Also write results to this .duckdb file, or as Parquet to this folder."),
    ] = None,
    checkpoint_rows: Annotated[
        int, typer.Option(help="Save the state after so many rows.", min=1)
    ] = 1_000_000,
    top: Annotated[int, typer.Option(help="Rows to show of each table.", min=1)] = 20,
    fail_on_finding: Annotated[
        bool, typer.Option("--fail-on-finding", help="Exit with 3 if anything is firing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run telemetry through the engine; say what will wear out, what drifts, what to do.

    Files are replayed in the order of their event times, whatever their names and order. Results
    go to --out as JSON lines. A run that was killed is resumed by the same command and ends with
    the same results, byte for byte.
    """
    roles = columns(column)
    engine = Engine(
        rules(detector, alarm_budget),
        inventory=read_inventory(inventory) if inventory else Inventory(),
        layout=roles,
        epoch_s=epoch,
        lateness_s=lateness,
    )
    about = {
        "sources": sources,
        "inventory": str(inventory) if inventory else None,
        "detectors": [rule.name for rule in engine.rules],
        "alarm_budget": alarm_budget,
        "epoch_s": epoch,
        "lateness_s": lateness,
        "columns": roles,
    }
    claim(out, about, fresh)
    sinks: list[Sink] = [JsonlSink(out)]
    if warehouse:
        sinks.append(WarehouseSink(warehouse))
    checkpoint = Checkpoint(out / STATE, checkpoint_rows)
    feed(engine, source(sources, stream, roles), sinks, checkpoint, out, quiet=as_json)
    results = Results.load(out)
    if as_json:
        emit_json(results.to_json())
    else:
        screen = console()
        show(screen, results, top)
        screen.print(f"\nWhy: [bold]aiops explain ID --out {out}[/]    Everything: {out}/*.jsonl")
    if fail_on_finding and any(results.firing(rule.name) for rule in engine.rules):
        raise typer.Exit(3)


def rules(names: list[str] | None, alarm_budget: float) -> tuple[AlertRule, ...]:
    """Return a rule for each detector named (all by default), at the given alarm budget."""
    made = []
    for name in names or DETECTORS:
        if name not in DETECTORS:
            raise SettingsError(
                f"no detector is called {name!r}{closest(name, DETECTORS)}; "
                f"there are {', '.join(DETECTORS)}"
            )
        made.append(AlertRule(replace(DETECTORS[name](), alarm_budget=alarm_budget)))
    return tuple(made)


def source(names: list[str], stream: str, roles: dict[str, str]) -> Source:
    """Return the source that reads `names`; ``-`` is standard input."""
    if names != ["-"]:
        if "-" in names:
            raise SettingsError("- is standard input and cannot be mixed with files")
        return FilesSource(names, roles=roles)
    if stream == "ndjson":
        return NdjsonSource("-")
    if stream == "arrow":
        return ArrowStreamSource("-")
    raise SettingsError(f"--stream {stream!r} is not known; use ndjson or arrow")


def claim(out: Path, about: dict[str, Any], fresh: bool) -> None:
    """Make `out` the directory of this run, or resume the same run there.

    Raises
    ------
    FileError
        The directory holds another run, or something else.
    """
    if fresh and (out / ABOUT).exists():
        shutil.rmtree(out)
    path = out / ABOUT
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(k for k in about if before.get(k) != about[k])
        if differing:
            raise FileError(
                f"{out} holds a run with other {', '.join(differing)} "
                f"({before.get(differing[0])!r}, now {about[differing[0]]!r}); "
                f"name another --out, or start again with --fresh"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise FileError(f"{out} holds files that are no run of aiops; name another --out")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def feed(
    engine: Engine,
    source: Source,
    sinks: list[Sink],
    checkpoint: Checkpoint,
    out: Path,
    *,
    quiet: bool,
) -> None:
    """Run the engine with a progress display; stop cleanly, state saved, on SIGTERM or Ctrl-C."""
    span: list[int] = []
    found = 0
    with progress(quiet=quiet) as bar, stopping() as stopped:
        task = bar.add_task("running", total=None, note="rows")

        def watch(rows: int, step: Step) -> bool:
            nonlocal found
            found += len(step.findings)
            span.extend(t for e in step.epochs for t in (e.start, e.end))
            span[:] = [min(span), max(span)] if span else []
            bar.update(task, advance=rows, note=f"rows, {count(found, 'finding')}")
            return not stopped

        run_engine(engine, source, sinks, checkpoint, watch=watch)
    write_totals(engine, out, span)
    if stopped:
        console(stderr=True).print("Stopped; the state is saved and the same command resumes.")
        sys.exit(128 + stopped[0])


@contextmanager
def stopping() -> Iterator[list[int]]:
    """Yield a list to which SIGTERM and SIGINT are added instead of ending the process."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_totals(engine: Engine, out: Path, span: list[int]) -> None:
    """Keep what the run counted, and what it now foretells, beside its results."""
    fleet = engine.fleet
    path = out / TOTALS
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    taken = ("rows", "historical")
    identities = fleet.registry.identities
    first, last = (isoformat(t) for t in span) if span else (None, None)
    totals = {
        "rows": fleet.counts["rows"],
        "historical": fleet.counts["historical"],
        "devices": sum(not part and not medium for _, part, medium in identities),
        "parts": sum(bool(part or medium) for _, part, medium in identities),
        "first": min(filter(None, (before.get("first"), first)), default=None),
        "last": max(filter(None, (before.get("last"), last)), default=None),
        "set_aside": {k: v for k, v in sorted(fleet.counts.items()) if v and k not in taken},
        "unknown": dict(sorted(fleet.unknown.items())),
    }
    path.write_text(json.dumps(totals, indent=2) + "\n", encoding="utf-8")
    aside = out / f"{FORECASTS}.new"
    pq.write_table(engine.forecasts(), aside)
    os.replace(aside, out / FORECASTS)
