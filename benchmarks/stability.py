"""What it costs to follow costs that change, over the least in hindsight; beside what others do.

``python benchmarks/stability.py [--seed N] [--quick] [--json] [--rtt FILE]``. Every policy sees
costs with 15 % noise and pays the true ones and its moves; the least in hindsight is exact, by
dynamic programming, with the same start. One row is for scale: it is told the true costs of
the moment, and moves when half an hour of them pays for that. ``--rtt`` takes any ``npz`` or
``npy`` of one array [t, n, n] of round trips in seconds in place of the Seattle trace.

What `placement.stability` asks of a move was chosen on simulated seeds 50 to 53 and on the first
half of the Seattle trace; the figures are of seeds from 100 and of its second half. Of another
file all is used.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aiops.kernels.rows import F8
from benchmarks._stability_data import (
    OPTIONS,
    Trace,
    radio,
    read_round_trips,
    round_trips,
    shared,
    synthetic,
)
from benchmarks._stability_policies import (
    WORK_FUNCTION,
    Engine,
    Hysteresis,
    Policy,
    Told,
    greedy,
    hindsight,
    played,
)

Figures = dict[str, float]

PEERS: dict[str, Callable[[Trace], Policy]] = {
    "engine": Engine,
    "work function alone": lambda trace: Engine(trace, patience=WORK_FUNCTION),
    "greedy": lambda trace: greedy,
    "hysteresis 10 %": lambda trace: Hysteresis(0.1),
    "10 % and 5 min cool-down": lambda trace: Hysteresis(0.1, 300.0, trace.tick_s),
    "10 % and 1 h cool-down": lambda trace: Hysteresis(0.1, 3600.0, trace.tick_s),
    "told the truth": lambda trace: Told(trace, 1800.0),
}


def compared(name: str, trace: Trace, figures: Figures) -> int:
    """Print every policy on `trace`, note the engine's figures; return its unforced returns."""
    start = trace.measured[0].argmin(axis=1)
    best = hindsight(trace, start)
    days = len(trace.true) * trace.tick_s / 86_400.0
    print(f"{name}: {best.moves.mean() / days:.1f} moves a day in hindsight")
    print(f"  {'':<26}{'cost over least':>16}{'p99':>8}{'moves over':>12}{'returns':>9}")
    returns = 0
    for policy, make in PEERS.items():
        done = played(trace, start, make(trace))
        ratio, se = _ratio(done.cost, best.cost)
        moved, moved_se = _ratio(done.moves, best.moves)
        worst = float(np.percentile(done.cost / best.cost, 99))
        print(
            f"  {policy:<26}{ratio:>16.3f}{worst:>8.2f}{moved:>12.2f}{done.returns:>9}", flush=True
        )
        if policy == "engine":
            returns = done.returns
            figures |= {f"cost_ratio_{name}": ratio, f"cost_ratio_{name}_se": se}
            figures |= {f"cost_ratio_{name}_p99": worst, f"migrations_ratio_{name}": moved}
            figures |= {f"migrations_ratio_{name}_se": moved_se}
        elif policy in ("greedy", "hysteresis 10 %", "work function alone", "told the truth"):
            short = policy.split()[0]
            figures[f"cost_ratio_{name}_{short}"] = ratio
    return returns


def _ratio(over: F8, under: F8) -> tuple[float, float]:
    """Return the ratio of two sums over workloads, and its standard error."""
    ratio = over.sum() / max(under.sum(), 1e-9)
    spread = (over - ratio * under).std() / max(under.mean(), 1e-9)
    return float(ratio), float(spread / np.sqrt(len(over)))


def worst_case(seed: int, rounds: int = 40, ticks: int = 400) -> Figures:
    """Return the largest cost over 2n - 1 times the least that adversaries reach, as a share.

    The cruel one charges wherever the policy stands; the others charge at random, or in bursts, or
    in turn. What a policy may owe once, n moves, is not counted.
    """
    worst: dict[str, float] = {}
    for n in range(2, OPTIONS + 2):
        for name, make in {"engine": Engine, "greedy": PEERS["greedy"]}.items():
            for kind in range(4):
                share = _against(make, n, kind, seed + kind, rounds, ticks)
                worst[name] = max(worst.get(name, 0.0), share)
    return {"worst_adversarial": worst["engine"], "worst_adversarial_greedy": worst["greedy"]}


def _against(
    make: Callable[[Trace], Policy], n: int, kind: int, seed: int, rounds: int, ticks: int
) -> float:
    rng = np.random.default_rng([seed, n])
    rows, move, tick_s = np.arange(rounds), np.full(rounds, 1_000.0), 60.0
    charge = rng.choice([2_000.0, 20_000.0, 120_000.0], (rounds, 1))
    at = np.zeros(rounds, dtype=np.int64)
    policy = make(Trace(np.empty((ticks, rounds, n)), np.empty((0, 0, 0)), move, tick_s))
    costs, paid = np.zeros((ticks, rounds, n)), np.zeros(rounds)
    for tick in range(ticks):
        if kind == 0:
            costs[tick, rows, at] = charge[:, 0]
        elif kind == 1:
            costs[tick] = charge * (rng.random((rounds, n)) < 0.3)
        elif kind == 2:
            costs[tick] = charge * (rng.random((rounds, 1)) < 0.5)
            costs[tick, rows, at] *= rng.random(rounds) < 0.9
            costs[tick, rows, rng.integers(0, n, rounds)] = 0.0
        else:
            costs[tick, :, (tick // 10) % n] = charge[:, 0]
        to = policy(costs[tick], at)
        paid += np.where(to != at, move, 0.0) + costs[tick, rows, to] * tick_s / 3600.0
        at = to
    best = hindsight(Trace(costs, costs, move, tick_s), np.zeros(rounds, dtype=np.int64))
    return float(((paid - n * move) / ((2 * n - 1) * np.maximum(best.cost, 1.0))).max())


def measured(seed: int, quick: bool, rtt: Path | None) -> Figures:
    """Return the figures; of data that is absent there are none."""
    figures: Figures = {}
    size, hours = (100, 12.0) if quick else (400, 24.0)
    returns = compared("synthetic", synthetic(seed, size, hours), figures)
    path = rtt or shared("seattle_rtt_s.npz")
    if path is None:
        print("skipped: the Seattle round trips are not there; set AIOPS_SHARED or give --rtt FILE")
    else:
        trips = read_round_trips(path)
        trips = trips if rtt else trips[len(trips) // 2 :]
        returns += compared("seattle", round_trips(trips, seed, size), figures)
    path = shared("network_5g_download.csv.gz")
    if path is None:
        print("skipped: the 5G measurements are not there; set AIOPS_SHARED")
    else:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        returns += compared("5g", radio(table, seed, size), figures)
    figures["migrations_ratio"] = max(
        ratio
        for name, ratio in figures.items()
        if name.startswith("migrations_ratio_") and not name.endswith("_se")
    )
    figures["unforced_returns"] = returns
    return figures | worst_case(seed)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="100 workloads, half a day")
    parser.add_argument("--json", action="store_true", help="end with one object of figures")
    parser.add_argument("--rtt", type=Path, metavar="FILE", help="round trips, seconds [t, n, n]")
    given = parser.parse_args()
    if given.rtt is not None and not given.rtt.exists():
        parser.error(f"there is no file {given.rtt}")
    figures = measured(given.seed, given.quick, given.rtt)
    for name, value in figures.items():
        print(f"{name:<40}{value:>12.4f}")
    if given.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
