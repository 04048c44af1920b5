"""What people do about incidents: acknowledge them, and silence what is known."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from aiops.alerts.finding import isoformat
from aiops.alerts.silences import SECOND_NS, Silence
from aiops.errors import SettingsError
from aiops.service import bodies, models
from aiops.service.keys import Principal
from aiops.service.problem import Refusal
from aiops.service.roles import Role
from aiops.service.routes.access import AUTH, JSON, encode, needs, problems, service_of
from aiops.service.routes.lists import ONE, PROBLEMS, Id, record

router = APIRouter(tags=["results"], dependencies=[AUTH])
READ, FEEDBACK, APPROVE = needs(Role.READ), needs(Role.FEEDBACK), needs(Role.APPROVE)
CLEARED = bodies.AcknowledgementAsked()


@router.post(
    "/v1/incidents/{id}/acknowledge",
    status_code=202,
    response_model=models.Acknowledged,
    responses=ONE | problems(409),
)
async def acknowledge(
    request: Request,
    id: Id,
    wanted: bodies.AcknowledgementAsked = CLEARED,
    who: Principal = FEEDBACK,
) -> Response:
    """Say that somebody is on it; its record says so when the next epoch closes."""
    found = await record(request, "incidents", id)
    name = found["incident_id"]
    newest = await record(request, "incidents", name)
    if newest["status"] == "resolved":
        raise Refusal(409, f"{name} was resolved at {newest['ts']}")
    said = wanted.model_dump() | {"incident_id": name}
    seq = await service_of(request).say("acknowledgement", who, said)
    told = {"seq": seq, "incident_id": name, "until": wanted.until}
    return Response(encode(told), 202, media_type=JSON)


@router.get("/v1/silences", response_model=models.Page[models.Silence], responses=PROBLEMS)
async def silences(request: Request, who: Principal = READ) -> Response:
    """List silences and maintenance windows, newest first; those that are over for a week."""
    found = await _silences(request)
    return Response(encode({"items": list(found.values())[::-1], "next": None}), media_type=JSON)


@router.get("/v1/silences/{id}", response_model=models.Silence, responses=ONE)
async def silence(request: Request, id: Id, who: Principal = READ) -> Response:
    """Return a silence."""
    return await _one(request, id)


@router.post("/v1/silences", status_code=201, response_model=models.Silence, responses=PROBLEMS)
async def make_silence(
    request: Request, wanted: bodies.SilenceAsked, who: Principal = APPROVE
) -> Response:
    """Silence what matches; with ``every`` it is a maintenance window that comes again."""
    service = service_of(request)
    now = service.now_ns() // SECOND_NS * SECOND_NS
    said = wanted.model_dump(by_alias=True)
    try:
        made = Silence.said(said, who.name, now)
    except SettingsError as error:
        raise Refusal(422, str(error)) from error
    # Both ends are told, so that it is the same whenever the log is read.
    ends = {"from": isoformat(made.from_ts), "until": isoformat(made.until_ts)}
    await service.say("silence", who, said | ends)
    return await _one(request, made.id, 201)


@router.delete("/v1/silences/{id}", response_model=models.Silence, responses=ONE)
async def end_silence(request: Request, id: Id, who: Principal = APPROVE) -> Response:
    """End a silence now; it stays in the list for a week."""
    await _one(request, id)
    await service_of(request).say("silence end", who, {"silence_id": id})
    return await _one(request, id)


async def _silences(request: Request) -> dict[str, dict[str, Any]]:
    service = service_of(request)
    now = service.now_ns()
    found: dict[str, dict[str, Any]] = await asyncio.wrap_future(
        service.judge.ask(
            lambda engine: {name: s.to_record(now) for name, s in engine.life.silences.items()}
        )
    )
    return found


async def _one(request: Request, id: str, status: int = 200) -> Response:
    found = await _silences(request)
    if id not in found:
        raise Refusal(404, f"there is no silence {id}")
    return Response(encode(found[id]), status, media_type=JSON)
