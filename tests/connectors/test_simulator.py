"""The simulator tells one story whatever its size or entry point, and its truth is true."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aiops.connectors.inventory import read_inventory, write_inventory
from aiops.connectors.simulator import (
    SCENARIOS,
    SCHEMA,
    TRUTH,
    Fault,
    Scenario,
    Simulation,
    simulate_to_parquet,
)
from aiops.errors import FileError, InputError, SettingsError

DAY_NS = 86_400 * 10**9
TINY = SCENARIOS["tiny"]
CLEAN = Scenario(
    devices=12,
    sites=3,
    days=10,
    link_outages_per_month=0.0,
    lost_share=0.0,
    duplicate_share=0.0,
    disordered_share=0.0,
    bad_clock_share=0.0,
    garbage_share=0.0,
)


def plain(table: pa.Table) -> pa.Table:
    """Return the table with strings instead of codes, in one chunk."""
    return pa.table(
        {
            name: column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    ).combine_chunks()


def history(scenario: Scenario) -> pa.Table:
    """Return all rows but the end of the history."""
    frames = [plain(frame) for frame, _ in Simulation(scenario).frames()]
    return pa.concat_tables(frames[:-1]).combine_chunks()


def packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def column(table: pa.Table, name: str) -> np.ndarray:
    values = table[name].to_numpy()
    return values.astype(np.int64) if values.dtype.kind == "M" else values


def of_devices(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_null(table["part"]))


def of_parts(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_valid(table["part"]))


def number(table: pa.Table) -> np.ndarray:
    """Return the number of the device of each row."""
    return np.array([int(name[3:]) - 1 for name in table["device_id"].to_pylist()], dtype=np.int64)


# One story ---------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    once, again = (
        [(packed(frame), position) for frame, position in Simulation(TINY).frames()]
        for _ in range(2)
    )
    assert once == again
    simulation, other = Simulation(TINY), Simulation(replace(TINY, seed=2))
    assert simulation.truth.equals(Simulation(TINY).truth)
    assert not simulation.truth.equals(other.truth)
    assert packed(next(other.frames())[0]) != once[0][0]


def test_a_device_lives_the_same_life_in_a_fleet_of_any_size() -> None:
    scenario = replace(
        SCENARIOS["fleet"],
        sites=4,
        days=6,
        devices=8,
        link_outages_per_month=20.0,
        duplicate_share=0.1,
        disordered_share=0.1,
        reboots_per_week=5.0,
        faults=(Fault("heat", "site:Lyon", 2.0, 2.0, 9.0),),
    )
    small, large = history(scenario), history(replace(scenario, devices=29))
    few = set(small["device_id"].to_pylist())
    assert len(few) == 8
    assert small.equals(large.filter(pc.is_in(large["device_id"], pa.array(sorted(few)))))
    small_truth, large_truth = (
        Simulation(replace(scenario, devices=devices)).truth for devices in (8, 29)
    )
    assert small_truth.equals(large_truth.slice(0, small_truth.num_rows))


def test_a_fault_leaves_everybody_else_as_they_were() -> None:
    fault = Fault("heat", "site:Osaka", 3.0, days=4.0, size=10.0)
    calm, hot = history(CLEAN), history(replace(CLEAN, faults=(fault,)))
    osaka = pc.equal(calm["site"], "Osaka")
    assert calm.filter(pc.invert(osaka)).equals(hot.filter(pc.invert(osaka)))
    before, after = (of_devices(t.filter(osaka)) for t in (calm, hot))
    rise = column(after, "temperature.celsius") - column(before, "temperature.celsius")
    day = (column(before, "ts") - CLEAN.start_ns) / DAY_NS
    assert rise[(day < 3.0) | (day > 7.0)] == pytest.approx(0.0)
    assert rise[(day > 4.0) & (day < 6.0)] == pytest.approx(10.0, abs=0.11)  # readings have 0.1
    assert rise[(day > 3.5 - 0.02) & (day < 3.5 + 0.02)] == pytest.approx(5.0, abs=0.35)


# Frames ------------------------------------------------------------------------------------------


def test_frames_come_in_the_order_of_the_log_and_end_with_the_end() -> None:
    simulation = Simulation(TINY)
    latest = 0
    for frame, position in simulation.frames():
        assert frame.schema.equals(SCHEMA)
        if position["tick"] > TINY.ticks:
            assert frame.num_rows == 1
            assert all(frame[name].null_count == 1 for name in frame.column_names)
            continue
        recv_ts = column(frame, "recv_ts")
        assert recv_ts[0] >= latest
        assert np.all(np.diff(recv_ts) >= 0)
        assert recv_ts[-1] < TINY.start_ns + position["tick"] * TINY.interval_s * 10**9
        latest = recv_ts[-1]
    assert position == {"tick": TINY.ticks + 1}


@pytest.mark.parametrize("frame_ticks", [24, 3])
def test_a_history_goes_on_the_same_from_every_position(frame_ticks: int) -> None:
    scenario = replace(
        TINY, days=5, frame_ticks=frame_ticks, link_outages_per_month=20.0, disordered_share=0.1,
        faults=(Fault("outage", "site:Lyon", 0.3, days=2.4), Fault("dead", "gw-0002", 3.0)),
    )  # fmt: skip
    simulation = Simulation(scenario)
    whole = [(packed(frame), position) for frame, position in simulation.frames()]
    assert len(whole) == scenario.ticks // frame_ticks + 1
    for place, (_, position) in enumerate(whole):
        rest = [(packed(frame), where) for frame, where in simulation.frames(position)]
        assert rest == whole[place + 1 :]


def test_how_a_history_is_cut_into_frames_changes_no_row() -> None:
    assert history(replace(TINY, days=4, faults=(), frame_ticks=1)).equals(
        history(replace(TINY, days=4, faults=()))
    )


@pytest.mark.parametrize("position", [{}, {"tick": -1}, {"tick": TINY.ticks + 2}, {"tick": "3"}])
def test_a_strange_position_is_refused(position: dict[str, object]) -> None:
    with pytest.raises(InputError, match="tick 0 to 673"):
        next(Simulation(TINY).frames(position))


def test_every_column_is_in_the_vocabulary_and_every_clean_value_in_its_range() -> None:
    text = resources.files("aiops.telemetry").joinpath("vocabulary.toml").read_text()
    metrics = {metric["name"]: metric for metric in tomllib.loads(text)["metric"]}
    table = history(replace(SCENARIOS["healthy"], devices=20, days=20, wear_per_year=3.0))
    for name in SCHEMA.names[7:]:
        metric, _, source = name.partition("/")
        assert metric in metrics
        assert not source or source in {each["name"] for each in metrics[metric]["sources"]}
        if name != "device.boot_id":
            values = column(table, name)
            values = values[~np.isnan(values)]
            assert len(values)
            assert values.min() >= metrics[metric]["lower"]
            assert values.max() <= metrics[metric]["upper"]


# Truth -------------------------------------------------------------------------------------------


WORN = replace(
    CLEAN,
    devices=40,
    days=400,
    interval_s=86_400,
    part_interval_s=86_400,
    wear_per_year=0.6,
    workload_change_share=0.5,
    update_days=0,
)


def test_a_wear_reading_is_the_floor_of_the_true_wear() -> None:
    simulation, table = Simulation(WORN), of_parts(history(WORN))
    wear = simulation.true_wear(number(table), column(table, "ts"))
    for source, step, highest in (("nvme", 0.01, 2.55), ("emmc", 0.1, 1.0)):
        reading = column(table, f"storage.wear.used_ratio/{source}")
        shown = ~np.isnan(reading)
        assert np.all(reading[shown] <= wear[shown] + 1e-12)
        assert np.all((wear[shown] < reading[shown] + step) | (reading[shown] == highest))
        assert np.all(np.diff(np.unique(reading[shown])) > step / 2)


def test_the_date_of_wear_out_is_when_the_true_wear_is_one() -> None:
    simulation = Simulation(WORN)
    end_ts = WORN.start_ns + WORN.days * DAY_NS
    parts = [row for row in simulation.truth.to_pylist() if row["part"] and row["fault"] == "none"]
    assert len(parts) == WORN.devices
    inside = [row["wear_out_ts"] is not None and row["wear_out_ts"] < end_ts for row in parts]
    assert 3 < sum(inside) < WORN.devices
    for device, (row, worn) in enumerate(zip(parts, inside, strict=True)):
        at = row["wear_out_ts"] if worn else end_ts
        wear = simulation.true_wear(np.array([device]), np.array([at]))[0]
        if worn:
            assert wear == pytest.approx(1.0, abs=1e-6)
        else:
            assert wear < 1.0


def test_a_reading_of_one_comes_after_the_true_date_and_not_before() -> None:
    table = of_parts(history(WORN))
    truth = Simulation(WORN).truth
    date = {
        row["device_id"]: row["wear_out_ts"]
        for row in truth.to_pylist()
        if row["part"] and row["fault"] == "none"
    }
    reading = np.fmax(
        column(table, "storage.wear.used_ratio/nvme"), column(table, "storage.wear.used_ratio/emmc")
    )
    never = np.iinfo(np.int64).max
    worn_ts = np.array([date[name] or never for name in table["device_id"].to_pylist()])
    assert np.array_equal(reading >= 1.0, column(table, "ts") >= worn_ts)


def test_wear_follows_the_rate_that_truth_gives_before_and_after() -> None:
    """The sum over many parts, whose variance is `wear_scale` times its mean."""
    scenario = replace(WORN, devices=150, workload_change_share=1.0, days=300)
    simulation = Simulation(scenario)
    change = [row for row in simulation.truth.to_pylist() if row["fault"] == "writes"]
    assert len(change) == scenario.devices
    device = np.arange(scenario.devices)
    onset = np.array([row["onset_ts"] for row in change])
    for begin, end, rate in (
        (np.full_like(onset, scenario.start_ns), onset, "rate_before"),
        (onset, np.full_like(onset, scenario.start_ns + scenario.days * DAY_NS), "rate_after"),
    ):
        grown = simulation.true_wear(device, end) - simulation.true_wear(device, begin)
        expected = np.array([row[rate] for row in change]) * (end - begin) / 1e9
        # Days of light and heavy writing (sd of log 0.3) add their own variance; 1.1 is above it.
        sd = np.sqrt(1.1 * scenario.wear_scale * expected.sum() + 0.1 * (expected**2).sum() / 50)
        assert abs(grown.sum() - expected.sum()) < 4.0 * sd


def boots_counted(table: pa.Table) -> np.ndarray:
    """Return per device how far its boot counter went; NaN where it has none."""
    device, count = number(table), column(table, "device.boot_count")
    return np.array(
        [np.ptp(count[device == d]) if d in device else np.nan for d in range(device.max() + 1)]
    )


def test_reboots_are_as_frequent_as_truth_says_before_and_after_the_drift() -> None:
    scenario = replace(
        CLEAN, devices=120, days=60, reboots_per_week=3.0, update_days=0, interval_s=7200,
        part_interval_s=86_400 * 5, faults=(Fault("reboots", "fleet", 30.0, size=3.0),),
    )  # fmt: skip
    table = of_devices(history(scenario))
    truth = Simulation(scenario).truth
    drift = truth.filter(pc.equal(truth["fault"], "reboots"))
    assert drift.num_rows == scenario.devices
    assert column(drift, "rate_after") == pytest.approx(3.0 * column(drift, "rate_before"))
    ts = column(table, "ts")
    onset = scenario.start_ns + 30 * DAY_NS
    for rows, rate in ((ts < onset, "rate_before"), (ts >= onset, "rate_after")):
        boots = boots_counted(table.filter(pa.array(rows)))
        counts = ~np.isnan(boots)
        assert 40 < counts.sum() < 80
        seconds = 30 * 86_400 - scenario.interval_s
        expected = column(drift, rate)[counts].sum() * seconds
        assert abs(boots[counts].sum() - expected) < 4.0 * np.sqrt(expected)


def test_the_boot_counter_the_boot_id_and_the_uptime_tell_the_same_boots() -> None:
    table = of_devices(history(replace(CLEAN, reboots_per_week=6.0, update_days=3)))
    ids = np.array(table["device.boot_id"].to_pylist())
    boot_ts = column(table, "ts") / 1e9 - column(table, "device.uptime")
    for name in sorted(set(table["device_id"].to_pylist())):
        own = np.array(pc.equal(table["device_id"], name))
        new = ids[own][1:] != ids[own][:-1]
        assert new.any()
        assert np.array_equal(np.abs(np.diff(boot_ts[own])) > 1.5, new)
        assert np.all(np.abs(column(table, "device.boot_time")[own] - boot_ts[own]) < 3.0)
        count = column(table, "device.boot_count")[own]
        if not np.isnan(count[0]):
            assert np.array_equal(np.diff(count) > 0, new)
    planned = column(table, "device.reboot_planned")
    first = column(table, "device.uptime") < CLEAN.interval_s
    assert 0.2 < planned[first].mean() < 0.8


def test_bursts_are_more_boots_within_minutes() -> None:
    calm = replace(CLEAN, devices=60, days=30, reboots_per_week=2.0, update_days=0)
    counted = [
        np.nansum(boots_counted(of_devices(history(replace(calm, burst_share=share)))))
        for share in (0.0, 0.5)
    ]
    assert counted[1] == pytest.approx(2.0 * counted[0], rel=0.25)


def test_counters_of_flash_only_grow_except_at_boot_where_their_source_resets() -> None:
    scenario = replace(CLEAN, devices=30, days=20, reboots_per_week=3.0)
    table = history(scenario)
    device = number(table)
    tick = (column(table, "ts") - scenario.start_ns) // (scenario.interval_s * 10**9)
    is_part = np.array(pc.is_valid(table["part"]))
    boot_id = table["device.boot_id"].to_numpy()
    boot = {(d, t): boot_id[i] for i, (d, t) in enumerate(zip(device, tick, strict=True))
            if not is_part[i]}  # fmt: skip
    falls = 0
    for d in range(scenario.devices):
        own = is_part & (device == d)
        for name in (
            "storage.power_on_time",
            "storage.bytes_written/nvme",
            "storage.media_errors",
        ):
            values = column(table, name)[own]
            assert np.isnan(values).all() or np.all(np.diff(values) >= 0)
        fell = np.flatnonzero(np.diff(column(table, "storage.bytes_written/diskstats")[own]) < 0)
        falls += len(fell)
        ids = [boot[d, t] for t in tick[own]]
        assert all(ids[place] != ids[place + 1] for place in fell)
    assert falls > 10


# Faults ------------------------------------------------------------------------------------------


def gap_days(table: pa.Table, name: str, by: str = "ts") -> tuple[float, float]:
    """Return the longest silence of a device: its begin and end in days."""
    own = of_devices(table).filter(pc.equal(of_devices(table)["device_id"], name))
    day = np.sort((column(own, by) - CLEAN.start_ns) / DAY_NS)
    place = int(np.argmax(np.diff(day)))
    return float(day[place]), float(day[place + 1])


def test_a_failing_flash_errs_runs_out_of_spare_and_is_read_only_unworn() -> None:
    fault = Fault("failing", "fleet", 2.0, days=20.0)
    scenario = replace(CLEAN, days=25, faults=(fault,))
    parts = of_parts(history(scenario))
    day = (column(parts, "ts") - scenario.start_ns) / DAY_NS
    early, late = day < 2.0, day > 22.1
    errors, spare = column(parts, "storage.media_errors"), column(parts, "storage.spare_ratio")
    warning, reserve = column(parts, "storage.critical_warning"), column(parts, "storage.pre_eol")
    assert np.nanmax(errors[early]) == 0.0
    assert np.nanmin(errors[late]) > 10.0
    assert np.nanmin(spare[early]) == 1.0
    assert np.nanmax(spare[late]) == 0.0
    assert set(warning[early & ~np.isnan(warning)]) == {0.0}
    assert set(warning[late & ~np.isnan(warning)]) == {9.0}
    assert set(reserve[early & ~np.isnan(reserve)]) == {1.0}
    assert set(reserve[late & ~np.isnan(reserve)]) == {3.0}
    assert Simulation(scenario).true_wear(number(parts), column(parts, "ts")).max() < 0.93
    truth = Simulation(scenario).truth.to_pylist()
    told = [row for row in truth if row["fault"] == "failing"]
    assert all(row["part"] and row["end_ts"] is None for row in told)
    assert len(told) == scenario.devices


def test_a_link_outage_is_lost_or_sent_later() -> None:
    told = Fault("outage", "site:Osaka", 4.02, days=0.25)
    lost = history(replace(CLEAN, faults=(told,), store_and_forward_share=0.0))
    later = history(replace(CLEAN, faults=(told,), store_and_forward_share=1.0))
    calm = history(CLEAN)
    begin, end = gap_days(lost, "gw-0002")
    assert (begin, end) == pytest.approx((4.0, 4.02 + 0.25), abs=1.0 / 24.0)
    assert sorted(column(later, "ts")) == sorted(column(calm, "ts"))
    wait = column(later, "recv_ts") - column(later, "ts")
    delayed = later.filter(pa.array(wait > 10**10))
    assert set(delayed["site"].to_pylist()) == {"Osaka"}
    released = CLEAN.start_ns + 4.27 * DAY_NS
    assert np.all(np.abs(column(delayed, "recv_ts") - released) < 60e9)
    assert np.all(column(of_devices(delayed), "net.loss_ratio") == 1.0)
    assert np.isnan(column(delayed, "net.rtt_ms")).all()
    assert gap_days(later, "gw-0002", "recv_ts") == pytest.approx((begin, end), abs=1.0 / 24.0)


def test_an_outage_without_an_end_holds_its_rows_back_for_good() -> None:
    told = Fault("outage", "gw-0002", 2.0)
    table = history(replace(CLEAN, faults=(told,), store_and_forward_share=1.0))
    own = table.filter(pc.equal(table["device_id"], "gw-0002"))
    assert column(own, "ts").max() < CLEAN.start_ns + 2.1 * DAY_NS


def test_the_dead_stay_silent() -> None:
    table = history(replace(CLEAN, faults=(Fault("dead", "gw-0003", 6.0),)))
    last = {
        name: column(table.filter(pc.equal(table["device_id"], name)), "ts").max()
        for name in ("gw-0003", "gw-0004")
    }
    assert last["gw-0003"] < CLEAN.start_ns + 6 * DAY_NS
    assert last["gw-0004"] > CLEAN.start_ns + 9 * DAY_NS


def test_a_power_cut_boots_all_of_a_site_that_have_no_battery() -> None:
    told = Fault("power_cut", "site:Lyon", 5.01, days=2.0 / 24.0)
    scenario = replace(
        CLEAN, devices=30, battery_share=0.5, reboots_per_week=1e-6, update_days=0, faults=(told,)
    )
    table = of_devices(history(scenario))
    ts, uptime = column(table, "ts"), column(table, "device.uptime")
    back = scenario.start_ns + (5.01 + 2.0 / 24.0) * DAY_NS
    booted = (np.abs(ts - uptime * 1e9 - back) < 90e9) & (ts > back)
    mains = (column(table, "power.on_mains") == 1.0) & np.array(pc.equal(table["site"], "Lyon"))
    assert 2 <= len(set(number(table)[mains])) < 10
    assert np.array_equal(booted, mains & (ts > back))
    assert not np.any(mains & (ts > back - 2 * 3600e9) & (ts < back))
    truth = Simulation(scenario).truth
    cut = truth.filter(pc.equal(truth["fault"], "power_cut"))
    assert set(number(cut)) == set(number(table)[mains])


def test_a_weak_link_loses_packets_and_slows_down() -> None:
    told = Fault("link", "gw-0005", 3.0, days=5.0, size=25.0)
    calm, weak = (of_devices(history(replace(CLEAN, faults=faults))) for faults in ((), (told,)))
    ts = column(calm, "ts") - CLEAN.start_ns
    inside = (number(calm) == 4) & (ts > 3.1 * DAY_NS) & (ts < 7.9 * DAY_NS)
    for name, sign in (("net.rssi_dbm", -1), ("net.loss_ratio", 1), ("net.rtt_ms", 1)):
        change = sign * (column(weak, name) - column(calm, name))
        assert np.all(change[inside] >= 0)
        assert change[inside].mean() > 0
        assert not np.any(change[number(calm) != 4])


def test_shares_of_random_faults_are_held() -> None:
    scenario = replace(
        CLEAN, devices=600, days=4, interval_s=86_400, part_interval_s=86_400,
        workload_change_share=0.3, reboot_drift_share=0.2, death_share=0.1,
    )  # fmt: skip
    truth = Simulation(scenario).truth
    assert truth.schema.equals(TRUTH)
    for kind, share in (("writes", 0.3), ("reboots", 0.2), ("dead", 0.1)):
        found = pc.sum(pc.equal(truth["fault"], kind)).as_py()
        # Of those that would come after a death, truth says nothing.
        assert found == pytest.approx(
            600 * share, abs=4 * np.sqrt(600 * share) + 0.05 * 600 * share
        )


# Mess --------------------------------------------------------------------------------------------


def same_report(table: pa.Table) -> int:
    keys = list(zip(table["device_id"].to_pylist(), column(table, "ts"), strict=True))
    return len(keys) - len(set(keys))


def out_of_order(table: pa.Table) -> int:
    device, ts = number(table), column(table, "ts")
    return sum(int((np.diff(ts[device == d]) < 0).sum()) for d in np.unique(device))


def in_1970(table: pa.Table) -> int:
    return int((column(table, "ts") < 400 * DAY_NS).sum())


def impossible(table: pa.Table) -> int:
    return int(
        ((column(table, "temperature.celsius") < -60.0) | (column(table, "net.rssi_dbm") > 0)).sum()
        + ((column(table, "device.uptime") > 3.2e9) | (column(table, "net.loss_ratio") > 1)).sum()
    )


def missing(table: pa.Table) -> int:
    return CLEAN.devices * CLEAN.ticks - table.num_rows


MESS: dict[str, Callable[[pa.Table], int]] = {
    "lost_share": missing,
    "duplicate_share": same_report,
    "disordered_share": out_of_order,
    "bad_clock_share": in_1970,
    "garbage_share": impossible,
}


@pytest.mark.parametrize("switch", MESS)
def test_each_switch_makes_its_own_mess_and_clean_is_clean(switch: str) -> None:
    clean = of_devices(history(CLEAN))
    assert [count(clean) for count in MESS.values()] == [0] * len(MESS)
    table = of_devices(history(replace(CLEAN, **{switch: 0.1})))
    found = MESS[switch](table)
    if switch == "bad_clock_share":
        boots = len(set(clean["device.boot_id"].to_pylist())) - CLEAN.devices
        assert 0 < found < 0.4 * boots
    else:
        expected = 0.1 * CLEAN.devices * CLEAN.ticks
        assert found == pytest.approx(expected, abs=5 * np.sqrt(expected))


# Inventory, presets, files -----------------------------------------------------------------------


def test_the_inventory_fits_the_telemetry_and_itself() -> None:
    simulation = Simulation(SCENARIOS["demo"])
    inventory = simulation.inventory()
    frame = plain(next(simulation.frames())[0])
    for row in frame.group_by(["device_id", "site", "cohort"]).aggregate([]).to_pylist():
        node = inventory.by_id[row["device_id"]]
        assert (node.site, node.cohort) == (row["site"], row["cohort"])
    clouds = [node for node in inventory.nodes if node.kind == "cloud"]
    assert [(node.id, node.site) for node in clouds] == [("cloud-1", "cloud")]
    assert len(inventory.by_id) == len(inventory.nodes) == SCENARIOS["demo"].devices + 1
    gateways = [node.site for node in inventory.nodes if node.kind == "gateway"]
    for site in {node.site for node in inventory.nodes} - {"cloud"}:
        assert 1 <= gateways.count(site) <= 3
    assert inventory.workloads
    for workload in inventory.workloads:
        assert inventory.by_id[workload.home].kind != "cloud"
        assert workload.home not in workload.candidates
        assert "cloud-1" in workload.candidates
        assert all(name in inventory.by_id for name in workload.candidates)
        assert 20.0 <= workload.latency_slo_ms <= 2000.0
        assert inventory.by_id[workload.home].cpu_cores >= workload.cpu_cores


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_faults_of_a_preset_reach_somebody(name: str) -> None:
    simulation = Simulation(SCENARIOS[name])
    told = {fault.kind for fault in SCENARIOS[name].faults}
    assert told <= set(simulation.truth["fault"].to_pylist())


def test_nothing_is_wrong_in_the_healthy_fleet() -> None:
    truth = Simulation(SCENARIOS["healthy"]).truth
    assert set(truth["fault"].to_pylist()) == {"none"}


def test_the_demo_tells_its_stories() -> None:
    scenario = SCENARIOS["demo"]
    simulation = Simulation(scenario)
    rows = sum(frame.num_rows for frame, _ in simulation.frames())
    assert 200_000 < rows < 300_000
    end_ts = scenario.start_ns + scenario.days * DAY_NS
    wear = [row for row in simulation.truth.to_pylist() if row["fault"] == "wear"]
    assert sorted(row["wear_out_ts"] < end_ts for row in wear) == [False, True]
    assert {row["device_id"] for row in simulation.truth.to_pylist() if row["fault"] == "none"
            and row["part"] and (row["wear_out_ts"] or end_ts) < end_ts} == {
        row["device_id"] for row in wear if row["wear_out_ts"] < end_ts
    }  # fmt: skip
    temperature = {node.id: node.temperature_limit_c for node in simulation.inventory().nodes}
    hot = set()
    for frame, _ in simulation.frames():
        limit = np.array([temperature.get(name, np.nan) for name in frame["device_id"].to_pylist()])
        over = column(frame, "temperature.celsius") > limit
        hot |= set(frame.filter(pa.array(over))["site"].to_pylist())
    assert hot == {"Lyon"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 0}, "devices = 0: use 1 to"),
        ({"lost_share": 1.5}, "lost_share = 1.5"),
        ({"lost_share": 0.6, "garbage_share": 0.6}, "sum above 1"),
        ({"part_interval_s": 5000}, "multiple of interval_s"),
        ({"frame_ticks": 7}, "divisor of 24"),
        ({"start": "yesterday"}, "start = 'yesterday'"),
        ({"spread_s": 3000.0}, "spread_s = 3000.0: use 0 to 1800"),
    ],
)
def test_an_impossible_setting_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(Scenario(), **changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fire", "gw-0001", 3.0), "fault kind 'fire': use one of wear, "),
        (("wear", "gw-0001", 3.0), "needs a number of days"),
        (("failing", "gw-0001", 3.0), "needs a number of days"),
        (("heat", "gw-0001", 3.0, -1.0), "days and size must be above 0"),
        (("heat", "gw-0001", float("nan")), "start_day finite"),
    ],
)
def test_an_impossible_fault_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Fault(*arguments)


@pytest.mark.parametrize("where", ["site:Atlantis", "site:Oulu", "cohort:cm4", "gw-7", "Lyon"])
def test_a_fault_of_a_place_that_cannot_be_is_refused(where: str) -> None:
    with pytest.raises(SettingsError, match=rf"'{where}', which is nowhere.*site:Nairobi, cohort:"):
        replace(CLEAN, faults=(Fault("dead", where, 3.0),))


def test_a_preset_may_be_made_smaller_and_shorter_and_its_truth_shrinks_with_it() -> None:
    truth = Simulation(replace(SCENARIOS["demo"], devices=20, days=90)).truth
    told = {(row["device_id"], row["fault"]) for row in truth.to_pylist()}
    assert ("gw-0014", "wear") in told
    assert "gw-0043" not in {device for device, _ in told}
    assert not {"heat", "dead", "outage"} & {fault for _, fault in told}


def test_a_history_on_disk_is_the_history(tmp_path: Path) -> None:
    scenario = replace(TINY, days=9)
    seen: list[tuple[int, int]] = []
    scenario = replace(scenario, faults=())
    for _ in range(2):  # the second replaces the first
        simulate_to_parquet(
            scenario, tmp_path / "sim", lambda *at: seen.append(at), days_per_file=4
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sim"]
    assert seen[-1] == (scenario.ticks, scenario.ticks)
    assert seen[: len(seen) // 2] == sorted(seen[: len(seen) // 2])

    files = sorted((tmp_path / "sim" / "telemetry").iterdir())
    assert [path.stem for path in files] == ["2026-01-05", "2026-01-09", "2026-01-13"]
    tables = [plain(pq.read_table(path)) for path in files]
    for table in tables:
        keys = list(zip(table["device_id"].to_pylist(), column(table, "ts"), strict=True))
        assert keys == sorted(keys)
    order = [("recv_ts", "ascending"), ("device_id", "ascending"), ("part", "ascending")]
    assert pa.concat_tables(tables).sort_by(order).equals(history(scenario).sort_by(order))

    simulation = Simulation(scenario)
    assert pq.read_table(tmp_path / "sim" / "truth.parquet").equals(simulation.truth)
    assert read_inventory(tmp_path / "sim" / "inventory.json") == simulation.inventory()
    write_inventory(simulation.inventory(), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (
        tmp_path / "sim" / "inventory.json"
    ).read_bytes()


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileError, match=r"thesis\.tex"):
        simulate_to_parquet(TINY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_data_in_the_repository_is_what_its_card_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(__file__).resolve().parents[2] / "data"
    card = (folder / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(card.partition("```python\n")[2].partition("```")[0], {})
    made = sorted(path.relative_to(tmp_path / "data") for path in tmp_path.rglob("*.*"))
    kept = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    by_hand = [Path("placement") / name for name in ("site.toml", "state.csv")]
    assert kept == sorted([*made, *by_hand, Path("README.md")])
    assert all(f"`{path.name}`" in card for path in by_hand)
    assert sum((folder / path).stat().st_size for path in kept) < 300_000
    for path in made:
        if path.suffix == ".json":
            assert read_inventory(folder / path) == read_inventory(tmp_path / "data" / path)
            continue
        old, new = (plain(pq.read_table(root / path)) for root in (folder, tmp_path / "data"))
        if "telemetry" in path.parts:
            assert f"| {old.num_rows:,} |" in card
        assert old.num_rows == new.num_rows
        for name in old.column_names:
            if not pa.types.is_floating(old[name].type):
                assert old[name].equals(new[name]), name
            else:  # another machine may round the last digit of a reading differently
                off = ~np.isclose(column(old, name), column(new, name), equal_nan=True)
                assert off.mean() < 0.001, name
