"""Arrow IPC streams: the fast way in.

Every message of a stream says how much it holds before any of it is held. That is read first, and
a stream that would become too much is refused while it is still small. (Arrow columnar format,
"Serialization and Interprocess Communication"; Message.fbs and Schema.fbs.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from aiops.connectors.wire.build import Refusals
from aiops.connectors.wire.decoded import Decoded
from aiops.connectors.wire.frames import checked
from aiops.connectors.wire.limits import Limits
from aiops.errors import PayloadError, TooLarge
from aiops.telemetry.columns import whole

COLUMNS_MAX = 4096
"""Of one stream, nested ones counted each for itself."""
ARRAY_CELLS = 64
"""What an array costs, however short it is, in cells."""

SCHEMA, DICTIONARY_BATCH, RECORD_BATCH = 1, 2, 3


def decode(body: bytes, recv_ns: int, limits: Limits) -> Decoded:
    """Decode an Arrow IPC stream (``application/vnd.apache.arrow.stream``) to the frame it is.

    Columns keep names and types, but views and run lengths become plain; what the front door cannot
    read it sets aside. ``samples`` counts rows. `recv_ns` is not used: a frame tells its own times.

    Raises
    ------
    TooLarge
        It holds, or would unpack to, more than the limits allow; nothing was unpacked.
    PayloadError
        It is no Arrow stream, is damaged, or has no device or no time.
    """
    try:
        _weigh(body, limits)
        with pa.ipc.open_stream(body) as stream:
            table = stream.read_all()
        table.validate(full=True)
        plain = [_plain(column, limits) for column in table.columns]
        refusals = Refusals()
        table = checked(pa.table(plain, names=table.schema.names), refusals)
    except PayloadError:
        raise
    except Exception as cause:  # pyarrow raises many kinds for what is damaged
        raise PayloadError(f"the body is no sound Arrow IPC stream: {cause}"[:500]) from cause
    tables = (table,) if len(table) else ()
    return Decoded(tables, refusals.listed(), samples=len(table))


def _weigh(body: bytes, limits: Limits) -> None:
    """Raise if what the messages declare is more than is allowed."""
    bytes_left, cells_left = limits.unpacked(len(body)), limits.cells
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(body)):
        root = _Place.root(message.metadata)
        kind, header = root.number(1, "<B"), root.table(2)
        if kind == SCHEMA and header is not None:
            _count_columns(header)
            continue
        if kind == DICTIONARY_BATCH and header is not None:
            header = header.table(1)
        elif kind != RECORD_BATCH:
            raise PayloadError(f"an Arrow stream was expected; it holds a message of kind {kind}")
        if header is None:
            raise PayloadError("the Arrow stream holds a message without a header")
        cells_left -= _cells(header, cells_left)
        bytes_left -= _bytes(header, message.body, bytes_left)
        if cells_left < 0:
            raise TooLarge(
                f"the Arrow stream holds more than {limits.cells} cells (rows times columns, an "
                f"array at least {ARRAY_CELLS}): send it in several, with larger batches"
            )
        if bytes_left < 0:
            raise TooLarge(
                f"the Arrow stream would become more than {limits.unpacked(len(body))} bytes: "
                "send it in several"
            )


def _cells(batch: _Place, left: int) -> int:
    """Return the cells a batch declares, those of nested arrays too, or more than are left."""
    cells = max(batch.number(0, "<q"), 0)
    nodes = batch.vector(1, 16)
    for length, _ in () if nodes is None else struct.iter_unpack("<qq", nodes):
        if length < 0:
            raise PayloadError("the Arrow stream declares an array of negative length")
        cells += max(length, ARRAY_CELLS)
        if cells > left:
            break
    return cells


def _bytes(batch: _Place, body: pa.Buffer, left: int) -> int:
    """Return the bytes the buffers of a batch become, shared ones counted each time."""
    is_packed = batch.table(3) is not None
    buffers = batch.vector(2, 16)
    total = 0
    for offset, length in () if buffers is None else struct.iter_unpack("<qq", buffers):
        if length < 0 or offset < 0 or offset + length > len(body):
            raise PayloadError("the Arrow stream declares a buffer beyond its message")
        total += length
        if is_packed and length >= 8:
            # The length before it was packed; -1: it was not.
            total += max(struct.unpack_from("<q", body, offset)[0], 0)
        if total > left:
            break
    return total


def _count_columns(schema: _Place) -> None:
    found, waiting = 0, [schema.tables(1)]
    while waiting:
        for field in waiting.pop():
            found += 1
            if found > COLUMNS_MAX:
                raise TooLarge(f"the Arrow stream has more than {COLUMNS_MAX} columns")
            waiting.append(field.tables(5))


# What a few bytes can spread to --------------------------------------------------------------


def _plain(column: pa.ChunkedArray, limits: Limits) -> pa.ChunkedArray:
    """Return a column without what lets few bytes stand for many.

    Raises
    ------
    TooLarge
        It would be too much, or repeats texts that are too long.
    PayloadError
        Something of the kind lies within a type where it cannot be weighed.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(
            pa.chunked_array([c.storage for c in column.chunks], kind.storage_type), limits
        )
    if types.is_string_view(kind) or types.is_binary_view(kind):
        size = sum(map(_viewed, column.chunks))
    elif types.is_run_end_encoded(kind) and types.is_string(kind.value_type):
        size = sum(_longest(chunk.values) * len(chunk) for chunk in column.chunks)
    elif types.is_run_end_encoded(kind) and types.is_primitive(kind.value_type):
        size = 0  # cells have been counted
    elif types.is_dictionary(kind) and _is_text(kind.value_type):
        if max((_longest(chunk.dictionary) for chunk in column.chunks), default=0) > (
            limits.value_bytes
        ):
            raise TooLarge(
                f"a dictionary holds a text of more than {limits.value_bytes} bytes: send such "
                "texts plain"
            )
        return column
    elif any(map(_repeats, (kind, *_inner(kind)))):
        raise PayloadError(f"a column of type {kind} cannot be taken: send it without views")
    else:
        return column
    if size > limits.unpacked_bytes:
        raise TooLarge(f"a column of type {kind} would become {size} bytes: send it in several")
    return pa.chunked_array([whole(column)])


