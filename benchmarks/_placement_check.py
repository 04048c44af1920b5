"""An independent checker of placement: plain Python over the arrays of a stored instance.

It shares no code with the solver: it reads the ``npz`` that ``write_instance`` wrote (arrays and
units are documented there) and counts all anew. ``python benchmarks/_placement_check.py FILE``
checks the plan that a file holds.

Amounts and costs are whole numbers and are added as such. Prices are micro-dollars per hour and
unit, so the bound is a float; it is summed exactly and rounded once.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CLOSED = 2**63 - 1
MICRO = 1_000_000
HOME = ("cpu", "memory", "power")


class Stored(NamedTuple):
    """The arrays of an instance as lists."""

    block: list[int]
    cost: list[list[int]]
    node: list[list[int]]
    uplink: list[list[int]]
    demand: list[list[int]]
    room: list[list[int]]
    capacity: list[int]
    nodes: int


class Stride(NamedTuple):
    """One step of a sequence, as the checker reads it."""

    workload: int
    source: int
    target: int
    wave: int
    kind: str


def stored(arrays: Mapping[str, Any]) -> Stored:
    """Return the arrays of an instance, by name, as lists."""
    lists = {name: np.asarray(arrays[name]).tolist() for name in Stored._fields}
    return Stored(**lists)


def homes(given: Stored) -> list[int]:
    """Return the home of each workload."""
    return [i for i, (a, b) in enumerate(pairwise(given.block)) for _ in range(b - a)]


def taken(given: Stored, home: Sequence[int], w: int, k: int) -> Iterator[tuple[str, int]]:
    """Yield the rows that option `k` of workload `w` takes of, by name, and how much."""
    node, uplink = given.node[w][k], given.uplink[w][k]
    for resource, name in enumerate(HOME):
        amount = given.demand[w][resource]
        if node >= 0:
            yield f"{name} of node {node}", amount
        elif k == 0:
            yield f"{name} of home {home[w]}", amount
    if uplink >= 0:
        yield f"bandwidth of uplink {uplink}", given.demand[w][3]


def capacities(given: Stored) -> dict[str, int]:
    """Return how much there is of each row, by name."""
    rows = {
        f"{name} of home {i}": given.room[i][r]
        for i in range(len(given.room))
        for r, name in enumerate(HOME)
    }
    for n in range(given.nodes):
        for r, name in enumerate(HOME):
            rows[f"{name} of node {n}"] = given.capacity[3 * n + r]
    for u, amount in enumerate(given.capacity[3 * given.nodes :]):
        rows[f"bandwidth of uplink {u}"] = amount
    return rows


def usage(given: Stored, copies: Iterable[tuple[int, int]]) -> Counter[str]:
    """Return how much of each row the copies (workload, option) take."""
    home = homes(given)
    used: Counter[str] = Counter()
    for w, k in copies:
        for row, amount in taken(given, home, w, k):
            used[row] += amount
    return used


def violations(arrays: Mapping[str, Any], choice: Any) -> list[str]:
    """Return each hard constraint that `choice` [w] breaks, in words; empty: none."""
    given = stored(arrays)
    chosen = np.asarray(choice).tolist()
    if len(chosen) != len(given.cost):
        return [f"{len(chosen)} choices for {len(given.cost)} workloads"]
    wrong = []
    for w, k in enumerate(chosen):
        if not 0 <= k < len(given.cost[w]):
            wrong.append(f"workload {w}: there is no option {k}")
        elif given.cost[w][k] == CLOSED:
            wrong.append(f"workload {w}: option {k} is ruled out")
    if any("there is no option" in one for one in wrong):
        return wrong
    limit = capacities(given)
    for row, amount in sorted(usage(given, enumerate(chosen)).items()):
        if amount > limit[row]:
            wrong.append(f"{row}: {amount} of {limit[row]} are taken")
    return wrong


def cost(arrays: Mapping[str, Any], choice: Any) -> int:
    """Return what `choice` [w] costs, micro-dollars per hour."""
    costs = np.asarray(arrays["cost"]).tolist()
    return sum(costs[w][k] for w, k in enumerate(np.asarray(choice).tolist()))


def bound(arrays: Mapping[str, Any], prices: Any) -> float:
    """Return the Lagrangian bound of `prices` [r], micro-dollars per hour.

    What is shared is paid for at its price, and so unlimited; each home tries all subsets of its
    workloads that fit. Any prices of 0 or more bound the cost of each plan from below.
    """
    given = stored(arrays)
    price = np.asarray(prices, dtype=float).tolist()
    if len(price) != len(given.capacity) or any(not p >= 0.0 for p in price):
        raise ValueError(f"give {len(given.capacity)} prices, each 0 or more")
    parts = [
        -p * (amount / MICRO) for p, amount in zip(price, given.capacity, strict=True) if p > 0.0
    ]
    for i in range(len(given.room)):
        at_home, away = [], []
        for w in range(given.block[i], given.block[i + 1]):
            priced = [_priced(given, price, w, k) for k in range(len(given.cost[w]))]
            packed = given.node[w][0] < 0 and given.cost[w][0] != CLOSED
            elsewhere = min(priced[1:] if packed else priced)
            if packed:
                at_home.append((priced[0], elsewhere, given.demand[w][:3]))
            else:
                away.append(elsewhere)
        parts += [*away, _packed(at_home, tuple(given.room[i]))]
    return math.fsum(parts)


def _priced(given: Stored, price: Sequence[float], w: int, k: int) -> float:
    """Return the cost of an option with what it takes of shared rows at their prices."""
    if given.cost[w][k] == CLOSED:
        return math.inf
    node, uplink, demand = given.node[w][k], given.uplink[w][k], given.demand[w]
    parts = [float(given.cost[w][k])]
    if node >= 0:
        parts += [price[3 * node + r] * (demand[r] / MICRO) for r in range(3)]
    if uplink >= 0:
        parts.append(price[3 * given.nodes + uplink] * (demand[3] / MICRO))
    return math.fsum(parts)


def _packed(items: Sequence[tuple[float, float, list[int]]], room: tuple[int, ...]) -> float:
    """Return the least cost of a home: each item inside, if it fits, or elsewhere."""
    if not items:
        return 0.0
    (inside, elsewhere, demand), *others = items
    least = elsewhere + _packed(others, room)
    rest = tuple(have - need for have, need in zip(room, demand, strict=True))
    # A row that is over takes nobody; asking nothing of it is no harm.
    if all(have >= 0 or need == 0 for have, need in zip(rest, demand, strict=True)):
        least = min(least, inside + _packed(others, rest))
    return least


def broken(arrays: Mapping[str, Any], before: Any, steps: Iterable[Any]) -> list[str]:
    """Return what is wrong with a sequence of steps, in words; empty: nothing.

    Steps have `workload`, `source`, `target`, `wave` and `kind`. In a wave stops give their room
    back at once; all others then hold both source and target until it is over. Whatever a wave
    takes must be within capacity, or within what was taken before the wave: what was over must
    not get worse. Nobody goes where it may not.
    """
    given = stored(arrays)
    limit, home = capacities(given), homes(given)
    nowhere = [len(costs) - 1 for costs in given.cost]
    at = np.asarray(before).tolist()
    used = usage(given, enumerate(at))
    strides = [Stride(s.workload, s.source, s.target, s.wave, s.kind) for s in steps]
    wrong: list[str] = []
    if any(one.wave > two.wave for one, two in pairwise(strides)):
        wrong.append("the waves are out of order")
    waves: dict[int, list[Stride]] = {}
    for stride in strides:
        waves.setdefault(stride.wave, []).append(stride)
    for wave, made in sorted(waves.items()):
        level = used.copy()
        if len({stride.workload for stride in made}) < len(made):
            wrong.append(f"wave {wave}: a workload takes two steps")
        for w, source, target, _, kind in made:
            if at[w] != source or source == target:
                wrong.append(f"wave {wave}: workload {w} is at {at[w]}, not at {source}")
            if given.cost[w][target] == CLOSED:
                wrong.append(f"wave {wave}: workload {w} goes to {target}, which is ruled out")
            if (kind == "stop") != (target == nowhere[w]):
                wrong.append(f"wave {wave}: workload {w} goes to {target} as a {kind}")
            if (kind == "start") != (source == nowhere[w]):
                wrong.append(f"wave {wave}: workload {w} leaves {source} as a {kind}")
            if kind == "stop":
                for row, amount in taken(given, home, w, source):
                    used[row] -= amount
        for w, _, target, _, _ in made:
            for row, amount in taken(given, home, w, target):
                used[row] += amount
        for row, amount in used.items():
            if amount > max(limit[row], level[row]):
                wrong.append(f"wave {wave}: {row}: {amount} of {limit[row]} are taken")
        for w, source, target, _, kind in made:
            at[w] = target
            if kind != "stop":
                for row, amount in taken(given, home, w, source):
                    used[row] -= amount
    if +used != +usage(given, enumerate(at)):
        wrong.append("the rows do not add up in the end")
    return wrong


def main(paths: Sequence[str]) -> int:
    """Check the plan of each file; return how many violate something."""
    failed = 0
    for path in paths:
        with np.load(Path(path), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        wrong = violations(arrays, arrays["choice"])
        paid, least = cost(arrays, arrays["choice"]), bound(arrays, arrays["prices"])
        print(f"{path}: {len(wrong)} violations, cost {paid}, bound {least:.1f}")
        if "plan_cost" in arrays and paid != arrays["plan_cost"]:
            wrong.append(f"states a cost of {arrays['plan_cost']}")
        if "plan_bound" in arrays and abs(least - arrays["plan_bound"]) > 1.0:  # it is whole
            wrong.append(f"states a bound of {arrays['plan_bound']}")
        print("".join(f"  {one}\n" for one in wrong), end="")
        failed += bool(wrong)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
