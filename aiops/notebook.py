"""One call from a data frame to scores or findings, through the same engine that runs live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from aiops.alerts.rule import AlertRule
from aiops.detectors import DETECTORS
from aiops.detectors.protocol import Detector
from aiops.engine.engine import Engine, Step
from aiops.errors import SettingsError
from aiops.telemetry.frame import read_frame
from aiops.telemetry.layout import Layout
from aiops.telemetry.vocabulary import closest

SCORES = pa.schema(
    [
        ("detector", pa.string()),
        ("device_id", pa.string()),
        ("part", pa.string()),
        ("medium_id", pa.string()),
        ("ts", pa.timestamp("ns", tz="UTC")),
        ("score", pa.float64()),
        ("observed", pa.float64()),
        ("expected", pa.float64()),
    ]
)
"""What `detect` returns, a row for each row a detector was shown."""


def detect(
    frame: Any,
    detectors: Iterable[Detector[Any] | str] | None = None,
    *,
    layout: Mapping[str, str] | None = None,
) -> pa.Table:
    """Score a history and return a table of `SCORES`, ordered by detector, device and time.

    Parameters
    ----------
    frame
        Pandas, polars, Arrow, a DuckDB relation: anything with ``__arrow_c_stream__``.
    detectors
        Detectors or names in `DETECTORS`; all of them by default.
    layout
        Column names that cannot be guessed, e.g. ``{"device": "serial", "time": "at"}``.

    Raises
    ------
    FrameError
        No device or time column can be found.
    SettingsError
        A detector's name is in no registry.
    """
    step = replay(frame, detectors, layout=layout)
    tables = []
    for scored in step.scored:
        names = np.array(scored.identities, dtype=object).reshape(-1, 3)[scored.batch.device]
        columns = [
            pa.array([scored.detector] * len(scored.batch), pa.string()),
            *(pa.array(names[:, k], pa.string()) for k in range(3)),
            pa.array(scored.batch.ts, pa.timestamp("ns", tz="UTC")),
            *(pa.array(column) for column in scored.scores),
        ]
        tables.append(pa.table(columns, schema=SCORES))
    if not tables:
        return SCORES.empty_table()
    keys = [(name, "ascending") for name in ("detector", "device_id", "part", "medium_id", "ts")]
    return pa.concat_tables(tables).sort_by(keys)


def replay(
    frame: Any,
    detectors: Iterable[Detector[Any] | str] | None = None,
    *,
    layout: Mapping[str, str] | None = None,
) -> Step:
    """Run a history through an engine and return everything that came of it.

    Arguments and errors are those of `detect`.
    """
    chosen = [_detector(one) for one in (DETECTORS if detectors is None else detectors)]
    engine = Engine([AlertRule(one) for one in chosen], layout=layout)
    table = read_frame(frame)
    names = Layout.guess(table.schema, **engine.layout)
    table = table.sort_by([(names.time, "ascending")])
    nothing = [pa.nulls(1, kind) for kind in table.schema.types]
    end = pa.table(nothing, schema=table.schema)  # a row of nulls ends a history
    return engine.step(pa.concat_tables([table, end]))


def _detector(one: Detector[Any] | str) -> Detector[Any]:
    if not isinstance(one, str):
        return one
    if one not in DETECTORS:
        raise SettingsError(
            f"no detector is called {one!r}{closest(one, DETECTORS)}; there are "
            f"{', '.join(sorted(DETECTORS))}"
        )
    made: Detector[Any] = DETECTORS[one]()
    return made
