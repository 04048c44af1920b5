"""CSV: rows of text, a line each."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv

from aiops.connectors.reading.lines import LINE_BYTES_MAX, TOO_LONG, Bad, count_lines


class CsvHeader(NamedTuple):
    """The first line of a CSV file."""

    names: tuple[str, ...]
    delimiter: str


def read_header(line: bytes) -> CsvHeader:
    """Read a header; the delimiter is the one of ``, tab ; |`` that it holds most often.

    Raises
    ------
    ValueError
        It is not UTF-8, names a column twice or leaves one without a name.
    """
    text = line.decode("utf-8-sig").rstrip("\r\n")
    delimiter = max(",\t;|", key=text.count)
    try:
        names = tuple(next(csv.reader([text], delimiter=delimiter, strict=True), ()))
    except csv.Error as error:
        raise ValueError(f"the header {text[:200]!r} is no CSV: {error}") from error
    if not names or not all(names) or len(set(names)) < len(names):
        raise ValueError(f"each column needs a name of its own; the header is {text[:200]!r}")
    return CsvHeader(names, delimiter)


def parse(chunk: bytes, header: CsvHeader) -> tuple[pa.Table, Bad]:
    """Return the rows of a chunk of lines as a table of text, and the bad lines.

    A row is a line: a quoted value may hold the delimiter, but no line break, because a quote that
    was torn off would then swallow the rest of the file. What is empty is null.
    """
    bad: Bad = []
    table = _parse_plain(chunk, header)
    if table is None:
        rows = _parse_quoted(chunk, header)
        if rows is None:
            rows = _parse_each(chunk, header, bad)
        columns = zip(*rows, strict=True) if rows else [()] * len(header.names)
        arrays = [pa.array([value or None for value in column], pa.string()) for column in columns]
        table = pa.table(arrays, names=list(header.names))
    return table, bad


def _may_be_too_long(chunk: bytes) -> bool:
    """Say whether some line is longer than what `csv` takes for one value."""
    limit = min(csv.field_size_limit(), LINE_BYTES_MAX)
    return len(chunk) > limit and max(map(len, chunk.split(b"\n"))) > limit


def _parse_plain(chunk: bytes, header: CsvHeader) -> pa.Table | None:
    """Return the table of a chunk in which each line is a row without quotes; else None."""
    if b'"' in chunk or b"\0" in chunk or chunk.count(b"\r") != chunk.count(b"\r\n"):
        return None
    if _may_be_too_long(chunk):
        return None
    names = list(header.names)
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(chunk),
            pyarrow.csv.ReadOptions(column_names=names, block_size=len(chunk) + 1),
            pyarrow.csv.ParseOptions(delimiter=header.delimiter, quote_char=False),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:
        return None
    return table if len(table) == count_lines(chunk) else None


def _parse_quoted(chunk: bytes, header: CsvHeader) -> list[list[str]] | None:
    """Return the rows of a chunk in which each line is a row; else None."""
    if _may_be_too_long(chunk):
        return None
    try:
        lines = chunk.decode("utf-8").removesuffix("\n").split("\n")
        rows = list(csv.reader(lines, delimiter=header.delimiter, strict=True))
    except (ValueError, csv.Error):
        return None
    # No row is of two lines if there are as many rows as lines.
    fits = len(rows) == len(lines) and set(map(len, rows)) == {len(header.names)}
    return rows if fits else None


def _parse_each(chunk: bytes, header: CsvHeader, bad: Bad) -> list[list[str]]:
    """Return the rows of the lines that are one, and take note of the others."""
    rows = []
    for number, line in enumerate(io.BytesIO(chunk)):
        line = line.removesuffix(b"\n")
        if not line.rstrip(b"\r"):
            continue
        try:
            if len(line) > LINE_BYTES_MAX:
                raise ValueError(TOO_LONG)
            text = line.decode("utf-8")
            values = next(csv.reader([text], delimiter=header.delimiter, strict=True))
            if len(values) != len(header.names):
                raise ValueError(f"{len(values)} values for {len(header.names)} columns")
        except (ValueError, csv.Error) as error:
            bad.append((number, str(error)))
        else:
            rows.append(values)
    return rows
