"""What the API answers with, as its OpenAPI document describes it."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

State = Literal["held", "proposed", "approved", "rejected", "expired", "sent", "failed"]
"""Of an action; see `aiops.service.ledger`."""


class Record(BaseModel):
    """A record; more fields may come with a later version."""

    model_config = ConfigDict(extra="allow")


def example(**fields: Any) -> ConfigDict:
    """Return the settings of a model that is shown by an example."""
    return ConfigDict(extra="allow", json_schema_extra={"examples": [fields]})


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = example(
        type="urn:aiops:problem:404",
        title="There is no such thing",
        status=404,
        detail="there is no finding fnd-0123456789abcdef",
    )
    type: str
    title: str
    status: int
    detail: str


class Page(BaseModel, Generic[T]):
    """A part of a list, the newest first."""

    items: list[T]
    next: str | None = Field(description="Cursor of the page behind this one; null: the last.")


class Finding(Record):
    """What a rule found of a device, a part, or a whole site or cohort."""

    model_config = example(
        id="fnd-53b1f3f6a8a9c1d2",
        fingerprint="fp-0c7a5a2b6f1e4d38",
        rule="flash_wear",
        detector="flash_wear",
        status="firing",
        severity="warning",
        device_id="gw-0007",
        part="mmcblk0",
        medium_id="",
        site="lyon",
        cohort="cm4",
        since_ts="2026-11-01T00:00:00Z",
        ts="2026-11-01T00:01:00Z",
        score=1.2,
        observed=0.71,
        expected=0.4,
        sentence="Half of its life is left until March 2027.",
    )
    id: str
    fingerprint: str
    rule: str
    status: Literal["firing", "resolved"]
    severity: str
    device_id: str
    part: str
    site: str
    cohort: str
    since_ts: str
    ts: str
    score: float | None
    sentence: str


class Incident(Record):
    """Findings that belong together."""

    model_config = example(
        id="inr-11aa22bb33cc44dd",
        incident_id="inc-99aa88bb77cc66dd",
        key="silence@site:lyon",
        status="firing",
        severity="high",
        site="lyon",
        opened_ts="2026-11-01T00:00:00Z",
        ts="2026-11-01T00:01:00Z",
        title="Site lyon is silent: 12 devices.",
        findings=["fnd-53b1f3f6a8a9c1d2"],
        devices=["gw-0007"],
        cause={"attributes": {"site": "lyon"}, "devices": 12, "of": 14, "lift": 310.0, "p": 2e-19},
        phase="firing",
        quiet="",
        reopened=0,
    )
    id: str
    incident_id: str
    key: str
    status: Literal["firing", "resolved"]
    severity: str
    title: str
    findings: list[str]
    devices: list[str]


class Acknowledged(BaseModel):
    """An acknowledgement was written down; the incident's next record has it."""

    seq: int = Field(description="Record of the log.")
    incident_id: str
    until: str


class Silence(Record):
    """Whom nobody is paged of, and when."""

    model_config = example(
        id="sil-5d41402abc4b2a76",
        matchers=["site=lyon"],
        from_ts="2026-11-01T00:00:00Z",
        until_ts="2026-11-01T02:00:00Z",
        author="ann",
        comment="power is being worked on",
        every="",
        critical=False,
        state="active",
    )
    id: str
    matchers: list[str]
    from_ts: str
    until_ts: str
    author: str
    comment: str
    every: Literal["", "day", "week"]
    critical: bool
    state: Literal["pending", "active", "expired"]


class Action(Record):
    """Something that should be done, and what became of it."""

    model_config = example(
        id="act-state-1122334455667788",
        action_id="act-8877665544332211",
        kind="schedule_maintenance",
        target=["gw-0007"],
        reason="Flash is worn out by 2027-03-01.",
        evidence=["fnd-53b1f3f6a8a9c1d2"],
        origin="flash_wear",
        issued_ts="2026-11-01T00:01:00Z",
        expires_ts="2026-11-08T00:01:00Z",
        verdict="allowed",
        verdict_reason="within budget",
        state="proposed",
        state_by="engine",
        state_reason="within budget",
    )
    id: str
    action_id: str
    kind: str
    target: list[str]
    reason: str
    evidence: list[str]
    state: State
    issued_ts: str
    expires_ts: str


class Plan(Record):
    """Where work runs, and which moves led there."""

    id: str
    ts: str
    cost_per_hour: int
    bound_per_hour: int
    gap: float | None
    unit: str


class Device(BaseModel):
    """A device, as far as it is known."""

    model_config = example(
        device_id="gw-0007",
        site="lyon",
        cohort="cm4",
        parts=["mmcblk0"],
        last_seen="2026-11-01T00:01:00Z",
    )
    device_id: str
    site: str
    cohort: str
    parts: list[str]
    last_seen: str | None = Field(description="Time of its last row; null: none was judged yet.")


