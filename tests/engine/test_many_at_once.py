"""What happens to many devices at once is one incident, and no finding of any device."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from aiops.alerts.rule import AlertRule
from aiops.detectors.reboot_drift import RebootDrift
from aiops.engine.engine import Engine

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "1"
SECOND = 10**9
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
START = 1_760_054_400 * SECOND
SITE = 1000 if COMPILED else 40
FLEET, SITES = (1000, 20) if COMPILED else (60, 6)


def history(rows: dict[str, np.ndarray], **labels) -> pa.Table:
    """Return rows in the order of their time, and the end of the history."""
    order = np.argsort(rows["ts"], kind="stable")
    columns = {name: pa.array(np.asarray(values)[order]) for name, values in rows.items()}
    table = pa.table(columns)
    for name, value in labels.items():
        table = table.append_column(name, pa.array([value] * len(order)))
    end = pa.table([pa.nulls(1, kind) for kind in table.schema.types], schema=table.schema)
    return pa.concat_tables([table, end]).combine_chunks()


def beats(devices: int, days: float, every: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return device and time of regular reports, each device with a phase of its own."""
    rng = np.random.default_rng(seed)
    n = int(days * DAY / every)
    phase = rng.integers(0, every, devices)
    device = np.repeat(np.arange(devices), n)
    ts = START + np.tile(np.arange(n), devices) * every + np.repeat(phase, n)
    return device, ts


def names(device: np.ndarray) -> np.ndarray:
    return np.char.add("gw-", np.char.zfill(device.astype(str), 5))


def judge(table: pa.Table):
    """Return the findings that fired, and the keys of all incidents there ever were."""
    steps = [Engine(epoch_s=300).step(table)]
    fired = [f for step in steps for f in step.findings if f.status == "firing"]
    return fired, {i.key for step in steps for i in step.incidents}


def booted(boots: np.ndarray, ts: np.ndarray) -> np.ndarray:
    """Return [n] the last of `boots` [n, k] (ns, ascending) that is not after `ts` [n]."""
    return np.where(boots <= ts[:, None], boots, np.iinfo(np.int64).min).max(axis=1)


def test_a_power_cut_is_one_incident_of_its_site():
    device, ts = beats(SITE, 9.0, 30 * MINUTE, seed=1)
    rng = np.random.default_rng(2)
    cut = START + 6 * DAY + 11 * MINUTE
    down = 3 * MINUTE
    boot = cut + down + rng.integers(0, 90, SITE) * SECOND  # how long each takes to boot
    back = boot + rng.integers(0, 40 * 60, SITE) * SECOND  # and to find the network
    alive = (ts < cut) | (ts >= back[device])
    device, ts = np.append(device[alive], np.arange(SITE)), np.append(ts[alive], back)
    first = START - rng.integers(1, 300, SITE) * DAY
    since = booted(np.column_stack((first, boot))[device], ts)
    rows = {"device_id": names(device), "ts": ts, "uptime_s": (ts - since) / SECOND}
    fired, incidents = judge(history(rows, site="lyon", cohort="cm4-2.4"))
    assert incidents == {"reboot_drift@site:lyon"}
    assert [f.group for f in fired] == ["site:lyon"]
    assert len(fired[0].devices) > 0.15 * SITE
    assert "devices rebooted at one moment" in fired[0].sentence


def rollout(with_version: bool) -> pa.Table:
    """Return a fleet in which 1, 10, 40 and 49 % of a cohort are updated on four days."""
    device, ts = beats(FLEET, 9.0, HOUR, seed=3)
    rng = np.random.default_rng(4)
    stage = np.searchsorted([0.01, 0.11, 0.51], rng.random(FLEET))
    moment = START + (4 + stage) * DAY + 8 * HOUR + rng.integers(0, 20 * 60, FLEET) * SECOND
    first = START - rng.integers(1, 300, FLEET) * DAY
    since = booted(np.column_stack((first, moment))[device], ts)
    rows = {
        "device_id": names(device),
        "ts": ts,
        "site": np.char.add("site-", (device % SITES).astype(str)),
        "uptime_s": (ts - since) / SECOND,
        "boot_id": np.char.add("boot-", since.astype(str)),
    }
    if with_version:
        rows["sw_version"] = np.where(ts >= moment[device], "2.5", "2.4")
    return history(rows, cohort="cm4")


@pytest.mark.skipif(not COMPILED, reason="a cohort of 1,000 needs compiled kernels")
def test_a_staged_rollout_is_at_most_one_incident_of_its_cohort():
    fired, incidents = judge(rollout(with_version=False))
    assert incidents == {"reboot_drift@cohort:cm4"}
    assert [f.group for f in fired] == ["cohort:cm4"]


def test_a_rollout_that_tells_its_version_is_planned():
    fired, incidents = judge(rollout(with_version=True))
    assert not fired
    assert not incidents


def test_clocks_that_are_set_are_no_reboots():
    devices = SITE // 4
    device, ts = beats(devices, 8.0, 30 * MINUTE, seed=5)
    rng = np.random.default_rng(6)
    boot = START - rng.integers(1, 300, devices) * DAY
    step = np.where(ts >= START + 4 * DAY, 7200, 0) + np.where(ts >= START + 6 * DAY, -9000, 0)
    jitter = rng.integers(-15, 15, len(ts))
    rows = {
        "device_id": names(device),
        "ts": ts,
        "node_boot_time_seconds": boot[device] / SECOND + step + jitter,
    }
    fired, incidents = judge(history(rows, site="lyon", cohort="cm4"))
    assert not fired
    assert not incidents


def test_counters_of_uptime_that_wrap_are_no_reboots():
    devices = SITE // 4
    device, ts = beats(devices, 8.0, 30 * MINUTE, seed=7)
    rng = np.random.default_rng(8)
    wrap = START + 4 * DAY + rng.integers(0, DAY, devices)  # all were installed on one day
    ticks = (ts - wrap[device]) // (SECOND // 100) % 2**32
    rows = {"device_id": names(device), "ts": ts, "sysUpTime": ticks.astype(np.float64)}
    fired, incidents = judge(history(rows, site="lyon", cohort="switch"))
    assert not fired
    assert not incidents


@pytest.mark.parametrize("boots", [0, 1])
def test_three_weeks_out_of_reach_are_no_drift(boots):
    device, ts = beats(6, 40.0, HOUR, seed=9)
    gone = (device == 2) & (ts > START + 10 * DAY) & (ts < START + 31 * DAY)
    device, ts = device[~gone], ts[~gone]
    moment = START + 20 * DAY
    since = np.where((device == 2) & (ts > moment) & (boots > 0), moment, START - 50 * DAY)
    rows = {"device_id": names(device), "ts": ts, "uptime_s": (ts - since) / SECOND}
    table = history(rows, site="lyon", cohort="cm4")
    engine = Engine([AlertRule(RebootDrift())], epoch_s=300)
    step = engine.step(table)
    assert not step.findings
    memory = engine.fleet.recall(engine.detectors[0])
    found = {name: i for i, (name, _, _) in enumerate(engine.fleet.registry.identities)}
    days = [RebootDrift().evidence(memory, found[f"gw-{k:05d}"])["exposure_days"] for k in range(6)]
    assert memory.reboots.sum() == boots
    # Without a reboot it ran all the while; with one, only since, and a day at most before.
    lost = 0.0 if boots == 0 else 21.0 - 11.0 - 1.0
    assert days[2] == pytest.approx(np.median(days) - lost, abs=0.1)
