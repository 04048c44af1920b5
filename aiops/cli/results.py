"""What a run has left in its directory, and how it is told."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.text import Text

from aiops.alerts.finding import isoformat
from aiops.cli.console import count, day, minute, severity, short, table
from aiops.errors import FileError

TOTALS = "totals.json"
FORECASTS = "forecasts.parquet"
KINDS = ("findings", "incidents", "plans", "actions")
Record = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """Records of a run by kind, in the order in which they were written."""

    directory: Path
    findings: list[Record]
    incidents: list[Record]
    plans: list[Record]
    actions: list[Record]
    totals: dict[str, Any]
    """Rows, devices and what was set aside, as the run counted them."""
    forecasts: dict[tuple[str, ...], Record]
    """What is foretold as the run ends, by detector, device, part and medium."""

    @classmethod
    def load(cls, directory: Path) -> Results:
        """Read the records that a run wrote to `directory`.

        Raises
        ------
        FileError
            There are no results, or a line of them is not a record.
        """
        if not (directory / "findings.jsonl").exists():
            raise FileError(
                f"{directory}: no results here (asked for findings.jsonl); "
                f"name the directory of an earlier `aiops run ... --out DIR`"
            )
        found = {kind: _lines(directory / f"{kind}.jsonl") for kind in KINDS}
        totals, foretold = directory / TOTALS, directory / FORECASTS
        rows = pq.read_table(foretold).to_pylist() if foretold.exists() else []
        return cls(
            directory,
            **found,
            totals=json.loads(totals.read_text(encoding="utf-8")) if totals.exists() else {},
            forecasts={
                (row["detector"], row["device_id"], row["part"], row["medium_id"]): row
                for row in rows
            },
        )

    def date(self, finding: Record, quantile: str) -> str | None:
        """Return a quantile of the date foretold, as it stands at the end of the run."""
        key = (finding["detector"], finding["device_id"], finding["part"], finding["medium_id"])
        row = self.forecasts.get(key)
        if row is None:
            found: str | None = (finding["forecast"] or {}).get(quantile)
            return found
        ns = row[quantile]
        return isoformat(int(ns)) if math.isfinite(ns) else None

    def firing(self, rule: str) -> list[Record]:
        """Return the findings of a rule that have not been resolved, the latest of each part."""
        latest = {f["fingerprint"]: f for f in self.findings if f["rule"] == rule}
        return [f for f in latest.values() if f["status"] == "firing"]

    def open_incidents(self) -> list[Record]:
        """Return the incidents that are still open, as last told."""
        latest = {i["incident_id"]: i for i in self.incidents}
        return [i for i in latest.values() if i["status"] == "firing"]

    def to_json(self) -> Record:
        """Return what `--json` prints."""
        return {
            "directory": str(self.directory),
            "totals": self.totals,
            "firing": {
                rule: self.firing(rule) for rule in sorted({f["rule"] for f in self.findings})
            },
            "incidents": self.open_incidents(),
            "actions": self.actions,
        }


def _lines(path: Path) -> list[Record]:
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise FileError(f"{path}:{number}: not a JSON record ({error.msg})") from error
    return records


def show(out: Console, results: Results, top: int) -> None:
    """Print the results of a run, the most pressing first."""
    _show_totals(out, results.totals)
    _show_wear(out, results, top)
    _show_rates(out, results.firing("reboot_drift"), top)
    _show_silence(out, results.firing("silence"), top)
    _show_incidents(out, results.open_incidents(), top)
    _show_actions(out, results.actions, top)
    _show_set_aside(out, results.totals)


def _show_totals(out: Console, totals: Record) -> None:
    if totals:
        out.print(
            f"[bold]{count(totals['rows'], 'row')}[/] of "
            f"{count(totals['devices'], 'device')} and {count(totals['parts'], 'part')}, "
            f"{minute(totals['first'])} to {minute(totals['last'])}"
        )


def _show_wear(out: Console, results: Results, top: int) -> None:
    out.print()
    findings = results.firing("flash_wear")
    gone = [f for f in findings if _is_over(results, f)]
    going = [f for f in findings if not _is_over(results, f)]
    if not findings:
        out.print("[bold]Flash wear[/]: nothing is about to wear out.")
        return
    going.sort(key=lambda f: (results.date(f, "p50") or "9999", f["device_id"], f["part"]))
    gone.sort(key=lambda f: (-f["observed"], f["device_id"], f["part"]))
    if going:
        shown = table(
            f"Flash wear: {count(len(going), 'medium', 'media')} likely to wear out within the "
            "lead time",
            ("device", "used", "earliest (p10)", "even odds", "latest (p90)", "finding"),
            right=("used",),
        )
        for f in going[:top]:
            shown.add_row(
                _where(f),
                f"{100 * f['observed']:.0f} %",
                day(results.date(f, "p10")),
                Text(day(results.date(f, "p50")), style="bold"),
                day(results.date(f, "p90")),
                short(f["id"]),
            )
        out.print(shown)
        _more(out, len(going), top)
    if gone:
        if going:
            out.print()
        shown = table(
            f"Flash wear: {count(len(gone), 'medium', 'media')} worn out already",
            ("device", "used", "cohort", "since", "finding"),
            right=("used",),
        )
        for f in gone[:top]:
            shown.add_row(
                _where(f),
                Text(f"{max(100.0, 100 * f['observed']):.0f} %", style="red"),
                f["cohort"] or "-",
                day(results.date(f, "p50")),
                short(f["id"]),
            )
        out.print(shown)
        _more(out, len(gone), top)


def _is_over(results: Results, finding: Record) -> bool:
    """Say whether a medium is worn out now: its date is then known and no longer an interval."""
    early, late = results.date(finding, "p5"), results.date(finding, "p95")
    return bool(finding["observed"] >= 1.0 or (early and early == late))


def _show_rates(out: Console, findings: list[Record], top: int) -> None:
    if not findings:
        return
    findings.sort(key=lambda f: (-f["score"], f["device_id"]))
    out.print()
    shown = table(
        f"Reboot drift: {count(len(findings), 'device')} rebooting more often than before",
        ("device", "before", "now", "since", "finding"),
        right=("before", "now"),
    )
    for f in findings[:top]:
        shown.add_row(
            _where(f),
            per_week(f["expected"]),
            per_week(f["observed"]),
            minute(f["since_ts"]),
            short(f["id"]),
        )
    out.print(shown)
    _more(out, len(findings), top)


def _show_silence(out: Console, findings: list[Record], top: int) -> None:
    if not findings:
        return
    findings.sort(key=lambda f: (f["ts"], f["device_id"]))
    out.print()
    shown = table(
        f"Silence: {count(len(findings), 'device')} not heard of",
        ("device", "site", "noticed", "finding"),
    )
    for f in findings[:top]:
        shown.add_row(_where(f), f["site"] or "-", minute(f["ts"]), short(f["id"]))
    out.print(shown)
    _more(out, len(findings), top)


def _show_incidents(out: Console, incidents: list[Record], top: int) -> None:
    storms = [i for i in incidents if len(i["devices"]) > 1]
    if not storms:
        return
    out.print()
    shown = table(
        "Incidents of several devices", ("severity", "opened", "what", "incident"), wrap=("what",)
    )
    for i in storms[:top]:
        shown.add_row(
            severity(i["severity"]),
            minute(i["opened_ts"]),
            i["title"],
            short(i["incident_id"]),
        )
    out.print(shown)
    _more(out, len(storms), top)


def _show_actions(out: Console, actions: list[Record], top: int) -> None:
    out.print()
    if not actions:
        out.print("[bold]Actions[/]: none proposed.")
        return
    by = Counter((a["kind"], a["verdict"]) for a in actions)
    shown = table("Actions", ("kind", "allowed", "held"), right=("allowed", "held"))
    for kind in sorted({kind for kind, _ in by}):
        shown.add_row(kind, f"{by[kind, 'allowed']:,}", f"{by[kind, 'held']:,}")
    out.print(shown)


def _show_set_aside(out: Console, totals: Record) -> None:
    aside = totals.get("set_aside", {})
    unknown = totals.get("unknown", {})
    if aside:
        out.print()
        said = ", ".join(f"{reason} {n:,}" for reason, n in sorted(aside.items()))
        out.print(f"[bold]Set aside[/]: {said}  [dim](set_aside.jsonl)[/]")
    if unknown:
        names = sorted(unknown)
        rest = f" and {len(names) - 8} more" if len(names) > 8 else ""
        out.print(f"[bold]Not used[/]: {', '.join(names[:8])}{rest}")


def per_week(rate: float) -> str:
    """Render a rate per second as one per week."""
    return f"{rate * 604_800:.2f} /wk"


def _more(out: Console, n: int, top: int) -> None:
    if n > top:
        out.print(f"[dim]... and {n - top:,} more: --top {n}[/]")


def _where(record: Record) -> str:
    return "/".join(name for name in (record["device_id"], record["part"]) if name)
