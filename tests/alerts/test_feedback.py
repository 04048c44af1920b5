"""A model that learns from labels."""

from __future__ import annotations

from aiops.alerts.feedback import Label, LabelModel
from tests.alerts.test_incident import finding


def labelled():
    """Give forty findings, of which those at site osaka are false alarms, and their labels."""
    findings, labels = {}, []
    for i in range(40):
        site = "osaka" if i % 2 else "lyon"
        one = finding(f"gw-{i}", site=site, ts=i)
        findings[one.id] = one
        said = "FALSE_POSITIVE" if site == "osaka" else "TRUE_POSITIVE"
        labels.append(Label(one.id, said, "ann", ts=i))
    return findings, labels


def test_it_learns_where_alarms_are_false():
    findings, labels = labelled()
    model = LabelModel.rebuild(labels, findings)
    assert model.learnt == 40
    assert model.probability(finding("new", site="lyon")) > 0.8
    assert model.probability(finding("new", site="osaka")) < 0.2


def test_rebuilding_gives_the_same_model_whatever_the_order_of_arrival():
    findings, labels = labelled()
    asked = [finding("new", site=site) for site in ("lyon", "osaka", "oslo")]
    once = LabelModel.rebuild(labels, findings)
    again = LabelModel.rebuild(reversed(labels), dict(reversed(findings.items())))
    assert [once.probability(f) for f in asked] == [again.probability(f) for f in asked]


def test_it_says_one_half_before_it_knows_and_skips_what_teaches_nothing():
    findings, labels = labelled()
    nothing = [
        Label(labels[0].finding_id, "UNKNOWN", "ann", 0),
        Label("fnd-nobody-knows", "TRUE_POSITIVE", "ann", 1),
    ]
    model = LabelModel.rebuild(nothing, findings)
    assert model.learnt == 0
    assert model.probability(finding("new")) == 0.5
