"""From a decoded payload to a record of the log: whose rows they are, and how many may come.

What may not come in is refused with a reason, counted and kept to be looked at; the rest of its
payload goes on. Everything here is bounded whatever is sent: devices, series, names, rates.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aiops.connectors.wire.decoded import Decoded, Refused
from aiops.connectors.wire.packing import is_frame, pack
from aiops.errors import Busy, FrameError, PayloadError
from aiops.kernels.rows import B1, F8, I4, I8
from aiops.service.keys import Principal
from aiops.service.settings import Bounds
from aiops.telemetry.columns import Remembered, column_of, read_names
from aiops.telemetry.layout import NAMES, Layout
from aiops.telemetry.normalised import Encoded

U8 = npt.NDArray[np.uint64]

FOREIGN = "identity_mismatch"
OVER_QUOTA = "over_quota"
TOO_MANY_DEVICES = "too_many_devices"
TOO_MANY_SERIES = "too_many_series"
TOO_MANY_METRICS = "too_many_metrics"
NO_DEVICE = "no_device"
ALL_NAMES = frozenset(name for names in NAMES.values() for name in names)
"""Of columns that may be taken for something."""


@dataclass(frozen=True)
class Prepared:
    """What of a payload goes into the log."""

    body: bytes
    """Of a telemetry record; empty: nothing is left."""
    rows: int
    refused: tuple[Refused, ...]
    """By the codec and here."""
    error: PayloadError | Busy | None = None
    """What its sender is to be told where nothing is left of it; None: what was refused."""


class Intake:
    """Checks payloads against who sent them and how much there may be.

    Safe to use from several threads.

    Parameters
    ----------
    bounds
        How much there may be.
    columns
        Role -> column, where the operator overrules the guess.
    clock
        Monotonic, in s.
    """

    def __init__(
        self,
        bounds: Bounds,
        columns: dict[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds = bounds
        self._columns = dict(columns or {})
        self._clock = clock
        self._lock = threading.Lock()
        self._devices: dict[str, int] = {}
        self._places: Remembered[I4] = Remembered()
        self._metrics: set[str] = set()
        self._series = SeriesSet(bounds.series)
        self._tokens = np.zeros(0)
        self._filled_s = np.zeros(0)
        self._owns = np.zeros(0, np.int32)
        self._layouts: dict[pa.Schema, tuple[Layout, list[str] | None]] = {}
        self.counts: Counter[str] = Counter()
        """Rows refused, by reason."""

    @property
    def devices(self) -> int:
        """How many devices have been heard since the start."""
        return len(self._devices)

    @property
    def series(self) -> int:
        """How many series have been heard since the start."""
        return self._series.size

    def prepare(self, who: Principal, decoded: Decoded, original: bytes | None = None) -> Prepared:
        """Return what of a payload may go into the log.

        `original` is the payload itself where it is an Arrow IPC stream already, of one table: it
        goes into the log as it is if nothing of it is refused and nothing follows its end.

        Raises
        ------
        PayloadError
            A frame has no device or no time.
        """
        refused: Counter[str] = Counter()
        examples: dict[str, str] = {}
        kept: list[pa.Table] = []
        wait_s = 0.0
        with self._lock:
            for table in decoded.tables:
                layout, names = self._layout(table.schema)
                keep, waits_s = self._check(who, table, layout, refused, examples)
                wait_s = max(wait_s, waits_s)
                if names is not None:
                    table, original = table.rename_columns(names), None
                if keep is None:
                    kept.append(table)
                elif keep.any():
                    kept.append(table.filter(pa.array(keep)))
            self.counts.update(refused)
            for one in decoded.refused:
                self.counts["undecodable"] += one.count
        told = [Refused(reason, n, examples[reason]) for reason, n in refused.items()]
        error = None if kept else self._nothing_left(who, refused, examples, wait_s)
        if original is None or told or decoded.refused or not kept or not is_frame(original, *kept):
            original = pack(kept) if kept else b""
        return Prepared(original, sum(map(len, kept)), (*decoded.refused, *told), error)

    def _nothing_left(
        self, who: Principal, refused: Counter[str], examples: dict[str, str], wait_s: float
    ) -> PayloadError | Busy | None:
        """Return what to tell a sender of whose payload no row was taken, if there is more to say.

        Busy where the device sends more than it may: when to come again, it says.
        """
        if refused and refused[OVER_QUOTA] == refused.total():
            return Busy(
                f"{examples[OVER_QUOTA]} sends more than {self._bounds.device_rows_per_s:g} rows a "
                f"second",
                retry_after_s=max(1.0, wait_s),
            )
        if refused and refused[FOREIGN] == refused.total():
            return PayloadError(
                f"every row is of a device that {who.name} may not write for, such as "
                f"{examples[FOREIGN]!r}"
            )
        return None

    def _check(
        self,
        who: Principal,
        table: pa.Table,
        layout: Layout,
        refused: Counter[str],
        examples: dict[str, str],
    ) -> tuple[B1 | None, float]:
        """Return which rows [n] may be kept (None: all), and when an over-eager one may go on."""
        device = read_names(column_of(table, layout.device))
        keep: B1 | None = None
        wait_s = 0.0

        def refuse(reason: str, wrong: B1, example: str) -> None:
            nonlocal keep
            before = np.ones(len(table), np.bool_) if keep is None else keep
            n = int(np.count_nonzero(wrong & before))
            if n:
                refused[reason] += n
                examples.setdefault(reason, example)
                keep = before & ~wrong

        unnamed = device.code < 0
        if unnamed.any():  # only the service itself speaks for nobody
            refuse(NO_DEVICE, unnamed, "")
        foreign = self._foreign(who, device)
        if foreign is not None:
            mask = foreign[device.code] & ~unnamed
            refuse(FOREIGN, mask, device.value[int(device.code[np.argmax(mask)])])
        index = self._index(device, foreign)
        if (index[:-1] < 0).any():
            over = (index < 0)[device.code] & ~unnamed & (True if keep is None else keep)
            refuse(TOO_MANY_DEVICES, over, f"more than {self._bounds.devices}")
        wrong = self._names(table, layout)
        if wrong is not None:
            refuse(TOO_MANY_METRICS, wrong, f"more than {self._bounds.metrics}")
        if layout.is_long or layout.part or layout.medium:
            surplus = self._surplus(table, layout, device, index, keep)
            if surplus is not None:
                refuse(TOO_MANY_SERIES, surplus, f"more than {self._bounds.series_per_device}")
        spent, wait_s = self._spend(device, index, keep)
        if spent is not None:
            mask = spent[device.code] & ~unnamed
            refuse(OVER_QUOTA, mask, device.value[int(np.argmax(spent[:-1]))])
        return keep, wait_s

    def _layout(self, schema: pa.Schema) -> tuple[Layout, list[str] | None]:
        """Return the layout of a frame, and names of its columns by which all others guess it.

        None: they would guess it already. Whose a row is must not be one thing here and another
        to whoever reads the log.
        """
        bare = schema.remove_metadata()
        known = self._layouts.get(bare)
        if known is None:
            asked = {r: c for r, c in self._columns.items() if c in schema.names}
            try:
                layout = Layout.guess(schema, **asked)
                names = _plainly(schema, layout) if asked else None
            except FrameError as error:
                raise PayloadError(str(error)) from error
            if len(self._layouts) >= 256:
                self._layouts.clear()
            known = self._layouts[bare] = layout, names
        return known

    def _foreign(self, who: Principal, device: Encoded) -> B1 | None:
        """Return which names [k + 1] the sender may not write for; None: it may for all."""
        if "*" in who.patterns:
            return None
        allowed = np.fromiter(map(who.may_write, device.value), np.bool_, len(device.value))
        return None if allowed.all() else np.append(~allowed, False)

    def _index(self, device: Encoded, foreign: B1 | None) -> I4:
        """Return the place [k + 1] of each name among all devices; -1: none, or none is left."""
        names = device.value
        remembered = self._places.get(id(names))
        if remembered is not None:
            return remembered
        known = self._devices
        place = np.fromiter((known.get(name, -1) for name in names), np.int32, len(names))
        missing = np.flatnonzero(place < 0)
        if len(missing):
            for k in missing.tolist():
                name = names[k]
                if not name or (foreign is not None and foreign[k]):
                    continue
                if len(known) >= self._bounds.devices:
                    break
                place[k] = known[name] = len(known)
            self._grow()
        place = np.append(place, np.int32(-1))
        if (place[:-1] >= 0).all():
            self._places.put(id(names), place, len(names), names)
        return place

    def _grow(self) -> None:
        missing = len(self._devices) - len(self._tokens)
        if missing > 0:
            more = max(missing, len(self._tokens), 1024)
            burst, now = float(self._bounds.device_burst_rows), self._clock()
            self._tokens = np.append(self._tokens, np.full(more, burst))
            self._filled_s = np.append(self._filled_s, np.full(more, now))
            self._owns = np.append(self._owns, np.zeros(more, np.int32))

    def _names(self, table: pa.Table, layout: Layout) -> B1 | None:
        """Learn the names of metrics; return the rows [n] of names that are too many."""
        if not layout.is_long:
            roles = set(layout.columns.values())
            names: Sequence[str] = [name for name in table.schema.names if name not in roles]
            if self._learn(names):
                return np.ones(len(table), np.bool_)
            return None
        metric = read_names(column_of(table, str(layout.metric)))
        over = self._learn(metric.value)
        if not over:
            return None
        hit = np.array([*(name in over for name in metric.value), False])
        return hit[metric.code]

    def _learn(self, names: Sequence[str]) -> set[str]:
        """Remember names; return those for which there is no room."""
        new = set(names) - self._metrics
        if not new:
            return new
        room = self._bounds.metrics - len(self._metrics)
        taken = sorted(new)[: max(room, 0)]
        self._metrics.update(taken)
        return new.difference(taken)

    def _surplus(
        self, table: pa.Table, layout: Layout, device: Encoded, index: I4, keep: B1 | None
    ) -> B1 | None:
        """Return the rows [n] of series beyond what a device, or all of them, may have."""
        keys = _hashes(device)
        for column in (layout.metric, layout.labels, layout.part, layout.medium):
            if column is not None:
                keys = keys * np.uint64(0x9E3779B97F4A7C15) ^ _hashes(
                    read_names(column_of(table, column))
                )
        unseen = self._series.unseen(keys)
        if keep is not None:
            unseen &= keep
        if not unseen.any():
            return None
        at = np.flatnonzero(unseen)
        _, first = np.unique(keys[at], return_index=True)
        rows = at[np.sort(first)]
        owner = index[device.code[rows]]
        order = np.argsort(owner, kind="stable")
        ranked = owner[order]
        rank = np.empty(len(rows), np.int64)
        rank[order] = np.arange(len(rows)) - np.searchsorted(ranked, ranked)
        fits = (owner >= 0) & (self._owns[owner] + rank < self._bounds.series_per_device)
        fits &= np.cumsum(fits) <= self._series.room
        np.add.at(self._owns, owner[fits], 1)
        self._series.add(keys[rows[fits]])
        if fits.all():
            return None
        surplus: B1 = unseen & self._series.unseen(keys)
        return surplus

    def _spend(self, device: Encoded, index: I4, keep: B1 | None) -> tuple[B1 | None, float]:
        """Take the rows from their devices' allowances; return who [k + 1] has none left.

        A device may go into debt with one payload, and then waits until that is paid back.
        """
        code = device.code if keep is None else device.code[keep]
        rows = np.bincount(code + 1, minlength=len(device.value) + 1)[1:]
        present = np.flatnonzero((rows > 0) & (index[:-1] >= 0))
        if not len(present):
            return None, 0.0
        at, now = index[present], self._clock()
        rate, burst = self._bounds.device_rows_per_s, float(self._bounds.device_burst_rows)
        tokens: F8 = np.minimum(burst, self._tokens[at] + rate * (now - self._filled_s[at]))
        self._filled_s[at] = now
        able = tokens > 0
        self._tokens[at] = np.where(able, tokens - rows[present], tokens)
        if able.all():
            return None, 0.0
        spent = np.zeros(len(index), np.bool_)
        spent[present[~able]] = True
        return spent, float(-tokens[~able].min() / rate)


def _plainly(schema: pa.Schema, layout: Layout) -> list[str] | None:
    """Return names under which a layout is guessed that somebody asked for; None: as it is.

    Raises
    ------
    PayloadError
        There are none: a column cannot play the role that it was given.
    """
    with suppress(FrameError):  # then nothing can be guessed as it is
        if Layout.guess(schema).columns == layout.columns:
            return None
    role_of = {column: role for role, column in layout.columns.items()}
    taken = {NAMES[role][0] for role in role_of.values()}
    names = [
        NAMES[role_of[name]][0]
        if name in role_of
        else f"{name}.told"
        if name.casefold() in ALL_NAMES
        else name
        for name in schema.names
    ]
    guessed = Layout.guess(pa.schema(list(zip(names, schema.types, strict=True))))
    if set(guessed.columns.values()) != taken:
        raise PayloadError(
            f"the settings say that {layout}; these columns cannot all be that: change "
            "engine.columns, or the frame"
        )
    return names


class SeriesSet:
    """Which series have been heard, as 64-bit hashes in a table of fixed size.

    Two series of one hash count as one; with three million that happens once in 4 million fleets.
    """

    PROBES = 64

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        self._slots: U8 = np.zeros(1 << (2 * most - 1).bit_length(), np.uint64)

    @property
    def room(self) -> int:
        """How many more there may be."""
        return self.most - self.size

    def unseen(self, keys: U8) -> B1:
        """Return which keys [n] are not in it."""
        found, _ = self._find(keys)
        return ~found

    def add(self, keys: U8) -> None:
        """Put distinct keys in that are not in it; those that find no slot are left out."""
        while len(keys):
            found, slot = self._find(keys)
            able = np.flatnonzero(~found & (slot >= 0))
            _, first = np.unique(slot[able], return_index=True)  # two may want one slot
            chosen = able[first]
            self._slots[slot[chosen]] = np.where(keys[chosen] == 0, np.uint64(1), keys[chosen])
            self.size += len(chosen)
            keys = np.delete(keys[able], first)

    def _find(self, keys: U8) -> tuple[B1, I8]:
        """Return which keys [n] are in it, and for the others a slot, or -1."""
        keys = np.where(keys == 0, np.uint64(1), keys)
        mask = np.uint64(len(self._slots) - 1)
        slot = (keys >> np.uint64(7)) & mask
        held = self._slots[slot]
        found: B1 = held == keys
        free: I8 = np.where(held == 0, slot.astype(np.int64), -1)
        open_ = np.flatnonzero(~found & (free < 0))
        for _ in range(self.PROBES):
            if not len(open_):
                break
            slot[open_] = (slot[open_] + np.uint64(1)) & mask
            held = self._slots[slot[open_]]
            found[open_] = held == keys[open_]
            free[open_] = np.where(held == 0, slot[open_].astype(np.int64), -1)
            open_ = open_[(held != keys[open_]) & (held != 0)]
        return found, free


_HASHES: Remembered[U8] = Remembered()


def _hashes(names: Encoded) -> U8:
    """Return a hash of the name of each row [n]; 0 where there is none."""
    of = _HASHES.get(id(names.value))
    if of is None:
        told = (hash(name) & 0xFFFFFFFFFFFFFFFF for name in names.value)
        of = np.append(np.fromiter(told, np.uint64), np.uint64(0))
        _HASHES.put(id(names.value), of, len(names.value), names.value)
    return of[names.code]
