"""What a run has left in its directory, and how it is told."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.text import Text

from aiops.alerts.finding import isoformat
from aiops.cli.console import count, day, minute, plain, severity, short, show_table, table
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
            There are no results, or what is there cannot be read.
        """
        if not (directory / "findings.jsonl").exists():
            raise FileError(
                f"{directory}: no results here (asked for findings.jsonl); "
                f"name the directory of an earlier `aiops run ... --out DIR`"
            )
        found = {kind: _lines(directory / f"{kind}.jsonl") for kind in KINDS}
        totals, foretold = directory / TOTALS, directory / FORECASTS
        try:
            rows = pq.ParquetFile(foretold).read().to_pylist() if foretold.exists() else []
        except (pa.ArrowException, OSError) as error:
            raise FileError(
                f"{foretold}: cannot be read ({error}); remove it, the run writes it again"
            ) from error
        return cls(
            directory,
            **found,
            totals=read_json(totals) if totals.exists() else {},
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


def read_json(path: Path) -> Record:
    """Read a file that a run keeps beside its results.

    Raises
    ------
    FileError
        It holds something else.
    """
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise FileError(f"{path}: cannot be read ({error}); start again with --fresh") from error
    if not isinstance(found, dict):
        raise FileError(f"{path}: no file of aiops; name another directory")
    return found


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where to write a file, which then takes the place of the old one at once."""
    aside = path.with_name(path.name + ".new")
    yield aside
    os.replace(aside, path)


def _lines(path: Path) -> list[Record]:
    if not path.exists():
        return []
    records = []
    *lines, _ = path.read_bytes().split(b"\n")  # the last is empty, or being written just now
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise FileError(f"{path}:{number}: not a JSON record ({error})") from error
    return records


def show(out: Console, results: Results, top: int) -> None:
    """Print the results of a run, the most pressing first."""
    _show_totals(out, results.totals)
    _show_wear(out, results, top)
    _show_failing(out, results.firing("flash_failure"), top)
    _show_rates(out, results.firing("reboot_drift"), top)
    _show_silence(out, results.firing("silence"), top)
    _show_incidents(out, results.open_incidents(), top)
    _show_actions(out, results.actions)
    _show_alarms(out, results.totals)
    _show_set_aside(out, results.totals)


def _show_totals(out: Console, totals: Record) -> None:
    if not totals.get("rows"):
        out.print("[bold]No rows[/]")
        return
    parts = f" and {count(totals['parts'], 'part')}" if totals["parts"] else ""
    out.print(
        f"[bold]{count(totals['rows'], 'row')}[/] of {count(totals['devices'], 'device')}{parts}, "
        f"{minute(totals.get('first'))} to {minute(totals.get('last'))}"
    )


def _show_wear(out: Console, results: Results, top: int) -> None:
    findings = results.firing("flash_wear")
    if not findings:
        out.print("\n[bold]Flash wear[/]: nothing is about to wear out.")
        return
    now = results.totals.get("last") or ""
    gone = [f for f in findings if _is_over(results, f)]
    left = [f for f in findings if not _is_over(results, f)]
    left.sort(key=lambda f: (results.date(f, "p50") or "9999", f["device_id"], f["part"]))
    gone.sort(key=lambda f: (-f["observed"], f["device_id"], f["part"]))
    # A date is foretold when the medium is read: one that has gone by had no reading after it.
    passed = [f for f in left if (results.date(f, "p50") or "9999") < now]
    ahead = left[len(passed) :]
    for title, some in (
        ("likely to wear out within the lead time", ahead),
        ("likely worn out by now, and not read since", passed),
    ):
        shown = table(
            f"Flash wear: {count(len(some), 'medium', 'media')} {title}",
            ("device", "found at", "from (p10)", "even odds", "to (p90)", "finding"),
            right=("found at",),
            wrap=("device",),
        )
        for f in some[:top]:
            shown.add_row(
                where(f),
                f"{100 * f['observed']:.0f} %",
                day(results.date(f, "p10")),
                Text(day(results.date(f, "p50")), style="bold"),
                day(results.date(f, "p90")),
                short(f["id"]),
            )
        show_table(out, shown, len(some))
    shown = table(
        f"Flash wear: {count(len(gone), 'medium', 'media')} worn out already",
        ("device", "used", "cohort", "last read", "finding"),
        right=("used",),
        wrap=("device", "cohort"),
    )
    for f in gone[:top]:
        shown.add_row(
            where(f),
            Text(f"{100 * f['observed']:.0f} %" if f["observed"] >= 1 else "≥ 100 %", style="red"),
            f["cohort"] or "-",
            day(results.date(f, "p50")),
            short(f["id"]),
        )
    show_table(out, shown, len(gone))


def _is_over(results: Results, finding: Record) -> bool:
    """Say whether a medium is worn out now: its date is then known and no longer an interval."""
    early, late = results.date(finding, "p5"), results.date(finding, "p95")
    return bool(finding["observed"] >= 1.0 or (early and early == late))


def _show_failing(out: Console, findings: list[Record], top: int) -> None:
    findings.sort(key=lambda f: (-f["score"], f["device_id"], f["part"]))
    shown = table(
        f"Failing flash: {count(len(findings), 'medium', 'media')} that may not last",
        ("device", "noticed", "what it says", "finding"),
        wrap=("device", "what it says"),
    )
    for f in findings[:top]:
        says = f["sentence"].partition(": ")[2].rstrip(".") or f["sentence"]
        shown.add_row(where(f), minute(f["ts"]), says, short(f["id"]))
    show_table(out, shown, len(findings))


def _show_rates(out: Console, findings: list[Record], top: int) -> None:
    findings = [f for f in findings if f["device_id"]]  # what many share is among the incidents
    findings.sort(key=lambda f: (-f["score"], f["device_id"]))
    shown = table(
        f"Reboot drift: {count(len(findings), 'device')} rebooting more often than before",
        ("device", "before", "now", "since", "finding"),
        right=("before", "now"),
        wrap=("device",),
    )
    for f in findings[:top]:
        shown.add_row(
            where(f),
            per_week(f["expected"]),
            per_week(f["observed"]),
            minute(f["since_ts"]),
            short(f["id"]),
        )
    show_table(out, shown, len(findings))


def _show_silence(out: Console, findings: list[Record], top: int) -> None:
    findings.sort(key=lambda f: (f["ts"], f["device_id"], f["site"]))
    silent = sum(len(f.get("devices") or (f["device_id"],)) for f in findings)
    shown = table(
        f"Silence: {count(silent, 'device')} not heard of",
        ("device", "site", "noticed", "finding"),
        wrap=("device", "site"),
    )
    for f in findings[:top]:
        shown.add_row(where(f), f["site"] or "-", minute(f["ts"]), short(f["id"]))
    show_table(out, shown, len(findings))


def _show_incidents(out: Console, incidents: list[Record], top: int) -> None:
    storms = [i for i in incidents if len(i["devices"]) > 1]
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
    show_table(out, shown, len(storms))


def _show_actions(out: Console, actions: list[Record]) -> None:
    if not actions:
        out.print("\n[bold]Actions[/]: none proposed.")
        return
    by = Counter((a["kind"], a["verdict"]) for a in actions)
    shown = table("Actions", ("kind", "allowed", "held", "latest"), right=("allowed", "held"))
    latest = {a["kind"]: a["action_id"] for a in actions}
    for kind in sorted(latest):
        allowed, held = (f"{by[kind, verdict]:,}" for verdict in ("allowed", "held"))
        shown.add_row(kind, allowed, held, short(latest[kind]))
    show_table(out, shown)


def _show_alarms(out: Console, totals: Record) -> None:
    """Print how many alarms were fired, by family of detectors, beside what the budget allows."""
    rates = [
        rate for rate in totals.get("alarms", ()) if rate["per_1000_device_months"] is not None
    ]
    if not rates:
        return
    shown = table(
        f"Alarms fired in {rates[-1]['device_months']:,.1f} device-months, true or false",
        ("detector", "fired", "per 1,000", "budget"),
        right=("fired", "per 1,000", "budget"),
    )
    for rate in rates:
        budget = rate["alarm_budget"]
        shown.add_row(
            rate["detector"],
            f"{rate['fired']:,}",
            f"{rate['per_1000_device_months']:,.1f}",
            "-" if budget is None else f"{budget:,.3g}",
        )
    show_table(out, shown)


def _show_set_aside(out: Console, totals: Record) -> None:
    """Print what was not used, and where it can be seen."""
    named = sorted(totals.get("unknown", {}))
    rest = f" and {len(named) - 8:,} more" if len(named) > 8 else ""
    aside = [f"{reason} {n:,}" for reason, n in sorted(totals.get("set_aside", {}).items())]
    bad = totals.get("bad_lines", 0)
    for what, said in (
        ("Set aside", f"{', '.join(aside)} (set_aside.jsonl)" if aside else ""),
        ("Not read", f"{count(bad, 'line')} without telemetry" if bad else ""),
        ("Not used", f"{', '.join(named[:8])}{rest}"),
    ):
        if said:
            out.print()
            out.print(Text.assemble((what, "bold"), ": ", plain(said)))


def per_week(rate: float) -> str:
    """Render a rate per second as one per week."""
    return f"{rate * 604_800:.2f} /wk"


def where(record: Record) -> str:
    """Return the display name of a record's device, part, or group of devices."""
    names = [name for name in (record["device_id"], record["part"]) if name]
    if names:
        return "/".join(names)
    return f"site {record['site']}" if record["site"] else f"cohort {record['cohort']}"
