"""What stands beside the detector in `benchmarks/detection.py`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def peers() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("_detection_peers")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def series(peers: ModuleType, value: np.ndarray, name: str = "a"):
    ts = 60 * 10**9 * np.arange(len(value), dtype=np.int64)
    return peers.Series(name, ts, value, np.zeros((0, 2), dtype=np.int64))


def test_ewma_is_what_its_definition_says(peers: ModuleType) -> None:
    """Weights (1 - a) ** age, those of the first 1 / a rows being a plain mean's."""
    rng = np.random.default_rng(1)
    value, alpha = rng.normal(5.0, 1.0, 300), 0.05
    value[40] = np.nan
    weight: list[float] = []
    past: list[float] = []
    z = np.full(300, np.nan)
    for i, x in enumerate(value):
        if np.isnan(x):
            continue
        if len(past) >= 10:
            w, p = np.array(weight), np.array(past)
            mean = (w * p).sum()
            spread = np.sqrt((w * (p - mean) ** 2).sum()) + 1e-3 * abs(mean)
            z[i] = abs(x - mean) / spread
        share = max(alpha, 1.0 / (len(past) + 1))
        weight = [(1.0 - share) * one for one in weight] + [share]
        past.append(x)
    assert peers.ewma_z(value, alpha) == pytest.approx(z, nan_ok=True)


@pytest.mark.parametrize("rows", [15, 50, 1_000])
def test_gaussian_knows_the_rows_before(peers: ModuleType, rows: int) -> None:
    rng = np.random.default_rng(2)
    value = rng.normal(1e6, 3.0, 200)
    value[[20, 90]] = np.nan
    z = np.full(200, np.nan)
    for i, x in enumerate(value):
        past = value[:i][~np.isnan(value[:i])][-rows:]
        if not np.isnan(x) and len(past) >= 10:
            z[i] = abs(x - past.mean()) / (past.std() + 1e-3 * abs(past.mean()))
    assert peers.gaussian_z(value, rows) == pytest.approx(z, nan_ok=True)


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_rules_are_silent_on_a_constant_series(peers: ModuleType, level: float) -> None:
    value = np.full(100, level)
    for z in (peers.ewma_z(value, 0.01), peers.gaussian_z(value, 50)):
        assert np.isnan(z[:10]).all()
        assert (z[10:] == 0.0).all()
    value[60] = level + 1.0
    assert peers.ewma_z(value, 0.01)[60] > 0.0
    assert peers.gaussian_z(value, 50)[60] > 0.0


def test_no_peer_sees_what_is_to_come(peers: ModuleType) -> None:
    """A series cut short has the scores of the whole one, as far as it goes."""
    rng = np.random.default_rng(3)
    value = rng.normal(0.0, 1.0, 700)
    for peer in peers.peers(seed=1):
        ((whole, state),) = peer.judge([series(peers, value)])
        ((short, short_state),) = peer.judge([series(peers, value[:400])])
        assert short == pytest.approx(whole[:400], nan_ok=True), peer.name
        assert short_state == pytest.approx(state[:400]), peer.name
        assert len(whole) == 700


def test_a_server_is_the_mean_of_its_five_highest_metrics(peers: ModuleType) -> None:
    scores = [np.array([float(at), np.nan]) for at in range(7)]
    mean = peers.highest_mean(scores)
    assert mean[0] == 4.0
    assert np.isnan(mean[1])
    some_silent = [np.array([1.0]), np.array([np.nan])]
    assert peers.highest_mean(some_silent)[0] == 0.5
    plain = peers.Contender("x", lambda many: [peers._held(one.value) for one in many])
    metrics = [series(peers, np.array([float(at), 0.0])) for at in range(6)]
    (said,) = plain.judge_servers([peers.Server(tuple(metrics))])
    assert said.score.tolist() == [3.0, 0.0]
    assert said.state == pytest.approx([3.0, 2.94])


def test_normality_is_a_contender_like_the_others(peers: ModuleType) -> None:
    """A series alone, beside others with its times, and cut short: the same is said of it."""
    normality = importlib.import_module("_detection_normality")
    rng = np.random.default_rng(5)
    values = rng.normal(0.0, 1.0, (3, 700))
    ts = 60 * 10**9 * np.arange(700, dtype=np.int64) + normality.BEGIN_NS
    ts[300] = ts[299]  # a second row at one instant is set aside
    many = [series(peers, value)._replace(ts=ts) for value in values]
    contender = normality.contender("x")
    together = contender.judge(many)
    for one, said in zip(many, together, strict=True):
        (alone,) = contender.judge([one])
        assert alone.score == pytest.approx(said.score, nan_ok=True)
        assert np.flatnonzero(np.isnan(said.score)).tolist() == [0, 300]
        (short,) = contender.judge([one._replace(ts=ts[:400], value=one.value[:400])])
        assert short.score == pytest.approx(said.score[:400], nan_ok=True)
        assert short.state == pytest.approx(said.state[:400], nan_ok=True)
    (some,) = normality.contender("x", views=normality.views()[:1]).judge(many[:1])
    assert not np.allclose(some.score, together[0].score, equal_nan=True)


def test_a_library_that_is_absent_is_told(
    peers: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rcf3", None)
    monkeypatch.setitem(sys.modules, "pysad.models", None)
    names = [one.name for one in peers.peers(seed=1)]
    assert names == [
        "clock",
        "random",
        "ewma_03",
        "ewma_01",
        "ewma_003",
        "gaussian",
        "river_hst",
    ]
    said = capsys.readouterr().out
    assert "skipped rcf3: it is not installed (pip install rcf3)" in said
    assert "pip install pysad" in said
