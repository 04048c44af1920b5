"""`aiops simulate`, and `aiops run` on what it has written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq

from tests.cli.process import read, succeeds, too_wide

SMALL = ("--scenario", "wear", "--devices", 10, "--days", 300, "--seed", 5)


def test_what_is_simulated_is_run_as_it_says_and_found_as_it_is(tmp_path):
    said = succeeds("simulate", *SMALL, "--out", "fleet", cwd=tmp_path)
    assert "10 devices over 300 days" in said.words
    assert not too_wide(said.out)
    next_command = said.out[said.out.index("aiops run") :].replace("\\\n", " ")
    run = succeeds(*shlex.split(next_command)[1:], "--out", "out", cwd=tmp_path)
    assert run.out.splitlines()[0].endswith("2026-11-01 00:00")
    truth = pq.read_table(tmp_path / "fleet" / "truth.parquet").to_pylist()
    rows = pq.read_table(tmp_path / "fleet" / "telemetry", columns=["ts"])
    end_ns = max(rows["ts"].to_pylist()).value
    worn = {r["device_id"] for r in truth if r["part"] and (r["wear_out_ts"] or end_ns) < end_ns}
    found = {f["device_id"] for f in read(tmp_path / "out", "findings") if f["part"]}
    assert worn, "some are worn out by its end"
    assert worn <= found


def test_its_json_names_the_same_files_and_a_seed_makes_the_same_fleet(tmp_path):
    told = succeeds("simulate", *SMALL, "--out", "one", "--json", cwd=tmp_path).json
    files = [Path(name) for name in told["files"]]
    assert all((tmp_path / file).stat().st_size for file in files)
    assert told["bytes"] == sum((tmp_path / file).stat().st_size for file in files)
    assert told["nodes"] == 11
    succeeds("simulate", *SMALL, "--out", "two", cwd=tmp_path)
    for file in files:
        other = tmp_path / re.sub("^one", "two", str(file))
        assert other.read_bytes() == (tmp_path / file).read_bytes()
