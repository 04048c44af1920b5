"""What the series of Prometheus remote write mean, and what is remembered of them.

Of a series is known what its labels were, byte for byte, and what they came to. So it makes
decoding faster, and no result depends on it: docs/design/remote-write.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from aiops.connectors.wire.build import Series
from aiops.connectors.wire.interned import Book
from aiops.connectors.wire.limits import MIB, Limits
from aiops.connectors.wire.naming import cohort_of, device_of, excess, labels_json, site_of
from aiops.connectors.wire.remote_write_pb2 import Labels
from aiops.errors import PayloadError
from aiops.kernels.remote_write import UNUSUAL, pairs
from aiops.kernels.rows import I4, I8

KNOWN_BYTES_MAX = 256 * MIB
"""Of series remembered between messages, 300 to 400 bytes each. Beyond it those that are known stay
and new ones are read each time they come, until it is clear which known ones come no more."""
SHAPES_BYTES_MAX = 64 * MIB
"""Likewise of the columns of whole messages, of which the oldest go first."""
PATIENCE = 4
"""So many times `KNOWN_BYTES_MAX` must be read in vain before those go that did not come in the
meantime: even of a fleet five times too large, all that are known do come."""

NONE, REFUSED = -1, -2
"""Instead of the number of a text: there is none; of a device: the series is refused, and the next
two are the reason and an example."""


class Refusal(NamedTuple):
    """Why a series cannot be taken."""

    reason: str
    example: str


Meaning = Series | Refusal


class Columns(NamedTuple):
    """The names of the rows of a message."""

    device: pa.DictionaryArray
    metric: pa.DictionaryArray
    labels: pa.DictionaryArray
    site: pa.DictionaryArray
    cohort: pa.DictionaryArray


Shape = tuple[bool, bytes, bytes]
"""Whether a message is of version 2, the series of its rows, and those of its histograms."""


class Known:
    """What was seen before, under some limits. One thread at a time.

    A message first adds what it needs, and then `settle` says whether that stays.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.texts = Book()
        """Names of all kinds, and the symbols of version 2."""
        self.v1 = Book(width=5)
        """By the labels as version 1.0 writes them; told are the texts of a `Series`."""
        self.v2 = Book(width=5)
        """Likewise by the numbers of their symbols."""
        self.shapes_size = 0
        self._shapes: dict[Shape, tuple[Columns, int]] = {}
        self._in_vain = 0

    @property
    def size(self) -> int:
        """Of series and texts, in bytes, about."""
        return self.texts.size + self.v1.size + self.v2.size

    def learn(self, book: Book, meanings: Iterable[Meaning]) -> None:
        """Tell what the last series of a book mean."""
        rows = [(False, *one, None, None) if isinstance(one, Refusal) else one for one in meanings]
        told: dict[str | bool | None, int] = dict.fromkeys(chain.from_iterable(rows), 0)
        texts = [text for text in told if isinstance(text, str)]
        told.update(zip(texts, self.texts.numbers_of(texts).tolist(), strict=True))
        told.update({None: NONE, False: REFUSED})
        numbers = np.array([told[text] for text in chain.from_iterable(rows)], np.int32)
        book.told[:, book.n - len(rows) : book.n] = numbers.reshape(-1, 5).T

    def meaning(self, book: Book, number: int) -> Meaning:
        """Return what a series means."""
        device, metric, labels, site, cohort = (
            self.texts.text(told) if told >= 0 else None for told in book.told[:, number].tolist()
        )
        if device is None:
            return Refusal(str(metric), str(labels))
        return device, str(metric), labels, site, cohort

    def columns(self, rows: I4, owners: I4, *, is_v2: bool) -> Columns:
        """Return the columns of rows of these series, the same as last time if they are.

        After the `rows` [n] come two of each of `owners` [m] of histograms.
        """
        shape = is_v2, rows.tobytes(), owners.tobytes()
        known = self._shapes.get(shape)
        if known is not None:
            return known[0]
        told = (self.v2 if is_v2 else self.v1).told
        names = told.take(np.append(rows, np.repeat(owners, 2)), axis=1)
        if len(owners):
            metrics = map(self.texts.text, told[1, owners].tolist())
            summed = [f"{metric}{end}" for metric in metrics for end in ("_count", "_sum")]
            names[1, len(rows) :] = self.texts.numbers_of(summed)
        made = Columns(*map(self.texts.column, names))
        if self.size <= KNOWN_BYTES_MAX:  # else the numbers will be those of others
            size = sum(column.nbytes for column in made) + len(shape[1]) + len(shape[2]) + 2000
            self._shapes[shape] = made, size
            self.shapes_size += size
            while self.shapes_size > SHAPES_BYTES_MAX:
                _, size = self._shapes.pop(next(iter(self._shapes)))
                self.shapes_size -= size
        return made

    def count(self) -> tuple[int, int, int]:
        """Return how much there is, for `settle`."""
        return self.texts.n, self.v1.n, self.v2.n

    def settle(self, before: tuple[int, int, int], *, is_good: bool) -> None:
        """End a message: forget what it added if it was not good, or there is no room for it."""
        size = self.size
        if is_good and size <= KNOWN_BYTES_MAX:
            return
        for book, n in zip((self.texts, self.v1, self.v2), before, strict=True):
            book.cut(n)
        if not is_good:
            return
        if not self._in_vain:
            self.v1.rest()
            self.v2.rest()
        self._in_vain += size - self.size
        if self._in_vain > PATIENCE * KNOWN_BYTES_MAX:
            self._in_vain = 0
            self.forget()

    def forget(self) -> None:
        """Forget the series that did not come while others were read in vain, and their texts."""
        v1, v2, texts = self.v1, self.v2, self.texts
        moved = [book.keep(book.used()) for book in (v1, v2)]
        needed = np.zeros(texts.n, np.bool_)
        for book in (v1, v2):
            told = book.told[:, : book.n]
            needed[told[told >= 0]] = True
        needed[v2.words] = True
        place = np.append(texts.keep(needed), np.array([REFUSED, NONE], np.int32))
        for book in (v1, v2):
            book.told[:, : book.n] = place[book.told[:, : book.n]]  # -1 and -2 are the last two
        v2.renumber(place)
        shapes, self._shapes, self.shapes_size = self._shapes, {}, 0
        for (is_v2, *numbers), (columns, size) in shapes.items():
            rows, owners = (moved[is_v2][np.frombuffer(ids, np.int32)] for ids in numbers)
            if (rows >= 0).all() and (owners >= 0).all():
                self._shapes[is_v2, rows.tobytes(), owners.tobytes()] = columns, size
                self.shapes_size += size


