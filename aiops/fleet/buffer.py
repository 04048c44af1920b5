"""Rows of epochs that are still open, and how they become one batch when an epoch closes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from aiops.kernels.admission import group_rows, scatter_max
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.telemetry.lines import LogLines
from aiops.telemetry.normalised import OpenReadings, SparseColumn, bounds

Duplicate = tuple[I4, I8, F8]
"""Device, time and value of readings that shared their instant with another."""

_READING = ("row", "name", "labels", "value")


class Chunk(NamedTuple):
    """Rows of one epoch from one frame."""

    device: I4
    ts: I8
    historical: B1
    columns: Mapping[str, SparseColumn]
    open: OpenReadings | None = None
    logs: LogLines | None = None

    def save(self, key: str, arrays: dict[str, Any]) -> list[Sequence[str]]:
        """Put the arrays under `key`; return the texts that its open readings refer to."""
        arrays[f"{key}/device"], arrays[f"{key}/ts"] = self.device, self.ts
        arrays[f"{key}/historical"] = self.historical
        for name, (row, value) in self.columns.items():
            arrays[f"{key}/value/{name}"] = value
            if row is not None:
                arrays[f"{key}/row/{name}"] = row
        if self.logs is not None:
            self.logs.save(f"{key}/logs", arrays)
        if self.open is None:
            return []
        opened = self.open.compact()
        for name in _READING:
            arrays[f"{key}/open/{name}"] = getattr(opened, name)
        return [opened.names, opened.sets]

    @classmethod
    def restore(cls, key: str, arrays: dict[str, Any], told: list[Sequence[str]]) -> Chunk:
        """Return the chunk that was saved under `key`."""
        prefix = f"{key}/value/"
        columns = {
            name.removeprefix(prefix): SparseColumn(
                arrays.get(f"{key}/row/{name.removeprefix(prefix)}"), value
            )
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
        opened = None
        if told:
            row, name, labels, value = (arrays[f"{key}/open/{one}"] for one in _READING)
            opened = OpenReadings(row, name, labels, value, *told)
        device, ts, historical = (arrays[f"{key}/{one}"] for one in cls._fields[:3])
        logs = LogLines.restore(f"{key}/logs", arrays)
        return cls(device, ts, historical, columns, opened, logs)


class Merged(NamedTuple):
    """All rows of an epoch: one a device and instant, grouped by device, in time order."""

    device: I4
    ts: I8
    historical: B1
    columns: dict[str, F8]
    duplicate: dict[str, Duplicate]
    """metric -> readings of it."""
    open: tuple[OpenReadings, ...] = ()
    """Readings under names that nobody knows; their rows in no order."""
    logs: tuple[LogLines, ...] = ()
    """Log lines; their rows in no order."""


def split(epoch: I8, chunk: Chunk) -> list[tuple[int, Chunk]]:
    """Cut a chunk into one an epoch, given the epoch [n] of each row."""
    n = len(epoch)
    if n == 0:
        return []
    if epoch[0] == epoch[-1] and (epoch == epoch[0]).all():
        return [(int(epoch[0]), chunk)]
    if (epoch[1:] < epoch[:-1]).any():
        order = np.argsort(epoch, kind="stable")
        epoch = epoch[order]
        chunk = _reorder(chunk, order)
    bounds = np.concatenate(([0], np.flatnonzero(epoch[1:] != epoch[:-1]) + 1, [n]))
    return [(int(epoch[a]), _slice(chunk, int(a), int(b))) for a, b in pairwise(bounds)]


def merge(chunks: list[Chunk], devices: int) -> Merged:
    """Make one grouped batch of an epoch's chunks; `devices` are known to the fleet."""
    if not chunks:
        none = np.zeros(0, dtype=np.int64)
        return Merged(none.astype(np.int32), none, none.astype(np.bool_), {}, {})
    device, ts, historical, columns = _concatenate(chunks)
    n = len(device)
    order = None
    if n > 1:
        back = (device[1:] < device[:-1]) | ((device[1:] == device[:-1]) & (ts[1:] < ts[:-1]))
        if back.any():
            order = _order(device, ts, devices)
            device, ts, historical = device[order], ts[order], historical[order]
    place = np.arange(n) if order is None else _inverse(order)
    same = (device[1:] == device[:-1]) & (ts[1:] == ts[:-1]) if n > 1 else np.zeros(0, np.bool_)
    if same.any():
        first = np.concatenate(([True], ~same))
        row = np.cumsum(first) - 1
        place = row[place]
        starts = np.flatnonzero(first)
        historical = np.logical_and.reduceat(historical, starts)
        device, ts = device[starts], ts[starts]
    placed = tuple(_placed_open(chunks, place)), tuple(_placed_logs(chunks, place))
    merged = Merged(device, ts, historical, {}, {}, *placed)
    for name in sorted(columns):
        parts = columns[name]
        if order is None and not same.any() and len(parts) == 1 and parts[0].row is None:
            merged.columns[name] = parts[0].value
            continue
        found, twice = scattered(
            [(place if rows is None else place[rows], value) for rows, value in parts], merged
        )
        merged.columns[name] = found
        if twice is not None:
            merged.duplicate[name] = twice
    return merged


