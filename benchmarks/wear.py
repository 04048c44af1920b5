"""Flash wear: how near the foretold dates come to the limit, and what real drives did.

**Simulation.** Media are read weekly in steps of 10 %, and each is asked for its date when its true
wear first reaches 25, 45, 65 and 85 %. *Steady*: wear alone, at a rate that is lognormal over
media (median 20 % a year, deviation 0.7) and stays. The oracle is Bayes' rule on the exact wear now
(`crps_ratio_steps`), and, harder, on the exact wear of every week (`crps_ratio_steps_path`: no
estimator that sees only steps comes near it, as weekly increments tell more of the rate than their
sum). *Moving*: writes are told too; their pace walks (0.3 per root year) and has change points
(x2.5, x3, x0.4; 3 of 10 media in 5 years). The oracle knows wear per write, wear, the pace now, and
how it moves. Engine and oracles share the prior of the simulated world. Ratios are of sums over the
four levels; ``_se`` is by a bootstrap of media. Other worlds: ``--week-noise`` and the like.

**Panel.** Server drives re-probed months apart (linuxhw/EnterpriseDrive, CC BY 4.0). From all
earlier probes of a drive the reading of its next one is foretold, on the drive's own clock. The
shipped prior was fitted on the half of the drives of the development panel whose SHA-1 is even; of
that file the other half is scored, of any other file all drives. MAE and RMSE are of the median
(on the half that was fitted the mean had the larger RMSE: tails are heavy), coverage by the
randomised PIT. ``--panel FILE`` scores another file, ``--prior DIR`` another
prior, ``--fit DIR`` fits one (some minutes) and writes it with its card.

**Speed.** Updates a second of `FlashWear.update`: three months of hourly rows from first sight on,
one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import _wear_panel as real
import _wear_simulation as simulated
import numpy as np
import scoringrules

from aiops.connectors.models import load_prior
from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.protocol import FleetShape
from aiops.detectors.wear_prior import WearPrior, shipped_prior
from aiops.kernels.rows import B1, F8
from aiops.telemetry.batch import TelemetryBatch

SHARED = Path(os.environ.get("AIOPS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
PANEL = SHARED / "data" / "flash" / "wear_panel.csv.gz"
CARD = Path(__file__).resolve().parents[1] / "models" / "wear-prior" / "1" / "card.toml"
RECALL = 0.80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawText)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--media", type=int, help="simulated media (default 1,000; quick 150)")
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--json", action="store_true", help="print figures as the last line")
    parser.add_argument("--panel", type=Path, help=f"default {PANEL.name} of the shared data")
    parser.add_argument("--prior", type=Path, help="directory (default: the shipped prior)")
    parser.add_argument("--fit", type=Path, help="fit a prior on half of the panel, write it")
    parser.add_argument("--step", type=float, default=0.10, help="of the simulated reading")
    parser.add_argument("--drift", type=float, default=0.3, help="of the log pace, per root year")
    parser.add_argument("--jumps", type=float, help="change points a year")
    parser.add_argument("--week-noise", type=float, default=0.0, help="of the log of weekly writes")
    options = parser.parse_args()

    if options.fit:
        import _wear_fit

        _wear_fit.fit(options.panel or PANEL, options.fit, options.seed)
        return
    figures: dict[str, float] = {}
    prior = load_prior(options.prior) if options.prior else shipped_prior()
    only_panel = options.panel is not None
    if not only_panel:
        media = options.media or (150 if options.quick else 1000)
        figures |= simulation(options, media)
        figures |= speed(options.quick)
    path = options.panel or PANEL
    if path.exists():
        figures |= panel(path, prior, options.seed)
    elif only_panel:
        raise SystemExit(f"{path}: there is no such file")
    else:
        print(f"skipped the real panel: {path.name} is not there (set AIOPS_SHARED)")
    if options.json:
        print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


class RawText(argparse.RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the description."""


# -- simulation -----------------------------------------------------------------------------------


