"""Conditions in, a placement problem out: who may run where, and what that costs an hour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.fleet.inventory import Inventory
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.placement.criteria import ABSENT, BIT, CRITERIA, EVICTS, TERMS, Options
from aiops.placement.risk import Firing, failure_risk
from aiops.placement.topology import MICRO, PlacementSettings, Topology, money, move_cost, resolve

Ids: TypeAlias = npt.NDArray[np.str_]

SECOND = 1_000_000_000
NEVER = np.iinfo(np.int64).min
"""Stands for a time that has not been."""


@dataclass(frozen=True)
class Conditions:
    """The last known state of each node of the inventory, in its order; NaN: unknown."""

    soc_ratio: F8
    on_mains: F8
    """1 on mains, 0 on battery; NaN: as the inventory declares."""
    temperature_c: F8
    rtt_ms: F8
    """From the node to the cloud."""
    loss_ratio: F8
    rssi_dbm: F8
    failure_risk: F8
    """Probability of failing within `criteria.HORIZON_H`, besides what findings tell."""
    cordoned: B1
    silent: B1
    """Not heard of for longer than its own rhythm explains."""
    age_s: F8
    """Time since the node last reported; NaN: it never did, as a cloud region."""

    @classmethod
    def unknown(cls, n: int) -> Conditions:
        """Return the conditions of `n` nodes of which nothing is known."""
        nan, no = np.full(n, np.nan), np.zeros(n, dtype=np.bool_)
        return cls(nan, nan, nan, nan, nan, nan, nan, no, no, nan)


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
    since_ts: I8
    """[w] when it came there, ns; `NEVER`: it has always been there."""
    ruled_out_ts: I8
    """[w, k] when an option was last ruled out, ns; `NEVER`: it never was."""
    plan_id: Ids
    """[1] of the last plan; empty before the first."""


def at_home(topology: Topology) -> PlacementMemory:
    """Return the memory of a fleet nothing was ever moved in."""
    w = len(topology.workload)
    return PlacementMemory(
        workload=np.array(topology.workload, dtype=np.str_),
        node=np.array(topology.node, dtype=np.str_),
        option=topology.option,
        choice=np.zeros(w, dtype=np.int32),
        since_ts=np.full(w, NEVER, dtype=np.int64),
        ruled_out_ts=np.full(topology.option.shape, NEVER, dtype=np.int64),
        plan_id=np.array([""], dtype=np.str_),
    )


@dataclass(frozen=True)
class PlacementProblem:
    """Options of each workload as struct of arrays, in micro-dollars per hour.

    Always feasible: `shed` is never ruled out, and workloads that are `held` fit where they are.
    """

    ts: int
    topology: Topology
    settings: PlacementSettings
    options: Options
    """[w, k] the facts the terms were made of."""
    mask_reason: I4
    """[w, k] bits of `criteria.BIT` that rule an option out; 0: admissible."""
    terms: I8
    """[w, k, c] one a name of `criteria.TERMS`; their sum is the cost."""
    move_cost: I8
    """[w, k] micro-dollars, once."""
    current: I4
    """[w] option where each workload is."""
    since_ts: I8
    """[w] when it came there, ns; `NEVER`: always."""
    ruled_out_ts: I8
    """[w, k] before this problem, ns."""
    held: B1
    """[w] stays: its dwell is not over, and nothing drives it out."""

    @property
    def node(self) -> I4:
        """[w, k] node of each option; -1: none, which for the last option means `shed`."""
        return self.topology.option

    @cached_property
    def cost(self) -> I8:
        """[w, k] micro-dollars per hour, moves aside."""
        return np.asarray(self.terms.sum(axis=2))

    @cached_property
    def effective(self) -> I8:
        """[w, k] cost with the move spread over the dwell: what a plan minimises.

        The next whole number above, so that a move which only just pays for itself is not made.
        """
        spread = self.move_cost * 3600 // int(self.settings.dwell_s) + 1
        return np.asarray(self.cost + np.where(self.move_cost > 0, spread, 0))

    @cached_property
    def open(self) -> B1:
        """[w, k] options that may be chosen, capacity aside."""
        admissible: B1 = self.mask_reason == 0
        rows = np.flatnonzero(self.held)
        admissible[rows] = False
        admissible[rows, self.current[rows]] = True
        return admissible


def pose(
    conditions: Conditions,
    findings: Iterable[Firing],
    inventory: Inventory,
    memory: PlacementMemory | None,
    now_ts: int,
    settings: PlacementSettings | None = None,
) -> PlacementProblem | None:
    """Return the problem that `conditions` pose at `now_ts`; None when nothing is to be placed.

    Args:
        conditions: of the nodes of `inventory`, in its order.
        findings: all that are firing now; they tell which nodes may fail soon.
        inventory: nodes and workloads.
        memory: of the last plan; None: every workload is at home and always was.
        now_ts: event time, ns.
        settings: what moves cost and how long they must pay.

    Raises
    ------
    SettingsError
        The inventory contradicts itself.
    """
    if not inventory.workloads:
        return None
    settings = settings or PlacementSettings()
    topology = resolve(inventory)
    memory = align(memory, topology)
    risk = failure_risk(findings, topology.node_at, now_ts)
    options = gather(conditions, risk, topology, memory, now_ts)
    mask = rule_out(options, topology.absent)
    current = memory.choice
    rows = np.arange(len(current))
    node = topology.option[rows, current]
    elapsed_ns = np.where(memory.since_ts == NEVER, np.inf, now_ts - memory.since_ts.astype(float))
    held = (elapsed_ns < settings.dwell_s * SECOND) & (mask[rows, current] == 0)
    held &= ~np.append(overfull(topology, node), False)[node]
    return PlacementProblem(
        ts=now_ts,
        topology=topology,
        settings=settings,
        options=options,
        mask_reason=mask,
        terms=price(options),
        move_cost=move_cost(topology, current, settings),
        current=current,
        since_ts=memory.since_ts,
        ruled_out_ts=memory.ruled_out_ts,
        held=held,
    )


def gather(
    conditions: Conditions, risk: F8, topology: Topology, memory: PlacementMemory, now_ts: int
) -> Options:
    """Return the facts of each option. What a stale or silent node last said counts as unknown.

    Otherwise the last reading before a node fell silent could drive its workloads out for ever:
    unreachable is not dead.
    """
    at, shape = topology.option, topology.option.shape
    stale = conditions.silent

    def known(values: F8) -> F8:
        return np.append(np.where(stale, np.nan, values), np.nan)

    def flags(values: B1) -> B1:
        return np.asarray(np.append(values, False)[at])

    def wide(values: Any) -> Any:
        return np.broadcast_to(values[:, None], shape)

    home = at[:, :1]
    rtt, loss = known(conditions.rtt_ms), known(conditions.loss_ratio)
    mains = known(conditions.on_mains)
    battery = np.where(np.isnan(mains), np.append(topology.on_battery, False), mains < 0.5)
    # The home measures its way to the cloud; farther regions lie a declared detour beyond.
    measured = rtt[home] + topology.detour_ms
    beyond = np.where(topology.remote & ~np.isnan(measured), measured, topology.rtt_ms)
    arriving = np.ones(shape, dtype=np.bool_)
    arriving[np.arange(shape[0]), memory.choice] = False
    never = memory.ruled_out_ts == NEVER
    well_s = np.where(never, np.inf, (now_ts - np.where(never, 0, memory.ruled_out_ts)) / SECOND)
    own = np.nan_to_num(conditions.failure_risk)
    return Options(
        value=wide(topology.value),
        cpu_cores=wide(topology.cpu / MICRO),
        memory_gb=wide(topology.memory / MICRO),
        slo_ms=wide(topology.slo_ms),
        shed=topology.shed,
        away=topology.away,
        arriving=arriving & ~topology.shed,
        soc_ratio=known(conditions.soc_ratio)[at],
        on_battery=np.asarray(battery)[at],
        temperature_c=known(conditions.temperature_c)[at],
        limit_c=np.append(topology.limit_c, np.inf)[at],
        rtt_ms=np.where(topology.away, beyond, 0.0),
        # Everything that leaves crosses the home's uplink, and the node's own when that is remote.
        loss_ratio=np.fmax(loss[home], np.where(topology.remote, loss[at], np.nan)),
        rssi_dbm=np.broadcast_to(known(conditions.rssi_dbm)[home], shape),
        failure_risk=np.append(1.0 - (1.0 - own) * (1.0 - risk), 0.0)[at],
        price=np.append(topology.price, 0.0)[at],
        node_cores=np.append(topology.node_cpu / MICRO, np.inf)[at],
        node_gb=np.append(topology.node_memory / MICRO, np.inf)[at],
        silent=flags(conditions.silent),
        age_s=np.append(conditions.age_s, np.nan)[at],
        cordoned=flags(conditions.cordoned),
        well_s=well_s,
    )


def price(options: Options) -> I8:
    """Return the terms [w, k, c] of `options`, in the order of `criteria.TERMS`."""
    terms = np.empty((*options.shed.shape, len(TERMS)), dtype=np.int64)
    for c, name in enumerate(TERMS):
        judge = CRITERIA[name].cost
        assert judge is not None
        terms[:, :, c] = money(judge(options))
    return terms


def rule_out(options: Options, absent: B1) -> I4:
    """Return the bits [w, k] of the criteria that rule an option out."""
    mask = np.where(absent, ABSENT, 0).astype(np.int32)
    for name, bit in BIT.items():
        veto = CRITERIA[name].blocks
        assert veto is not None
        mask[veto(options) & ~absent] |= bit
    return mask


def overfull(topology: Topology, node: I4) -> B1:
    """Return the nodes [m] that cannot hold all that is at `node` [w]."""
    m = len(topology.node)
    cpu, memory = demand(topology.cpu, node, m), demand(topology.memory, node, m)
    return np.asarray((cpu > topology.node_cpu) | (memory > topology.node_memory))


def demand(amount: I8, node: I4, m: int) -> I8:
    """Return the sum [m] of `amount` [w] over the workloads at each node; -1 is nowhere."""
    total = np.zeros(m + 1, dtype=np.int64)
    np.add.at(total, node, amount)
    return total[:m]


def align(memory: PlacementMemory | None, topology: Topology) -> PlacementMemory:
    """Return `memory` in the rows of `topology`; workloads it does not know are at home.

    A workload whose place is no longer among its options is taken to be at home as well.
    """
    fresh = at_home(topology)
    if memory is None:
        return fresh
    if (
        np.array_equal(memory.workload, fresh.workload)
        and np.array_equal(memory.node, fresh.node)
        and np.array_equal(memory.option, fresh.option)
    ):
        return memory
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
            fresh.ruled_out_ts[row, k] = memory.ruled_out_ts[before, known]
            if known == memory.choice[before]:
                fresh.choice[row] = k
                fresh.since_ts[row] = memory.since_ts[before]
    return fresh._replace(plan_id=memory.plan_id)


def remembered(problem: PlacementProblem, choice: I4, plan_id: str) -> PlacementMemory:
    """Return the memory of a fleet in which `choice` [w] was made at the problem's time."""
    driven_out = (problem.mask_reason & EVICTS) != 0
    return PlacementMemory(
        workload=np.array(problem.topology.workload, dtype=np.str_),
        node=np.array(problem.topology.node, dtype=np.str_),
        option=problem.topology.option,
        choice=choice,
        since_ts=np.where(choice == problem.current, problem.since_ts, problem.ts),
        ruled_out_ts=np.where(driven_out, problem.ts, problem.ruled_out_ts),
        plan_id=np.array([plan_id], dtype=np.str_),
    )
