"""Bodies in protobuf: their messages are counted before the library makes any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from aiops.errors import TooLarge
from aiops.kernels.protobuf import GROUPED, I2, PACKED, PLAIN, REPEATED, count_messages

MESSAGES_MAX = 1 << 18
"""Of one body. The library takes up to 200 bytes for one, so these stay below 64 MiB; ten thousand
points with ten attributes each have 230,000."""

MESSAGES = "messages (points, attributes, values)"

_AS_BYTES = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_FIXED = (
    FieldDescriptor.TYPE_DOUBLE,
    FieldDescriptor.TYPE_FLOAT,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_SFIXED32,
)
"""As large in memory as on the wire."""


@dataclass(frozen=True)
class Shape:
    """What a message can hold, as `count_messages` wants it; the message itself is type 0."""

    message: Any
    """Its class."""
    child: I2

    @property
    def name(self) -> str:
        """Name of the message."""
        return str(self.message.DESCRIPTOR.name)

    @property
    def inner(self) -> frozenset[str]:
        """Names, in JSON too, of all fields in it that are messages."""
        fields = (field for type_ in _types(self.message.DESCRIPTOR) for field in type_.fields)
        found = (field for field in fields if field.message_type is not None)
        return frozenset(name for field in found for name in (field.name, field.json_name))

    def count(self, body: bytes, most: int = MESSAGES_MAX) -> int:
        """Return how many messages a body holds, or why it cannot be read; see the kernel."""
        return count_messages(np.frombuffer(body, np.uint8), self.child, 0, most)

    def parsed(self, body: bytes, most: int = MESSAGES_MAX, of: str = MESSAGES) -> Any:
        """Return a body as a message, if it holds no more messages than are allowed.

        Raises
        ------
        TooLarge
            It holds more than `most` messages.
        DecodeError
            It is no such message, or holds groups.
        """
        count = self.count(body, most)
        if count > most:
            raise TooLarge(
                f"more than {most} {of} in one message ({self.name}); send them in several"
            )
        if count < 0:
            raise DecodeError("groups" if count == GROUPED else "damaged, cut short or too deep")
        return self.message.FromString(body)


def shape_of(message: Any) -> Shape:
    """Return the shape of a class of messages, from its descriptor."""
    types = _types(message.DESCRIPTOR)
    place = {type_.full_name: at for at, type_ in enumerate(types)}
    cells: list[tuple[int, int, int]] = []
    for at, type_ in enumerate(types):
        for field in type_.fields:
            inner = field.message_type
            what = PLAIN if inner is None else place[inner.full_name]
            if inner is None and field.is_repeated and field.type not in _FIXED:
                what = REPEATED if field.type in _AS_BYTES else PACKED
            cells.append((at, field.number, what))
    child = np.full((len(types), 1 + max(number for _, number, _ in cells)), PLAIN, np.int16)
    for at, number, what in cells:
        child[at, number] = what
    return Shape(message, child)


def _types(outer: Descriptor) -> list[Descriptor]:
    """Return a type of messages, and all that one can hold."""
    found = {outer.full_name: outer}
    left = [outer]
    while left:
        for field in left.pop().fields:
            inner = field.message_type
            if inner is not None and inner.full_name not in found:
                found[inner.full_name] = inner
                left.append(inner)
    return list(found.values())