def simulation(options: argparse.Namespace, media: int) -> dict[str, float]:
    """Return the figures of both worlds."""
    steady = replace(simulated.STEADY, step=options.step)
    moving = replace(
        simulated.MOVING,
        step=options.step,
        drift_per_root_year=options.drift,
        week_noise=options.week_noise,
    )
    if options.jumps is not None:
        moving = replace(moving, jumps_per_year=options.jumps)
    seed = 1000 * options.seed
    lives = simulated.live(steady, media, seed)
    engine = simulated.engine_answers(steady, lives)
    now = simulated.steady_oracle(steady, lives, path=False)
    path = simulated.steady_oracle(steady, lives, path=True)
    figures = {}
    figures |= report("steady world, oracle knows exact wear now", "steps", engine, now)
    figures |= report("steady world, oracle knows every week", "steps_path", engine, path)
    lives = simulated.live(moving, media, seed + 1)
    engine = simulated.engine_answers(moving, lives)
    oracle = simulated.moving_oracle(moving, lives, seed + 2)
    figures |= report("moving world, oracle knows the pace now", "drift", engine, oracle)
    return figures | {"simulated_media": media}


def report(
    title: str, name: str, engine: simulated.Answers, oracle: simulated.Answers
) -> dict[str, float]:
    """Print both at each level and return the ratios of sums over levels."""
    print(
        f"\n{title}: weeks\n{'wear':>6}{'CRPS':>9}{'oracle':>9}{'MAE':>9}{'oracle':>9}"
        f"{'cover':>8}{'oracle':>8}"
    )
    scores = []
    for answers in (engine, oracle):
        median = np.quantile(answers.foretold, 0.5, axis=1)
        low, high = np.quantile(answers.foretold, (0.05, 0.95), axis=1)
        scores.append(
            (
                scoringrules.crps_ensemble(answers.left, answers.foretold),
                np.abs(median - answers.left),
                (low <= answers.left) & (answers.left <= high),
            )
        )
    levels = engine.level
    for level in simulated.LEVELS:
        at = levels == level
        (crps, mae, cover), (crps0, mae0, cover0) = (
            [s[at].mean() for s in part] for part in scores
        )
        print(f"{level:6.0%}{crps:9.1f}{crps0:9.1f}{mae:9.1f}{mae0:9.1f}{cover:8.3f}{cover0:8.3f}")

    def ratio(score: int, chosen: np.ndarray) -> float:
        sums = [
            sum(part[score][chosen][levels[chosen] == level].mean() for level in simulated.LEVELS)
            for part in scores
        ]
        return float(sums[0] / sums[1])

    everything = np.arange(len(levels))
    rng = np.random.default_rng(1)
    draws = [rng.choice(everything, len(everything)) for _ in range(200)]
    cover = float(np.mean([scores[0][2][levels == level].mean() for level in simulated.LEVELS]))
    figures = {
        f"cover_{name}": cover,
        f"cover_{name}_se": float(scores[0][2].std() / np.sqrt(len(levels))),
    }
    for score, what in enumerate(("crps", "mae")):
        figures[f"{what}_ratio_{name}"] = ratio(score, everything)
        figures[f"{what}_ratio_{name}_se"] = float(np.std([ratio(score, d) for d in draws]))
    print("".join(f"  {key} {value:.3f}" for key, value in figures.items() if "_se" not in key))
    return figures


# -- the real panel -------------------------------------------------------------------------------


