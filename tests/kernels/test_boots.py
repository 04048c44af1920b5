"""Counting reboots with their exposure, against the twin."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiops.detectors.protocol import FleetShape
from aiops.detectors.reboot_drift import RebootDrift
from aiops.kernels.boots import BootColumns, boots_update
from aiops.kernels.reboot_memory import RebootMemory
from aiops.kernels.rows import Rows
from tests.oracles import boots as oracle

SECOND = 10**9
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
START = 1_760_000_000 * SECOND
FIELDS = (
    "boot_id", "boot_time", "uptime", "boot_count", "planned", "cause", "version", "maintenance",
    "clean", "cycles", "on", "unsafe",
)  # fmt: skip
DETECTOR = RebootDrift()
SETTINGS = DETECTOR.settings
LIMITS = (SETTINGS.gap_s, SETTINGS.episode_ns, SETTINGS.version_ns)


def memory_of(n: int) -> RebootMemory:
    """Return the memory of `n` devices nothing is known of."""
    return DETECTOR.init(FleetShape(n))


def columns_of(rows) -> BootColumns:
    return BootColumns(
        *(np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in FIELDS)
    )


def count(rows):
    """Run the kernel over rows as the twin takes them."""
    memory = memory_of(max(row["device"] for row in rows) + 1)
    device = np.array([row["device"] for row in rows], dtype=np.int32)
    ts = np.array([row["ts"] for row in rows], dtype=np.int64)
    grouped = Rows(np.array([0, len(rows)], dtype=np.int64), device, ts)
    boots_update(grouped, columns_of(rows), memory, SETTINGS)
    return memory


def agree(memory, devices):
    """Say whether kernel and twin counted alike, exactly."""
    for i, device in devices.items():
        for name in ("open_s", "settled", "reboots", "planned", "power", "software"):
            assert getattr(memory, name)[i] == getattr(device, name), (i, name)
        for name in ("version_ts", "episode_ts", "planned_ts"):
            assert getattr(memory, name)[i] == getattr(device, name), (i, name)
        assert memory.ts[i] == device.heard
        waiting = device.pending
        assert memory.pending[i] == (waiting["boots"] if waiting else 0)
        if waiting:
            for name in ("lo", "hi", "seen", "cause"):
                assert getattr(memory, f"pending_{name}")[i] == waiting[name], (i, name)


# Lives as they are -------------------------------------------------------------------------------


def life(rng, device, sources, n):
    """Draw rows of a device that reboots, is updated, sleeps out of sight, and is set at times."""
    rows = []
    now = START + int(rng.integers(0, 10**12))
    booted, boots, cycles, unsafe, on = now - int(rng.integers(1, 5 * 10**15)), 7, 3, 1, 5e6
    clock_s, version, cause = 0.0, 1, 0.0
    wrap_s = float(rng.choice([math.inf, 4294967.296, 42949672.96]))
    p = [0.4, 0.3, 0.25, 0.05] if rng.random() < 0.7 else [0.9, 0.08, 0.01, 0.01]
    for _ in range(n):
        gap_s = float(rng.choice([MINUTE_S, HOUR_S, DAY_S, 20 * DAY_S], p=p)) * rng.uniform(0.9, 1)
        happened = rng.poisson(min(gap_s / (4 * DAY_S), 3.0)) + (rng.random() < 0.05)
        if happened:
            booted = now + int(rng.uniform(0, gap_s) * SECOND)
            boots += int(happened)
            lost = rng.random() < 0.5
            cycles, unsafe = cycles + int(lost), unsafe + int(lost and rng.random() < 0.5)
            cause = float(rng.choice([0, 1, 2, 3]))
        now += int(gap_s * SECOND)
        on += gap_s * rng.uniform(0.8, 1.0)
        if rng.random() < 0.03:
            clock_s += rng.choice([1.0, 30.0, 300.0, 7200.0, 5e8]) * rng.choice([-1, 1])
        if rng.random() < 0.04:
            version += 1
        whole = {
            "boot_id": float(boots * 1000 + device),
            "boot_time": float(round(booted / SECOND + clock_s + rng.uniform(-2, 2))),
            "uptime": math.fmod((now - booted) / SECOND, wrap_s),
            "boot_count": float(boots),
            "planned": float(cause == 1.0),
            "cause": cause,
            "version": float(version),
            "maintenance": float(rng.random() < 0.05),
            "clean": float(rng.random() < 0.95),
            "cycles": float(cycles),
            "on": on - on % HOUR_S,
            "unsafe": float(unsafe),
        }
        shown = {name: whole[name] for name in sources if rng.random() < 0.8}
        rows.append({"device": device, "ts": now, **shown})
        if rng.random() < 0.03:
            rows.append(dict(rows[-1]))
    return rows


CONTEXT = ("planned", "cause", "version", "maintenance", "clean")
SOURCES = {
    "all": FIELDS,
    "counter": ("boot_count",),
    "counter and context": ("boot_count", *CONTEXT),
    "identity": ("boot_id", "cause"),
    "uptime": ("uptime",),
    "uptime and context": ("uptime", *CONTEXT),
    "boot time": ("boot_time",),
    "boot time and context": ("boot_time", *CONTEXT),
    "clocks": ("uptime", "boot_time", "version"),
    "drive": ("cycles", "on", "unsafe"),
    "drive without hours": ("cycles",),
}


@pytest.mark.parametrize("sources", SOURCES.values(), ids=SOURCES.keys())
def test_every_life_against_the_twin(sources):
    rng = np.random.default_rng(len(sources))
    rows = [row for device in range(6) for row in life(rng, device, sources, 150)]
    memory = count(rows)
    agree(memory, oracle.boots_update(rows, *LIMITS))
    assert memory.reboots.sum() > 0


def nonsense(rng, device, n):
    """Draw rows in which sources contradict each other and come and go."""
    draw = {
        "boot_id": lambda: float(rng.integers(3)),
        "boot_time": lambda: float(rng.choice([0.0, 1.76e9, now / SECOND - rng.integers(5000)])),
        "uptime": lambda: float(rng.choice([rng.integers(100), rng.integers(5000), 1e6, 4294960])),
        "boot_count": lambda: float(rng.integers(9)),
        "planned": lambda: float(rng.integers(2)),
        "cause": lambda: float(rng.integers(4)),
        "version": lambda: float(rng.integers(2)),
        "maintenance": lambda: float(rng.random() < 0.1),
        "clean": lambda: float(rng.integers(2)),
        "cycles": lambda: float(rng.integers(9)),
        "on": lambda: float(rng.integers(9) * 1000),
        "unsafe": lambda: float(rng.integers(9)),
    }
    now, rows = START, []
    for _ in range(n):
        now += int(rng.choice([-1, 0, 1, 60, 900, 3600, 90_000, 10**6])) * SECOND
        shown = {name: value() for name, value in draw.items() if rng.random() < 0.25}
        rows.append({"device": device, "ts": now, **shown})
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_nonsense_against_the_twin(seed):
    rng = np.random.default_rng(seed)
    rows = [row for device in range(20) for row in nonsense(rng, device, 60)]
    memory = count(rows)
    agree(memory, oracle.boots_update(rows, *LIMITS))
    assert min(memory.power.sum(), memory.software.sum(), memory.settled.sum()) > 0


def test_rows_one_by_one_are_the_rows_at_once():
    rng = np.random.default_rng(11)
    rows = nonsense(rng, 0, 200)
    whole, piecewise = count(rows), memory_of(1)
    for row in rows:
        one = Rows(np.array([0, 1]), np.zeros(1, np.int32), np.array([row["ts"]], np.int64))
        boots_update(one, columns_of([row]), piecewise, SETTINGS)
    for name, once, often in zip(RebootMemory._fields, whole, piecewise, strict=True):
        np.testing.assert_array_equal(once, often, name)


# What is a reboot --------------------------------------------------------------------------------


def told(*rows):
    """Return the memory of a device after rows of (seconds since the start, what it reports)."""
    return count([{"device": 0, "ts": START + int(at * SECOND), **said} for at, said in rows])


def pair(gap_s, first, second):
    """Count the reboots between two rows."""
    return int(told((0, first), (gap_s, second)).reboots[0])


NOW_S = START / SECOND


def test_what_is_a_reboot():
    assert pair(60, {"boot_id": 1.0}, {"boot_id": 2.0}) == 1
    assert pair(60, {"boot_id": 1.0}, {"boot_id": 1.0}) == 0
    assert pair(DAY_S, {"boot_count": 5.0}, {"boot_count": 7.0}) == 2
    assert pair(60, {"boot_count": 5.0, "boot_id": 1.0}, {"boot_count": 7.0, "boot_id": 2.0}) == 2
    assert pair(3600, {"uptime": 1e6}, {"uptime": 100.0}) == 1
    assert pair(7200, {"uptime": 60.0}, {"uptime": 3600.0}) == 1, "not lower, yet a new boot"
    assert pair(20, {"uptime": 30.0}, {"uptime": 5.0}) == 1, "lower, however little it moved"
    assert pair(3600, {"boot_time": NOW_S - 1e6}, {"boot_time": NOW_S + 900}) == 1
    assert pair(60, {"cycles": 3.0}, {"cycles": 5.0}) == 2


def test_what_is_no_reboot():
    assert pair(60, {"boot_time": 1e9}, {"boot_time": 1e9 + 5}) == 0, "the clock was set"
    assert pair(60, {"boot_time": 1e9}, {"boot_time": 1e9 - 5e5}) == 0, "the clock was set back"
    assert pair(60, {"boot_time": NOW_S - 1e6}, {"boot_time": NOW_S - 1e6 + 7200}) == 0
    assert pair(60, {"boot_time": NOW_S - 1e6}, {"boot_time": NOW_S + 7200}) == 0
    assert pair(60, {"boot_time": 100.0}, {"boot_time": NOW_S}) == 0, "no clock before"
    assert pair(60, {"boot_count": 5.0}, {"boot_count": 0.0}) == 0, "the counter was lost"
    assert pair(60, {"boot_id": 1.0, "uptime": 1e6}, {"boot_id": 1.0, "uptime": 0.0}) == 0
    assert pair(DAY_S, {"uptime": 1e6}, {"uptime": 1e6 + 60}) == 0, "it slept"
    assert pair(60, {"uptime": 1e6, "boot_time": 1e9}, {"uptime": 1e6 + 60, "boot_time": 2e9}) == 0
    assert pair(60, {"uptime": 1e6}, {"uptime": 1e6 + 58}) == 0
    assert pair(60, {"boot_count": 5.0}, {"boot_count": math.nan}) == 0


@pytest.mark.parametrize("wrap_s", [4294967.296, 42949672.96])
def test_a_wrap_is_no_reboot(wrap_s):
    week = 7 * DAY_S
    assert pair(3600, {"uptime": wrap_s - 1800}, {"uptime": 1800.0}) == 0
    assert pair(3600, {"uptime": wrap_s - 5e5}, {"uptime": 1800.0}) == 1
    assert pair(3 * wrap_s, {"uptime": 100.0}, {"uptime": 100.0}) == 0
    assert pair(3 * week, {"uptime": wrap_s - week}, {"uptime": 2 * week}) == 0, "out of sight"
    assert pair(3 * week, {"uptime": wrap_s - week}, {"uptime": week}) == 1, "wrapped, then booted"


def test_what_has_been_beyond_a_width_does_not_wrap_there():
    wrap_s = 4294967.296
    assert pair(3600, {"uptime": 2 * wrap_s - 1800}, {"uptime": 1800 + wrap_s}) == 0
    assert pair(3600, {"uptime": 2 * wrap_s - 1800}, {"uptime": 1800.0}) == 1


# Episodes ----------------------------------------------------------------------------------------


def test_what_follows_within_an_hour_is_one_episode():
    boots = [(k * 600.0, {"boot_id": float(k)}) for k in range(1, 13)]
    memory = told((0, {"boot_id": 0.0}), *boots)
    assert memory.reboots[0] == 12
    assert memory.settled[0] == 1, "ten minutes to an hour and ten are one, then comes another"
    assert memory.pending[0] == 6
    assert memory.pending_hi[0] == START + 4200 * SECOND


def test_of_several_episodes_in_a_row_the_last_is_pending():
    memory = told((0, {"boot_count": 5.0}), (21 * DAY_S, {"boot_count": 10.0}))
    assert (memory.reboots[0], memory.settled[0], memory.pending[0]) == (5, 4, 1)
    assert memory.open_s[0] == 21 * DAY_S


def test_boots_that_nobody_saw_are_one_episode_a_day():
    memory = told((0, {"boot_count": 5.0}), (HOUR_S, {"boot_count": 25.0}))
    assert (memory.reboots[0], memory.settled[0], memory.pending[0]) == (20, 0, 20)


def test_a_boot_is_dated_by_uptime_or_a_sane_boot_time():
    memory = told((0, {"boot_id": 1.0}), (3600, {"boot_id": 2.0, "uptime": 600.0}))
    assert memory.pending_hi[0] == START + 3000 * SECOND
    assert memory.pending_lo[0] == START + 2940 * SECOND
    assert memory.pending_seen[0] == START + 3600 * SECOND
    memory = told((0, {"boot_id": 1.0}), (3600, {"boot_id": 2.0, "boot_time": NOW_S + 3000}))
    assert memory.pending_hi[0] == START + 3000 * SECOND
    memory = told((0, {"boot_id": 1.0}), (3600, {"boot_id": 2.0, "boot_time": NOW_S - 9e5}))
    assert (memory.pending_lo[0], memory.pending_hi[0]) == (START, START + 3600 * SECOND)


def test_a_source_that_comes_later_tells_of_the_same_boot():
    memory = told(
        (0, {"boot_id": 1.0, "uptime": 1e6, "boot_count": 7.0}),
        (600, {"uptime": 30.0}),
        (1200, {"boot_id": 2.0}),
        (1800, {"boot_count": 8.0}),
        (2400, {"uptime": 1830.0, "boot_id": 2.0, "boot_count": 8.0}),
    )
    assert (memory.reboots[0], memory.pending[0]) == (1, 1)
    assert memory.open_s[0] == 2400.0


def test_sources_in_turns_miss_nothing():
    memory = told(
        (0, {"boot_id": 1.0}),
        (600, {"uptime": 5000.0}),
        (1200, {"boot_id": 2.0}),
        (1800, {"uptime": 900.0}),
        (9000, {"boot_id": 3.0}),
        (9600, {"uptime": 300.0}),
    )
    assert memory.reboots[0] == 2


# Causes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ({}, (1, 0, 0, 0)),
        ({"planned": 0.0}, (1, 0, 0, 0)),
        ({"planned": 1.0}, (0, 1, 0, 0)),
        ({"cause": 0.0}, (1, 0, 0, 0)),
        ({"cause": 1.0}, (0, 1, 0, 0)),
        ({"cause": 2.0}, (1, 0, 1, 0)),
        ({"cause": 3.0}, (1, 0, 0, 1)),
        ({"clean": 0.0}, (1, 0, 1, 0)),
        ({"clean": 1.0}, (1, 0, 0, 0)),
        ({"clean": 0.0, "cause": 3.0}, (1, 0, 0, 1)),
        ({"maintenance": 1.0, "cause": 2.0}, (0, 1, 0, 0)),
        ({"version": 2.0}, (0, 1, 0, 0)),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_causes(said, counts, later):
    rows = [(0, {"boot_id": 1.0, "version": 1.0}), (HOUR_S, {"boot_id": 2.0})]
    if later:
        if "maintenance" in said:
            return
        rows.append((HOUR_S + 300, said))
    else:
        rows[-1][1].update(said)
    memory = told(*rows)
    found = (memory.reboots, memory.planned, memory.power, memory.software)
    assert tuple(int(column[0]) for column in found) == counts
    assert memory.pending[0] == counts[0]
    assert memory.pending_cause[0] == (2 if counts[2] else 3 if counts[3] else 0)


@pytest.mark.parametrize(("at_s", "planned"), [(-1200, 1), (-2400, 0), (1200, 1), (2400, 0)])
def test_a_change_of_version_within_half_an_hour(at_s, planned):
    rows = [
        (0, {"boot_id": 1.0, "version": 1.0}),
        (HOUR_S, {"boot_id": 2.0, "uptime": 10.0}),
        (2 * HOUR_S + 1800, {"boot_id": 2.0}),
        (HOUR_S + at_s, {"version": 2.0}),
    ]
    memory = told(*sorted(rows, key=lambda row: row[0]))
    assert (memory.planned[0], memory.reboots[0]) == (planned, 1 - planned)


def test_a_drive_that_lost_power():
    before = {"cycles": 5.0, "unsafe": 2.0}
    assert told((0, before), (60, {"cycles": 6.0, "unsafe": 3.0})).power[0] == 1
    assert told((0, before), (60, {"cycles": 6.0, "unsafe": 2.0})).power[0] == 0


def test_an_update_boots_several_times():
    memory = told(
        (0, {"boot_id": 1.0}),
        (600, {"boot_id": 2.0, "cause": 1.0}),
        (900, {"boot_id": 3.0}),
        (1200, {"boot_id": 4.0, "cause": 3.0}),
        (4800, {"boot_id": 5.0}),
    )
    assert memory.planned[0] == 2
    assert (memory.software[0], memory.reboots[0]) == (1, 2)
    assert (memory.settled[0], memory.pending[0]) == (0, 1), "the panic was part of the update"


def test_a_window_counts_in_the_row_after_it_too():
    calm = {"boot_id": 1.0, "maintenance": 0.0}
    window = {"boot_id": 1.0, "maintenance": 1.0}
    after = {"boot_id": 2.0, "maintenance": 0.0}
    assert told((0, calm), (HOUR_S, window), (2 * HOUR_S, after)).planned[0] == 1
    assert told((0, window), (HOUR_S, calm), (2 * HOUR_S, after)).planned[0] == 0


def test_a_cause_told_late_is_not_that_of_an_earlier_boot():
    memory = told(
        (0, {"boot_id": 1.0}),
        (600, {"boot_id": 2.0}),
        (1200, {"boot_id": 3.0, "cause": 1.0}),
        (1500, {"cause": 1.0}),
    )
    assert (memory.reboots[0], memory.planned[0], memory.pending[0]) == (1, 1, 1)


# Exposure ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "days"),
    [
        ({"boot_id": 1.0}, {"boot_id": 1.0}, 90.0),
        ({"boot_id": 1.0}, {"boot_id": 2.0, "uptime": 2 * DAY_S}, 3.0),
        ({"boot_id": 1.0}, {"boot_id": 2.0}, 1.0),
        ({"boot_time": NOW_S}, {"boot_time": NOW_S + 85 * DAY_S}, 6.0),
        ({"boot_count": 1.0}, {"boot_count": 3.0, "uptime": 60.0}, 90.0),
        ({"uptime": 1e6}, {"uptime": 1e6 + 90 * DAY_S}, 90.0),
        ({"boot_id": 1.0}, {"uptime": 60.0}, 1.0),
        ({"cycles": 1.0, "on": 0.0}, {"cycles": 2.0, "on": 7.0 * DAY_S}, 7.0),
        ({"cycles": 1.0, "on": 0.0}, {"cycles": 1.0, "on": 7.0 * DAY_S}, 90.0),
        ({"cycles": 1.0}, {"cycles": 2.0}, 1.0),
    ],
)
def test_time_offline_neither_ages_nor_resets(first, second, days):
    memory = told((0, first), (90 * DAY_S, second))
    assert memory.open_s[0] == pytest.approx(days * DAY_S, abs=1e-3)


def test_who_says_nothing_of_boots_leaves_no_trace():
    silent = {"planned": 1.0, "on": 5.0, "unsafe": 3.0, "clean": 1.0, "boot_time": 5.0}
    rows = [(0, {"boot_id": 1.0}), (HOUR_S, silent), (2 * HOUR_S, {"boot_id": 1.0})]
    for name, once, often in zip(
        RebootMemory._fields, told(rows[0], rows[2]), told(*rows), strict=True
    ):
        np.testing.assert_array_equal(once, often, name)


def test_rows_seen_before_change_nothing():
    rng = np.random.default_rng(5)
    rows = life(rng, 0, FIELDS, 80)
    for name, once, often in zip(
        RebootMemory._fields, count(rows), count(rows + rows), strict=True
    ):
        np.testing.assert_array_equal(once, often, name)
