"""Messages within a message, counted by the library: it reads all fields as if it knew none."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

VARINT, BYTES, GROUP = 0, 2, 3
STRINGS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
VARINTS = (
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_SINT32,
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_ENUM,
)


class GroupFound(Exception):
    """There are groups in it."""


def count(body: bytes, type_: Descriptor, run: int) -> int | None:
    """Return how many messages there are in one of a type; None: it is damaged.

    Strings of a list count like messages, and varints of one; if they are packed, `run` bytes.
    """
    try:
        return sum(_each(body, type_, run))
    except DecodeError:
        return None


def _each(body: bytes, type_: Descriptor, run: int) -> Iterator[int]:
    for found in UnknownFieldSet(Empty.FromString(body)):
        if found.wire_type == GROUP:
            raise GroupFound
        if found.field_number == 0:  # let through for a message without fields, and for no other
            raise DecodeError
        field = type_.fields_by_number.get(found.field_number)
        if field is None:
            continue
        if found.wire_type == BYTES and field.message_type is not None:
            yield 1
            yield from _each(found.data, field.message_type, run)
        elif found.wire_type == BYTES and field.is_repeated and field.type in STRINGS:
            yield 1
        elif found.wire_type == BYTES and field.is_repeated and field.type in VARINTS:
            yield 1 + len(found.data) // run
        elif found.wire_type == VARINT and field.is_repeated and field.type in VARINTS:
            yield 1


def made(message: Message) -> int:
    """Return how many messages the library made in one, where each was on the wire once."""
    inner = (
        one
        for field, value in message.ListFields()
        if field.message_type is not None
        for one in (value if field.is_repeated else [value])
    )
    return sum(1 + made(one) for one in inner)
