"""Valid events of every source and stage, and strategies that hunt for the edges of the contract."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from eventpipeline.events import EventValidator
from eventpipeline.sources import load

SOURCES = {source.name: source for source in load(["facebook", "tiktok"])}
VALIDATORS = {name: EventValidator(source) for name, source in SOURCES.items()}
PLACES = [(source, stage) for source in SOURCES for stage in ("top", "bottom")]

_USERS: dict[str, dict[str, Any]] = {
    "facebook": {
        "userId": "u-1",
        "name": "Ada Moreau",
        "age": 34,
        "gender": "female",
        "location": {"country": "France", "city": "Lyon"},
    },
    "tiktok": {"userId": "u-1", "username": "ada", "followers": 1200},
}
_ENGAGEMENTS: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("facebook", "top"): (
        "ad.view",
        {"actionTime": "2024-05-01T11:59:00Z", "referrer": "newsfeed", "videoId": None},
    ),
    ("facebook", "bottom"): (
        "checkout.complete",
        {
            "adId": "ad-7",
            "campaignId": "spring-sale",
            "clickPosition": "center",
            "device": "mobile",
            "browser": "Firefox",
            "purchaseAmount": "49.90",
        },
    ),
    ("tiktok", "top"): (
        "video.view",
        {"watchTime": 12.5, "percentageWatched": 80, "device": "iOS", "country": "France", "videoId": "v-1"},
    ),
    ("tiktok", "bottom"): (
        "purchase",
        {"actionTime": "2024-05-01T11:59:00Z", "profileId": None, "purchasedItem": "hat", "purchaseAmount": "5"},
    ),
}


def event(source: str = "facebook", stage: str = "bottom", event_id: str = "e-1", **members: Any) -> dict[str, Any]:
    """A valid event; `members` replace those at its top."""
    event_type, engagement = _ENGAGEMENTS[source, stage]
    return copy.deepcopy(
        {
            "eventId": event_id,
            "timestamp": "2024-05-01T12:00:00.000Z",
            "source": source,
            "funnelStage": stage,
            "eventType": event_type,
            "data": {"user": _USERS[source], "engagement": engagement},
        }
        | members
    )


def text(value: object) -> bytes:
    """JSON text, compact, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def spliced(value: dict[str, Any], **members: bytes) -> bytes:
    """The JSON text of an event with raw JSON text in place of the strings `"@mark-name"`."""
    made = text(value)
    for name, raw in members.items():
        mark = f'"@mark-{name}"'.encode()
        assert made.count(mark) == 1, (name, made)
        made = made.replace(mark, raw)
    return made


def with_extra(raw: bytes, source: str = "tiktok", stage: str = "top", key: bytes = b'"extra"') -> bytes:
    """The JSON text of a valid event that has one more member in its data: `key` with the JSON text `raw`."""
    made = text(event(source, stage))
    return made.replace(b'"data":{', b'"data":{' + key + b":" + raw + b",", 1)


def sized(length: int) -> bytes:
    """The JSON text of a valid event of so many bytes."""
    short = len(with_extra(b'""'))
    made = with_extra(b'"' + b"x" * (length - short) + b'"')
    assert len(made) == length
    return made


def deep(depth: int) -> bytes:
    """The JSON text of a valid event but for its depth: nested so many levels, its own two included."""
    return with_extra(b"[" * (depth - 2) + b"]" * (depth - 2))


# --- strategies ------------------------------------------------------------------------------------------------------

_ODD_CHARACTERS = '\ufffe\uffff\U0001fffe\U0010ffff\u2028\u200d\ufeff\x7f\x80\x9f\u0301ſßİ𝟘٣"\\/\b\f\n\r\t\x01'
_texts = st.text(st.one_of(st.characters(codec="utf-8", exclude_characters="\0"), st.sampled_from(_ODD_CHARACTERS)))


def _quoted(value: str) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


strings = st.one_of(
    _texts.map(_quoted),
    _texts.map(lambda value: json.dumps(value).encode()),  # \uXXXX, pairs of surrogates
    st.sampled_from([b"k", b"\xf0\x9f\x98\x80", b"\\u00e9"]).map(lambda unit: b'"' + unit * 300 + b'"'),
    st.sampled_from(
        [
            b'"\\ud800"',
            b'"\\udc00\\ud800"',
            b'"\\ud83d\\ude00"',
            b'"\\u0000"',
            b'"\\\\u0000"',
            b'"\\\\\\u0000"',
            b'"\0"',
            b'"\xff"',
            b'"\xed\xa0\x80"',
            b'"\xc0\x80"',
            b'"\xf4\x90\x80\x80"',
            b'"\\u12"',
            b'"\\x41"',
            b'"a',
        ]
    ),
)
"""JSON texts of strings; some are none."""

_digits = st.integers(0, 10**25).map(str)
numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),  # NaN and Infinity too
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: json.dumps(value)),
    st.builds(
        "{}{}.{}e{}{}".format,
        st.sampled_from(["", "-"]),
        _digits,
        st.one_of(_digits, st.sampled_from(["0", "000", "0" * 400 + "1", "0" * 14_000 + "1"])),
        st.sampled_from(["", "-", "+", "-0000000000", "+00000"]),
        st.one_of(st.integers(0, 400), st.integers(14_000, 17_000), st.sampled_from([99_999, 2**31, 10**12])),
    ),
    st.builds(
        lambda digits, zeros, exponent: f"{digits}{'0' * zeros}e{exponent}",
        st.integers(0, 99),
        st.integers(0, 16_500),
        st.integers(-16_500, 400),
    ),
    st.builds(lambda digit, count: str(digit) * count, st.integers(1, 9), st.sampled_from([20, 400, 4300, 4301])),
    st.sampled_from(
        ["-0", "-0.0", "0e5", "0e-16383", "0e-16384", "0e-99999", "5.0", "1E2", "01", "1.", ".5", "-", "+1"]
    ),
).map(str.encode)
"""JSON texts of numbers; some are none."""

