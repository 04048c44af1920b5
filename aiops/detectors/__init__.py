"""Detectors, one file each. A new one is one file and one line in `DETECTORS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiops.detectors.error_burst import ErrorBurst, counts_errors
from aiops.detectors.exhaustion import CREEPS, Exhaustion
from aiops.detectors.flash_failure import FlashFailure
from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.log_burst import LogBurst
from aiops.detectors.log_heartbeat import LogHeartbeat
from aiops.detectors.log_novelty import LogNovelty
from aiops.detectors.normality import Normality
from aiops.detectors.protocol import Detector
from aiops.detectors.reboot_drift import RebootDrift
from aiops.detectors.relation import Relation
from aiops.detectors.silence import Silence
from aiops.telemetry.vocabulary import describe

DETECTORS: dict[str, type] = {
    "error_burst": ErrorBurst,
    "exhaustion": Exhaustion,
    "flash_failure": FlashFailure,
    "flash_wear": FlashWear,
    "log_burst": LogBurst,
    "log_heartbeat": LogHeartbeat,
    "log_novelty": LogNovelty,
    "reboot_drift": RebootDrift,
    "relation": Relation,
    "silence": Silence,
}
"""Name in settings, rules and findings -> frozen settings, all of which have defaults."""


def of_metric(metric: str) -> Detector[Any]:
    """Return what watches a metric: bursts of a counter of errors, or what is normal of others."""
    counter = describe(metric).kind == "counter"
    return ErrorBurst(metric=metric) if counter and counts_errors(metric) else Normality(metric)


EVERY_METRIC: Callable[[str], Detector[Any]] = of_metric
"""Makes the detector of each metric that arrives and is watched: all are unless told otherwise."""


def defaults(*names: str) -> tuple[Detector[Any], ...]:
    """Return the detectors that run unless told otherwise; of `names` in `DETECTORS`, if given.

    Of a detector of one metric there is one for each metric that it is made for.
    """
    several: dict[str, tuple[Detector[Any], ...]] = {"exhaustion": CREEPS}
    made = [several.get(name) or (DETECTORS[name](),) for name in names or DETECTORS]
    return tuple(detector for family in made for detector in family)