class Forecast(BaseModel):
    """Quantiles of what is foretold of a device or part."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "detector": "flash_wear",
                    "device_id": "gw-0007",
                    "part": "mmcblk0",
                    "medium_id": "",
                    "site": "lyon",
                    "cohort": "cm4",
                    "quantity": "worn_out",
                    "unit": "ns",
                    "p5": "2027-01-10T00:00:00Z",
                    "p50": "2027-03-01T00:00:00Z",
                    "p95": None,
                }
            ]
        },
    )
    detector: str
    device_id: str
    part: str
    medium_id: str
    site: str
    cohort: str
    quantity: str
    unit: str
    p5: float | str | None = Field(description="A date where the unit is ns; null: never.")
    p50: float | str | None
    p95: float | str | None


class Refusal(BaseModel):
    """Something that was set aside, and why."""

    model_config = example(
        id="row-0011223344556677",
        reason="out_of_range",
        device_id="gw-0007",
        part="",
        ts="2026-11-01T00:01:00Z",
        metric="temperature.celsius",
        value="2000.0",
        sender="",
        rows=1,
    )
    id: str
    reason: str
    device_id: str | None
    part: str | None
    ts: str | None
    metric: str | None
    value: str | None
    sender: str | None = Field(description="Credential it came with; empty: refused by the engine.")
    rows: int


class Reading(BaseModel):
    """A reading as the log has it, under the name it came with."""

    model_config = example(
        seq=17,
        device_id="gw-0007",
        ts="2026-11-01T00:01:00.000000000Z",
        metric="node_load1",
        value=0.4,
        labels={"job": "node"},
    )
    seq: int = Field(description="Record of the log.")
    device_id: str | None
    ts: str | None
    metric: str
    value: float | str | None
    labels: dict[str, Any]


class Placement(BaseModel):
    """Where a workload is."""

    model_config = example(
        workload="detect-1", place="gw-2", before="camera-1", cost_per_hour=9050, waits=False
    )
    workload: str
    place: str
    before: str
    cost_per_hour: int = Field(description="Micro-dollars.")
    waits: bool = Field(description="It is still where it was: its move has to wait.")


class Explanation(Record):
    """Why a workload is where it is: each option term by term, and what would change it."""

    workload: str
    ts: str
    choice: str
    before: str
    options: list[dict[str, Any]]
    flips: list[dict[str, Any]]


class WhyNot(BaseModel):
    """Why a workload is not at a place."""

    model_config = example(
        workload="detect-1",
        place="cloud-1",
        why_not="cloud-1 is 35516 micro-dollars an hour dearer than camera-1: compute +30400.",
    )
    workload: str
    place: str
    why_not: str


class Price(Record):
    """What room is worth where it is scarce."""


class WhatIf(BaseModel):
    """The plan that would be."""

    model_config = example(
        cost_per_hour=13231,
        dearer_per_hour=3931,
        bound_per_hour=13231,
        gap=0.0,
        unit="micro-dollars",
        moved=[{"workload": "count-people", "from": "gw-1", "to": "gw-2"}],
    )
    cost_per_hour: int
    dearer_per_hour: int
    bound_per_hour: int
    gap: float | None
    unit: str
    moved: list[dict[str, str]]


class Label(Record):
    """What somebody said of a finding."""

    id: str
    finding_id: str
    said: str
    text: str
    author: str


class Labelled(BaseModel):
    """A label was written down."""

    seq: int = Field(description="Record of the log.")
    finding_id: str


class Effect(BaseModel):
    """Which labels are in force, and what it would do to recent findings to apply all of them."""

    model_config = example(
        labels=24,
        waiting=4,
        findings=310,
        held_now=12,
        held_then=31,
        held_by_rule={"normality:net.rtt_ms": 31},
        newly_held=["fnd-1f0c9a5be2d34471"],
        acted_on_and_held=[],
        precision_by_score=0.52,
        precision_by_labels=0.71,
    )
    labels: int
    waiting: int = Field(description="Labels that are not in force.")
    findings: int = Field(description="Recent findings that were looked at.")
    held_now: int
    held_then: int
    held_by_rule: dict[str, int]
    newly_held: list[str]
    acted_on_and_held: list[str] = Field(description="Somebody said that these were right.")
    precision_by_score: float | None
    precision_by_labels: float | None


class Entry(BaseModel):
    """An entry of the audit; its hash seals it and all entries before it."""

    ts: str
    who: str
    what: str
    subject: str
    said: str
    hash: str


class Halted(BaseModel):
    """Whether actions leave."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"halted": True}]})
    halted: bool


class Protocol(BaseModel):
    """What came by one protocol since the service began."""

    protocol: str
    rows: int
    last: str | None


class Broker(BaseModel):
    """A broker that is listened to."""

    broker: str
    connected: bool


class Erred(BaseModel):
    """Requests with telemetry that were answered with an error."""

    protocol: str
    status: int
    count: int


class Payloads(BaseModel):
    """How much an answer is about."""

    came: int = Field(description="Payloads that came, of those that are remembered.")
    looked_at: int
    rows: int = Field(description="Of those that were looked at.")


class Heard(BaseModel):
    """A device that was heard."""

    device_id: str
    rows: int


class HeardOf(BaseModel):
    """The devices that were heard, those with most rows first; at most 1,000 are listed."""

    count: int
    items: list[Heard]


class KnownName(BaseModel):
    """A name that was sent and is known."""

    name: str
    metrics: list[str] = Field(description="What it is; empty: it is known under other labels.")
    values: int


class UnknownName(BaseModel):
    """A name that was sent and that nobody knows."""

    name: str
    values: int
    hint: str
    watched: bool = Field(description="It is watched all the same, under this name.")


class Aside(BaseModel):
    """Rows or values that were set aside."""

    reason: str
    count: int
    why: str


class Feeding(BaseModel):
    """Whether a detector has what it needs."""

    detector: str
    has: list[str]
    elsewhere: list[str] = Field(description="Of these, what came at another time or way.")
    lacks: list[list[str]] = Field(description="One of these groups is needed; empty: nothing.")
    add: str


class Ingested(BaseModel):
    """What came lately, and what the engine makes of it."""

    now: str
    protocols: list[Protocol]
    brokers: list[Broker]
    errors: list[Erred] = Field(description="Since the start, by these protocols.")
    payloads: Payloads
    devices: HeardOf
    known: list[KnownName]
    unknown: list[UnknownName]
    set_aside: list[Aside]
    detectors: list[Feeding]
