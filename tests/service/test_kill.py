from __future__ import annotations

from pathlib import Path

from tests.service.kills import kill_again_and_again

KILLS = 20


def test_nothing_acknowledged_is_lost_or_doubled_when_the_service_is_killed(tmp_path: Path) -> None:
    outcome = kill_again_and_again(tmp_path, KILLS, seed=7, most_batches=60)
    assert outcome.told.total > 10 * KILLS
    assert not outcome.told.refused
    assert not outcome.lost
    assert not outcome.twice
    assert not outcome.foreign
    # Results are those of an engine that nobody disturbed, id by id.
    assert len([body for body in outcome.records.values() if "'silence'" in body]) >= KILLS
    assert outcome.records == outcome.again
