"""Columns of any Arrow type, read as instants: ns since the epoch, UTC."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from aiops.kernels.rows import B1, F8, I8
from aiops.telemetry.columns import codes_of, number, whole
from aiops.telemetry.normalised import NO_TIME

SECOND_NS = 1_000_000_000
YEAR_2000 = 946_684_800 * SECOND_NS
"""Nothing reported before this: a clock that says so was never set."""
YEAR_2100 = 4_102_444_800 * SECOND_NS

NS_PER = {"s": SECOND_NS, "ms": 1_000_000, "us": 1000, "ns": 1}
UNITS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (math.inf, "ns"))
"""A bare number below the first is seconds, and so on: each reads as 1973 or later in its unit."""


class Times(NamedTuple):
    """What a column of times says."""

    ns: I8
    """[n]; `NO_TIME` where none is given, and where what is given is no time."""
    bad: B1 | None
    """[n] is no time, or one that int64 cannot hold; None: nothing is."""


def read_times(array: pa.Array) -> Times:
    """Read a column as instants; times without a zone are UTC."""
    kind = array.type
    if types.is_timestamp(kind):
        return _ticks(_integers(array), _absent(array), NS_PER[kind.unit])
    if types.is_date32(kind):
        return _ticks(_integers(array.cast(pa.int32())), _absent(array), 86_400 * SECOND_NS)
    if types.is_date64(kind):
        return _ticks(_integers(array), _absent(array), NS_PER["ms"])
    if types.is_integer(kind):
        return _guess_integers(array)
    if types.is_floating(kind) or types.is_decimal(kind):
        return _guess_floats(
            pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        )
    if types.is_string(kind) or types.is_large_string(kind):
        return _read_texts(array)
    if types.is_dictionary(kind):
        return _gather(read_times(whole(pa.chunked_array([array.dictionary]))), array)
    bad = pc.is_valid(array).to_numpy(zero_copy_only=False)
    return Times(np.full(len(array), NO_TIME), bad if bad.any() else None)


def _absent(array: pa.Array) -> B1 | None:
    return array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None


def _integers(array: pa.Array) -> I8:
    """Return the stored integers [n], whatever they count; anything where null."""
    wide = array.cast(pa.int64())
    if wide.null_count:
        wide = wide.fill_null(0)
    integers: I8 = wide.to_numpy(zero_copy_only=False)
    return integers


def _ticks(ticks: I8, absent: B1 | None, ns: int) -> Times:
    """Scale ticks of `ns` to ns. What lies far outside is clipped there: still outside."""
    if ns > 1:
        ticks = np.clip(ticks, YEAR_2000 // ns - 1, YEAR_2100 // ns + 1) * ns
    if absent is not None:
        ticks = np.where(absent, NO_TIME, ticks)
    return Times(ticks, None)


def _by_unit(size: F8) -> Iterator[tuple[B1, int]]:
    """Yield which numbers of this magnitude [n] are in a unit, and ns in that unit."""
    above = -1.0
    for below, unit in UNITS:
        here = (size >= above) & (size < below)
        if here.any():
            yield here, NS_PER[unit]
        above = below


def _guess_integers(array: pa.Array) -> Times:
    absent = _absent(array)
    if types.is_uint64(array.type):
        array = pc.min_element_wise(array, pa.scalar(2**63 - 1, pa.uint64()))
    ticks = _integers(array)
    ns = np.empty_like(ticks)
    for here, per in _by_unit(np.abs(ticks.astype(np.float64))):
        ns[here] = _ticks(ticks[here], None, per).ns
    return Times(ns if absent is None else np.where(absent, NO_TIME, ns), None)


def _guess_floats(values: F8) -> Times:
    bad = np.isinf(values)
    ns = np.full(len(values), NO_TIME)
    for here, per in _by_unit(np.abs(values)):
        held = np.clip(values[here], YEAR_2000 / per / 2, YEAR_2100 / per * 1.5)
        full = np.floor(held)
        ns[here] = full.astype(np.int64) * per + np.rint((held - full) * per).astype(np.int64)
    return Times(ns, bad if bad.any() else None)


_ISO = (
    r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ]"
    r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?Z?$"
)
_TICKS = r"^[0-9]{9,19}$"
"""Both: what Arrow reads exactly as `_read_text` does, and much faster."""


def _read_texts(array: pa.Array) -> Times:
    """Read usual spellings at once, and each distinct other text by itself."""
    for pattern, read in ((_ISO, _read_iso), (_TICKS, _read_ticks)):
        if pc.all(pc.match_substring_regex(array, pattern)).as_py():
            times = read(array)
            if times is not None:
                return times
    encoded = array.dictionary_encode()
    return _gather(_read_each(encoded.dictionary.to_pylist()), encoded)


def _read_iso(array: pa.Array) -> Times | None:
    """Read ISO 8601 in UTC; None: a date is not in the calendar."""
    try:
        moments = pc.cast(pc.utf8_rtrim(array, "Z"), pa.timestamp("ns"))
    except pa.ArrowInvalid:
        return None
    return read_times(moments)


def _read_ticks(array: pa.Array) -> Times | None:
    """Read whole numbers; None: one of them has more than 64 bits."""
    try:
        return _guess_integers(array.cast(pa.int64()))
    except pa.ArrowInvalid:
        return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(r"(?<=\d)[.,](\d+)")
_INTEGER = re.compile(r"[+-]?\d{1,7}|[+-]?\d{9,19}")
"""Eight digits are a date without dashes."""


def _read_each(texts: list[str]) -> Times:
    """Read texts [k]: ISO 8601, or a number whose unit must be guessed."""
    read = [_read_text(text) for text in texts]
    ns = _guess_floats(np.array([t if isinstance(t, float) else math.nan for t in read])).ns
    bad = np.array([isinstance(t, float) and not math.isfinite(t) for t in read], np.bool_)
    for i, instant in enumerate(read):
        if isinstance(instant, int):
            ns[i] = min(max(instant, YEAR_2000 - 1), YEAR_2100)
    return Times(ns, bad if bad.any() else None)


def _read_text(text: str) -> int | float | None:
    """Return ns as an int; a number without a unit as a float, NaN if it is no time at all."""
    text = text.strip()
    if not text:
        return None
    if _INTEGER.fullmatch(text):
        ticks = int(text)
        return ticks * next(NS_PER[unit] for below, unit in UNITS if abs(ticks) < below)
    fraction = _FRACTION.search(text)
    seconds = text[: fraction.start()] + text[fraction.end() :] if fraction else text
    try:
        moment = datetime.fromisoformat(seconds.removesuffix(" UTC"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        ns = (moment - _EPOCH) // timedelta(seconds=1) * SECOND_NS
    except (ValueError, OverflowError):
        return _number(text)
    return ns + (int(fraction[1][:9].ljust(9, "0")) if fraction else 0)


def _number(text: str) -> float:
    try:
        return number(text)
    except (ValueError, OverflowError):
        return math.nan


def _gather(times: Times, array: pa.Array) -> Times:
    """Spread the times of distinct entries [k] over the rows [n] that hold them."""
    code = codes_of(array.indices)
    ns = np.append(times.ns, NO_TIME)[code]
    return Times(ns, None if times.bad is None else np.append(times.bad, False)[code])
