"""A frozen forest that reads temperature and packet loss together, beside simpler judges.

An isolation forest (Liu, Ting and Zhou 2008, doi:10.1109/ICDM.2008.17) is trained on a year of a
healthy simulated fleet at 8 sites. Each judge gets its alert line on a second healthy year, where
it may raise 100 false alarms per 1,000 device-months. Then all judge the same rows of other fleets:
60 days beginning in a month drawn at random, with a heat wave (20 Cel, 5 days) at one site and
weak links (20 dB, 5 days) at another. All seeds differ. An alarm is what `AlertRule` makes of a
score that stays beyond the line for 6 hours.

The peers: thresholds on the temperature, on the loss, and on either (half the budget each); and the
robust z-score of each of the two metrics against the device's own past 14 days, again either. The
first 14 days of a fleet are judged by nobody, so that all have the same rows.

Figures, for each judge the mean over test fleets and its standard error (``_se``): average
precision over rows (`<judge>_heat_ap`, `<judge>_link_ap`; one that knows nothing gets
`heat_share`, `link_share`), the share of struck devices with an alarm (`_heat_found`,
`_link_found`), and `<judge>_false_per_1000_device_months`. Lines are set once: what they miss the
budget by is not in ``_se``. ``--write models/thermal_novelty/1`` keeps the forest with its card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score

from aiops.alerts.rule import AlertRule
from aiops.connectors.models import save_model
from aiops.connectors.simulator import SCENARIOS, Fault, Scenario, Simulation
from aiops.detectors.frozen_model import FrozenModel
from aiops.kernels.phase import FIRED, advance_phase
from aiops.kernels.rows import B1, F8, I4, I8

READS = ("temperature.celsius", "net.loss_ratio")
RESOLVED = np.array([0.5, 0.005])
"""What the sensors resolve: no spread is taken to be less."""
KINDS = ("heat", "link")
DAY_NS = 86_400_000_000_000
MONTH_NS = 365.25 / 12.0 * DAY_NS
PAST_DAYS = 14
BUDGET = 100.0
"""False alarms per 1,000 device-months that give the line."""
HOLD_S = 21_600.0
"""How long a score must stay beyond the line."""
YEAR = replace(SCENARIOS["healthy"], devices=48, sites=8, days=365)


@dataclass(frozen=True)
class Fleet:
    """Rows [n] of a simulated fleet, by device and time: as many of each device as of another."""

    values: F8
    """[n, metrics]"""
    device: I4
    ts: I8
    fault: npt.NDArray[np.str_]
    """A kind of fault, or nothing."""
    judged: B1

    @property
    def months(self) -> float:
        """Device-months that are judged and without fault."""
        interval_ns = int(self.ts[1] - self.ts[0])
        return float((self.judged & (self.fault == "")).sum()) * interval_ns / MONTH_NS


def fleet_of(scenario: Scenario) -> Fleet:
    """Simulate a fleet and label its rows."""
    simulation = Simulation(scenario)
    table = pa.concat_tables([frame for frame, _ in simulation.frames(None)])
    table = table.select(["device_id", "ts", *READS]).drop_null()
    names, device = np.unique(table["device_id"].cast(pa.string()), return_inverse=True)
    ts = table["ts"].cast(pa.int64()).to_numpy()
    values = np.column_stack([table[name].to_numpy() for name in READS])
    order = np.lexsort((ts, device))
    device, ts = device[order].astype(np.int32), ts[order]
    fault = np.full(len(ts), "", dtype="U4")
    for told in simulation.truth.to_pylist():
        if told["fault"] in KINDS:
            inside = (ts >= told["onset_ts"]) & (ts < told["end_ts"])
            fault[inside & (names[device] == told["device_id"])] = told["fault"]
    judged = ts >= scenario.start_ns + PAST_DAYS * DAY_NS
    return Fleet(values[order], device, ts, fault, judged)


def struck(seed: int) -> Scenario:
    """Return a fleet with a heat wave and weak links, where and when the seed says."""
    rng = np.random.default_rng(seed)
    hot, weak = (YEAR.site(int(site)).name for site in rng.permutation(YEAR.sites)[:2])
    day, month = rng.uniform(16.0, 30.0), rng.integers(1, 13)
    return replace(
        YEAR,
        seed=seed,
        days=60,
        start=f"2026-{month:02d}-05T00:00:00Z",
        faults=(
            Fault("heat", f"site:{hot}", day, days=5.0, size=20.0),
            Fault("link", f"site:{weak}", day + 12.0, days=5.0, size=20.0),
        ),
    )


# -- judges: each gives one or more readings [n], of which the one furthest beyond its line counts -

Reading = Callable[[Fleet], F8]


def reading(metric: int) -> Reading:
    return lambda fleet: fleet.values[:, metric]


def own_past(metric: int) -> Reading:
    """Return how far a row is from its device's median of the 14 days before, in spreads."""

    def judge(fleet: Fleet) -> F8:
        devices = int(fleet.device[-1]) + 1
        per_day = round(DAY_NS / int(fleet.ts[1] - fleet.ts[0]))
        days = fleet.values[:, metric].reshape(devices, -1, per_day)
        z = np.full(days.shape, np.nan)
        for day in range(PAST_DAYS, days.shape[1]):
            past = days[:, day - PAST_DAYS : day].reshape(devices, -1)
            low, middle, high = np.percentile(past, (25, 50, 75), axis=1)[:, :, None]
            spread = np.maximum((high - low) / 1.349, RESOLVED[metric])
            z[:, day] = np.abs(days[:, day] - middle) / spread
        return z.ravel()

    return judge


