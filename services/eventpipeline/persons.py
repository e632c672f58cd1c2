"""Whose events are to be forgotten, where they stand in a text, and what is left of them. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from eventpipeline import envelope
from eventpipeline.sources import Source

NOBODY = ""
"""What stands for the user of an event whose person was forgotten; the gateway takes no such user."""
_ENVELOPE = ("eventId", "timestamp", "source", "funnelStage", "eventType")

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Trace(Enum):
    """What a text has of a person."""

    NONE = "none"
    MENTION = "mention"
    """Their id stands somewhere in it, but not where the user of an event of the source stands."""
    USER = "user"
    """It is an event of theirs."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, with its event as it came."""

    id: str
    source: str | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A message without the person. `data` is None where nothing else is in it."""

    data: bytes | None
    removed: int
    """So many events lost their data, or so many dead letters went."""


@dataclass(frozen=True)
class Persons:
    """Users of one source, by their ids."""

    source: Source
    ids: frozenset[str]
    known_sources: frozenset[str]
    """Every source of the pipeline: a dead letter that names one of the others is of somebody else."""
    _needles: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_needles", tuple(one.encode() for one in self.ids))

    @property
    def needles(self) -> tuple[bytes, ...]:
        """A JSON text that has neither one of these bytes nor a backslash does not hold an id."""
        return self._needles

    def events_rewritten(self, packed: bytes) -> Rewritten | None:
        """The message with what is left of the persons' events, at their places; None where it has none of them.

        What is no array of JSON objects is left alone: a collector makes dead letters of it.
        """
        if not self._may_hold(packed):
            return None
        try:
            events = [bytes(event) for event in _elements(packed)]
        except (msgspec.MsgspecError, RecursionError):
            return None
        kept = [self._rest(event) or event for event in events]
        removed = sum(new is not old for new, old in zip(kept, events, strict=True))
        return Rewritten(envelope.pack(kept), removed) if removed else None

    def letters_rewritten(self, packed: bytes, *, mentions: bool) -> tuple[Rewritten | None, list[str]]:
        """A message of dead letters without those of the persons, and the ids of letters that only mention them.

        With `mentions`, those go too.
        """
        try:
            texts = [bytes(text) for text in _elements(packed)]
        except (msgspec.MsgspecError, RecursionError):
            return None, []
        kept, mentioned = [], []
        for text in texts:
            letter = _letter(text)
            trace = self.trace(letter) if letter else Trace.NONE
            if letter and trace is Trace.MENTION and not mentions:
                mentioned.append(letter.id)
            if trace is Trace.NONE or (trace is Trace.MENTION and not mentions):
                kept.append(text)
        if len(kept) == len(texts):
            return None, mentioned
        return Rewritten(envelope.pack(kept) if kept else None, len(texts) - len(kept)), mentioned

    def trace(self, letter: Letter) -> Trace:
        """What a dead letter has of the persons. One of another source has nothing: its users are others."""
        if letter.source in self.known_sources - {self.source.name} or not self._may_hold(letter.payload):
            return Trace.NONE
        try:
            document = _decode(letter.payload)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            document = None
        if letter.source == self.source.name and any(self._is_one(found) for found in self._users(document)):
            return Trace.USER
        is_mentioned = any(needle in letter.payload for needle in self.needles) or self._has(document)
        return Trace.MENTION if is_mentioned else Trace.NONE

    def _may_hold(self, text: bytes) -> bool:
        return b"\\" in text or any(needle in text for needle in self.needles)

    def _rest(self, event: bytes) -> bytes | None:
        """What is left of an event of the persons: its identity, its kind and its money. None where it is of others."""
        if not self._may_hold(event):
            return None
        try:
            document = _decode(event)
        except (msgspec.MsgspecError, RecursionError):
            return None
        if not isinstance(document, dict) or not self._is_one(_at(document.get("data"), self.source.user)):
            return None
        data: dict[str, Any] = {}
        for pointer in self._kept_pointers():
            found = _at(document["data"], pointer)
            if isinstance(found, str | int | Decimal) and not self._is_one(found):
                _put(data, pointer, found)
        _put(data, self.source.user, NOBODY)
        return _encode({name: document.get(name) for name in _ENVELOPE} | {"data": data})

    def _kept_pointers(self) -> list[str]:
        money = self.source.transactions
        found = [money.amount, money.currency] if money else []
        return [pointer for pointer in (*found, self.source.campaign) if pointer]

    def _users(self, document: Any) -> list[Any]:
        """What stands where the user of an event of the source stands: in its own form, and in that of its sender."""
        if not isinstance(document, dict):
            return []
        found = [_at(document.get("data"), self.source.user)]
        if self.source.mapping:
            data = _at(document, self.source.mapping.data)
            found.append(_at(data, self.source.user))
            for pointer in self.source.mapping.embedded:
                if self.source.user.startswith(f"{pointer}/"):
                    found.append(_at(_unpacked(_at(data, pointer)), self.source.user.removeprefix(pointer)))
        return found

    def _is_one(self, value: Any) -> bool:
        return isinstance(value, str | int) and str(value) in self.ids

    def _has(self, document: Any) -> bool:
        """Whether an id stands anywhere, however it is escaped."""
        waiting = [document]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
            elif isinstance(value, str) and any(one in value for one in self.ids):
                return True
        return False


class _LetterMembers(msgspec.Struct):
    id: str
    payload: str
    source: str | None = None


_letter_members = msgspec.json.Decoder(_LetterMembers).decode


def _letter(text: bytes) -> Letter | None:
    try:
        members = _letter_members(text)
        return Letter(members.id, members.source, base64.b64decode(members.payload))
    except (msgspec.MsgspecError, binascii.Error):
        return None


def _steps(pointer: str) -> Sequence[str]:
    return [step for step in pointer.split("/") if step]


def _at(document: Any, pointer: str) -> Any:
    """What stands at `pointer`; None where nothing does."""
    for step in _steps(pointer):
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _put(document: dict[str, Any], pointer: str, value: Any) -> None:
    *way, last = _steps(pointer)
    for step in way:
        document = document.setdefault(step, {})
    document[last] = value


def _unpacked(text: Any) -> Any:
    try:
        return _decode(text) if isinstance(text, str) else None
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return None


def ids_of(texts: Collection[str]) -> frozenset[str]:
    """The ids that people gave, each as it stands. Raises ValueError where one cannot be an id."""
    for text in texts:
        if not 0 < len(text) <= 256:
            raise ValueError("the id of a user has 1 to 256 characters")
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError("the id of a user is text in UTF-8, without NUL")
    return frozenset(texts)
