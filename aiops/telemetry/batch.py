"""The one shape in which telemetry reaches a detector: a struct of arrays, grouped by device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from aiops.kernels.rows import B1, F8, I4, I8, Rows
from aiops.telemetry.templates import Templates


@dataclass(frozen=True)
class LogBatch:
    """Log lines [m] of the rows of a batch, in their order; a row may have several."""

    row: I4
    """[m] row of the batch, ascending."""
    template: I4
    """[m] which of `templates`."""
    severity: F8
    """[m] OpenTelemetry's number, 1 to 24; NaN: not told."""
    text: pa.Array
    """[m] the lines as they came."""
    templates: Templates
    """As they were when the epoch closed, for as long as the batch is judged."""

    def take(self, keep: B1) -> LogBatch:
        """Return the lines of the rows where `keep` [n] is true, which are numbered anew."""
        which = np.flatnonzero(keep[self.row])
        row = (np.cumsum(keep) - 1)[self.row[which]].astype(np.int32)
        text = self.text.take(pa.array(which))
        return replace(
            self, row=row, template=self.template[which], severity=self.severity[which], text=text
        )


@dataclass(frozen=True)
class TelemetryBatch:
    """Rows of one closed epoch, grouped by device and in time order within a device.

    One row per device and instant. A column that no row reported is absent; a value that a row
    did not report is NaN.
    """

    device: I4
    """[n] dense index of the device or part."""
    cohort: I4
    """[n] code of the cohort the device belongs to; -1 for none."""
    ts: I8
    """[n] event time, ns since the epoch, UTC."""
    historical: B1
    """[n] came after its epoch had closed: teaches its device, never pages."""
    columns: Mapping[str, F8]
    """canonical metric name -> [n]."""
    indptr: I8
    """[g + 1] where the rows of the g-th device present begin and end."""
    logs: LogBatch | None = None
    """Log lines, where there are any."""

    @property
    def rows(self) -> Rows:
        """The first argument of a streaming kernel."""
        return Rows(self.indptr, self.device, self.ts)

    def __len__(self) -> int:
        return len(self.ts)

    def column(self, name: str) -> F8:
        """Return the column [n]; all NaN where nothing reported it. Not to be written to."""
        found = self.columns.get(name)
        return self._unreported if found is None else found

    @cached_property
    def _unreported(self) -> F8:
        return np.full(len(self.ts), np.nan)

    def reporting(self, names: tuple[str, ...], also: tuple[str, ...] = ()) -> TelemetryBatch:
        """Return only the rows that report at least one of `names`; no names: every row.

        Rows are left out with all columns but `names` and `also`: a fleet may have hundreds.
        """
        if not names:
            return self
        present = [self.columns[name] for name in names if name in self.columns]
        if not present:
            return self.take(np.zeros(len(self.ts), dtype=np.bool_))
        keep = ~np.isnan(present[0])
        for column in present[1:]:
            if keep.all():
                return self
            keep |= ~np.isnan(column)
        if keep.all():
            return self
        columns = {k: self.columns[k] for k in (*names, *also) if k in self.columns}
        return replace(self, columns=columns).take(keep)

    def take(self, keep: B1) -> TelemetryBatch:
        """Return the rows where `keep` [n] is true, still grouped by device."""
        device = self.device[keep]
        return TelemetryBatch(
            device=device,
            cohort=self.cohort[keep],
            ts=self.ts[keep],
            historical=self.historical[keep],
            columns={name: values[keep] for name, values in self.columns.items()},
            indptr=group_bounds(device),
            logs=None if self.logs is None else self.logs.take(keep),
        )


def group_bounds(device: I4) -> I8:
    """Return `indptr` [g + 1] of rows already grouped by `device` [n]."""
    if len(device) == 0:
        return np.zeros(1, dtype=np.int64)
    starts = np.flatnonzero(device[1:] != device[:-1]) + 1
    return np.concatenate(([0], starts, [len(device)])).astype(np.int64)
