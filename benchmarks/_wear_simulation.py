"""Lives of simulated media, and what somebody who knows more than a reading would foretell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc, gammaln

from aiops.detectors.flash_wear import FlashWear
from aiops.detectors.protocol import FleetShape
from aiops.detectors.wear_prior import Movement, uniform_prior
from aiops.kernels.rows import F8, I8
from aiops.telemetry.batch import TelemetryBatch

LEVELS = (0.25, 0.45, 0.65, 0.85)
WEEK_S = 604_800.0
WEEKS_A_YEAR = 365.25 / 7.0
START_NS = 1_700_000_000 * 10**9
CAPACITY = 128e9
DRAWS = 199
"""Equally likely outcomes that stand for a foretold distribution."""
CHANCES = (np.arange(DRAWS) + 0.5) / DRAWS
GRID_WEEKS = np.concatenate([np.arange(0.0, 200.0, 2.0), np.geomspace(200.0, 12_000.0, 260)])


@dataclass(frozen=True)
class World:
    """How simulated media live; rates and deviations are of natural logarithms where not said."""

    wear_per_year: float = 0.20
    """Median over media."""
    spread: float = 0.7
    """Standard deviation over media of the log wear rate."""
    scale: float = 0.005
    """Variance over mean of wear."""
    step: float = 0.10
    wear_per_write: float = 0.001
    """Median over media of wear in a full drive write; moving worlds only."""
    write_spread: float = 0.3
    """Its standard deviation, part of `spread`."""
    drift_per_root_year: float = 0.0
    """Standard deviation of the random walk of the log pace of writes."""
    jumps_per_year: float = 0.0
    """Change points: the pace is then 2.5, 3 or 0.4 times what it was."""
    week_noise: float = 0.0
    """Standard deviation of the log of a single week's writes."""

    @property
    def moves(self) -> bool:
        """Whether writes are told and their pace moves."""
        return self.drift_per_root_year > 0.0


STEADY = World()
MOVING = World(drift_per_root_year=0.3, jumps_per_year=-np.log(0.7) / 5.0)
"""3 of 10 media have a change point within 5 years, their median life."""
JUMPS = np.log([2.5, 3.0, 0.4])


@dataclass(frozen=True)
class Lives:
    """True wear and writes of media [n] at the end of each week [n, weeks]."""

    weekly: F8
    """Wear of each week. Sums cannot give it back: it may be too small to show in them."""
    wear: F8
    writes: F8
    wear_per_write: F8
    """[n]"""
    log_pace: F8
    """[n, weeks] full drive writes a week."""

    @property
    def end(self) -> I8:
        """[n] first week in which wear is 1 or more."""
        return (self.wear < 1.0).sum(axis=1)


def live(world: World, media: int, seed: int) -> Lives:
    """Draw the lives of `media`; the few that do not end within 60 years are left out."""
    rng = np.random.default_rng(seed)
    weeks = int(60 * WEEKS_A_YEAR)
    own = world.write_spread if world.moves else 0.0
    per_write = world.wear_per_write * np.exp(own * rng.standard_normal(media))
    usual = np.log(world.wear_per_year / world.wear_per_write / WEEKS_A_YEAR)
    first = usual + np.sqrt(world.spread**2 - own**2) * rng.standard_normal(media)
    pace = np.repeat(first[:, None], weeks, axis=1)
    if world.moves:
        step = world.drift_per_root_year / np.sqrt(WEEKS_A_YEAR)
        pace += np.cumsum(step * rng.standard_normal((media, weeks)), axis=1)
        jumps = rng.random((media, weeks)) < world.jumps_per_year / WEEKS_A_YEAR
        pace += np.cumsum(jumps * rng.choice(JUMPS, (media, weeks)), axis=1)
    noise = world.week_noise * rng.standard_normal((media, weeks))
    writes = np.exp(pace + noise)
    weekly = world.scale * rng.gamma(per_write[:, None] * writes / world.scale)
    wear = np.cumsum(weekly, axis=1)
    whole = wear[:, -1] > 1.1
    total = np.cumsum(writes, axis=1)
    return Lives(weekly[whole], wear[whole], total[whole], per_write[whole], pace[whole])


@dataclass(frozen=True)
class Answers:
    """Weeks left as foretold [m, DRAWS], as they were [m], and at which level [m] it was asked."""

    foretold: F8
    left: F8
    level: F8


def outcomes(chance: F8) -> F8:
    """Return equally likely weeks [DRAWS] of a distribution given on `GRID_WEEKS`."""
    rising = np.maximum.accumulate(chance)
    return np.interp(CHANCES, rising, GRID_WEEKS)


def questions(lives: Lives) -> list[tuple[float, int, int]]:
    """Return (level, medium, week): each is asked when its true wear first reaches each level."""
    end = lives.end
    found = [
        (level, medium, week)
        for level in LEVELS
        for medium, week in enumerate((lives.wear < level).sum(axis=1).tolist())
        if week < end[medium]
    ]
    return sorted(found, key=lambda question: question[2])


