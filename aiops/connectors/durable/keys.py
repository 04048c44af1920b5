"""Which record has which idempotency key: 16 bytes a key, however many there are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_FOLD = 1 << 15


class Keys:
    """Numbers of records by the hash of their key; different keys may share a hash."""

    def __init__(self) -> None:
        self._hashes = np.zeros(0, np.int64)  # ascending
        self._seqs = np.zeros(0, np.int64)
        self._recent: dict[int, list[int]] = {}

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Take in pairs of hash and number."""
        for hashed, seq in pairs:
            self._recent.setdefault(hashed, []).append(seq)
        if len(self._recent) >= _FOLD:
            self._fold(0)

    def seqs(self, hashed: int) -> list[int]:
        """Return the numbers under a hash, ascending."""
        low = np.searchsorted(self._hashes, hashed, "left")
        high = np.searchsorted(self._hashes, hashed, "right")
        found: list[int] = self._seqs[low:high].tolist()
        return sorted(found + self._recent.get(hashed, []))

    def forget(self, before: int) -> None:
        """Let go of all numbers below one."""
        self._fold(before)

    def _fold(self, before: int) -> None:
        recent = [(hashed, seq) for hashed, seqs in self._recent.items() for seq in seqs]
        more = np.array(recent, np.int64).reshape(-1, 2)
        hashes = np.concatenate([self._hashes, more[:, 0]])
        seqs = np.concatenate([self._seqs, more[:, 1]])
        keep = seqs >= before
        order = np.argsort(hashes[keep], kind="stable")
        self._hashes, self._seqs = hashes[keep][order], seqs[keep][order]
        self._recent = {}
