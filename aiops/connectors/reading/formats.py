"""Files of every format as tables of one schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet
from pyarrow import types

from aiops.connectors.reading.csv_lines import CsvHeader, parse, read_header
from aiops.connectors.reading.json_lines import FIELDS_MAX, JsonLines, Run, reads_alike
from aiops.connectors.reading.lines import LineReader, count_lines
from aiops.connectors.reading.opening import BadLines, ByteStream, open_arrow, suffix_of
from aiops.errors import FileError, FrameError
from aiops.telemetry.columns import column_of
from aiops.telemetry.layout import Layout

Roles = Mapping[str, str | None]
"""Columns that play a role, where they cannot be guessed: see `Layout.guess`."""

BATCH_ROWS = 1 << 16


class TelemetryFile(NamedTuple):
    """A file of which it is known what is in it."""

    name: str
    schema: pa.Schema
    kinds: Sequence[tuple[Layout, Sequence[str]]]
    """How its rows are read by themselves, and the columns that those have."""
    tables: Callable[[BadLines], Iterator[pa.Table]]
    """Yields its rows in tables of `schema`, and takes note of bad lines."""


def open_file(name: str, roles: Roles) -> TelemetryFile | None:
    """Look into a file; None: there is nothing in it.

    Raises
    ------
    FileError
        It cannot be read, or no column can be the device or the time.
    """
    return FORMATS[suffix_of(name)](name, roles)


def shared_schema(files: Sequence[TelemetryFile]) -> pa.Schema:
    """Return all columns of all files, each of a type that holds what every file has in it."""
    found: dict[str, list[pa.DataType]] = {}
    for file in files:
        for column in file.schema:
            found.setdefault(column.name, []).append(column.type)
    return pa.schema([(name, _shared_type(kinds)) for name, kinds in found.items()])


def _shared_type(kinds: list[pa.DataType]) -> pa.DataType:
    plain = set(map(_plain, kinds)) - {pa.null()}
    if len(plain) <= 1:
        return next(iter(plain), pa.string())
    schemas = [pa.schema([("", kind)]) for kind in sorted(plain, key=str)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    return pa.string() if types.is_large_string(kind) or types.is_string_view(kind) else kind


def shared_layout(files: Sequence[TelemetryFile], schema: pa.Schema, roles: Roles) -> Layout:
    """Return the layout of tables of the shared schema.

    Raises
    ------
    FileError
        A file by itself is read in another way: its device is in another column, say.
    """
    try:
        shared = Layout.guess(schema, **roles)
    except FrameError as error:
        raise FileError(str(error)) from error
    for file in files:
        for own, columns in file.kinds:
            if not reads_alike(own, columns, shared):
                raise FileError(
                    f"{file.name} does not fit the others: by itself it is read as a {own}, "
                    f"together with them as a {shared}; read it in a run of its own"
                )
    return shared


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with the columns of a shared schema; those that it lacks are null.

    Raises
    ------
    FileError
        A column of lists or objects is text in another file.
    """
    columns = []
    for column in schema:
        if column.name not in table.column_names:
            columns.append(pa.nulls(len(table), column.type))
            continue
        values = column_of(table, column.name)
        try:
            columns.append(values.cast(column.type, safe=False))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise FileError(
                f"column {column.name} is {values.type} in one file and {column.type} in another: "
                f"{error}"
            ) from error
    return pa.table(columns, schema=schema)


# Formats -----------------------------------------------------------------------------------------


def _typed(name: str, schema: pa.Schema, roles: Roles) -> list[tuple[Layout, Sequence[str]]]:
    there = {role: column for role, column in roles.items() if not column or column in schema.names}
    try:
        return [(Layout.guess(schema, **there), schema.names)]
    except FrameError as error:
        raise FileError(f"{name}: {error}") from error


