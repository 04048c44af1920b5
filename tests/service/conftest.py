"""One service for all tests that only ask of it that it stands what they do to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.connectors.wire.encoders import arrow_stream
from tests.service.fleet import DAY_NS, ROOT, fallen_silent, tiny
from tests.service.running import Running, until

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with an inventory and telemetry, findings, incidents, actions and quarantine."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        pytest.skip("a service runs compiled")
    data = tmp_path_factory.mktemp("fleet") / "data"
    site = str(ROOT / "data/placement/site.toml")
    with Running(data, "", "--inventory", site) as service:
        now = time.time_ns()
        silent = fallen_silent("gw-1", now - DAY_NS)  # a node of the inventory
        for table in (tiny(now), silent):
            answer = service.client.post(
                "/v1/telemetry", content=arrow_stream(table), headers=ARROW
            )
            assert answer.status_code == 200, answer.text
        until(lambda: len(service.items("/v1/findings")) >= 2)
        yield service
