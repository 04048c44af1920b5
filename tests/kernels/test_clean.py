from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.kernels.clean import clean, count_odd
from tests.oracles.clean import clean as oracle
from tests.oracles.clean import count_odd as count_odd_oracle

FINITE = sys.float_info.max


def run(readings: list[float], *line: float) -> tuple[list[float], int, int]:
    reading = np.array(readings, dtype=np.float64)
    reading.setflags(write=False)
    value = np.empty(len(readings))
    kept, refused = clean(reading, *line, value)
    return value.tolist(), kept, refused


def same(a: list[float], b: list[float]) -> bool:
    return all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(a, b, strict=True))


@given(
    st.lists(st.floats(), max_size=20),
    st.sampled_from([1.0, -1.0, 512.0, 33_554_432.0, 3600.0]),
    st.sampled_from([0.0, 100.0, 1.0]),
    st.sampled_from([1.0, 100.0, 1000.0]),
    st.sampled_from([(0.0, 2.8), (-FINITE, FINITE), (0.0, 1e21), (-60.0, 150.0)]),
)
def test_kernel_does_what_the_oracle_does(
    readings: list[float], scale: float, offset: float, per: float, bounds: tuple[float, float]
) -> None:
    value, kept, refused = run(readings, scale, offset, per, *bounds)
    expected, expected_kept, expected_refused = oracle(readings, scale, offset, per, *bounds)
    assert same(value, expected)
    assert (kept, refused) == (expected_kept, expected_refused)


def test_every_percentage_is_the_nearest_float() -> None:
    percent = [float(p) for p in range(101)]
    remaining, _, _ = run(percent, -1.0, 100.0, 100.0, 0.0, 1.0)
    assert remaining == [float(f"{(100 - p) // 100}.{(100 - p) % 100:02d}") for p in range(101)]


def test_what_is_not_finite_is_refused_and_what_is_missing_is_not() -> None:
    value, kept, refused = run(
        [math.inf, -math.inf, math.nan, 1e308], 10.0, 0.0, 1.0, -FINITE, FINITE
    )
    assert all(math.isnan(v) for v in value)
    assert (kept, refused) == (0, 3)


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_odd_times_are_counted(seed: int, stamped: bool) -> None:
    rng = np.random.default_rng(seed)
    ts, stamps = rng.integers(0, 100, 200), rng.integers(0, 100, 200)
    for array in (ts, stamps):
        array.setflags(write=False)
    given = stamps if stamped else stamps[:0]
    rows = list(zip(ts.tolist(), stamps.tolist(), strict=True))
    odd = count_odd(ts, given, 10, 90, 20)
    assert odd == count_odd_oracle(rows, stamped, 10, 90, 20) > 0
