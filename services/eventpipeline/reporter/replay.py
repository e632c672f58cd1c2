"""Dead letters sent again, and written out: answers that are streams of JSON lines.

The reporter has no right to publish. It posts to the gateway as any sender does; where the gateway asks for a proof,
whoever asks for the replay brings the sender's key, which is not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from eventpipeline.events import EventValidator
from eventpipeline.mend import MendError, Mending
from eventpipeline.problems import Problem
from eventpipeline.reporter.dead_letters import written_letter
from eventpipeline.reporter.params import SelectedQuery, Vocabulary, parse
from eventpipeline.reporter.session import read_body
from eventpipeline.resend import (
    PATH,
    Checked,
    Failed,
    NotTaken,
    Ready,
    Sign,
    SignatureKind,
    batch_size,
    body_of,
    refused,
    signer,
)  # fmt: skip
from eventpipeline.sources import Source
from eventpipeline.store import NotAllowed, StoreUnavailable, reports
from eventpipeline.store.dead_letter_queries import (
    DeadLetterFilter,
    DeadLetterPayload,
    Position,
    count_selected,
    drop_dead_letter,
    list_dead_letters,
    show_dead_letter,
)  # fmt: skip
from eventpipeline.store.pool import Pool
from eventpipeline.telemetry import Health

if TYPE_CHECKING:
    import httpx2

_MOST_BYTES = 1024 * 1024
_HEADERS = {"vary": "accept", "x-accel-buffering": "no"}
"""A proxy that gathers an answer would hide the progress."""
MEDIA_TYPE = "application/x-ndjson"


class ReplayRequest(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What POST /dead-letters/replay takes; its query says which letters, unless `ids` does."""

    ids: Annotated[list[UUID], msgspec.Meta(max_length=1000)] = []
    set: Annotated[list[str], msgspec.Meta(max_length=100)] = []
    patch: msgspec.Raw = msgspec.Raw()
    rate: Annotated[float, msgspec.Meta(ge=0.1, le=10_000)] = 500.0
    dry_run: bool = False
    drop: bool = False
    sign: SignatureKind | None = None
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)] | None = None


_decoder = msgspec.json.Decoder(ReplayRequest)


