"""What is known of flash wear before a medium has shown its own: by model, by vendor, by fleet."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources

import msgspec
import numpy as np
from scipy.special import ndtr

from aiops.errors import FileError
from aiops.kernels.rows import F8, I8
from aiops.kernels.wear import YEAR_S

PRIOR_FILE = "prior.json"
SHIPPED = "wear-prior/1"
OUTLIERS = 0.02
"""Share of media whose counters are taken to say nothing of their kind."""
PRIOR_TAU = 1.0
"""A model differs from its vendor, a vendor from the fleet, by so much of the spread inside."""
MOST_CELLS = 2_000_000
UNKNOWN_ODDS = 2.0
"""Log odds that media of which nothing is known wear by writes: flash does."""
UNKNOWN_SCALE = 0.005
"""Of media whose make nothing is known of: they may wear in leaps."""
MOST_ODDS, MOST_WITNESSES = 4.0, 20
"""Bounds of the log odds of a kind, and of how many of its media speak for them."""
FLEET = -1.0
"""Code of the fleet, which comes before all names."""


class Kind(msgspec.Struct, frozen=True):
    """The media of one model or vendor: mean and variance over media of their log rates."""

    code: float
    """Of the name, as `identity_code` gives it; -1 for the whole fleet."""
    name: str
    media: int
    """How many it was learnt from."""
    rate_log: tuple[float, float]
    """Of wear, 1/s of power-on time and 1 per full drive write."""
    rate_var: tuple[float, float]
    pace_log: float
    """Of full drive writes, 1/s of power-on time."""
    pace_var: float
    writes_odds: float = 0.0
    """Log odds that wear of these goes by writes rather than by time, beside the fleet's."""
    scale: float = 0.0
    """Variance over mean of wear; 0: that of `Movement`."""
    inverted: bool = False
    """What it reports as wear is known to run the wrong way."""


class Movement(msgspec.Struct, frozen=True):
    """How log rates move; triples are of wear by time, wear by writes, and writes by time."""

    scale: float = 0.005
    """Variance over mean of wear: how uneven it is."""
    drift_per_year: tuple[float, float, float] = (0.3, 0.02, 0.3)
    """Variance that a log rate gains in a year."""
    jumps_per_year: tuple[float, float, float] = (0.1, 0.02, 0.15)
    jump_log: tuple[float, float, float] = (0.0, 0.0, 0.0)
    jump_var: tuple[float, float, float] = (1.0, 1.0, 1.0)
    moves_years: float = 100.0
    """How long rates move on: what is to come after that spreads no further."""
    day_noise: float = 0.1
    """Variance of the log pace of a single day."""
    writes_odds: float = 0.0
    """Log odds that wear goes by writes rather than by time, whatever the kind."""
    low: float = 0.05
    """Level of the model that is exceeded downwards once in 20 times."""
    high: float = 0.95
    """And upwards."""


class WearPrior(msgspec.Struct, frozen=True, dict=True):
    """A table of kinds of media, the whole fleet first, and how rates move."""

    kinds: tuple[Kind, ...]
    movement: Movement

    def __repr__(self) -> str:
        """Say which one it is: settings are filed under it."""
        return f"WearPrior({self.digest})"

    def __hash__(self) -> int:
        """Hash by content, once: detectors are looked up by their settings in every step."""
        return hash(self.digest)

    @cached_property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the content."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @property
    def wear_per_year(self) -> float:
        """Mean over the fleet of the share of rated endurance used in a year of power-on time."""
        fleet = self.kinds[0]
        return math.exp(fleet.rate_log[0] + 0.5 * fleet.rate_var[0]) * YEAR_S


def uniform_prior(
    wear_per_year: float,
    spread: float,
    *,
    wear_per_write: float = 0.0005,
    spread_per_write: float = 1.3,
    writes_per_year: float = 60.0,
    movement: Movement | None = None,
) -> WearPrior:
    """Return a prior without kinds: medians of the rates and standard deviations of their logs."""
    fleet = Kind(
        code=FLEET,
        name="",
        media=0,
        rate_log=(math.log(wear_per_year / YEAR_S), math.log(wear_per_write)),
        rate_var=(spread**2, spread_per_write**2),
        pace_log=math.log(writes_per_year / YEAR_S),
        pace_var=2.0,
    )
    return WearPrior((fleet,), movement or Movement())


