"""Reboot drift: how long until a rise is found, and how often there was none.

**Known rate.** Daily counts of one reboot a week, then x1.5, x2, x3 or x5. Shiryaev-Roberts (SR)
and CUSUM know the rate and the ratio, and their lines are set by simulation to a false alarm in ten
years; the engine's mixture knows the rate alone, and its line is read off the budget. Delays are
means in weeks, of a change at the start (worst case) or after 52 weeks (steady state), over runs
without an alarm before. All see the same counts. ``arl_ratio``: mean run without a change over ten
years.

**Unknown rates.** A fleet whose rates are gamma-distributed (shape 1.5, mean 0.4 a week); a change
after 13, 52 or 156 weeks. Medians of the engine's detector over those of SR that knows both rates
of each device, by band of the rate before; no alarm within three years counts as later than all.
Mean runs without a change by quarter of the fleet, by running time over first alarms.

**Not Poisson.** Bursts within minutes and within a day, and rates that vary by the week or day,
told by rows of telemetry to a fleet that has to learn it; nothing changes.

**Fleet.** A year of learning, then a year in which 0.5 % of 100,000 devices rise to x3. False
alarms over alarms, and the share found within 12 weeks of those with 0.3 reboots a week or more and
12 weeks left; the oracle knows every rate and has one line, at the same false share. Beside it the
engine's mixture told the rates before; and all again after three years of learning.

**Streams.** LANL failures (LA-UR-05-7318), or ``--events FILE`` with the columns ``node, cluster,
start_s, stop_s, up``, through the engine, with a budget of 0.10 alarms a device-year; the same
shuffled by days; and with drifts.

**Peers** on the same daily counts, and **speed**. Each arm is a name for ``--only``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import _reboot_fleet as fleets
import _reboot_limit as limit
import _reboot_peers as peers
import _reboot_reality as reality
import _reboot_streams as streams
import numpy as np

from aiops.alerts.selection import Selection
from aiops.detectors.reboot_drift import RebootDrift
from aiops.kernels.drift import judge_bins, known_rate_update

SHARED = Path(os.environ.get("AIOPS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
LANL = SHARED / "data" / "reboots" / "lanl_failures.csv.gz"
RATIOS = {1.5: "x15", 2.0: "x2", 3.0: "x3", 5.0: "x5"}
LOWER_RATES = {0.25: "l025", 0.05: "l005"}
LEARNT_WEEKS = (13, 52, 156)
DRAWS = 400
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawText)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--json", action="store_true", help="print figures as the last line")
    parser.add_argument("--only", nargs="+", choices=ARMS, default=[], help="of all arms")
    parser.add_argument("--runs", type=int, help="with rates known (40,000; quick 3,000)")
    parser.add_argument("--devices", type=int, help="with rates unknown (20,000; quick 1,500)")
    parser.add_argument("--fleet", type=int, help="in the large fleet (100,000; quick 5,000)")
    parser.add_argument("--drifting", type=float, default=0.005, help="share of it in a year")
    parser.add_argument("--events", type=Path, help="table of up and down intervals, only this")
    parser.add_argument("--budget-per-year", type=float, default=0.10, help="of a stream's device")
    parser.add_argument("--epoch-s", type=int, help="of the engine, for streams (3,600; quick 1 d)")
    parser.add_argument("--shuffles", type=int, help="of a stream (3; quick 1)")
    options = parser.parse_args()
    options.epoch_s = options.epoch_s or (86_400 if options.quick else 3_600)

    if options.events and not options.events.exists():
        raise SystemExit(f"{options.events}: there is no such file")
    figures: Figures = {}
    for name in ["streams"] if options.events else options.only or ARMS:
        began = time.perf_counter()
        figures |= ARMS[name](options)
        print(f"[{name}: {time.perf_counter() - began:.0f} s]")
    if options.json:
        print(json.dumps({name: round(float(value), 5) for name, value in figures.items()}))


def measured(name: str, value: float, error: float) -> Figures:
    """Return a figure with its standard error, if there is a number to give."""
    if not math.isfinite(value) or not math.isfinite(error):
        return {}
    return {name: float(value), f"{name}_se": float(error)}


class RawText(argparse.RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the description."""


# -- rates known ----------------------------------------------------------------------------------


