"""Telemetry for the command line: a small fleet with one of everything, and files cut anyhow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aiops.connectors.simulator import SCENARIOS, Fault, simulate_to_parquet

HOURLY = ("--epoch", 3600, "--lateness", 7200)

EVENTFUL = replace(
    SCENARIOS["tiny"],
    days=21,
    reboots_per_week=4.0,
    faults=(
        Fault("wear", "gw-0003", 1.0, days=12.0),
        Fault("heat", "site:Osaka", 4.0, days=5.0, size=40.0),
        Fault("outage", "site:Lyon", 12.4, days=0.5),
        Fault("dead", "gw-0008", 17.3),
    ),
)
"""Wears out, falls silent, dies, and is too hot to keep its work: findings of all kinds."""


def make_eventful(folder: Path) -> Path:
    """Write the eventful fleet; return its directory."""
    simulate_to_parquet(EVENTFUL, folder)
    return folder


def cut(table: pa.Table, pieces: int, folder: Path, seed: int) -> list[Path]:
    """Deal the rows to so many Parquet files, shuffled; return these in any order but theirs."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = rng.permutation(len(table))
    bounds = np.sort(rng.choice(np.arange(1, len(rows)), pieces - 1, replace=False))
    paths = []
    for number, part in enumerate(np.split(rows, bounds)):
        paths.append(folder / f"{rng.integers(1 << 30):010}-{number}.parquet")
        pq.write_table(table.take(part), paths[-1])
    return [paths[i] for i in rng.permutation(pieces)]
