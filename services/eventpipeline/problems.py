"""Errors over HTTP: RFC 9457 problem details, made in one place for both doors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from eventpipeline.telemetry import CORRELATION_HEADER, SECURITY_HEADERS, correlation_id, log

MEDIA_TYPE = "application/problem+json"

_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Unprocessable content",
    429: "Too many requests",
    500: "Internal error",
    503: "Service unavailable",
}


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """An answer that says what is wrong, raised anywhere below a door.

    `extension` members stand beside the standard ones in the body.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        **extension: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.headers = headers or {}
        self.extension = extension

    def response(self) -> Response:
        body = {
            "type": "about:blank",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            "correlationId": correlation_id.get(),
            **self.extension,
        }
        headers = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        return Response(orjson.dumps(body), self.status, {**self.headers, **headers}, MEDIA_TYPE)


async def on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """The framework's own refusals: no such path, no such method."""
    assert isinstance(error, HTTPException)
    response = Problem(error.status_code, error.detail).response()
    response.headers.update(error.headers or {})
    return response


async def on_error(_request: Request, error: Exception) -> Response:
    log("http").error("unexpected error", exc_info=error)
    response = Problem(500, "An unexpected error; the log has it under this correlation id.").response()
    # This handler may stand outside of the middleware that gives all other answers these.
    response.headers.update({**SECURITY_HEADERS, CORRELATION_HEADER: correlation_id.get() or ""})
    return response


async def on_disconnect(_request: Request, _error: Exception) -> Response:
    """Whoever sent a part of a body and left: no error of ours, and nobody reads the answer."""
    return Problem(400, "the body did not come whole").response()


HANDLERS: Any = {
    Problem: on_problem,
    ClientDisconnect: on_disconnect,
    HTTPException: on_http_exception,
    Exception: on_error,
}
