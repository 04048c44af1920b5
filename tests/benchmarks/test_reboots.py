"""What `benchmarks/reboots.py` measures with: oracles, streams, peers and simulated telemetry."""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("AIOPS_SHARED", ROOT.parent / "shared"))
LANL = SHARED / "data" / "reboots" / "lanl_failures.csv.gz"
DAY_S = 86_400.0
BEGIN_S = 1_600_000_000.0
NAMES = ("limit", "fleet", "reality", "streams", "peers")


@pytest.fixture(scope="module")
def parts() -> Iterator[dict[str, ModuleType]]:
    """The modules of the benchmark, which are found as a script finds them."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield {name: importlib.import_module(f"_reboot_{name}") for name in NAMES}
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


# -- oracles --------------------------------------------------------------------------------------


def test_a_run_of_sr_lasts_as_long_as_its_value_says(parts: dict[str, ModuleType]) -> None:
    mean, ratio, line, runs = 1.0 / 7.0, 2.0, 40.0, 400
    rng = np.random.default_rng(1)
    days = []
    for _ in range(runs):
        r, day = 0.0, 0
        while r < line:
            r = (1.0 + r) * ratio ** rng.poisson(mean) * math.exp(-(ratio - 1.0) * mean)
            day += 1
        days.append(day)
    value = parts["limit"]._sr_values(mean, ratio, line, runs, 2)
    assert (value >= line).all()
    error = np.std(days) / math.sqrt(runs) + value.std() / math.sqrt(runs)
    assert abs(np.mean(days) - value.mean()) < 3.0 * error


@pytest.mark.parametrize("ratio", [1.5, 3.0])
def test_the_line_of_sr_is_that_of_continuous_time_but_for_half_a_bin(
    parts: dict[str, ModuleType], ratio: float
) -> None:
    mean, line = 0.05, 1000.0
    value = parts["limit"]._sr_values(mean, ratio, line, 300, 3)
    half_a_bin = math.exp(-0.5 * (ratio - 1.0) * mean)
    expected = line / (parts["limit"].zeta(ratio) * half_a_bin)
    assert value.mean() == pytest.approx(expected, rel=0.08)


def test_equal_delays_have_a_ratio_of_one_and_no_error(parts: dict[str, ModuleType]) -> None:
    delay = np.array([1.0, np.nan, 3.0, 8.0])
    assert parts["limit"].ratio_of_means(delay, delay) == (1.0, 0.0)
    ratio, error = parts["limit"].ratio_of_means(2.0 * delay, delay)
    assert (ratio, error) == (2.0, pytest.approx(0.0, abs=1e-12))


def test_the_oracle_of_a_fleet_takes_the_lowest_line_its_false_share_allows(
    parts: dict[str, ModuleType],
) -> None:
    fleet = parts["fleet"]
    quiet, found = [9.0, 6.0, *[1.0] * 8], [10.0, 8.0, 7.0, 5.0]
    oracle = np.array([(at, -np.inf) for at in quiet] + [(0.0, at) for at in found])
    n = len(oracle)
    change = np.array([np.inf] * len(quiet) + [0.0] * len(found))
    none = np.zeros(n, dtype=np.int64)
    watched = fleet.Watched(fleet.Watch(), np.ones(n), change, none, none, change, oracle)
    assert watched.oracle_finds(0.0).tolist() == [True, False, False, False]
    assert watched.oracle_finds(0.3).tolist() == [True, True, True, False]
    assert watched.oracle_finds(0.4).tolist() == [True, True, True, True]


# -- telemetry of simulated worlds ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["bursts_p5", "day_bursts_p3", "modulated_2", "diurnal"])
def test_rows_tell_of_every_boot_once(parts: dict[str, ModuleType], name: str) -> None:
    reality = parts["reality"]
    first_day = parts["fleet"].START_DAY
    rng = np.random.default_rng(5)
    telemetry = reality.Telemetry(reality.WORLDS[name], np.full(3, 2.0), rng)
    everyone = np.arange(3, dtype=np.int32)
    batches = [
        batch
        for chunk in range(2)
        for batch in telemetry.chunk(first_day + chunk * reality.CHUNK_DAYS, everyone)
    ]
    assert len(batches) == 2 * reality.CHUNK_DAYS
    for device in everyone.tolist():
        of = [batch.device == device for batch in batches]
        ts = np.concatenate([batch.ts[at] for batch, at in zip(batches, of, strict=True)])
        count, uptime = (
            np.concatenate([batch.columns[key][at] for batch, at in zip(batches, of, strict=True)])
            for key in ("device.boot_count", "device.uptime")
        )
        booted = ts - (uptime * 1e9).astype(np.int64)
        assert (np.diff(ts) > 0).all()
        assert set(np.diff(count)) == {0.0, 1.0}
        assert ((np.abs(np.diff(booted)) > 1_000_000) == (np.diff(count) > 0)).all()
        assert count[-1] > 100


def test_weeks_scatter_as_much_as_said(parts: dict[str, ModuleType]) -> None:
    reality = parts["reality"]
    n = 300
    rng = np.random.default_rng(6)
    for name, index in (("poisson", 1.0), ("modulated_2", 2.0)):
        phase = np.zeros(n, dtype=np.int64)
        device, boots = reality.boots_of(reality.WORLDS[name], np.ones(n), 0, phase, rng)
        week = boots // (7 * parts["fleet"].DAY_NS)
        counts = np.bincount(device * 52 + week, minlength=52 * n)
        assert counts.mean() == pytest.approx(1.0, abs=0.05)
        assert counts.var() == pytest.approx(index, rel=0.1)


# -- streams --------------------------------------------------------------------------------------


def intervals(*rows: tuple[str, float, float, bool]) -> pd.DataFrame:
    """Return a table of intervals, in days, of one cluster."""
    table = [("c", node, BEGIN_S + a * DAY_S, BEGIN_S + b * DAY_S, up) for node, a, b, up in rows]
    return pd.DataFrame(table, columns=["cluster", "node", "start_s", "stop_s", "up"])


@pytest.mark.parametrize(
    "table",
    [
        intervals(("n", 0, 3, True), ("n", 3, 4, False), ("n", 4, 9, True)),
        intervals(("n", 4, 9, True), ("n", 0, 3, True)),
        intervals(("n", 0, 9, True), ("n", 3, 3.5, False), ("n", 3.2, 4, False)),
    ],
    ids=["in turns", "ups alone", "downs that overlap"],
)
def test_a_node_is_down_between_its_ups(parts: dict[str, ModuleType], table: pd.DataFrame) -> None:
    stream = parts["streams"].stream_of(table)
    assert stream.name == ("c/n",)
    assert stream.cluster == ("c",)
    assert ((stream.down_s - BEGIN_S) / DAY_S).tolist() == [3.0]
    assert ((stream.boot_s - BEGIN_S) / DAY_S).tolist() == [4.0]
    assert stream.years == pytest.approx(8.0 / 365.25)
    rows = stream.rows_of(0)
    day = (rows["ts"] - BEGIN_S) / DAY_S
    assert ((day < 3.0) | (day > 4.0)).all()
    assert rows["boot_count"].tolist() == [0] * 3 + [1] * (len(day) - 3)
    assert rows["uptime"][3] == pytest.approx(60.0)
    assert (day[3:] - rows["uptime"][3:] / DAY_S).tolist() == pytest.approx([4.0] * (len(day) - 3))


def test_a_node_that_is_never_down_is_known_from_its_downs_elsewhere(
    parts: dict[str, ModuleType],
) -> None:
    stream = parts["streams"].stream_of(
        intervals(("a", 0, 9, True), ("b", 0, 4, True), ("b", 4, 5, False))
    )
    assert stream.name == ("c/a", "c/b")
    assert stream.node.tolist() == [1]


def test_a_table_is_read_whatever_up_is_called(
    parts: dict[str, ModuleType], tmp_path: Path
) -> None:
    table = intervals(("n", 0, 3, True), ("n", 3, 4, False), ("n", 4, 9, True))
    for at, words in enumerate(({True: 1, False: 0}, {True: "up", False: "down"})):
        path = tmp_path / f"{at}.csv.gz"
        table.assign(up=table["up"].map(words)).to_csv(path, index=False)
        assert parts["streams"].read_events(path).down_s.tolist() == [BEGIN_S + 3 * DAY_S]
    table.to_parquet(tmp_path / "events.parquet")
    assert len(parts["streams"].read_events(tmp_path / "events.parquet").node) == 1
    table.drop(columns="up").to_csv(tmp_path / "bad.csv")
    with pytest.raises(SystemExit, match="no column up"):
        parts["streams"].read_events(tmp_path / "bad.csv")


@pytest.fixture
def stream(parts: dict[str, ModuleType]) -> object:
    """Three nodes that are down now and then for a year, once for ten days."""
    rng = np.random.default_rng(7)
    rows = []
    for node in "abc":
        rows.append((node, 0.0, 365.0, True))
        rows += [(node, at, at + 0.01, False) for at in rng.uniform(1.0, 364.0, 30)]
        rows.append((node, 100.2, 110.7, False))
    return parts["streams"].stream_of(intervals(*rows))


def test_shuffling_keeps_each_node_its_boots_at_their_time_of_day(
    parts: dict[str, ModuleType], stream: object
) -> None:
    shuffled = parts["streams"].shuffled(stream, 1)
    assert np.bincount(shuffled.node).tolist() == np.bincount(stream.node).tolist()
    for node in range(3):
        times = [np.sort(s.boot_s[s.node == node] % DAY_S) for s in (stream, shuffled)]
        assert times[1] == pytest.approx(times[0], abs=1e-3)
    assert (shuffled.boot_s > shuffled.down_s).all()
    same = shuffled.node[1:] == shuffled.node[:-1]
    assert (shuffled.down_s[1:] > shuffled.boot_s[:-1])[same].all()
    assert shuffled.years == pytest.approx(stream.years, rel=0.01)
    again = parts["streams"].shuffled(stream, 2)
    assert not np.array_equal(again.boot_s, shuffled.boot_s)


def test_drifts_add_boots_after_their_date_alone(
    parts: dict[str, ModuleType], stream: object
) -> None:
    drifting, since = parts["streams"].with_drifts(stream, 3.0, 1)
    ((name, date),) = since.items()
    drifted = stream.name.index(name)
    for node in range(3):
        of, was = drifting.boot_s[drifting.node == node], stream.boot_s[stream.node == node]
        if node != drifted:
            assert np.array_equal(of, was)
        else:
            assert np.array_equal(of[of < date], was[was < date])
            assert len(of[of >= date]) > 1.5 * len(was[was >= date])


def test_the_engine_counts_alarms_of_a_stream(parts: dict[str, ModuleType], stream: object) -> None:
    rng = np.random.default_rng(8)
    worse = intervals(
        ("n", 0.0, 365.0, True),
        ("other", 0.0, 365.0, True),
        *(("n", at, at + 0.01, False) for at in rng.uniform(1.0, 200.0, 5)),
        *(("n", at, at + 0.01, False) for at in rng.uniform(200.0, 364.0, 80)),
    )
    outcome = parts["streams"].run(parts["streams"].stream_of(worse), 8.3, None, 86_400)
    assert [name for name, _ in outcome.alarms] == ["c/n"]
    (weeks,) = outcome.delays({"c/n": BEGIN_S + 200.0 * DAY_S})
    assert 0.0 < weeks < 15.0
    assert outcome.per_year == pytest.approx(1.0 / outcome.years)
    assert outcome.shared == 0
    assert outcome.incidents >= 1


def test_months_are_read_as_the_laboratory_wrote_them(parts: dict[str, ModuleType]) -> None:
    month = parts["streams"].month
    assert pd.Timestamp(month("5-Jun", 0.0), unit="s") == pd.Timestamp("2005-06-01")
    assert pd.Timestamp(month("Nov-96", 0.0), unit="s") == pd.Timestamp("1996-11-01")
    assert month("before tracking", 7.0) == 7.0
    assert month("current", 8.0) == 8.0


@pytest.mark.skipif(not LANL.exists(), reason=f"{LANL.name} is not there (set AIOPS_SHARED)")
def test_all_nodes_of_the_laboratory_are_read(parts: dict[str, ModuleType]) -> None:
    stream = parts["streams"].stream_of(parts["streams"].lanl(LANL))
    sizes = pd.Series(stream.cluster).value_counts()
    assert (sizes["18"], sizes["2"], sizes["22"]) == (1024, 49, 1)
    assert len(stream.node) > 20_000
    assert (stream.begin_s[stream.node] < stream.down_s).all()
    assert (stream.boot_s <= stream.end_s[stream.node]).all()


# -- peers ----------------------------------------------------------------------------------------


def test_the_statistic_that_is_tuned_is_that_of_page_hinkley(
    parts: dict[str, ModuleType],
) -> None:
    peers = parts["peers"]
    counts = np.random.default_rng(9).poisson(0.3, (300, 4))
    for threshold in (3.0, 6.0):
        for i in range(4):
            values = [float(v[0]) for v in peers.page_hinkley_statistic(counts[:, i : i + 1])]
            over = [day for day, value in enumerate(values) if value > threshold]
            assert peers.page_hinkley(threshold)(counts[:, i]) == (over[0] if over else -1)


def test_the_rule_looks_back_28_days(parts: dict[str, ModuleType]) -> None:
    counts = np.zeros(60, dtype=np.int64)
    counts[[10, 20, 37]] = 1
    assert parts["peers"].rule(2)(counts) == 37
    counts[37], counts[38] = 0, 1
    assert parts["peers"].rule(2)(counts) == -1


def test_mean_runs_count_each_device_until_it_is_over(parts: dict[str, ModuleType]) -> None:
    days = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    runs = parts["peers"].mean_runs(iter(days), np.array([1.0, 3.0]))
    assert runs.tolist() == [5.0, 8.0]
