"""Placement, actions and the halt switch: what people look at and decide."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aiops.engine.engine import Engine
from aiops.placement.plan import Plan
from aiops.placement.whatif import Overlay, what_if
from aiops.service import bodies, models
from aiops.service.keys import Principal
from aiops.service.ledger import refusal
from aiops.service.problem import Refusal
from aiops.service.roles import Role
from aiops.service.routes.access import (
    AUTH,
    JSON,
    asked,
    encode,
    needs,
    problems,
    service_of,
)
from aiops.service.routes.lists import (
    ONE,
    PROBLEMS,
    Cursor,
    Id,
    Limit,
    Text,
    newest_first,
    only,
    page,
    place_of,
    record,
    records,
)

router = APIRouter(dependencies=[AUTH])
READ, PROPOSE = needs(Role.READ), needs(Role.PROPOSE)
APPROVE, ADMIN = needs(Role.APPROVE), needs(Role.ADMIN)
NO_REASON = bodies.DecisionAsked(reason="")
ANYTHING = frozenset({"notify", "hold_rollout", "rollback_rollout"})
"""Kinds of actions whose target is no device, node or workload."""


# Placement ---------------------------------------------------------------------------------------


async def plan_of(request: Request) -> Plan:
    """Return the plan for the fleet as the last epoch left it."""
    plan = await asked(request, "plan", lambda engine: engine.plan())
    if plan is None:
        raise Refusal(404, "nothing is placed yet: there are no workloads, or no epoch has closed")
    return plan  # type: ignore[no-any-return]


@router.get(
    "/v1/plans", tags=["placement"], response_model=models.Page[models.Plan], responses=PROBLEMS
)
async def plans(
    request: Request, limit: Limit = 100, cursor: Cursor = None, who: Principal = READ
) -> Response:
    """List plans that moved something, newest first."""
    return await records(request, "plans", {}, cursor, limit)


@router.get("/v1/plans/{id}", tags=["placement"], response_model=models.Plan, responses=ONE)
async def plan(request: Request, id: Id, who: Principal = READ) -> Response:
    """Return a plan."""
    return Response(encode(await record(request, "plans", id)), media_type=JSON)


@router.get(
    "/v1/placements",
    tags=["placement"],
    response_model=models.Page[models.Placement],
    responses=ONE,
)
async def placements(
    request: Request,
    place: Annotated[str | None, Query(max_length=256, description="Only what is there.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    who: Principal = READ,
) -> Response:
    """List workloads with where they are, in the order of the inventory."""
    made = await plan_of(request)
    start = place_of(cursor) or 0
    rows, following = await run_in_threadpool(_placements, made, place, start, limit)
    return page(rows, following)


def _placements(
    plan: Plan, place: str | None, start: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    problem, topology = plan.problem, plan.problem.topology
    found: list[dict[str, Any]] = []
    for i in range(start, len(topology.workload)):
        if len(found) == limit:
            return found, i
        at = topology.place(i, int(plan.reached[i]))
        if place is not None and at != place:
            continue
        found.append(
            {
                "workload": topology.workload[i],
                "place": at,
                "before": topology.place(i, int(problem.current[i])),
                "cost_per_hour": int(problem.cost[i, int(plan.choice[i])]),
                "waits": bool(plan.reached[i] != plan.choice[i]),
            }
        )
    return found, None


@router.get(
    "/v1/placements/{workload}",
    tags=["placement"],
    response_model=models.Explanation,
    responses=ONE,
)
async def placement(request: Request, workload: Id, who: Principal = READ) -> Response:
    """Explain where a workload is: each option term by term, and what would change it."""
    made = await plan_of(request)
    if workload not in made.problem.topology.row_of:
        raise Refusal(404, f"there is no workload {workload}")
    told = await run_in_threadpool(lambda: made.explain(workload).to_record())
    return Response(encode(_finite(told)), media_type=JSON)


@router.get(
    "/v1/placements/{workload}/why-not/{place}",
    tags=["placement"],
    response_model=models.WhyNot,
    responses=ONE,
)
async def why_not(request: Request, workload: Id, place: Id, who: Principal = READ) -> Response:
    """Say in words why a workload is not at a place (a node, or ``shed``)."""
    made = await plan_of(request)
    if workload not in made.problem.topology.row_of:
        raise Refusal(404, f"there is no workload {workload}")
    said = await run_in_threadpool(made.why_not, workload, place)
    return Response(
        encode({"workload": workload, "place": place, "why_not": said}), media_type=JSON
    )


@router.get(
    "/v1/prices", tags=["placement"], response_model=models.Page[models.Price], responses=ONE
)
async def prices(request: Request, who: Principal = READ) -> Response:
    """List what room is worth where it is scarce, dearest first."""
    made = await plan_of(request)
    found = await run_in_threadpool(lambda: [asdict(price) for price in made.scarce])
    return Response(encode({"items": found, "next": None}), media_type=JSON)


@router.post("/v1/what-if", tags=["placement"], response_model=models.WhatIf, responses=ONE)
async def what_would_be(
    request: Request, overlay: bodies.WhatIfAsked, who: Principal = READ
) -> Response:
    """Say what the plan would be if something were different; nothing is changed by asking."""
    made = await plan_of(request)
    wanted = Overlay.of(overlay.model_dump())
    told = await run_in_threadpool(lambda: what_if(made, wanted).to_record())
    return Response(encode(_finite(told)), media_type=JSON)


def _finite(told: Any) -> Any:
    """Return plain values with null for what is no number."""
    if isinstance(told, dict):
        return {name: _finite(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [_finite(value) for value in told]
    if isinstance(told, float | np.floating):
        return float(told) if np.isfinite(told) else None
    return told


# Actions -----------------------------------------------------------------------------------------


@router.get(
    "/v1/actions", tags=["actions"], response_model=models.Page[models.Action], responses=PROBLEMS
)
async def actions(
    request: Request,
    state: models.State | None = None,
    device_id: Text = None,
    site: Text = None,
    cohort: Text = None,
    current: Annotated[bool, Query(description="Each action once, as it stands.")] = True,
    limit: Limit = 100,
    cursor: Cursor = None,
    who: Principal = READ,
) -> Response:
    """List actions, newest first: proposed, held, approved and how they ended."""
    filters = only(status=state, device_id=device_id, site=site, cohort=cohort)
    return await records(request, "actions", filters, cursor, limit, current=current)


@router.get("/v1/actions/{id}", tags=["actions"], response_model=models.Action, responses=ONE)
async def action(request: Request, id: Id, who: Principal = READ) -> Response:
    """Return an action as it stands."""
    return Response(encode(await record(request, "actions", id)), media_type=JSON)


@router.post(
    "/v1/actions",
    tags=["actions"],
    status_code=202,
    response_model=models.Action,
    responses=PROBLEMS,
)
async def propose(
    request: Request, asked_for: bodies.ProposalAsked, who: Principal = PROPOSE
) -> Response:
    """Propose an action; the guard judges it, and somebody else approves it."""
    service = service_of(request)
    said = asked_for.model_dump()
    if asked_for.kind not in ANYTHING:
        unknown = await asyncio.wrap_future(
            service.judge.ask(lambda engine: unknown_of(engine, asked_for.target))
        )
        if unknown:
            raise Refusal(422, f"no device, node or workload is called {', '.join(unknown[:5])}")
    seq = await service.say("proposal", who, said)
    found = await run_in_threadpool(service.control.heard, seq)
    if found is None:
        raise Refusal(503, "it is written down, and is judged when the engine runs again")
    return Response(encode(found), 202, media_type=JSON)


def unknown_of(engine: Engine, target: list[str]) -> list[str]:
    """Return the targets that neither telemetry nor the inventory knows."""
    inventory = engine.inventory
    declared = {node.id for node in inventory.nodes} | {w.id for w in inventory.workloads}
    find = engine.fleet.registry.find
    return [name for name in target if name not in declared and find(name) is None]


async def _decide(request: Request, who: Principal, kind: str, id: str, reason: str) -> Response:
    service = service_of(request)
    before = await run_in_threadpool(service.control.action, id)
    if before is None:
        raise Refusal(404, f"there is no action {id}")
    said = refusal(before, who.name, service.now_ns(), halted=service.halted())
    if said:
        raise Refusal(409, f"{id}: {said}")
    await service.say(kind, who, {"action_id": id, "reason": reason})
    after = await run_in_threadpool(service.control.action, id)
    return Response(encode(after), media_type=JSON)


DECIDED = ONE | problems(409)


@router.post(
    "/v1/actions/{id}/approve", tags=["actions"], response_model=models.Action, responses=DECIDED
)
async def approve(
    request: Request,
    id: Id,
    decision: bodies.DecisionAsked = NO_REASON,
    who: Principal = APPROVE,
) -> Response:
    """Approve what was proposed, by its ``action_id``; not what one proposed oneself."""
    return await _decide(request, who, "approval", id, decision.reason)


@router.post(
    "/v1/actions/{id}/reject", tags=["actions"], response_model=models.Action, responses=DECIDED
)
async def reject(
    request: Request,
    id: Id,
    decision: bodies.DecisionAsked = NO_REASON,
    who: Principal = APPROVE,
) -> Response:
    """Reject what was proposed, by its ``action_id``."""
    return await _decide(request, who, "rejection", id, decision.reason)


@router.get("/v1/halt", tags=["actions"], response_model=models.Halted, responses=PROBLEMS)
async def halted(request: Request, who: Principal = READ) -> models.Halted:
    """Say whether the halt switch is on."""
    return models.Halted(halted=service_of(request).halted())


@router.put("/v1/halt", tags=["actions"], response_model=models.Halted, responses=PROBLEMS)
async def halt(request: Request, wanted: models.Halted, who: Principal = ADMIN) -> models.Halted:
    """Stop all actions from leaving, or let them leave again."""
    service = service_of(request)
    await run_in_threadpool(service.halt, who.name, wanted.halted)
    return models.Halted(halted=service.halted())


@router.get(
    "/v1/audit", tags=["actions"], response_model=models.Page[models.Entry], responses=PROBLEMS
)
async def audit(
    request: Request, limit: Limit = 100, cursor: Cursor = None, who: Principal = ADMIN
) -> Response:
    """List what was decided and done, newest first; each entry seals those before it."""
    rows = await run_in_threadpool(
        service_of(request).control.audit, before=place_of(cursor), limit=limit
    )
    return newest_first(rows, limit)
