"""`aiops explain`: why something was found, decided or held, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from aiops.alerts.finding import isoformat
from aiops.cli.console import (
    console,
    count,
    day,
    emit_json,
    minute,
    percent,
    plain,
    say,
    show_table,
    size,
    table,
)
from aiops.cli.results import KINDS, Record, Results, per_week, where
from aiops.errors import FileError

YEAR_DAYS = 365.25
NAMES = ("incident_id", "action_id", "id")
"""What a record goes by: an incident and an action keep their own id while their records change."""


def explain(
    id: Annotated[
        str, typer.Argument(help="Id of a finding, incident, plan or action.", metavar="ID")
    ],
    out: Annotated[
        Path,
        typer.Option(help="Directory that `aiops run` or `aiops demo` wrote to.", metavar="DIR"),
    ] = Path("aiops-out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the record itself.")] = False,
) -> None:
    """Say why: the evidence of a finding, the reason of an action, the moves of a plan.

    The beginning of an id is enough.
    """
    if (out / "control.db").exists():
        raise FileError(of_a_service(out, id))
    kind, record = find(Results.load(out), id)
    if as_json:
        emit_json(record)
        return
    screen = console()
    screen.print(plain(f"{kind.removesuffix('s')} {_name(record)}", "bold"))
    SHOW[kind](screen, record)


ROUTES = {
    "fnd": "findings",
    "inc": "incidents",
    "inr": "incidents",
    "act": "actions",
    "pln": "plans",
}
"""How an id begins -> where a service has what it is of."""


def of_a_service(data: Path, id: str) -> str:
    """Return what to say of an id in the data directory of a service: whom to ask."""
    kind = ROUTES.get(id.partition("-")[0])
    path = f"{kind}/{id}" if kind else f"findings?device_id={quote(id)}&current=true"
    return (
        f"{data} is the data directory of a service: ask that, with a whole id, where it listens: "
        f"curl -H \"Authorization: Bearer $AIOPS_TOKEN\" 'http://127.0.0.1:8470/v1/{path}'"
    )


def find(results: Results, id: str) -> tuple[str, Record]:
    """Return the one record whose id begins with `id`, the latest of it, and its kind.

    Raises
    ------
    FileError
        No record or several begin so.
    """
    found = [
        (kind, record)
        for kind in KINDS
        for record in getattr(results, kind)
        if any(record.get(name, "").startswith(id) for name in NAMES)
    ]
    named = dict.fromkeys(_name(record) for _, record in found)
    if len(named) == 1:
        return found[-1]
    if named:
        some = ", ".join(list(named)[:4])
        raise FileError(
            f"{len(named)} ids begin with {id!r} ({some}{', ...' * (len(named) > 4)}); "
            f"give more of the one you mean"
        )
    own = [f["id"] for f in results.findings if id and id in (f["device_id"], where(f))]
    if own:
        raise FileError(
            f"{id!r} is a device, not an id; {count(len(own), 'finding')} of it: "
            f"{', '.join(own[-4:])}"
        )
    total = sum(len(getattr(results, kind)) for kind in KINDS)
    raise FileError(
        f"no id in {results.directory} begins with {id!r} (looked through {total:,} records); "
        f"ids are in the tables of `aiops run`, and in the .jsonl files there"
    )


def _name(record: Record) -> str:
    return str(next(record[name] for name in NAMES if name in record))


def _finding(screen: Console, record: Record) -> None:
    say(screen, record["sentence"])
    if (in_words := WORDS.get(record["detector"])) is not None:
        say(screen, " ".join(in_words(record["evidence"], record["forecast"])))
    is_rate = (record["forecast"] or {}).get("unit") == "1/s"

    def rate(value: float | None) -> str:
        return per_week(value) if is_rate and value is not None else _number(value)

    _facts(
        screen,
        {
            "device" if record["device_id"] else "group": where(record),
            "devices": ", ".join(record.get("devices", ())),
            "medium": record["medium_id"],
            "site": record["site"],
            "cohort": record["cohort"],
            "status": f"{record['status']} ({record['severity']})",
            "since": minute(record["since_ts"]),
            "found": minute(record["ts"]),
            "score": f"{_number(record['score'])} times the alert line",
            "observed": rate(record["observed"]),
            "expected": rate(record["expected"]),
        },
    )
    if record["forecast"]:
        told = {k: v for k, v in record["forecast"].items() if k[0] == "p"}
        rows = {
            f"{name[1:]} % by" if isinstance(value, str) else f"{name[1:]} % below": (
                minute(value) if isinstance(value, str) else rate(value)
            )
            for name, value in sorted(told.items(), key=lambda item: int(item[0][1:]))
        }
        _facts(screen, rows, f"forecast when found: {record['forecast']['quantity']}")
    evidence = {name.replace("_", " "): _number(v) for name, v in record["evidence"].items()}
    if (onset_s := Known(record["evidence"])("onset_s")) is not None:
        evidence["onset s"] = f"{onset_s:.0f} ({day(isoformat(int(onset_s) * 10**9))})"
    _facts(screen, evidence, "evidence")


@dataclass(frozen=True)
class Known:
    """The numbers of a finding's evidence that are known."""

    evidence: Record

    def __call__(self, name: str) -> float | None:
        """Return a number, or None."""
        value = self.evidence.get(name)
        return value if value is not None and math.isfinite(value) else None

    def rate(self, name: str) -> str:
        """Return "0.47 (0.35 to 0.61)" of a rate and its p10 and p90; empty: not known."""
        low, middle, high = (self(f"{name}{end}") for end in ("_p10", "", "_p90"))
        if middle is None:
            return ""
        between = f" ({low:.2g} to {high:.2g})" if low is not None and high is not None else ""
        return f"{middle:.2g}{between}"


