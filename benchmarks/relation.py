"""Broken relations between metrics that look normal one by one: false alarms, and how soon found.

**Healthy.** A fleet whose metrics go together under loads, weather and links with heavy tails and
noise that lasts (`_relation_fleet.py`), half a year; and the simulator's healthy fleet. Alarms per
1,000 device-months by what the budget allows.

**Breaks.** From one day on, in each device: a fan that runs at full speed whatever the load, a
temperature sensor that is stuck at a plausible value, sensors of two neighbours changed over, a
battery that drains though on mains, a link whose bandwidth no longer limits the round-trip time.
Share found within the stated days, and median delay, at the default budget. Beside it a control
chart of each metric, and online PCA (Oja), with as many false alarms on the healthy fleet as the
budget allows there (`_relation_peers.py`): devices that they alarm within the stated days.

**Servers.** SMD and ASD (InterFusion): metrics in groups of eight, those that correlate most in
the training half together; VUS-PR of the best group, and events found at the default line.

**Speed** on one core, rows of eight metrics, each row a bin and five rows a bin; and memory.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import _relation_fleet as fleets
import _relation_peers as peers
import numpy as np
from _detection_data import read_smd
from _detection_vus import vus_pr

from aiops.alerts.rule import AlertRule
from aiops.connectors.simulator import SCENARIOS, Simulation
from aiops.detectors.protocol import FleetShape
from aiops.detectors.relation import METRICS, Relation
from aiops.engine.engine import Engine
from aiops.kernels.rows import F8
from aiops.telemetry.batch import TelemetryBatch

SHARED = Path(os.environ.get("AIOPS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SMD = SHARED / "data" / "smd"
TICK_S = 600.0
MONTH_DAYS = 365.25 / 12.0
BUDGETS = (1.0, 10.0, 100.0)
WITHIN_DAYS = {"fan": 1.0, "stuck": 2.0, "swapped": 7.0, "battery": 14.0, "link": 3.0}
LEARNT_DAYS, WATCHED_DAYS = 60, 21
DEVICES, BROKEN, GROUP = 400, 120, 40
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawText)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--json", action="store_true", help="print figures as the last line")
    parser.add_argument("--only", nargs="+", choices=ARMS, default=[], help="of all arms")
    parser.add_argument("--devices", type=int, help="in the healthy fleet (400; quick 40)")
    parser.add_argument("--broken", type=int, help="devices of each kind of break (120; quick 20)")
    parser.add_argument("--smd", type=Path, default=SMD, help="folder of servers")
    options = parser.parse_args()
    options.devices = options.devices or (40 if options.quick else DEVICES)
    options.broken = options.broken or (20 if options.quick else BROKEN)
    figures: Figures = {}
    for name in options.only or ARMS:
        began = time.perf_counter()
        figures |= ARMS[name](options)
        print(f"[{name}: {time.perf_counter() - began:.0f} s]")
    if options.json:
        print(json.dumps({name: round(float(value), 5) for name, value in figures.items()}))


class RawText(argparse.RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the description."""


def measured(name: str, value: float, error: float) -> Figures:
    """Return a figure with its standard error, if there is a number to give."""
    if not math.isfinite(value) or not math.isfinite(error):
        return {}
    return {name: float(value), f"{name}_se": float(error)}


