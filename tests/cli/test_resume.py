"""A run that is stopped, in whatever way, is resumed by the same command and ends the same."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.process import (
    HOURLY,
    Said,
    aiops,
    finish,
    judged_until,
    records,
    start,
    stop,
    succeeds,
    wait_until,
)

RUN = ("run", "fleet/telemetry", "--inventory", "fleet/inventory.json", *HOURLY)
OFTEN = ("--checkpoint-rows", 60)
RESUMES = "Stopped; the state is saved, and the same command resumes."


def test_a_run_killed_again_and_again_ends_with_the_same_bytes(told, eventful):
    whole, said = told
    again = (*RUN, *OFTEN, "--out", "killed", "--warehouse", "killed.duckdb")
    out = eventful / "killed"
    process = start(*again, cwd=eventful)
    wait_until(process, (out / "run.json").exists)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    for after in ("2026-01-08", "2026-01-14", "2026-01-20"):
        killed = stop(*again, cwd=eventful, out="killed", after=after)
        assert killed == Said(-signal.SIGKILL, "", ""), killed
        assert after <= judged_until(out) < judged_until(whole), "it was in the middle"
        # what a crash may leave behind
        with (out / "actions.jsonl").open("ab") as file:
            file.write(b'{"action_id": "act-00')
        (out / "state.npz.new").write_bytes(b"PK\x03\x04 half a checkpoint")
    resumed = succeeds(*again, cwd=eventful)
    assert records(out) == records(whole)
    assert all(records(out).values()), "each kind has something to tell"
    assert resumed.out.replace("killed", "whole") == said.out


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_run_with_its_state_saved(told, eventful, by):
    whole, said = told
    name = by.name.lower()
    again = (*RUN, *OFTEN, "--out", name)
    stopped = stop(*again, cwd=eventful, out=name, after="2026-01-12", by=by)
    assert stopped == Said(128 + by, "", RESUMES + "\n")
    totals = json.loads((eventful / name / "totals.json").read_bytes())
    assert 0 < totals["rows"] < json.loads((whole / "totals.json").read_bytes())["rows"]
    # what it knew when it stopped can be looked at meanwhile
    about = succeeds("explain", "fnd-980170b4", "--out", name, cwd=eventful)
    assert "gw-0003/mmcblk0" in about.out
    resumed = succeeds(*again, cwd=eventful)
    assert records(eventful / name) == records(whole)
    assert resumed.out.replace(name, "whole") == said.out


def test_a_torn_state_is_refused_and_without_it_the_run_begins_anew(told, eventful):
    whole, _ = told
    again = (*RUN, "--out", "torn")
    succeeds(*again, cwd=eventful)
    state = eventful / "torn" / "state.npz"
    state.write_bytes(state.read_bytes()[:2000])
    failed = aiops(*again, cwd=eventful).fails(1)
    assert "torn/state.npz: cannot be read as a checkpoint" in failed
    assert "remove it" in failed
    state.unlink()
    succeeds(*again, cwd=eventful)
    assert records(eventful / "torn") == records(whole)


# -- streams --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(eventful: Path) -> pa.Table:
    """Return the telemetry in the order in which the log took it."""
    table = pq.read_table(eventful / "fleet" / "telemetry")
    return table.sort_by([(name, "ascending") for name in ("recv_ts", "device_id", "part")])


def as_lines(table: pa.Table) -> bytes:
    lines = (
        json.dumps({name: value for name, value in row.items() if value is not None}, default=str)
        for row in table.to_pylist()
    )
    return "".join(f"{line}\n" for line in lines).encode()


STREAM = ("run", "-", "--inventory", "fleet/inventory.json", *HOURLY)


def test_a_stream_of_lines_is_stopped_while_it_is_idle_and_resumed_from_its_beginning(
    told, eventful, rows
):
    whole, _ = told
    again = (*STREAM, "--out", "stream", "--checkpoint-rows", 1)
    lines = as_lines(rows)
    half = lines.index(b"\n", len(lines) // 2) + 1
    # Killed, then stopped, then stopped once more before any epoch could close.
    for by in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process = start(*again, cwd=eventful, stdin=subprocess.PIPE)
        assert process.stdin
        process.stdin.write(lines[:half])
        process.stdin.flush()
        wait_until(process, lambda: judged_until(eventful / "stream") >= "2026-01-15")
        wait_until(process, (eventful / "stream" / "state.npz").exists)
        half = lines.index(b"\n", half) + 1
        process.stdin.write(lines[: half - len(lines)][-1:])
        process.send_signal(by)
        stopped = finish(process)
        assert stopped.code == (-by if by == signal.SIGKILL else 128 + by), stopped
        assert stopped.err == ("" if by == signal.SIGKILL else RESUMES + "\n")
    succeeds(*again, cwd=eventful, stdin=lines)
    assert records(eventful / "stream") == records(whole)


def test_a_stream_of_arrow_gives_the_same(told, eventful, rows, tmp_path):
    whole, _ = told
    held = pa.BufferOutputStream()
    with pa.ipc.new_stream(held, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=500)
    stream = held.getvalue().to_pybytes()
    succeeds(*STREAM, "--stream", "arrow", "--out", "arrow", cwd=eventful, stdin=stream)
    assert records(eventful / "arrow") == records(whole)
