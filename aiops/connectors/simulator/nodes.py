"""The inventory of a simulated fleet: nodes and the workloads that live on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from aiops.connectors.simulator.life import Life
from aiops.connectors.simulator.scenario import Scenario
from aiops.fleet.inventory import Inventory, Node, Workload


class _Kind(NamedTuple):
    name: str
    cpu_cores: float
    memory_gb: float
    latency_slo_ms: float
    value_per_hour: float
    state_gb: float


_WORKLOADS = (
    _Kind("control", 0.25, 0.2, 20.0, 400_000.0, 0.01),
    _Kind("vision", 1.5, 1.5, 80.0, 250_000.0, 0.5),
    _Kind("gateway", 0.3, 0.4, 400.0, 90_000.0, 0.1),
    _Kind("analytics", 0.8, 1.0, 2000.0, 30_000.0, 1.0),
)


def build_inventory(scenario: Scenario, lives: Sequence[Life]) -> Inventory:
    """Return devices, one to three gateways a site, one cloud region, and workloads.

    The first devices of a site are its gateways: the same hardware in a larger box, which takes
    in the workloads of its neighbours.
    """
    nodes = []
    gateways: dict[int, list[str]] = {site: [] for site in range(scenario.sites)}
    for life in lives:
        at_site = -(-(len(lives) - life.site) // scenario.sites)
        own = gateways[life.site]
        is_gateway = len(own) < min(1 + life.site % 3, max(1, at_site // 3))
        if is_gateway:
            own.append(life.id)
        nodes.append(
            Node(
                id=life.id,
                kind="gateway" if is_gateway else "device",
                site=scenario.site(life.site).name,
                cohort=life.cohort,
                cpu_cores=16.0 if is_gateway else life.model.cpu_cores,
                memory_gb=32.0 if is_gateway else life.model.memory_gb,
                rtt_ms=3.0 if is_gateway else 1.0,
                price_per_core_hour=6_000.0 if is_gateway else 2_000.0,
                on_battery=not math.isnan(life.traits.charge),
                temperature_limit_c=life.model.temperature_limit_c,
            )
        )
    far = [scenario.site(site).rtt_ms for site in range(scenario.sites)]
    nodes.append(
        Node(
            id="cloud-1",
            kind="cloud",
            site="cloud",
            cpu_cores=4.0 * len(lives),
            memory_gb=16.0 * len(lives),
            rtt_ms=round(sum(far) / len(far), 1),
            price_per_core_hour=40_000.0,
        )
    )
    workloads = []
    for life in lives:
        for place, code in enumerate(life.workloads):
            kind = _WORKLOADS[code]
            others = [gateway for gateway in gateways[life.site] if gateway != life.id]
            workloads.append(
                Workload(
                    id=f"{kind.name}-{life.id}" + (f"-{place + 1}" if place else ""),
                    home=life.id,
                    cpu_cores=kind.cpu_cores,
                    memory_gb=kind.memory_gb,
                    latency_slo_ms=kind.latency_slo_ms,
                    value_per_hour=kind.value_per_hour,
                    state_gb=kind.state_gb,
                    candidates=(*others, "cloud-1"),
                )
            )
    return Inventory(tuple(nodes), tuple(workloads))
