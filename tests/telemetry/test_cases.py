"""Each case of ``tests/cases/normalise``: a reading in some dialect, and what it must become."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aiops.telemetry.aside import REASONS
from aiops.telemetry.dialects import named
from aiops.telemetry.normalise import normalise
from tests.telemetry.frames import MARCH, aside_of, name_at, rows_of

FOLDER = Path(__file__).parents[1] / "cases" / "normalise"
CASES = [
    pytest.param(case, shape, id=f"{path.stem}-{shape}-{case['name']}-{case['trap']}")
    for path in sorted(FOLDER.glob("*.toml"))
    for case in tomllib.loads(path.read_text("utf-8"))["case"]
    for shape in ("wide", "long")
    if case.get("only", shape) == shape
]

IDENTITY: dict[str, Any] = {"device_id": ["gw-1"], "ts": [MARCH]}


def wide(case: dict[str, Any]) -> pa.Table:
    labels = {label: [value] for label, value in case.get("labels", {}).items()}
    return pa.table(IDENTITY | labels | {case["name"]: [case["value"]]})


def long(case: dict[str, Any]) -> pa.Table:
    labels = {label: str(value) for label, value in case.get("labels", {}).items()}
    reading = {"metric": [case["name"]], "value": [case["value"]], "labels": [json.dumps(labels)]}
    return pa.table(IDENTITY | reading)


@pytest.mark.parametrize(("case", "shape"), CASES)
def test_case(case: dict[str, Any], shape: str) -> None:
    frame = normalise(wide(case) if shape == "wide" else long(case))
    found = {
        key: value
        for row in rows_of(frame)
        for key, value in row.items()
        if key.partition("/")[0] not in {"device_id", "ts", "part", "medium_id", "cohort"}
    }
    expected = {case["becomes"]: case["is"]} if "becomes" in case else {}
    assert found == pytest.approx(expected, rel=1e-12)
    reasons = [reason for reason, _, _ in aside_of(frame)]
    assert reasons == ([case["aside"]] if "aside" in case else [])
    assert not frame.unknown
    if shape == "long" or {"part", "becomes"} <= case.keys():
        assert name_at(frame.part, len(frame) - 1) == case.get("part")


def test_a_case_is_about_a_name_somebody_knows() -> None:
    for case, _ in (param.values for param in CASES):
        assert named(case["name"]).aliases, case["name"]
        assert case.get("aside", "out_of_range") in REASONS


def test_every_acceptance_trap_of_normalisation_has_a_case() -> None:
    traps = {param.values[0]["trap"] for param in CASES}
    for asked in (
        "sectors are 512 bytes whatever the disk's own are: not 4096",
        "MX500 past the end of its life: 131 = 256 - 125, so 225 % used",
        "0x0B is exceeded: no more than 100 % can be said",
        "255 is 255 or more",
        "undefined is not new",
        "231 counts life only when it is called so",
        "202 of Crucial and Micron: percent left",
        "169 of Silicon Motion",
        "241 in units of 32 MiB",
        "2^32 - 1 media errors are garbage",
    ):
        assert asked in traps
