"""Small random instances, and what the checker of the oracles reads of them."""

from __future__ import annotations

import numpy as np

from aiops.placement.instance import CLOSED, UNLIMITED, Instance


def random_instance(seed: int, w: int = 5, nodes: int = 2, tight: float = 1.0) -> Instance:
    """Return homes of one to three workloads, `nodes` shared nodes and two uplinks."""
    rng = np.random.default_rng(seed)
    sizes = []
    while sum(sizes) < w:
        sizes.append(min(int(rng.integers(1, 4)), w - sum(sizes)))
    block = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    k = nodes + 2
    cost = rng.integers(1, 1_000, (w, k)).astype(np.int64)
    cost[:, -1] += 1_000
    cost[:, :-1][rng.random((w, k - 1)) < 0.15] = CLOSED
    node = np.full((w, k), -1, dtype=np.int32)
    node[:, 1:-1] = np.arange(nodes)
    uplink = np.full((w, k), -1, dtype=np.int32)
    uplink[:, -2] = rng.integers(0, 2, w)
    demand = rng.integers(1, 1_000_000, (w, 4)).astype(np.int64)
    typical = int(500_000 * max(1.0, w / (nodes + 1)) / tight)
    capacity = rng.integers(typical // 2, 2 * typical, 3 * nodes + 2).astype(np.int64)
    capacity[2 : 3 * nodes : 3] = UNLIMITED
    room = rng.integers(0, 1_500_000, (len(sizes), 3)).astype(np.int64)
    return Instance(block, cost, node, uplink, demand, room, capacity, nodes)


def plain(instance: Instance) -> tuple:
    """Return the arguments of ``oracles.place.violated`` before the choice, as plain lists."""
    return (
        [[None if c == CLOSED else c for c in row] for row in instance.cost.tolist()],
        instance.node.tolist(),
        instance.uplink.tolist(),
        instance.demand.tolist(),
        instance.room.tolist(),
        instance.capacity.tolist(),
        instance.nodes,
        instance.home.tolist(),
    )
