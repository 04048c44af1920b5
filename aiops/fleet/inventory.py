"""What the fleet is made of, as its owner declares it: sites, nodes and workloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

NodeKind = Literal["device", "gateway", "cloud"]


@dataclass(frozen=True)
class Node:
    """Anywhere a workload can run."""

    id: str
    kind: NodeKind = "device"
    site: str = ""
    cohort: str = ""
    cpu_cores: float = 1.0
    memory_gb: float = 1.0
    rtt_ms: float = 0.0
    """Round trip from the site to this node when nothing has been measured."""
    price_per_core_hour: float = 0.0
    """Money an hour of one core costs here, in micro-dollars."""
    on_battery: bool = False
    temperature_limit_c: float = 85.0
    """Throttles at this; no workload may be placed where it is reached."""


@dataclass(frozen=True)
class Workload:
    """Something that runs on one node at a time and can be moved."""

    id: str
    home: str
    """The node it belongs to and returns to when all is well."""
    cpu_cores: float = 0.1
    memory_gb: float = 0.1
    latency_slo_ms: float = 1000.0
    value_per_hour: float = 1000.0
    """What an hour of it is worth, in micro-dollars."""
    state_gb: float = 0.0
    """State that must travel with it."""
    candidates: tuple[str, ...] = ()
    """Nodes it may run on besides its home, by id."""


@dataclass(frozen=True)
class Inventory:
    """Nodes and workloads; empty means that nothing is placed and sites come from telemetry."""

    nodes: tuple[Node, ...] = ()
    workloads: tuple[Workload, ...] = ()
    by_id: dict[str, Node] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {node.id: node for node in self.nodes})
