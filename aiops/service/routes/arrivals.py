"""What came lately, and what the engine makes of it: for `aiops connect` and whoever adds names."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.routing import APIRoute
from pydantic import AwareDatetime
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aiops.alerts.finding import isoformat
from aiops.connectors.wire.packing import unpack
from aiops.engine.engine import Engine
from aiops.service import models
from aiops.service.coverage import Coverage, feeding
from aiops.service.keys import Principal
from aiops.service.roles import Role
from aiops.service.routes import ingest
from aiops.service.routes.access import AUTH, JSON, asked, encode, needs, problems, service_of
from aiops.service.service import Service
from aiops.telemetry.aside import REASONS
from aiops.telemetry.dialects import suggestion
from aiops.telemetry.normalised import NO_TIME
from aiops.telemetry.open_metrics import split_name

PROTOCOLS = frozenset(route.name for route in ingest.router.routes if isinstance(route, APIRoute))
router = APIRouter(tags=["results"], dependencies=[AUTH])
READ = needs(Role.READ)
LOOK_PAYLOADS = 64
LOOK_BYTES = 8 << 20
"""So much of what came is looked at for one answer, the newest first."""
LISTED = 1000
"""Devices and names that one answer lists."""


@router.get(
    "/v1/ingest",
    response_model=models.Ingested,
    responses=problems(400, 401, 403, 422),
    summary="What came lately, which names are known, and what detectors lack.",
)
async def ingested(
    request: Request,
    by: Annotated[
        list[str] | None, Query(max_length=16, description="Only by these protocols.")
    ] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Only what came after it, such as `now` before.")
    ] = None,
    who: Principal = READ,
) -> Response:
    """Look at the newest payloads in the log: at most 64, of the last 256 of each protocol.

    Names, devices and what is set aside are those of the payloads that were looked at; ``payloads``
    says of how many. A detector also has what the engine has ever seen (``elsewhere``).
    """
    service = service_of(request)
    seen = await asked(request, "metrics seen", metrics_seen)
    told = await run_in_threadpool(_ingested, service, by or [], since, seen)
    return Response(encode(told), media_type=JSON)


def metrics_seen(engine: Engine) -> frozenset[str]:
    """Return the canonical metrics that an engine has taken of anybody."""
    return frozenset(
        name.removeprefix("last_ts/").partition("/")[0]
        for name, stamps in engine.fleet.series.arrays.items()
        if name.startswith("last_ts/") and bool((stamps != NO_TIME).any())
    )


def _ingested(
    service: Service, by: list[str], since: datetime | None, seen: frozenset[str]
) -> dict[str, Any]:
    arrivals = service.arrivals
    given = dict.fromkeys(rule.detector for rule in service.engine.given)
    watched = {split_name(name)[0] for name in service.engine.watched}
    begin = 0 if since is None else int(since.timestamp() * 1_000_000) * 1000
    came = arrivals.since(begin, by)
    found, looked = Coverage(), 0
    room = LOOK_BYTES
    for arrival in came[:LOOK_PAYLOADS]:
        number, record = next(service.log.read(arrival.seq - 1, room=1), (0, None))
        if record is None or number != arrival.seq:
            continue  # the log has forgotten it
        room -= len(record.body)
        if room < 0 and looked:
            break
        looked += 1
        for table in unpack(record.body):
            found.add(table, service.settings.engine.columns)
    return {
        "now": isoformat(time.time_ns()),
        "protocols": [
            {
                "protocol": protocol,
                "rows": rows,
                "last": isoformat(arrivals.last_ns(protocol)),
            }
            for protocol, rows in sorted(arrivals.rows.items())
            if not by or protocol in by
        ],
        "brokers": [
            {"broker": broker, "connected": connected.is_set()}
            for broker, connected in service.brokers.items()
        ],
        "errors": [
            {"protocol": protocol, "status": status, "count": n}
            for (protocol, status), n in sorted(service.errors.copy().items())
            if protocol in by or (not by and protocol in PROTOCOLS)
        ],
        "payloads": {"came": len(came), "looked_at": looked, "rows": found.rows},
        "devices": {
            "count": len(found.devices),
            "items": [
                {"device_id": device, "rows": rows}
                for device, rows in found.devices.most_common(LISTED)
            ],
        },
        "known": [
            {"name": one.name, "metrics": list(one.metrics), "values": one.values}
            for one in found.known[:LISTED]
        ],
        "unknown": [
            {
                "name": name,
                "values": n,
                "hint": suggestion(name).removeprefix("; "),
                "watched": name in watched,
            }
            for name, n in found.unknown.most_common(LISTED)
        ],
        "set_aside": [
            {"reason": reason, "count": n, "why": REASONS[reason]}
            for reason, n in found.set_aside.most_common()
        ],
        "detectors": [
            {
                "detector": one.detector,
                "has": list(one.has),
                "elsewhere": sorted(set(one.has) - found.canonical),
                "lacks": [list(group) for group in one.lacks],
                "add": one.add,
            }
            for one in feeding(given, found.canonical | seen)
        ],
    }
