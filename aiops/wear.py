"""When flash is worn out: a table of all media, worst first, and a chart of one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from aiops.alerts.rule import as_plain
from aiops.chart import (
    BLUE,
    READING,
    VERMILION,
    band,
    coloured,
    dress,
    label,
    lines,
    moments,
    plotly,
)
from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.protocol import QUANTILES
from aiops.engine.engine import Engine, Step
from aiops.kernels.rows import F8, I4, I8
from aiops.kernels.wear_memory import WearMemory
from aiops.notebook import only, played

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

DATES = tuple(f"p{100 * probability:.0f}" for probability in QUANTILES)
RATIOS = (
    "wear_used_ratio",
    "step_ratio",
    "source_trust_ratio",
    "wear_per_year_ratio",
    "wear_per_tb_ratio",
    "write_rate_bytes_per_day",
    "write_rate_change_ratio",
    "halved_writes_gain_days",
    "worn_out_within_twice_lead_probability",
)
JUDGED = RATIOS[3:]
"""What is not said of a medium in quarantine."""
DATE = pa.timestamp("ns", tz="UTC")
MEDIA = pa.schema(
    [
        *((name, pa.string()) for name in ("device_id", "part", "medium_id", "site", "cohort")),
        ("ts", DATE),
        *((name, DATE) for name in DATES),
        *((name, pa.float64()) for name in RATIOS),
        ("quarantined", pa.bool_()),
        ("sentence", pa.string()),
    ]
)
"""What `forecast` returns, a row a medium.

