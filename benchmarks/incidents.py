"""Findings into incidents: storms, several causes at once, and whether blame is right.

A fleet has six attributes: firmware follows the model, vendor and region follow model and site, so
that wrong candidates nearly fit. Findings of a cause strike a share of the devices that have the
blamed value, by three rules, over an hour of epochs; chance strikes others.

* `incidents_of_storm`, `storm_s`: 10,000 findings of one firmware among 100,000 devices, beside as
  many devices by chance as 0.1 % of the others: how many incidents of more than one device, and the
  time of grouping them all, in one epoch.
* `rand_index`: three causes at once (a firmware, a site, a carrier, whose devices overlap) among
  5,000 devices; the plain and the adjusted Rand index (Hubert and Arabie 1985,
  doi:10.1007/BF01908075) of the incidents of findings against their true causes, chance alone.
* `blame_right`: one cause, of a random attribute or pair, that strikes 30 to 90 % of its devices:
  the share of fleets in which exactly that is blamed. One with the very same devices counts.
* `blame_on_noise`: the same findings with attributes shuffled: the share of fleets without blame.
* `budget_ratio` and others of `benchmarks/budget.py`: false alarms of a fleet in which nobody is
  ill, over those that the alarm budget allows.

Peers, on the same findings: half of a site's devices under one rule are one incident (what was the
rule before), and Alertmanager's grouping by rule and site, and by rule alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score, rand_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aiops.alerts.cause import Blame
from aiops.alerts.finding import Finding
from aiops.alerts.incident import Grouping, Opened
from aiops.fleet.attributes import Attributes
from benchmarks import budget

RULES = ("normality:cpu.utilization_ratio", "reboot_drift", "silence")
MINUTE = 60_000_000_000
EPOCHS = 60
Columns = dict[str, npt.NDArray[np.int64]]


def fleet(devices: int, rng: np.random.Generator) -> Columns:
    """Return a code for each attribute and device."""
    site = rng.integers(0, max(20, devices // 200), devices)
    model = rng.integers(0, 8, devices)
    return {
        "carrier": rng.integers(0, 5, devices),
        "firmware": model * 4 + rng.choice(4, devices, p=[0.5, 0.3, 0.15, 0.05]),
        "model": model,
        "region": site // 10,
        "site": site,
        "vendor": model // 3,
    }


def attributes(columns: Columns) -> Attributes:
    n = len(columns["site"])
    return Attributes(
        tuple(columns),
        np.array(list(columns.values()), np.int32),
        tuple([str(k) for k in range(int(c.max()) + 1)] for c in columns.values()),
        {f"gw-{k}": k for k in range(n)},
    )


def finding(device: int, site: int, rule: str, ts: int) -> Finding:
    return Finding(
        rule=rule,
        detector=rule,
        status="firing",
        severity="warning",
        device_id=f"gw-{device}",
        part="",
        medium_id="",
        site=str(site),
        cohort="",
        since_ts=ts,
        ts=ts,
        score=2.0,
        observed=0.0,
        expected=0.0,
        sentence="",
    )


def grouped(findings: list[Finding], known: Attributes | None, sizes: dict[str, int]) -> Opened:
    """Return what is open after all findings, an epoch a minute."""
    grouping, opened = Grouping(), {}
    for minute in sorted({f.ts // MINUTE for f in findings}):
        now = [f for f in findings if f.ts // MINUTE == minute]
        grouping.group(now, opened, sizes, (minute + 1) * MINUTE, known)
    return opened


def incident_of(findings: list[Finding], opened: Opened) -> list[str]:
    """Return the incident of each finding."""
    where = {
        (device, name.split("/", 1)[0]): key
        for key, incident in opened.items()
        for device, parts in incident["devices"].items()
        for name in parts
    }
    return [where[f.device_id, f.rule] for f in findings]


def struck(
    causes: list[tuple[npt.NDArray[np.bool_], float]], noise: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the devices that have findings, and the cause of each; below 0: chance, alone."""
    n = len(causes[0][0])
    cause = np.full(n, -n - 1)
    for k, (member, share) in enumerate(causes):
        cause[member & (cause == -n - 1) & (rng.random(n) < share)] = k
    chance = (cause == -n - 1) & (rng.random(n) < noise)
    cause[chance] = -1 - np.flatnonzero(chance)
    device = np.flatnonzero(cause != -n - 1)
    return device, cause[device]


