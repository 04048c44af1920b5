"""The HTTP API: every route, how errors are told, and the headers of every answer."""

from __future__ import annotations

from collections import Counter
from importlib import metadata
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aiops.errors import AiopsError
from aiops.service.problem import Refusal, problem, refusal_of
from aiops.service.routes import arrivals, decisions, feedback, health, incidents, ingest, results
from aiops.service.service import Service

logger = structlog.get_logger("aiops.http")
ASKED_FIRST = ("/collectd", "/write")
"""Whose senders show a password only once they are asked for one, and otherwise stay silent."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'",
    "Cache-Control": "no-store",
}


def make_app(service: Service) -> FastAPI:
    """Return the application in front of a service."""
    app = FastAPI(
        title="aiops",
        version=metadata.version("aiops-edge"),
        summary="Telemetry in; findings, forecasts, placements and guarded actions out.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    for routes in (ingest, arrivals, results, incidents, feedback, decisions, health):
        app.include_router(routes.router)
    app.add_exception_handler(AiopsError, _of_ours)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _other)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(Hardened, errors=service.errors)
    return app


async def _of_ours(request: Request, error: Exception) -> Response:
    if not isinstance(error, AiopsError):
        raise error
    refusal = refusal_of(error)
    if refusal.status == 401 and request.url.path in ASKED_FIRST:
        refusal.headers["www-authenticate"] += ', Basic realm="aiops"'
    if refusal.status >= 500 and refusal.status != 503:
        logger.exception("request failed", path=request.url.path, exc_info=error)
    return problem(refusal)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return problem(error)


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    said = "; ".join(
        f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:10]
    )
    return problem(Refusal(422, said))


async def _other(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    said = {404: f"there is nothing at {request.url.path}"}.get(error.status_code, error.detail)
    found = Refusal(error.status_code, str(said))
    found.headers = dict(error.headers or {})
    return problem(found)


async def _failed(request: Request, error: Exception) -> Response:
    logger.exception("request failed", path=request.url.path, exc_info=error)
    return problem(Refusal(500, "the service failed; its log says more"))


class Hardened:
    """Puts the headers of caution on every answer, and counts those that are errors.

    Parameters
    ----------
    app
        Who answers.
    errors
        Name of a route and status -> how often; it is added to.
    """

    def __init__(self, app: ASGIApp, errors: Counter[tuple[str, int]]) -> None:
        self._app = app
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if message["status"] >= 400 and "route" in scope:
                    self._errors[scope["route"].name, message["status"]] += 1
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)


def openapi(service: Service) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the API."""
    return make_app(service).openapi()
