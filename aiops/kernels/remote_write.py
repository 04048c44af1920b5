"""Where the series and samples of a Prometheus remote write message lie.

The wire format of Protocol Buffers and nothing more: tags, varints, runs of bytes. Labels stay the
bytes they are, so that who has seen a series before need not read it again. Nothing outside of
`data` is read, whatever it claims. (protobuf.dev/programming-guides/encoding.)

Senders repeat themselves: of version 1, labels that are the bytes that came after the same series
the last time are not even walked through.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.interned import PLAIN, U1, USED, Interned, find, same
from aiops.kernels.rows import I4, I8

U4: TypeAlias = npt.NDArray[np.uint32]

DAMAGED, GROUPED, TOO_MANY, UNUSUAL = -1, -2, -3, -4
"""Not the wire format; holds groups, which no remote write has; more than the arrays have room; not
as everybody writes it."""

_VARINT, _FIXED8, _BYTES, _OPEN, _CLOSE, _FIXED4 = 0, 1, 2, 3, 4, 5
_VALUE, _TIME = 1 << 3 | _FIXED8, 2 << 3 | _VARINT
"""Tags of a sample's fields, as everybody writes them."""
_NAME, _TOLD = 1 << 3 | _BYTES, 2 << 3 | _BYTES
"""Those of a label's, of which the first is also that of labels of a series."""
_SHORT = 5
"""Longest varint of a tag or a length, in bytes; the library takes no longer one either."""
_TAG_MAX = 1 << 32
_LENGTH_MAX = 1 << 31


@kernel
def varint(data: U1, at: int, end: int) -> tuple[int, int]:
    """Return a varint as int64, the bits beyond cut off, and where it ends (`DAMAGED`: nowhere)."""
    if at >= end:
        return 0, DAMAGED
    value = int(data[at])
    if value < 128:  # most of them: tags, and lengths of labels
        return value, at + 1
    value &= 127
    for k in range(1, 10):
        if at + k >= end:
            return 0, DAMAGED
        byte = int(data[at + k])
        if k == 9:  # one bit is left, the sign
            return value | -(byte & 1) << 63, DAMAGED if byte > 1 else at + 10
        value |= (byte & 127) << (7 * k)
        if byte < 128:
            return value, at + k + 1
    return 0, DAMAGED


@kernel
def fixed8(data: U1, at: int) -> int:
    """Return eight bytes, the lowest first, as int64."""
    value = 0
    for k in range(7):
        value |= int(data[at + k]) << (8 * k)
    highest = int(data[at + 7])
    return value | (highest - ((highest & 128) << 1)) << 56


@kernel
def field(data: U1, at: int, end: int) -> tuple[int, int, int, int]:
    """Return number, wire type, and where the value of a field begins and ends.

    An end below 0 says why there is none. The bytes of a run begin after its length.
    """
    tag, begin = varint(data, at, end)
    if begin < 0 or begin - at > _SHORT or tag < 8 or tag >= _TAG_MAX:
        return 0, 0, 0, DAMAGED
    number, kind = tag >> 3, tag & 7
    after = begin
    if kind == _VARINT:
        _, after = varint(data, begin, end)
    elif kind == _FIXED8:
        after = begin + 8
    elif kind == _FIXED4:
        after = begin + 4
    elif kind == _BYTES:
        length, begin = varint(data, after, end)
        if begin < 0 or begin - after > _SHORT or length < 0 or length >= _LENGTH_MAX:
            return 0, 0, 0, DAMAGED
        after = begin + length
    else:
        return 0, 0, 0, GROUPED if kind in (_OPEN, _CLOSE) else DAMAGED
    return number, kind, begin, DAMAGED if after > end else after


