"""What findings tell of nodes that may fail."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from aiops.alerts.finding import Finding, isoformat
from aiops.placement.risk import (
    HORIZON_NS,
    SEVERITY_RISK,
    dates,
    failure_risk,
    probability_by,
    threats,
)
from tests.placement.fleets import NOON

NODE_AT = {"gw-1": 0, "gw-2": 1}


def finding(device="gw-1", detector="flash_wear", status="firing", severity="high", forecast=None):
    return Finding(
        rule=detector,
        detector=detector,
        status=status,
        severity=severity,
        device_id=device,
        part="mmcblk0",
        medium_id="",
        site="lyon",
        cohort="",
        since_ts=NOON,
        ts=NOON,
        score=1.5,
        observed=0.9,
        expected=0.5,
        sentence="It wears.",
        forecast=forecast,
    )


def foretold(**hours):
    """Return a forecast of dates so many hours ahead; None: never."""
    plain = {
        name: None if h is None else isoformat(NOON + int(h * 3600 * 1e9))
        for name, h in hours.items()
    }
    return {"quantity": "storage.wear_out.date", "unit": "ns", **plain}


@pytest.mark.parametrize(
    ("forecast", "hours", "probability"),
    [
        (None, 24, None),
        ({"quantity": "reboot.rate", "unit": "1/s", "p50": 1e-6}, 24, None),
        (foretold(p10=None, p50=None), 24, None),
        (foretold(p10=24, p50=48), 24, 0.1),
        (foretold(p10=24, p50=48), 36, 0.3),
        (foretold(p10=24, p50=48), 12, 0.05),
        (foretold(p10=24, p50=48), 1000, 0.5),
        (foretold(p10=24, p50=None), 1000, 0.1),
        (foretold(p10=-2, p50=-1, p90=48), 24, 0.5),
    ],
)
def test_probability_is_read_off_the_quantiles(forecast, hours, probability):
    said = probability_by(NOON + int(hours * 3600e9), forecast, NOON)
    assert said == (None if probability is None else pytest.approx(probability))


def test_dates_that_never_come_are_infinite():
    assert dates(foretold(p10=1, p90=None)) == {0.1: NOON + 3600e9, 0.9: math.inf}


def test_risks_of_findings_multiply_and_what_says_nothing_counts_nothing():
    p = probability_by(NOON + HORIZON_NS, foretold(p10=24), NOON)
    risk = failure_risk(
        [
            finding(forecast=foretold(p10=24)),
            finding(detector="reboot_drift", severity="critical"),
            finding("gw-2", detector="silence", severity="critical"),
            finding("gw-2", status="resolved", severity="critical"),
            finding("elsewhere", severity="critical"),
        ],
        NODE_AT,
        NOON,
    )
    assert risk.tolist() == [pytest.approx(1 - (1 - p) * (1 - SEVERITY_RISK["critical"])), 0.0]


def test_the_likeliest_reason_of_a_node_to_fail_is_told():
    mild, grave = finding(severity="low"), finding(forecast=foretold(p10=24))
    other = replace(grave, sentence="Memory runs out.")
    quiet = finding("gw-2", detector="silence", severity="critical")
    assert threats([mild, other, quiet], NODE_AT, NOON) == {0: "Memory runs out."}
    assert threats([finding(severity="info")], NODE_AT, NOON) == {}
