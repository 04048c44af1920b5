"""`aiops explain`: each kind of record, from the beginning of its id."""

from __future__ import annotations

import math
import re

import pyarrow.csv
import pytest

from aiops.cli.explain import reboots_in_words, wear_in_words
from tests.cli.process import RECORDS, aiops, read, succeeds, too_wide
from tests.reboot_fleet import history

TELLS = {
    # kind -> the name its id goes by, and what its explanation says of a record
    "findings": ("id", ["sentence", "device_id", "site", "cohort", "status"]),
    "incidents": ("incident_id", ["title", "site", "status", "severity"]),
    "actions": ("action_id", ["reason", "kind", "verdict", "verdict_reason", "origin"]),
    "plans": ("id", []),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_is_explained_from_the_beginning_of_its_id(told, kind):
    out, _ = told
    name, says = TELLS[kind]
    record = read(out, kind)[-1]
    said = succeeds("explain", record[name][:10], "--out", out.name, cwd=out.parent)
    assert said.out.startswith(f"{kind.removesuffix('s')} {record[name]}\n")
    for field in says:
        assert str(record[field]) in said.words, field
    for move in record.get("moves", []):
        assert move["reason"] in said.words
        assert move["workload"] in said.out
    assert kind != "plans" or record["moves"]
    assert not too_wide(said.out)


def test_the_evidence_of_a_finding_and_its_forecast_in_order(told):
    out, _ = told
    finding = next(f for f in read(out, "findings") if f["rule"] == "flash_wear")
    said = succeeds("explain", finding["id"], "--out", out.name, cwd=out.parent)
    for name, value in finding["evidence"].items():
        shown = re.search(rf"^{name.replace('_', ' ')} +(.+?) *$", said.out, re.M)
        assert shown, name
        if value is None:
            assert shown[1] == "not known"
        else:
            assert float(shown[1].replace(",", "")) == pytest.approx(value, rel=1e-3)
    assert any(value is None for value in finding["evidence"].values()), "a hard case"
    assert re.findall(r"^(\d+) % by", said.out, re.M) == ["5", "10", "50", "90", "95"]
    assert finding["forecast"]["p50"][:10] in said.out


WORN = {
    "wear_used_ratio": 0.86,
    "step_ratio": 0.01,
    "wear_per_tb_ratio": 0.0086,
    "write_rate_bytes_per_day": 94.8e9,
    "write_rate_change_ratio": 1.36,
    "halved_writes_gain_days": 175.8,
    "source_trust_ratio": 0.965,
    "quarantined": 0.0,
}
DATES = {
    "quantity": "storage.wear_out.date",
    "unit": "ns",
    "p10": "2027-06-06T22:52:00Z",
    "p50": "2027-08-23T19:56:00Z",
    "p90": "2031-03-05T12:52:00Z",
}
ALL_OF_IT = (
    "The chance that it is worn out is 10 % by 2027-06-06, 50 % by 2027-08-23, 90 % by 2031-03-05.",
    "Wear now is 86 %, read in steps of 1 %.",
    "Each TB written wears 0.86 %.",
    "Lately 94.8 GB a day are written, 1.4 times its long-run rate.",
    "Halving the writes would give 176 days more.",
    "The source of the reading is trusted to 96 %.",
)


def test_wear_is_told_in_words():
    assert tuple(wear_in_words(WORN, DATES)) == ALL_OF_IT


@pytest.mark.parametrize(
    ("missing", "left_out"),
    [
        ("step_ratio", ", read in steps of 1 %"),
        ("wear_per_tb_ratio", ALL_OF_IT[2]),
        ("write_rate_bytes_per_day", ALL_OF_IT[3]),
        ("write_rate_change_ratio", ", 1.4 times its long-run rate"),
        ("halved_writes_gain_days", ALL_OF_IT[4]),
        ("source_trust_ratio", ALL_OF_IT[5]),
        ("quarantined", ""),
    ],
)
def test_what_is_not_known_is_left_out(missing, left_out):
    expected = " ".join(ALL_OF_IT).replace(left_out, "") if left_out else " ".join(ALL_OF_IT)
    without = {name: value for name, value in WORN.items() if name != missing}
    for evidence in (without, WORN | {missing: None}, WORN | {missing: math.nan}):
        assert " ".join(wear_in_words(evidence, DATES)).split() == expected.split()


@pytest.mark.parametrize(
    ("evidence", "forecast", "says", "does_not"),
    [
        ({}, {"p90": None}, "50 % by 2027-08-23.", "90 %"),
        ({}, {"p10": None, "p50": None, "p90": None}, "Wear now", "chance"),
        ({}, None, "Wear now", "chance"),
        ({"wear_used_ratio": 1.04}, {}, "Wear now is 104 %", "chance"),
        ({"write_rate_change_ratio": 1.02}, {}, "are written, as in the long run.", "times"),
        ({"halved_writes_gain_days": 0.0}, {}, "Wear now", "Halving"),
        ({"halved_writes_gain_days": math.inf}, {}, "Wear now", "Halving"),
        ({"quarantined": 1.0}, {}, "The source", "chance"),
        ({"quarantined": 1.0}, {}, "Wear now is 86 %", "Halving"),
    ],
)
def test_words_follow_what_is_known(evidence, forecast, says, does_not):
    told = None if forecast is None else DATES | forecast
    words = " ".join(wear_in_words(WORN | evidence, told))
    assert says in words
    assert does_not not in words


def test_words_of_a_finding_stand_below_its_sentence(told):
    out, _ = told
    finding = next(f for f in read(out, "findings") if f["rule"] == "flash_wear")
    said = succeeds("explain", finding["id"], "--out", out.name, cwd=out.parent)
    words = " ".join(wear_in_words(finding["evidence"], finding["forecast"]))
    assert "Wear now is " in words
    assert f"{finding['sentence']} {words} device " in said.words


REBOOTING = {
    "rate_before_per_week_p10": 0.3548,
    "rate_before_per_week": 0.4672,
    "rate_before_per_week_p90": 0.6152,
    "rate_after_per_week_p10": 1.064,
    "rate_after_per_week": 1.332,
    "rate_after_per_week_p90": 1.667,
    "onset_s": 1_762_992_000.0,
    "evidence_ratio": 241.2,
    "exposure_days": 479.0,
    "reboots_counted": 70.0,
    "power_told": 11.0,
    "software_told": 39.0,
    "planned_ignored": 2.0,
    "shared_ignored": 1.0,
    "cohort_rate_per_week": 0.4119,
    "cohort_extreme_per_week": 1.709,
}
ALL_OF_THAT = (
    "Reboots a week of running, in brackets with 80 %: before 0.47 (0.35 to 0.62), "
    "since about 2025-11-13 1.3 (1.1 to 1.7).",
    "A device whose rate never rose shows as much evidence no more often than once in "
    "320 device-years.",
    "Of its unplanned reboots were 11 for lack of power, 39 by software and 20 without a cause "
    "told.",
    "Not counted: 2 planned and 1 shared with many.",
    "Others of its cohort reboot 0.41 times a week, hardly one in 10,000 more than 1.7; "
    "it now does x3.2 as often.",
)


def test_reboots_are_told_in_words():
    assert tuple(reboots_in_words(REBOOTING, None)) == ALL_OF_THAT


@pytest.mark.parametrize(
    ("missing", "left_out"),
    [
        ("rate_before_per_week", ALL_OF_THAT[:1]),
        ("rate_before_per_week_p10", (" (0.35 to 0.62)",)),
        ("rate_after_per_week", (ALL_OF_THAT[0], ALL_OF_THAT[4])),
        ("onset_s", (ALL_OF_THAT[0], ALL_OF_THAT[4])),
        ("evidence_ratio", ALL_OF_THAT[1:2]),
        ("reboots_counted", ALL_OF_THAT[2:3]),
        ("planned_ignored", ("2 planned and ",)),
        ("shared_ignored", (" and 1 shared with many",)),
        ("cohort_rate_per_week", ALL_OF_THAT[4:]),
        ("cohort_extreme_per_week", (", hardly one in 10,000 more than 1.7",)),
    ],
)
def test_of_reboots_too_what_is_not_known_is_left_out(missing, left_out):
    expected = " ".join(ALL_OF_THAT)
    for text in left_out:
        assert text in expected
        expected = expected.replace(text, "")
    without = {name: value for name, value in REBOOTING.items() if name != missing}
    for evidence in (without, REBOOTING | {missing: None}, REBOOTING | {missing: math.nan}):
        assert " ".join(reboots_in_words(evidence, None)).split() == expected.split()


@pytest.mark.parametrize(
    ("evidence", "says", "does_not"),
    [
        ({"power_told": 0.0}, "were 39 by software and 31 without a cause told.", "power"),
        ({"power_told": 31.0}, "were 31 for lack of power and 39 by software.", "without"),
        ({"planned_ignored": 0.0, "shared_ignored": 0.0}, "cohort", "Not counted"),
        ({"evidence_ratio": 1e9}, "once in a million device-years.", "e+"),
        ({"evidence_ratio": 1.0}, "once in 1.3 device-years.", "1.31"),
        ({"reboots_counted": 0.0}, "Not counted", "unplanned"),
    ],
)
def test_words_of_reboots_follow_what_is_known(evidence, says, does_not):
    words = " ".join(reboots_in_words(REBOOTING | evidence, None))
    assert says in words
    assert does_not not in words


def test_reboots_of_a_device_and_of_a_site_are_explained(tmp_path):
    pyarrow.csv.write_csv(history(), tmp_path / "rows.csv")
    succeeds("run", "rows.csv", "--detector", "reboot_drift", "--out", "out", cwd=tmp_path)
    findings = read(tmp_path / "out", "findings")
    drifter = next(f for f in findings if f["device_id"] == "drifter")
    said = succeeds("explain", drifter["id"], "--out", "out", cwd=tmp_path)
    words = " ".join(reboots_in_words(drifter["evidence"], drifter["forecast"]))
    assert "since about 2025-06" in words
    assert f"{drifter['sentence']} {words} device drifter " in said.words
    assert re.search(r"^onset s +\d+ \(2025-06-\d\d\) *$", said.out, re.M)
    assert not too_wide(said.out)
    site = next(f for f in findings if not f["device_id"])
    said = succeeds("explain", site["id"], "--out", "out", cwd=tmp_path)
    assert f"{site['sentence']} group site Lyon " in said.words


def test_the_latest_record_of_an_incident_stands_for_it(told):
    out, _ = told
    incidents = read(out, "incidents")
    last = next(i for i in reversed(incidents) if i["status"] == "resolved")
    assert sum(i["incident_id"] == last["incident_id"] for i in incidents) > 1
    as_json = ("explain", last["incident_id"], "--out", out.name, "--json")
    assert succeeds(*as_json, cwd=out.parent).json == last


def test_an_id_that_nothing_has_a_beginning_of_many_and_a_device(told):
    out, _ = told
    where = ("--out", out.name)
    ids = {r["id"] for kind in RECORDS for r in read(out, kind)}
    unknown = aiops("explain", "fnd-nothing", *where, cwd=out.parent).fails(1)
    assert f"no id in {out.name} begins with 'fnd-nothing'" in unknown
    assert f"{len(ids)} records" in unknown
    many = aiops("explain", "fnd-", *where, cwd=out.parent).fails(1)
    named = re.findall(r"fnd-\w+", many)
    assert len(named) > 1
    assert set(named) <= ids
    assert "give more" in many
    finding = read(out, "findings")[0]
    device = aiops("explain", finding["device_id"], *where, cwd=out.parent).fails(1)
    assert finding["id"] in device


def test_a_directory_without_results_says_what_would_have_some(tmp_path):
    failed = aiops("explain", "fnd-1", cwd=tmp_path).fails(1)
    assert "aiops-out: no results here" in failed
    assert "aiops run" in failed


@pytest.mark.parametrize(
    ("id", "route"),
    [("fnd-1a", "findings"), ("inc-1a", "incidents"), ("act-1a", "actions"), ("gw-1", "findings")],
)
def test_the_data_of_a_service_is_not_read_and_whom_to_ask_is_said(tmp_path, id, route):
    (tmp_path / "aiops-data").mkdir()
    (tmp_path / "aiops-data" / "control.db").touch()
    said = aiops("explain", id, "--out", "aiops-data", cwd=tmp_path).fails(1)
    assert "the data directory of a service" in said
    assert f"'http://127.0.0.1:8470/v1/{route}" in said
