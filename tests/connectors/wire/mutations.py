"""Payloads with something wrong in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def mutated(payload: bytes, times: int, seed: int = 7) -> Iterator[bytes]:
    """Yield the payload with bits turned, and pieces cut out, doubled or exchanged."""
    rng = np.random.default_rng(seed)
    for _ in range(times):
        body = bytearray(payload)
        for _ in range(rng.integers(1, 4)):
            at, to = sorted(rng.integers(0, len(body) + 1, 2))
            match rng.integers(5):
                case 0 if body:
                    body[at % len(body)] ^= 1 << rng.integers(8)
                case 1:
                    del body[at : at + rng.integers(9)]
                case 2:
                    body[at:at] = body[at : min(to, at + 40)]
                case 3:
                    body[at:at] = rng.bytes(rng.integers(1, 9))
                case _:
                    del body[to:]
        yield bytes(body)
