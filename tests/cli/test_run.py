"""`aiops run`: what it says, what it writes, and that the cut of the files does not show."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.cli.fleets import cut
from tests.cli.process import (
    HOURLY,
    RECORDS,
    TINY,
    Said,
    aiops,
    finish,
    read,
    records,
    start,
    succeeds,
    too_wide,
)

TELEMETRY = TINY / "telemetry"
INVENTORY = ("--inventory", TINY / "inventory.json")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    folder = tmp_path_factory.mktemp("tiny")
    return folder / "out", succeeds("run", TELEMETRY, *INVENTORY, "--out", "out", cwd=folder)


def truth(fault: str) -> set[str]:
    """Return the devices to which the simulator did this."""
    rows = pq.read_table(TINY / "truth.parquet").to_pylist()
    return {row["device_id"] for row in rows if row["fault"] == fault}


def test_a_run_finds_what_was_done_to_the_fleet(tiny):
    out, said = tiny
    firing = {}
    for finding in read(out, "findings"):
        firing.setdefault(finding["rule"], set()).add(finding["device_id"])
    assert truth("wear")
    assert firing["flash_wear"] == truth("wear")
    assert truth("dead") <= firing["silence"]
    for device in truth("wear") | truth("dead"):
        assert device in said.out


def test_what_is_printed_is_what_was_written(tiny):
    out, said = tiny
    latest = {f["fingerprint"]: f for f in read(out, "findings")}
    firing = [f["id"] for f in latest.values() if f["status"] == "firing"]
    assert firing
    for id in firing:
        assert id[:12] in said.out
    totals = json.loads((out / "totals.json").read_text())
    assert f"{totals['rows']:,} rows of {totals['devices']} devices" in said.out
    for reason, n in totals["set_aside"].items():
        assert f"{reason} {n:,}" in said.words
    assert totals["set_aside"]
    assert not too_wide(said.out)


def test_the_same_command_again_changes_nothing_and_its_json_carries_the_same(tiny):
    out, _ = tiny
    before = records(out)
    found = succeeds("run", TELEMETRY, *INVENTORY, "--out", "out", "--json", cwd=out.parent).json
    assert records(out) == before
    assert found["actions"] == read(out, "actions")
    assert found["totals"] == json.loads((out / "totals.json").read_text())
    latest = {f["fingerprint"]: f for f in read(out, "findings")}
    expected = [f for f in latest.values() if f["status"] == "firing"]
    told = [f for findings in found["firing"].values() for f in findings]
    assert sorted(told, key=str) == sorted(expected, key=str)


def test_the_same_rows_in_other_pieces_give_the_same_bytes(tiny, tmp_path):
    out, _ = tiny
    table = pq.read_table(TELEMETRY)
    running = {}
    for pieces in (1, 7, 60):
        files = cut(table, pieces, tmp_path / f"cut{pieces}", seed=pieces)
        name = f"out{pieces}"
        running[name] = start("run", *files, *INVENTORY, "--out", name, cwd=tmp_path)
    for name, process in running.items():
        said = finish(process)
        assert (said.code, said.err) == (0, "")
        assert records(tmp_path / name) == records(out)
    assert records(out)["findings"]
    assert records(out)["actions"]


def test_other_pieces_give_the_same_plans(told, eventful, tmp_path):
    whole, _ = told
    table = pq.read_table(eventful / "fleet" / "telemetry")
    files = cut(table, 23, tmp_path / "cut", seed=5)
    inventory = ("--inventory", eventful / "fleet" / "inventory.json")
    succeeds("run", *files, *inventory, *HOURLY, "--out", "out", cwd=tmp_path)
    assert records(tmp_path / "out") == records(whole)
    assert all(records(whole).values()), "each kind has something to tell"


def test_a_finding_can_fail_the_command(tiny):
    out, _ = tiny
    again = ("run", TELEMETRY, *INVENTORY, "--out", "out", "--fail-on-finding")
    assert aiops(*again, cwd=out.parent).code == 3


def test_results_can_be_asked_in_sql(told, eventful):
    whole, _ = told
    with duckdb.connect(eventful / "all.duckdb", read_only=True) as base:
        for kind in RECORDS:
            (n,) = base.execute(f"SELECT count(*) FROM {kind}").fetchone()
            assert n == len(read(whole, kind)) > 0


# -- whose directory it is ------------------------------------------------------------------------


def test_the_directory_of_another_run_is_left_alone(tiny, tmp_path):
    out, said = tiny
    before = records(out)
    other = ("run", TELEMETRY, *INVENTORY, "--out", "out", "--epoch", 3600)
    failed = aiops(*other, cwd=out.parent).fails(1)
    assert "out holds another run: epoch was 60, is 3600" in failed
    assert "--fresh" in failed
    assert records(out) == before
    # --fresh forgets what a run has written, nothing else, and finds the same once more
    (out / "notes.txt").write_text("mine")
    assert succeeds("run", TELEMETRY, *INVENTORY, "--out", "out", "--fresh", cwd=out.parent) == said
    assert records(out) == before
    assert (out / "notes.txt").read_text() == "mine"


def test_what_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("chapter one")
    failed = aiops("run", TELEMETRY, "--out", "mine", "--fresh", cwd=tmp_path).fails(1)
    assert "mine holds files that are no run" in failed
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_run_that_got_nowhere_does_not_hold_its_directory(tmp_path):
    failed = aiops("run", TELEMETRY, "--out", "out", "--column", "device=gadget", cwd=tmp_path)
    assert "no column 'gadget' to be the device" in failed.fails(1)
    # another one may have it; this one has nothing to find, and says so
    only = ("--detector", "reboot_drift", "--alarm-budget", 0.001, "--fail-on-finding")
    quiet = succeeds("run", TELEMETRY, *only, "--out", "out", cwd=tmp_path)
    assert "nothing is about to wear out" in quiet.out
    assert "Actions: none proposed." in quiet.out


def test_a_file_that_is_not_there_leaves_no_directory(tmp_path):
    typo = aiops("run", TELEMETRY / "2026-01-06.parquet", "--out", "out", cwd=tmp_path).fails(1)
    assert "did you mean 2026-01-05.parquet?" in typo
    assert not (tmp_path / "out").exists()


# -- rows that are odd ----------------------------------------------------------------------------

ODD = ["gw[/x]", "[red]a", "gw:warning:1", "a\u2028b", "gw\x1b[31m", "日本語の装置", "x" * 70]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with ``odd.ndjson``: names that nobody should give, and lines of none."""
    folder = tmp_path_factory.mktemp("odd")
    lines = [
        json.dumps(
            {
                "device_id": name,
                "ts": 1_767_571_200 + day * 86_400,
                "storage.wear.used_ratio": round(0.6 + day * 0.01, 2),
                "site": "[b]the site",
                "model": "c[/c]",
            }
        )
        for day in range(45)
        for name in ODD
    ]
    lines[5:5] = ["no JSON at all", '{"device_id": 1', "[1, 2]"]
    (folder / "odd.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_odd_names_are_shown_as_they_are_and_bad_lines_are_told(odd):
    said = succeeds("run", "odd.ndjson", "--out", "out", cwd=odd)
    for name in ("gw[/x]", "[red]a", "gw:warning:1", "a\ufffdb", "gw\ufffd[31m", "日本語の装置"):
        assert f"{name} " in said.out
    assert "x" * 30 in said.out
    assert "Not read: 3 lines without telemetry" in said.out
    assert not too_wide(said.out)
    by_device = {f["device_id"]: f for f in read(odd / "out", "findings")}
    assert set(by_device) == set(ODD)
    for finding in by_device.values():
        assert finding["id"][:12] in said.out
    why = succeeds("explain", by_device["gw[/x]"]["id"], "--out", "out", cwd=odd)
    assert "gw[/x]" in why.out
    assert "c[/c]" in why.out


def test_nothing_but_such_lines_is_an_error(tmp_path):
    (tmp_path / "prose.ndjson").write_text("It was a dark\nand stormy night\n")
    failed = aiops("run", "prose.ndjson", "--out", "out", cwd=tmp_path).fails(1)
    assert "prose.ndjson" in failed
