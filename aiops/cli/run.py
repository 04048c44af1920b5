"""`aiops run`: telemetry in, findings and guarded actions out."""

from __future__ import annotations

import json
import sys
import textwrap
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from aiops.alerts.finding import isoformat
from aiops.cli.console import command, console, count, emit_json, progress
from aiops.cli.results import FORECASTS, KINDS, TOTALS, Results, read_json, replacing, show
from aiops.cli.scan import columns
from aiops.cli.stopping import Stoppable, Stopped, stopping
from aiops.connectors.arrow_stream import ArrowStreamSource
from aiops.connectors.files import FRAME_ROWS, FilesSource
from aiops.connectors.inventory import read_inventory
from aiops.connectors.jsonl import JsonlSink
from aiops.connectors.models import make_rules
from aiops.connectors.ndjson import NdjsonSource
from aiops.connectors.reading.opening import BadLines
from aiops.connectors.smartctl import SmartctlSource
from aiops.connectors.warehouse import WarehouseSink
from aiops.detectors import DETECTORS, EVERY_METRIC
from aiops.engine.engine import Engine, Step
from aiops.engine.ports import Position, Sink, Source
from aiops.engine.run import Checkpoint
from aiops.engine.run import run as run_engine
from aiops.engine.watch import watching
from aiops.errors import FileError, SettingsError
from aiops.fleet.inventory import Inventory

STATE = "state.npz"
ABOUT = "run.json"
OURS = (*(f"{kind}.jsonl" for kind in (*KINDS, "set_aside")), STATE, TOTALS, FORECASTS, ABOUT)
"""The files of a run."""
YEAR_S = 366 * 86_400


Sources = Annotated[
    list[str],
    typer.Argument(
        help="Files, directories or patterns; - for a stream on standard input; or reports "
        "of smartctl --json.",
        metavar="SOURCE",
    ),
]
Roles = Annotated[
    list[str] | None,
    typer.Option(
        help="Where a guess is wrong, e.g. device=serial; `aiops scan` shows the guesses.",
        metavar="ROLE=COLUMN",
    ),
]
Format = Annotated[
    str, typer.Option(help="What standard input holds: ndjson or arrow.", metavar="FORMAT")
]
Budget = Annotated[
    float | None,
    typer.Option(
        help="False alarms per 1,000 device-months, of all detectors together.",
        min=1e-6,
        max=1e6,
        metavar="NUMBER",
    ),
]
"""Arguments that commands share."""


