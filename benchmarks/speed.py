"""Speed of the path from a frame to actions, beside river on the same rows and a memory copy.

Every contender runs in a process of its own. river's models are given an easy case: one model for
the whole stream and not one a device, and rows already turned into dictionaries. HalfSpaceTrees
wants values in [0, 1] and stands behind a MinMaxScaler, as its documentation has it; without the
scaler it is `river_hst_bare_rows_per_s`. The limit is `numpy.copyto` on arrays far larger than
caches.

Figures: `step_rows_per_s`, `admit_rows_per_s` (both at 100,000 devices), `ratio_river_gaussian`,
`ratio_river_hst` (step over river), `ratio_normality_river_hst` (samples of `Normality` over
river), `copy_fraction` (bytes of rows and state that a second of `step` visits, over the bytes a
second of copying moves; grids that one row a day visits are left out), `state_bytes_per_device`;
and rows a second by size and by kernel.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

SECOND = 1_000_000_000
START = 1_767_571_200 * SECOND
TICK_S = 60
COLUMNS = (
    "storage.wear.used_ratio/nvme",
    "storage.power_on_time",
    "device.uptime",
    "device.boot_time",
    "device.boot_count",
    "temperature.celsius",
)


def frames(devices: int, ticks: int, seed: int) -> Iterator[pa.Table]:
    """Yield one frame a tick: a row for each device, as a collector would batch them."""
    rng = np.random.default_rng(seed)
    names = pa.array([f"gw-{i:07d}" for i in range(devices)])
    device = pa.DictionaryArray.from_arrays(pa.array(np.arange(devices, dtype=np.int32)), names)
    wear = rng.uniform(0.0, 0.6, devices)
    rate = rng.lognormal(np.log(0.1), 0.7, devices) / 31_557_600
    age = rng.uniform(1e6, 1e8, devices)
    booted = START / SECOND - rng.uniform(0, 3e6, devices)
    boots = rng.integers(1, 50, devices).astype(float)
    for tick in range(ticks):
        now = START // SECOND + tick * TICK_S
        reboot = rng.random(devices) < TICK_S / 604_800 * 0.4
        booted = np.where(reboot, float(now), booted)
        boots = boots + reboot
        values = (
            np.floor((wear + rate * tick * TICK_S) * 100) / 100,
            age + tick * TICK_S,
            now - booted,
            booted + rng.normal(0, 0.5, devices),
            boots,
            40 + rng.normal(0, 3, devices),
        )
        ts = pa.array(np.full(devices, now * SECOND), pa.timestamp("ns", "UTC"))
        yield pa.table([device, ts, ts, *values], names=["device_id", "ts", "recv_ts", *COLUMNS])


def rate_of(work: Callable[[], int], seconds: float) -> float:
    """Repeat `work`, which returns how many rows it did, for `seconds`; return rows a second."""
    rows, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds or rows == 0:
        rows += work()
    return rows / elapsed


# -- contenders, each run by `--worker` in its own process ---------------------------------------


def run_step(devices: int, seconds: float, seed: int) -> dict[str, float]:
    """`Engine.step` with all detectors and default rules, end to end from Arrow frames."""
    from aiops.engine.engine import Engine

    ticks = max(12, min(400, int(6e6 / devices)))
    tables = list(frames(devices, ticks, seed))
    engine = Engine()
    warm = max(5, ticks // 4)
    for table in tables[:warm]:
        engine.step(table)
    began, rows = time.perf_counter(), 0
    for table in tables[warm:]:
        engine.step(table)
        rows += len(table)
        if time.perf_counter() - began > seconds:
            break
    elapsed = time.perf_counter() - began
    arrays, _ = engine.save()
    kept = [array for name, array in arrays.items() if not name.startswith("open/")]
    row_bytes = tables[0].nbytes / devices
    return {
        "rows_per_s": rows / elapsed,
        "state_bytes_per_device": sum(array.nbytes for array in kept) / devices,
        "row_bytes": row_bytes,
        # Grids (two axes) are visited when a day's bin closes, the rest with every row.
        "touched_bytes_per_row": row_bytes + sum(a.nbytes for a in kept if a.ndim == 1) / devices,
        "rows_taken": engine.fleet.counts["rows"],
        "devices_known": len(engine.fleet.registry),
    }


def run_admit(devices: int, seconds: float, seed: int) -> dict[str, float]:
    """Normalisation apart, and then `FleetState.admit` of what it gave."""
    from aiops.engine.engine import Engine
    from aiops.telemetry.layout import Layout
    from aiops.telemetry.normalise import normalise

    engine = Engine()
    wanted = engine.fleet.series.wanted()
    ticks = max(12, min(400, int(6e6 / devices)))
    tables = list(frames(devices, ticks, seed))
    layout = Layout.guess(tables[0].schema)
    warm = 4
    normalise_s = admit_s = 0.0
    for i, table in enumerate(tables):
        began = time.perf_counter()
        frame = normalise(table, layout, wanted)
        between = time.perf_counter()
        engine.fleet.admit(frame)
        if i >= warm:
            normalise_s += between - began
            admit_s += time.perf_counter() - between
    return {
        "normalise_rows_per_s": devices * (ticks - warm) / normalise_s,
        "admit_rows_per_s": devices * (ticks - warm) / admit_s,
    }


def run_kernels(devices: int, seconds: float, seed: int) -> dict[str, float]:
    """Each detector's `update` on batches that admission has prepared, and the alert phases."""
    from aiops.engine.engine import Engine
    from aiops.telemetry.layout import Layout
    from aiops.telemetry.normalise import normalise

    engine = Engine()
    wanted = engine.fleet.series.wanted()
    batches = []
    for table in frames(devices, 20, seed):
        layout = Layout.guess(table.schema)
        closed = engine.fleet.admit(normalise(table, layout, wanted)).epochs
        batches.extend((one.epoch, one.batch) for one in closed)
    found = {}
    for detector in engine.detectors:
        memory = engine.fleet.recall(detector)
        shown = [batch.reporting(detector.reads) for _, batch in batches]
        detector.update(memory, shown[0])
        began = time.perf_counter()
        for batch in shown[1:]:
            detector.update(memory, batch)
        elapsed = time.perf_counter() - began
        found[f"{detector.name}_update_rows_per_s"] = sum(map(len, shown[1:])) / elapsed
        if detector.close(memory, batches[0][0]) is None:
            continue
        began = time.perf_counter()
        for epoch, _ in batches:
            detector.close(memory, epoch)
        found[f"{detector.name}_close_devices_per_s"] = (
            devices * len(batches) / (time.perf_counter() - began)
        )
    return found


