"""How answers leave: JSON or CSV, as the request prefers, and never from a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import orjson
from starlette.requests import Request
from starlette.responses import Response

from eventpipeline.problems import Problem
from eventpipeline.reporter import tables
from eventpipeline.store import StoreUnavailable

_HEADERS = {"vary": "accept"}
_RETRY_AFTER_SECONDS = 5


def json_response(body: Any) -> Response:
    return Response(orjson.dumps(body), headers=_HEADERS, media_type="application/json")


def report_response(
    request: Request, name: str, form: Literal["json", "csv"] | None, body: Any, table: Callable[[], str]
) -> Response:
    """`body` as JSON, or `table()` as CSV: what `form` says, or else what the request would rather accept."""
    if form == "json" or (form is None and not prefers_csv(request.headers.get("accept", ""))):
        return json_response(body)
    headers = _HEADERS | {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Response(table(), headers=headers, media_type=f"{tables.MEDIA_TYPE}; charset=utf-8")


def prefers_csv(accept: str) -> bool:
    """Whether an Accept header (RFC 9110, 12.5.1) names text/csv and gives it more weight than JSON, or the same
    and names it first."""
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        weights.setdefault(media_type, _weight(parameters))
    csv = next((weights[name] for name in (tables.MEDIA_TYPE, "text/*") if name in weights), 0.0)
    json = next((weights[name] for name in ("application/json", "application/*", "*/*") if name in weights), 0.0)
    if csv == json:
        order = list(weights)
        return csv > 0 and order[0] == tables.MEDIA_TYPE
    return csv > json


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


async def on_store_unavailable(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreUnavailable)
    return Problem(503, str(error), retry_after=_RETRY_AFTER_SECONDS).response()
