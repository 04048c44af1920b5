"""Telemetry in: each protocol with its own content types, answers and errors.

Every route decodes by a codec of ``connectors/wire`` and hands over to `Service.take`; what differs
is what its senders expect to hear.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from aiops.connectors.wire import (
    arrow,
    collectd,
    influx,
    ndjson,
    otlp,
    remote_write,
    senml,
)
from aiops.connectors.wire.decoded import Decoded
from aiops.connectors.wire.limits import unpack
from aiops.errors import Busy, LogError, PayloadError, TooLarge
from aiops.service.admission import SLOW_S
from aiops.service.keys import Principal
from aiops.service.problem import Refusal, refusal_of
from aiops.service.roles import Role
from aiops.service.routes.access import AUTH, JSON, encode, needs, problems, service_of
from aiops.service.service import Taken

ARROW = "application/vnd.apache.arrow.stream"
NDJSON = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
SENML = "application/senml+json"
PROTOBUF = "application/x-protobuf"
TEXT = "text/plain"

router = APIRouter(tags=["ingest"], dependencies=[AUTH])
INGEST = needs(Role.INGEST)
Decode = Callable[[bytes, int], Decoded]


PROBLEMS = problems(400, 401, 403, 413, 415, 429, 503)
PARTLY = PROBLEMS | {400: {"description": "Cannot be read, or not all of it was taken."}}
"""Of a payload that is taken in part: told as clients of the protocol expect it."""


def _body(*types: str) -> dict[str, Any]:
    """Return what the OpenAPI document says of a body that is bytes."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in types}
    return {"requestBody": {"required": True, "content": content}}


async def _take(
    request: Request,
    who: Principal,
    decode: Decode,
    *,
    encoding: str = "identity",
    as_is: bool = False,
) -> Taken:
    """Read the body of a request within its limits and take it.

    `encoding` holds where none is told. `as_is`: the unpacked body is itself a frame of the log.
    """
    service = service_of(request)
    limits = service.limits
    encoding = request.headers.get("content-encoding", encoding).strip().lower()
    declared = _declared(request, limits.body_bytes)
    with service.admission.enter(who.name, declared) as place:
        service.check_room()
        slow = asyncio.get_running_loop().call_later(SLOW_S, place.wait)
        try:
            body = await _read(request, limits.body_bytes)
        finally:
            slow.cancel()
        place.come()
        now = time.time_ns()

        def decoded() -> tuple[Decoded, bytes | None]:
            plain = unpack(body, encoding, limits)
            return decode(plain, now), plain if as_is else None

        protocol = request.scope["route"].name
        key = request.headers.get("idempotency-key", "")[:128]
        return await service.take(who, decoded, protocol, key)


def _declared(request: Request, most: int) -> int:
    """Return how large the body says it is."""
    told = request.headers.get("content-length")
    if told is None:
        return 64 * 1024  # a guess: it comes in chunks
    size = int(told) if told.isdecimal() else -1
    if size < 0:
        raise PayloadError(f"Content-Length is {told[:20]!r}, and no number")
    if size > most:
        raise TooLarge(f"the body has {size} bytes, and at most {most} are taken")
    return max(size, 1)


