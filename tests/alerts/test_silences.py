"""Silences match whom they say, when they say, and never everybody."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from aiops.alerts.silences import Matcher, Silence
from aiops.errors import SettingsError
from tests.alerts.test_cause import fleet

SECOND, HOUR, DAY = 10**9, 3600 * 10**9, 86_400 * 10**9
ATTRIBUTES = fleet(
    {
        "site": ["lyon", "lyon", "osaka", None],
        "firmware": ["2.1", "2.0", "2.1", "3.0"],
    }
)


def silence(*matchers, ts=0, **said):
    return Silence.said({"matchers": list(matchers), "for_s": 3600} | said, "ann", ts)


@pytest.mark.parametrize(
    ("matchers", "whom"),
    [
        (["site=lyon"], [True, True, False, False]),
        (["site=~lyon|osaka"], [True, True, True, False]),
        (["site=~ly"], [False] * 4),
        (["firmware=2.1", "site!=lyon"], [False, False, True, False]),
        (["firmware=~2\\..", "site!~l.*"], [False, False, True, False]),
        (["device=gw-3"], [False, False, False, True]),
        (["vendor=x"], [False] * 4),
        (["firmware=2.1", "vendor="], [True, False, True, False]),
        (["rule=silence"], [True] * 4),
    ],
)
def test_whom_it_matches(matchers, whom):
    assert silence(*matchers).covers(ATTRIBUTES).tolist() == whom


def test_matching_is_that_of_a_plain_reading_for_all_signs():
    rng = np.random.default_rng(4)
    texts = ["", "a", "b", "ab", "ba", "a.b"]
    for _ in range(200):
        sign = ("=", "!=", "=~", "!~")[rng.integers(4)]
        value = str(rng.choice(["a", "ab", "a.*", "[ab]+", "a|b", "a\\.b", "b?"]))
        if sign in ("=", "!="):
            expected = [(text == value) == (sign == "=") for text in texts]
        else:
            expected = [(re.fullmatch(value, t) is not None) == (sign == "=~") for t in texts]
        assert Matcher.parse(f"x{sign}{value}").matches(texts).tolist() == expected


def test_all_rules_and_the_severity_must_match():
    one = silence("rule=~silence|reboot_drift", "severity!=high", "site=lyon")
    assert one.heeds("warning", ("silence", "reboot_drift"))
    assert not one.heeds("warning", ("silence", "flash_wear"))
    assert not one.heeds("high", ("silence",))


def test_what_is_critical_is_silenced_only_by_a_silence_that_says_so():
    assert not silence("site=lyon").heeds("critical", ("silence",))
    assert silence("site=lyon", critical=True).heeds("critical", ("silence",))


def test_it_is_in_force_from_then_until_then():
    one = silence("site=lyon", ts=HOUR)
    assert [one.holds(ts) for ts in (HOUR - 1, HOUR, 2 * HOUR - 1, 2 * HOUR)] == [0, 1, 1, 0]
    assert [one.to_record(ts)["state"] for ts in (0, HOUR, 2 * HOUR)] == [
        "pending",
        "active",
        "expired",
    ]


@pytest.mark.parametrize(("every", "period"), [("day", DAY), ("week", 7 * DAY)])
def test_a_window_comes_again(every, period):
    said = {"from": "2026-12-01T22:00:00Z", "until": "2026-12-02T02:00:00Z", "every": every}
    window = silence("site=lyon", **said)
    start = window.from_ts
    for k in (0, 1, 50):
        assert not window.holds(start + k * period - 1)
        assert window.holds(start + k * period)
        assert window.holds(start + k * period + 4 * HOUR - 1)
        assert not window.holds(start + k * period + 4 * HOUR)
    assert not window.over(start + 1000 * period)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"matchers": []}, "1 to 20 matchers"),
        ({"matchers": ["site"]}, "matches nothing"),
        ({"matchers": ["site=~("]}, "no regular expression"),
        ({"matchers": ["site=~.*"]}, "must not match everything"),
        ({"matchers": ["site!=lyon"]}, "must not match everything"),
        ({"matchers": ["site="]}, "must not match everything"),
        ({"for_s": 0}, "end after it begins"),
        ({"for_s": 400 * 86_400}, "within 366 days"),
        ({"for_s": 2 * 86_400, "every": "day"}, "within 1 days"),
        ({"every": "month"}, "every day or week"),
        ({"from": "tonight"}, "give a time like"),
        ({"from": "2026-12-01T22:00:00"}, "time zone"),
    ],
)
def test_what_is_no_silence_is_refused(said, why):
    with pytest.raises(SettingsError, match=why):
        Silence.said({"matchers": ["site=lyon"], "for_s": 60} | said, "ann", 0)


def test_a_regular_expression_takes_linear_time():
    assert not Matcher.parse("x=~(a+)+b").matches(["a" * 5000]).any()


def test_it_is_named_by_its_content():
    one, same = silence("site=lyon"), silence("site=lyon")
    assert one.id == same.id
    assert one.id != replace(one, author="bob").id
