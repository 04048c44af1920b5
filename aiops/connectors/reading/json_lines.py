"""NDJSON: rows of text, a JSON object each."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from aiops.connectors.reading.lines import LINE_BYTES_MAX, TOO_LONG, Bad
from aiops.errors import FrameError
from aiops.telemetry.layout import NAMES, Layout

FIELDS_MAX = 4096
"""A line of more fields is bad."""
CELLS_MAX = 1 << 24
"""Rows times columns of one frame, most of them perhaps empty."""
KINDS_KEPT = 1024
"""Kinds of rows whose layout is remembered."""
BOM = b"\xef\xbb\xbf"
"""What some editors put in front of UTF-8."""

Row = dict[str, Any]
Fields = tuple[str, ...]


class JsonRows(NamedTuple):
    """The rows of a chunk of lines."""

    rows: list[Row]
    line: list[bytes]
    """[n] the line of each row."""
    number: list[int]
    """[n] its number within the chunk, counted from 0."""
    bad: Bad


class Run(NamedTuple):
    """Neighbouring rows that can share a table."""

    begin: int
    end: int
    """Exclusive."""
    names: tuple[str, ...]
    """All their fields, in order of appearance."""


_decode = msgspec.json.Decoder(float_hook=str).decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_CONSTANTS = {"NaN": None, "Infinity": "Infinity", "-Infinity": "-Infinity"}
"""What JSON does not have and devices send all the same: NaN means *not reported*."""


class JsonLines:
    """Reads lines of JSON objects, and knows which of them can share a table.

    Which column plays a role (is the device, the time ...) is guessed from the columns of a table.
    So rows of different senders share a table only if each row's own fields lead to the same
    guess: otherwise what is said of a row would depend on its neighbours.

    Parameters
    ----------
    roles
        Columns that play a role, where they cannot be guessed: see `Layout.guess`.
    """

    def __init__(self, roles: Mapping[str, str | None]) -> None:
        self.roles = dict(roles)
        self._names = {*chain(*NAMES.values())} | {n.casefold() for n in roles.values() if n}
        self._telling: dict[Fields, Fields] = {}
        self._layouts: dict[Fields, Layout | str] = {}

    # Rows ----------------------------------------------------------------------------------------

    def parse(self, chunk: bytes) -> JsonRows:
        """Return the rows of a chunk of lines; each names a device and a time, maybe as null."""
        lines = chunk.split(b"\n")
        if not lines[-1]:
            lines.pop()
        try:
            rows = [_decode(line) for line in lines]
        except (ValueError, RecursionError):
            return self._parse_each(lines)
        if set(map(type, rows)) != {dict} or max(map(len, lines)) > LINE_BYTES_MAX:
            return self._parse_each(lines)
        if any(isinstance(self.layout(kind), str) for kind in set(map(tuple, rows))):
            return self._parse_each(lines)
        return JsonRows(rows, lines, list(range(len(rows))), [])

    def _parse_each(self, lines: list[bytes]) -> JsonRows:
        found = JsonRows([], [], [], [])
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            row = _decode_one(line)
            layout = row if isinstance(row, str) else self.layout(tuple(row))
            if isinstance(row, str) or isinstance(layout, str):
                found.bad.append((number, str(layout)))
            else:
                found.rows.append(row)
                found.line.append(line)
                found.number.append(number)
        return found

    # Layouts -------------------------------------------------------------------------------------

    def layout(self, fields: Fields) -> Layout | str:
        """Return how a row with these fields is read, or why it cannot be."""
        if len(fields) > FIELDS_MAX:
            return f"{len(fields)} fields; more than {FIELDS_MAX} are too many"
        telling = self.telling(fields)
        known = self._layouts.get(telling)
        if known is None:
            if len(self._layouts) >= KINDS_KEPT:
                self._layouts.clear()
            known = self._layouts[telling] = self._guess(telling)
        if isinstance(known, str):
            return f"{known} among {', '.join(fields[:20]) or 'no fields'}"
        return known

    def telling(self, fields: Fields) -> Fields:
        """Return those of the fields that may play a role."""
        known = self._telling.get(fields)
        if known is None:
            if len(self._telling) >= KINDS_KEPT:
                self._telling.clear()
            known = tuple(name for name in fields if name.casefold() in self._names)
            self._telling[fields] = known
        return known

    def _guess(self, telling: Fields) -> Layout | str:
        asked = {
            role: name
            for role, name in self.roles.items()
            if role in ("device", "time") or name is None or name in telling
        }
        try:
            return Layout.guess(pa.schema([(name, pa.string()) for name in telling]), **asked)
        except FrameError:
            return "no device or no time"

    def share(self, kinds: Iterable[Fields], names: Fields) -> bool:
        """Say whether rows of these kinds are read alike in a table with columns `names`."""
        shared = self.layout(names)
        return not isinstance(shared, str) and all(
            reads_alike(self.layout(kind), frozenset(kind), shared)
            for kind in dict.fromkeys(map(self.telling, kinds))
        )

    def runs(self, parsed: JsonRows) -> list[Run]:
        """Return the tables that the rows of a chunk make, as few as can be from the first on.

        The last run is left out where another went before it: it may go on in the next chunk. So
        is all that follows a run cut for its size.
        """
        kinds = dict.fromkeys(map(tuple, parsed.rows))
        names = _union(kinds)
        n = len(parsed.rows)
        if n * len(names) <= CELLS_MAX and self.share(kinds, names):
            return [Run(0, n, names)] if n else []
        found: list[Run] = []
        begin = 0
        while begin < n:
            run, cut = self._run(parsed.rows, begin)
            if run.end == n and found:
                break
            found.append(run)
            if cut:
                break
            begin = run.end
        return found

    def _run(self, rows: list[Row], begin: int) -> tuple[Run, bool]:
        """Return the run that begins here, and whether its size ended it."""
        seen: set[Fields] = set()
        telling: dict[Fields, None] = {}
        names: Fields = ()
        for end in range(begin, len(rows)):
            kind = tuple(rows[end])
            wider = names if kind in seen else _union([names, kind])
            if end > begin:
                if (end + 1 - begin) * len(wider) > CELLS_MAX:
                    return Run(begin, end, names), True
                known = self.telling(kind) in telling
                if not known and not self.share([*telling, kind], wider):
                    return Run(begin, end, names), False
            seen.add(kind)
            telling[self.telling(kind)] = None
            names = wider
        return Run(begin, len(rows), names), False

    # Tables --------------------------------------------------------------------------------------

    def table(self, parsed: JsonRows, run: Run) -> pa.Table:
        """Return a run as a table of text; what a row does not have is null.

        ``true`` and ``false`` become 1 and 0; lists and objects stay JSON. Columns asked for by
        `roles` are always there.
        """
        rows, lines = parsed.rows[run.begin : run.end], parsed.line[run.begin : run.end]
        asked = (name for name in self.roles.values() if name)
        names = _union([run.names, tuple(asked)])
        return pa.table({name: _column(name, rows, lines) for name in names})


def reads_alike(own: Layout | str, fields: Collection[str], shared: Layout) -> bool:
    """Say whether rows with these fields mean the same in a table read by another layout."""
    if isinstance(own, str) or own.is_long != shared.is_long:
        return False
    alone, together = own.columns, shared.columns
    return alone.items() <= together.items() and not any(
        column in fields for role, column in together.items() if role not in alone
    )


def _union(kinds: Iterable[Fields]) -> Fields:
    return tuple(dict.fromkeys(chain.from_iterable(kinds)))


# Values ------------------------------------------------------------------------------------------


def _decode_one(line: bytes) -> Row | str:
    """Return the object that a line holds, or why it holds none."""
    if len(line) > LINE_BYTES_MAX:
        return TOO_LONG
    line = line.removeprefix(BOM)
    try:
        value = _decode(line)
    except (ValueError, RecursionError) as error:
        lenient = _decode_leniently(line) if b"NaN" in line or b"Infinity" in line else None
        return str(error) if lenient is None else lenient
    return value if isinstance(value, dict) else f"a {type(value).__name__} and no object"


def _decode_leniently(line: bytes) -> Row | None:
    """Return the object of a line that writes NaN as Python does; None: it is not only that."""
    try:
        text = line.decode("utf-8")
        row = json.loads(text, parse_float=str, parse_constant=_CONSTANTS.__getitem__)
        if not isinstance(row, dict):
            return None
        for name, value in row.items():
            if isinstance(value, dict | list):
                row[name] = json.dumps(json.loads(text)[name], ensure_ascii=False)
        json.dumps(row, ensure_ascii=False).encode()  # raises for halves of surrogate pairs
    except (ValueError, RecursionError):
        return None
    return row


def _column(name: str, rows: list[Row], lines: list[bytes]) -> pa.Array:
    try:
        values = list(map(itemgetter(name), rows))
    except KeyError:
        values = [row.get(name) for row in rows]
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int}:
        try:
            return pa.array(values, pa.int64()).cast(pa.string())
        except (OverflowError, pa.ArrowInvalid):
            kinds = {object}  # more digits than a machine word holds
    if kinds - {str}:
        values = [
            value if value is None or type(value) is str else _spell(name, value, line)
            for value, line in zip(values, lines, strict=True)
        ]
    return pa.array(values, pa.string())


def _spell(name: str, value: Any, line: bytes) -> str:
    if isinstance(value, dict | list):
        return bytes(_decode_raw(line.removeprefix(BOM))[name]).decode()
    return str(int(value))
