"""`aiops demo`: half a year of a simulated fleet through the real path, in under a minute."""

from __future__ import annotations

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
from aiops.cli.console import (
    command,
    console,
    count,
    day,
    emit_json,
    minute,
    progress,
    say,
    short,
    table,
)
from aiops.cli.results import Record, Results, per_week, read_json, where
from aiops.cli.run import ABOUT, STATE, Span, claim, write_totals
from aiops.connectors.jsonl import JsonlSink
from aiops.connectors.models import make_rules
from aiops.connectors.simulator import SCENARIOS, Simulation
from aiops.engine.engine import Engine, Step
from aiops.engine.ports import Sink
from aiops.engine.run import Checkpoint
from aiops.engine.run import run as run_engine
from aiops.errors import FileError
from aiops.fleet.inventory import Workload
from aiops.placement.topology import PlacementSettings

EPOCH_S = 3600
"""Devices of the demo report hourly."""
HORIZON_S = 24 * EPOCH_S
"""Over which what a place costs now is taken to last."""
HEAT = ("temperature", "°C")
"""What the reason of a move says when it was for heat."""
DAY_NS = 86_400_000_000_000
ALARM_BUDGET = 40.0
"""False alarms per 1,000 device-months: about twelve in the demo's half year of 48 devices."""


