"""Signing in on the page: the key goes into a cookie that no script can read.

HttpOnly, so that a hole in the page gives nobody the key; SameSite=Strict and a look at Origin, so that no other page
can use it. The cookie is the key and not a token made from it: what is kept here are hashes, and a token that could be
checked with them could be made by whoever reads them. It ends with the browser, or with the key.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from eventpipeline.problems import Problem
from eventpipeline.readers import Role
from eventpipeline.reporter.access import COOKIE, Access
from eventpipeline.reporter.responses import json_response

_MOST_BYTES = 16 * 1024
_MOST_IN_COOKIE = 3_800
"""Browsers throw cookies above 4 KiB away without a word."""


class _SignIn(msgspec.Struct, forbid_unknown_fields=True):
    key: str


_decoder = msgspec.json.Decoder(_SignIn)


class SessionEndpoint:
    def __init__(self, access: Access) -> None:
        self._access = access

    async def any(self, request: Request) -> Response:
        match request.method:
            case "POST":
                return await self._sign_in(request)
            case "DELETE":
                return Response(status_code=204, headers={"set-cookie": f"{_cookie(request, '')}; Max-Age=0"})
            case _:
                return await self._show(request)

    async def _show(self, request: Request) -> Response:
        """Who asks: `{"open", "role"}`; the role is null where nothing proves one. Raises Problem 503."""
        try:
            role = await self._access.role(request) if _brings_proof(request) or self._access.is_open else None
        except Problem as problem:
            if problem.status != HTTPStatus.UNAUTHORIZED:
                raise
            role = None
        return self._answer(role)

    async def _sign_in(self, request: Request) -> Response:
        """Signs in with `{"key"}`. Raises Problem 401, 403, 413 or 422."""
        key = _key(await read_body(request, _MOST_BYTES))
        role = await self._access.role(_with(request, key))
        if role is None:
            raise Problem(403, "this needs the role read")
        response = self._answer(role)
        if not self._access.is_open:
            response.headers["set-cookie"] = _cookie(request, key)
        return response

    def _answer(self, role: Role | None) -> Response:
        return json_response({"open": self._access.is_open, "role": role})


def _brings_proof(request: Request) -> bool:
    return COOKIE in request.cookies or "authorization" in request.headers


async def read_body(request: Request, most: int) -> bytes:
    """The body of `request`. Raises Problem 413 where it has more than `most` bytes."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise Problem(413, f"the body has more than {most} bytes")
    return bytes(body)


def _key(body: bytes) -> str:
    try:
        key = _decoder.decode(body).key.strip()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Problem(422, 'the body must be JSON such as {"key": "…"}') from None
    if len(key) > _MOST_IN_COOKIE:
        raise Problem(422, f"the page takes keys of at most {_MOST_IN_COOKIE} characters; send this in a header")
    return key


def _with(request: Request, key: str) -> Request:
    """The request as if it brought `key` in a header."""
    try:
        header = f"Bearer {key}".encode("latin-1")
    except UnicodeEncodeError:
        header = b"Bearer"
    scope: dict[str, Any] = dict(request.scope)
    scope["headers"] = [(b"authorization", header)]
    return Request(scope)


def _cookie(request: Request, key: str) -> str:
    # A proxy that ends TLS says so; who says it without one only shuts himself out.
    secure = "https" in (request.scope["scheme"], Headers(scope=request.scope).get("x-forwarded-proto", ""))
    return f"{COOKIE}={key}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"
