"""Tables of readings from what a protocol's messages say, row by row or column by column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from aiops.connectors.wire.decoded import LOGS, READINGS, TEXTS, Decoded, Refused
from aiops.connectors.wire.limits import Limits
from aiops.errors import PayloadError, TooLarge
from aiops.kernels.rows import F8, I4, I8

EXAMPLE = 120
"""Longest example of what was refused, in characters."""
REASONS = 32
"""More reasons than this are counted as one."""
BAD_LINES_MAX = 10_000
"""Of one body; with more it is something else than it says."""
_TIMES = range(-(2**63), 2**63)


class Refusals:
    """Counts what could not be taken, by reason, with the first example of each."""

    def __init__(self) -> None:
        self.bad_lines = 0
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, example: object = "", count: int = 1) -> None:
        """Count `count` readings that cannot be taken for `reason`; only so many are told apart."""
        if len(self._found) >= REASONS and reason not in self._found:
            reason = "other reasons"
        before, first = self._found.get(reason, (0, ""))
        self._found[reason] = before + count, first or str(example)[:EXAMPLE]

    def add_line(self, number: int, reason: str, line: bytes = b"") -> None:
        """Count a bad line, the `number`-th.

        Raises
        ------
        PayloadError
            There were `BAD_LINES_MAX` before: this is something else than it says.
        """
        if self.bad_lines >= BAD_LINES_MAX:
            raise PayloadError(f"more than {BAD_LINES_MAX} lines are bad, line {number}: {reason}")
        self.bad_lines += 1
        self.add(reason, f"line {number}: {line[:EXAMPLE].decode(errors='replace').strip()}")

    def listed(self) -> tuple[Refused, ...]:
        """Return what was refused, in the order of first appearance."""
        return tuple(Refused(why, count, first) for why, (count, first) in self._found.items())


class Builder:
    """Takes readings one at a time: numbers, words and log messages.

    Parameters
    ----------
    limits
        Once its rows have more cells than these allow, `add` and `add_log` raise.
    """

    def __init__(self, limits: Limits) -> None:
        self.refusals = Refusals()
        self.histograms = 0
        self.exemplars = 0
        self._limits = limits
        self._room = limits.cells // len(READINGS)
        self._numbers = _Rows()
        self._texts = _Rows()
        self._logs = _Rows()

    def add(
        self,
        device: str | None,
        ts_ns: int,
        metric: str,
        value: float | str,
        labels: str | None = None,
        site: str | None = None,
        cohort: str | None = None,
    ) -> bool:
        """Take a reading, or refuse it; return whether it was taken.

        `labels` is JSON, see `aiops.connectors.wire.naming.labels_json`.

        Raises
        ------
        TooLarge
            The payload holds more readings than is allowed.
        """
        if not device:
            return self.refuse("no label names the device", f"{metric} {labels or ''}")
        if ts_ns not in _TIMES:
            return self.refuse("a time beyond what nanoseconds can count", f"{metric} {ts_ns}")
        most = self._limits.name_bytes
        if 4 * len(device) > most and len(device.encode()) > most:
            return self.refuse(f"a device's name of more than {most} bytes", device)
        if isinstance(value, str):
            if len(value.encode()) > self._limits.value_bytes:
                return self.refuse(f"a text of more than {self._limits.value_bytes} bytes", metric)
            rows = self._texts
        else:
            rows = self._numbers
            try:
                value = float(value)
            except OverflowError:
                return self.refuse("a number beyond a double's", metric)
        self._take_room()
        rows.add((device, metric, labels, site, cohort), ts_ns, value)
        return True

    def add_log(
        self,
        device: str | None,
        ts_ns: int,
        severity: float,
        body: str,
        labels: str | None = None,
        site: str | None = None,
        cohort: str | None = None,
    ) -> bool:
        """Take a log record, or refuse it; a message that is too long is cut.

        `severity` is OpenTelemetry's number, NaN if not told.

        Raises
        ------
        TooLarge
            The payload holds more records than is allowed.
        """
        if not device:
            return self.refuse("no label names the device", body)
        if ts_ns not in _TIMES:
            return self.refuse("a time beyond what nanoseconds can count", f"{ts_ns} {body}")
        self._take_room()
        kept = body.encode()[: self._limits.value_bytes].decode(errors="ignore")
        series = (device, "log.severity_number", labels, site, cohort)
        self._logs.add(series, ts_ns, severity, kept)
        return True

    def refuse(self, reason: str, example: object = "", count: int = 1) -> bool:
        """Count readings that cannot be taken, and return False."""
        self.refusals.add(reason, example, count)
        return False

    def _take_room(self) -> None:
        self._room -= 1
        if self._room < 0:
            raise TooLarge(
                f"more than {self._limits.cells // len(READINGS)} readings in one payload; "
                "send them in several"
            )

    def decoded(self) -> Decoded:
        """Return what was taken and what was refused."""
        kinds = (self._numbers, READINGS), (self._texts, TEXTS), (self._logs, LOGS)
        return Decoded(
            tuple(rows.table(schema) for rows, schema in kinds if rows.ts),
            self.refusals.listed(),
            samples=len(self._numbers.ts) + len(self._texts.ts) + len(self._logs.ts),
            histograms=self.histograms,
            exemplars=self.exemplars,
        )


Series = tuple[str, str, str | None, str | None, str | None]
"""Device, metric, labels, site and cohort."""


class _Rows:
    """Rows of one kind, each as the number of its series, a time and a value."""

    def __init__(self) -> None:
        self.ts: list[int] = []
        self._series: dict[Series, int] = {}
        self._row: list[int] = []
        self._value: list[float | str] = []
        self._body: list[str] = []

    def add(self, series: Series, ts: int, value: float | str, body: str | None = None) -> None:
        self._row.append(self._series.setdefault(series, len(self._series)))
        self.ts.append(ts)
        self._value.append(value)
        if body is not None:
            self._body.append(body)

    def table(self, schema: pa.Schema) -> pa.Table:
        row = np.array(self._row, np.int32)
        device, metric, labels, site, cohort = (
            names(*coded(column), row) for column in zip(*self._series, strict=True)
        )
        ts = pa.array(np.array(self.ts, np.int64)).view(READINGS.field("ts").type)
        value = pa.array(self._value, schema.field("value").type)
        columns = [device, ts, metric, value, labels, site, cohort]
        if "body" in schema.names:
            columns.append(pa.array(self._body, pa.string()))
        return pa.Table.from_arrays(columns, schema=schema)


def coded(values: Sequence[str | None]) -> tuple[I4, list[str]]:
    """Return a code [n] for each text, -1 for None, and the distinct texts."""
    place: dict[str, int] = {}
    code = [-1 if v is None else place.setdefault(v, len(place)) for v in values]
    return np.array(code, np.int32), list(place)


def names(code: I4, values: Sequence[str], row: I4 | None = None) -> pa.DictionaryArray:
    """Return a column of names: ``values[code]``, or of `row` [m] the ``values[code[row]]``.

    A `code` below 0 is null. Every one of `values` should be used: whoever reads the table takes
    its dictionary for the list of what there is.
    """
    spread = code if row is None else code[row]
    mask = spread < 0
    indices = pa.array(spread, mask=mask if mask.any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string()), safe=False)


def readings(
    device: pa.DictionaryArray,
    ts_ns: I8,
    metric: pa.DictionaryArray,
    value: F8,
    labels: pa.DictionaryArray,
    site: pa.DictionaryArray,
    cohort: pa.DictionaryArray,
) -> pa.Table:
    """Return a table of `READINGS` from whole columns [n]; see `names` for those of names."""
    ts = pa.array(ts_ns).view(READINGS.field("ts").type)
    columns = [device, ts, metric, pa.array(value), labels, site, cohort]
    return pa.Table.from_arrays(columns, schema=READINGS)
