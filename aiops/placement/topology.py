"""The inventory as arrays: who may run where, what that asks for and what moving there costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiops.errors import SettingsError
from aiops.fleet.inventory import Inventory, Node, Workload
from aiops.kernels.rows import B1, F8, I4, I8

MICRO = 1_000_000
"""Cores and GB are held as whole millionths: exact sums, whatever the order."""


@dataclass(frozen=True)
class PlacementSettings:
    """What a move costs and how long it must pay. Money is in micro-dollars."""

    dwell_s: float = 1800.0
    """A workload that moved stays so long, and a move must pay for itself within it."""
    fixed_cost: float = 10.0
    """Of any move, so that no move is free."""
    downtime_s: float = 60.0
    """Of a workload while it moves, besides the transfer of its state."""
    transfer_mbit_s: float = 100.0
    egress_per_gb: float = 90_000.0
    """Of state that leaves its site."""

    def __post_init__(self) -> None:
        bounds = {
            "dwell_s": (60.0, 7 * 86400.0),
            "fixed_cost": (1.0, 1e9),
            "downtime_s": (0.0, 86400.0),
            "transfer_mbit_s": (0.001, 1e6),
            "egress_per_gb": (0.0, 1e9),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsError(f"placement.{name} is {value!r}; give {low:g} to {high:g}")


@dataclass(frozen=True)
class Topology:
    """The inventory in the sparse shape [w, k]: option 0 is home, the last is `shed`.

    Between them stand the candidates in the inventory's order, padded with options that do not
    exist (node -1 and `absent`).
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
    rtt_ms: F8
    """[w, k] declared round trip; NaN: none declared."""
    detour_ms: F8
    """[w, k] how much farther than the nearest cloud region of all, as declared."""
    value: F8
    """[w] micro-dollars per hour."""
    slo_ms: F8
    """[w]"""
    state_gb: F8
    """[w]"""
    cpu: I8
    """[w] millionths of a core."""
    memory: I8
    """[w] millionths of a GB."""
    node_cpu: I8
    """[m] millionths of a core."""
    node_memory: I8
    """[m] millionths of a GB."""
    price: F8
    """[m] micro-dollars per core and hour."""
    limit_c: F8
    """[m]"""
    on_battery: B1
    """[m] as declared."""


def resolve(inventory: Inventory) -> Topology:
    """Return `inventory` as arrays.

    Raises
    ------
    SettingsError
        A workload names a node that is not in the inventory, an id occurs twice, or a number
        is negative, not finite, or an SLO is not above zero.
    """
    nodes, workloads = inventory.nodes, inventory.workloads
    node_at = {node.id: at for at, node in enumerate(nodes)}
    _refuse_twins("node", [node.id for node in nodes])
    _refuse_twins("workload", [workload.id for workload in workloads])
    _refuse_numbers(nodes, ("cpu_cores", "memory_gb", "rtt_ms", "price_per_core_hour"))
    _refuse_numbers(workloads, ("cpu_cores", "memory_gb", "value_per_hour", "state_gb"))
    _refuse_numbers(workloads, ("latency_slo_ms",), above=0.0)
    places = [_places(workload, node_at) for workload in workloads]
    # width: the longest list of nodes, and `shed`
    width = max(map(len, places), default=0) + 1
    padded = [row + [-1] * (width - len(row)) for row in places]
    option = np.array(padded, dtype=np.int32).reshape(len(workloads), width)
    shed = np.zeros(option.shape, dtype=np.bool_)
    shed[:, -1] = True

    # The last entry of each array of nodes stands for option -1.
    codes: dict[str, int] = {}
    site = np.array([codes.setdefault(node.site, len(codes)) for node in nodes] + [-1])
    cloud = np.array([node.kind == "cloud" for node in nodes] + [False])
    rtt = np.array([node.rtt_ms for node in nodes] + [math.nan])
    home = option[:, :1] if len(workloads) else option
    nearest = rtt[cloud].min() if cloud.any() else 0.0
    return Topology(
        workload=tuple(workload.id for workload in workloads),
        node=tuple(node.id for node in nodes),
        node_site=tuple(node.site for node in nodes),
        node_cohort=tuple(node.cohort for node in nodes),
        node_at=node_at,
        option=option,
        absent=(option < 0) & ~shed,
        shed=shed,
        away=(option >= 0) & (option != home),
        remote=(option >= 0) & (option != home) & (cloud[option] | (site[option] != site[home])),
        rtt_ms=rtt[option],
        detour_ms=np.nan_to_num(np.maximum(0.0, rtt - nearest))[option],
        value=np.array([workload.value_per_hour for workload in workloads]),
        slo_ms=np.array([workload.latency_slo_ms for workload in workloads]),
        state_gb=np.array([workload.state_gb for workload in workloads]),
        cpu=_millionths([workload.cpu_cores for workload in workloads]),
        memory=_millionths([workload.memory_gb for workload in workloads]),
        node_cpu=_millionths([node.cpu_cores for node in nodes]),
        node_memory=_millionths([node.memory_gb for node in nodes]),
        price=np.array([node.price_per_core_hour for node in nodes]),
        limit_c=np.array([node.temperature_limit_c for node in nodes]),
        on_battery=np.array([node.on_battery for node in nodes], dtype=np.bool_),
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
    egress = np.where(crosses, (topology.state_gb * settings.egress_per_gb)[:, None], 0.0)
    cost = settings.fixed_cost + np.where(topology.shed, 0.0, idle[:, None] + egress)
    cost[rows, current] = 0.0
    return money(cost)


def money(cost: F8) -> I8:
    """Return micro-dollars as whole numbers, bounded so that no sum overflows."""
    return np.rint(np.clip(cost, 0.0, 2.0**40)).astype(np.int64)


def _millionths(values: list[float]) -> I8:
    return np.rint(np.array(values, dtype=np.float64) * MICRO).astype(np.int64)


def _places(workload: Workload, node_at: dict[str, int]) -> list[int]:
    """Return the nodes of a workload, home first, each once."""
    try:
        return list(
            dict.fromkeys([node_at[workload.home], *(node_at[c] for c in workload.candidates)])
        )
    except KeyError as missing:
        raise SettingsError(
            f"workload {workload.id!r} names node {missing}, which is not in the inventory;"
            f" declare it under nodes, or name one of {sorted(node_at)[:5]}"
        ) from missing


def _refuse_numbers(
    things: Sequence[Node] | Sequence[Workload], names: tuple[str, ...], above: float = -1e-300
) -> None:
    for name in names:
        values = np.array([getattr(thing, name) for thing in things], dtype=np.float64)
        wrong = np.flatnonzero(~((values > above) & (values < np.inf)))
        if len(wrong):
            thing = things[int(wrong[0])]
            least = "more than 0" if above == 0.0 else "0 or more"
            raise SettingsError(
                f"{name} of {thing.id!r} is {getattr(thing, name)!r}; give a finite number, {least}"
            )


def _refuse_twins(what: str, ids: list[str]) -> None:
    twins = sorted(name for name, times in Counter(ids).items() if times > 1)
    if twins:
        raise SettingsError(
            f"the inventory has more than one {what} called {twins[:5]}; name each once"
        )
