"""The kernels of admission against their twins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiops.kernels import admission
from tests.oracles import admission as oracle

NO_TIME = admission.NO_TIME


def same(a, b):
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


@pytest.mark.parametrize("stamps", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_advance_clock(seed, stamps):
    rng = np.random.default_rng(seed)
    epoch, lateness, end_lead = 60, 120, 5_000
    rows = []
    now = 10_000
    for _ in range(60):
        now += int(rng.integers(0, 90))
        kind = rng.random()
        ts = now - int(rng.integers(0, 300))
        if kind < 0.08:
            ts = now + int(rng.integers(2_000, 90_000))  # a device with a wrong clock
        if kind > 0.97:
            rows.append((-1, None, None))
        elif kind > 0.9:
            rows.append((-1, now, now if kind > 0.93 else None))
        else:
            recv = now if rng.random() < stamps else None
            rows.append((int(rng.integers(0, 4)), ts, recv))
    state = np.full(6, NO_TIME)
    state[admission.BEST_DEVICE] = -1
    first_open, vouched = np.empty(60, np.int64), np.empty(60, np.int64)
    number = [[NO_TIME if v is None else v for v in row] for row in rows]
    root, ts, recv = (np.array(column) for column in zip(*number, strict=True))
    # Two cuts, because the state between them is what a checkpoint keeps.
    for part in (slice(0, 23), slice(23, 60)):
        admission.advance_clock(
            root[part].astype(np.int32),
            ts[part],
            recv[part],
            state,
            epoch,
            lateness,
            end_lead,
            first_open[part],
            vouched[part],
        )
    found = [
        (None if a == NO_TIME else a, None if b == NO_TIME else b)
        for a, b in zip(first_open.tolist(), vouched.tolist(), strict=True)
    ]
    assert found == oracle.advance_clock(rows, epoch, lateness, end_lead)


def test_one_wrong_clock_does_not_close_everybodys_epochs():
    state = np.full(6, NO_TIME)
    state[admission.BEST_DEVICE] = -1
    root = np.array([0, 1, 7, 0], np.int32)
    ts = np.array([1_000, 1_010, 9_000_000, 1_060])
    first_open, vouched = np.empty(4, np.int64), np.empty(4, np.int64)
    none = np.full(4, NO_TIME)
    admission.advance_clock(root, ts, none, state, 60, 0, 1_000, first_open, vouched)
    assert first_open.tolist() == [NO_TIME, 1_000 // 60, 1_010 // 60, 1_060 // 60]
    assert vouched[-1] == 1_060


@pytest.mark.parametrize("seed", range(5))
def test_group_rows(seed):
    rng = np.random.default_rng(seed)
    device = rng.integers(0, 9, 80).astype(np.int32)
    ts = rng.integers(0, 12, 80)
    order = np.empty(80, np.int64)
    admission.group_rows(device, ts, np.zeros(10, np.int64), order)
    assert order.tolist() == oracle.group_rows(device.tolist(), ts.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_scatter_max(seed):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 20, 60)
    value = np.where(rng.random(60) < 0.3, np.nan, rng.normal(size=60))
    out, twice = np.full(20, np.nan), np.zeros(60, np.bool_)
    n = admission.scatter_max(target, value, out, twice)
    expected, marks = oracle.scatter_max(target.tolist(), value.tolist(), 20)
    assert all(map(same, out.tolist(), expected))
    assert twice.tolist() == marks
    assert n == sum(marks)


@pytest.mark.parametrize("seed", range(5))
def test_mark_late(seed):
    rng = np.random.default_rng(seed)
    device = rng.integers(0, 5, 100).astype(np.int32)
    ts = np.arange(100) + rng.integers(-8, 8, 100)
    value = np.where(rng.random(100) < 0.2, np.nan, rng.normal(size=100))
    last, late = np.full(5, NO_TIME), np.zeros(100, np.int8)
    n = admission.mark_late(device, ts, value, last, late)
    twin = dict.fromkeys(range(5), NO_TIME)
    marks = oracle.mark_late(device.tolist(), ts.tolist(), value.tolist(), twin)
    assert late.tolist() == marks
    assert n == sum(mark > 0 for mark in marks) > 0
    assert last.tolist() == list(twin.values())


@pytest.mark.parametrize("seed", range(5))
def test_pin_source(seed):
    rng = np.random.default_rng(seed)
    device = rng.integers(0, 6, 90).astype(np.int32)
    sources = [1, 4, 9]
    candidate = np.where(rng.random((3, 90)) < 0.6, np.nan, rng.random((3, 90)))
    pinned = np.full(6, -1, np.int8)
    out, chosen = np.full(90, np.nan), np.full(90, -1, np.int8)
    refused = admission.pin_source(device, candidate, np.array(sources), pinned, out, chosen)
    readings = [
        {s: candidate[k, i] for k, s in enumerate(sources) if not np.isnan(candidate[k, i])}
        for i in range(90)
    ]
    expected, which, count = oracle.pin_source(device.tolist(), readings, sources, {})
    assert all(map(same, out.tolist(), expected))
    assert chosen.tolist() == which
    assert refused == count > 0


@pytest.mark.parametrize(
    ("name", "wrap", "resets", "values", "expected"),
    [
        ("grows", 0.0, False, [1.0, 5.0, 9.0], [1.0, 5.0, 9.0]),
        ("wraps", 100.0, True, [80.0, 99.0, 3.0, 10.0], [80.0, 99.0, 103.0, 110.0]),
        ("reset at boot", 100.0, True, [50.0, 60.0, 5.0], [50.0, 60.0, 65.0]),
        ("boot near the top is no wrap", 100.0, True, [90.0, 40.0], [90.0, 130.0]),
        ("wider than the wrap: a reset", 100.0, True, [90.0, 500.0, 5.0], [90.0, 500.0, 505.0]),
        ("begins anew", 0.0, False, [50.0, 1.0, 2.0, 2.0, 3.0], [50.0, None, None, 2.0, 3.0]),
        (
            "or only slips",
            0.0,
            False,
            [50.0, 9.0, 8.0, 51.0, 7.0, 7.0],
            [50, None, None, 51, None, None],
        ),
        ("a lifetime counter cannot fall", 0.0, False, [50.0, 20.0, 55.0], [50.0, None, 55.0]),
        ("missing", 0.0, False, [1.0, math.nan, 2.0], [1.0, math.nan, 2.0]),
    ],
)
def test_unwrap_counter(name, wrap, resets, values, expected):
    device = np.zeros(len(values), np.int32)
    value = np.array(values)
    backwards = np.zeros(len(values), np.bool_)
    n = admission.unwrap_counter(
        device,
        value,
        np.zeros(len(values), np.int8),
        np.array([wrap, 0.0]),
        np.array([resets, False]),
        np.full(1, -np.inf),
        np.zeros(1),
        np.zeros(1),
        np.zeros(1, np.int8),
        backwards,
    )
    twin = oracle.unwrap_counter([0] * len(values), values, wrap, resets)
    assert all(map(same, twin, expected)), name
    left = [values[i] if v is None else v for i, v in enumerate(expected)]
    assert all(map(same, value.tolist(), left)), name
    assert backwards.tolist() == [v is None for v in expected]
    assert n == backwards.sum()


@pytest.mark.parametrize("seed", range(4))
def test_unwrap_counter_of_many(seed):
    rng = np.random.default_rng(seed)
    wrap, resets = [(0.0, False), (100.0, False), (100.0, True), (0.0, True)][seed]
    device = rng.integers(0, 4, 300).astype(np.int32)
    value = np.where(rng.random(300) < 0.1, np.nan, rng.integers(0, 100, 300)).astype(float)
    backwards = np.zeros(300, np.bool_)
    twin = oracle.unwrap_counter(device.tolist(), value.tolist(), wrap, resets)
    state = np.full(4, -np.inf), np.zeros(4), np.zeros(4), np.zeros(4, np.int8)
    chosen, sources = np.zeros(300, np.int8), (np.array([wrap, 0.0]), np.array([resets, False]))
    for cut in (slice(0, 111), slice(111, 300)):
        part = value[cut].copy()
        admission.unwrap_counter(
            device[cut], part, chosen[cut], *sources, *state, (marked := backwards[cut])
        )
        value[cut] = np.where(marked, np.nan, part)
    assert backwards.any() is not resets
    assert all(map(same, value.tolist(), [math.nan if v is None else v for v in twin]))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2.25, 0.23, 0.25], [2.25, 2.79, 2.81]),
        ([2.55, 0.0, 2.55, 0.01], [2.55, 2.56, 2.55, 2.57]),
        ([0.5, 0.4, math.nan, 0.6], [0.5, 0.4, math.nan, 0.6]),
        ([1.5, 0.0], [1.5, 0.0]),
        ([2.0, 0.9], [2.0, 0.9]),
    ],
)
def test_unwrap_reading(values, expected):
    value = np.array(values)
    device, chosen = np.zeros(len(values), np.int32), np.zeros(len(values), np.int8)
    admission.unwrap_reading(
        device, value, chosen, np.array([2.56, 0.0]), np.full(1, -np.inf), np.zeros(1)
    )
    assert value.tolist() == pytest.approx(expected, nan_ok=True)
    twin = oracle.unwrap_reading(device.tolist(), values, 2.56)
    assert value.tolist() == pytest.approx(twin, nan_ok=True)


def test_last_value():
    latest = np.array([7.0, np.nan])
    device = np.array([0, 0, 1, 1], np.int32)
    value = np.array([1.0, np.nan, 3.0, 4.0])
    admission.last_value(device, value, np.array([True, True, True, False]), latest)
    assert latest.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("seed", range(6))
def test_scatter_series(seed):
    rng = np.random.default_rng(seed)
    column = rng.integers(-1, 3, 40).astype(np.int32)
    row = rng.integers(0, 12, 40).astype(np.int32)
    value = rng.normal(size=40)
    out, twice = np.full((3, 12), np.nan), np.zeros(40, np.bool_)
    n = admission.scatter_series(column, row, value, out, twice)
    expected, marks = oracle.scatter_series(column.tolist(), row.tolist(), value.tolist())
    assert twice.tolist() == marks
    assert n == sum(marks) > 0
    known = {(c, r): out[c, r] for c in range(3) for r in range(12) if not math.isnan(out[c, r])}
    assert known == expected


@pytest.mark.parametrize("labels", [1, 2, 40])
@pytest.mark.parametrize("seed", range(6))
def test_count_clashes(seed, labels):
    rng = np.random.default_rng(seed)
    series = rng.integers(0, 4, 20).astype(np.int32)
    row = rng.integers(0, 30, 20).astype(np.int32)
    told = rng.integers(0, labels, 20).astype(np.int32)
    order = np.argsort(series, kind="stable")
    seen, first = np.full(30, -1), np.zeros(30, np.int32)
    n = admission.count_clashes(series, row, told, order, seen, first)
    assert (n > 0) is oracle.clashes(series.tolist(), row.tolist(), told.tolist())
