"""History in files of any cut: replayed in the order of time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from aiops.connectors.reading.formats import (
    FORMATS,
    Roles,
    TelemetryFile,
    conform,
    open_file,
    shared_layout,
    shared_schema,
)
from aiops.connectors.reading.opening import BadLines, end_of_history, find_files
from aiops.engine.ports import Position
from aiops.errors import FileError
from aiops.kernels.rows import B1, I8
from aiops.telemetry.columns import column_of
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalised import NO_TIME
from aiops.telemetry.times import YEAR_2000, YEAR_2100, read_times

FRAME_ROWS = 100_000
INSTANT = pa.field("instant", pa.int64())
MEMORY = "1GB"
"""What sorting may hold; the rest goes to disk."""
THREADS = 2
"""One to read and one to sort; each holds a share of that memory."""


class FilesSource:
    """Telemetry in Parquet, CSV, NDJSON and Arrow files, in the order of time across all of them.

    DuckDB sorts, on disk where memory is too small; rows of the same time stand in the order of
    their values. So what comes out depends on the rows, and not on how they were cut into files. A
    frame ends only where the time changes; a position is a time. The time is the one at which the
    log took the row (`recv_time`), where files tell it: so what came late comes late again.

    Columns of CSV and NDJSON files are text, read by the front door like any other: their types
    would otherwise depend on the cut. Lines that are no row, and rows without device and time, are
    left out and told in `bad_lines`. Rows without a time that can be come last.

    Parameters
    ----------
    files
        Files, directories and patterns.
    roles
        Columns that play a role, where they cannot be guessed: see `Layout.guess`.
    frame_rows
        Rows of a frame; more where more share their time.
    spill
        Directory in which to sort what does not fit into memory; by default the system's own.

    Raises
    ------
    FileError
        A file is not there, of no known format, cannot be read, or does not fit the others.
    """

    def __init__(
        self,
        files: str | Path | Sequence[str | Path],
        *,
        roles: Roles | None = None,
        frame_rows: int = FRAME_ROWS,
        spill: str | Path | None = None,
    ) -> None:
        self.files = find_files(files, FORMATS)
        self.size_bytes = sum(map(os.path.getsize, self.files))
        self.bad_lines = BadLines()
        self._roles = dict(roles or {})
        self._frame_rows = frame_rows
        self._spill = spill

    def frames(self, after: Position | None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield each frame with ``{after_ts, undated}``, and at last the end of history.

        ``after_ts`` is the time of the last row, ns since the epoch, UTC; ``undated`` counts the
        rows so far that have none.
        """
        self.bad_lines = BadLines()
        place = after or {"after_ts": None, "undated": 0}
        looked = (open_file(name, self._roles) for name in self.files)
        files = [file for file in looked if file]
        if not files:
            raise FileError(f"there is nothing in {', '.join(self.files[:5])}")
        schema = shared_schema(files)
        layout = shared_layout(files, schema, self._roles)
        rows = _timed(files, schema, layout, place["after_ts"], self.bad_lines)
        said_anything = False
        with _sorted(schema, rows, self._spill) as (types, batches):
            begin = place
            for frame, place in _cut(batches, begin, self._frame_rows):
                said_anything = True
                yield frame.rename_columns(schema.names), place
        if said_anything or not (after or {}).get("end"):
            columns = zip(schema.names, types, strict=True)
            yield end_of_history(pa.schema(columns)), place | {"end": True}


def _timed(
    files: Sequence[TelemetryFile],
    schema: pa.Schema,
    layout: Layout,
    after_ts: int | None,
    bad: BadLines,
) -> Generator[pa.Table, None, None]:
    """Yield the rows behind a time, with the ``instant`` to order them by."""
    for file in files:
        for told in file.tables(bad):
            table = conform(told, schema)
            times = read_times(column_of(table, layout.time))
            instant = times.ns
            if layout.recv_time:
                received = read_times(column_of(table, layout.recv_time)).ns
                instant = np.where(_cannot_be(received), instant, received)
            undated = _cannot_be(instant)
            keep = np.ones(len(table), np.bool_)
            if after_ts is not None:
                keep = undated | (instant > after_ts)
            timeless = times.ns == NO_TIME
            if timeless.any():
                nobody = timeless & _nameless(table.column(layout.device))
                if times.bad is not None:
                    nobody &= ~times.bad
                for _ in range(np.count_nonzero(nobody)):
                    bad.add(file.name, 0, "neither a device nor a time")
                keep &= ~nobody
            table = table.append_column(INSTANT, pa.array(instant, pa.int64(), mask=undated))
            yield table if keep.all() else table.filter(pa.array(keep))


