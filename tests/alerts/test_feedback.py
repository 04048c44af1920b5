"""A model that learns from labels, orders and holds, and forgets again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aiops.alerts.feedback import (
    LABELS_MOST,
    Feedback,
    FeedbackSettings,
    Label,
    LabelModel,
    Recorded,
    average_precision,
)
from aiops.errors import SettingsError
from tests.alerts.test_incident import finding


def labelled(n=40):
    """Give labels of findings, of which those at site osaka are false alarms."""
    labels = []
    for i in range(n):
        site = "osaka" if i % 2 else "lyon"
        said = "FALSE_POSITIVE" if site == "osaka" else "TRUE_POSITIVE"
        labels.append(Label.of(finding(f"gw-{i}", site=site, ts=i), said, "ann", i))
    return labels


def told(labels, **settings):
    feedback = Feedback(FeedbackSettings(**settings))
    for label in labels:
        feedback.hear(label)
    return feedback


def recorded(findings):
    return [Recorded(f.id, f.rule, f.severity, f.site, f.cohort, f.score) for f in findings]


def test_it_learns_where_alarms_are_false():
    model = LabelModel.rebuild(labelled())
    assert model.learnt == 40
    assert model.probability(finding("new", site="lyon")) > 0.8
    assert model.probability(finding("new", site="osaka")) < 0.2


def test_it_says_one_half_before_it_knows_and_skips_what_teaches_nothing():
    model = LabelModel.rebuild([replace(labelled()[0], said="UNKNOWN")])
    assert model.learnt == 0
    assert model.probability(finding("new")) == 0.5


def test_who_thinks_better_of_it_is_heard_the_second_time_only():
    first = labelled(20)
    wrong = replace(first[3], said="TRUE_POSITIVE")
    assert told([wrong, *first]).effect([]).labels == 21
    once, twice = LabelModel.rebuild(first), LabelModel.rebuild([wrong, *first])
    new = finding("new", site="osaka")
    assert once.probability(new) == twice.probability(new)


def test_nothing_changes_until_it_is_applied():
    feedback = told(labelled())
    new = [finding("a", site="lyon"), finding("b", site="osaka")]
    assert feedback.weigh(new, {}) == new
    foretold = feedback.effect(recorded(new))
    assert (foretold.waiting, foretold.held_now, foretold.held_then) == (40, 0, 1)
    assert foretold.newly_held == (new[1].id,)
    assert foretold.precision_by_labels > foretold.precision_by_score
    feedback.apply()
    good, bad = feedback.weigh(new, {})
    assert (good.held, bad.held) == (False, True)
    assert good.relevance > bad.relevance
    assert feedback.effect(recorded(new)).held_now == 1


@pytest.mark.parametrize("severity", ["high", "critical"])
def test_what_matters_most_is_never_held(severity):
    feedback = told(labelled())
    feedback.apply()
    (one,) = feedback.weigh([replace(finding("b", site="osaka"), severity=severity)], {})
    assert not one.held


def test_few_labels_and_scores_beyond_all_that_were_labelled_hold_nothing():
    few = told(labelled(8), support=5)
    few.apply()
    assert not few.weigh([finding("b", site="osaka")], {})[0].held
    many = told(labelled())
    many.apply()
    high = replace(finding("b", site="osaka"), score=50.0)
    assert not many.weigh([high], {})[0].held


def test_what_was_held_stays_so_until_it_is_resolved():
    feedback = told(labelled())
    feedback.apply()
    (fired,) = feedback.weigh([finding("b", site="osaka")], {})
    over = replace(finding("b", site="osaka"), status="resolved")
    feedback.undo()
    (resolved,) = feedback.weigh([over], {fired.fingerprint: fired})
    assert fired.held
    assert resolved.held


def test_undo_gives_the_very_bits_of_before():
    feedback = told(labelled(30))
    feedback.apply()
    new = [finding(f"gw-{i}", site=site) for i in range(5) for site in ("lyon", "osaka", "oslo")]
    before, saved = feedback.weigh(new, {}), json.dumps(feedback.save())
    for label in labelled(40)[30:]:
        feedback.hear(replace(label, said="TRUE_POSITIVE"))
    feedback.apply()
    assert feedback.weigh(new, {}) != before
    feedback.undo()
    assert feedback.weigh(new, {}) == before
    assert json.loads(saved)["applied"] == feedback.save()["applied"]
    feedback.undo()
    assert feedback.weigh(new, {}) == new
    feedback.undo()  # nothing is left to undo


def test_a_saved_one_says_the_same():
    feedback = told(labelled())
    feedback.apply()
    plain = json.loads(json.dumps(feedback.save()))
    again = Feedback.restore(plain, feedback.settings)
    new = [finding("a", site="lyon"), finding("b", site="osaka")]
    assert again.weigh(new, {}) == feedback.weigh(new, {})
    assert again.save() == feedback.save()


def test_labels_are_bounded():
    feedback = told(labelled(2))
    feedback.apply()
    one = labelled(1)[0]
    for i in range(LABELS_MOST):
        feedback.hear(replace(one, finding_id=str(i)))
    assert len(feedback.labels) == LABELS_MOST
    assert feedback.applied == [0]


def test_average_precision_is_that_of_the_worst_order_of_ties():
    assert average_precision([True, False], [1.0, 0.0]) == 1.0
    assert average_precision([True, False], [0.5, 0.5]) == 0.5
    assert average_precision([True, False, True], [3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingsError, match="hold_below"):
        FeedbackSettings(hold_below=0.9)
