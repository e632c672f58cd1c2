"""The event contract: which events are valid, and why one is not. Pure.

Validation is done once, at the gateway, by compiled validators over the JSON bytes of many events at once. The rules
are strictly stronger than the store's: what is valid here, Postgres takes. Formats follow RFC 3339 (times), RFC 7493
(numbers that every reader reads alike) and RFC 6901 (pointers).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, SchemaValidator, ValidationError
from pydantic_core import core_schema as cs

from eventpipeline import typed_events
from eventpipeline.sources import FUNNEL_STAGES, FunnelStage, Schema, Source

MAX_EVENT_BYTES = 256 * 1024
MAX_DEPTH = 200
"""How deep arrays and objects of an event may be nested; deeper, pydantic's JSON parser stops."""

_PLACES = 16_383
"""How many digits after the point Postgres' numeric keeps."""
_PLAIN_BYTES = 15_000
"""An event up to this size cannot write a number that is not zero, and is a double, with more places than that."""
_WHOLE_DIGITS = 4_300
"""How many digits before the point pydantic's JSON parser reads; Postgres' numeric keeps more."""
_WINDOW = _WHOLE_DIGITS // 2

Reason = Literal[
    "invalid_json",
    "not_an_object",
    "too_large",
    "null_character",
    "unknown_source",
    "missing_field",
    "wrong_type",
    "invalid_value",
    "beyond_retention",
]

_DATE = (
    r"(?:(?:19[7-9][0-9]|20[0-9][0-9])-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:19(?:7[26]|8[048]|9[26])|20(?:[02468][048]|[13579][26]))-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
INSTANT_PATTERN = rf"^{_DATE}T{_TIME}(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])$"
"""RFC 3339 with an offset, a date that exists, from 1970 to 2099: a pattern, since parsing would double the cost.

Of what RFC 3339 leaves open, the lower-case `t` and `z` and the leap second 23:59:60 are refused: not every reader of
the stored events takes them. `[0-9]`, because `\\d` is any script's digit here, and Postgres reads only ASCII's.
"""
DECIMAL_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,6})?$"
MAX_NUMBER = 2**53 - 1
"""The largest number in a member of the contract: up to it a double is exact."""

_PATTERNS = {"date-time": INSTANT_PATTERN, "decimal": DECIMAL_PATTERN}

