"""Reboots that many devices had at one moment: a power cut or a rollout, and nobody's own."""

from __future__ import annotations

import math

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.reboot_memory import RebootMemory, RebootSettings
from aiops.kernels.rows import B1, F8, I4

OWN, SITE, SITE_TOLD, COHORT, COHORT_TOLD = 0, 1, 2, 3, 4
"""Whose a device's last shared reboot was, and whether that group's finding has been made."""
POWER, SOFTWARE = 2, 3
"""Causes that are counted."""
SITES_AT_ONCE = 3
"""Reboots at so many sites at once are what their cohort shares..."""
ONE_SITE = 0.8
"""...unless one site has more than this share of them."""


@kernel
def share_reboots(
    by: int,
    device: I4,
    group: I4,
    site: I4,
    odds: F8,
    memory: RebootMemory,
    settings: RebootSettings,
) -> int:
    """Take pending reboots of `device` [m] that their `group` [m] shares from them; say how many.

    Groups are contiguous. A boot is known to lie in an interval, (lo, hi]; the moment that most
    intervals of a group cover is the candidate. Were all reboots independent, the number of other
    devices whose interval covers a given moment would be Poisson, with mean `odds` [m] (reboots a
    nanosecond of the whole group) times the length of the intervals. If that many are less likely
    than `settings.chance`, all of them are the group's; the search goes on with the rest. A boot
    that comes to light later but may have happened at such a moment joins.

    `by` is `SITE` or `COHORT`. A cohort's reboots that nearly all happened at one `site` [m] are
    left to that site, and a cohort shares only what happened at several (-1: a device on its own).
    """
    m = device.shape[0]
    taken = 0
    start = 0
    while start < m:
        stop = start
        while stop < m and group[stop] == group[start]:
            stop += 1
        taken += share_of_group(
            by, device[start:stop], site[start:stop], odds[start], memory, settings
        )
        start = stop
    return taken


@kernel
def share_of_group(
    by: int, device: I4, site: I4, odds: float, memory: RebootMemory, settings: RebootSettings
) -> int:
    """Do so for one group."""
    m = device.shape[0]
    opened = np.empty(m, dtype=np.int64)
    closed = np.empty(m, dtype=np.int64)
    here: B1 = np.ones(m, dtype=np.bool_)
    taken = 0
    while True:
        n = 0
        for a in range(m):
            if here[a]:
                opened[n] = memory.pending_lo[device[a]]
                closed[n] = opened[n] + width(device[a], memory, settings)
                n += 1
        if n < 2:
            return taken
        starts, ends = np.sort(opened[:n]), np.sort(closed[:n])
        depth, most, moment, e = 0, 0, 0, 0
        for a in range(n):
            while ends[e] <= starts[a]:
                depth -= 1
                e += 1
            depth += 1
            if depth > most:
                most, moment = depth, starts[a]
        length = 0.0
        for a in range(m):
            if here[a] and covers(device[a], moment, memory, settings):
                length += width(device[a], memory, settings)
        if not by_chance_less(most - 1, odds * length / most, settings.chance):
            return taken
        alone = -2
        if by == COHORT:
            sites, where, share = spread(device, site, here, moment, memory, settings)
            if sites < SITES_AT_ONCE or share > ONE_SITE:
                alone = where
                if where < 0:
                    return taken
        for a in range(m):
            i = device[a]
            if not (here[a] and covers(i, moment, memory, settings)):
                continue
            if alone == -2:
                hand_over(i, moment, by, memory)
                taken += 1
                here[a] = False
            elif site[a] == alone:
                here[a] = False


@kernel
def width(i: int, memory: RebootMemory, settings: RebootSettings) -> int:
    """Return how long the interval of the pending boot of device `i` is, at least a window, ns."""
    return max(int(memory.pending_hi[i] - memory.pending_lo[i]), settings.window_ns)


@kernel
def covers(i: int, moment: int, memory: RebootMemory, settings: RebootSettings) -> bool:
    """Say whether the pending boot of device `i` may have been at `moment` [ns]."""
    lo = int(memory.pending_lo[i])
    return lo <= moment and moment < lo + width(i, memory, settings)


@kernel
def by_chance_less(count: int, mean: float, chance: float) -> bool:
    """Say whether a Poisson count of `mean` reaches `count` less often than with `chance`."""
    if count < 1 or mean >= count:
        return False
    term = math.exp(count * math.log(max(mean, 1e-300)) - mean - math.lgamma(count + 1.0))
    tail = 0.0
    k = count
    while term > 1e-6 * tail and k < count + 1000:
        tail += term
        k += 1
        term *= mean / k
    return tail < chance


@kernel
def spread(
    device: I4, site: I4, here: B1, moment: int, memory: RebootMemory, settings: RebootSettings
) -> tuple[int, int, float]:
    """Return at how many sites the boots of `moment` were, the one with most, and its share."""
    chosen = np.empty(device.shape[0], dtype=np.int32)
    n, loners = 0, 0
    for a in range(device.shape[0]):
        if here[a] and covers(device[a], moment, memory, settings):
            if site[a] < 0:
                loners += 1
            else:
                chosen[n] = site[a]
                n += 1
    places = np.sort(chosen[:n])
    sites, best, where, run = loners, 0, -1, 0
    for a in range(n):
        if a > 0 and places[a] == places[a - 1]:
            run += 1
        else:
            run = 1
            sites += 1
        if run > best:
            best, where = run, places[a]
    return sites, where, best / (n + loners)


@kernel
def hand_over(i: int, moment: int, by: int, memory: RebootMemory) -> None:
    """Take the pending reboots of device `i` from it."""
    taken, cause = memory.pending[i], memory.pending_cause[i]
    memory.shared[i] += taken
    memory.reboots[i] -= taken
    if cause == POWER:
        memory.power[i] -= taken
    elif cause == SOFTWARE:
        memory.software[i] -= taken
    memory.shared_ts[i] = moment
    memory.shared_by[i] = by
    memory.pending[i] = 0


@kernel
def join_shared(
    by: int, group: int, moment: int, device: I4, own: I4, memory: RebootMemory,
    settings: RebootSettings,
) -> None:  # fmt: skip
    """Let pending reboots of `device` [m] join what `group` shared at `moment` [ns] before.

    `own` [m] is the group of each.
    """
    for a in range(device.shape[0]):
        i = device[a]
        lo = memory.pending_lo[i]
        near = lo <= moment + settings.window_ns and moment < lo + width(i, memory, settings)
        if own[a] == group and memory.pending[i] > 0 and near:
            hand_over(i, moment, by, memory)


@kernel
def settle(clock: int, device: I4, memory: RebootMemory, settings: RebootSettings) -> None:
    """Let the pending reboots of `device` [m] be their own once nobody else can be waited for.

    That is after as long as the gap that hid the boot, in which others of the same rhythm have
    reported, and at least after an episode.
    """
    for i in device:
        hidden = memory.pending_hi[i] - memory.pending_lo[i]
        due = clock - memory.pending_seen[i] >= max(settings.episode_ns, hidden)
        if memory.pending[i] > 0 and due:
            memory.settled[i] += 1
            memory.pending[i] = 0
