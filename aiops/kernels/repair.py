"""From a choice that breaks capacities to one that keeps them, and then to a cheaper one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import F8, I1, I4, I8

CLOSED = np.iinfo(np.int64).max
"""Cost of an option that may not be taken."""
MILLIONTH = 1e-6
MOST = 16
"""Workloads that are taken out at once, at most."""
OVERLOOKED = 0.01
"""Share of places that are overlooked when one is looked for, so that not all that is tried is
greedy."""
COOLER = 1.0 / 3.0
"""What is left of the temperature in the end."""
ORDERS = 4
"""In which who was taken out chooses: by chance, value, value per core, or regret."""


class Places(NamedTuple):
    """What does not change while places are sought: arrays of `placement.instance.Instance`.

    Places are the shared nodes and after them the homes.
    """

    cost: I8
    """[w, k]"""
    node: I4
    """[w, k]"""
    uplink: I4
    """[w, k]"""
    home: I4
    """[w]"""
    demand: I8
    """[w, 4]"""
    nodes: int
    start: I8
    """[p+1] place p has had at most ``start[p + 1] - start[p]`` workloads that could be there."""


@kernel
def candidates(places: Places) -> None:
    """Write ``places.start``: how many options there are at each place."""
    start = places.start
    start[:] = 0
    for w in range(places.node.shape[0]):
        for k in range(places.node.shape[1]):
            at = places.node[w, k]
            if at < 0 and k == 0:
                at = places.nodes + places.home[w]
            if at >= 0:
                start[at + 1] += 1
    for at in range(start.shape[0] - 1):
        start[at + 1] += start[at]


@kernel
def put(places: Places, w: int, k: int, sign: int, free: I8, pipe: I8) -> None:
    """Give back what option `k` of workload `w` takes, or take it where `sign` is -1."""
    at = places.node[w, k]
    if at < 0 and k == 0:
        at = places.nodes + places.home[w]
    if at >= 0:
        for q in range(3):
            free[at, q] += sign * places.demand[w, q]
    link = places.uplink[w, k]
    if link >= 0:
        pipe[link] += sign * places.demand[w, 3]


@kernel
def has_room(places: Places, w: int, k: int, free: I8, pipe: I8) -> bool:
    """Return whether option `k` of workload `w` has room."""
    at = places.node[w, k]
    if at < 0 and k == 0:
        at = places.nodes + places.home[w]
    if at >= 0:
        for q in range(3):
            if places.demand[w, q] > free[at, q]:
                return False
    link = places.uplink[w, k]
    return bool(link < 0 or places.demand[w, 3] <= pipe[link])


@kernel
def loss(places: Places, w: int, here: int, price: F8) -> float:
    """Return how much dearer, with prices, the next best option of `w` is than `here`."""
    least = np.inf
    mine = 0.0
    for k in range(places.cost.shape[1]):
        if places.cost[w, k] == CLOSED:
            continue
        value = float(places.cost[w, k])
        at, link = places.node[w, k], places.uplink[w, k]
        if at >= 0:
            for q in range(3):
                value += MILLIONTH * price[3 * at + q] * places.demand[w, q]
        if link >= 0:
            value += MILLIONTH * price[3 * places.nodes + link] * places.demand[w, 3]
        if k == here:
            mine = value
        else:
            least = min(least, value)
    return max(0.0, least - mine)


@kernel
def fit(places: Places, price: F8, free: I8, pipe: I8, choice: I4) -> None:
    """Make `choice` [w] feasible.

    `free` [p, 3] and `pipe` [u] are what it leaves of places and uplinks, below 0 where it takes
    too much; both are kept up. Of what is over, who would miss it least per unit at prices [r]
    leaves first; then who had to leave takes the cheapest option with room, by falling worth. The
    last option of a workload is always open and takes nothing.
    """
    workloads, options = places.cost.shape
    many = free.shape[0]
    # who is where something is over
    over = np.zeros(many + pipe.shape[0], np.bool_)
    for at in range(many):
        over[at] = free[at, 0] < 0 or free[at, 1] < 0 or free[at, 2] < 0
    for link in range(pipe.shape[0]):
        over[many + link] = pipe[link] < 0
    group = np.empty(2 * workloads, np.int64)
    on = np.empty(2 * workloads, np.int64)
    n = 0
    for w in range(workloads):
        k = choice[w]
        at, link = places.node[w, k], places.uplink[w, k]
        if at < 0 and k == 0:
            at = places.nodes + places.home[w]
        if at >= 0 and over[at]:
            group[n] = at
            on[n] = w
            n += 1
        if link >= 0 and over[many + link]:
            group[n] = many + link
            on[n] = w
            n += 1
    if n == 0:
        return
    missed = np.full(n, np.inf)
    for one in range(n):
        missed[one] = loss(places, on[one], choice[on[one]], price)
    order = np.argsort(group[:n], kind="mergesort")
    left = np.empty(n, np.int64)
    leaving = 0
    first = 0
    while first < n:
        g = group[order[first]]
        last = first
        while last < n and group[order[last]] == g:
            last += 1
        for q in range(4):
            if (g < many) == (q == 3):
                continue
            rate = np.empty(last - first)
            for one in range(last - first):
                w = on[order[first + one]]
                asked = places.demand[w, q]
                rate[one] = missed[order[first + one]] / asked if asked > 0 else np.inf
            for one in np.argsort(rate, kind="mergesort"):
                short = free[g, q] < 0 if q < 3 else pipe[g - many] < 0
                if not short or rate[one] == np.inf:
                    break
                w = on[order[first + one]]
                if choice[w] == options - 1:
                    continue
                put(places, w, choice[w], 1, free, pipe)
                choice[w] = options - 1
                left[leaving] = w
                leaving += 1
        first = last

    # where they go
    worth = np.empty(leaving)
    for one in range(leaving):
        w = left[one]
        worth[one] = -float(places.cost[w, options - 1] - places.cost[w].min())
    for one in np.argsort(worth, kind="mergesort"):
        w = left[one]
        best = options - 1
        for k in range(options - 1):
            if places.cost[w, k] < places.cost[w, best] and has_room(places, w, k, free, pipe):
                best = k
        choice[w] = best
        put(places, w, best, -1, free, pipe)


@kernel
def descend(places: Places, rank: I1, rows: I4, free: I8, pipe: I8, choice: I4) -> int:
    """Let the workloads `rows` take cheaper options that have room until none has one.

    `rank` [w, k] are their options, cheapest first; the rest as in `fit`. `choice` must be
    feasible. Returned is what that saves.
    """
    saved = 0
    better = True
    while better:
        better = False
        for w in rows:
            was = choice[w]
            if was == rank[w, 0]:
                continue
            put(places, w, was, 1, free, pipe)
            for j in range(rank.shape[1]):
                k = rank[w, j]
                if places.cost[w, k] >= places.cost[w, was]:
                    break
                if has_room(places, w, k, free, pipe):
                    saved += places.cost[w, was] - places.cost[w, k]
                    choice[w] = k
                    better = True
                    break
            put(places, w, choice[w], -1, free, pipe)
    return saved


@kernel
def draw(state: I8, below: int) -> int:
    """Return the next of a fixed sequence of whole numbers from 0 up to `below`, as if by chance.

    `state` [1] is from 1 to 2^31 - 2. (Park and Miller 1988, doi:10.1145/63039.63042.)
    """
    state[0] = state[0] * 48271 % 2147483647
    return int(state[0] * below // 2147483647)


@kernel
def recreate(
    places: Places,
    core: I4,
    trials: int,
    temperature: float,
    free: I8,
    pipe: I8,
    choice: I4,
    state: I8,
) -> int:
    """Take a few neighbours out and put them back in another order; return what that saves.

    So many `trials` times: a workload of `core`, and others that share a place with it, leave; each
    takes the cheapest option with room, in an order that changes from trial to trial. Kept is what
    is not dearer, or not by more than a share of `temperature`, which falls (ruin and recreate:
    Schrimpf et al. 2000, doi:10.1006/jcph.1999.6413; what is near leaves together: Christiaens and
    Vanden Berghe 2020, doi:10.1287/trsc.2019.0914). `choice` [w] must be feasible, and stays it;
    `free`, `pipe` as in `fit`; `state` [1] is that of `draw`. Micro-dollars per hour, below 0 where
    it ended dearer.
    """
    workloads, options = places.cost.shape
    cost, node, demand = places.cost, places.node, places.demand
    # who is where
    start = places.start
    member = np.empty(start[free.shape[0]], np.int32)
    count = np.zeros(free.shape[0], np.int64)
    position = np.empty(workloads, np.int32)
    for w in range(workloads):
        at = node[w, choice[w]]
        if at < 0 and choice[w] == 0:
            at = places.nodes + places.home[w]
        if at >= 0:
            position[w] = count[at]
            member[start[at] + count[at]] = w
            count[at] += 1
    out = np.empty(MOST, np.int32)
    was = np.empty(MOST, np.int32)
    key = np.empty(MOST)
    chosen = np.zeros(workloads, np.bool_)
    unit = 1.0 / 2**20
    saved = 0
    for trial in range(trials):
        warmth = temperature * (1.0 - (1.0 - COOLER) * trial / trials)
        # who leaves
        w = core[draw(state, core.shape[0])]
        out[0] = w
        n = 1
        chosen[w] = True
        want = 2 + draw(state, MOST - 1)
        for _ in range(4):
            if n >= want:
                break
            one = out[draw(state, n)]
            k = draw(state, options - 1)
            if n == 1 and cost[one, k] >= cost[one, choice[one]]:
                k = draw(state, options - 1)  # rather where it would like to be
            if cost[one, k] == CLOSED:
                continue
            at = node[one, k]
            if at < 0 and k == 0:
                at = places.nodes + places.home[one]
            if at < 0 or count[at] == 0:
                continue
            first = draw(state, count[at])
            for step in range(min(1 + draw(state, want - n), count[at])):
                v = member[start[at] + (first + step) % count[at]]
                if not chosen[v]:
                    chosen[v] = True
                    out[n] = v
                    n += 1
        before = 0
        for one in range(n):
            w = out[one]
            k = choice[w]
            chosen[w] = False
            was[one] = k
            before += cost[w, k]
            put(places, w, k, 1, free, pipe)
            at = node[w, k]
            if at < 0 and k == 0:
                at = places.nodes + places.home[w]
            if at >= 0:
                count[at] -= 1
                last = member[start[at] + count[at]]
                member[start[at] + position[w]] = last
                position[last] = position[w]
        # in which order they choose
        by = draw(state, ORDERS)
        for one in range(n):
            w = out[one]
            chance = 0.5 + unit * draw(state, 2**20)
            if by == 0:
                value = chance
            elif by == 1:
                value = float(cost[w, options - 1])
            elif by == 2:
                value = float(cost[w, options - 1]) / (demand[w, 0] + 1.0) * chance
            else:
                least = np.inf
                next_ = np.inf
                for k in range(options):
                    if cost[w, k] != CLOSED:
                        this = float(cost[w, k])
                        if this < least:
                            next_ = least
                            least = this
                        elif this < next_:
                            next_ = this
                value = (next_ - least) * chance
            k = was[one]
            at = one
            while at > 0 and key[at - 1] < value:
                key[at] = key[at - 1]
                out[at] = out[at - 1]
                was[at] = was[at - 1]
                at -= 1
            key[at] = value
            out[at] = w
            was[at] = k
        after = 0
        for one in range(n):
            w = out[one]
            best = options - 1
            for k in range(options - 1):
                if cost[w, k] >= cost[w, best] or not has_room(places, w, k, free, pipe):
                    continue
                if unit * draw(state, 2**20) >= OVERLOOKED:
                    best = k
            choice[w] = best
            after += cost[w, best]
            put(places, w, best, -1, free, pipe)
        worse = after - before
        if worse <= 0 or worse < warmth * unit * draw(state, 2**20):
            saved -= worse
        else:
            for one in range(n):
                put(places, out[one], choice[out[one]], 1, free, pipe)
            for one in range(n):
                choice[out[one]] = was[one]
                put(places, out[one], was[one], -1, free, pipe)
        for one in range(n):
            w = out[one]
            k = choice[w]
            at = node[w, k]
            if at < 0 and k == 0:
                at = places.nodes + places.home[w]
            if at >= 0:
                position[w] = count[at]
                member[start[at] + count[at]] = w
                count[at] += 1
    return saved
