"""`benchmarks/detection.py` as a command, on small folders and on none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path) -> tuple[str, dict[str, float]]:
    command = [sys.executable, "benchmarks/detection.py", "--quick", "--json", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(done.stdout.splitlines()[-1])


def days(n: int, seed: int, spike: int | None = None) -> pd.DataFrame:
    """A daily wave every half an hour in noise, with six hours far off."""
    rng = np.random.default_rng(seed)
    row = np.arange(n)
    value = 50.0 + 10.0 * np.sin(2.0 * np.pi * row / 48) + rng.normal(0.0, 1.0, n)
    if spike is not None:
        value[spike : spike + 12] += 40.0
    times = pd.date_range("2024-01-01", periods=n, freq="30min").strftime("%Y-%m-%d %H:%M:%S")
    return pd.DataFrame({"timestamp": times, "value": value})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the three layouts, in each of which six hours are far off."""
    root = tmp_path_factory.mktemp("series")
    (root / "nab" / "some").mkdir(parents=True)
    (root / "cloud").mkdir()
    (root / "smd").mkdir()
    n, spikes = 2_000, (1_200, 1_500, 1_700, 1_400)
    windows = {}
    for at, spike in enumerate(spikes):
        table = days(n, at, spike)
        table.to_csv(root / "nab" / "some" / f"{at}.csv.gz", index=False)
        windows[f"some/{at}.csv"] = [table["timestamp"][[spike - 20, spike + 60]].tolist()]
        label = (np.arange(n) >= spike) & (np.arange(n) < spike + 12)
        labelled = table.assign(Label=label.astype(int))
        labelled.to_csv(root / "cloud" / f"{at}.csv.gz", index=False)
        metrics = [days(n, 10 * at + m, spike if m < 5 else None)["value"] for m in range(7)]
        whole = np.column_stack(metrics).astype(np.float32)
        np.savez(
            root / "smd" / f"machine-{at}.npz",
            train=whole[:1_000],
            test=whole[1_000:],
            test_label=label[1_000:].astype(np.int8),
        )
    (root / "nab" / "combined_windows.json").write_text(json.dumps(windows))
    return root


def test_what_is_plainly_off_is_found_in_all_three(folders: Path) -> None:
    arms = ("--only", "nab", "cloud", "smd")
    places = [str(x) for arm in arms[1:] for x in (f"--{arm}", folders / arm)]
    said, figures = run(*arms, *places)
    assert "4 files, 4 windows" in said
    assert figures["nab_heldout"] > 60.0
    assert figures["nab_best"] >= figures["nab_heldout"] > figures["nab_heldout_random"]
    assert figures["vus_pr_cloud"] > 2.0 * figures["vus_pr_cloud_random"]
    assert figures["vus_pr_smd"] > 2.0 * figures["vus_pr_smd_random"]
    assert figures["events_found_cloud"] > 0.7
    ewma = [figures[f"vus_pr_cloud_ewma_{alpha}"] for alpha in ("03", "01", "003")]
    assert figures["vus_pr_cloud_ewma"] == max(ewma)
    statistical = ("nab_heldout", "vus_pr_cloud", "vus_pr_cloud_ewma", "vus_pr_smd")
    assert {f"{name}_se" for name in statistical} <= figures.keys()


def test_a_server_alone_is_scored_and_its_error_left_out(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "machine-1.npz").write_bytes((folders / "smd" / "machine-1.npz").read_bytes())
    said, figures = run("--only", "smd", "--smd", tmp_path)
    assert figures["vus_pr_smd"] == figures["vus_pr_smd_machine"] > 0.1
    assert "vus_pr_smd_se" not in figures
    assert "one series alone has no other to take a line from" in said


def test_absent_data_is_told_and_its_figures_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    places = ["--nab", tmp_path / "none", "--cloud", tmp_path / "empty", "--smd", tmp_path / "none"]
    said, figures = run("--only", "nab", "cloud", "smd", "ablation", *places)
    assert figures == {}
    assert "none is not there (set AIOPS_SHARED, or --smd DIR)" in said
    assert "empty holds nothing (set AIOPS_SHARED, or --cloud DIR)" in said
