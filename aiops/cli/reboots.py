"""`aiops reboots`: which devices reboot more often than they did."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from aiops.alerts.finding import Finding, isoformat
from aiops.cli.console import console, count, day, emit_json, minute, say, show_table, table
from aiops.cli.ranking import Named, ranking, records, show_nothing
from aiops.cli.results import Record, where
from aiops.cli.run import Budget, Format, Roles, Sources, source
from aiops.cli.scan import columns
from aiops.connectors.files import FRAME_ROWS
from aiops.connectors.models import make_rules
from aiops.detectors.reboot_drift import RebootDrift
from aiops.engine.engine import Engine
from aiops.reboots import ranked
from aiops.reboots.table import RISING, STATES

STYLE = {"drifting": "red", "watch": "yellow"}
TOLD = {"power_told": "power", "software_told": "sw"}
SAID = {"drifting": "drifting", "watch": "on watch", "steady": "steady", "unjudged": "not judged"}


def reboots(
    sources: Sources,
    limit: Annotated[
        int, typer.Option("--limit", "--top", help="Devices to show.", min=1, metavar="N")
    ] = 20,
    column: Roles = None,
    stream: Format = "ndjson",
    alarm_budget: Budget = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all devices as JSON, whatever --limit says.")
    ] = False,
) -> None:
    """Rank devices by the evidence that they reboot more often than they did.

    Rates are unplanned reboots per week of running; what many devices had at one moment is nobody's
    own. Evidence is in multiples of the alert line. Nothing is written; `aiops run` keeps findings.
    """
    roles = columns(column)
    (rule,) = make_rules(["reboot_drift"], alarm_budget)
    detector: RebootDrift = rule.detector  # type: ignore[assignment]  # by its name
    engine = Engine([rule], layout=roles)
    told = Named(source(sources, stream, roles, FRAME_ROWS), roles)
    found = ranking(
        engine,
        told,
        lambda watch: ranked(engine, detector, watch),
        nouns=("device", "devices"),
        quiet=as_json,
    )
    devices = records(found.table)
    answer = found.answer(engine, told) | {
        "counts": {state: sum(d["state"] == state for d in devices) for state in STATES},
        "shared": _shared(found.groups),
        "rates": devices,
    }
    if as_json:
        emit_json(answer)
    elif devices:
        _show(console(), answer, limit)
    else:
        show_nothing(console(), answer, "boot told")


def _shared(groups: list[Finding]) -> list[Record]:
    """Return what sites and cohorts shared, each as it was told last."""
    latest = {(finding.group, finding.since_ts): finding for finding in groups}
    return [
        {
            "where": finding.where,
            "since": isoformat(finding.since_ts),
            "status": finding.status,
            "sentence": finding.sentence,
            "devices": list(finding.devices),
        }
        for finding in latest.values()
    ]


def _show(screen: Console, answer: Record, limit: int) -> None:
    rates, counts, shared = answer["rates"], answer["counts"], answer["shared"]
    screen.print(
        f"[bold]{count(len(rates), 'device')} with boots told[/] of "
        f"{count(answer['devices'], 'device')}, "
        f"{minute(answer['first'])} to {minute(answer['last'])}"
    )
    shown = table(
        "Unplanned reboots a week of running, most evidence of a rise first",
        ("device", "rate", "ratio", "since", "evidence", "reboots"),
        right=("ratio",),
        wrap=("device", "reboots"),
    )
    for d in rates[:limit]:
        rises = d["state"] in RISING
        shown.add_row(
            where(d),
            _rate(d),
            f"x{d['rate_after_per_week'] / d['rate_before_per_week']:.2g}" if rises else "",
            day(d["onset"]) if rises else "",
            Text(_evidence(d), style=STYLE.get(d["state"], "")),
            _reasons(d),
        )
    show_table(screen, shown, len(rates))
    if shared:
        screen.print("\n[bold]Shared, and nobody's own[/]")
    for event in shared[:limit]:
        say(screen, f"{minute(event['since'])}  {event['where']}: {event['sentence']}")
    if len(shared) > limit:
        screen.print(f"[dim]... and {len(shared) - limit:,} more: --top {len(shared)}[/]")
    screen.print()
    said = ", ".join(f"{counts[state]:,} {what}" for state, what in SAID.items())
    say(screen, f"{said}; {count(len(shared), 'shared event')}.")


def _rate(d: Record) -> str:
    """Return "0.45 -> 1.4" of what rises, the rate alone of others."""
    if d["state"] in RISING:
        return f"{d['rate_before_per_week']:.2g} -> {d['rate_after_per_week']:.2g}"
    return "-" if d["rate_per_week"] is None else f"{d['rate_per_week']:.2g}"


def _evidence(d: Record) -> str:
    if d["state"] == "unjudged":
        return "-"
    return f"{d['score']:.2f}{' watch' if d['state'] == 'watch' else ''}"


def _reasons(d: Record) -> str:
    """Return "12 own: 3 power 7 sw"; the rest told no cause."""
    told = [f"{d[name]} {what}" for name, what in TOLD.items() if d[name]]
    return f"{d['reboots_counted']} own{': ' * bool(told)}{' '.join(told)}"
