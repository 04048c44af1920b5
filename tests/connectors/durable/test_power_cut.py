from __future__ import annotations

import pytest

from aiops.connectors.durable.log import SegmentedLog
from tests.connectors.durable.power_cut import (
    InlineLog,
    NormalLog,
    OffLog,
    record,
    search,
    search_openings,
)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_power_cut_at_any_moment_costs_nothing_that_was_acknowledged(seed: int) -> None:
    tried, wrong = search(record(InlineLog, seed=seed), 1_500, seed)
    assert not wrong
    assert tried >= 900


def test_a_second_power_cut_while_opening_after_the_first_costs_nothing_either() -> None:
    tried, wrong = search_openings(record(InlineLog, seed=4), 80, 4, 4)
    assert not wrong
    assert tried >= 200


@pytest.mark.parametrize("log_type", [NormalLog, OffLog])
def test_the_search_finds_a_log_that_does_not_flush(log_type: type[SegmentedLog]) -> None:
    _, wrong = search(record(log_type, seed=3), 150, 3)
    assert any(said.startswith("lost") for said in wrong)


def test_a_run_that_is_searched_seals_trims_and_starts_again() -> None:
    run = record(InlineLog)
    done = {(one.kind, one.name.rpartition(".")[2]) for one in run.operations}
    assert {("rename", "new"), ("unlink", "db"), ("unlink", "sealed"), ("sync", "db-wal")} <= done
    assert ("sync failed", "db-wal") in done
    assert sum(kind == "truncate" for kind, _ in done)
    assert run.promised[-1][0] + 5 >= max(run.records) > 100
    assert run.promised[-1][1] > 50
