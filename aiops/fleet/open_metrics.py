"""Metrics that nobody knows, as columns: what tells their series apart, and which are taken in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from aiops.fleet.buffer import Duplicate, Merged, scattered
from aiops.kernels.rows import F8, I4, I8
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
    row: I8
    value: F8
    series: I8
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
            metric = self._told_apart(name, row, value, labels)
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
            order = np.argsort(metric.series, kind="stable")
            bounds = np.searchsorted(metric.series[order], np.arange(len(metric.names) + 1))
            for place, name in enumerate(metric.names):
                which = order[bounds[place] : bounds[place + 1]]
                if self.names.get(name) != metric.name:
                    unknown[metric.name] += len(which)
                    continue
                columns[name], twice = scattered([(metric.row[which], metric.value[which])], merged)
                if twice is not None:
                    duplicate[name] = twice
        known = set(self.names.values())
        self._told_by = {name: by for name, by in self._told_by.items() if name in known}
        return Opened(columns, duplicate, unknown, tuple(sorted(renamed)))

    def _by_metric(self, pieces: Sequence[OpenReadings]) -> Iterator[tuple[str, I8, F8, I4]]:
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
        row = np.concatenate([piece.row for piece in pieces]).astype(np.int64)
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
            numbers = []
            for text in texts:
                labels = label_set(text)
                number = self._number.setdefault(labels, len(self._sets))
                if number == len(self._sets):
                    self._sets.append(labels)
                numbers.append(number)
            table = np.array([*numbers, 0], np.int32)
            self._tables.put(id(texts), table, len(table), texts)
        return table

    def _told_apart(self, name: str, row: I8, value: F8, labels: I4) -> _Metric:
        """Name the series of a metric, by more labels than before where those do not do."""
        sets, which = np.unique(labels, return_inverse=True)
        shown = [self._sets[number] for number in sets.tolist()]
        while True:
            by = self._told_by.get(name, ())
            place: dict[LabelSet, int] = {}
            for one in shown:
                place.setdefault(tuple(pair for pair in one if pair[0] in by), len(place))
            told = [place[tuple(pair for pair in one if pair[0] in by)] for one in shown]
            series = np.array(told, np.int64)[which]
            more = _clashing(series, row, which, shown) if len(place) < len(shown) else set()
            if not more:
                names = [open_name(name, one) or "" for one in place]
                return _Metric(name, row, value, series, names)
            self._told_by[name] = tuple(sorted({*by, *more}))

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


def _clashing(series: I8, row: I8, which: I8, sets: Sequence[LabelSet]) -> set[str]:
    """Return the labels in which readings of one series and row differ; `which` [m] of `sets`."""
    order = np.lexsort((which, row, series))
    series, row, which = series[order], row[order], which[order]
    clash = (series[1:] == series[:-1]) & (row[1:] == row[:-1]) & (which[1:] != which[:-1])
    pairs = np.unique(np.stack((which[:-1][clash], which[1:][clash])), axis=1)
    return {label for a, b in pairs.T.tolist() for label, _ in set(sets[a]) ^ set(sets[b])}
