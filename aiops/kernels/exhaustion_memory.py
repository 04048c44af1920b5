"""What is remembered of a reading that may creep towards a limit."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.rows import F8, I1, I4, I8

F4: TypeAlias = npt.NDArray[np.float32]
U1: TypeAlias = npt.NDArray[np.uint8]


class ExhaustionMemory(NamedTuple):
    """[devices] each; what goes towards the limit counts upwards (see ``direction``)."""

    ts: I8
    """Of the last reading, ns."""
    open_bin: I4
    """The bin that is being filled; -1: none yet."""
    part: F4
    """[devices, PARTS] mean of each part of it..."""
    readings: U1
    """[devices, PARTS] ...and of how many readings; from 255 on the older ones are let go of."""
    outside_sum: F8
    outside_count: I4
    """Readings of the surroundings in the open bin."""
    told: I1
    """1: the device itself reports its surroundings."""
    closed: I4
    """The last bin with a reading that is full; -1: none yet."""
    value: F4
    """[devices, WINDOW] middle of each bin, at place bin modulo WINDOW; NaN: no reading."""
    outside: F4
    """[devices, WINDOW or 0] what the surroundings or the group did, at the same place."""
    sealed: I4
    """The last bin that `outside` tells of; -1: none."""
    peak: F4
    peak_var: F4
    """How far the highest part of a bin is beyond its middle; NaN before the first."""
    turned: I1
    """1: a bin has become full that was not judged yet."""
    judged: I4
    """The bin that what follows is of; -1: not judged yet."""
    evidence: F4
    """Log of how much likelier the window is with a creep than without one."""
    chance: F4
    """Probability of being at the limit within the horizon, if there is a creep."""
    level: F4
    slope: F4
    """Level at the middle of the judged bin, and creep a bin."""
    level_var: F4
    slope_var: F4
    both_cov: F4
    away: F4
    """How far the last bin is from the level."""
    noise_var: F4
    """Variance of bins around the level."""
    correlation: F4
    """Of neighbouring bins around the level."""
    resets: F4
    """Drops back a bin."""
    floor: F4
    """Level after a drop."""
    start: F4
    """Level where the window begins."""
    span: I4
    """Bins from there to the judged one; 0: nothing worth weighing was seen."""


class ExhaustionSettings(NamedTuple):
    """What the kernels need of the frozen settings."""

    sign: float
    """1: the limit is above; -1: below."""
    limit: float
    """Times `sign`."""
    bin_ns: int
    horizon: float
    """Bins ahead that matter."""
    line: float
    """Log evidence on the alert line."""
    resolution: float
    """Differences below this are not seen."""
    least_room: float
    """Slopes that would fill at least this within the horizon are expected of a creep."""
    compares: bool
    """A creep has to be beyond what the surroundings or the group explain."""
    correlation: F8
    """[r] correlations of neighbouring bins that are averaged over..."""
    share: F8
    """[r] ...and how likely each is beforehand."""
    onset: F8
    """[o] bins, below 0, at which a creep may have begun before the last one."""