def decode_prior(content: bytes, path: str) -> WearPrior:
    """Return the prior that a file holds, `path` being what errors call it.

    Raises
    ------
    FileError
        It holds none.
    """
    try:
        prior = msgspec.json.decode(content, type=WearPrior)
    except msgspec.DecodeError as error:
        raise FileError(f"{path}: is no wear prior ({error}); train it again") from error
    codes = [kind.code for kind in prior.kinds]
    if not codes or codes[0] != FLEET or codes != sorted(set(codes)):
        raise FileError(
            f"{path}: its kinds must begin with the fleet (code {FLEET:g}) and have ascending "
            f"codes; train it again"
        )
    return prior


@lru_cache(maxsize=1)
def shipped_prior() -> WearPrior:
    """Return the prior that comes with the package; its card is beside it in ``models/``."""
    package = resources.files("aiops")
    for place in (package / "models", package / ".." / "models"):
        found = place / SHIPPED / PRIOR_FILE
        if found.is_file():
            return decode_prior(found.read_bytes(), f"models/{SHIPPED}/{PRIOR_FILE}")
    raise FileError(f"models/{SHIPPED} is not there; the installation is not whole")


@dataclass(frozen=True)
class Histories:
    """What each of some media has shown so far: arrays [m]; NaN is unknown."""

    level: F8
    """Highest reading, a share of the rated endurance."""
    step: F8
    power_on_s: F8
    writes: F8
    """Full drive writes."""
    model: F8
    """Code."""
    vendor: F8
    """Code."""

    @cached_property
    def clocks(self) -> tuple[F8, F8]:
        """Time and writes, NaN where they tell nothing."""
        told = (self.power_on_s > 86_400.0) & (self.power_on_s < 20.0 * YEAR_S)
        power_on_s = np.where(told & (self.level < 2.545), self.power_on_s, np.nan)
        return power_on_s, np.where(np.isnan(power_on_s), np.nan, self.writes)


def fit_kinds(histories: Histories, names: dict[float, str] | None = None) -> tuple[Kind, ...]:
    """Learn the kinds of media from whole histories, by empirical Bayes.

    A reading says that wear is within its tick, so the log rate is within an interval (open below
    at a reading of 0), and is normal over the media of a kind. Mean and deviation are summed out on
    a grid; the prior of a model is centred at its vendor's, a vendor's at the fleet's (Gelman et
    al. 2013, Bayesian Data Analysis, ch. 5). What a new medium is to expect has both variances.
    """
    by_clock = [
        _fit_clock(clock, histories.level, histories.step, histories.vendor, histories.model)
        for clock in histories.clocks
    ]
    power_on_s, writes = histories.clocks
    pace = np.log(np.where(writes > 0.0, writes, np.nan) / power_on_s)
    fleet_pace = (float(np.nanmean(pace)), float(np.nanvar(pace)))
    kinds = []
    for code in sorted(set(by_clock[0]) | set(by_clock[1])):
        of_kind = histories.model == code
        if not of_kind.any():
            of_kind = histories.vendor == code if code >= 0.0 else np.ones(len(pace), np.bool_)
        parent = _parent(code, histories)
        mean, var = _shrunk(pace[of_kind], *fleet_pace)
        fits = [c.get(code) or c.get(parent) or c[FLEET] for c in by_clock]
        kinds.append(
            Kind(
                code=code,
                name=(names or {}).get(code, ""),
                media=int(of_kind.sum()),
                rate_log=(round(fits[0][0], 4), round(fits[1][0], 4)),
                rate_var=(round(fits[0][1], 4), round(fits[1][1], 4)),
                pace_log=round(mean, 4),
                pace_var=round(var, 4),
                scale=0.0 if code >= 0 else UNKNOWN_SCALE,
                writes_odds=_odds(fits[0][2], fits[1][2], int(of_kind.sum()))
                if code >= 0
                else UNKNOWN_ODDS,
            )
        )
    return tuple(kinds)


