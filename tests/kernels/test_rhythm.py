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
CAPACITY = 12


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


@pytest.mark.parametrize("seed", range(6))
def test_silence_against_the_twin(seed):
    rng = np.random.default_rng(seed)
    root = np.array([0, 1, 2, 3, 0, 0, 1, 7, 8], dtype=np.int32)
    site = np.array([0, 0, 0, -1, 0, 0, 0, 1, 2], dtype=np.int32)
    detector = Silence(alarm_budget=10.0, memory_reports=20)
    memory = detector.init(FleetShape(CAPACITY))
    rows = []
    for device, every_s in enumerate((60, 3600, 900, 0.5, 21_600, 300, 7, 86_400)):
        n = 2 if device == 2 else 60
        rows += [(device, int(t)) for t in reports(rng, every_s, n)]
    assert np.isnan(detector.update(memory, batch(*zip(*rows, strict=True))).score).all()

    clock = int(np.quantile([ts for _, ts in rows], rng.random())) + 3600 * SECOND
    scores = detector.close(memory, Epoch(clock, clock, clock, len(root), root, site, site))
    members = {d: set(np.flatnonzero(root == d).tolist()) for d in set(root.tolist())}
    sites = {d: None if site[d] < 0 else int(site[d]) for d in members}
    said, shares = oracle.judge(rows, members, sites, clock, 10.0, 600.0, 20)
    for i in range(len(root)):
        expected = said.get(i, (np.nan,) * 3)
        found = (scores.score[i], scores.observed[i], scores.expected[i])
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        share = shares.get(i)
        assert memory.site_silent_ratio[i] == pytest.approx(
            np.nan if share is None else share, nan_ok=True
        )
    assert 3 <= len(said) < len(members)
    assert np.isnan(memory.silent_s[len(root) :]).all()


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
