"""`aiops reboots`: the ranking of a fleet by reboots, from files and streams."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.csv
import pytest

import aiops as library
from tests.cli.process import Said, aiops, succeeds, too_wide
from tests.reboot_fleet import FLEET, JUDGED, history


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with ``rows.csv`` in it: a fleet with one device of each kind."""
    folder = tmp_path_factory.mktemp("reboots")
    pyarrow.csv.write_csv(history(), folder / "rows.csv")
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> Said:
    return succeeds("reboots", "rows.csv", cwd=folder)


@pytest.fixture(scope="module")
def answer(folder: Path) -> dict[str, Any]:
    return succeeds("reboots", "rows.csv", "--json", cwd=folder).json


def ranking(said: Said) -> list[list[str]]:
    """Return the rows of the table, each line cut where columns stand apart."""
    lines = said.out.partition("rise first\n")[2].partition("\n\n")[0].splitlines()
    return [re.split(r" {2,}", line.strip()) for line in lines[1:] if not line.startswith("...")]


def test_the_fleet_is_ranked_in_80_columns(told, answer):
    devices = len(FLEET)
    assert told.out.startswith(
        f"{devices} devices with boots told of {devices} devices, 2025-01-06"
    )
    assert not too_wide(told.out)
    first, second = ranking(told)[:2]
    row = answer["rates"][0]
    before, after = row["rate_before_per_week"], row["rate_after_per_week"]
    assert first[0] == "drifter"
    assert first[1] == f"{before:.2g} -> {after:.2g}"
    assert first[2] == f"x{after / before:.2g}"
    assert first[3] == row["onset"][:10]
    assert first[4] == f"{row['score']:.2f}"
    assert first[5] == "57 own: 12 power 45 sw"
    assert second[0] == "riser"
    assert second[4].endswith(" watch")
    assert second[5] == "25 own"


def test_what_does_not_rise_has_a_rate_and_no_change(told):
    rows = {row[0]: row for row in ranking(told)}
    assert len(rows["steady-0"]) == 4
    assert float(rows["steady-0"][1]) == pytest.approx(0.5, rel=0.1)
    assert rows["new"][1:] == ["-", "-", "0 own"]


def test_names_of_any_length_are_folded(tmp_path):
    frame = history().to_pandas()
    frame["device_id"] = "a-gateway-whose-name-is-long-" + frame["device_id"]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    said = succeeds("reboots", "rows.csv", cwd=tmp_path)
    assert not too_wide(said.out)
    assert "a-gateway-wh" in said.out
    assert "57 own:" in said.out


def test_what_many_had_at_once_is_a_line_of_its_own(told, answer):
    (event,) = answer["shared"]
    assert event["where"] == "site Lyon"
    assert event["status"] == "resolved"
    assert event["devices"] == ["drifter", *(f"steady-{k}" for k in range(6))]
    assert f"{event['since'][:10]} " in told.out
    assert f"site Lyon: {event['sentence']}" in told.words
    assert all(d["shared_ignored"] == (d["device_id"] in event["devices"]) for d in answer["rates"])


def test_the_last_line_counts_them(told, answer):
    last = " ".join(told.out.split("\n\n")[-1].split())
    assert last == (f"1 drifting, 1 on watch, {JUDGED - 2} steady, 1 not judged; 1 shared event.")
    assert list(answer["counts"].values()) == [1, 1, JUDGED - 2, 1]


def test_json_has_all_of_it(answer, folder):
    limited = succeeds("reboots", "rows.csv", "--json", "--limit", 1, cwd=folder).json
    assert limited == answer
    assert len(answer["rates"]) == answer["devices"] == len(FLEET)
    assert answer["rows"] == len(history())


def test_what_is_told_is_what_a_notebook_gets(answer):
    found = library.reboots.rates(history())
    for row, told in zip(found.to_pylist(), answer["rates"], strict=True):
        assert set(row) == set(told)
        for name, value in row.items():
            if isinstance(value, pd.Timestamp):
                assert str(value)[:10] == told[name][:10]
            elif isinstance(value, float):
                assert (told[name] is None) == (not np.isfinite(value))
                assert told[name] is None or told[name] == value
            else:
                assert value == told[name]


def test_a_limit_is_kept_and_said(folder):
    said = succeeds("reboots", "rows.csv", "--top", 1, cwd=folder)
    assert len(ranking(said)) == 1
    assert f"... and {len(FLEET) - 1} more: --top {len(FLEET)}" in said.out


def test_a_stream_is_read_and_a_budget_taken(folder, answer):
    frame = history().sort_by("ts").to_pandas()
    lines = frame.to_json(orient="records", lines=True, date_format="iso").encode()
    stream = succeeds("reboots", "-", "--json", cwd=folder, stdin=lines).json
    assert [d["device_id"] for d in stream["rates"]] == [d["device_id"] for d in answer["rates"]]
    strict = succeeds("reboots", "rows.csv", "--json", "--alarm-budget", 1e-3, cwd=folder).json
    assert strict["rates"][0]["score"] < answer["rates"][0]["score"]
    assert "alarm-budget" in aiops("reboots", "rows.csv", "--alarm-budget", 0, cwd=folder).err
