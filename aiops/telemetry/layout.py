"""Which column of a frame is what: guessed from names, said aloud, and easy to overrule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType

import pyarrow as pa
from pyarrow import types

from aiops.errors import FrameError
from aiops.telemetry.vocabulary import closest

NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "device": (
            "device_id", "device.id", "host.id", "host_id", "host.name", "hostname", "host",
            "instance", "k8s.node.name", "service.instance.id", "gateway_id", "gateway", "node_id",
            "node", "device_name", "device", "device_serial", "serial_number", "serial_no",
            "serial", "drive_id", "asset_id", "machine_id",
        ),
        "time": (
            "ts", "timestamp", "time", "@timestamp", "_time", "event_time", "datetime", "date",
            "ts_utc_s", "time_unix_nano", "probed_before", "__index_level_0__",
        ),
        "recv_time": (
            "recv_ts", "recv_ts_s", "received_at", "receive_time", "ingest_time",
            "observed_time_unix_nano",
        ),
        "metric": ("metric", "metric_name", "__name__", "measurement", "name"),
        "value": ("value", "metric_value", "reading", "val"),
        "labels": ("labels", "attributes", "attrs", "tags"),
        "part": ("part", "part_id", "disk", "block_device", "system.device", "device"),
        "medium": ("medium_id", "cid", "serial_number", "serial_no", "serial"),
        "site": ("site", "site_id", "site.id", "location"),
        "cohort": ("cohort", "cohort_id", "device.model.identifier", "hw_model", "model"),
        "text": ("body", "message", "msg", "log_line", "log"),
        "severity": (
            "severity_number", "severity_text", "severity", "log_level", "loglevel", "level",
            "priority", "syslog_severity", "syslog.severity.code",
        ),
    }
)  # fmt: skip
"""Role -> column names that may play it, best first. A column plays one role."""


@dataclass(frozen=True)
class Layout:
    """The columns of a frame and the roles they play.

    A *wide* frame has one row an instant of a device, and a column a metric. A *long* frame has
    one row a reading: it has a `metric` and a `value`, and maybe nested `labels` (a map, a struct
    or JSON). A row with a `text` is a log line, with a `severity`; in a long frame, one of the
    metric ``log.severity_number``.
    """

    device: str
    time: str
    recv_time: str | None = None
    metric: str | None = None
    value: str | None = None
    labels: str | None = None
    part: str | None = None
    medium: str | None = None
    site: str | None = None
    cohort: str | None = None
    text: str | None = None
    severity: str | None = None
    guessed: frozenset[str] = frozenset()
    """Roles that nobody asked for."""

    @property
    def is_long(self) -> bool:
        """Say whether each row is a single reading."""
        return self.metric is not None

    @cached_property
    def columns(self) -> dict[str, str]:
        """Role -> column, of the roles that are played."""
        played = {field.name: getattr(self, field.name) for field in fields(self)[:-1]}
        return {role: column for role, column in played.items() if column is not None}

    def __str__(self) -> str:
        roles = [
            f"{role} = {column}{' (guessed)' if role in self.guessed else ''}"
            for role, column in self.columns.items()
        ]
        return f"{'long' if self.is_long else 'wide'} frame: {', '.join(roles)}"

    @classmethod
    def guess(cls, schema: pa.Schema, /, **asked: str | None) -> Layout:
        """Return the layout of frames of this schema; `asked` overrules it, role by role.

        ``None`` says that nothing plays the role (``metric=None``: the frame is wide). Names and
        types decide, never values, so that every part of a stream is read alike.

        Raises
        ------
        FrameError
            No column can be the device or the time, or a column asked for is not there.
        """
        for role, column in asked.items():
            if role not in NAMES:
                raise FrameError(f"no role {role!r}{closest(role, NAMES)}; roles: {_list(NAMES)}")
            if column is not None and column not in schema.names:
                raise _missing(role, column, schema)
        found: dict[str, str | None] = dict(asked)
        spelt: dict[str, str] = {}
        for column in reversed(schema.names):
            spelt[column.casefold()] = column

        def choose(role: str) -> None:
            if role in found:
                return
            taken = set(found.values())
            names = (spelt.get(name) for name in _candidates(role, found))
            fitting = (n for n in names if n and n not in taken and _fits(role, schema, n))
            found[role] = next(fitting, None)

        for role in ("metric", "value"):
            choose(role)
        if found["metric"] is None or found["value"] is None:
            for role in ("metric", "value"):
                if asked.get(role):
                    raise FrameError(
                        f"{role} = {asked[role]!r} makes the frame long, which needs a metric and "
                        f"a value; among {_list(schema.names)} only one of them is found"
                    )
            found |= {"metric": None, "value": None, "labels": None}
        for role in NAMES:
            choose(role)
        for role in ("device", "time"):
            if found[role] is None:
                raise FrameError(
                    f"no column can be the {role} among {_list(schema.names)}; "
                    f"say which one it is ({role}=COLUMN), or call it one of "
                    f"{_list(NAMES[role])}"
                )
        guessed = frozenset(role for role, column in found.items() if column and role not in asked)
        return cls(**found, guessed=guessed)  # type: ignore[arg-type]

    def check(self, schema: pa.Schema) -> None:
        """Raise `FrameError` unless a frame of this schema has every column named here."""
        for role, column in self.columns.items():
            if column not in schema.names:
                raise _missing(role, column, schema)


def _candidates(role: str, found: Mapping[str, str | None]) -> Iterator[str]:
    """Yield the names to try. What some names mean depends on the roles played so far."""
    for name in NAMES[role]:
        if role == "part" and name == "device" and found.get("metric"):
            continue  # each dialect says which of its labels is the part
        if role == "medium" and name.startswith("serial") and not found.get("part"):
            continue  # a serial number without a part is the device's own
        if role == "severity" and (found.get("metric") or not found.get("text")):
            continue  # without a line that it is of, a level may be that of a tank
        yield name


def _fits(role: str, schema: pa.Schema, column: str) -> bool:
    kind = schema.field(schema.names.index(column)).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if role in ("metric", "text"):
        return any(is_text(kind) for is_text in _IS_TEXT)
    if role == "labels":
        return not types.is_primitive(kind)
    if column == "__index_level_0__":  # what pandas calls a nameless index
        return bool(types.is_timestamp(kind))
    return True


_IS_TEXT = (types.is_string, types.is_large_string, types.is_string_view)


def _missing(role: str, column: str, schema: pa.Schema) -> FrameError:
    return FrameError(
        f"no column {column!r} to be the {role}{closest(column, schema.names)}; "
        f"the frame has {_list(schema.names)}"
    )


def _list(names: object) -> str:
    return ", ".join(map(str, names)) or "no columns"  # type: ignore[call-overload]