scalars = st.one_of(strings, numbers, st.sampled_from([b"null", b"true", b"false", b"nul", b""]))


def _object(members: list[tuple[bytes, bytes]]) -> bytes:
    return b"{" + b",".join(key + b":" + value for key, value in members) + b"}"


values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: b"[" + b",".join(items) + b"]"),
        st.lists(st.tuples(strings, inner), max_size=4).map(_object),
        st.builds(lambda item, depth: b"[" * depth + item + b"]" * depth, inner, st.sampled_from([1, 50, 190, 200])),
    ),
    max_leaves=8,
)
"""JSON texts of any value; some are none."""

_date = st.builds(
    "{:04}-{:02}-{:02}".format,
    st.sampled_from([0, 1969, 1970, 1972, 1999, 2000, 2023, 2024, 2099, 2100, 9999]),
    st.integers(0, 13),
    st.integers(0, 32),
)
_time = st.builds(
    "{:02}:{:02}:{:02}".format,
    st.sampled_from([0, 12, 23, 24]),
    st.sampled_from([0, 59, 60]),
    st.sampled_from([0, 59, 60, 61]),
)
instants = st.builds(
    "{}{}{}{}{}".format,
    st.one_of(_date, st.sampled_from(["2024-02-30", "2024-02-29", "2023-02-29", "2024-04-31", "٢٠٢٤-01-01"])),
    st.sampled_from(["T", "t", " "]),
    st.one_of(_time, st.sampled_from(["12:00:0٣", "12:00"])),
    st.sampled_from(["", ".", ".1", ".123456", ".999999999", ".1234567890", ".٣"]),
    st.sampled_from(["Z", "z", "", "+00:00", "-00:00", "+14:59", "-14:59", "+15:00", "+23:59", "+0530", "+05"]),
)
amounts = st.one_of(
    st.integers(0, 10**20).map(str),
    st.decimals(0, 10**16, allow_nan=False, places=6).map(str),
    st.from_regex(r"\A[0-9٣]{1,16}(\.[0-9٣]{0,7})?\Z"),
    st.sampled_from(
        ["0", "0.00", "-1", "+1", "1e5", ".5", "5.", "NaN", "Infinity", "", " 1", "1\n", "999999999999999.999999"]
    ),
)


@st.composite
def hunting_events(draw: st.DrawFn) -> tuple[str, bytes]:
    """A source, and the text of one of its events with up to three odd things in it; most are valid."""
    source, stage = draw(st.sampled_from(PLACES))
    made = event(source, stage)
    replaced: dict[str, bytes] = {}
    for number in range(draw(st.integers(1, 3))):
        parent, member, strategy = draw(st.sampled_from(_places_of(made)))
        name = f"{number}"
        if f"@mark-{name}" in str(parent.get(member)):
            continue
        previous = parent.get(member)
        if isinstance(previous, str) and previous.startswith("@mark-"):
            del replaced[previous.removeprefix("@mark-")]
        parent[member] = f"@mark-{name}"
        replaced[name] = draw(strategy)
    written = spliced(made, **replaced)
    if draw(st.booleans()):
        key, value = draw(st.one_of(st.tuples(strings, values), st.tuples(_known_keys, values)))
        place = draw(st.sampled_from([b'{"eventId"', b'"data":{', b'"user":{', b'"engagement":{']))
        at = place.index(b"{") + 1
        written = written.replace(place, place[:at] + key + b":" + value + b"," + place[at:], 1)
    if draw(st.integers(0, 9)) == 0:  # a duplicate of a member, or a stray one, that comes last
        written = written[:-1] + b"," + draw(_known_keys) + b":" + draw(st.one_of(values, strings)) + b"}"
    return source, written


_known_keys = st.sampled_from(
    [
        b'"eventId"',
        b'"\\u0065ventId"',
        b'"timestamp"',
        b'"source"',
        b'"funnelStage"',
        b'"eventType"',
        b'"user"',
        b'"userId"',
        b'"age"',
        b'"followers"',
        b'"watchTime"',
        b'"purchaseAmount"',
        b'"campaignId"',
    ]
)


def _places_of(made: dict[str, Any]) -> list[tuple[dict[str, Any], str, st.SearchStrategy[bytes]]]:
    """Where an odd value may stand in an event: the object, the member, and what is drawn for it."""
    user, engagement = made["data"]["user"], made["data"]["engagement"]
    quoted = {"timestamp": instants, "actionTime": instants, "purchaseAmount": amounts}
    found: list[tuple[dict[str, Any], str, st.SearchStrategy[bytes]]] = []
    for parent in (made, user, engagement, user.get("location", {})):
        for member, value in parent.items():
            if member in quoted:
                found += [(parent, member, quoted[member].map(_quoted))] * 2
            elif isinstance(value, int | float):
                found.append((parent, member, numbers))
            elif isinstance(value, str) and member not in ("source", "funnelStage", "eventType"):
                found.append((parent, member, strings))
    # An extra member, which may hold anything.
    found += [(parent, "extra", values) for parent in (made, made["data"], user, engagement)] * 2
    return found