def train(fleet: Fleet, seed: int) -> IsolationForest:
    """Train a forest small enough to be kept in a repository."""
    forest = IsolationForest(n_estimators=10, max_samples=2048, random_state=seed)
    return forest.fit(fleet.values)


def judges(forest: IsolationForest) -> dict[str, tuple[Reading, ...]]:
    return {
        "forest": (lambda fleet: -forest.score_samples(fleet.values),),
        "temperature": (reading(0),),
        "loss": (reading(1),),
        "thresholds": (reading(0), reading(1)),
        "own_past": (own_past(0), own_past(1)),
    }


# -- lines and alarms -----------------------------------------------------------------------------


def alarms(fleet: Fleet, score: F8) -> B1:
    """Return the rows [n] at which a rule on `score` fires."""
    devices = int(fleet.device[-1]) + 1
    phase, since = np.zeros(devices, np.int8), np.zeros(devices, np.int64)
    change = np.zeros(len(score), np.int8)
    hold_ns = int(HOLD_S * 1e9)
    line, clear = AlertRule.line, AlertRule.clear
    advance_phase(
        fleet.device, fleet.ts, score, fleet.judged, phase, since, line, clear, hold_ns, change
    )
    fired: B1 = change == FIRED
    return fired


def line_of(fleet: Fleet, raw: F8, budget: float) -> tuple[float, float]:
    """Return the ordinary reading and the lowest limit that keeps `budget` on a healthy fleet."""
    ordinary = float(np.median(raw[fleet.judged]))
    limits = np.unique(raw[fleet.judged & (raw > ordinary)])
    allowed = budget * fleet.months / 1000.0
    low, high = -1, len(limits) - 1  # the highest limit keeps any budget
    while high - low > 1:
        middle = (low + high) // 2
        if alarms(fleet, (raw - ordinary) / (limits[middle] - ordinary)).sum() <= allowed:
            high = middle
        else:
            low = middle
    return ordinary, float(limits[high])


def scores(fleet: Fleet, readings: tuple[Reading, ...], lines: list[tuple[float, float]]) -> F8:
    """Return how far each row [n] is on its way from ordinary, 0, to the line, 1."""
    each = [
        (judge(fleet) - ordinary) / (limit - ordinary)
        for judge, (ordinary, limit) in zip(readings, lines, strict=True)
    ]
    furthest: F8 = np.maximum.reduce(each)
    return furthest


