"""Byte strings with numbers, in arrays that grow: what decoders remember between messages."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aiops.connectors.wire.limits import MIB
from aiops.errors import TooLarge
from aiops.kernels.remote_write import (
    CHUNK,
    USED,
    Interned,
    cut,
    distinct,
    fill,
    gather,
    intern,
    keep,
    rehash,
)
from aiops.kernels.rows import B1, I4, I8

KEY: I8 = np.frombuffer(secrets.token_bytes(8 * (CHUNK + 1)), np.int64)
"""Of the hash, of this process: nobody outside can tell which strings collide."""

T = TypeVar("T", bound=np.generic)


class Book:
    """Distinct byte strings 0 to n - 1, in the order in which they came. One thread at a time.

    Parameters
    ----------
    width
        How many numbers are told of each string, in `told`.
    """

    def __init__(self, width: int = 0) -> None:
        self.n = 0
        self.told: I4 = np.empty((width, 0), np.int32)
        """[width, c] what the strings stand for."""
        self._place: I4 = np.empty(0, np.int32)
        none = np.empty(0, np.int32)
        text, begin = np.empty(0, np.uint8), np.zeros(1, np.int64)
        self.strings = Interned(text, begin, none, none, none.view(np.uint8), none, KEY)
        self._grow(16, 1024)

    @property
    def text_bytes(self) -> int:
        """Of all strings."""
        return int(self.strings.begin[self.n])

    @property
    def size(self) -> int:
        """In bytes, about; memory that was never written is not taken."""
        return self.text_bytes + self.n * (33 + 4 * len(self.told))

    def numbers(self, data: bytes, spans: I8) -> I4:
        """Return the number of each ``data[spans[s, 0]:spans[s, 1]]``; new ones get the next."""
        text = self.text_bytes + int((spans[:, 1] - spans[:, 0]).sum())
        self._grow(self.n + len(spans), text)
        ids = np.empty(len(spans), np.int32)
        self.n = intern(self.strings, self.n, np.frombuffer(data, np.uint8), spans, ids)
        return ids

    def numbers_of(self, texts: Iterable[str]) -> I4:
        """Return the number of each text, in UTF-8."""
        encoded = [text.encode() for text in texts]
        end = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        begin = np.append(0, end[:-1])[: len(end)]
        return self.numbers(b"".join(encoded), np.stack((begin, end), 1))

    def text(self, number: int) -> str:
        """Return a string as the text it is."""
        begin, end = self.strings.begin[number : number + 2]
        return self.strings.text[begin:end].tobytes().decode()

    def since(self, n: int) -> tuple[bytes, I8]:
        """Return the strings from the `n`-th on as one, and where each of them begins and ends."""
        begin = self.strings.begin[n : self.n + 1]
        return self.strings.text[begin[0] : begin[-1]].tobytes(), begin - begin[0]

    def column(self, ids: I4) -> pa.DictionaryArray:
        """Return strings [n] as a column of text; below 0: null.

        Raises
        ------
        TooLarge
            They are more than a column holds, 2 GiB.
        """
        spread, value = np.empty_like(ids), np.empty_like(ids)
        value = value[: distinct(ids, self._place, spread, value)]
        begin = self.strings.begin
        offset = np.append(0, np.cumsum(begin[value + 1] - begin[value]))
        if offset[-1] > np.iinfo(np.int32).max:
            raise TooLarge("the labels of a message come to more than 2 GiB: send it in several")
        text = np.empty(offset[-1], np.uint8)
        gather(self.strings, value, text)
        buffers = [None, pa.py_buffer(offset.astype(np.int32)), pa.py_buffer(text)]
        mask = spread < 0
        return pa.DictionaryArray.from_arrays(
            pa.array(spread, mask=mask if mask.any() else None),
            pa.Array.from_buffers(pa.string(), len(value), buffers),
            safe=False,
        )

    def cut(self, n: int) -> None:
        """Forget the strings from the `n`-th on."""
        before = self.text_bytes
        cut(self.strings, self.n, n)
        self.n = n
        if before - self.text_bytes > 16 * MIB:  # what one message needed is not held for ever
            self.strings = self.strings._replace(
                text=_grown(self.strings.text, self.text_bytes, self.text_bytes)
            )

    def keep(self, kept: B1) -> I4:
        """Forget the strings that are not `kept` [n]; return the new number of each, -1: none."""
        place = np.empty(self.n, np.int32)
        which = np.flatnonzero(kept)
        self.told[:, : len(which)] = self.told[:, which]
        self.n = keep(self.strings, self.n, kept, place)
        self._fill(len(self.strings.slot))
        return place

    @property
    def words(self) -> I4:
        """All strings as int32, if all have a length for it."""
        return self.strings.text[: self.text_bytes].view(np.int32)

    def renumber(self, place: I4) -> None:
        """Put ``place[word]`` for each word of all strings; no two may become the same."""
        self.words[:] = place[self.words]
        rehash(self.strings, self.n)
        self._fill(len(self.strings.slot))

    def used(self) -> B1:
        """Return which strings [n] were asked for since `rest`."""
        return (self.strings.mark[: self.n] & USED) > 0

    def rest(self) -> None:
        """Take all strings for unused."""
        self.strings.mark[: self.n] &= 0xFF ^ USED

    def _grow(self, n: int, text_bytes: int) -> None:
        """Make room for strings; twice as much as there was, of which unused pages cost nothing."""
        held = self.strings
        if text_bytes > len(held.text):
            room = max(text_bytes, 2 * len(held.text))
            held = held._replace(text=_grown(held.text, self.text_bytes, room))
        if n > len(held.hash):
            most = max(n, 2 * len(held.hash))
            width = len(self.told)
            told = np.empty((width, most), np.int32)
            told[:, : self.n] = self.told[:, : self.n]
            self.told, self._place = told, np.zeros(most, np.int32)
            held = held._replace(
                begin=_grown(held.begin, self.n + 1, most + 1),
                hash=_grown(held.hash, self.n, most),
                after=_grown(held.after, self.n, most),
                mark=_grown(held.mark, self.n, most),
            )
        self.strings = held
        if 2 * n > len(held.slot):
            self._fill(1 << (2 * n - 1).bit_length())

    def _fill(self, slots: int) -> None:
        self.strings = self.strings._replace(slot=np.zeros(slots, np.int32))
        fill(self.strings, self.n)


def _grown(array: npt.NDArray[T], used: int, room: int) -> npt.NDArray[T]:
    grown = np.empty(room, array.dtype)
    grown[:used] = array[:used]
    return grown
