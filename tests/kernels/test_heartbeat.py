"""Rhythms of log lines, beside their twin."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.detectors.log_heartbeat import LogHeartbeat
from aiops.fleet.owner import FleetShape
from aiops.kernels import heartbeat as kernel
from aiops.kernels.heartbeat import FREE, SLOTS, heartbeat_update, most_overdue
from tests.oracles.logs import rhythm

SECOND = 10**9
START = 1_760_000_000


def show(memory, seconds, template, device=0, live=True):
    ts = ((START + np.asarray(seconds)) * SECOND).astype(np.int64)
    n = len(ts)
    devices, templates = np.full(n, device, np.int32), np.asarray(template, np.int32)
    heartbeat_update(devices, ts, templates, np.full(n, live), memory, 100)


@pytest.mark.parametrize("seed", range(5))
def test_it_learns_what_its_twin_learns_in_any_cut(seed):
    rng = np.random.default_rng(seed)
    lines = []
    for template in range(1, 6):
        every = rng.uniform(60, 3000)
        times = np.cumsum(rng.normal(every, 0.2 * every, 300).clip(1.0))
        lines += [(int(ts), template) for ts in times]
    lines.sort()
    seconds, template = map(np.array, zip(*lines, strict=True))
    memory = LogHeartbeat().init(FleetShape(1))
    for at in np.array_split(np.arange(len(lines)), 1 + 20 * seed):
        show(memory, seconds[at], template[at])
    constants = (kernel.JUDGED_BEATS, kernel.CUT, kernel.NARROWEST, kernel.WIDENING)
    for which in range(1, 6):
        slot = memory.template[0].tolist().index(which)
        mine = [int(s) for s, t in lines if t == which]
        last, beats, mean, variance = rhythm(mine, 100, *constants, kernel.SAME_BEAT)
        assert memory.last[0, slot] == (START + last) * SECOND
        assert memory.beats[0, slot] == beats
        assert memory.typical_s[0, slot] == pytest.approx(mean, rel=1e-4)
        assert memory.variance_s2[0, slot] == pytest.approx(variance, rel=1e-2)


def test_a_line_of_chance_gives_its_place_to_another():
    rng = np.random.default_rng(0)
    memory = LogHeartbeat().init(FleetShape(1))
    for template in range(1, SLOTS + 1):
        show(memory, np.sort(rng.uniform(0, 10_000, 60)), [template] * 60)
    assert (memory.template[0] != FREE).all()
    show(memory, np.arange(20_000, 30_000, 600), [99] * 17)
    assert 99 in memory.template[0]


def overdue(memory, forget_s=7 * 86_400):
    missed, ratio, allowed = np.zeros(1, np.int32), np.zeros(1), np.full(1, np.nan)
    patience = LogHeartbeat().patience
    device = np.zeros(1, np.int32)
    most_overdue(memory, device, patience, forget_s * SECOND, missed, ratio, allowed)
    return int(missed[0]), float(ratio[0]), float(allowed[0])


def test_what_stops_is_overdue_by_the_clock_of_its_own_log():
    memory = LogHeartbeat().init(FleetShape(1))
    show(memory, np.arange(0, 36_000, 600), [7] * 60)
    assert overdue(memory)[1] == 0.0
    assert overdue(memory)[1] == 0.0, "nobody spoke meanwhile, so nothing is missed"
    show(memory, [36_000 + 7200], [3])
    slot, ratio, allowed = overdue(memory)
    assert memory.template[0, slot] == 7
    assert ratio == pytest.approx((36_000 + 7200 - 35_400) / allowed)
    assert 600 < allowed < 7200
    show(memory, [36_000 + 8 * 86_400], [3])
    assert overdue(memory)[0] == FREE, "after a week it is expected no more"


def test_a_line_without_rhythm_is_never_missed():
    rng = np.random.default_rng(1)
    memory = LogHeartbeat().init(FleetShape(1))
    show(memory, np.cumsum(rng.exponential(600, 200)), [7] * 200)
    show(memory, [400_000], [3])
    assert overdue(memory) == (FREE, 0.0, pytest.approx(np.nan, nan_ok=True))


def test_lines_that_came_too_late_teach_and_make_nothing_overdue():
    memory = LogHeartbeat().init(FleetShape(1))
    show(memory, np.arange(0, 36_000, 600), [7] * 60)
    show(memory, [36_000 + 7200], [3], live=False)
    assert overdue(memory)[1] == 0.0
    show(memory, [36_000 + 7200], [3])
    assert overdue(memory)[1] > 0.0
