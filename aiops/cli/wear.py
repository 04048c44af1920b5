"""`aiops wear`: which flash wears out first, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from aiops.alerts.finding import isoformat
from aiops.cli.console import (
    console,
    count,
    day,
    emit_json,
    minute,
    percent,
    say,
    show_table,
    table,
)
from aiops.cli.ranking import Named, ranking, records, show_nothing
from aiops.cli.results import Record, where
from aiops.cli.run import Format, Roles, Sources, source
from aiops.cli.scan import columns
from aiops.connectors.files import FRAME_ROWS
from aiops.connectors.models import make_rules
from aiops.detectors.flash_wear import FlashWear
from aiops.engine.engine import Engine
from aiops.wear import ranked

DAY_NS = 86_400_000_000_000
YEAR_DAYS = 365.25


def wear(
    sources: Sources,
    limit: Annotated[
        int, typer.Option("--limit", "--top", help="Media to show.", min=1, metavar="N")
    ] = 20,
    column: Roles = None,
    stream: Format = "ndjson",
    wear_prior: Annotated[
        Path | None,
        typer.Option(help="Prior that `aiops train wear` wrote.", metavar="DIR"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all media as JSON, whatever --limit says.")
    ] = False,
) -> None:
    """Rank flash media by when they are worn out, worst first.

    A forecast is an interval: the medium is worn out by p10 with 10 %, by p90 with 90 %, and as
    likely before as after the date between them. Nothing is written; `aiops run` keeps findings.
    """
    roles = columns(column)
    (rule,) = make_rules(["flash_wear"], 1.0, wear_prior)
    detector: FlashWear = rule.detector  # type: ignore[assignment]  # by its name
    engine = Engine([rule], layout=roles)
    told = Named(source(sources, stream, roles, FRAME_ROWS), roles)
    found = ranking(
        engine,
        told,
        lambda watch: ranked(engine, detector, watch),
        nouns=("medium", "media"),
        quiet=as_json,
    )
    media = records(found.table)
    answer = found.answer(engine, told) | {
        "counts": _counts(media, found.last or 0, detector.lead_s),
        "media": media,
    }
    if as_json:
        emit_json(answer)
    elif media:
        _show(console(), answer, detector.lead_s, limit)
    else:
        show_nothing(console(), answer, "flash wear reading")


def _counts(media: list[Record], now: int, lead_s: float) -> dict[str, int]:
    """Count the media by when it is as likely as not that they are worn out."""
    lead, year = (
        isoformat(now + int(days * DAY_NS)) or "" for days in (lead_s / 86_400.0, YEAR_DAYS)
    )
    judged = [m for m in media if not m["quarantined"]]
    ahead = [m["p50"] for m in judged if m["wear_used_ratio"] < 1.0]
    soon = sum(date is not None and date <= lead for date in ahead)
    within_a_year = sum(date is not None and date <= max(lead, year) for date in ahead)
    endless = sum(date is None for date in ahead)
    return {
        "worn_out": len(judged) - len(ahead),
        "within_lead": soon,
        "within_a_year": within_a_year - soon,
        "later": len(ahead) - within_a_year - endless,
        "no_end_in_sight": endless,
        "quarantined": len(media) - len(judged),
    }


def _show(screen: Console, answer: Record, lead_s: float, limit: int) -> None:
    media, counts = answer["media"], answer["counts"]
    screen.print(
        f"[bold]{count(len(media), 'flash medium', 'flash media')}[/] of "
        f"{count(len({m['device_id'] for m in media}), 'device')}, "
        f"{minute(answer['first'])} to {minute(answer['last'])}"
    )
    judged = [m for m in media if not m["quarantined"]]
    shown = table(
        "Flash wear, worst first",
        ("device", "used", "a year", "from (p10)", "even odds", "to (p90)", "trust"),
        right=("used", "a year", "trust"),
        wrap=("device",),
    )
    for m in judged[:limit]:
        over = m["wear_used_ratio"] >= 1.0
        shown.add_row(
            where(m),
            Text(percent(m["wear_used_ratio"]), style="red" if over else ""),
            percent(m["wear_per_year_ratio"]),
            Text("worn out", style="red") if over else day(m["p10"]),
            "" if over else Text(day(m["p50"]), style="bold"),
            "" if over else day(m["p90"]),
            percent(m["source_trust_ratio"]),
        )
    show_table(screen, shown, len(judged))
    apart = [m for m in media if m["quarantined"]]
    shown = table(
        f"Not judged: {count(len(apart), 'medium', 'media')} in quarantine",
        ("device", "highest", "why"),
        right=("highest",),
        wrap=("device", "why"),
    )
    for m in apart[:limit]:
        shown.add_row(where(m), percent(m["wear_used_ratio"]), m["sentence"])
    show_table(screen, shown, len(apart))
    said = {
        "worn_out": "worn out",
        "within_lead": f"likely to end within {lead_s / 86_400.0:.0f} days",
        "within_a_year": "within a year",
        "later": "later",
        "no_end_in_sight": "with no end in sight",
        "quarantined": "in quarantine",
    }
    screen.print()
    say(screen, ", ".join(f"{counts[name]:,} {what}" for name, what in said.items()) + ".")
