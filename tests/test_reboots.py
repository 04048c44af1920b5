"""Reboots of a history, ranked and drawn: what the engine says, and nothing of its own."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from plotly.graph_objects import Figure
from scipy.stats import gamma

import aiops
from aiops.errors import FrameError, SettingsError
from aiops.reboots import RATES
from tests.reboot_fleet import CUT_DAY, DAYS, FLEET, JUDGED, RISE_DAY, START, Box, every, history

DETECTOR = aiops.RebootDrift()
WEEK_S = 604_800.0
BOOTS = {box.name: box.boots for box in FLEET}


@pytest.fixture(scope="module")
def fleet() -> pa.Table:
    return history()


@pytest.fixture(scope="module")
def told(fleet) -> pa.Table:
    return aiops.reboots.rates(fleet)


@pytest.fixture(scope="module")
def of(told) -> dict[str, dict[str, Any]]:
    return {row["device_id"]: row for row in told.to_pylist()}


def same(one: pa.Table, other: pa.Table) -> None:
    assert one.schema == other.schema
    pd.testing.assert_frame_equal(one.to_pandas(), other.to_pandas(), check_exact=True)


# The table ---------------------------------------------------------------------------------------


def test_what_drifts_comes_first_then_the_watch_and_the_new_last(told):
    assert told.schema == RATES
    assert told["device_id"].to_pylist()[:2] == ["drifter", "riser"]
    assert told["device_id"].to_pylist()[-1] == "new"
    states = told["state"].to_pylist()
    assert states == ["drifting", "watch", *["steady"] * (JUDGED - 2), "unjudged"]
    scores = told["score"].to_pylist()[2:-1]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] < 0.8


def test_states_are_those_of_the_alert(fleet, told):
    firing: set[str] = set()
    for finding in aiops.replay(fleet, DETECTOR).findings:
        change = firing.add if finding.status == "firing" else firing.discard
        change(finding.device_id)
    drifting = {r["device_id"] for r in told.to_pylist() if r["state"] == "drifting"}
    assert drifting == firing - {""} == {"drifter"}


def test_reboots_are_counted_by_cause_and_others_apart(of):
    causes = [cause for day, cause in BOOTS["drifter"] if day != CUT_DAY + 0.25]
    row = of["drifter"]
    assert row["reboots_counted"] == len(causes)
    assert row["power_told"] == causes.count(2.0)
    assert row["software_told"] == causes.count(3.0)
    assert row["not_told"] == 0
    assert row["shared_ignored"] == 1
    assert of["steady-0"]["not_told"] == of["steady-0"]["reboots_counted"] > 0
    updated = of["updated"]
    assert (updated["reboots_counted"], updated["planned_ignored"]) == (0, len(BOOTS["updated"]))
    assert row["exposure_days"] == pytest.approx(DAYS - 1, abs=0.5)


def test_rates_and_the_change_are_those_that_were_made(of):
    row = of["drifter"]
    before, after = 7.0 / 14.0, 7.0 / 2.0
    assert row["rate_before_per_week_p10"] < before < row["rate_before_per_week_p90"]
    assert row["rate_after_per_week"] == pytest.approx(after, rel=0.25)
    assert abs((row["onset"] - START).days - RISE_DAY) < 14
    low, middle, high = (row[f"rate_per_week{end}"] for end in ("_p10", "", "_p90"))
    assert low < middle < high
    assert middle == pytest.approx(row["rate_after_per_week"], rel=0.01)
    assert row["cohort_ratio"] == middle / row["cohort_rate_per_week"]


def test_nothing_is_said_of_a_change_where_there_is_none(of):
    for name in ("steady-1", "updated", "new"):
        row = of[name]
        assert row["onset"] is None
        assert np.isnan(row["rate_after_per_week"])
        assert np.isnan(row["rate_before_per_week_p10"])
    low, high = of["steady-1"]["rate_per_week_p10"], of["steady-1"]["rate_per_week_p90"]
    assert low < 0.5 < high
    assert np.isnan(of["new"]["rate_per_week"])
    assert "Too little running time" in of["new"]["sentence"]


def test_a_row_says_what_a_finding_says(fleet, of):
    engine = aiops.Engine([aiops.AlertRule(DETECTOR)])
    end = pa.table([pa.nulls(1, kind) for kind in fleet.schema.types], schema=fleet.schema)
    engine.step(pa.concat_tables([fleet.sort_by("ts"), end]))
    compared = 0
    for foretold in engine.forecasts().to_pylist():
        row = of[foretold["device_id"]]
        index = engine.fleet.registry.identities.index((foretold["device_id"], "", ""))
        evidence = DETECTOR.evidence(engine.fleet.recall(DETECTOR), index)
        for name in set(evidence) & set(row):
            if not np.isnan(row[name]):
                assert row[name] == evidence[name], name
                compared += 1
        assert row["rate_per_week"] == pytest.approx(foretold["p50"] * WEEK_S)
        assert row["once_in_device_years"] == pytest.approx(evidence["e_value"] / 365.25)
    assert compared > 8 * JUDGED


@pytest.mark.parametrize("library", ["pandas", "polars", "shuffled"])
def test_any_frame_and_any_order_give_the_same_table(library, fleet, told):
    rng = np.random.default_rng(0)
    frame = {
        "pandas": lambda: fleet.to_pandas(),
        "polars": lambda: pl.from_arrow(fleet),
        "shuffled": lambda: fleet.take(pa.array(rng.permutation(len(fleet)))),
    }[library]()
    same(aiops.reboots.rates(frame), told)


def test_columns_can_be_named_and_settings_are_taken(fleet, told):
    renamed = fleet.rename_columns({"device_id": "box", "ts": "at"})
    same(aiops.reboots.rates(renamed, layout={"device": "box", "time": "at"}), told)
    with pytest.raises(FrameError, match="no column 'boxx'"):
        aiops.reboots.rates(renamed, layout={"device": "boxx", "time": "at"})
    strict = aiops.reboots.rates(fleet, aiops.RebootDrift(alarm_budget=1e-6)).to_pylist()
    assert all(s["score"] < t["score"] for s, t in zip(strict[:2], told.to_pylist(), strict=False))


def test_without_a_boot_told_the_table_is_empty(fleet):
    names = [name for name in fleet.column_names if name.startswith("device.")]
    assert aiops.reboots.rates(fleet.drop_columns(names)).equals(RATES.empty_table())


# The chart of one --------------------------------------------------------------------------------


def texts(figure: Figure) -> list[str]:
    return [label.text.strip() for label in figure.layout.annotations]


def ticks(figure: Figure) -> dict[str, list[pd.Timestamp]]:
    """Return when the strip below has ticks, by kind."""
    strip = figure.layout.yaxis2
    rows = dict(zip(strip.tickvals, strip.ticktext, strict=True))
    found = {}
    for trace in figure.data:
        if trace.yaxis == "y2":
            # An empty trace stands in no row.
            name = rows[trace.y[0]] if len(trace.y) else "episodes 0"
            found[name] = [pd.Timestamp(at, tz="UTC") for at in trace.x]
    return found


@pytest.fixture(scope="module")
def drifter(fleet) -> Figure:
    return aiops.reboots.drift(fleet, "drifter")


def test_each_reboot_is_a_tick_at_its_time(drifter):
    own = [START + pd.Timedelta(days=d) for d, _ in BOOTS["drifter"] if d != CUT_DAY + 0.25]
    found = ticks(drifter)
    assert set(found) == {f"episodes {len(own)}", "shared 1"}
    for told, was in zip(found[f"episodes {len(own)}"], sorted(own), strict=True):
        assert abs(told - was) <= pd.Timedelta(days=1)
    (shared,) = found["shared 1"]
    assert abs(shared - START - pd.Timedelta(days=CUT_DAY + 0.25)) <= pd.Timedelta(days=1)


def test_planned_reboots_are_ticks_of_their_own(fleet):
    found = ticks(aiops.reboots.drift(fleet, "updated"))
    assert list(found) == ["episodes 0", f"planned {len(BOOTS['updated'])}"]


def test_windows_hold_what_was_counted_and_the_interval_of_jeffreys(drifter):
    shade, steps = drifter.data[:2]
    edges = [pd.Timestamp(at, tz="UTC") for at in steps.x]
    own = [START + pd.Timedelta(days=d) for d, _ in BOOTS["drifter"] if d != CUT_DAY + 0.25]
    assert sum(steps.customdata[::2]) == len(own)
    high, low = np.split(np.asarray(shade.y), 2)
    for start, end, rate, n, top, bottom in zip(
        edges[::2], edges[1::2], steps.y[::2], steps.customdata[::2], high[::2], low[::-1][::2],
        strict=True,
    ):  # fmt: skip
        weeks = n / rate if n else (end - start) / pd.Timedelta(days=7)
        assert weeks == pytest.approx((end - start) / pd.Timedelta(days=7), abs=0.3)
        assert bottom == pytest.approx(gamma.ppf(0.1, n + 0.5) / weeks, rel=0.1)
        assert top == pytest.approx(gamma.ppf(0.9, n + 0.5) / weeks, rel=0.1)
        assert 27 <= (end - start).days < 2 * 28


def test_levels_meet_where_the_rate_changed(drifter, of):
    row = of["drifter"]
    levels = [trace for trace in drifter.data if (trace.line.width or 0) == 2.5]
    before, after = levels
    assert pd.Timestamp(before.x[-1]) == pd.Timestamp(after.x[0]) == row["onset"].tz_localize(None)
    assert before.y[0] == pytest.approx(row["rate_before_per_week"])
    assert after.y[0] == pytest.approx(row["rate_after_per_week"])
    said = texts(drifter)
    assert f"changed about {row['onset']:%Y-%m-%d}" in said
    assert any(text.startswith("before: 0.") for text in said)
    assert any(text.startswith("since: 2.") or text.startswith("since: 3.") for text in said)
    assert f"cohort {row['cohort_rate_per_week']:.2g}" in said


def test_when_it_was_found_is_marked_only_if_it_was(drifter, fleet):
    (finding,) = [f for f in aiops.replay(fleet, DETECTOR).findings if f.device_id == "drifter"]
    assert f"found {pd.Timestamp(finding.since_ts):%Y-%m-%d}" in texts(drifter)
    riser = texts(aiops.reboots.drift(fleet, "riser"))
    assert not any(text.startswith("found") for text in riser)
    assert any(text.startswith("changed") for text in riser)


def test_a_steady_device_has_one_level_and_no_mark(fleet, of):
    figure = aiops.reboots.drift(fleet, "steady-0")
    (level,) = [trace for trace in figure.data if (trace.line.width or 0) == 2.5]
    assert level.y[0] == pytest.approx(of["steady-0"]["rate_per_week"])
    assert not any(text.startswith(("changed", "found", "before")) for text in texts(figure))


def test_the_title_says_the_sentence_and_names_are_no_markup(drifter, of):
    subtitle = drifter.layout.title.subtitle.text.replace("<br>", " ")
    assert of["drifter"]["sentence"] in subtitle
    assert "4 weeks of running" in subtitle
    odd = aiops.reboots.drift(history(Box("<b>x</b>", every(9, 1.4, 40, 0.0), days=40)), "<b>x</b>")
    assert odd.layout.title.text == "&lt;b&gt;x&lt;/b&gt;"
    assert "in a week of running" in odd.layout.title.subtitle.text


def test_little_running_time_is_drawn_without_windows():
    figure = aiops.reboots.drift(history(Box("new", [], days=3)), "new")
    assert not [trace for trace in figure.data if trace.customdata is not None]
    assert list(ticks(figure)) == ["episodes 0"]
    assert len(aiops.reboots.drift(history(Box("new", [], days=1)), "new").data) == 1


def test_offline_time_does_not_dilute_a_rate():
    """Two halves at one rate, with a year without a row between them."""
    box = Box("away", every(7, 3.4, 120, 0.0), days=120)
    table = history(box)
    late = table.slice(60).to_pandas()
    late["ts"] += pd.Timedelta(days=365)
    both = pa.concat_tables(
        [table.slice(0, 60), pa.Table.from_pandas(late, preserve_index=False).cast(table.schema)]
    )
    figure = aiops.reboots.drift(both, "away")
    steps = next(trace for trace in figure.data if trace.customdata is not None)
    assert min(steps.y) >= 0.5


def test_of_several_one_must_be_meant(fleet):
    with pytest.raises(SettingsError, match=r"no device 'drifte' has told.*did you mean drifter"):
        aiops.reboots.drift(fleet, "drifte")


# The chart of many -------------------------------------------------------------------------------


def names(figure: Figure) -> list[str]:
    """Return the devices, from the top, without their colour."""
    labels = figure.layout.yaxis.ticktext[::-1]
    return [text.partition(">")[2].partition("<")[0] for text in labels]


def colours(figure: Figure) -> dict[str, str]:
    labels = figure.layout.yaxis.ticktext[::-1]
    return dict(zip(names(figure), (text.partition("'")[2][:13] for text in labels), strict=True))


def test_a_cohort_is_sorted_and_those_that_drift_stand_out(fleet, of):
    figure = aiops.reboots.forest(fleet, "fw-1")
    members = [row for row in of.values() if row["cohort"] == "fw-1"]
    by_rate = sorted(members, key=lambda row: -row["rate_per_week"])
    assert names(figure) == [row["device_id"] for row in by_rate]
    looks = colours(figure)
    assert len(set(looks.values())) == 3
    assert sum(look == looks["steady-0"] for look in looks.values()) == len(members) - 2
    said = texts(figure)
    assert any(text.startswith("x") and "since 2025-06" in text for text in said)
    assert "10 devices: 1 drifting, 1 on watch." in figure.layout.title.subtitle.text


def test_a_point_stands_at_the_rate_and_its_line_holds_80_percent(fleet, of):
    figure = aiops.reboots.forest(fleet, "fw-1")
    height = len(names(figure)) - 1 - names(figure).index("steady-2")
    line, point = [trace for trace in figure.data if trace.y[0] == height]
    row = of["steady-2"]
    assert list(line.x) == [row["rate_per_week_p10"], row["rate_per_week_p90"]]
    assert point.x[0] == row["rate_per_week"]
    assert np.isnan(point.x[1]), "no ring where nothing rose"
    low, high = figure.layout.xaxis.range
    assert 10**low < min(trace.x[0] for trace in figure.data)
    assert 10**high > max(trace.x[1] for trace in figure.data if trace.mode == "lines")


def test_the_cohort_is_a_line_and_its_extreme_another(fleet, of):
    figure = aiops.reboots.forest(fleet, "fw-1")
    said = {trace.text[1].split()[0]: trace for trace in figure.data if trace.mode == "lines+text"}
    middle = np.median([r["cohort_rate_per_week"] for r in of.values() if r["cohort"] == "fw-1"])
    assert said["mean"].x == (middle, middle)
    assert said["extreme"].x[0] > middle


def test_at_most_forty_are_shown_the_worst_and_the_rest_is_said():
    calm = [Box(f"calm-{k:02}", every(20, 1.4 + k % 9, 90, 0.0), days=90) for k in range(41)]
    busy = Box("busy", every(5, 2.4, 90, 0.0), days=90)
    figure = aiops.reboots.forest(history(*calm, busy))
    assert len(names(figure)) == 40
    assert names(figure)[0] == "busy"
    assert "Not shown: 2 that reboot less often." in figure.layout.title.subtitle.text


def test_which_cohort_must_be_said_if_there_are_several(fleet):
    with pytest.raises(SettingsError, match=r"there are 2: 'fw-1', 'fw-2'"):
        aiops.reboots.forest(fleet)
    with pytest.raises(SettingsError, match=r"no cohort 'fw-3'.*did you mean fw-"):
        aiops.reboots.forest(fleet, "fw-3")
    alone = aiops.reboots.forest(fleet, "fw-2")
    assert names(alone) == ["updated"], "the one that is not judged is not shown"
    assert not [trace for trace in alone.data if trace.mode == "lines+text"]


@pytest.mark.parametrize("draw", [aiops.reboots.drift, aiops.reboots.forest])
def test_without_plotly_it_is_said_what_to_install(draw, fleet, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(SettingsError, match=r"pip install 'aiops-edge\[notebook\]'"):
        draw(fleet, "drifter")
