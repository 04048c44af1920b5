"""AIOps anomaly detection and placement for edge fleets.

The names below are the library; everything else may change. They are loaded when first used, so
that ``import aiops`` and ``aiops --help`` do not wait for compilers and data-frame libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiops import place, reboots, wear
    from aiops.alerts.rule import AlertRule
    from aiops.connectors.inventory import read_inventory
    from aiops.connectors.models import load_model
    from aiops.connectors.simulator import SCENARIOS, Simulation
    from aiops.detectors import DETECTORS
    from aiops.detectors.flash_failure import FlashFailure
    from aiops.detectors.flash_wear import FlashWear
    from aiops.detectors.reboot_drift import RebootDrift
    from aiops.detectors.river_guest import RiverGuest
    from aiops.detectors.silence import Silence
    from aiops.engine.engine import Engine, Step
    from aiops.engine.run import Checkpoint, run
    from aiops.fleet.inventory import Inventory, Node, Workload
    from aiops.notebook import detect, replay

__all__ = [
    "DETECTORS",
    "SCENARIOS",
    "AlertRule",
    "Checkpoint",
    "Engine",
    "FlashFailure",
    "FlashWear",
    "Inventory",
    "Node",
    "RebootDrift",
    "RiverGuest",
    "Silence",
    "Simulation",
    "Step",
    "Workload",
    "detect",
    "load_model",
    "place",
    "read_inventory",
    "reboots",
    "replay",
    "run",
    "wear",
]

_HOME = {
    "AlertRule": "aiops.alerts.rule",
    "Checkpoint": "aiops.engine.run",
    "DETECTORS": "aiops.detectors",
    "Engine": "aiops.engine.engine",
    "FlashFailure": "aiops.detectors.flash_failure",
    "FlashWear": "aiops.detectors.flash_wear",
    "Inventory": "aiops.fleet.inventory",
    "Node": "aiops.fleet.inventory",
    "RebootDrift": "aiops.detectors.reboot_drift",
    "RiverGuest": "aiops.detectors.river_guest",
    "SCENARIOS": "aiops.connectors.simulator",
    "Silence": "aiops.detectors.silence",
    "Simulation": "aiops.connectors.simulator",
    "Step": "aiops.engine.engine",
    "Workload": "aiops.fleet.inventory",
    "detect": "aiops.notebook",
    "load_model": "aiops.connectors.models",
    "read_inventory": "aiops.connectors.inventory",
    "replay": "aiops.notebook",
    "run": "aiops.engine.run",
}


def __getattr__(name: str) -> Any:
    """Load a public name where it lives, once."""
    if name in ("place", "reboots", "wear"):
        return import_module(f"aiops.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'aiops' has no attribute {name!r}")
    found = getattr(import_module(_HOME[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
