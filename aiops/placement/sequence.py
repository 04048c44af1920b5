"""From where all runs to where it should: in waves, so that no capacity is exceeded on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from aiops.errors import InputError, SettingsError
from aiops.kernels import sequence as kernels
from aiops.kernels.rows import B1, I1, I4, I8
from aiops.placement.instance import CLOSED, Instance

StepKind = Literal["move", "hop", "stop", "start"]
STEP_KINDS: tuple[StepKind, ...] = get_args(StepKind)
"""In the order of the kernel's numbers. A hop stays somewhere else for a while."""


@dataclass(frozen=True)
class MoveLimits:
    """How much may move at a time, and in all."""

    steps: int = 1000
    """In all; what the plan moves besides stays where it is, the least saving first."""
    wave: int = 200
    """Side by side."""
    node: int = 20
    """Transfers side by side to and from a node."""
    uplink: int = 4
    """Transfers side by side across an uplink."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "steps" else 1
            if not least <= value < 2**31:
                raise SettingsError(
                    f"placement.limits.{field.name} is {value!r}; give {least} to {2**31 - 1}"
                )


class Step(NamedTuple):
    """One workload leaves one option for another."""

    workload: int
    """Its row."""
    source: int
    """Option it leaves; the last: it ran nowhere."""
    target: int
    """Option it takes; the last: it stops."""
    wave: int
    kind: StepKind
    fence: bool
    """Its source does not answer and its state must not be written twice: a fence comes before."""
    after: tuple[int, ...]
    """Steps that must have been made before, as positions in the sequence."""
    together: int
    """Steps with the same number are made all or none."""


@dataclass(frozen=True)
class MoveSequence:
    """Steps in the order of their waves.

    In a wave the stops come first and give their room back at once; all others run side by side,
    and each holds both its source and its target until the wave is over.
    """

    workload: I4
    """[s]"""
    source: I4
    """[s]"""
    target: I4
    """[s]"""
    wave: I4
    """[s] from 0."""
    kind: I1
    """[s] index into `STEP_KINDS`."""
    fence: B1
    """[s]"""
    together: I4
    """[s] a workload with all its steps; of workloads that wait for each other, all."""
    indptr: I4
    """[s + 1]"""
    after: I4
    """Step s waits for ``after[indptr[s]:indptr[s + 1]]``."""
    left: I4
    """[l] workloads that the plan moves and that stay where they are for now."""

    def __len__(self) -> int:
        return len(self.workload)

    def __iter__(self) -> Iterator[Step]:
        for s in range(len(self)):
            yield Step(
                int(self.workload[s]),
                int(self.source[s]),
                int(self.target[s]),
                int(self.wave[s]),
                STEP_KINDS[self.kind[s]],
                bool(self.fence[s]),
                tuple(self.after[self.indptr[s] : self.indptr[s + 1]].tolist()),
                int(self.together[s]),
            )

    @cached_property
    def interrupted(self) -> I4:
        """Workloads that are stopped for a while because all wait for each other."""
        stopped = self.workload[self.kind == kernels.STOP]
        started = self.workload[self.kind == kernels.START]
        return np.intersect1d(stopped, started).astype(np.int32)

    def reached(self, before: I4) -> I4:
        """Return the choice [w] after all steps."""
        choice = before.copy()
        choice[self.workload] = self.target  # of several steps the last one holds
        return choice


def sequence(
    instance: Instance,
    before: I4,
    after: I4,
    limits: MoveLimits | None = None,
    *,
    stateful: B1 | None = None,
    unreachable: B1 | None = None,
) -> MoveSequence:
    """Return the steps from the choice `before` [w] to the choice `after` [w].

    No state on the way exceeds a capacity that was kept before, and none that was exceeded gets
    worse. First moves who may not stay, then who leaves a place or an uplink that is over, then
    who saves most. When all wait for each other some make way: to another open option with room,
    the cheapest; if there is none, they are stopped and started again. What exceeds the limits
    stays, with all that waits for it.

    Silence evicts nobody: a workload whose source is `unreachable` [w] stays unless that source is
    ruled out. If it then leaves and is `stateful` [w], its source must be fenced first.

    Raises
    ------
    InputError
        `after` sends workloads where there is no room for them, or where they may not be.
    """
    limits = limits or MoveLimits()
    w, k = instance.cost.shape
    keeps_state = np.zeros(w, np.bool_) if stateful is None else stateful
    silent = np.zeros(w, np.bool_) if unreachable is None else unreachable
    for name, array in (("before", before), ("after", after)):
        if array.shape != (w,) or (w and (array.min() < 0 or array.max() >= k)):
            raise InputError(f"{name} must hold an option below {k} for each of {w} workloads")

    moves = _ordered(instance, before, after, limits, keeps_state, silent)
    if not len(moves.left):
        return moves
    # Without what stays there is less in the way, so that it takes fewer waves.
    without = replace(limits, steps=2**31 - 1)
    again = _ordered(instance, before, moves.reached(before), without, keeps_state, silent)
    return replace(again, left=moves.left) if len(again) <= limits.steps else moves


def _ordered(
    instance: Instance, before: I4, after: I4, limits: MoveLimits, keeps_state: B1, silent: B1
) -> MoveSequence:
    k = instance.cost.shape[1]
    at_home, shared = instance.usage(before)
    places = instance.nodes + len(instance.room)
    free = np.concatenate(
        [
            instance.capacity[: 3 * instance.nodes] - shared[: 3 * instance.nodes],
            (instance.room - at_home).ravel(),
            instance.capacity[3 * instance.nodes :] - shared[3 * instance.nodes :],
        ]
    )
    rows = np.flatnonzero(before != after)
    old, new = before[rows], after[rows]
    ruled_out = instance.cost[rows, new] == CLOSED
    if ruled_out.any():
        i = int(rows[ruled_out.argmax()])
        raise InputError(f"the plan takes workload {i} to option {after[i]}, which is ruled out")
    place, uplink = _places(instance, rows)
    rank = _urgency(instance, rows, old, new, free, place, uplink)
    # Stops need no room and make some, so they are asked first.
    order = rank[np.argsort(new[rank] != k - 1, kind="stable")]
    rows, old, new = rows[order], old[order], new[order]
    movers = kernels.Movers(
        instance.cost[rows],
        place[order],
        uplink[order],
        instance.demand[rows],
        new.astype(np.int32),
    )
    groups = places + len(instance.capacity) - 3 * instance.nodes
    at_a_time = np.array([limits.wave, limits.node, limits.uplink], np.int32)
    room = kernels.Room(free.copy(), np.zeros(groups, np.int32), at_a_time)
    steps = np.empty((3 * len(rows), 5), np.int32)
    count = kernels.order_moves(movers, room, old.astype(np.int32), steps)
    if count < 0:
        raise InputError("the plan sends workloads where there is no room; give one that fits")
    steps = steps[:count]
    pairs = np.empty((17 * count, 2), np.int32)
    waits = np.unique(pairs[: kernels.rely(movers, free, groups, steps, pairs)], axis=0)

    together = _together(steps[:, 0], waits)
    stays = silent[rows] & (instance.cost[rows, old] != CLOSED)
    urgency = np.empty(len(rows), np.int64)
    urgency[np.argsort(order)[rank]] = np.arange(len(rows))
    kept = _keep(steps[:, 0], waits, together, urgency, stays, limits.steps)
    return _sequence(steps, waits, together, kept, rows, keeps_state & silent, k - 1)


def _places(instance: Instance, rows: I8) -> tuple[I4, I4]:
    """Return the place, shared or a home, and the uplink of each option of `rows`."""
    place, uplink = instance.node[rows], instance.uplink[rows]
    own = place[:, 0] < 0
    place[own, 0] = instance.nodes + instance.home[rows[own]]
    return place, uplink


def _urgency(instance: Instance, rows: I8, old: I4, new: I4, free: I8, place: I4, uplink: I4) -> I8:
    """Return the order of need: ruled out where they are, somewhere that is over, by saving."""
    n, nowhere = np.arange(len(rows)), instance.cost.shape[1] - 1
    left, crossed = place[n, old], uplink[n, old]
    first_uplink = 3 * (instance.nodes + len(instance.room))
    over = np.zeros(len(rows), np.bool_)
    for at, row in (
        *((left, 3 * left + resource) for resource in range(3)),
        (crossed, first_uplink + crossed),
    ):
        taken = np.flatnonzero(at >= 0)
        over[taken] |= free[row[taken]] < 0
    forced = instance.cost[rows, old] == CLOSED
    # A move that is forced is set against being shed.
    saving = instance.cost[rows, np.where(forced, nowhere, old)] - instance.cost[rows, new]
    return np.lexsort((rows, -saving, ~over, ~forced))


def _together(mover: I4, waits: I4) -> I4:
    """Return a number for each step, the same for those that are made all or none."""
    n = int(mover.max(initial=-1)) + 1
    if len(mover) == n:  # one step each: nobody waits for who waits for it
        return mover.copy()
    edges = mover[waits]
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=True, connection="strong")
    return np.asarray(component, np.int32)[mover]


def _keep(mover: I4, waits: I4, together: I4, urgency: I8, stays: B1, limit: int) -> B1:
    """Return which steps are made: whole groups with all that they wait for, the urgent first."""
    if len(mover) <= limit and not stays.any():
        return np.ones(len(mover), np.bool_)
    groups = int(together.max(initial=-1)) + 1
    size = np.bincount(together, minlength=groups).tolist()
    first = np.full(groups, len(urgency), np.int64)
    np.minimum.at(first, together, urgency[mover])
    needs: list[set[int]] = [set() for _ in range(groups)]
    for one, other in together[waits].tolist():
        needs[one].add(other)
    # A step waits at least for the longest line of steps before it.
    line = [1] * len(mover)
    for one, other in waits.tolist():
        line[one] = max(line[one], line[other] + 1)
    made: list[bool | None] = [None] * groups
    for group, steps in zip(together.tolist(), line, strict=True):
        if steps > limit:
            made[group] = False
    for group in np.unique(together[stays[mover]]).tolist():
        made[group] = False
    for group in np.argsort(first, kind="stable").tolist():
        found, stack, steps = {group}, [group], 0
        while stack and made[group] is None:
            one = stack.pop()
            steps += size[one]
            more = [other for other in needs[one] if made[other] is not True and other not in found]
            if steps > limit or any(made[other] is False for other in more):
                made[group] = False
            found.update(more)
            stack += more
        if made[group] is None:
            limit -= steps
            for one in found:
                made[one] = True
    return np.array(made, np.bool_)[together]


def _sequence(
    steps: I4, waits: I4, together: I4, kept: B1, rows: I8, fenced: B1, nowhere: int
) -> MoveSequence:
    """Return the steps that are `kept`, numbered anew without gaps."""
    number = np.cumsum(kept) - 1
    mover, source, target, wave, kind = np.ascontiguousarray(steps[kept].T)
    workload = rows[mover].astype(np.int32)
    waits = number[waits[kept[waits[:, 0]]]]
    starts = np.flatnonzero(fenced[workload] & (target != nowhere))
    fence = np.zeros(len(mover), np.bool_)
    fence[starts[np.unique(workload[starts], return_index=True)[1]]] = True
    staying = np.ones(len(rows), np.bool_)
    staying[mover] = False
    return MoveSequence(
        workload=workload,
        source=source,
        target=target,
        wave=_from_zero(wave),
        kind=kind.astype(np.int8),
        fence=fence,
        together=_from_zero(together[kept]),
        indptr=np.searchsorted(waits[:, 0], np.arange(len(mover) + 1)).astype(np.int32),
        after=waits[:, 1].astype(np.int32),
        left=np.sort(rows[staying]).astype(np.int32),
    )


def _from_zero(numbers: I4) -> I4:
    """Return `numbers` as 0, 1, 2 and so on, in the same order."""
    return np.unique(numbers, return_inverse=True)[1].astype(np.int32)
