"""Telemetry of flash as it really comes: each known trap, from the frame to the detectors.

`tests/cases/acceptance/*.toml` hold rows in somebody's dialect, in the order of the log, and what
becomes of them behind the whole way: `Engine.step` shows detectors these values, sets those aside,
and says this of the medium. `day` and `received` count from a day in March; `every` and `times`
repeat a row.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aiops.alerts.finding import Finding
from aiops.detectors.flash_wear import FlashWear
from aiops.engine.engine import Engine, Step
from tests.telemetry.frames import MARCH

DAY_NS = 86_400 * 10**9
FOLDER = Path(__file__).parents[1] / "cases" / "acceptance"
CASES = [
    case
    for path in sorted(FOLDER.glob("*.toml"))
    for case in tomllib.loads(path.read_text("utf-8"))["case"]
]
ITEMS = {
    "wrap at 2^32 sectors",
    "reset at reboot",
    "x512 versus 4096",
    "8-bit wrap of percent used",
    "downward firmware recalculation",
    "saturation at 0x0B and 255",
    "0 = undefined",
    "inverse scale of 202/231/169",
    "unit by name for 241",
    "source pinning",
    "drive swap",
    "POH going backwards",
    "stale EXT_CSD",
    "clock jumps",
    "duplicate and late samples",
}
"""What whoever reads flash telemetry has to get right."""


def table_of(case: dict[str, Any]) -> pa.Table:
    """Return the rows of a case, and the end of their history."""
    rows: list[dict[str, Any]] = []
    for given in case["rows"]:
        row = {"device_id": "gw-1"} | given
        day, times, every = row.pop("day", None), row.pop("times", 1), row.pop("every", 0)
        if "received" in row:
            row["recv_ts"] = MARCH + int(row.pop("received") * DAY_NS)
        if day is None:
            rows.append(row | {"ts": row["ts"] * 10**9})
        else:
            rows += [row | {"ts": MARCH + int((day + k * every) * DAY_NS)} for k in range(times)]
    names = {name: None for row in [*rows, {"ts": None}] for name in row}
    return pa.Table.from_pylist([{**names, **row} for row in [*rows, names]])


def shown(step: Step, metric: str) -> list[float]:
    """Return the values of a metric that detectors were shown, each once, by time."""
    found = {
        (int(ts), int(device)): float(value)
        for scored in step.scored
        for ts, device, value in zip(
            scored.batch.ts, scored.batch.device, scored.batch.column(metric), strict=True
        )
        if value == value
    }
    return [found[key] for key in sorted(found)]


def told(finding: Finding) -> str:
    why = "" if finding.reason in {"", "recovered"} else f": {finding.reason}"
    return finding.status + why


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c['item']}: {c['trap']}") for c in CASES])
def test_case(case: dict[str, Any]) -> None:
    engine = Engine()
    step = engine.step(table_of(case))
    for metric, values in case.get("sees", {}).items():
        assert shown(step, metric) == pytest.approx(values, rel=1e-12), metric
    assert sorted(step.set_aside["reason"].to_pylist()) == sorted(case.get("aside", []))
    findings = [f for f in step.findings if f.detector == "flash_wear"]
    if "findings" in case:
        assert list(map(told, findings)) == case["findings"]
    if "evidence" in case:
        detector = FlashWear()
        evidence = detector.evidence(engine.fleet.recall(detector), newest(engine))
        assert {k: evidence[k] for k in case["evidence"]} == pytest.approx(case["evidence"])
        assert case.get("says", "") in detector.sentence(evidence, None)


def newest(engine: Engine) -> int:
    """Return the medium, of the first device, that came last."""
    identities = engine.fleet.registry.identities
    return max(i for i, name in enumerate(identities) if name[0] == identities[0][0])


def test_every_item_has_its_cases() -> None:
    assert {case["item"] for case in CASES} == ITEMS
