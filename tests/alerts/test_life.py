"""The life of incidents, and that nobody is paged without need."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from aiops.alerts.incident import Grouping
from aiops.alerts.life import Life, LifeSettings
from aiops.errors import SettingsError
from tests.alerts.test_cause import fleet
from tests.alerts.test_incident import finding

MINUTE, HOUR = 60 * 10**9, 3600 * 10**9
ATTRIBUTES = fleet({"site": ["lyon", "lyon", "osaka", "osaka"]})


class World:
    """A grouping with its life, an epoch of a minute after the other."""

    def __init__(self, **settings):
        self.life, self.opened, self.ts = Life(LifeSettings(**settings)), {}, 0

    def epoch(self, *findings, minutes=1):
        for k in range(minutes):
            self.ts += MINUTE
            now = [replace(f, ts=self.ts) for f in findings] if k == minutes - 1 else []
            now = self.life.mark(now, {}, self.ts, ATTRIBUTES)
            records = Grouping().group(now, self.opened, {}, self.ts) if now else []
            told = self.life.follow(records, self.opened, self.ts, ATTRIBUTES)
        return told

    def say(self, kind, **said):
        self.life.heard(kind, said, "ann", self.ts)

    def acknowledge(self, incident, until="cleared", **said):
        self.say("acknowledgement", incident_id=incident.incident_id, until=until, **said)


def sick(k=0, **how):
    site = ("lyon", "lyon", "osaka", "osaka")[k]
    return replace(finding(f"gw-{k}", site=site), **how)


def well(k=0):
    return sick(k, status="resolved")


def test_an_incident_that_fires_again_soon_is_the_same_one_reopened():
    world = World(reopen_s=3600)
    (first,) = world.epoch(sick())
    (over,) = world.epoch(well(), minutes=5)
    (again,) = world.epoch(sick(), minutes=60)
    assert [i.phase for i in (first, over, again)] == ["firing", "resolved", "firing"]
    assert first.incident_id == over.incident_id == again.incident_id
    assert (over.reopened, again.reopened) == (0, 1)
    world.epoch(well())
    (new,) = world.epoch(sick(), minutes=61)
    assert new.incident_id != first.incident_id
    assert new.reopened == 0


def test_what_is_acknowledged_pages_nobody_until_it_is_cleared():
    world = World(reopen_s=3600)
    (first,) = world.epoch(sick())
    world.acknowledge(first)
    (told,) = world.epoch()
    assert (told.phase, told.quiet) == ("acknowledged", "acknowledged by ann")
    assert world.epoch(minutes=600) == []
    (over,) = world.epoch(well())
    assert (over.status, over.quiet) == ("resolved", "")  # who was paged is told
    (again,) = world.epoch(sick())
    assert (again.incident_id, again.phase) == (first.incident_id, "firing")


def test_until_worse_until_a_time_and_taken_back():
    world = World()
    (first,) = world.epoch(sick())
    world.acknowledge(first, "worse")
    assert world.epoch()[0].phase == "acknowledged"
    (worse,) = world.epoch(sick(part="x", severity="high"))
    assert (worse.phase, worse.quiet) == ("firing", "")
    world.acknowledge(first, "time", for_s=600)
    assert world.epoch()[0].phase == "acknowledged"
    assert world.epoch(minutes=8) == []
    assert world.epoch()[0].phase == "firing"
    world.acknowledge(first)
    assert world.epoch()[0].phase == "acknowledged"
    world.acknowledge(first, "now")
    assert world.epoch()[0].phase == "firing"


def test_acknowledging_what_is_over_is_nothing():
    world = World()
    (first,) = world.epoch(sick())
    world.epoch(well())
    world.acknowledge(first)
    assert world.epoch(sick())[0].phase == "firing"


def test_pending_incidents_may_end_by_themselves():
    world = World(pending_s=600)
    (first,) = world.epoch(sick())
    assert (first.phase, first.quiet) == ("pending", "pending")
    (over,) = world.epoch(well(), minutes=5)
    assert (over.phase, over.quiet) == ("resolved", "pending")  # nobody was paged
    (critical,) = world.epoch(sick(1, severity="critical"))
    assert (critical.phase, critical.quiet) == ("firing", "")
    world.epoch(sick(2))
    assert world.epoch(minutes=9) == []
    (fires,) = world.epoch()
    assert (fires.key, fires.phase, fires.quiet) == ("silence@gw-2", "firing", "")


def test_what_comes_and_goes_is_one_incident_that_flaps():
    world = World(flaps=3, flap_window_s=7200, calm_s=1800, reopen_s=7200)
    told = []
    for _ in range(10):
        told += world.epoch(sick(), minutes=2)
        told += world.epoch(well(), minutes=2)
    assert len({i.incident_id for i in told}) == 1
    loud = [i.phase for i in told if not i.quiet]
    assert loud == ["firing", "resolved", "firing", "resolved", "firing"]
    assert {i.phase for i in told if i.quiet} == {"flapping"}
    assert told[-1].status == "firing"
    calm = world.epoch(minutes=29)
    assert calm == []
    (over,) = world.epoch()
    assert (over.status, over.phase, over.quiet, over.devices) == ("resolved", "resolved", "", ())
    assert world.epoch(minutes=600) == []
    assert world.epoch(sick())[0].phase == "firing"


def test_what_flaps_and_is_critical_pages():
    world = World(flaps=2)
    for _ in range(4):
        world.epoch(sick())
        world.epoch(well())
    (told,) = world.epoch(sick(severity="critical"))
    assert (told.phase, told.quiet) == ("flapping", "")


def test_a_silence_marks_findings_and_incidents_and_ends():
    world = World()
    world.say("silence", matchers=["site=lyon"], for_s=600)
    (name,) = world.life.silences
    marked = world.life.mark([sick(0), sick(2)], {}, world.ts, ATTRIBUTES)
    assert [f.quiet for f in marked] == [name, ""]
    firing = {f.fingerprint: f for f in marked}
    over = Life().mark([well(0), well(2), well(3)], firing, world.ts, ATTRIBUTES)
    assert [f.quiet for f in over] == [name, "", ""]
    lyon, osaka = world.epoch(sick(0), sick(2))
    assert (lyon.quiet, osaka.quiet) == (name, "")
    assert lyon.phase == "firing"
    assert world.epoch(minutes=8) == []
    (told,) = world.epoch()
    assert (told.key, told.quiet) == ("silence@gw-0", "")


def test_an_incident_is_silenced_only_if_all_of_it_is():
    world = World()
    world.say("silence", matchers=["device=gw-0"], for_s=60_000)
    world.say("silence", matchers=["site=lyon", "rule=flash_wear"], for_s=60_000)
    group = finding("", site="lyon")
    (told,) = world.epoch(replace(group, device_id="", devices=("gw-0", "gw-1")))
    assert told.quiet == ""
    world.say("silence", matchers=["site=lyon"], for_s=60_000)
    (told,) = world.epoch()
    assert told.quiet.startswith("sil-")


def test_what_is_critical_is_not_silenced():
    world = World()
    world.say("silence", matchers=["site=lyon"], for_s=60_000)
    (told,) = world.epoch(sick(severity="critical"))
    assert told.quiet == ""


def test_a_silence_that_somebody_ends_is_over():
    world = World()
    world.say("silence", matchers=["site=lyon"], for_s=60_000)
    world.say("silence", matchers=["site=osaka"], for_s=60_000, every="day")
    first, second = world.life.silences
    told = world.epoch(sick(0), sick(2))
    assert [i.quiet for i in told] == [first, second]
    world.say("silence end", silence_id=first)
    world.say("silence end", silence_id=second)
    world.say("silence end", silence_id="sil-0123456789abcdef")
    assert [i.quiet for i in world.epoch()] == ["", ""]
    assert [s.to_record(world.ts)["state"] for s in world.life.silences.values()] == ["expired"] * 2
    world.epoch(minutes=1)
    world.ts += 8 * 24 * HOUR
    world.say("silence", matchers=["site=lyon"], for_s=60)
    assert len(world.life.silences) == 1


def story(seed):
    """Give what happens in each minute: findings, and what is said before them."""
    rng = np.random.default_rng(seed)
    state = np.zeros(4, bool)
    for _ in range(400):
        flips = np.flatnonzero(rng.random(4) < 0.06)
        state[flips] ^= True
        severity = ("low", "warning", "high", "critical")[rng.integers(4)]
        found = [sick(k, severity=severity) if state[k] else well(k) for k in flips.tolist()]
        yield found, rng.random(), int(rng.integers(4))


def lived(seed, *, saved_at=()):
    world = World(flaps=3, pending_s=120, calm_s=600, reopen_s=3600, flap_window_s=3600)
    told, last = [], {}
    for minute, (found, chance, k) in enumerate(story(seed)):
        if chance < 0.05 and last:
            until = ("cleared", "worse", "time", "now")[k]
            world.acknowledge(list(last.values())[-1], until, for_s=1200)
        elif chance < 0.1:
            site, every = ("lyon", "osaka")[k % 2], ("", "day")[k // 2]
            world.say("silence", matchers=[f"site={site}"], for_s=900, every=every)
        elif chance < 0.13 and world.life.silences:
            world.say("silence end", silence_id=next(iter(world.life.silences)))
        records = world.epoch(*found)
        told += [json.dumps(i.to_record()) for i in records]
        last |= {i.key: i for i in records}
        if minute in saved_at:
            plain = json.loads(json.dumps([world.life.save(), world.opened]))
            world.life, world.opened = Life.restore(plain[0], world.life.settings), plain[1]
    return told, world


@pytest.mark.parametrize("seed", range(4))
def test_saving_in_the_middle_changes_nothing(seed):
    plain, _ = lived(seed)
    assert len(plain) > 50
    assert len({json.loads(i)["id"] for i in plain}) == len(plain)
    assert lived(seed, saved_at=set(range(0, 400, 7)))[0] == plain


@pytest.mark.parametrize("seed", range(4))
def test_who_was_paged_is_told_of_the_end_and_nobody_else(seed):
    told, world = lived(seed)
    paged: dict[str, bool] = {}
    for record in map(json.loads, told):
        name = record["incident_id"]
        if record["status"] == "resolved":
            assert (record["quiet"] == "") == paged.pop(name, False)
        else:
            paged[name] = paged.get(name, False) or not record["quiet"]
            assert record["paged"] == paged[name]
    open_ = {one.incident.incident_id for one in world.life._told.values()}
    assert set(paged) == open_


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingsError, match="flaps"):
        LifeSettings(flaps=1)
