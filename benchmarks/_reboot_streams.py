"""Streams of real nodes that went down and came up, through the whole engine.

A stream is a table of intervals: ``node, cluster, start_s, stop_s, up``. A node reports once a day
and after each boot, with boot counter and uptime; it is silent while it is down. Its cluster is its
site and its cohort. Time that no interval covers is time of which nothing is heard; where a table
has no downs, it is down then, and where it has no ups, it is up.

*Shuffled by days*: the days on which a node ran, in random order, each with its boots at their time
of day. What bursts, clusters over weeks, drifts or is shared with other nodes is gone; what is left
is each node's own rate, so every alarm is false. *With drifts*: a tenth of the nodes with at least
`LEAST_BOOTS` boots have further ones from a date on, at a multiple of their own mean rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from aiops.alerts.rule import AlertRule
from aiops.alerts.selection import Selection
from aiops.detectors.reboot_drift import RebootDrift
from aiops.engine.engine import Engine
from aiops.kernels.rows import F8, I8

DAY_S, YEAR_S = 86_400.0, 365.25 * 86_400.0
LEAST_S = 978_307_200.0
"""2001: clocks that began at nought are set to begin then."""
LEARN_S = 13 * 7 * DAY_S
LEAST_BOOTS = 5
SHORT_S = 300.0
"""How long a node is down when nothing tells."""
FRAME_ROWS = 100_000
STAMP = pa.timestamp("ns", "UTC")


@dataclass(frozen=True)
class Stream:
    """Nodes [n], each observed for a while, and when they were down [m], by node and time."""

    name: tuple[str, ...]
    cluster: tuple[str, ...]
    begin_s: F8
    end_s: F8
    node: I8
    """[m]"""
    down_s: F8
    """[m] went down; at `boot_s` [m] it came up again."""
    boot_s: F8

    @property
    def years(self) -> float:
        """Device-years of running."""
        return float((self.end_s - self.begin_s).sum() - (self.boot_s - self.down_s).sum()) / YEAR_S

    def rows_of(self, i: int) -> dict[str, np.ndarray]:
        """Return the telemetry of node `i`: times in seconds, boots counted, uptime."""
        first, last = np.searchsorted(self.node, (i, i + 1))
        down, boot = self.down_s[first:last], self.boot_s[first:last]
        until = np.append(down[1:], self.end_s[i])
        daily = np.arange(self.begin_s[i] + 60.0, self.end_s[i], DAY_S)
        at = np.sort(np.concatenate((daily, boot + np.minimum(60.0, 0.5 * (until - boot)))))
        count = np.searchsorted(boot, at, side="right")
        before = np.searchsorted(down, at, side="right")
        up = count == before
        booted = np.concatenate(([self.begin_s[i] - DAY_S], boot))[count]
        return {"ts": at[up], "boot_count": count[up], "uptime": (at - booted)[up]}


def read_events(path: Path) -> Stream:
    """Read a table of intervals: CSV, compressed or not, or Parquet."""
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    missing = {"node", "cluster", "start_s", "stop_s", "up"} - set(table.columns)
    if missing:
        raise SystemExit(f"{path}: no column {', '.join(sorted(missing))}; has "
                         f"{', '.join(table.columns)}")  # fmt: skip
    up = table["up"]
    if up.dtype == object or isinstance(up.dtype, pd.StringDtype):
        table["up"] = up.astype(str).str.lower().isin(["1", "1.0", "true", "up", "yes"])
    else:
        table["up"] = up.astype(float) > 0.5
    return stream_of(table)


def stream_of(table: pd.DataFrame) -> Stream:
    """Return the stream of intervals."""
    table = table.assign(node=table["node"].astype(str), cluster=table["cluster"].astype(str))
    table = table.sort_values(["cluster", "node", "start_s"], kind="stable")
    shift = max(LEAST_S - float(table["start_s"].min()), 0.0)
    any_down = bool((~table["up"]).any())
    spans, downs = [], []
    for i, ((cluster, node), rows) in enumerate(table.groupby(["cluster", "node"], sort=True)):
        start, stop = rows["start_s"].to_numpy(float), rows["stop_s"].to_numpy(float)
        spans.append((f"{cluster}/{node}", cluster, start.min() + shift, stop.max() + shift))
        up = rows["up"].to_numpy(bool)
        if any_down:
            gone = zip(start[~up], stop[~up], strict=True)
        else:
            order = np.argsort(start)
            ended = np.maximum.accumulate(stop[order])[:-1]
            fresh = start[order][1:] > ended
            gone = zip(ended[fresh], start[order][1:][fresh], strict=True)
        downs += [(i, a + shift, b + shift) for a, b in merged(gone)]
    name, cluster, begin, end = zip(*spans, strict=True)
    node, down, boot = columns_of(downs)
    return Stream(name, cluster, np.array(begin), np.array(end), node, down, boot)


def merged(intervals: Iterator[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return ascending intervals of which none touch; each lasts for some seconds at least."""
    joined: list[tuple[float, float]] = []
    for start, stop in intervals:
        stop = max(stop, start + 1.0)
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def columns_of(downs: list[tuple[int, float, float]]) -> tuple[I8, F8, F8]:
    """Return nodes, and when they went down and came up."""
    table = np.array(downs, dtype=np.float64).reshape(-1, 3)
    return table[:, 0].astype(np.int64), table[:, 1].copy(), table[:, 2].copy()


