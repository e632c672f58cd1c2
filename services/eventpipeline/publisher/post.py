"""One post of a batch, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import httpx2
import msgspec

from eventpipeline.publisher.ledger import Refusal, Request


def post_client(timeout: httpx2.Timeout, transport: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncClient:
    """As many connections as posts under way. `transport` stands in for the network."""
    # An idle connection is given up before a server would do it, or a post could meet its closing.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)
    return httpx2.AsyncClient(limits=limits, timeout=timeout, trust_env=False, transport=transport)


async def post(
    client: httpx2.AsyncClient, url: str, body: bytes, request: Request, headers: Mapping[str, str]
) -> Request:
    """The request with its answer, or with why there is none; how long it took is left to the caller."""
    try:
        response = await client.post(url, content=body, headers={"content-type": "application/json", **headers})
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        return replace(request, sent=False, failure=_text(error))
    except httpx2.TransportError as error:
        return replace(request, failure=_text(error))
    return _answered(request, response)


class _Error(msgspec.Struct, rename="camel"):
    index: int
    reason: str
    event_id: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    accepted: int = 0
    rejected: int = 0
    errors: list[_Error] = []
    correlation_id: str | None = None


def _answered(request: Request, response: httpx2.Response) -> Request:
    try:
        answer = msgspec.json.decode(response.content, type=_Answer)
    except msgspec.MsgspecError as error:
        return replace(request, status=response.status_code, failure=f"the answer cannot be read: {error}")
    return replace(
        request,
        status=response.status_code,
        accepted=answer.accepted,
        rejected=answer.rejected,
        errors=tuple(Refusal(error.index, error.event_id, error.reason) for error in answer.errors),
        correlation_id=answer.correlation_id,
    )


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
