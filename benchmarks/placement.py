"""How near the best placement is, certified; beside HiGHS and a filter-and-score greedy.

``python benchmarks/placement.py [--seed N] [--quick] [--json]`` measures; with ``--regime R
--size N --seed S --write DIR`` it writes one instance, plan, prices and bound to ``DIR/R-N-S.npz``
(arrays: ``aiops/placement/instance.py``; ``_placement_check.py`` reads such a file and recounts it
with code of its own).

The steps and limits of the solver were chosen on the seeds 0 to 20; figures are of 100 and more.
All solvers run on one thread; times are CPU seconds, of HiGHS without building its model.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import fields
from pathlib import Path
from statistics import median, stdev

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aiops.placement.instance import CLOSED, Instance, write_instance
from aiops.placement.market import Effort, Market, Settlement, settle
from aiops.placement.sequence import sequence
from benchmarks._placement_check import bound as recounted
from benchmarks._placement_check import broken, violations
from benchmarks._placement_highs import Solved, highs
from benchmarks._placement_instances import REGIMES, make
from benchmarks._placement_small import optimum, small
from benchmarks._placement_warm import warm

TO_A_THOUSANDTH = Effort(gap=1e-3)
"""As near as HiGHS is asked to come when times are compared."""
TO_ONE_PERCENT = Effort(gap=1e-2)
THOROUGH = Effort(gap=0.0, searches=400)
"""No gap is good enough: so many searches are made."""
KNOWN = 1e-4
"""Gap at which the optimum counts as known."""
PATIENCE_S = 60.0
"""Seconds of its own clock for HiGHS where it would take hours."""


def solved(
    instance: Instance, effort: Effort | None = None, times: int = 1
) -> tuple[Settlement, float]:
    """Return a plan and the CPU seconds it took: the median of so many `times`, all cold."""
    seconds = []
    for _ in range(times):
        began = time.process_time()
        settled = settle(instance, effort=effort)
        seconds.append(time.process_time() - began)
    return settled, median(seconds)


def spread(values: list[float]) -> float:
    """Return the standard error of the median of `values`, as if they were normal."""
    return 1.2533 * stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def wrong(instance: Instance, choice: np.ndarray) -> int:
    """Return how many hard constraints the independent checker finds broken."""
    return len(violations(_arrays(instance), choice))


def greedy(instance: Instance) -> int:
    """Return the cost of filter and score, one after another, the dearest to shed first."""
    free = instance.capacity.tolist()
    room = instance.room.tolist()
    total = 0
    for w in np.argsort(-instance.cost[:, -1], kind="stable").tolist():
        asked = instance.demand[w].tolist()
        for k in np.argsort(instance.cost[w], kind="stable").tolist():
            if instance.cost[w, k] == CLOSED:
                continue
            at, link = int(instance.node[w, k]), int(instance.uplink[w, k])
            own = k == 0 and at < 0
            left = room[int(instance.home[w])] if own else free[3 * at : 3 * at + 3]
            if (own or at >= 0) and any(a > b for a, b in zip(asked, left, strict=False)):
                continue
            if link >= 0 and asked[3] > free[3 * instance.nodes + link]:
                continue
            for r in range(3):
                if own:
                    left[r] -= asked[r]
                elif at >= 0:
                    free[3 * at + r] -= asked[r]
            if link >= 0:
                free[3 * instance.nodes + link] -= asked[3]
            total += int(instance.cost[w, k])
            break
    return total


class Report:
    """Figures as they are measured, and the lines of the table that shows them."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {"violations": 0.0}

    def line(self, what: str, cost: float, bound: float, cpu_s: float | None) -> None:
        """Print a solver's plan over the best bound that is known, and its time."""
        seconds = "" if cpu_s is None else f"{cpu_s:>11.3f}"
        print(f"  {what:<34}{100.0 * (cost / bound - 1.0):>10.4f}{seconds}", flush=True)

    def count(self, instance: Instance, choice: np.ndarray) -> None:
        """Add what the checker finds."""
        self.figures["violations"] += wrong(instance, choice)

    def between(self, instance: Instance, before: np.ndarray, after: np.ndarray) -> None:
        """Add what the checker finds on the way from one plan to another."""
        steps = sequence(instance, before, after)
        self.figures["violations"] += len(broken(_arrays(instance), before, steps))


