"""The newest of each of several metrics of a device, and when to ask a model about them."""

from __future__ import annotations

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.rows import B1, F8, I4, I8


@kernel
def take_latest(
    indptr: I8,
    device: I4,
    ts: I8,
    value: F8,
    stale_ns: int,
    every_ns: int,
    latest: F8,
    said: I8,
    asked: I8,
    features: F8,
    wanted: B1,
) -> None:
    """Carry the newest values forward, row by row; mark the rows of which a model is to be asked.

    Parameters
    ----------
    value
        [n, k] what each row reports; NaN: not reported.
    stale_ns
        A value that is older counts no more.
    every_ns
        A device is asked about at most so often...
    latest, said
        [devices, k] the newest value, and when it was told, ns.
    asked
        [devices] when it was last asked about, ns.
    features
        [n, k] out: what is known as of each row; NaN: nothing.
    wanted
        [n] out: ...and only when all is known.
    """
    k = value.shape[1]
    for g in range(indptr.shape[0] - 1):
        for row in range(indptr[g], indptr[g + 1]):
            i = device[row]
            complete = True
            for m in range(k):
                if not np.isnan(value[row, m]):
                    latest[i, m] = value[row, m]
                    said[i, m] = ts[row]
                if ts[row] - said[i, m] > stale_ns:
                    features[row, m] = np.nan
                else:
                    features[row, m] = latest[i, m]
                if np.isnan(features[row, m]):
                    complete = False
            wanted[row] = complete and ts[row] - asked[i] >= every_ns
            if wanted[row]:
                asked[i] = ts[row]
