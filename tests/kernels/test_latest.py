"""Carrying values forward, beside its twin."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels.latest import take_latest
from tests.oracles.latest import known

HOUR = 3_600_000_000_000


@pytest.mark.parametrize("seed", range(5))
def test_it_knows_what_its_twin_knows_in_any_cut(seed):
    rng = np.random.default_rng(seed)
    n, k, devices = 300, 3, 4
    device = np.sort(rng.integers(devices, size=n)).astype(np.int32)
    ts = 10**18 + np.cumsum(rng.integers(1, HOUR, n))
    value = np.where(rng.random((n, k)) < 0.5, rng.normal(size=(n, k)), np.nan)
    stale, every = 3 * HOUR, 2 * HOUR
    expected = []
    for one in range(devices):
        rows = [
            (int(t), [None if np.isnan(x) else float(x) for x in v])
            for t, v in zip(ts[device == one], value[device == one], strict=True)
        ]
        expected += known(rows, stale, every) if rows else []
    for cuts in ([], [100], sorted(rng.integers(0, n, 9).tolist())):
        memory = (
            np.full((devices, k), np.nan),
            np.zeros((devices, k), np.int64),
            np.zeros(devices, np.int64),
        )
        found = []
        for a, b in zip([0, *cuts], [*cuts, n], strict=True):
            if a == b:
                continue
            some = device[a:b]
            starts = np.flatnonzero(some[1:] != some[:-1]) + 1
            indptr = np.concatenate(([0], starts, [len(some)])).astype(np.int64)
            features, wanted = np.empty((b - a, k)), np.zeros(b - a, np.bool_)
            take_latest(indptr, some, ts[a:b], value[a:b], stale, every, *memory, features, wanted)
            found += [
                ([None if np.isnan(x) else float(x) for x in row], bool(ask))
                for row, ask in zip(features, wanted, strict=True)
            ]
        assert found == expected
