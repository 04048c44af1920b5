"""Which of many devices to believe: false alarms as a share of alarms, at any fleet size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from aiops.errors import SettingsError
from aiops.kernels.rows import B1, F8

MONTH_S = 365.25 / 12.0 * 86_400.0


@runtime_checkable
class EDetector(Protocol):
    """A detector whose memory holds e-detectors: evidence that may be compared across a fleet."""

    @property
    def bin_s(self) -> float:
        """Seconds between two values of an e-detector."""

    def log_evidence(self, memory: object, size: int) -> F8:
        """Return the log [size] of each device's e-detector; -inf: not judged yet.

        As long as nothing changes, an e-detector is on average no more than the number of bins
        that were judged, at any stopping time.
        """


@dataclass(frozen=True)
class Selection:
    """e-d-BH: of K devices, the k with most evidence, if each has at least K * patience / (q * k).

    A budget of false alarms a device holds for each device; on a fleet of 100,000 it still means
    many a day, and few of the alarms may be true. This asks for more evidence the larger the fleet
    is and the fewer devices stand out. With it the *error over patience* is controlled under any
    dependence between devices: at any stopping time the expected share of false ones among the
    selected is at most `false_discovery_ratio` times the expected time so far in units of
    `patience_months` (Dandapanthula and Ramdas, arXiv:2501.04130, theorem for e-d-BH). No method
    whose average run length is finite can promise more: over an endless run some alarm is false.
    """

    false_discovery_ratio: float = 0.1
    """q: the share of false ones among the selected..."""
    patience_months: float = 3.0
    """...who come together in so long: until somebody has looked at a device and said so."""

    def __post_init__(self) -> None:
        if not 0.0 < self.false_discovery_ratio < 1.0:
            raise SettingsError(
                f"selection.false_discovery_ratio must be within 0 and 1; got "
                f"{self.false_discovery_ratio}"
            )
        if not 0.0 < self.patience_months < np.inf:
            raise SettingsError(
                f"selection.patience_months must be above 0; got {self.patience_months}"
            )

    def select(self, log_evidence: F8, bin_s: float) -> B1:
        """Return [n] who is selected, of devices with `log_evidence` [n]; -inf or NaN never is."""
        judged = np.isfinite(log_evidence)
        patience = self.patience_months * MONTH_S / bin_s
        full = np.log(max(int(np.count_nonzero(judged)), 1) * patience / self.false_discovery_ratio)
        # Nobody below what is asked if all are selected: few are left to be sorted.
        least = full - np.log(max(len(log_evidence), 1))
        candidates = np.flatnonzero(judged & (log_evidence >= least))
        value = np.sort(log_evidence[candidates])[::-1]
        enough = np.flatnonzero(value >= full - np.log(np.arange(1, len(value) + 1)))
        line = value[enough[-1]] if len(enough) else np.inf
        selected: B1 = judged & (log_evidence >= line)
        return selected
