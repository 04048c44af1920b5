"""The one decorator of every kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with the flags every kernel shares.

    No ``fastmath``: NaN means *not reported*, and reassociation would let the cut of the stream
    change results. No ``parallel``: two threads under the workqueue layer abort the process;
    scale by sharding devices over processes. ``nogil`` lets a service keep answering meanwhile.
    """
    compiled: Callable[P, R] = numba.njit(
        cache=True, nogil=True, error_model="numpy", fastmath=False
    )(function)
    return compiled
