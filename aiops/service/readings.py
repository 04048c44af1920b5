"""Readings out of the log: as they came, under the names they came with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.connectors.replay import unpack
from aiops.engine.ports import DurableLog
from aiops.telemetry.columns import column_of
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalised import NO_TIME
from aiops.telemetry.times import read_times

SCAN_BYTES = 64 << 20
"""A page reads so much of the log at most."""
SHIFT = 24
"""A place in the log is the number of a record, and of a reading within it."""


class Reader:
    """Reads the log for the readings of a device or metric; None: of all.

    A place counts readings within a record, so that pages neither lose nor repeat any.
    """

    def __init__(self, log: DurableLog, device_id: str | None, metric: str | None) -> None:
        self._log = log
        self._device_id = device_id
        self._metric = metric

    def read(self, place: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Return readings from a place on, and where to go on; None: that is all there is now."""
        found: list[dict[str, Any]] = []
        record, skip = place >> SHIFT, place & ((1 << SHIFT) - 1)
        size = 0
        for seq, entry in self._log.read(max(record - 1, 0)):
            if entry.kind != "telemetry":
                continue
            if size > SCAN_BYTES:
                return found, seq << SHIFT
            size += len(entry.body)
            for k, reading in enumerate(self._readings(entry.body)):
                if seq == record and k < skip:
                    continue
                if len(found) == limit:
                    return found, (seq << SHIFT) | k
                found.append({"seq": seq} | reading)
        return found, None

    def _readings(self, body: bytes) -> Iterator[dict[str, Any]]:
        for table in unpack(body):
            layout = Layout.guess(table.schema)
            yield from self._long(table, layout) if layout.is_long else self._wide(table, layout)

    def _of_device(self, table: pa.Table, layout: Layout) -> pa.Table:
        if self._device_id is None:
            return table
        names = pc.cast(column_of(table, layout.device), pa.string())
        return table.filter(pc.equal(names, self._device_id))

    def _long(self, table: pa.Table, layout: Layout) -> Iterator[dict[str, Any]]:
        table = self._of_device(table, layout)
        if self._metric is not None:
            names = pc.cast(column_of(table, str(layout.metric)), pa.string())
            table = table.filter(pc.equal(names, self._metric))
        if not len(table):
            return
        moments = _moments(table, layout)
        rows = table.select([layout.device, str(layout.metric), str(layout.value)]).to_pylist()
        labels = (
            column_of(table, layout.labels).to_pylist() if layout.labels else [None] * len(rows)
        )
        for row, ts, label in zip(rows, moments, labels, strict=True):
            value = row[str(layout.value)]
            yield {
                "device_id": row[layout.device],
                "ts": ts,
                "metric": row[str(layout.metric)],
                "value": value if value == value else None,
                "labels": _labels(label),
            }

    def _wide(self, table: pa.Table, layout: Layout) -> Iterator[dict[str, Any]]:
        table = self._of_device(table, layout)
        roles = layout.columns
        told = {c for role, c in roles.items() if role in ("part", "medium", "site", "cohort")}
        names = [n for n in table.schema.names if n not in roles.values()]
        if self._metric is not None:
            names = [name for name in names if name == self._metric]
        if not len(table) or not names:
            return
        moments = _moments(table, layout)
        for row, ts in zip(table.to_pylist(), moments, strict=True):
            labels = {c: row[c] for c in sorted(told) if row[c] is not None}
            for name in names:
                value = row[name]
                if value is not None and value == value:
                    yield {
                        "device_id": row[layout.device],
                        "ts": ts,
                        "metric": name,
                        "value": value if isinstance(value, int | float | str) else str(value),
                        "labels": labels,
                    }


def _moments(table: pa.Table, layout: Layout) -> list[str | None]:
    """Return the times of rows as RFC 3339, to the nanosecond."""
    ns = read_times(column_of(table, layout.time)).ns
    known = ns != NO_TIME
    text = np.datetime_as_string(np.where(known, ns, 0).view("datetime64[ns]"), unit="ns")
    return [f"{t}Z" if k else None for t, k in zip(text.tolist(), known.tolist(), strict=True)]


def _labels(told: Any) -> dict[str, Any]:
    if isinstance(told, dict):
        return told
    if isinstance(told, list):  # an Arrow map
        return dict(told)
    try:
        found = json.loads(told) if told else {}
    except ValueError:
        found = {"labels": told}
    return found if isinstance(found, dict) else {"labels": told}
