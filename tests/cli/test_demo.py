"""`aiops demo`: four stories and what would be done about them, for people and for programs."""

from __future__ import annotations

import json
import re

import pyarrow.parquet as pq
import pytest

from aiops.connectors.simulator import SCENARIOS
from tests.cli.process import JIT, aiops, read, succeeds, too_wide

DATE = r"\d{4}-\d{2}-\d{2}"


def section(text: str, number: int) -> str:
    """Return one of the numbered stories."""
    _, _, after = text.partition(f"\n{number}. ")
    return re.split(rf"\n{number + 1}\. |\nWhy\?", after)[0]


def named(fault: str) -> set[str]:
    """Return where the demo has this fault."""
    return {f.where for f in SCENARIOS["demo"].faults if f.kind == fault}


def test_it_ends_by_itself_and_fits_80_columns(the_demo):
    assert (the_demo.text.code, the_demo.text.err) == (0, "")
    assert not too_wide(the_demo.text.out)
    assert "\x1b" not in the_demo.text.out, "nobody is watching"


def test_it_foretells_the_date_of_a_wear_out_with_the_truth_beside_it(the_demo):
    story = section(the_demo.text.out, 1)
    told = re.findall(rf"^{DATE} +(\S+)/\S+ +{DATE} +{DATE} +{DATE} +fnd-\w+", story, re.M)
    assert set(told) & named("wear")
    assert "even odds by" in story
    simulated = SCENARIOS["demo"]
    forecasts = pq.read_table(the_demo.out / "forecasts.parquet").to_pylist()
    ahead = [f for f in forecasts if f["detector"] == "flash_wear" and f["device_id"] in told]
    assert all(f["p50"] > simulated.start_ns for f in ahead)
    assert ahead


def test_it_notices_the_firmware_that_reboots(the_demo):
    story = section(the_demo.text.out, 2)
    cohorts = {where.removeprefix("cohort:") for where in named("reboots")}
    rows = re.findall(r"^\S+ +gw-\d+ +(\S+) +(\S+) /wk +(\S+) /wk", story, re.M)
    assert {cohort for cohort, _, _ in rows} == cohorts
    assert all(float(now) > float(before) for _, before, now in rows)


def test_it_hears_of_silence_as_one_incident(the_demo):
    story = section(the_demo.text.out, 3)
    for site in named("outage"):
        said = " ".join(story.split())
        assert re.search(rf"site {site[5:]}: \d+ of \d+ devices .*\. One incident\.", said)
    for device in named("dead"):
        assert device in story


def test_heat_moves_workloads_away_and_home(the_demo):
    story = section(the_demo.text.out, 4)
    moves = re.findall(rf"^{DATE} \S+ +(\S+) +(\S+) +(\S+) +(heat|home again)", story, re.M)
    away = {(workload, source) for workload, source, _, why in moves if why == "heat"}
    home = {(workload, target) for workload, _, target, why in moves if why == "home again"}
    assert away & home, "what was moved away from its home returns there"
    assert "Why away: " in story
    assert "Why back: " in story


def test_actions_are_counted_with_their_reasons(the_demo):
    story = section(the_demo.text.out, 5)
    actions = read(the_demo.out, "actions")
    for kind in {action["kind"] for action in actions}:
        verdicts = [a["verdict"] for a in actions if a["kind"] == kind]
        n, held = verdicts.count("allowed"), verdicts.count("held")
        assert re.search(rf"^{kind} +{n} +{held} +\w", story, re.M), kind
    first = next(a for a in actions if a["kind"] == "schedule_maintenance")
    assert first["reason"][:24] in story


def test_every_id_it_names_can_be_explained(the_demo):
    ids = re.findall(r"\b(?:fnd|inc|act|pln)-\w+", the_demo.text.out)
    written = {f["id"][:12] for f in read(the_demo.out, "findings")}
    assert ids
    assert set(ids) <= written
    why = succeeds("explain", ids[0], "--out", the_demo.out.name, cwd=the_demo.out.parent)
    assert ids[0] in why.out


@pytest.mark.skipif(not JIT, reason="one demo with kernels as plain Python is slow enough")
def test_its_json_carries_the_same(the_demo):
    assert (the_demo.json.code, the_demo.json.err) == (0, "")
    found = the_demo.json.json
    assert found["actions"] == read(the_demo.out, "actions")
    assert found["totals"] == json.loads((the_demo.out / "totals.json").read_bytes())
    assert set(found["firing"]) == {f["rule"] for f in read(the_demo.out, "findings")}


def test_it_forgets_an_earlier_demo_and_nothing_else(the_demo, tmp_path):
    (tmp_path / "aiops-demo").mkdir()
    (tmp_path / "aiops-demo" / "thesis.txt").write_text("chapter one")
    assert "name another --out" in aiops("demo", cwd=tmp_path).fails(1)
    # the directory of a run whose telemetry is called demo is no demo
    about = tmp_path / "aiops-demo" / "run.json"
    about.write_text(json.dumps({"sources": ["demo"]}))
    assert "other than an earlier demo" in aiops("demo", cwd=tmp_path).fails(1)
    assert (tmp_path / "aiops-demo" / "thesis.txt").exists()
