"""However a history is cut into files, and wherever a run is killed, the results are the same."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "data" / "tiny"
KEPT = ("findings", "incidents", "plans", "actions")
PANEL = (
    Path(os.environ.get("AIOPS_SHARED", ROOT.parent / "shared"))
    / "data"
    / "flash"
    / "wear_panel.csv.gz"
)


def command(sources, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "aiops", "run", *map(str, sources), "--out", str(out), *more]


def run(sources, out: Path, *more: str) -> dict[str, bytes]:
    done = subprocess.run(
        command(sources, out, *more), capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return kept(out)


def kept(out: Path) -> dict[str, bytes]:
    return {kind: (out / f"{kind}.jsonl").read_bytes() for kind in KEPT}


SETTINGS = ("--inventory", str(TINY / "inventory.json"), "--epoch", "3600", "--lateness", "3600")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    return run([TINY / "telemetry"], tmp_path_factory.mktemp("whole") / "out", *SETTINGS)


def test_the_history_has_something_to_tell(whole):
    assert all(whole[kind] for kind in ("findings", "incidents", "actions"))


@pytest.mark.parametrize("pieces", [7, 100])
def test_pieces_in_any_order_give_the_same_bytes(whole, tmp_path, pieces):
    table = pq.read_table(TINY / "telemetry")
    rng = np.random.default_rng(pieces)
    parts = np.array_split(rng.permutation(len(table)), pieces)
    files = []
    for number, rows in enumerate(parts):
        files.append(tmp_path / f"{rng.integers(1_000_000)}-{number}.parquet")
        pq.write_table(table.take(np.sort(rows)), files[-1])
    assert run(files, tmp_path / "out", *SETTINGS) == whole


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_half_way_ends_the_same(tmp_path, number):
    table = pq.read_table(TINY / "telemetry").sort_by([("recv_ts", "ascending")])
    lines = [json.dumps(row, default=lambda t: t.value) for row in table.to_pylist()]
    # A stream that waits is a run that is surely in its middle.
    expected = run_stream(tmp_path / "all", lines)
    out = tmp_path / "killed"
    process = subprocess.Popen(
        command(["-"], out, *SETTINGS, "--checkpoint-rows", "500"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stdin
    process.stdin.write("\n".join(lines[: len(lines) // 2]).encode() + b"\n")
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (out / "state.npz").exists():
        time.sleep(0.05)
    process.send_signal(number)
    process.stdin.close()
    assert process.wait(60) != 0
    assert run_stream(out, lines) == expected


def run_stream(out: Path, lines: list[str]) -> dict[str, bytes]:
    done = subprocess.run(
        command(["-"], out, *SETTINGS),
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return kept(out)


@pytest.mark.skipif(not PANEL.exists(), reason=f"the real panel is not here: {PANEL.name}")
def test_the_real_panel_cut_into_a_thousand_pieces(tmp_path):
    expected = run([PANEL], tmp_path / "whole")
    assert expected["findings"].count(b"flash_wear") > 100
    with gzip.open(PANEL, "rt", newline="") as file:
        head, *rows = list(csv.reader(file))
    for pieces in (7, 1000):
        folder = tmp_path / f"in{pieces}"
        folder.mkdir()
        for number, part in enumerate(np.array_split(np.arange(len(rows)), pieces)):
            with open(folder / f"{number}.csv", "w", newline="") as file:
                csv.writer(file).writerows([head, *(rows[i] for i in part)])
        assert run([folder], tmp_path / f"out{pieces}") == expected
