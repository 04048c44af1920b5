"""Fit the wear prior on half of a panel: kinds by empirical Bayes, then movement by search."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
from _wear_panel import Foretold, Panel, foretell, read_panel
from scipy.optimize import minimize

from aiops.connectors.models import save_prior
from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.wear_prior import Kind, Movement, WearPrior, fit_kinds
from aiops.kernels.rows import F8
from aiops.telemetry.columns import identity_code

EVALUATIONS = 60
SEEN_YEARS = 1.0
"""Hardly any two probes are further apart: more movement than that is not to be seen in them."""
ROUNDS = 7
START = np.array([-9.0, -0.65, -3.42, -1.48, -1.36, -0.79, 0.78, 1.21, 1.39, 0.31, 0.1, -0.82])
"""Where earlier, longer searches on the same half ended."""


def movement_of(x: F8) -> Movement:
    """Return the movement that a point of the search stands for."""
    scale, by_time, by_writes, pace, leaps, changes, leap_var, change_var, noise = (
        float(value) for value in np.exp(np.clip(x[:9], -9.0, 4.0))
    )
    odds, leap, change = (float(value) for value in x[9:])
    return Movement(
        scale=round(max(scale, 1e-4), 6),
        drift_per_year=(round(by_time, 4), round(by_writes, 4), round(pace, 4)),
        jumps_per_year=(round(leaps, 4), 0.02, round(changes, 4)),
        jump_log=(round(leap, 4), 0.0, round(change, 4)),
        jump_var=(round(leap_var, 4), 1.0, round(change_var, 4)),
        moves_years=SEEN_YEARS,
        day_noise=round(noise, 4),
        writes_odds=round(odds, 4),
    )


def loss(panel: Panel, foretold: Foretold) -> float:
    """Return errors relative to persistence and surprise, both kinds of drive weighing the same.

    Mean absolute and squared errors and CRPS are what the benchmark measures on the other half;
    surprise keeps the intervals honest.
    """
    earlier, _ = panel.pairs
    kind = panel.probes["kind"].to_numpy()[earlier]
    total = 0.0
    for name in ("SSD", "NVMe"):
        of = kind == name
        rise = foretold.rise[of]
        step = np.arange(foretold.chance.shape[1]) >= rise[:, None]
        crps = ((foretold.chance[of] - step) ** 2).sum(axis=1).mean()
        mae = np.abs(foretold.median[of] - rise).mean()
        rmse = np.sqrt(((foretold.median[of] - rise) ** 2).mean())
        total += (mae + crps) / rise.mean() + rmse / np.sqrt((rise**2).mean())
        total += foretold.surprise[of].mean()
    return float(total)


def calibrated(panel: Panel, kinds: tuple[Kind, ...], movement: Movement, seed: int) -> Movement:
    """Move the levels of the interval until 1 in 20 readings is outside on each side.

    A reading that is high came early: it is the low level of the date.
    """
    low, high = movement.low, movement.high
    for _ in range(ROUNDS):
        movement = msgspec.structs.replace(movement, low=round(low, 4), high=round(high, 4))
        foretold = foretell(panel, FlashWear(prior=WearPrior(kinds, movement)))
        pit = foretold.pit(np.random.default_rng(seed))
        early, late = float((pit > 0.95).mean()), float((pit < 0.05).mean())
        print(f"low {low:.4f}: {early:.4f} early; high {high:.4f}: {late:.4f} late", flush=True)
        low = max(low * 0.05 / early, 0.002)
        high = 1.0 - max((1.0 - high) * 0.05 / late, 0.002)
    return movement


def fit(path: Path, target: Path, seed: int) -> None:
    """Fit a prior on the even half of the panel at `path` and write it with its card."""
    panel = read_panel(path)
    panel = panel.of(~panel.held_out)
    names = {
        identity_code(text): text
        for text in [*panel.probes["vendor"].unique(), *panel.probes["model"].unique()]
    }
    kinds = fit_kinds(panel.histories(), names)
    print(f"{len(kinds)} kinds of {len(np.unique(panel.drive)):,} drives", flush=True)
    best = [np.inf]

    def asked(x: F8) -> float:
        value = loss(panel, foretell(panel, FlashWear(prior=WearPrior(kinds, movement_of(x)))))
        if value < best[0]:
            best[0] = value
            print(f"{value:.4f} {movement_of(x)}", flush=True)
        return value

    corners = np.vstack([START, START + 0.3 * np.eye(len(START))])
    options = {"initial_simplex": corners, "maxfev": EVALUATIONS, "adaptive": True}
    movement = movement_of(minimize(asked, START, method="Nelder-Mead", options=options).x)
    prior = WearPrior(kinds, calibrated(panel, kinds, movement, seed))
    card = {
        "what": "How fast flash wears by model, vendor and fleet, and how its rate moves: the "
        "prior of the detector flash_wear.",
        "trained_on": f"{len(np.unique(panel.drive)):,} server SSD and NVMe drives of "
        "linuxhw/EnterpriseDrive (CC BY 4.0): those of the development panel whose id has an "
        "even SHA-1.",
        "measured": "On the other half, by `python benchmarks/wear.py`: see README.",
        "limits": "Server drives, of which few wear out; eMMC, UFS and SD cards have the fleet's "
        "row, which is wide. A year here is a year of power-on time.",
        "made_by": f"python benchmarks/wear.py --fit models/wear-prior/1 --seed {seed}",
        "panel_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    save_prior(target, prior, card)
