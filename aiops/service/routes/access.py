"""Who sent a request, and what all routes share."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from aiops.service.keys import Principal
from aiops.service.models import Problem
from aiops.service.problem import MEDIA_TYPE, Refusal
from aiops.service.roles import Role
from aiops.service.service import Service
from aiops.telemetry.vocabulary import closest

JSON = "application/json"

_bearer = HTTPBearer(auto_error=False, description="A token of `aiops keys make`, or the demo's.")
encode = msgspec.json.Encoder(enc_hook=lambda value: value.item()).encode


def service_of(request: Request) -> Service:
    """Return the service behind a request."""
    return cast(Service, request.app.state.service)


def principal_of(request: Request) -> Principal:
    """Return who sent a request.

    Raises
    ------
    NotAuthenticated
        Nobody known did.
    """
    return service_of(request).identity.identify(
        request.headers.get("authorization"), request.scope.get("aiops.peer")
    )


def needs(role: Role) -> Any:
    """Return a dependency that lets in who has a role, and gives who that is."""

    async def check(request: Request) -> Principal:
        who = principal_of(request)
        who.require(role)
        if role == Role.READ:
            _only_known(request)
        return who

    check.role = role  # type: ignore[attr-defined]  # the table of roles is made from it
    return Depends(check)


def _only_known(request: Request) -> None:
    """Refuse a filter that there is not: whoever misspells one must not hear that all is well.

    Raises
    ------
    Refusal
        The query has another name than those of the route.
    """
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            there = f"there are {', '.join(sorted(known))}" if known else "there are none"
            raise Refusal(422, f"nothing is filtered by {name!r}{closest(name, known)}; {there}")


AUTH = Depends(_bearer)
"""Puts the credential into the OpenAPI document; `needs` is what checks it."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how the OpenAPI document describes these errors."""
    return {s: {"model": Problem, "content": {MEDIA_TYPE: {}}} for s in statuses}


async def asked(request: Request, name: str, question: Any) -> Any:
    """Ask the engine, at most once for each state it is in, whoever else asks the same.

    Raises
    ------
    Refusal
        The engine has stopped.
    """
    service = service_of(request)
    if service.judge.failure is not None:
        raise Refusal(503, "the engine has stopped: /readyz says why", retry_after="30")
    seq = service.judge.seq
    known = service.answers.get(name)
    if known is None or known[0] != seq:
        answer = asyncio.wrap_future(service.judge.ask(question))
        known = service.answers[name] = (seq, answer)
    return await asyncio.shield(known[1])  # others may wait for it
