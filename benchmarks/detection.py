"""How well `Normality` finds what is wrong, how soon, how often in vain, and how fast.

One configuration for everything, that of a metric nobody configured, and lines (thresholds) taken
from other series than those that are judged. The configuration is not held out: the given series
were at hand while the detector was made, so only series kept back say what it is worth elsewhere.
Beside it stand what never looks at the data (a clock, chance), plain rules, and libraries with
their own defaults; what is made of a score is the same for all: the state is a
peak-hold that fades by 2 % a row, an alarm is followed by a rest (`_detection_alarms`).

**nab**: the published score, 0 for saying nothing and 100 for the earliest alarm in each window and
no other. Each file is judged at the line that is best for the other half of the files, over random
halves (``nab_heldout``); its ``_se`` is over files, and the spread over halves beside it. Best: at
the line that is best for these very files, as the published scoreboard has it.

**cloud**, **smd**: VUS-PR of the state, its mean over series with an event; buffers reach to the
period of the series by autocorrelation (of a server's first metric). ``_raw``: of the score
without the hold. A server is the mean of its five highest metrics' states, or what a library says
of all metrics at once; it has seen ``train`` before ``test`` is judged, and its label is of the
server. ``vus_pr_cloud_ewma`` is the best of the three EWMA.

**Events**, of all three: at the lowest line that gives one false alarm in a device-week on the
other half, the share of events with an alarm, the delay until it, and false alarms a device-day.

**ablation**: all again with each view left out. **speed**: samples a second of CPU, a row a series
and tick, beside river's HalfSpaceTrees in the same run; and the seconds that pass while a million
series take a row each and their cohorts are sealed, on two cores.

Folders of the same layout may be given; where one is absent, its figures are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import _detection_alarms as alarms
import _detection_data as data
import _detection_nab as nab
import _detection_normality as ours
import _detection_peers as beside
import numpy as np
from _detection_data import Series
from _detection_peers import Contender, Said
from _detection_vus import period, vus_pr

from aiops.kernels.rows import F8

SHARED = Path(os.environ.get("AIOPS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SPLITS, EVENT_SPLITS = 100, 10
FALSE_PER_DAY = 1.0 / 7.0
OURS = "normality"
Figures = dict[str, float]
Judged = dict[str, list[Said]]
"""What each contender says of each series."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawText)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--json", action="store_true", help="print figures as the last line")
    parser.add_argument("--only", nargs="+", choices=ARMS, default=[], help="of all arms")
    shared = SHARED / "data"
    parser.add_argument("--nab", type=Path, default=shared / "nab")
    parser.add_argument("--cloud", type=Path, default=shared / "cloud_monitoring")
    parser.add_argument("--smd", type=Path, default=shared / "smd")
    options = parser.parse_args()

    figures: Figures = {}
    for name in options.only or ARMS:
        began = time.perf_counter()
        figures |= ARMS[name](options)
        print(f"[{name}: {time.perf_counter() - began:.0f} s]", flush=True)
    if options.json:
        print(json.dumps({name: round(float(value), 5) for name, value in figures.items()}))


