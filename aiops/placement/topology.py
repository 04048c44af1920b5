"""The inventory as arrays: who may run where, what that asks for and what moving there costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.errors import SettingsError
from aiops.fleet.inventory import Inventory, Node, Site, Workload
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.placement.instance import MICRO, UNLIMITED, Instance
from aiops.placement.sequence import MoveLimits

Ids: TypeAlias = npt.NDArray[np.str_]

SHED = "shed"
"""Stands for running nowhere; no node may be called so."""
WATTS_PER_CORE = 5.0
"""What a workload draws that does not tell: a core of a small board under load."""
MOST = 1e6
"""Cores, GB, W or Mbit/s that a workload may ask for: sums stay far within 64 bits."""


@dataclass(frozen=True)
class PlacementSettings:
    """What a move costs and how far ahead it is judged. Money is in micro-dollars."""

    horizon_s: float = 3600.0
    """Over which what a place costs now, smoothed, is taken to last."""
    fixed_cost: float = 10.0
    """Of any move, so that no move is free."""
    downtime_s: float = 60.0
    """Of a workload while it moves, besides the transfer of its state."""
    transfer_mbit_s: float = 100.0
    egress_per_gb: float = 90_000.0
    """Of state that leaves its site."""
    limits: MoveLimits = field(default_factory=MoveLimits)
    """How much may move at a time, and in one plan."""

    def __post_init__(self) -> None:
        bounds = {
            "horizon_s": (60.0, 7 * 86400.0),
            "fixed_cost": (1.0, 1e9),
            "downtime_s": (0.0, 86400.0),
            "transfer_mbit_s": (0.001, 1e6),
            "egress_per_gb": (0.0, 1e9),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsError(f"placement.{name} is {value!r}; give {low:g} to {high:g}")


class Asked(NamedTuple):
    """What each workload declares, [w] each, under the names that `options.Options` has."""

    value: F8
    cpu_cores: F8
    memory_gb: F8
    power_w: F8
    bandwidth_mbit_s: F8
    payload_kb: F8
    compute_ms: F8
    slo_ms: F8
    egress_gb_h: F8
    data_loss_cost: F8


class Declared(NamedTuple):
    """What each node declares, [m+1] each, under the names that `options.Options` has.

    The last entry stands for option -1: running nowhere has no limits and costs nothing.
    NaN: not known.
    """

    node_cores: F8
    node_gb: F8
    speed: F8
    on_battery: B1
    battery_wh: F8
    endurance_h: F8
    harvest_w: F8
    idle_w: F8
    supply_w: F8
    limit_c: F8
    ambient_c: F8
    heating: F8
    """Degrees above the air for each watt."""
    tau_s: F8
    price: F8
    memory_price: F8
    energy_price: F8
    carbon_g_kwh: F8
    cordoned: B1


@dataclass(frozen=True)
class Topology:
    """The inventory in the sparse shape [w, k]: option 0 is home, the last is `shed`.

    Workloads stand by home and by id within a home. Between home and shed stand the candidates in
    the inventory's order, padded with options that do not exist (node -1 and `absent`).
    """

    workload: tuple[str, ...]
    node: tuple[str, ...]
    node_site: tuple[str, ...]
    node_cohort: tuple[str, ...]
    node_at: dict[str, int]
    """Node id -> its index."""
    option: I4
    """[w, k] node of each option; -1: none, which for the last option means `shed`."""
    absent: B1
    """[w, k] no such option."""
    shed: B1
    """[w, k] true in the last column."""
    away: B1
    """[w, k] another node than home."""
    remote: B1
    """[w, k] beyond the uplink of the home's site: in the cloud or at another site."""
    foreign: B1
    """[w, k] away from home and not in a region in which the workload may be."""
    unbuilt: B1
    """[w, k] of an architecture for which the workload is not built."""
    unfit: B1
    """[w, k] away from home and not of a kind on which the workload may run."""
    uplink: I4
    """[w, k] uplink that the option's traffic crosses, that of the home's site if it has one;
    -1: none, or none that is declared."""
    asked: Asked
    declared: Declared
    rtt_ms: F8
    """[m+1] declared round trip; NaN: none declared."""
    clouds: I4
    """Nodes that are cloud regions."""
    egress_price: F8
    """[m+1] micro-dollars per GB that leaves a node for another."""
    link_price: F8
    """[m+1] micro-dollars per GB over the uplink of a node's site; a cloud region has none."""
    link_mbit_s: F8
    """[m+1] declared speed of that uplink; NaN: not known."""
    state_gb: F8
    """[w]"""
    cpu: I8
    """[w] millionths of a core."""
    memory: I8
    """[w] millionths of a GB."""
    power: I8
    """[w] millionths of a watt."""
    bandwidth: I8
    """[w] millionths of a Mbit/s."""
    node_cpu: I8
    """[m] millionths of a core."""
    node_memory: I8
    """[m] millionths of a GB."""
    uplink_site: tuple[str, ...]
    """[u] site whose uplink it is."""
    uplink_capacity: I8
    """[u] millionths of a Mbit/s of each uplink."""
    workloads: tuple[Workload, ...]
    """[w] as they were declared."""
    nodes: tuple[Node, ...]
    """[m] as they were declared."""
    node_region: tuple[str, ...]
    """[m] that of its site where it names none; empty: not known."""

    @property
    def value(self) -> F8:
        """[w] micro-dollars per hour."""
        return self.asked.value

    @property
    def slo_ms(self) -> F8:
        """[w] longest admissible reply."""
        return self.asked.slo_ms

    @cached_property
    def workload_ids(self) -> Ids:
        """[w] as an array."""
        return np.array(self.workload, dtype=np.str_)

    @cached_property
    def node_ids(self) -> Ids:
        """[m] as an array."""
        return np.array(self.node, dtype=np.str_)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each workload."""
        return {name: row for row, name in enumerate(self.workload)}

    @cached_property
    def called(self) -> dict[str, list[int]]:
        """The nodes that a name means: one of that id, and those of a site of that id."""
        of = {name: [at] for at, name in enumerate(self.node)}
        for at, site in enumerate(self.node_site):
            if site and self.node[at] != site:
                of.setdefault(site, []).append(at)
        return of

    @cached_property
    def shared(self) -> I4:
        """Nodes that somebody has among the options besides those whose home it is."""
        found = np.unique(self.option[:, 1:])
        return np.asarray(found[found >= 0], dtype=np.int32)

    @cached_property
    def ground(self) -> Instance:
        """What the solver reads, workloads in the same rows; costs and limits are left open.

        A home that nobody else has among its options is packed exactly; every other node is shared.
        """
        code = np.full(len(self.node) + 1, -1, dtype=np.int32)
        code[self.shared] = np.arange(len(self.shared), dtype=np.int32)
        _, first = np.unique(self.option[:, 0], return_index=True)
        return Instance(
            block=np.append(first, len(self.option)).astype(np.int32),
            cost=np.zeros(self.option.shape, dtype=np.int64),
            node=code[self.option],
            uplink=self.uplink,
            demand=np.stack([self.cpu, self.memory, self.power, self.bandwidth], axis=1),
            room=np.full((len(first), 3), UNLIMITED),
            capacity=np.full(3 * len(self.shared) + len(self.uplink_capacity), UNLIMITED),
            nodes=len(self.shared),
        )

    def place(self, i: int, k: int) -> str:
        """Return the node id of option `k` of workload `i`, or ``shed``."""
        at = int(self.option[i, k])
        return self.node[at] if at >= 0 else SHED

    def said(self, i: int, k: int) -> dict[str, str]:
        """Return the rules and traits of option `k` of workload `i`, in words by name."""
        workload, at = self.workloads[i], int(self.option[i, k])
        said = {
            "archs": " or ".join(workload.arch),
            "regions": " or ".join(workload.residency),
            "kinds": " or ".join(workload.kinds),
        }
        if at < 0:
            return said | dict.fromkeys(("node_arch", "node_region", "node_kind"), "nowhere")
        node, region = self.nodes[at], self.node_region[at] or "unknown"
        return said | {"node_arch": node.arch, "node_region": region, "node_kind": node.kind}


def resolve(inventory: Inventory) -> Topology:
    """Return `inventory` as arrays.

    Raises
    ------
    SettingsError
        A workload names a node that is not in the inventory, an id occurs twice, or a number
        is negative, not finite, or an SLO or a speed is not above zero.
    """
    nodes = inventory.nodes
    node_at = {node.id: at for at, node in enumerate(nodes)}
    _refuse_twins("node", [node.id for node in nodes])
    if SHED in node_at:
        raise SettingsError(f"a node is called {SHED!r}, which means nowhere; call it otherwise")
    _refuse_twins("workload", [workload.id for workload in inventory.workloads])
    _refuse_twins("site", [site.id for site in inventory.sites])
    # By home, and by id within it: the order of an inventory must not matter.
    workloads = sorted(
        inventory.workloads, key=lambda workload: (node_at.get(workload.home, -1), workload.id)
    )
    asked, state_gb = _ask(workloads)
    declared = _declare(nodes)
    sites = {site.id: site for site in inventory.sites}
    uplink_mbit_s = _column(inventory.sites, "uplink_mbit_s")
    _column(inventory.sites, "price_per_gb")

    option = _options(workloads, node_at)
    shed = np.zeros(option.shape, dtype=np.bool_)
    shed[:, -1] = True

    # The last entry of each array of nodes stands for option -1.
    codes: dict[str, int] = {}
    site = np.array([codes.setdefault(node.site, len(codes)) for node in nodes] + [-1])
    cloud = np.array([node.kind == "cloud" for node in nodes] + [False])
    rtt = _column(nodes, "rtt_ms", last=math.nan)
    home = option[:, :1] if len(workloads) else option
    away = (option >= 0) & (option != home)
    remote = away & (cloud[option] | cloud[home] | (site[option] != site[home]))
    own = [Site("") if node.kind == "cloud" else sites.get(node.site, Site("")) for node in nodes]
    region = tuple(node.region or sites.get(node.site, Site("")).region for node in nodes)
    limited = np.flatnonzero(~np.isnan(uplink_mbit_s))
    uplink_at = {inventory.sites[s].id: u for u, s in enumerate(limited.tolist())}
    uplink_of = np.array([uplink_at.get(site.id, -1) for site in own] + [-1], dtype=np.int32)
    crossed = np.where(uplink_of[home] >= 0, uplink_of[home], uplink_of[option])
    return Topology(
        workload=tuple(workload.id for workload in workloads),
        node=tuple(node.id for node in nodes),
        node_site=tuple(node.site for node in nodes),
        node_cohort=tuple(node.cohort for node in nodes),
        node_at=node_at,
        option=option,
        absent=(option < 0) & ~shed,
        shed=shed,
        away=away,
        remote=remote,
        # A region that nobody declared is none of those that are asked for: the law needs to know.
        foreign=away & _outside([one.residency for one in workloads], region, option, strict=True),
        unbuilt=_outside([one.arch for one in workloads], [node.arch for node in nodes], option),
        unfit=away
        & _outside([one.kinds for one in workloads], [node.kind for node in nodes], option),
        uplink=np.where(remote, crossed, np.int32(-1)),
        asked=asked,
        declared=declared,
        rtt_ms=rtt,
        clouds=np.flatnonzero(cloud).astype(np.int32),
        egress_price=_column(nodes, "egress_price_per_gb", last=0.0),
        link_price=np.array([site.price_per_gb for site in own] + [0.0]),
        link_mbit_s=np.append(uplink_mbit_s[limited], math.nan)[uplink_of],
        state_gb=state_gb,
        cpu=millionths(asked.cpu_cores),
        memory=millionths(asked.memory_gb),
        power=millionths(asked.power_w),
        bandwidth=millionths(asked.bandwidth_mbit_s),
        node_cpu=millionths(declared.node_cores[:-1]),
        node_memory=millionths(declared.node_gb[:-1]),
        uplink_site=tuple(inventory.sites[s].id for s in limited.tolist()),
        uplink_capacity=millionths(uplink_mbit_s[limited]),
        workloads=tuple(workloads),
        nodes=nodes,
        node_region=region,
    )


def move_cost(topology: Topology, current: I4, settings: PlacementSettings) -> I8:
    """Return what moving from option `current` [w] to each option costs, micro-dollars [w, k].

    state * egress (when it crosses an uplink) + value * (downtime + transfer) + a fixed part.
    Shedding a workload moves nothing, so only the fixed part is paid. The place itself is free.
    """
    rows = np.arange(len(current))
    # State crosses the uplink when exactly one end is beyond it, or when both are but differ.
    crosses = topology.remote | topology.remote[rows, current][:, None]
    transfer_h = topology.state_gb * 8000.0 / settings.transfer_mbit_s / 3600.0
    idle = topology.value * (settings.downtime_s / 3600.0 + transfer_h)
    per_gb = settings.egress_per_gb + topology.link_price[topology.option[:, 0]]
    egress = np.where(crosses, (topology.state_gb * per_gb)[:, None], 0.0)
    cost = settings.fixed_cost + np.where(topology.shed, 0.0, idle[:, None] + egress)
    cost[rows, current] = 0.0
    return money(cost)


def money(cost: F8) -> I8:
    """Return micro-dollars as whole numbers, bounded so that no sum overflows."""
    return np.rint(np.clip(cost, 0.0, 2.0**40)).astype(np.int64)


def millionths(amount: F8) -> I8:
    """Return amounts as whole millionths; NaN, which is not known, has no limit."""
    counted = np.rint(np.nan_to_num(amount * MICRO, nan=UNLIMITED, posinf=UNLIMITED))
    whole: I8 = np.minimum(counted, UNLIMITED).astype(np.int64)
    return whole


def _ask(workloads: Sequence[Workload]) -> tuple[Asked, F8]:
    """Return what workloads declare, and the GB of their state."""
    cores = _column(workloads, "cpu_cores", most=MOST)
    power = _column(workloads, "power_w", most=MOST)
    asked = Asked(
        value=_column(workloads, "value_per_hour"),
        cpu_cores=cores,
        memory_gb=_column(workloads, "memory_gb", most=MOST),
        power_w=np.where(np.isnan(power), WATTS_PER_CORE * cores, power),
        bandwidth_mbit_s=_column(workloads, "bandwidth_mbit_s", most=MOST),
        payload_kb=_column(workloads, "payload_kb"),
        compute_ms=_column(workloads, "compute_ms"),
        slo_ms=_column(workloads, "latency_slo_ms", above=0.0),
        egress_gb_h=_column(workloads, "egress_gb_per_hour"),
        data_loss_cost=_column(workloads, "data_loss_cost"),
    )
    return asked, _column(workloads, "state_gb")


def _declare(nodes: Sequence[Node]) -> Declared:
    """Return what nodes declare, and of running nowhere."""

    def flags(name: str) -> B1:
        return np.array([*map(attrgetter(name), nodes), False], dtype=np.bool_)

    return Declared(
        node_cores=_column(nodes, "cpu_cores", last=math.inf),
        node_gb=_column(nodes, "memory_gb", last=math.inf),
        speed=_column(nodes, "speed", last=1.0, above=0.0),
        on_battery=flags("on_battery"),
        battery_wh=_column(nodes, "battery_wh", last=math.nan),
        endurance_h=_column(nodes, "endurance_h", last=1.0, above=0.0),
        harvest_w=_column(nodes, "harvest_w", last=0.0),
        idle_w=_column(nodes, "idle_w", last=0.0),
        supply_w=_column(nodes, "supply_w", last=math.nan),
        limit_c=_column(nodes, "temperature_limit_c", last=math.inf, above=-math.inf),
        ambient_c=_column(nodes, "ambient_c", last=math.nan, above=-math.inf),
        heating=_column(nodes, "thermal_resistance_c_per_w", last=math.nan, above=0.0),
        tau_s=_column(nodes, "thermal_tau_s", last=0.0),
        price=_column(nodes, "price_per_core_hour", last=0.0),
        memory_price=_column(nodes, "price_per_gb_hour", last=0.0),
        energy_price=_column(nodes, "energy_price_per_kwh", last=0.0),
        carbon_g_kwh=_column(nodes, "carbon_g_per_kwh", last=0.0),
        cordoned=flags("cordoned"),
    )


def _column(
    things: Sequence[Node | Workload | Site],
    name: str,
    *,
    last: float | None = None,
    above: float = -1e-300,
    most: float = math.inf,
) -> F8:
    """Return a declared number of each thing, and `last`; None is NaN, all else is checked."""
    given: list[Any] = list(map(attrgetter(name), things))
    values = np.array([math.nan if v is None else v for v in given], dtype=np.float64)
    wrong = ~((values > above) & (values <= most) & (values < np.inf))
    for at in np.flatnonzero(wrong).tolist():
        if given[at] is not None:
            least = "" if above < -1.0 else ", more than 0" if above == 0.0 else ", 0 or more"
            upto = "" if math.isinf(most) else f" and at most {most:g}"
            raise SettingsError(
                f"{name} of {things[at].id!r} is {given[at]!r}; give a finite number{least}{upto}"
            )
    return values if last is None else np.append(values, last)


def _outside(
    allowed: Iterable[tuple[str, ...]], traits: Sequence[str], option: I4, strict: bool = False
) -> B1:
    """Return the options [w, k] whose trait is none of those a workload allows.

    No demand allows all; a trait that is not known (empty) is allowed unless `strict`.
    """
    demands: dict[tuple[str, ...], int] = {}
    code = np.array([demands.setdefault(one, len(demands)) for one in allowed], dtype=np.int64)
    refused = np.zeros((max(1, len(demands)), len(traits) + 1), dtype=np.bool_)
    for demand, row in demands.items():
        if demand:
            refused[row, :-1] = [t not in demand and (strict or t != "") for t in traits]
    return np.asarray(refused[code[:, None], option])


def _options(workloads: Sequence[Workload], node_at: dict[str, int]) -> I4:
    """Return the nodes [w, k] of each workload, home first, each once; -1 beyond them."""
    named = [(workload.home, *workload.candidates) for workload in workloads]
    try:
        flat = np.array([node_at[name] for row in named for name in row], dtype=np.int32)
    except KeyError as missing:
        one = next(w for w in workloads if missing.args[0] in (w.home, *w.candidates))
        raise SettingsError(
            f"workload {one.id!r} names node {missing}, which is not in the inventory;"
            f" declare it under nodes, or name one of {sorted(node_at)[:5]}"
        ) from missing
    length = np.array([len(row) for row in named], dtype=np.int64)
    # width: the longest list of nodes, and `shed`
    option = np.full((len(named), int(length.max(initial=0)) + 1), -1, dtype=np.int32)
    option[np.arange(option.shape[1]) < length[:, None]] = flat
    ordered = np.sort(option, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    for row in np.flatnonzero(twice).tolist():
        once = list(dict.fromkeys(option[row, : length[row]].tolist()))
        option[row] = -1
        option[row, : len(once)] = once
    used = (option >= 0).sum(axis=1).max(initial=0)
    return np.ascontiguousarray(option[:, : used + 1])


def _refuse_twins(what: str, ids: list[str]) -> None:
    twins = sorted(name for name, times in Counter(ids).items() if times > 1)
    if twins:
        raise SettingsError(
            f"the inventory has more than one {what} called {twins[:5]}; name each once"
        )
