"""The real panel of server drives: units and polarity, checked by what it says twice."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from aiops.telemetry.frame import read_frame
from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import NormalisedFrame

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("AIOPS_SHARED", ROOT.parent / "shared"))
PANEL = SHARED / "data" / "flash" / "wear_panel.csv.gz"

Panel = tuple[pd.DataFrame, NormalisedFrame]


@pytest.fixture(scope="module")
def panel() -> Panel:
    if not PANEL.is_file():
        pytest.skip(f"the panel of drives is not there: {PANEL} (set AIOPS_SHARED)")
    frame = pd.read_csv(PANEL)
    return frame, normalise(read_frame(frame))


def dense(frame: NormalisedFrame, key: str) -> npt.NDArray[np.float64]:
    row, value = frame.columns[key]
    if row is None:
        return value
    full = np.full(len(frame), np.nan)
    full[row] = value
    return full


def test_every_probe_is_kept_and_every_column_known(panel: Panel) -> None:
    given, frame = panel
    assert len(frame) == len(given)
    assert frame.unknown == {}
    assert [
        frame.device_id.value[code] for code in frame.device_id.code
    ] == given.drive_id.to_list()


def test_only_garbage_is_set_aside(panel: Panel) -> None:
    given, frame = panel
    beyond = {
        "storage.unsafe_shutdowns": (given.unsafe_shutdowns > 4e9).sum(),
        "storage.media_errors": (given.media_errors > 4e9).sum(),
        "storage.power_on_time": (given.power_on_h * 3600.0 > 3.2e9).sum(),
    }
    aside = frame.set_aside.to_pandas()
    assert set(aside["reason"]) == {"out_of_range"}
    assert aside["metric"].value_counts().to_dict() == beyond


def test_wear_comes_from_exactly_the_source_the_panel_names(panel: Panel) -> None:
    given, frame = panel
    wear = {key: dense(frame, key) for key in frame.columns if key.startswith("storage.wear.")}
    reported = np.vstack(list(wear.values()))
    assert (np.isfinite(reported).sum(axis=0) == 1).all()
    assert np.array_equal(np.nanmax(reported, axis=0), given.percentage_used / 100.0)
    nvme = np.isfinite(wear["storage.wear.used_ratio/nvme"])
    assert np.array_equal(nvme, given.kind == "NVMe")


@pytest.mark.parametrize(
    ("source", "vendors"),
    [
        ("attr225", {"Intel", "HPE", "Dell"}),
        ("attr241", {"Samsung", "Kingston", "Seagate"}),
        ("attr246", {"Micron"}),
    ],
)
def test_two_counts_of_the_same_bytes_agree(panel: Panel, source: str, vendors: set[str]) -> None:
    """Device Statistics count sectors; an attribute counts in the unit its name gives it."""
    given, frame = panel
    counted = dense(frame, f"storage.bytes_written/{source}")
    sectors = dense(frame, "storage.bytes_written/devstat")
    both = given.vendor.isin(vendors) & (counted > 0) & (sectors > 0) & (given.power_on_h > 100)
    known = counted[both] / sectors[both]
    assert len(known) > 100
    assert np.median(known) == pytest.approx(1.0, rel=1e-3)
    assert np.mean(np.abs(known - 1.0) < 0.05) > 0.9