def storm(devices: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    columns = fleet(devices, rng)
    value = int(np.bincount(columns["firmware"]).argmax())
    member = np.flatnonzero(columns["firmware"] == value)
    others = np.flatnonzero((columns["firmware"] != value) & (rng.random(devices) < 0.001))
    wanted = devices // 10
    sick = [(d, rule) for d in member.tolist() for rule in RULES][:wanted]
    findings = [
        finding(d, int(columns["site"][d]), rule, 0)
        for d, rule in [*sick, *((d, RULES[0]) for d in others.tolist())]
    ]
    known = attributes(columns)
    opened: Opened = {}
    begun = time.perf_counter()
    records = Grouping().group(findings, opened, {}, MINUTE, known)
    took_s = time.perf_counter() - begun
    of_storm = [r for r in records if len(r.devices) > 1]
    blamed = [r.cause["attributes"] for r in of_storm if r.cause]
    return {
        "storm_findings": float(len(sick)),
        "incidents_of_storm": float(len(of_storm)),
        "storm_blame_right": float(blamed == [{"firmware": str(value)}]),
        "storm_s": took_s,
    }


def three(seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    columns = fleet(5000, rng)
    site = int(rng.integers(columns["site"].max()))
    value, count = np.unique(columns["firmware"], return_counts=True)
    firmware = int(rng.choice(value[count >= 50]))
    causes = [
        (columns["firmware"] == firmware, 0.7),
        (columns["site"] == site, 0.8),
        (columns["carrier"] == int(rng.integers(5)), 0.4),
    ]
    device, cause = struck(causes, 0.005, rng)
    at = np.sort(rng.integers(0, EPOCHS, len(device))) * MINUTE
    order = rng.permutation(len(device))
    findings = [
        finding(int(d), int(columns["site"][d]), RULES[int(rng.integers(3))], int(t))
        for d, t in zip(device[order], at, strict=True)
    ]
    truth = cause[order]
    sizes = {str(k): int(n) for k, n in enumerate(np.bincount(columns["site"]))}
    ways = {
        "": incident_of(findings, grouped(findings, attributes(columns), sizes)),
        "_site_storms": incident_of(findings, grouped(findings, None, sizes)),
        "_by_rule_and_site": [f"{f.rule} {f.site}" for f in findings],
        "_by_rule": [f.rule for f in findings],
    }
    told = {f"rand_index{name}": float(rand_score(truth, way)) for name, way in ways.items()}
    told |= {
        f"adjusted_rand_index{name}": float(adjusted_rand_score(truth, way))
        for name, way in ways.items()
    }
    large = {key for key in ways[""] if ways[""].count(key) > 1}
    return told | {"incidents_of_three": float(len(large))}


def one(seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    columns = fleet(3000, rng)
    names = sorted(columns)
    while True:
        chosen = rng.choice(names, 1 + int(rng.random() < 0.25), replace=False)
        member = np.ones(3000, np.bool_)
        for name in chosen:
            member &= columns[str(name)] == int(rng.choice(columns[str(name)]))
        if 15 <= member.sum() <= 1500:
            break
    device, _ = struck([(member, float(rng.uniform(0.3, 0.9)))], 0.01, rng)
    affected = np.zeros(3000, np.bool_)
    affected[device] = True
    known = attributes(columns)
    found = Blame().causes(known, affected)
    told = [known.having(dict(zip(c.attribute, c.value, strict=True))) for c in found]
    right = len(told) == 1 and bool((told[0] == member).all())
    order = rng.permutation(3000)
    shuffled = attributes({name: column[order] for name, column in columns.items()})
    return {
        "blame_right": float(right),
        "blame_among": float(any((one == member).all() for one in told)),
        "blame_on_noise": float(not Blame().causes(shuffled, affected)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    base = given.seed * 100_000
    figures = storm(100_000, base)
    for measure, times in ((three, 10 if given.quick else 40), (one, 60 if given.quick else 400)):
        told = [measure(base + n) for n in range(times)]
        for name in told[0]:
            values = np.array([each[name] for each in told])
            figures[name] = float(values.mean())
            figures[f"{name}_se"] = float(values.std(ddof=1) / math.sqrt(times))
    figures |= budget.measured(given.quick, given.seed + 100)[0]
    for name, value in figures.items():
        print(f"{name:40} {value:9.4f}")
    if given.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
