"""`aiops explain`: each kind of record, from the beginning of its id."""

from __future__ import annotations

import re

import pytest

from tests.cli.process import RECORDS, aiops, read, succeeds, too_wide

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