def _odds(by_time: float, by_writes: float, media: int) -> float:
    """Return how much better a clock explains a kind: by the deviations that it leaves.

    Each medium counts with the log ratio of normal densities. Counts of writes in another unit,
    or that wrap, leave more than time does.
    """
    odds = min(media, MOST_WITNESSES) * math.log(by_time / by_writes)
    return round(min(max(odds, -MOST_ODDS), MOST_ODDS), 2)


def _parent(code: float, histories: Histories) -> float:
    """Return the vendor of a model, as most of its media name it; the fleet of a vendor."""
    vendor = histories.vendor[(histories.model == code) & ~np.isnan(histories.vendor)]
    values, counts = np.unique(vendor, return_counts=True)
    return float(values[counts.argmax()]) if len(values) else FLEET


def _shrunk(values: F8, mean: float, var: float) -> tuple[float, float]:
    """Return mean and variance of normal values, drawn to those of the fleet: worth two media."""
    values = values[~np.isnan(values)]
    n = len(values)
    centre = (2.0 * mean + values.sum()) / (2.0 + n)
    spread = (2.0 * var + ((values - centre) ** 2).sum()) / (2.0 + n)
    return float(centre), float(spread * (1.0 + 1.0 / (2.0 + n)))


def _fit_clock(
    clock: F8, level: F8, step: F8, vendor: F8, model: F8
) -> dict[float, tuple[float, float, float]]:
    """Return mean, predictive variance and inner deviation of the log rate of each kind."""
    told = (clock > 0.0) & ~np.isnan(level)
    clock, level = clock[told], level[told]
    tick = np.where(np.isnan(step[told]), 0.01, step[told])
    vendor, model = vendor[told], model[told]
    if len(clock) == 0:
        return {FLEET: (math.log(0.03 / YEAR_S), 2.5, 1.6)}
    with np.errstate(divide="ignore"):
        low, high = np.log(level / clock), np.log((level + tick) / clock)
    middle = np.log((level + 0.5 * tick) / clock)
    ends = np.quantile(middle, 0.001) - 3.0, np.quantile(middle, 0.999) + 1.0

    def learn(rows: I8, parent: tuple[float, float, float] | None) -> tuple[float, float, float]:
        """Sum mean and deviation of some media out: on a wide grid, then on a fine one in it."""
        means, deviations = np.linspace(*ends, 60), np.geomspace(0.1, 3.2, 12)
        for last in (False, True):
            mean, deviation = (g.ravel() for g in np.meshgrid(means, deviations, indexing="ij"))
            weight = np.zeros(len(mean))
            size = max(MOST_CELLS // len(mean), 1)
            for first in range(0, len(rows), size):
                part = rows[first : first + size, None]
                above = ndtr((high[part] - mean) / deviation)
                chance = above - ndtr((low[part] - mean) / deviation)
                weight += np.log((1.0 - OUTLIERS) * chance + OUTLIERS * 0.01 + 1e-12).sum(axis=0)
            if parent is not None:
                # A kind is like its parent, and its media are more alike than all.
                weight -= 0.5 * ((mean - parent[0]) / (PRIOR_TAU * parent[2])) ** 2
                weight -= 0.5 * ((np.log(deviation / parent[2]) + 0.3) / 0.7) ** 2
            weight = np.exp(weight - weight.max())
            weight /= weight.sum()
            centre, spread = float(weight @ mean), float(np.exp(weight @ np.log(deviation)))
            if not last:
                reach = 4.0 * math.sqrt(float(weight @ mean**2) - centre**2 + 1e-12)
                reach += 1.5 * (means[1] - means[0])
                means = np.linspace(centre - reach, centre + reach, 60)
                deviations = np.geomspace(max(spread / 3.0, 0.05), min(3.0 * spread, 4.0), 24)
        var = float(weight @ deviation**2 + weight @ mean**2) - centre**2
        return centre, var, spread

    of_rows = np.arange(len(clock))
    kinds = {FLEET: learn(of_rows, None)}
    parents = np.full(len(clock), FLEET)
    for codes in (vendor, model):
        found = {
            code: learn(of_rows[codes == code], kinds[float(parents[codes == code][0])])
            for code in np.unique(codes[~np.isnan(codes)]).tolist()
        }
        kinds.update(found)
        parents = np.where(np.isnan(codes), parents, codes)
    return kinds