_HINTS = {
    INSTANT_PATTERN: "must be an RFC 3339 time that exists, with an offset, from 1970 to 2099: 2024-05-01T12:00:00Z",
    DECIMAL_PATTERN: 'must be a decimal string of at most 15 digits before and 6 after the point, such as "12.50"',
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an event was refused, and what could be read of it for the people who mend it."""

    reason: Reason
    detail: tuple[dict[str, Any], ...]
    """`{"loc": [member or index, …], "msg": what to do, "type": machine-readable kind}` for each fault."""
    event_id: str | None = None
    source: str | None = None
    funnel_stage: str | None = None
    event_type: str | None = None


# --- schemas ---------------------------------------------------------------------------------------------------------


def _number(low: int, high: int, *, whole: bool, exact: bool) -> CoreSchema:
    """A JSON number; with `whole`, an integer as JSON Schema has it, for which 5.0 is one.

    A double cannot tell 1e-20000 from 0, but Postgres can and refuses it. So the fast validators take no float that
    reads as zero; the exact ones, which run after `_readable_number` has looked at the digits, do.
    """

    def a_float(
        ge: int | None = None, *, gt: int | None = None, le: int | None = None, lt: int | None = None
    ) -> CoreSchema:
        step = 1 if whole else None
        return cs.float_schema(strict=True, allow_inf_nan=False, multiple_of=step, ge=ge, gt=gt, le=le, lt=lt)

    if exact:
        return a_float(low, le=high)
    choices: list[CoreSchema] = [cs.int_schema(strict=True, ge=low, le=high), a_float(gt=max(low, 0), le=high)]
    if low < 0:
        choices.append(a_float(low, lt=0))
    return cs.union_schema(list(choices), mode="left_to_right")


def _string(schema: Schema) -> CoreSchema:
    if schema.enum is not None:
        return cs.literal_schema(list(schema.enum))
    pattern = _PATTERNS[schema.format] if schema.format else None
    return cs.str_schema(strict=True, min_length=schema.min_length, max_length=schema.max_length, pattern=pattern)


def _compile(schema: Schema, *, exact: bool) -> CoreSchema:
    """The pydantic-core schema of a source's schema."""
    kind = next(kind for kind in schema.types if kind != "null")
    low = -MAX_NUMBER if schema.minimum is None else schema.minimum
    high = MAX_NUMBER if schema.maximum is None else schema.maximum
    compiled: CoreSchema
    if kind == "object":
        members = {
            name: (_compile(member, exact=exact), name in schema.required) for name, member in schema.properties.items()
        }
        compiled = _object(members)
    elif kind == "string":
        compiled = _string(schema)
    else:
        compiled = _number(low, high, whole=kind == "integer", exact=exact)
    return cs.nullable_schema(compiled) if "null" in schema.types else compiled


def _object(members: Mapping[str, tuple[CoreSchema, bool]]) -> CoreSchema:
    fields = {name: cs.typed_dict_field(schema, required=required) for name, (schema, required) in members.items()}
    return cs.typed_dict_schema(
        fields, strict=True, extra_behavior="allow", extras_schema=cs.definition_reference_schema("json")
    )


def _any_json(*, exact: bool) -> CoreSchema:
    """Whatever JSON holds, as the value of a member that the contract does not name.

    It is kept, so Postgres must be able to read it.
    """
    this = cs.definition_reference_schema("json")
    numbers: list[CoreSchema] = [cs.int_schema(strict=True)]
    if exact:
        numbers.append(cs.float_schema(strict=True, allow_inf_nan=False))
    else:
        numbers.append(cs.float_schema(strict=True, gt=0, allow_inf_nan=False))
        numbers.append(cs.float_schema(strict=True, lt=0, allow_inf_nan=False))
    choices: list[CoreSchema] = [cs.str_schema(strict=True), cs.bool_schema(strict=True), *numbers, cs.none_schema()]
    choices += [cs.list_schema(this, strict=True), cs.dict_schema(cs.str_schema(), this, strict=True)]
    return cs.union_schema(list(choices), mode="left_to_right", ref="json")


def _event(source: Source, *, exact: bool) -> CoreSchema:
    def of(stage: FunnelStage) -> CoreSchema:
        return _object(
            {
                "eventId": (cs.str_schema(strict=True, min_length=1, max_length=128), True),
                "timestamp": (cs.str_schema(strict=True, pattern=INSTANT_PATTERN), True),
                "source": (cs.literal_schema([source.name]), True),
                "funnelStage": (cs.literal_schema([stage]), True),
                "eventType": (cs.literal_schema(list(source.event_types_of(stage))), True),
                "data": (_compile(source.schema_of(stage), exact=exact), True),
            }
        )

    return cs.tagged_union_schema(
        {stage: of(stage) for stage in source.stages}, discriminator="funnelStage", strict=True
    )


def _validator(schema: CoreSchema, *, exact: bool) -> SchemaValidator:
    return SchemaValidator(cs.definitions_schema(schema, [_any_json(exact=exact)]))


# --- validation ------------------------------------------------------------------------------------------------------


# Of members of one name the last counts, and pydantic looks at no other; but Postgres reads them all, and refuses a
# number with many places wherever it stands. What can write one is an exponent of four digits; one of three can be more
# than a double holds, which `fault` refuses. The quickest route takes none of these: it reads every number, and none
# that is zero by its exponent. For the others a search costs as much as the validation, so it is made only
# where a number has an exponent: where `,e,` is left when the characters of numbers are taken away and those around
# them are commas.
_OF_NUMBERS = b"0123456789+-."
_SHAPE = bytes.maketrans(b"E[]{}: \t\r\n", b"e,,,,,,,,,")
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of a text that is not what it is to be: a string that is not UTF-8 is no MsgspecError."""
_LARGE_EXPONENT = re.compile(rb"[eE][+-]?[0-9]{3,}[,\]}\s]")


def _may_hold_a_long_number(packed: bytes) -> bool:
    """Whether a number in it may have more digits than `_WHOLE_DIGITS`: these would be so many bytes without a quote.

    So many hold one of the windows that are looked at as a whole. This costs a thousandth of the validation.
    """
    return any(packed.find(b'"', start, start + _WINDOW) < 0 for start in range(0, len(packed) - _WINDOW + 1, _WINDOW))


class EventValidator:
    """Validates the events of one source, many at once."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._decode = typed_events.decoder(source, _PATTERNS, MAX_NUMBER, only_telling=True)
        self._decode_any_number = typed_events.decoder(source, _PATTERNS, MAX_NUMBER, only_telling=False)
        self._has_fractions = any(typed_events.has_fractions(source.schema_of(stage)) for stage in source.stages)
        self._many = _validator(cs.list_schema(_event(source, exact=False), strict=True), exact=False)
        self._one = _validator(_event(source, exact=True), exact=True)

    def all_valid(self, packed: bytes) -> bool:
        """Whether each event of the JSON array `packed` is valid; False may also mean: look at each on its own.

        Events of more than 15,000 bytes must not be in it.
        """
        if b"\\" in packed and b"\\u0000" in packed:
            return False
        is_quick = not _may_hold_a_long_number(packed)
        if is_quick:
            with contextlib.suppress(*UNREADABLE):
                self._decode(packed)
                return True
        if b",e," in packed.translate(_SHAPE, _OF_NUMBERS) and _LARGE_EXPONENT.search(packed):
            return False
        if self._has_fractions or not is_quick:  # else it is what was just decoded in vain
            with contextlib.suppress(*UNREADABLE):
                self._decode_any_number(packed)
                return True
        # Some event has a member that its source does not name, which is allowed, or a fault.
        try:
            self._many.validate_json(packed)
        except ValidationError:
            return False
        return True

    def fault(self, event: bytes) -> Rejection | None:
        """Why `event`, JSON text of an object of this source, is refused; None where it is valid.

        It has the last word: what `all_valid` says yes to, it says None to.
        """
        try:
            parsed = _parse(event)
        except _Unreadable as error:
            return replace(error.rejection, source=self.source.name)
        try:
            self._one.validate_json(event)
        except ValidationError as error:
            return _rejection(parsed, [_explain(fault) for fault in error.errors(include_url=False)])
        return None


def fits_fast_path(event_length: int) -> bool:
    """Whether an event of so many bytes may be validated by `EventValidator.all_valid`."""
    return event_length <= _PLAIN_BYTES


class _SourceOf(msgspec.Struct):
    source: str


source_of: Callable[[Any], _SourceOf] = msgspec.json.Decoder(_SourceOf).decode
"""The source that an event names, read without parsing the rest; raises one of UNREADABLE."""


def fault_without_source(event: bytes, known: Collection[str]) -> Rejection:
    """Why an event was refused whose source could not be read, or is none of `known`."""
    try:
        parsed = _parse(event)
    except _Unreadable as error:
        return error.rejection
    if "source" not in parsed:
        fault = {"loc": ["source"], "msg": f"is missing; give one of {', '.join(known)}", "type": "missing"}
        return _rejection(parsed, [fault], reason="missing_field")
    if (
        isinstance(parsed["source"], str) and parsed["source"] in known
    ):  # the last of several; `source_of` has met another one before it
        fault = {"loc": ["source"], "msg": "is there more than once; give it once, as a string", "type": "duplicate"}
        return _rejection(parsed, [fault], reason="invalid_value")
    message = f"is none of this pipeline's sources: {', '.join(known)}"
    return _rejection(parsed, [{"loc": ["source"], "msg": message, "type": "unknown_source"}], reason="unknown_source")


def refused(event: bytes, reason: Reason, message: str, *, loc: Iterable[str] = ()) -> Rejection:
    """The rejection of an event for a reason that its own text does not show."""
    try:
        parsed = _parse(event)
    except _Unreadable:
        parsed = {}
    return _rejection(parsed, [{"loc": list(loc), "msg": message, "type": reason}], reason=reason)


class _Unreadable(Exception):  # noqa: N818 - control flow between two functions of this module
    def __init__(self, reason: Reason, kind: str, message: str, parsed: dict[str, Any] | None = None) -> None:
        self.rejection = _rejection(parsed or {}, [{"loc": [], "msg": message, "type": kind}], reason=reason)


def _parse(event: bytes) -> dict[str, Any]:
    """The event as an object, if it can be stored at all. Raises _Unreadable."""
    if len(event) > MAX_EVENT_BYTES:
        raise _Unreadable("too_large", "too_large", f"has {len(event)} bytes; at most {MAX_EVENT_BYTES} are taken")
    if _depth(event) > MAX_DEPTH:
        raise _Unreadable("invalid_json", "too_deep", f"is nested deeper than {MAX_DEPTH} levels")
    try:
        parsed = json.loads(
            event.decode(), parse_float=_readable_number, parse_int=_readable_number, parse_constant=_no_constant
        )
    except PydanticCustomError as error:
        raise _Unreadable("invalid_value", error.type, error.message()) from None
    except (ValueError, RecursionError) as error:
        raise _Unreadable("invalid_json", "json_invalid", f"is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise _Unreadable("not_an_object", "not_an_object", "is not a JSON object; an event is one")
    # A member that is there twice is looked at twice: Postgres refuses what it cannot store in either.
    every = json.loads(event, object_pairs_hook=tuple) if b"\\u" in event else None
    match _unstorable_character(every):
        case None:
            return parsed
        case "\0":
            message = "holds the character U+0000, which cannot be stored"
            raise _Unreadable("null_character", "null_character", message, parsed)
        case half:
            message = f"is not JSON: U+{ord(half):X} is half of a surrogate pair, and no character"
            raise _Unreadable("invalid_json", "json_invalid", message, parsed)


# Possessive, and content with a string that never ends: a string of escaped quotes must not be looked at again and
# again, from each of its quotes.
_STRINGS_AND_BRACKETS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{\]}]', re.DOTALL)


