"""Flash of a history, ranked and drawn: what the engine foretells, and nothing of its own."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plotly.graph_objects import Figure

import aiops
from aiops.detectors.wear_prior import uniform_prior
from aiops.errors import FrameError, SettingsError
from aiops.wear import DATES, MEDIA

FILE = "data/wear/telemetry"
WEEK = 7
WEEKS = 60
START = pd.Timestamp("2026-01-05", tz="UTC")
DETECTOR = aiops.FlashWear(prior=uniform_prior(0.1, 1.0))


class Medium(NamedTuple):
    """A medium, and what it reads in each of `WEEKS` weeks, percent."""

    device: str
    part: str
    percent: np.ndarray
    medium: str = ""


WEEKLY = np.arange(WEEKS)
FLEET = (
    Medium("fast", "nvme0", 50 + WEEKLY * 3 // 5),
    Medium("slow", "mmcblk0", 10 + WEEKLY // 10),
    Medium("gone", "nvme0", np.minimum(80 + WEEKLY, 104)),
    Medium("full", "nvme0", np.full(WEEKS, 101)),
    Medium("backwards", "nvme0", 97 - WEEKLY // 4),
    Medium("twins", "nvme0", 20 + WEEKLY // 3),
    Medium("twins", "nvme1", 30 + WEEKLY // 3),
)


def table_of(*media: Medium) -> pa.Table:
    return pa.concat_tables(
        pa.table(
            {
                "device_id": [one.device] * len(one.percent),
                "part": [one.part] * len(one.percent),
                "medium_id": [one.medium] * len(one.percent),
                "ts": [START + pd.Timedelta(days=WEEK * week) for week in range(len(one.percent))],
                "storage.wear.used_ratio/nvme": one.percent / 100.0,
                "temperature.celsius": np.full(len(one.percent), 40.0),
            }
        )
        for one in media
    )


@pytest.fixture(scope="module")
def fleet() -> pa.Table:
    return table_of(*FLEET)


@pytest.fixture(scope="module")
def foretold(fleet) -> pa.Table:
    return aiops.wear.forecast(fleet, DETECTOR)


def rows(table: pa.Table) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["device_id"], row["part"]): row for row in table.to_pylist()}


def same(one: pa.Table, other: pa.Table) -> None:
    assert one.schema == other.schema
    pd.testing.assert_frame_equal(one.to_pandas(), other.to_pandas(), check_exact=True)


# The table ---------------------------------------------------------------------------------------


def test_the_worst_comes_first_and_quarantine_last(foretold):
    assert foretold.schema == MEDIA
    assert foretold["device_id"].to_pylist()[:3] == ["gone", "full", "fast"]
    assert foretold["device_id"].to_pylist()[-1] == "backwards"
    p10 = [row["p10"] for row in foretold.to_pylist()[2:-1]]
    known = [date for date in p10 if date is not None]
    assert known == sorted(known)
    assert p10[: len(known)] == known, "no end in sight stands behind all dates"


def test_a_row_says_what_the_engine_says(fleet, foretold):
    engine = aiops.Engine([aiops.AlertRule(DETECTOR)])
    end = pa.table([pa.nulls(1, kind) for kind in fleet.schema.types], schema=fleet.schema)
    engine.step(pa.concat_tables([fleet.sort_by("ts"), end]))
    found = rows(foretold)
    compared = 0
    for told in engine.forecasts().to_pylist():
        row = found[(told["device_id"], told["part"])]
        index = engine.fleet.registry.identities.index((told["device_id"], told["part"], ""))
        evidence = DETECTOR.evidence(engine.fleet.recall(DETECTOR), index)
        assert row["wear_used_ratio"] == evidence["wear_used_ratio"]
        assert row["quarantined"] == bool(evidence["quarantined"])
        if row["quarantined"]:
            continue
        assert row["wear_per_year_ratio"] == evidence["wear_per_year_ratio"]
        for name in DATES:
            date = row[name]
            assert (date is None) == np.isinf(told[name])
            assert date is None or pd.Timestamp(date).value == int(told[name])
            compared += 1
    assert compared >= 5 * 5


def test_dates_ascend_and_begin_where_telemetry_ends(foretold):
    last = START + pd.Timedelta(days=WEEK * (WEEKS - 1))
    for row in foretold.to_pylist():
        assert row["ts"] == last
        dates = [row[name] for name in DATES if row[name] is not None]
        assert dates == sorted(dates)
        assert not dates or dates[0] >= last
        over = row["wear_used_ratio"] >= 1.0
        assert over == (dates == [last] * len(DATES))
        assert over == ("worn out:" in row["sentence"])


def test_a_medium_in_quarantine_is_named_and_not_judged(foretold):
    row = rows(foretold)[("backwards", "nvme0")]
    assert row["quarantined"]
    assert [row[name] for name in DATES] == [None] * len(DATES)
    assert np.isnan(row["wear_per_year_ratio"])
    assert "wrong way" in row["sentence"]
    assert not any(r["quarantined"] for r in foretold.to_pylist() if r["device_id"] != "backwards")


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb", "shuffled"])
def test_any_frame_and_any_order_give_the_same_table(library, fleet, foretold):
    rng = np.random.default_rng(0)
    frame = {
        "pandas": lambda: fleet.to_pandas(),
        "polars": lambda: pl.from_arrow(fleet),
        "duckdb": lambda: duckdb.from_arrow(fleet),
        "shuffled": lambda: fleet.take(pa.array(rng.permutation(len(fleet)))),
    }[library]()
    same(aiops.wear.forecast(frame, DETECTOR), foretold)


def test_columns_can_be_named_and_settings_are_taken(fleet, foretold):
    renamed = fleet.rename_columns({"device_id": "box", "ts": "at"})
    layout = {"device": "box", "time": "at"}
    same(aiops.wear.forecast(renamed, DETECTOR, layout=layout), foretold)
    with pytest.raises(FrameError, match="no column 'boxx' to be the device; did you mean box"):
        aiops.wear.forecast(renamed, DETECTOR, layout=layout | {"device": "boxx"})
    sooner = aiops.FlashWear(prior=DETECTOR.prior, lead_s=10.0 * 86_400.0)
    name = "worn_out_within_twice_lead_probability"
    within = rows(aiops.wear.forecast(fleet, sooner))[("fast", "nvme0")][name]
    assert within < rows(foretold)[("fast", "nvme0")][name]


def test_a_replaced_medium_is_left_out():
    old = Medium("swap", "nvme0", 70 + WEEKLY[:20], "OLD")
    new = Medium("swap", "nvme0", np.full(WEEKS, 1), "NEW")
    late = table_of(new).slice(30)
    found = aiops.wear.forecast(pa.concat_tables([table_of(old), late]), DETECTOR)
    assert found["medium_id"].to_pylist() == ["NEW"]


def test_without_a_wear_reading_the_table_is_empty(fleet):
    assert aiops.wear.forecast(fleet.drop_columns(["storage.wear.used_ratio/nvme"])).equals(
        MEDIA.empty_table()
    )


# The chart ---------------------------------------------------------------------------------------


def draw(frame: Any, device: str, **which: Any) -> Figure:
    return aiops.wear.fan(frame, device, detector=DETECTOR, **which)


def texts(figure: Figure) -> list[str]:
    return [label.text for label in figure.layout.annotations]


def ns(moment: Any) -> int:
    return pd.Timestamp(moment, tz="UTC").value


@pytest.fixture(scope="module")
def fast(fleet) -> Figure:
    return draw(fleet, "fast")


def test_the_chart_shows_what_was_read_as_steps(fast):
    readings = fast.data[-1]
    assert readings.line.shape == "hv"
    assert list(readings.y[:-1]) == pytest.approx(FLEET[0].percent.tolist())
    assert ns(readings.x[0]) == START.value
    assert readings.y[-1] == readings.y[-2]


def test_bands_meet_the_line_of_100_percent_at_the_dates(fast, foretold):
    row = rows(foretold)[("fast", "nvme0")]
    wide, narrow, middle = fast.data[:3]
    for band, early, late in ((wide, "p5", "p95"), (narrow, "p10", "p90")):
        half = len(band.x) // 2
        edges = ((band.x[:half], band.y[:half]), (band.x[half:], band.y[half:]))
        end = ns(band.x[half - 1])
        for name, (x, y) in zip((early, late), edges, strict=True):
            date = ns(row[name].tz_localize(None)) if row[name] is not None else np.inf
            over = np.asarray(y) >= 99.5
            assert over.any() == (date <= end), name
            if over.any():
                first = min(ns(at) for at, there in zip(x, over, strict=True) if there)
                assert first == pytest.approx(date, rel=0, abs=15 * 86_400e9)
    assert ns(middle.x[-1]) == pytest.approx(row["p50"].value, rel=0, abs=1e9)
    assert middle.y[-1] == pytest.approx(100.0, abs=0.5)


def test_a_fan_only_rises_and_the_wide_band_holds_the_narrow_one(fast):
    wide, narrow, middle = fast.data[:3]
    half = len(wide.x) // 2
    top, bottom = np.array(wide.y[:half]), np.array(wide.y[half:])[::-1]
    top_80, bottom_80 = np.array(narrow.y[:half]), np.array(narrow.y[half:])[::-1]
    for edge in (top, bottom, top_80, bottom_80, np.array(middle.y)):
        assert (np.diff(edge) >= -0.2).all()
    assert (top >= top_80).all()
    assert (top_80 >= bottom_80).all()
    assert (bottom_80 >= bottom).all()
    assert bottom[0] >= FLEET[0].percent[-1]


def test_dates_are_labelled_and_the_sentence_is_there(fast, foretold):
    row = rows(foretold)[("fast", "nvme0")]
    said = texts(fast)
    assert f"10 %: by {str(row['p10'])[:10]}" in said
    assert f"even odds: by {str(row['p50'])[:10]}" in said
    assert any(text.startswith("90 %: ") for text in said)
    subtitle = fast.layout.title.subtitle.text.replace("<br>", " ")
    assert row["sentence"] in subtitle
    assert "80 % and 90 %" in subtitle
    assert fast.layout.title.text == "fast/nvme0"


@pytest.mark.parametrize(("device", "top"), [("gone", 104), ("backwards", 97)])
def test_what_is_worn_out_or_in_quarantine_has_no_fan(fleet, device, top):
    figure = draw(fleet, device)
    assert len(figure.data) == 1
    assert max(figure.data[0].y) == pytest.approx(top)
    assert not any("by" in text for text in texts(figure))


def test_a_single_reading_is_enough():
    figure = draw(table_of(Medium("new", "nvme0", np.array([3]))), "new")
    assert len(figure.data) == 4
    assert figure.data[0].fill == "toself"


def test_names_from_telemetry_are_no_markup():
    figure = draw(table_of(Medium("<b>x</b>", "nvme0", np.array([3]))), "<b>x</b>")
    assert figure.layout.title.text == "&lt;b&gt;x&lt;/b&gt;/nvme0"


def test_of_several_media_one_must_be_meant(fleet):
    with pytest.raises(SettingsError, match=r"2 media are called 'twins'.*nvme1.*part="):
        draw(fleet, "twins")
    assert draw(fleet, "twins", part="nvme1").layout.title.text == "twins/nvme1"
    with pytest.raises(SettingsError, match=r"no flash medium 'fasst'.*did you mean fast"):
        draw(fleet, "fasst")
    with pytest.raises(SettingsError, match="no flash medium 'fast/nvme7'"):
        draw(fleet, "fast", part="nvme7")


def test_without_plotly_it_is_said_what_to_install(fleet, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(SettingsError, match=r"pip install 'aiops-edge\[notebook\]'"):
        draw(fleet, "fast")


def test_the_shipped_settings_do_for_the_fleet_of_the_repository():
    found = aiops.wear.forecast(pq.read_table(FILE))
    assert len(found) == 8
    assert found["sentence"].null_count == 0
