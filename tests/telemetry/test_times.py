from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from aiops.telemetry.normalised import NO_TIME
from aiops.telemetry.times import YEAR_2000, YEAR_2100, read_times
from tests.telemetry.frames import MARCH

SECOND = 1_000_000_000


def test_the_limits_are_new_years() -> None:
    limits = pa.array([datetime(2000, 1, 1), datetime(2100, 1, 1)], pa.timestamp("s"))
    assert [tick * SECOND for tick in limits.cast(pa.int64()).to_pylist()] == [YEAR_2000, YEAR_2100]


@pytest.mark.parametrize(
    "value",
    [
        pa.array([MARCH], pa.timestamp("ns")),
        pa.array([MARCH // 10**3], pa.timestamp("us", "UTC")),
        pa.array([MARCH // 10**6], pa.timestamp("ms", "America/New_York")),
        pa.array([MARCH // 10**9], pa.timestamp("s")),
        pa.array([date(2026, 3, 1)], pa.date32()),
        pa.array([date(2026, 3, 1)], pa.date64()),
        pa.array([MARCH // 10**9]),
        pa.array([MARCH // 10**6], pa.uint64()),
        pa.array([MARCH // 10**3]),
        pa.array([MARCH]),
        pa.array([float(MARCH // 10**9)]),
        pa.array([float(MARCH // 10**6)]),
        pa.array([float(MARCH)]),
        pa.array([Decimal(MARCH // 10**9)]),
        pa.array(["2026-03-01"]),
        pa.array(["20260301"]),
        pa.array(["2026-03-01T00:00:00Z"], pa.large_string()),
        pa.array(["2026-03-01 00:00:00 UTC"]),
        pa.array(["2026-03-01T01:00:00.000+01:00"]),
        pa.array([" 1772323200 "]),
        pa.array(["1772323200000"]),
        pa.array(["1.7723232e9"]),
        pa.array(["2026-03-01T00:00:00"]).dictionary_encode(),
        pa.array([MARCH]).dictionary_encode(),
    ],
    ids=lambda array: f"{array.type} {array[0]}",
)
def test_one_instant_has_many_spellings(value: pa.Array) -> None:
    ns, bad = read_times(value)
    assert ns.tolist() == [MARCH]
    assert bad is None


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-03-01T00:00:00.5Z", MARCH + SECOND // 2),
        ("2026-03-01T00:00:00.123456789Z", MARCH + 123_456_789),
        ("2026-03-01T00:00:00.1234567891Z", MARCH + 123_456_789),
        ("2026-03-01T00:00:00,25", MARCH + SECOND // 4),
        ("1772323200123456789", MARCH + 123_456_789),
        ("1772323200.25", MARCH + SECOND // 4),
        ("1969-12-31T23:59:59Z", None),
    ],
)
def test_fractions_are_kept(text: str, ns: int | None) -> None:
    read = read_times(pa.array([text]))
    assert read.ns.tolist() == [YEAR_2000 - 1 if ns is None else ns]


def test_numbers_are_guessed_one_by_one() -> None:
    mixed = pa.array([MARCH // 10**9, MARCH // 10**6, MARCH // 10**3, MARCH, None])
    assert read_times(mixed).ns.tolist() == [MARCH] * 4 + [NO_TIME]
    floats = mixed.cast(pa.float64(), safe=False)
    assert read_times(floats).ns.tolist() == [MARCH] * 4 + [NO_TIME]


@pytest.mark.parametrize(
    "value",
    [
        pa.array(["yesterday", ""]),
        pa.array(["2026-13-01", None]),
        pa.array([float("inf"), float("nan")]),
        pa.array([True, None]),
        pa.array([[1], None]),
        pa.array([b"2026", None]),
    ],
    ids=lambda array: str(array.type),
)
def test_what_is_no_time_is_bad_and_what_is_absent_is_not(value: pa.Array) -> None:
    ns, bad = read_times(value)
    assert ns.tolist() == [NO_TIME, NO_TIME]
    assert bad is not None
    assert bad.tolist() == [True, False]


@pytest.mark.parametrize(
    "value",
    [
        pa.array([2**63 - 1, -(2**63) + 1], pa.timestamp("s")),
        pa.array([2**63 - 1, -(2**63)], pa.timestamp("us")),
        pa.array([date(9999, 12, 31), date(1, 1, 1)], pa.date32()),
        pa.array([1e300, -1e300]),
        pa.array([2**63 - 1, -(2**63)]),
        pa.array(["9999-12-31T23:59:59Z", "0001-01-01"]),
        pa.array(["99999999999999999999", "-1"]),
    ],
    ids=lambda array: str(array.type),
)
def test_what_int64_cannot_hold_stays_out_of_bounds(value: pa.Array) -> None:
    late, early = read_times(value).ns.tolist()
    assert late >= YEAR_2100
    assert early < YEAR_2000


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64()], ids=str)
def test_a_bare_number_is_read_in_the_largest_unit_that_makes_sense(kind: pa.DataType) -> None:
    just_below = [10**11 - 1, 10**14 - 1, 10**17 - 2**5]
    at = [10**11, 10**14, 10**17]
    assert (read_times(pa.array(just_below).cast(kind, safe=False)).ns >= YEAR_2100).all()
    assert (read_times(pa.array(at).cast(kind, safe=False)).ns < YEAR_2000).all()


def test_uint64_beyond_int64_is_in_the_future() -> None:
    assert read_times(pa.array([2**64 - 1], pa.uint64())).ns[0] >= YEAR_2100


def at(*values: Any, kind: pa.DataType) -> list[int]:
    return read_times(pa.array(values, kind)).ns.tolist()


def test_absent_times_are_absent_in_every_type() -> None:
    for kind in (pa.timestamp("s"), pa.date32(), pa.int64(), pa.float64(), pa.string(), pa.null()):
        assert at(None, kind=kind) == [NO_TIME]
