"""Explanations put to the test: is what they foretell what solving again does, and how long."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from aiops.fleet.inventory import Inventory, Node, Site, Workload
from aiops.placement.conditions import Conditions
from aiops.placement.counterfactual import Flip, changed
from aiops.placement.market import WARM, settle
from aiops.placement.plan import Plan
from aiops.placement.problem import pose
from aiops.placement.solver import solve
from aiops.placement.whatif import Overlay, what_if

NOON = 1_767_268_800 * 1_000_000_000
HOUR = 3600 * 1_000_000_000
SITE = 50
"""Devices to a site, which has three gateways and an uplink."""
GATEWAYS = 3
OUTSIDE, INSIDE = 1e-6, 1e-3
"""So far beyond a threshold and before it the plan is made again, as shares of the way there."""


@dataclass(frozen=True)
class Confirmed:
    """How many of the changes foretold came out so, each just outside and just inside."""

    tried: int
    right: int
    wrong: Counter[tuple[str, str]]
    """By side and variable."""


def fleet(size: int, seed: int, scarce: float = 1.0) -> tuple[Inventory, Conditions]:
    """Return an inventory of `size` workloads, two to a device, and states of its nodes.

    Half of the devices run on battery. Of gateways, uplinks and clouds there is `scarce` times less
    than would do for nearly all: with 4, many of their rows have prices.
    """
    rng = np.random.default_rng([seed, size])
    devices = (size + 1) // 2
    nodes: list[Node] = []
    workloads: list[Workload] = []
    sites: list[Site] = []
    for first in range(0, devices, SITE):
        s = first // SITE
        name, n = f"site-{s}", min(SITE, devices - first)
        sites.append(
            Site(name, "eu", uplink_mbit_s=(0.25 * n + 1.0) / scarce, price_per_gb=2_000.0)
        )
        near = [f"gw-{s}-{g}" for g in range(GATEWAYS)]
        nodes += [
            Node(
                gateway,
                "gateway",
                name,
                cpu_cores=float(max(1.0, 0.5 * n * rng.uniform(0.4, 1.6) / scarce)),
                memory_gb=float(n),
                rtt_ms=float(rng.integers(2, 9)),
                price_per_core_hour=float(rng.integers(2_000, 7_000)),
            )
            for gateway in near
        ]
        for d in range(first, first + n):
            device = f"dev-{d}"
            nodes.append(
                Node(
                    device,
                    "device",
                    name,
                    cpu_cores=2.0,
                    memory_gb=2.0,
                    speed=0.5,
                    on_battery=bool(rng.random() < 0.5),
                    battery_wh=float(rng.uniform(40.0, 160.0)),
                    idle_w=1.0,
                    ambient_c=25.0,
                    thermal_resistance_c_per_w=6.0,
                    thermal_tau_s=900.0,
                )
            )
            workloads += [
                Workload(
                    f"w-{d}-{w}",
                    device,
                    cpu_cores=float(rng.uniform(0.1, 0.9)),
                    memory_gb=float(rng.uniform(0.05, 0.5)),
                    latency_slo_ms=float(rng.choice([60.0, 120.0, 300.0, 1000.0])),
                    value_per_hour=float(rng.lognormal(10.0, 0.8)),
                    candidates=(*near, "cloud-a", "cloud-b"),
                    bandwidth_mbit_s=float(rng.uniform(0.0, 1.0)),
                    payload_kb=float(rng.uniform(1.0, 40.0)),
                    compute_ms=float(rng.uniform(2.0, 20.0)),
                    egress_gb_per_hour=float(rng.choice([0.0, 0.01])),
                )
                for w in range(2)
            ]
    for region, rtt_ms, price in (("cloud-a", 28.0, 38_000.0), ("cloud-b", 75.0, 26_000.0)):
        nodes.append(
            Node(
                region,
                "cloud",
                cpu_cores=0.1 * size / scarce,
                memory_gb=float(size),
                rtt_ms=rtt_ms,
                speed=2.5,
                price_per_core_hour=price,
                region="eu",
                egress_price_per_gb=90_000.0,
            )
        )
    of = Inventory(tuple(nodes), tuple(workloads[:size]), tuple(sites))
    return of, _state(of, rng)


def _state(of: Inventory, rng: np.random.Generator) -> Conditions:
    m = len(of.nodes)
    cloud = np.array([node.kind == "cloud" for node in of.nodes])

    def drawn(low: float, high: float) -> np.ndarray:
        values = rng.uniform(low, high, m)
        values[cloud | (rng.random(m) < 0.05)] = np.nan
        return values

    return replace(
        Conditions.unknown(m),
        soc_ratio=drawn(0.1, 1.0),
        temperature_c=drawn(35.0, 86.0),
        rtt_ms=drawn(15.0, 70.0),
        jitter_ms=drawn(0.0, 6.0),
        loss_ratio=drawn(0.0, 0.02),
        utilization_ratio=drawn(0.0, 0.8),
        failure_risk=np.where(rng.random(m) < 0.1, drawn(0.0, 0.1), np.nan),
        age_s=np.where(cloud, np.nan, 20.0),
    )


def planned(size: int, seed: int, scarce: float = 1.0) -> Plan:
    """Return a plan of `fleet` an hour after another one."""
    of, state = fleet(size, seed, scarce)
    problem = pose(state, (), of, None, NOON)
    assert problem is not None
    _, memory = solve(problem, None)
    problem = pose(state, (), of, memory, NOON + HOUR)
    assert problem is not None
    plan, _ = solve(problem, memory)
    return plan


def confirmed(seed: int, count: int, size: int = 200, scarce: float = 1.0) -> Confirmed:
    """Return how `count` changes that explanations foretell come out when all is solved again.

    Just outside the threshold the workload must be where it was said to be, just inside it where it
    is now. All other workloads are free to move.
    """
    plan = planned(size, seed, scarce)
    problem = plan.problem
    rng = np.random.default_rng([seed, count])
    tried = right = 0
    wrong: Counter[tuple[str, str]] = Counter()
    for i in rng.permutation(len(plan.choice)).tolist():
        explanation = plan.explain(problem.topology.workload[i])
        for flip in explanation.flips:
            for side, ok in _sides(plan, i, flip, explanation.choice):
                tried, right = tried + 1, right + ok
                if not ok:
                    wrong[side, flip.variable] += 1
        if tried >= count:
            break
    return Confirmed(tried, right, wrong)


def _sides(plan: Plan, i: int, flip: Flip, now: str) -> Iterator[tuple[str, bool]]:
    problem, way = plan.problem, flip.at - flip.now
    at = problem.topology.node_at[flip.place]
    where = np.arange(len(problem.topology.node)) == at
    for side, value, place in (
        ("outside", flip.at + OUTSIDE * way, flip.choice),
        ("inside", flip.at - INSIDE * way, now),
    ):
        nodes = changed(problem.nodes, flip.variable, at, value)
        again = plan.replan(problem.altered(nodes, where))
        yield side, problem.topology.place(i, int(again.choice[i])) == place


def explain_ms(plan: Plan, count: int = 200, sought: int = 10) -> tuple[float, float, float]:
    """Return the medians of explanations, CPU milliseconds.

    Of the table with its reasons; of the three nearest changes that would flip it; of all.
    """
    names = plan.problem.topology.workload
    _ = plan.explain(names[0]).nearest(1), plan.market  # what all share is made once
    table, nearest, every = [], [], []
    for i in np.linspace(1, len(names) - 1, count).astype(int).tolist():
        began = time.process_time()
        plan.explain(names[i])
        table.append(1e3 * (time.process_time() - began))
    for i in np.linspace(1, len(names) - 1, sought).astype(int).tolist():
        told = plan.explain(names[i])
        began = time.process_time()
        told.nearest(3)
        nearest.append(1e3 * (time.process_time() - began))
        began = time.process_time()
        _ = told.flips
        every.append(1e3 * (time.process_time() - began))
    return median(table), median(nearest), median(every)


def what_if_s(plan: Plan) -> tuple[float, float]:
    """Return CPU seconds of a what-if, and of a warm refresh: all settled again from its prices."""
    _ = plan.market  # made once for all questions
    (instance, rows), asked, warm = plan.problem.free, [], []
    for site in range(9):
        began = time.process_time()
        what_if(plan, Overlay(kill=(f"gw-{site}-0",), heat={f"site-{site + 1}": 5.0}))
        asked.append(time.process_time() - began)
        began = time.process_time()
        settle(instance, plan.prices, plan.choice[rows], WARM)
        warm.append(time.process_time() - began)
    return median(asked), median(warm)
