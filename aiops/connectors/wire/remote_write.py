"""Prometheus remote write, 1.0 and 2.0.

A sender sends the same series again and again. So a message is only scanned for where things lie,
and a series is known by the bytes of its labels: docs/design/remote-write.md.
"""

from __future__ import annotations

import struct
import threading
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError

from aiops.connectors.wire.build import Refusals, readings
from aiops.connectors.wire.decoded import READINGS, Decoded
from aiops.connectors.wire.interned import Book
from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.remote_write_pb2 import Histogram
from aiops.connectors.wire.remote_write_series import (
    REFUSED,
    Known,
    Meaning,
    Refusal,
    Spelling,
    meanings_v1,
)
from aiops.errors import PayloadError, TooLarge
from aiops.kernels.remote_write import GROUPED, TOO_MANY, scan
from aiops.kernels.rows import F8, I4, I8

SERIES_MAX = 1 << 16
"""Of one message; senders come with 500 to 10,000."""
SYMBOLS_MAX = 1 << 17
REFS_MAX = 1 << 21

STALE = 0x7FF0000000000002
"""The bits of the NaN that says that a series has ended."""
_STALE = struct.pack("<Q", STALE)
_MS = 1_000_000
_TS_MS_MAX = (2**63 - 1) // _MS
_BEYOND = "a time beyond what nanoseconds can count"

_known: dict[Limits, Known] = {}
"""Of the limits that came last."""
_lock = threading.Lock()
"""Of `_known`, and held while a message is decoded: a known series takes 0.1 us."""


def decode_v1(body: bytes, recv_ns: int, limits: Limits) -> Decoded:
    """Decode an unpacked ``prometheus.WriteRequest`` (remote write 1.0) to `READINGS`.

    Values keep their bits, stale markers too. A native histogram becomes its ``_count`` and
    ``_sum``; its buckets are not kept, nor are exemplars and metadata; exemplars are counted. A
    series that names no device, or is beyond the limits, is refused with its samples. `recv_ns` is
    not used: every sample has a time.

    Raises
    ------
    TooLarge
        It holds more than the limits or `SERIES_MAX` allow.
    PayloadError
        It is damaged.
    """
    return _decode(body, limits, is_v2=False)


def decode_v2(body: bytes, recv_ns: int, limits: Limits) -> Decoded:
    """Decode an unpacked ``io.prometheus.write.v2.Request`` (remote write 2.0), as `decode_v1`.

    Start times are not kept.

    Raises
    ------
    TooLarge
        It holds more than the limits, `SERIES_MAX`, `SYMBOLS_MAX` or `REFS_MAX` allow.
    PayloadError
        It is damaged, or a label refers to a symbol that is not there.
    """
    return _decode(body, limits, is_v2=True)


def warm(limits: Limits) -> None:
    """Decode a message of each version, and forget, so that nobody waits for a compiler later."""
    sample = b"\x12\x00"
    labels = b"\n\x0e\n\x08__name__\x12\x02up\n\x0f\n\x08instance\x12\x03one"
    one = labels + sample
    decode_v1(b"\n" + bytes([len(one)]) + one, 0, limits)
    symbols = b"".join(
        b"\x22" + bytes([len(text)]) + text
        for text in (b"", b"__name__", b"up", b"instance", b"one")
    )
    decode_v2(symbols + b"\x2a\x08\n\x04\x01\x02\x03\x04" + sample, 0, limits)
    known = Known(limits)
    known.forget()
    known.settle(known.count(), is_good=False)


def _decode(body: bytes, limits: Limits, *, is_v2: bool) -> Decoded:
    with _lock:
        known = _known.get(limits)
        if known is None:
            _known.clear()
            known = _known[limits] = Known(limits)
        before, is_good = known.count(), False
        try:
            message = _scan(body, known, is_v2=is_v2)
            find = _find_v2 if is_v2 else _find_v1
            decoded = _decoded(message, find(message, known), known)
            is_good = True
        finally:
            known.settle(before, is_good=is_good)
        return decoded


