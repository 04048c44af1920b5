"""Rows of epochs that are still open, and how they become one batch when an epoch closes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from aiops.kernels.admission import group_rows, scatter_max
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.telemetry.normalised import SparseColumn


class Chunk(NamedTuple):
    """Rows of one epoch from one frame."""

    device: I4
    ts: I8
    historical: B1
    columns: Mapping[str, SparseColumn]


class Merged(NamedTuple):
    """All rows of an epoch: one a device and instant, grouped by device, in time order."""

    device: I4
    ts: I8
    historical: B1
    columns: dict[str, F8]
    duplicate: dict[str, tuple[I4, I8, F8]]
    """metric -> device, ts and value of readings that shared their instant with another."""


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
    merged: dict[str, F8] = {}
    duplicate: dict[str, tuple[I4, I8, F8]] = {}
    for name in sorted(columns):
        parts = columns[name]
        if order is None and not same.any() and len(parts) == 1 and parts[0].row is None:
            merged[name] = parts[0].value
            continue
        out = np.full(len(device), np.nan)
        for rows, value in parts:
            target = place if rows is None else place[rows]
            twice = np.zeros(len(value), dtype=np.bool_)
            if scatter_max(target, value, out, twice):
                at = target[twice]
                found = duplicate.get(name)
                more = (device[at], ts[at], value[twice])
                duplicate[name] = more if found is None else _join(found, more)
        merged[name] = out
    return Merged(device, ts, historical, merged, duplicate)


def _join(a: tuple[I4, I8, F8], b: tuple[I4, I8, F8]) -> tuple[I4, I8, F8]:
    return (
        np.concatenate((a[0], b[0])),
        np.concatenate((a[1], b[1])),
        np.concatenate((a[2], b[2])),
    )


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
        lo, hi = np.searchsorted(rows, (a, b))
        if lo < hi:
            columns[name] = SparseColumn((rows[lo:hi] - a).astype(np.int32), value[lo:hi])
    return Chunk(chunk.device[a:b], chunk.ts[a:b], chunk.historical[a:b], columns)


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
    return Chunk(chunk.device[order], chunk.ts[order], chunk.historical[order], columns)
