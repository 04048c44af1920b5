"""Counting reboots, and weighing them, against the twin."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aiops.detectors.protocol import FleetShape
from aiops.detectors.reboot_drift import STEPS, RebootDrift
from aiops.kernels.reboot import BootColumns, reboot_update
from aiops.kernels.rows import Rows, no_scores
from tests.oracles import reboot as oracle

SECOND = 10**9
DAY = 86_400.0
START = 1_760_000_000 * SECOND
FIELDS = ("boot_id", "boot_time", "uptime", "boot_count", "planned", "cycles", "on")


def judge(rows, detector):
    """Run the kernel over rows as the twin takes them."""
    devices = max(row["device"] for row in rows) + 1
    memory = detector.init(FleetShape(devices))
    columns = BootColumns(
        *(np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in FIELDS)
    )
    device = np.array([row["device"] for row in rows], dtype=np.int32)
    ts = np.array([row["ts"] for row in rows], dtype=np.int64)
    scores = no_scores(len(rows))
    grouped = Rows(np.array([0, len(rows)], dtype=np.int64), device, ts)
    reboot_update(grouped, columns, memory, detector.settings, scores)
    return scores, memory


def twin(rows, detector):
    settings = detector.settings
    return oracle.reboot_update(
        rows,
        detector.prior.tolist(),
        settings.rate.tolist(),
        settings.quiet.tolist(),
        list(STEPS),
        settings.bin_s,
        settings.gap_s,
        settings.episode_ns,
        settings.line,
    )


def history(rng, device, sources, n=120):
    """Draw rows of a device that reboots, sleeps out of sight, and whose clock is set at times."""
    rows = []
    now = START + int(rng.integers(0, 10**12))
    booted, boots, cycles, on = now - int(rng.integers(1, 5 * 10**15)), 7, 3, 5e6
    clock_s = 0.0
    wrap_s = float(rng.choice([math.inf, 4294967.296, 42949672.96]))
    for _ in range(n):
        gap_s = float(rng.choice([60.0, 3600.0, DAY, 20 * DAY], p=[0.4, 0.3, 0.25, 0.05]))
        gap_s *= rng.uniform(0.9, 1.1)
        planned = 0.0
        happened = rng.poisson(min(gap_s / (4 * DAY), 3.0)) + (rng.random() < 0.03)
        if happened:
            back_s = float(rng.uniform(0, gap_s))
            booted = now + int((gap_s - back_s) * SECOND)
            boots += int(happened)
            cycles += int(rng.random() < 0.5)
            planned = float(rng.random() < 0.3)
        now += int(gap_s * SECOND)
        on += gap_s * rng.uniform(0.8, 1.0)
        if rng.random() < 0.03:
            clock_s += rng.uniform(-300, 300)
        uptime_s = (now - booted) / SECOND
        whole = {
            "boot_id": float(boots * 1000 + device),
            "boot_time": round(booted / SECOND + clock_s + rng.uniform(-2, 2)),
            "uptime": math.fmod(uptime_s, wrap_s),
            "boot_count": float(boots),
            "planned": planned,
            "cycles": float(cycles),
            "on": on - on % 3600.0,
        }
        shown = {name: whole[name] for name in sources if rng.random() < 0.9}
        rows.append({"device": device, "ts": now, **shown})
        if rng.random() < 0.02:
            rows.append(dict(rows[-1]))
    return rows


SOURCES = {
    "all": FIELDS,
    "counter": ("boot_count",),
    "identity": ("boot_id", "planned"),
    "uptime": ("uptime",),
    "boot time": ("boot_time",),
    "clocks": ("uptime", "boot_time"),
    "drive": ("cycles", "on"),
    "drive without hours": ("cycles",),
}


@pytest.mark.parametrize("sources", SOURCES.values(), ids=SOURCES.keys())
@pytest.mark.parametrize("seed", range(3))
def test_every_row_against_the_twin(sources, seed):
    rng = np.random.default_rng(seed)
    rows = [row for device in range(3) for row in history(rng, device, sources)]
    detector = RebootDrift()
    scores, memory = judge(rows, detector)
    said, devices = twin(rows, detector)
    for column, expected in zip(scores, zip(*said, strict=True), strict=True):
        np.testing.assert_allclose(column, expected, rtol=1e-9)
    for i, device in devices.items():
        assert memory.reboots[i] == device.reboots
        assert memory.planned[i] == device.planned
        assert memory.bins[i] == len(device.hits)
    assert memory.reboots.sum() > 0


def test_evidence_is_the_sum_over_change_times():
    rng = np.random.default_rng(4)
    detector = RebootDrift()
    rates = np.where(np.arange(60) < 40, 0.1, 0.5)
    count = np.concatenate(([0], np.cumsum(rng.random(60) < rates)))
    rows = [
        {"device": 0, "ts": START + k * int(DAY) * SECOND, "boot_count": float(count[k])}
        for k in range(61)
    ]
    _, memory = judge(rows, detector)
    hits = np.diff(count) > 0
    total = oracle.evidence(
        hits.tolist(), detector.prior.tolist(), detector.settings.quiet.tolist(), STEPS
    )
    # Not to the last digit: the kernel keeps a trace of every hazard alive.
    assert memory.evidence[0] == pytest.approx(math.log1p(total), abs=1e-4)
    assert memory.evidence[0] > 5.0


def pair(gap_s, first, second):
    """Count the reboots between two rows."""
    rows = [{"device": 0, "ts": START} | first]
    rows.append({"device": 0, "ts": START + int(gap_s * SECOND)} | second)
    _, memory = judge(rows, RebootDrift())
    return int(memory.reboots[0])


def test_what_is_a_reboot():
    assert pair(60, {"boot_id": 1.0}, {"boot_id": 2.0}) == 1
    assert pair(60, {"boot_id": 1.0}, {"boot_id": 1.0}) == 0
    assert pair(DAY, {"boot_count": 5.0}, {"boot_count": 7.0}) == 2
    assert pair(60, {"boot_count": 5.0, "boot_id": 1.0}, {"boot_count": 7.0, "boot_id": 2.0}) == 2
    assert pair(3600, {"uptime": 1e6}, {"uptime": 100.0}) == 1
    assert pair(7200, {"uptime": 60.0}, {"uptime": 3600.0}) == 1, "not lower, yet a new boot"
    assert pair(60, {"boot_time": 1e9}, {"boot_time": 1e9 + 900}) == 1
    assert pair(60, {"cycles": 3.0}, {"cycles": 5.0}) == 2


def test_what_is_no_reboot():
    assert pair(60, {"boot_time": 1e9}, {"boot_time": 1e9 + 5}) == 0, "the clock was set"
    assert pair(60, {"boot_time": 1e9}, {"boot_time": 1e9 - 5e5}) == 0, "the clock was set back"
    assert pair(60, {"boot_count": 5.0}, {"boot_count": 0.0}) == 0, "the counter was lost"
    assert pair(60, {"boot_id": 1.0, "uptime": 1e6}, {"boot_id": 1.0, "uptime": 0.0}) == 0
    assert pair(86400, {"uptime": 1e6}, {"uptime": 1e6 + 60}) == 0, "it slept"
    assert pair(60, {"uptime": 1e6, "boot_time": 1e9}, {"uptime": 1e6 + 60, "boot_time": 2e9}) == 0
    planned = {"boot_id": 2.0, "planned": 1.0}
    assert pair(60, {"boot_id": 1.0, "planned": 0.0}, planned) == 0


@pytest.mark.parametrize("wrap_s", [4294967.296, 42949672.96])
def test_a_wrap_is_no_reboot(wrap_s):
    assert pair(3600, {"uptime": wrap_s - 1800}, {"uptime": 1800.0}) == 0
    assert pair(3600, {"uptime": wrap_s - 5e5}, {"uptime": 1800.0}) == 1
    assert pair(3 * wrap_s, {"uptime": 100.0}, {"uptime": 100.0}) == 0


def test_a_burst_is_one_episode_and_a_loop_is_not():
    day = int(DAY) * SECOND
    calm = [{"device": 0, "ts": START + k * day, "boot_id": 0.0} for k in range(61)]
    since = calm[-1]["ts"]
    loop = [
        {"device": 0, "ts": since + k * 600 * SECOND, "boot_id": float(k)}
        for k in range(1, 6 * 150)
    ]
    settled = {"device": 0, "ts": since + day, "boot_id": 5.0}
    burst_scores, burst = judge(calm + loop[:5] + [settled], RebootDrift())
    assert burst.reboots[0] == 5
    assert burst.episode_ts[0] == loop[0]["ts"]
    assert burst_scores.score[-1] < 0.5
    loop_scores, looping = judge(calm + loop, RebootDrift())
    assert looping.bins[0] == 66
    assert loop_scores.score[-1] > 1.0


def test_a_planned_reboot_told_twice_is_still_planned():
    rows = [
        {"device": 0, "ts": START, "boot_id": 1.0, "uptime": 1e5, "planned": 0.0},
        {"device": 0, "ts": START + 600 * SECOND, "boot_id": 2.0, "planned": 1.0},
        {"device": 0, "ts": START + 601 * SECOND, "uptime": 30.0},
        {"device": 0, "ts": START + 2 * int(DAY) * SECOND, "boot_id": 2.0},
    ]
    _, memory = judge(rows, RebootDrift())
    assert memory.planned[0] == 1
    assert memory.bins[0] == 2
    calm = [{"device": 0, "ts": row["ts"], "boot_id": 2.0} for row in rows]
    _, undisturbed = judge(calm, RebootDrift())
    np.testing.assert_array_equal(memory.before, undisturbed.before)


def test_time_offline_neither_ages_nor_resets():
    away = 90 * DAY
    rows = [{"device": 0, "ts": START + k * 3600 * SECOND, "boot_id": 1.0} for k in range(25)]
    resumed = rows[-1]["ts"] + int(away * SECOND)
    rows.append({"device": 0, "ts": resumed, "boot_id": 2.0, "uptime": 3600.0})
    _, memory = judge(rows, RebootDrift())
    exposure_s = memory.bins[0] * DAY + memory.open_s[0]
    assert exposure_s == pytest.approx(DAY + 3600.0 + DAY)
    assert memory.reboots[0] == 1
