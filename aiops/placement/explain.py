"""Why a workload is where it is: every option's terms, what rules it out, what would flip it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from aiops.errors import InputError
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.placement.counterfactual import Flip
from aiops.placement.criteria import ABSENT, BIT, CRITERIA, TERMS, facts
from aiops.placement.instance import UNLIMITED
from aiops.placement.options import Options
from aiops.placement.prices import named, rows_taken
from aiops.placement.problem import SECOND, PlacementProblem, price

HEADS: dict[str, str] = {
    "battery": "power",
    "temperature": "heat",
    "network": "loss",
    "latency": "delay",
    "failure_risk": "risk",
    "compute": "price",
    "absence": "away",
}
"""Short names of terms, for tables."""

ROOM = ("CPU", "memory", "power", "uplink")
"""What a place may have too little of."""
COLUMNS = 7
"""Terms that fit a terminal beside the names of places; the least of more are summed."""


@dataclass(frozen=True)
class Option:
    """One place a workload could be; money in whole micro-dollars."""

    place: str
    """Node id, or ``shed``."""
    terms: dict[str, int]
    """Per hour; they sum to `cost`."""
    cost: int
    """Per hour."""
    move_cost: int
    """Once, to get there from where it was."""
    effective: int
    """Per hour, with what a move must overcome: what was compared."""
    scarce: dict[str, float]
    """What it takes that has a price: micro-dollars per hour and unit, by resource."""
    blocked: tuple[str, ...]
    """Why it was not open, in words; empty: it was."""
    full: bool
    """Others have the room: that alone is why it was not open."""

    @property
    def bias(self) -> int:
        """Per hour: what a move there must overcome."""
        return self.effective - self.cost


@dataclass(frozen=True)
class Explanation:
    """Why a workload is where it is."""

    workload: str
    ts: int
    choice: str
    before: str
    """Where it was when the plan was made."""
    options: tuple[Option, ...]
    """Home first, ``shed`` last."""
    held: bool
    """It stays because its node is silent."""
    waits: bool
    """Its move is planned, but does not happen yet: no more may move at a time."""
    runner_up: str | None
    """The cheapest other place that was open."""
    margin: int | None
    """By how much the runner-up is dearer per hour; below 0 only where others gain by it."""
    seek: Callable[[], Iterator[Flip]] = field(repr=False, compare=False)
    """Looks for `flips`, about the nearest first: each takes longer than all else."""

    @cached_property
    def flips(self) -> tuple[Flip, ...]:
        """What would change the choice at once; smallest first, relative to a variable's range."""
        return tuple(sorted(self.seek(), key=lambda flip: flip.size))

    def nearest(self, count: int) -> list[Flip]:
        """Return about the smallest `flips`, without looking for all."""
        return sorted(islice(self.seek(), count), key=lambda flip: flip.size)

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values."""
        told = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "seek"}
        options = [asdict(option) for option in self.options]
        flips_ = [asdict(flip) for flip in self.flips]
        return told | {"ts": rfc3339(self.ts), "options": options, "flips": flips_}

    def text(self) -> str:
        """Return it in plain words and one table, at most 80 columns wide."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        was = "" if self.choice == self.before else f", was at {self.before}"
        yield from _wrap(f"{self.workload} is at {self.choice}{was} ({rfc3339(self.ts)}).")
        if self.held:
            yield from _wrap("Its node is silent: unreachable is not dead, so it stays.")
        if self.waits:
            yield from _wrap(f"It is still at {self.before}: its move has to wait.")
        yield "micro-dollars per hour:"
        weight = {name: max(option.terms[name] for option in self.options) for name in TERMS}
        used = [name for name in TERMS if weight[name]]
        rest: list[str] = []
        if len(used) > COLUMNS:
            rest = sorted(used, key=lambda name: weight[name])[: len(used) - COLUMNS + 1]
            used = [name for name in used if name not in rest]
        heads = [HEADS.get(name, name[:6]) for name in used] + ["other"] * bool(rest)
        yield f"{'':17}" + "".join(f"{head:>7}" for head in [*heads, "move", "total"])
        for option in self.options:
            mark = "*" if option.place == self.choice else "-" if option.blocked else " "
            row = [option.terms[name] for name in used]
            row += [sum(option.terms[name] for name in rest)] * bool(rest)
            row += [option.effective - option.cost]
            numbers = "".join(f"{_amount(value):>7}" for value in [*row, option.effective])
            yield f"{mark} {_short(option.place):<15}" + numbers
        if self.runner_up is not None:
            yield from _wrap(f"Runner-up: {self.runner_up}, {self.margin} dearer.")
        for option in self.options:
            for reason in option.blocked:
                yield from _wrap(f"- {option.place}: {reason}.")
        for option in self.options:
            priced = [f"{name} {price:.0f}" for name, price in option.scarce.items()]
            if priced:
                unit = "micro-dollars per hour and unit"
                yield from _wrap(f"{option.place} is scarce: {', '.join(priced)} {unit}.")
        for flip in self.nearest(3):
            yield from _wrap(f"{flip}.")


