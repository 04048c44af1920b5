"""Small fleets written down as files: who is to be found, from when until when, and who is not.

`tests/cases/<detector>/<case>/`: `telemetry.csv` holds rows by time in canonical columns, a row
without a device being a heartbeat; `expected.csv` says between which times the score of each part
first reaches the line, or that it never does; `about.toml` says where the case comes from.
"""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiops.detectors import DETECTORS
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.telemetry.batch import TelemetryBatch

FOLDER = Path(__file__).resolve().parents[1] / "cases"
CASES = sorted(path.parent for name in DETECTORS for path in FOLDER.glob(f"{name}/*/about.toml"))
NAMES = ("device_id", "part", "ts")


def nanoseconds(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def single(index: int, ts: int, row: dict[str, str], codes: dict[str, float]) -> TelemetryBatch:
    """Return a row as a batch; a text that is no number becomes a code."""
    columns = {}
    for name, text in row.items():
        if name not in NAMES and text:
            code = text if name != "device.boot_id" else codes.setdefault(text, len(codes))
            columns[name] = np.array([float(code)])
    return TelemetryBatch(
        device=np.array([index], np.int32),
        cohort=np.zeros(1, np.int32),
        ts=np.array([ts], np.int64),
        historical=np.zeros(1, np.bool_),
        columns=columns,
        indptr=np.array([0, 1], np.int64),
    )


def first_alerts(detector: Any, rows: list[dict[str, str]]) -> dict[tuple[str, str], int]:
    """Return when each part's score first reached the line, ns."""
    parts = sorted({(row["device_id"], row["part"]) for row in rows if row["device_id"]})
    parts += [owner for owner in sorted({(d, "") for d, _ in parts}) if owner not in parts]
    index = {part: i for i, part in enumerate(parts)}
    root = np.array([index[device, ""] for device, _ in parts], np.int32)
    site = np.zeros(len(parts), np.int32)
    memory = detector.init(FleetShape(len(parts)))
    codes: dict[str, float] = {}
    alerts: dict[tuple[str, str], int] = {}
    for row in rows:
        ts = nanoseconds(row["ts"])
        if row["device_id"]:
            part = (row["device_id"], row["part"])
            batch = single(index[part], ts, row, codes).reporting(detector.reads)
            if len(batch) and detector.update(memory, batch).score[0] >= 1.0:
                alerts.setdefault(part, ts)
        judged = detector.close(memory, Epoch(ts, ts, ts, len(parts), root, site, site))
        for i in [] if judged is None else np.flatnonzero(judged.score >= 1.0):
            alerts.setdefault(parts[i], ts)
    return alerts


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_case(case):
    assert tomllib.loads((case / "about.toml").read_text())["text"]
    alerts = first_alerts(DETECTORS[case.parent.name](), read(case / "telemetry.csv"))
    wrong = []
    for row in read(case / "expected.csv"):
        at = alerts.get((row["device_id"], row["part"]))
        if row["from"]:
            good = at is not None and nanoseconds(row["from"]) <= at <= nanoseconds(row["until"])
        else:
            good = at is None
        if not good:
            when = "never" if at is None else str(np.datetime64(at, "ns").astype("M8[s]"))
            wrong.append(f"{row['device_id']}/{row['part']} {when}: {row}")
    assert not wrong, "\n".join(wrong)


TOO_LONG_FOR_A_FILE = {
    "error_burst": "test_error_burst.py: counts of many devices, whose cohort is sealed before",
    "log_burst": "test_log_burst.py: log lines are no columns",
    "log_heartbeat": "test_log_heartbeat.py: log lines are no columns",
    "log_novelty": "test_log_novelty.py: log lines are no columns",
    "relation": "test_relation.py: two weeks of readings are learnt from",
    "exhaustion": "test_exhaustion.py: weeks of readings are learnt from",
}
"""Detector -> where its stories are told instead, and why."""


def test_every_detector_has_a_case_with_a_fault_and_one_without():
    folder = Path(__file__).parent
    assert all((folder / said.partition(":")[0]).exists() for said in TOO_LONG_FOR_A_FILE.values())
    for name in DETECTORS:
        if name in TOO_LONG_FOR_A_FILE:
            continue
        expected = [row for case in CASES if case.parent.name == name for row in read_all(case)]
        assert any(row["from"] for row in expected), name
        assert any(not row["from"] for row in expected), name


def read_all(case: Path) -> list[dict[str, str]]:
    return read(case / "expected.csv")
