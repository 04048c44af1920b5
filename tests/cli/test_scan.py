"""`aiops scan`: what is in files, what was assumed, and what could not be read."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.cli.process import ROOT, TINY, Said, aiops, succeeds, too_wide

SHARED = Path(os.environ.get("AIOPS_SHARED") or ROOT.parent / "shared")
REPORTS = SHARED / "data" / "flash" / "smartctl_json"


def rows_of(text: str, title: str) -> list[list[str]]:
    """Return the cells of the table of this title, which are two spaces apart or more."""
    _, found, after = text.partition(f"\n{title}")
    assert found, f"no {title!r} in {text}"
    lines = after.partition("\n\n")[0].splitlines()[2:]
    return [re.split(r" {2,}", line.strip()) for line in lines if not line.startswith("  ")]


# -- telemetry ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Said:
    return succeeds("scan", TINY / "telemetry", cwd=tmp_path_factory.mktemp("tiny"))


def test_parquet_is_shown_with_what_was_assumed(tiny):
    assumed = {role: (column, how) for role, column, how in rows_of(tiny.out, "Assumed")}
    assert assumed["device"] == ("device_id", "guessed")
    assert assumed["recv_time"] == ("recv_ts", "guessed")
    table = pq.read_table(TINY / "telemetry")
    table = table.filter(pc.greater(pc.year(table["ts"]), 2000))  # some clocks were never set
    values = {row[0]: row[2] for row in rows_of(tiny.out, "Metrics")}
    for name in ("battery.soc_ratio", "storage.wear.used_ratio/nvme", "power.on_mains"):
        assert int(values[name].replace(",", "")) == len(table) - table[name].null_count
    assert not too_wide(tiny.out)


def test_its_json_carries_the_same_numbers(tiny, tmp_path):
    found = succeeds("scan", TINY / "telemetry", "--json", cwd=tmp_path).json["telemetry"]
    assert tiny.out.startswith(f"{found['rows']:,} rows of {found['devices']} devices in 1 file")
    shown = {row[0]: int(row[2].replace(",", "")) for row in rows_of(tiny.out, "Metrics")}
    assert shown == found["metrics"]
    aside = {row[0]: int(row[1].replace(",", "")) for row in rows_of(tiny.out, "Set aside")}
    assert aside == found["set_aside"] != {}
    assert found["layout"]["time"] == "ts"
    assert "time" in found["guessed"]


CSV = """gadget,place,stamp,uptime_s,temprature_c,storage.wear.used_ratoi
gw-1,attic,2026-01-05T00:00:00Z,60,21.5,0.1
gw-2,attic,2026-01-05T00:01:00Z,120,22,0.2
gw-1,attic,2026-01-05T00:02:00Z,180,-400,0.1
"""
ASKED = ("--column", "device=gadget", "--column", "time=stamp", "--column", "site=place")


def test_a_column_asked_for_plays_its_role_and_unknown_ones_are_named_with_the_closest(tmp_path):
    (tmp_path / "rows.csv").write_text(CSV)
    failed = aiops("scan", "rows.csv", cwd=tmp_path).fails(1)
    assert "rows.csv: no column can be the device among gadget, place, stamp" in failed
    assert "device=COLUMN" in failed
    said = succeeds("scan", "rows.csv", *ASKED, cwd=tmp_path)
    assert said.out.startswith("3 rows of 2 devices in 1 file, 2026-01-05 00:00 to ")
    assumed = {role: (column, how) for role, column, how in rows_of(said.out, "Assumed")}
    assert assumed == {
        "device": ("gadget", "as asked"),
        "time": ("stamp", "as asked"),
        "site": ("place", "as asked"),
    }
    assert "device.uptime" in said.out
    unknown = {row[0]: row[1:] for row in rows_of(said.out, "Not used")}
    values, suggestion = unknown["storage.wear.used_ratoi"]
    assert values == "3"
    assert "did you mean storage.wear.used_ratio" in suggestion
    assert not too_wide(said.out)


def test_lines_of_json_and_what_is_no_telemetry_among_them(tmp_path):
    good = [
        {"host": f"h{i % 3}", "ts": 1_767_571_200 + 60 * i, "net.loss_ratio": value}
        for i, value in enumerate([0.0, 0.25, 7.0, "much", None, 0.5])
    ]
    lines = [*map(json.dumps, good), "# a remark", '{"host": "h1", "net.loss_ratio": 0.1}']
    (tmp_path / "rows.ndjson").write_text("\n".join(lines) + "\n")
    found = succeeds("scan", "rows.ndjson", "--json", cwd=tmp_path).json["telemetry"]
    assert (found["rows"], found["devices"], found["bad_lines"]) == (6, 3, 2)
    assert found["metrics"] == {"net.loss_ratio": 3}
    assert found["set_aside"] == {"not_a_number": 1, "out_of_range": 1}
    said = succeeds("scan", "rows.ndjson", cwd=tmp_path)
    assert "2 lines without telemetry" in said.out
    bad = rows_of(said.out, "2 lines without telemetry")
    assert [row[:2] for row in bad] == [["rows.ndjson", "7"], ["rows.ndjson", "8"]]


# -- reports of smartctl --------------------------------------------------------------------------


def test_real_reports_become_a_table_of_drives(tmp_path):
    if not REPORTS.exists():
        pytest.skip(f"{REPORTS} is missing; AIOPS_SHARED names the directory that holds data/")
    drives = succeeds("scan", REPORTS, "--json", cwd=tmp_path).json["drives"]
    said = succeeds("scan", REPORTS, cwd=tmp_path)
    assert said.out.startswith(f"{len(drives)} reports of smartctl\n")
    assert not too_wide(said.out)
    flash = [d for d in drives if d["readable"] and d["wear_used_percent"] is not None]
    rest = [d for d in drives if d["readable"] and d["wear_used_percent"] is None]
    failed = [d for d in drives if not d["readable"]]
    assert len(flash) > 50
    assert f"{len(flash)} flash drives with an endurance figure" in said.out
    shown = [int(p) for p in re.findall(r" (\d+) %  (?:nvme|attr\d+|devstat)", said.out)]
    assert shown == sorted((round(d["wear_used_percent"]) for d in flash), reverse=True)
    assert f"{len(rest)} drives without one" in said.out
    assert f"{len(failed)} reports that could not be read" in said.out
    for drive in failed:
        assert drive["file"] in said.out
        assert drive["why"]
    ailing = [d for d in drives if "says that it is failing" in d["why"]]
    assert ailing, "some drives say so themselves"
    assert all(drive["file"][:30] in said.out for drive in ailing)


def test_reports_and_telemetry_together(tmp_path):
    report = {
        "device": {"name": "/dev/nvme0", "protocol": "NVMe"},
        "model_name": "A MODEL [/] 1",
        "serial_number": "S1",
        "nvme_smart_health_information_log": {"percentage_used": 12, "available_spare": 97},
    }
    (tmp_path / "drive.json").write_text(json.dumps(report, indent=1))
    (tmp_path / "broken.json").write_text('{"device": ')
    (tmp_path / "rows.csv").write_text("device,time,uptime_s\ngw-1,2026-01-05T00:00:00Z,60\n")
    said = succeeds("scan", *sorted(p.name for p in tmp_path.iterdir()), cwd=tmp_path)
    assert re.search(r"^A MODEL \[/\] 1 +S1 +12 % +nvme +97 %", said.out, re.M)
    assert "1 report that could not be read" in said.out
    assert "broken.json" in said.out
    assert "1 row of 1 device in 1 file" in said.out


def test_reports_can_be_run(tmp_path):
    day = 86_400
    for i in range(40):
        report = {
            "device": {"name": "/dev/nvme0", "protocol": "NVMe"},
            "serial_number": "S1",
            "local_time": {"time_t": 1_767_571_200 + i * day},
            "nvme_smart_health_information_log": {"percentage_used": 70 + i},
        }
        (tmp_path / f"{i * 7 % 40}.json").write_text(json.dumps(report))
    files: list[Path] = sorted(tmp_path.glob("*.json"))
    said = succeeds("run", *files, "--out", tmp_path / "out", cwd=tmp_path)
    assert "1 medium worn out already" in said.out
    assert re.search(r"^S1/nvme0 +≥ 100 % ", said.out, re.M)


@pytest.mark.skipif(not REPORTS.exists(), reason=f"{REPORTS.name} of the shared data is missing")
def test_a_flash_drive_is_shown_with_its_power_cycles(tmp_path: Path) -> None:
    heads = [
        line for line in succeeds("scan", REPORTS, cwd=tmp_path).out.splitlines() if "used" in line
    ]
    assert heads[0].split() == ["model", "serial", "used", "by", "spare", "written", "cycles"]