def meaning(labels: list[tuple[bytes, bytes]], limits: Limits) -> Meaning:
    """Return the series that labels make, or why it is refused; an empty label is none."""
    try:
        texts = [(name.decode(), value.decode()) for name, value in labels if value]
    except UnicodeDecodeError:
        return Refusal("a label is no UTF-8", repr(labels[0]))
    return _meaning(dict(texts), limits, is_twice=len(dict(labels)) < len(labels))


def _meaning(
    series: dict[str, str], limits: Limits, *, is_twice: bool = False, is_short: bool = False
) -> Meaning:
    """Return the same of text; `is_short`: no name and no value can be too long."""
    metric = series.pop("__name__", "")
    labels = labels_json(series)
    wrong = None
    if is_twice:
        wrong = "a label is there twice"
    elif not (is_short and metric and len(series) <= limits.labels):
        wrong = excess(metric, series, limits)
    if wrong is None:
        device = device_of(series)
        if device is None:
            wrong = "no label names the device"
        elif not is_short and len(device.encode()) > limits.name_bytes:
            wrong = f"a device's name of more than {limits.name_bytes} bytes"
        else:
            return device, metric, labels, site_of(series), cohort_of(series)
    return Refusal(wrong, f"{metric} {labels or ''}"[:120])


class Spelling:
    """What labels mean that are made of the same few strings, each of which is read once."""

    def __init__(self, strings: list[bytes], limits: Limits) -> None:
        self._strings = strings
        self._limits = limits
        self._texts = list(map(_text, strings))
        longest = max(map(len, strings), default=0)
        self._is_short = longest <= min(limits.name_bytes, limits.value_bytes)

    def meaning(self, numbers: list[int]) -> Meaning:
        """Return what labels mean; `numbers` of strings, of a name and of its value in turn."""
        texts = [self._texts[k] for k in numbers]
        series = dict(zip(texts[::2], texts[1::2], strict=True))
        if 2 * len(series) == len(texts) and "" not in texts:
            return _meaning(series, self._limits, is_short=self._is_short)
        strings = [self._strings[k] for k in numbers]
        return meaning(list(zip(strings[::2], strings[1::2], strict=True)), self._limits)


def _text(string: bytes) -> str:
    """Return a text, empty if there is something wrong with it."""
    try:
        return string.decode()
    except UnicodeDecodeError:
        return ""


def meanings_v1(whole: bytes, begin: I8, limits: Limits) -> list[Meaning]:
    """Return what labels mean, as version 1 writes them, of each ``whole[begin[k]:begin[k + 1]]``.

    Raises
    ------
    PayloadError
        They are no labels.
    """
    spans = np.empty((len(whole) // 3 + 2, 2), np.int64)
    count = np.empty(len(begin) - 1, np.int64)
    spans = spans[: pairs(np.frombuffer(whole, np.uint8), begin, spans, count)]
    pieces = Book()
    numbers = pieces.numbers(whole, spans).tolist()
    text, ends = pieces.since(0)
    spelling = Spelling([text[a:b] for a, b in pairwise(ends.tolist())], limits)
    found: list[Meaning] = []
    at = 0
    for labels, (first, last) in zip(count.tolist(), pairwise(begin.tolist()), strict=True):
        if labels == UNUSUAL:
            found.append(_meaning_v1(whole[first:last], limits))
        else:
            found.append(spelling.meaning(numbers[at : at + 2 * labels]))
            at += 2 * labels
    return found


def _meaning_v1(run: bytes, limits: Limits) -> Meaning:
    try:
        labels = Labels.FromString(run).labels
    except DecodeError as cause:
        raise PayloadError(f"the labels of a series are damaged: {cause}") from cause
    return meaning([(label.name, label.value) for label in labels], limits)
