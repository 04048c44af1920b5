"""Random numbers of a device's own, and its instants among those of the whole fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aiops.kernels.rows import B1, I8

U8 = npt.NDArray[np.uint64]

FAR_MS = 2**40
"""Beyond any instant: 34 years from the start."""


def stream_key(seed: int, *path: int) -> U8:
    """Return the Philox key [2] of a child stream, named by its path below the seed."""
    return np.random.SeedSequence(seed, spawn_key=path).generate_state(2, np.uint64).astype("u8")


class Streams:
    """One Philox generator, aimed at will at any block of any child stream.

    Philox is counter based (Salmon et al., SC 2011, doi:10.1145/2063384.2063405): a block's
    numbers depend on the key and the block's number alone, so that a history can be entered
    anywhere and no device's numbers depend on another device.
    """

    def __init__(self) -> None:
        self._bits = np.random.Philox(0)
        self._generator = np.random.Generator(self._bits)
        self._counter = np.zeros(4, dtype=np.uint64)

    def at(self, key: U8, block: int) -> np.random.Generator:
        """Return the generator at the beginning of `block` of the stream `key` [2]."""
        self._counter[3] = block
        state: Any = {
            "bit_generator": "Philox",
            "state": {"counter": self._counter, "key": key},
            "buffer": np.zeros(4, dtype=np.uint64),
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        self._bits.state = state
        return self._generator


class Timeline:
    """Instants of many devices, one after the other; each device has at least one."""

    def __init__(self, instants: Sequence[I8]) -> None:
        owner = np.repeat(np.arange(len(instants)), [len(own) for own in instants])
        self.ms: I8 = np.concatenate(instants)
        """[m] ascending within a device."""
        self._key = owner * (2 * FAR_MS) + self.ms

    def last(self, device: I8, ms: I8) -> I8:
        """Return the place of each device's last instant at or before `ms` (same shapes)."""
        place: I8 = np.searchsorted(self._key, device * (2 * FAR_MS) + ms, side="right") - 1
        return place


class Intervals:
    """Disjoint intervals of many devices, each from its start until before its end."""

    def __init__(self, intervals: Sequence[Sequence[tuple[int, int]]]) -> None:
        # Each device gets an empty interval at the beginning of time, so that a search for the
        # last start always ends at the device itself.
        every = [np.array([(-FAR_MS, -FAR_MS), *own], dtype=np.int64) for own in intervals]
        self._starts = Timeline([own[:, 0] for own in every])
        self._end: I8 = np.concatenate([own[:, 1] for own in every])

    @property
    def longest_ms(self) -> int:
        """Length of the longest one that ends."""
        length = np.where(self._end < FAR_MS, self._end - self._starts.ms, 0)
        return int(length.max())

    def find(self, device: I8, ms: I8) -> tuple[B1, I8, I8]:
        """Return for each (device, ms): whether it is inside, and the start and end of where."""
        place = self._starts.last(device, ms)
        end = self._end[place]
        return ms < end, self._starts.ms[place], end


def merge(intervals: list[tuple[float, float]]) -> list[tuple[int, int]]:
    """Return the union of `intervals` (start, end; ms) as disjoint ones in order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        low, high = int(start), int(min(end, FAR_MS))
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    return merged
