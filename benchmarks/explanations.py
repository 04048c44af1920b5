"""Whether what an explanation foretells is what solving again does, and how long it takes.

``python benchmarks/explanations.py [--seed N] [--quick] [--json]``. For every change that would
move a workload, all is solved again just outside and just inside of it, with everybody free to
move. Times are CPU, one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._placement_explain import confirmed, explain_ms, planned, what_if_s


def measured(seed: int, quick: bool) -> dict[str, float]:
    """Return the figures."""
    tried = right = 0
    for one in range(seed, seed + (2 if quick else 20)):
        found = confirmed(one, 200 if quick else 500)
        tried, right = tried + found.tried, right + found.right
        if found.wrong:
            print(f"seed {one}: not confirmed {dict(found.wrong)}")
    plan = planned(10_000 if quick else 100_000, seed)
    what_if_s(plan)  # compiled
    table_ms, nearest_ms, flips_ms = explain_ms(plan)
    asked, warm = what_if_s(plan)
    share = right / tried
    return {
        "confirmed_share": share,
        "confirmed_share_se": float(np.sqrt(share * (1.0 - share) / tried)),
        "explain_ms": table_ms,
        "nearest_flips_ms": nearest_ms,
        "flips_ms": flips_ms,
        "what_if_over_warm": asked / warm,
        "what_if_s": asked,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="fewer, and 10,000 workloads")
    parser.add_argument("--json", action="store_true", help="end with one object of figures")
    given = parser.parse_args()
    figures = measured(given.seed, given.quick)
    for name, value in figures.items():
        print(f"{name:<40}{value:>12.4f}")
    if given.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
