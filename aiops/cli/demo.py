"""`aiops demo`: half a year of a simulated fleet through the real path, in under a minute."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from aiops.alerts.finding import isoformat
from aiops.cli.console import console, count, day, emit_json, minute, progress, short, table
from aiops.cli.results import Record, Results, per_week
from aiops.cli.run import ABOUT, rules, write_totals
from aiops.connectors.jsonl import JsonlSink
from aiops.connectors.simulator import SCENARIOS, Simulation
from aiops.engine.engine import Engine, Step
from aiops.engine.run import run as run_engine
from aiops.errors import FileError
from aiops.fleet.inventory import Workload
from aiops.placement.topology import PlacementSettings

EPOCH_S = 3600
"""Devices of the demo report hourly."""
DWELL_S = 24 * EPOCH_S
"""A workload stays at least so long where it was put."""
HEAT = "temperature"
"""What the reason of a move says when it was for heat."""
ALARM_BUDGET = 10.0
"""False alarms per 1,000 device-months: about three in the demo's half year of 48 devices."""


def demo(
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path("aiops-demo"),
    seed: Annotated[int | None, typer.Option(help="Another seed, another fleet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Show what the engine does, on a simulated fleet of gateways over half a year.

    Nothing is scripted: a simulator sends telemetry through the same path that real telemetry
    takes. Watch for a flash chip that will wear out, with its date; devices that begin to reboot
    more often; a heat wave that moves workloads away and lets them return; and what would be done
    about each, and why.
    """
    scenario = SCENARIOS["demo"] if seed is None else replace(SCENARIOS["demo"], seed=seed)
    simulation = Simulation(scenario)
    _prepare(out)
    screen = console()
    if not as_json:
        screen.print(
            f"{count(scenario.devices, 'gateway')} at {count(scenario.sites, 'site')}, "
            f"{count(scenario.days, 'day')} of hourly telemetry from {day(scenario.start)}, "
            f"seed {scenario.seed}."
        )
    engine = Engine(
        rules(None, ALARM_BUDGET),
        inventory=simulation.inventory(),
        placement=PlacementSettings(dwell_s=DWELL_S),
        epoch_s=EPOCH_S,
        lateness_s=2 * EPOCH_S,
    )
    span: list[int] = []
    with progress(quiet=as_json) as bar:
        task = bar.add_task("half a year", total=scenario.days, note="days")

        def watch(rows: int, step: Step) -> bool:
            span.extend(t for e in step.epochs for t in (e.start, e.end))
            span[:] = [min(span), max(span)] if span else []
            if span:
                bar.update(task, completed=(span[1] - scenario.start_ns) // 86_400_000_000_000)
            return True

        run_engine(engine, simulation, [JsonlSink(out)], watch=watch)
    write_totals(engine, out, span)
    results = Results.load(out)
    if as_json:
        emit_json(results.to_json())
        return
    _tell_wear(screen, results, simulation)
    _tell_reboots(screen, results)
    _tell_silence(screen, results)
    _tell_heat(screen, results, simulation.inventory().workloads)
    _tell_actions(screen, results)
    screen.print()
    screen.print(f"Why?   [bold]aiops explain ID --out {out}[/]   (any id above)")
    screen.print("Yours? [bold]aiops scan FILE...[/] and [bold]aiops run FILE...[/]")


def _prepare(out: Path) -> None:
    """Make `out` an empty directory; only an earlier demo is removed."""
    if out.exists() and any(out.iterdir()):
        about = out / ABOUT
        if not about.exists() or "demo" not in about.read_text(encoding="utf-8"):
            raise FileError(f"{out} holds something other than an earlier demo; name another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / ABOUT).write_text('{"sources": ["demo"]}\n', encoding="utf-8")


def _heading(screen: Console, text: str) -> None:
    screen.print()
    screen.print(Text(text, style="bold"))


def _say(screen: Console, text: str) -> None:
    screen.print(textwrap.fill(text, min(screen.width, 80)), highlight=False)


def _tell_wear(screen: Console, results: Results, simulation: Simulation) -> None:
    _heading(screen, "1. Flash that wears out")
    fired = [f for f in results.findings if f["rule"] == "flash_wear" and f["status"] == "firing"]
    if not fired:
        screen.print("Nothing will wear out soon.")
        return
    truth = {
        (row["device_id"], row["part"]): isoformat(row["wear_out_ts"])
        for row in simulation.truth.to_pylist()
        if row["part"]
    }
    shown = table("", ("noticed", "device", "from (p10)", "to (p90)", "truth", "finding"))
    for f in fired[:6]:
        date = f["forecast"] or {}
        shown.add_row(
            day(f["ts"]),
            _where(f),
            day(date.get("p10")),
            day(date.get("p90")),
            day(truth[f["device_id"], f["part"]]),
            short(f["id"]),
        )
    screen.print(shown)
    _say(screen, fired[0]["sentence"])
    _say(
        screen,
        "Truth is what only the simulator knows. Both began to write much more at some point, "
        "which forecasts by wear alone follow late.",
    )


def _tell_reboots(screen: Console, results: Results) -> None:
    _heading(screen, "2. Devices that reboot more often than they used to")
    fired = [f for f in results.findings if f["rule"] == "reboot_drift" and f["status"] == "firing"]
    if not fired:
        screen.print("None.")
        return
    shown = table("", ("noticed", "device", "cohort", "before", "now", "finding"))
    for f in fired[:6]:
        shown.add_row(
            day(f["ts"]),
            _where(f),
            f["cohort"],
            per_week(f["expected"]),
            per_week(f["observed"]),
            short(f["id"]),
        )
    screen.print(shown)
    cohorts = Counter(f["cohort"] for f in fired)
    cohort, n = cohorts.most_common(1)[0]
    _say(
        screen, f"{n} of {len(fired)} run {cohort}: a firmware to look at, not {n} broken devices."
    )


def _tell_silence(screen: Console, results: Results) -> None:
    _heading(screen, "3. Devices not heard of")
    quiet = [i for i in results.incidents if i["key"].startswith("silence@")]
    storms = [i for i in quiet if "@site:" in i["key"] and i["status"] == "firing"]
    if storms:
        largest = max(storms, key=lambda i: len(i["devices"]))
        _say(screen, f"{minute(largest['opened_ts'])}  {largest['title']}: one incident.")
    for f in results.firing("silence")[:4]:
        _say(screen, f"{minute(f['ts'])}  {_where(f)}: {f['sentence']}")
    if not quiet:
        screen.print("None.")


def _tell_heat(screen: Console, results: Results, workloads: Sequence[Workload]) -> None:
    _heading(screen, "4. A heat wave moves workloads away, and lets them return")
    moves = [(p["ts"], move) for p in results.plans for move in p["moves"]]
    fled = {(move["workload"], move["source"]): ts for ts, move in moves if HEAT in move["reason"]}
    site = Counter(move["site"] for _, move in moves if HEAT in move["reason"]).most_common(1)
    if not site:
        screen.print("Nothing had to move.")
        return
    names = {workload for workload, _ in fled}
    home = {w.id: w.home for w in workloads}
    hot = [
        (ts, move) for ts, move in moves if move["site"] == site[0][0] and move["workload"] in names
    ]
    shown = table("", ("when", "workload", "from", "to", "why"))
    for ts, move in hot[:10]:
        shown.add_row(
            minute(ts),
            move["workload"],
            move["source"] or "nowhere",
            move["target"] or "nowhere",
            "home again" if move["target"] == home[move["workload"]] else "heat",
        )
    screen.print(shown)
    if len(hot) > 10:
        screen.print(f"[dim]... and {len(hot) - 10} more moves[/]")
    away = next(move for _, move in hot if HEAT in move["reason"])
    _say(screen, f"Why away: {away['reason']}.")
    back = [move for _, move in hot if move["target"] == home[move["workload"]]]
    if back:
        _say(screen, f"Why back: {back[-1]['reason']}.")


def _tell_actions(screen: Console, results: Results) -> None:
    _heading(screen, "5. What would be done")
    by = Counter((a["kind"], a["verdict"]) for a in results.actions)
    shown = table(
        "",
        ("action", "allowed", "held", "for example"),
        right=("allowed", "held"),
        wrap=("for example",),
    )
    for kind in dict.fromkeys(a["kind"] for a in results.actions):
        example = next(a for a in results.actions if a["kind"] == kind)
        shown.add_row(
            kind,
            str(by[kind, "allowed"]),
            str(by[kind, "held"]),
            textwrap.shorten(example["reason"], 90, placeholder=" ..."),
        )
    screen.print(shown)
    held = [a for a in results.actions if a["verdict"] == "held"]
    if held:
        _say(screen, f"Held, for example: {held[0]['kind']} because {held[0]['verdict_reason']}.")


def _where(record: Record) -> str:
    return "/".join(name for name in (record["device_id"], record["part"]) if name)