def measure(fleet: Fleet, score: F8) -> dict[str, float]:
    """Return the figures of one judge on one fleet."""
    fired, healthy = alarms(fleet, score), fleet.fault == ""
    found = {"false_per_1000_device_months": 1000.0 * (fired & healthy).sum() / fleet.months}
    for kind in KINDS:
        hit = fleet.fault == kind
        asked = fleet.judged & (healthy | hit)
        found[f"{kind}_ap"] = average_precision_score(hit[asked], score[asked])
        found[f"{kind}_found"] = len(np.unique(fleet.device[fired & hit])) / len(
            np.unique(fleet.device[hit])
        )
    return found


def run(seed: int, fleets: int) -> tuple[dict[str, float], FrozenModel]:
    """Train, set the lines, and measure all judges on `fleets` test fleets."""
    forest = train(fleet_of(replace(YEAR, seed=seed)), seed)
    healthy = fleet_of(replace(YEAR, seed=seed + 1))
    known = judges(forest)
    lines = {
        name: [line_of(healthy, judge(healthy), BUDGET / len(readings)) for judge in readings]
        for name, readings in known.items()
    }
    each: dict[str, list[float]] = {}
    for k in range(fleets):
        fleet = fleet_of(struck(seed + 2 + k))
        for kind in KINDS:
            asked = fleet.judged & np.isin(fleet.fault, ("", kind))
            each.setdefault(f"{kind}_share", []).append((fleet.fault[asked] == kind).mean())
        for name, readings in known.items():
            for figure, value in measure(fleet, scores(fleet, readings, lines[name])).items():
                each.setdefault(f"{name}_{figure}", []).append(value)
    figures: dict[str, float] = {}
    for name, values in each.items():
        figures[name] = float(np.mean(values))
        figures[f"{name}_se"] = float(np.std(values, ddof=1) / np.sqrt(fleets))
    ((ordinary, limit),) = lines["forest"]
    return figures, FrozenModel(forest, READS, digest="", ordinary=-ordinary, limit=-limit)


def about(figures: dict[str, float], seed: int, fleets: int, directory: Path) -> dict[str, str]:
    """Return what the card says."""

    def told(name: str, digits: int = 2) -> str:
        return f"{figures[name]:.{digits}f} (s.e. {figures[f'{name}_se']:.{digits}f})"

    heat, link = (
        f"{told(f'forest_{kind}_found')} of devices {where} found, where {peer} "
        f"{told(f'{name}_{kind}_found')}"
        for kind, where, name, peer in (
            ("heat", "in a heat wave", "own_past", "a z-score against the own past finds"),
            ("link", "with a weak link", "thresholds", "two thresholds find"),
        )
    )
    false = told("forest_false_per_1000_device_months", 0)
    return {
        "what": f"Isolation forest: unusual temperature and packet loss together, on gateways "
        f"that report hourly. For a rule that holds for {HOLD_S / 3600:.0f} h.",
        "trained_on": f"Simulated fleet in health, seed {seed}: {YEAR.devices} devices at "
        f"{YEAR.sites} sites, a year; the line from seed {seed + 1}.",
        "measured": f"{fleets} faulty fleets of other seeds: {heat}; {link}; {false} false alarms "
        f"per 1,000 device-months at a line set for {BUDGET:.0f}.",
        "made_by": f"python benchmarks/novelty.py --seed {seed} "
        f"--write {'/'.join(directory.parts[-3:])}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer test fleets")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--write", type=Path, help="keep the forest, as models/<name>/<version>")
    given = parser.parse_args()
    fleets = 8 if given.quick else 40
    figures, model = run(given.seed, fleets)
    for name, value in figures.items():
        print(f"{name:44} {value:>10.4g}")
    if given.write:
        save_model(given.write, model, about(figures, given.seed, fleets, given.write))
    if given.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
