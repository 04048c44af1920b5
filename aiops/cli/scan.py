"""`aiops scan`: what is in these files, and what the engine would make of it."""

from __future__ import annotations

import glob
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from aiops.cli.console import console, count, emit_json, table
from aiops.connectors import smartctl
from aiops.connectors.files import FilesSource
from aiops.errors import FileError
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import NO_TIME, NormalisedFrame
from aiops.telemetry.vocabulary import VOCABULARY, closest

Answer = dict[str, Any]


def scan(
    files: Annotated[
        list[str], typer.Argument(help="smartctl --json reports, Parquet, CSV, NDJSON or Arrow.")
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="ROLE=COLUMN where a guess is wrong, e.g. --column device=serial "
            "--column time=at. Roles: device, time, part, medium, site, cohort, metric, value.",
            metavar="ROLE=COLUMN",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Rows to show of each table.", min=1)] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Look at files: guess their layout, say what was assumed, and what could not be read.

    Reports of ``smartctl --json`` become a table of drives. Other files are read as telemetry:
    which columns are device, time and metrics, what is known, and what would be set aside.
    """
    paths = _expand(files)
    reports = [path for path in paths if path.suffix == ".json" and not _is_lines(path)]
    frames = [path for path in paths if path not in set(reports)]
    answer: Answer = {}
    if reports:
        answer["drives"] = [asdict(drive) for drive in smartctl.report(reports)]
    if frames:
        answer["telemetry"] = _scan_frames(frames, columns(column))
    if as_json:
        emit_json(answer)
        return
    screen = console()
    if reports:
        show_drives(screen, answer["drives"], top)
    if frames:
        _show_telemetry(screen, answer["telemetry"])


def columns(given: list[str] | None) -> dict[str, str]:
    """Return role -> column of ``ROLE=COLUMN`` options."""
    roles = {}
    for one in given or []:
        role, equals, name = one.partition("=")
        if not (role and equals and name):
            raise typer.BadParameter(f"{one!r} is not ROLE=COLUMN, e.g. device=serial")
        roles[role] = name
    return roles


def _expand(files: list[str]) -> list[Path]:
    """Return the files named, patterns and directories opened up, each once."""
    found: list[Path] = []
    for name in files:
        path = Path(name)
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.is_file())
        elif path.exists():
            found.append(path)
        else:
            matches = sorted(glob.glob(name, recursive=True))
            if not matches:
                raise FileError(f"{name}: no such file; asked to scan it, and no file matches it")
            found += [Path(match) for match in matches]
    return list(dict.fromkeys(found))


def _is_lines(path: Path) -> bool:
    """Say whether a ``.json`` file holds one object a line rather than one document."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first, second = file.readline().strip(), file.readline().strip()
    try:
        json.loads(first)
    except json.JSONDecodeError:
        return False
    return second.startswith("{")


def show_drives(screen: Console, drives: list[Answer], top: int) -> None:
    """Print the drives, most worn first, then what could not be read and why."""
    flash = [d for d in drives if d["readable"] and d["wear_used_percent"] is not None]
    rest = [d for d in drives if d["readable"] and d["wear_used_percent"] is None]
    failed = [d for d in drives if not d["readable"]]
    flash.sort(key=lambda d: (-d["wear_used_percent"], d["model"], d["file"]))
    shown = table(
        f"{count(len(flash), 'flash drive')} with an endurance figure",
        ("model", "serial", "used", "by", "spare", "written", "cycles"),
        right=("used", "spare", "written", "cycles"),
        wrap=("model", "serial"),
    )
    for d in flash[:top]:
        shown.add_row(
            d["model"],
            d["serial"],
            Text(f"{d['wear_used_percent']:.0f} %", style=_wear_style(d["wear_used_percent"])),
            d["wear_source"].removesuffix("_remaining"),
            _number(d["spare_percent"], " %"),
            _bytes(d["bytes_written"]),
            _number(d["power_cycles"]),
        )
    screen.print(shown)
    _more(screen, len(flash), top)
    if rest:
        screen.print()
        shown = table(
            f"{count(len(rest), 'drive')} without one (spinning disks have none)",
            ("model", "serial", "written", "cycles", "hours"),
            right=("written", "cycles", "hours"),
        )
        for d in sorted(rest, key=lambda d: (d["model"], d["file"]))[:top]:
            shown.add_row(
                d["model"],
                d["serial"],
                _bytes(d["bytes_written"]),
                _number(d["power_cycles"]),
                _number(d["power_on_h"]),
            )
        screen.print(shown)
        _more(screen, len(rest), top)
    screen.print()
    if failed:
        shown = table(
            f"{count(len(failed), 'file')} could not be read", ("file", "why"), wrap=("file", "why")
        )
        for d in failed:
            shown.add_row(d["file"], d["why"])
        screen.print(shown)
    else:
        screen.print("Every file could be read.")


def _scan_frames(paths: list[Path], roles: dict[str, str]) -> Answer:
    """Read telemetry files through the door and count what it made of them."""
    values: Counter[str] = Counter()
    aside: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    devices: set[str] = set()
    rows, first, last, layout = 0, None, None, None
    for frame, _ in FilesSource(paths, roles=roles).frames(None):
        layout = layout or Layout.guess(frame.schema, **roles)
        taken = normalise(frame, layout)
        rows += int((taken.device_id.code >= 0).sum())
        devices.update(_devices(taken))
        times = taken.ts[taken.ts != NO_TIME]
        if len(times):
            first = min(first or times.min(), times.min())
            last = max(last or times.max(), times.max())
        for name, sparse in taken.columns.items():
            values[name] += int((sparse.value == sparse.value).sum())
        aside.update(taken.set_aside["reason"].to_pylist())
        unknown.update(taken.unknown)
    return {
        "files": [str(path) for path in paths],
        "layout": {} if layout is None else layout.columns,
        "guessed": [] if layout is None else sorted(layout.guessed),
        "rows": rows,
        "devices": len(devices),
        "first": _moment(first),
        "last": _moment(last),
        "metrics": dict(sorted(values.items())),
        "set_aside": dict(sorted(aside.items())),
        "unknown": dict(sorted(unknown.items())),
    }


def _devices(frame: NormalisedFrame) -> set[str]:
    used = set(frame.device_id.code[frame.device_id.code >= 0].tolist())
    return {frame.device_id.value[code] for code in used}


def _show_telemetry(screen: Console, found: Answer) -> None:
    screen.print(
        f"[bold]{count(found['rows'], 'row')}[/] of {count(found['devices'], 'device')} in "
        f"{count(len(found['files']), 'file')}, {found['first']} to {found['last']}"
    )
    screen.print()
    shown = table("Assumed (overrule with --column ROLE=COLUMN)", ("role", "column", ""))
    for role, name in found["layout"].items():
        guess = Text("guessed" if role in found["guessed"] else "as asked", style="dim")
        shown.add_row(role, name, guess)
    screen.print(shown)
    screen.print()
    shown = table(
        "Metrics", ("metric", "unit", "values", "meaning"), right=("values",), wrap=("meaning",)
    )
    for name, n in found["metrics"].items():
        metric = VOCABULARY[name.partition("/")[0]]
        shown.add_row(name, metric.unit, f"{n:,}", metric.text)
    screen.print(shown if found["metrics"] else "No column is a metric this version knows.")
    if found["unknown"]:
        screen.print()
        shown = table("Not used", ("column", "values", ""), right=("values",))
        for name, n in found["unknown"].items():
            shown.add_row(name, f"{n:,}", closest(name, VOCABULARY).removeprefix("; "))
        screen.print(shown)
    if found["set_aside"]:
        screen.print()
        shown = table("Set aside", ("reason", "values"), right=("values",))
        for name, n in found["set_aside"].items():
            shown.add_row(name, f"{n:,}")
        screen.print(shown)


def _wear_style(percent: float) -> str:
    return "bold red" if percent >= 100 else "red" if percent >= 80 else ""


def _moment(ts: Any) -> str | None:
    from aiops.alerts.finding import isoformat

    return None if ts is None else isoformat(int(ts))


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:,.0f}{unit}"


def _bytes(value: float | None) -> str:
    if value is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} PB"


def _more(screen: Console, n: int, top: int) -> None:
    if n > top:
        screen.print(f"[dim]... and {n - top:,} more (--top {n})[/]")