def run_normality(devices: int, seconds: float, seed: int) -> dict[str, float]:
    """`Normality.update` with all views: a row of one metric a device and tick; CPU time."""
    from aiops.detectors.normality import Normality
    from aiops.fleet.owner import FleetShape
    from aiops.telemetry.batch import TelemetryBatch

    rng = np.random.default_rng(seed)
    detector = Normality("temperature.celsius")
    memory = detector.init(FleetShape(devices))
    device = np.arange(devices, dtype=np.int32)
    level, paces = rng.uniform(10.0, 90.0, devices), []
    for tick in range(45):
        batch = TelemetryBatch(
            device=device,
            cohort=np.zeros(devices, dtype=np.int32),
            ts=np.full(devices, START + tick * TICK_S * SECOND),
            historical=np.zeros(devices, dtype=np.bool_),
            columns={"temperature.celsius": level + rng.normal(0.0, 2.0, devices)},
            indptr=np.arange(devices + 1, dtype=np.int64),
        )
        began = time.process_time()
        detector.update(memory, batch)
        paces.append(devices / (time.process_time() - began))
    return {
        "normality_samples_per_s": float(np.median(paces[20:])),  # its first rows only teach
        "normality_bytes_per_series": sum(array.nbytes for array in memory) / devices,
    }


def run_river_gaussian(devices: int, seconds: float, seed: int) -> dict[str, float]:
    """River's GaussianScorer: score and learn one metric of the same rows."""
    from river import anomaly

    table = next(iter(frames(devices, 1, seed)))
    values = table["temperature.celsius"].to_pylist()
    model = anomaly.GaussianScorer()

    def work() -> int:
        for value in values[:20_000]:
            model.score_one(None, value)
            model.learn_one(None, value)
        return min(len(values), 20_000)

    return {"rows_per_s": rate_of(work, seconds)}


def hst_rows(devices: int, seed: int) -> list[dict[str, float]]:
    """Return rows of the same columns as dictionaries."""
    table = next(iter(frames(devices, 1, seed))).select(list(COLUMNS)).slice(0, 5_000)
    values = np.column_stack([column.to_numpy() for column in table.columns]).tolist()
    return [dict(zip(COLUMNS, row, strict=True)) for row in values]


def run_river_hst(devices: int, seconds: float, seed: int) -> dict[str, float]:
    """MinMaxScaler and HalfSpaceTrees of river, defaults: score and learn the same rows."""
    from river import anomaly, preprocessing

    model = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=seed)
    return {"rows_per_s": score_and_learn(model, hst_rows(devices, seed), seconds)}


