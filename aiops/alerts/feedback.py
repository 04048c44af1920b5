"""What people said of findings, and a river model that orders and holds others by it.

Labels are records with a place in the log. The model is rebuilt from them, in that order, whenever
it is needed: it needs no file of its own, every replay has the same one, and to undo is to build
it from fewer labels, which gives the very bits of before. This is river's place in a running
engine: few examples, one at a time, each worth learning from at once.

Nothing changes until somebody applies what was said; `Feedback.effect` tells beforehand what that
would do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

from river import compose, linear_model, optim, preprocessing

from aiops.alerts.finding import Finding
from aiops.errors import SettingsError

Said = Literal["TRUE_POSITIVE", "BENIGN_POSITIVE", "FALSE_POSITIVE", "UNKNOWN"]

NEVER_HELD: frozenset[str] = frozenset({"high", "critical"})
"""No label hides findings of these."""
LABELS_MOST = 10_000
"""So many of the newest labels are kept."""
SCORE_MOST = 1e6
"""What is beyond counts as this."""
SHOWN = 20
"""Findings that an effect names."""


class About(Protocol):
    """What the model is told of a finding: a `Finding` has it, and so does a `Label`."""

    @property
    def rule(self) -> str:
        """Which rule fired."""

    @property
    def severity(self) -> str:
        """How bad it is."""

    @property
    def site(self) -> str:
        """Where; empty: not known."""

    @property
    def cohort(self) -> str:
        """Of which devices; empty: not known."""

    @property
    def score(self) -> float:
        """In multiples of the alert line."""


class Recorded(NamedTuple):
    """A firing finding as sinks have kept it, and what is told of it."""

    id: str
    rule: str
    severity: str
    site: str
    cohort: str
    score: float

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Recorded:
        """Return what a finding's record tells."""
        told = {name: record[name] for name in cls._fields}
        return cls(**told | {"score": _number(told["score"])})


@dataclass(frozen=True)
class Label:
    """A verdict of a person on a finding, with what the finding was."""

    finding_id: str
    said: Said
    author: str
    ts: int
    """When it was said, ns."""
    rule: str
    severity: str
    site: str
    cohort: str
    score: float

    @classmethod
    def of(cls, finding: Finding, said: Said, author: str, ts: int) -> Label:
        """Return what `author` said of `finding`."""
        f = finding
        return cls(f.id, said, author, ts, f.rule, f.severity, f.site, f.cohort, _number(f.score))

    @property
    def acted_on(self) -> bool:
        """Say whether it was worth a person's time."""
        return self.said == "TRUE_POSITIVE"


@dataclass(frozen=True)
class FeedbackSettings:
    """When a finding is held: all of these must hold, and its severity be none of `NEVER_HELD`."""

    hold_below: float = 0.2
    """The model says that people act on it with a probability below this..."""
    support: int = 5
    """...at least so many labels of its rule said that it was not worth it..."""
    beyond: float = 2.0
    """...and its score is below so many times the highest of which that was said."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.hold_below <= 0.5 or self.support < 1 or self.beyond < 1.0:
            raise SettingsError(
                "feedback: hold_below must be 0 to 0.5, support 1 or more and beyond 1 or more; "
                f"got {self.hold_below}, {self.support} and {self.beyond}"
            )


class LabelModel:
    """How likely a finding is one that people act on, judged by labels of others like it.

    A logistic regression (river) over the rule, severity, site and cohort of the finding, its rule
    in its cohort, and the logarithm of its score. Until something was learnt it says one half.
    """

    def __init__(self) -> None:
        self.learnt = 0
        names = compose.Select("rule", "severity", "site", "cohort", "rule_of_cohort")
        self._model = (names | preprocessing.OneHotEncoder()) + compose.Select(
            "log_score"
        ) | linear_model.LogisticRegression(optimizer=optim.SGD(0.3), l2=1e-3)

    @classmethod
    def rebuild(cls, labels: Iterable[Label]) -> LabelModel:
        """Return the model that has learnt `labels`, in their order.

        Of several by one author on one finding the last counts; ``UNKNOWN`` teaches nothing.
        """
        model = cls()
        for label in _last_words(labels):
            model.learn(label)
        return model

    def learn(self, label: Label) -> None:
        """Take in a label."""
        self._model.learn_one(_features(label), label.acted_on)
        self.learnt += 1

    def probability(self, about: About) -> float:
        """Return the probability that people act on a finding."""
        if not self.learnt:
            return 0.5
        return float(self._model.predict_proba_one(_features(about)).get(True, 0.5))


@dataclass(frozen=True)
class Effect:
    """What it would do to apply what was said since the last time."""

    labels: int
    """All that are known."""
    waiting: int
    """Of them, those that are not in force."""
    findings: int
    """How many recent findings were looked at."""
    held_now: int
    held_then: int
    held_by_rule: dict[str, int]
    """Those that would be held, by rule."""
    newly_held: tuple[str, ...]
    """Ids of findings that would be held and are not, the first `SHOWN`."""
    acted_on_and_held: tuple[str, ...]
    """Ids of findings that would be held though somebody said that they were right."""
    precision_by_score: float | None
    """Average precision of labelled findings in the order of their scores; None: too few labels."""
    precision_by_labels: float | None
    """The same in the model's order, each judged before its label was learnt."""


