"""What twenty labels are worth: precision at equal recall, before and after, on findings to come.

Each of many fleets has findings of 6 rules in 8 cohorts at 10 sites, as a stream. Whether a finding
is worth acting on is drawn with log-odds that are a sum: of its rule, its cohort and its site (all
drawn for the fleet), and of its score, which tells something too. The first findings are labelled
in the order in which they came, as an operator would; the next 500 measure. Nothing was tuned here.

Precision is that of the best-ranked findings down to the one at which 80 % of those worth acting on
are found: in the order of their scores, and in the order of the model (`alerts.feedback`). Beside
it: the same model with shuffled labels, which must gain nothing, and scikit-learn's logistic
regression trained in one batch on the same labels. Held: what the guard lets the model hold back.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aiops.alerts.feedback import Feedback, Label, LabelModel
from aiops.alerts.finding import Finding

MEASURED = 500
RECALL = 0.8
LABELS = (20, 100)


def stream(rng: np.random.Generator, count: int) -> tuple[list[Finding], list[bool]]:
    """Return findings of one fleet, and whether each is worth acting on."""
    rule, cohort, site = rng.normal(0, 1.5, 6), rng.normal(0, 1.0, 8), rng.normal(0, 0.5, 10)
    findings, worth = [], []
    for n in range(count):
        r, c, s = rng.integers(6), rng.integers(8), rng.integers(10)
        strength = rng.normal()
        odds = rule[r] + cohort[c] + site[s] + 0.8 * strength
        worth.append(bool(rng.random() < 1.0 / (1.0 + math.exp(-odds))))
        findings.append(
            Finding(
                rule=f"rule-{r}",
                detector=f"rule-{r}",
                status="firing",
                severity="warning",
                device_id=f"gw-{n}",
                part="",
                medium_id="",
                site=f"site-{s}",
                cohort=f"cohort-{c}",
                since_ts=n,
                ts=n,
                score=math.exp(0.5 * strength + 0.7),
                observed=0.0,
                expected=0.0,
                sentence="",
            )
        )
    return findings, worth


def precision_at_recall(worth: list[bool], order: list[float]) -> float:
    """Return the precision of the best-ranked findings that hold `RECALL` of the good ones."""
    best = np.argsort(-np.array(order), kind="stable")
    found = np.cumsum(np.array(worth)[best])
    place = int(np.searchsorted(found, math.ceil(RECALL * found[-1])))
    return float(found[place] / (place + 1))


def batch(labels: list[Label], findings: list[Finding]) -> list[float]:
    """Return what a logistic regression says that is trained on all labels at once."""
    if len({label.acted_on for label in labels}) < 2:
        return [0.5] * len(findings)

    def features(one: Finding | Label) -> dict[str, object]:
        names = {"rule": one.rule, "cohort": one.cohort, "site": one.site}
        return {**names, "log_score": math.log10(one.score)}

    model = make_pipeline(DictVectorizer(), LogisticRegression(max_iter=1000))
    model.fit([features(label) for label in labels], [label.acted_on for label in labels])
    told = model.predict_proba([features(one) for one in findings])[:, 1]
    return [float(p) for p in told]


def fleet(seed: int, count: int) -> dict[str, float]:
    """Return what `count` labels do in one fleet."""
    rng = np.random.default_rng(seed)
    findings, worth = stream(rng, count + MEASURED)
    said = ["TRUE_POSITIVE" if one else "FALSE_POSITIVE" for one in worth[:count]]
    labels = [
        Label.of(finding, verdict, "ann", finding.ts)  # type: ignore[arg-type]
        for finding, verdict in zip(findings[:count], said, strict=True)
    ]
    shuffled = [
        Label.of(finding, said[k], "ann", finding.ts)  # type: ignore[arg-type]
        for finding, k in zip(findings[:count], rng.permutation(count), strict=True)
    ]
    later, right = findings[count:], worth[count:]
    feedback = Feedback()
    for label in labels:
        feedback.hear(label)
    feedback.apply()
    weighed = feedback.weigh(later, {})
    held = [one.held for one in weighed]
    chance = LabelModel.rebuild(shuffled)
    return {
        "precision_by_score": precision_at_recall(right, [one.score for one in later]),
        "precision_by_labels": precision_at_recall(right, [one.relevance or 0 for one in weighed]),
        "precision_shuffled": precision_at_recall(right, [chance.probability(f) for f in later]),
        "precision_batch": precision_at_recall(right, batch(labels, later)),
        "held_share": sum(held) / len(held),
        "worth_share": sum(right) / len(right),
        "held_of_worth": sum(h and w for h, w in zip(held, right, strict=True)) / sum(right),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    fleets = 40 if given.quick else 200
    figures: dict[str, float] = {}
    for count in LABELS:
        told = [fleet(given.seed * 100_000 + n, count) for n in range(fleets)]
        for name in told[0]:
            values = np.array([one[name] for one in told])
            figures[f"{name}_{count}"] = float(values.mean())
            figures[f"{name}_{count}_se"] = float(values.std(ddof=1) / math.sqrt(fleets))
        gain = np.array([one["precision_by_labels"] - one["precision_by_score"] for one in told])
        figures[f"gain_{count}"] = float(gain.mean())
        figures[f"gain_{count}_se"] = float(gain.std(ddof=1) / math.sqrt(fleets))
    for name, value in figures.items():
        print(f"{name:28} {value:8.4f}")
    if given.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
