"""Small inventories and conditions for the tests of this room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aiops.fleet.inventory import Inventory, Node, Site, Workload
from aiops.placement.conditions import Conditions
from aiops.placement.problem import PlacementProblem, pose
from tests.oracles import place as oracle
from tests.placement.instances import plain

MINUTE = 60 * 1_000_000_000
NOON = 1_767_268_800 * 1_000_000_000

# Two sites with a gateway each, and a cloud region 40 ms away.
NODES = (
    Node("gw-lyon", "gateway", "lyon", "g1", cpu_cores=4, memory_gb=4),
    Node("gw-near", "gateway", "lyon", "g1", cpu_cores=1, memory_gb=4, rtt_ms=2),
    Node("gw-oslo", "gateway", "oslo", "g2", cpu_cores=4, memory_gb=4),
    Node("cloud", "cloud", rtt_ms=40, cpu_cores=1e4, memory_gb=1e4, price_per_core_hour=2_000),
)


def workload(name="api", home="gw-lyon", candidates=("gw-near", "cloud"), **fields) -> Workload:
    given = {"cpu_cores": 0.5, "memory_gb": 0.5, "value_per_hour": 10_000.0} | fields
    return Workload(name, home, candidates=candidates, **given)


def inventory(*workloads: Workload, nodes: tuple[Node, ...] = NODES) -> Inventory:
    return Inventory(nodes, workloads or (workload(),))


def conditions(of: Inventory, **by_field: dict[str, float]) -> Conditions:
    """Return conditions in which all is unknown but e.g. ``temperature_c={"gw-lyon": 90}``."""
    names = [node.id for node in of.nodes]
    state = Conditions.unknown(len(names))
    for field, values in by_field.items():
        column = getattr(state, field).copy()
        for name, value in values.items():
            column[names.index(name)] = value
        state = replace(state, **{field: column})
    return state


def posed(of: Inventory, memory=None, ts=NOON, findings=(), **by_field) -> PlacementProblem:
    problem = pose(conditions(of, **by_field), findings, of, memory, ts)
    assert problem is not None
    return problem


def random_inventory(seed: int, w: int = 6, m: int = 4, tight: float = 1.0) -> Inventory:
    """Return a site whose gateways hold only some of its workloads, and a cloud region."""
    rng = np.random.default_rng(seed)
    size = 0.6 * w / m / tight
    nodes = [
        Node(
            f"gw-{i}",
            "gateway",
            "lyon",
            rtt_ms=float(rng.integers(1, 9)),
            cpu_cores=size,
            memory_gb=size / 2,
            battery_wh=160.0 * size if i % 2 else None,
            supply_w=5.0 * size if i % 3 == 0 else None,
            ambient_c=25.0,
            thermal_resistance_c_per_w=8.0 if i % 4 == 0 else None,
            thermal_tau_s=900.0,
            energy_price_per_kwh=2e5,
        )
        for i in range(m)
    ]
    nodes.append(Node("cloud", "cloud", rtt_ms=40, cpu_cores=1e4, price_per_core_hour=8_000))
    workloads = []
    for i in range(w):
        near = rng.permutation(m)[:3]
        workloads.append(
            Workload(
                f"w-{i}",
                f"gw-{near[0]}",
                cpu_cores=float(rng.uniform(0.1, 0.8)),
                memory_gb=float(rng.uniform(0.05, 0.3)),
                latency_slo_ms=float(rng.choice([30.0, 100.0, 1000.0])),
                value_per_hour=float(rng.lognormal(9, 1)),
                state_gb=float(rng.choice([0.0, 0.001])),
                candidates=(*(f"gw-{n}" for n in near[1:]), "cloud"),
                bandwidth_mbit_s=float(rng.uniform(0.0, 2.0)),
                payload_kb=float(rng.uniform(0.0, 10.0)),
                compute_ms=float(rng.uniform(0.0, 8.0)),
                egress_gb_per_hour=float(rng.choice([0.0, 0.01])),
            )
        )
    sites = (Site("lyon", uplink_mbit_s=0.6 * w / tight, price_per_gb=1e4),)
    return Inventory(tuple(nodes), tuple(workloads), sites)


def random_conditions(of: Inventory, rng: np.random.Generator) -> Conditions:
    """Return random states of all nodes but the cloud, of which some are unknown."""
    m = len(of.nodes)
    cloud = np.array([node.kind == "cloud" for node in of.nodes])

    def drawn(low: float, high: float):
        values = rng.uniform(low, high, m)
        values[cloud | (rng.random(m) < 0.1)] = np.nan
        return values

    return replace(
        Conditions.unknown(m),
        soc_ratio=drawn(0.05, 1.0),
        on_mains=np.where(cloud, 1.0, rng.integers(0, 2, m)),
        temperature_c=drawn(40.0, 90.0),
        rtt_ms=drawn(10.0, 90.0),
        jitter_ms=drawn(0.0, 5.0),
        loss_ratio=drawn(0.0, 0.1),
        bandwidth_mbit_s=drawn(1.0, 50.0),
        utilization_ratio=drawn(0.0, 0.9),
        failure_risk=drawn(0.0, 0.2),
        cordoned=~cloud & (rng.random(m) < 0.1),
        silent=~cloud & (rng.random(m) < 0.1),
        age_s=np.where(cloud, np.nan, 30.0),
    )


def optimum(problem: PlacementProblem) -> int | None:
    """Return the least cost of any plan for a tiny `problem`, by trying all."""
    cost = np.where(problem.open, problem.effective, -1).tolist()
    _, *rest = plain(problem.instance)
    return oracle.optimum([[None if c < 0 else c for c in row] for row in cost], *rest)
