"""Wide rows whose column names name parts become one row a part, right after their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from aiops.kernels.rows import I4, I8
from aiops.telemetry.normalised import Encoded, SparseColumn

ByPart = Mapping[str | None, Mapping[str, SparseColumn]]
"""Part (None: that of the row) -> canonical column -> what the rows reported."""


class Expanded(NamedTuple):
    """Rows [m] after those of parts were put in."""

    origin: I8
    """[m] which row [n] each came from."""
    first: I8
    """[n] where each row went; those of its parts follow it."""
    part: Encoded
    """[m]"""
    columns: dict[str, SparseColumn]


def expand(by_part: ByPart, part: Encoded | None, n: int) -> Expanded:
    """Give each part that a name named rows of its own.

    The rows stay next to the one they came from, so that the log's order, and with it the epochs,
    do not depend on where a frame was cut.
    """
    parts = sorted(name for name in by_part if name is not None)
    touched = [_touched(by_part[name]) for name in parts]
    origin = np.concatenate([np.arange(n), *touched]).astype(np.int64)
    turn = np.repeat(np.arange(len(parts) + 1), [n, *map(len, touched)])
    order = np.lexsort((turn, origin))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    values = [] if part is None else list(part.value)
    code = np.full(n, -1, np.int32) if part is None else part.code
    codes = [code]
    begin = n
    pieces: dict[str, list[SparseColumn]] = {}
    for column, sparse in by_part.get(None, {}).items():
        rows = place[:n] if sparse.row is None else place[sparse.row]
        pieces.setdefault(column, []).append(SparseColumn(rows.astype(np.int32), sparse.value))
    for name, rows in zip(parts, touched, strict=True):
        if name not in values:
            values.append(name)
        codes.append(np.full(len(rows), values.index(name), np.int32))
        here = place[begin : begin + len(rows)]
        begin += len(rows)
        for column, sparse in by_part[name].items():
            present = _present(sparse)
            where = here[np.searchsorted(rows, present)].astype(np.int32)
            value = sparse.value[~np.isnan(sparse.value)]
            pieces.setdefault(column, []).append(SparseColumn(where, value))
    columns = {column: joined(found, len(order)) for column, found in pieces.items()}
    return Expanded(
        origin[order], place[:n], Encoded(np.concatenate(codes)[order], values), columns
    )


def joined(found: list[SparseColumn], n: int) -> SparseColumn:
    """Return one column of several; where two report the same row, the larger value.

    Of several sensors the hottest counts, of two life-time estimates the worse.
    """
    if len(found) == 1:
        return found[0]
    if all(column.row is None for column in found):
        return SparseColumn(None, np.fmax.reduce([column.value for column in found]))
    every = np.arange(n, dtype=np.int32)
    row: I4 = np.concatenate([every if c.row is None else c.row for c in found])
    value = np.concatenate([column.value for column in found])
    order = np.argsort(row, kind="stable")
    row, value = row[order], value[order]
    starts = np.flatnonzero(np.concatenate(([True], row[1:] != row[:-1])))
    row, value = row[starts], np.fmax.reduceat(value, starts)
    return SparseColumn(None if len(row) == n else row, value)


def _present(column: SparseColumn) -> I8:
    """Return the rows, ascending, that report a value."""
    reported = np.flatnonzero(~np.isnan(column.value))
    return reported if column.row is None else column.row[reported].astype(np.int64)


def _touched(columns: Mapping[str, SparseColumn]) -> I8:
    """Return the rows, ascending, that report anything in `columns`."""
    return np.unique(np.concatenate([_present(column) for column in columns.values()]))