def known(options: argparse.Namespace) -> Figures:
    """Return delays beside those of the oracles, and the mean run without a change."""
    runs = options.runs or (3_000 if options.quick else 40_000)
    seed = 1000 * options.seed
    figures: Figures = {}
    some = {} if options.quick else LOWER_RATES
    for rate, suffix in {1.0: "", **some}.items():
        n = runs if rate == 1.0 else runs // 4
        by_value, by_value_se, by_days, by_days_se = limit.engine_run(rate, n // 2, seed)
        tail = f"_{suffix}" if suffix else ""
        figures |= measured(f"arl_ratio{tail}", by_value, by_value_se)
        print(
            f"\n{rate:g} reboots a week, rate known: mean run {by_value:.3f} ± {by_value_se:.3f} "
            f"of ten years\n(counted in days {by_days:.3f} ± {by_days_se:.3f}); delays in weeks\n"
            f"{'':>6}{'from start':>24}{'after 52 weeks':>26}{'engine over SR':>18}\n{'':>6}"
            + f"{'engine':>10}{'SR':>7}{'CUSUM':>7}" * 2
            + f"{'ratio':>11}{'±':>7}{'line':>8}"
        )
        for ratio, name in RATIOS.items():
            race = limit.race(rate, ratio, n // 2, seed)
            worst = race.delays(n // 2, 0, seed + 1)
            steady = race.delays(n, limit.STEADY_DAYS, seed + 2)
            over, error = limit.ratio_of_means(steady[:, 0], steady[:, 1])
            line, _ = limit.sr_line(rate / limit.WEEK_DAYS, ratio, n // 2, seed)
            shown = (np.nanmean(worst, axis=0), np.nanmean(steady, axis=0))
            print(
                f"{name:>6}"
                + "".join(f"{a:10.2f}{b:7.2f}{c:7.2f}" for a, b, c in shown)
                + f"{over:11.3f}{error:7.3f}{line / limit.TARGET_DAYS / limit.zeta(ratio):8.3f}"
            )
            at_worst = limit.ratio_of_means(worst[:, 0], worst[:, 1])
            figures |= measured(f"delay_ratio_{name}{tail}", over, error)
            figures |= measured(f"delay_ratio_{name}{tail}_worst_case", *at_worst)
            spread = np.nanstd(steady, axis=0) / np.sqrt((~np.isnan(steady)).sum(axis=0))
            for judge, weeks, weeks_se in zip(limit.JUDGES, shown[1], spread, strict=True):
                figures |= measured(f"delay_weeks_{name}{tail}_{judge}", weeks, weeks_se)
    print("line: that of SR over what it were in continuous time, ten years times zeta")
    return figures


# -- rates unknown --------------------------------------------------------------------------------


def unknown(options: argparse.Namespace) -> Figures:
    """Return median delays of a fleet whose rates have to be learnt, and mean runs."""
    devices = options.devices or (1_500 if options.quick else 20_000)
    seed = 1000 * options.seed + 10
    learnt = (52,) if options.quick else LEARNT_WEEKS
    print(
        f"\nrates unknown, {devices:,} devices: median weeks, engine (SR that knows both rates)\n"
        f"{'':>16}" + "".join(f"{'rate ' + name:>16}" for name in fleets.BAND_NAMES)
    )
    figures: Figures = {}
    tails: list[str] = []
    found = fleets.delays(devices, learnt, 4_000 if options.quick else 10_000, seed)
    for (weeks, ratio), delays in found.items():
        line = f"{weeks:4} weeks {RATIOS[ratio]:>4} "
        for (low, high), band in zip(pairwise(fleets.BANDS), fleets.BAND_NAMES, strict=True):
            of = (delays.rate >= low) & (delays.rate < high)
            engine, oracle, over, error = delays.median_ratio(of, DRAWS, seed)
            line += f"{engine:9.1f} ({oracle:5.1f})"
            name = f"unknown_delay_ratio_{RATIOS[ratio]}"
            name += "" if weeks == 52 else f"_{weeks}w"
            name += "" if band == "03_08" else f"_rate_{band}"
            figures |= measured(name, over, error)
            if band == "03_08":
                late, never = delays.tail(of, 0)
                tail = f"{RATIOS[ratio]}{'' if weeks == 52 else f'_{weeks}w'}"
                never_se = math.sqrt(never * (1.0 - never) / of.sum())
                figures |= measured(f"unknown_never_{tail}", never, never_se)
                tails.append(
                    f"{weeks:4} weeks {RATIOS[ratio]:>4} {late:9.1f} ({delays.tail(of, 1)[0]:5.1f})"
                    f"{never:12.3f}"
                )
        print(line)
    print(
        "rates of 0.3 to 0.8: 90th percentile, and share not found in three years", *tails, sep="\n"
    )
    return figures | quarters(options, seed + 1)


def quarters(options: argparse.Namespace, seed: int) -> Figures:
    """Return mean runs without a change over ten years, by quarter and band of the rate."""
    devices, years = (400, 40.0) if options.quick else (8_000, 120.0)
    lengths = fleets.run_lengths(options.devices or devices, years, seed)
    print(
        f"\nmean run without a change over ten years ({lengths.alarmed.mean():.0%} had an alarm in "
        f"{years:.0f} years)"
    )
    figures: Figures = {}
    for kind, edges in (("quartile", fleets.QUARTILES), ("band", fleets.BANDS)):
        for part, (low, high) in enumerate(pairwise(edges), start=1):
            mean, error = lengths.mean_of((lengths.rate >= low) & (lengths.rate < high))
            print(f"{kind:>10} {low:5.2f} to {high:5.2f} a week {mean:8.2f} ± {error:.2f}")
            figures |= measured(f"arl_ratio_{kind}_{part}", mean, error)
    worst = min((figures[f"arl_ratio_quartile_{part}"], part) for part in (1, 2, 3, 4))
    return figures | {
        "arl_ratio_worst_quartile": worst[0],
        "arl_ratio_worst_quartile_se": figures[f"arl_ratio_quartile_{worst[1]}_se"],
    }


# -- not Poisson ----------------------------------------------------------------------------------


def unlike_poisson(options: argparse.Namespace) -> Figures:
    """Return mean runs without a change of reboots that are not a Poisson process."""
    devices, years, fleets_of_each = (200, 12.0, 1) if options.quick else (500, 60.0, 3)
    print(f"\nfleets of {devices} that learn how their reboots scatter: run over ten years")
    figures: Figures = {}
    for name, world in reality.WORLDS.items():
        if options.quick and name not in ("bursts_p5", "modulated_15", "modulated_2"):
            continue
        days, alarms = 0.0, 0
        for part in range(fleets_of_each):
            lengths = reality.run_lengths(world, devices, years, 1000 * options.seed + 20 + part)
            days, alarms = days + lengths.days.sum(), alarms + int(lengths.alarmed.sum())
        mean = days / max(alarms, 1) / limit.TARGET_DAYS
        error = mean / math.sqrt(max(alarms, 1))
        print(f"{name:>20}{mean:8.2f} ± {error:.2f}{alarms:8,} alarms")
        figures |= measured(f"arl_ratio_{name}", mean, error)
    return figures


# -- a large fleet --------------------------------------------------------------------------------


def fleet(options: argparse.Namespace) -> Figures:
    """Return false discoveries and discoveries of a large fleet of which few change."""
    figures: Figures = {}
    for weeks in (52,) if options.quick else (52, 156):
        figures |= watched(options, weeks)
    return figures


def watched(options: argparse.Namespace, learn_weeks: int) -> Figures:
    """Return those of a fleet that has learnt for so long."""
    full = fleets.Watch()
    devices = options.fleet or (5_000 if options.quick else full.devices)
    watch = fleets.Watch(devices=devices, share=options.drifting, learn_days=7 * learn_weeks)
    budget = RebootDrift().alarm_budget
    policies = {
        "fleet": fleets.Policy(budget, Selection()),
        "fleet_unselected": fleets.Policy(budget, None),
        "fleet_10y": fleets.Policy(limit.budget_for(limit.TARGET_DAYS), None),
    }
    size = f"_{devices}_devices" if devices != full.devices else ""
    size += f"_{learn_weeks}_weeks_learnt" if watch.learn_days != full.learn_days else ""
    figures: Figures = {}
    print(
        f"\n{devices:,} devices, {watch.share:.1%} of them x{watch.ratio:g} within a year, after "
        f"{learn_weeks} weeks\n{'':>18}{'alarms':>8}{'false':>7}{'share':>7}{'±':>7}{'found':>7}"
        f"{'±':>7}{'SR finds':>10}{'told':>7}"
    )
    for name, seen in fleets.watch_fleet(watch, policies, 1000 * options.seed + 30).items():
        share, share_se = seen.false_share
        finds, told = seen.oracle_finds(share), seen.oracle_finds(share, seen.told)
        found, found_se = seen.found.mean(), seen.found.std() / math.sqrt(max(len(finds), 1))
        print(
            f"{name:>18}{seen.alarm.sum():8,}{seen.false.sum():7,}{share:7.3f}{share_se:7.3f}"
            f"{found:7.3f}{found_se:7.3f}{finds.mean():10.3f}{told.mean():7.3f}"
        )
        figures |= measured(f"{name}_fdr{size}", share, share_se)
        figures |= measured(f"{name}_found_12w{size}", found, found_se)
        for against, others in (("", finds), ("_told", told)):
            if others.any():
                over, error = limit.ratio_of_means(seen.found.astype(float), others.astype(float))
                figures |= measured(f"{name}_found_12w_ratio{against}{size}", over, error)
    at_10 = float(seen.oracle_finds(0.10).mean())
    at_10_se = math.sqrt(at_10 * (1.0 - at_10) / max(seen.to_find.sum(), 1))
    print(
        f"{seen.to_find.sum()} to be found; SR that knows both rates of each finds {at_10:.3f} of "
        f"them if a tenth\nof its alarms are false; told: the engine's mixture, told the rates"
    )
    return figures | measured(f"fleet_found_12w_oracle_at_fdr_10{size}", at_10, at_10_se)


# -- real streams ---------------------------------------------------------------------------------


def real_streams(options: argparse.Namespace) -> Figures:
    """Return alarms per device-year of a stream and of its shuffled copies, and delays."""
    if options.events:
        name, stream = "events", streams.read_events(options.events)
    elif LANL.exists():
        name, stream = "lanl", streams.stream_of(streams.lanl(LANL))
    else:
        print(f"skipped the streams: {LANL.name} is not there (set AIOPS_SHARED)")
        return {}
    budget = 1000.0 / 12.0 * options.budget_per_year
    seed = 1000 * options.seed + 40
    figures: Figures = {f"{name}_device_years": stream.years, f"{name}_boots": len(stream.node)}
    print(
        f"\n{name}: {len(stream.name):,} nodes, {stream.years:,.0f} device-years, "
        f"{len(stream.node):,} boots; budget {options.budget_per_year:g} alarms a device-year\n"
        f"{'':>24}{'alarms':>8}{'a year':>9}{'±':>8}{'incidents':>11}{'of clusters':>13}"
    )

    def judged(label: str, of: streams.Stream, selection: Selection | None) -> streams.Outcome:
        outcome = streams.run(of, budget, selection, options.epoch_s)
        print(
            f"{label:>24}{len(outcome.alarms):8,}{outcome.per_year:9.4f}{outcome.per_year_se:8.4f}"
            f"{outcome.incidents:11,}{outcome.shared:13,}"
        )
        return outcome

    plain = judged("as it was", stream, None)
    selected = judged("selected", stream, Selection())
    rate = f"{name}_alarms_per_device_year"
    figures |= measured(rate, plain.per_year, plain.per_year_se)
    figures |= measured(f"{rate}_selected", selected.per_year, selected.per_year_se)
    figures |= {f"{name}_incidents": plain.incidents, f"{name}_cluster_findings": plain.shared}
    shuffles = [
        judged(f"shuffled, seed {at}", streams.shuffled(stream, at), None)
        for at in range(seed, seed + (options.shuffles or (1 if options.quick else 3)))
    ]
    alarms, years = sum(len(one.alarms) for one in shuffles), sum(one.years for one in shuffles)
    error = math.sqrt(sum((one.per_year_se * one.years) ** 2 for one in shuffles)) / years
    figures |= measured(f"{rate}_shuffled", alarms / years, error)
    for ratio in () if options.quick else (2.0, 3.0):
        drifting, since = streams.with_drifts(stream, ratio, seed)
        if not since:
            print(f"no node has {streams.LEAST_BOOTS} boots, so none is made to drift")
            break
        weeks = judged(f"with drifts {RATIOS[ratio]}", drifting, None).delays(since)
        share = float((weeks <= 52.0).mean())
        median = float(np.quantile(weeks, 0.5, method="lower"))
        print(f"{len(weeks):>28} drift; {share:.0%} found within a year, median {median:.0f} weeks")
        error = math.sqrt(share * (1.0 - share) / len(weeks))
        figures |= measured(f"{name}_found_52w_{RATIOS[ratio]}", share, error)
    return figures


# -- peers ----------------------------------------------------------------------------------------


def beside(options: argparse.Namespace) -> Figures:
    """Return delays and false alarms of what else is used."""
    devices, quiet, years = (400, 100, 12.0) if options.quick else (3_000, 1_500, 20.0)
    seed = 1000 * options.seed + 50
    counts = peers.quiet_counts(quiet, years, seed)
    busy = peers.quiet_counts(quiet, years, seed + 1, (fleets.QUARTILES[3], math.inf))
    trial = peers.trial(devices, seed + 2)
    tuned = {
        "adwin": (peers.tune_adwin(counts), peers.adwin),
        "page_hinkley": (peers.tune_page_hinkley(counts), peers.page_hinkley),
        "rule_28d": (peers.tune_rule(counts), peers.rule),
    }
    print(
        f"\nrates of 0.3 to 0.8 a week, unknown, change after 52 weeks: median weeks\n{'':>16}"
        f"{'tuned to':>12}{'x2':>8}{'x3':>8}{'busiest':>10}{'false by default':>18}"
    )
    medians = [np.nanquantile(trial.engine_delays(r), 0.5, method="lower") for r in peers.RATIOS]
    print(f"{'engine':>16}{'budget':>12}" + "".join(f"{median:8.1f}" for median in medians))
    figures: Figures = {
        f"engine_median_weeks_{RATIOS[ratio]}": median
        for ratio, median in zip(peers.RATIOS, medians, strict=True)
    }
    for name, (setting, make) in tuned.items():
        watch = make(setting.setting)
        held = peers.mean_run_days(watch, busy) / limit.TARGET_DAYS
        line = f"{name:>16}{setting.setting:12.3g}"
        for ratio in peers.RATIOS:
            median = float(np.nanquantile(trial.delays(watch, ratio), 0.5, method="lower"))
            line += f"{median:8.1f}"
            if math.isfinite(median):
                figures[f"{name}_median_weeks_{RATIOS[ratio]}"] = median
        print(f"{line}{held:10.2f}{setting.per_year:18.4f}")
        figures[f"{name}_arl_ratio_busiest_quarter"] = held
        figures[f"{name}_default_alarms_per_device_year"] = setting.per_year
    print(
        "busiest: mean run of the busiest quarter of a fleet over ten years, with the same\n"
        "setting; false by default: alarms a device-year"
    )
    return figures


# -- speed ----------------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> Figures:
    """Return device-days judged a second on one core, and bytes of memory a device."""
    devices, days = (20_000, 10) if options.quick else (100_000, 40)
    rng = np.random.default_rng(options.seed)
    rate = fleets.rates(devices, rng)
    fleet = fleets.Fleet(RebootDrift(), devices)
    counts = rng.poisson(rate / limit.WEEK_DAYS, (days + 3, devices)).astype(np.int32)

    def pace(day: Callable[[int], None]) -> float:
        day(0)  # compiles and warms
        began = time.perf_counter()
        for at in range(1, days + 1):
            day(at)
        return devices * days / (time.perf_counter() - began)

    settings, memory = fleet.detector.settings, fleet.memory
    everyone = np.arange(devices, dtype=np.int32)
    weight, level = np.zeros((devices, len(settings.ratio))), np.zeros(devices)

    def grid(day: int) -> None:
        memory.open_s[:] += fleets.DAY_S
        memory.settled[:] += counts[day]
        judge_bins(everyone, float((fleet.day + day) * fleets.DAY_S), memory, settings)

    def cohort(day: int) -> None:
        known_rate_update(
            counts[day].astype(np.int64), rate / limit.WEEK_DAYS, weight, settings, level
        )

    figures = {
        "updates_per_s_grid": pace(grid),
        "updates_per_s_cohort": pace(cohort),
        "updates_per_s": pace(lambda day: fleet.live(counts[day])),
        "bytes_per_device": sum(array.nbytes for array in memory) / devices,
    }
    river = peers.updates_per_s(counts[:days, : 500 if options.quick else 5_000])
    figures |= {f"updates_per_s_{name}": value for name, value in river.items()}
    figures |= {
        f"speed_over_{name}": figures["updates_per_s"] / value for name, value in river.items()
    }
    print("\ndevice-days a second on one core")
    for name, value in figures.items():
        if name.startswith("updates_per_s"):
            print(
                f"{name.removeprefix('updates_per_s').strip('_') or 'detector':>16}{value:14,.0f}"
            )
    print(f"{figures['bytes_per_device']:.0f} bytes of memory a device")
    return figures


ARMS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "known": known,
    "unknown": unknown,
    "reality": unlike_poisson,
    "fleet": fleet,
    "streams": real_streams,
    "peers": beside,
    "speed": speed,
}


if __name__ == "__main__":
    main()
