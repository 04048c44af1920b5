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

from aiops.alerts.finding import isoformat
from aiops.cli.console import console, count, emit_json, minute, show_table, size, table
from aiops.connectors import smartctl
from aiops.connectors.files import FilesSource
from aiops.errors import FileError, SettingsError
from aiops.telemetry.aside import REASONS
from aiops.telemetry.layout import NAMES, Layout
from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import NO_TIME, NormalisedFrame
from aiops.telemetry.vocabulary import VOCABULARY, closest

Answer = dict[str, Any]


def scan(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Reports of smartctl --json; Parquet, CSV, NDJSON and Arrow files; directories.",
            metavar="FILE",
        ),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Where a guess is wrong, e.g. device=serial. Roles: {', '.join(NAMES)}.",
            metavar="ROLE=COLUMN",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(help="Drives to show of each kind.", min=1, metavar="ROWS")
    ] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Look at files: guess their layout, say what was assumed, and what could not be read.

    Reports of smartctl --json become a table of drives. Other files are read as telemetry: which
    columns are device, time and metrics, what is known, and what would be set aside.
    """
    roles = columns(column)
    paths = _expand(files)
    reports = [path for path in paths if path.suffix == ".json" and not _is_lines(path)]
    frames = [path for path in paths if path not in set(reports)]
    answer: Answer = {}
    if reports:
        answer["drives"] = [asdict(drive) for drive in smartctl.report(reports)]
    if frames:
        answer["telemetry"] = _scan_frames(frames, roles)
    if as_json:
        emit_json(answer)
        return
    screen = console()
    if reports:
        show_drives(screen, answer["drives"], top)
    if frames:
        if reports:
            screen.print()
        _show_telemetry(screen, answer["telemetry"])


def columns(given: list[str] | None) -> dict[str, str]:
    """Return role -> column of ``ROLE=COLUMN`` options."""
    roles = {}
    for one in given or []:
        role, equals, name = one.partition("=")
        if not (role and equals and name):
            raise SettingsError(f"--column {one!r} is not ROLE=COLUMN, e.g. device=serial")
        if role not in NAMES:
            raise SettingsError(
                f"--column {one!r}: there is no role {role!r}; roles are {', '.join(NAMES)}"
                f"{closest(role, NAMES)}"
            )
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
                stream = "; a stream cannot be scanned, only run" if name == "-" else ""
                raise FileError(f"{name}: there is no such file, and none matches it{stream}")
            found += [Path(match) for match in matches]
    if not found:
        raise FileError(f"{', '.join(files)}: no file in there; name files with telemetry")
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
    screen.print(f"[bold]{count(len(drives), 'report')}[/] of smartctl")
    shown = table(
        f"{count(len(flash), 'flash drive')} with an endurance figure",
        ("model", "serial", "used", "by", "spare", "written", "cycles"),
        right=("used", "spare", "written", "cycles"),
        wrap=("model", "serial"),
    )
    for d in flash[:top]:
        shown.add_row(
            d["model"] or d["file"],
            d["serial"] or "-",
            Text(f"{d['wear_used_percent']:.0f} %", style=_wear_style(d["wear_used_percent"])),
            d["wear_source"].removesuffix("_remaining"),
            _number(d["spare_percent"], " %"),
            size(d["bytes_written"]),
            _number(d["power_cycles"]),
        )
    show_table(screen, shown, len(flash))
    shown = table(
        f"{count(len(rest), 'drive')} without one (spinning disks have none)",
        ("model", "serial", "written", "power cycles", "hours on"),
        right=("written", "power cycles", "hours on"),
        wrap=("model", "serial"),
    )
    for d in sorted(rest, key=lambda d: (d["model"], d["file"]))[:top]:
        shown.add_row(
            d["model"] or d["file"],
            d["serial"] or "-",
            size(d["bytes_written"]),
            _number(d["power_cycles"]),
            _number(d["power_on_h"]),
        )
    show_table(screen, shown, len(rest))
    for title, some in (
        ("to look at", [d for d in drives if d["readable"] and d["why"]]),
        ("that could not be read", failed),
    ):
        shown = table(
            f"{count(len(some), 'report')} {title}", ("file", "why"), wrap=("file", "why")
        )
        for d in some:
            shown.add_row(d["file"], d["why"])
        show_table(screen, shown)
    if not failed:
        screen.print("\nEvery report could be read.")


def _scan_frames(paths: list[Path], roles: dict[str, str]) -> Answer:
    """Read telemetry files through the door and count what it made of them."""
    values: Counter[str] = Counter()
    aside: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    devices: set[str] = set()
    rows, spans, layout = 0, [], None
    source = FilesSource(paths, roles=roles)
    for frame, _ in source.frames(None):
        layout = layout or Layout.guess(frame.schema, **roles)
        taken = normalise(frame, layout)
        rows += int((taken.device_id.code >= 0).sum())
        devices.update(_devices(taken))
        times = taken.ts[taken.ts != NO_TIME]
        if len(times):
            spans += [int(times.min()), int(times.max())]
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
        "first": isoformat(min(spans, default=None)),
        "last": isoformat(max(spans, default=None)),
        "metrics": dict(sorted(values.items())),
        "set_aside": dict(sorted(aside.items())),
        "unknown": dict(sorted(unknown.items())),
        "bad_lines": source.bad_lines.count,
        "first_bad_lines": [asdict(bad) for bad in source.bad_lines.first[:5]],
    }


def _devices(frame: NormalisedFrame) -> set[str]:
    used = set(frame.device_id.code[frame.device_id.code >= 0].tolist())
    return {frame.device_id.value[code] for code in used}


def _show_telemetry(screen: Console, found: Answer) -> None:
    screen.print(
        f"[bold]{count(found['rows'], 'row')}[/] of {count(found['devices'], 'device')} in "
        f"{count(len(found['files']), 'file')}, {minute(found['first'])} to {minute(found['last'])}"
    )
    shown = table(
        "Assumed (overrule with --column ROLE=COLUMN)", ("role", "column", ""), wrap=("column",)
    )
    for role, name in found["layout"].items():
        guess = Text("guessed" if role in found["guessed"] else "as asked", style="dim")
        shown.add_row(role, name, guess)
    show_table(screen, shown)
    shown = table(
        "Metrics", ("metric", "unit", "values", "meaning"), right=("values",), wrap=("meaning",)
    )
    said = ""
    for name, n in found["metrics"].items():
        metric = VOCABULARY[name.partition("/")[0]]
        shown.add_row(name, metric.unit, f"{n:,}", "" if metric.text == said else metric.text)
        said = metric.text
    show_table(screen, shown)
    if not found["metrics"]:
        screen.print("\nNo column is a metric this version knows.")
    shown = table("Not used", ("column", "values", ""), right=("values",), wrap=("column", ""))
    for name, n in found["unknown"].items():
        shown.add_row(name, f"{n:,}", closest(name, VOCABULARY).removeprefix("; "))
    show_table(screen, shown)
    shown = table(
        "Set aside", ("reason", "values", "meaning"), right=("values",), wrap=("meaning",)
    )
    for name, n in found["set_aside"].items():
        shown.add_row(name, f"{n:,}", REASONS[name])
    show_table(screen, shown)
    shown = table(
        f"{count(found['bad_lines'], 'line')} without telemetry",
        ("file", "line", "why"),
        right=("line",),
        wrap=("file", "why"),
    )
    for bad in found["first_bad_lines"]:
        shown.add_row(bad["file"], str(bad["line"] or "-"), bad["reason"])
    show_table(screen, shown)


def _wear_style(percent: float) -> str:
    return "bold red" if percent >= 100 else "red" if percent >= 80 else ""


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:,.0f}{unit}"
