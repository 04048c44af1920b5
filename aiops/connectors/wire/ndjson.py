"""JSON rows over the network: a line each, or an array of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec
import pyarrow as pa

from aiops.connectors.reading.json_lines import BOM, JsonLines, JsonRows
from aiops.connectors.wire.build import Refusals
from aiops.connectors.wire.decoded import Decoded
from aiops.connectors.wire.frames import checked
from aiops.connectors.wire.limits import Limits
from aiops.errors import PayloadError, TooLarge

CHUNK_BYTES = 1 << 18
"""How much is held as objects at once, about."""
TABLES_MAX = 256
OBJECTS_MAX = 1 << 18
"""Objects in one JSON array, nested ones too; NDJSON is bounded by its bytes and cells."""
TWICE = "a name is there twice in one object"

_json = JsonLines({})


def decode(body: bytes, recv_ns: int, limits: Limits) -> Decoded:
    """Decode lines of JSON objects (``application/x-ndjson``) to tables of text.

    Rows come in order; those that are not read alike come in tables of their own (see
    `aiops.connectors.reading.json_lines.JsonLines`). A line that is no row is refused, and so is
    one with a name twice: which of two devices holds cannot be known. ``samples`` counts rows.
    `recv_ns` is not used: a row tells its own time.

    Raises
    ------
    TooLarge
        It holds more cells than the limits allow, or more than `TABLES_MAX` tables.
    PayloadError
        So many lines are bad that this is no NDJSON.
    """
    return _Reading(limits).decoded(_chunks(body))


def decode_json(body: bytes, recv_ns: int, limits: Limits) -> Decoded:
    """Decode a JSON array of objects, or a single one (``application/json``), as `decode` does.

    Raises
    ------
    TooLarge
        As of `decode`, or more than `OBJECTS_MAX` objects.
    PayloadError
        It is no JSON, or neither an array nor an object.
    """
    if body.count(b"{") > OBJECTS_MAX:
        raise TooLarge(
            f"the JSON holds more than {OBJECTS_MAX} objects: send it in several, or as "
            "application/x-ndjson"
        )
    text = body.removeprefix(BOM).strip()
    try:
        objects = _array(text) if text.startswith(b"[") else [msgspec.Raw(text)]
    except (ValueError, RecursionError) as cause:
        raise PayloadError(f"the body is no JSON array: {cause}") from cause
    if not text.startswith((b"[", b"{")):
        raise PayloadError(f"a JSON array of objects was expected, found {text[:40]!r}")
    # A bare line break can only stand between tokens, where a space means the same.
    lines = (bytes(raw).replace(b"\n", b" ") for raw in objects)
    return _Reading(limits).decoded(_joined(lines))


_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _chunks(body: bytes) -> Iterator[bytes]:
    """Yield whole lines, about `CHUNK_BYTES` at once."""
    begin = 0
    while begin < len(body):
        end = body.find(b"\n", begin + CHUNK_BYTES) + 1
        end = end or len(body)
        yield body[begin:end]
        begin = end


def _joined(lines: Iterator[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size > CHUNK_BYTES:
            yield b"\n".join(held)
            held, size = [], 0
    yield b"\n".join(held)


class _Reading:
    """One payload on its way."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.cells = 0
        self.tables: list[pa.Table] = []
        self.refusals = Refusals()

    def decoded(self, chunks: Iterator[bytes]) -> Decoded:
        line = 0
        for chunk in chunks:
            self.read(chunk, line)
            line += chunk.count(b"\n")
        tables = tuple(table for table in self.tables if len(table))
        return Decoded(tables, self.refusals.listed(), samples=sum(map(len, tables)))

    def read(self, chunk: bytes, line: int) -> None:
        parsed = _json.parse(chunk)
        for number, reason in parsed.bad:
            self.refusals.add_line(line + number + 1, reason)
        if may_repeat(chunk, parsed.rows):
            parsed = self.without_repeats(parsed, line)
        names = set(chain.from_iterable(parsed.rows))
        self.cells += len(parsed.rows) * len(names)
        if self.cells > self.limits.cells:
            raise TooLarge(
                f"the rows hold more than {self.limits.cells} cells (rows times the names among "
                "them): send fewer, or those of one kind at once"
            )
        while parsed.rows:
            # The last run is left out while it may go on; nothing follows here, so ask again.
            runs = _json.runs(parsed)
            for run in runs:
                self.add(_json.table(parsed, run))
            end = runs[-1].end
            parsed = JsonRows(parsed.rows[end:], parsed.line[end:], parsed.number[end:], [])

    def without_repeats(self, parsed: JsonRows, line: int) -> JsonRows:
        found = JsonRows([], [], [], [])
        for row, text, number in zip(parsed.rows, parsed.line, parsed.number, strict=True):
            if may_repeat(text, [row]) and repeats(text):
                self.refusals.add_line(line + number + 1, TWICE, text)
            else:
                found.rows.append(row)
                found.line.append(text)
                found.number.append(number)
        return found

    def add(self, table: pa.Table) -> None:
        table = checked(table, self.refusals)
        last = self.tables[-1] if self.tables else None
        if last is not None and last.schema == table.schema:
            self.tables[-1] = pa.concat_tables([last, table])
        elif len(self.tables) < TABLES_MAX:
            self.tables.append(table)
        else:
            raise TooLarge(
                f"rows of different kinds alternate more than {TABLES_MAX} times: send those of "
                "one kind together"
            )


def may_repeat(lines: bytes, rows: list[dict[str, Any]]) -> bool:
    """Say whether some object of these lines, read as `rows`, might have a name twice.

    Each name has its colon. If there are no more colons than names that were read, and than in
    the texts that were read, no name was overwritten. A backslash may hide a colon.
    """
    colons = lines.count(b":") - sum(map(len, rows))
    if not colons:
        return False
    if b"\\" in lines:
        return True
    values = chain.from_iterable(map(dict.values, rows))
    seen = sum(value.count(":") for value in values if type(value) is str)
    return colons != seen


def repeats(line: bytes) -> bool:
    """Say whether an object of this line, a nested one too, has a name twice."""
    try:
        json.loads(line.removeprefix(BOM), object_pairs_hook=_once, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return True
    return False


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError(TWICE)
