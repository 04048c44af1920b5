"""What people said decides what is an incident, once it is applied, and until that is undone."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from aiops.alerts.rule import AlertRule
from aiops.engine.engine import Engine
from tests.engine.test_selection import START, Sure


def frame(minute, celsius):
    rows = [
        {
            "device_id": f"gw-{d}",
            "ts": np.datetime64(START + 60 * minute, "s").item(),
            "site": "osaka" if d < 8 else "lyon",
            "temperature.celsius": value,
        }
        for d, value in enumerate(celsius)
    ]
    return pa.Table.from_pylist(rows)


def taught():
    """Give an engine that has found ten devices, those of osaka wrongly, and was told so."""
    engine = Engine([AlertRule(Sure())], selection=None, lateness_s=0)
    found = [
        *engine.step(frame(0, [12.0] * 10)).findings,
        *engine.step(frame(5, [0.0] * 10)).findings,
    ]
    assert [f.status for f in found] == ["firing"] * 10
    for n in range(60):
        finding = found[n % 10]
        about = {k: getattr(finding, k) for k in ("rule", "severity", "site", "cohort", "score")}
        said = "FALSE_POSITIVE" if finding.site == "osaka" else "TRUE_POSITIVE"
        engine.feedback.heard(
            "label", {"finding_id": f"fnd-{n}", "said": said, "finding": about}, "ann", n
        )
    engine.step(frame(10, [0.0] * 10))  # closes the epoch in which they are well
    return engine


def again(engine, minute):
    """Let all devices fire, and return that step."""
    steps = [engine.step(frame(minute, [12.0] * 10)), engine.step(frame(minute + 5, [0.0] * 10))]
    return steps[-1]


def test_held_findings_are_recorded_and_lead_to_nothing():
    engine = taught()
    before = again(engine, 15)
    assert {i.site for i in before.incidents} == {"osaka", "lyon"}
    engine.step(frame(25, [0.0] * 10))
    engine.feedback.heard("feedback", {"step": "apply"}, "ann", 99)
    after = again(engine, 30)
    assert len(after.findings) == len(before.findings) == 10
    assert {f.site for f in after.findings if f.held} == {"osaka"}
    assert {i.site for i in after.incidents} == {"lyon"}
    of_incidents = {i.incident_id for i in after.incidents}
    assert {target for v in after.verdicts for target in v.action.target} == of_incidents
    over = engine.step(frame(40, [0.0] * 10))
    assert {f.site for f in over.findings if f.held} == {"osaka"}
    assert {i.site for i in over.incidents} == {"lyon"}


def said(step):
    return json.dumps(step.records(), default=str)  # NaN is NaN there


def plain(engine):
    arrays, values = engine.save()
    return {k: np.asarray(v).tobytes() for k, v in arrays.items()}, json.dumps(values, default=str)


def test_undo_gives_the_very_bits_of_an_engine_that_was_never_told():
    untold, told = taught(), taught()
    told.feedback.heard("feedback", {"step": "apply"}, "ann", 99)
    told.feedback.heard("feedback", {"step": "undo"}, "ann", 100)
    assert plain(told) == plain(untold)
    assert said(again(told, 15)) == said(again(untold, 15))
    assert plain(told) == plain(untold)


def test_an_engine_that_was_saved_holds_the_same():
    first = taught()
    first.feedback.heard("feedback", {"step": "apply"}, "ann", 99)
    arrays, values = first.save()
    second = Engine([AlertRule(Sure())], selection=None, lateness_s=0)
    second.restore({k: v.copy() for k, v in arrays.items()}, json.loads(json.dumps(values)))
    assert said(again(second, 15)) == said(again(first, 15))
