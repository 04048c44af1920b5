"""Which media have left: a medium is replaced where a new one reports in its place."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiops.fleet.registry import Identity, Registry
from aiops.kernels.rows import B1, I4, I8
from aiops.telemetry.batch import TelemetryBatch
from aiops.telemetry.normalised import NO_TIME

SHOWS = frozenset({"storage.wear.used_ratio", "storage.bytes_written"})
"""What a medium must report to be there: a name alone may be garbled."""

Place = tuple[str, str]
"""`device_id` and `part`: where a medium sits."""


class Media:
    """When each medium was first and last read, and by which one it was replaced.

    A medium is replaced as long as another one of its place was first read after it was last read,
    and in a later epoch than it was first read: media that are first heard of together may share a
    place. One that reports again has not left. All of it follows from the instants of the rows, so
    the cut of the log does not show.
    """

    def __init__(self, registry: Registry, tracked: frozenset[str], epoch_ns: int) -> None:
        self._registry = registry
        self._shows = tuple(sorted(SHOWS & tracked))
        self._epoch_ns = epoch_ns
        self.arrays: dict[str, I8] = {name: np.zeros(0, np.int64) for name in ("first", "last")}
        """[known] times, ns; `NO_TIME`: not read yet."""
        self._forget()

    def _forget(self) -> None:
        self._at: dict[Place, list[int]] = {}
        self._known = 0
        self._named = np.zeros(0, dtype=np.bool_)
        self._shared = np.zeros(0, dtype=np.bool_)
        self._successor: dict[int, int] = {}

    @property
    def replaced(self) -> I4:
        """[k] indices of the media that have left, ascending."""
        return np.array(sorted(self._successor), dtype=np.int32)

    def successor(self, index: int) -> Identity:
        """Return the first medium that was read after one that has left."""
        return self._registry.identities[self._successor[index]]

    def see(self, batch: TelemetryBatch) -> None:
        """Take note of the media that report in an epoch."""
        self._grow()
        if not self._shows or not self._at:
            return  # nobody reads what a medium shows, or there is none
        shown = batch.reporting(self._shows)
        start, stop = shown.indptr[:-1], shown.indptr[1:] - 1
        who = shown.device[start]
        # Only media are followed: others may be known before the first of them is, or after.
        named = self._named[who]
        who, start, stop = who[named], start[named], stop[named]
        first, last = self.arrays["first"], self.arrays["last"]
        began = first[who] == NO_TIME
        first[who] = np.where(began, shown.ts[start], np.minimum(first[who], shown.ts[start]))
        last[who] = np.maximum(last[who], shown.ts[stop])
        for index in who[self._shared[who]].tolist():
            self._compare(self._place(index))

    def _place(self, index: int) -> Place:
        device_id, part, _ = self._registry.identities[index]
        return device_id, part

    def _compare(self, place: Place) -> None:
        """Say which media of a place have left."""
        first, last = self.arrays["first"], self.arrays["last"]
        identities = self._registry.identities
        ordered = sorted(self._at[place], key=lambda i: (first[i], identities[i]))
        for old in ordered:
            self._successor.pop(old, None)
            for new in ordered:
                later = first[new] // self._epoch_ns > first[old] // self._epoch_ns
                if first[old] != NO_TIME and later and first[new] > last[old]:
                    self._successor[old] = new
                    break

    def _grow(self) -> None:
        """Make room for identities that are new to the registry."""
        identities = self._registry.identities
        size = len(identities)
        if size == self._known:
            return
        for name, old in self.arrays.items():
            self.arrays[name] = np.concatenate((old, np.full(size - len(old), NO_TIME)))
        shared: B1 = np.zeros(size, dtype=np.bool_)
        shared[: self._known] = self._shared
        named: B1 = np.zeros(size, dtype=np.bool_)
        named[: self._known] = self._named
        for index in range(self._known, size):
            named[index] = bool(identities[index][2])
            if named[index]:
                media = self._at.setdefault(self._place(index), [])
                media.append(index)
                if len(media) > 1:
                    shared[media] = True
        self._known, self._named, self._shared = size, named, shared

    def save(self) -> dict[str, Any]:
        """Return named arrays from which `restore` makes this again."""
        self._grow()
        return {f"media/{name}": array for name, array in self.arrays.items()}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Become what was saved; the registry has been restored before."""
        self.arrays = {name: arrays[f"media/{name}"] for name in self.arrays}
        self._forget()
        self._grow()
        for place, media in self._at.items():
            if len(media) > 1:
                self._compare(place)
