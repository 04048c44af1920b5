"""Frames as the bodies of telemetry records, and back.

A live stream sends the same names and label sets with every payload, and they are most of its
bytes. So a frame is written in two pieces: a head, which is an Arrow IPC stream of no rows with
its dictionaries, compressed; and its rows, an IPC record batch of numbers. A head that was written
or read lately is known by its bytes and costs nothing again. Head and rows behind one another, with
an end of stream, are an Arrow IPC stream that every reader of Arrow takes.

A body that begins otherwise is an Arrow IPC stream as somebody sent it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
from pyarrow import types

from aiops.telemetry.columns import Remembered, fingerprint

MAGIC = b"AIP1"
"""No Arrow stream begins so: it would be a message of 800 MB."""
_SIZES = struct.Struct("<4sII")
REMEMBERED_BYTES = 128 << 20
"""Of heads and what they hold, on either side."""
_HEAD = pa.ipc.IpcWriteOptions(compression="zstd")
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_NOTHING = pa.array([], pa.int64())


def pack(tables: Sequence[pa.Table]) -> bytes:
    """Return frames as the body of a telemetry record."""
    pieces: list[bytes] = []
    for table in tables:
        (batch,) = table.combine_chunks().to_batches() or [_no_rows(table.schema)]
        head, rows = _head(batch), batch.serialize()
        pieces += [_SIZES.pack(MAGIC, len(head), rows.size), head, rows]
    return b"".join(pieces)


def unpack(body: bytes) -> list[pa.Table]:
    """Return the frames of a telemetry record, without copying."""
    if body[:4] != MAGIC:
        return list(_streams(body))
    tables, at = [], 0
    view = pa.py_buffer(body)
    while at < len(body):
        _, head, rows = _SIZES.unpack_from(body, at)
        at += _SIZES.size
        known = _known(body[at : at + head])
        at += head
        plain = pa.ipc.read_record_batch(view.slice(at, rows), known.plain)
        at += rows
        columns = plain.columns
        for k, dictionary in known.dictionaries:
            columns[k] = pa.DictionaryArray.from_arrays(columns[k], dictionary, safe=False)
        tables.append(pa.Table.from_arrays(columns, schema=known.schema))
    return tables


def is_frame(body: bytes, table: pa.Table) -> bool:
    """Say whether a sound Arrow IPC stream is, to its last byte, that table and nothing else.

    What follows the end of a stream was not looked at when it was decoded, and would be read as
    another frame by `unpack`.
    """
    source = pa.BufferReader(body)
    messages = pa.ipc.MessageReader.open_stream(source)
    schema = pa.ipc.read_schema(messages.read_next_message())
    for _ in messages:
        pass
    return bool(source.tell() == len(body) and schema.equals(table.schema))


def as_streams(body: bytes) -> list[bytes]:
    """Return the frames of a telemetry record as Arrow IPC streams, for other readers."""
    if body[:4] != MAGIC:
        return [body]
    found, at = [], 0
    while at < len(body):
        _, head, rows = _SIZES.unpack_from(body, at)
        at += _SIZES.size
        found.append(body[at : at + head + rows] + _END)
        at += head + rows
    return found


def _streams(body: bytes) -> Iterator[pa.Table]:
    stream = pa.BufferReader(body)
    while stream.tell() < len(body):
        yield pa.ipc.open_stream(stream).read_all()


# Heads -------------------------------------------------------------------------------------------


class _Read(NamedTuple):
    schema: pa.Schema
    plain: pa.Schema
    """With the numbers of names in the place of names."""
    dictionaries: list[tuple[int, pa.Array]]


_WRITTEN: Remembered[bytes] = Remembered(REMEMBERED_BYTES)
_READ: Remembered[_Read] = Remembered(REMEMBERED_BYTES)


def _head(batch: pa.RecordBatch) -> bytes:
    dictionaries = [c.dictionary for c in batch.columns if types.is_dictionary(c.type)]
    if not all(types.is_string(one.type) and not one.null_count for one in dictionaries):
        return _written(batch)
    key = batch.schema, tuple(map(fingerprint, dictionaries))
    known = _WRITTEN.get(key)
    if known is None:
        known = _written(batch)
        _WRITTEN.put(key, known, len(known))
    return known


def _written(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_HEAD) as stream:
        stream.write_batch(_without_rows(batch))
    return memoryview(sink.getvalue()).tobytes()[: -len(_END)]


def _known(head: bytes) -> _Read:
    key = len(head), hash(head)
    known = _READ.get(key)
    if known is None:
        (batch,) = pa.ipc.open_stream(head + _END)
        dictionaries = [
            (k, column.dictionary)
            for k, column in enumerate(batch.columns)
            if types.is_dictionary(column.type)
        ]
        plain = batch.schema
        for k, _ in dictionaries:
            field = plain.field(k)
            plain = plain.set(k, field.with_type(field.type.index_type))
        known = _Read(batch.schema, plain, dictionaries)
        _READ.put(key, known, len(head) + sum(one.nbytes for _, one in dictionaries))
    return known


def _without_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        pa.DictionaryArray.from_arrays(pa.array([], c.type.index_type), c.dictionary)
        if types.is_dictionary(c.type)
        else c.take(_NOTHING)  # a slice would keep what the rows had in it
        for c in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
