"""What the API is asked with a body, as its OpenAPI document describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aiops.actions.action import Kind
from aiops.alerts.silences import LONGEST_S, MATCHERS_MOST, TEXT_MOST, Every


class WhatIfAsked(BaseModel):
    """What is to be thought different; names are of nodes, or of sites."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"kill": ["gw-1"], "heat": {"lyon": 5.0}}]},
    )
    kill: list[str] = []
    cordon: list[str] = []
    heat: dict[str, float] = Field({}, description="Degrees warmer.")
    price: dict[str, float | str] = Field({}, description='Factor, or "+10%".')
    rtt: dict[str, float | str] = Field({}, description='Factor, or "+50%".')


class LabelAsked(BaseModel):
    """What a person says of a finding."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"said": "FALSE_POSITIVE", "text": "lab device"}]},
    )
    said: Literal["TRUE_POSITIVE", "BENIGN_POSITIVE", "FALSE_POSITIVE", "UNKNOWN"]
    text: str = Field("", max_length=2000)


class AcknowledgementAsked(BaseModel):
    """That somebody is on an incident: nobody else is paged until it is over."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"until": "worse", "comment": "a technician is on the way"}]
        },
    )
    until: Literal["cleared", "worse", "time", "now"] = Field(
        "cleared",
        description="cleared: it is resolved; worse: more severe, or twice the devices; time: "
        "`for_s` seconds; now: taken back.",
    )
    for_s: float = Field(3600.0, gt=0, le=366 * 86400.0)
    comment: str = Field("", max_length=2000)


class SilenceAsked(BaseModel):
    """Whom nobody is to be paged of, and when."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"matchers": ["site=lyon", "rule=~silence|reboot_drift"], "for_s": 7200},
                {
                    "matchers": ["cohort=cm4"],
                    "from": "2026-12-01T22:00:00Z",
                    "until": "2026-12-02T02:00:00Z",
                    "every": "week",
                    "comment": "updates",
                },
            ]
        },
    )
    matchers: list[Annotated[str, Field(min_length=1, max_length=TEXT_MOST)]] = Field(
        min_length=1,
        max_length=MATCHERS_MOST,
        description="All must match: name=value, name!=value, name=~regex or name!~regex.",
    )
    from_: str | None = Field(None, alias="from", max_length=64, description="RFC 3339; null: now.")
    until: str | None = Field(None, max_length=64, description="RFC 3339; null: see `for_s`.")
    for_s: float = Field(3600.0, ge=1.0, le=LONGEST_S)
    every: Every = Field("", description="Comes again at the same time of UTC.")
    critical: bool = Field(False, description="Silences what is critical, too.")
    comment: str = Field("", max_length=2000)


class DecisionAsked(BaseModel):
    """Why a decision was taken."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "window tonight"}]}
    )
    reason: str = Field("", max_length=2000)


class ProposalAsked(BaseModel):
    """An action that somebody wants; the guard judges it as one of the engine's own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "cordon",
                    "target": ["gw-0007"],
                    "reason": "being repaired",
                    "expires_s": 3600,
                }
            ]
        },
    )
    kind: Kind
    target: list[str] = Field(min_length=1, max_length=1000)
    reason: str = Field(min_length=1, max_length=2000)
    evidence: list[str] = Field([], max_length=100)
    params: dict[str, Any] = {}
    expires_s: float = Field(3600.0, gt=0, le=30 * 86400.0)
