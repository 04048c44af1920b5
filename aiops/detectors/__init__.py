"""Detectors, one file each. A new one is one file and one line in `DETECTORS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiops.detectors.flash_failure import FlashFailure
from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.protocol import Detector
from aiops.detectors.reboot_drift import RebootDrift
from aiops.detectors.silence import Silence

DETECTORS: dict[str, type] = {
    "flash_failure": FlashFailure,
    "flash_wear": FlashWear,
    "reboot_drift": RebootDrift,
    "silence": Silence,
}
"""Name in settings, rules and findings -> frozen settings, all of which have defaults."""

EVERY_METRIC: Callable[[str], Detector[Any]] | None = None
"""Makes the detector of a metric that nobody asked for, where all is watched; None: nothing is."""
