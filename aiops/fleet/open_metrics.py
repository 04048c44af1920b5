"""Metrics that nobody knows, as columns: what tells their series apart, and which are taken in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from aiops.fleet.buffer import Duplicate, Merged
from aiops.kernels.admission import count_clashes, scatter_series
from aiops.kernels.rows import F8, I4
from aiops.telemetry.columns import Remembered
from aiops.telemetry.normalised import OpenReadings
from aiops.telemetry.open_metrics import LabelSet, label_set, open_name, split_name

SETS_MOST = 1 << 18
"""Sets of labels whose numbers are remembered from one epoch to the next."""


class Opened(NamedTuple):
    """What an epoch holds of metrics that nobody knows."""

    columns: dict[str, F8]
    duplicate: dict[str, Duplicate]
    unknown: Counter[str]
    """Metrics of which something was not taken in, with how many values."""
    renamed: tuple[str, ...]
    """Names that nothing comes under any more: its series are told apart by more labels now."""


class _Metric(NamedTuple):
    """The readings [m] of one metric in an epoch, in any order."""

    name: str
    row: I4
    value: F8
    series: I4
    """[m] index into `names`."""
    names: list[str]
    """Of its series, with labels; "" for those that cannot have one."""


class OpenMetrics:
    """Takes in metrics that nobody knows, up to a number, and names their series.

    A label is part of a name once two readings of one device at one instant would be of one name
    without it. So labels that are the same for all series of a device, as the pod that measures
    it, stay out, and devices share their metrics. All of it is decided as an epoch closes, from
    the set of its readings: neither their order nor the cut of the log shows.

    Parameters
    ----------
    asked
        Names that are taken in whenever they come.
    most
        How many others are taken in. Of those that are new in an epoch the ones that most devices
        show come first, and then by name.
    reserved
        Names that mean something else.
    """

    def __init__(
        self, asked: Iterable[str] = (), most: int = 0, reserved: frozenset[str] = frozenset()
    ) -> None:
        self.names: dict[str, str] = {}
        """Name, with labels -> metric, without."""
        self._told_by: dict[str, tuple[str, ...]] = {}
        """Metric -> labels that tell its series apart, sorted."""
        for name in sorted(asked):
            metric, labels = split_name(name)
            self.names[name] = metric
            self._told_by[metric] = tuple(sorted({*self._told_by.get(metric, ()), *labels}))
        self.most = len(self.names) + most
        self._reserved = reserved
        self._forget()

    def _forget(self) -> None:
        self._number: dict[LabelSet, int] = {(): 0}
        self._sets: list[LabelSet] = [()]
        self._tables: Remembered[I4] = Remembered()
        self._shorter: dict[tuple[str, ...], I4] = {}

    def take(self, merged: Merged) -> Opened:
        """Return the columns [n] of an epoch, and take in what is new."""
        unknown: Counter[str] = Counter()
        metrics = []
        renamed: list[str] = []
        known = set(self.names.values())
        full = len(self.names) >= self.most
        for name, row, value, labels in self._by_metric(merged.open):
            if name in self._reserved or (full and name not in known):
                unknown[name] += len(row)
                continue
            before = self._told_by.get(name)
            metric = self._told_apart(name, row, value, labels, len(merged.ts))
            if self._told_by.get(name) != before:
                still = set(metric.names)
                renamed += [n for n, of in self.names.items() if of == name and n not in still]
            metrics.append(metric)
        for name in renamed:
            del self.names[name]
        self._admit(metrics, merged)
        columns: dict[str, F8] = {}
        duplicate: dict[str, Duplicate] = {}
        for metric in metrics:
            unknown[metric.name] += self._fill(metric, merged, columns, duplicate)
        known = set(self.names.values())
        self._told_by = {name: by for name, by in self._told_by.items() if name in known}
        return Opened(columns, duplicate, +unknown, tuple(sorted(renamed)))

    def _by_metric(self, pieces: Sequence[OpenReadings]) -> Iterator[tuple[str, I4, F8, I4]]:
        """Yield each metric, by name, with row, value and number of the labels of its readings."""
        if not pieces:
            return
        if len(self._sets) > SETS_MOST:
            self._forget()
        place: dict[str, int] = {}
        codes = []
        for piece in pieces:
            used = np.flatnonzero(np.bincount(piece.name, minlength=len(piece.names)))
            table = np.zeros(len(piece.names), np.int32)
            table[used] = [place.setdefault(piece.names[i], len(place)) for i in used.tolist()]
            codes.append(table[piece.name])
        code = np.concatenate(codes)
        row = np.concatenate([piece.row for piece in pieces])
        value = np.concatenate([piece.value for piece in pieces])
        labels = np.concatenate([self._table(piece.sets)[piece.labels] for piece in pieces])
        narrow = np.int16 if len(place) < 2**15 else np.int32  # int16 is sorted by radix
        order = np.argsort(code.astype(narrow), kind="stable")
        bounds = np.cumsum([0, *np.bincount(code, minlength=len(place))])
        for name in sorted(place):
            which = order[bounds[place[name]] : bounds[place[name] + 1]]
            if len(which):
                yield name, row[which], value[which], labels[which]

    def _table(self, texts: Sequence[str]) -> I4:
        """Return [k + 1] the number of the labels in each text; the last is of none.

        Live frames repeat their dictionary; numbering it once is most of the cost.
        """
        table = self._tables.get(id(texts))
        if table is None:
            table = np.array([*(self._number_of(label_set(text)) for text in texts), 0], np.int32)
            self._tables.put(id(texts), table, len(table), texts)
        return table

    def _number_of(self, labels: LabelSet) -> int:
        number = self._number.setdefault(labels, len(self._sets))
        if number == len(self._sets):
            self._sets.append(labels)
        return number

    def _only(self, by: tuple[str, ...], labels: I4) -> I4:
        """Return the number of each set of labels [m] without those that are not in `by`."""
        table = self._shorter.get(by, np.zeros(0, np.int32))
        if len(table) < len(self._sets):
            more = np.full(len(self._sets) - len(table), -1, np.int32)
            table = self._shorter[by] = np.append(table, more)
        new = np.unique(labels[table[labels] < 0])
        for number in new.tolist():
            shown = tuple(pair for pair in self._sets[number] if pair[0] in by)
            table[number] = self._number_of(shown)
        numbers: I4 = table[labels]
        return numbers

    def _told_apart(self, name: str, row: I4, value: F8, labels: I4, rows: int) -> _Metric:
        """Name the series of a metric, by more labels than before where those do not do."""
        while True:
            by = self._told_by.get(name, ())
            told, series = [0], np.zeros(len(labels), np.int32)
            if by:
                numbers, inverse = np.unique(self._only(by, labels), return_inverse=True)
                told, series = numbers.tolist(), inverse.astype(np.int32)
            more: set[str] = set()
            if labels.any():
                narrow = np.int16 if len(told) < 2**15 else np.int32  # int16 is sorted by radix
                order = np.argsort(series.astype(narrow), kind="stable")
                scratch = np.full(rows, -1, np.int64), np.zeros(rows, np.int32)
                if count_clashes(series, row, labels, order, *scratch):
                    more = self._differing(series, row, labels) - set(by)
            if not more:
                names = [open_name(name, self._sets[number]) or "" for number in told]
                return _Metric(name, row, value, series, names)
            self._told_by[name] = tuple(sorted({*by, *more}))

    def _differing(self, series: I4, row: I4, labels: I4) -> set[str]:
        """Return the labels in which readings of one series and row differ."""
        order = np.lexsort((labels, row, series))
        series, row, labels = series[order], row[order], labels[order]
        same = (series[1:] == series[:-1]) & (row[1:] == row[:-1]) & (labels[1:] != labels[:-1])
        pairs = np.unique(np.stack((labels[:-1][same], labels[1:][same])), axis=1)
        return {
            label
            for a, b in pairs.T.tolist()
            for label, _ in set(self._sets[a]) ^ set(self._sets[b])
        }

    def _fill(
        self,
        metric: _Metric,
        merged: Merged,
        columns: dict[str, F8],
        duplicate: dict[str, Duplicate],
    ) -> int:
        """Add the columns of a metric's series; return how many values have none."""
        taken = [place for place, n in enumerate(metric.names) if self.names.get(n) == metric.name]
        place = np.full(len(metric.names), -1, np.int32)
        place[taken] = np.arange(len(taken))
        column = place[metric.series]
        out = np.full((len(taken), len(merged.ts)), np.nan)
        twice = np.zeros(len(column), np.bool_)
        found = scatter_series(column, metric.row, metric.value, out, twice)
        for k, series in enumerate(taken):
            name = metric.names[series]
            columns[name] = out[k]
            second = np.flatnonzero(twice & (column == k)) if found else ()
            if len(second):
                at = metric.row[second]
                duplicate[name] = merged.device[at], merged.ts[at], metric.value[second]
        return int(np.count_nonzero(column < 0))

    def _admit(self, metrics: Sequence[_Metric], merged: Merged) -> None:
        """Take in what is new, as far as there is room."""
        new = []
        for metric in metrics:
            fresh = [bool(name) and name not in self.names for name in metric.names]
            if not any(fresh) or len(self.names) >= self.most:
                continue
            pairs = np.unique(np.stack((metric.series, merged.device[metric.row])), axis=1)
            devices = np.bincount(pairs[0], minlength=len(metric.names)).tolist()
            new += [
                (-shown, name, metric.name)
                for shown, name, is_new in zip(devices, metric.names, fresh, strict=True)
                if is_new
            ]
        for _, name, of in sorted(new)[: self.most - len(self.names)]:
            self.names[name] = of

    def save(self) -> dict[str, Any]:
        """Return plain values from which `restore` makes this again."""
        return {"names": self.names, "told_by": self._told_by}

    def restore(self, saved: dict[str, Any]) -> None:
        """Become what was saved."""
        self.names = dict(saved["names"])
        self._told_by = {name: tuple(by) for name, by in saved["told_by"].items()}
