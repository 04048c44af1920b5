"""`aiops simulate`: a made-up fleet whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from aiops.cli.console import command, console, count, emit_json, progress, say
from aiops.connectors.simulator import SCENARIOS, Simulation, simulate_to_parquet
from aiops.errors import SettingsError
from aiops.telemetry.vocabulary import closest


def simulate(
    out: Annotated[Path, typer.Option(help="Directory to write to.", metavar="DIR")] = Path(
        "aiops-fleet"
    ),
    scenario: Annotated[
        str, typer.Option(help=f"One of {', '.join(SCENARIOS)}.", metavar="NAME")
    ] = "demo",
    devices: Annotated[
        int | None, typer.Option(help="How many devices.", min=1, metavar="N")
    ] = None,
    days: Annotated[
        int | None, typer.Option(help="How many days of history.", min=1, metavar="N")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Another seed, another fleet.", min=0, metavar="N")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written.")] = False,
) -> None:
    """Write a simulated fleet as Parquet: telemetry, inventory, and the truth behind both."""
    if scenario not in SCENARIOS:
        raise SettingsError(
            f"no scenario is called {scenario!r}; there are {', '.join(SCENARIOS)}"
            f"{closest(scenario, SCENARIOS)}"
        )
    preset = SCENARIOS[scenario]
    made = replace(
        preset,
        devices=preset.devices if devices is None else devices,
        days=preset.days if days is None else days,
        seed=preset.seed if seed is None else seed,
    )
    with progress(quiet=as_json) as bar:
        task = bar.add_task("simulating", total=made.ticks, note=count(made.days, "day"))
        simulate_to_parquet(made, out, lambda done, total: bar.update(task, completed=done))
    files = sorted((out / "telemetry").glob("*.parquet"))
    size = sum(file.stat().st_size for file in files)
    inventory = Simulation(made).inventory()
    if as_json:
        emit_json(
            {
                "directory": str(out),
                "files": [str(file) for file in files],
                "bytes": size,
                "nodes": len(inventory.nodes),
                "workloads": len(inventory.workloads),
            }
        )
        return
    screen = console()
    say(
        screen,
        f"{out}: {count(len(files), 'file')} of telemetry ({size / 1e6:.1f} MB), "
        f"{count(made.devices, 'device')} over {count(made.days, 'day')}, the truth, and an "
        f"inventory of {count(len(inventory.nodes), 'node')} and "
        f"{count(len(inventory.workloads), 'workload')}.",
    )
    screen.print("\nNext, judged as often as the devices report:")
    command(screen, f"aiops run {out}/telemetry --inventory {out}/inventory.json \\")
    command(screen, f"  --epoch {made.interval_s} --lateness {2 * made.interval_s}")
