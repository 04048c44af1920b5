"""What people say of findings, and putting that in force."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aiops.alerts.feedback import Recorded
from aiops.service import bodies, models
from aiops.service.keys import Principal
from aiops.service.roles import Role
from aiops.service.routes.access import AUTH, JSON, encode, needs, service_of
from aiops.service.routes.lists import ONE, PROBLEMS, Cursor, Id, Limit, record, records

router = APIRouter(tags=["results"], dependencies=[AUTH])
READ, FEEDBACK, APPROVE = needs(Role.READ), needs(Role.FEEDBACK), needs(Role.APPROVE)
RECENT = 1000
"""So many of the newest findings show what labels would do."""


@router.post(
    "/v1/findings/{id}/labels",
    status_code=202,
    response_model=models.Labelled,
    responses=ONE,
)
async def label(
    request: Request, id: Id, label: bodies.LabelAsked, who: Principal = FEEDBACK
) -> Response:
    """Say whether a finding was right."""
    service = service_of(request)
    found = await record(request, "findings", id)
    about = {name: found[name] for name in Recorded._fields[1:]}
    said = label.model_dump() | {"finding_id": found["id"], "finding": about}
    seq = await service.say("label", who, said)
    return Response(encode({"seq": seq, "finding_id": found["id"]}), 202, media_type=JSON)


@router.get("/v1/labels", response_model=models.Page[models.Label], responses=PROBLEMS)
async def labels(
    request: Request, limit: Limit = 100, cursor: Cursor = None, who: Principal = READ
) -> Response:
    """List what people said of findings, newest first."""
    return await records(request, "labels", {}, cursor, limit)


@router.get("/v1/feedback", response_model=models.Effect, responses=PROBLEMS)
async def effect(request: Request, who: Principal = READ) -> Response:
    """Say which labels are in force, and what it would do to recent findings to apply all."""
    return await _effect(request)


@router.post("/v1/feedback/apply", response_model=models.Effect, responses=PROBLEMS)
async def apply(request: Request, who: Principal = APPROVE) -> Response:
    """Put all labels in force: findings like those called false are held from now on."""
    await service_of(request).say("feedback", who, {"step": "apply"})
    return await _effect(request)


@router.post("/v1/feedback/undo", response_model=models.Effect, responses=PROBLEMS)
async def undo(request: Request, who: Principal = APPROVE) -> Response:
    """Go back to the labels that were in force before."""
    await service_of(request).say("feedback", who, {"step": "undo"})
    return await _effect(request)


async def _effect(request: Request) -> Response:
    service = service_of(request)
    rows = await run_in_threadpool(
        service.control.records, "findings", {"status": "firing"}, before=None, limit=RECENT
    )
    recent = [Recorded.of(row) for _, row in rows]
    told = await asyncio.wrap_future(
        service.judge.ask(lambda engine: engine.feedback.effect(recent))
    )
    return Response(encode(asdict(told)), media_type=JSON)
