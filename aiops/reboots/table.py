"""How often each device reboots, and whether it did so before: a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from aiops.alerts.rule import as_plain
from aiops.detectors.reboot_drift import RebootDrift
from aiops.engine.engine import Engine
from aiops.kernels.phase import FIRING
from aiops.kernels.rows import I4
from aiops.notebook import played

DAY_S, WEEK_S, YEAR_S = 86_400.0, 604_800.0, 31_557_600.0
NOW = ("rate_per_week_p10", "rate_per_week", "rate_per_week_p90")
BEFORE, AFTER = (tuple(name.replace("rate", f"rate_{when}") for name in NOW)
                 for when in ("before", "after"))  # fmt: skip
COUNTS = ("reboots_counted", "power_told", "software_told")
OTHERS = ("planned_ignored", "shared_ignored")
COHORT = ("cohort_rate_per_week", "cohort_extreme_per_week")
DATE = pa.timestamp("ns", tz="UTC")
STATES = ("drifting", "watch", "steady", "unjudged")
RISING = STATES[:2]
RATES = pa.schema(
    [
        *((name, pa.string()) for name in ("device_id", "part", "medium_id", "site", "cohort")),
        ("ts", DATE),
        ("state", pa.string()),
        *((name, pa.float64()) for name in ("score", "e_value", "once_in_device_years")),
        *((name, pa.float64()) for name in (*NOW, *BEFORE, *AFTER)),
        ("onset", DATE),
        *((name, pa.int64()) for name in (*COUNTS, "not_told", *OTHERS)),
        *((name, pa.float64()) for name in ("exposure_days", *COHORT, "cohort_ratio")),
        ("sentence", pa.string()),
    ]
)
"""What `rates` returns, a row a device.

``ts`` is the last row that told of boots. ``state``: *drifting* (an alert fires), *watch* (it does
not, but nearly), *steady*, or *unjudged* (less than a day of running time was seen). ``score`` is
in multiples of the alert line; ``e_value`` is the evidence behind it, and a device whose rate never
rose comes to as much no more often than once in ``once_in_device_years``. Rates are unplanned
reboots per week of running time, each with p10 and p90: now (``rate_per_week``), and, of those
drifting or on watch, before and after ``onset``; NaN and null for others. ``cohort_ratio`` is the
rate now over that of the others of the cohort. Numbers are those of a finding's evidence.
"""


def rates(
    frame: Any, detector: RebootDrift | None = None, *, layout: Mapping[str, str] | None = None
) -> pa.Table:
    """Say how often each device of a history reboots, and whether it did so before: `RATES`.

    First those that drift, then those on watch, then the others, by the evidence of a rise. Of
    devices that never told anything of their boots there is no row.

    Parameters
    ----------
    frame
        Pandas, polars, Arrow, a DuckDB relation: anything with ``__arrow_c_stream__``.
    detector
        `RebootDrift` with settings of your own.
    layout
        Column names that cannot be guessed, e.g. ``{"device": "serial", "time": "at"}``.

    Raises
    ------
    FrameError
        It is no frame, or no device or time column can be found.
    """
    detector = detector or RebootDrift()
    return ranked(played(frame, [detector], layout=layout)[0], detector)


def ranked(
    engine: Engine, detector: RebootDrift, watch: Callable[[int, int], None] | None = None
) -> pa.Table:
    """Return what an engine that runs `detector` now says of each device, as `rates` does.

    `watch` is told, before each device, how many are done and how many there are.
    """
    device = told_boots(engine, detector)
    states = states_of(engine, detector)
    columns: dict[str, list[Any]] = {name: [] for name in RATES.names}
    for done, index in enumerate(device.tolist()):
        if watch:
            watch(done, len(device))
        row = row_of(engine, detector, index, STATES[states[index]])
        for name in columns:
            columns[name].append(row[name])
    table = pa.table([pa.array(columns[f.name], f.type) for f in RATES], schema=RATES)
    rank = [STATES.index(state) for state in columns["state"]]
    table = table.append_column("rank", pa.array(rank, pa.int8()))
    keys = [("rank", "ascending"), ("score", "descending")]
    keys += [(name, "ascending") for name in RATES.names[:3]]
    return table.sort_by(keys).drop_columns(["rank"])


def row_of(engine: Engine, detector: RebootDrift, index: int, state: str) -> dict[str, Any]:
    """Return the row of `RATES` of one device, dates in ns."""
    memory = engine.fleet.recall(detector)
    registry = engine.fleet.registry
    evidence = detector.evidence(memory, index)
    counts = {name: int(evidence[name]) for name in (*COUNTS, *OTHERS)}
    told = counts["power_told"] + counts["software_told"]
    foretold = as_plain(detector.forecast(memory, np.array([index], dtype=np.int32))) or {}
    quantiles = (foretold[name] for name in ("p10", "p50", "p90"))
    now = {
        name: np.nan if v is None else v * WEEK_S for name, v in zip(NOW, quantiles, strict=True)
    }
    rises = state in RISING
    if not rises:
        evidence["onset_s"] = np.nan
    onset_s = evidence["onset_s"]
    return {
        **evidence,
        **({} if rises else dict.fromkeys((*BEFORE, *AFTER), np.nan)),
        **now,
        **counts,
        **dict(zip(RATES.names, registry.identities[index], strict=False)),
        "site": registry.site_of(index),
        "cohort": registry.cohort_of(index),
        "ts": int(memory.ts[index]),
        "state": state,
        "score": float(memory.level[index]) / detector.settings.line,
        "once_in_device_years": evidence["e_value"] * detector.bin_s / YEAR_S,
        "onset": int(onset_s) * 10**9 if not np.isnan(onset_s) else None,
        "not_told": max(counts["reboots_counted"] - told, 0),
        "cohort_ratio": now["rate_per_week"] / evidence["cohort_rate_per_week"],
        "sentence": detector.sentence(evidence, foretold),
    }


def told_boots(engine: Engine, detector: RebootDrift) -> I4:
    """Return the indices of those that told of their boots and have not left."""
    told = engine.fleet.recall(detector).ts[: len(engine.fleet.registry)] > 0
    told[engine.fleet.media.replaced] = False
    return np.flatnonzero(told).astype(np.int32)


def states_of(engine: Engine, detector: RebootDrift) -> I4:
    """Return the state [n] of each identity, as an index into `STATES`."""
    n = len(engine.fleet.registry)
    memory = engine.fleet.recall(detector)
    rule = next(rule for rule in engine.rules if rule.detector == detector)
    firing = engine.fleet.recall(rule.owner).phase[:n] == FIRING
    near = memory.level[:n] >= rule.clear * detector.settings.line
    kinds = np.select([firing, near, memory.bins[:n] > 0], [0, 1, 2], default=3)
    return kinds.astype(np.int32)


def name_of(row: Mapping[str, Any]) -> str:
    """Return the display name of a device or part."""
    return "/".join(name for name in (row["device_id"], row["part"]) if name)
