"""What is true of a simulated fleet, for scoring what was said of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from aiops.connectors.simulator.life import SECONDS_PER_DAY, Life, wear_factor
from aiops.connectors.simulator.scenario import DAY_MS, Fault, Scenario

TRUTH = pa.schema(
    [
        pa.field("device_id", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("fault", pa.string(), nullable=False),
        pa.field("onset_ts", pa.int64()),
        pa.field("end_ts", pa.int64()),
        pa.field("wear_out_ts", pa.int64()),
        pa.field("rate_before", pa.float64()),
        pa.field("rate_after", pa.float64()),
    ]
)
"""One row for each device and each part with `fault` ``none``: its rate in health (unplanned
reboots per second; true wear per second) and when the part's true wear reaches 1, which may be
after the end. One more row for each fault of a device, at its part for ``wear``, ``writes`` and
``failing``. `end_ts` null: it does not end."""


def build_truth(scenario: Scenario, lives: Iterable[Life]) -> pa.Table:
    """Return the ground truth of `lives` as a table of schema `TRUTH`."""
    return pa.Table.from_pylist([row for life in lives for row in _rows(scenario, life)], TRUTH)


def _rows(scenario: Scenario, life: Life) -> Iterator[dict[str, Any]]:
    def moment(ms: float) -> int | None:
        return scenario.start_ns + int(ms) * 1_000_000 if math.isfinite(ms) else None

    device = {"device_id": life.id, "part": ""}
    flash = {
        "device_id": life.id,
        "part": life.model.part,
        "wear_out_ts": moment(life.wear_out_ms),
        "rate_before": life.wear_rate,
    }
    reboots = {"rate_before": life.reboot_rate}
    yield {**device, **reboots, "fault": "none", "rate_after": life.reboot_rate}
    yield {**flash, "fault": "none", "rate_after": life.wear_rate}
    died = min((f.start_day for f in life.faults if f.kind == "dead"), default=math.inf)
    for fault in life.faults:
        if fault.start_day >= scenario.days or (fault.start_day >= died and fault.kind != "dead"):
            continue  # it never came to that
        row: dict[str, Any] = device
        if fault.kind in ("wear", "writes"):
            row = {**flash, "rate_after": life.wear_rate * _wear_factor(life, fault)}
        elif fault.kind == "failing":
            row = {**flash, "rate_after": life.wear_rate}
        elif fault.kind == "reboots":
            row = {**device, **reboots, "rate_after": life.reboot_rate * fault.size}
        elif fault.kind == "power_cut" and not math.isnan(life.traits.charge):
            continue  # a battery carries it through
        yield {
            **row,
            "fault": fault.kind,
            "onset_ts": moment(fault.start_day * DAY_MS),
            "end_ts": moment(fault.end_day * DAY_MS),
        }


def _wear_factor(life: Life, fault: Fault) -> float:
    return wear_factor(fault, float(life.wear[0]), life.wear_rate * SECONDS_PER_DAY)
