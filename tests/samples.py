"""Valid events of every source and stage, and strategies that hunt for the edges of the contract."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

from eventpipeline.events import EventValidator, fits_fast_path, source_of
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
        {"watchTime": 12.5, "percentageWatched": 80.5, "device": "iOS", "country": "France", "videoId": "v-1"},
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


def gateway_takes(source: str, written: bytes) -> bool:
    """Whether the gateway takes the JSON text of an event, as one of this source."""
    try:
        named = source_of(written).source
    except (msgspec.MsgspecError, RecursionError):
        return False
    validator = VALIDATORS[source]
    fast = fits_fast_path(len(written)) and validator.all_valid(b"[" + written + b"]")
    return named == source and (fast or validator.fault(written) is None)


# --- strategies ------------------------------------------------------------------------------------------------------
# Two kinds of each: `odd` texts keep the rules, most of them, and look for what a reader might not expect; `wild` ones
# look for the rules' own edges, from both sides, and need not be JSON.

_ODD_CHARACTERS = '\ufffe\uffff\ufdd0\U0001fffe\U0010ffff\u2028\u200d\ufeff\x7f\x80\u0301ſßİ𝟘٣"\\/\b\f\n\r\t\x01 '
_texts = st.text(
    st.one_of(st.characters(codec="utf-8", exclude_characters="\0"), st.sampled_from(_ODD_CHARACTERS)),
    min_size=1,
    max_size=100,
)


def _quoted(value: str) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _listed(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def _object(members: list[tuple[bytes, bytes]]) -> bytes:
    return b"{" + b",".join(key + b":" + value for key, value in members) + b"}"


def _nested(item: bytes, depth: int) -> bytes:
    return b"[" * depth + item + b"]" * depth


_odd_strings = st.one_of(
    _texts.map(_quoted),
    _texts.map(lambda value: json.dumps(value).encode()),  # \uXXXX, pairs of surrogates
    st.sampled_from([b'"\\\\u0000"', b'"\\\\\\\\u0000"', b'"\\/\\ud83d\\ude00"', b'"Infinity"', b'"null"']),
)
_long_strings = st.sampled_from([b"k", b"\xf0\x9f\x98\x80", b"\\u00e9"]).map(lambda unit: b'"' + unit * 300 + b'"')
_wild_strings = st.sampled_from(
    [
        *(b'""', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\\\\\\u0000"', b'"\0"', b'"\x1f"', b'"\xff"'),
        *(
            b'"\xed\xa0\x80"',
            b'"\xc0\x80"',
            b'"\xf4\x90\x80\x80"',
            b'"\\u12"',
            b'"\\x41"',
            b'"a',
            b'"' + b"x" * 129 + b'"',
        ),
    ]
)

_odd_numbers = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.builds(
        "{}{}.{}e{}{}".format,
        st.sampled_from(["", "-"]),
        st.integers(0, 10**25),
        st.sampled_from(["0", "000", "125", "0" * 400 + "1", "0" * 14_000 + "1"]),
        st.sampled_from(["", "-", "+", "-0000000000", "+00000"]),
        st.integers(0, 280),
    ),
    st.builds(lambda digit, zeros: f"{digit}{'0' * zeros}e-{zeros}", st.integers(0, 99), st.integers(0, 4200)),
    st.builds(lambda digit, zeros, less: f"0.{'0' * zeros}{digit}E{zeros - less}", *[st.integers(1, 9_000)] * 3),
    st.builds(lambda digit, count: str(digit) * count, st.integers(1, 9), st.sampled_from([20, 400, 4300])),
    st.sampled_from(["-0", "-0.0", "0.0", "0e5", "0e-16383", "0e16383", "1e-16383", "5.0", "1E2", "5e-324", "1e308"]),
).map(str.encode)
_wild_numbers = st.one_of(
    st.floats().map(repr),  # NaN and Infinity too
    st.builds("{}e{}{}".format, st.integers(0, 9), st.sampled_from(["", "-"]), st.integers(300, 20_000)),
    st.sampled_from(["0e-16384", "0e-99999", "1e9999999999", "1" * 4301, "01", "1.", ".5", "-", "+1", "true", '"5"']),
).map(str.encode)

_odd_scalars = st.one_of(_odd_strings, _odd_numbers, st.sampled_from([b"null", b"true", b"false"]))
_odd_values = st.recursive(
    st.one_of(_odd_scalars, _long_strings),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(_listed),
        st.lists(st.tuples(st.one_of(_odd_strings, _long_strings), inner), max_size=4).map(_object),
        st.builds(_nested, inner, st.sampled_from([1, 40])),
    ),
    max_leaves=8,
)
_wild_values = st.one_of(
    _wild_strings,
    _wild_numbers,
    st.sampled_from([b"nul", b"", b"[1,]", b"{1:2}"]),
    st.tuples(_wild_strings, _odd_scalars).map(lambda member: _object([member])),
    st.builds(_nested, st.one_of(_odd_scalars, _wild_numbers), st.integers(190, 210)),
)

_offsets = st.sampled_from(["Z", "+00:00", "-00:00", "+14:59", "-14:59", "+05:30"])
_fractions = st.sampled_from(["", ".1", ".123456", ".999999999", ".9999995", ".000000001"])
_odd_instants = st.builds(
    lambda moment, fraction, offset: f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{offset}",
    st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31, 23, 59, 59)),
    _fractions,
    _offsets,
).map(_quoted)
_wild_instants = st.one_of(
    st.sampled_from(["", "z", " Z", ".٣Z", "+15:00", "+0530", "+05", "Z\n"]).map("2024-05-01T12:00:00{}".format),
    st.sampled_from(["2024-02-30T12:00:00Z", "2023-02-29T12:00:00Z", "2024-04-31T12:00:00Z", "2100-02-29T12:00:00Z"]),
    st.sampled_from(
        ["2024-05-01T12:00:0٣Z", "2024-05-01T12:00:00.٣Z", "2024-05-01T12:00:00.1234567890Z", "now", "٢٠٢٤"]
    ),
    st.sampled_from(["2024-05-01T24:00:00Z", "2024-05-01T12:60:00Z", "2016-12-31T23:59:60Z", "2024-05-01 12:00:00Z"]),
    st.builds(
        "{:04}-{:02}-{:02}T00:00:00Z".format,
        st.sampled_from([0, 1969, 1970, 1972, 1999, 2000, 2023, 2024, 2099, 2100, 9999]),
        st.sampled_from([0, 1, 2, 2, 4, 12, 13]),
        st.sampled_from([0, 1, 28, 29, 30, 31, 32]),
    ),
).map(_quoted)

_odd_amounts = st.from_regex(r"\A[0-9]{1,15}(\.[0-9]{1,6})?\Z").map(_quoted)
_wild_amounts = st.one_of(
    st.integers(0, 10**20).map(str),
    st.from_regex(r"\A[0-9٣]{1,16}(\.[0-9٣]{0,7})?\Z"),
    st.sampled_from(
        ["٣", "1٣", "1.٣", "12.5٣", "-1", "+1", "1e5", ".5", "5.", "NaN", "Infinity", "", " 1", "1\n", "0x1", "1_0"]
    ),
).map(_quoted)

_known_keys = st.sampled_from(
    [
        *(b'"eventId"', b'"\\u0065ventId"', b'"timestamp"', b'"source"', b'"funnelStage"', b'"eventType"', b'"user"'),
        *(b'"userId"', b'"age"', b'"followers"', b'"watchTime"', b'"purchaseAmount"', b'"campaignId"', b'"country"'),
    ]
)


_OBJECTS = [
    (b'{"eventId"', b'"eventId"'),
    (b'"data":{', b'"user"'),
    (b'"user":{', b'"userId"'),
    (b'"engagement":{', b'"purchaseAmount"'),
]
"""How the objects of an event begin, and a member that each of them has."""


@st.composite
def hunting_events(draw: st.DrawFn) -> tuple[str, bytes]:
    """A source, and the text of one of its events with odd things in it; three of four keep the rules."""
    source, stage = draw(st.sampled_from(PLACES))
    wild = draw(st.integers(0, 3)) == 0
    made = event(source, stage)
    raw: dict[str, bytes] = {}
    places = draw(st.lists(st.sampled_from(_places_of(made)), min_size=1, max_size=3, unique_by=lambda p: p[:2]))
    for number, (path, member, strategies) in enumerate(places):
        parent = made
        for part in path:
            parent = parent[part]
        parent[member] = f"@mark-{number}"
        raw[str(number)] = draw(strategies[1] if wild and number == 0 else strategies[0])
    written = spliced(made, **raw)
    if draw(st.booleans()):  # stray members, and members that come twice: the last counts
        place, own = draw(st.sampled_from(_OBJECTS))
        at = place.index(b"{") + 1
        key = draw(st.one_of(st.just(own), _known_keys))
        member = key + b":" + draw(st.one_of(_wild_values, _wild_numbers) if wild else _odd_values) + b","
        written = written.replace(place, place[:at] + member + place[at:], 1)
    if draw(st.integers(0, 9)) == 0:
        written = written[:-1] + b"," + draw(_known_keys) + b":" + draw(_odd_values) + b"}"
    return source, written


_ENUMERATED = frozenset(
    {"source", "funnelStage", "eventType", "gender", "referrer", "clickPosition", "device", "browser", "user"}
)
_Strategies = tuple[st.SearchStrategy[bytes], st.SearchStrategy[bytes]]


def _places_of(made: dict[str, Any]) -> list[tuple[tuple[str, ...], str, _Strategies]]:
    """Where an odd value may stand in an event: the way to the object, the member, and what is drawn for it."""
    found: list[tuple[tuple[str, ...], str, _Strategies]] = []
    for path in ((), ("data",), ("data", "user"), ("data", "engagement"), ("data", "user", "location")):
        parent = made
        for part in path:
            parent = parent.get(part, {})
        found += [(path, "extra", (_odd_values, _wild_values))] if parent else []
        found += [(path, name, _strategies_for(name, value)) for name, value in parent.items() if _is_free(name, value)]
    return found


def _is_free(name: str, value: object) -> bool:
    return name not in _ENUMERATED and not isinstance(value, dict)


def _strategies_for(name: str, value: object) -> _Strategies:
    if name in ("timestamp", "actionTime"):
        return _odd_instants, _wild_instants
    if name == "purchaseAmount":
        return _odd_amounts, _wild_amounts
    if name in ("age", "percentageWatched", "followers", "watchTime"):
        within = st.integers(0, 100).map(lambda number: str(number).encode())
        precise = [b"0.0", b"-0.0", b"1E1", b"0.1e2", b"0e-16383", b"99.9999999999999999999"]
        precise += [b"1e-310", b"0.25"] if isinstance(value, float) else []
        return st.one_of(within, st.sampled_from(precise)), st.one_of(_odd_numbers, _wild_numbers)
    return _odd_strings, st.one_of(_wild_strings, _long_strings)