# Messages ----------------------------------------------------------------------------------------


class _Message(NamedTuple):
    """What `scan` found in a body."""

    body: bytes
    series: I8
    """[s, 4] labels from and to, samples, histograms; only those that have any."""
    ts_ms: I8
    value: F8
    histograms: list[list[int]]
    """From and to."""
    symbol: I8
    """[k, 2] from and to."""
    refs: npt.NDArray[np.uint32]
    exemplars: int
    ids: I4
    """[s] number of each series that is known, of version 1; -1: it is not."""
    is_v2: bool


def _scan(body: bytes, known: Known, *, is_v2: bool) -> _Message:
    limits, book = known.limits, known.v2 if is_v2 else known.v1
    half = len(body) // 2 + 1  # nothing takes less than two bytes
    room = min(half, limits.cells // len(READINGS))
    series = np.empty((min(half, SERIES_MAX), 4), np.int64)
    ts_ms, bits = np.empty(room, np.int64), np.empty(room, np.int64)
    histogram = np.empty((room // 2 + 1, 2), np.int64)  # two rows each
    symbol = np.empty((min(half, SYMBOLS_MAX) if is_v2 else 0, 2), np.int64)
    refs = np.empty(min(len(body), REFS_MAX) if is_v2 else 0, np.uint32)
    ids = np.empty(len(series), np.int32)
    data = np.frombuffer(body, np.uint8)
    s, n, h, k, r, exemplars = scan(
        data,
        is_v2,
        series,
        ts_ms,
        bits,
        histogram,
        symbol,
        refs,
        book.strings,
        book.n,
        ids,
    )
    if s == TOO_MANY:
        raise TooLarge(
            f"the message holds more than {SERIES_MAX} series, {limits.cells // len(READINGS)} "
            f"samples, {SYMBOLS_MAX} symbols or {REFS_MAX} references: send it in several "
            "(Prometheus: queue_config.max_samples_per_send)"
        )
    if s < 0:
        what = "holds groups, which it never does" if s == GROUPED else "is damaged"
        raise PayloadError(f"a remote write message was expected; this one {what}")
    refs = refs[:r]
    if r and int(refs.max()) >= k:
        raise PayloadError(f"a label refers to symbol {int(refs.max())}; there are {k}")
    length = symbol[:k, 1] - symbol[:k, 0]
    spelt = r * int(length.max()) if r else 0  # at most, which nearly always will do
    if spelt > limits.unpacked_bytes:
        spelt = int(length[refs].sum())
    if spelt > limits.unpacked_bytes:
        raise TooLarge(
            f"the labels of all series would be {spelt} bytes, more than {limits.unpacked_bytes}: "
            "send the message in several"
        )
    series, ids = series[:s], ids[:s]
    is_told = (series[:, 2] + series[:, 3]) > 0
    if not is_told.all():
        series, ids = series[is_told], ids[is_told]
    return _Message(
        body,
        series,
        ts_ms[:n],
        bits[:n].view(np.float64).copy(),  # the rest of it is not to be held
        histogram[:h].tolist(),
        symbol[:k],
        refs,
        exemplars,
        ids,
        is_v2,
    )


def _find_v1(message: _Message, known: Known) -> I4:
    """Return the numbers of the series, of which those not known are learnt."""
    ids, book = message.ids, known.v1
    new = np.flatnonzero(ids < 0)
    if len(new):
        before = book.n
        ids[new] = book.numbers(message.body, np.ascontiguousarray(message.series[new, :2]))
        known.learn(book, meanings_v1(*book.since(before), known.limits))
    return ids


def _find_v2(message: _Message, known: Known) -> I4:
    """Return the numbers of the series, of which those not known are learnt."""
    book, symbol, body = known.v2, message.symbol, message.body
    if len(symbol) and symbol[0, 0] < symbol[0, 1]:
        text = body[symbol[0, 0] : symbol[0, 1]]
        raise PayloadError(f"the first symbol must be empty; it is {text[:40]!r}")
    numbers = known.texts.numbers(body, symbol)
    before = book.n
    ids = book.numbers(numbers[message.refs].tobytes(), 4 * message.series[:, :2])
    new = np.flatnonzero(ids >= before)
    if len(new):
        _, first = np.unique(ids[new], return_index=True)
        symbols = [body[begin:end] for begin, end in symbol.tolist()]
        spelling = Spelling(symbols, known.limits)
        spans = message.series[new[first], :2].tolist()
        refs = (message.refs[begin:end].tolist() for begin, end in spans)
        known.learn(book, [_meaning_v2(spelling, these, known.limits) for these in refs])
    return ids


def _meaning_v2(spelling: Spelling, refs: list[int], limits: Limits) -> Meaning:
    if len(refs) % 2:
        raise PayloadError("a label refers to a name and to no value")
    if len(refs) // 2 > limits.labels + 1:
        return Refusal(f"more than {limits.labels} labels", "")
    return spelling.meaning(refs)


def _decoded(message: _Message, ids: I4, known: Known) -> Decoded:
    """Return the rows of a message: all samples, then what histograms come to."""
    book = known.v2 if message.is_v2 else known.v1
    refusals = Refusals()
    rows = _repeated(ids, message.series[:, 2])
    owners = ids[:0]
    ts_ms, value = message.ts_ms, message.value
    good = (ts_ms <= _TS_MS_MAX) & (ts_ms >= -_TS_MS_MAX)
    if message.histograms:
        every = _repeated(ids, message.series[:, 3])
        owners, more_ts, more_value = _summed(message, every, book, known, refusals)
    good &= book.told[0][rows] != REFUSED
    if not good.all():
        meaning = cache(partial(known.meaning, book))
        for k in np.flatnonzero(~good).tolist():
            _refuse(meaning(int(rows[k])), ts_ms[k], refusals)
        rows, ts_ms, value = rows[good], ts_ms[good], value[good]
    samples = len(rows)
    if len(owners):
        ts_ms, value = np.append(ts_ms, more_ts), np.append(value, more_value)
    tables: tuple[pa.Table, ...] = ()
    if len(value):
        columns = known.columns(rows, owners, is_v2=message.is_v2)
        device, metric, labels, site, cohort = columns
        tables = (readings(device, ts_ms * _MS, metric, value, labels, site, cohort),)
    return Decoded(
        tables,
        refusals.listed(),
        samples=samples,
        histograms=len(owners),
        exemplars=message.exemplars,
    )


def _refuse(one: Meaning, ts_ms: int, refusals: Refusals) -> None:
    if isinstance(one, Refusal):
        refusals.add(one.reason, one.example)
    else:
        refusals.add(_BEYOND, f"{one[1]} {ts_ms}")


def _repeated(ids: I4, times: I8) -> I4:
    return ids if (times == 1).all() else np.repeat(ids, times)


def _summed(
    message: _Message, owners: I4, book: Book, known: Known, refusals: Refusals
) -> tuple[I4, I8, F8]:
    """Return whose the histograms are, and of two rows of each: how many there were, and their sum.

    A stale one is stale in both.
    """
    meaning = cache(partial(known.meaning, book))
    kept: list[int] = []
    ts_ms: list[int] = []
    values: list[float] = []
    for (begin, after), owner in zip(message.histograms, owners.tolist(), strict=True):
        try:
            told = Histogram.FromString(message.body[begin:after])
        except DecodeError as cause:
            raise PayloadError(f"a histogram is damaged: {cause}") from cause
        is_beyond = abs(told.timestamp) > _TS_MS_MAX
        if is_beyond or book.told[0, owner] == REFUSED:
            _refuse(meaning(owner), told.timestamp, refusals)
            continue
        kept.append(owner)
        counted = told.count_int if told.WhichOneof("count") == "count_int" else told.count_float
        is_stale = struct.pack("<d", told.sum) == _STALE
        values += [told.sum if is_stale else float(counted), told.sum]
        ts_ms += [told.timestamp] * 2
    return np.array(kept, np.int32), np.array(ts_ms, np.int64), np.array(values, np.float64)
