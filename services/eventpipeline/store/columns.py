"""Events as columns: an array of text for each member of the envelope, in the binary form that Postgres reads.

Postgres takes them for half of what it takes to read one JSON array, of which it first builds the whole as jsonb, then
each event, then the data of each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from psycopg.adapt import Dumper
from psycopg.pq import Format

_TEXT_OID, _TEXT_ARRAY_OID = 25, 1009
_HEADER = struct.Struct(">iiIii")
"""Dimensions, whether there are NULLs, the type of the elements, how many, the index of the first (array_recv in
src/backend/utils/adt/arrayfuncs.c); then each element, behind its length."""
_LENGTH = struct.Struct(">i")
_LENGTHS = [_LENGTH.pack(length) for length in range(4096)]


@dataclass(frozen=True, slots=True)
class TextArray:
    """An array of text, made here: psycopg, which makes one of a list, looks at each element more than once."""

    binary: bytes

    @classmethod
    def of(cls, texts: Sequence[bytes | msgspec.Raw]) -> TextArray:
        """Of UTF-8."""
        parts: list[bytes | msgspec.Raw] = [_HEADER.pack(1, 0, _TEXT_OID, len(texts), 1)]
        for text in texts:
            length = len(text)
            parts.append(_LENGTHS[length] if length < len(_LENGTHS) else _LENGTH.pack(length))
            parts.append(text)
        return cls(b"".join(parts))


class TextArrayDumper(Dumper):
    format = Format.BINARY
    oid = _TEXT_ARRAY_OID

    def dump(self, obj: TextArray) -> bytes:
        return obj.binary


class _Event(msgspec.Struct, gc=False, rename="camel"):
    """What is read of an event here; its data is left as it came."""

    event_id: str
    timestamp: str
    funnel_stage: str
    event_type: str
    data: msgspec.Raw


_events = msgspec.json.Decoder(list[_Event])


def columns(packed: bytes) -> dict[str, TextArray] | None:
    """The columns of the events in `packed`, a JSON array, by the names of parameters.

    None where one of them is no event, or is none that can be read without looking closer.
    """
    try:
        events = _events.decode(packed)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return {
        "event_ids": TextArray.of([event.event_id.encode() for event in events]),
        "timestamps": TextArray.of([event.timestamp.encode() for event in events]),
        "funnel_stages": TextArray.of([event.funnel_stage.encode() for event in events]),
        "event_types": TextArray.of([event.event_type.encode() for event in events]),
        "data": TextArray.of([event.data for event in events]),
    }
