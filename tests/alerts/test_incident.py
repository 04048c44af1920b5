"""Findings into incidents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiops.alerts.finding import Finding
from aiops.alerts.incident import Grouping
from aiops.errors import SettingsError

MINUTE = 60_000_000_000


def finding(device, status="firing", site="lyon", part="", rule="silence", ts=0):
    return Finding(
        rule=rule,
        detector=rule,
        status=status,
        severity="warning",
        device_id=device,
        part=part,
        medium_id="",
        site=site,
        cohort="",
        since_ts=ts,
        ts=ts,
        score=2.0,
        observed=2.0,
        expected=1.0,
        sentence="it went quiet",
    )


def test_a_device_is_one_incident_until_all_its_parts_are_well():
    opened = {}
    grouping = Grouping()
    first = grouping.group(
        [finding("gw-1", part="a"), finding("gw-1", part="b")], opened, {"lyon": 20}, MINUTE
    )
    assert [(i.key, i.status, i.devices) for i in first] == [("silence@gw-1", "firing", ("gw-1",))]
    half = grouping.group(
        [finding("gw-1", "resolved", part="a", ts=1)], opened, {"lyon": 20}, 2 * MINUTE
    )
    assert half[0].status == "firing"
    done = grouping.group(
        [finding("gw-1", "resolved", part="b", ts=2)], opened, {"lyon": 20}, 3 * MINUTE
    )
    assert done[0].status == "resolved"
    assert done[0].incident_id == first[0].incident_id
    assert len({first[0].id, half[0].id, done[0].id}) == 3
    assert opened == {}


def test_a_storm_is_one_incident_of_its_site():
    opened = {}
    grouping = Grouping(storm_devices=3, storm_share=0.5)
    grouping.group([finding("gw-1")], opened, {"lyon": 6}, MINUTE)
    records = grouping.group(
        [finding(f"gw-{i}", ts=1) for i in (2, 3)], opened, {"lyon": 6}, 2 * MINUTE
    )
    firing = [i for i in records if i.status == "firing"]
    assert [(i.key, i.devices) for i in firing] == [("silence@site:lyon", ("gw-1", "gw-2", "gw-3"))]
    assert "3 of 6 devices at lyon" in firing[0].title
    folded = [i for i in records if i.status == "resolved"]
    assert [i.key for i in folded] == ["silence@gw-1"]  # nobody had been told of the others
    assert all("silence@site:lyon" in i.title for i in folded)
    # Who joins later joins the storm; it ends when the last is well.
    grouping.group([finding("gw-4", ts=2)], opened, {"lyon": 6}, 3 * MINUTE)
    assert list(opened) == ["silence@site:lyon"]
    back = [finding(f"gw-{i}", "resolved", ts=3) for i in (1, 2, 3, 4)]
    last = grouping.group(back, opened, {"lyon": 6}, 4 * MINUTE)
    assert [(i.key, i.status) for i in last] == [("silence@site:lyon", "resolved")]


def test_too_few_or_elsewhere_is_no_storm():
    opened = {}
    grouping = Grouping(storm_devices=3, storm_share=0.5)
    findings = [finding("a"), finding("b"), finding("c", site="osaka"), finding("d", site="")]
    records = grouping.group(findings, opened, {"lyon": 2, "osaka": 1}, MINUTE)
    assert [i.key for i in records] == ["silence@a", "silence@b", "silence@c", "silence@d"]


def test_rules_do_not_mix():
    opened = {}
    findings = [finding(d, rule=r) for d in "abc" for r in ("silence", "flash_wear")]
    records = Grouping().group(findings, opened, {"lyon": 4}, MINUTE)
    assert sorted(i.key for i in records if i.status == "firing") == [
        "flash_wear@site:lyon",
        "silence@site:lyon",
    ]


def shared(status="firing", site="lyon", cohort="", devices=("gw-1", "gw-2"), ts=0):
    return replace(finding("", status, site, rule="silence", ts=ts), cohort=cohort, devices=devices)


def test_what_a_site_shares_is_one_incident_until_it_is_over():
    opened = {}
    grouping = Grouping()
    first = grouping.group([shared()], opened, {"lyon": 9}, MINUTE)
    assert [(i.key, i.devices) for i in first] == [("silence@site:lyon", ("gw-1", "gw-2"))]
    assert first[0].title == "site lyon: it went quiet"
    more = grouping.group([shared(devices=("gw-3",), ts=1)], opened, {"lyon": 9}, 2 * MINUTE)
    assert more[0].devices == ("gw-1", "gw-2", "gw-3")
    over = grouping.group([shared("resolved", ts=2)], opened, {"lyon": 9}, 3 * MINUTE)
    assert (over[0].status, over[0].incident_id) == ("resolved", first[0].incident_id)
    assert opened == {}
    assert grouping.group([shared("resolved", ts=3)], opened, {"lyon": 9}, 4 * MINUTE) == []


def test_a_devices_own_finding_joins_what_its_site_shares_and_may_outlast_it():
    opened = {}
    grouping = Grouping()
    grouping.group([shared(), finding("gw-1"), finding("gw-9")], opened, {"lyon": 99}, MINUTE)
    assert list(opened) == ["silence@site:lyon"]
    left = grouping.group([shared("resolved", ts=1)], opened, {"lyon": 99}, 2 * MINUTE)
    assert [(i.status, i.devices) for i in left] == [("firing", ("gw-1", "gw-9"))]
    last = [finding(d, "resolved", ts=2) for d in ("gw-1", "gw-9")]
    assert grouping.group(last, opened, {"lyon": 99}, 3 * MINUTE)[-1].status == "resolved"


def test_a_storm_of_a_site_that_shares_something_keeps_both():
    opened = {}
    grouping = Grouping()
    grouping.group([finding(f"gw-{i}") for i in (1, 2)], opened, {"lyon": 4}, MINUTE)
    grouping.group([shared(devices=("gw-1",))], opened, {"lyon": 4}, MINUTE)
    assert len(opened) == 3
    opened |= {"silence@gw-3": opened["silence@gw-1"] | {"devices": {"gw-3": ["silence//"]}}}
    grouping.group([finding("gw-2", part="x", ts=1)], opened, {"lyon": 4}, 2 * MINUTE)
    storm = opened["silence@site:lyon"]["devices"]
    assert sorted(storm) == ["gw-1", "gw-2", "gw-3"]
    assert sorted(storm["gw-1"]) == ["*", "silence//"]


def test_a_cohort_is_a_group_of_its_own():
    opened = {}
    both = [shared(), shared(site="", cohort="fw-2.1")]
    records = Grouping().group(both, opened, {"lyon": 4}, MINUTE)
    assert [i.key for i in records] == ["silence@cohort:fw-2.1", "silence@site:lyon"]
    assert [i.site for i in records] == ["", "lyon"]
    assert both[1].where == "cohort fw-2.1"
    assert both[0].fingerprint != both[1].fingerprint


def test_resolving_what_nobody_knows_is_nothing():
    assert Grouping().group([finding("a", "resolved")], {}, {}, MINUTE) == []


@pytest.mark.parametrize("settings", [{"storm_devices": 1}, {"storm_share": 0.0}])
def test_settings_out_of_range(settings):
    with pytest.raises(SettingsError, match="storm"):
        Grouping(**settings)
