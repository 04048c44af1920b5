"""What was found, foretold and set aside, and who is known."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from aiops.alerts.finding import isoformat
from aiops.engine.engine import Engine
from aiops.kernels.rows import I8
from aiops.service import models
from aiops.service.keys import Principal
from aiops.service.problem import Refusal
from aiops.service.readings import Reader
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
    part_of,
    place_of,
    record,
    records,
)
from aiops.telemetry.normalised import NO_TIME

router = APIRouter(tags=["results"], dependencies=[AUTH])
READ = needs(Role.READ)
SILENT_S = 15.0
"""After so long without news a stream says that it is still there."""
STREAMS_MOST = 256

Status = Annotated[Literal["firing", "resolved"] | None, Query()]
Severity = Annotated[Literal["info", "low", "warning", "high", "critical"] | None, Query()]


@router.get("/v1/findings", response_model=models.Page[models.Finding], responses=PROBLEMS)
async def findings(
    request: Request,
    status: Status = None,
    severity: Severity = None,
    rule: Text = None,
    device_id: Text = None,
    site: Text = None,
    cohort: Text = None,
    current: Annotated[bool, Query(description="Only the newest of each rule and part.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
    who: Principal = READ,
) -> Response:
    """List findings, newest first."""
    filters = only(
        status=status, severity=severity, rule=rule, device_id=device_id, site=site, cohort=cohort
    )
    return await records(request, "findings", filters, cursor, limit, current=current)


@router.get("/v1/findings/{id}", response_model=models.Finding, responses=ONE)
async def finding(request: Request, id: Id, who: Principal = READ) -> Response:
    """Return a finding by its id, or the newest with a fingerprint."""
    return Response(encode(await record(request, "findings", id)), media_type=JSON)


@router.get("/v1/incidents", response_model=models.Page[models.Incident], responses=PROBLEMS)
async def incidents(
    request: Request,
    status: Status = None,
    severity: Severity = None,
    site: Text = None,
    current: Annotated[bool, Query(description="Only the newest of each incident.")] = True,
    limit: Limit = 100,
    cursor: Cursor = None,
    who: Principal = READ,
) -> Response:
    """List incidents, newest first."""
    filters = only(status=status, severity=severity, site=site)
    return await records(request, "incidents", filters, cursor, limit, current=current)


@router.get("/v1/incidents/{id}", response_model=models.Incident, responses=ONE)
async def incident(request: Request, id: Id, who: Principal = READ) -> Response:
    """Return a record of an incident, or the newest of an incident."""
    return Response(encode(await record(request, "incidents", id)), media_type=JSON)


@router.get("/v1/forecasts", response_model=models.Page[models.Forecast], responses=PROBLEMS)
async def forecasts(
    request: Request,
    detector: Text = None,
    device_id: Text = None,
    site: Text = None,
    cohort: Text = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    who: Principal = READ,
) -> Response:
    """List what is foretold, what ends first first."""
    table = await asked(request, "forecasts", lambda engine: engine.forecasts().sort_by("p50"))
    filters = only(detector=detector, device_id=device_id, site=site, cohort=cohort)
    rows, following = part_of(table, filters, cursor, limit)
    return page([_dated(row) for row in rows], following)


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    """Return a forecast with its quantiles as JSON has them."""
    for name, value in row.items():
        if isinstance(value, float):
            end = value if math.isfinite(value) else None
            row[name] = isoformat(int(end)) if end is not None and row["unit"] == "ns" else end
    return row


@router.get("/v1/devices", response_model=models.Page[models.Device], responses=PROBLEMS)
async def devices(
    request: Request,
    site: Text = None,
    cohort: Text = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    who: Principal = READ,
) -> Response:
    """List the devices that have been heard of, in the order of their first row."""
    table = await asked(request, "devices", known_devices)
    return page(*part_of(table, only(site=site, cohort=cohort), cursor, limit))


@router.get("/v1/devices/{device_id}", response_model=models.Device, responses=ONE)
async def device(request: Request, device_id: Id, who: Principal = READ) -> Response:
    """Return a device."""
    table = await asked(request, "devices", known_devices)
    found = table.filter(pc.field("device_id") == device_id).to_pylist()
    if not found:
        raise Refusal(404, f"no device {device_id} has been heard of")
    return Response(encode(found[0]), media_type=JSON)


def known_devices(engine: Engine) -> pa.Table:
    """Return the devices an engine knows, with when they were last seen."""
    registry, series = engine.fleet.registry, engine.fleet.series
    size = len(registry)
    stamps = [a[:size] for name, a in series.arrays.items() if name.startswith("last_ts/")]
    stamps += [np.where(last > 0, last, NO_TIME)[:size] for last in _heard(engine)]
    last = np.maximum.reduce(stamps).tolist() if stamps else [NO_TIME] * size
    root = registry.root.tolist()
    parts: dict[int, list[str]] = {}
    for i, (_, part, _medium) in enumerate(registry.identities):
        if root[i] != i:
            last[root[i]] = max(last[root[i]], last[i])
            if part and part not in parts.setdefault(root[i], []):
                parts[root[i]].append(part)
    own = [i for i in range(size) if root[i] == i]
    return pa.table(
        {
            "device_id": pa.array([registry.identities[i][0] for i in own], pa.string()),
            "site": pa.array([registry.site_of(i) for i in own], pa.string()),
            "cohort": pa.array([registry.cohort_of(i) for i in own], pa.string()),
            "parts": pa.array([parts.get(i, []) for i in own], pa.list_(pa.string())),
            "last_seen": pa.array(
                [None if last[i] == NO_TIME else isoformat(last[i]) for i in own], pa.string()
            ),
        }
    )


def _heard(engine: Engine) -> Iterator[I8]:
    """Yield when devices were last heard, whatever they said, if silence is watched for."""
    for detector in engine.detectors:
        if detector.name == "silence":
            yield engine.fleet.recall(detector).last


@router.get("/v1/quarantine", response_model=models.Page[models.Refusal], responses=PROBLEMS)
async def quarantine(
    request: Request,
    reason: Text = None,
    device_id: Text = None,
    sender: Text = None,
    metric: Text = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    who: Principal = READ,
) -> Response:
    """List rows and values that were set aside, newest first."""
    filters = only(reason=reason, device_id=device_id, sender=sender, metric=metric)
    rows = await run_in_threadpool(
        service_of(request).control.refused, filters, before=place_of(cursor), limit=limit
    )
    for _, row in rows:
        row["ts"] = isoformat(row["ts"])
    return newest_first(rows, limit)


@router.get("/v1/telemetry", response_model=models.Page[models.Reading], responses=PROBLEMS)
async def telemetry(
    request: Request,
    device_id: Text = None,
    metric: Text = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    who: Principal = READ,
) -> Response:
    """List readings as they came, oldest first, as far back as the log is kept.

    A page ends early when it has read much without finding anything; go on with its ``next``.
    """
    reader = Reader(service_of(request).log, device_id, metric)
    found, following = await run_in_threadpool(reader.read, place_of(cursor) or 0, limit)
    return page(found, following)


# A stream of what is new -------------------------------------------------------------------------


@router.get(
    "/v1/events",
    response_class=StreamingResponse,
    responses=PROBLEMS | problems(429) | {200: {"content": {"text/event-stream": {}}}},
)
async def events(
    request: Request,
    after: Annotated[
        int | None, Query(ge=0, lt=2**62, description="Number; 0: from the first.")
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    who: Principal = READ,
) -> Response:
    """Stream records as they are made (server-sent events): the event is their kind.

    Goes on behind ``Last-Event-ID``, without gaps; without it, with what is new.
    """
    service = service_of(request)
    if service.streams >= STREAMS_MOST:
        raise Refusal(429, f"{STREAMS_MOST} streams are open", retry_after="5")
    if last_event_id is not None and not last_event_id.isdecimal():
        raise Refusal(400, f"Last-Event-ID is {last_event_id!r}, and no number that we gave")
    begin = after if last_event_id is None else int(last_event_id)
    newest = await run_in_threadpool(service.control.last_event)
    # A number that is ahead is of a database that is not here any more.
    begin = newest if begin is None else min(begin, newest)

    async def stream() -> AsyncIterator[bytes]:
        seen = begin
        service.streams += 1
        try:
            yield b"retry: 2000\n\n"
            while not service.ending:
                count = service.changed.count  # what comes after it is waited for
                rows = await run_in_threadpool(service.control.events, seen, 500)
                for seq, kind, body in rows:
                    seen = seq
                    yield f"id: {seq}\nevent: {kind}\ndata: {body}\n\n".encode()
                if not rows and not await service.changed.wait(count, SILENT_S):
                    yield b": still here\n\n"
        finally:
            service.streams -= 1

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)
