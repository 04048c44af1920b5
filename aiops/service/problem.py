"""Errors as RFC 9457 has them: ``application/problem+json``, and for OTLP as that asks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from aiops.errors import (
    ActionError,
    AiopsError,
    Busy,
    FileError,
    InputError,
    KeyReused,
    LogError,
    LogFull,
    NotAllowed,
    NotAuthenticated,
    TooLarge,
)

MEDIA_TYPE = "application/problem+json"
KINDS: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "Nobody known sent the request",
    403: "This is not allowed",
    404: "There is no such thing",
    405: "This cannot be done here",
    408: "The request took too long",
    409: "This contradicts what is there",
    413: "The request is too large",
    415: "The content is of a type that is not known here",
    422: "The request says what cannot be",
    429: "More is asked than can be served now",
    500: "The service failed",
    503: "The service cannot take this now",
}
"""Status -> title, the same for each problem of its kind."""


class Refusal(Exception):
    """A request is answered with a problem."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def refusal_of(error: AiopsError) -> Refusal:
    """Return how an error of ours is told to a client."""
    said = " ".join(str(error).split())
    match error:
        case NotAuthenticated():
            return Refusal(401, said, www_authenticate='Bearer realm="aiops"')
        case NotAllowed():
            return Refusal(403, said)
        case KeyReused():
            return Refusal(409, said)
        case TooLarge():
            return Refusal(413, said)
        case Busy():
            return Refusal(429, said, retry_after=f"{max(1, round(error.retry_after_s))}")
        case LogFull():
            return Refusal(503, said, retry_after="30")
        case LogError():  # it says where the log is: that is for who reads ours
            return Refusal(503, "the log takes nothing more now", retry_after="10")
        case FileError():  # of ours: no request names a file
            return Refusal(500, "the service failed; its log says more")
        case InputError():
            return Refusal(400, said)
        case ActionError():
            return Refusal(422, said)
    return Refusal(500, "the service failed; its log says more")


def problem(refusal: Refusal) -> Response:
    """Return a problem as a response."""
    body = {
        "type": f"urn:aiops:problem:{refusal.status}",
        "title": KINDS.get(refusal.status, "The request failed"),
        "status": refusal.status,
        "detail": refusal.detail.encode("utf-8", "replace").decode(),  # of whatever was asked
    }
    return Response(msgspec.json.encode(body), refusal.status, refusal.headers, MEDIA_TYPE)