def _open_csv(name: str, roles: Roles) -> TelemetryFile | None:
    with ByteStream(name) as stream:
        first = LineReader(stream, BadLines()).take().partition(b"\n")[0]
    if not first.strip():
        return None
    try:
        header = read_header(first)
    except ValueError as error:
        raise FileError(f"{name}: {error}") from error
    schema = pa.schema([(column, pa.string()) for column in header.names])

    def tables(bad: BadLines) -> Iterator[pa.Table]:
        return _csv_tables(name, header, bad)

    return TelemetryFile(name, schema, _typed(name, schema, roles), tables)


def _csv_tables(name: str, header: CsvHeader, bad: BadLines) -> Iterator[pa.Table]:
    with ByteStream(name) as stream:
        reader = LineReader(stream, bad)
        _, _, rest = reader.take().partition(b"\n")
        reader.give_back(rest)
        while chunk := reader.take():
            before = reader.line - count_lines(chunk)
            table, wrong = parse(chunk, header)
            for number, reason in wrong:
                bad.add(name, before + number + 1, reason)
            yield table


def _open_json(name: str, roles: Roles) -> TelemetryFile | None:
    lines = JsonLines(roles)
    names: dict[str, None] = {}
    kinds: dict[tuple[str, ...], None] = {}
    with ByteStream(name) as stream:
        reader = LineReader(stream, BadLines())
        while chunk := reader.take():
            for kind in dict.fromkeys(map(tuple, lines.parse(chunk).rows)):
                names.update(dict.fromkeys(kind))
                kinds[lines.telling(kind)] = None
                if len(names) > FIELDS_MAX:
                    raise FileError(
                        f"{name}: more than {FIELDS_MAX} different fields; telemetry with names as "
                        f"values belongs into the long form, a row a reading: metric and value"
                    )
    if not names:
        return None
    known = [(layout, kind) for kind in kinds if not isinstance(layout := lines.layout(kind), str)]
    schema = pa.schema([(column, pa.string()) for column in names])

    def tables(bad: BadLines) -> Iterator[pa.Table]:
        return _json_tables(name, lines, tuple(names), bad)

    return TelemetryFile(name, schema, known, tables)


def _json_tables(
    name: str, lines: JsonLines, names: tuple[str, ...], bad: BadLines
) -> Iterator[pa.Table]:
    with ByteStream(name) as stream:
        reader = LineReader(stream, bad)
        while chunk := reader.take():
            before = reader.line - count_lines(chunk)
            parsed = lines.parse(chunk)
            for number, reason in parsed.bad:
                bad.add(name, before + number + 1, reason)
            yield lines.table(parsed, Run(0, len(parsed.rows), names))


def _open_parquet(name: str, roles: Roles) -> TelemetryFile:
    try:
        schema = pyarrow.parquet.read_schema(name)
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{name}: not readable as Parquet: {error}") from error

    def tables(bad: BadLines) -> Iterator[pa.Table]:
        return _parquet_tables(name)

    return TelemetryFile(name, schema, _typed(name, schema, roles), tables)


def _parquet_tables(name: str) -> Iterator[pa.Table]:
    try:
        with pyarrow.parquet.ParquetFile(name) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{name}: damaged Parquet: {error}") from error


def _open_arrow(name: str, roles: Roles) -> TelemetryFile:
    with open_arrow(name) as (schema, _):
        kinds = _typed(name, schema, roles)

    def tables(bad: BadLines) -> Iterator[pa.Table]:
        with open_arrow(name) as (_, batches):
            yield from (pa.Table.from_batches([batch]) for batch in batches)

    return TelemetryFile(name, schema, kinds, tables)


FORMATS: dict[str, Callable[[str, Roles], TelemetryFile | None]] = {
    ".parquet": _open_parquet,
    ".pq": _open_parquet,
    ".csv": _open_csv,
    ".tsv": _open_csv,
    ".ndjson": _open_json,
    ".jsonl": _open_json,
    ".arrow": _open_arrow,
    ".feather": _open_arrow,
    ".ipc": _open_arrow,
    ".arrows": _open_arrow,
}
"""Suffix -> what opens such a file."""
