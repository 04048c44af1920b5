"""Prometheus remote write, 1.0 and 2.0.

A sender sends the same series again and again. So a message is only scanned for where things lie,
and a series is known by the bytes of its labels: docs/design/remote-write.md.
"""

from __future__ import annotations

import struct
from itertools import chain, count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError

from aiops.connectors.wire.build import Refusals, Series, coded, names, readings
from aiops.connectors.wire.decoded import READINGS, Decoded
from aiops.connectors.wire.limits import MIB, Limits
from aiops.connectors.wire.naming import cohort_of, device_of, excess, labels_json, site_of
from aiops.connectors.wire.remote_write_pb2 import Histogram, Labels
from aiops.errors import PayloadError, TooLarge
from aiops.kernels.remote_write import GROUPED, TOO_MANY, scan
from aiops.kernels.rows import F8, I8

SERIES_MAX = 1 << 16
"""Of one message; senders come with 500 to 10,000."""
SYMBOLS_MAX = 1 << 17
REFS_MAX = 1 << 21
KNOWN_BYTES_MAX = 128 * MIB
"""Of series remembered between messages, about 1 KiB each; beyond, all are forgotten and learnt
anew."""
SHAPES_BYTES_MAX = 64 * MIB
"""Likewise of the columns of whole messages."""

STALE = 0x7FF0000000000002
"""The bits of the NaN that says that a series has ended."""
_STALE = struct.pack("<Q", STALE)
_MS = 1_000_000
_TS_MS_MAX = (2**63 - 1) // _MS
_BEYOND = "a time beyond what nanoseconds can count"


class Refusal(NamedTuple):
    """Why a series cannot be taken."""

    reason: str
    example: str


Meaning = Series | Refusal


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
    message, known = _scan(body, limits, is_v2=False), _remembered(limits)
    return _decoded(message, _find_v1(message, known), known)


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
    message, known = _scan(body, limits, is_v2=True), _remembered(limits)
    return _decoded(message, _find_v2(message, known), known)


# Series ------------------------------------------------------------------------------------------


class Columns(NamedTuple):
    """The names of the rows of a message."""

    device: pa.DictionaryArray
    metric: pa.DictionaryArray
    labels: pa.DictionaryArray
    site: pa.DictionaryArray
    cohort: pa.DictionaryArray