async def _read(request: Request, most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise TooLarge(f"the body has more than {most} bytes, which is all that is taken")
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _media_type(request: Request) -> tuple[str, dict[str, str]]:
    """Return the content type and its parameters."""
    kind, *rest = request.headers.get("content-type", "").split(";")
    pairs = (part.partition("=") for part in rest)
    return kind.strip().lower(), {k.strip().lower(): v.strip().strip('"') for k, _, v in pairs}


def _told(taken: Taken) -> dict[str, Any]:
    return {
        "rows": taken.rows,
        "seq": taken.seq,
        "duplicate": taken.duplicate,
        "refused": [
            {"reason": one.reason, "rows": one.count, "example": one.example}
            for one in taken.refused
        ],
    }


@router.post(
    "/v1/telemetry",
    openapi_extra=_body(ARROW, *NDJSON, JSON, SENML),
    responses=PROBLEMS | problems(409),
    summary="Frames of your own making (an Arrow IPC stream, NDJSON, JSON), or SenML.",
)
async def telemetry(request: Request, who: Principal = INGEST) -> Response:
    """Take wide or long frames; columns are guessed from names, as by `aiops run`.

    The same rows with the same times are taken once, however often they are sent; an
    ``Idempotency-Key`` tells what is to count as the same, and another body under the same key is
    refused (409). Rows that cannot be taken are listed in ``refused``.
    """
    kind, _ = _media_type(request)
    limits = service_of(request).limits
    if kind == ARROW:
        taken = await _take(
            request, who, lambda body, now: arrow.decode(body, now, limits), as_is=True
        )
    elif kind in NDJSON or kind == JSON:
        codec = ndjson.decode_json if kind == JSON else ndjson.decode
        taken = await _take(request, who, lambda body, now: codec(body, now, limits))
    elif kind == SENML:
        taken = await _take(request, who, lambda body, now: senml.decode(body, now, limits))
    else:
        known = f"{ARROW}, {NDJSON[0]}, {JSON} or {SENML}"
        raise Refusal(415, f"content type {kind!r}; send {known}")
    return Response(encode(_told(taken)), media_type=JSON)


# Prometheus ----------------------------------------------------------------------------------

V1 = "prometheus.WriteRequest"
V2 = "io.prometheus.write.v2.Request"


@router.post(
    "/api/v1/write",
    status_code=204,
    response_class=Response,
    openapi_extra=_body(PROTOBUF),
    responses=PARTLY,
    summary="Prometheus remote write 1.0 and 2.0.",
)
async def prometheus(request: Request, who: Principal = INGEST) -> Response:
    """Take samples; histograms become their count and sum, exemplars are counted and left out.

    Answers 204; of 2.0 with what was written in ``X-Prometheus-Remote-Write-*-Written``. If some
    of the samples cannot be taken the others are, and the answer is 400, which a sender does not
    repeat. Who has to wait is told 503: on 429 Prometheus gives up, unless it is told otherwise.
    """
    kind, parameters = _media_type(request)
    proto = parameters.get("proto", V1)
    if kind != PROTOBUF or proto not in (V1, V2):
        raise Refusal(415, f"content type {kind!r} of {proto!r}; send {PROTOBUF} of {V1} or {V2}")
    if request.headers.get("content-encoding", "snappy").lower() != "snappy":
        raise Refusal(415, "remote write is compressed with snappy, and nothing else")
    limits = service_of(request).limits
    codec = remote_write.decode_v1 if proto == V1 else remote_write.decode_v2
    try:
        taken = await _take(
            request, who, lambda body, now: codec(body, now, limits), encoding="snappy"
        )
    except Busy as error:
        refused = refusal_of(error)
        refused.status = 503
        raise refused from error
    return _written(proto, taken)


def _written(proto: str, taken: Taken) -> Response:
    decoded = taken.decoded
    headers = {}
    if proto == V2:
        prefix = "X-Prometheus-Remote-Write-"
        kept = max(
            0, decoded.samples - sum(one.count for one in taken.refused[len(decoded.refused) :])
        )
        headers = {
            f"{prefix}Samples-Written": str(kept),
            f"{prefix}Histograms-Written": str(decoded.histograms),
            f"{prefix}Exemplars-Written": "0",
        }
    if taken.refused:
        said = "; ".join(f"{one.count} x {one.reason} ({one.example})" for one in taken.refused[:5])
        return Response(f"partly taken: {said}\n", 400, headers, TEXT)
    return Response(status_code=204, headers=headers)


# OpenTelemetry -------------------------------------------------------------------------------


def _otlp(
    path: str, decode: Callable[..., Decoded], respond: Callable[[Decoded, bool], bytes], what: str
) -> None:
    @router.post(
        path,
        openapi_extra=_body(PROTOBUF, JSON),
        responses=problems(401, 403) | {400: {}, 413: {}, 415: {}, 429: {}, 503: {}},
        summary=f"OTLP/HTTP {what}, protobuf or JSON.",
        name=f"otlp_{what}",
    )
    async def route(request: Request, who: Principal = INGEST) -> Response:
        kind, _ = _media_type(request)
        as_json = kind == JSON
        if kind not in (PROTOBUF, JSON):
            raise Refusal(415, f"content type {kind!r}; send {PROTOBUF} or {JSON}")
        limits = service_of(request).limits
        try:
            taken = await _take(
                request, who, lambda body, now: decode(body, now, limits, json=as_json)
            )
        except (PayloadError, Busy, LogError) as error:
            refused = refusal_of(error)
            body = otlp.error(3 if refused.status < 429 else 14, refused.detail, as_json)
            return Response(body, refused.status, refused.headers, kind)
        whole = Decoded(taken.decoded.tables, taken.refused, taken.decoded.samples)
        return Response(respond(whole, as_json), media_type=kind)


_otlp("/v1/metrics", otlp.decode_metrics, otlp.metrics_response, "metrics")
_otlp("/v1/logs", otlp.decode_logs, otlp.logs_response, "logs")


# Influx --------------------------------------------------------------------------------------

PRECISIONS = {"n": "ns", "u": "us"}


async def _influx(request: Request, who: Principal) -> Response:
    told = request.query_params.get("precision", "ns")
    precision = PRECISIONS.get(told, told)
    if precision not in ("ns", "us", "ms", "s", "m", "h"):
        raise Refusal(400, f"precision {told!r}; there are ns, us, ms, s, m and h")
    limits = service_of(request).limits
    taken = await _take(
        request, who, lambda body, now: influx.decode(body, now, limits, precision=precision)
    )
    if not taken.refused:
        return Response(status_code=204)
    said = "; ".join(f"{one.reason} ({one.example})" for one in taken.refused[:5])
    dropped = sum(one.count for one in taken.refused)
    body = {"code": "invalid", "error": f"partial write: {said} dropped={dropped}"}
    return Response(encode(body | {"message": body["error"]}), 400, media_type=JSON)


def _influx_route(path: str, name: str) -> None:
    async def route(request: Request, who: Principal = INGEST) -> Response:
        """Take lines; those that cannot be read are told (400), and the others are taken."""
        return await _influx(request, who)

    router.add_api_route(
        path,
        route,
        methods=["POST"],
        name=name,
        status_code=204,
        response_class=Response,
        openapi_extra=_body(TEXT),
        responses=PARTLY,
        summary="Influx line protocol, as Telegraf writes it.",
    )


_influx_route("/api/v2/write", "influx_v2")
_influx_route("/write", "influx_v1")


@router.get("/ping", status_code=204, response_class=Response, summary="For clients of Influx.")
async def ping() -> Response:
    """Answer that somebody is here."""
    return Response(status_code=204, headers={"X-Influxdb-Version": "aiops"})


# collectd ------------------------------------------------------------------------------------


@router.post(
    "/collectd",
    openapi_extra=_body(JSON),
    responses=PROBLEMS,
    summary="collectd's write_http, Format JSON.",
)
async def collectd_json(request: Request, who: Principal = INGEST) -> Response:
    """Take value lists."""
    limits = service_of(request).limits
    taken = await _take(request, who, lambda body, now: collectd.decode(body, now, limits))
    return Response(encode(_told(taken)), media_type=JSON)
