"""What is learnt of media from whole histories, and the file that holds it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from aiops.connectors.models import load_prior, save_prior
from aiops.detectors.wear_prior import (
    FLEET,
    PRIOR_FILE,
    Histories,
    Kind,
    Movement,
    WearPrior,
    decode_prior,
    fit_kinds,
    uniform_prior,
)
from aiops.errors import FileError
from aiops.kernels.wear import YEAR_S

NOT_TOLD = math.nan
MAKER, OTHER, RARE, COMMON = 11.0, 22.0, 33.0, 44.0


def population(rng, groups):
    """Return histories of (media, wear a year, spread, vendor, model), read in whole per cent.

    They have been on for a month to four years, and wear by writes, at a thousandth a full drive.
    """
    shown = {name: [] for name in ("level", "power_on_s", "writes", "model", "vendor")}
    for media, per_year, spread, vendor, model in groups:
        on_s = rng.uniform(0.1, 4.0, media) * YEAR_S
        wear = per_year / YEAR_S * on_s * np.exp(spread * rng.standard_normal(media))
        shown["level"].append(np.minimum(np.floor(wear * 100.0) / 100.0, 2.55))
        shown["power_on_s"].append(on_s)
        shown["writes"].append(wear / 0.001 * np.exp(0.2 * rng.standard_normal(media)))
        shown["model"].append(np.full(media, model))
        shown["vendor"].append(np.full(media, vendor))
    columns = {name: np.concatenate(parts) for name, parts in shown.items()}
    return Histories(step=np.full(len(columns["level"]), 0.01), **columns)


def by_code(kinds):
    return {kind.code: kind for kind in kinds}


@pytest.mark.parametrize(("per_year", "spread"), [(0.004, 1.2), (0.03, 0.8), (0.3, 0.4)])
def test_mean_and_spread_of_a_population_are_found_again(per_year, spread):
    rng = np.random.default_rng(5)
    media = 1500
    shown = population(rng, [(media, per_year, spread, NOT_TOLD, NOT_TOLD)])
    if per_year == 0.004:
        assert (shown.level == 0.0).mean() > 0.5
    (fleet,) = fit_kinds(shown)
    assert fleet.code == FLEET
    assert fleet.media == media
    # Seven standard errors of the better known; the slow ones show little more than that.
    assert fleet.rate_log[0] == pytest.approx(math.log(per_year / YEAR_S), abs=0.2)
    assert math.sqrt(fleet.rate_var[0]) == pytest.approx(spread, rel=0.15)
    assert fleet.rate_log[1] == pytest.approx(math.log(0.001), abs=0.15)
    assert math.sqrt(fleet.rate_var[1]) == pytest.approx(0.2, abs=0.1)
    assert fleet.pace_log == pytest.approx(math.log(per_year / 0.001 / YEAR_S), abs=0.2)
    assert fleet.pace_var == pytest.approx(spread**2 + 0.2**2, rel=0.15)


def test_media_of_a_kind_are_told_apart_from_others():
    rng = np.random.default_rng(6)
    shown = population(rng, [(200, 0.3, 0.3, MAKER, COMMON), (200, 0.02, 0.3, OTHER, NOT_TOLD)])
    kinds = fit_kinds(shown, {COMMON: "COMMON 100", OTHER: "Other"})
    assert [kind.code for kind in kinds] == [FLEET, MAKER, OTHER, COMMON]
    assert [kind.name for kind in kinds] == ["", "", "Other", "COMMON 100"]
    assert [kind.media for kind in kinds] == [400, 200, 200, 200]
    found = by_code(kinds)
    assert found[COMMON].rate_log[0] == pytest.approx(math.log(0.3 / YEAR_S), abs=0.1)
    assert found[OTHER].rate_log[0] == pytest.approx(math.log(0.02 / YEAR_S), abs=0.1)
    assert found[COMMON].rate_var[0] == pytest.approx(0.09, rel=0.3)
    # All in all they differ by more than each kind does in itself.
    assert found[FLEET].rate_var[0] > 1.0


def test_what_few_have_shown_is_drawn_to_what_is_known_of_their_vendor():
    rng = np.random.default_rng(7)
    usual, unusual = math.log(0.05 / YEAR_S), math.log(0.5 / YEAR_S)
    means, variances = [], []
    for few in (1, 5, 60):
        shown = population(rng, [(400, 0.05, 0.8, MAKER, COMMON), (few, 0.5, 0.3, MAKER, RARE)])
        found = by_code(fit_kinds(shown))
        means.append(found[RARE].rate_log[0])
        variances.append(found[RARE].rate_var[0])
        assert found[RARE].media == few
        assert found[COMMON].rate_log[0] == pytest.approx(usual, abs=0.15)
    assert usual < means[0] < means[1] < means[2] == pytest.approx(unusual, abs=0.15)
    assert variances[0] > variances[1] > variances[2]


def test_a_vendor_stands_between_the_fleet_and_its_models():
    rng = np.random.default_rng(8)
    slow, fast = math.log(0.02 / YEAR_S), math.log(0.4 / YEAR_S)
    models = [(80, 0.4, 0.3, MAKER, 100.0 + k) for k in range(4)]
    shown = population(rng, [(300, 0.02, 0.5, OTHER, COMMON), *models, (1, 0.05, 0.3, MAKER, RARE)])
    found = by_code(fit_kinds(shown))
    assert slow < found[FLEET].rate_log[0] < found[MAKER].rate_log[0]
    assert found[MAKER].rate_log[0] == pytest.approx(fast, abs=0.15)
    # One slow medium of a fast maker: more is said by the maker than by all.
    assert math.log(0.05 / YEAR_S) < found[RARE].rate_log[0] < fast
    assert found[FLEET].rate_log[0] < found[RARE].rate_log[0]


def test_counters_that_say_nothing_do_not_spoil_a_kind():
    rng = np.random.default_rng(9)
    shown = population(rng, [(400, 0.1, 0.4, NOT_TOLD, COMMON)])
    clean = by_code(fit_kinds(shown))[COMMON]
    shown.power_on_s[:4] = 3e4 * YEAR_S
    shown.level[4:6] = 2.55
    shown.writes[6:10] *= 4096.0
    spoilt = by_code(fit_kinds(shown))[COMMON]
    np.testing.assert_allclose(spoilt.rate_log, clean.rate_log, atol=0.1)
    np.testing.assert_allclose(spoilt.rate_var, clean.rate_var, atol=0.1)


def test_media_without_writes_teach_time_alone():
    rng = np.random.default_rng(10)
    shown = population(rng, [(100, 0.1, 0.4, MAKER, COMMON), (100, 0.1, 0.4, MAKER, RARE)])
    shown.writes[100:] = np.nan
    found = by_code(fit_kinds(shown))
    assert found[RARE].rate_log[0] == pytest.approx(math.log(0.1 / YEAR_S), abs=0.15)
    # Of writes, the vendor's is what is known.
    assert found[RARE].rate_log[1] == found[MAKER].rate_log[1]
    assert found[RARE].rate_var[1] == found[MAKER].rate_var[1]


def test_writes_that_explain_wear_better_than_time_get_the_odds():
    rng = np.random.default_rng(11)
    shown = population(rng, [(60, 0.1, 1.0, NOT_TOLD, COMMON), (60, 0.1, 0.2, NOT_TOLD, RARE)])
    shown.writes[60:] *= np.exp(2.0 * rng.standard_normal(60))
    found = by_code(fit_kinds(shown))
    assert found[COMMON].writes_odds > 1.0
    assert found[RARE].writes_odds < -1.0


# -- the file --------------------------------------------------------------------------------------


def some_prior():
    fleet = uniform_prior(0.1, 0.9).kinds[0]
    kind = Kind(COMMON, 'A "100"', 7, (-19.0, -7.0), (0.3, 0.2), -12.0, 0.5, inverted=True)
    return WearPrior((fleet, kind), Movement(scale=0.002, low=0.04))


def test_a_prior_is_read_as_it_was_written(tmp_path):
    prior = some_prior()
    save_prior(tmp_path / "mine", prior, {"what": "a test"})
    found = load_prior(tmp_path / "mine")
    assert found == prior
    assert found.digest == prior.digest
    card = (tmp_path / "mine" / "card.toml").read_text(encoding="utf-8")
    assert prior.digest in card
    assert "a test" in card


def test_the_digest_is_of_the_content():
    prior = some_prior()
    assert prior.digest in repr(prior)
    assert WearPrior(prior.kinds[:1], prior.movement).digest != prior.digest
    assert WearPrior(prior.kinds, Movement()).digest != prior.digest
    assert some_prior().digest == prior.digest


def test_a_uniform_prior_is_what_it_was_asked_for():
    prior = uniform_prior(0.1, 0.5, wear_per_write=0.002, writes_per_year=70.0)
    (fleet,) = prior.kinds
    assert np.exp(fleet.rate_log).tolist() == pytest.approx([0.1 / YEAR_S, 0.002])
    assert fleet.rate_var[0] == 0.25
    assert math.exp(fleet.pace_log) == pytest.approx(70.0 / YEAR_S)
    # The mean of a lognormal is above its median.
    assert prior.wear_per_year == pytest.approx(0.1 * math.exp(0.125))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no wear prior"),
        (b"[]", "is no wear prior"),
        (b'{"kinds": []}', "is no wear prior"),
        (b'{"kinds": [], "movement": {}}', "begin with the fleet"),
    ],
)
def test_a_file_that_is_no_prior_is_refused(content, said):
    with pytest.raises(FileError, match=rf"mine/prior\.json: .*{said}.*train it again"):
        decode_prior(content, "mine/prior.json")


@pytest.mark.parametrize("order", [(1, 0), (1, 1), (0, 1, 1)])
def test_kinds_out_of_order_are_refused(tmp_path, order):
    prior = some_prior()
    save_prior(tmp_path, WearPrior(tuple(prior.kinds[k] for k in order), Movement()), {})
    with pytest.raises(FileError, match="ascending codes"):
        load_prior(tmp_path)


def test_a_value_of_the_wrong_kind_is_named(tmp_path):
    save_prior(tmp_path, some_prior(), {})
    path = tmp_path / PRIOR_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    content["kinds"][1]["rate_log"] = ["fast", 1.0]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FileError, match=r"rate_log"):
        load_prior(tmp_path)


def test_a_missing_prior_is_named(tmp_path):
    with pytest.raises(FileError, match=r"nowhere.*prior\.json.*aiops train wear"):
        load_prior(tmp_path / "nowhere")
