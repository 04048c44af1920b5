"""The log lines of a frame, in whatever columns they come."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.kernels.rows import B1, F8, I8
from aiops.telemetry.columns import column_of, number, read_names, read_numbers
from aiops.telemetry.layout import Layout
from aiops.telemetry.lines import LogLines

SEVERITY = "log.severity_number"
"""The metric of a long frame whose rows are log lines."""

WORDS = {
    "trace": 1.0,
    "debug": 5.0,
    "info": 9.0,
    "information": 9.0,
    "notice": 10.0,
    "warn": 13.0,
    "warning": 13.0,
    "err": 17.0,
    "error": 17.0,
    "severe": 17.0,
    "crit": 18.0,
    "critical": 18.0,
    "alert": 19.0,
    "fatal": 21.0,
    "panic": 21.0,
    "emerg": 21.0,
    "emergency": 21.0,
}
"""Word of a severity, in any case -> OpenTelemetry's number; those of syslog as its data model maps
them."""
SYSLOG = (21.0, 19.0, 18.0, 17.0, 13.0, 10.0, 9.0, 5.0)
"""Syslog's number (0 emergency to 7 debug, RFC 5424) -> OpenTelemetry's."""
SYSLOG_NAMES = frozenset({"priority", "syslog_severity", "syslog.severity.code"})
"""Columns whose numbers are syslog's (as journald's PRIORITY)."""


def read_lines(table: pa.Table, layout: Layout, kept: I8 | None) -> LogLines | None:
    """Return the log lines among the `kept` rows of a frame (None: all), rows counted among these.

    None: the frame has no column of them.
    """
    if layout.text is None:
        return None
    column = column_of(table, layout.text)
    given = column.is_valid().to_numpy(zero_copy_only=False)
    severity = np.full(len(column), np.nan)
    if layout.is_long:
        code, names = read_names(column_of(table, str(layout.metric)))
        of_line = np.array([name == SEVERITY for name in names] + [False])[code]
        given &= of_line
        told = read_numbers(column_of(table, str(layout.value)))[0]
        severity = np.where(of_line, told, np.nan)
    elif layout.severity is not None:
        severity = read_severity(column_of(table, layout.severity), layout.severity)
    if kept is not None:
        given, severity, column = given[kept], severity[kept], column.take(pa.array(kept))
    row = np.flatnonzero(given)
    return LogLines(row.astype(np.int32), _severities(severity[row]), readable(column, given))


def read_severity(column: pa.Array, name: str) -> F8:
    """Return OpenTelemetry's severity [n] of words or numbers; NaN: not told, or nobody's word."""
    code, values = read_names(column)
    syslog = name.casefold() in SYSLOG_NAMES
    told = [_severity(value, syslog) for value in values]
    return np.array([*told, math.nan])[code]


def _severity(said: str, syslog: bool) -> float:
    word = said.strip().casefold()
    found = WORDS.get(word.rstrip("0123456789"), math.nan)
    if not math.isnan(found):
        return found
    try:
        value = number(word)
    except (ValueError, OverflowError):
        return math.nan
    if syslog:
        return SYSLOG[int(value)] if value in range(len(SYSLOG)) else math.nan
    return value


def _severities(severity: F8) -> F8:
    """Return severities with what is none replaced by NaN."""
    return np.where((severity >= 1.0) & (severity <= 24.0), severity, np.nan)


def readable(column: pa.Array, given: B1) -> pa.Array:
    """Return the given texts of a column as large strings that are valid UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = column.filter(pa.array(given))
    try:
        text = column.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        raw = column.cast(pa.large_binary()).to_pylist()
        text = pa.array([one.decode("utf-8", "replace") for one in raw], pa.large_string())
    return pc.fill_null(text, "")
