"""The one way from a frame in somebody's dialect to clean columns in ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aiops.kernels.clean import clean
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.telemetry.aside import Aside
from aiops.telemetry.columns import (
    column_of,
    identities,
    is_numeric,
    is_text,
    largest,
    number,
    read_names,
    read_numbers,
    read_words,
    respelt,
    texts,
    whole,
    word_or_number,
)
from aiops.telemetry.dialects import LABELS, Alias, Named, named, part_name
from aiops.telemetry.hearsay import hearsay
from aiops.telemetry.labels import Labels
from aiops.telemetry.layout import Layout
from aiops.telemetry.line_reading import read_lines
from aiops.telemetry.lines import COUNTS, LogLines
from aiops.telemetry.normalised import Encoded, NormalisedFrame, OpenReadings, SparseColumn
from aiops.telemetry.open_metrics import BUCKET_LABEL, is_bucket, may_be_open
from aiops.telemetry.parts import expand, joined
from aiops.telemetry.rows import RowNames, read_rows
from aiops.telemetry.transforms import TRANSFORMS
from aiops.telemetry.vocabulary import VOCABULARY

FINITE = sys.float_info.max

Block = tuple[Named, pa.Array, I8 | None]
"""What a name means, readings under that name, and their rows in the frame (None: all)."""


def normalise(
    table: pa.Table,
    layout: Layout | None = None,
    wanted: frozenset[str] | None = None,
    open_metrics: bool = False,
) -> NormalisedFrame:
    """Return the rows of a frame with canonical names, units, polarity and times.

    What a row becomes depends on the row alone, so however a stream is cut into frames, the same
    comes out. What cannot be used is set aside with a reason, never raised.

    Parameters
    ----------
    table
        See `aiops.telemetry.frame.read_frame`.
    layout
        Which column is what; guessed from the names if not given.
    wanted
        Canonical metrics (``metric`` or ``metric/source``) to keep; None: all.
    open_metrics
        Whether to keep numbers under names that nobody knows, as `NormalisedFrame.open`.

    Raises
    ------
    FrameError
        No column can be the device or the time, or the layout names one that is not there.
    """
    if layout is None:
        layout = Layout.guess(table.schema)
    else:
        layout.check(table.schema)
    return _Normalisation(table, layout, wanted, open_metrics).frame()


class _Normalisation:
    """One frame on its way. Rows are counted as in the frame until the end."""

    def __init__(
        self, table: pa.Table, layout: Layout, wanted: frozenset[str] | None, open_metrics: bool
    ) -> None:
        self.table = table
        self.layout = layout
        self.wanted = wanted
        self.open_metrics = open_metrics
        self.opened: dict[str, F8] = {}
        """Column of a wide frame that nobody knows -> its numbers in the kept rows."""
        self.readings: OpenReadings | None = None
        """The same of a long frame."""
        self.aside = Aside()
        self.rows = read_rows(table, layout, self.aside)
        self.hearsay = hearsay(table, layout)
        if self.hearsay is not None:
            device = self.rows.device
            code = np.where(self.hearsay, np.int32(-1), device.code)
            self.rows = self.rows._replace(device=Encoded(code, device.value))
        self.labels = Labels(table, layout)
        parts = self._names("part")
        self.part = RowNames(None if parts is None else respelt(parts, part_name), table.num_rows)
        self.medium = RowNames(self._names("medium"), table.num_rows)
        self.found: dict[str | None, dict[str, list[SparseColumn]]] = {}
        """Part that a name named (None: that of the row) -> column -> where it was found."""
        self.unknown: dict[str, int] = {}

    def frame(self) -> NormalisedFrame:
        """Normalise everything."""
        for block in self._long() if self.layout.is_long else self._wide():
            self._read(*block)
        device, ts, recv_ts, origin = self.rows
        n = len(ts) if origin is None else len(origin)
        at = self.rows.before
        part, medium = self.part.encoded, self.medium.encoded

        def along(names: Encoded | None) -> Encoded | None:
            return None if names is None else _at(names, origin)

        opened = self.readings if self.layout.is_long else self._opened_columns(n)
        logs = self._lines()
        columns = {
            name: {
                key: joined([self._placed(one, n) for one in group], n)
                for key, group in keys.items()
            }
            for name, keys in self.found.items()
        }
        if set(columns) <= {None}:
            own, shown = columns.get(None, {}), along(part)
        else:
            expanded = expand(columns, along(part), n)
            own, shown = expanded.columns, expanded.part
            at = np.append(expanded.first, len(expanded.origin))[at]
            origin = expanded.origin if origin is None else origin[expanded.origin]
            if opened is not None:
                opened = opened.moved(expanded.first)
            if logs is not None:
                logs = logs.moved(expanded.first)
        return NormalisedFrame(
            device_id=_at(device, origin),
            ts=_owned(ts if origin is None else ts[origin]),
            recv_ts=_owned(recv_ts if origin is None else recv_ts[origin]),
            columns=own,
            open=opened,
            logs=logs,
            part=shown,
            medium_id=along(medium),
            site=along(self._names("site")),
            cohort=along(self._names("cohort")),
            set_aside=self.aside.table(at, device, part, ts),
            unknown=self.unknown,
        )

    def _lines(self) -> LogLines | None:
        """Return the log lines, if anybody asks for what comes of them; not what was overheard."""
        if self.wanted is not None and self.wanted.isdisjoint(COUNTS):
            return None
        lines = read_lines(self.table, self.layout, self.rows.kept)
        if lines is None or self.hearsay is None:
            return lines
        heard = self.hearsay if self.rows.kept is None else self.hearsay[self.rows.kept]
        own = np.flatnonzero(~heard[lines.row])
        return lines.take(own, lines.row[own])

    # Which readings there are --------------------------------------------------------------------

    def _wide(self) -> Iterator[Block]:
        roles = set(self.layout.columns.values())
        told = {self.layout.cohort} if named(self.layout.cohort or "").aliases else set()
        roles -= told  # devices of one model are a cohort, and the model is a metric of theirs
        kept = self.rows.kept
        for place, name in enumerate(self.table.schema.names):
            known = named(name)
            if name in roles:
                continue
            if self._wants(known):
                readings = whole(self.table.column(place))
                yield known, readings if kept is None else readings.take(pa.array(kept)), kept
            elif (
                self.open_metrics and may_be_open(name) and is_numeric(self.table.field(place).type)
            ):
                numbers = read_numbers(whole(self.table.column(place)))[0]
                self.opened[name] = numbers if kept is None else numbers[kept]
            elif not known.aliases and name not in LABELS:
                self._count_unknown(name, self.table.column(place))

    def _long(self) -> Iterator[Block]:
        code, names = read_names(column_of(self.table, str(self.layout.metric)))
        readings = column_of(self.table, str(self.layout.value))
        rows = np.arange(len(code)) if self.rows.kept is None else self.rows.kept
        if self.hearsay is not None:
            rows = rows[~self.hearsay[rows]]
        if self.open_metrics:
            rows = self._open(Encoded(code, names), readings, rows)
        known = [named(name) for name in ("", *names)]
        which = code[rows] + 1
        nobodys = rows[np.array([not one.aliases for one in known])[which]]
        if len(nobodys):
            missing = pc.is_null(readings, nan_is_null=True).to_numpy(zero_copy_only=False)
            self._count(code[nobodys[~missing[nobodys]]], names)
        rows = rows[np.array([self._wants(one) for one in known])[which]]
        code = code[rows]
        narrow = np.int16 if len(names) < 2**15 else np.int32  # int16 is sorted by radix
        order = rows[np.argsort(code.astype(narrow), kind="stable")]
        bounds = np.cumsum([0, *np.bincount(code + 1, minlength=len(known))])
        for place in np.flatnonzero(np.diff(bounds)).tolist():
            row = order[bounds[place] : bounds[place + 1]]
            yield known[place], readings.take(pa.array(row)), row

    def _opens(self, name: str) -> bool:
        return self.open_metrics and may_be_open(name)

    def _open(self, metric: Encoded, readings: pa.Array, rows: I8) -> I8:
        """Keep the readings that nobody knows; return the rows of the others."""
        code, names = metric
        is_open = np.array([*map(may_be_open, names), False])[code[rows]]
        if not is_open.any() or not (is_numeric(readings.type) or is_text(readings.type)):
            return rows
        others: I8 = rows[~is_open]
        rows = rows[is_open]
        numbers, wrong = read_numbers(readings)
        code, value = code[rows], numbers[rows]
        strange = np.zeros(len(rows), np.bool_) if wrong is None else wrong[rows]
        bucket = self.labels.get(BUCKET_LABEL)
        if bucket is not None:
            strange |= np.array([*map(is_bucket, names), False])[code] & (bucket.code[rows] >= 0)
        self._count(code[strange], names)
        finite = np.isfinite(value) & ~strange
        infinite = rows[np.isinf(value) & ~strange]
        for place in np.unique(metric.code[infinite]).tolist():
            row = infinite[metric.code[infinite] == place]
            self.aside.add(row, "not_finite", texts(readings.take(pa.array(row))), names[place])
        rows = rows[finite]
        sets = self.labels.sets()
        kept = self.rows.kept
        self.readings = OpenReadings(
            (rows if kept is None else np.searchsorted(kept, rows)).astype(np.int32),
            code[finite],
            np.full(len(rows), -1, np.int32) if sets is None else sets.code[rows],
            value[finite],
            names,
            () if sets is None else sets.value,
        )
        return others

    def _opened_columns(self, n: int) -> OpenReadings | None:
        """Return the readings of the columns [n] of a wide frame that nobody knows."""
        if not self.opened:
            return None
        values = np.column_stack(list(self.opened.values()))
        kept = np.arange(n) if self.rows.kept is None else self.rows.kept
        for place, name in enumerate(self.opened):
            row = np.flatnonzero(np.isinf(values[:, place]))
            if len(row):
                looks = pa.array([str(value) for value in values[row, place].tolist()])
                self.aside.add(kept[row], "not_finite", looks, name)
        row, code = np.nonzero(np.isfinite(values))
        return OpenReadings(
            row.astype(np.int32),
            code.astype(np.int32),
            np.full(len(row), -1, np.int32),
            values[row, code],
            list(self.opened),
            (),
        )

    def _wants(self, known: Named) -> bool:
        return any(self._is_wanted(alias) for alias in known.aliases)

    def _is_wanted(self, alias: Alias) -> bool:
        return self.wanted is None or alias.metric in self.wanted or alias.key in self.wanted

    def _count_unknown(self, name: str, readings: pa.Array | pa.ChunkedArray) -> None:
        missing = pc.sum(pc.is_null(readings, nan_is_null=True)).as_py() or 0
        if len(readings) > missing:
            self.unknown[name] = self.unknown.get(name, 0) + len(readings) - missing

    def _count(self, code: I4, names: Sequence[str]) -> None:
        """Count values [n] under names that nobody knows; code -1: under no name."""
        for place, n in enumerate(np.bincount(code + 1).tolist()):
            if n:
                name = names[place - 1] if place else ""
                self.unknown[name] = self.unknown.get(name, 0) + n

    def _names(self, role: str) -> Encoded | None:
        column = self.layout.columns.get(role)
        return None if column is None else read_names(column_of(self.table, column))

    # What they mean ------------------------------------------------------------------------------

    def _read(self, known: Named, readings: pa.Array, rows: I8 | None) -> None:
        """Hand each reading to the first alias whose conditions hold for its row."""
        free: B1 | None = None
        for alias in known.aliases:
            holds = self.labels.where(alias, readings, rows)
            if free is not None:
                holds = free if holds is None else holds & free
            if holds is None:
                self._convert(alias, known.part, readings, rows)
                return
            place = np.flatnonzero(holds)
            if len(place):
                taken = readings.take(pa.array(place))
                self._convert(alias, known.part, taken, place if rows is None else rows[place])
            free = ~holds if free is None else free & ~holds

    def _convert(self, alias: Alias, part: str | None, readings: pa.Array, rows: I8 | None) -> None:
        """Turn readings into canonical values, and file those that may be."""
        if not self._is_wanted(alias):
            return
        if self.layout.is_long and rows is not None:
            self._name_parts(alias, part, rows)
            part = None
        refuse = partial(self._refuse, alias.metric, part, readings, rows)
        if alias.reads == "identity":
            reading = identities(self._told(alias, readings, rows))
        else:
            if alias.reads == "word":
                reading, wrong = read_words(readings, alias.words)
            else:
                parse = largest if alias.reads == "largest" else number
                reading, wrong = read_numbers(
                    readings, word_or_number(alias.words) if alias.words else parse
                )
            if wrong is not None:
                refuse(wrong, "not_a_number")
                reading = np.where(wrong, np.nan, reading)
        if alias.transform:
            infinite = np.isinf(reading)
            refuse(infinite, "not_finite")
            reading = TRANSFORMS[alias.transform](np.where(infinite, np.nan, reading))
        metric = VOCABULARY[alias.metric]
        lower, upper = max(metric.lower, -FINITE), min(metric.upper, FINITE)
        value = np.empty(len(reading))
        reading = _read_only(reading)
        kept, refused = clean(reading, alias.scale, alias.offset, alias.per, lower, upper, value)
        if refused:
            lost, infinite = np.isnan(value) & ~np.isnan(reading), np.isinf(reading)
            refuse(lost & infinite, "not_finite")
            refuse(lost & ~infinite, "out_of_range")
        if kept:
            row: npt.NDArray[np.int32] | None = None if rows is None else rows.astype(np.int32)
            columns = self.found.setdefault(part, {})
            columns.setdefault(alias.key, []).append(SparseColumn(row, value))

    def _told(self, alias: Alias, readings: pa.Array, rows: I8 | None) -> Encoded:
        """Return the names that `rows` tell: by their readings, or by a label of theirs."""
        if not alias.label:
            return read_names(readings)
        label = self.labels.get(alias.label)
        nobody = Encoded(np.full(len(readings), -1, np.int32), ())
        return nobody if label is None else _at(label, rows)

    def _name_parts(self, alias: Alias, part: str | None, rows: I8) -> None:
        """Name part and medium of rows that are one reading each."""
        for label in alias.part:
            self.part.fill(rows, label, self.labels, part_name)
        for label in alias.medium:
            self.medium.fill(rows, label, self.labels)
        if part is not None:
            self.part.fill_with(rows, part)

    def _refuse(
        self,
        metric: str,
        part: str | None,
        readings: pa.Array,
        rows: I8 | None,
        wrong: B1,
        reason: str,
    ) -> None:
        place = np.flatnonzero(wrong)
        if len(place):
            looks = texts(readings.take(pa.array(place)))
            self.aside.add(place if rows is None else rows[place], reason, looks, metric, part)

    def _placed(self, column: SparseColumn, n: int) -> SparseColumn:
        """Return a column with its rows counted among the kept ones [n]."""
        row, value = column
        if row is None or len(row) == n:
            return SparseColumn(None, value)
        kept = self.rows.kept
        return (
            column
            if kept is None
            else SparseColumn(np.searchsorted(kept, row).astype(np.int32), value)
        )


def _at(names: Encoded, rows: I8 | None) -> Encoded:
    """Return the names of `rows` (None: all), in an array that nobody else holds."""
    return Encoded(names.code.copy() if rows is None else names.code[rows], names.value)


def _read_only(reading: F8) -> F8:
    """Return the array as Arrow's own are: so the kernel is compiled for one kind only."""
    reading.setflags(write=False)
    return reading


def _owned(times: I8) -> I8:
    """Return an array that nobody else holds and that may be written to."""
    return times if times.flags.writeable and times.base is None else times.copy()
