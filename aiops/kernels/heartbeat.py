"""Log lines that come at regular intervals, device by device, and which of them have stopped."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, F8, I4, I8

F4: TypeAlias = npt.NDArray[np.float32]

SLOTS = 16
"""Templates of a device whose rhythm is followed."""
FREE = -1
SAME_BEAT = 0.25
"""Lines closer than this share of the typical interval belong to one beat."""
REGULAR = 0.5
"""Largest standard deviation of a regular line's intervals, in typical intervals."""
NARROWEST, WIDENING = 1.0 / 6.0, 1.5
"""Least spread of the tail, in typical intervals, and spread for each standard deviation."""
JUDGED_BEATS = 8
"""After so many a line that is not regular gives its place to another."""
OCTAVES = 64
"""Typical intervals are told apart by powers of two, from 2^-32 s."""
CUT = 6.0
"""An interval counts as no longer than the typical one and this many spreads."""


class HeartbeatMemory(NamedTuple):
    """The rhythms of some templates of each device."""

    template: I4
    """[c, SLOTS] which template; `FREE`: none."""
    last: I8
    """[c, SLOTS] when it last came, ns."""
    beats: I4
    """[c, SLOTS] how often it came."""
    typical_s: F4
    """[c, SLOTS] mean interval."""
    variance_s2: F4
    """[c, SLOTS] variance of it."""
    heard: I8
    """[c] time of the device's last line of any template, ns, of those that came in time."""


@kernel
def heartbeat_update(
    device: I4, ts: I8, template: I4, live: B1, memory: HeartbeatMemory, memory_beats: int
) -> None:
    """Learn the intervals between lines [m] of one template, over some `memory_beats`.

    Lines are grouped by device, in time order. Template 0 has no rhythm: it is everything else.
    Those that are not `live` [m], as they came after their epoch had closed, move no clock.
    """
    for k in range(device.shape[0]):
        i, t, which = device[k], ts[k], template[k]
        if live[k]:
            memory.heard[i] = max(memory.heard[i], t)
        if which == 0:
            continue
        slot, room = -1, -1
        for s in range(SLOTS):
            if memory.template[i, s] == which:
                slot = s
                break
            if memory.template[i, s] == FREE:
                room = s if room < 0 or memory.template[i, room] != FREE else room
            elif room < 0 and memory.beats[i, s] >= JUDGED_BEATS:
                typical = memory.typical_s[i, s]
                if memory.variance_s2[i, s] > (REGULAR * typical) ** 2:
                    room = s
        if slot < 0:
            if room >= 0:
                memory.template[i, room] = which
                memory.last[i, room] = t
                memory.beats[i, room] = 1
                memory.typical_s[i, room] = 0.0
                memory.variance_s2[i, room] = 0.0
            continue
        interval = (t - memory.last[i, slot]) * 1e-9
        typical = memory.typical_s[i, slot]
        variance = memory.variance_s2[i, slot]
        beats = memory.beats[i, slot]
        if interval <= 0.0 or (beats >= 2 and interval < SAME_BEAT * typical):
            continue
        memory.last[i, slot] = t
        memory.beats[i, slot] = beats + 1
        if beats > JUDGED_BEATS:
            spread = max(WIDENING * math.sqrt(variance), NARROWEST * typical)
            interval = min(interval, typical + CUT * spread)
        share = 1.0 / min(beats, memory_beats)
        off = interval - typical
        memory.typical_s[i, slot] = typical + share * off
        memory.variance_s2[i, slot] = (1.0 - share) * (variance + share * off * off)


@kernel
def most_overdue(
    memory: HeartbeatMemory,
    device: I4,
    patience: F8,
    forget_ns: int,
    missed: I4,
    ratio: F8,
    allowed_s: F8,
) -> None:
    """Find for each `device` [k] the regular line that is most overdue.

    A device's clock is its own log: what is judged is how long it has been saying other things.
    `missed` [k] gets the slot (`FREE`: none is judged), `ratio` its silence in multiples of what is
    allowed, and `allowed_s` that. `patience` is [intervals seen, `OCTAVES`], flat: how many spreads
    are allowed beyond the typical interval. A line that was missing for `forget_ns` is forgotten.
    """
    most = patience.shape[0] // OCTAVES - 1
    for k in range(device.shape[0]):
        i = device[k]
        missed[k] = FREE
        for s in range(SLOTS):
            typical = memory.typical_s[i, s]
            if memory.template[i, s] == FREE or typical <= 0.0:
                continue
            silent_ns = memory.heard[i] - memory.last[i, s]
            if silent_ns > forget_ns:
                memory.template[i, s] = FREE
                memory.typical_s[i, s] = 0.0
                continue
            deviation = math.sqrt(memory.variance_s2[i, s])
            if memory.beats[i, s] <= JUDGED_BEATS or deviation > REGULAR * typical:
                continue
            spread = max(WIDENING * deviation, NARROWEST * typical)
            octave = min(max(math.frexp(typical)[1] + OCTAVES // 2, 0), OCTAVES - 1)
            intervals = min(memory.beats[i, s] - 1, most)
            allowed = typical + patience[intervals * OCTAVES + octave] * spread
            found = silent_ns * 1e-9 / allowed
            if missed[k] == FREE or found > ratio[k]:
                missed[k] = s
                ratio[k] = found
                allowed_s[k] = allowed