``ts`` is the medium's last row, from which its forecast runs. ``p5`` to ``p95`` are dates by which
it is worn out with that probability; null: not within 100 years. Numbers are those of a finding's
evidence; NaN: not known. A medium in quarantine, whose reading contradicts itself, has neither.
"""

YEAR_NS = 31_557_600_000_000_000
LEVELS, HORIZONS = 33, 61
"""How finely a fan is drawn."""
FORECAST, LIMIT = BLUE, VERMILION
BANDS = (("p5", "p95", 0.16), ("p10", "p90", 0.26))
"""Between which dates a band lies, and how opaque it is."""
MEANT = {"one": "flash medium", "many": "media", "told": "a wear reading"}
NO_END = "not within 100 years"
SAID = {"p10": "10 %", "p50": "even odds", "p90": "90 %"}


def forecast(
    frame: Any, detector: FlashWear | None = None, *, layout: Mapping[str, str] | None = None
) -> pa.Table:
    """Foretell when each flash medium of a history is worn out; return `MEDIA`, worst first.

    First those that are worn out, the most used first; then by the date ``p10``; last those in
    quarantine. Media that were replaced have left and are left out.

    Parameters
    ----------
    frame
        Pandas, polars, Arrow, a DuckDB relation: anything with ``__arrow_c_stream__``.
    detector
        `FlashWear` with settings of your own.
    layout
        Column names that cannot be guessed, e.g. ``{"device": "serial", "time": "at"}``.

    Raises
    ------
    FrameError
        It is no frame, or no device or time column can be found.
    """
    detector = detector or FlashWear()
    return ranked(played(frame, [detector], layout=layout)[0], detector)


def ranked(
    engine: Engine, detector: FlashWear, watch: Callable[[int, int], None] | None = None
) -> pa.Table:
    """Return what an engine that runs `detector` now foretells, as `forecast` does.

    `watch` is told, before each medium, how many are done and how many there are.
    """
    memory = engine.fleet.recall(detector)
    registry = engine.fleet.registry
    device = _media(engine, detector)
    columns: dict[str, list[Any]] = {name: [] for name in MEDIA.names}
    for done, index in enumerate(device.tolist()):
        if watch:
            watch(done, len(device))
        evidence = detector.evidence(memory, index)
        told = detector.forecast(memory, np.array([index], dtype=np.int32))
        quarantined = evidence["quarantined"] > 0.0
        dates = told.quantile[0] if told is not None and not quarantined else [np.inf] * len(DATES)
        names = (*registry.identities[index], registry.site_of(index), registry.cohort_of(index))
        for name, value in zip(MEDIA.names, names, strict=False):
            columns[name].append(value)
        columns["ts"].append(int(memory.ts[index]))
        for name, date in zip(DATES, dates, strict=True):
            columns[name].append(int(date) if np.isfinite(date) else None)
        for name in RATIOS:
            kept = not (quarantined and name in JUDGED)
            columns[name].append(evidence.get(name, np.nan) if kept else np.nan)
        columns["quarantined"].append(quarantined)
        columns["sentence"].append(detector.sentence(evidence, as_plain(told)))
    table = pa.table([pa.array(columns[f.name], f.type) for f in MEDIA], schema=MEDIA)
    used = table["wear_used_ratio"].to_numpy()
    table = table.append_column("over", pa.array(np.where(used >= 1.0, used, 0.0)))
    order = ("p10", "p50", "p90", "device_id", "part", "medium_id")
    keys = [("quarantined", "ascending"), ("over", "descending")]
    keys += [(name, "ascending") for name in order]
    return table.sort_by(keys).drop_columns(["over"])


def _media(engine: Engine, detector: FlashWear) -> I4:
    """Return the indices of the media with a reading that have not left."""
    seen = ~np.isnan(engine.fleet.recall(detector).level[: len(engine.fleet.registry)])
    seen[engine.fleet.media.replaced] = False
    return np.flatnonzero(seen).astype(np.int32)


# -- chart -----------------------------------------------------------------------------------------


class Future(NamedTuple):
    """How far wear will be."""

    ts: F8
    """[t] ascending, ns, up to where the chart ends."""
    level: F8
    """[t, q] wear that is reached by then with a probability of `QUANTILES`, at most 1."""
    date: F8
    """[q] by when that is 1, ns; inf: not within 100 years."""


def fan(
    frame: Any,
    device: str,
    *,
    part: str | None = None,
    medium_id: str | None = None,
    detector: FlashWear | None = None,
    layout: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the readings of one medium and when wear will have reached 100 %, as a plotly figure.

    Steps are what was read. On each level of wear, the bands hold the date on which it is reached
    with 80 % and with 90 %; on the line between them, before and after are as likely.

    Parameters
    ----------
    frame, detector, layout
        As `forecast` takes them.
    device, part, medium_id
        Which medium; the device alone is enough if it has one.

    Raises
    ------
    FrameError
        It is no frame, or no device or time column can be found.
    SettingsError
        No such medium has a wear reading, or several have; or plotly is not installed.
    """
    graph = plotly()
    detector = detector or FlashWear()
    engine, step = played(frame, [detector], layout=layout)
    among = _media(engine, detector)
    index = only(engine, among, (device, part, medium_id), **MEANT)
    memory = engine.fleet.recall(detector)
    evidence = detector.evidence(memory, index)
    told = detector.forecast(memory, np.array([index], dtype=np.int32))
    names = engine.fleet.registry.identities[index]
    quarantined = evidence["quarantined"] > 0.0
    ts, reading = _readings(step, index, believed=not quarantined)
    if not len(ts):  # it told bytes only, or it was believed before
        ts, reading = memory.ts[index : index + 1], memory.level[index : index + 1]
    now, first, end = memory.ts[index], float(ts[0]), memory.ts[index] + 0.1 * YEAR_NS
    said = lines(detector.sentence(evidence, as_plain(told)))
    figure = graph.Figure()
    ahead = not quarantined and evidence["wear_used_ratio"] < 1.0
    if ahead and told is not None:
        future = _future(detector, memory, index, told.quantile[0], first)
        _draw_future(figure, graph, future, first)
        end = future.ts[-1]
        said.append(coloured("Bands: 80 % and 90 %. Line: even odds.", FORECAST))
    percent = 100.0 * np.append(reading, reading[-1])
    figure.add_trace(
        graph.Scatter(
            x=moments(np.append(ts, now)),
            y=percent,
            mode="lines",
            line={"shape": "hv", "color": READING, "width": 2},
            hovertemplate="%{y:.0f} % read on %{x|%Y-%m-%d}<extra></extra>",
        )
    )
    label(
        figure,
        now,
        percent[-1],
        f"{percent[-1]:.0f} % read",
        READING,
        right=ahead,
        above=False,
    )
    figure.add_hline(100.0, line={"color": LIMIT, "width": 1.5}, opacity=1.0)
    label(figure, first, 100.0, "100 %: rated endurance used", LIMIT, right=True)
    dress(figure, "/".join(name for name in names[:2] if name), said)
    top = max(100.0, percent.max())
    ticks = list(range(0, int(top) + 1, 20))
    span = moments((first - 0.01 * (end - first), end))
    figure.update_layout(
        xaxis={"range": [str(at) for at in span]},
        yaxis={
            "title": "rated endurance used",
            "range": [0.0, 1.28 * top],
            "tickvals": ticks,
            "ticktext": [f"{tick} %" for tick in ticks],
        },
    )
    return figure