def _depth(event: bytes) -> int:
    depth = deepest = 0
    for token in _STRINGS_AND_BRACKETS.finditer(event):
        match event[token.start()]:
            case 0x5B | 0x7B:
                depth += 1
                deepest = max(deepest, depth)
            case 0x5D | 0x7D:
                depth -= 1
    return deepest


def _readable_number(digits: str) -> float:
    """Refuses what Postgres' numeric (1e-20000), a double (1e400) or pydantic's parser cannot hold."""
    mantissa, _, exponent = digits.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    power = int(exponent.lstrip("+-0")[:6] or "0")
    places = len(fraction) + (power if exponent.startswith("-") else -power)
    number = float(digits)
    # Without an exponent it may be one that another member of the same name hides, and `all_valid` does not look at.
    if len(whole) > _WHOLE_DIGITS or not -_PLACES <= places <= _PLACES or (exponent and math.isinf(number)):
        raise PydanticCustomError(
            "number_out_of_range", "holds the number {number}, which is out of range", {"number": digits[:40]}
        )
    return number


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _unstorable_character(value: object) -> str | None:
    """The first character in a string of `value` that no store takes; None where there is none."""
    match value:
        case str():
            found = _UNSTORABLE.search(value)
            return found[0] if found else None
        case list() | tuple():
            return next(filter(None, map(_unstorable_character, value)), None)
        case _:
            return None


