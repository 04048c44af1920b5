"""`Normality` as a contender, as it runs in the engine: rows in time order, epochs that close.

Each series is a device of its own, in a cohort of its own, so that nothing is known but its past;
the metrics of a server are judged one by one. One configuration, that of a metric nobody
configured, for all of them. A second row at one instant is set aside, as the engine does. Epochs
are of a day: a cohort of one has nothing to seal but its line, which is laid once a day.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import numpy as np
from _detection_data import BEGIN_NS, MINUTE_NS, Series
from _detection_peers import Contender, Said

from aiops.detectors.normality import Normality
from aiops.detectors.normality_cohort import score_rows
from aiops.detectors.protocol import Epoch, FleetShape
from aiops.kernels.rows import F8, I4, I8
from aiops.telemetry.batch import TelemetryBatch, group_bounds

METRIC = "value"
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
LEARNT_TICKS = 40
"""Before speed is measured: code is compiled, and the first rows, which are easier, are over."""


def normality(**settings: Any) -> Normality:
    """Return the detector; `settings` are those of an ablation."""
    return dataclasses.replace(Normality(metric=METRIC), **settings)


def views() -> tuple[str, ...]:
    """Return the names of the views that the detector sums."""
    return tuple(normality().views)


def contender(name: str, **settings: Any) -> Contender:
    """Return the detector as something that scores, series with the same times in one fleet."""
    detector = normality(**settings)

    def judge(series: Sequence[Series]) -> list[Said]:
        said: list[Said] = []
        for _, group in groupby(series, key=lambda one: id(one.ts)):
            some = list(group)
            scores, states = played(detector, some[0].ts, np.array([s.value for s in some]))
            said.extend(map(Said, scores, states))
        return said

    return Contender(name, judge)


def played(detector: Normality, ts: I8, value: F8) -> tuple[F8, F8]:
    """Return scores and states [m, n] of the values [m, n] of m devices that report at `ts` [n]."""
    devices = len(value)
    memory = detector.init(FleetShape(devices))
    score, state = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    rows = np.flatnonzero(np.concatenate(([True], ts[1:] > np.maximum.accumulate(ts)[:-1])))
    for part in np.split(rows, np.flatnonzero(np.diff(ts[rows] // DAY_NS)) + 1):
        batch = batch_of(ts[part], value[:, part])
        judged = detector.judge(memory, batch, views=False)
        score_rows(batch, judged.scores, memory)
        score[:, part] = judged.scores.score.reshape(devices, -1)
        state[:, part] = judged.state.reshape(devices, -1)
        detector.close(memory, epoch_of(devices, int(ts[part[-1]]), DAY_NS))
    return score, state


def batch_of(ts: I8, value: F8) -> TelemetryBatch:
    """Return the batch of m devices that report `value` [m, n] at `ts` [n]."""
    devices, n = value.shape
    device = np.repeat(np.arange(devices, dtype=np.int32), n)
    return TelemetryBatch(
        device=device,
        cohort=device.copy(),
        ts=np.tile(ts, devices),
        historical=np.zeros(devices * n, dtype=np.bool_),
        columns={METRIC: np.ascontiguousarray(value).ravel()},
        indptr=group_bounds(device),
    )


def epoch_of(devices: int, clock: int, length: int, cohort: I4 | None = None) -> Epoch:
    """Return the epoch that `clock` is in, of devices that are no parts and have no site."""
    own = np.arange(devices, dtype=np.int32)
    nowhere = np.full(devices, -1, dtype=np.int32)
    start = clock // length * length
    cohort = own if cohort is None else cohort
    return Epoch(start, start + length, clock, devices, own, nowhere, cohort)


# -- speed ----------------------------------------------------------------------------------------


def speed(devices: int, ticks: int, seed: int) -> dict[str, float]:
    """Return samples a second of CPU, a row a device and tick, and bytes a series."""
    rng = np.random.default_rng(seed)
    detector = normality()
    memory = detector.init(FleetShape(devices))
    level = rng.uniform(10.0, 90.0, devices)
    batches = [
        batch_of(
            np.array([BEGIN_NS + tick * MINUTE_NS]),
            (level + rng.normal(0.0, 2.0, devices))[:, None],
        )
        for tick in range(ticks + LEARNT_TICKS)
    ]
    for batch in batches[:LEARNT_TICKS]:
        detector.update(memory, batch)
    paces = []
    for batch in batches[LEARNT_TICKS:]:
        began = time.process_time()
        detector.update(memory, batch)
        paces.append(devices / (time.process_time() - began))
    return {
        "samples_per_s": float(np.median(paces)),
        "bytes_per_series": sum(array.nbytes for array in memory) / devices,
    }


def tick_s(devices: int, ticks: int, seed: int, cores: int = 2) -> float:
    """Return the seconds of a tick of all devices and a cohort pass, devices shared over cores.

    Cohorts are of 100 devices. Every tick is a new hour, so that each closes one.
    """
    rng = np.random.default_rng(seed)
    detector = normality()
    share = devices // cores
    cohort = (np.arange(share) // 100).astype(np.int32)
    memories = [detector.init(FleetShape(share)) for _ in range(cores)]
    level = rng.uniform(10.0, 90.0, share)

    def one(memory: Any, batch: TelemetryBatch, epoch: Epoch) -> None:
        detector.update(memory, batch)
        detector.close(memory, epoch)

    paces = []
    with ThreadPoolExecutor(cores) as pool:
        for tick in range(ticks + 3):
            ts = BEGIN_NS + tick * HOUR_NS
            value = (level + rng.normal(0.0, 2.0, share))[:, None]
            batch = dataclasses.replace(batch_of(np.array([ts]), value), cohort=cohort)
            epoch = epoch_of(share, ts, HOUR_NS, cohort)
            began = time.perf_counter()
            list(pool.map(lambda memory: one(memory, batch, epoch), memories))  # noqa: B023
            paces.append(time.perf_counter() - began)
    return float(np.median(paces[3:]))
