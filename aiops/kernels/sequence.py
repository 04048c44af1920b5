"""In which order moves can be made, so that no capacity is ever exceeded on the way.

Moves of one wave run side by side. Each takes its new place before it gives back the old one (make
before break), so the room it leaves is there for the next wave. A stop gives its room back at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, I4, I8

CLOSED = np.iinfo(np.int64).max
"""Cost of an option that may not be taken."""
SERVED = 8
"""So many at most follow one after another where one has made way: they wait for each other."""
MOVE, HOP, STOP, START = 0, 1, 2, 3
"""Kinds of steps. A hop stays somewhere else for a while; a start comes from nowhere."""


class Movers(NamedTuple):
    """Who moves, the most urgent first. The last option is to run nowhere."""

    cost: I8
    """[n, k] `CLOSED`: no hop may go there."""
    place: I4
    """[n, k] where the option takes CPU, memory and power; -1: nowhere."""
    uplink: I4
    """[n, k] what its traffic crosses; -1: none."""
    demand: I8
    """[n, 4] CPU, memory, power and bandwidth."""
    target: I4
    """[n] option to move to."""


class Room(NamedTuple):
    """What is left while the moves are made."""

    free: I8
    """[3p + u] CPU, memory, power of each place, then bandwidth of each uplink; negative: over."""
    busy: I4
    """[p + u] transfers of this wave at each place and across each uplink."""
    limit: I4
    """[3] moves in a wave, transfers at a place, transfers across an uplink."""


@kernel
def _group(movers: Movers, room: Room, i: int, k: int, side: int) -> int:
    """Return where option `k` of `i` has transfers: its place (`side` 0) or its uplink (1)."""
    if side == 0:
        return int(movers.place[i, k])
    # 3p + u rows and p + u groups: the difference is 2p.
    places = (room.free.shape[0] - room.busy.shape[0]) // 2
    return places + int(movers.uplink[i, k]) if movers.uplink[i, k] >= 0 else -1


@kernel
def _row(movers: Movers, room: Room, i: int, k: int, resource: int) -> int:
    """Return the row of `room.free` that option `k` of `i` takes of; -1: none."""
    if resource < 3:
        p = int(movers.place[i, k])
        return 3 * p + resource if p >= 0 else -1
    places = (room.free.shape[0] - room.busy.shape[0]) // 2
    return 3 * places + int(movers.uplink[i, k]) if movers.uplink[i, k] >= 0 else -1


@kernel
def _lacks(movers: Movers, room: Room, i: int, k: int) -> int:
    """Return the first resource that `i` does not find at option `k`; -1: it fits."""
    for resource in range(4):
        row = _row(movers, room, i, k, resource)
        amount = movers.demand[i, resource]
        if row >= 0 and amount > 0 and room.free[row] < amount:
            return resource
    return -1


@kernel
def _give(movers: Movers, room: Room, i: int, k: int, sign: int) -> None:
    """Give back what `i` takes at option `k`; `sign` -1: take it."""
    for resource in range(4):
        row = _row(movers, room, i, k, resource)
        if row >= 0:
            room.free[row] += sign * movers.demand[i, resource]


@kernel
def _crowded(movers: Movers, room: Room, i: int, a: int, b: int) -> bool:
    """Whether a place or uplink that a move of `i` from `a` to `b` touches has no transfer left."""
    for side in range(2):
        for k in (a, b):
            at = _group(movers, room, i, k, side)
            if at >= 0 and room.busy[at] >= room.limit[1 + side]:
                return True
    return False


@kernel
def _count(movers: Movers, room: Room, i: int, a: int, b: int, by: int) -> None:
    """Count a transfer of `i` from `a` to `b` once wherever it touches."""
    for side in range(2):
        one = _group(movers, room, i, a, side)
        two = _group(movers, room, i, b, side)
        if one >= 0:
            room.busy[one] += by
        if two >= 0 and two != one:
            room.busy[two] += by


@kernel
def _step(
    movers: Movers, room: Room, i: int, at: I4, to: int, wave: int, steps: I4, count: int
) -> int:
    """Let `i` go to option `to` in this wave; return how many steps there are now."""
    nowhere = movers.cost.shape[1] - 1
    kind = MOVE if to == movers.target[i] else HOP
    if at[i] == nowhere:
        kind = START
    if to == nowhere:
        kind = STOP
        _give(movers, room, i, at[i], 1)
    else:
        _give(movers, room, i, to, -1)
        _count(movers, room, i, at[i], to, 1)
    steps[count, 0] = i
    steps[count, 1] = at[i]
    steps[count, 2] = to
    steps[count, 3] = wave
    steps[count, 4] = kind
    return count + 1


@kernel
def _refuge(movers: Movers, room: Room, i: int, at: int) -> int:
    """Return the cheapest option that has room for `i` for a while; that of nowhere if none."""
    nowhere = movers.cost.shape[1] - 1
    best = nowhere
    for k in range(nowhere):
        if k == at or k == movers.target[i] or movers.cost[i, k] == CLOSED:
            continue
        if best != nowhere and movers.cost[i, k] >= movers.cost[i, best]:
            continue
        if _lacks(movers, room, i, k) < 0:
            best = k
    return int(best)


@kernel
def _served(
    movers: Movers,
    room: Room,
    waiting: I4,
    at: I4,
    wants: I4,
    first: I4,
    following: I4,
    goes: B1,
    j: int,
    partly: bool,
) -> bool:
    """Whether one of `waiting` finds room when `j` leaves, or if `partly`, less is lacking."""
    for side in range(2):
        group = _group(movers, room, j, at[j], side)
        while group >= 0 and first[group] >= 0 and goes[first[group]]:
            first[group] = following[first[group]]
        x = first[group] if group >= 0 else -1
        while x >= 0:
            i, resource = waiting[x], wants[x]
            gives = movers.demand[j, resource]
            row = _row(movers, room, i, movers.target[i], resource)
            enough = gives >= movers.demand[i, resource] - room.free[row]
            if not goes[x] and gives > 0 and (enough or partly):
                return True
            x = following[x]
    return False


@kernel
def _relieve(
    movers: Movers, room: Room, waiting: I4, at: I4, strayed: B1, wave: int, steps: I4, count: int
) -> int:
    """Make way when all wait for each other; return how many steps there are now.

    Who stands where another wants to go hops elsewhere, the cheapest first, if that makes room
    enough for one; if nobody can, if it makes some room. If nobody can hop, who is cheapest to
    stop is stopped. Who finds room thereby makes room in turn, and so on: nobody makes way for
    those who are served by that.
    """
    n, nowhere = waiting.shape[0], movers.cost.shape[1] - 1
    refuge = np.empty(n, np.int32)
    price = np.empty(n, np.int64)
    wants = np.empty(n, np.int32)
    # who waits for each place and uplink, the most urgent first
    first = np.full(room.busy.shape[0], -1, np.int32)
    following = np.empty(n, np.int32)
    for x in range(n - 1, -1, -1):
        i = waiting[x]
        # One hop each, so that it ends.
        refuge[x] = nowhere if strayed[i] else _refuge(movers, room, i, at[i])
        price[x] = movers.cost[i, refuge[x]]
        if refuge[x] != nowhere:
            price[x] -= movers.cost[i, movers.target[i]]
        wants[x] = _lacks(movers, room, i, movers.target[i])
        goal = _group(movers, room, i, movers.target[i], 1 if wants[x] == 3 else 0)
        following[x] = first[goal]
        first[goal] = x
    cheapest = np.argsort(price, kind="mergesort")
    goes = np.zeros(n, np.bool_)
    left = np.empty(SERVED + 1, np.int32)
    begun = count
    for attempt in range(4):
        stops, partly = attempt >= 2, attempt % 2 == 1
        if count > begun:
            break
        for z in range(n):
            y = cheapest[z]
            j = waiting[y]
            if goes[y] or stops != (refuge[y] == nowhere) or count - begun >= room.limit[0]:
                continue
            if not stops and _crowded(movers, room, j, at[j], refuge[y]):
                continue
            if not _served(movers, room, waiting, at, wants, first, following, goes, j, partly):
                continue
            if not stops and _lacks(movers, room, j, refuge[y]) >= 0:
                continue  # others have taken what was left there
            count = _step(movers, room, j, at, refuge[y], wave, steps, count)
            strayed[j] = True
            # The first who waits for what leaves goes there, and so on from where that one leaves.
            goes[y] = True
            left[0] = y
            last = 1
            seen = 0
            while seen < last:
                i = waiting[left[seen]]
                seen += 1
                for side in range(2):
                    group = _group(movers, room, i, at[i], side)
                    while group >= 0 and first[group] >= 0 and goes[first[group]]:
                        first[group] = following[first[group]]
                    if group >= 0 and first[group] >= 0 and last <= SERVED:
                        goes[first[group]] = True
                        left[last] = first[group]
                        last += 1
    return count


@kernel
def order_moves(movers: Movers, room: Room, source: I4, steps: I4) -> int:
    """Write the steps that bring each mover from `source` [n] to its target; return how many.

    Wave by wave, whoever finds room takes it, in order; but first those who have been sent
    elsewhere for a while. When nobody finds room, all wait for each other, and some make way.

    `room.free` is what is left before the first move, and is written to; rows that are over take
    nobody until they no longer are. `room.busy` is scratch, zero on entry. `steps` [3n, 5] gets
    mover, option left, option taken, wave and kind, in the order of the waves. A mover makes at
    most three steps: one hop, one stop, and its move. What is returned is -1 if the targets do
    not all fit at once, for then there need not be an order.
    """
    nowhere = movers.cost.shape[1] - 1
    at = source.copy()
    strayed = np.zeros(source.shape[0], np.bool_)
    astray = 0
    # Where each mover was last found to lack room: as long as it does, nothing else matters.
    lacking = np.zeros(source.shape[0], np.int64)
    lacked = np.zeros(source.shape[0], np.int64)
    waiting = np.arange(source.shape[0]).astype(np.int32)
    count = 0
    wave = 0
    while waiting.shape[0] > 0:
        begun = count
        for turn in range(0 if astray > 0 else 1, 2):
            for x in range(waiting.shape[0]):
                i = waiting[x]
                if strayed[i] != (turn == 0):
                    continue
                if lacked[i] > 0 and room.free[lacking[i]] < lacked[i]:
                    continue
                if count - begun >= room.limit[0]:
                    break
                to = movers.target[i]
                resource = _lacks(movers, room, i, to)
                if resource >= 0:
                    lacking[i] = _row(movers, room, i, to, resource)
                    lacked[i] = movers.demand[i, resource]
                    continue
                if to != nowhere and _crowded(movers, room, i, at[i], to):
                    continue
                count = _step(movers, room, i, at, to, wave, steps, count)
        if count == begun:
            count = _relieve(movers, room, waiting, at, strayed, wave, steps, count)
        if count == begun:
            return -1
        for s in range(begun, count):
            i = steps[s, 0]
            if steps[s, 4] != STOP:
                _give(movers, room, i, at[i], 1)
                _count(movers, room, i, at[i], steps[s, 2], -1)
            at[i] = steps[s, 2]
        astray = 0
        left = 0
        for x in range(waiting.shape[0]):
            if at[waiting[x]] != movers.target[waiting[x]]:
                waiting[left] = waiting[x]
                astray += strayed[waiting[x]]
                left += 1
        waiting = waiting[:left]
        wave += 1
    return count


@kernel
def rely(movers: Movers, free: I8, groups: int, steps: I4, after: I4) -> int:
    """Write which steps each step waits for; return how many such pairs there are.

    What is free at the start, and then what each step gives back, is dealt out to the steps that
    take it, first come, first served. So a set of steps that holds, with each step, all that it
    waits for, exceeds no capacity either, whatever else is left out. A row that is over at the
    start is to take nobody before it has been relieved: the first to come waits for all that must
    leave, and who comes later for the first.

    `free` [3p + u] is as before the first move, and is written to; ``groups = p + u``. `steps`
    [s, 5] are as `order_moves` wrote them. `after` [17s, 2] gets pairs (step, step it waits for).
    """
    count = steps.shape[0]
    room = Room(free, np.empty(groups, np.int32), np.empty(3, np.int32))
    # What each step gave back in each resource, in a queue for every row.
    given = np.zeros((count, 4), np.int64)
    following = np.full((count, 4), -1, np.int32)
    head = np.full(free.shape[0], -1, np.int32)
    tail = np.full(free.shape[0], -1, np.int32)
    over = free < 0
    relief = np.full((count, 4), -1, np.int32)  # who left a row that was over, newest first
    newest = np.full(free.shape[0], -1, np.int32)
    opener = np.full(free.shape[0], -1, np.int32)  # who came first to a row that was over
    last = np.full(movers.cost.shape[0], -1, np.int32)
    pairs = 0
    begun = 0
    while begun < count:
        end = begun
        while end < count and steps[end, 3] == steps[begun, 3]:
            end += 1
        for phase in range(3):  # stops give back at once, then all take, then the others give back
            for s in range(begun, end):
                i = steps[s, 0]
                stops = steps[s, 4] == STOP
                if phase == 1:
                    if last[i] >= 0:
                        after[pairs, 0] = s
                        after[pairs, 1] = last[i]
                        pairs += 1
                    last[i] = s
                if phase != 1 and stops != (phase == 0):
                    continue
                for resource in range(4):
                    k = steps[s, 2] if phase == 1 else steps[s, 1]
                    row = _row(movers, room, i, k, resource)
                    amount = movers.demand[i, resource]
                    if row < 0 or amount == 0:
                        continue
                    if phase != 1:
                        debt = min(max(-free[row], 0), amount)
                        free[row] += debt
                        given[s, resource] = amount - debt
                        if debt > 0:
                            relief[s, resource] = newest[row]
                            newest[row] = s
                        if tail[row] >= 0:
                            # `resource` is that of the row, whoever gives.
                            following[tail[row], resource] = s
                        else:
                            head[row] = s
                        tail[row] = s
                        continue
                    if over[row] and opener[row] >= 0:
                        after[pairs, 0] = s
                        after[pairs, 1] = opener[row]
                        pairs += 1
                    elif over[row]:
                        opener[row] = s
                        giver = newest[row]
                        while giver >= 0:
                            after[pairs, 0] = s
                            after[pairs, 1] = giver
                            pairs += 1
                            giver = relief[giver, resource]
                    own = min(max(free[row], 0), amount)
                    free[row] -= own
                    amount -= own
                    while amount > 0 and head[row] >= 0:
                        giver = head[row]
                        part = min(given[giver, resource], amount)
                        given[giver, resource] -= part
                        amount -= part
                        if part > 0:
                            after[pairs, 0] = s
                            after[pairs, 1] = giver
                            pairs += 1
                        if given[giver, resource] == 0:
                            head[row] = following[giver, resource]
                            if head[row] < 0:
                                tail[row] = -1
        begun = end
    return pairs
