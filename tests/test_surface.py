"""The public surface: a name comes or goes only together with this list (and the changelog)."""

from __future__ import annotations

import subprocess
import sys

import pytest

import aiops

SURFACE = [
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


def test_the_surface_is_this() -> None:
    assert list(aiops.__all__) == SURFACE
    assert dir(aiops) == sorted(SURFACE)


@pytest.mark.parametrize("name", SURFACE)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(aiops, name)
    assert found is getattr(aiops, name)
    assert found.__doc__


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'engine_room'"):
        _ = aiops.engine_room


def test_importing_the_package_loads_none_of_its_rooms() -> None:
    program = "import sys, aiops; print([m for m in sys.modules if m.startswith('aiops.')])"
    run = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
