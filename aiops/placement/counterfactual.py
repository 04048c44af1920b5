"""What would have to be different for a workload to be somewhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from aiops.kernels.rows import B1, F8, I4
from aiops.placement.criteria import CRITERIA, TERMS
from aiops.placement.options import Options
from aiops.placement.problem import PlacementProblem
from aiops.placement.topology import money

VARIABLES: dict[str, tuple[float, float]] = {
    "rtt_ms": (0.0, 10_000.0),
    "jitter_ms": (0.0, 10_000.0),
    "loss_ratio": (0.0, 1.0),
    "soc_ratio": (0.0, 1.0),
    "temperature_c": (-40.0, 150.0),
    "utilization_ratio": (0.0, 1.0),
    "failure_risk": (0.0, 1.0),
    "price": (0.0, 1e6),
    "egress_price": (0.0, 1e6),
}
"""What a flip is looked for in, and how far."""
FINE = 2.5e-4
"""How near a value that is found by solving again is to where the choice changes, as a share of the
way there."""

FIRST, NEXT, ROUNDS = 32, 128, 5
"""Values that are tried at once in the first round and in the next, and how many rounds."""


@dataclass(frozen=True)
class Flip:
    """The smallest change of one variable, all else the same, that changes the choice at once."""

    variable: str
    place: str
    """The node whose variable it is."""
    now: float
    at: float
    """The first value found at which the choice is another."""
    choice: str
    """The place chosen then."""
    contested: bool
    """Others compete for the room that matters, and may come or give way before: the value was
    found by solving again."""


Ask: TypeAlias = Callable[[Flip, float], str]
"""Where the workload would be if the variable of a flip had some value: all is solved again."""


def flips(
    problem: PlacementProblem, contested: B1, i: int, k: int, fits: B1, ask: Ask
) -> list[Flip]:
    """Return for each variable of each place the nearest value at which `k` is not chosen.

    Each criterion is monotone in its variables (`Criterion.worse`): what is chosen can only be lost
    by what makes it worse, what is not chosen only be gained by what makes it better. So between
    now and the end of a variable's range the choice changes for good or not at all, and many values
    at once narrow down where.

    Args:
        problem: of the plan.
        contested: [m+1] nodes that more would like to be at.
        i: the workload.
        k: the option it takes.
        fits: [k] options that have room for it beside all others, where they are.
        ask: solves again, for what the others would do where that matters.
    """
    known = problem.options_of(slice(i, i + 1))
    effective = np.where((problem.mask_reason[i] == 0) & fits, problem.effective[i], np.inf)
    others = np.where(np.arange(len(fits)) == k, np.inf, effective)
    after = int(others.argmin())
    pairs = []
    for variable, (low, high) in VARIABLES.items():
        now = getattr(known, variable)[0]
        worse = _worse(variable)
        for at in np.flatnonzero((problem.topology.option[i] >= 0) & fits).tolist():
            away = variable not in ("rtt_ms", "jitter_ms", "egress_price")
            if not np.isfinite(now[at]) or not (away or problem.topology.away[i, at]):
                continue
            # the place that is chosen gets worse, any other better
            end = (high if worse > 0 else low) if at == k else (low if worse > 0 else high)
            if end != now[at]:
                pairs.append((variable, at, float(now[at]), end))
    if not pairs:
        return []
    names = sorted({name for name, *_ in pairs})
    judged = [name for name, one in CRITERIA.items() if set(one.worse) & set(names)]
    option = np.array([at for _, at, _, _ in pairs])
    same, other = np.array([pair[2] for pair in pairs]), np.array([pair[3] for pair in pairs])
    limit = np.where(option == k, others.min(), effective[k])
    base, shut = _rest(problem, known, i, judged)
    # places it would like to be at, but that are full: others could give way
    full = (problem.mask_reason[i] == 0) & ~fits
    sought = np.append(problem.effective[i][full], np.inf)
    left = np.arange(len(pairs))
    for turn in range(ROUNDS):
        count = FIRST if turn == 0 else NEXT
        share = np.arange(1, count + 1) / count
        value = same[left, None] + (other - same)[left, None] * share
        value[:, -1] = other[left]
        cost, blocked = _judged(known, [pairs[p] for p in left], value, judged)
        cost += base[option[left]][:, None]
        gone = blocked | shut[option[left]][:, None]
        mine = (option[left] == k)[:, None]
        bar = limit[left][:, None]
        # among equals it stays where it is
        changes = np.where(mine, gone | (cost > bar), ~gone & (cost < bar))
        first = changes.argmax(axis=1)
        rows = np.arange(len(left))
        found = changes[rows, first]
        inside = np.where(first > 0, value[rows, np.maximum(first - 1, 0)], same[left])
        left, rows, first, inside = left[found], rows[found], first[found], inside[found]
        same[left], other[left] = inside, value[rows, first]
        if not len(left):
            return []
    # competing for the place it leaves, or for the one it takes; or it for one that is full
    sure = ~contested[problem.node[i, k]] & np.where(
        option == k, sought.min() >= limit, ~contested[problem.node[i, option]]
    )
    found_flips: list[Flip] = []
    for p in left.tolist():
        variable, at, now, end = pairs[p]
        place = _place(problem, i, after if at == k else at)
        flip = Flip(variable, _place(problem, i, at), now, float(other[p]), place, not sure[p])
        found = flip if sure[p] else _sought(flip, _place(problem, i, k), end, ask)
        if found is not None:
            found_flips.append(found)
    return sorted(found_flips, key=_size)


def _sought(flip: Flip, here: str, end: float, ask: Ask) -> Flip | None:
    """Return the flip as solving again has it: nearer or farther, up to `end`; None: never."""
    low, high = flip.now, flip.at
    if ask(flip, low) != here:
        return None  # it is about to move whatever happens
    if ask(flip, high) == here:
        low, high = high, end
        if ask(flip, high) == here:
            return None
    while abs(high - low) > FINE * abs(high - flip.now):
        middle = low + (high - low) / 2.0
        if ask(flip, middle) == here:
            low = middle
        else:
            high = middle
    return replace(flip, at=high, choice=ask(flip, high))


def moved(problem: PlacementProblem, i: int, flip: Flip, value: float) -> Options:
    """Return the facts of the options of workload `i` with the flip's variable at `value`."""
    known = problem.options_of(slice(i, i + 1))
    places = [_place(problem, i, at) for at in range(problem.topology.option.shape[1])]
    changed: Any = np.array(getattr(known, flip.variable), dtype=np.float64)
    changed[0, places.index(flip.place)] = value
    return known._replace(**{flip.variable: changed})


