"""Each quirk of boots as telemetry really shows them, counted without error.

`tests/cases/reboots/<quirk>/`: `about.toml` tells the story, `telemetry.csv` holds rows in
somebody's dialect and in log order, `expected.csv` says what happened, by the story: unplanned
reboots, planned ones, how many of the unplanned lost power or failed in software as far as it is
told, episodes, and the days in which the device ran.
"""

from __future__ import annotations

import csv
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from aiops.alerts.rule import AlertRule
from aiops.detectors.reboot_drift import RebootDrift
from aiops.engine.engine import Engine

FOLDER = Path(__file__).resolve().parents[1] / "cases" / "reboots"
CASES = sorted(path.parent for path in FOLDER.glob("*/about.toml"))
DAY_S = 86_400.0


class Counted(NamedTuple):
    reboots: int
    planned: int
    power: int
    software: int
    episodes: int
    exposure_days: float


def telemetry(case: Path) -> pa.Table:
    """Return the rows of a case and the end of their history."""
    table = pa.csv.read_csv(case / "telemetry.csv")
    end = pa.table([pa.nulls(1, kind) for kind in table.schema.types], schema=table.schema)
    return pa.concat_tables([table, end]).combine_chunks()


def counted(frames: list[pa.Table]) -> dict[tuple[str, str], Counted]:
    """Count what the frames of a log show."""
    detector = RebootDrift()
    engine = Engine([AlertRule(detector)])
    for frame in frames:
        assert not engine.step(frame).findings
    assert not engine.fleet.unknown
    memory = engine.fleet.recall(detector)
    episodes = memory.episodes + memory.settled + (memory.pending > 0)
    exposure_s = memory.bins * detector.bin_s + memory.open_s
    return {
        identity[:2]: Counted(
            int(memory.reboots[i]),
            int(memory.planned[i]),
            int(memory.power[i]),
            int(memory.software[i]),
            int(episodes[i]),
            float(exposure_s[i]) / DAY_S,
        )
        for i, identity in enumerate(engine.fleet.registry.identities)
    }


def expected(case: Path) -> dict[tuple[str, str], Counted]:
    with (case / "expected.csv").open(newline="") as file:
        return {
            (row["device_id"], row["part"]): Counted(
                *(int(row[name]) for name in Counted._fields[:-1]), float(row["exposure_days"])
            )
            for row in csv.DictReader(file)
        }


def differences(case: Path, frames: list[pa.Table]) -> list[str]:
    found = counted(frames)
    return [
        f"{'/'.join(filter(None, owner))}: {found.get(owner)}, but by the story {by_story}"
        for owner, by_story in expected(case).items()
        if found.get(owner) is None or found[owner] != pytest.approx(by_story, abs=1e-6)
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_quirk(case):
    assert tomllib.loads((case / "about.toml").read_text())["text"]
    wrong = differences(case, [telemetry(case)])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_quirk_row_by_row(case):
    table = telemetry(case)
    cuts = np.random.default_rng(len(table)).choice(len(table), min(12, len(table)), replace=False)
    edges = [0, *sorted({int(cut) for cut in cuts} - {0}), len(table)]
    pieces = [table.slice(a, b - a) for a, b in pairwise(edges)]
    wrong = differences(case, pieces)
    assert not wrong, "\n".join(wrong)


def test_every_device_of_a_case_has_a_story():
    for case in CASES:
        with (case / "telemetry.csv").open(newline="") as file:
            rows = {(row["device_id"], row.get("part") or "") for row in csv.DictReader(file)}
        assert rows == set(expected(case)), case.name
