"""Conditions in, a placement problem out: who may run where, and what that costs an hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from aiops.fleet.inventory import Inventory
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.kernels.work import Work
from aiops.placement import stability
from aiops.placement.conditions import Conditions, believed
from aiops.placement.criteria import (
    ABSENT,
    BIT,
    CRITERIA,
    FRESH_S,
    TERMS,
    spare_watts,
)
from aiops.placement.instance import CLOSED, UNLIMITED, Instance
from aiops.placement.options import Nodes, Options, Some, gather, nodes_of
from aiops.placement.risk import Firing, failure_risk, threats
from aiops.placement.topology import (
    Ids,
    PlacementSettings,
    Topology,
    millionths,
    money,
    move_cost,
    resolve,
)

SECOND = 1_000_000_000
NEVER = np.iinfo(np.int64).min
"""Stands for a time that has not been."""
CHUNK = 8192
"""Workloads judged at once: what is computed of them fits the cache."""


class PlacementMemory(NamedTuple):
    """What placement carries from one plan to the next; arrays only, rows by id.

    Ids and not indices, because an inventory may change between a checkpoint and its restart.
    """

    workload: Ids
    """[w]"""
    node: Ids
    """[m]"""
    option: I4
    """[w, k] index into `node`; -1: none, in the last column `shed`."""
    choice: I4
    """[w] option where each workload is."""
    owed: F8
    """[w, k] as in `kernels.work.Work`; so the next five."""
    level: F8
    """[w, k]"""
    spent: F8
    """[w]"""
    least: F8
    """[w]"""
    beyond: F8
    """[w]"""
    barred_h: F8
    """[w, k]"""
    ts: I8
    """[1] of the last plan, ns; `NEVER`: there was none."""
    prices: F8
    """[r] of the shared rows of the last instance; empty where that was another."""
    plan_id: Ids
    """[1] of the last plan; empty before the first."""


def at_home(topology: Topology) -> PlacementMemory:
    """Return the memory of a fleet nothing was ever moved in."""
    w = len(topology.workload)
    return PlacementMemory(
        workload=topology.workload_ids,
        node=topology.node_ids,
        option=topology.option,
        choice=np.zeros(w, dtype=np.int32),
        **stability.unknown(topology.option.shape)._asdict(),
        ts=np.array([NEVER], dtype=np.int64),
        prices=np.empty(0),
        plan_id=np.array([""], dtype=np.str_),
    )


@dataclass(frozen=True)
class PlacementProblem:
    """Options of each workload as struct of arrays, in micro-dollars per hour.

    Workloads stand by home. Always feasible: `shed` is never ruled out, and workloads that are
    `held` fit where they are.
    """

    ts: int
    topology: Topology
    settings: PlacementSettings
    nodes: Nodes
    """What is known of the nodes; the facts of options are gathered from it."""
    node_power: I8
    """[m] millionths of a watt that the workloads of a node may draw together; `UNLIMITED`."""
    doubtful: int
    """Conditions that could not be true, and were taken as unknown."""
    mask_reason: I4
    """[w, k] bits of `criteria.BIT` that rule an option out; 0: admissible."""
    cost: I8
    """[w, k] micro-dollars per hour, moves aside: the sum of the terms."""
    move_cost: I8
    """[w, k] micro-dollars, once."""
    current: I4
    """[w] option where each workload is."""
    bias: I8
    """[w, k] micro-dollars per hour that a move must overcome: what `stability` asks of it."""
    work: Work
    """What `bias` was made of."""
    held: B1
    """[w] stays: its place is silent, and nothing drives it out."""
    threats: Mapping[int, str] = field(default_factory=dict)
    """Node -> why it may fail soon, in one sentence."""

    @property
    def node(self) -> I4:
        """[w, k] node of each option; -1: none, which for the last option means `shed`."""
        return self.topology.option

    @cached_property
    def effective(self) -> I8:
        """[w, k] cost and bias: what a plan minimises."""
        return np.asarray(self.cost + self.bias)

    @cached_property
    def open(self) -> B1:
        """[w, k] options that may be chosen, capacity aside."""
        admissible: B1 = self.mask_reason == 0
        rows = np.flatnonzero(self.held)
        admissible[rows] = False
        admissible[rows, self.current[rows]] = True
        return admissible

    @cached_property
    def options(self) -> Options:
        """[w, k] the facts of all options: large. `options_of` gathers those of some workloads."""
        return self.options_of(slice(None))

    @cached_property
    def terms(self) -> I8:
        """[w, k, c] one a name of `criteria.TERMS`: large. `terms_of` makes those of a workload."""
        return price(self.options)

    @cached_property
    def instance(self) -> Instance:
        """All workloads as the solver reads them."""
        return as_instance(self)

    @cached_property
    def free(self) -> tuple[Instance, I4]:
        """Those that are free to move, and their rows."""
        return freed(self)

    def options_of(self, rows: Some) -> Options:
        """Return the facts of the options of some workloads."""
        return gather(self.topology, self.nodes, self.current, rows)

    def terms_of(self, i: int) -> I8:
        """Return the terms [k, c] of workload `i`; along k they sum to its cost."""
        terms: I8 = price(self.options_of(slice(i, i + 1)))[0]
        return terms

    def priced(self, i: int, nodes: Nodes) -> I8:
        """Return what the options [k] of workload `i` would cost the solver at other `nodes`."""
        options = gather(self.topology, nodes, self.current, slice(i, i + 1))
        mask = rule_out(options, self.topology.absent[i : i + 1])[0]
        admissible = (mask == 0) | self.topology.shed[i]
        return np.where(admissible, total(options)[0] + self.bias[i], CLOSED)

    def altered(self, nodes: Nodes, where: B1) -> PlacementProblem:
        """Return the problem as it would be if the nodes were so.

        What a move must overcome stays as it is: it comes from the past.

        Args:
            nodes: what would be known of them.
            where: [m] true where that is other than it is; only options there, and of those whose
                home is there, are judged anew.
        """
        there, clouds = np.append(where, False), self.topology.clouds
        # how far a region is goes by the nearest of all
        there[clouds] |= (nodes.declared_rtt_ms != self.nodes.declared_rtt_ms)[clouds].any()
        rows = np.flatnonzero(there[self.topology.option].any(axis=1)).astype(np.int32)
        options = gather(self.topology, nodes, self.current, rows)
        cost, mask = self.cost.copy(), self.mask_reason.copy()
        cost[rows] = total(options)
        mask[rows] = rule_out(options, self.topology.absent[rows])
        power = power_of(nodes)
        held = out_of_reach(self.topology, nodes, power, self.current, mask)
        return replace(self, cost=cost, mask_reason=mask, nodes=nodes, node_power=power, held=held)


def pose(
    conditions: Conditions,
    findings: Iterable[Firing],
    inventory: Inventory | Topology,
    memory: PlacementMemory | None,
    now_ts: int,
    settings: PlacementSettings | None = None,
) -> PlacementProblem | None:
    """Return the problem that `conditions` pose at `now_ts`; None when nothing is to be placed.

    Args:
        conditions: of the nodes of `inventory`, in its order.
        findings: all that are firing now; they tell which nodes may fail soon.
        inventory: nodes and workloads, or what `resolve` made of them.
        memory: of the last plan; None: every workload is at home and always was.
        now_ts: event time, ns.
        settings: what moves cost and how long they must pay.

    Raises
    ------
    SettingsError
        The inventory contradicts itself.
    """
    topology = resolve(inventory) if isinstance(inventory, Inventory) else inventory
    if not topology.workload:
        return None
    settings = settings or PlacementSettings()
    memory = align(memory, topology)
    findings = tuple(findings)
    conditions, doubtful = believed(conditions, FRESH_S)
    nodes = nodes_of(topology, conditions, failure_risk(findings, topology.node_at, now_ts))
    current = memory.choice
    cost = np.empty(topology.option.shape, dtype=np.int64)
    mask = np.empty(topology.option.shape, dtype=np.int32)
    for start in range(0, len(current), CHUNK):
        rows = slice(start, start + CHUNK)
        options = gather(topology, nodes, current, rows)
        cost[rows] = total(options)
        mask[rows] = rule_out(options, topology.absent[rows])
    node_power = power_of(nodes)
    move = move_cost(topology, current, settings)
    since_ts = int(memory.ts[0])
    work, bias = stability.advance(
        Work(*(getattr(memory, name) for name in Work._fields)),
        np.where(mask == 0, cost, cost[:, -1:]),  # who may not run loses what it is worth
        mask == 0,
        move,
        current,
        0.0 if since_ts == NEVER else (now_ts - since_ts) / SECOND,
        settings.horizon_s,
    )
    return PlacementProblem(
        ts=now_ts,
        topology=topology,
        settings=settings,
        nodes=nodes,
        node_power=node_power,
        doubtful=doubtful,
        mask_reason=mask,
        cost=cost,
        move_cost=move,
        current=current,
        bias=bias,
        work=work,
        held=out_of_reach(topology, nodes, node_power, current, mask),
        threats=threats(findings, topology.node_at, now_ts),
    )


def price(options: Options) -> I8:
    """Return the terms [w, k, c] of `options`, in the order of `criteria.TERMS`."""
    terms = np.empty((*options.shed.shape, len(TERMS)), dtype=np.int64)
    for c, name in enumerate(TERMS):
        judge = CRITERIA[name].cost
        assert judge is not None
        terms[:, :, c] = money(judge(options))
    return terms


def total(options: Options) -> I8:
    """Return the sum [w, k] of the terms of `options`, without holding them all."""
    cost = np.zeros(options.shed.shape, dtype=np.int64)
    for name in TERMS:
        judge = CRITERIA[name].cost
        assert judge is not None
        cost += money(judge(options))
    return cost


def rule_out(options: Options, absent: B1) -> I4:
    """Return the bits [w, k] of the criteria that rule an option out; nothing rules out shed."""
    mask = np.where(absent, ABSENT, 0).astype(np.int32)
    exists = ~absent & ~options.shed
    for name, bit in BIT.items():
        veto = CRITERIA[name].blocks
        assert veto is not None
        mask[veto(options) & exists] |= bit
    return mask


def power_of(nodes: Nodes) -> I8:
    """Return what the workloads of each node [m] may draw together, in millionths of a watt."""
    unknown = np.full(len(nodes.rtt_ms), np.nan)
    each = Options(**{name: nodes.here.get(name, unknown) for name in Options._fields})
    return millionths(spare_watts(each)[:-1])


def out_of_reach(topology: Topology, nodes: Nodes, node_power: I8, current: I4, mask: I4) -> B1:
    """Return the workloads [w] whose node is silent: unreachable is not dead.

    Not those that something drives out, nor those at a node that cannot hold all it has.
    """
    rows = np.arange(len(current))
    node = topology.option[rows, current]
    silent: B1 = nodes.here["silent"][node] & (mask[rows, current] == 0)
    return np.asarray(silent & ~np.append(overfull(topology, node_power, node), False)[node])


def overfull(topology: Topology, node_power: I8, node: I4) -> B1:
    """Return the nodes [m] that cannot hold all that is at `node` [w]."""
    m = len(topology.node)
    return np.asarray(
        (demand(topology.cpu, node, m) > topology.node_cpu)
        | (demand(topology.memory, node, m) > topology.node_memory)
        | (demand(topology.power, node, m) > node_power)
    )


def demand(amount: I8, node: I4, m: int) -> I8:
    """Return the sum [m] of `amount` [w] over the workloads at each node; -1 is nowhere."""
    total = np.zeros(m + 1, dtype=np.int64)
    np.add.at(total, node, amount)
    return total[:m]


def as_instance(problem: PlacementProblem) -> Instance:
    """Return what the solver reads of `problem`, workloads in the same rows."""
    topology, ground = problem.topology, problem.topology.ground
    each = np.stack([topology.node_cpu, topology.node_memory, problem.node_power], axis=1)
    own = ground.node[ground.block[:-1], 0] < 0
    homes = topology.option[ground.block[:-1], 0]
    return replace(
        ground,
        cost=np.where(problem.open | topology.shed, problem.effective, CLOSED),
        room=np.where(own[:, None], each[homes], UNLIMITED),
        capacity=np.concatenate([each[topology.shared].ravel(), topology.uplink_capacity]),
    )


def freed(problem: PlacementProblem) -> tuple[Instance, I4]:
    """Return the workloads that are free to move as an instance, and their rows in `problem`.

    What is held has its room taken off beforehand.
    """
    whole, held = problem.instance, problem.held
    rows = np.flatnonzero(~held).astype(np.int32)
    if len(rows) == len(held):
        return whole, rows
    nowhere = whole.cost.shape[1] - 1
    at_home, shared = whole.usage(np.where(held, problem.current, nowhere).astype(np.int32))
    homes = np.bincount(whole.home[rows], minlength=len(whole.room))
    instance = Instance(
        block=np.append(0, np.cumsum(homes)).astype(np.int32),
        cost=whole.cost[rows],
        node=whole.node[rows],
        uplink=whole.uplink[rows],
        demand=whole.demand[rows],
        room=np.where(whole.room < UNLIMITED, whole.room - at_home, UNLIMITED),
        capacity=np.where(whole.capacity < UNLIMITED, whole.capacity - shared, UNLIMITED),
        nodes=whole.nodes,
    )
    return instance, rows


def align(memory: PlacementMemory | None, topology: Topology) -> PlacementMemory:
    """Return `memory` in the rows of `topology`; workloads it does not know are at home.

    A workload whose place is no longer among its options is taken to be at home as well.
    """
    if memory is not None and (
        np.array_equal(memory.workload, topology.workload_ids)
        and np.array_equal(memory.node, topology.node_ids)
        and np.array_equal(memory.option, topology.option)
    ):
        return memory
    fresh = at_home(topology)
    if memory is None:
        return fresh
    row_at = {name: row for row, name in enumerate(memory.workload.tolist())}
    names = [*memory.node.tolist(), ""]
    for row, name in enumerate(topology.workload):
        before = row_at.get(name)
        if before is None:
            continue
        # Both lists end in `shed`, which is the one option without a node that is not padding.
        old = {names[at]: k for k, at in enumerate(memory.option[before].tolist())}
        for k, at in enumerate(topology.option[row].tolist()):
            known = (
                None if topology.absent[row, k] else old.get(topology.node[at] if at >= 0 else "")
            )
            if known is None:
                continue
            fresh.owed[row, k] = memory.owed[before, known]
            fresh.level[row, k] = memory.level[before, known]
            fresh.barred_h[row, k] = memory.barred_h[before, known]
            if known == memory.choice[before]:
                fresh.choice[row] = k
        fresh.spent[row], fresh.least[row] = memory.spent[before], memory.least[before]
    return fresh._replace(ts=memory.ts, plan_id=memory.plan_id)


def remembered(problem: PlacementProblem, choice: I4, prices: F8, plan_id: str) -> PlacementMemory:
    """Return the memory of a fleet in which `choice` [w] was made at the problem's time."""
    work = stability.moved(
        problem.work,
        problem.current,
        choice,
        problem.mask_reason == 0,
        problem.move_cost,
        problem.settings.horizon_s,
    )
    return PlacementMemory(
        workload=problem.topology.workload_ids,
        node=problem.topology.node_ids,
        option=problem.topology.option,
        choice=choice,
        **work._asdict(),
        ts=np.array([problem.ts], dtype=np.int64),
        prices=prices,
        plan_id=np.array([plan_id], dtype=np.str_),
    )
