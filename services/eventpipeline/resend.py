"""Refused events on their way back to the gateway: mended, checked, and what it answered. Pure.

The command and the reporter both send this way; neither may put anything into the stream by itself.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eventpipeline.authentication import Authentication
from eventpipeline.events import UNREADABLE, EventValidator, Rejection, fault_without_source, source_of
from eventpipeline.mend import Mending
from eventpipeline.signatures import read_key, signed

AT_ONCE = 100
"""Events of one request, at most."""
PATH = "/webhook/events"
SignatureKind = Literal["meta", "tiktok", "standardWebhooks", "hmac", "bearer"]
Sign = Callable[[bytes], Mapping[str, str]]


class NotTaken(Exception):  # noqa: N818 - what the gateway did
    """The gateway took nothing of a request; the message says why."""


@dataclass(frozen=True)
class Failed:
    """An event that is refused still. `id` is that of its dead letter."""

    id: str
    event_id: str | None
    reason: str
    message: str

    def written(self) -> dict[str, str | None]:
        return {"id": self.id, "eventId": self.event_id, "reason": self.reason, "message": self.message}


@dataclass(frozen=True)
class Ready:
    """A mended event that is valid."""

    id: str
    event: bytes


@dataclass(frozen=True)
class Checked:
    """Mends events and holds them against the sources `known`; one without a validator only the gateway can check."""

    mending: Mending
    known: Collection[str]
    validators: Mapping[str, EventValidator]

    def __call__(self, identity: str, event: bytes) -> Ready | Failed:
        """Raises MendError where the mending does not fit."""
        mended = self.mending(event)
        if fault := self._fault(mended):
            return Failed(identity, fault.event_id, fault.reason, explained(fault.detail))
        return Ready(identity, mended)

    def _fault(self, event: bytes) -> Rejection | None:
        try:
            name = source_of(event).source
        except UNREADABLE:
            name = None
        if name is None or name not in self.known:
            return fault_without_source(event, self.known)
        return self.validators[name].fault(event) if name in self.validators else None


def batch_size(rate: float) -> int:
    """Events of one request at so many a second: no second's worth comes at once."""
    return max(1, min(AT_ONCE, int(rate)))


def body_of(ready: Sequence[Ready]) -> bytes:
    return b"[" + b",".join(one.event for one in ready) + b"]"


def refused(status: int, answer: bytes, ready: Sequence[Ready]) -> dict[str, Failed]:
    """What the gateway refuses of `ready`, by the id of its dead letter. Raises NotTaken."""
    try:
        told = json.loads(answer)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise NotTaken(f"the gateway answered {status}; try again")
    if status not in (202, 422) or "errors" not in told:
        raise NotTaken(f"the gateway answered {status}: {told.get('detail', told)}; try again")
    errors = ((ready[error["index"]].id, error) for error in told["errors"])
    return {
        identity: Failed(identity, error["eventId"], error["reason"], explained(error["detail"]))
        for identity, error in errors
    }


def explained(detail: Sequence[Mapping[str, Any]]) -> str:
    """The first faults of an event in a line."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in detail[:3])


def signer(kind: SignatureKind, written: bytes) -> Sign:
    """What gives a body the headers that prove who sends it, by the key that is `written`. Raises ValueError."""
    method = Authentication.model_validate({kind: {"keys": [{"name": "given"}]}}).method
    assert method is not None
    key = read_key(method, written)
    return lambda body: signed(method, key, body, now=time.time(), identity=f"msg_{uuid.uuid4().hex}")
