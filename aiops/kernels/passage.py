"""When a creeping level meets its limit: the distribution of a first passage."""

from __future__ import annotations

import math

import numpy as np

from aiops.kernels.compile import kernel
from aiops.kernels.exhaustion_memory import ExhaustionMemory, ExhaustionSettings
from aiops.kernels.rows import F8, I4

TIMES, FIRST, RATIO = 64, 0.25, 1.18
"""Grid of times ahead, in bins: with days, from six hours to 23 years."""
NODES = 11
"""Slopes that a forecast is averaged over, from -2.5 to 2.5 standard deviations."""


@kernel
def passages(
    device: I4,
    memory: ExhaustionMemory,
    settings: ExhaustionSettings,
    wanted: F8,
    ahead: F8,
) -> None:
    """Write when each `device` [k] is at the limit, with probabilities `wanted` [q], if it creeps.

    `ahead` [k, q] is in bins from the middle of the judged one; inf: never. The highest part of a
    bin is what meets the limit. It wanders around a line of unknown level and slope; a drop back,
    as often as drops were seen, begins the way anew. Sets ``chance`` to the probability within the
    horizon.
    """
    passed = np.empty(TIMES)
    for k in range(device.shape[0]):
        i = device[k]
        ahead[k] = np.inf
        if memory.span[i] == 0 or not memory.slope[i] > 0.0:
            continue
        chance_by(i, memory, settings, passed)
        memory.chance[i] = interpolate_chance(settings.horizon, passed)
        for w in range(wanted.shape[0]):
            time = FIRST
            last, last_time = 0.0, 0.0
            for m in range(TIMES):
                if passed[m] >= wanted[w]:
                    part = (wanted[w] - last) / (passed[m] - last)
                    ahead[k, w] = last_time + part * (time - last_time)
                    break
                last, last_time = passed[m], time
                time *= RATIO


@kernel
def interpolate_chance(when: float, passed: F8) -> float:
    """Return the chance, on the grid of times ahead, of having passed by `when`."""
    time, last, last_time = FIRST, 0.0, 0.0
    for m in range(TIMES):
        if time >= when:
            return float(last + (passed[m] - last) * (when - last_time) / (time - last_time))
        last, last_time = passed[m], time
        time *= RATIO
    return last


@kernel
def chance_by(i: int, memory: ExhaustionMemory, settings: ExhaustionSettings, passed: F8) -> None:
    """Write the chance that device `i` has met the limit by each time of the grid ahead [m]."""
    slope, slope_sd = memory.slope[i], math.sqrt(memory.slope_var[i])
    tilt = memory.both_cov[i] / memory.slope_var[i] if slope_sd > 0.0 else 0.0
    level_sd = math.sqrt(max(memory.level_var[i] - tilt * memory.both_cov[i], 0.0))
    rho = max(memory.correlation[i], 0.0)
    room = settings.limit - memory.peak[i]
    resets = memory.resets[i]
    passed[:] = 0.0
    weights = 0.0
    for a in range(NODES):
        z = 5.0 * a / (NODES - 1) - 2.5
        pace = slope + z * slope_sd
        if pace <= 0.0:
            continue
        for h in range(-1, 2):
            weight = math.exp(-0.5 * z * z) * (4.0 if h == 0 else 1.0)
            weights += weight
            level = memory.level[i] + tilt * z * slope_sd + h * math.sqrt(3.0) * level_sd
            again = max((room - memory.floor[i]) / pace, 1.0)
            tries = max(math.expm1(min(resets * again, 50.0)) / resets - again, 1.0)
            alive, met, time, last = 1.0, 0.0, FIRST, 0.0
            for m in range(TIMES):
                middle = 0.5 * (time + last)
                fades = rho**middle
                spread = math.sqrt(
                    memory.noise_var[i] * (1.0 - fades * fades) + memory.peak_var[i] + 1e-300
                )
                short = room - level - pace * middle - memory.away[i] * fades
                over = 0.5 * math.erfc(short / (spread * math.sqrt(2.0)))
                bins = (time - last) * math.sqrt(1.0 - rho * rho)
                stays = alive * math.exp(bins * math.log1p(-min(over, 1.0 - 1e-12)))
                met += (alive - stays) * math.exp(-resets * middle)
                alive = stays
                late = 0.0
                if time > again:
                    late = (1.0 - math.exp(-resets * time)) * -math.expm1((again - time) / tries)
                passed[m] += weight * (met + (1.0 - met) * late)
                last = time
                time *= RATIO
    for m in range(TIMES):
        passed[m] = passed[m] / weights if weights > 0.0 else 0.0
        if m > 0:
            passed[m] = max(passed[m], passed[m - 1])
