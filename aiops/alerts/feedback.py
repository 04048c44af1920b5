"""What people said of findings, and a river model that learns from it.

Labels are records with a place in the log. The model is rebuilt from them, in that order, whenever
it is needed, so it needs no file of its own and every replay has the same one. This is river's
place in a running engine: few examples, one at a time, each worth learning from at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from river import compose, linear_model, optim, preprocessing

from aiops.alerts.finding import Finding

Said = Literal["TRUE_POSITIVE", "BENIGN_POSITIVE", "FALSE_POSITIVE", "UNKNOWN"]


@dataclass(frozen=True)
class Label:
    """A verdict of a person on a finding."""

    finding_id: str
    said: Said
    author: str
    ts: int
    """When it was said, ns; labels are learnt in the order (ts, finding, author)."""


class LabelModel:
    """How likely a finding is one that people act on, judged by labels of others like it.

    A logistic regression (river) over the rule, severity, site and cohort of the finding and the
    logarithm of its score. Until something was learnt it says one half.
    """

    def __init__(self) -> None:
        self.learnt = 0
        named = compose.Select("rule", "severity", "site", "cohort") | preprocessing.OneHotEncoder()
        self._model = (named + compose.Select("log_score")) | linear_model.LogisticRegression(
            optimizer=optim.SGD(0.3), l2=1e-3
        )

    @classmethod
    def rebuild(cls, labels: Iterable[Label], findings: Mapping[str, Finding]) -> LabelModel:
        """Return the model that has learnt `labels` of `findings` (by id), in their order.

        Labels of unknown findings, and those that say ``UNKNOWN``, teach nothing.
        """
        model = cls()
        for label in sorted(labels, key=lambda one: (one.ts, one.finding_id, one.author)):
            finding = findings.get(label.finding_id)
            if finding is None or label.said == "UNKNOWN":
                continue
            model._model.learn_one(_features(finding), label.said == "TRUE_POSITIVE")
            model.learnt += 1
        return model

    def probability(self, finding: Finding) -> float:
        """Return the probability that people call `finding` a true positive."""
        if not self.learnt:
            return 0.5
        told = self._model.predict_proba_one(_features(finding))
        return float(told.get(True, 0.5))


def _features(finding: Finding) -> dict[str, Any]:
    score = finding.score if math.isfinite(finding.score) else 1e6
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "site": finding.site,
        "cohort": finding.cohort,
        "log_score": math.log10(min(max(score, 1e-6), 1e6)),
    }
