"""What stands beside the detector: what never looks at the data, plain rules, and libraries.

Each sees a series in order, scores a row before it learns it, and knows neither the range of the
file nor its length. A series in, a score a row out; higher is odder, NaN is no opinion. A server
gives the mean of its five highest metrics, except for models that take all metrics at once.

PySAD and rcf3 are not among what the tests install: ``pip install pysad rcf3``. A peer that is not
there is left out with a message. rcf3 is the random cut forest of Guha et al. (2016); rrcf, which
is the same in Python, takes a hundred times as long.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from _detection_alarms import latched
from _detection_data import Series, Server
from river import anomaly, preprocessing

from aiops.kernels.rows import F8

CLOCK_ROWS = 500
ALPHAS = {"ewma_03": 0.03, "ewma_01": 0.01, "ewma_003": 0.003}
GAUSSIAN_ROWS = 6_400
LEAST_ROWS = 10
"""What a mean and a spread are learnt from before they judge."""
FLOOR = 1e-3
"""Of the spread, relative to the mean: a constant series has none."""
TOP = 5


class Said(NamedTuple):
    """What a contender says of each row of a series."""

    score: F8
    """[n] of this row; what alarms are made of."""
    state: F8
    """[n] of lately."""


class Contender(NamedTuple):
    """Something that scores."""

    name: str
    judge: Callable[[Sequence[Series]], list[Said]]
    """What is said of each of the series, each by itself."""
    at_once: Callable[[Server], Said] | None = None
    """What is said of all metrics of a server; None: the five highest speak."""
    slow: bool = False
    """Left out of a quick run."""
    servers: bool = True
    """Takes no hours for servers."""

    def judge_servers(self, servers: Sequence[Server]) -> list[Said]:
        """Return what is said of each of the servers."""
        if self.at_once is not None:
            return [self.at_once(server) for server in servers]
        each = (self.judge(server.metrics) for server in servers)
        return [
            Said(highest_mean([s.score for s in said]), highest_mean([s.state for s in said]))
            for said in each
        ]


def peers(seed: int) -> list[Contender]:
    """Return all peers that are installed."""
    rules = [
        Contender("clock", _each(lambda one: _clock(len(one.ts)))),
        Contender("random", _each(lambda one: _chance(one, seed))),
        *(Contender(name, _each(_ewma(alpha))) for name, alpha in ALPHAS.items()),
        Contender("gaussian", _each(lambda one: gaussian_z(one.value, GAUSSIAN_ROWS))),
    ]
    return [*rules, _river(seed), *_pysad(seed), *_rcf(seed)]


def _each(score: Callable[[Series], F8]) -> Callable[[Sequence[Series]], list[Said]]:
    return lambda series: [_held(score(one)) for one in series]


def _held(score: F8) -> Said:
    return Said(score, latched(score))


# -- never look at the data -----------------------------------------------------------------------


def _clock(n: int) -> F8:
    return (np.arange(n) % CLOCK_ROWS == 0).astype(np.float64)


def _chance(one: Series, seed: int) -> F8:
    return np.random.default_rng([seed, zlib.crc32(one.name.encode())]).random(len(one.ts))


# -- plain rules ----------------------------------------------------------------------------------


def _ewma(alpha: float) -> Callable[[Series], F8]:
    return lambda one: ewma_z(one.value, alpha)


@numba.njit(cache=True)
def ewma_z(value, alpha):  # type: ignore[no-untyped-def]
    """Return how many deviations each value [n] is from the mean, both exponentially weighted."""
    z = np.full(len(value), np.nan)
    mean, variance, seen = 0.0, 0.0, 0
    for i in range(len(value)):
        if not np.isfinite(value[i]):
            continue
        away = value[i] - mean
        if seen >= LEAST_ROWS:
            spread = np.sqrt(variance) + FLOOR * abs(mean)
            z[i] = abs(away) / spread if spread > 0.0 else np.sign(abs(away))
        share = max(alpha, 1.0 / (seen + 1))
        mean += share * away
        variance = (1.0 - share) * (variance + share * away * away)
        seen += 1
    return z


@numba.njit(cache=True)
def gaussian_z(value, rows):  # type: ignore[no-untyped-def]
    """Return how many deviations each value [n] is from the mean of the `rows` before it."""
    z = np.full(len(value), np.nan)
    known = value[np.isfinite(value)]
    pivot = known[0] if len(known) else 0.0  # sums of squares lose less about a value of the series
    total, squares, first, seen = 0.0, 0.0, 0, 0
    for i in range(len(value)):
        if not np.isfinite(value[i]):
            continue
        x = value[i] - pivot
        if seen >= LEAST_ROWS:
            mean = total / seen
            spread = np.sqrt(max(squares / seen - mean * mean, 0.0)) + FLOOR * abs(mean + pivot)
            z[i] = abs(x - mean) / spread if spread > 0.0 else np.sign(abs(x - mean))
        total, squares, seen = total + x, squares + x * x, seen + 1
        while seen > rows:
            if np.isfinite(value[first]):
                gone = value[first] - pivot
                total, squares, seen = total - gone, squares - gone * gone, seen - 1
            first += 1
    return z


# -- libraries ------------------------------------------------------------------------------------


def river_hst(seed: int) -> Any:
    """Return river's HalfSpaceTrees behind the scaler that its documentation asks for."""
    return preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=seed)