def contested(problem: PlacementProblem, choice: I4) -> B1:
    """Return the nodes [m+1] that somebody would rather be at than where `choice` [w] puts it."""
    here = problem.effective[np.arange(len(choice)), choice]
    rather = (problem.mask_reason == 0) & (problem.effective < here[:, None])
    nodes = np.zeros(len(problem.topology.node) + 1, dtype=np.bool_)
    nodes[problem.node[rather]] = True
    nodes[-1] = False
    return nodes


def _worse(variable: str) -> int:
    return next(one.worse[variable] for one in CRITERIA.values() if variable in one.worse)


def _rest(problem: PlacementProblem, known: Options, i: int, judged: list[str]) -> tuple[F8, B1]:
    """Return what does not depend on the variables: cost and bias [k], and what is shut [k]."""
    cost = problem.effective[i].astype(np.float64)
    shut = np.array(problem.topology.absent[i])
    for name, one in CRITERIA.items():
        if name in judged:
            if one.cost is not None:
                cost -= money(one.cost(known))[0]
        elif one.blocks is not None:
            shut |= one.blocks(known)[0]
    return cost, shut


def _judged(
    known: Options, pairs: list[tuple[str, int, float, float]], value: F8, judged: list[str]
) -> tuple[F8, B1]:
    """Return cost and veto of the criteria `judged` for one option each, at values [p, n]."""
    at = np.array([pair[1] for pair in pairs])
    one = Options._make(column[0, at, None] for column in known)
    for name in {pair[0] for pair in pairs}:
        here = np.array([pair[0] == name for pair in pairs])[:, None]
        one = one._replace(**{name: np.where(here, value, getattr(one, name))})
    cost, blocked = np.zeros(value.shape), np.zeros(value.shape, dtype=np.bool_)
    for name in judged:
        criterion = CRITERIA[name]
        if name in TERMS and criterion.cost is not None:
            cost += money(criterion.cost(one))
        if criterion.blocks is not None:
            blocked |= criterion.blocks(one)
    return cost, blocked


def _size(flip: Flip) -> tuple[float, str, str]:
    low, high = VARIABLES[flip.variable]
    return abs(flip.at - flip.now) / (high - low), flip.variable, flip.place


def _place(problem: PlacementProblem, i: int, k: int) -> str:
    at = int(problem.topology.option[i, k])
    return problem.topology.node[at] if at >= 0 else "shed"
