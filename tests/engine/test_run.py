"""`run`: results once, whatever happens in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiops.alerts.rule import AlertRule
from aiops.connectors.memory import CRASH, Crashed, MemorySink, MemorySource
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors import EVERY_METRIC, defaults
from aiops.detectors.flash_wear import FlashWear
from aiops.engine.engine import Engine
from aiops.engine.run import Checkpoint, run
from aiops.errors import CheckpointError, SettingsError, StateMismatch

SCENARIO = replace(
    SCENARIOS["tiny"],
    days=21,
    reboots_per_week=4.0,
    faults=(
        Fault("wear", "gw-0003", 1.0, days=12.0),
        Fault("heat", "site:Osaka", 4.0, days=5.0, size=40.0),
        Fault("outage", "site:Lyon", 12.4, days=0.5),
        Fault("dead", "gw-0008", 17.3),
    ),
)
SIMULATION = Simulation(SCENARIO)
FRAMES = [frame for frame, _ in SIMULATION.frames(None)][:-1]


def engine() -> Engine:
    return Engine(inventory=SIMULATION.inventory(), epoch_s=3600, lateness_s=3600)


def uninterrupted() -> MemorySink:
    sink = MemorySink()
    run(engine(), MemorySource(FRAMES), [sink])
    return sink


@pytest.fixture(scope="module")
def whole() -> MemorySink:
    return uninterrupted()


def test_the_history_has_something_to_tell(whole):
    assert {"findings", "incidents", "actions", "plans"} <= set(whole.records)
    assert all(whole.records[kind] for kind in ("findings", "incidents", "actions", "plans"))


@pytest.mark.parametrize("every_rows", [1, 700, 1_000_000])
@pytest.mark.parametrize("place", [1, len(FRAMES) // 2, len(FRAMES) - 1])
def test_a_crash_loses_and_repeats_nothing(whole, tmp_path, place, every_rows):
    source = MemorySource([*FRAMES[:place], CRASH, *FRAMES[place:]])
    sink = MemorySink()
    checkpoint = Checkpoint(tmp_path / "state.npz", every_rows)
    with pytest.raises(Crashed):
        run(engine(), source, [sink], checkpoint)
    run(engine(), source, [sink], checkpoint)
    assert repr(sink.records) == repr(whole.records)  # NaN is like NaN


def test_being_asked_to_stop_saves_the_state(whole, tmp_path):
    sink = MemorySink()
    checkpoint = Checkpoint(tmp_path / "state.npz")
    seen = []

    def watch(rows, step):
        seen.append(rows)
        return len(seen) < 3

    source = MemorySource(FRAMES)
    run(engine(), source, [sink], checkpoint, watch=watch)
    assert len(seen) == 3
    run(engine(), source, [sink], checkpoint)
    assert repr(sink.records) == repr(whole.records)  # NaN is like NaN


def test_a_finished_run_has_nothing_left_to_do(whole, tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.npz")
    run(engine(), MemorySource(FRAMES), [MemorySink()], checkpoint)
    again = MemorySink()
    run(engine(), MemorySource(FRAMES), [again], checkpoint)
    assert not any(again.records.values())


def test_state_of_other_settings_is_not_taken_for_ours(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.npz")
    run(engine(), MemorySource(FRAMES[:2]), [], checkpoint)
    other = Engine([AlertRule(FlashWear())], epoch_s=60)
    with pytest.raises(CheckpointError, match="same settings"):
        checkpoint.load(other)
    rules = [
        AlertRule(FlashWear(refresh_s=3600.0) if one.name == "flash_wear" else one)
        for one in defaults()
    ]
    told = {
        "watch": EVERY_METRIC,
        "inventory": SIMULATION.inventory(),
        "epoch_s": 3600,
        "lateness_s": 3600,
    }
    changed = Engine(rules, **told)
    with pytest.raises(StateMismatch, match="rebuild it by replaying"):
        checkpoint.load(changed)
    # Another budget only moves the line: weeks of learning are not thrown away for it.
    tuned = [AlertRule(replace(one, alarm_budget=100.0)) for one in defaults()]
    checkpoint.load(Engine(tuned, **told))


def test_two_rules_on_one_detector_run_it_once(whole):
    twice = Engine(
        [
            AlertRule(FlashWear(), "wear_soon", line=1.0),
            AlertRule(FlashWear(), "wear_early", line=0.6, clear=0.5),
        ],
        epoch_s=3600,
    )
    assert len(twice.detectors) == 1
    sink = MemorySink()
    run(twice, MemorySource(FRAMES), [sink])
    rules = {finding["rule"] for finding in sink.records["findings"].values()}
    assert rules == {"wear_soon", "wear_early"}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([AlertRule(FlashWear()), AlertRule(FlashWear())], "a name of its own"),
        (
            [AlertRule(FlashWear()), AlertRule(FlashWear(lead_s=1e7), "other")],
            "filed by name",
        ),
    ],
)
def test_rules_that_contradict_each_other(rules, message):
    with pytest.raises(SettingsError, match=message):
        Engine(rules)


@pytest.mark.parametrize("settings", [{"epoch_s": 0}, {"lateness_s": -1}])
def test_epochs_out_of_range(settings):
    with pytest.raises(SettingsError, match="epoch_s must be 1 or more"):
        Engine(**settings)


def test_forecasts_cover_every_medium_that_reported():
    made = engine()
    run(made, MemorySource(FRAMES), [])
    rows = made.forecasts().to_pylist()
    wear = [row for row in rows if row["detector"] == "flash_wear"]
    assert len(wear) == SCENARIO.devices
    assert all(row["p10"] <= row["p50"] <= row["p90"] for row in wear)