def lanl(path: Path) -> pd.DataFrame:
    """Return the LANL failures (LA-UR-05-7318) as intervals, with nodes that never failed.

    A node is observed from the month its system went into production, or, if that is not told,
    from the system's first failure, until it was decommissioned or the data end.
    """
    table = pd.read_csv(path, low_memory=False).dropna(subset=["nodenum", "nodes"])
    form = "%m/%d/%Y %H:%M"
    table["start_s"] = seconds(pd.to_datetime(table["Prob Started"], format=form))
    table["stop_s"] = seconds(pd.to_datetime(table["Prob Fixed"], format=form))
    intervals = []
    for system, rows in table.groupby("System"):
        first, last = rows["start_s"].min(), table["stop_s"].max()
        seen = rows["nodenum"].astype(int)
        spans = {
            node: (month(part["node prod"].iloc[0], first), month(part["node decom"].iloc[0], last))
            for node, part in rows.groupby(seen)
        }
        usual = pd.Series(list(spans.values())).mode().iloc[0]
        unseen = [node for node in range(int(rows["nodes"].max())) if node not in spans]
        spans |= dict.fromkeys(unseen[: int(rows["nodes"].max()) - len(spans)], usual)
        begun = rows.groupby(seen)["start_s"].min()
        ended = rows.groupby(seen)["stop_s"].max()
        for node, (begin, end) in spans.items():
            begin = min(begin, begun.get(node, begin) - 3600.0)
            end = max(end, ended.get(node, end) + 3600.0)
            intervals.append((system, node, begin, end, True))
        intervals += [
            (system, node, start, stop, False)
            for node, start, stop in zip(seen, rows["start_s"], rows["stop_s"], strict=True)
        ]
    return pd.DataFrame(intervals, columns=["cluster", "node", "start_s", "stop_s", "up"])


def seconds(times: pd.Series) -> pd.Series:
    """Return Unix times."""
    return (times - pd.Timestamp(0)).dt.total_seconds()


def month(text: str, otherwise: float) -> float:
    """Return the Unix time of a month: ``Jan-97``, or ``5-Jun`` for June 2005."""
    year, _, name = str(text).partition("-")
    if name.isdigit():
        year, name = name, year
    if not year.isdigit():
        return otherwise
    at = pd.to_datetime(f"{name} {int(year) + (1900 if int(year) > 50 else 2000)}", format="%b %Y")
    return float((at - pd.Timestamp(0)).total_seconds())


def shuffled(stream: Stream, seed: int) -> Stream:
    """Return the stream shuffled by days; days on which a node did not run at all are left out."""
    rng = np.random.default_rng(seed)
    end, downs = stream.end_s.copy(), []
    for i in range(len(stream.name)):
        first, last = np.searchsorted(stream.node, (i, i + 1))
        down, boot = stream.down_s[first:last], stream.boot_s[first:last]
        day0 = math.floor(stream.begin_s[i] / DAY_S)
        runs = np.ones(math.ceil(stream.end_s[i] / DAY_S) - day0, dtype=np.bool_)
        for start, stop in zip(down, boot, strict=True):
            if stop - start > DAY_S:
                runs[math.ceil(start / DAY_S) - day0 : math.floor(stop / DAY_S) - day0] = False
        days = int(runs.sum())
        place = rng.permutation(days)
        booted = np.floor(boot / DAY_S).astype(int) - day0
        at = (day0 + place[np.cumsum(runs)[booted] - 1]) * DAY_S + boot % DAY_S
        order = np.argsort(at)
        at, lasted = at[order], (boot - down)[order]
        room = np.diff(at, prepend=day0 * DAY_S - DAY_S)
        gone = np.minimum(np.minimum(lasted, SHORT_S), 0.5 * room)
        downs += list(zip([i] * len(at), at - gone, at, strict=True))
        end[i] = (day0 + days) * DAY_S
    begin = np.floor(stream.begin_s / DAY_S) * DAY_S
    node, down_s, boot_s = columns_of(downs)
    return replace(stream, begin_s=begin, end_s=end, node=node, down_s=down_s, boot_s=boot_s)


