"""Dead letters: a page of them, one with what was sent, and dropping them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from eventpipeline.problems import Problem
from eventpipeline.reporter.params import DeadLettersQuery, DropQuery, NoQuery, Vocabulary, parse, write_cursor
from eventpipeline.reporter.responses import json_response
from eventpipeline.reporter.times import written
from eventpipeline.sources import Source
from eventpipeline.store import NotAllowed, reports
from eventpipeline.store.dead_letter_queries import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterPayload,
    drop_dead_letter,
    drop_dead_letters,
    list_dead_letters,
    show_dead_letter,
)  # fmt: skip
from eventpipeline.store.pool import Pool

_OTHER_DOORS = {"replay": "POST", "export": "GET, HEAD"}
"""What has a route of its own for these methods, and is the id of nothing for others."""


class DeadLetterEndpoints:
    def __init__(self, sources: Sequence[Source], pool: Pool) -> None:
        self._vocabulary = Vocabulary.of(sources)
        self._pool = pool

    async def several(self, request: Request) -> Response:
        return await (self._drop_selected(request) if request.method == "DELETE" else self._list(request))

    async def _list(self, request: Request) -> Response:
        query = parse(DeadLettersQuery, request, self._vocabulary)
        async with reports.snapshot(self._pool) as store:
            # One more than asked for tells whether there is a next page.
            found = await list_dead_letters(store, query.selected, query.limit + 1, query.after)
        page = found[: query.limit]
        more = len(found) > query.limit
        return json_response(
            {"items": [_item(letter) for letter in page], "next": write_cursor(page[-1].position) if more else None}
        )

    async def _drop_selected(self, request: Request) -> Response:
        query = parse(DropQuery, request, self._vocabulary)
        if query.selected == DeadLetterFilter() and not query.all:
            raise Problem(422, "say which to drop, by a parameter such as reason, or all=true")
        try:
            return json_response({"dropped": await drop_dead_letters(self._pool, query.selected)})
        except NotAllowed as error:
            raise Problem(403, str(error)) from error

    async def one(self, request: Request) -> Response:
        if allowed := _OTHER_DOORS.get(request.path_params["id"]):
            raise Problem(405, "Method Not Allowed", headers={"allow": allowed})
        parse(NoQuery, request, self._vocabulary)
        try:
            wanted = UUID(request.path_params["id"])
        except ValueError:
            raise _not_found(request.path_params["id"]) from None
        return await (self._drop(wanted) if request.method == "DELETE" else self._show(wanted))

    async def _show(self, wanted: UUID) -> Response:
        async with reports.snapshot(self._pool) as store:
            letter = await show_dead_letter(store, wanted)
        if letter is None:
            raise _not_found(str(wanted))
        return json_response(written_letter(letter))

    async def _drop(self, wanted: UUID) -> Response:
        try:
            dropped = await drop_dead_letter(self._pool, wanted)
        except NotAllowed as error:
            raise Problem(403, str(error)) from error
        if not dropped:
            raise _not_found(str(wanted))
        return Response(status_code=204)


def _not_found(identity: str) -> Problem:
    return Problem(404, f"there is no dead letter {identity}")


def _item(letter: DeadLetter) -> dict[str, Any]:
    """As it is listed. No retention takes a dead letter away, so it has no time at which it goes."""
    return {
        "id": str(letter.id),
        "receivedAt": written(letter.received_at),
        "source": letter.source,
        "funnelStage": letter.funnel_stage,
        "eventType": letter.event_type,
        "eventId": letter.event_id,
        "reason": letter.reason,
        "detail": letter.detail,
        "correlationId": letter.correlation_id,
        "payloadBytes": letter.payload_bytes,
        "expiresAt": None,
    }


def written_letter(letter: DeadLetterPayload) -> dict[str, Any]:
    """With its bytes, as text or as base64."""
    return {**_item(letter), **_payload(letter.payload), "payloadSha256": letter.payload_sha256}


def _payload(payload: bytes) -> dict[str, str]:
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload": base64.b64encode(payload).decode(), "payloadEncoding": "base64"}
