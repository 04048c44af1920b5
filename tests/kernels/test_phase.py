"""The alert phases against their twin."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels.phase import FIRED, RESOLVED, advance_phase
from tests.oracles import phase as oracle

WORD = {FIRED: "fired", RESOLVED: "resolved", 0: None}


@pytest.mark.parametrize("hold", [0, 3, 20])
@pytest.mark.parametrize("seed", range(6))
def test_phases(seed, hold):
    rng = np.random.default_rng(seed)
    n = 200
    device = rng.integers(0, 4, n).astype(np.int32)
    ts = np.arange(n)
    score = np.where(rng.random(n) < 0.1, np.nan, np.abs(np.cumsum(rng.normal(0, 0.4, n))))
    usable = rng.random(n) < 0.9
    phase, since = np.zeros(4, np.int8), np.zeros(4, np.int64)
    change = np.zeros(n, np.int8)
    changed = 0
    for part in (slice(0, 77), slice(77, n)):
        changed += advance_phase(
            device[part],
            ts[part],
            score[part],
            usable[part],
            phase,
            since,
            1.0,
            0.8,
            hold,
            change[part],
        )
    rows = list(zip(device.tolist(), ts.tolist(), score.tolist(), usable.tolist(), strict=True))
    said = oracle.advance_phase(rows, 1.0, 0.8, hold)
    assert [WORD[c] for c in change.tolist()] == said
    assert changed == sum(word is not None for word in said)
