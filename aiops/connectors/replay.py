"""The durable log as a source: what was acknowledged, in order, from any position."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from aiops.connectors.wire.packing import unpack
from aiops.engine.ports import DurableLog, LogRecord, Position

FRAME_ROWS = 1 << 12
"""Neighbouring small payloads of one shape become one frame, of so many rows at most."""
SMALL_ROWS = 1 << 9
"""What a step costs whatever it is given. A payload of more rows stays a frame of its own: what is
known of its names is not known of the joined ones."""
RECV_TS = "recv_ts"
_TIME = pa.timestamp("ns", tz="UTC")

Hear = Callable[[int, LogRecord], None]


class LogSource:
    """Telemetry and heartbeats of a log as frames stamped with the time they were taken.

    Parameters
    ----------
    log
        What was acknowledged.
    wait
        Called when all is read: returns true when there may be more, false to end. Without it the
        source ends with what the log has now.
    hear
        Told of every other record (labels, approvals ...), with its number, in its place between
        the frames.
    """

    def __init__(
        self,
        log: DurableLog,
        *,
        wait: Callable[[], bool] | None = None,
        hear: Hear | None = None,
        frame_rows: int = FRAME_ROWS,
    ) -> None:
        self._log = log
        self._wait = wait
        self._hear = hear
        self._frame_rows = frame_rows

    def frames(self, after: Position | None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield each frame with ``{seq, tables}``: the last whole record, and tables behind it."""
        seq, done = (after["seq"], after["tables"]) if after else (0, 0)
        while True:
            waiting = _Waiting(self._frame_rows)
            for number, record in self._log.read(seq):
                if record.kind in ("telemetry", "heartbeat"):
                    tables = stamped(record)
                    if number != seq + 1:  # the record that was begun is damaged since
                        done = 0
                    for k, table in enumerate(tables[done:], start=done + 1):
                        yield from waiting.add(table, _position(number, k, len(tables)))
                else:
                    yield from waiting.flush()
                    if self._hear:
                        self._hear(number, record)
                seq, done = number, 0
            yield from waiting.flush()
            if self._wait is None or not self._wait():
                return


def _position(number: int, k: int, n: int) -> Position:
    """Return the position behind the k-th of n tables of a record."""
    return {"seq": number, "tables": 0} if k == n else {"seq": number - 1, "tables": k}


class _Waiting:
    """Neighbouring tables of one shape, until they are a frame."""

    def __init__(self, frame_rows: int) -> None:
        self._frame_rows = frame_rows
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._reached: Position = {}

    def add(self, table: pa.Table, reached: Position) -> Iterator[tuple[pa.Table, Position]]:
        """Take a table; yield those before it if it cannot be one frame with them."""
        if self._tables and (
            len(table) > SMALL_ROWS
            or self._rows + len(table) > self._frame_rows
            or self._tables[0].schema != table.schema
        ):
            yield from self.flush()
        self._tables.append(table)
        self._rows += len(table)
        self._reached = reached
        if len(table) > SMALL_ROWS:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[pa.Table, Position]]:
        """Yield what waits, as one frame."""
        if self._tables:
            tables, self._tables, self._rows = self._tables, [], 0
            yield pa.concat_tables(tables), self._reached


def stamped(record: LogRecord) -> list[pa.Table]:
    """Return the frames of a record, each row with the time at which the log took it."""
    if record.kind == "heartbeat":
        return [_heartbeat(record.recv_ns)]
    return [_stamp(table, record.recv_ns) for table in unpack(record.body)]


def _stamp(table: pa.Table, recv_ns: int) -> pa.Table:
    if RECV_TS in table.schema.names:  # a device does not say when we heard it
        table = table.drop_columns([RECV_TS])
    stamps = pa.array(np.full(len(table), recv_ns)).cast(_TIME)
    return table.append_column(RECV_TS, stamps)


def _heartbeat(recv_ns: int) -> pa.Table:
    """Return a row of nobody, which moves the clock."""
    return pa.table(
        {
            "device_id": pa.nulls(1, pa.string()),
            "ts": pa.nulls(1, _TIME),
            RECV_TS: pa.array([recv_ns], _TIME),
        }
    )
