"""What may keep memory in the fleet state, and how epochs look to it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from aiops.kernels.rows import B1, I4, Rows

M_co = TypeVar("M_co", bound=tuple[Any, ...], covariant=True)


class FleetShape(NamedTuple):
    """How much room a memory needs."""

    capacity: int
    """Length of the device axis, which is the first axis of every array of a memory."""


class Epoch(NamedTuple):
    """A stretch of event time that has closed."""

    start: int
    """ns since the epoch, UTC."""
    end: int
    """ns since the epoch, UTC; exclusive."""
    clock: int
    """ns: the fleet's watermark, confirmed by a second device or by the log's own stamps."""
    size: int
    """How many devices and parts are known."""
    root: I4
    """[size] index of the device that a part belongs to (its own index for a device)."""
    site: I4
    """[size] code of the site; -1 for none."""
    cohort: I4
    """[size] code of the cohort; -1 for none."""
    replaced: I4 = np.zeros(0, dtype=np.int32)
    """[k] media that have left, ascending: another one reports in their place."""

    @property
    def devices(self) -> B1:
        """[size] which identities are devices and not parts."""
        is_device: B1 = self.root == np.arange(self.size)
        return is_device

    @property
    def rows(self) -> Rows:
        """One row for each identity, at the end of the epoch."""
        index = np.arange(self.size, dtype=np.int32)
        ends = np.full(self.size, self.end, dtype=np.int64)
        return Rows(np.arange(self.size + 1, dtype=np.int64), index, ends)


class Owner(Protocol[M_co]):
    """Frozen settings whose memory the fleet state keeps, a NamedTuple of arrays."""

    @property
    def name(self) -> str:
        """What the memory is filed under."""

    @property
    def version(self) -> int:
        """Raised whenever the meaning of the memory changes."""

    def init(self, shape: FleetShape) -> M_co:
        """Return the memory of devices nothing is known of."""


@lru_cache(maxsize=4096)
def settings_hash(owner: Hashable) -> str:
    """Hash the settings that shape an owner's memory.

    A dataclass field with ``metadata={"line": True}`` only moves the alert line: it is left out,
    or tuning would cost weeks of warm-up.
    """
    shaping = {
        field.name: repr(getattr(owner, field.name))
        for field in dataclasses.fields(owner)  # type: ignore[arg-type]
        if not field.metadata.get("line")
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:12]
