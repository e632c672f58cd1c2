"""Request bodies: read within bounds, decompressed, and cut into events without parsing them.

Problem 413    the body is larger than the limit, before or after decompression
Problem 415    the content type or encoding is not taken
Problem 400    the body is cut short, is not gzip, or is not JSON
Problem 503    too many bytes of bodies are held already
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from eventpipeline.problems import Problem

MAX_EVENTS = 250_000
"""The most events in one body, so that a body of tiny elements cannot fill the memory."""

_MAX_COMMAS = 4_000_000
"""Above it a body could have so many elements that they are cut one at a time, which is slow and needs no memory."""

_PIECE = 1024 * 1024
_RETRY_AFTER = 2
_JSON = "application/json"
_NDJSON = "application/x-ndjson"


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

    def __init__(self, request: Request, in_flight: InFlight, max_bytes: int) -> None:
        self._request = request
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
        announced = self._request.headers.get("content-length", "")
        if self.encoding not in ("identity", "gzip"):
            raise Problem(415, f"content encoding {self.encoding!r} is not taken; use gzip or none")
        if self.encoding == "gzip":
            if announced.isdecimal() and int(announced) > self._max_bytes:
                raise Problem(413, f"the body has more than {self._max_bytes} bytes; send fewer events in one request")
            return b"".join([piece async for piece in self._gunzipped()])
        if announced.isdecimal():
            self._take(int(announced))
            return b"".join([piece async for piece in self._raw()])
        pieces = []
        async for piece in self._raw():
            self._take(len(piece))
            pieces.append(piece)
        return b"".join(pieces)

    async def _raw(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._request.stream():
                yield piece
            self._request.state.body_was_read = True
        except ClientDisconnect:
            raise Problem(400, "the body ended before its announced length") from None

    async def _gunzipped(self) -> AsyncIterator[bytes]:
        inflate = zlib.decompressobj(wbits=31)
        try:
            async for compressed in self._raw():
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


def body_was_read(request: Request) -> bool:
    """Whether the client has sent the whole body and it was read."""
    return getattr(request.state, "body_was_read", False)


def _media_type(request: Request) -> str:
    given = request.headers.get("content-type", "")
    media_type = given.partition(";")[0].strip().lower()
    if media_type not in (_JSON, _NDJSON):
        raise Problem(415, f"content type {media_type or '(none)'!r} is not taken; use {_JSON} or {_NDJSON}")
    return media_type


# --- cutting ---------------------------------------------------------------------------------------------------------

_raw_elements = msgspec.json.Decoder(list[msgspec.Raw])
_LINE = re.compile(rb"[^\r\n]+")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_SPACE = b" \t\r\n"


def events_of(body: bytes, media_type: str) -> Iterable[Any]:
    """The events of a body, each as its own JSON text (bytes, or a buffer over the body), not parsed.

    Raises Problem 400 where the body is no JSON document, 422 where it is neither object nor array, and while it is
    iterated 413 above `MAX_EVENTS`. An element may still be anything: a fault within it is that event's alone.
    """
    if media_type == _NDJSON:
        return _bounded(line for match in _LINE.finditer(body) if (line := match[0].strip(_SPACE)))
    text = body.strip(_SPACE)
    if not text.startswith(b"["):
        _check_document(text)
        return (text,)
    if text.count(b",") > _MAX_COMMAS:
        return _bounded(_cut(text))
    try:
        elements: list[Any] = _raw_elements.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        # One event that no parser likes must not take the others with it.
        if all(_is_no_json(element) for element in _cut(text)):
            raise Problem(400, f"the body is not JSON: {error}") from None
        return _bounded(_cut(text))
    return elements if len(elements) <= MAX_EVENTS else _bounded(elements)


def _check_document(text: bytes) -> None:
    if _is_no_json(text):
        raise Problem(400, "the body is not JSON; send an event as a JSON object, or an array of them")
    if not text.startswith(b"{"):
        raise Problem(422, "the body is neither a JSON object (an event) nor an array of events")


def _is_no_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        try:  # msgspec takes no lone surrogate, which JSON's grammar allows
            json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return True
    except RecursionError:
        return False  # nested too deep to say; the event's own validation refuses it
    return False


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _bounded(events: Iterable[Any]) -> Iterator[Any]:
    for count, event in enumerate(events):
        if count == MAX_EVENTS:
            raise Problem(413, f"the body has more than {MAX_EVENTS} events; send fewer in one request")
        yield event


def _cut(text: bytes) -> Iterator[bytes]:
    """The elements of a JSON array, found by its brackets and commas alone."""
    depth, start = 0, 1
    for token in _TOKEN.finditer(text):
        match text[token.start()]:
            case 0x5B | 0x7B:  # [ {
                depth += 1
            case 0x2C if depth == 1:  # ,
                yield text[start : token.start()].strip(_SPACE)
                start = token.end()
            case 0x5D | 0x7D:  # ] }
                depth -= 1
                if depth == 0:
                    last = text[start : token.start()].strip(_SPACE)
                    if last or start > 1:
                        yield last
                    if token.end() < len(text):
                        raise Problem(400, "the body is not JSON: something follows the array")
                    return
    raise Problem(400, "the body is not JSON: the array is not closed")
