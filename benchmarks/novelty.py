"""A frozen scikit-learn model beside simple peers, on simulated heat waves and failing links.

An isolation forest (Liu, Ting and Zhou 2008, doi:10.1109/ICDM.2008.17) is trained on a healthy
simulated fleet and asked about other fleets, of other seeds, in which sites have heat waves and
devices have failing links. A row is positive while its device is in a fault. Nothing is tuned on
the test fleets; the line is the score that one healthy training row in 10,000 exceeds. The peers
see the same rows: the temperature alone, and the largest robust z-score of all metrics.

Figures, each the mean over test seeds with its standard error (``_se``): average precision of the
model and of the peers, and `novelty_false_rows_per_1000`: healthy rows beyond the line.
``--write models/thermal_novelty/1`` keeps the model with its card.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score

from aiops.connectors.models import save_model
from aiops.connectors.simulator import SCENARIOS, Fault, Simulation
from aiops.detectors.frozen_model import FrozenModel

READS = ("temperature.celsius", "net.rtt_ms", "net.loss_ratio")
F8 = npt.NDArray[np.float64]
HEALTHY = replace(SCENARIOS["healthy"], devices=24, sites=4)


def rows(simulation: Simulation) -> tuple[F8, npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    """Return the complete device rows [n, metrics] with their time and device."""
    table = pa.concat_tables([frame for frame, _ in simulation.frames(None)])
    table = table.select(["device_id", "ts", *READS]).drop_null()
    values = np.column_stack([table[name].to_numpy() for name in READS])
    ts = table["ts"].cast(pa.int64()).to_numpy()
    return values, ts, table["device_id"].cast(pa.string()).to_numpy(zero_copy_only=False)


def labels(simulation: Simulation, ts: npt.NDArray[np.int64], device: npt.NDArray[np.str_]) -> F8:
    """Return [n] 1.0 where the device of a row is in a fault."""
    positive = np.zeros(len(ts))
    for fault in simulation.truth.to_pylist():
        if fault["fault"] in ("heat", "link"):
            end = fault["end_ts"] or np.iinfo(np.int64).max
            inside = (ts >= fault["onset_ts"]) & (ts < end) & (device == fault["device_id"])
            positive[inside] = 1.0
    return positive


def train(seed: int, days: int) -> FrozenModel:
    """Train on a healthy fleet and freeze."""
    values, _, _ = rows(Simulation(replace(HEALTHY, seed=seed, days=days)))
    forest = IsolationForest(n_estimators=24, max_samples=128, random_state=seed).fit(values)
    normality = forest.score_samples(values)
    return FrozenModel(
        model=forest,
        reads=READS,
        digest="",
        ordinary=float(np.median(normality)),
        limit=float(np.quantile(normality, 1e-4)),
        name="thermal_novelty",
    )


def measure(model: FrozenModel, seed: int, days: int) -> dict[str, float]:
    """Score one faulty fleet with the model and its peers."""
    faults = (
        Fault("heat", "site:Lyon", 0.4 * days, days=3.0, size=24.0),
        Fault("link", "gw-0002", 0.2 * days, days=2.0),
        Fault("link", "gw-0007", 0.6 * days, days=2.0),
    )
    simulation = Simulation(replace(HEALTHY, seed=seed, days=days, faults=faults))
    values, ts, device = rows(simulation)
    truth = labels(simulation, ts, device)
    score = (model.ordinary - model.model.score_samples(values)) / (model.ordinary - model.limit)
    middle = np.median(values, axis=0)
    spread = np.median(np.abs(values - middle), axis=0) * 1.4826 + 1e-9
    peers = {
        "novelty_ap": score,
        "temperature_ap": values[:, 0],
        "robust_z_ap": np.abs((values - middle) / spread).max(axis=1),
    }
    found = {name: float(average_precision_score(truth, s)) for name, s in peers.items()}
    return found | {
        "positive_share": float(truth.mean()),
        "novelty_false_rows_per_1000": 1000.0 * float((score[truth == 0.0] >= 1.0).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter test fleets")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--write", type=Path, help="keep the model, as models/<name>/<version>")
    given = parser.parse_args()
    days, fleets = (20, 4) if given.quick else (60, 8)
    model = train(given.seed, days)
    each = [measure(model, given.seed + 1 + k, days) for k in range(fleets)]
    figures: dict[str, float] = {}
    for name in each[0]:
        values = np.array([one[name] for one in each])
        figures[name] = float(values.mean())
        figures[f"{name}_se"] = float(values.std(ddof=1) / np.sqrt(fleets))
    for name, value in figures.items():
        print(f"{name:36} {value:>10.4f}")
    if given.write:
        told = f"{figures['novelty_ap']:.3f} (s.e. {figures['novelty_ap_se']:.3f})"
        peer = f"{figures['temperature_ap']:.3f} (s.e. {figures['temperature_ap_se']:.3f})"
        save_model(
            given.write,
            model,
            {
                "what": "Unusual temperature, round-trip time and loss of a gateway together.",
                "trained_on": f"Simulator, healthy, seed {given.seed}, 24 devices, {days} days.",
                "measured": f"Average precision {told} on {fleets} faulty fleets of other seeds; "
                f"the temperature alone reaches {peer}.",
                "made_by": f"benchmarks/novelty.py --seed {given.seed} --write {given.write}",
            },
        )
    if given.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