def run_river_hst_bare(devices: int, seconds: float, seed: int) -> dict[str, float]:
    """HalfSpaceTrees alone, on values that were scaled beforehand."""
    from river import anomaly

    rows = hst_rows(devices, seed)
    low = {name: min(row[name] for row in rows) for name in COLUMNS}
    span = {name: max(row[name] for row in rows) - low[name] or 1.0 for name in COLUMNS}
    scaled = [{name: (row[name] - low[name]) / span[name] for name in COLUMNS} for row in rows]
    return {"rows_per_s": score_and_learn(anomaly.HalfSpaceTrees(seed=seed), scaled, seconds)}


def score_and_learn(model: Any, rows: list[dict[str, float]], seconds: float) -> float:
    """Return how many rows a second a river model scores and learns."""

    def work() -> int:
        for row in rows:
            model.score_one(row)
            model.learn_one(row)
        return len(rows)

    return rate_of(work, seconds)


def run_copy(devices: int, seconds: float, seed: int) -> dict[str, float]:
    """The limit: bytes a second that a plain copy moves, counted once."""
    source = np.random.default_rng(seed).random(32_000_000)
    target = np.empty_like(source)
    np.copyto(target, source)

    def work() -> int:
        np.copyto(target, source)
        return source.nbytes

    return {"bytes_per_s": rate_of(work, seconds)}


WORKERS = {
    "step": run_step,
    "admit": run_admit,
    "kernels": run_kernels,
    "normality": run_normality,
    "river_gaussian": run_river_gaussian,
    "river_hst": run_river_hst,
    "river_hst_bare": run_river_hst_bare,
    "copy": run_copy,
}


def apart(worker: str, devices: int, seconds: float, seed: int) -> dict[str, float]:
    """Run one contender in a process of its own."""
    command = [sys.executable, __file__, "--worker", worker, "--devices", str(devices)]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def measure(quick: bool, seed: int) -> dict[str, float]:
    """Run all contenders and return the figures by name."""
    seconds = 2.0 if quick else 8.0
    sizes = (1_000, 100_000) if quick else (1_000, 100_000, 1_000_000)
    apart("step", 1_000, 0.1, seed)  # fills the compiler's cache, so that nobody pays for it below
    figures: dict[str, float] = {}
    steps = {size: apart("step", size, seconds, seed) for size in sizes}
    for size, found in steps.items():
        figures[f"step_{size}_devices_rows_per_s"] = found["rows_per_s"]
    main = steps[100_000]
    figures["step_rows_per_s"] = main["rows_per_s"]
    for size in sizes:
        found = apart("admit", size, seconds, seed)
        figures[f"admit_{size}_devices_rows_per_s"] = found["admit_rows_per_s"]
        figures[f"normalise_{size}_devices_rows_per_s"] = found["normalise_rows_per_s"]
    figures["admit_rows_per_s"] = figures["admit_100000_devices_rows_per_s"]
    figures |= apart("kernels", 100_000, seconds, seed)
    figures |= apart("normality", 100_000, seconds, seed)
    gaussian = apart("river_gaussian", 100_000, seconds, seed)["rows_per_s"]
    hst = apart("river_hst", 100_000, seconds, seed)["rows_per_s"]
    bare = apart("river_hst_bare", 100_000, seconds, seed)["rows_per_s"]
    copied = apart("copy", 100_000, seconds, seed)["bytes_per_s"]
    touched = main["rows_per_s"] * main["touched_bytes_per_row"]
    return figures | {
        "river_gaussian_rows_per_s": gaussian,
        "river_hst_rows_per_s": hst,
        "river_hst_bare_rows_per_s": bare,
        "copy_bytes_per_s": copied,
        "ratio_river_gaussian": main["rows_per_s"] / gaussian,
        "ratio_river_hst": main["rows_per_s"] / hst,
        "ratio_normality_river_hst": figures["normality_samples_per_s"] / hst,
        "copy_fraction": touched / copied,
        "row_bytes": main["row_bytes"],
        "touched_bytes_per_row": main["touched_bytes_per_row"],
        "state_bytes_per_device": main["state_bytes_per_device"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="no million devices, shorter runs")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--worker", choices=sorted(WORKERS), help=argparse.SUPPRESS)
    parser.add_argument("--devices", type=int, default=100_000, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=2.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(WORKERS[given.worker](given.devices, given.seconds, given.seed)))
        return
    figures = measure(given.quick, given.seed)
    for name, value in figures.items():
        print(f"{name:44} {value:>18,.4g}" if value < 100 else f"{name:44} {value:>18,.0f}")
    if given.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
