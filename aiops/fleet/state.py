"""FleetState: everything remembered between frames, behind two verbs, `admit` and `recall`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aiops.errors import CheckpointError, StateMismatch
from aiops.fleet.buffer import Chunk, merge, split
from aiops.fleet.inventory import Inventory
from aiops.fleet.logs import Logs
from aiops.fleet.media import Media
from aiops.fleet.open_metrics import OpenMetrics
from aiops.fleet.owner import Epoch, FleetShape, Owner, settings_hash
from aiops.fleet.registry import Registry
from aiops.fleet.series import DERIVED, Rejected, SeriesState
from aiops.kernels.admission import (
    BEST_DEVICE,
    FIRST_OPEN,
    NOBODY,
    WATERMARK,
    advance_clock,
)
from aiops.kernels.rows import B1, I4, I8
from aiops.telemetry.batch import TelemetryBatch, group_bounds
from aiops.telemetry.normalised import NO_TIME, SET_ASIDE, NormalisedFrame, SparseColumn
from aiops.telemetry.vocabulary import VOCABULARY

M = TypeVar("M", bound=tuple[Any, ...])

SECOND_NS = 1_000_000_000
END_LEAD_NS = 366 * 86_400 * SECOND_NS
"""How far the last row of a history may lead all other devices and still be believed."""


@dataclass(frozen=True)
class ClosedEpoch:
    """An epoch no further row can enter, ready to be judged."""

    epoch: Epoch
    batch: TelemetryBatch
    set_aside: pa.Table
    """What was refused since the last closed epoch; schema `SET_ASIDE` without ``at``."""
    opened: frozenset[str] = frozenset()
    """Columns of the batch that nobody knows: they have the name they came by."""
    renamed: tuple[str, ...] = ()
    """Such columns of earlier epochs that nothing comes under any more."""

    @property
    def watched(self) -> frozenset[str]:
        """Columns of which the normal of each device is to be learnt."""
        known = self.batch.columns.keys() & VOCABULARY.keys()
        return self.opened | {name for name in known if VOCABULARY[name].watched}


@dataclass(frozen=True)
class Admitted:
    """What a frame led to."""

    epochs: tuple[ClosedEpoch, ...]
    """The epochs that its rows closed, oldest first."""


class FleetState:
    """Identities, clock, open epochs, series and detector memory of a whole fleet.

    Rows wait until their epoch closes, so that what is found depends on the set of rows in the
    log and not on how it was cut. An epoch in which nothing came is never closed: nothing can be
    said of it.
    """

    def __init__(
        self,
        tracked: Iterable[str],
        inventory: Inventory | None = None,
        epoch_s: int = 60,
        lateness_s: int = 120,
        open_metrics_max: int = 0,
    ) -> None:
        self.registry = Registry(inventory or Inventory())
        self.series = SeriesState(frozenset(tracked))
        asked = self.series.tracked - VOCABULARY.keys() - DERIVED
        self.opened = OpenMetrics(asked, open_metrics_max, DERIVED)
        self.series.open(self.opened.names)
        self.logs = Logs()
        self.epoch_ns = epoch_s * SECOND_NS
        self.media = Media(self.registry, self.series.tracked, self.epoch_ns)
        self.lateness_ns = lateness_s * SECOND_NS
        self.counts: Counter[str] = Counter()
        """Everything ever set aside, by reason; and ``rows``, all rows taken."""
        self.unknown: Counter[str] = Counter()
        """Columns or metric names nobody knows, with how many values they carried."""
        self._clock = np.full(6, NO_TIME, dtype=np.int64)
        self._clock[BEST_DEVICE] = NOBODY
        self._open: dict[int, list[Chunk]] = {}
        self._known = 0
        self._aside: list[tuple[int, pa.Table]] = []
        self._memory: dict[str, tuple[int, str, tuple[Any, ...]]] = {}

    @property
    def clock(self) -> int:
        """Watermark, ns: confirmed by a second device or by the log's own stamps."""
        return int(self._clock[WATERMARK])

    # -- the two verbs ------------------------------------------------------------------------

    def admit(self, frame: NormalisedFrame) -> Admitted:
        """Take the rows of a frame in log order; return the epochs they close.

        The arrays of the frame are the fleet's from now on, and may be written to.
        """
        ends = np.flatnonzero(
            (frame.device_id.code < 0) & (frame.ts == NO_TIME) & (frame.recv_ts == NO_TIME)
        )
        if not len(ends):
            return Admitted(tuple(self._admit(frame, ends=False)))
        closed: list[ClosedEpoch] = []
        start = 0
        for stop in (ends + 1).tolist():  # a history ends where it says so, not with its frame
            closed.extend(self._admit(frame.window(start, stop), ends=True))
            start = stop
        if start < len(frame):
            closed.extend(self._admit(frame.window(start, len(frame)), ends=False))
        return Admitted(tuple(closed))

    def recall(self, owner: Owner[M]) -> M:
        """Return the memory of `owner`, with room for every identity known by now.

        Raises
        ------
        StateMismatch
            The memory was saved under other settings or another version.
        """
        version, digest = owner.version, settings_hash(owner)  # type: ignore[arg-type]  # frozen settings are hashable
        capacity = max(64, self.series.capacity)
        filed = self._memory.get(owner.name)
        if filed is None:
            memory = owner.init(FleetShape(capacity))
        else:
            if filed[:2] != (version, digest):
                raise StateMismatch(
                    f"{owner.name}: its memory was saved by version {filed[0]} with settings "
                    f"{filed[1]}, this is version {version} with settings {digest}; run it with "
                    f"the old settings, rebuild it by replaying the log, or drop it explicitly"
                )
            memory = filed[2]  # type: ignore[assignment]
            if isinstance(filed[2], _Saved) or len(memory[0]) < capacity:
                memory = _grown(memory, owner.init(FleetShape(capacity)))
        self._memory[owner.name] = (version, digest, memory)
        return memory

    def remembers(self, owner: Owner[Any]) -> bool:
        """Say whether there is a memory of `owner`: it has been recalled before, or was saved."""
        return owner.name in self._memory

    def forget(self, owner: Owner[M]) -> None:
        """Drop the memory of `owner`, if there is any."""
        self._memory.pop(owner.name, None)

    # -- admission, step by step --------------------------------------------------------------

    def _admit(self, frame: NormalisedFrame, ends: bool) -> list[ClosedEpoch]:
        """Take rows among which only the last may end a history."""
        n = len(frame)
        device = self.registry.resolve(frame)
        size = len(self.registry)
        if size > self.series.capacity:
            self.series.grow(max(64, 1 << (size - 1).bit_length()))
        heartbeat = device < 0
        root = self.registry.root[device] if size else device.copy()
        root[heartbeat] = -1
        first_open = np.empty(n, dtype=np.int64)
        vouched = np.empty(n, dtype=np.int64)
        opened = int(self._clock[FIRST_OPEN])
        advance_clock(
            root,
            frame.ts,
            frame.recv_ts,
            self._clock,
            self.epoch_ns,
            self.lateness_ns,
            END_LEAD_NS,
            first_open,
            vouched,
        )
        self._take_rows(frame, device, heartbeat, first_open)
        self._take_set_aside(frame, first_open, opened)
        if ends:
            self._end_history(first_open[-1], first_open[-2] if n > 1 else opened)
        closed = []
        for epoch in sorted(e for e in self._open if e < self._clock[FIRST_OPEN]):
            # The clock is what it was when the closing row came, whatever else the frame holds:
            # the cut of the log must not show.
            closer = int(np.searchsorted(first_open, epoch, side="right"))
            closed.append(self._close(epoch, int(vouched[closer])))
        if ends and self._aside:
            closed = self._hand_over_rest(closed)
        return closed

    def _take_rows(self, frame: NormalisedFrame, device: I4, heartbeat: B1, first_open: I8) -> None:
        """File the rows of devices under their epochs; heartbeats touch theirs."""
        own = frame.ts // self.epoch_ns
        beats = frame.recv_ts // self.epoch_ns
        touched = heartbeat & (frame.recv_ts != NO_TIME) & (beats >= first_open)
        for epoch in np.unique(beats[touched]).tolist():
            self._open.setdefault(epoch, [])
        keep = np.flatnonzero(~heartbeat)
        self.counts["rows"] += len(keep)
        if not len(keep):
            return
        columns = {
            name: column
            for name, column in frame.columns.items()
            if name.partition("/")[0] in self.series.tracked
        }
        ts, opened, logs = frame.ts, frame.open, frame.logs
        if len(keep) < len(device):
            place = np.full(len(device), -1, dtype=np.int64)
            place[keep] = np.arange(len(keep))
            opened = None if opened is None else opened.moved(place)
            logs = None if logs is None else logs.moved(place)
            device, ts, own = device[keep], ts[keep], own[keep]
            first_open = first_open[keep]
            columns = {name: _kept(column, keep) for name, column in columns.items()}
        historical = own < first_open
        self.counts["historical"] += int(np.count_nonzero(historical))
        epochs = np.where(historical, first_open, own)
        for epoch, chunk in split(epochs, Chunk(device, ts, historical, columns, opened, logs)):
            self._open.setdefault(epoch, []).append(chunk)

    def _take_set_aside(self, frame: NormalisedFrame, first_open: I8, opened: int) -> None:
        """Keep what normalisation refused until an epoch closes at or after it."""
        self.unknown.update(frame.unknown)
        table = frame.set_aside
        if not len(table):
            return
        for row in pc.value_counts(table["reason"]).to_pylist():
            self.counts[row["values"]] += row["counts"]
        at = table["at"].to_numpy()
        tag = np.concatenate(([opened], first_open))[np.minimum(at, len(first_open))]
        for value in np.unique(tag).tolist():
            part = table.drop_columns(["at"]).filter(pa.array(tag == value))
            self._aside.append((value, part))

    def _end_history(self, first_open: int, opened: int) -> None:
        """Set aside rows too far beyond the end to be believed; let the end close an epoch."""
        for epoch in sorted(e for e in self._open if e >= first_open):
            merged = merge(self._open.pop(epoch), len(self.registry))
            value = np.full(len(merged.ts), np.nan)
            rejected = Rejected("ahead_of_clock", "", merged.device, merged.ts, value)
            self._aside.append((int(first_open) - 1, self._table([rejected])))
        if first_open > opened:
            self._open.setdefault(int(first_open) - 1, [])

    def _hand_over_rest(self, closed: list[ClosedEpoch]) -> list[ClosedEpoch]:
        """Give what is still set aside to the last epoch of a history, or to an empty one."""
        rest = [table for _, table in self._aside]
        self._aside = []
        if closed:
            last = closed.pop()
            rest.append(last.set_aside)
            return [*closed, replace(last, set_aside=_sorted(pa.concat_tables(rest)))]
        empty = np.zeros(0, dtype=np.int32)
        batch = TelemetryBatch(
            empty, empty, empty.astype(np.int64), empty.astype(np.bool_), {}, group_bounds(empty)
        )
        epoch = Epoch(0, self.epoch_ns, 0, 0, empty, empty, empty)
        return [ClosedEpoch(epoch, batch, _sorted(pa.concat_tables(rest)))]

    def _close(self, index: int, vouched: int) -> ClosedEpoch:
        merged = merge(self._open.pop(index), len(self.registry))
        opened = self.opened.take(merged)
        self.unknown.update(opened.unknown)
        self.series.open(self.opened.names)
        merged.columns.update(opened.columns)
        merged.duplicate.update(opened.duplicate)
        columns, rejected = self.series.admit(merged)
        registry = self.registry
        logs = self.logs.take(merged, registry)
        columns.update(logs.columns)
        rejected += logs.rejected
        batch = TelemetryBatch(
            device=merged.device,
            cohort=registry.cohort[merged.device],
            ts=merged.ts,
            historical=merged.historical,
            columns=columns,
            indptr=group_bounds(merged.device),
            logs=logs.batch,
        )
        if len(merged.device):
            self._known = max(self._known, int(merged.device[-1]) + 1)
        size = self._known  # who has been in an epoch, not who is only in the log
        end = (index + 1) * self.epoch_ns
        clock = min(end, max(vouched, 0))
        self.media.see(batch)
        epoch = Epoch(
            index * self.epoch_ns,
            end,
            clock,
            size,
            registry.root[:size],
            registry.site[:size],
            registry.cohort[:size],
            self.media.replaced,
        )
        tables = [table for tag, table in self._aside if tag <= index]
        self._aside = [item for item in self._aside if item[0] > index]
        tables.append(self._table(rejected))
        aside = _sorted(pa.concat_tables(tables))
        return ClosedEpoch(epoch, batch, aside, frozenset(opened.columns), opened.renamed)

    def _table(self, rejected: list[Rejected]) -> pa.Table:
        tables = [SET_ASIDE.remove(0).empty_table()]
        names = self.registry.identities
        for reason, metric, device, ts, value in rejected:
            self.counts[reason] += len(device)
            tables.append(
                pa.table(
                    {
                        "reason": pa.array([reason] * len(device), pa.string()),
                        "device_id": pa.array([names[d][0] for d in device], pa.string()),
                        "part": pa.array([names[d][1] for d in device], pa.string()),
                        "ts": pa.array(ts),
                        "metric": pa.array([metric] * len(device), pa.string()),
                        "value": pa.array([repr(v) for v in value.tolist()], pa.string()),
                    }
                )
            )
        return pa.concat_tables(tables)

    # -- saving -------------------------------------------------------------------------------

    def save(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return all state as named arrays and plain values.

        Raises
        ------
        CheckpointError
            A memory holds Python objects, as that of river guests.
        """
        arrays: dict[str, Any] = {"clock": self._clock, **self.media.save()}
        size = len(self.registry)
        for name, array in self.series.arrays.items():
            arrays[f"series/{name}"] = array[:size]
        arrays.update(self.logs.save())
        filed = {}
        for name, (version, digest, memory) in self._memory.items():
            filed[name] = {"version": version, "settings": digest}
            if any(array.dtype == object for array in memory):
                raise CheckpointError(
                    f"{name} keeps Python objects, which a checkpoint cannot hold: it has no "
                    f"pickle. Guests are for notebooks and benchmarks; run them without state, or "
                    f"train a model in batch and freeze it"
                )
            for label, array in zip(_names(memory), memory, strict=True):
                arrays[f"memory/{name}/{label}"] = array[:size]
        buffered = []
        for epoch, chunks in self._open.items():
            told = [chunk.save(f"open/{epoch}/{k}", arrays) for k, chunk in enumerate(chunks)]
            buffered.append([epoch, told])
        values = {
            "epoch_ns": self.epoch_ns,
            "lateness_ns": self.lateness_ns,
            "tracked": sorted(self.series.tracked),
            "registry": self.registry.save(),
            "memory": filed,
            "open": buffered,
            "known": self._known,
            "opened": self.opened.save(),
            "logs": self.logs.templates.save(),
            "aside": [[tag, table.to_pylist()] for tag, table in self._aside],
            "counts": dict(self.counts),
            "unknown": dict(self.unknown),
        }
        return arrays, values

    def restore(self, arrays: dict[str, Any], values: dict[str, Any]) -> None:
        """Become the state that was saved; memory is checked when its owner recalls it."""
        asked = (self.epoch_ns, self.lateness_ns, sorted(self.series.tracked))
        found = (values["epoch_ns"], values["lateness_ns"], values["tracked"])
        if asked != found:
            raise CheckpointError(
                f"the checkpoint was made with epoch, lateness and metrics {found}, this engine "
                f"has {asked}; run with the same settings, or start a new state directory"
            )
        self._clock = arrays["clock"]
        self.registry.restore(values["registry"])
        self.media.restore(arrays)
        size = len(self.registry)
        self.opened.restore(values["opened"])
        self.series.open(self.opened.names)
        self.logs.restore(arrays, values["logs"])
        self.series.capacity = 0
        self.series.arrays = {name: arrays[f"series/{name}"] for name in self.series.arrays}
        self.series.grow(max(64, 1 << max(size - 1, 0).bit_length()))
        self._memory = {
            name: (filed["version"], filed["settings"], _Saved.of(name, arrays))
            for name, filed in values["memory"].items()
        }
        self._open = {
            epoch: [Chunk.restore(f"open/{epoch}/{k}", arrays, one) for k, one in enumerate(told)]
            for epoch, told in values["open"]
        }
        schema = SET_ASIDE.remove(0)
        self._aside = [
            (tag, pa.Table.from_pylist(rows, schema=schema)) for tag, rows in values["aside"]
        ]
        self._known = values["known"]
        self.counts = Counter(values["counts"])
        self.unknown = Counter(values["unknown"])


class _Saved(tuple[Any, ...]):
    """A memory read back: arrays by name, until its owner recalls it and gives it its type."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, owner: str, arrays: dict[str, Any]) -> _Saved:
        prefix = f"memory/{owner}/"
        found = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        saved = cls(found.values())
        saved.names = tuple(found)
        return saved


def _names(memory: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the names of a memory's arrays, also of one that nobody has recalled yet."""
    names: tuple[str, ...]
    names = memory.names if isinstance(memory, _Saved) else memory._fields  # type: ignore[attr-defined]
    return names


def _grown(memory: tuple[Any, ...], empty: M) -> M:
    """Return `empty` with the rows of `memory` in it."""
    for name, old in zip(_names(memory), memory, strict=True):
        new = getattr(empty, name)
        new[: len(old)] = old
    return empty


def _kept(column: SparseColumn, keep: I8) -> SparseColumn:
    """Return the column on the rows `keep` only, renumbered."""
    if column.row is None:
        return SparseColumn(None, column.value[keep])
    place = np.searchsorted(keep, column.row)
    found = place < len(keep)
    found[found] = keep[place[found]] == column.row[found]
    return SparseColumn(place[found].astype(np.int32), column.value[found])


def _sorted(table: pa.Table) -> pa.Table:
    """Order what was set aside by content, so that the cut and order of rows do not show."""
    if len(table) < 2:
        return table.combine_chunks()
    keys = [(name, "ascending") for name in table.column_names]
    return table.sort_by(keys).combine_chunks()
