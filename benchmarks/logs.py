"""Log templates: how well lines are grouped, on eight real systems, and how fast.

Grouping accuracy (Zhu et al., "Tools and benchmarks for automated log parsing", ICSE-SEIP 2019,
arXiv:1811.03509) is the share of lines whose group is exactly a group of the truth, on 2,000 lines
of each system (`loghub`). One configuration for all of them. It was chosen on Android, HDFS, Linux
and Proxifier; the other four were looked at once it stood. Beside it, a plain Drain without masks
in the same run (`_logs_drain.py`), and the published figures of Drain, which has for each system
expressions, a depth and a threshold of its own.

Speed is of one core. `lines_per_s`: real lines, each with a number of its own, whose masked form
has been seen. `lines_per_s_new`: the same lines met for the first time. `lines_per_s_engine`: the
whole way from a frame to findings, with the detectors of logs. The real lines are not part of the
product: without ``--data`` or ``LOGHUB``, and no `shared/data/loghub` beside the checkout, nothing
is run.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _logs_drain import Drain

from aiops.alerts.rule import AlertRule
from aiops.detectors import DETECTORS
from aiops.engine.engine import Engine
from aiops.telemetry.templates import Templates

CHOSEN_ON = ("Android", "HDFS", "Linux", "Proxifier")
HELD_OUT = ("HPC", "Hadoop", "OpenSSH", "Spark")
PUBLISHED = {
    "Android": 0.911,
    "HDFS": 0.9975,
    "HPC": 0.887,
    "Hadoop": 0.9475,
    "Linux": 0.69,
    "OpenSSH": 0.7875,
    "Proxifier": 0.5265,
    "Spark": 0.92,
}
"""Of Drain with settings for each system: logpai/logparser, Drain/README.md."""
HERE = Path(__file__).resolve().parents[2] / "shared" / "data" / "loghub"
EPOCH = 5_000
SEEN = 1_760_000_000 * 10**9


def read(folder: Path, system: str) -> tuple[list[str], list[str]]:
    """Return the lines of a system, and the template of each in truth."""
    path = folder / f"{system}_2k.log_structured.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["Content"] for row in rows], [row["EventTemplate"] for row in rows]


def grouping_accuracy(found: list[int], truth: list[str]) -> float:
    """Return the share of lines whose group is exactly one of the truth."""
    groups: tuple[defaultdict, defaultdict] = (defaultdict(list), defaultdict(list))
    for of, keys in zip(groups, (found, truth), strict=True):
        for line, key in enumerate(keys):
            of[key].append(line)
    right = {tuple(lines) for lines in groups[1].values()}
    return sum(len(lines) for lines in groups[0].values() if tuple(lines) in right) / len(truth)


def accuracy(folder: Path) -> dict[str, float]:
    """Return grouping accuracies by system, and their means."""
    ours, plain = {}, {}
    for system in (*CHOSEN_ON, *HELD_OUT):
        lines, truth = read(folder, system)
        ours[system] = grouping_accuracy(Templates().assign(pa.array(lines)).tolist(), truth)
        drain = Drain()
        plain[system] = grouping_accuracy([drain.add(line) for line in lines], truth)
    figures = {
        "grouping_accuracy": mean(ours, ours),
        "grouping_accuracy_chosen_on": mean(ours, CHOSEN_ON),
        "grouping_accuracy_held_out": mean(ours, HELD_OUT),
        "grouping_accuracy_plain_drain": mean(plain, plain),
        "grouping_accuracy_published_drain": mean(PUBLISHED, PUBLISHED),
        "grouping_accuracy_published_drain_held_out": mean(PUBLISHED, HELD_OUT),
    }
    for system, value in ours.items():
        figures[f"grouping_accuracy_{system}"] = value
        figures[f"plain_drain_{system}"] = plain[system]
        figures[f"published_drain_{system}"] = PUBLISHED[system]
    return figures


def mean(of: dict[str, float], systems) -> float:
    """Return the mean over some systems."""
    return float(np.mean([of[system] for system in systems]))


def speed(folder: Path, count: int, rng: np.random.Generator) -> dict[str, float]:
    """Return lines a second of one core, for ours and for a plain Drain."""
    real = [line for system in (*CHOSEN_ON, *HELD_OUT) for line in read(folder, system)[0]]
    drawn = rng.integers(0, len(real), count).tolist()
    lines = [f"{real[at]} {n}" for n, at in enumerate(drawn)]
    first = [f"{line} {n}" for n, line in enumerate(real)]
    templates = Templates()
    new_s = timed(templates, first)
    seen_s = timed(templates, lines)
    some = lines[: min(count, 20_000)]
    drain = Drain()
    began = time.process_time()
    for line in some:
        drain.add(line)
    plain_s = time.process_time() - began
    return {
        "lines_per_s": len(lines) / seen_s,
        "lines_per_s_new": len(first) / new_s,
        "lines_per_s_plain_drain": len(some) / plain_s,
        "ratio_plain_drain": len(lines) / seen_s / (len(some) / plain_s),
        "lines_per_s_engine": through_the_engine(lines),
        "templates": float(len(templates)),
    }


def timed(templates: Templates, lines: list[str]) -> float:
    """Return the seconds of a processor that lines take, an epoch of them at a time."""
    epochs = [pa.array(lines[at : at + EPOCH]) for at in range(0, len(lines), EPOCH)]
    began = time.process_time()
    for epoch in epochs:
        templates.assign(epoch)
    return time.process_time() - began


def through_the_engine(lines: list[str]) -> float:
    """Return lines a second from frame to findings: a minute of a hundred devices each epoch."""
    names = ("error_burst", "log_burst", "log_novelty", "log_heartbeat")
    detectors = [DETECTORS[name]() for name in names]
    engine = Engine([AlertRule(detector) for detector in detectors])
    engine.step(frame(lines[: 2 * EPOCH], 0))  # compiled, and templates learnt
    began = time.process_time()
    for k, at in enumerate(range(0, len(lines), EPOCH), start=2):
        engine.step(frame(lines[at : at + EPOCH], k))
    return len(lines) / (time.process_time() - began)


def frame(lines: list[str], minute: int) -> pa.Table:
    """Return lines of one minute, in turns of a hundred devices."""
    n = len(lines)
    ts = SEEN + minute * 60 * 10**9 + np.arange(n) * (60 * 10**9 // n)
    return pa.table(
        {
            "device_id": pa.array([f"gw-{k % 100}" for k in range(n)]),
            "ts": pa.array(ts).cast(pa.timestamp("ns", tz="UTC")),
            "severity": np.where(np.arange(n) % 97 == 0, 17.0, 9.0),
            "message": pa.array(lines),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LOGHUB", HERE)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"skipped: no folder {given.data}; give the lines of loghub with --data or LOGHUB")
        print(json.dumps({}))
        return
    count = 100_000 if given.quick else 1_000_000
    figures = accuracy(given.data)
    figures |= speed(given.data, count, np.random.default_rng(given.seed))
    for name, value in figures.items():
        print(f"{name:44} {value:12.4f}")
    if given.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