def detector_for(world: World) -> FlashWear:
    """Return the detector with the prior of that world: what the oracles know of it too."""
    moving = Movement(
        scale=world.scale,
        drift_per_year=(world.drift_per_root_year**2, 0.0, world.drift_per_root_year**2),
        jumps_per_year=(world.jumps_per_year, 0.0, world.jumps_per_year),
        jump_log=(float(JUMPS.mean()), 0.0, float(JUMPS.mean())),
        jump_var=(float(JUMPS.var()), 1.0, float(JUMPS.var())),
        day_noise=max(7.0 * world.week_noise**2, 0.001),
        writes_odds=3.0,
    )
    prior = uniform_prior(
        world.wear_per_year,
        world.spread,
        wear_per_write=world.wear_per_write,
        spread_per_write=max(world.write_spread, 0.01),
        writes_per_year=world.wear_per_year / world.wear_per_write,
        movement=moving,
    )
    return FlashWear(prior=prior, refresh_s=3650 * 86_400.0)


def engine_answers(world: World, lives: Lives) -> Answers:
    """Read the media weekly, in steps, and ask the detector."""
    detector = detector_for(world)
    media = len(lives.wear)
    memory = detector.init(FleetShape(media))
    end = lives.end
    asked = questions(lives)
    given, at = [], 0
    horizon_s = GRID_WEEKS * WEEK_S
    for week in range(int(end.max())):
        alive = np.flatnonzero(week < end).astype(np.int32)
        columns = {
            "storage.wear.used_ratio": np.floor(lives.wear[alive, week] / world.step + 1e-9)
            * world.step,
            "storage.wear.step_ratio": np.full(len(alive), world.step),
            "storage.power_on_time": np.full(len(alive), (week + 1) * WEEK_S),
        }
        if world.moves:
            columns["storage.bytes_written"] = lives.writes[alive, week] * CAPACITY
            columns["storage.capacity"] = np.full(len(alive), CAPACITY)
        detector.update(memory, batch_of(alive, week, columns))
        while at < len(asked) and asked[at][2] == week:
            level, medium, _ = asked[at]
            device = np.full(len(horizon_s), medium, dtype=np.int32)
            chance = detector.chances(memory, device, np.ones((len(horizon_s), 1)), horizon_s)
            given.append((outcomes(chance[:, 0]), end[medium] - week, level))
            at += 1
    return Answers(*(np.array(part) for part in zip(*given, strict=True)))


def batch_of(device: np.ndarray, week: int, columns: dict[str, F8]) -> TelemetryBatch:
    """Return one row of each device, at the end of a week."""
    n = len(device)
    return TelemetryBatch(
        device=device,
        cohort=np.zeros(n, np.int32),
        ts=np.full(n, START_NS + int((week + 1) * WEEK_S) * 10**9),
        historical=np.zeros(n, np.bool_),
        columns=columns,
        indptr=np.arange(n + 1),
    )


def steady_oracle(world: World, lives: Lives, *, path: bool) -> Answers:
    """Foretell a steady world from exact wear now, or from the exact wear of every week.

    Bayes on a grid of 241 rates. Wear of n weeks at rate m is gamma with shape ``n m / scale``. The
    increments of each week tell more than their sum, since their shape depends on the rate.
    """
    sigmas = np.linspace(-4.5, 4.5, 241)
    rates = world.wear_per_year / WEEKS_A_YEAR * np.exp(world.spread * sigmas)
    shape = rates / world.scale
    given = []
    for level, medium, week in questions(lives):
        wear, n = lives.wear[medium], week + 1
        if path:
            weekly = lives.weekly[medium, :n]
            logs = np.log(np.maximum(weekly / world.scale, 1e-300)).sum()
            likely = shape * logs - n * gammaln(shape)
        else:
            likely = n * shape * np.log(wear[week] / world.scale) - gammaln(n * shape)
        log_posterior = likely - 0.5 * sigmas**2
        weight = np.exp(log_posterior - log_posterior.max())
        kept = weight > 1e-6 * weight.sum()
        weight = weight[kept] / weight[kept].sum()
        grown = np.maximum(shape[kept, None] * GRID_WEEKS, 1e-12)
        chance = weight @ gammaincc(grown, (1.0 - wear[week]) / world.scale)
        given.append((outcomes(chance), lives.end[medium] - week, level))
    return Answers(*(np.array(part) for part in zip(*given, strict=True)))


def moving_oracle(world: World, lives: Lives, seed: int, paths: int = 400) -> Answers:
    """Foretell a moving world, knowing wear per write, wear now, the pace now and how it moves.

    By `paths` possible futures of each question.
    """
    rng = np.random.default_rng(seed)
    step = world.drift_per_root_year / np.sqrt(WEEKS_A_YEAR)
    given = []
    for level, medium, week in questions(lives):
        left = 1.0 - lives.wear[medium, week]
        now = lives.log_pace[medium, week]
        per_write = lives.wear_per_write[medium]
        weeks = int(min(6.0 * left / (per_write * np.exp(now)) + 30.0, 4000.0))
        pace = now + np.cumsum(step * rng.standard_normal((paths, weeks)), axis=1)
        jumps = rng.random((paths, weeks)) < world.jumps_per_year / WEEKS_A_YEAR
        pace += np.cumsum(jumps * rng.choice(JUMPS, (paths, weeks)), axis=1)
        noise = world.week_noise * rng.standard_normal((paths, weeks))
        wear = np.cumsum(world.scale * rng.gamma(per_write * np.exp(pace + noise) / world.scale), 1)
        ends = np.sort((wear < left).sum(axis=1) + 1.0)
        given.append((np.quantile(ends, CHANCES), lives.end[medium] - week, level))
    return Answers(*(np.array(part) for part in zip(*given, strict=True)))
