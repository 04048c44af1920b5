"""The shapes every streaming kernel is called with."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

F8: TypeAlias = npt.NDArray[np.float64]
I8: TypeAlias = npt.NDArray[np.int64]
I4: TypeAlias = npt.NDArray[np.int32]
I1: TypeAlias = npt.NDArray[np.int8]
B1: TypeAlias = npt.NDArray[np.bool_]


class Rows(NamedTuple):
    """Rows grouped by device, in time order within a device."""

    indptr: I8
    """[g + 1] where the rows of the g-th device present begin and end."""
    device: I4
    """[n] dense index of the device (or part) of each row."""
    ts: I8
    """[n] event time, ns since the epoch, UTC."""


class Scores(NamedTuple):
    """What a detector says of each row."""

    score: F8
    """[n] multiples of the alert line (1.0 is on it); NaN: no opinion."""
    observed: F8
    """[n] what was seen, in the metric's own unit."""
    expected: F8
    """[n] what was expected, in the metric's own unit."""


def no_scores(n: int) -> Scores:
    """Return scores of `n` rows on which the detector has no opinion."""
    return Scores(np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan))
