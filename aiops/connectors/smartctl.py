"""Reports of ``smartctl --json`` as telemetry, and as a table for people.

What a field means is said in ``telemetry/dialects/smartctl_json.toml`` and not here: a report is
flattened (nested names joined by dots, SMART attributes as ``ata_smart_attributes.<id>.<name>.raw``
and ``.value``, valid Device Statistics as ``ata_device_statistics.<name>``), and the fields that
some dialect knows become columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.engine.ports import Position
from aiops.errors import FileError
from aiops.telemetry.aside import REASONS
from aiops.telemetry.dialects import LABELS, named, part_name
from aiops.telemetry.normalise import normalise
from aiops.telemetry.normalised import NormalisedFrame
from aiops.telemetry.vocabulary import VOCABULARY

SPINNING = frozenset({"Spin_Up_Time", "Seek_Error_Rate", "Head_Flying_Hours"})
"""Attributes that only a disk with moving parts has."""

NO_SERIAL = frozenset({"redacted", "unknown", "none", "n/a", "yes", "0123456789"})
"""What stands for a serial number that nobody shall know: no identity, or all would be one."""

VITAL = frozenset(
    {
        "storage.wear.used_ratio",
        "storage.bytes_written",
        "storage.spare_ratio",
        "storage.power_on_time",
        "storage.power_cycles",
    }
)
"""A report without any of these says nothing of a drive's health."""


@dataclass(frozen=True)
class DriveReport:
    """What one report says of one drive."""

    file: str
    protocol: str
    """ATA, NVMe or SCSI; empty: the report does not say."""
    rotational: bool | None
    model: str
    serial: str
    wear_used_percent: float | None
    """0 is new, 100 is worn out, more is possible."""
    wear_source: str
    spare_percent: float | None
    bytes_written: float | None
    bytes_written_source: str
    power_cycles: int | None
    power_on_h: int | None
    readable: bool
    why: str
    """Why it could not be read; or what is odd about it."""


def read(paths: Iterable[Path]) -> pa.Table:
    """Return the reports as a wide frame, one row a report, in the order of `paths`.

    The device is the drive's serial number (the host is not in a report), else the file's name.

    Raises
    ------
    FileError
        A file cannot be opened, or holds no JSON object.
    """
    return _table([(path.stem, _parse(path)) for path in paths])