def provisioned(report: Report, seed: int, size: int, seeds: int, known: int, end: str) -> None:
    """Certified gaps over seeds, and HiGHS to a thousandth on some of the instances.

    On the first `known` HiGHS is asked for the optimum too.
    """
    gaps, ratios, nears, over, off, colds = [], [], [], [], [], []
    peers, times = (min(seeds, 5), 5) if size <= 10_000 else (1, 3)
    for one in range(seed, seed + seeds):
        instance = make("provisioned", size, one)
        settled, cpu_s = solved(instance)
        report.count(instance, settled.choice)
        gaps.append(100.0 * settled.gap)
        colds.append(cpu_s)
        if one - seed >= peers:
            continue
        peer = highs(instance, TO_A_THOUSANDTH.gap)
        near, near_s = solved(instance, TO_A_THOUSANDTH, times)
        best, best_s = solved(instance, THOROUGH)
        for plan in (near, best):
            report.count(instance, plan.choice)
        ratios.append(peer.cpu_s / near_s)
        nears.append(100.0 * near.gap)
        over.append(100.0 * (best.cost / peer.cost - 1.0))
        bound = max(settled.bound, best.bound, peer.bound)
        exact = highs(instance, KNOWN) if one - seed < known else None
        if exact is not None:
            off.append(100.0 * (best.cost / exact.cost - 1.0))
            bound = max(bound, exact.bound)
        print(f"provisioned, {size} workloads, seed {one}: above the best bound, %; CPU s")
        if exact is not None:
            report.line("HiGHS to 0.01 %", exact.cost, bound, exact.cpu_s)
        report.line("HiGHS to 0.1 %", peer.cost, bound, peer.cpu_s)
        report.line("ours to 0.1 %", near.cost, bound, near_s)
        report.line("ours", settled.cost, bound, cpu_s)
        report.line("ours, thorough", best.cost, bound, best_s)
        if size <= 10_000:
            report.line("greedy", greedy(instance), bound, None)
    report.figures |= {
        f"gap_pct_median{end}": median(gaps),
        f"gap_pct_median{end}_se": spread(gaps),
        f"gap_pct_max{end}": max(gaps),
        f"cold_cpu_s{end}": median(colds),
        f"cpu_ratio_highs{end}": median(ratios),
        f"gap_pct_to_a_thousandth{end}": max(nears),
        f"over_highs_pct{end}": median(over),
    }
    if len(ratios) > 1:
        report.figures[f"cpu_ratio_highs{end}_se"] = spread(ratios)
    if off:
        report.figures[f"over_optimum_pct{end}"] = max(off)


def contended(report: Report, seed: int, seeds: int, patience_s: float) -> None:
    """Every regime at 10,000: certified gaps, beside HiGHS' relaxation, HiGHS and greedy."""
    for regime in REGIMES:
        gaps, tenfold, to_lp, ten_lp, lps = [], [], [], [], []
        for one in range(seed, seed + (seeds if regime == "contended" else 1)):
            instance = make(regime, 10_000, one)
            relaxed: Solved = highs(instance, None)
            fast, fast_s = solved(instance, TO_ONE_PERCENT, 3)
            settled, cpu_s = solved(instance)
            best, best_s = solved(instance, THOROUGH)
            for plan in (fast, settled, best):
                report.count(instance, plan.choice)
            gaps.append(100.0 * fast.gap)
            tenfold.append(100.0 * best.gap)
            to_lp.append(fast_s / relaxed.cpu_s)
            ten_lp.append(best_s / relaxed.cpu_s)
            lps.append(relaxed.cpu_s)
            print(f"{regime}, 10000 workloads, seed {one}: above the best bound, %; CPU s")
            bound: float = best.bound
            if patience_s > 0.0 and one == seed:
                peer = highs(instance, TO_A_THOUSANDTH.gap, patience_s)
                bound = max(bound, peer.bound)
                report.line(f"HiGHS to 0.1 % or {patience_s:.0f} s", peer.cost, bound, peer.cpu_s)
                report.figures |= {
                    f"highs_gap_pct_{regime}_10k": 100.0 * peer.gap,
                    f"highs_cpu_s_{regime}_10k": peer.cpu_s,
                    f"over_highs_pct_{regime}_10k": 100.0 * (best.cost / peer.cost - 1.0),
                }
            report.line("bound of HiGHS' relaxation", relaxed.bound, bound, relaxed.cpu_s)
            report.line("ours to 1 %", fast.cost, bound, fast_s)
            report.line("ours", settled.cost, bound, cpu_s)
            report.line("ours, thorough", best.cost, bound, best_s)
            by_greedy = greedy(instance)
            report.line("greedy", by_greedy, bound, None)
        report.figures |= {
            f"gap_pct_{regime}_10k": max(gaps),
            f"lp_cpu_s_{regime}_10k": median(lps),
            f"cpu_over_lp_{regime}_10k": max(to_lp),
            f"gap_pct_{regime}_10k_thorough": max(tenfold),
            f"cpu_over_lp_{regime}_10k_thorough": max(ten_lp),
            f"greedy_over_bound_{regime}_10k": by_greedy / bound,
        }
        if len(tenfold) > 1:
            report.figures |= {
                f"gap_pct_{regime}_10k_thorough_median": median(tenfold),
                f"gap_pct_{regime}_10k_thorough_median_se": spread(tenfold),
            }