def _viewed(views: pa.Array) -> int:
    """Return how many bytes are seen; a view is 16 bytes, and begins with its size."""
    sizes = np.frombuffer(views.buffers()[1], np.int32)[4 * views.offset :: 4]
    return int(sizes[: len(views)].sum(dtype=np.int64))


def _longest(texts: pa.Array) -> int:
    return int(pc.max(pc.binary_length(texts)).as_py() or 0)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    )


def _repeats(kind: pa.DataType) -> bool:
    return bool(
        types.is_string_view(kind)
        or types.is_binary_view(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
        or types.is_run_end_encoded(kind)
    )


def _inner(kind: pa.DataType) -> Iterator[pa.DataType]:
    """Yield the types within a type."""
    if types.is_dictionary(kind):
        yield kind.value_type
        yield from _inner(kind.value_type)
    for at in range(kind.num_fields):
        yield kind.field(at).type
        yield from _inner(kind.field(at).type)


# The few tables of flatbuffers that are read ---------------------------------------------------


class _Place(NamedTuple):
    """A table of a flatbuffer that pyarrow has verified; see flatbuffers.dev, "Internals"."""

    data: memoryview
    at: int

    @classmethod
    def root(cls, metadata: pa.Buffer) -> _Place:
        data = memoryview(metadata)
        return cls(data, *struct.unpack_from("<I", data))

    def field(self, number: int) -> int | None:
        """Return where a field's value is; None: it is left out."""
        table = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        if 4 + 2 * number >= struct.unpack_from("<H", self.data, table)[0]:
            return None
        offset: int = struct.unpack_from("<H", self.data, table + 4 + 2 * number)[0]
        return self.at + offset if offset else None

    def number(self, number: int, code: str) -> int:
        """Return a number; 0 if it is left out."""
        at = self.field(number)
        return 0 if at is None else int(struct.unpack_from(code, self.data, at)[0])

    def target(self, at: int) -> int:
        """Return what an offset points to."""
        return at + int(struct.unpack_from("<I", self.data, at)[0])

    def table(self, number: int) -> _Place | None:
        """Return a table within."""
        at = self.field(number)
        return None if at is None else _Place(self.data, self.target(at))

    def vector(self, number: int, width: int) -> memoryview | None:
        """Return the elements of a vector of structs, each `width` bytes."""
        at = self.field(number)
        if at is None:
            return None
        begin = self.target(at)
        (n,) = struct.unpack_from("<I", self.data, begin)
        return self.data[begin + 4 : begin + 4 + n * width]

    def tables(self, number: int) -> Iterator[_Place]:
        """Yield the tables of a vector of tables."""
        offsets = self.vector(number, 4)
        start = 0 if offsets is None else self.target(self.field(number) or 0) + 4
        for k in range(0 if offsets is None else len(offsets) // 4):
            yield _Place(self.data, self.target(start + 4 * k))
