"""What the relation kernel works on: what is known of each device, and what shapes it."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from aiops.kernels.rows import F8, I1, I4, I8

F4: TypeAlias = npt.NDArray[np.float32]
U2: TypeAlias = npt.NDArray[np.uint16]


class RelationMemory(NamedTuple):
    """What is known of each device; the metrics are the second axis. 0 in a time means never."""

    ts: I8
    """[c] of the last row, ns."""
    start: I8
    """[c] when the open bin began, ns; 0: none is open."""
    bin_ts: I8
    """[c] when the last judged bin began, ns."""
    since: I8
    """[c] when the relation broke, ns; 0: it holds."""
    total: F4
    """[c, k] sum of the values in the open bin."""
    rows: U2
    """[c, k] how many they are."""
    mean: F4
    """[c, k] of the last days."""
    variance: F4
    """[c, k] about that, of the last weeks."""
    known: F4
    """[c, k] bins."""
    moment: F4
    """[c, k (k + 1) / 2] products of standardised values, the lower triangle by rows."""
    inverse: F4
    """[c, k (k + 1) / 2] of the correlations, likewise; 0 for metrics left out."""
    given: U2
    """[c] bits of the metrics in it."""
    age: U2
    """[c] bins since it was worked out."""
    misfit: F4
    """[c, k] variance left, measured ahead, over that which the inverse says."""
    lasting: F4
    """[c, k] mean error of late, in spreads."""
    wander: F4
    """[c, k] variance of that."""
    evidence: F4
    """[c, k] that the metric no longer follows the others, log likelihood ratio."""
    peak: F4
    """[c, k] highest since it was last zero."""
    ended: F4
    """[c, k] highest peak from which it came back to zero this day."""
    usual: F4
    """[c, k] mean of that over days."""
    square: F4
    """[c, k] mean square of that."""
    line: F4
    """[c, k] evidence at which learning slows down: the line of the default budget."""
    day: I4
    """[c] days since 1970."""
    days: F4
    """[c] seen so far."""
    informed: I1
    """[c] 1: borrowed from its cohort."""
    accepted: I1
    """[c] 1: a new relation was accepted."""
    observed: F4
    """[c, k] as judged (logarithm where the settings say so) in the last bin that spoke against."""
    expected: F4
    """[c, k] given the others, likewise."""


class RelationSettings(NamedTuple):
    """What shapes it."""

    bin_ns: int
    memory_s: float
    """Time constant of variances and correlations."""
    centre_s: float
    """Time constant of means."""
    learn_days: float
    """Before a device is judged."""
    borrow_days: float
    """Likewise if its cohort is known."""
    accept_ns: int
    """After so long a new relation is the usual one."""
    usual_log: float
    """Minus the log of the chance of a false alarm, a metric and day, at the default budget."""
    line_log: float
    """Likewise at the budget asked for."""
    floor: F8
    """[k] added before the logarithm is taken; NaN: no logarithm."""