def wear_in_words(evidence: Record, forecast: Record | None) -> list[str]:
    """Return sentences on the wear of a medium; nothing is said of what is not known."""
    known = Known(evidence)
    said = []
    early, middle, late = (day((forecast or {}).get(name)) for name in ("p10", "p50", "p90"))
    used, step = known("wear_used_ratio"), known("step_ratio")
    judged = not known("quarantined")
    if judged and early != "-" and (used or 0.0) < 1.0:
        by = [f"{n} by {date}" for n, date in (("50 %", middle), ("90 %", late)) if date != "-"]
        said.append(", ".join((f"The chance that it is worn out is 10 % by {early}", *by)) + ".")
    if used is not None:
        steps = f", read in steps of {percent(step)}" if step else ""
        said.append(f"Wear now is {percent(used)}{steps}.")
    if judged and (per_tb := known("wear_per_tb_ratio")):
        said.append(f"Each TB written wears {percent(per_tb)}.")
    if judged and (rate := known("write_rate_bytes_per_day")):
        change = known("write_rate_change_ratio")
        than = ""
        if change is not None:
            same = 0.95 <= change <= 1.05
            than = ", as in the long run" if same else f", {change:.2g} times its long-run rate"
        said.append(f"Lately {size(rate)} a day are written{than}.")
    if judged and (gain := known("halved_writes_gain_days")) and gain >= 1.0:
        said.append(f"Halving the writes would give {gain:,.0f} days more.")
    if (trust := known("source_trust_ratio")) is not None:
        said.append(f"The source of the reading is trusted to {percent(trust)}.")
    return said