def _cannot_be(instant: I8) -> B1:
    """Say of each instant whether it is no time, or none at which telemetry was sent."""
    return (instant < YEAR_2000) | (instant >= YEAR_2100)


def _nameless(devices: pa.ChunkedArray) -> B1:
    nameless: B1 = np.array([name in (None, "") for name in devices.to_pylist()], np.bool_)
    return nameless


@contextmanager
def _sorted(
    schema: pa.Schema, rows: Generator[pa.Table, None, None], spill: str | Path | None
) -> Iterator[tuple[list[pa.DataType], Iterator[pa.RecordBatch]]]:
    """Sort rows by ``instant``, those without last, then by their values; give the types as well.

    Columns go by number meanwhile: DuckDB does not tell ``Ts`` from ``ts``.
    """
    numbered = pa.schema([*(pa.field(f"c{i}", c.type) for i, c in enumerate(schema)), INSTANT])
    failures: list[FileError] = []

    def told() -> Iterator[pa.RecordBatch]:
        try:
            for table in rows:
                yield from table.rename_columns(numbered.names).to_batches()
        except FileError as error:
            failures.append(error)  # DuckDB passes on what it says, but not what it is
            raise

    with (
        tempfile.TemporaryDirectory(prefix="aiops-", dir=spill) as folder,
        closing(rows),
        closing(duckdb.connect()) as base,
    ):
        ties = sorted(range(len(schema)), key=lambda i: schema.names[i])
        order = ", ".join(["instant NULLS LAST", *(f"c{i}" for i in ties)])
        try:
            for name, value in {
                "temp_directory": folder,
                "memory_limit": MEMORY,
                "threads": THREADS,
                "TimeZone": "UTC",
            }.items():
                base.execute(f"SET {name} = ?", [value])
            base.register("told", pa.RecordBatchReader.from_batches(numbered, told()))
            told_in_order = base.sql(f"SELECT * FROM told ORDER BY {order}")
            reader = pa.RecordBatchReader.from_stream(told_in_order)
            yield reader.schema.types[:-1], reader
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise (failures or [FileError(f"cannot sort the files by time: {error}")])[0] from error


def _cut(
    batches: Iterator[pa.RecordBatch], place: Position, frame_rows: int
) -> Iterator[tuple[pa.Table, Position]]:
    """Yield frames of `frame_rows` and what shares its time with the last of them.

    A frame depends on where it begins, and not on the batches. Rows without a time come last; a
    frame of them ends after `frame_rows`.
    """
    held: list[pa.RecordBatch] = []
    last, undated = place["after_ts"], place["undated"]
    skip = undated

    def frame() -> tuple[pa.Table, Position]:
        table = pa.Table.from_batches(held).remove_column(held[0].num_columns - 1)
        held.clear()
        return table, {"after_ts": last, "undated": undated}

    for batch in batches:
        at = batch.column("instant")
        dated = len(batch) - at.null_count
        ts = at.slice(0, dated).to_numpy()
        begin = 0
        while begin < dated:
            wanted = frame_rows - sum(map(len, held))
            if wanted > dated - begin:
                end, last = dated, int(ts[-1])
            else:
                last = last if wanted <= 0 else int(ts[begin + wanted - 1])
                end = int(np.searchsorted(ts, last, side="right"))
            held.append(batch.slice(begin, end - begin))
            begin = end
            if end < dated:
                yield frame()
        if dated == len(batch):
            continue
        if held and not held[0].column("instant").null_count:
            yield frame()
        begin = min(dated + skip, len(batch))
        skip -= begin - dated
        while begin < len(batch):
            held.append(batch.slice(begin, frame_rows - sum(map(len, held))))
            begin += len(held[-1])
            undated += len(held[-1])
            if sum(map(len, held)) == frame_rows:
                yield frame()
    if held:
        yield frame()