def with_drifts(stream: Stream, ratio: float, seed: int) -> tuple[Stream, dict[str, float]]:
    """Return the stream with more boots at a tenth of its nodes, and since when, by node."""
    rng = np.random.default_rng(seed)
    boots = np.bincount(stream.node, minlength=len(stream.name))
    span = stream.end_s - stream.begin_s
    able = np.flatnonzero((boots >= LEAST_BOOTS) & (span > 2 * LEARN_S))
    chosen = rng.choice(able, math.ceil(len(able) / 10), replace=False)
    since, extra = {}, []
    for i in sorted(chosen.tolist()):
        last = stream.begin_s[i] + 0.6 * span[i]
        date = rng.uniform(stream.begin_s[i] + LEARN_S, max(last, stream.begin_s[i] + LEARN_S))
        since[stream.name[i]] = date
        mean = (ratio - 1.0) * boots[i] / span[i] * (stream.end_s[i] - date)
        at = rng.uniform(date, stream.end_s[i] - SHORT_S, rng.poisson(mean))
        extra += [(i, a, a + SHORT_S) for a in at]
    every = sorted([*zip(stream.node, stream.down_s, stream.boot_s, strict=True), *extra])
    node_of = np.array([row[0] for row in every])
    downs = []
    for i in range(len(stream.name)):
        first, last = np.searchsorted(node_of, (i, i + 1))
        downs += [(i, a, b) for a, b in merged((row[1], row[2]) for row in every[first:last])]
    node, down_s, boot_s = columns_of(downs)
    return replace(stream, node=node, down_s=down_s, boot_s=boot_s), since


@dataclass(frozen=True)
class Outcome:
    """What the engine made of a stream."""

    years: float
    alarms: tuple[tuple[str, float], ...]
    """Node and time (s) of each finding that fired."""
    incidents: int
    shared: int
    """Findings of whole clusters."""

    @property
    def per_year(self) -> float:
        """Alarms per device-year of running."""
        return len(self.alarms) / self.years

    @property
    def per_year_se(self) -> float:
        """Its standard error, by node."""
        nodes = [node for node, _ in self.alarms]
        _, times = np.unique(np.array(nodes, dtype=str), return_counts=True)
        return float(np.sqrt((times**2).sum())) / self.years

    def delays(self, since: dict[str, float]) -> F8:
        """Return weeks [k] from each date to the node's next alarm; inf: none, or it went on."""
        weeks = []
        for node, date in since.items():
            at = np.array([t for name, t in self.alarms if name == node])
            late = at[at >= date]
            weeks.append((late.min() - date) / (7 * DAY_S) if len(late) else math.inf)
        return np.array(weeks)


def run(stream: Stream, budget: float, selection: Selection | None, epoch_s: int) -> Outcome:
    """Let the engine judge the stream."""
    rule = AlertRule(RebootDrift(alarm_budget=budget))
    engine = Engine((rule,), selection=selection, epoch_s=epoch_s)
    alarms, opened, shared = [], set(), 0
    for frame in frames(stream):
        step = engine.step(frame)
        for finding in step.findings:
            if finding.status == "firing":
                shared += not finding.device_id
                if finding.device_id:
                    alarms.append((finding.device_id, finding.ts * 1e-9))
        opened |= {incident.incident_id for incident in step.incidents}
    return Outcome(stream.years, tuple(alarms), len(opened), shared)


def frames(stream: Stream) -> Iterator[pa.Table]:
    """Return the telemetry in the order of its times, and the end of history."""
    parts = [stream.rows_of(i) for i in range(len(stream.name))]
    node = np.repeat(np.arange(len(parts)), [len(part["ts"]) for part in parts])
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(columns["ts"], kind="stable")
    node = node[order]
    columns = {name: values[order] for name, values in columns.items()}
    names, clusters = pa.array(stream.name), pa.array(stream.cluster)
    for first in range(0, len(node), FRAME_ROWS):
        of = slice(first, first + FRAME_ROWS)
        who = pa.array(node[of].astype(np.int32))
        yield pa.table(
            {
                "device_id": pa.DictionaryArray.from_arrays(who, names),
                "site": pa.DictionaryArray.from_arrays(who, clusters),
                "cohort": pa.DictionaryArray.from_arrays(who, clusters),
                "ts": pa.array((columns["ts"][of] * 1e9).astype(np.int64), STAMP),
                "device.boot_count": columns["boot_count"][of].astype(float),
                "device.uptime": columns["uptime"][of],
            }
        )
    yield pa.table({"device_id": pa.nulls(1, pa.string()),
                    "ts": pa.nulls(1, STAMP)})  # fmt: skip
