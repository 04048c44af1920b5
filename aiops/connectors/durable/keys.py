"""Which record has which idempotency key: 16 bytes a key, however many there are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_FOLD = 1 << 15


class Keys:
    """Numbers of records by the hash of their key; different keys may share a hash."""

    def __init__(self) -> None:
        self._hashes = np.zeros(0, np.int64)  # ascending
        self._seqs = np.zeros(0, np.int64)
        self._recent: dict[int, list[int]] = {}

    def add(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Take in pairs of hash and number."""
        if len(pairs) >= _FOLD:
            self._merge(np.array(pairs, np.int64))
            return
        for hashed, seq in pairs:
            self._recent.setdefault(hashed, []).append(seq)
        if len(self._recent) >= _FOLD:
            self._fold()

    def seqs(self, hashed: int) -> list[int]:
        """Return the numbers under a hash, ascending."""
        # Not np.searchsorted: it lets go of the interpreter's lock, and may wait long for it.
        low = bisect_left(self._hashes, hashed)
        high = bisect_right(self._hashes, hashed, low)
        found: list[int] = self._seqs[low:high].tolist()
        return sorted(found + self._recent.get(hashed, []))

    def forget(self, before: int) -> None:
        """Let go of all numbers below one."""
        self._fold()
        keep = self._seqs >= before
        self._hashes, self._seqs = self._hashes[keep], self._seqs[keep]

    def _fold(self) -> None:
        recent = [(hashed, seq) for hashed, seqs in self._recent.items() for seq in seqs]
        self._recent = {}
        self._merge(np.array(recent, np.int64).reshape(-1, 2))

    def _merge(self, more: npt.NDArray[np.int64]) -> None:
        more = more[np.argsort(more[:, 0], kind="stable")]
        hashes = np.concatenate([self._hashes, more[:, 0]])
        seqs = np.concatenate([self._seqs, more[:, 1]])
        order = np.argsort(hashes, kind="stable")  # two ascending runs: they are only merged
        self._hashes, self._seqs = hashes[order], seqs[order]