def groups(devices: int, days: float, seed: int, broken: str = "") -> list[fleets.Telemetry]:
    """Return a fleet in groups that fit into memory."""
    rngs = [np.random.default_rng([seed, at]) for at in range(-(-devices // GROUP))]
    size = min(devices, GROUP)
    return [fleets.fleet(size, days, rng, TICK_S, broken, LEARNT_DAYS) for rng in rngs]


# -- a healthy fleet and broken ones ---------------------------------------------------------------


def fleet(options: argparse.Namespace) -> Figures:
    """Return false alarms on a healthy fleet, and what is found of breaks, beside the peers."""
    days = 90.0 if options.quick else 180.0
    alarms = dict.fromkeys(BUDGETS, 0)
    univariate: list[F8] = []
    pca: list[F8] = []
    devices = 0
    for at in range(-(-options.devices // GROUP)):
        rng = np.random.default_rng([1000 * options.seed + 7, at])
        told = fleets.fleet(min(options.devices, GROUP), days, rng, TICK_S)
        devices += len(told.values)
        for budget in BUDGETS:
            score, _ = fleets.watch(told, Relation(alarm_budget=budget))
            alarms[budget] += int(peers.firings(score, 1.0).sum())
        z = peers.standardised(told.values[:, :, : len(METRICS)], TICK_S)
        univariate.append(peers.by_itself(z, TICK_S))
        pca.append(peers.online_pca(z, TICK_S))
    months = devices * (days - peers.LEARN_DAYS) / MONTH_DAYS
    size = f"_{devices}_devices" if devices != DEVICES else ""
    print(f"\nhealthy fleet, {devices} devices, {months:,.0f} device-months judged")
    figures: Figures = {f"healthy_device_months{size}": months}
    for budget, count in alarms.items():
        rate, error = 1000.0 * count / months, 1000.0 * math.sqrt(max(count, 1)) / months
        print(f"budget {budget:5g}: {count:4} alarms, {rate:6.1f} ± {error:.1f} per 1,000 months")
        figures |= measured(f"alarms_per_1000_months_budget_{budget:g}{size}", rate, error)
    allowed = max(alarms[BUDGETS[0]], math.ceil(months * BUDGETS[0] / 1000.0))
    lines = {
        "by_itself": peers.line_for(univariate, allowed),
        "online_pca": peers.line_for(pca, allowed),
    }
    print(f"lines of peers, for {allowed} alarms there: {lines}")
    return figures | breaks(options, lines)


def breaks(options: argparse.Namespace, lines: dict[str, float]) -> Figures:
    """Return the share found in time of each kind of break, and the median delay."""
    figures: Figures = {}
    size = f"_{options.broken}_devices" if options.broken != BROKEN else ""
    print(
        f"\n{'break':>10}{'within':>9}{'found':>8}{'±':>6}{'median d':>10}"
        f"{'each by itself':>16}{'online PCA':>12}"
    )
    for at, (kind, within) in enumerate(WITHIN_DAYS.items()):
        found: dict[str, list[F8]] = {"relation": [], "by_itself": [], "online_pca": []}
        for told in groups(
            options.broken, LEARNT_DAYS + WATCHED_DAYS, 1000 * options.seed + 20 + at, kind
        ):
            onset = int(LEARNT_DAYS * fleets.DAY_S / TICK_S)
            scores = {"relation": fleets.watch(told, Relation())[0]}
            z = peers.standardised(told.values[:, :, : len(METRICS)], TICK_S)
            scores["by_itself"] = peers.by_itself(z, TICK_S) / lines["by_itself"]
            scores["online_pca"] = peers.online_pca(z, TICK_S) / lines["online_pca"]
            for name, score in scores.items():
                first = fleets.first_over(score[:, onset:], told.ts[onset:])
                found[name].append((first - told.ts[onset]) / 1e9 / fleets.DAY_S)
        delay = {name: np.concatenate(parts) for name, parts in found.items()}
        share = {name: float((days <= within).mean()) for name, days in delay.items()}
        n = len(delay["relation"])
        error = {name: math.sqrt(max(p * (1 - p), 1 / n) / n) for name, p in share.items()}
        median = float(
            np.quantile(np.nan_to_num(delay["relation"], nan=np.inf), 0.5, method="lower")
        )
        print(
            f"{kind:>10}{within:7g} d{share['relation']:8.2f}{error['relation']:6.2f}{median:10.2f}"
            f"{share['by_itself']:16.2f}{share['online_pca']:12.2f}"
        )
        for name in share:
            tail = "" if name == "relation" else f"_{name}"
            figures |= measured(f"found_{kind}{tail}{size}", share[name], error[name])
        if math.isfinite(median):
            figures[f"median_days_{kind}{size}"] = median
    return figures


def simulator(options: argparse.Namespace) -> Figures:
    """Return false alarms on the simulator's healthy fleet, through the engine."""
    healthy = SCENARIOS["healthy"]
    if options.quick:
        healthy = replace(healthy, devices=30)
    engine = Engine([AlertRule(Relation())], epoch_s=3600)
    alarms = 0
    for frame, _ in Simulation(healthy).frames(None):
        alarms += sum(f.status == "firing" for f in engine.step(frame).findings)
    months = healthy.devices * (healthy.days - peers.LEARN_DAYS) / MONTH_DAYS
    rate, error = 1000.0 * alarms / months, 1000.0 * math.sqrt(max(alarms, 1)) / months
    print(f"\nsimulator: {alarms} alarms in {months:.0f} healthy device-months")
    size = f"_{healthy.devices}_devices" if options.quick else ""
    return measured(f"simulator_alarms_per_1000_months{size}", rate, error)


# -- servers ---------------------------------------------------------------------------------------


def grouped(values: F8, size: int = 8) -> list[list[int]]:
    """Return columns in groups of those that correlate most, but those that never move."""
    moving = [j for j in range(values.shape[1]) if np.ptp(values[:, j]) > 0.0]
    strength = np.abs(np.corrcoef(values[:, moving].T))
    left, out = list(range(len(moving))), []
    while len(left) > 1:
        sub = strength[np.ix_(left, left)]
        lead = int(np.argmax(np.sort(sub, axis=1)[:, -min(size, len(left)) :].sum(axis=1)))
        near = np.argsort(-sub[lead], kind="stable")[:size].tolist()
        out.append([moving[left[j]] for j in near])
        left = [one for j, one in enumerate(left) if j not in near]
    return out


def servers(options: argparse.Namespace) -> Figures:
    """Return VUS-PR and events found on real servers."""
    if not options.smd.exists():
        print(f"skipped the servers: {options.smd.name} is not there (set AIOPS_SHARED or --smd)")
        return {}
    figures: Figures = {}
    values: list[float] = []
    caught, events_in_all, false, days = 0, 0, 0, 0.0
    for server in read_smd(options.smd):
        first = server.metrics[0]
        table = np.stack([one.value for one in server.metrics], axis=1)
        best = np.zeros(len(table))
        for columns in grouped(table[: first.begins]):
            detector = Relation(metrics=tuple(f"metric.{j}" for j in columns))
            n = len(table)
            batch = TelemetryBatch(
                device=np.zeros(n, np.int32),
                cohort=np.zeros(n, np.int32),
                ts=first.ts,
                historical=np.zeros(n, np.bool_),
                columns={f"metric.{j}": np.ascontiguousarray(table[:, j]) for j in columns},
                indptr=np.array([0, n]),
            )
            score = detector.update(detector.init(FleetShape(1)), batch).score
            best = np.fmax(best, np.nan_to_num(score))
        judged = best[first.begins :]
        events = first.events - first.begins
        window = int(np.median(events[:, 1] - events[:, 0] + 1))
        value = vus_pr(judged, events, min(window, 200))
        values.append(value)
        over = judged >= 1.0
        within = np.zeros(len(judged), np.bool_)
        for begin, end in events:
            caught += bool(over[begin : end + 1].any())
            within[begin : end + 1] = True
        events_in_all += len(events)
        false += int(peers.firings(np.where(within, 0.0, judged)[None], 1.0).sum())
        days += float(first.ts[-1] - first.ts[first.begins]) / 1e9 / fleets.DAY_S
        print(f"{first.name.partition('/')[0]:>14} VUS-PR {value:.3f}")
    error = float(np.std(values) / math.sqrt(len(values)))
    figures |= measured("vus_pr_servers", float(np.mean(values)), error)
    figures |= {
        "servers_events_found": caught / events_in_all,
        "servers_alarms_a_day": false / days,
    }
    print(
        f"mean VUS-PR {np.mean(values):.3f} ± {error:.3f}; {caught} of {events_in_all} events, "
        f"{false} other alarms in {days:.0f} days"
    )
    return figures


# -- speed -----------------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> Figures:
    """Return rows of eight metrics judged a second on one core, and bytes of memory a device."""
    devices, ticks = (5_000, 60) if options.quick else (20_000, 120)
    rng = np.random.default_rng(options.seed)
    detector = Relation()
    figures: Figures = {}
    for name, step_s in (("rows_per_s", 600.0), ("rows_per_s_five_a_bin", 60.0)):
        memory = detector.init(FleetShape(devices))
        spent, rows = 0.0, 0
        for chunk in range(4):
            common = rng.standard_normal((devices, ticks, 1))
            values = 20.0 + 3.0 * common + rng.standard_normal((devices, ticks, len(METRICS)))
            at = (chunk * ticks + np.arange(ticks)) * step_s + fleets.START_S
            told = fleets.Telemetry((at * 1e9).astype(np.int64), values)
            batch = fleets.batch_of(told, slice(None))
            began = time.process_time()
            detector.update(memory, batch)
            if chunk:  # the first compiles and has no inverse yet
                spent, rows = spent + time.process_time() - began, rows + devices * ticks
        figures[name] = rows / spent
        print(f"{name:>24}{figures[name]:14,.0f}")
    figures["bytes_per_device"] = sum(array.nbytes for array in memory) / devices
    print(f"{figures['bytes_per_device']:.0f} bytes of memory a device")
    return figures


ARMS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "fleet": fleet,
    "simulator": simulator,
    "servers": servers,
    "speed": speed,
}


if __name__ == "__main__":
    main()
