"""What the fleet is made of, as its owner declares it: sites, nodes and workloads.

Money is in micro-dollars. What is None is not known, and then neither limits nor costs anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

NodeKind = Literal["device", "gateway", "cloud"]


@dataclass(frozen=True)
class Site:
    """Where nodes stand that share one way to the rest of the world."""

    id: str
    region: str = ""
    """Of its nodes that name none."""
    uplink_mbit_s: float | None = None
    """What its workloads elsewhere may use together."""
    price_per_gb: float = 0.0
    """Of what crosses the uplink, as on a metered link."""


@dataclass(frozen=True)
class Node:
    """Anywhere a workload can run."""

    id: str
    kind: NodeKind = "device"
    site: str = ""
    cohort: str = ""
    cpu_cores: float = 1.0
    """Of a cloud region: how many may be rented at most."""
    memory_gb: float = 1.0
    rtt_ms: float = 0.0
    """Round trip from the site to this node when nothing has been measured."""
    price_per_core_hour: float = 0.0
    """Money an hour of one core costs here, in micro-dollars."""
    on_battery: bool = False
    temperature_limit_c: float = 85.0
    """Throttles at this; no workload may be placed where it is reached."""
    speed: float = 1.0
    """Of a core, relative to the reference core on which `Workload.compute_ms` was measured."""
    arch: str = ""
    """Such as ``arm64``."""
    region: str = ""
    """Where data is, in law: ``eu``."""
    cordoned: bool = False
    """Closed to new work."""
    battery_wh: float | None = None
    """Usable energy when full."""
    endurance_h: float = 8.0
    """Hours that what is in the battery must last: until the sun or somebody comes."""
    harvest_w: float = 0.0
    """Power that comes in meanwhile."""
    idle_w: float = 0.0
    """Power that the node itself draws, its radio included."""
    supply_w: float | None = None
    """Power that its supply can give, as that of an Ethernet port."""
    ambient_c: float | None = None
    """Air around it, where that is not measured."""
    thermal_resistance_c_per_w: float | None = None
    """Degrees above the air for each watt, in the long run."""
    thermal_tau_s: float = 0.0
    """Time in which it does 63 % of the way there."""
    energy_price_per_kwh: float = 0.0
    carbon_g_per_kwh: float = 0.0
    price_per_gb_hour: float = 0.0
    """Of memory."""
    egress_price_per_gb: float = 0.0
    """Of what leaves it, as clouds charge."""
    attributes: dict[str, str] = field(default_factory=dict, hash=False)
    """What it may share with others that fail: firmware, model, carrier, vendor."""


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
    power_w: float | None = None
    """What it draws; by default 5 W a core."""
    bandwidth_mbit_s: float = 0.0
    """Between it and its home, when it runs beyond the uplink."""
    payload_kb: float = 0.0
    """Sent to it with a request."""
    compute_ms: float = 0.0
    """Of a request on an idle reference core."""
    egress_gb_per_hour: float = 0.0
    """What it sends home when it runs elsewhere."""
    data_loss_cost: float = 0.0
    """What is lost with its state when the node it runs on fails, in micro-dollars."""
    arch: tuple[str, ...] = ()
    """Built for these; empty: for any."""
    residency: tuple[str, ...] = ()
    """Away from home only in these regions; empty: anywhere."""
    kinds: tuple[NodeKind, ...] = ()
    """Away from home only on these; empty: on any."""
    group: str = ""
    """The application it is part of, for budgets of disruption."""


@dataclass(frozen=True)
class Inventory:
    """Nodes and workloads; empty means that nothing is placed and sites come from telemetry."""

    nodes: tuple[Node, ...] = ()
    workloads: tuple[Workload, ...] = ()
    sites: tuple[Site, ...] = ()
    """Only those of which there is something to tell; a node may name any."""
    by_id: dict[str, Node] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {node.id: node for node in self.nodes})
