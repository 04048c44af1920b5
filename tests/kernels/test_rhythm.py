"""Learning rhythms, and judging silences, against the twin."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.detectors.protocol import Epoch, FleetShape
from aiops.detectors.silence import Silence
from aiops.telemetry.batch import TelemetryBatch, group_bounds
from tests.oracles import rhythm as oracle

SECOND = 10**9
START = 1_760_000_000 * SECOND
CAPACITY = 16


def batch(device, ts):
    device = np.asarray(device, dtype=np.int32)
    return TelemetryBatch(
        device=device,
        cohort=np.zeros(len(device), np.int32),
        ts=np.asarray(ts, dtype=np.int64),
        historical=np.zeros(len(device), np.bool_),
        columns={},
        indptr=group_bounds(device),
    )


def allowed_s(detector, memory):
    """Return what the first device is allowed now."""
    one = np.zeros(1, np.int32)
    clock = int(memory.last[0])
    detector.close(memory, Epoch(clock, clock, clock, 1, one, one, one))
    return memory.allowed_s[0]


def reports(rng, every_s, n):
    """Draw the times of a device that loses reports, sends some in pieces, and goes away once."""
    interval_s = every_s * (1 + rng.geometric(0.9, n) - 1) * rng.uniform(0.95, 1.05, n)
    interval_s[n // 2] *= 200
    interval_s[rng.random(n) < 0.1] = 0.02 * every_s
    interval_s[rng.random(n) < 0.05] = 0.0
    return START + np.cumsum(interval_s * SECOND).astype(np.int64)


@pytest.mark.parametrize("seed", range(8))
def test_silence_against_the_twin(seed):
    """Devices, some with parts, that go and come back alone or with their site."""
    rng = np.random.default_rng(seed)
    root = np.array([0, 1, 2, 3, 0, 0, 1, 7, 8, 9, 10, 11], dtype=np.int32)
    site = np.array([0, 0, 0, -1, 0, 0, 0, 1, 1, 1, 1, 0], dtype=np.int32)
    every_s = (60, 900, 900, 300, 21_600, 300, 60, 300, 450, 300, 900, 600)
    detector = Silence(alarm_budget=10.0, memory_reports=20, site_wait_s=1800.0)
    memory = detector.init(FleetShape(CAPACITY))
    members = {d: set(np.flatnonzero(root == d).tolist()) for d in set(root.tolist())}
    sites = {d: None if site[d] < 0 else int(site[d]) for d in members}
    twin = oracle.Fleet(members, sites, 10.0, 600.0, 20, 1800.0)

    hours = 60
    gone = {  # who is away from when, in hours, and for how long
        name: [(rng.uniform(0, hours), rng.uniform(0.2, 8.0)) for _ in range(3)]
        for name in [*(("device", d) for d in members), ("site", 0), ("site", 1)]
    }
    rows = []
    for device, every in enumerate(every_s):
        ts = reports(rng, every, 2 if device == 2 else hours * 3600 // every)
        hour = (ts - START) / SECOND / 3600
        away = rng.random(len(ts)) < 0.02
        for name in (("device", int(root[device])), ("site", int(site[device]))):
            for start, lasts in gone.get(name, ()):
                away |= (start <= hour) & (hour < start + lasts)
        rows += [(device, int(t)) for t in ts[~away]]
    events, seen = {"began": 0, "over": 0, "own": 0, "held": 0}, START
    for clock in range(START, START + hours * 3600 * SECOND, 300 * SECOND):
        now = sorted(row for row in rows if seen < row[1] <= clock)
        seen = clock
        if now:
            assert np.isnan(detector.update(memory, batch(*zip(*now, strict=True))).score).all()
            for row in now:
                twin.row(*row)
        epoch = Epoch(clock, clock, clock, len(root), root, site, site)
        scores = detector.close(memory, epoch)
        said, began, over = twin.close(clock)
        for i in range(len(root)):
            expected = said.get(i, oracle.Said(np.nan, np.nan, np.nan, None))
            found = (scores.score[i], scores.observed[i], scores.expected[i])
            np.testing.assert_allclose(found, expected[:3], rtol=1e-9)
            share = np.nan if expected.share is None else expected.share
            assert memory.site_silent_ratio[i] == pytest.approx(share, nan_ok=True)
            assert (memory.own[i] != 0) == (i in twin.own)
            if i in members:
                assert memory.gone[i] == twin.gone.get(i, 0)
                assert memory.back[i] == twin.back.get(i, 0)
                assert memory.longest_s[i] == pytest.approx(twin.longest_s[i])
                assert memory.excused[i] == twin.excused[i]
        told = detector.shared(memory, epoch)
        assert {s.code for s in told if s.status == "firing"} == began
        assert {s.code for s in told if s.status == "resolved"} == over
        events["began"] += len(began)
        events["over"] += len(over)
        events["own"] += len(twin.own)
        held = (scores.score == 0.0) & (scores.observed >= memory.allowed_s[: len(root)])
        events["held"] += int(held.sum())
    assert all(events.values()), events


def test_one_outage_is_no_habit():
    detector = Silence()
    memory = detector.init(FleetShape(1))
    ts = START + np.arange(200) * 3600 * SECOND
    detector.update(memory, batch([0] * 200, ts))
    before = allowed_s(detector, memory)
    ts = ts[-1] + 14 * 86_400 * SECOND + np.arange(5) * 3600 * SECOND
    detector.update(memory, batch([0] * 5, ts))
    assert allowed_s(detector, memory) < 1.2 * before


def test_a_new_rhythm_is_learnt():
    detector = Silence()
    memory = detector.init(FleetShape(1))
    slow = START + np.arange(150) * 60 * SECOND
    detector.update(memory, batch([0] * 150, slow))
    for every_s, n in ((3600, 400), (10, 5000)):
        ts = memory.last[0] + (1 + np.arange(n)) * every_s * SECOND
        detector.update(memory, batch([0] * n, ts))
        assert memory.typical_s[0] == pytest.approx(every_s, rel=0.3)


def test_a_report_in_pieces_is_one_report():
    detector = Silence()
    memory = detector.init(FleetShape(1))
    hours = START + np.arange(150)[:, None] * 3600 * SECOND
    pieces = (hours + np.array([0, 2, 30]) * SECOND).ravel()
    detector.update(memory, batch([0] * len(pieces), pieces))
    assert memory.typical_s[0] == pytest.approx(3600, rel=0.05)
