"""Bodies that a sender shapes as it likes, made into events by the mapping of their source. Pure.

What a pointer leads to stays the text that was sent: numbers keep their digits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from eventpipeline.events import UNREADABLE, Reason, Rejection
from eventpipeline.gateway.cloudevents import Fault
from eventpipeline.sources import FunnelStage, Source
from eventpipeline.sources.mapping import BodyMapping

_Members = dict[str, msgspec.Raw]
_members = msgspec.json.Decoder(_Members).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?")
_SECONDS, _MILLISECONDS = range(10**11), range(10**11, 10**14)
"""Up to the year 5138 in seconds; from 1973 on in milliseconds."""


class _Wrong(Exception):  # noqa: N818 - control flow within this module
    def __init__(self, reason: Reason, place: str, message: str) -> None:
        self.reason, self.place, self.message = reason, place, message


class Mapper:
    """Makes events of the bodies of one source, which has a mapping."""

    def __init__(self, source: Source, mapping: BodyMapping) -> None:
        self._source = source
        self._mapping = mapping
        self._stages: dict[str, FunnelStage] = {
            name: stage for stage in reversed(source.stages) for name in source.event_types_of(stage)
        }

    def events(self, bodies: Sequence[Any]) -> tuple[list[bytes], dict[int, Fault]]:
        """The events of all `bodies`, JSON texts; an empty text in the place of one that is none."""
        made: list[bytes] = []
        faults: dict[int, Fault] = {}
        for body in bodies:
            for text in self._found(bytes(body)):
                try:
                    made.append(self._event(text))
                except _Wrong as wrong:
                    faults[len(made)] = Fault(text, self._rejection(wrong))
                    made.append(b"")
        return made, faults

    def _found(self, body: bytes) -> Iterator[bytes]:
        """The texts at the place of the events; the body itself where there is no such place."""
        steps = [step for step in self._mapping.events.split("/") if step]
        try:
            yield from _at(body, steps)
        except (*UNREADABLE, KeyError):
            yield body

    def _event(self, text: bytes) -> bytes:
        mapping = self._mapping
        event_type = self._string(text, mapping.event_type)
        stage = self._stages.get(event_type)
        if stage is None:
            message = f"is none of the event types of {self._source.name}: {', '.join(self._stages)}"
            raise _Wrong("invalid_value", mapping.event_type, message)
        data = self._raw(text, mapping.data) if mapping.data else text
        for pointer in mapping.embedded:
            data = _changed(data, pointer, _unpacked)
        for pointer in mapping.strings:
            data = _changed(data, pointer, _quoted)
        written = {
            "eventId": ":".join(self._string(text, pointer) for pointer in mapping.event_id)
            or hashlib.sha256(text).hexdigest(),
            "timestamp": self._moment(text),
            "source": self._source.name,
            "funnelStage": stage,
            "eventType": event_type,
        }
        return msgspec.json.encode(written)[:-1] + b',"data":' + data + b"}"

    def _raw(self, text: bytes, pointer: str) -> bytes:
        try:
            return next(_at(text, pointer.strip("/").split("/")))
        except (*UNREADABLE, KeyError):
            raise _Wrong("missing_field", pointer, "is missing") from None

    def _string(self, text: bytes, pointer: str) -> str:
        """A string, or a whole number as one: ids are often numbers."""
        found = self._raw(text, pointer)
        if found[:1] != b'"' and not found.isdigit():
            raise _Wrong("wrong_type", pointer, "must be a string or a whole number")
        try:
            return found.decode() if found.isdigit() else _text(found)
        except UNREADABLE:
            raise _Wrong("invalid_value", pointer, "is no string in UTF-8") from None

    def _moment(self, text: bytes) -> str:
        written = self._string(text, self._mapping.timestamp)
        if not (written.isascii() and written.isdigit()):
            return written.upper()
        number = int(written) if len(written) < 16 else -1
        if number in _MILLISECONDS:
            return datetime.fromtimestamp(number // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{number % 1000:03}Z"
        if number not in _SECONDS:
            raise _Wrong("invalid_value", self._mapping.timestamp, "is no number of seconds or milliseconds since 1970")
        return datetime.fromtimestamp(number, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _rejection(self, wrong: _Wrong) -> Rejection:
        place = wrong.place.strip("/").split("/")
        return Rejection(
            reason=wrong.reason,
            detail=({"loc": place, "msg": wrong.message, "type": wrong.reason},),
            source=self._source.name,
        )


def _at(text: bytes, steps: Sequence[str]) -> Iterator[bytes]:
    """The texts that `steps` lead to. Raises MsgspecError or KeyError where they lead nowhere."""
    if not steps:
        yield text
    elif steps[0] == "*":
        for element in _elements(text):
            yield from _at(bytes(element).strip(), steps[1:])
    else:
        yield from _at(bytes(_members(text)[steps[0]]).strip(), steps[1:])


def _changed(text: bytes, pointer: str, change: Any) -> bytes:
    """`text` with another text at `pointer`; itself where there is nothing."""
    first, _, rest = pointer.strip("/").partition("/")
    try:
        members = _members(text)
    except UNREADABLE:
        return text
    if first not in members:
        return text
    old = bytes(members[first]).strip()
    members[first] = msgspec.Raw(_changed(old, rest, change) if rest else change(old))
    return msgspec.json.encode(members)


def _unpacked(text: bytes) -> bytes:
    """The JSON that stands in a string; the text itself where it is none, which the schema then refuses."""
    try:
        inner = _text(text).encode()
        return bytes(msgspec.json.decode(inner, type=msgspec.Raw)).strip()
    except (*UNREADABLE, UnicodeEncodeError):
        return text


def _quoted(text: bytes) -> bytes:
    return b'"' + text + b'"' if _NUMBER.fullmatch(text) else text
