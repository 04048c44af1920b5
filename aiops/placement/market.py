"""Prices for what is shared, a plan from them, and a bound that says how good it is."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np

from aiops.kernels import blocks, exact, repair
from aiops.kernels.rows import F8, I4, I8
from aiops.placement.ascent import Ascent
from aiops.placement.instance import CLOSED, MICRO, UNLIMITED, Instance

COVER = 0.7
"""Share of the excess held by the homes whose workloads are sought better places."""
RISE = 0.1
"""Of the gap that is good enough: what the bound must rise for prices to climb on."""
NUDGE = 0.05
"""First step of prices that were good a moment ago."""
FEW = 16
"""Workloads up to which all choices that could be better are looked at."""
BRANCHES = 200_000
"""So many of them at most."""
SEED = 20_221
"""Of the fixed sequence of numbers that a search tries things by."""


@dataclass(frozen=True)
class Effort:
    """Where the solver stops: never by the clock, so that a replay decides alike."""

    gap: float = 2e-4
    """Good enough: certified distance from the best, as a share."""
    rounds: int = 160
    """Of the ascent of prices, each over all homes, at most."""
    searches: int = 36
    """For better places, at most."""
    trials: int = 8
    """For each workload that is looked at in a search."""
    heat: float = 1.0
    """How much dearer a trial may be at first, as a share of what a workload looked at could gain
    on average."""


WARM = Effort(gap=1e-3, rounds=12, searches=6, heat=0.3)
"""From prices and places that were good a moment ago."""


DRIFTED = 0.01
"""Gap beyond which prices that were good once are given up and sought afresh."""


@dataclass(frozen=True)
class Settlement:
    """A feasible choice with its certificate."""

    choice: I4
    """[w]"""
    prices: F8
    """[r] micro-dollars per hour and unit of each shared row."""
    cost: int
    """Micro-dollars per hour."""
    bound: int
    """No feasible choice is cheaper."""

    @property
    def gap(self) -> float:
        """How much dearer than the bound, as a share of it."""
        return (self.cost - self.bound) / self.bound if self.bound > 0 else float(self.cost > 0)


class Market:
    """Prices, what every home would do at them, and a feasible choice beside that.

    All of it follows from the instance, the prices and the choice: a market made anew from those
    three goes on as this one does.
    """

    def __init__(self, instance: Instance, prices: F8 | None = None) -> None:
        self.instance = instance
        w, k = instance.cost.shape
        self._all = np.arange(w, dtype=np.int32)
        self._rank = np.empty((w, k), dtype=np.int8)
        blocks.rank_options(instance.cost, self._all, self._rank)
        self._homes = np.arange(len(instance.room), dtype=np.int32)
        self.prices = np.zeros(len(instance.capacity)) if prices is None else prices.copy()
        self.wish = np.full(w, k - 1, dtype=np.int32)
        """[w] what is best for each home at `prices`; it may break what is shared."""
        self._usage = np.zeros_like(instance.capacity)
        self._term = np.zeros(len(instance.room), dtype=np.int64)
        self._price(self._homes)
        self.choice = np.full(w, k - 1, dtype=np.int32)
        """[w] a feasible choice."""
        start = np.zeros(instance.nodes + len(instance.room) + 1, dtype=np.int64)
        self._places = repair.Places(
            instance.cost,
            instance.node,
            instance.uplink,
            instance.home,
            instance.demand,
            instance.nodes,
            start,
        )
        repair.candidates(self._places)
        self._free, self._pipe = self._left(self.choice)
        self._room = instance.room.copy()

    @property
    def bound(self) -> float:
        """What no choice is cheaper than."""
        return self._bound(self.prices, self._term)

    @property
    def cost(self) -> int:
        """What the choice costs."""
        return self.instance.total(self.choice)

    def settled(self) -> Settlement:
        """Return where the market stands."""
        return Settlement(self.choice.copy(), self.prices.copy(), self.cost, math.ceil(self.bound))

    def climb(self, effort: Effort, step: float = 1.0) -> None:
        """Move to prices with a higher bound; `step` as `Ascent` takes it."""
        ascent, best = Ascent(self.instance, self.prices, step), self.bound
        term, usage, wish = self._term.copy(), self._usage.copy(), self.wish.copy()
        homes = self._in_doubt()
        for _ in range(effort.rounds):
            if ascent.stalls(best, RISE * effort.gap * abs(best)):
                break
            prices = ascent.step(usage)
            if prices is None:
                break
            self._solve(homes, prices, usage, wish, term)
            bound = self._bound(prices, term)
            if bound > best:
                best, self.prices = bound, prices.copy()
                self._term, self._usage, self.wish = term.copy(), usage.copy(), wish.copy()

    def take(self, choice: I4) -> None:
        """Take `choice` [w], made feasible: the least regretted leave what is over."""
        one = self.instance
        nowhere = one.cost.shape[1] - 1
        shut = one.cost[np.arange(len(choice)), choice] == CLOSED
        self.choice = np.where(shut, nowhere, choice).astype(np.int32)
        self._free, self._pipe = self._left(self.choice)
        self._fit(self._all)

    def fork(self) -> Market:
        """Return a market that stands where this one does and goes its own way."""
        other = copy.copy(self)
        own = ("prices", "wish", "choice", "_rank", "_usage", "_term", "_free", "_pipe", "_room")
        for name in own:
            setattr(other, name, getattr(self, name).copy())
        return other

    def change(self, instance: Instance, homes: I4) -> None:
        """Go on with an instance that differs in costs and rooms of `homes`, and in capacities.

        Its arrays may be those of the present one, written to; not that of capacities. The choice
        is as it was, and may break what is different: `keep` or `want` comes next.
        """
        blocks.rank_options(instance.cost, rows_of(instance.block, homes), self._rank)
        self._places = self._places._replace(cost=instance.cost)
        if instance.capacity is not self.instance.capacity:
            more = instance.capacity - self.instance.capacity
            self._free[: instance.nodes] += more[: 3 * instance.nodes].reshape(-1, 3)
            self._pipe += more[3 * instance.nodes :]
        self.instance = instance
        self._price(homes)
        self._free[instance.nodes + homes] += instance.room[homes] - self._room[homes]
        self._room[homes] = instance.room[homes]

    def keep(self, homes: I4) -> None:
        """Leave everybody at `homes` where they are, if they may and nothing cheaper has room."""
        rows = rows_of(self.instance.block, homes)
        at = self.choice[rows]
        shut = self.instance.cost[rows, at] == CLOSED
        self._go(rows, np.where(shut, self.instance.cost.shape[1] - 1, at))

    def want(self, homes: I4) -> None:
        """Give everybody at `homes` what is best for them at the prices, and make that fit."""
        rows = rows_of(self.instance.block, homes)
        self._go(rows, self.wish[rows])

    def refresh(self, instance: Instance, homes: I4, effort: Effort | None = None) -> None:
        """Settle again when `homes` have changed, with work in proportion to what they are."""
        effort = effort or WARM
        before = self.choice.copy()
        self.change(instance, homes)
        self.want(homes)
        self._improve(effort, homes, before)

    def follow(self, instance: Instance, homes: I4) -> None:
        """Settle again when `homes` have changed a little; nobody moves for no gain.

        What was good enough before the change is good enough after it.
        """
        was = self.cost - self.bound
        before = self.choice.copy()
        self.change(instance, homes)
        wanted = self.fork()
        wanted.want(homes)
        self.keep(homes)
        if wanted.cost < self.cost:
            self.choice, self._free, self._pipe = wanted.choice, wanted._free, wanted._pipe
        # where there is room now, anybody may come
        repair.descend(self._places, self._rank, self._all, self._free, self._pipe, self.choice)
        gap = max(WARM.gap, was / max(self.bound, 1.0) + RISE * WARM.gap)
        self._improve(replace(WARM, gap=gap), homes, before)

    def _improve(self, effort: Effort, homes: I4, before: I4) -> None:
        """Look for cheaper places of `homes` and of who is not where he was `before`; then all."""
        moved = self.instance.home[np.flatnonzero(self.choice != before)]
        self.search(effort, np.union1d(homes, moved).astype(np.int32))
        if self.cost - self.bound > effort.gap * self.bound:
            # well below, so that it is not the same again the next time
            well = replace(effort, gap=0.5 * effort.gap)
            self.climb(well, NUDGE)
            self.search(well)

    def enumerate(self) -> bool:
        """Make the choice the best there is; return whether that is proven: for a few workloads."""
        one = self.instance
        row, capacity = as_rows(one)
        ranked = np.take_along_axis(one.cost, self._rank.astype(np.intp), axis=1)
        # who has most to lose is asked first
        order = np.argsort(ranked[:, 0] - np.minimum(ranked[:, 1], ranked[:, 0] + 2**40))
        choice = self.choice.copy()
        proven = exact.improve(
            one.cost,
            row,
            one.demand,
            capacity,
            self._rank,
            order.astype(np.int32),
            BRANCHES,
            choice,
        )
        self.choice = choice
        self._free, self._pipe = self._left(choice)
        return proven

    def search(self, effort: Effort, homes: I4 | None = None) -> None:
        """Look for cheaper places until the gap is small enough; never ends dearer.

        Args:
            effort: when to stop.
            homes: look there only; None: wherever something is to be gained.
        """
        state = np.array([SEED], dtype=np.int64)
        bound, cost = self.bound, self.cost
        choice, free, pipe = self.choice.copy(), self._free.copy(), self._pipe.copy()
        least = cost
        excess = np.zeros(len(self.instance.room))
        rows = self._all if homes is None else rows_of(self.instance.block, homes)
        for _ in range(effort.searches):
            if least - bound <= effort.gap * bound:
                break
            self._excess(self._homes if homes is None else homes, choice, excess)
            core = self._core(excess)
            if not len(core):
                break
            heat = effort.heat * max(0.0, float(excess.sum())) / len(core)
            cost -= repair.recreate(
                self._places, core, effort.trials * len(core), heat, free, pipe, choice, state
            )
            cost -= repair.descend(self._places, self._rank, rows, free, pipe, choice)
            if cost < least:
                least, self.choice = cost, choice.copy()
                self._free, self._pipe = free.copy(), pipe.copy()

    def _go(self, rows: I4, to: I4) -> None:
        """Move the workloads `rows` to the options `to` [rows], and make that fit."""
        self._shift(rows, 1)
        self.choice[rows] = to
        self._shift(rows, -1)
        self._fit(rows)

    def _fit(self, rows: I4) -> None:
        repair.fit(self._places, self.prices, self._free, self._pipe, self.choice)
        repair.descend(self._places, self._rank, rows, self._free, self._pipe, self.choice)

    def _core(self, excess: F8) -> I4:
        """Return the workloads of the homes that hold most of the `excess` [d]."""
        some = np.flatnonzero(excess > 0.5)
        order = some[np.argsort(-excess[some], kind="stable")]
        held = np.cumsum(excess[order])
        most = np.searchsorted(held, COVER * held[-1:]).sum() + 1
        hot = np.zeros(len(excess), dtype=np.bool_)
        hot[order[:most]] = True
        return np.flatnonzero(hot[self.instance.home]).astype(np.int32)

    def _excess(self, homes: I4, choice: I4, excess: F8) -> None:
        """Write how much dearer than its own best each of `homes` is with `choice`.

        What these sum to, and priced capacity that nobody uses, is all there is between the cost
        and the bound: where a plan can be bettered at all.
        """
        one = self.instance
        blocks.price_choice(
            homes,
            one.block,
            one.cost,
            one.node,
            one.uplink,
            one.demand,
            one.nodes,
            self.prices,
            choice,
            excess,
        )
        excess[homes] -= self._term[homes] / 1e3

    def _in_doubt(self) -> I4:
        """Return the homes that do not keep all they have whatever is priced."""
        one = self.instance
        surely = (self.wish == 0) & (self._rank[:, 0] == 0) & (one.node[:, 0] < 0)
        doubts = np.bincount(one.home[~surely], minlength=len(one.room))
        return np.flatnonzero(doubts).astype(np.int32)

    def _price(self, homes: I4) -> None:
        self._solve(homes, self.prices, self._usage, self.wish, self._term)

    def _solve(self, homes: I4, prices: F8, usage: I8, choice: I4, term: I8) -> None:
        one = self.instance
        blocks.price_blocks(
            homes,
            one.block,
            one.cost,
            self._rank,
            one.node,
            one.uplink,
            one.demand,
            one.room,
            one.nodes,
            prices,
            usage,
            choice,
            term,
        )

    def _bound(self, prices: F8, term: I8) -> float:
        priced = np.flatnonzero(prices > 0.0)
        paid = prices[priced] * (self.instance.capacity[priced] / MICRO)
        return int(term.sum()) / 1e3 - float(paid.sum())

    def _shift(self, rows: I4, sign: int) -> None:
        """Give back what the workloads `rows` take, or take it where `sign` is -1."""
        one, k = self.instance, self.choice[rows]
        at, link = one.node[rows, k], one.uplink[rows, k]
        at = np.where((at < 0) & (k == 0), one.nodes + one.home[rows], at)
        here, crossing = at >= 0, link >= 0
        np.add.at(self._free, at[here], sign * one.demand[rows[here], :3])
        np.add.at(self._pipe, link[crossing], sign * one.demand[rows[crossing], 3])

    def _left(self, choice: I4) -> tuple[I8, I8]:
        """Return what `choice` leaves of places [p, 3], homes after shared nodes, and uplinks."""
        one = self.instance
        at_home, shared = one.usage(choice)
        left = one.capacity - shared
        places = np.concatenate([left[: 3 * one.nodes].reshape(-1, 3), one.room - at_home])
        return places, left[3 * one.nodes :].copy()


def settle(
    instance: Instance,
    prices: F8 | None = None,
    start: I4 | None = None,
    effort: Effort | None = None,
) -> Settlement:
    """Return a plan of `instance` that is near the best, and by how much at most.

    Args:
        instance: the problem.
        prices: [r] to start from, as of an earlier plan; None: nothing is priced.
        start: [w] where everybody is; kept if what is found is no cheaper.
        effort: when to stop.
    """
    effort = effort or Effort()
    market = Market(instance, prices)
    market.climb(effort, 1.0 if prices is None else NUDGE)
    market.take(market.wish)
    if start is not None:
        fresh, cost = market.choice, market.cost
        market.take(start)
        if market.cost > cost:
            market.take(fresh)
    if len(instance.cost) <= FEW and market.enumerate():
        return replace(market.settled(), bound=market.cost)
    market.search(effort)
    return market.settled()


def as_rows(instance: Instance) -> tuple[I4, I8]:
    """Return the rows [w, k, 4] of options, and capacities: homes are rows after the shared."""
    w, k = instance.cost.shape
    shared = len(instance.capacity)
    row = np.full((w, k, 4), -1, dtype=np.int32)
    for resource in range(3):
        row[:, :, resource] = np.where(instance.node >= 0, 3 * instance.node + resource, -1)
        own = np.where(instance.node[:, 0] >= 0, row[:, 0, resource], shared + 3 * instance.home)
        row[:, 0, resource] = np.where(instance.node[:, 0] >= 0, own, own + resource)
    row[:, :, 3] = np.where(instance.uplink >= 0, 3 * instance.nodes + instance.uplink, -1)
    row[:, -1] = -1
    capacity = np.concatenate([instance.capacity, instance.room.ravel()])
    row[(row >= 0) & (capacity[row] >= UNLIMITED)] = -1
    row[instance.cost == CLOSED] = -1
    return row, capacity


def rows_of(block: I4, homes: I4) -> I4:
    """Return the workloads of `homes`, one home after the other."""
    count = block[homes + 1] - block[homes]
    ends = np.cumsum(count)
    within = np.arange(int(count.sum())) - np.repeat(ends - count, count)
    return np.asarray(np.repeat(block[homes], count) + within, dtype=np.int32)
