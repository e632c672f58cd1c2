"""Request bodies: read within bounds, decompressed, and cut into events without parsing them.

Problem 413    the body is larger than the limit, before or after decompression
Problem 415    the content type or encoding is not taken
Problem 400    the body is cut short, is not gzip, or is not JSON
Problem 408    nothing more of the body comes
Problem 503    too many bytes of bodies are held already
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from starlette.requests import Request

from eventpipeline.gateway.cloudevents import BATCHED, STRUCTURED, is_binary
from eventpipeline.gateway.patience import within
from eventpipeline.problems import Problem

MAX_EVENTS = 250_000
"""The most events in one body, so that a body of tiny elements cannot fill the memory."""

_MAX_COMMAS = 4_000_000
"""Above it a body could have so many elements that they are cut one at a time, which is slow and needs no memory."""
_STALL_SECONDS = 30.0
"""How long a body may stand still; one that never comes would keep its announced bytes from all others."""

_PIECE = 1024 * 1024
_RETRY_AFTER = 2
JSON = "application/json"
_NDJSON = "application/x-ndjson"
MEDIA_TYPES = (JSON, _NDJSON, STRUCTURED, BATCHED)
_BOM = b"\xef\xbb\xbf"


class InFlight:
    """The bytes of all bodies that are held at one time, against a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0

    def take(self, count: int) -> None:
        """Raises Problem 503 where `count` more bytes would be over the limit."""
        if self.bytes + count > self.limit:
            raise Problem(
                503, f"{self.bytes} bytes of requests are in flight already; try again", retry_after=_RETRY_AFTER
            )
        self.bytes += count