def demo(
    out: Annotated[Path, typer.Option(help="Directory for the results.", metavar="DIR")] = Path(
        "aiops-demo"
    ),
    seed: Annotated[
        int | None, typer.Option(help="Another seed, another fleet.", min=0, metavar="N")
    ] = None,
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
    _prepare(out, scenario.seed)
    screen = console()
    if not as_json:
        screen.print(
            f"{count(scenario.devices, 'gateway')} at {count(scenario.sites, 'site')}, "
            f"{count(scenario.days, 'day')} of hourly telemetry from {day(scenario.start)}, "
            f"seed {scenario.seed}."
        )
    engine = engine_of(simulation)
    with progress(quiet=as_json) as bar:
        task = bar.add_task("half a year", total=scenario.days, note="")

        def watch(rows: int, step: Step) -> bool:
            for epoch in step.epochs[-1:]:
                past = (epoch.end - scenario.start_ns) // DAY_NS
                bar.update(task, completed=past, note=f"day {past} of {scenario.days}")
            return True

        sinks: list[Sink] = [JsonlSink(out), Span(out)]
        run_engine(engine, simulation, sinks, Checkpoint(out / STATE), watch=watch)
    write_totals(engine, out)
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
    command(screen, f"aiops explain ID --out {out}", "Why?   ")
    command(screen, "aiops scan FILE...", "Yours? ")
    command(screen, "aiops run FILE...", "       ")


def engine_of(simulation: Simulation) -> Engine:
    """Return the engine of the demo, before it has seen anything."""
    return Engine(
        make_rules((), ALARM_BUDGET),
        inventory=simulation.inventory(),
        placement=PlacementSettings(horizon_s=HORIZON_S),
        epoch_s=EPOCH_S,
        lateness_s=2 * EPOCH_S,
    )


def _prepare(out: Path, seed: int) -> None:
    """Make `out` the directory of a demo; only an earlier demo is forgotten."""
    if (out / ABOUT).exists() and "demo" not in read_json(out / ABOUT):
        raise FileError(f"{out} holds something other than an earlier demo; name another --out")
    claim(out, {"demo": seed}, fresh=True)


def _heading(screen: Console, text: str) -> None:
    screen.print()
    screen.print(Text(text, style="bold"))


def _tell_wear(screen: Console, results: Results, simulation: Simulation) -> None:
    _heading(screen, "1. Flash that wears out")
    fired = [f for f in results.findings if f["rule"] == "flash_wear" and f["status"] == "firing"]
    if not fired:
        screen.print("Nothing will wear out soon.")
        return
    truth = simulation.truth.to_pylist()
    worn = {(row["device_id"], row["part"]): row["wear_out_ts"] for row in truth if row["part"]}
    shown = table("", ("noticed", "device", "from (p10)", "to (p90)", "truth", "finding"))
    for f in fired[:6]:
        date = f["forecast"] or {}
        shown.add_row(
            day(f["ts"]),
            where(f),
            day(date.get("p10")),
            day(date.get("p90")),
            day(isoformat(worn[f["device_id"], f["part"]])),
            short(f["id"]),
        )
    screen.print(shown)
    say(screen, fired[0]["sentence"])
    changed = {row["device_id"] for row in truth if row["fault"] in ("wear", "writes")}
    n = sum(f["device_id"] in changed for f in fired)
    say(
        screen,
        f"Truth is what only the simulator knows. {n} of {count(len(fired), 'medium', 'media')} "
        "began to write much more at some point, which nobody could foretell before.",
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
            where(f),
            f["cohort"],
            per_week(f["expected"]),
            per_week(f["observed"]),
            short(f["id"]),
        )
    screen.print(shown)
    cohort, n = Counter(f["cohort"] for f in fired).most_common(1)[0]
    if n > 1:
        said = f"{n} of {len(fired)} run {cohort}: a firmware to look at, not {n} broken devices."
        say(screen, said)


def _tell_silence(screen: Console, results: Results) -> None:
    _heading(screen, "3. Devices not heard of")
    # A storm is filed by its site, or by what is blamed; the title then begins with its rules.
    quiet = [
        i
        for i in results.incidents
        if i["key"].startswith("silence@")
        or (i["cause"] is not None and "silence" in i["title"].partition(":")[0])
    ]
    storms = [i for i in quiet if "site:" in i["key"] and i["status"] == "firing"]
    if storms:
        largest = max(storms, key=lambda i: len(i["devices"]))
        say(screen, f"{minute(largest['opened_ts'])}  {largest['title']} One incident.")
    for f in results.firing("silence")[:4]:
        say(screen, f"{minute(f['ts'])}  {where(f)}: {f['sentence']}")
    if not quiet:
        screen.print("None.")


def _tell_heat(screen: Console, results: Results, workloads: Sequence[Workload]) -> None:
    _heading(screen, "4. A heat wave moves workloads away, and lets them return")
    moves = [(p["ts"], move) for p in results.plans for move in p["moves"]]
    fled = {(move["workload"], move["source"]): ts for ts, move in moves if _is_heat(move)}
    site = Counter(move["site"] for _, move in moves if _is_heat(move)).most_common(1)
    if not site:
        screen.print("Nothing had to move.")
        return
    names = {workload for workload, _ in fled}
    home = {w.id: w.home for w in workloads}
    hot = [
        (ts, move) for ts, move in moves if move["site"] == site[0][0] and move["workload"] in names
    ]
    shown = table("", ("when", "workload", "from", "to", "why"))
    for i, (ts, move) in enumerate(hot):
        if i == 6 and len(hot) > 11:
            shown.add_row("...", f"{len(hot) - 10} more moves")
        if 6 <= i < len(hot) - 4 and len(hot) > 11:
            continue
        is_back = move["target"] == home[move["workload"]]
        shown.add_row(
            minute(ts),
            move["workload"],
            move["source"] or "nowhere",
            move["target"] or "nowhere",
            "home again" if is_back else "heat" if _is_heat(move) else "other",
        )
    screen.print(shown)
    away = next(move for _, move in hot if _is_heat(move))
    say(screen, f"Why away: {away['reason']}.")
    back = [move for _, move in hot if move["target"] == home[move["workload"]]]
    if back:
        say(screen, f"Why back: {back[-1]['reason']}.")


def _is_heat(move: Record) -> bool:
    return any(sign in move["reason"] for sign in HEAT)


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
            textwrap.shorten(example["reason"], 120, placeholder=" ..."),
        )
    screen.print(shown)
    held = [a for a in results.actions if a["verdict"] == "held"]
    if held:
        say(screen, f"Held, for example: {held[0]['kind']} because {held[0]['verdict_reason']}.")
