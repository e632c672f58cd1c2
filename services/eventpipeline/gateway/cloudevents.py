"""CloudEvents 1.0 as events of this project, by their JSON text, without taking their data apart. Pure.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, with formats/json-format.md,
bindings/http-protocol-binding.md and http-webhook.md beside it.

    id   -> eventId          type -> eventType, and the funnel stage that has it
    time -> timestamp        data -> data

The source is that of the path. On the path of all sources it is the attribute `source`, which has to be its name.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec

from eventpipeline.events import UNREADABLE, Reason, Rejection
from eventpipeline.problems import Problem
from eventpipeline.sources import FunnelStage, Source

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
_PREFIX = "ce-"
_ALLOWED_ORIGIN = 253


class _Attributes(msgspec.Struct):
    """The attributes that mean something here; others are allowed, and not kept."""

    specversion: str
    id: str
    source: str
    type: str
    time: str | None = None
    datacontenttype: str | None = None
    funnelstage: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: str | None = None


_read = msgspec.json.Decoder(_Attributes).decode


@dataclass(frozen=True)
class Fault:
    """A CloudEvent that is no event of this pipeline."""

    text: bytes
    rejection: Rejection


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether a request is one CloudEvent whose attributes stand in its headers."""
    return f"{_PREFIX}specversion" in headers


def from_binary(headers: Mapping[str, str], body: bytes) -> bytes:
    """The CloudEvent of a request in binary mode, in structured form."""
    attributes = {
        name.removeprefix(_PREFIX): unquote(value) for name, value in headers.items() if name.startswith(_PREFIX)
    }
    attributes |= {"datacontenttype": headers.get("content-type", "")}
    written = json.dumps(attributes, ensure_ascii=False).encode("utf-8", "replace")
    return written[:-1] + b',"data":' + body + b"}"


def check_form(media_type: str, body: bytes) -> None:
    """Raises Problem 422 where one CloudEvent was promised and several came, or the other way round."""
    several = body.lstrip()[:1] == b"["
    if media_type == STRUCTURED and several:
        raise Problem(422, f"{STRUCTURED} is one CloudEvent; send several as {BATCHED}")
    if media_type == BATCHED and not several:
        raise Problem(422, f"{BATCHED} is an array of CloudEvents; send one as {STRUCTURED}")


class Translator:
    """Makes events of CloudEvents."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._stages: dict[str, dict[str, tuple[FunnelStage, ...]]] = {}
        for source in sources:
            stages = self._stages[source.name] = {}
            for stage in source.stages:
                for name in source.event_types_of(stage):
                    stages[name] = (*stages.get(name, ()), stage)

    def translated(self, events: Sequence[Any], source: str | None) -> tuple[list[bytes], dict[int, Fault]]:
        """The events of `source`, or of the source that each names, in their places; an empty text for a fault."""
        made, faults = [], {}
        for index, event in enumerate(events):
            text = bytes(event)
            found = self._event(text, source)
            if isinstance(found, Rejection):
                faults[index] = Fault(text, found)
            made.append(b"" if isinstance(found, Rejection) else found)
        return made, faults

    def _event(self, text: bytes, source: str | None) -> bytes | Rejection:
        try:
            event = _read(text)
        except UNREADABLE as error:
            reason: Reason = "missing_field" if "missing required" in str(error) else "invalid_value"
            return _rejection(reason, [], f"is no CloudEvent in JSON: {error}")
        name = source or event.source

        def refused(reason: Reason, member: str, message: str) -> Rejection:
            return _rejection(reason, [member], message, event, name if name in self._stages else None)

        if event.specversion != "1.0":
            return refused("invalid_value", "specversion", f"is {event.specversion[:20]!r}; 1.0 is taken")
        if name not in self._stages:
            return refused("unknown_source", "source", f"is none of {', '.join(self._stages)}; or post to its own path")
        stages = self._stages[name].get(event.type, ())
        if event.funnelstage:
            stages = tuple(stage for stage in stages if stage == event.funnelstage)
        if len(stages) != 1:
            several = f"is an event type of {' and '.join(stages)}; say which in the attribute funnelstage"
            message = several if stages else f"is none of the event types of {name}: {', '.join(self._stages[name])}"
            return refused("invalid_value", "type", message)
        if not event.time:
            message = "is missing: it is part of what tells a copy from another event"
            return refused("missing_field", "time", message)
        data = _data(event)
        if isinstance(data, str):
            return refused("wrong_type", "data", data)
        written = {
            "eventId": event.id, "timestamp": event.time.upper(), "source": name, "funnelStage": stages[0],
            "eventType": event.type,
        }  # fmt: skip
        return msgspec.json.encode(written)[:-1] + b',"data":' + data + b"}"


def _data(event: _Attributes) -> bytes | str:
    """The JSON text of the data, or what is wrong with it."""
    media_type = (event.datacontenttype or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        return f"is {media_type[:60]}; JSON is taken"
    data = bytes(event.data)
    if event.data_base64 is not None:
        if data:
            return "and data_base64 are both there"
        try:
            data = base64.b64decode(event.data_base64, validate=True).strip()
            msgspec.json.decode(data, type=msgspec.Raw)
        except (*UNREADABLE, ValueError):
            return "is no JSON in base64"
    if not data.startswith(b"{"):
        return "must be an object"
    return data


def _rejection(
    reason: Reason, place: list[str], message: str, event: _Attributes | None = None, source: str | None = None
) -> Rejection:
    return Rejection(
        reason=reason,
        detail=({"loc": place, "msg": message, "type": reason},),
        event_id=event.id[:256] if event else None,
        source=source,
        event_type=event.type[:256] if event else None,
    )


def handshake(headers: Mapping[str, str], requests_per_second: int | None) -> dict[str, str]:
    """The headers of the answer to OPTIONS, by which a sender learns whether, and how often, it may deliver."""
    answer = {"allow": "POST"}
    origin = headers.get("webhook-request-origin", "").strip()
    if 0 < len(origin) <= _ALLOWED_ORIGIN and origin.isascii() and origin.isprintable():
        answer["webhook-allowed-origin"] = origin
        # In requests a minute.
        answer["webhook-allowed-rate"] = "*" if requests_per_second is None else str(60 * requests_per_second)
    return answer