def _future(detector: FlashWear, memory: WearMemory, index: int, date: F8, first: float) -> Future:
    """Return the future of a medium, given the `date` [q] of 100 %, on a chart from `first`."""
    now = float(memory.ts[index])
    middle = date[DATES.index("p50")]
    room = max(1.5 * (now - first), YEAR_NS, 2.0 * (middle - now) if np.isfinite(middle) else 0.0)
    end = now + 1.08 * min(float(date[-1]) - now, room, 100.0 * YEAR_NS)
    # Close to now it moves fast; and the dates themselves are corners.
    ts = now + (end - now) * np.linspace(0.001, 1.0, HORIZONS) ** 2
    ts = np.unique(np.concatenate((ts, date[date < end])))
    level = memory.level[index] + (1.0 - memory.level[index]) * np.linspace(0.0, 1.0, LEVELS) ** 1.5
    device = np.full(len(ts), index, dtype=np.int32)
    chance = detector.chances(memory, device, np.tile(level, (len(ts), 1)), 1e-9 * (ts - now))
    chance = np.minimum.accumulate(chance, axis=1)
    reached = [np.interp(QUANTILES, by_then[::-1], level[::-1]) for by_then in chance]
    return Future(ts, np.array(reached), date)


def _draw_future(figure: Figure, graph: Any, future: Future, first: float) -> None:
    """Draw bands, their middle, and by when it is over, on a chart from `first`."""
    percent = dict(zip(DATES, 100.0 * future.level.T, strict=True))
    for early, late, opacity in BANDS:
        high, low = percent[early], percent[late]
        band(figure, graph, moments(future.ts), high, low, FORECAST, opacity)
    date = dict(zip(DATES, future.date.tolist(), strict=True))
    until = future.ts <= date["p50"]
    figure.add_trace(
        graph.Scatter(
            x=moments(future.ts[until]),
            y=percent["p50"][until],
            mode="lines",
            line={"color": FORECAST, "width": 2},
            hovertemplate="even odds of %{y:.0f} % by %{x|%Y-%m-%d}<extra></extra>",
        )
    )
    end = future.ts[-1]
    for row, (name, said) in enumerate(SAID.items()):
        height = 108.0 + 7.0 * row
        if date[name] > end:
            known = np.isfinite(date[name])
            then = f"by {str(moments(date[name]))[:10]} \N{RIGHTWARDS ARROW}" if known else NO_END
            label(figure, end, height, f"{said}: {then}", FORECAST)
            continue
        at = moments(date[name])
        line = {"color": FORECAST, "width": 1}
        figure.add_shape(type="line", x0=at, x1=at, y0=100.0, y1=height, line=line, opacity=1.0)
        narrow = date[name] - first < 0.2 * (end - first)
        by = f"{said}: by {str(at)[:10]}"
        label(figure, date[name], height, by, FORECAST, right=narrow)


def _readings(step: Step, index: int, believed: bool) -> tuple[I8, F8]:
    """Return the readings of a medium with their times: those that were believed, or all."""
    found = []
    for one in step.scored:
        rows = one.batch.device == index
        read = one.scores.observed if believed else one.batch.column("storage.wear.used_ratio")
        found.append((one.batch.ts[rows], read[rows]))
    ts, read = (np.concatenate(column) for column in zip(*found, strict=True))
    there = ~np.isnan(read)
    return ts[there], read[there]
