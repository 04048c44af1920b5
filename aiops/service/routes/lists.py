"""Lists, a page at a time: filters, cursors, and the records that sinks have kept."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from aiops.service.problem import Refusal
from aiops.service.routes.access import JSON, encode, problems, service_of

PAGE_MOST = 1000
PROBLEMS = problems(400, 401, 403, 422, 503)
"""Of a list."""
ONE = PROBLEMS | problems(404)
"""Of one thing by its id."""

Text = Annotated[str | None, Query(max_length=256)]
Id = Annotated[str, Path(max_length=256)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MOST, description="Entries of a page.")]
Cursor = Annotated[
    str | None, Query(max_length=64, description="`next` of the page before; none: the first.")
]


def cursor_of(place: int) -> str:
    """Return a place as a cursor: opaque to clients."""
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> int | None:
    """Return the place a cursor stands for; None: the beginning.

    Raises
    ------
    Refusal
        We made no such cursor.
    """
    if cursor is None:
        return None
    try:
        place = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode())
    except (ValueError, binascii.Error, UnicodeDecodeError):
        place = -1
    if not 0 <= place < 2**62:
        raise Refusal(400, "the cursor is none of ours; take `next` of a page, or leave it out")
    return place


def page(items: Sequence[Any], following: int | None) -> Response:
    """Return a page of a list."""
    found = {"items": items, "next": None if following is None else cursor_of(following)}
    return Response(encode(found), media_type=JSON)


def newest_first(rows: Sequence[tuple[int, dict[str, Any]]], limit: int) -> Response:
    """Return a page of numbered records; a full one has a next."""
    full = len(rows) == limit
    return page([record for _, record in rows], rows[-1][0] if full and rows else None)


def only(**filters: str | None) -> dict[str, str]:
    """Return the filters that were given."""
    return {name: value for name, value in filters.items() if value}


def part_of(
    table: pa.Table, filters: dict[str, str], cursor: str | None, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Return the rows of a page of those that pass, and where the next page begins."""
    for name, value in filters.items():
        table = table.filter(pc.field(name) == value)
    start = place_of(cursor) or 0
    following = start + limit if start + limit < len(table) else None
    return table.slice(start, limit).to_pylist(), following


async def records(
    request: Request,
    kind: str,
    filters: dict[str, str],
    cursor: str | None,
    limit: int,
    *,
    current: bool = False,
) -> Response:
    """Return a page of the records of a kind, newest first; `current`: each thing once."""
    control = service_of(request).control
    rows = await run_in_threadpool(
        control.records, kind, filters, before=place_of(cursor), limit=limit, current=current
    )
    return newest_first(rows, limit)


async def record(request: Request, kind: str, id: str) -> dict[str, Any]:
    """Return a record by its id.

    Raises
    ------
    Refusal
        There is none.
    """
    found = await run_in_threadpool(service_of(request).control.record, kind, id)
    if found is None:
        raise Refusal(404, f"there is no {kind.removesuffix('s')} {id}")
    return found
