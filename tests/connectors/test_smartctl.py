from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from aiops.connectors.smartctl import DriveReport, SmartctlSource, read, report
from aiops.errors import FileError
from aiops.telemetry.columns import identity_code
from aiops.telemetry.normalise import normalise
from aiops.testing import check_source
from tests.telemetry.frames import rows_of

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("AIOPS_SHARED", ROOT.parent / "shared"))
REPORTS = SHARED / "data" / "flash" / "smartctl_json"
EXPECTED = ROOT / "tests" / "cases" / "smartctl" / "expected.csv"

ATA: dict[str, Any] = {
    "device": {"name": "/dev/sda", "protocol": "ATA"},
    "model_name": "Made Up 500",
    "serial_number": "S1",
    "rotation_rate": 0,
    "local_time": {"time_t": 1_772_323_200},
    "user_capacity": {"bytes": 500},
    "power_on_time": {"hours": 10, "minutes": 59},
    "power_cycle_count": 4,
    "ata_smart_attributes": {
        "table": [
            {"id": 177, "name": "Wear_Leveling_Count", "value": 81, "raw": {"value": 300}},
            {"id": 241, "name": "Total_LBAs_Written", "value": 99, "raw": {"value": 8}},
        ]
    },
}


def write(folder: Path, name: str, document: object) -> Path:
    path = folder / name
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_a_report_becomes_a_row(tmp_path: Path) -> None:
    table = read([write(tmp_path, "a.json", ATA)])
    assert rows_of(normalise(table)) == [
        {
            "device_id": "S1",
            "ts": 1_772_323_200_000_000_000,
            "part": "sda",
            "medium_id": "S1",
            "cohort": "Made Up 500",
            "storage.model": identity_code("Made Up 500"),
            "storage.capacity": 500.0,
            "storage.power_on_time": 36_000.0,
            "storage.power_cycles": 4.0,
            "storage.wear.used_ratio/attr177_remaining": 0.19,
            "storage.bytes_written/attr241": 4096.0,
        }
    ]


def test_a_drive_without_a_serial_number_goes_by_its_file(tmp_path: Path) -> None:
    nameless = {key: value for key, value in ATA.items() if key != "serial_number"}
    table = read([write(tmp_path, "rack-7.json", nameless), write(tmp_path, "b.json", ATA)])
    assert table["device_id"].to_pylist() == ["rack-7", "S1"]


def test_only_statistics_that_the_drive_vouches_for_count(tmp_path: Path) -> None:
    def statistics(valid: bool) -> dict[str, Any]:
        row = {
            "name": "Percentage Used Endurance Indicator",
            "value": 7,
            "flags": {"valid": valid},
        }
        return ATA | {"ata_device_statistics": {"pages": [{"table": [row]}]}}

    vouched, not_vouched = report(
        [
            write(tmp_path, "a.json", statistics(True)),
            write(tmp_path, "b.json", statistics(False)),
        ]
    )
    assert (vouched.wear_used_percent, vouched.wear_source) == (7.0, "devstat")
    assert (not_vouched.wear_used_percent, not_vouched.wear_source) == (19.0, "attr177_remaining")


def test_a_report_that_says_nothing_says_why(tmp_path: Path) -> None:
    message = {"severity": "error", "string": "open device: sda failed: No such device"}
    torn = tmp_path / "torn.json"
    torn.write_bytes(b'{"device": ')
    reports = report(
        [
            write(tmp_path, "a.json", {"smartctl": {"messages": [message]}}),
            write(
                tmp_path,
                "b.json",
                {"device": {"protocol": "ATA"}, "smart_status": {"passed": True}},
            ),
            write(tmp_path, "c.json", [1]),
            torn,
            tmp_path / "absent.json",
        ]
    )
    assert not any(one.readable for one in reports)
    for one, said in zip(
        reports,
        (
            "sda failed: No such device",
            "it holds device, smart_status",
            "is a list",
            "is no JSON",
            "opened",
        ),
        strict=True,
    ):
        assert said in one.why