def tiny(report: Report, seed: int, count: int) -> None:
    """Small instances against all that could be better, and larger ones against the checker."""
    best, above = 0, 0
    for instance in small(seed, count):
        settled, _ = solved(instance)
        report.count(instance, settled.choice)
        market = Market(instance)
        market.take(np.zeros(len(instance.cost), dtype=np.int32))  # home, as far as it fits
        report.between(instance, market.choice, settled.choice)
        least = optimum(instance, settled.cost)
        best += settled.cost == least
        above += settled.bound > least
    report.figures |= {"small_optimal_share": best / count, "bound_above_optimum": above}


def larger(report: Report, seed: int, count: int) -> None:
    """Larger instances of all regimes: the plan, and every state on the way to it from another.

    The bound is counted again from the prices.
    """
    above = 0
    for one in range(count):
        regime = sorted(REGIMES)[one % len(REGIMES)]
        instance = make(regime, 2_000 + 8_000 * one // count, seed + one)
        before, _ = solved(instance, Effort(rounds=3, searches=0))
        settled, _ = solved(instance, TO_ONE_PERCENT)
        report.count(instance, settled.choice)
        report.between(instance, before.choice, settled.choice)
        # a bound is whole: it may be up to one micro-dollar above what its prices give
        above += settled.bound > recounted(_arrays(instance), settled.prices) + 1.0
    report.figures["bound_above_recount"] = above


def changing(report: Report, seed: int, size: int, ticks: int, end: str) -> None:
    """A fleet that changes by a hundredth a tick."""
    result = warm("provisioned", size, seed, ticks, TO_A_THOUSANDTH.gap)
    report.count(result.market.instance, result.market.choice)
    report.figures |= {
        f"warm_over_cold{end}": median(result.tick_s) / result.cold_s,
        f"tick_cpu_ms{end}": 1e3 * median(result.tick_s),
        f"gap_pct_after_{ticks}_ticks": result.gaps[-1],
        f"gap_pct_worst_of_{ticks}_ticks": max(result.gaps),
    }


def million(report: Report, seed: int) -> None:
    """A million workloads."""
    settled, cpu_s = solved(make("provisioned", 1_000_000, seed))
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report.figures |= {
        "gap_pct_1m": 100.0 * settled.gap,
        "cpu_s_1m": cpu_s,
        "peak_gib_1m": kib / 2**20,
    }


def measured(seed: int, quick: bool) -> dict[str, float]:
    """Return the figures; those of ``--quick`` end in ``_10k``."""
    report = Report()
    solved(make("provisioned", 500, seed))  # compiled
    warm("provisioned", 500, seed, 2, 1e-3)
    if quick:
        provisioned(report, seed, 10_000, 3, 0, "_10k")
        contended(report, seed, 1, 0.0)
        tiny(report, seed, 300)
        larger(report, seed, 4)
        changing(report, seed, 10_000, 100, "_10k")
        return report.figures
    million(report, seed)  # first, so that the peak is its own
    provisioned(report, seed, 10_000, 10, 5, "_10k")
    provisioned(report, seed, 100_000, 10, 0, "")
    contended(report, seed, 5, PATIENCE_S)
    tiny(report, seed, 10_000)
    larger(report, seed, 100)
    changing(report, seed, 100_000, 1_000, "")
    return report.figures


def main() -> int:
    """Measure, or write one instance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="10,000 workloads instead of 100,000")
    parser.add_argument("--json", action="store_true", help="end with one object of figures")
    parser.add_argument("--regime", choices=sorted(REGIMES), help="of what is written")
    parser.add_argument("--size", type=int, metavar="W", help="workloads of what is written")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write one instance and its plan")
    given = parser.parse_args()
    if given.write is not None:
        regime, size = given.regime or "provisioned", 10_000 if given.size is None else given.size
        if size < 1:
            parser.error(f"--size {size}: give at least one workload")
        instance = make(regime, size, given.seed)
        settled, _ = solved(instance)
        given.write.mkdir(parents=True, exist_ok=True)
        path = given.write / f"{regime}-{size}-{given.seed}.npz"
        write_instance(
            path, instance, settled.choice, settled.prices, settled.bound, seed=given.seed
        )
        print(f"{path}: gap {settled.gap:.3%}, {settled.cost} micro-dollars per hour")
        return 0
    if given.regime is not None or given.size is not None:
        parser.error("--regime and --size are of what --write writes; give it too")
    figures = measured(given.seed, given.quick)
    for name, value in figures.items():
        print(f"{name:<40}{value:>14.4f}")
    if given.json:
        print(json.dumps(figures))
    return 0


def _arrays(instance: Instance) -> dict[str, object]:
    return {field.name: getattr(instance, field.name) for field in fields(instance)}


if __name__ == "__main__":
    sys.exit(main())
