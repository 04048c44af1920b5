"""The best choice of a few workloads, against recursion over all of them."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels import exact
from aiops.kernels.blocks import rank_options
from aiops.placement.instance import CLOSED
from aiops.placement.market import as_rows
from tests.oracles import exact as oracle
from tests.oracles import place
from tests.placement.instances import plain, random_instance


def improved(instance, branches, order=None):
    row, capacity = as_rows(instance)
    w = len(instance.cost)
    rank = np.empty(instance.cost.shape, np.int8)
    rank_options(instance.cost, np.arange(w, dtype=np.int32), rank)
    order = np.arange(w, dtype=np.int32) if order is None else order
    choice = np.full(w, instance.cost.shape[1] - 1, dtype=np.int32)
    proven = exact.improve(
        instance.cost, row, instance.demand, capacity, rank, order, branches, choice
    )
    return choice, proven


@pytest.mark.parametrize("seed", range(60))
def test_the_best_is_found_in_any_order(seed):
    instance = random_instance(seed, w=1 + seed % 5, nodes=2 + seed % 2, tight=1.0 + seed % 4)
    order = np.random.default_rng(seed).permutation(len(instance.cost)).astype(np.int32)
    choice, proven = improved(instance, 10**6, order)
    row, capacity = as_rows(instance)
    assert proven
    assert place.violated(*plain(instance), choice.tolist()) == []
    assert instance.total(choice) == oracle.best(
        [[None if c == CLOSED else c for c in one] for one in instance.cost.tolist()],
        [[[None if r < 0 else r for r in k] for k in one] for one in row.tolist()],
        instance.demand.tolist(),
        capacity.tolist(),
    )


def test_what_is_cut_short_is_feasible_and_says_so():
    instance = random_instance(3, w=14, nodes=3, tight=4.0)
    full, proven = improved(instance, 10**7)
    assert proven
    for branches in (1, 5, 20):
        choice, proven = improved(instance, branches)
        assert not proven
        assert place.violated(*plain(instance), choice.tolist()) == []
        assert instance.total(choice) >= instance.total(full)
