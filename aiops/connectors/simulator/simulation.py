"""A simulated fleet as a source of telemetry: frames in the order in which a log took them.

All that lasts (wear, boots, outages, faults) is drawn beforehand, device by device; what is left
is noise, which each device takes from its own stream by blocks of ticks. So a device's rows do
not depend on the size of its fleet, memory does not grow with the count of frames, and a history
can be entered anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aiops.connectors.simulator.life import draw_life
from aiops.connectors.simulator.nature import DEVICE_METRICS, NORMALS, PART_METRICS, Nature
from aiops.connectors.simulator.nodes import build_inventory
from aiops.connectors.simulator.scenario import BLOCK_TICKS, Scenario
from aiops.connectors.simulator.streams import Streams, stream_key
from aiops.connectors.simulator.truth import build_truth
from aiops.engine.ports import Position
from aiops.errors import InputError
from aiops.fleet.inventory import Inventory
from aiops.kernels.rows import B1, F8, I8

Rows = dict[str, npt.NDArray[Any]]
"""Columns of one length: `_KEYS`, and canonical metrics (NaN: not reported)."""

_KEYS = ("device", "is_part", "ts", "recv_ms", "boot")
"""`ts` in ns since the epoch, `recv_ms` in ms since the start, `boot` a place among all boots."""
_METRICS = DEVICE_METRICS + PART_METRICS

TIME = pa.timestamp("ns", tz="UTC")
_CODED = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        *(pa.field(name, _CODED) for name in ("device_id", "part", "medium_id", "site", "cohort")),
        pa.field("ts", TIME),
        pa.field("recv_ts", TIME),
        pa.field("device.boot_id", _CODED),
        *(pa.field(name, pa.float64()) for name in _METRICS),
    ]
)
"""Of every frame: one row for a device or its part at an instant."""

_GARBAGE = (
    ("temperature.celsius", -127.0),
    ("device.uptime", 4_294_967_295.0),
    ("net.loss_ratio", 655.35),
    ("net.rssi_dbm", 127.0),
)
"""What broken sensors say."""

_LOST, _TWICE, _DISORDERED, _GARBLED = range(4)
_LONGEST_WAIT_MS = 600_000
"""Of a report that is neither out of order nor held back by its link."""


class Simulation:
    """A fleet and its history; a `Source`, with what is true of it besides."""

    def __init__(self, scenario: Scenario) -> None:
        """Draw the lives of all devices."""
        self.scenario = scenario
        self._interval_ms = scenario.interval_s * 1000
        self._keys = [stream_key(scenario.seed, i) for i in range(scenario.devices)]
        streams = Streams()
        lives = [draw_life(scenario, i, streams.at(key, 0)) for i, key in enumerate(self._keys)]
        self._lives = lives
        self._nature = Nature(scenario, lives)
        self._boot_id = [boot_id for life in lives for boot_id in life.boot_id]
        self._id = pa.array([life.id for life in lives])
        self._medium_id = pa.array([life.medium_id for life in lives])
        self._site, self._sites = _codes([scenario.site(life.site).name for life in lives])
        self._part, self._parts = _codes([life.model.part for life in lives])
        self._cohort, self._cohorts = _codes([life.cohort for life in lives])

    def inventory(self) -> Inventory:
        """Return the nodes and workloads of the fleet."""
        return build_inventory(self.scenario, self._lives)

    @cached_property
    def truth(self) -> pa.Table:
        """What is true of the fleet, of schema `TRUTH`."""
        return build_truth(self.scenario, self._lives)

    def true_wear(self, device: I8, ts: I8) -> F8:
        """Return the true wear of the flash of devices by number, at `ts` ns (same shapes)."""
        return self._nature.true_wear(device, ts // 1_000_000 - self._nature.start_ms)

    def frames(self, after: Position | None = None) -> Iterator[tuple[pa.Table, Position]]:
        """Yield each frame with the position at its end, beginning after `after`.

        The frame of position ``{"tick": n}`` ends with what the log took before tick `n`. The last
        one, after the last tick, is a row without device and time: the end of the history.

        Raises
        ------
        InputError
            `after` is no position of this scenario.
        """
        total = self.scenario.ticks
        done = 0 if after is None else after.get("tick")
        if not isinstance(done, int) or not 0 <= done <= total + 1:
            raise InputError(f"position {after}: this history has tick 0 to {total + 1}")
        if done < total:
            yield from self._frames(done)
        if done <= total:
            yield pa.Table.from_pylist([{}], SCHEMA), {"tick": total + 1}

    def _frames(self, done: int) -> Iterator[tuple[pa.Table, Position]]:
        step, total = self.scenario.frame_ticks, self.scenario.ticks
        # What comes late was measured before: begin early enough to have all that is under way.
        longest_ms = self._nature.cut_off.longest_ms + 4 * self._interval_ms + _LONGEST_WAIT_MS
        first = max(0, done * self._interval_ms - longest_ms) // self._interval_ms // BLOCK_TICKS
        streams = Streams()
        under_way: list[Rows] = []
        for block in range(first, -(-total // BLOCK_TICKS)):
            begin, end = block * BLOCK_TICKS, min((block + 1) * BLOCK_TICKS, total)
            rows = _stack([*under_way, *self._simulate(block, end - begin, streams)])
            arrived = rows["recv_ms"] < end * self._interval_ms
            under_way = [_take(rows, ~arrived)]
            if end <= done:
                continue
            rows = _take(rows, arrived)
            rows = _take(rows, np.argsort(rows["recv_ms"], kind="stable"))
            table = self._table(rows)
            ticks = [*range(begin + step, end, step), end]
            bounds = np.searchsorted(rows["recv_ms"], [t * self._interval_ms for t in ticks])
            for tick, low, high in zip(ticks, [0, *bounds[:-1]], bounds, strict=True):
                if tick > done:
                    yield table.slice(low, high - low), {"tick": tick}

    def _simulate(self, block: int, ticks: int, streams: Streams) -> list[Rows]:
        """Return what devices, parts and repeats report of one block of ticks, in any order."""
        nature, traits = self._nature, self._nature.traits
        normal, uniform = self._noise(block, ticks, streams)
        tick = block * BLOCK_TICKS + np.arange(ticks)
        ms: I8 = tick * self._interval_ms + traits.phase_ms.astype(np.int64)
        device = np.broadcast_to(np.arange(len(ms))[:, None], ms.shape)
        mess = np.searchsorted(np.cumsum(self.scenario.mess), uniform[:, 0], side="right")
        size = uniform[:, 1]

        cut, cut_start, cut_end = nature.cut_off.find(device, ms)
        live_ms = ms + 50 + (1950.0 * size**3).astype(np.int64)
        backlog_ms = cut_end + 1000 + (ms - cut_start) * 20 // self._interval_ms
        late_ms = (self._interval_ms * (1.0 + 2.0 * size)).astype(np.int64)
        recv_ms = np.where(cut, backlog_ms, live_ms) + np.where(mess == _DISORDERED, late_ms, 0)
        sent = (mess != _LOST) & ~nature.off.find(device, ms)[0]
        sent &= recv_ms < self.scenario.ticks * self._interval_ms
        sent &= ~cut | ((traits.stores > 0.0) & ~nature.off.find(device, recv_ms)[0])

        boot = nature.boots.last(device, ms)
        columns = nature.of_devices(ms, boot, cut, normal)
        for place, (name, value) in enumerate(_GARBAGE):
            columns[name][(mess == _GARBLED) & (size * len(_GARBAGE) // 1 == place)] = value
        uptime_ms = ms - nature.boots.ms[boot]
        in_1970 = nature.boot_bad_clock[boot] & (uptime_ms < self._interval_ms)
        columns["device.boot_time"][in_1970] = 0.0
        ts = np.where(in_1970, uptime_ms, nature.start_ms + ms) * 1_000_000

        is_part = np.zeros(ms.shape, dtype=np.bool_)
        keys = dict(zip(_KEYS, (device, is_part, ts, recv_ms, boot), strict=True))
        of_devices = _take(keys | columns, sent)

        # A device's report carries its flash now and then; the two share what befalls it.
        every = self.scenario.part_interval_s // self.scenario.interval_s
        due = sent & ((tick - traits.report_tick) % every == 0)
        of_parts = _take(keys, due) | nature.of_parts(device[due], ms[due], boot[due])
        delay_ms = traits.part_delay_ms[device[due], 0].astype(np.int64)
        of_parts["is_part"] = ~of_parts["is_part"]
        of_parts["ts"] += delay_ms * 1_000_000
        of_parts["recv_ms"] += delay_ms

        twice = sent & (mess == _TWICE)
        repeats = _take(keys | columns, twice)
        repeats["recv_ms"] += 1000 + (300_000.0 * size[twice]).astype(np.int64)
        return [of_devices, of_parts, repeats]

    def _noise(self, block: int, ticks: int, streams: Streams) -> tuple[F8, F8]:
        """Return normal [devices, NORMALS, ticks] and uniform [devices, 2, ticks] numbers."""
        normal = np.empty((len(self._keys), NORMALS, BLOCK_TICKS))
        uniform = np.empty((len(self._keys), 2, BLOCK_TICKS))
        for i, key in enumerate(self._keys):
            rng = streams.at(key, block + 1)
            rng.standard_normal(out=normal[i])
            rng.random(out=uniform[i])
        return normal[:, :, :ticks], uniform[:, :, :ticks]

    def _table(self, rows: Rows) -> pa.Table:
        device, is_part = rows["device"], rows["is_part"]
        boot, boot_code = np.unique(rows["boot"], return_inverse=True)
        boot_ids = pa.array([self._boot_id[place] for place in boot], pa.string())
        columns = [
            _coded(device, self._id),
            _coded(self._part[device], self._parts, ~is_part),
            _coded(device, self._medium_id, ~is_part),
            _coded(self._site[device], self._sites),
            _coded(self._cohort[device], self._cohorts),
            pa.array(rows["ts"], TIME),
            pa.array((rows["recv_ms"] + self._nature.start_ms) * 1_000_000, TIME),
            _coded(boot_code, boot_ids, is_part),
            *(pa.array(rows[name], from_pandas=True) for name in _METRICS),
        ]
        return pa.table(columns, schema=SCHEMA)


def _codes(values: Sequence[str]) -> tuple[I8, pa.Array]:
    names, code = np.unique(values, return_inverse=True)
    return code, pa.array(names.tolist(), pa.string())


def _coded(code: I8, values: pa.Array, absent: B1 | None = None) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(code.astype(np.int32), mask=absent), values)


def _take(rows: Rows, which: npt.NDArray[Any]) -> Rows:
    return {name: values[which] for name, values in rows.items()}


def _stack(tables: Sequence[Rows]) -> Rows:
    """Stack `tables`; a metric that one of them lacks is NaN there."""
    missing = [np.broadcast_to(np.nan, len(table["ts"])) for table in tables]
    return {
        name: np.concatenate([t.get(name, nan) for t, nan in zip(tables, missing, strict=True)])
        for name in (*_KEYS, *_METRICS)
    }
