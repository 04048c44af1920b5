"""What is shared, against a twin that asks everybody about every moment."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.detectors.protocol import FleetShape
from aiops.detectors.reboot_drift import RebootDrift
from aiops.kernels.cause import COHORT, SITE, by_chance_less, join_shared, settle, share_reboots
from tests.oracles import cause as oracle

DETECTOR = RebootDrift()
SETTINGS = DETECTOR.settings
SECOND = 10**9
MINUTE, HOUR, WEEK = 60 * SECOND, 3600 * SECOND, 7 * 86_400 * SECOND
START = 1_760_000_000 * SECOND


def waiting(lo, hi, seen=None):
    """Return a memory in which every device has a pending boot in (lo, hi] [n]."""
    n = len(lo)
    memory = DETECTOR.init(FleetShape(n))
    memory.pending[:] = 1
    memory.reboots[:] = 1
    memory.pending_lo[:], memory.pending_hi[:] = lo, hi
    memory.pending_seen[:] = hi if seen is None else seen
    return memory


def shared_by(by, memory, group, site, odds):
    """Share the reboots of everybody; return how many were taken."""
    order = np.argsort(group, kind="stable").astype(np.int32)
    return share_reboots(
        by,
        order,
        group[order].astype(np.int32),
        site[order].astype(np.int32),
        np.full(len(order), odds),
        memory,
        SETTINGS,
    )


def scene(rng):
    """Return random boots [n]: scattered, at a few moments, dated or hidden in long gaps."""
    n = int(rng.integers(2, 50))
    moments = START + rng.integers(0, 6 * HOUR, 3)
    together = rng.random(n) < rng.uniform(0.0, 0.9)
    hi = np.where(together, moments[rng.integers(0, 3, n)], START + rng.integers(0, 6 * HOUR, n))
    hi = hi + rng.integers(0, 8 * MINUTE, n)
    width = np.where(rng.random(n) < 0.7, MINUTE, rng.integers(0, 3 * HOUR, n))
    return hi - width, hi


@pytest.mark.parametrize("by", [SITE, COHORT])
@pytest.mark.parametrize("seed", range(60))
def test_shares_what_the_twin_shares(by, seed):
    rng = np.random.default_rng(seed)
    lo, hi = scene(rng)
    n = len(lo)
    group = rng.integers(0, 2, n)
    site = rng.integers(-1, int(rng.integers(1, 6)), n)
    odds = 10.0 ** rng.uniform(-4.0, 1.0) / WEEK * n
    memory = waiting(lo, hi)
    taken = shared_by(by, memory, group, site, odds)
    expected = {}
    for g in range(2):
        members = np.flatnonzero(group == g).tolist()
        boots = {i: (int(lo[i]), int(hi[i])) for i in members}
        sites = {i: int(site[i]) for i in members}
        window = SETTINGS.window_ns
        expected |= oracle.shared(boots, sites, odds, SETTINGS.chance, window, by == COHORT)
    assert taken == len(expected)
    assert {int(i): int(memory.shared_ts[i]) for i in np.flatnonzero(memory.shared_by)} == expected
    gone = memory.shared_by > 0
    assert (memory.pending == np.where(gone, 0, 1)).all()
    assert (memory.reboots == np.where(gone, 0, 1)).all()
    assert (memory.shared == gone).all()


@pytest.mark.parametrize("mean", [1e-9, 1e-3, 0.3, 4.0, 90.0])
def test_the_tail_is_that_of_a_poisson_count(mean):
    for count in range(1, 200, 7):
        exact = oracle.tail(count, mean)
        for chance in (1e-12, 1e-6, 1e-3):
            if count > mean and abs(np.log(max(exact, 1e-300) / chance)) > 1e-3:
                assert by_chance_less(count, mean, chance) == (exact < chance)
            elif count <= mean:
                assert not by_chance_less(count, mean, chance)


def test_two_devices_at_one_moment_are_chance_and_three_are_not():
    """Of a site of five with a reboot in four weeks each."""
    odds = 5 * 0.25 / WEEK
    for devices, taken in ((2, 0), (3, 3)):
        at = np.full(devices, START)
        memory = waiting(at - MINUTE, at)
        none = np.zeros(devices, dtype=np.int64)
        assert shared_by(SITE, memory, none, none, odds) == taken


def test_power_cuts_at_two_sites_are_two_and_each_takes_its_own():
    at = np.repeat([START, START + 3 * HOUR], 30)
    site = np.repeat([0, 1], 30)
    memory = waiting(at - MINUTE, at)
    assert shared_by(SITE, memory, site, site, 30 * 0.25 / WEEK) == 60
    assert memory.shared_ts[site == 0].max() < START + HOUR < memory.shared_ts[site == 1].min()


def test_a_site_whose_power_fails_is_not_its_cohort():
    at = np.full(40, START)
    one = np.zeros(40, dtype=np.int64)
    memory = waiting(at - MINUTE, at)
    assert shared_by(COHORT, memory, one, one, 1e-3 * 40 / WEEK) == 0
    assert shared_by(COHORT, memory, one, np.arange(40) % 5, 1e-3 * 40 / WEEK) == 40


def test_who_reports_later_joins():
    at = np.full(3, START)
    memory = waiting(at - MINUTE, at)
    group = np.array([4, 4, 5], dtype=np.int32)
    everybody = np.arange(3, dtype=np.int32)
    join_shared(SITE, 4, START - MINUTE, everybody[1:], group[1:], memory, SETTINGS)
    assert memory.shared_by.tolist() == [0, SITE, 0]
    join_shared(SITE, 5, START - HOUR, everybody, group, memory, SETTINGS)
    assert memory.shared_by.tolist() == [0, SITE, 0]


@pytest.mark.parametrize("hidden", [MINUTE, 3 * HOUR])
def test_a_boot_settles_after_an_hour_and_after_the_gap_that_hid_it(hidden):
    memory = waiting(np.array([START - hidden]), np.array([START]))
    device = np.zeros(1, dtype=np.int32)
    wait = max(HOUR, hidden)
    settle(START + wait - 1, device, memory, SETTINGS)
    assert (memory.settled[0], memory.pending[0]) == (0, 1)
    settle(START + wait, device, memory, SETTINGS)
    assert (memory.settled[0], memory.pending[0]) == (1, 0)
    settle(START + 2 * wait, device, memory, SETTINGS)
    assert memory.settled[0] == 1
