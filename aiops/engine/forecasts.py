"""What detectors foretell of a fleet, as one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from aiops.detectors.protocol import QUANTILES, Detector
from aiops.fleet.state import FleetState

FORECASTS = pa.schema(
    [
        *((name, pa.string()) for name in ("detector", "device_id", "part", "medium_id")),
        *((name, pa.string()) for name in ("site", "cohort", "quantity", "unit")),
        *((f"p{100 * probability:.0f}", pa.float64()) for probability in QUANTILES),
    ]
)
"""What `foretold` returns."""


def foretold(fleet: FleetState, detectors: Iterable[Detector[Any]]) -> pa.Table:
    """Return what is foretold now, a row for each detector and device it says something of.

    The quantiles ``p5`` to ``p95`` are of a date in ns since the epoch; inf: never.
    """
    registry = fleet.registry
    device = np.arange(len(registry), dtype=np.int32)
    stays = np.ones(len(registry), dtype=np.bool_)
    stays[fleet.media.replaced] = False  # no end is ahead of who has left
    tables = [FORECASTS.empty_table()]
    for detector in filter(fleet.remembers, detectors):
        told = detector.forecast(fleet.recall(detector), device)
        if told is None:
            continue
        known = np.flatnonzero(stays & ~np.isnan(told.quantile).all(axis=1)).tolist()
        names = [registry.identities[i] for i in known]
        columns: dict[str, Any] = {
            "detector": [detector.name] * len(known),
            "device_id": [name[0] for name in names],
            "part": [name[1] for name in names],
            "medium_id": [name[2] for name in names],
            "site": [registry.site_of(i) for i in known],
            "cohort": [registry.cohort_of(i) for i in known],
            "quantity": [told.quantity] * len(known),
            "unit": [told.unit] * len(known),
        }
        for k, probability in enumerate(told.probability):
            columns[f"p{100 * probability:.0f}"] = told.quantile[known, k]
        tables.append(pa.table(columns, schema=FORECASTS))
    return pa.concat_tables(tables)