def _river(seed: int) -> Contender:
    def rows(value: F8) -> F8:
        model = river_hst(seed)
        names = [f"m{at}" for at in range(value.shape[1])]
        score = np.full(len(value), np.nan)
        for i, row in enumerate(value.tolist()):
            if np.isfinite(value[i]).all():
                features = dict(zip(names, row, strict=True))
                score[i] = model.score_one(features)
                model.learn_one(features)
        return score

    return _of_rows("river_hst", rows)


def _pysad(seed: int) -> list[Contender]:
    """Return PySAD's k nearest neighbours (one metric only) and its LODA."""
    models = _installed("pysad.models")
    if models is None:
        return []

    def partial(make: Callable[[], Any]) -> Callable[[F8], F8]:
        def rows(value: F8) -> F8:
            model = make()
            score = np.full(len(value), np.nan)
            with contextlib.redirect_stdout(io.StringIO()):  # it prints of singular matrices
                for i in np.flatnonzero(np.isfinite(value).all(axis=1)):
                    score[i] = model.fit_score_partial(value[i])
            return score

        return rows

    neighbours = partial(lambda: models.KNNCAD(300))
    return [
        Contender(
            "pysad_knncad", _each(lambda one: neighbours(one.value[:, None])), None, True, False
        ),
        _of_rows("pysad_loda", partial(lambda: models.LODA(random_state=seed)), slow=True),
    ]


def _rcf(seed: int) -> list[Contender]:
    """Return random cut forests with and without a shingle."""
    library = _installed("rcf3")
    if library is None:
        return []

    def forest(shingle: int) -> Callable[[F8], F8]:
        def rows(value: F8) -> F8:
            model = library.Forest(value.shape[1], shingle, seed=seed)
            score = np.full(len(value), np.nan)
            for i in np.flatnonzero(np.isfinite(value).all(axis=1)):
                score[i] = model.update_and_score(value[i].tolist())
            return score

        return rows

    return [
        _of_rows("rcf", forest(1), slow=True),
        _of_rows("rcf_shingle_8", forest(8), slow=True)._replace(servers=False),
    ]


def _of_rows(name: str, rows: Callable[[F8], F8], slow: bool = False) -> Contender:
    """Return a contender that takes values [n, m], all metrics at once."""
    return Contender(
        name,
        _each(lambda one: rows(one.value[:, None])),
        lambda server: _held(rows(np.column_stack([one.value for one in server.metrics]))),
        slow,
    )


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"skipped {name}: it is not installed (pip install {name.partition('.')[0]})")
        return None


# -- servers --------------------------------------------------------------------------------------


def highest_mean(scores: Sequence[F8], top: int = TOP) -> F8:
    """Return the mean [n] of the `top` highest of the scores; none at all where all are NaN."""
    table = np.array(scores)
    heard = ~np.isnan(table).all(axis=0)
    table = np.where(np.isnan(table), 0.0, table)
    keep = min(top, len(table))
    highest = np.partition(table, len(table) - keep, axis=0)[len(table) - keep :]
    return np.where(heard, highest.mean(axis=0), np.nan)