def explain(
    problem: PlacementProblem,
    prices: F8,
    choice: I4,
    i: int,
    *,
    waits: bool = False,
    free: tuple[I8, I8] | None = None,
    seek: Callable[[B1], Iterator[Flip]] | None = None,
) -> Explanation:
    """Return why workload `i` is where `choice` [w] puts it, at the `prices` [r] of that plan.

    `free` is what `spare` returns, if that is known already; `seek` looks for flips, given the
    options [k] that have room.
    """
    free = spare(problem, choice) if free is None else free
    k = int(choice[i])
    lacks = lacking(problem, free, choice, i)
    fits = np.asarray(~lacks.any(axis=1))
    open_ = (problem.mask_reason[i] == 0) & fits
    others = np.flatnonzero(open_ & (np.arange(len(open_)) != k))
    runner = int(others[problem.effective[i, others].argmin()]) if len(others) else None
    known = problem.options_of(slice(i, i + 1))
    terms = price(known)[0]
    shown = [at for at in range(len(open_)) if not problem.topology.absent[i, at]]
    return Explanation(
        workload=problem.topology.workload[i],
        ts=problem.ts,
        choice=problem.topology.place(i, k),
        before=problem.topology.place(i, int(problem.current[i])),
        options=tuple(_option(problem, prices, known, terms, i, at, lacks[at]) for at in shown),
        held=bool(problem.held[i]),
        waits=waits,
        runner_up=None if runner is None else problem.topology.place(i, runner),
        margin=None
        if runner is None
        else int(problem.effective[i, runner] - problem.effective[i, k]),
        seek=lambda: iter(()) if seek is None or problem.held[i] else seek(fits),
    )


def why_not(problem: PlacementProblem, prices: F8, choice: I4, i: int, place: str) -> str:
    """Return in words why workload `i` is not at `place`.

    Raises
    ------
    InputError
        It has no such option.
    """
    explanation = explain(problem, prices, choice, i)
    at = {option.place: option for option in explanation.options}
    if place not in at:
        raise InputError(
            f"{explanation.workload} may run at {', '.join(at)}; {place!r} is not among them"
        )
    there, here = at[place], at[explanation.choice]
    if place == explanation.choice:
        return f"{explanation.workload} is at {place}."
    gap = there.effective - here.effective
    if there.blocked:
        scarce = [f"its {one} costs {price:.0f}" for one, price in there.scarce.items()]
        paid = f" ({', '.join(scarce)} micro-dollars an hour and unit)" if scarce else ""
        said = f"{place} " + " and ".join(there.blocked) + paid + "."
        if there.full and gap > 0:
            said += f" Even with room it would be {gap} dearer than {explanation.choice}."
        return said
    if gap < 0:
        return (
            f"{place} would be {-gap} micro-dollars an hour cheaper for {explanation.workload},"
            " but the room is worth more to others."
        )
    dearer = {name: there.terms[name] - here.terms[name] for name in there.terms}
    most = sorted((name for name in dearer if dearer[name] > 0), key=lambda name: -dearer[name])
    parts = [f"{name} {dearer[name]:+d}" for name in most[:3]]
    if there.bias > here.bias:
        parts.append(f"what a move must overcome {there.bias - here.bias:+d}")
    why = ", ".join(parts) or "as good, but no better"
    return f"{place} is {gap} micro-dollars an hour dearer than {explanation.choice}: {why}."