@kernel
def scan(
    data: U1,
    is_v2: bool,
    series: I8,
    ts_ms: I8,
    bits: I8,
    histogram: I8,
    symbol: I8,
    refs: U4,
    known: Interned,
    n_known: int,
    ids: I4,
) -> tuple[int, int, int, int, int, int]:
    """Say where everything is in a message; return how much of it there is, or why there is none.

    Written from the front, in the order of the message: `series` [s, 4] its labels, from and to,
    and how many samples and histograms it has; `ts_ms` and `bits` [n] of each sample, the value as
    the bits of a double; `histogram` [h, 2] from and to; of version 2 `symbol` [k, 2] from and to,
    and all `refs` [r], of which labels count from and to. Of version 1 labels are bytes of `data`,
    which may hold other fields in between, and `ids` [s] are their numbers among the `n_known`
    that are `known`, -1: it has none. Those with nothing in between are `PLAIN`: where such a one
    is met again, it can be passed over whole. Returned are s, n, h, k, r and the number of
    exemplars; the first is `DAMAGED`, `GROUPED` or `TOO_MANY` where the rest means nothing.
    """
    s = n = h = k = r = exemplars = 0
    # Version 2 moved the series, and swapped histograms and exemplars.
    series_field, histogram_field, exemplar_field = (5, 3, 4) if is_v2 else (1, 4, 3)
    text, begins, _, followers, mark, _, _ = known
    before = -1
    at, end = 0, len(data)
    while at < end:
        number, kind, begin, after = field(data, at, end)
        if after < 0:
            return after, 0, 0, 0, 0, 0
        at = after
        if kind != _BYTES:
            continue
        if is_v2 and number == 4:
            if k == len(symbol):
                return TOO_MANY, 0, 0, 0, 0, 0
            symbol[k, 0], symbol[k, 1] = begin, after
            k += 1
        if number != series_field:
            continue
        if s == len(series):
            return TOO_MANY, 0, 0, 0, 0, 0
        first, last = (r, r) if is_v2 else (0, 0)
        samples = histograms = 0
        inner = begin
        guessed, is_plain = -1, True
        if not is_v2 and before >= 0:
            again = int(followers[before])
            if 0 <= again < n_known and mark[again] & PLAIN:
                length = begins[again + 1] - begins[again]
                if length <= after - begin and same(text, begins[again], data, begin, length):
                    guessed = again
                    first, last = begin, begin + length
                    inner = last
        while inner < after:
            tag = inner
            short = tag + 1 < after and data[tag] < 128 and data[tag + 1] < 128
            if short and data[tag] & 7 == _BYTES and data[tag] > 7:
                # Nearly every field, without the cost of a call.
                number, kind, begin = int(data[tag]) >> 3, _BYTES, tag + 2
                inner = begin + int(data[tag + 1])
                if inner > after:
                    return DAMAGED, 0, 0, 0, 0, 0
            else:
                number, kind, begin, inner = field(data, tag, after)
                if inner < 0:
                    return inner, 0, 0, 0, 0, 0
            if is_v2 and number == 1 and kind in (_BYTES, _VARINT):
                while begin < inner:
                    if r == len(refs):
                        return TOO_MANY, 0, 0, 0, 0, 0
                    ref = int(data[begin])
                    if ref < 128:
                        begin += 1
                    elif begin + 1 < inner and data[begin + 1] < 128:
                        ref = ref & 127 | int(data[begin + 1]) << 7
                        begin += 2
                    else:
                        ref, begin = varint(data, begin, inner)
                        if begin < 0:
                            return DAMAGED, 0, 0, 0, 0, 0
                    refs[r] = ref & 0xFFFFFFFF
                    r += 1
                last = r
            if kind != _BYTES:
                continue
            if number == 1 and not is_v2:
                if last == 0:
                    first = tag
                elif tag != last:
                    is_plain = False
                last = inner
                guessed = -1
            elif number == 2:
                if n == len(bits):
                    return TOO_MANY, 0, 0, 0, 0, 0
                ts_ms[n], bits[n] = 0, 0
                while begin < inner:
                    if data[begin] == _VALUE and begin + 9 <= inner:
                        value, begin = begin + 1, begin + 9
                        bits[n] = fixed8(data, value)
                        continue
                    if data[begin] == _TIME:
                        ts_ms[n], begin = varint(data, begin + 1, inner)
                    else:
                        number, kind, value, begin = field(data, begin, inner)
                        if begin >= 0 and number == 1 and kind == _FIXED8:
                            bits[n] = fixed8(data, value)
                        elif begin >= 0 and number == 2 and kind == _VARINT:
                            ts_ms[n], _ = varint(data, value, inner)
                    if begin < 0:
                        return begin, 0, 0, 0, 0, 0
                n += 1
                samples += 1
            elif number == histogram_field:
                if h == len(histogram):
                    return TOO_MANY, 0, 0, 0, 0, 0
                histogram[h, 0], histogram[h, 1] = begin, inner
                h += 1
                histograms += 1
            elif number == exemplar_field:
                exemplars += 1
        series[s, 0], series[s, 1], series[s, 2], series[s, 3] = first, last, samples, histograms
        if not is_v2:
            if guessed < 0:
                guessed = find(known, data, first, last)
                if guessed >= 0:
                    mark[guessed] |= PLAIN if is_plain and last else 0
                    if before >= 0:
                        followers[before] = guessed
            if guessed >= 0:
                mark[guessed] |= USED
            ids[s] = before = guessed
        s += 1
    return s, n, h, k, r, exemplars


@kernel
def pairs(data: U1, begin: I8, spans: I8, count: I8) -> int:
    """Say where the names and values of labels are, of many series of version 1.

    The labels of the k-th are ``data[begin[k]:begin[k + 1]]``. `spans` [2 m, 2], long enough for a
    label every six bytes, tells from and to of a name and then of its value, and `count` [k] how
    many labels a series has; `UNUSUAL`: one is not a name and a value of less than 128 bytes, and
    somebody else must look; it has no spans. Returned is how many spans there are.
    """
    n = 0
    for k in range(len(count)):
        at, end, before = begin[k], begin[k + 1], n
        while at + 4 <= end and data[at] == _NAME and data[at + 2] == _NAME and data[at + 1] < 128:
            after = at + 2 + int(data[at + 1])
            first = at + 4
            last = first + int(data[at + 3])
            if after > end or last + 2 > after or data[at + 3] > 127:
                break
            if data[last] != _TOLD or data[last + 1] > 127 or last + 2 + data[last + 1] != after:
                break
            spans[n, 0], spans[n, 1] = first, last
            spans[n + 1, 0], spans[n + 1, 1] = last + 2, after
            n += 2
            at = after
        count[k] = (n - before) // 2
        if at != end:
            count[k], n = UNUSUAL, before
    return n