class Feedback:
    """The labels, and how many of them are in force: a stack, so that each step can be undone."""

    def __init__(self, settings: FeedbackSettings | None = None) -> None:
        self.settings = settings or FeedbackSettings()
        self.labels: list[Label] = []
        self.applied: list[int] = []
        """How many labels were known each time they were applied."""
        self._force: _Force | None = None

    def heard(self, kind: str, said: Mapping[str, Any], author: str, ts: int) -> None:
        """Take in a record of the log: a ``label``, or a step of ``feedback``.

        A label that does not tell what the finding was (those of old logs) teaches nothing.
        """
        if kind == "feedback":
            {"apply": self.apply, "undo": self.undo}[said["step"]]()
        elif "finding" in said:
            about = dict(said["finding"])
            about["score"] = _number(about["score"])
            self.hear(Label(said["finding_id"], said["said"], author, ts, **about))

    def hear(self, label: Label) -> None:
        """Take in what somebody said; nothing changes until it is applied."""
        self.labels.append(label)
        if len(self.labels) > LABELS_MOST:
            del self.labels[0]
            self.applied = [max(0, n - 1) for n in self.applied]

    def apply(self) -> None:
        """Put all labels in force; without new ones, do nothing."""
        if not self.applied or self.applied[-1] < len(self.labels):
            self.applied.append(len(self.labels))
            self._force = None

    def undo(self) -> None:
        """Go back to what was in force before; nothing was: do nothing."""
        if self.applied:
            self.applied.pop()
            self._force = None

    def weigh(self, findings: Sequence[Finding], firing: Mapping[str, Finding]) -> list[Finding]:
        """Return the findings with their relevance, and those to be held marked.

        What was held when it fired (`firing`, by fingerprint) is held when it is resolved.
        """
        if not self.applied:
            force = None
        else:
            force = self._force or _Force(self.labels[: self.applied[-1]], self.settings)
        self._force = force
        weighed = list(findings) if force is None else [force.weigh(one) for one in findings]
        return [
            replace(one, held=firing[one.fingerprint].held)
            if one.status == "resolved" and one.fingerprint in firing
            else one
            for one in weighed
        ]

    def effect(self, recent: Sequence[Recorded]) -> Effect:
        """Return what it would do to `recent` findings to apply all labels."""
        now = _Force(self.labels[: self.applied[-1]], self.settings) if self.applied else None
        then = _Force(self.labels, self.settings)
        held_now = {f.id for f in recent if now is not None and now.judge(f)[1]}
        held_then = {f.id: f.rule for f in recent if then.judge(f)[1]}
        right = {label.finding_id for label in _last_words(self.labels) if label.acted_on}
        return Effect(
            labels=len(self.labels),
            waiting=len(self.labels) - (self.applied[-1] if self.applied else 0),
            findings=len(recent),
            held_now=len(held_now),
            held_then=len(held_then),
            held_by_rule=dict(sorted(Counter(held_then.values()).items())),
            newly_held=tuple(id for id in held_then if id not in held_now)[:SHOWN],
            acted_on_and_held=tuple(id for id in held_then if id in right)[:SHOWN],
            **_precision(self.labels),
        )

    def save(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {"labels": [vars(label) for label in self.labels], "applied": self.applied}

    @classmethod
    def restore(cls, plain: Mapping[str, Any], settings: FeedbackSettings | None) -> Feedback:
        """Return the one that was saved."""
        feedback = cls(settings)
        feedback.labels = [Label(**one) for one in plain["labels"]]
        feedback.applied = list(plain["applied"])
        return feedback


class _Force:
    """The model of some labels, and the guard around it."""

    def __init__(self, labels: Sequence[Label], settings: FeedbackSettings) -> None:
        self._model = LabelModel.rebuild(labels)
        self._settings = settings
        self._against: Counter[str] = Counter()
        self._highest: dict[str, float] = {}
        for label in _last_words(labels):
            if not label.acted_on:
                self._against[label.rule] += 1
                self._highest[label.rule] = max(self._highest.get(label.rule, 0.0), label.score)

    def judge(self, about: About) -> tuple[float, bool]:
        """Return how relevant a firing finding is, and whether it may be held."""
        relevance = self._model.probability(about)
        rule, settings = about.rule, self._settings
        return relevance, (
            about.severity not in NEVER_HELD
            and relevance < settings.hold_below
            and self._against[rule] >= settings.support
            and about.score < settings.beyond * self._highest[rule]
        )

    def weigh(self, finding: Finding) -> Finding:
        relevance, held = self.judge(finding)
        return replace(finding, relevance=relevance, held=held and finding.status == "firing")


def _last_words(labels: Iterable[Label]) -> list[Label]:
    """Return what each author last said of each finding, where that says anything."""
    last: dict[tuple[str, str], Label] = {}
    for label in labels:
        last.pop((label.finding_id, label.author), None)
        last[label.finding_id, label.author] = label
    return [label for label in last.values() if label.said != "UNKNOWN"]


def _precision(labels: Sequence[Label]) -> dict[str, float | None]:
    """Return the average precision of labelled findings by score and by the model."""
    counted = _last_words(labels)
    if len({label.acted_on for label in counted}) < 2:
        return {"precision_by_score": None, "precision_by_labels": None}
    model, told = LabelModel(), []
    for label in counted:
        told.append(model.probability(label))
        model.learn(label)
    right = [label.acted_on for label in counted]
    return {
        "precision_by_score": average_precision(right, [label.score for label in counted]),
        "precision_by_labels": average_precision(right, told),
    }


def average_precision(right: Sequence[bool], order: Sequence[float]) -> float:
    """Return the mean, over those that are right, of the precision down to them.

    Ties count as the worst order would: who gives all the same gains nothing by it.
    """
    ranked = sorted(zip(order, right, strict=True), key=lambda one: (-one[0], one[1]))
    found, total = 0, 0.0
    for place, (_, is_right) in enumerate(ranked, 1):
        if is_right:
            found += 1
            total += found / place
    return total / found


def _number(score: float | None) -> float:
    """Return a score that JSON has: infinite ones are null there."""
    return SCORE_MOST if score is None or not math.isfinite(score) else score


def _features(about: About) -> dict[str, Any]:
    score = _number(about.score)
    return {
        "rule": about.rule,
        "severity": about.severity,
        "site": about.site,
        "cohort": about.cohort,
        "rule_of_cohort": f"{about.rule} {about.cohort}",
        "log_score": math.log10(min(max(score, 1e-6), SCORE_MOST)),
    }