class ReplayEndpoints:
    def __init__(self, sources: Sequence[Source], pool: Pool, gateway_url: str | None, health: Health) -> None:
        self._sources, self._vocabulary = sources, Vocabulary.of(sources)
        self._pool, self._health = pool, health
        self._gateway_url = gateway_url
        self._one_at_a_time = asyncio.Lock()

    async def export(self, request: Request) -> Response:
        selected = parse(SelectedQuery, request, self._vocabulary).selected
        # The first page before the answer begins: what is wrong with the store is a status then.
        pages = self._pages(selected, 20)
        first: list[DeadLetterPayload] = await anext(pages, [])

        async def lines() -> AsyncIterator[bytes]:
            async with contextlib.aclosing(pages):
                for letter in first:
                    yield orjson.dumps(written_letter(letter)) + b"\n"
                async for page in pages:
                    for letter in page:
                        yield orjson.dumps(written_letter(letter)) + b"\n"

        return StreamingResponse(lines(), headers=_HEADERS, media_type=MEDIA_TYPE)

    async def replay(self, request: Request) -> Response:
        """Raises Problem 409, 413 or 422 before anything is sent."""
        selected = parse(SelectedQuery, request, self._vocabulary).selected
        asked = _asked(await read_body(request, _MOST_BYTES))
        if asked.ids and selected != DeadLetterFilter():
            raise Problem(422, "give either ids or a selection, not both")
        sign = _sign(asked)
        try:
            mending = Mending.of(asked.set, bytes(asked.patch) or None)
        except MendError as error:
            raise Problem(422, str(error)) from None
        if self._gateway_url is None:
            raise Problem(409, "this reporter knows no gateway; its setting GATEWAY_URL names one")
        async with reports.snapshot(self._pool) as store:
            count = len(asked.ids) or await count_selected(store, selected)
        if self._one_at_a_time.locked():
            raise Problem(409, "another replay is under way here; try again when it is done")
        validators = {source.name: EventValidator(source) for source in self._sources}
        checked = Checked(mending, tuple(validators), validators)
        letters = self._these(asked.ids) if asked.ids else self._pages(selected, batch_size(asked.rate))
        lines = self._lines(asked, checked, sign, letters, count)
        return StreamingResponse(lines, headers=_HEADERS, media_type=MEDIA_TYPE)

    async def _pages(self, selected: DeadLetterFilter, size: int) -> AsyncGenerator[list[DeadLetterPayload]]:
        """The newest first; what is refused meanwhile is newer, and not among them."""
        after: Position | None = None
        while True:
            async with reports.snapshot(self._pool) as store:
                found = await list_dead_letters(store, selected, size, after)
                shown = [await show_dead_letter(store, one.id) for one in found]
            if not found:
                return
            after = found[-1].position
            yield [one for one in shown if one]

    async def _these(self, ids: Sequence[UUID]) -> AsyncGenerator[list[DeadLetterPayload]]:
        for identity in ids:
            async with reports.snapshot(self._pool) as store:
                letter = await show_dead_letter(store, identity)
            yield [letter] if letter else []

    async def _lines(
        self,
        asked: ReplayRequest,
        checked: Checked,
        sign: Sign,
        pages: AsyncIterator[list[DeadLetterPayload]],
        count: int,
    ) -> AsyncIterator[bytes]:
        """A line for each event that is refused still, one after each request, and a last one with the sums.

        `count`: how many letters `pages` has, but for what comes and goes meanwhile.
        Starlette ends it at the next line or wait when the client is gone.
        """
        # Here, since a reporter that replays nothing does without its 10 MB.
        import httpx2

        sums, seen, started = {"accepted": 0, "failed": 0}, 0, time.monotonic()
        error: str | None = None
        async with self._one_at_a_time, httpx2.AsyncClient(timeout=60.0, trust_env=False) as client:
            try:
                async for page in pages:
                    await asyncio.sleep(max(0.0, started + seen / asked.rate - time.monotonic()))
                    if self._health.draining:
                        raise NotTaken("the reporter stops; replay again")
                    seen += len(page)
                    accepted, failed = await self._send(client, asked, sign, _checked(checked, page))
                    for one in failed:
                        yield _line({"refused": one.written()})
                    sums = {"accepted": sums["accepted"] + len(accepted), "failed": sums["failed"] + len(failed)}
                    yield _line({"progress": {**sums, "of": count}, "accepted": accepted})
            except (NotTaken, NotAllowed, StoreUnavailable) as told:
                error = str(told)
        yield _line({"done": error is None, **sums, "dryRun": asked.dry_run, "error": error})

    async def _send(
        self, client: httpx2.AsyncClient, asked: ReplayRequest, sign: Sign, found: Sequence[Ready | Failed]
    ) -> tuple[list[str], list[Failed]]:
        """The ids of what was accepted, and what is refused still. Raises NotTaken, NotAllowed, StoreUnavailable."""
        ready = [one for one in found if isinstance(one, Ready)]
        still = await self._post(client, sign, ready) if ready and not asked.dry_run else {}
        accepted = [one.id for one in ready if one.id not in still]
        if asked.drop and not asked.dry_run:
            for identity in accepted:
                await drop_dead_letter(self._pool, UUID(identity))
        return accepted, [*(one for one in found if isinstance(one, Failed)), *still.values()]

    async def _post(self, client: httpx2.AsyncClient, sign: Sign, ready: Sequence[Ready]) -> dict[str, Failed]:
        import httpx2

        body = body_of(ready)
        headers = {"content-type": "application/json", **sign(body)}
        try:
            answer = await client.post(f"{self._gateway_url}{PATH}", content=body, headers=headers)
        except httpx2.HTTPError as error:
            raise NotTaken(f"the gateway does not answer: {type(error).__name__}; try again") from error
        return refused(answer.status_code, answer.content, ready)


def _checked(checked: Checked, page: Sequence[DeadLetterPayload]) -> list[Ready | Failed]:
    return [_one(checked, letter) for letter in page]


def _one(checked: Checked, letter: DeadLetterPayload) -> Ready | Failed:
    identity, kept = str(letter.id), len(letter.payload)
    if kept < letter.payload_bytes:
        told = f"only the first {kept:,} of its {letter.payload_bytes:,} bytes were kept"
        return Failed(identity, letter.event_id, letter.reason, told)
    try:
        return checked(identity, letter.payload)
    except MendError as error:
        return Failed(identity, letter.event_id, letter.reason, str(error))


def _asked(body: bytes) -> ReplayRequest:
    try:
        return _decoder.decode(body or b"{}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(422, f"the body is no JSON object of a replay: {error}") from None


def _sign(asked: ReplayRequest) -> Sign:
    if (asked.sign is None) != (asked.key is None):
        raise Problem(422, "sign and key are given together")
    if asked.sign is None or asked.key is None:
        return lambda _body: {}
    try:
        return signer(asked.sign, asked.key.encode())
    except (ValueError, UnicodeEncodeError):
        raise Problem(422, f"key is none of {asked.sign}") from None


def _line(told: dict[str, Any]) -> bytes:
    return orjson.dumps(told) + b"\n"
