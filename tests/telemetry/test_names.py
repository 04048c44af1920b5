"""What media are called, in every dialect: one name is one number."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from aiops.telemetry.columns import identity_code
from aiops.telemetry.normalise import normalise
from tests.telemetry.frames import MARCH, rows_of

MODEL, VENDOR = "storage.model", "storage.vendor"
IDENTITY: dict[str, Any] = {"device_id": ["gw-1"], "ts": [MARCH]}


def only(table: pa.Table) -> dict[str, Any]:
    frame = normalise(table)
    assert not frame.unknown
    assert not len(frame.set_aside)
    rows = [row for row in rows_of(frame) if {MODEL, VENDOR} & row.keys()]
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize(
    ("columns", "model", "vendor"),
    [
        ({"kind": "SSD", "vendor": "Intel", "model": "X25"}, "X25", "Intel"),
        ({"model_name": "Samsung SSD 870", "rotation_rate": 0}, "Samsung SSD 870", None),
        ({"scsi_model_name": "MZILT960"}, "MZILT960", None),
        ({"diskstats/mmcblk0/name": "DG4008"}, "DG4008", None),
        ({"diskstats/mmcblk0/manufacturer_id": "0x45"}, None, "0x45"),
        ({"name": "DG4008", "manfid": "0x000045"}, "DG4008", "0x000045"),
        ({"storage.model": "X25", "storage.vendor": "Intel"}, "X25", "Intel"),
    ],
)
def test_a_wide_row_names_its_medium(columns: dict[str, Any], model: str, vendor: str) -> None:
    row = only(pa.table(IDENTITY | {name: [value] for name, value in columns.items()}))
    assert row.get(MODEL) == (identity_code(model) if model else None)
    assert row.get(VENDOR) == (identity_code(vendor) if vendor else None)


@pytest.mark.parametrize(
    ("device", "medium"),
    [
        pytest.param("/dev/nvme0", "S1", id="old exporters tell the serial with every metric"),
        pytest.param("nvme0", None, id="new ones only here: the medium would be another one"),
    ],
)
def test_the_exporter_tells_the_model_in_a_label(device: str, medium: str | None) -> None:
    labels = {"device": device, "model_name": "X25", "serial_number": "S1"}
    row = only(
        pa.table(
            IDENTITY
            | {"metric": ["smartctl_device"], "value": [1.0], "labels": [json.dumps(labels)]}
        )
    )
    assert row[MODEL] == identity_code("X25")
    assert (row["part"], row.get("medium_id")) == ("nvme0", medium)


@pytest.mark.parametrize("labels", [{}, {"model_name": ""}])
def test_without_a_label_there_is_no_model(labels: dict[str, str]) -> None:
    table = IDENTITY | {"metric": ["smartctl_device"], "value": [1.0]}
    frame = normalise(pa.table(table | {"labels": [json.dumps({"device": "nvme0"} | labels)]}))
    assert MODEL not in frame.columns


def test_a_model_that_is_the_cohort_is_a_model_too() -> None:
    frame = normalise(pa.table(IDENTITY | {"model": ["X25"], "temp_c": [20.0]}))
    (row,) = rows_of(frame)
    assert row["cohort"] == "X25"
    assert row[MODEL] == identity_code("X25")


def test_a_name_alone_is_not_that_of_a_medium() -> None:
    frame = normalise(pa.table(IDENTITY | {"name": ["gateway in the attic"]}))
    assert frame.columns == {}


VERSION = "device.software_version"


@pytest.mark.parametrize(
    ("column", "source"),
    [
        ("software_version", "reported"),
        ("device.software_version", "reported"),
        ("firmware_version", "firmware"),
        ("os.version", "os"),
    ],
)
def test_a_version_is_a_name_too(column: str, source: str) -> None:
    (row,) = rows_of(normalise(pa.table(IDENTITY | {column: ["2.1.0"]})))
    assert row[f"{VERSION}/{source}"] == identity_code("2.1.0")


def test_the_exporter_tells_the_kernel_in_a_label() -> None:
    labels = json.dumps({"release": "6.6.31", "nodename": "gw-1"})
    table = {"metric": ["node_uname_info"], "value": [1.0], "labels": [labels]}
    (row,) = rows_of(normalise(pa.table(IDENTITY | table)))
    assert row[f"{VERSION}/os"] == identity_code("6.6.31")
    assert row.get("part") is None
