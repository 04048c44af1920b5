"""`aiops place`: where work should run, why, and what would change that."""

from __future__ import annotations

import math
import time
import tomllib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from aiops.cli.app import STYLE
from aiops.cli.console import console, count, emit_json, percent, plain, say, show_table, table
from aiops.connectors.conditions import read_conditions
from aiops.connectors.inventory import read_inventory
from aiops.errors import FileError, InputError
from aiops.placement.conditions import Conditions
from aiops.placement.market import Market
from aiops.placement.plan import Plan
from aiops.placement.problem import pose
from aiops.placement.solver import solve
from aiops.placement.whatif import Overlay, what_if

place = typer.Typer(add_completion=False, no_args_is_help=True, **STYLE)

Site = Annotated[
    Path, typer.Argument(help="Inventory: sites, nodes and workloads, .toml or .json.")
]
State = Annotated[
    Path | None,
    typer.Option(
        help="What is known of the nodes: .csv or .parquet, a row a node.", metavar="FILE"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the record itself.")]
Name = Annotated[str, typer.Argument(help="Id of a workload.", metavar="WORKLOAD")]


@place.callback()
def options() -> None:
    """Say where work should run, why it is there, and what would change that.

    An inventory says what there is, a table of states how it is now. Everything is in micro-dollars
    per hour, and every plan says by how much at most a better one could be cheaper.
    """


@place.command()
def plan(
    inventory: Site,
    state: State = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Say where everybody is, not only who moves.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Solve, and say what moves."""
    made = solved(inventory, state)
    if as_json:
        emit_json(made.to_record() | {"doubtful_readings": made.problem.doubtful})
        return
    screen = console()
    running = int(made.problem.cost[np.arange(len(made.choice)), made.choice].sum())
    said = f"{_sum(running)} an hour"
    if made.cost != running:
        said += f" and {_sum(made.cost - running)} for moves"
    sure = "no plan is cheaper" if made.gap == 0 else f"at most {percent(made.gap)} above the best"
    say(screen, f"{count(len(made.choice), 'workload')}, {said}: {sure}.")
    if made.problem.doubtful:
        readings = count(made.problem.doubtful, "reading")
        say(screen, f"Taken as not known, as it cannot be true: {readings}.")
    if everybody:
        places = table("places", ["workload", "home", "runs at"])
        topology = made.problem.topology
        for i, name in enumerate(topology.workload):
            places.add_row(name, topology.place(i, 0), topology.place(i, int(made.reached[i])))
        show_table(screen, places)
    moves = table("moves", ["workload", "from", "to", "why"], wrap=["why"])
    for move in made.moves:
        moves.add_row(move.workload, move.source or "nowhere", move.target or "shed", move.reason)
    if not made.moves:
        say(screen, "Nothing has to move.")
    show_table(screen, moves)


@place.command()
def explain(workload: Name, inventory: Site, state: State = None, as_json: Json = False) -> None:
    """Say why a workload is where it is: every place with its costs, and what would change it."""
    explanation = solved(inventory, state).explain(workload)
    if as_json:
        emit_json(explanation.to_record())
        return
    screen = console()
    for line in explanation.text().splitlines():
        screen.print(plain(line), soft_wrap=True)


@place.command()
def why_not(
    workload: Name,
    place: Annotated[str, typer.Argument(help="Id of a node, or shed.", metavar="PLACE")],
    inventory: Site,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Say why a workload is not at some place."""
    why = solved(inventory, state).why_not(workload, place)
    if as_json:
        emit_json({"workload": workload, "place": place, "why": why})
        return
    say(console(), why)


@place.command()
def prices(
    inventory: Site,
    state: State = None,
    top: Annotated[int, typer.Option(help="Rows to show.", min=1, metavar="N")] = 20,
    as_json: Json = False,
) -> None:
    """Say what room is worth where it is scarce."""
    found = solved(inventory, state).scarce
    if as_json:
        emit_json([one.to_record() for one in found])
        return
    screen = console()
    if not found:
        say(screen, "Nothing that several nodes share is scarce: more of it would save nothing.")
    columns = ["place", "what", "µ$/h and unit", "used", "of", "unit"]
    shown = table("scarce", columns, right=columns[2:5])
    for one in found[:top]:
        used, of = f"{one.used:.3g}", f"{one.capacity:.3g}"
        shown.add_row(one.place, one.resource, f"{one.price:,.0f}", used, of, one.unit)
    show_table(screen, shown, len(found))


@place.command(name="what-if")
def if_(
    inventory: Site,
    state: State = None,
    kill: Annotated[
        list[str] | None, typer.Option(help="This node, or site, is gone.", metavar="NAME")
    ] = None,
    cordon: Annotated[
        list[str] | None, typer.Option(help="Closed to new work.", metavar="NAME")
    ] = None,
    heat: Annotated[
        list[str] | None, typer.Option(help="Degrees warmer.", metavar="NAME=+5")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(help="Dearer, or cheaper.", metavar="NAME=+10%")
    ] = None,
    rtt: Annotated[
        list[str] | None, typer.Option(help="Farther from the cloud.", metavar="NAME=+50%")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="All of these in a .toml file.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what the plan would be if something were different."""
    given: dict[str, Any] = {} if overlay is None else _read(overlay)
    Overlay.of(given)  # before what was asked on the command line is added to it
    for name, names in (("kill", kill), ("cordon", cordon)):
        given[name] = [*given.get(name, []), *(names or [])]
    for name, pairs in (("heat", heat), ("price", price), ("rtt", rtt)):
        given[name] = {**given.get(name, {}), **dict(_pair(name, one) for one in pairs or [])}
    answer = what_if(solved(inventory, state), Overlay.of(given))
    if as_json:
        emit_json(answer.to_record())
        return
    screen = console()
    if answer.same:
        say(screen, "Nothing would be different: no place would cost other than it does.")
        return
    more = "dearer" if answer.cost >= 0 else "cheaper"
    say(
        screen,
        f"{_sum(abs(answer.cost))} an hour {more}: {_sum(answer.after.cost)},"
        f" at most {percent(answer.after.gap)} above the best.",
    )
    moved = table("", ["workload", "from", "to"])
    for row in answer.moved:
        moved.add_row(*row)
    if not answer.moved:
        say(screen, "Nobody would be somewhere else.")
    show_table(screen, moved)


@place.command()
def verify(
    file: Annotated[Path, typer.Argument(help="Instance and plan, .npz.", metavar="FILE")],
    as_json: Json = False,
) -> None:
    """Recompute usage, cost and bound of an instance and plan that were written to a file."""
    from aiops.placement.instance import CLOSED, read_instance

    if not file.exists():
        raise FileError(f"there is no file {file}")
    instance, choice, shadow, *stated = read_instance(file)
    at_home, shared = instance.usage(choice)
    paid = instance.cost[np.arange(len(choice)), choice]
    closed = paid == CLOSED
    over = int((at_home > instance.room).sum() + (shared > instance.capacity).sum() + closed.sum())
    cost, bound = int(paid[~closed].sum()), math.ceil(Market(instance, shadow).bound)
    # a bound is whole: that of prices that were written and read may differ by one
    misstated = cost != stated[0] or abs(bound - stated[1]) > 1
    found = {
        "workloads": len(choice),
        "violations": over,
        "misstated": misstated,
        "stated_cost_per_hour": stated[0],
        "stated_bound_per_hour": stated[1],
        "cost_per_hour": cost,
        "bound_per_hour": bound,
        "gap": (cost - bound) / bound if bound > 0 else None,
    }
    if as_json:
        emit_json(found)
    else:
        _verified(console(), found)
    if over or misstated:
        raise typer.Exit(1)


def solved(inventory: Path, state: Path | None) -> Plan:
    """Return the plan for the fleet of `inventory` as `state` has it now."""
    of = read_inventory(inventory)
    known = Conditions.unknown(len(of.nodes)) if state is None else read_conditions(state, of)
    problem = pose(known, (), of, None, time.time_ns())
    if problem is None:
        raise InputError(f"{inventory} has no workloads: there is nothing to place")
    made, _ = solve(problem, None)
    return made


def _verified(screen: Console, found: dict[str, Any]) -> None:
    gap = "" if found["gap"] is None else f", {percent(found['gap'])} above it"
    say(
        screen,
        f"{count(found['workloads'], 'workload')}, {count(found['violations'], 'violation')};"
        f" {_sum(found['cost_per_hour'])} an hour,"
        f" bound {_sum(found['bound_per_hour'])}{gap}.",
    )
    if found["misstated"]:
        cost, bound = found["stated_cost_per_hour"], found["stated_bound_per_hour"]
        say(screen, f"The file states something else: {_sum(cost)} and a bound of {_sum(bound)}.")


def _sum(cost: int) -> str:
    """Render micro-dollars."""
    return f"{cost:,} µ$"


def _pair(name: str, given: str) -> tuple[str, str]:
    of, equals, value = given.partition("=")
    if not (of and equals and value):
        raise InputError(f"--{name} {given}: give NAME=VALUE, such as --{name} lyon=+5")
    return of, value


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"overlay {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"overlay {path} is no TOML: {error}") from error
