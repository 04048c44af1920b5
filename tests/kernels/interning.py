"""Empty arrays for kernels that number strings."""

from __future__ import annotations

import numpy as np

from aiops.kernels.remote_write import CHUNK, Interned

KEY = np.random.default_rng(5).integers(-(2**63), 2**63 - 1, CHUNK + 1)


def interned(strings: int, text_bytes: int, slots: int = 0) -> Interned:
    """Return room for so many strings of so many bytes in all."""
    room = [np.zeros(strings, dtype) for dtype in (np.int32, np.int32, np.uint8)]
    slots = slots or 1 << (2 * strings + 1).bit_length()
    begin = np.zeros(strings + 1, np.int64)
    text = np.zeros(text_bytes, np.uint8)
    return Interned(text, begin, *room, np.zeros(slots, np.int32), KEY)
