"""How the service itself is: for probes, for Prometheus, for `aiops doctor`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aiops.service.keys import Principal
from aiops.service.metrics import ServiceCollector
from aiops.service.roles import Role
from aiops.service.routes.access import AUTH, JSON, encode, needs, problems, service_of

router = APIRouter(tags=["health"])
READ = needs(Role.READ)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer that the process lives."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {}})
async def readyz(request: Request) -> Response:
    """Say whether the state is restored and the kernels are warm; 503 says what is missing."""
    missing = service_of(request).ready
    if missing:
        return Response(encode({"status": "not ready", "because": missing}), 503, media_type=JSON)
    return Response(encode({"status": "ready"}), media_type=JSON)


@router.get(
    "/metrics",
    dependencies=[AUTH],
    response_class=Response,
    responses=problems(401, 403) | {200: {"content": {"text/plain": {}}}},
)
async def metrics(request: Request, who: Principal = READ) -> Response:
    """Return how it goes, as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(service_of(request)))
    text = await run_in_threadpool(generate_latest, registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