def reboots_in_words(evidence: Record, forecast: Record | None) -> list[str]:
    """Return sentences on how often a device reboots; nothing is said of what is not known."""
    known = Known(evidence)
    said = []
    before, after = known.rate("rate_before_per_week"), known.rate("rate_after_per_week")
    onset_s = known("onset_s")
    if before and after and onset_s is not None:
        since = day(isoformat(int(onset_s) * 10**9))
        said.append(
            f"Reboots a week of running, in brackets with 80 %: before {before}, "
            f"since about {since} {after}."
        )
    exposure, ratio = known("exposure_days"), known("evidence_ratio")
    if exposure and ratio:
        years = exposure * ratio / YEAR_DAYS  # the ratio is evidence by bin of exposure
        said.append(
            f"A device whose rate never rose shows as much evidence no more often than once in "
            f"{_device_years(years)}."
        )
    if counted := known("reboots_counted"):
        power, software = known("power_told") or 0.0, known("software_told") or 0.0
        untold = max(counted - power - software, 0.0)
        mix = [f"{n:.0f} {what}" for n, what in ((power, "for lack of power"),
               (software, "by software"), (untold, "without a cause told")) if n]  # fmt: skip
        said.append(f"Of its unplanned reboots were {_joined(mix)}.")
    apart = [(known("planned_ignored"), "planned"), (known("shared_ignored"), "shared with many")]
    if some := [f"{n:.0f} {what}" for n, what in apart if n]:
        said.append(f"Not counted: {_joined(some)}.")
    cohort, rate = known("cohort_rate_per_week"), known("rate_after_per_week")
    if cohort and rate and onset_s is not None:
        extreme = known("cohort_extreme_per_week")
        beyond = f", hardly one in 10,000 more than {extreme:.2g}" if extreme else ""
        said.append(
            f"Others of its cohort reboot {cohort:.2g} times a week{beyond}; "
            f"it now does x{rate / cohort:.2g} as often."
        )
    return said


WORDS = {"flash_wear": wear_in_words, "reboot_drift": reboots_in_words}
"""Detector -> what it says of a finding's evidence, in words."""


def _incident(screen: Console, record: Record) -> None:
    say(screen, record["title"])
    devices = record["devices"]
    _facts(
        screen,
        {
            "status": f"{record['status']} ({record['severity']})",
            "opened": minute(record["opened_ts"]),
            "changed": minute(record["ts"]),
            "site": record["site"],
            "devices": f"{len(devices)}: {', '.join(devices)}" if devices else "none any more",
            "findings": ", ".join(record["findings"]),
        },
    )


def _action(screen: Console, record: Record) -> None:
    say(screen, record["reason"])
    _facts(
        screen,
        {
            "kind": record["kind"],
            "verdict": f"{record['verdict']}: {record['verdict_reason']}",
            "target": ", ".join(record["target"]),
            "devices": ", ".join(record["devices"]),
            "asked by": record["origin"],
            "site": record["site"],
            "cohort": record["cohort"],
            "issued": minute(record["issued_ts"]),
            "expires": minute(record["expires_ts"]),
            "evidence": ", ".join(record["evidence"]),
        },
    )
    _facts(screen, record["params"], "particulars")


def _plan(screen: Console, record: Record) -> None:
    gap = "-" if record["gap"] is None else f"{100 * record['gap']:.3g} %"
    _facts(
        screen,
        {
            "made": minute(record["ts"]),
            "cost": _dollars(record["cost_per_hour"]),
            "no plan costs less than": _dollars(record["bound_per_hour"]),
            "so from the best at most": gap,
        },
    )
    for move in record["moves"]:
        screen.print()
        source, target = (move[end] or "nowhere" for end in ("source", "target"))
        say(screen, f"{move['workload']}: {source} -> {target}")
        say(screen, move["reason"], "    ")


SHOW = {"findings": _finding, "incidents": _incident, "actions": _action, "plans": _plan}


def _number(value: float | None) -> str:
    if value is None:
        return "not known"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _device_years(years: float) -> str:
    """Return "630 device-years", by two figures at most."""
    if years >= 1e6:
        return "a million device-years"
    return f"{float(f'{years:.2g}'):,.{0 if years >= 10.0 else 1}f} device-years"


def _joined(words: list[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]


def _dollars(micro: int) -> str:
    return f"{micro / 1e6:.6f} $ an hour"


def _facts(screen: Console, facts: Mapping[str, Any], title: str = "") -> None:
    shown = table(title, ("name", "value"), wrap=("value",))
    shown.show_header = False
    for name, value in facts.items():
        if value not in ("", None):
            shown.add_row(plain(name, "dim"), str(value))
    show_table(screen, shown)
