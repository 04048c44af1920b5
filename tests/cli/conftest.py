"""What several tests of the command line look at; what takes long is begun early."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aiops.connectors.simulator import simulate_to_parquet
from tests.cli.fleets import EVENTFUL
from tests.cli.long import Replay, Tour, replay, tour
from tests.cli.process import HOURLY, Said, succeeds
from tests.service.running import Running

LONG = {"the_demo": tour, "the_panel": replay}
"""Fixture -> what makes it, in a directory of its own."""

Ahead = dict[str, Future[Any]]


def asked_for(item: pytest.Item) -> set[str]:
    return set(LONG) & set(getattr(item, "fixturenames", ()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: bool(asked_for(item)))  # what takes long comes last


@pytest.fixture(scope="session", autouse=True)
def ahead(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ahead]:
    """Make what takes long, if it was asked for, on the second core while other tests run."""
    wanted = set().union(*map(asked_for, request.session.items))
    with ThreadPoolExecutor(1) as second_core:
        yield {
            name: second_core.submit(LONG[name], tmp_path_factory.mktemp(name)) for name in wanted
        }
        second_core.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def the_demo(ahead: Ahead) -> Tour:
    return ahead["the_demo"].result()


@pytest.fixture(scope="session")
def the_panel(ahead: Ahead) -> Replay | None:
    return ahead["the_panel"].result()


@pytest.fixture(scope="session")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with ``fleet/`` in it, in which one of everything happens."""
    folder = tmp_path_factory.mktemp("eventful")
    simulate_to_parquet(EVENTFUL, folder / "fleet")
    return folder


@pytest.fixture(scope="session")
def told(eventful: Path) -> tuple[Path, Said]:
    """Return where the results of a run over the eventful fleet are, and what it has said."""
    placed = ("--inventory", "fleet/inventory.json", "--warehouse", "all.duckdb")
    said = succeeds("run", "fleet/telemetry", *placed, *HOURLY, "--out", "whole", cwd=eventful)
    return eventful / "whole", said


@pytest.fixture(scope="session")
def the_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield a service that is running, a demo; nobody halts it for good or fills it."""
    with Running(tmp_path_factory.mktemp("service") / "data") as service:
        yield service
