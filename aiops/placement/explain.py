"""Why a workload is where it is: every option's terms, what rules it out, what would flip it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aiops.kernels.rows import B1, F8, I4, I8
from aiops.placement.criteria import ABSENT, BIT, CRITERIA, TERMS
from aiops.placement.instance import UNLIMITED
from aiops.placement.options import Options
from aiops.placement.problem import SECOND, PlacementProblem, price, rule_out

VARIABLES: dict[str, tuple[float, float]] = {
    "rtt_ms": (0.0, 10_000.0),
    "soc_ratio": (0.0, 1.0),
    "temperature_c": (-40.0, 150.0),
}
"""What a flip is looked for in, and how far."""

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

COLUMNS = 7
"""Terms that fit a terminal beside the names of places; the least of more are summed."""
SHED = "shed"
BISECTIONS = 45


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
    blocked: tuple[str, ...]
    """Why it was not open, in words; empty: it was."""


@dataclass(frozen=True)
class Flip:
    """The smallest change of one variable, all else the same, that changes the choice."""

    variable: str
    place: str
    """The node whose variable it is."""
    now: float
    at: float
    """The first value found at which the choice is another."""
    choice: str
    """The place chosen then."""


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
    runner_up: str | None
    """The cheapest other place that was open."""
    margin: int | None
    """By how much the runner-up is dearer per hour; below 0 only where others gain by it."""
    flips: tuple[Flip, ...]
    """Smallest first, relative to each variable's range."""

    def to_record(self) -> dict[str, Any]:
        """Return a dictionary of plain values."""
        return asdict(self) | {"ts": rfc3339(self.ts)}

    def text(self) -> str:
        """Return it in plain words and one table, at most 80 columns wide."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        was = "" if self.choice == self.before else f", was at {self.before}"
        yield from _wrap(f"{self.workload} is at {self.choice}{was} ({rfc3339(self.ts)}).")
        if self.held:
            yield from _wrap("Its node is silent: unreachable is not dead, so it stays.")
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
            yield f"{mark} {option.place[:14]:<15}" + numbers
        if self.runner_up is not None:
            yield from _wrap(f"Runner-up: {self.runner_up}, {self.margin} dearer.")
        for option in self.options:
            for reason in option.blocked:
                yield from _wrap(f"- {option.place}: {reason}.")
        for flip in self.flips[:3]:
            yield from _wrap(
                f"It would be at {flip.choice} if {flip.variable} of {flip.place} were"
                f" {flip.at:.4g} instead of {flip.now:.4g}."
            )


def explain(problem: PlacementProblem, choice: I4, i: int) -> Explanation:
    """Return why workload `i` is where `choice` [w] puts it."""
    k = int(choice[i])
    fits = room(problem, spare(problem, choice), choice, i)
    open_ = (problem.mask_reason[i] == 0) & fits
    others = np.flatnonzero(open_ & (np.arange(len(open_)) != k))
    runner = int(others[problem.effective[i, others].argmin()]) if len(others) else None
    terms = problem.terms_of(i)
    return Explanation(
        workload=problem.topology.workload[i],
        ts=problem.ts,
        choice=place_name(problem, i, k),
        before=place_name(problem, i, int(problem.current[i])),
        options=tuple(
            _option(problem, terms, i, at, bool(fits[at]))
            for at in range(len(open_))
            if not problem.topology.absent[i, at]
        ),
        held=bool(problem.held[i]),
        runner_up=None if runner is None else place_name(problem, i, runner),
        margin=None
        if runner is None
        else int(problem.effective[i, runner] - problem.effective[i, k]),
        flips=() if problem.held[i] else tuple(flips(problem, i, k, fits)),
    )


def flips(problem: PlacementProblem, i: int, k: int, fits: B1) -> list[Flip]:
    """Return for each variable of each place the nearest value at which `k` is not chosen.

    Bisection on re-evaluated criteria, all trials at once: each criterion is monotone in its
    variables, so towards either end of a range the choice changes for good or not at all.
    The other workloads stay where they are.
    """
    tried = []
    known = problem.options_of(slice(i, i + 1))
    for variable, (low, high) in VARIABLES.items():
        now = getattr(known, variable)[0]
        for at in np.flatnonzero(problem.topology.option[i] >= 0).tolist():
            if variable == "rtt_ms" and not problem.topology.away[i, at]:
                continue
            if np.isfinite(now[at]):
                tried += [(variable, at, float(now[at]), end) for end in (low, high)]
    if not tried:
        return []
    same = np.array([now for _, _, now, _ in tried])
    other = np.array([end for _, _, _, end in tried])

    def chosen(value: F8) -> I8:
        rows = np.zeros(len(tried), dtype=np.intp)
        options = Options._make(column[rows] for column in known)
        changed = {name: getattr(options, name).copy() for name in VARIABLES}
        for row, (variable, at, _, _) in enumerate(tried):
            changed[variable][row, at] = value[row]
        return _preferred(problem, i, options._replace(**changed), fits)

    flipped = chosen(other) != k
    for _ in range(BISECTIONS):
        middle = (same + other) / 2.0
        changes = chosen(middle) != k
        other, same = np.where(changes, middle, other), np.where(changes, same, middle)
    then = chosen(other)
    found = [
        Flip(
            variable=variable,
            place=place_name(problem, i, at),
            now=now,
            at=float(other[row]),
            choice=place_name(problem, i, int(then[row])),
        )
        for row, (variable, at, now, _) in enumerate(tried)
        if flipped[row]
    ]
    return sorted(found, key=_size)


def _size(flip: Flip) -> tuple[float, str, str]:
    low, high = VARIABLES[flip.variable]
    return abs(flip.at - flip.now) / (high - low), flip.variable, flip.place


def _preferred(problem: PlacementProblem, i: int, options: Options, fits: B1) -> I8:
    """Return the option that workload `i` would take under each row of `options`."""
    shape = options.shed.shape
    blocked = rule_out(options, np.broadcast_to(problem.topology.absent[i], shape)) != 0
    spread = problem.effective[i] - problem.cost[i]
    effective = price(options).sum(axis=2) + spread
    closed = np.iinfo(np.int64).max
    return np.asarray(np.where(blocked | ~fits, closed, effective).argmin(axis=1))


def spare(problem: PlacementProblem, choice: I4) -> tuple[I8, I8]:
    """Return what `choice` leaves free of the rooms and capacities of the instance."""
    at_home, shared = problem.instance.usage(choice)
    return problem.instance.room - at_home, problem.instance.capacity - shared


def room(problem: PlacementProblem, free: tuple[I8, I8], choice: I4, i: int) -> B1:
    """Return the options [k] that have room for workload `i` beside all others under `choice`."""
    instance, k = problem.instance, int(choice[i])
    node, uplink, asked = instance.node[i], instance.uplink[i], instance.demand[i]
    at_home, shared = free
    here = problem.node[i] == problem.node[i, k]
    fits = np.ones(len(node), dtype=np.bool_)
    for resource in range(3):
        row = np.where(node >= 0, 3 * node + resource, -1)
        left = np.append(shared, UNLIMITED)[row]
        if node[0] < 0:
            left[0] = at_home[instance.home[i], resource]
        fits &= asked[resource] <= left + np.where(here, asked[resource], 0)
    link = np.append(shared[3 * instance.nodes :], UNLIMITED)[uplink]
    same = uplink == uplink[k]
    return np.asarray(fits & (asked[3] <= link + np.where(same, asked[3], 0)))


def clauses(problem: PlacementProblem, i: int, k: int) -> tuple[str, ...]:
    """Return what rules option `k` of workload `i` out, with numbers; empty: nothing."""
    bits = int(problem.mask_reason[i, k])
    if bits == 0 or bits & ABSENT:
        return ()
    known = problem.facts(i, k)
    return tuple(CRITERIA[name].clause.format(**known) for name, bit in BIT.items() if bits & bit)


def place_name(problem: PlacementProblem, i: int, k: int) -> str:
    """Return the node id of option `k` of workload `i`, or ``shed``."""
    at = int(problem.topology.option[i, k])
    return problem.topology.node[at] if at >= 0 else SHED


def rfc3339(ts: int) -> str:
    """Render ns since the epoch in UTC, to the microsecond where there is one."""
    unit = "us" if ts % SECOND else "s"
    return f"{np.datetime64(ts // 1000, 'us').astype(f'datetime64[{unit}]')}Z"


def _option(problem: PlacementProblem, terms: I8, i: int, k: int, fits: bool) -> Option:
    full = () if fits else ("has no room for it beside the others",)
    return Option(
        place=place_name(problem, i, k),
        terms={name: int(terms[k, c]) for c, name in enumerate(TERMS)},
        cost=int(problem.cost[i, k]),
        move_cost=int(problem.move_cost[i, k]),
        effective=int(problem.effective[i, k]),
        blocked=clauses(problem, i, k) + full,
    )


def _amount(value: int) -> str:
    """Return at most six characters."""
    for size, suffix in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if value >= size:
            return f"{value / size:.1f}{suffix}"
    return str(value)


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, 80, subsequent_indent="  ", break_long_words=True)