class SmartctlSource:
    """Reports as telemetry, in the order of their own times; a report without a time comes last.

    Parameters
    ----------
    files
        Reports, each one JSON document.

    Raises
    ------
    FileError
        A file cannot be opened, or holds no JSON object.
    """

    def __init__(self, files: str | Path | Sequence[str | Path]) -> None:
        given = [files] if isinstance(files, str | Path) else files
        self.files = [Path(file) for file in given]

    def frames(self, after: Position | None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield all reports with ``{after_ts}``, the latest time among them, and then the end."""
        last = (after or {}).get("after_ts", -1)
        table = read(self.files).sort_by([("ts", "ascending")])
        if after is not None:
            table = table.filter(pc.greater(table["ts"], last))
        if len(table):
            reached = pc.max(table["ts"]).as_py()
            last = last if reached is None else reached
            yield table, {"after_ts": last}
        elif after is not None and after.get("end"):
            return
        nothing = [pa.nulls(1, kind) for kind in table.schema.types]
        yield pa.table(nothing, schema=table.schema), {"after_ts": last, "end": True}


def report(paths: Iterable[Path]) -> tuple[DriveReport, ...]:
    """Return what each report says; a file that cannot be read says why."""
    read_paths = list(paths)
    documents: list[dict[str, Any]] = []
    broken: dict[int, str] = {}
    for i, path in enumerate(read_paths):
        try:
            documents.append(_parse(path))
        except FileError as error:
            documents.append({})
            broken[i] = str(error)
    table = _table(
        [(path.name, document) for path, document in zip(read_paths, documents, strict=True)]
    )
    # A report is of a drive, not of an instant: one without a time must not lose its row.
    table = table.set_column(1, "ts", pa.array(np.full(len(documents), 10**18)))
    frame = normalise(table.drop_columns(["part", "medium_id"]))
    return tuple(
        _describe(path.name, document, broken.get(i, ""), frame, i)
        for i, (path, document) in enumerate(zip(read_paths, documents, strict=True))
    )


# Files -------------------------------------------------------------------------------------------


def _parse(path: Path) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise FileError(f"{path}: cannot be opened: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise FileError(
            f"{path}: a report of `smartctl --json` was expected, this is no JSON: {error}"
        ) from error
    if not isinstance(document, dict):
        raise FileError(
            f"{path}: a report of `smartctl --json` is an object, this is a "
            f"{type(document).__name__}"
        )
    return document


def _fields(document: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of a report under dotted names."""
    for name, value in document.items():
        if above == "" and name == "ata_smart_attributes":
            for row in _rows(value, "table"):
                stem = f"{name}.{row.get('id')}.{row.get('name')}"
                yield f"{stem}.value", row.get("value")
                yield f"{stem}.raw", _dig(row, "raw", "value")
        elif above == "" and name == "ata_device_statistics":
            for page in _rows(value, "pages"):
                for row in _rows(page, "table"):
                    if _dig(row, "flags", "valid") is True:
                        yield f"{name}.{row.get('name')}", row.get("value")
        elif isinstance(value, dict):
            yield from _fields(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _rows(value: Any, key: str) -> list[dict[str, Any]]:
    rows = value.get(key) if isinstance(value, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _dig(document: Any, *path: str) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _text(document: dict[str, Any], *path: str) -> str:
    value = _dig(document, *path)
    return value if isinstance(value, str) else ""


def _table(reports: list[tuple[str, dict[str, Any]]]) -> pa.Table:
    """Return parsed reports as a wide frame; `reports` pairs a name to fall back on with each."""
    columns: dict[str, list[Any]] = {}
    for i, (_, document) in enumerate(reports):
        for name, value in _fields(document):
            if named(name).aliases or name in LABELS:
                column = columns.setdefault(name, [None] * len(reports))
                column[i] = value
    serials = [_serial(document) for _, document in reports]
    times = [_dig(document, "local_time", "time_t") for _, document in reports]
    identity = {
        "device_id": pa.array([s or r[0] for s, r in zip(serials, reports, strict=True)]),
        "ts": pa.array([t if isinstance(t, int) else None for t in times], pa.int64()),
        "part": pa.array([part_name(_text(r[1], "device", "name")) for r in reports]),
        "medium_id": pa.array(serials),
        "model": pa.array([_model(document) for _, document in reports]),
    }
    return pa.table(identity | {name: _column(values) for name, values in columns.items()})


def _column(values: list[Any]) -> pa.Array:
    """Return numbers as numbers if all are, else everything as text."""
    if all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values):
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array([v if v is None or isinstance(v, str) else repr(v) for v in values])


def _serial(document: dict[str, Any]) -> str:
    """Return the serial number, or "" for what somebody put in its place."""
    serial = _text(document, "serial_number")
    return "" if serial.casefold() in NO_SERIAL or len(set(serial)) == 1 else serial


def _model(document: dict[str, Any]) -> str:
    return _text(document, "model_name") or _text(document, "scsi_model_name")


# For people --------------------------------------------------------------------------------------


def _describe(
    file: str, document: dict[str, Any], broken: str, frame: NormalisedFrame, row: int
) -> DriveReport:
    wear, wear_source = _best(frame, "storage.wear.used_ratio", row)
    written, written_source = _best(frame, "storage.bytes_written", row)
    spare, _ = _best(frame, "storage.spare_ratio", row)
    cycles, _ = _best(frame, "storage.power_cycles", row)
    powered_s, _ = _best(frame, "storage.power_on_time", row)
    readable = any(v is not None for v in (wear, written, spare, cycles, powered_s))
    return DriveReport(
        file=file,
        protocol=_text(document, "device", "protocol"),
        rotational=_rotational(document),
        model=_model(document),
        serial=_text(document, "serial_number"),
        wear_used_percent=None if wear is None else round(wear * 100.0, 6),
        wear_source=wear_source,
        spare_percent=None if spare is None else round(spare * 100.0, 6),
        bytes_written=written,
        bytes_written_source=written_source,
        power_cycles=None if cycles is None else int(cycles),
        power_on_h=None if powered_s is None else int(powered_s // 3600),
        readable=readable,
        why=broken or _why(document, readable, frame, row),
    )


def _best(frame: NormalisedFrame, metric: str, row: int) -> tuple[float | None, str]:
    """Return the value of the best source that reports one, and that source."""
    known = VOCABULARY[metric]
    for source in [s.name for s in known.sources] or [""]:
        column = frame.columns.get(known.key(source))
        if column is None:
            continue
        place = row if column.row is None else int(np.searchsorted(column.row, row))
        if column.row is not None and (place == len(column.row) or column.row[place] != row):
            continue
        if not np.isnan(column.value[place]):
            return float(column.value[place]), source
    return None, ""


def _rotational(document: dict[str, Any]) -> bool | None:
    rate = document.get("rotation_rate")
    if isinstance(rate, int):
        return rate > 0
    if _text(document, "device", "protocol") == "NVMe":
        return False
    names = {row.get("name") for row in _rows(document.get("ata_smart_attributes"), "table")}
    return True if names & SPINNING else None


def _why(document: dict[str, Any], readable: bool, frame: NormalisedFrame, row: int) -> str:
    said = [
        f'smartctl says "{message["string"]}"'
        for message in _rows(document.get("smartctl"), "messages")
        if isinstance(message.get("string"), str)
    ]
    if not readable:
        parts = [name for name in document if name not in {"smartctl", "json_format_version"}]
        holds = f"it holds {', '.join(parts)}" if parts else "it holds nothing of a drive"
        return "; ".join(["no counter of a drive's health in the report", *(said or [holds])])
    if _dig(document, "smart_status", "passed") is False:
        said.append("the drive itself says that it is failing")
    here = frame.set_aside.filter(pa.compute.equal(frame.set_aside["at"], row)).to_pylist()
    said += [f"{one['metric']} {one['value']} set aside: {REASONS[one['reason']]}" for one in here]
    return "; ".join(said)
