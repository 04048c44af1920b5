"""Normalised frames from plain rows, for tests of the fleet."""

from __future__ import annotations

import numpy as np

from aiops.telemetry.normalised import NO_TIME, Encoded, NormalisedFrame, SparseColumn

SECOND = 1_000_000_000
START = 1_700_000_000 // 60 * 60
"""A full minute, Unix seconds."""


def frame(*rows):
    """Make a frame of rows (device or None, seconds after START or None, {metric: value})."""
    rows = [(*row, *((None, None, {}, None)[len(row) :])) for row in rows]
    devices = sorted({row[0] for row in rows if row[0] is not None})
    code = [-1 if row[0] is None else devices.index(row[0]) for row in rows]
    names = sorted({name for row in rows for name in row[2] or {}})
    columns = {}
    for name in names:
        at = [i for i, row in enumerate(rows) if name in (row[2] or {})]
        values = [rows[i][2][name] for i in at]
        columns[name] = SparseColumn(np.array(at, np.int32), np.array(values, float))
    return NormalisedFrame(
        device_id=Encoded(np.array(code, np.int32), devices),
        ts=np.array([_ns(row[1]) for row in rows], np.int64),
        recv_ts=np.array([_ns(row[3]) for row in rows], np.int64),
        columns=columns,
    )


def _ns(seconds):
    return NO_TIME if seconds is None else int(START + seconds) * SECOND


END = (None, None)
