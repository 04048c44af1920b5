"""Labels of rows: what else is known of a reading, wherever its frame keeps it."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from aiops.kernels.rows import B1, I8
from aiops.telemetry.columns import Remembered, column_of, is_text, read_names, read_numbers, whole
from aiops.telemetry.dialects import Alias
from aiops.telemetry.layout import Layout
from aiops.telemetry.normalised import Encoded


class Labels:
    """Labels of the rows of a table: columns of their own, or entries of one nested column.

    The nested one may be a map, a struct, or JSON objects as strings. Each label is read when
    first asked for.
    """

    def __init__(self, table: pa.Table, layout: Layout) -> None:
        self._table = table
        self._layout = layout
        self._nested = None if layout.labels is None else column_of(table, layout.labels)
        self._taken = {layout.device, layout.time, layout.metric, layout.value, layout.labels}
        self._read: dict[str, Encoded | None] = {}
        self._encoded: Encoded | None = None

    def get(self, name: str) -> Encoded | None:
        """Return the values of a label by row [n]; None if no row can have it."""
        if name not in self._read:
            self._read[name] = self._find(name)
        return self._read[name]

    def _find(self, name: str) -> Encoded | None:
        if self._nested is not None and _is_json(self._nested):
            encoded = self._in_objects(name)
            if encoded is not None:
                return encoded
            found = None
        else:
            found = None if self._nested is None else self._entry(self._nested, name)
        if found is None and name not in self._taken:
            found = column_of(self._table, name) if name in self._table.schema.names else None
        return None if found is None else read_names(found)

    def _entry(self, nested: pa.Array, name: str) -> pa.Array | None:
        kind = nested.type
        if types.is_struct(kind):
            return pc.struct_field(nested, [name]) if kind.get_field_index(name) >= 0 else None
        if types.is_map(kind):
            if not (types.is_string(kind.key_type) or types.is_large_string(kind.key_type)):
                return None
            key = pa.scalar(name, kind.key_type)
            return whole(pa.chunked_array([pc.map_lookup(nested, key, "first")]))
        return None

    def _in_objects(self, name: str) -> Encoded | None:
        """Return a label of rows that hold JSON objects; None: none of them has it."""
        if self._encoded is None:
            self._encoded = read_names(self._nested)
        code, values = self._encoded
        known = _OBJECTS.get(id(values))
        if known is None:
            known = _Objects([_object(value) for value in values], {})
            _OBJECTS.put(id(values), known, len(values), values)
        label = known.label(name)
        return None if label is None else Encoded(label.code[code], label.value)

    def sets(self) -> Encoded | None:
        """Return all labels of each row [n], as JSON objects; None: no row has any.

        Of columns beside the nested one those of texts are labels, unless they play a role.
        """
        roles = set(self._layout.columns.values())
        beside = [
            name
            for name in self._table.schema.names
            if name not in roles and is_text(self._table.schema.field(name).type)
        ]
        nested = self._nested
        if nested is not None and _is_json(nested) and not beside:
            return read_names(nested)
        pieces = [(name, read_names(column_of(self._table, name))) for name in beside]
        if nested is not None:
            names = [""] if _is_json(nested) else _entries(nested)
            for name in names:
                found = nested if name == "" else self._entry(nested, name)
                if found is not None:
                    pieces.append((name, read_names(found)))
        return _together(pieces) if pieces else None

    def where(self, alias: Alias, reading: pa.Array, rows: I8 | None) -> B1 | None:
        """Return where the conditions of `alias` hold, of the `rows` it reads; None: everywhere.

        `reading` holds the readings of those rows.
        """
        holds: B1 | None = None
        for conditions, wanted in ((alias.when, True), (alias.unless, False)):
            for label, patterns in conditions:
                matches = self._matches(label, patterns, rows, len(reading))
                holds = _both(holds, matches if wanted else ~matches)
        if alias.same_as:
            holds = _both(holds, self._equals(alias.same_as, reading, rows))
        return None if holds is not None and holds.all() else holds

    def _matches(self, label: str, patterns: tuple[str, ...], rows: I8 | None, n: int) -> B1:
        encoded = self.get(label)
        absent = any(fnmatchcase("", pattern) for pattern in patterns)
        if encoded is None:
            return np.full(n, absent)
        hits = [any(fnmatchcase(value, p) for p in patterns) for value in encoded.value]
        code = encoded.code if rows is None else encoded.code[rows]
        matches: B1 = np.array([*hits, absent], np.bool_)[code]
        return matches

    def _equals(self, name: str, reading: pa.Array, rows: I8 | None) -> B1:
        if name not in self._table.schema.names:
            return np.zeros(len(reading), np.bool_)
        other = read_numbers(column_of(self._table, name))[0]
        equal: B1 = read_numbers(reading)[0] == (other if rows is None else other[rows])
        return equal


class _Objects(NamedTuple):
    """JSON objects of a list of texts, and what their labels were found to be."""

    objects: list[object]
    labels: dict[str, Encoded | None]

    def label(self, name: str) -> Encoded | None:
        """Return a label of each object [k + 1], the last standing for no object."""
        if name not in self.labels:
            found = [one.get(name) if isinstance(one, dict) else None for one in self.objects]
            texts = [None if value is None else str(value) for value in found]
            place: dict[str, int] = {}
            code = [-1 if t is None else place.setdefault(t, len(place)) for t in texts]
            self.labels[name] = (
                Encoded(np.array([*code, -1], np.int32), list(place)) if place else None
            )
        return self.labels[name]


_OBJECTS: Remembered[_Objects] = Remembered()
"""Live streams send the same label sets with every frame."""


def _entries(nested: pa.Array) -> list[str]:
    """Return the names of the labels that a column of structs or maps has."""
    kind = nested.type
    if types.is_struct(kind):
        return [kind.field(i).name for i in range(kind.num_fields)]
    return [name for name in read_names(whole(pa.chunked_array([nested.keys]))).value if name]


def _together(pieces: list[tuple[str, Encoded]]) -> Encoded:
    """Return labels [n] of several columns as JSON objects; "" stands for one that holds some."""
    code = np.zeros(len(pieces[0][1].code), np.int64)
    for _, (codes, values) in pieces:
        code = np.unique(code * (len(values) + 1) + codes + 1, return_inverse=True)[1]
    _, first, code = np.unique(code, return_index=True, return_inverse=True)
    objects = []
    for row in first.tolist():
        labels: dict[str, object] = {}
        for name, (codes, values) in pieces:
            if codes[row] < 0:
                continue
            held = _object(values[codes[row]]) if name == "" else {name: values[codes[row]]}
            labels |= held if isinstance(held, dict) else {}
        objects.append(json.dumps(labels, sort_keys=True))
    return Encoded(code.astype(np.int32), objects)


def _is_json(nested: pa.Array) -> bool:
    return not types.is_struct(nested.type) and not types.is_map(nested.type)


def _both(a: B1 | None, b: B1) -> B1:
    return b if a is None else a & b


def _object(text: str) -> object:
    try:
        found: object = json.loads(text)
    except ValueError:
        return None
    return found
