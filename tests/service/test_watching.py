"""Settings of what is watched, as the service makes its engine of them."""

from __future__ import annotations

import pytest

from aiops.engine.watch import watching
from aiops.errors import SettingsError
from aiops.service import rehearsal
from aiops.service.rehearsal import make_engine
from aiops.service.settings import read_settings
from tests.engine.test_watch import Level


@pytest.fixture
def level(monkeypatch):
    monkeypatch.setattr(rehearsal, "EVERY_METRIC", Level)


def engine(**told):
    return make_engine(read_settings(None, engine=told))


@pytest.mark.usefixtures("level")
def test_every_metric_is_watched_unless_the_settings_say_no():
    assert engine().watch("x").name == "level:x"
    assert engine().fleet.opened.most == 200
    assert engine(open_metrics_max=7).fleet.opened.most == 7
    off = engine(watch=False)
    assert off.watch is None
    assert off.fleet.opened.most == 0


@pytest.mark.usefixtures("level")
def test_what_is_watched_has_its_share_of_the_one_alarm_budget():
    whole = engine(alarm_budget=80.0)
    given = {rule.detector for rule in whole.given}
    budgets = [one.alarm_budget for one in given if hasattr(one, "alarm_budget")]
    assert sum(budgets) + whole.watch("x").alarm_budget == pytest.approx(80.0)
    alone = engine(alarm_budget=80.0, watch=False)
    budgets = [d.alarm_budget for d in alone.detectors if hasattr(d, "alarm_budget")]
    assert sum(budgets) == pytest.approx(80.0)


def test_a_detector_without_a_budget_is_left_as_it_is():
    class Free:
        def __init__(self, metric):
            self.name = f"free:{metric}"

    rules, watch = watching([], Free, None)
    assert rules == ()
    assert watch is Free


def test_no_room_below_nothing():
    with pytest.raises(SettingsError, match="open_metrics_max"):
        read_settings(None, engine={"open_metrics_max": -1})