def run(
    sources: Sources,
    out: Annotated[
        Path,
        typer.Option(
            help="Directory for results and state; the same command resumes.", metavar="DIR"
        ),
    ] = Path("aiops-out"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an earlier run there.")] = False,
    inventory: Annotated[
        Path | None,
        typer.Option(
            help="Nodes and workloads (JSON or TOML): decide what runs where.", metavar="FILE"
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this one; of {', '.join(DETECTORS)}.", metavar="NAME"),
    ] = None,
    alarm_budget: Budget = None,
    epoch: Annotated[
        int,
        typer.Option(
            help="How often the fleet is judged as a whole; 3600 suits hourly reports.",
            min=1,
            max=YEAR_S,
            metavar="SECONDS",
        ),
    ] = 60,
    lateness: Annotated[
        int,
        typer.Option(
            help="How long to wait for late rows before that.",
            min=0,
            max=YEAR_S,
            metavar="SECONDS",
        ),
    ] = 120,
    column: Roles = None,
    stream: Format = "ndjson",
    warehouse: Annotated[
        Path | None,
        typer.Option(
            help="Also write results to this .duckdb file, or as Parquet to this directory.",
            metavar="PATH",
        ),
    ] = None,
    wear_prior: Annotated[
        Path | None,
        typer.Option(help="Prior of flash_wear that `aiops train wear` wrote.", metavar="DIR"),
    ] = None,
    checkpoint_rows: Annotated[
        int, typer.Option(help="Save the state after so many rows.", min=1, metavar="ROWS")
    ] = 1_000_000,
    top: Annotated[
        int, typer.Option(help="Rows to show of each table.", min=1, metavar="ROWS")
    ] = 20,
    fail_on_finding: Annotated[
        bool, typer.Option("--fail-on-finding", help="Exit with 3 if anything is firing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run telemetry through the engine; say what wears out, what drifts, what to do.

    Files are replayed in the order of time, whatever their names and order. Results go to --out
    as JSON lines. A run that was killed is resumed by the same command and ends with the same
    results, byte for byte.
    """
    roles = columns(column)
    rules, watch = watching(
        make_rules(detector or (), alarm_budget, wear_prior),
        None if detector else EVERY_METRIC,
        alarm_budget,
    )
    engine = Engine(
        rules,
        watch=watch,
        inventory=read_inventory(inventory) if inventory else Inventory(),
        layout=roles,
        epoch_s=epoch,
        lateness_s=lateness,
    )
    telemetry = source(sources, stream, roles, checkpoint_rows)
    about = {
        "sources": sources,
        "stream": stream,
        "inventory": str(inventory) if inventory else None,
        "detector": [rule.name for rule in engine.given],
        "alarm_budget": alarm_budget,
        "epoch": epoch,
        "lateness": lateness,
        "column": roles,
        "warehouse": str(warehouse) if warehouse else None,
        "wear_prior": str(wear_prior) if wear_prior else None,
    }
    claim(out, about, fresh)
    sinks: list[Sink] = [JsonlSink(out)]
    if warehouse:
        sinks.append(WarehouseSink(warehouse))
    feed(engine, telemetry, sinks, Checkpoint(out / STATE, checkpoint_rows), out, quiet=as_json)
    results = Results.load(out)
    if as_json:
        emit_json(results.to_json())
    else:
        screen = console()
        show(screen, results, top)
        screen.print()
        command(screen, f"aiops explain ID --out {out}", "Why? ")
    if fail_on_finding and any(results.firing(rule.name) for rule in engine.rules):
        raise typer.Exit(3)


def source(names: list[str], stream: str, roles: dict[str, str], rows: int) -> Source:
    """Return the source that reads `names`, `rows` at a time at most; ``-`` is standard input."""
    if stream not in ("ndjson", "arrow"):
        raise SettingsError(f"--stream {stream!r} is not known; use ndjson or arrow")
    if names != ["-"]:
        if "-" in names:
            raise SettingsError("- is standard input and cannot be mixed with files")
        if all(Path(name).suffix == ".json" for name in names):
            return SmartctlSource(names)
        return FilesSource(names, roles=roles, frame_rows=min(rows, FRAME_ROWS))
    return NdjsonSource("-", roles=roles) if stream == "ndjson" else ArrowStreamSource("-")


def claim(out: Path, about: dict[str, Any], fresh: bool) -> None:
    """Make `out` the directory of this run, or resume the same run there.

    Raises
    ------
    FileError
        The directory holds another run that got somewhere, or something else.
    """
    path = out / ABOUT
    if out.exists() and not out.is_dir():
        raise FileError(f"{out} is a file; --out names a directory")
    if path.exists():
        begun = any(p.stat().st_size for p in out.iterdir() if p.name in OURS and p != path)
        if begun and not fresh:
            before = read_json(path)
            differing = sorted(name for name in about if before.get(name) != about[name])
            if differing:
                told = (
                    f"{n} was {_brief(before.get(n))}, is {_brief(about[n])}" for n in differing
                )
                raise FileError(
                    f"{out} holds another run: {'; '.join(told)}. Name another --out, or forget "
                    f"that run with --fresh"
                )
            return
        for name in OURS:
            (out / name).unlink(missing_ok=True)
    elif out.is_dir() and any(p.name.removesuffix(".new") not in OURS for p in out.iterdir()):
        raise FileError(f"{out} holds files that are no run of aiops; name another --out")
    out.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside:
        aside.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _brief(value: Any) -> str:
    return textwrap.shorten(json.dumps(value), 60, placeholder=" ...")


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
    seen = found = 0
    with progress(quiet=quiet) as bar, stopping() as stop, suppress(Stopped):
        task = bar.add_task("sorting", total=None, note="")

        def watch(rows: int, step: Step) -> bool:
            nonlocal seen, found
            seen, found = seen + rows, found + len(step.findings)
            said = f"{count(seen, 'row')}, {count(found, 'finding')}"
            bar.update(task, description="running", note=said)
            return not stop.signal

        sinks = [*sinks, Span(out)]
        run_engine(engine, Stoppable(source, stop), sinks, checkpoint, watch=watch)
    bad = getattr(source, "bad_lines", BadLines())
    if bad.first and not engine.fleet.counts["rows"] and not stop.signal:
        raise FileError(
            f"nothing could be read: no telemetry in {count(bad.count, 'line')}; "
            f"{bad.first[0].file}, line {bad.first[0].line}: {bad.first[0].reason}"
        )
    write_totals(engine, out, bad.count)
    if stop.signal:
        console(stderr=True).print("Stopped; the state is saved, and the same command resumes.")
        sys.exit(128 + stop.signal)


@dataclass(frozen=True)
class Span:
    """Keeps from when to when a run has judged beside its results, also through a crash."""

    out: Path

    def write(self, step: Step, position: Position) -> None:
        """Take the epochs of a step, less an empty one that hands over what was set aside."""
        epochs = [epoch for epoch in step.epochs if epoch.size]
        if epochs:
            totals = {"first": isoformat(epochs[0].start)} | _totals(self.out)
            _keep(self.out, totals | {"last": isoformat(epochs[-1].end)})

    def close(self) -> None:
        """Do nothing: each step was finished by itself."""


def write_totals(engine: Engine, out: Path, bad_lines: int = 0) -> None:
    """Keep what the run counted, and what it now foretells, beside its results."""
    fleet = engine.fleet
    taken = ("rows", "historical")
    identities = fleet.registry.identities
    counted = {
        "rows": fleet.counts["rows"],
        "historical": fleet.counts["historical"],
        "devices": sum(not part and not medium for _, part, medium in identities),
        "parts": sum(bool(part or medium) for _, part, medium in identities),
        "bad_lines": bad_lines,
        "set_aside": {k: v for k, v in sorted(fleet.counts.items()) if v and k not in taken},
        "unknown": dict(sorted(fleet.unknown.items())),
        "alarms": [rate.to_record() for rate in engine.realised()],
    }
    _keep(out, _totals(out) | counted)
    with replacing(out / FORECASTS) as aside:
        pq.write_table(engine.forecasts(), aside)


def _totals(out: Path) -> dict[str, Any]:
    return read_json(out / TOTALS) if (out / TOTALS).exists() else {}


def _keep(out: Path, totals: dict[str, Any]) -> None:
    with replacing(out / TOTALS) as aside:
        aside.write_text(json.dumps(totals, indent=2) + "\n", encoding="utf-8")
