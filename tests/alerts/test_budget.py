"""One number for the product: how it is split, and what was fired of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pyarrow as pa
import pytest

from aiops.alerts.budget import SHARES, Realised, family, split
from aiops.alerts.rule import AlertRule
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors import DETECTORS
from aiops.detectors.reboot_drift import RebootDrift
from aiops.detectors.silence import Silence
from aiops.engine.engine import Engine, default_rules
from aiops.errors import SettingsError
from aiops.fleet.owner import settings_hash

HOUR_NS = 3_600_000_000_000


def of(rules):
    return {rule.detector.name: rule.detector.alarm_budget for rule in rules}


@dataclass(frozen=True)
class OfMetric:
    """A detector of which there is one a metric."""

    metric: str
    alarm_budget: float = 1.0

    @property
    def name(self):
        return f"normality:{self.metric}"


def test_by_default_the_whole_product_may_fire_ten_and_each_family_its_share():
    assert sum(SHARES.values()) == pytest.approx(10.0)
    spent = dict.fromkeys(SHARES, 0.0)
    for name, budget in of(default_rules()).items():
        spent[family(name)] += budget
    assert spent == pytest.approx(SHARES | {"normality": 0.0})  # no metric has come yet
    for name in ("flash_failure", "flash_wear", "reboot_drift", "silence"):
        assert SHARES[name] == DETECTORS[name]().alarm_budget  # alone as among others


@pytest.mark.parametrize("budget", [1e-3, 1.0, 42.0, 1e5])
def test_the_shares_add_up_to_the_number_that_was_set(budget):
    assert sum(of(default_rules(budget)).values()) == pytest.approx(budget, rel=1e-12)
    only = split([AlertRule(RebootDrift())], budget)
    assert of(only) == {"reboot_drift": budget}


def test_metrics_share_what_their_family_has():
    metrics = ("cpu", "rtt", "free")
    rules = [AlertRule(RebootDrift()), *(AlertRule(OfMetric(metric)) for metric in metrics)]
    got = of(split(rules, 8.0))
    assert got == {"reboot_drift": 2.0} | {f"normality:{metric}": 2.0 for metric in metrics}


def test_an_awaited_family_keeps_its_share_free():
    before = of(split([AlertRule(RebootDrift())], 8.0, awaited=("normality",)))
    assert before == {"reboot_drift": 2.0}


def test_a_budget_moves_the_line_and_costs_no_memory():
    (plain,), (strict,) = (split([AlertRule(RebootDrift())], b) for b in (1.0, 0.01))
    assert plain.detector.bins_between_alarms < strict.detector.bins_between_alarms
    assert settings_hash(plain.detector) == settings_hash(strict.detector)


def test_two_rules_of_one_detector_share_one_budget():
    both = [AlertRule(RebootDrift(), name_=name) for name in ("a", "b")]
    first, second = split([*both, AlertRule(Silence())], 4.0)[:2]
    assert first.detector == second.detector
    assert first.detector.alarm_budget == 2.0


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan])
def test_a_budget_that_is_none_is_refused(wrong):
    with pytest.raises(SettingsError, match="alarm_budget"):
        split([AlertRule(RebootDrift())], wrong)


def test_a_detector_without_a_budget_takes_no_part():
    class Plain:
        name = "plain"

    rules = [AlertRule(Plain()), AlertRule(RebootDrift())]
    plain, drift = split(rules, 3.0)
    assert plain is rules[0]
    assert drift.detector.alarm_budget == 3.0


def test_a_family_is_what_stands_before_the_metric():
    assert family("normality:net.rtt") == "normality"
    assert family("silence") == "silence"


def test_time_in_which_nothing_came_is_watched_too():
    realised = Realised()
    realised.count((), 10 * HOUR_NS, 11 * HOUR_NS, 2)
    realised.count((), 20 * HOUR_NS, 21 * HOUR_NS, 3)
    assert realised.device_s == 2 * 3600 + 3 * 10 * 3600


def test_what_was_fired_is_counted_and_saved():
    fault = Fault("reboots", "gw-0004", 30.0, size=20.0)
    scenario = replace(
        SCENARIOS["healthy"], devices=8, sites=2, days=60, faults=(fault,), reboots_per_week=1.0
    )
    frames = [frame for frame, _ in Simulation(scenario).frames(None)]
    engine, steps = Engine([AlertRule(RebootDrift())], epoch_s=3600), []
    for frame in frames:
        steps.append(engine.step(frame))
        arrays, values = engine.save()
        resumed = Engine([AlertRule(RebootDrift())], epoch_s=3600)
        resumed.restore(arrays, values)
        engine = resumed
    fired = sum(f.status == "firing" for step in steps for f in step.findings)
    assert fired > 0
    one, total = engine.realised()
    assert (one.detector, total.detector) == ("reboot_drift", "total")
    assert one.fired == total.fired == fired
    months = 8 * 60 / (365.25 / 12)
    assert one.device_months == pytest.approx(months, rel=0.05)
    assert one.per_1000_device_months == pytest.approx(1000 * fired / one.device_months)
    assert one.alarm_budget == total.alarm_budget == 1.0


def test_the_realised_rate_does_not_depend_on_how_the_stream_is_cut():
    scenario = replace(SCENARIOS["healthy"], devices=3, sites=1, days=5)
    table = pa.concat_tables(
        [frame for frame, _ in Simulation(scenario).frames(None)], promote_options="permissive"
    )
    whole, cut = Engine(epoch_s=3600), Engine(epoch_s=3600)
    whole.step(table)
    for at in range(0, len(table), 97):
        cut.step(table.slice(at, 97))
    assert whole.realised() == cut.realised()
    assert whole.realised()[-1].device_months > 0


def test_a_rate_that_is_not_known_is_none_in_records():
    record = Realised().rates([AlertRule(RebootDrift())])[0].to_record()
    assert record["per_1000_device_months"] is None
    assert record["alarm_budget"] == 1.0
