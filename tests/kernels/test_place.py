"""The greedy assignment against its twin."""

from __future__ import annotations

import numpy as np
import pytest

from aiops.kernels.place import CLOSED, place
from tests.oracles import place as oracle


def draw(seed, w=30, m=6, k=4):
    """Return a random instance in which some workloads stand somewhere already."""
    rng = np.random.default_rng(seed)
    node = np.array([[*rng.choice(m, k - 1, replace=False), -1] for _ in range(w)], dtype=np.int32)
    # Few distinct costs, so that ties are common.
    cost = rng.integers(0, 12, (w, k)).astype(np.int64)
    cost[:, :-1][rng.random((w, k - 1)) < 0.2] = CLOSED
    cost[:, -1] += 8
    cpu, memory = rng.integers(1, 9, (2, w)).astype(np.int64)
    reserved = np.where(rng.random(w) < 0.3, rng.integers(0, k, w), -1).astype(np.int32)
    rows = np.arange(w)
    reserved[(reserved >= 0) & (cost[rows, reserved] == CLOSED)] = -1
    choice = np.where((reserved < 0) & (rng.random(w) < 0.1), k - 1, -1).astype(np.int32)
    free_cpu, free_memory = rng.integers(5, 40, (2, m)).astype(np.int64)
    return cost, node, reserved, cpu, memory, free_cpu, free_memory, choice


@pytest.mark.parametrize("seed", range(40))
def test_the_kernel_does_as_its_twin(seed):
    cost, node, reserved, cpu, memory, free_cpu, free_memory, choice = draw(seed)
    said = oracle.place(
        [[None if c == CLOSED else c for c in row] for row in cost.tolist()],
        *(a.tolist() for a in (node, reserved, cpu, memory, free_cpu, free_memory, choice)),
    )
    before = cost.copy()
    free = free_cpu.copy(), free_memory.copy()
    tried = np.zeros(cost.shape, dtype=np.bool_)
    place(cost, node, reserved, cpu, memory, free_cpu, free_memory, tried, choice)
    assert choice.tolist() == said
    np.testing.assert_array_equal(cost, before)

    # What is left free is what was free, less what was placed, plus what was given back.
    rows = np.arange(len(choice))
    moved = choice != reserved
    for amount, left, was in ((cpu, free_cpu, free[0]), (memory, free_memory, free[1])):
        expected = was.copy()
        fixed = draw(seed)[-1] != -1
        for i in rows[moved & ~fixed]:
            if node[i, choice[i]] >= 0:
                expected[node[i, choice[i]]] -= amount[i]
            if reserved[i] >= 0 and node[i, reserved[i]] >= 0:
                expected[node[i, reserved[i]]] += amount[i]
        np.testing.assert_array_equal(left, expected)
        assert (left >= 0).all()


def test_room_given_back_late_is_used():
    # 0 wants node 0, where 1 stands until it takes node 1: regret serves 0 first, in vain.
    cost = np.array([[0, 90, 100], [50, 0, 60]], dtype=np.int64)
    node = np.array([[0, 2, -1], [0, 1, -1]], dtype=np.int32)
    one = np.ones(2, dtype=np.int64)
    free = np.array([0, 1, 1], dtype=np.int64)
    choice = np.full(2, -1, dtype=np.int32)
    reserved = np.array([-1, 0], dtype=np.int32)
    tried = np.zeros((2, 3), dtype=np.bool_)
    place(cost, node, reserved, one, one, free, free.copy(), tried, choice)
    assert choice.tolist() == [0, 1]