def spare(problem: PlacementProblem, choice: I4) -> tuple[I8, I8]:
    """Return what `choice` leaves free of the rooms [d, 3] and capacities [r+1] of the instance.

    The last stands for what has no limit.
    """
    at_home, shared = problem.instance.usage(choice)
    left = np.append(problem.instance.capacity - shared, UNLIMITED)
    return problem.instance.room - at_home, left


def lacking(problem: PlacementProblem, free: tuple[I8, I8], choice: I4, i: int) -> B1:
    """Return what of `ROOM` [k, 4] options lack for workload `i` beside all others as they are.

    `free` is what `spare` returns of `choice`.
    """
    instance, k = problem.instance, int(choice[i])
    node, uplink, asked = instance.node[i], instance.uplink[i], instance.demand[i]
    at_home, shared = free
    here = problem.node[i] == problem.node[i, k]
    lacks = np.zeros((len(node), len(ROOM)), dtype=np.bool_)
    for resource in range(3):
        left = shared[np.where(node >= 0, 3 * node + resource, -1)]
        if node[0] < 0:
            left[0] = at_home[instance.home[i], resource]
        lacks[:, resource] = asked[resource] > left + here * asked[resource]
    link = shared[np.where(uplink >= 0, 3 * instance.nodes + uplink, -1)]
    lacks[:, 3] = asked[3] > link + (uplink == uplink[k]) * asked[3]
    return lacks


def clauses(problem: PlacementProblem, known: Options, i: int, k: int) -> tuple[str, ...]:
    """Return what rules option `k` of workload `i` out, with numbers; empty: nothing.

    `known` are the facts [1, k] of its options.
    """
    bits = int(problem.mask_reason[i, k])
    if bits == 0 or bits & ABSENT:
        return ()
    said = facts(known, 0, k) | problem.topology.said(i, k)
    return tuple(CRITERIA[name].clause.format(**said) for name, bit in BIT.items() if bits & bit)


def rfc3339(ts: int) -> str:
    """Render ns since the epoch in UTC, to the microsecond where there is one."""
    unit = "us" if ts % SECOND else "s"
    return f"{np.datetime64(ts // 1000, 'us').astype(f'datetime64[{unit}]')}Z"


def _option(
    problem: PlacementProblem, prices: F8, known: Options, terms: I8, i: int, k: int, lacks: B1
) -> Option:
    short = " and ".join(name for name, lack in zip(ROOM, lacks, strict=True) if lack)
    # of a place that is ruled out anyway nobody asks who else is there
    asked_for = short and not problem.mask_reason[i, k]
    full = (f"has too little {short} left beside the others",) if asked_for else ()
    taken = [(row, asked) for row, asked in rows_taken(problem, i, k) if prices[row] and asked]
    return Option(
        place=problem.topology.place(i, k),
        terms={name: int(terms[k, c]) for c, name in enumerate(TERMS)},
        cost=int(problem.cost[i, k]),
        move_cost=int(problem.move_cost[i, k]),
        effective=int(problem.effective[i, k]),
        scarce={named(problem, row)[1]: float(prices[row]) for row, _ in taken},
        blocked=clauses(problem, known, i, k) + full,
        full=bool(full),
    )


def _short(name: str) -> str:
    """Return at most 14 characters: both ends of a name, which tell it from its neighbours."""
    return name if len(name) <= 14 else f"{name[:5]}…{name[-8:]}"


def _amount(value: int) -> str:
    """Return at most six characters."""
    for size, suffix in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if value >= size:
            return f"{value / size:.1f}{suffix}"
    return str(value)


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, 80, subsequent_indent="  ", break_long_words=True)
