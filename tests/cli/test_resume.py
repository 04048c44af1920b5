"""A run that is stopped, in whatever way, is resumed by the same command and ends the same."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.cli.process import (
    HOURLY,
    PATIENCE_S,
    Said,
    aiops,
    finish,
    judged_until,
    read,
    records,
    start,
    stop,
    succeeds,
    wait_until,
)

RUN = ("--inventory", "fleet/inventory.json", *HOURLY)
OFTEN = ("run", "fleet/telemetry", *RUN, "--checkpoint-rows", 60, "--out", "often")
RESUMES = "Stopped; the state is saved, and the same command resumes."


@pytest.fixture(scope="module")
def resumed(told: tuple[Path, Said], eventful: Path) -> Said:
    """Return what a run has said at last, in ``often/``, that was stopped again and again."""
    whole, _ = told
    out = eventful / "often"
    process = start(*OFTEN, cwd=eventful)
    wait_until(process, (out / "run.json").exists)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    for by, after in (
        (signal.SIGKILL, "2026-01-08"),
        (signal.SIGTERM, "2026-01-13"),
        (signal.SIGKILL, "2026-01-18"),
    ):
        stopped = stop(*OFTEN, cwd=eventful, out="often", after=after, by=by)
        assert after <= judged_until(out) < judged_until(whole), "it was in the middle"
        if by == signal.SIGTERM:
            assert stopped == Said(143, "", RESUMES + "\n")
            # What it knew when it stopped can be looked at meanwhile.
            first = read(out, "findings")[0]
            about = succeeds("explain", first["id"], "--out", "often", cwd=eventful)
            assert first["device_id"] in about.out
        else:
            assert stopped == Said(-signal.SIGKILL, "", "")
            # What else a crash may leave behind.
            with (out / "actions.jsonl").open("ab") as file:
                file.write(b'{"action_id": "act-00')
            (out / "state.npz.new").write_bytes(b"PK\x03\x04 half a checkpoint")
    return succeeds(*OFTEN, cwd=eventful)


def test_a_run_stopped_again_and_again_ends_with_the_same_bytes(resumed, told, eventful):
    whole, said = told
    assert records(eventful / "often") == records(whole)
    assert all(records(whole).values()), "each kind has something to tell"
    assert resumed.out.replace("often", "whole") == said.out


def test_a_torn_state_is_refused_and_without_it_the_run_begins_anew(resumed, told, eventful):
    whole, _ = told
    state = eventful / "often" / "state.npz"
    state.write_bytes(state.read_bytes()[:2000])
    failed = aiops(*OFTEN, cwd=eventful).fails(1)
    assert "often/state.npz: cannot be read as a checkpoint" in failed
    assert "remove it" in failed
    state.unlink()
    assert succeeds(*OFTEN, cwd=eventful) == resumed
    assert records(eventful / "often") == records(whole)


# -- streams --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(eventful: Path) -> pa.Table:
    """Return the telemetry in the order in which the log took it."""
    table = pq.read_table(eventful / "fleet" / "telemetry")
    return table.take(pc.sort_indices(table["recv_ts"]))


def as_lines(table: pa.Table) -> bytes:
    lines = (
        json.dumps({name: value for name, value in row.items() if value is not None}, default=str)
        for row in table.to_pylist()
    )
    return "".join(f"{line}\n" for line in lines).encode()


def is_idle(process: subprocess.Popen[bytes], state: Path, seen_ns: int) -> bool:
    """Say whether all that was sent has been read, and its state saved for a while."""
    unread = int.from_bytes(fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)), sys.byteorder)
    if unread or not state.exists():
        return False
    saved_ns = state.stat().st_mtime_ns
    return saved_ns > seen_ns and time.time_ns() - saved_ns > 200_000_000


def test_a_stream_of_lines_is_stopped_while_it_is_idle_and_resumed_from_its_beginning(
    told, eventful, rows
):
    whole, _ = told
    again = ("run", "-", *RUN, "--out", "stream", "--checkpoint-rows", 1)
    state = eventful / "stream" / "state.npz"
    lines = as_lines(rows)
    sent, saved = len(lines) // 2, 0
    for by, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)):
        # One line more than before: the state is saved again, though no epoch has closed.
        sent = lines.index(b"\n", sent) + 1
        process = start(*again, cwd=eventful, stdin=subprocess.PIPE)
        assert process.stdin
        process.stdin.write(lines[:sent])
        process.stdin.flush()
        wait_until(process, lambda seen=saved, to=process: is_idle(to, state, seen))
        saved = state.stat().st_mtime_ns
        process.send_signal(by)
        assert process.wait(PATIENCE_S) == code, "it must not wait for the stream to end"
        assert finish(process).err == ("" if code < 0 else RESUMES + "\n")
    succeeds(*again, cwd=eventful, stdin=lines)
    assert records(eventful / "stream") == records(whole)


def test_a_stream_of_arrow_gives_the_same(told, eventful, rows):
    whole, _ = told
    held = pa.BufferOutputStream()
    with pa.ipc.new_stream(held, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=500)
    stream = held.getvalue().to_pybytes()
    run = ("run", "-", "--stream", "arrow", *RUN, "--out", "arrow")
    succeeds(*run, cwd=eventful, stdin=stream)
    assert records(eventful / "arrow") == records(whole)