class Known:
    """What was seen before, under some limits: it makes decoding faster and changes no result.

    Threads may share it: what an entry holds follows from its key, so any thread's will do.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.v1: dict[bytes, Meaning] = {}
        """By the labels as version 1.0 writes them."""
        self.v2: dict[bytes, Meaning] = {}
        """By the numbers of their symbols."""
        self.size = 0
        """Of series and symbols, in bytes, about."""
        self.shapes_size = 0
        self._symbols: dict[bytes, int] = {}
        self._numbers = count()
        self._shapes: dict[tuple[Series, Series, int], tuple[list[Series], Columns]] = {}

    def number(self, symbols: list[bytes]) -> list[int]:
        """Return the numbers of symbols; no two have the same."""
        numbers = [self._symbols.get(symbol) for symbol in symbols]
        if None in numbers:
            for at, symbol in enumerate(symbols):
                if numbers[at] is None:
                    numbers[at] = self._symbols.setdefault(symbol, next(self._numbers))
                    self.size += len(symbol) + 150
        return numbers  # type: ignore[return-value]

    def learn(self, labels: list[tuple[bytes, bytes]]) -> Meaning:
        """Return what labels mean, to be remembered."""
        learnt = meaning(labels, self.limits)
        self.size += 600 + 2 * sum(map(len, chain.from_iterable(labels)))
        return learnt

    def columns(self, rows: list[Series]) -> Columns:
        """Return the columns of rows of these series, the same as last time if they are."""
        shape = rows[0], rows[-1], len(rows)
        known = self._shapes.get(shape)
        if known is not None and known[0] == rows:
            return known[1]
        made = Columns(*(names(*coded(column)) for column in zip(*rows, strict=True)))
        if self.shapes_size > SHAPES_BYTES_MAX:
            self._shapes.clear()
            self.shapes_size = 0
        self._shapes[shape] = rows, made
        self.shapes_size += sum(column.nbytes for column in made) + 8 * len(rows) + 2000
        return made


_known: dict[Limits, Known] = {}


def _remembered(limits: Limits) -> Known:
    """Return what to remember in; who has it may go on with it, whatever others do."""
    known = _known.get(limits)
    if known is None or known.size > KNOWN_BYTES_MAX:
        _known.clear()
        known = _known[limits] = Known(limits)
    return known


def meaning(labels: list[tuple[bytes, bytes]], limits: Limits) -> Meaning:
    """Return the series that labels make, or why it is refused; an empty label is none."""
    try:
        texts = [(name.decode(), value.decode()) for name, value in labels if value]
    except UnicodeDecodeError:
        return Refusal("a label is no UTF-8", repr(labels[0]))
    series = dict(texts)
    metric = series.pop("__name__", "")
    example = f"{metric} {labels_json(series) or ''}"[:120]
    if len(dict(labels)) < len(labels):
        return Refusal("a label is there twice", example)
    too_much = excess(metric, series, limits)
    if too_much is not None:
        return Refusal(too_much, example)
    device = device_of(series)
    if device is None:
        return Refusal("no label names the device", example)
    if len(device.encode()) > limits.name_bytes:
        return Refusal(f"a device's name of more than {limits.name_bytes} bytes", example)
    return device, metric, labels_json(series), site_of(series), cohort_of(series)


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
    symbols: list[bytes]
    refs: npt.NDArray[np.uint32]
    exemplars: int


def _scan(body: bytes, limits: Limits, *, is_v2: bool) -> _Message:
    half = len(body) // 2 + 1  # nothing takes less than two bytes
    room = min(half, limits.cells // len(READINGS))
    series = np.empty((min(half, SERIES_MAX), 4), np.int64)
    ts_ms, bits = np.empty(room, np.int64), np.empty(room, np.int64)
    histogram = np.empty((room // 2 + 1, 2), np.int64)  # two rows each
    symbol = np.empty((min(half, SYMBOLS_MAX) if is_v2 else 0, 2), np.int64)
    refs = np.empty(min(len(body), REFS_MAX) if is_v2 else 0, np.uint32)
    data = np.frombuffer(body, np.uint8)
    s, n, h, k, r, exemplars = scan(data, is_v2, series, ts_ms, bits, histogram, symbol, refs)
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
    spelt = int((symbol[:k, 1] - symbol[:k, 0])[refs].sum()) if r else 0
    if spelt > limits.unpacked_bytes:
        raise TooLarge(
            f"the labels of all series would be {spelt} bytes, more than {limits.unpacked_bytes}: "
            "send the message in several"
        )
    series = series[:s]
    return _Message(
        body,
        series[np.flatnonzero(series[:, 2] + series[:, 3])],
        ts_ms[:n],
        bits[:n].view(np.float64),
        histogram[:h].tolist(),
        _cut(body, symbol[:k]),
        refs,
        exemplars,
    )


def _find_v1(message: _Message, known: Known) -> list[Meaning]:
    """Return what the labels of each series mean."""
    v1 = known.v1
    keys = _cut(message.body, message.series)
    found = [v1.get(key) for key in keys]
    for at in _missing(found):
        found[at] = v1.get(keys[at])  # the same labels may be new twice
        if found[at] is not None:
            continue
        try:
            labels = Labels.FromString(keys[at]).labels
        except DecodeError as cause:
            raise PayloadError(f"the labels of a series are damaged: {cause}") from cause
        found[at] = v1[keys[at]] = known.learn([(label.name, label.value) for label in labels])
    return found  # type: ignore[return-value]


def _find_v2(message: _Message, known: Known) -> list[Meaning]:
    """Return what the labels of each series mean."""
    v2, symbols = known.v2, message.symbols
    if symbols and symbols[0]:
        raise PayloadError(f"the first symbol must be empty; it is {symbols[0][:40]!r}")
    numbers = np.array(known.number(symbols), np.uint32)
    numbered = numbers[message.refs].tobytes() if symbols else b""
    keys = _cut(numbered, 4 * message.series)
    found = [v2.get(key) for key in keys]
    for at in _missing(found):
        found[at] = v2.get(keys[at])
        if found[at] is not None:
            continue
        begin, end = message.series[at, :2].tolist()
        if (end - begin) % 2:
            raise PayloadError("a label refers to a name and to no value")
        if (end - begin) // 2 > known.limits.labels + 1:
            found[at] = Refusal(f"more than {known.limits.labels} labels", "")
        else:
            texts = [symbols[ref] for ref in message.refs[begin:end].tolist()]
            labels = list(zip(texts[::2], texts[1::2], strict=True))
            found[at] = v2[keys[at]] = known.learn(labels)
    return found  # type: ignore[return-value]


def _cut(data: bytes, spans: I8) -> list[bytes]:
    begins, ends = spans[:, 0].tolist(), spans[:, 1].tolist()
    return [data[begin:end] for begin, end in zip(begins, ends, strict=True)]


def _missing(found: list[Meaning | None]) -> list[int]:
    return [at for at, one in enumerate(found) if one is None] if None in found else []


def _decoded(message: _Message, found: list[Meaning], known: Known) -> Decoded:
    """Return the rows of a message: all samples, then what histograms come to."""
    refusals = Refusals()
    rows = _repeated(found, message.series[:, 2])
    ts_ms, value = message.ts_ms, message.value
    summed = 0
    if message.histograms:
        owners = _repeated(found, message.series[:, 3])
        more, more_ts, more_value = _summed(message, owners, refusals)
        summed = len(more) // 2
        rows = rows + more
        ts_ms, value = np.append(ts_ms, more_ts), np.append(value, more_value)
    good = np.abs(ts_ms) <= _TS_MS_MAX
    good &= ts_ms != np.iinfo(np.int64).min
    if Refusal in set(map(type, rows)) or not good.all():
        for k, one in enumerate(rows):
            if isinstance(one, Refusal):
                good[k] = False
                refusals.add(one.reason, one.example)
            elif not good[k]:
                refusals.add(_BEYOND, f"{one[1]} {ts_ms[k]}")
        kept = np.flatnonzero(good)
        rows = [rows[k] for k in kept.tolist()]
        ts_ms, value = ts_ms[kept], value[kept]
    tables: tuple[pa.Table, ...] = ()
    if rows:
        columns = known.columns(rows)  # type: ignore[arg-type]
        device, metric, labels, site, cohort = columns
        tables = (readings(device, ts_ms * _MS, metric, value, labels, site, cohort),)
    return Decoded(
        tables,
        refusals.listed(),
        samples=len(rows) - 2 * summed,
        histograms=summed,
        exemplars=message.exemplars,
    )


def _repeated(found: list[Meaning], times: I8) -> list[Meaning]:
    if (times == 1).all():
        return found
    return [found[k] for k in np.repeat(np.arange(len(found)), times).tolist()]


def _summed(
    message: _Message, owners: list[Meaning], refusals: Refusals
) -> tuple[list[Meaning], list[int], F8]:
    """Return two rows of each histogram: how many there were, and their sum.

    A stale one is stale in both.
    """
    rows: list[Meaning] = []
    ts_ms: list[int] = []
    values: list[float] = []
    for (begin, after), one in zip(message.histograms, owners, strict=True):
        try:
            told = Histogram.FromString(message.body[begin:after])
        except DecodeError as cause:
            raise PayloadError(f"a histogram is damaged: {cause}") from cause
        if isinstance(one, Refusal):
            refusals.add(one.reason, one.example)
            continue
        if abs(told.timestamp) > _TS_MS_MAX:
            refusals.add(_BEYOND, f"{one[1]} {told.timestamp}")
            continue
        device, metric, labels, site, cohort = one
        rows += [(device, f"{metric}{end}", labels, site, cohort) for end in ("_count", "_sum")]
        counted = told.count_int if told.WhichOneof("count") == "count_int" else told.count_float
        is_stale = struct.pack("<d", told.sum) == _STALE
        values += [told.sum if is_stale else float(counted), told.sum]
        ts_ms += [told.timestamp] * 2
    return rows, ts_ms, np.array(values, np.float64)