class RawText(argparse.RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the description."""


def measured(name: str, value: float, error: float) -> Figures:
    """Return a figure and its standard error, as far as there are numbers to give."""
    both = {name: float(value), f"{name}_se": float(error)}
    return {key: number for key, number in both.items() if math.isfinite(number)}


def named(name: str, contender: str) -> str:
    """Return the name of a figure; ours need no name."""
    return name if contender == OURS else f"{name}_{contender}"


def contenders(options: argparse.Namespace) -> list[Contender]:
    some = [one for one in beside.peers(options.seed) if not (options.quick and one.slow)]
    return [ours.contender(OURS), *some]


def absent(folder: Path, arm: str) -> bool:
    there = folder.is_dir() and any(folder.iterdir())
    if not there:
        what = "holds nothing" if folder.is_dir() else "is not there"
        print(f"skipped {arm}: {folder} {what} (set AIOPS_SHARED, or --{arm} DIR)")
    return not there


# -- NAB ------------------------------------------------------------------------------------------


def nab_arm(options: argparse.Namespace) -> Figures:
    """Return the published score, and events."""
    if absent(options.nab, "nab"):
        return {}
    series = data.read_nab(options.nab)
    windows = sum(len(one.events) for one in series)
    if windows == 0:
        print(f"skipped nab: no series of {options.nab} has a window")
        return {}
    print(
        f"\nNAB: {len(series)} files, {windows} windows; held out: standard, fewer false, fewer "
        f"missed\n{'':>16}{'standard':>9}{'±files':>8}{'±halves':>8}{'low FP':>8}{'low FN':>8}"
        f"{'best':>8}{'no rest':>9}"
    )
    judged: Judged = {}
    figures: Figures = {"nab_files": len(series), "nab_windows": windows}
    for one in contenders(options):
        judged[one.name] = one.judge(series)
        scores = [said.score for said in judged[one.name]]
        tally = nab.tally(series, scores, alarms.NAB_REST_ROWS, alarms.AGAIN)
        bare = nab.tally(series, scores)
        held = {
            name: nab.held_out(tally, profile, SPLITS, options.seed)
            for name, profile in nab.PROFILES.items()
        }
        standard, plain = held["standard"], nab.PROFILES["standard"]
        best = {name: nab.best(tally, profile) for name, profile in nab.PROFILES.items()}
        without = nab.held_out(bare, plain, SPLITS, options.seed)
        print(
            f"{one.name:>16}{standard.mean:9.1f}{standard.error:8.1f}{standard.split.std():8.1f}"
            f"{held['low_fp'].mean:8.1f}{held['low_fn'].mean:8.1f}{best['standard']:8.1f}"
            f"{without.mean:9.1f}",
            flush=True,
        )
        figures |= measured(named("nab_heldout", one.name), standard.mean, standard.error)
        figures[named("nab_best", one.name)] = best["standard"]
        if one.name == OURS:
            figures["nab_heldout_halves_sd"] = float(standard.split.std())
            for name in ("low_fp", "low_fn"):
                figures |= measured(f"nab_heldout_{name}", held[name].mean, held[name].error)
                figures[f"nab_best_{name}"] = best[name]
            figures |= measured("nab_heldout_no_rest", without.mean, without.error)
    return figures | events("nab", series, judged, options)


# -- VUS-PR ---------------------------------------------------------------------------------------


def cloud_arm(options: argparse.Namespace) -> Figures:
    """Return VUS-PR of series of cloud services, and events."""
    if absent(options.cloud, "cloud"):
        return {}
    series = data.read_cloud(options.cloud)
    reach = [period(one.value) for one in series]
    judged: Judged = {}
    for one in contenders(options):
        judged[one.name] = one.judge(series)
    figures = volumes("cloud", series, judged, reach)
    if "vus_pr_cloud" not in figures:
        print("no series has an event")
        return figures
    best = max(beside.ALPHAS, key=lambda name: figures[f"vus_pr_cloud_{name}"])
    theirs = (figures.get(f"vus_pr_cloud_{best}{end}", math.nan) for end in ("", "_se"))
    figures |= measured("vus_pr_cloud_ewma", *theirs)
    print(f"the same by other buffers\n{'':>16}{'none':>9}{'24 rows':>9}{'100':>9}{'by rank':>9}")
    for name in (OURS, best):
        states = [said.state for said in judged[name]]
        by = {
            f"buffer_{rows}": mean_vus(series, states, [rows] * len(series))[0]
            for rows in (0, 24, 100)
        }
        by["ranks_250"] = mean_vus(series, states, reach, 250)[0]
        print(f"{name:>16}" + "".join(f"{value:9.3f}" for value in by.values()))
        suffix = "" if name == OURS else "_ewma"
        figures |= {f"vus_pr_cloud{suffix}_{key}": value for key, value in by.items()}
    return figures | events("cloud", series, judged, options)


def smd_arm(options: argparse.Namespace) -> Figures:
    """Return VUS-PR of servers with many metrics, and events."""
    if absent(options.smd, "smd"):
        return {}
    servers = data.read_smd(options.smd)
    series = [server.metrics[0]._replace(name=server.name) for server in servers]
    judged: Judged = {}
    for one in contenders(options):
        if one.servers and not (options.quick and one.at_once):
            judged[one.name] = one.judge_servers(servers)
    reach = [period(one.value) for one in series]
    figures = volumes("smd", series, judged, reach)
    for kind in ("machine", "asd"):
        of = [at for at, one in enumerate(series) if one.name.startswith(kind)]
        if of:
            some = {name: [said[at] for at in of] for name, said in judged.items()}
            theirs = [series[at] for at in of], some, [reach[at] for at in of]
            figures |= volumes(f"smd_{kind}", *theirs)
    return figures | events("smd", series, judged, options)


def volumes(corpus: str, series: Sequence[Series], judged: Judged, reach: Sequence[int]) -> Figures:
    """Return VUS-PR of each contender's states and scores."""
    with_events = sum(len(one.events) > 0 for one in series)
    print(
        f"\n{corpus}: VUS-PR of {with_events} series; {len(series) - with_events} without an event "
        f"are left out\n{'':>16}{'latched':>9}{'±':>7}{'raw':>8}{'±':>7}"
    )
    figures: Figures = {f"{corpus}_series": with_events}
    for name, said in judged.items():
        value, error = mean_vus(series, [one.state for one in said], reach)
        raw, raw_error = mean_vus(series, [one.score for one in said], reach)
        print(f"{name:>16}{value:9.3f}{error:7.3f}{raw:8.3f}{raw_error:7.3f}", flush=True)
        figures |= measured(named(f"vus_pr_{corpus}", name), value, error)
        figures |= measured(named(f"vus_pr_{corpus}_raw", name), raw, raw_error)
    return figures


def mean_vus(
    series: Sequence[Series], scores: Sequence[F8], reach: Sequence[int], ranks: int = 0
) -> tuple[float, float]:
    """Return mean VUS-PR over series with an event, and its standard error."""
    each = np.array(
        [
            vus_pr(score[one.begins :], one.events - one.begins, rows, ranks)
            for one, score, rows in zip(series, scores, reach, strict=True)
            if len(one.events)
        ]
    )
    if len(each) == 0:
        return math.nan, math.nan
    spread = each.std(ddof=1) if len(each) > 1 else math.nan
    return float(each.mean()), float(spread / math.sqrt(len(each)))


# -- events ---------------------------------------------------------------------------------------


def events(
    corpus: str, series: Sequence[Series], judged: Judged, options: argparse.Namespace
) -> Figures:
    """Return events found, delays and false alarms at a line from the other half of the series."""
    if len(series) < 2:
        print(f"{corpus}: one series alone has no other to take a line from")
        return {}
    print(
        f"{corpus}: at a line with one false alarm in a device-week on the other half\n{'':>16}"
        f"{'found':>8}{'±':>7}{'rows':>7}{'p90':>7}{'minutes':>9}{'p90':>9}{'false/day':>11}{'±':>7}"
    )
    figures: Figures = {}
    for name, said in judged.items():
        scores = [one.score for one in said]
        found, false, rows, seconds = [], [], [], []
        rng = np.random.default_rng(options.seed)
        for _ in range(3 if options.quick else EVENT_SPLITS):
            order = rng.permutation(len(series))
            halves = order[: len(order) // 2], order[len(order) // 2 :]
            both = [half_seen(series, scores, *pair) for pair in (halves, halves[::-1])]
            found.append(sum(len(s.delay_rows) for s in both) / max(sum(s.events for s in both), 1))
            false.append(sum(s.false for s in both) / sum(s.days for s in both))
            rows.extend(s.delay_rows for s in both)
            seconds.extend(s.delay_s for s in both)
        late, late_s = np.concatenate(rows), np.concatenate(seconds)
        quantiles = [
            float(np.quantile(of, q)) if len(of) else math.nan
            for of in (late, late_s / 60.0)
            for q in (0.5, 0.9)
        ]
        spread = [float(np.std(of) / math.sqrt(len(of))) for of in (found, false)]
        print(
            f"{name:>16}{np.mean(found):8.2f}{spread[0]:7.2f}{quantiles[0]:7.0f}{quantiles[1]:7.0f}"
            f"{quantiles[2]:9.0f}{quantiles[3]:9.0f}{np.mean(false):11.3f}{spread[1]:7.3f}"
        )
        figures |= measured(named(f"events_found_{corpus}", name), float(np.mean(found)), spread[0])
        figures |= measured(
            named(f"false_per_device_day_{corpus}", name), float(np.mean(false)), spread[1]
        )
        if len(late):
            figures[named(f"delay_rows_median_{corpus}", name)] = quantiles[0]
            figures[named(f"delay_rows_p90_{corpus}", name)] = quantiles[1]
    return figures


def half_seen(
    series: Sequence[Series], scores: Sequence[F8], mine: np.ndarray, others: np.ndarray
) -> alarms.Seen:
    """Return what is seen of the series `mine` at the line of the `others`."""
    line = alarms.line_for([series[i] for i in others], [scores[i] for i in others], FALSE_PER_DAY)
    return alarms.seen([series[i] for i in mine], [scores[i] for i in mine], line)


# -- ablation -------------------------------------------------------------------------------------


def ablation(options: argparse.Namespace) -> Figures:
    """Return what is left without each view."""
    of_nab = [] if absent(options.nab, "nab") else data.read_nab(options.nab)
    of_cloud = [] if absent(options.cloud, "cloud") else data.read_cloud(options.cloud)
    servers = [] if options.quick or absent(options.smd, "smd") else data.read_smd(options.smd)
    if not (of_nab or of_cloud or servers):
        return {}
    print(f"\nwithout a view\n{'':>16}{'nab':>8}{'cloud':>8}{'smd':>8}")
    figures: Figures = {}
    every = ours.views()
    for view in ("", *every):
        kept = tuple(name for name in every if name != view)
        one = ours.contender(OURS, views=kept)
        line: Figures = {}
        if of_nab:
            scores = [said.score for said in one.judge(of_nab)]
            tally = nab.tally(of_nab, scores, alarms.NAB_REST_ROWS, alarms.AGAIN)
            held = nab.held_out(tally, nab.PROFILES["standard"], SPLITS, options.seed)
            line["nab_heldout"] = held.mean
        if of_cloud:
            states = [said.state for said in one.judge(of_cloud)]
            line["vus_pr_cloud"] = mean_vus(of_cloud, states, [period(s.value) for s in of_cloud])[
                0
            ]
        if servers:
            series = [server.metrics[0] for server in servers]
            states = [said.state for said in one.judge_servers(servers)]
            line["vus_pr_smd"] = mean_vus(series, states, [period(s.value) for s in series])[0]
        print(
            f"{view or 'all':>16}"
            + f"{line.get('nab_heldout', math.nan):8.1f}"
            + "".join(f"{line.get(f'vus_pr_{c}', math.nan):8.3f}" for c in ("cloud", "smd")),
            flush=True,
        )
        if view:
            figures |= {f"{name}_without_{view}": value for name, value in line.items()}
    return figures


# -- speed ----------------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> Figures:
    """Return samples a second, beside river's, bytes a series, and a tick of a million series."""
    devices, rows = (100_000, 20_000) if options.quick else (100_000, 100_000)
    figures = ours.speed(devices, 10 if options.quick else 30, options.seed)
    model = beside.river_hst(options.seed)
    value = np.random.default_rng(options.seed).normal(50.0, 2.0, rows).tolist()
    began = time.process_time()
    for x in value:
        model.score_one({"x": x})
        model.learn_one({"x": x})
    river = rows / (time.process_time() - began)
    figures |= {
        "samples_per_s_river_hst": river,
        "ratio_river_hst": figures["samples_per_s"] / river,
        "million_series_tick_s": ours.tick_s(1_000_000, 3 if options.quick else 10, options.seed),
    }
    print(
        f"\n{figures['samples_per_s']:,.0f} samples/s on one core, "
        f"{figures['ratio_river_hst']:.0f} times river's {river:,.0f}; "
        f"{figures['bytes_per_series']:.0f} bytes a series\na tick of a million series with the "
        f"cohort pass: {figures['million_series_tick_s']:.2f} s on two cores"
    )
    return figures


ARMS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "nab": nab_arm,
    "cloud": cloud_arm,
    "smd": smd_arm,
    "ablation": ablation,
    "speed": speed,
}


if __name__ == "__main__":
    main()