def test_a_failing_drive_and_a_value_set_aside_are_told(tmp_path: Path) -> None:
    log = {"percentage_used": 3, "media_errors": 2**32 - 1}
    failing = {"nvme_smart_health_information_log": log, "smart_status": {"passed": False}}
    (one,) = report([write(tmp_path, "a.json", failing)])
    assert one.readable
    assert "is failing" in one.why
    assert "storage.media_errors 4294967295 set aside" in one.why


def test_a_file_that_is_no_report_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be opened"):
        read([tmp_path / "absent.json"])
    with pytest.raises(FileError, match="is an object, this is a list"):
        read([write(tmp_path, "a.json", [])])


@pytest.mark.parametrize(
    "odd",
    [
        {"ata_smart_attributes": 3, "ata_device_statistics": {"pages": {"table": []}}},
        {"ata_smart_attributes": {"table": [3, {"id": "x"}, {"raw": 5}]}},
        {"device": "sda", "serial_number": 7, "local_time": [], "smart_status": 1},
        {"nvme_smart_health_information_log": {"percentage_used": [1], "data_units_written": "x"}},
        {"power_on_time": {"hours": 10**40}, "smartctl": {"messages": [{"string": 3}]}},
        {},
    ],
)
def test_no_report_is_too_odd(odd: dict[str, Any], tmp_path: Path) -> None:
    (one,) = report([write(tmp_path, "odd.json", odd)])
    assert not one.readable
    normalise(read([write(tmp_path, "odd.json", odd)]))


# Real reports ------------------------------------------------------------------------------------


def expectations() -> list[dict[str, str]]:
    with EXPECTED.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def real() -> dict[str, DriveReport]:
    if not REPORTS.is_dir():
        pytest.skip(f"real smartctl reports are not there: {REPORTS} (set AIOPS_SHARED)")
    return {one.file: one for one in report(sorted(REPORTS.glob("*.json")))}


def test_every_real_report_has_its_row(real: dict[str, DriveReport]) -> None:
    assert set(real) == {row["file"] for row in expectations()}


@pytest.mark.parametrize("row", expectations(), ids=lambda row: row["file"])
def test_a_real_report(row: dict[str, str], real: dict[str, DriveReport]) -> None:
    """Source names there also tell the unit, which here is always the byte: ``attr241_gib``."""
    one = real[row["file"]]
    for name in ("protocol", "model", "serial", "wear_source"):
        assert getattr(one, name) == row[name], name
    for name in (
        "wear_used_percent",
        "spare_percent",
        "bytes_written",
        "power_cycles",
        "power_on_h",
    ):
        assert getattr(one, name) == (float(row[name]) if row[name] else None), name
    assert one.bytes_written_source == row["bytes_written_source"].partition("_")[0]
    truth = {"true": True, "false": False, "": None}
    assert one.rotational == truth[row["rotational"]]
    assert one.readable == truth[row["readable"]]
    assert one.readable or one.why


def test_reports_are_a_source_in_the_order_of_their_times(tmp_path):
    files = []
    for name, day, serial in (
        ("b", 2, "S1"),
        ("a", 1, "S1"),
        ("c", 3, "REDACTED"),
        ("d", 3, "XXX"),
    ):
        document = {
            "device": {"name": "/dev/nvme0"},
            "serial_number": serial,
            "local_time": {"time_t": 1_700_000_000 + 86_400 * day},
            "nvme_smart_health_information_log": {"percentage_used": 10 + day},
        }
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(document))
    check_source(lambda: SmartctlSource(files))
    (reports, _), (end, _) = SmartctlSource(files).frames(None)
    # A serial number that is none must not make one drive of many.
    assert reports["device_id"].to_pylist() == ["S1", "S1", "c", "d"]
    assert len(end) == 1
