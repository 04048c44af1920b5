"""What a detector is: frozen settings with three functions, and memory that somebody else owns.

A detector never reads a clock, never says "alert", and never sees a row object. It judges a
device by that device's own past, or by its cohort's *sealed* past (the last finished epoch); a
model shared by all devices and learnt within a batch would break the cut law, because the cut of
the stream would then decide what the model had seen. What is shared is therefore sealed at
epochs, or frozen in ``models/``, or learnt from labels, which are records with a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from aiops.fleet.owner import Epoch, FleetShape
from aiops.kernels.rows import F8, I4, Scores
from aiops.telemetry.batch import TelemetryBatch

__all__ = ["QUANTILES", "Detector", "Epoch", "FleetShape", "Forecast", "Shared"]

M = TypeVar("M", bound=tuple[Any, ...])


class Forecast(NamedTuple):
    """What a detector foretells of some devices, as quantiles: the same shape for all detectors.

    A date (when flash wears out) is in ns since the epoch, a rate (of reboots) per second.
    Findings, plan and maintenance plan read this and nothing else of a detector's memory.
    """

    quantity: str
    """What is foretold, e.g. ``storage.wear_out.date`` or ``reboot.rate``."""
    unit: str
    """``ns`` for a date, UCUM otherwise (``1/s``)."""
    probability: F8
    """[q] ascending, within 0 to 1."""
    quantile: F8
    """[m, q] of each device asked for; NaN: nothing can be said yet; inf: never."""


class Shared(NamedTuple):
    """Something that happened to a group of devices at once: one finding, of the group."""

    group: Literal["site", "cohort"]
    code: int
    """Of the site or cohort, as in `Epoch`."""
    status: Literal["firing", "resolved"]
    since: int
    """When it began, ns."""
    ts: int
    """When it was noticed, or was over, ns."""
    score: float
    """Multiples of the alert line."""
    observed: float
    expected: float
    device: I4
    """[k] devices concerned."""
    evidence: dict[str, float]
    """The facts behind it, each name with its unit."""
    sentence: str
    """It in one plain sentence."""


QUANTILES = (0.05, 0.1, 0.5, 0.9, 0.95)


@runtime_checkable
class Detector(Protocol[M]):
    """Frozen settings with `init`, `update` and `close`.

    One may name more metrics that it looks at in the rows it is shown, as ``also_reads``.
    """

    @property
    def name(self) -> str:
        """Name in `DETECTORS`, in settings and in findings."""

    @property
    def version(self) -> int:
        """Raised whenever the meaning of the memory changes."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Canonical metrics read; empty: every row matters, whatever it reports."""

    def init(self, shape: FleetShape) -> M:
        """Return the memory of devices nothing is known of."""

    def update(self, memory: M, batch: TelemetryBatch) -> Scores:
        """Judge and learn the rows, in order, in place; return one score a row."""

    def close(self, memory: M, epoch: Epoch) -> Scores | None:
        """Judge all devices as the epoch closes ([size] each); None: nothing to say."""

    def shared(self, memory: M, epoch: Epoch) -> Sequence[Shared]:
        """Return what happened to many devices at once, after `close`: that it did, and its end."""

    def forecast(self, memory: M, device: I4) -> Forecast | None:
        """Return the forecast of `device` [m]; None: this detector does not forecast."""

    def evidence(self, memory: M, device: int) -> dict[str, float]:
        """Return the facts behind a score, each name with its unit, for findings."""

    def sentence(self, evidence: dict[str, float], forecast: dict[str, Any] | None) -> str:
        """Say the finding in one plain sentence."""
