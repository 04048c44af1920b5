"""The phases of an alert: inactive, pending, firing, and back."""

from __future__ import annotations

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, F8, I1, I4, I8

INACTIVE, PENDING, FIRING = 0, 1, 2
FIRED, RESOLVED = 1, -1


@kernel
def advance_phase(
    device: I4,
    ts: I8,
    score: F8,
    usable: B1,
    phase: I1,
    since: I8,
    line: float,
    clear: float,
    hold_ns: int,
    change: I1,
) -> int:
    """Move each device's phase by its rows' scores, in order.

    At or above `line` an inactive device is pending; once it has stayed so for `hold_ns` it fires.
    Below `clear` it goes back; between the two nothing changes. NaN and unusable rows say nothing.
    `phase` and `since` [devices] are updated; `change` [n] gets `FIRED` or `RESOLVED`. Returns how
    many rows changed something a reader cares for. `since` keeps its value when an alert resolves.
    """
    changed = 0
    for i in range(score.shape[0]):
        s = score[i]
        if np.isnan(s) or not usable[i]:
            continue
        d = device[i]
        if s >= line:
            if phase[d] == INACTIVE:
                phase[d] = PENDING
                since[d] = ts[i]
            if phase[d] == PENDING and ts[i] - since[d] >= hold_ns:
                phase[d] = FIRING
                change[i] = FIRED
                changed += 1
        elif s < clear:
            if phase[d] == FIRING:
                change[i] = RESOLVED
                changed += 1
            phase[d] = INACTIVE
    return changed
