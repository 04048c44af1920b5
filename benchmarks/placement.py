"""How near the best placement is, certified, beside a filter-and-score greedy.

``python benchmarks/placement.py [--seed N] [--quick] [--json]`` measures; with ``--regime R
--size N --seed S --write DIR`` it writes one instance, plan, prices and bound to ``DIR/R-N-S.npz``
(arrays: ``aiops/placement/instance.py``). The recount of what is violated is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aiops.placement.instance import CLOSED, Instance, write_instance
from aiops.placement.market import Effort, Settlement, settle
from benchmarks._placement_instances import REGIMES, make

EFFORT = Effort()


def solved(instance: Instance) -> tuple[Settlement, float]:
    """Return a plan and the CPU seconds it took."""
    began = time.process_time()
    settled = settle(instance, effort=EFFORT)
    return settled, time.process_time() - began


def violations(instance: Instance, choice: np.ndarray) -> int:
    """Return how many hard constraints `choice` breaks, counted anew from the raw arrays."""
    rows = np.arange(len(choice))
    node, link = instance.node[rows, choice], instance.uplink[rows, choice]
    wrong = int((instance.cost[rows, choice] == CLOSED).sum())
    home = np.repeat(np.arange(len(instance.room)), np.diff(instance.block))
    own, placed, crossing = (choice == 0) & (node < 0), node >= 0, link >= 0
    for r in range(3):
        asked = instance.demand[:, r].astype(np.float64)  # whole numbers below 2^53
        at_home = np.bincount(home[own], asked[own], len(instance.room))
        wrong += int((at_home > instance.room[:, r]).sum())
        at_node = np.bincount(node[placed], asked[placed], instance.nodes)
        wrong += int((at_node > instance.capacity[r : 3 * instance.nodes : 3]).sum())
    pipes = instance.capacity[3 * instance.nodes :]
    traffic = instance.demand[crossing, 3].astype(np.float64)
    return wrong + int((np.bincount(link[crossing], traffic, len(pipes)) > pipes).sum())


def greedy(instance: Instance) -> int:
    """Return the cost of filter and score, one after another, the dearest to shed first."""
    free = instance.capacity.tolist()
    room = instance.room.tolist()
    total = 0
    for w in np.argsort(-instance.cost[:, -1], kind="stable").tolist():
        asked = instance.demand[w].tolist()
        for k in np.argsort(instance.cost[w], kind="stable").tolist():
            if instance.cost[w, k] == CLOSED:
                continue
            at, link = int(instance.node[w, k]), int(instance.uplink[w, k])
            own = k == 0 and at < 0
            left = room[int(instance.home[w])] if own else free[3 * at : 3 * at + 3]
            if (own or at >= 0) and any(a > b for a, b in zip(asked, left, strict=False)):
                continue
            if link >= 0 and asked[3] > free[3 * instance.nodes + link]:
                continue
            for r in range(3):
                if own:
                    left[r] -= asked[r]
                elif at >= 0:
                    free[3 * at + r] -= asked[r]
            if link >= 0:
                free[3 * instance.nodes + link] -= asked[3]
            total += int(instance.cost[w, k])
            break
    return total


def measured(seed: int, quick: bool) -> dict[str, float]:
    """Return the figures; those of ``--quick`` end in ``_10k``."""
    solved(make("provisioned", 500, seed))  # compiled
    size, seeds = (10_000, 3) if quick else (100_000, 10)
    gaps, seconds, wrong = [], [], 0
    for one in range(seed, seed + seeds):
        instance = make("provisioned", size, one)
        settled, took = solved(instance)
        wrong += violations(instance, settled.choice)
        gaps.append(100.0 * settled.gap)
        seconds.append(took)
    end = "_10k" if quick else ""
    figures = {
        f"gap_pct_median{end}": median(gaps),
        f"gap_pct_max{end}": max(gaps),
        f"cold_cpu_s{end}": median(seconds),
    }
    for regime in REGIMES:
        instance = make(regime, 10_000, seed)
        settled, took = solved(instance)
        wrong += violations(instance, settled.choice)
        figures[f"gap_pct_{regime}_10k"] = 100.0 * settled.gap
        figures[f"cpu_s_{regime}_10k"] = took
        figures[f"greedy_over_bound_{regime}_10k"] = greedy(instance) / settled.bound
    if not quick:
        settled, took = solved(make("provisioned", 1_000_000, seed))
        figures["gap_pct_1m"] = 100.0 * settled.gap
        figures["cpu_s_1m"] = took
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures["peak_gib_1m"] = kib / 2**20
    return figures | {"violations": wrong}


def main() -> int:
    """Measure, or write one instance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="10,000 workloads instead of 100,000")
    parser.add_argument("--json", action="store_true", help="end with one object of figures")
    parser.add_argument("--regime", choices=sorted(REGIMES), default="provisioned")
    parser.add_argument("--size", type=int, default=10_000, help="workloads of what is written")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write one instance and its plan")
    given = parser.parse_args()
    if given.write is not None:
        instance = make(given.regime, given.size, given.seed)
        settled, _ = solved(instance)
        given.write.mkdir(parents=True, exist_ok=True)
        path = given.write / f"{given.regime}-{given.size}-{given.seed}.npz"
        write_instance(
            path, instance, settled.choice, settled.prices, settled.bound, seed=given.seed
        )
        print(f"{path}: gap {settled.gap:.3%}, {settled.cost} micro-dollars per hour")
        return 0
    figures = measured(given.seed, given.quick)
    for name, value in figures.items():
        print(f"{name:<36}{value:>14.4f}")
    if given.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