# --- explanation -----------------------------------------------------------------------------------------------------


def _explain(fault: ErrorDetails) -> dict[str, Any]:
    """A fault of pydantic as this project's answers show it: place, what to do, kind."""
    # The first part of the place is the tag of the union, which is no part of the document.
    place = list(fault["loc"])[1:] if fault["loc"] and fault["loc"][0] in FUNNEL_STAGES else list(fault["loc"])
    context = fault.get("ctx", {})
    message = _HINTS.get(context.get("pattern", ""), fault["msg"])
    message = re.sub("^(Input|String) should ", "must ", message).replace("Field required", "is missing")
    kind = fault["type"]
    if kind == "multiple_of":
        message = "must be a whole number"
    elif kind == "union_tag_not_found":
        place, kind, message = ["funnelStage"], "missing", "is missing; give 'top' or 'bottom'"
    elif kind == "union_tag_invalid":
        known = context["expected_tags"].replace(", ", " or ")
        place, kind, message = ["funnelStage"], "literal_error", f"must be {known}"
    return {"loc": place, "msg": message, "type": kind}


def _reason_of(fault: Mapping[str, Any], parsed: Mapping[str, Any]) -> Reason:
    kind = fault["type"]
    if kind == "missing":
        return "missing_field"
    if kind == "json_invalid":
        return "invalid_json"
    if kind.endswith("_type") or (kind == "literal_error" and not isinstance(_at(parsed, fault["loc"]), str)):
        return "wrong_type"
    return "invalid_value"


def _at(parsed: object, place: Iterable[str | int]) -> object:
    for part in place:
        parsed = parsed.get(part) if isinstance(parsed, dict) else None
    return parsed


def _rejection(parsed: Mapping[str, Any], faults: list[dict[str, Any]], reason: Reason | None = None) -> Rejection:
    return Rejection(
        reason=reason or _reason_of(faults[0], parsed),
        detail=tuple(faults[:20]),
        event_id=_label(parsed.get("eventId")),
        source=_label(parsed.get("source")),
        funnel_stage=_label(parsed.get("funnelStage")),
        event_type=_label(parsed.get("eventType")),
    )


def _label(value: object) -> str | None:
    """A value of a refused event that is fit to be shown and stored, or None."""
    if not isinstance(value, str) or "\0" in value:
        return None
    return value[:256].encode("utf-8", "replace").decode("utf-8")