def panel(path: Path, prior: WearPrior, seed: int) -> dict[str, float]:
    """Return the figures of a panel."""
    probes = real.read_panel(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() == fitted_on():
        probes = probes.of(probes.held_out)
        print(f"\n{path.name}: the half of its drives that the prior was not fitted on")
    else:
        print(f"\n{path.name}: all drives")
    earlier, _ = probes.pairs
    left_out = int((probes.order > 0).sum()) - len(earlier)
    print(
        f"{len(np.unique(probes.drive)):,} drives, {len(earlier):,} pairs of probes; {left_out} "
        f"left out (too near, contradicting, at the end of the byte)"
    )
    foretold = real.foretell(probes, FlashWear(prior=prior))
    simple = real.baselines(probes)
    pit = foretold.pit(np.random.default_rng(seed))
    inside = (pit > 0.05) & (pit < 0.95)
    kind = probes.probes["kind"].to_numpy()[earlier]
    figures: dict[str, float] = {}
    for name, label in (("SSD", "sata"), ("NVMe", "nvme")):
        of = kind == name
        if of.any():
            figures |= errors(label, of, probes, foretold, simple, inside)
    figures["panel_cover"] = float(inside.mean())
    figures["panel_cover_se"] = spread_of(inside.astype(np.float64), probes.drive[earlier])
    worn = probes.reading[earlier] >= 5.0
    figures["panel_cover_worn"] = float(inside[worn].mean())
    print(
        f"90 % intervals cover {inside.mean():.3f} of all, {inside[worn].mean():.3f} of those "
        f"that read 5 % or more; below {np.mean(pit < 0.05):.3f}, above {np.mean(pit > 0.95):.3f}"
    )
    return figures | crossings(probes, foretold) | {"panel_pairs": len(earlier)}


def fitted_on() -> str:
    """Return the SHA-256 of the file that the shipped prior was fitted on."""
    return str(tomllib.loads(CARD.read_text(encoding="utf-8"))["panel_sha256"])


def errors(
    label: str,
    of: B1,
    probes: real.Panel,
    foretold: real.Foretold,
    simple: dict[str, F8],
    inside: B1,
) -> dict[str, float]:
    """Print and return the errors of one kind of drive, in points of wear."""
    earlier, later = (rows[of] for rows in probes.pairs)
    truth, base = probes.reading[later], probes.reading[earlier]
    drive = probes.drive[earlier]
    chance = foretold.chance[of]
    step = np.arange(real.MOST + 1.0) >= foretold.rise[of][:, None]
    crps = ((chance - step) ** 2).sum(axis=1) + np.maximum(base - truth, 0.0)
    mae = np.abs(base + foretold.median[of] - truth)
    square = (base + foretold.median[of] - truth) ** 2
    rows = {"this engine": (mae.mean(), np.sqrt(square.mean()), crps.mean())}
    for name, guess in simple.items():
        off = guess[of] - truth
        rows[name] = (np.abs(off).mean(), np.sqrt((off**2).mean()), np.abs(off).mean())
    print(f"\n{label}, {of.sum():,} pairs{'MAE':>18}{'RMSE':>9}{'CRPS':>9}")
    for name, values in rows.items():
        print(f"  {name:<26}" + "".join(f"{value:9.3f}" for value in values))
    peers = [rows[name] for name in ("persistence", "life_average", "last_slope")]
    figures = {
        f"{label}_mae_se": spread_of(mae, drive),
        f"{label}_crps_se": spread_of(crps, drive),
        f"{label}_rmse_se": spread_of(square, drive) / (2.0 * float(np.sqrt(square.mean()))),
        f"{label}_cover": float(inside[of].mean()),
        f"{label}_pairs": int(of.sum()),
    }
    for at, what in enumerate(("mae", "rmse", "crps")):
        figures[f"{label}_{what}"] = float(rows["this engine"][at])
        figures[f"{label}_{what}_best_baseline"] = float(min(peer[at] for peer in peers))
    return figures


def spread_of(values: F8, drive: np.ndarray) -> float:
    """Return the standard error of the mean of values whose drives are independent."""
    off = np.bincount(drive, values - values.mean())
    return float(np.sqrt((off**2).sum()) / len(values))


def crossings(probes: real.Panel, foretold: real.Foretold) -> dict[str, float]:
    """Print and return how well it is foretold who reads 100 % or more at the next probe."""
    earlier, later = probes.pairs
    near = probes.reading[earlier] < 100.0
    base = probes.reading[earlier]
    chance = foretold.reaches(100.0 - base)[near]
    crosses = probes.reading[later][near] >= 100.0
    if not crosses.any():
        print("no drive reached 100 %")
        return {}
    order = np.argsort(-chance, kind="stable")
    found = np.cumsum(crosses[order])
    wanted = int(np.searchsorted(found, RECALL * crosses.sum()))
    precision = float(found[wanted] / (wanted + 1))
    rule = base[near] >= 80.0
    rule_recall = float(crosses[rule].sum() / crosses.sum())
    rule_precision = float(crosses[rule].mean()) if rule.any() else float("nan")
    rng = np.random.default_rng(2)
    draws = []
    for _ in range(200):
        at = rng.choice(len(chance), len(chance))
        hits = np.cumsum(crosses[at][np.argsort(-chance[at], kind="stable")])
        if hits[-1]:
            last = int(np.searchsorted(hits, RECALL * hits[-1]))
            draws.append(hits[last] / (last + 1))
    print(
        f"\n{crosses.sum()} of {len(chance):,} reach 100 % by the next probe: at recall "
        f"{RECALL:.2f}, precision {precision:.2f};\n"
        f"the 80 % rule has recall {rule_recall:.2f}, precision "
        f"{rule_precision:.2f}"
    )
    print("Brier score by tenth of the chance foretold (count, mean chance, share, score):")
    tenth = np.minimum((chance * 10).astype(int), 9)
    for part in range(10):
        of = tenth == part
        if of.any():
            brier = ((chance[of] - crosses[of]) ** 2).mean()
            print(
                f"  {part / 10:.1f}{of.sum():8,}{chance[of].mean():9.4f}{crosses[of].mean():9.4f}"
                f"{brier:9.4f}"
            )
    return {
        "crossing_precision_at_recall_80": precision,
        "crossing_precision_at_recall_80_se": float(np.std(draws)),
        "crossings": int(crosses.sum()),
        "crossing_brier": float(((chance - crosses) ** 2).mean()),
        "rule80_recall": rule_recall,
        "rule80_precision": rule_precision,
    }


# -- speed ----------------------------------------------------------------------------------------


def speed(quick: bool) -> dict[str, float]:
    """Return updates a second of a fleet that reports hourly, and bytes of state a device."""
    devices, hours, begin_h = (500, 24 * 90, 8_760) if quick else (3_000, 24 * 90, 8_760)
    rng = np.random.default_rng(0)
    detector = FlashWear()
    memory = detector.init(FleetShape(devices))
    rate = 0.2 / 8_766.0 * np.exp(0.7 * rng.standard_normal(devices))
    hour = begin_h + np.arange(hours)
    read = np.floor(100.0 * rate[:, None] * hour) / 100.0
    written = 128e9 * 100.0 * rate[:, None] * hour
    ts = (simulated.START_NS + np.tile(hour * 3600, devices) * 10**9).astype(np.int64)
    every = devices * hours
    batch = TelemetryBatch(
        device=np.repeat(np.arange(devices, dtype=np.int32), hours),
        cohort=np.zeros(every, np.int32),
        ts=ts,
        historical=np.zeros(every, np.bool_),
        columns={
            "storage.wear.used_ratio": read.ravel(),
            "storage.wear.step_ratio": np.full(every, 0.01),
            "storage.power_on_time": np.tile(hour * 3600.0, devices),
            "storage.bytes_written": written.ravel(),
            "storage.capacity": np.full(every, 128e9),
        },
        indptr=np.arange(0, every + 1, hours),
    )
    detector.update(detector.init(FleetShape(devices)), batch)  # compiles and warms
    began = time.perf_counter()
    detector.update(memory, batch)
    passed_s = time.perf_counter() - began
    state = sum(array.nbytes for array in memory) / devices
    print(
        f"\n{every:,} hourly updates at {every / passed_s / 1e6:.1f} M/s on one core; "
        f"{state:.0f} bytes of state a device"
    )
    return {"updates_per_s": every / passed_s, "state_bytes_per_medium": state}


if __name__ == "__main__":
    main()
