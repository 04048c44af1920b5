"""Fleets that several tests of the command line look at, and what a run says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.fleets import HOURLY, make_eventful
from tests.cli.process import Said, succeeds


@pytest.fixture(scope="session")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with ``fleet/`` in it, in which one of everything happens."""
    folder = tmp_path_factory.mktemp("eventful")
    make_eventful(folder / "fleet")
    return folder


@pytest.fixture(scope="session")
def told(eventful: Path) -> tuple[Path, Said]:
    """Return where the results of a run over the eventful fleet are, and what it printed."""
    said = succeeds(
        *("run", "fleet/telemetry", "--inventory", "fleet/inventory.json", *HOURLY),
        *("--out", "whole"),
        cwd=eventful,
    )
    return eventful / "whole", said
