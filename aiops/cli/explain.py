"""`aiops explain`: why something was found, decided or held, in words."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from aiops.cli.console import console, emit_json, minute, table
from aiops.cli.results import KINDS, Record, Results
from aiops.errors import FileError


def explain(
    id: Annotated[str, typer.Argument(help="Id of a finding, incident, plan or action.")],
    out: Annotated[
        Path, typer.Option(help="Directory that `aiops run` or `aiops demo` wrote to.")
    ] = Path("aiops-out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the record itself.")] = False,
) -> None:
    """Say why: the evidence of a finding, the reason of an action, the terms of a plan.

    The beginning of an id is enough.
    """
    kind, record = find(Results.load(out), id)
    if as_json:
        emit_json(record)
        return
    screen = console()
    screen.print(f"[bold]{kind.rstrip('s')} {record['id']}[/]")
    SHOW[kind](screen, record)


def find(results: Results, id: str) -> tuple[str, Record]:
    """Return the one record whose id begins with `id`, and its kind.

    Raises
    ------
    FileError
        No record or several begin so.
    """
    found = [
        (kind, record)
        for kind in KINDS
        for record in getattr(results, kind)
        if any(record.get(key, "").startswith(id) for key in ("id", "incident_id", "action_id"))
    ]
    named = {record.get("incident_id", record["id"]) for _, record in found}
    if not found:
        total = sum(len(getattr(results, kind)) for kind in KINDS)
        raise FileError(
            f"nothing in {results.directory} has an id beginning with {id!r} "
            f"(looked through {total} records); ids are in the tables of `aiops run` and in "
            f"the .jsonl files there"
        )
    if len(named) > 1:
        some = ", ".join(sorted(named)[:4])
        raise FileError(f"{id!r} begins {len(named)} ids ({some}, ...); give more of it")
    return found[-1]


def _finding(screen: Console, record: Record) -> None:
    _say(screen, record["sentence"])
    _facts(
        screen,
        {
            "device": "/".join(x for x in (record["device_id"], record["part"]) if x),
            "medium": record["medium_id"],
            "site": record["site"],
            "cohort": record["cohort"],
            "status": f"{record['status']} ({record['severity']})",
            "since": minute(record["since_ts"]),
            "found": minute(record["ts"]),
            "score": f"{record['score']:.3g} times the alert line",
            "observed": f"{record['observed']:.4g}",
            "expected": f"{record['expected']:.4g}",
        },
    )
    if record["forecast"]:
        told = {k: v for k, v in record["forecast"].items() if k.startswith("p")}
        rows = {
            k: minute(v) if isinstance(v, str) else f"{v:.4g} {record['forecast']['unit']}"
            for k, v in told.items()
            if v is not None
        }
        _facts(screen, rows, record["forecast"]["quantity"])
    _facts(screen, {k: f"{v:.4g}" for k, v in record["evidence"].items()}, "evidence")


def _incident(screen: Console, record: Record) -> None:
    _say(screen, record["title"])
    devices = record["devices"]
    _facts(
        screen,
        {
            "incident": record["incident_id"],
            "status": f"{record['status']} ({record['severity']})",
            "opened": minute(record["opened_ts"]),
            "changed": minute(record["ts"]),
            "site": record["site"],
            "devices": f"{len(devices)}: {', '.join(devices[:8])}{' ...' * (len(devices) > 8)}",
            "findings": ", ".join(record["findings"][:8]),
        },
    )


def _action(screen: Console, record: Record) -> None:
    _say(screen, record["reason"])
    facts: dict[str, Any] = {
        "kind": record["kind"],
        "verdict": record["verdict"],
        "why so": record["verdict_reason"],
        "target": ", ".join(record["target"]),
        "asked by": record["origin"],
        "site": record["site"],
        "issued": minute(record["issued_ts"]),
        "expires": minute(record["expires_ts"]),
        "evidence": ", ".join(record["evidence"]),
    }
    _facts(screen, facts | {k: str(v) for k, v in record["params"].items()})


def _plan(screen: Console, record: Record) -> None:
    _facts(
        screen,
        {
            "made": minute(record["ts"]),
            "cost": f"{record['cost_per_hour'] / 1e6:.6f} $/h",
            "no plan costs less than": f"{record['bound_per_hour'] / 1e6:.6f} $/h",
            "gap": "-" if record["gap"] is None else f"{100 * record['gap']:.3g} %",
        },
    )
    for move in record["moves"]:
        screen.print()
        source, target = (move[end] or "nowhere" for end in ("source", "target"))
        _say(screen, f"{move['workload']}: {source} -> {target}")
        _say(screen, move["reason"], "    ")


SHOW = {"findings": _finding, "incidents": _incident, "actions": _action, "plans": _plan}


def _say(screen: Console, text: str, indent: str = "") -> None:
    width = min(screen.width, 80)
    screen.print(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent))


def _facts(screen: Console, facts: dict[str, Any], title: str = "") -> None:
    shown = table(title, ("name", "value"), wrap=("value",))
    shown.show_header = False
    for name, value in facts.items():
        if value not in ("", None):
            shown.add_row(f"[dim]{name}[/]", str(value))
    screen.print()
    screen.print(shown)
