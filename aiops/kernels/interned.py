"""Byte strings that get a number each, and the same number whenever they come again.

They lie one after the other in one array; a table with open addressing and linear probing finds
them by a hash, and only the same bytes are the same string. The hash is multilinear over 64-bit
keys that are drawn anew in each process, so that nobody outside can choose strings that collide
(Lemire and Kaser 2014, "Strongly universal string hashing is fast", section 2).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, I4, I8

U1: TypeAlias = npt.NDArray[np.uint8]

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
    """[c] `USED`: it was looked for and found. `PLAIN`: see `aiops.kernels.remote_write.scan`."""
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
