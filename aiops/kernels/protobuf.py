"""How many messages a message of Protocol Buffers holds, told before any of them is made.

Two bytes on the wire are enough for a message, which takes the library a hundred in memory. So the
wire format is walked through first: tags, varints, runs of bytes, and into those runs that a table
says are messages. Nothing outside of `data` is read, whatever it claims.
(protobuf.dev/programming-guides/encoding.)
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel

U1: TypeAlias = npt.NDArray[np.uint8]
I2: TypeAlias = npt.NDArray[np.int16]

DAMAGED, GROUPED = -1, -2
"""Not the wire format, or deeper than the library goes; holds groups, which nobody sends."""
PLAIN, REPEATED, PACKED = -1, -2, -3
"""Fields that are no messages: one value; a list of strings, or bytes; a list of varints."""
DEPTH = 128
"""Messages within messages; the library takes no more than 100."""
RUN = 4
"""Bytes of packed varints that count as one message: each may take 37 while its list grows."""

_VARINT, _FIXED8, _BYTES, _OPEN, _CLOSE, _FIXED4 = 0, 1, 2, 3, 4, 5
_SHORT = 5
"""Longest varint of a tag or a length, in bytes; the library takes no longer one either."""
_TAG_MAX = 1 << 32
_LENGTH_MAX = 1 << 31


@kernel
def _short(data: U1, at: int, end: int) -> tuple[int, int]:
    """Return a varint of at most `_SHORT` bytes, and where it ends (`DAMAGED`: nowhere)."""
    value = 0
    for k in range(min(_SHORT, end - at)):
        byte = int(data[at + k])
        value |= (byte & 127) << (7 * k)
        if byte < 128:
            return value, at + k + 1
    return 0, DAMAGED


@kernel
def _passed(data: U1, at: int, end: int) -> int:
    """Return where a varint of at most ten bytes, 64 bits, ends (`DAMAGED`: nowhere)."""
    for k in range(min(10, end - at)):
        if data[at + k] < 128:
            return DAMAGED if k == 9 and data[at + k] > 1 else at + k + 1
    return DAMAGED


@kernel
def count_messages(data: U1, child: I2, start: int, most: int) -> int:
    """Return how many messages there are in a message, without itself.

    What else takes more memory than bytes on the wire is counted too: each of a list of strings
    or varints, and `RUN` bytes of packed varints, as one message.

    Parameters
    ----------
    data
        The message.
    child
        [types, numbers] what a field of a message of a type is: the type of a message, `PLAIN`,
        `REPEATED` or `PACKED`. Numbers beyond the table are `PLAIN`.
    start
        The type of the message.
    most
        Once there are more, what is left is not looked at.

    Returns
    -------
    int
        The number, `DAMAGED` or `GROUPED`.
    """
    ends = np.empty(DEPTH, np.int64)  # of the messages that we are in, the outermost first
    types = np.empty(DEPTH, np.int64)
    ends[0], types[0] = len(data), start
    count = depth = at = 0
    end, type_ = len(data), start
    while True:
        while at == end:
            if depth == 0:
                return count
            depth -= 1
            end, type_ = ends[depth], types[depth]
        if data[at] < 128:  # most of them
            tag, at = int(data[at]), at + 1
        else:
            tag, at = _short(data, at, end)
        if at < 0 or tag < 8 or tag >= _TAG_MAX:
            return DAMAGED
        number, wire = tag >> 3, tag & 7
        what = int(child[type_, number]) if number < child.shape[1] else PLAIN
        if wire == _BYTES:
            if at < end and data[at] < 128:
                length, at = int(data[at]), at + 1
            else:
                length, at = _short(data, at, end)
            if at < 0 or length >= _LENGTH_MAX or length > end - at:
                return DAMAGED
            if what != PLAIN:
                count += 1 if what != PACKED else 1 + length // RUN
                if count > most:
                    return count
            if what < 0:
                at += length
                continue
            depth += 1
            if depth == DEPTH:
                return DAMAGED
            end, type_ = at + length, what
            ends[depth], types[depth] = end, type_
        elif wire == _VARINT:
            at = _passed(data, at, end)
            if at < 0:
                return DAMAGED
            if what == PACKED:  # and is not
                count += 1
                if count > most:
                    return count
        elif wire in (_FIXED8, _FIXED4):
            at += 8 if wire == _FIXED8 else 4
            if at > end:
                return DAMAGED
        else:
            return GROUPED if wire in (_OPEN, _CLOSE) else DAMAGED
