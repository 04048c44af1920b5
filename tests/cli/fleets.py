"""Telemetry for the command line: a small fleet with one of everything, and files cut anyhow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aiops.connectors.simulator import SCENARIOS, Fault

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
"""Wears out, falls silent, dies, and is too hot to keep its work: results of all kinds."""


def deal(n: int, pieces: int, seed: int) -> list[Any]:
    """Deal the indices 0 to n, shuffled, to so many pieces, none of them empty."""
    rng = np.random.default_rng(seed)
    bounds = np.sort(rng.choice(np.arange(1, n), pieces - 1, replace=False))
    return np.split(rng.permutation(n), bounds)


def cut(table: pa.Table, pieces: int, folder: Path, seed: int) -> list[Path]:
    """Write the rows to so many Parquet files, shuffled; neither names nor order tell of time."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number * 7919 % pieces:04}.parquet" for number in range(pieces)]
    for path, rows in zip(paths, deal(len(table), pieces, seed), strict=True):
        pq.write_table(table.take(rows), path)
    return paths


def cut_lines(lines: Sequence[bytes], header: bytes, pieces: int, folder: Path, seed: int) -> None:
    """Write the lines to so many CSV files, shuffled."""
    folder.mkdir(parents=True)
    for number, rows in enumerate(deal(len(lines), pieces, seed)):
        (folder / f"{number:04}.csv").write_bytes(b"".join([header, *(lines[i] for i in rows)]))
