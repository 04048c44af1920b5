"""Readings out of the log: as they came, under the names they came with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.connectors.wire.packing import unpack
from aiops.engine.ports import DurableLog
from aiops.telemetry.columns import column_of, read_names
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalised import NO_TIME
from aiops.telemetry.times import read_times

SCAN_BYTES = 64 << 20
"""A page reads so much of the log at most."""
RECORD_BYTES = 32 << 10
"""What a record costs to look at, in bytes, however small it is."""
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
            if size > SCAN_BYTES:
                return found, seq << SHIFT
            size += max(len(entry.body), RECORD_BYTES)
            if entry.kind != "telemetry":
                continue
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
        return _where(table, layout.device, self._device_id)

    def _long(self, table: pa.Table, layout: Layout) -> Iterator[dict[str, Any]]:
        table = self._of_device(table, layout)
        if self._metric is not None:
            table = _where(table, str(layout.metric), self._metric)
        if not len(table):
            return
        device, metric = _names(table, layout.device), _names(table, str(layout.metric))
        values = _values(column_of(table, str(layout.value)))
        labels = (
            _values(column_of(table, layout.labels), nested=True)
            if layout.labels
            else [None] * len(values)
        )
        for i, ts in enumerate(_moments(table, layout)):
            yield {
                "device_id": device[i],
                "ts": ts,
                "metric": metric[i] or "",
                "value": values[i] if values[i] == values[i] else None,
                "labels": _labels(labels[i]),
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
        device = _names(table, layout.device)
        columns = {name: _values(column_of(table, name)) for name in names}
        places = {name: _values(column_of(table, name)) for name in sorted(told)}
        for i, ts in enumerate(_moments(table, layout)):
            labels = {name: value[i] for name, value in places.items() if value[i] is not None}
            for name, values in columns.items():
                value = values[i]
                if value is not None and value == value:
                    yield {
                        "device_id": device[i],
                        "ts": ts,
                        "metric": name,
                        "value": value,
                        "labels": labels,
                    }


def _names(table: pa.Table, column: str) -> list[str | None]:
    """Return the names in a column as the engine reads them."""
    found = read_names(column_of(table, column))
    known: list[str | None] = [*found.value, None]
    return [known[code] for code in found.code.tolist()]


def _where(table: pa.Table, column: str, name: str) -> pa.Table:
    """Return the rows of a name."""
    found = read_names(column_of(table, column))
    wanted = [value == name for value in found.value]
    return table.filter(pa.array(np.array([*wanted, False])[found.code]))


def _values(column: pa.Array, *, nested: bool = False) -> list[Any]:
    """Return numbers and words as they are; of what is neither its text, or else its type.

    Such columns are no readings, and may hold what Python has no value for. `nested`: lists and
    structs stay what they are.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    try:
        plain = column if _is_plain(kind) or nested else pc.cast(column, pa.string())
        return plain.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError, pa.ArrowException):
        return [f"<{kind}>" if there else None for there in column.is_valid().to_pylist()]


def _is_plain(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )


def _moments(table: pa.Table, layout: Layout) -> list[str | None]:
    """Return the times of rows as RFC 3339, to the nanosecond."""
    ns = read_times(column_of(table, layout.time)).ns
    known = ns != NO_TIME
    text = np.datetime_as_string(np.where(known, ns, 0).view("datetime64[ns]"), unit="ns")
    return [f"{t}Z" if k else None for t, k in zip(text.tolist(), known.tolist(), strict=True)]


def _labels(told: Any) -> dict[str, Any]:
    if isinstance(told, list):  # an Arrow map
        told = dict(told)
    if isinstance(told, dict):
        plain = (int, float, str, type(None))
        return {k: v if isinstance(v, plain) else str(v) for k, v in told.items()}
    try:
        found = json.loads(told) if told else {}
    except (ValueError, RecursionError):
        found = {"labels": told}
    return found if isinstance(found, dict) else {"labels": told}
