"""Frames to throw at normalisation, and normalised frames as plain values to compare."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from aiops.telemetry.normalised import NO_TIME, Encoded, NormalisedFrame

MARCH = 1_772_323_200_000_000_000
"""2026-03-01T00:00:00Z in ns."""


def name_at(names: Encoded | None, row: int) -> str | None:
    return None if names is None or names.code[row] < 0 else names.value[names.code[row]]


def rows_of(frame: NormalisedFrame) -> list[dict[str, Any]]:
    """Return the kept rows as plain dictionaries, only with what they hold."""
    rows: list[dict[str, Any]] = []
    for i in range(len(frame)):
        row: dict[str, Any] = {
            "device_id": name_at(frame.device_id, i),
            "ts": None if frame.ts[i] == NO_TIME else int(frame.ts[i]),
        }
        if frame.recv_ts[i] != NO_TIME:
            row["recv_ts"] = int(frame.recv_ts[i])
        for role in ("part", "medium_id", "site", "cohort"):
            name = name_at(getattr(frame, role), i)
            if name:
                row[role] = name
        rows.append(row)
    for key, (place, value) in frame.columns.items():
        assert place is None or len(place) == len(value)
        for i, v in zip(range(len(frame)) if place is None else place.tolist(), value, strict=True):
            if not math.isnan(v):
                rows[i][key] = float(v)
    return rows


def aside_of(frame: NormalisedFrame) -> list[tuple[str, str, str | None]]:
    """Return reason, metric and value of what was set aside, in order."""
    return [(r["reason"], r["metric"], r["value"]) for r in frame.set_aside.to_pylist()]


# Arbitrary frames --------------------------------------------------------------------------------

NASTY_TEXTS = st.one_of(
    st.sampled_from(
        [
            "", " ", "nan", "inf", "-inf", "0x02", "0x02 0x01", "1e400", "1_0", "12.5", "-3", "٣",
            "2026-03-01", "2026-03-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "20260301",
            "9999-12-31T23:59:59-12:00", "99999999999999999999", "{}", '{"state": "used"}', "[1]",
            "gw-1", "nvme0", "\x00", "a" * 300,
        ]
    ),
    st.text(max_size=8),
)  # fmt: skip
NASTY_FLOATS = st.one_of(
    st.sampled_from(
        [0.0, -0.0, math.nan, math.inf, -math.inf, 1e308, 5e-324, 1.7e9, 1.7e18, 255.0]
    ),
    st.floats(),
)
NASTY_INTS = st.one_of(
    st.sampled_from([0, 1, 11, 131, 255, -1, 2**31, 2**53 + 1, -(2**63), 2**63 - 1, 1_772_323_200]),
    st.integers(-(2**63), 2**63 - 1),
)
COLUMN_TYPES: dict[str, tuple[Callable[[], pa.DataType], st.SearchStrategy[Any]]] = {
    "float64": (pa.float64, NASTY_FLOATS),
    "float32": (pa.float32, st.floats(width=32)),
    "float16": (pa.float16, st.floats(width=16)),
    "int64": (pa.int64, NASTY_INTS),
    "uint64": (pa.uint64, st.integers(0, 2**64 - 1)),
    "int8": (pa.int8, st.integers(-128, 127)),
    "bool": (pa.bool_, st.booleans()),
    "string": (pa.string, NASTY_TEXTS),
    "large_string": (pa.large_string, NASTY_TEXTS),
    "string_view": (pa.string_view, NASTY_TEXTS),
    "binary": (pa.binary, st.binary(max_size=6)),
    "fixed_binary": (lambda: pa.binary(4), st.binary(min_size=4, max_size=4)),
    "binary_view": (pa.binary_view, st.binary(max_size=6)),
    "null": (pa.null, st.none()),
    "decimal": (
        lambda: pa.decimal128(38, 4),
        st.decimals(-(10**30), 10**30, places=4, allow_nan=False).map(Decimal),
    ),
    "timestamp_s": (lambda: pa.timestamp("s"), NASTY_INTS),
    "timestamp_ms": (lambda: pa.timestamp("ms", "UTC"), NASTY_INTS),
    "timestamp_us": (
        lambda: pa.timestamp("us", "Europe/Paris"),
        st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 28)),
    ),
    "timestamp_ns": (lambda: pa.timestamp("ns", "UTC"), NASTY_INTS),
    "date32": (pa.date32, st.dates(date(1, 1, 1), date(9999, 12, 31))),
    "date64": (pa.date64, st.dates(date(1, 1, 1), date(9999, 12, 31))),
    "time64": (lambda: pa.time64("us"), st.times()),
    "duration": (lambda: pa.duration("us"), st.timedeltas(timedelta(-99_999), timedelta(99_999))),
    "interval": (
        pa.month_day_nano_interval,
        st.tuples(*[st.integers(-99, 99)] * 3).map(pa.MonthDayNano),
    ),
    "list": (lambda: pa.list_(pa.int32()), st.lists(st.integers(-9, 9), max_size=2)),
    "struct": (
        lambda: pa.struct([("state", pa.string()), ("device", pa.int64())]),
        st.fixed_dictionaries({"state": NASTY_TEXTS, "device": NASTY_INTS}),
    ),
    "map": (
        lambda: pa.map_(pa.string(), pa.string()),
        st.dictionaries(st.sampled_from(["state", "device", "x"]), NASTY_TEXTS).map(
            lambda d: list(d.items())
        ),
    ),
    "dictionary_text": (lambda: pa.dictionary(pa.int8(), pa.string()), NASTY_TEXTS),
    "dictionary_int": (lambda: pa.dictionary(pa.int32(), pa.int64()), NASTY_INTS),
    "dictionary_float": (lambda: pa.dictionary(pa.int16(), pa.float64()), NASTY_FLOATS),
}


def column(kind: str, values: list[Any]) -> pa.Array:
    """Return an array of a type in `COLUMN_TYPES`; timestamps may be given as bare ticks."""
    dtype = COLUMN_TYPES[kind][0]()
    if pa.types.is_dictionary(dtype):
        return pa.array(values, dtype.value_type).dictionary_encode().cast(dtype)
    if pa.types.is_timestamp(dtype) and any(isinstance(v, int) for v in values):
        return pa.array(values, pa.int64()).cast(dtype, safe=False)
    if kind in {"string_view", "binary_view"}:
        return pa.array(values, pa.string() if kind == "string_view" else pa.binary()).cast(dtype)
    return pa.array(values, dtype)


@st.composite
def columns(draw: st.DrawFn, n: int, kinds: tuple[str, ...] = tuple(COLUMN_TYPES)) -> pa.Array:
    kind = draw(st.sampled_from(kinds))
    value = st.one_of(st.none(), COLUMN_TYPES[kind][1])
    return column(kind, draw(st.lists(value, min_size=n, max_size=n)))


KNOWN_NAMES = (
    "storage.wear.used_ratio", "storage.wear.used_ratio/nvme", "device.boot_id", "device.uptime",
    "percentage_used", "wear_source", "kind", "data_units_written_512kB", "life_time",
    "pre_eol_info", "hw.physical_disk.endurance_utilization", "state", "critical_warning",
    "diskstats/mmcblk0/lifetime_pct", "disk_wear.ufs.pre_eol", "disk_wear.vdc.bytes_written",
    "attr241_raw", "attr241_name", "attr225_raw", "temp_c", "temperature.celsius", "recv_ts",
    "part", "medium_id", "site", "cohort", "reboot_reason", "power_on_h", "nobody knows me", "",
)  # fmt: skip


@st.composite
def times(draw: st.DrawFn, n: int) -> pa.Array:
    """Return a column of any type, or half the time one of times that can be."""
    if draw(st.booleans()):
        return draw(columns(n))
    ticks = st.one_of(st.none(), st.integers(0, 10**18).map(lambda late: MARCH + late))
    return column("timestamp_ns", draw(st.lists(ticks, min_size=n, max_size=n)))


@st.composite
def wide_frames(draw: st.DrawFn, max_rows: int = 6) -> pa.Table:
    n = draw(st.integers(0, max_rows))
    names = draw(st.lists(st.sampled_from(KNOWN_NAMES), max_size=8))
    arrays = [draw(columns(n)), draw(times(n)), *(draw(columns(n)) for _ in names)]
    return pa.Table.from_arrays(arrays, names=["device_id", "ts", *names])


@st.composite
def long_frames(draw: st.DrawFn, max_rows: int = 6) -> pa.Table:
    n = draw(st.integers(0, max_rows))
    texts = ("string", "large_string", "string_view", "dictionary_text")
    metric = st.lists(st.one_of(st.none(), st.sampled_from(KNOWN_NAMES)), min_size=n, max_size=n)
    arrays = {
        "device_id": draw(columns(n)),
        "ts": draw(times(n)),
        "metric": column(draw(st.sampled_from(texts)), draw(metric)),
        "value": draw(columns(n)),
    }
    if draw(st.booleans()):
        arrays["labels"] = draw(columns(n, ("map", "struct", "string", "dictionary_text")))
    return pa.table(arrays)