def scattered(parts: list[tuple[I8, F8]], merged: Merged) -> tuple[F8, Duplicate | None]:
    """Return a column [n] of parts, each with its rows; and what came second to its row."""
    out = np.full(len(merged.ts), np.nan)
    second: list[Duplicate] = []
    for target, value in parts:
        twice = np.zeros(len(value), dtype=np.bool_)
        if scatter_max(target, value, out, twice):
            at = target[twice]
            second.append((merged.device[at], merged.ts[at], value[twice]))
    if not second:
        return out, None
    device, ts, value = map(np.concatenate, zip(*second, strict=True))
    return out, (device, ts, value)


def _placed_open(chunks: list[Chunk], place: I8) -> Iterator[OpenReadings]:
    """Yield the open readings of the chunks with their rows among those of the epoch."""
    offset = 0
    for chunk in chunks:
        if chunk.open is not None and len(chunk.open.row):
            yield chunk.open._replace(row=place[chunk.open.row + offset].astype(np.int32))
        offset += len(chunk.ts)


def _placed_logs(chunks: list[Chunk], place: I8) -> Iterator[LogLines]:
    """Yield the log lines of the chunks with their rows among those of the epoch."""
    offset = 0
    for chunk in chunks:
        if chunk.logs is not None and len(chunk.logs.row):
            yield chunk.logs._replace(row=place[chunk.logs.row + offset].astype(np.int32))
        offset += len(chunk.ts)


def _order(device: I4, ts: I8, devices: int) -> I8:
    if len(device) * 8 < devices:  # a few rows of a large fleet: do not walk all its devices
        return np.lexsort((ts, device))
    order = np.empty(len(device), dtype=np.int64)
    group_rows(device, ts, np.zeros(devices + 1, dtype=np.int64), order)
    return order


def _inverse(order: I8) -> I8:
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.arange(len(order))
    return inverse


def _concatenate(
    chunks: list[Chunk],
) -> tuple[I4, I8, B1, dict[str, list[SparseColumn]]]:
    columns: dict[str, list[SparseColumn]] = {}
    offset = 0
    for chunk in chunks:
        for name, column in chunk.columns.items():
            rows = column.row
            if len(chunks) > 1:
                base = np.arange(len(chunk.ts)) if rows is None else rows
                rows = (base + offset).astype(np.int32)
            columns.setdefault(name, []).append(SparseColumn(rows, column.value))
        offset += len(chunk.ts)
    if len(chunks) == 1:
        only = chunks[0]
        return only.device, only.ts, only.historical, columns
    return (
        np.concatenate([c.device for c in chunks]),
        np.concatenate([c.ts for c in chunks]),
        np.concatenate([c.historical for c in chunks]),
        columns,
    )


def _slice(chunk: Chunk, a: int, b: int) -> Chunk:
    columns: dict[str, SparseColumn] = {}
    for name, (rows, value) in chunk.columns.items():
        if rows is None:
            columns[name] = SparseColumn(None, value[a:b])
            continue
        lo, hi = bounds(rows, a, b)
        if lo < hi:
            columns[name] = SparseColumn((rows[lo:hi] - a).astype(np.int32), value[lo:hi])
    opened = None if chunk.open is None else chunk.open.cut(a, b)
    logs = None if chunk.logs is None else chunk.logs.cut(a, b)
    return Chunk(chunk.device[a:b], chunk.ts[a:b], chunk.historical[a:b], columns, opened, logs)


def _reorder(chunk: Chunk, order: I8) -> Chunk:
    inverse = _inverse(order)
    columns: dict[str, SparseColumn] = {}
    for name, (rows, value) in chunk.columns.items():
        if rows is None:
            columns[name] = SparseColumn(None, value[order])
            continue
        moved = inverse[rows]
        sorting = np.argsort(moved, kind="stable")
        columns[name] = SparseColumn(moved[sorting].astype(np.int32), value[sorting])
    opened = None if chunk.open is None else chunk.open.moved(inverse)
    logs = None if chunk.logs is None else chunk.logs.moved(inverse)
    historical = chunk.historical[order]
    return Chunk(chunk.device[order], chunk.ts[order], historical, columns, opened, logs)
