"""The long versions of what continuous integration tries in short.

``python -m tests.service.soak --kills 1000 --states 10000 --payloads 1000000``

Kills of a service under four senders, disks as a power cut may leave them, and hostile payloads.
A number of 0 leaves one out. Exits with 1 if anything that was acknowledged is lost or doubled, a
result differs from that of an engine nobody disturbed, a payload leads to an error that is none of
ours, or memory grows; and also if a log that does not flush passes for one that does.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from aiops.connectors.wire import packing
from tests.connectors.durable.power_cut import InlineLog, NormalLog, OffLog, record, search
from tests.service.fuzz import PORTION, fuzz
from tests.service.kills import kill_again_and_again

KILLS_OF_ONE = 100
"""So many kills share a data directory."""
STATES_OF_ONE = 2_000
"""So many disks are made from one recorded run."""
GROWN_MIB = 64.0
"""Of a process that has read hostile payloads without end, after the first of them."""


def kills(count: int, seed: int) -> bool:
    """Kill a service so often."""
    rng = random.Random(seed)
    acknowledged = lost = twice = foreign = differ = done = 0
    while done < count:
        now = min(KILLS_OF_ONE, count - done)
        with tempfile.TemporaryDirectory() as folder:
            outcome = kill_again_and_again(Path(folder), now, rng.randrange(2**32), 60)
        done += now
        acknowledged += outcome.told.total
        lost += len(outcome.lost)
        twice += len(outcome.twice)
        foreign += outcome.foreign
        differ += outcome.records != outcome.again
        print(
            f"kills: {done}, acknowledged batches {acknowledged}, lost {lost}, readings twice "
            f"{twice}, of nobody {foreign}, runs with other results {differ}",
            flush=True,
        )
    return not (lost or twice or foreign or differ)


def states(count: int, seed: int) -> bool:
    """Open the log on so many disks, and see that the search finds logs that do not flush."""
    tried = 0
    wrong: Counter[str] = Counter()
    while tried < count:
        more, found = search(record(InlineLog, seed=seed), STATES_OF_ONE, seed)
        tried, wrong, seed = tried + more, wrong + found, seed + 1
        print(f"power cuts: {tried} disks, wrong {dict(wrong)}", flush=True)
    controls = {
        log_type.__name__: sum(search(record(log_type, seed=3), 150, 3)[1].values())
        for log_type in (NormalLog, OffLog)
    }
    print(f"controls that must fail: {controls}")
    return not wrong and all(controls.values())


def payloads(count: int, seed: int) -> bool:
    """Read so many hostile payloads, at all stages."""
    for known in (packing._WRITTEN, packing._READ):  # bounded, and soon at its bound
        known.most = 4 << 20
    done = fuzz(count, seed)
    warm = min(len(done.grown_kib) // 10, 20)
    grown_mib = (done.grown_kib[-1] - done.grown_kib[warm]) / 1024
    print(
        f"payloads: {done.outcomes.total()}, {dict(done.outcomes)}, rows {done.rows}, slowest "
        f"{done.slowest_s:.3f} s, memory after the first {warm * PORTION} grown {grown_mib:.1f} MiB"
    )
    return grown_mib < GROWN_MIB


PARTS: dict[str, tuple[Callable[[int, int], bool], int]] = {
    "payloads": (payloads, 1_000_000),
    "states": (states, 10_000),
    "kills": (kills, 1_000),
}


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, (of, count) in PARTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=of.__doc__)
    parser.add_argument("--seed", type=int, default=1)
    told = vars(parser.parse_args())
    failed = []
    for name, (of, _) in PARTS.items():
        begun = time.monotonic()
        if told[name] and not of(told[name], told["seed"]):
            failed.append(name)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all good")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