class Body:
    """One request's body. Leaving the context gives its bytes back to `InFlight`."""

    def __init__(
        self, request: Request, in_flight: InFlight, max_bytes: int, *, stall_seconds: float = _STALL_SECONDS
    ) -> None:
        self._request = request
        self._stall_seconds = stall_seconds
        self._in_flight = in_flight
        self._max_bytes = max_bytes
        self._taken = 0
        self.media_type = _media_type(request)
        self.encoding = request.headers.get("content-encoding", "identity").strip().lower()

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._in_flight.bytes -= self._taken

    def _take(self, count: int) -> None:
        if self._taken + count > self._max_bytes:
            raise Problem(413, f"the body has more than {self._max_bytes} bytes; send fewer events in one request")
        self._in_flight.take(count)
        self._taken += count

    async def read(self) -> bytes:
        """The whole body, decompressed.

        What the headers say of its length is refused before a byte of it is read.
        """
        self._check_encoding()
        announced = self._request.headers.get("content-length", "")
        if self.encoding == "gzip":
            if announced.isdecimal() and int(announced) > self._max_bytes:
                raise Problem(413, f"the body has more than {self._max_bytes} bytes; send fewer events in one request")
            return b"".join([piece async for piece in self._gunzipped(self._raw())])
        return await self._received(announced)

    async def read_raw(self) -> bytes:
        """The whole body as its bytes came; `decoded` makes of it what `read` would have given."""
        self._check_encoding()
        return await self._received(self._request.headers.get("content-length", ""))

    async def decoded(self, raw: bytes) -> bytes:
        if self.encoding != "gzip":
            return raw
        # Only what comes out counts against the limit of one body; the compressed bytes count as held beside it.
        self._max_bytes += self._taken
        return b"".join([piece async for piece in self._gunzipped(_whole(raw))])

    def _check_encoding(self) -> None:
        if self.encoding not in ("identity", "gzip"):
            raise Problem(415, f"content encoding {self.encoding!r} is not taken; use gzip or none")

    async def _received(self, announced: str) -> bytes:
        is_announced = announced.isdecimal()
        if is_announced:
            self._take(int(announced))
        pieces, more = [], True
        while more:
            piece, more = await self._piece()
            if not is_announced:
                self._take(len(piece))
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _raw(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            piece, more = await self._piece()
            yield piece

    async def _piece(self) -> tuple[bytes, bool]:
        """What came next of the body, and whether there is more."""
        try:
            message = await within(self._stall_seconds, self._request.receive())
        except TimeoutError:
            detail = f"nothing more of the body came for {self._stall_seconds:g} s; send it again"
            raise Problem(408, detail) from None
        if message["type"] == "http.disconnect":
            raise Problem(400, "the body ended before its announced length")
        more = bool(message.get("more_body"))
        if not more:
            self._request.state.body_was_read = True
        return message.get("body", b""), more

    async def _gunzipped(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        inflate = zlib.decompressobj(wbits=31)
        try:
            async for compressed in pieces:
                rest = compressed
                while rest:
                    # A member that has ended may be followed by another one (RFC 1952).
                    if inflate.eof:
                        inflate = zlib.decompressobj(wbits=31)
                    piece = inflate.decompress(rest, _PIECE)
                    rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
                    self._take(len(piece))
                    yield piece
                    if len(piece) == _PIECE:
                        await asyncio.sleep(0)
        except zlib.error as error:
            raise Problem(400, f"the body is not gzip: {error}") from None
        if not inflate.eof:
            raise Problem(400, "the gzip body ends too early")


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    yield body


def body_was_read(request: Request) -> bool:
    """Whether the client has sent the whole body and it was read."""
    return getattr(request.state, "body_was_read", False)


def _media_type(request: Request) -> str:
    given = request.headers.get("content-type", "")
    media_type = given.partition(";")[0].strip().lower()
    if (
        is_binary(request.headers)
        and (not media_type or media_type.endswith("+json"))
        and media_type not in MEDIA_TYPES
    ):
        return JSON  # what it is of is an attribute of the CloudEvent
    if media_type not in MEDIA_TYPES:
        raise Problem(415, f"content type {media_type or '(none)'!r} is not taken; use {' or '.join(MEDIA_TYPES)}")
    return media_type


# --- cutting ---------------------------------------------------------------------------------------------------------

_raw_elements = msgspec.json.Decoder(list[msgspec.Raw])
_LINE = re.compile(rb"[^\n]+")
# To the next bracket or comma outside of strings. Possessive, and content with a string that never ends: anything else
# needs memory, or time squared, for the body that is made to need it.
_TO_TOKEN = re.compile(rb'[^"\[\]{},]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?[^"\[\]{},]*+)*+[\[\]{},]', re.DOTALL)
_SPACE = b" \t\r\n"


async def events_of(body: bytes, media_type: str) -> Sequence[Any]:
    """The events of a body, each as its own JSON text (bytes, or a buffer over the body), not parsed.

    Raises Problem 400 where the body is no JSON document, 422 where it is neither object nor array, 413 above
    `MAX_EVENTS`. An element may still be anything: a fault within it is that event's alone.
    """
    text = body.removeprefix(_BOM).strip(_SPACE)
    if media_type == _NDJSON:
        return _bounded(line for match in _LINE.finditer(text) if (line := match[0].strip(_SPACE)))
    if not text.startswith(b"["):
        check_document(text)
        return (text,)
    # To count them is a twelfth of what an event costs here, and of so few bytes they cannot be more.
    if len(text) <= _MAX_COMMAS or text.count(b",") <= _MAX_COMMAS:
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            return _bounded(_raw_elements.decode(text))
    # Cut by hand: one event that no parser likes must not take the others with it. In a thread, since it is slow.
    return await asyncio.to_thread(_cut_apart, text)


def _cut_apart(text: bytes) -> Sequence[bytes]:
    elements = _bounded(_cut(text))
    if elements and all(map(_is_no_json, elements)):
        raise Problem(400, "the body is not JSON, nor is any of its elements; send a JSON array of events")
    return elements


def check_document(text: bytes) -> None:
    """Raises Problem 400 where `text` is no JSON document, 422 where it is neither object nor array."""
    if _is_no_json(text):
        raise Problem(400, "the body is not JSON; send an event as a JSON object, or an array of them")
    if not text.startswith(b"{"):
        raise Problem(422, "the body is neither a JSON object (an event) nor an array of events")


def _is_no_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        try:  # msgspec takes no lone surrogate, which JSON's grammar allows
            json.loads(text.decode(), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return True
    except RecursionError:
        return False  # nested too deep to say; the event's own validation refuses it
    return False


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _bounded(events: Iterable[Any]) -> Sequence[Any]:
    listed = events if isinstance(events, list) else list(islice(events, MAX_EVENTS + 1))
    if len(listed) > MAX_EVENTS:
        raise Problem(413, f"the body has more than {MAX_EVENTS} events; send fewer in one request")
    return listed


def _cut(text: bytes) -> Iterator[bytes]:
    """The elements of a JSON array, found by its brackets and commas alone."""
    depth, start, position = 0, 1, 0
    while token := _TO_TOKEN.match(text, position):
        position = token.end()
        match text[position - 1]:
            case 0x5B | 0x7B:  # [ {
                depth += 1
            case 0x2C if depth == 1:  # ,
                yield text[start : position - 1].strip(_SPACE)
                start = position
            case 0x5D | 0x7D:  # ] }
                depth -= 1
                if depth == 0:
                    last = text[start : position - 1].strip(_SPACE)
                    if last or start > 1:
                        yield last
                    if position < len(text):
                        raise Problem(400, "the body is not JSON: something follows the array")
                    return
    raise Problem(400, "the body is not JSON: the array is not closed")
