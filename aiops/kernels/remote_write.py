"""Where the series and samples of a Prometheus remote write message lie.

The wire format of Protocol Buffers and nothing more: tags, varints, runs of bytes. Labels stay the
bytes they are, so that who has seen a series before need not read it again. Nothing outside of
`data` is read, whatever it claims. (protobuf.dev/programming-guides/encoding.)

Senders repeat themselves: of version 1, labels that are the bytes that came after the same series
the last time are not even walked through.

Strings that come again get the number they had: they lie one after the other in one array, a table
with open addressing and linear probing finds them by a hash, and only the same bytes are the same
string. The hash is multilinear over 64-bit keys that are drawn anew in each process, so that nobody
outside can choose strings that collide (Lemire and Kaser 2014, "Strongly universal string hashing
is fast", section 2).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, I4, I8

U1: TypeAlias = npt.NDArray[np.uint8]
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


# Strings with numbers ----------------------------------------------------------------------------

CHUNK = 1024
"""Bytes hashed at a time; of longer strings the hash so far goes into the next."""
USED, PLAIN = 1, 2
"""Bits of `Interned.mark`."""


class Interned(NamedTuple):
    """Strings 0 to n - 1; the arrays have room for more, see `intern`."""

    text: U1
    """All strings, one after the other."""
    begin: I8
    """[c + 1] where in `text` the k-th begins, and the one before it ends."""
    hash: I4
    """[c]"""
    after: I4
    """[c] which came after it last time: a guess, and at times nonsense."""
    mark: U1
    """[c] `USED`: it was looked for and found. `PLAIN`: see `scan`."""
    slot: I4
    """[2**m, at least 2 c] one more than the number of a string; 0: free."""
    key: I8
    """[`CHUNK` + 1] random."""


@kernel
def hashed(data: U1, begin: int, end: int, key: I8) -> int:
    """Return a hash of 31 bits."""
    hash_ = int(end - begin)
    while True:
        piece = data[begin : min(end, begin + CHUNK)]
        total = int(key[0]) * hash_
        for i in range(len(piece)):
            total += int(key[i + 1]) * int(piece[i])
        hash_ = (total >> 32) & 0x7FFFFFFF
        begin += CHUNK
        if begin >= end:
            return hash_


@kernel
def same(text: U1, at: int, data: U1, begin: int, length: int) -> bool:
    """Say whether so many bytes of `text` from `at`, and of `data` from `begin`, are the same."""
    held, asked = text[at : at + length], data[begin : begin + length]
    differ = 0
    for i in range(length):  # to the end, whatever comes: the compiler makes vectors of it
        differ |= held[i] ^ asked[i]
    return differ == 0


@kernel
def slot_of(known: Interned, data: U1, begin: int, end: int, hash_: int) -> int:
    """Return the slot of ``data[begin:end]``: the one that has it, or a free one to put it in."""
    text, begins, hashes, _, _, slot, _ = known
    length, last = end - begin, len(slot) - 1
    at = hash_ & last
    while slot[at]:
        k = slot[at] - 1
        is_like = hashes[k] == hash_ and begins[k + 1] - begins[k] == length
        if is_like and same(text, begins[k], data, begin, length):
            break
        at = (at + 1) & last
    return at


@kernel
def find(known: Interned, data: U1, begin: int, end: int) -> int:
    """Return the number of ``data[begin:end]``; -1: it has none."""
    hash_ = hashed(data, begin, end, known.key)
    return int(known.slot[slot_of(known, data, begin, end, hash_)]) - 1


@kernel
def intern(known: Interned, n: int, data: U1, spans: I8, ids: I4) -> int:
    """Write into `ids` [s] the number of each ``data[spans[s, 0]:spans[s, 1]]``.

    A string that has none gets the next. There must be room for all of them, as if all were new.
    Returned is how many strings there are now.
    """
    text, begins, hashes, after, mark, slot, key = known
    before = -1
    for s in range(len(spans)):
        begin, end = spans[s, 0], spans[s, 1]
        k = int(after[before]) if before >= 0 else -1
        is_next = 0 <= k < n and begins[k + 1] - begins[k] == end - begin
        if not (is_next and same(text, begins[k], data, begin, end - begin)):
            hash_ = hashed(data, begin, end, key)
            at = slot_of(known, data, begin, end, hash_)
            k = int(slot[at]) - 1
            if k < 0:
                k = n
                n += 1
                begins[k + 1] = begins[k] + end - begin
                held, new = text[begins[k] : begins[k + 1]], data[begin:end]
                for i in range(len(new)):
                    held[i] = new[i]
                hashes[k], after[k], mark[k] = hash_, -1, 0
                slot[at] = k + 1
            if before >= 0:
                after[before] = k
        mark[k] |= USED
        ids[s] = before = k
    return n


@kernel
def cut(known: Interned, n: int, kept: int) -> None:
    """Take the strings from the `kept`-th on out of the table; they must be the last that came."""
    last = len(known.slot) - 1
    for k in range(kept, n):
        at = known.hash[k] & last
        while known.slot[at] != k + 1:
            at = (at + 1) & last
        known.slot[at] = 0


@kernel
def fill(known: Interned, n: int) -> None:
    """Put all strings into the table, which is empty."""
    last = len(known.slot) - 1
    for k in range(n):
        at = known.hash[k] & last
        while known.slot[at]:
            at = (at + 1) & last
        known.slot[at] = k + 1


@kernel
def rehash(known: Interned, n: int) -> None:
    """Hash all strings anew. The table is to be filled anew."""
    for k in range(n):
        known.hash[k] = hashed(known.text, known.begin[k], known.begin[k + 1], known.key)


@kernel
def keep(known: Interned, n: int, kept: B1, place: I4) -> int:
    """Move those of the strings that are `kept` [n] to the front, and return how many they are.

    `place` [n] is the new number of each, -1: it has none. The table is to be filled anew.
    """
    m = 0
    at = 0
    for k in range(n):
        place[k] = -1
        if not kept[k]:
            continue
        first, last = known.begin[k], known.begin[k + 1]
        for i in range(last - first):
            known.text[at + i] = known.text[first + i]
        at += last - first
        known.begin[m + 1] = at
        known.hash[m], known.after[m], known.mark[m] = known.hash[k], -1, known.mark[k]
        place[k] = m
        m += 1
    return m


@kernel
def distinct(code: I4, place: I4, spread: I4, value: I4) -> int:
    """Write the distinct codes [k] in order of appearance, and which of them each code [n] is.

    A code below 0 is none, and its `spread` -1. `place` [above any code] is zero everywhere, before
    and after.
    """
    k = 0
    for i in range(len(code)):
        c = code[i]
        if c < 0:
            spread[i] = -1
            continue
        if place[c] == 0:
            value[k] = c
            k += 1
            place[c] = k
        spread[i] = place[c] - 1
    for i in range(k):
        place[value[i]] = 0
    return k


@kernel
def gather(known: Interned, ids: I4, text: U1) -> None:
    """Write strings one after the other."""
    held, begins = known.text, known.begin
    at = 0
    for k in ids:
        one = held[begins[k] : begins[k + 1]]
        room = text[at : at + len(one)]
        for i in range(len(one)):  # of slices the compiler makes vectors
            room[i] = one[i]
        at += len(one)


# The wire format ---------------------------------------------------------------------------------


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
