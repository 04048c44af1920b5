"""What the API is asked with a body, as its OpenAPI document describes it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aiops.actions.action import Kind


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
