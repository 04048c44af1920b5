"""A simulated history on disk: telemetry, truth and inventory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aiops.connectors.simulator.scenario import DAY_MS, Scenario
from aiops.connectors.simulator.simulation import Simulation
from aiops.errors import FileError

CONTENTS = ("telemetry", "truth.parquet", "inventory.json")
TIMES = ("ts", "recv_ts")


def simulate_to_parquet(
    scenario: Scenario,
    directory: str | Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    days_per_file: int = 7,
) -> None:
    """Write ``telemetry/<date>.parquet``, ``truth.parquet`` and ``inventory.json``.

    A telemetry file holds what the log took in `days_per_file` days from its date, sorted by
    (`device_id`, `ts`); `recv_ts` tells the order of arrival. `progress` is called with the ticks
    done and all ticks. The directory is written aside and renamed; an earlier simulation in its
    place is replaced.

    Raises
    ------
    FileError
        The directory holds something other than a simulation.
    """
    target = Path(directory).absolute()
    if target.exists():
        strange = sorted({path.name for path in target.iterdir()} - set(CONTENTS))
        if strange:
            raise FileError(
                f"{target} holds {strange[0]!r}, which no simulation wrote: "
                "name a new directory, or an earlier simulation to replace"
            )
    simulation = Simulation(scenario)
    aside = target.with_name(f".{target.name}.partial")
    if aside.exists():
        shutil.rmtree(aside)
    (aside / "telemetry").mkdir(parents=True)
    for date, table in _files(simulation, days_per_file, progress):
        pq.write_table(
            table,
            aside / "telemetry" / f"{date}.parquet",
            compression="zstd",
            use_dictionary=[name for name in table.column_names if name not in TIMES],
            column_encoding=dict.fromkeys(TIMES, "DELTA_BINARY_PACKED"),
        )
    pq.write_table(simulation.truth, aside / "truth.parquet", compression="zstd")
    inventory = simulation.inventory()
    content = {name: getattr(inventory, name) for name in ("nodes", "workloads", "sites")}
    (aside / "inventory.json").write_bytes(msgspec.json.format(msgspec.json.encode(content)))
    if target.exists():
        shutil.rmtree(target)
    aside.rename(target)


def _files(
    simulation: Simulation, days_per_file: int, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the date and the rows of each file."""
    scenario = simulation.scenario
    held: list[pa.Table] = []
    begin_ms = 0
    for frame, position in simulation.frames():
        tick = min(position["tick"], scenario.ticks)
        if progress is not None and position["tick"] <= scenario.ticks:
            progress(tick, scenario.ticks)
        at_end = position["tick"] > scenario.ticks
        if not at_end:
            held.append(frame)
        now_ms = tick * scenario.interval_s * 1000
        if held and (at_end or now_ms - begin_ms >= days_per_file * DAY_MS):
            start = np.datetime64(scenario.start_ns, "ns") + np.timedelta64(begin_ms, "ms")
            yield str(start.astype("datetime64[D]")), _sorted(held)
            held, begin_ms = [], now_ms


def _sorted(frames: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(frames).unify_dictionaries().combine_chunks()
    ids = table["device_id"].combine_chunks()
    rank = np.argsort(np.argsort(np.array(ids.dictionary.to_pylist())))
    order = np.lexsort((table["ts"].to_numpy(), rank[ids.indices.to_numpy()]))
    return table.take(pa.array(order))
