"""Records as tables to ask questions of: a DuckDB database, and Parquet for everything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import msgspec
import pyarrow as pa

from aiops.errors import FileError

if TYPE_CHECKING:
    from aiops.engine.engine import Step
    from aiops.engine.ports import Position

KINDS = ("findings", "incidents", "plans", "actions")
SUFFIXES = (".duckdb", ".db")
_SQL_TYPES = {
    frozenset({"VARCHAR"}): "VARCHAR",
    frozenset({"BOOLEAN"}): "BOOLEAN",
    frozenset({"UBIGINT"}): "BIGINT",
    frozenset({"BIGINT"}): "BIGINT",
    frozenset({"UBIGINT", "BIGINT"}): "BIGINT",
    frozenset({"DOUBLE"}): "DOUBLE",
    frozenset({"DOUBLE", "UBIGINT"}): "DOUBLE",
    frozenset({"DOUBLE", "BIGINT"}): "DOUBLE",
    frozenset({"DOUBLE", "BIGINT", "UBIGINT"}): "DOUBLE",
}
"""Types of JSON found in a column -> its type in SQL; all others stay JSON."""

_encode = msgspec.json.Encoder(enc_hook=lambda value: value.item()).encode


class WarehouseSink:
    """Keeps records in DuckDB, one row an id: ``SELECT * FROM findings WHERE score > 2``.

    What is kept is each record as JSON (``records.findings`` and so on). The tables ``findings``,
    ``incidents``, ``plans`` and ``actions`` are views of it, whose columns and types are found out
    from all that is there when the database is opened and closed: a type guessed from the first
    record would be wrong of a later one. Everything here is derived: delete it, run again, and it
    is back.

    Parameters
    ----------
    path
        A database (``.duckdb``), or a directory: then the database is ``warehouse.duckdb`` in it,
        and `close` writes ``findings.parquet`` and so on beside it, each at once or not at all.

    Raises
    ------
    FileError
        The database cannot be made or opened; another process may have it open.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self._folder = None if path.suffix in SUFFIXES else path
        self._path = path if self._folder is None else path / "warehouse.duckdb"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._base = duckdb.connect(self._path)
        except (duckdb.Error, OSError) as error:
            raise FileError(
                f"{self._path} cannot be opened: {error}. If no other process has it open, delete "
                f"it: all that is in it comes from the records"
            ) from error
        self._base.execute("SET TimeZone = 'UTC'")
        self._base.execute("CREATE SCHEMA IF NOT EXISTS records")
        for kind in KINDS:
            self._base.execute(
                f"CREATE TABLE IF NOT EXISTS records.{kind} "
                f"(id VARCHAR PRIMARY KEY, place BIGINT, record JSON)"
            )
            self._refresh(kind)
        places = " UNION ALL ".join(f"SELECT max(place) AS place FROM records.{k}" for k in KINDS)
        (last,) = self._base.execute(f"SELECT max(place) FROM ({places})").fetchall()[0]
        self._written = 0 if last is None else last + 1

    def write(self, step: Step, position: Position) -> None:
        """Insert what is not there yet, all kinds in one transaction."""
        records = {kind: found for kind, found in step.records().items() if found}
        if not records:
            return
        self._base.begin()
        try:
            for kind, found in records.items():
                batch = {
                    "id": [record["id"] for record in found],
                    # Where it stood: INSERT OR IGNORE keeps no order.
                    "place": range(self._written, self._written + len(found)),
                    "record": [_encode(record).decode() for record in found],
                }
                self._written += len(found)
                self._base.register("batch", pa.table(batch))
                self._base.execute(f"INSERT OR IGNORE INTO records.{kind} FROM batch")
                self._base.unregister("batch")
            self._base.commit()
        except duckdb.Error as error:
            self._base.rollback()
            raise FileError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Renew the views, export Parquet where a directory was asked for, and close."""
        try:
            for kind in KINDS:
                select = self._refresh(kind)
                if self._folder:
                    self._export(select, self._folder / f"{kind}.parquet")
        except (duckdb.Error, OSError) as error:
            raise FileError(f"{self._path}: {error}") from error
        finally:
            self._base.close()

    def _refresh(self, kind: str) -> str:
        """Make the view of a kind anew; return the query behind it."""
        found = self._base.execute(
            f"""
            SELECT each.key, list(DISTINCT each.type),
                bool_and(TRY_CAST(each.atom ->> '$' AS TIMESTAMPTZ) IS NOT NULL)
                    FILTER (each.type <> 'NULL')
            FROM records.{kind}, json_each(record) AS each
            GROUP BY each.key ORDER BY min(place), min(each.id)
            """
        ).fetchall()
        columns = []
        for name, kinds, are_times in found:
            kind_of_sql = _SQL_TYPES.get(frozenset(kinds) - {"NULL"}, "JSON")
            if are_times and (name == "ts" or name.endswith("_ts")):
                kind_of_sql = "TIMESTAMPTZ"
            key, quoted = name.replace("'", "''"), name.replace('"', '""')
            value = f"CAST(record ->> '{key}' AS {kind_of_sql})"
            if kind_of_sql == "JSON":
                value = f"NULLIF(record -> '{key}', 'null')"
            columns.append(f'{value} AS "{quoted}"')
        select = f"SELECT {', '.join(columns) or 'id'} FROM records.{kind} ORDER BY place"
        self._base.execute(f"CREATE OR REPLACE VIEW {kind} AS {select}")
        return select

    def _export(self, select: str, target: Path) -> None:
        aside = target.with_suffix(".part")
        quoted = str(aside).replace("'", "''")
        self._base.execute(f"COPY ({select}) TO '{quoted}' (FORMAT parquet)")
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(target)
