"""Reading rows of a database that may be damaged: what is whole is found, what is not is told."""

from __future__ import annotations

from contextlib import closing

import apsw

from aiops.connectors.durable.rows import COLUMNS, ROW_BYTES, from_row
from aiops.engine.ports import LogRecord


class Scan:
    """Rows after the `at`-th, up to the `last`-th, until they have `room` bytes.

    Raises
    ------
    apsw.NoMemError
        That says nothing about the rows.
    """

    def __init__(self, connection: apsw.Connection, at: int, last: int, room: int) -> None:
        self.rows: list[tuple[int, LogRecord]] = []
        self.lost: list[tuple[int, str]] = []
        """Number, and why it cannot be read."""
        self.at = at
        """Up to where all is in `rows` or `lost`."""
        self._connection, self._last, self._room = connection, last, room
        if not self._in_order():
            self._one_by_one()

    def _in_order(self) -> bool:
        """Read on while all is as it must be; tell whether that went well."""
        query = f"SELECT {COLUMNS} FROM records WHERE seq > ? AND seq <= ? ORDER BY seq"
        try:
            with closing(self._connection.cursor()) as cursor:
                for row in cursor.execute(query, (self.at, self._last)):
                    record = from_row(row)
                    if row[0] != self.at + 1 or record is None:
                        return False
                    self._take(record)
                    if self._room <= 0:
                        return True
        except apsw.NoMemError:
            raise
        except (apsw.Error, UnicodeDecodeError):
            return False
        return self.at == self._last

    def _one_by_one(self) -> None:
        """Ask for each row by its number: what damages one need not hide the next."""
        query = f"SELECT {COLUMNS} FROM records WHERE seq = ?"
        while self.at < self._last and self._room > 0:
            seq = self.at + 1
            try:
                rows = self._connection.execute(query, (seq,)).fetchall()
            except apsw.NoMemError:
                raise
            except (apsw.Error, UnicodeDecodeError) as error:
                self._miss(f"it cannot be read: {type(error).__name__}")
                continue
            record = from_row(rows[0]) if rows and rows[0][0] == seq else None
            if record is not None:
                self._take(record)
            else:
                self._miss("its checksum is wrong" if rows else "it is not there")

    def _take(self, record: LogRecord) -> None:
        self.at += 1
        self.rows.append((self.at, record))
        self._room -= len(record.body) + ROW_BYTES

    def _miss(self, reason: str) -> None:
        self.at += 1
        self.lost.append((self.at, reason))
