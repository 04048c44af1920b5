"""`aiops wear`: the ranking of a fleet's flash, from files, streams and reports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import aiops as library
from tests.cli.process import ROOT, Said, aiops, succeeds, too_wide

FLEET = ROOT / "data" / "wear" / "telemetry"
START = pd.Timestamp("2026-01-05")
WEEKS = 60
WEEKLY = np.arange(WEEKS)
READS = {
    "a-gateway-whose-name-is-long-0001": 50 + WEEKLY * 3 // 5,
    "backwards": 97 - WEEKLY // 4,
    "new": np.zeros(WEEKS),
    "worn": np.minimum(80 + WEEKLY, 104),
}


def history() -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame(
            {
                "device_id": device,
                "part": "nvme0",
                "ts": (START + pd.to_timedelta(7 * WEEKLY, "D")).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "storage.wear.used_ratio/nvme": percent / 100.0,
            }
        )
        for device, percent in READS.items()
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with ``rows.csv`` in it: one medium of each kind."""
    folder = tmp_path_factory.mktemp("wear")
    history().to_csv(folder / "rows.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> Said:
    return succeeds("wear", "rows.csv", cwd=folder)


@pytest.fixture(scope="module")
def media(folder: Path) -> dict[str, Any]:
    return succeeds("wear", "rows.csv", "--json", cwd=folder).json


def ranking(said: Said) -> list[list[str]]:
    """Return the rows of the table, each line cut where columns stand apart."""
    lines = said.out.partition("Flash wear, worst first\n")[2].partition("\n\n")[0].splitlines()
    return [re.split(r" {2,}", line.strip()) for line in lines[1:] if not line.startswith("...")]


def test_the_fleet_is_ranked_in_80_columns(told, media):
    assert told.out.startswith("4 flash media of 4 devices, 2026-01-05 00:00 to 2027-02-22 ")
    assert not too_wide(told.out)
    worn, fast = ranking(told)[0], media["media"][1]
    assert worn[:2] == ["worn/nvme0", "104 %"]
    assert worn[3] == "worn out"
    assert fast["device_id"][:16] in told.out, "a long name is folded"
    for name in ("p10", "p50"):
        assert fast[name][:10] in told.out
    assert " 85 % " in told.out


def test_json_has_all_of_it(media, folder):
    assert media["media"][0]["device_id"] == "worn"
    assert media["media"][-1]["device_id"] == "backwards"
    assert media["rows"] == WEEKS * len(READS)
    limited = succeeds("wear", "rows.csv", "--json", "--limit", 1, cwd=folder).json
    assert limited == media
    assert sum(media["counts"].values()) == len(media["media"]) == 4


def test_what_is_told_is_what_a_notebook_gets(media):
    found = library.wear.forecast(history())
    assert found["device_id"].to_pylist() == [m["device_id"] for m in media["media"]]
    for row, told in zip(found.to_pylist(), media["media"], strict=True):
        assert set(row) == set(told)
        for name, value in row.items():
            if isinstance(value, pd.Timestamp):
                assert str(value)[:10] == told[name][:10]
            elif isinstance(value, float):
                assert (told[name] is None) == (not np.isfinite(value))
                assert told[name] is None or told[name] == value
            else:
                assert value == told[name]


def test_quarantine_stands_apart_with_its_reason(told, media):
    assert all(row[0] != "backwards/nvme0" for row in ranking(told))
    apart = told.out.partition("Not judged: 1 medium in quarantine\n")[2]
    assert "backwards/nvme0" in apart
    assert media["media"][-1]["sentence"][:30] in told.words
    assert media["media"][-1]["p50"] is None
    assert media["counts"]["quarantined"] == 1


def test_the_last_line_counts_them(told, media):
    counts = media["counts"]
    last = " ".join(told.out.split("\n\n")[-1].split())
    assert last == (
        f"1 worn out, {counts['within_lead']} likely to end within 90 days, "
        f"{counts['within_a_year']} within a year, {counts['later']} later, "
        f"{counts['no_end_in_sight']} with no end in sight, 1 in quarantine."
    )
    now = pd.Timestamp(media["last"])
    days = [
        (pd.Timestamp(m["p50"]) - now).days
        for m in media["media"]
        if m["p50"] and not m["wear_used_ratio"] >= 1.0
    ]
    assert counts["within_lead"] == sum(d < 90 for d in days)
    assert counts["within_a_year"] == sum(90 <= d < 365.25 for d in days)


def test_a_limit_is_kept_and_said(folder):
    said = succeeds("wear", "rows.csv", "--top", 1, cwd=folder)
    assert len(ranking(said)) == 1
    assert "... and 2 more: --top 3" in said.out


def test_a_directory_and_a_stream_are_read(folder, media):
    said = succeeds("wear", FLEET, cwd=folder)
    assert said.out.startswith("8 flash media of 8 devices")
    assert len(ranking(said)) == 8
    lines = history().to_json(orient="records", lines=True).encode()
    from_stream = succeeds("wear", "-", "--json", cwd=folder, stdin=lines).json
    assert {m["device_id"] for m in from_stream["media"]} == set(READS)
    assert from_stream["rows"] == media["rows"]


def test_reports_of_smartctl_are_read(tmp_path):
    for week in range(20):
        report = {
            "device": {"name": "/dev/nvme0", "protocol": "NVMe"},
            "serial_number": "S1",
            "local_time": {"time_t": 1_767_571_200 + week * 7 * 86_400},
            "nvme_smart_health_information_log": {"percentage_used": 60 + week},
        }
        (tmp_path / f"{week}.json").write_text(json.dumps(report))
    said = succeeds("wear", *sorted(tmp_path.glob("*.json")), cwd=tmp_path)
    assert ranking(said)[0][:2] == ["S1/nvme0", "79 %"]


def test_where_there_is_no_wear_it_is_said_what_there_is(tmp_path):
    (tmp_path / "rows.csv").write_text("device,time,uptime_s\ngw-1,2026-01-05T00:00:00Z,60\n")
    said = succeeds("wear", "rows.csv", cwd=tmp_path)
    assert said.out.startswith("No flash wear reading found.\n")
    assert "What was found: 1 row of 1 device with uptime_s." in said.words
    found = succeeds("wear", "rows.csv", "--json", cwd=tmp_path).json
    assert found["media"] == []
    assert found["columns"] == ["uptime_s"]
    (tmp_path / "long.csv").write_text(
        "device,time,metric,value\ngw-1,2026-01-05T00:00:00Z,device.uptime,60\n"
    )
    assert "with device.uptime." in succeeds("wear", "long.csv", cwd=tmp_path).words


def test_a_prior_that_is_not_there(folder):
    failed = aiops("wear", "rows.csv", "--wear-prior", "nowhere", cwd=folder).fails(1)
    assert "nowhere" in failed


def test_a_column_asked_for_plays_its_role(folder, media):
    renamed = history().rename(columns={"device_id": "gadget"})
    renamed.to_csv(folder / "renamed.csv", index=False)
    said = succeeds("wear", "renamed.csv", "--column", "device=gadget", "--json", cwd=folder)
    assert said.json["media"] == media["media"]
