"""The event contract: what is valid, and what is said of what is not.

How the two routes go together: what `all_valid` says yes to, `fault` has nothing against. The other way round it holds
for events that `fits_fast_path`, unless their text has a float that reads as zero, an exponent of three digits or more,
or `\\u0000`, or is as deep as it may be: those `all_valid` may leave to `fault`.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings

from eventpipeline import events
from eventpipeline.events import (
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    Rejection,
    fault_without_source,
    fits_fast_path,
    refused,
    source_of,
)
from eventpipeline.publisher.corruption import CORRUPTIONS
from samples import PLACES, VALIDATORS, deep, event, hunting_events, sized, spliced, text, with_extra

INSTANT = "must be an RFC 3339 time that exists, with an offset, from 1970 to 2099: 2024-05-01T12:00:00Z"
DECIMAL = 'must be a decimal string of at most 15 digits before and 6 after the point, such as "12.50"'


def fault(written: bytes) -> Rejection | None:
    return VALIDATORS[source_named(written)].fault(written)


def source_named(written: bytes) -> str:
    return "tiktok" if b'"tiktok"' in written else "facebook"


def is_valid(written: bytes) -> bool:
    """Asks both routes, which must agree where the fast one says yes."""
    validator = VALIDATORS[source_named(written)]
    slow = validator.fault(written) is None
    if fits_fast_path(len(written)) and validator.all_valid(b"[" + written + b"]"):
        assert slow
    return slow


def why(written: bytes) -> tuple[str, list[Any], str]:
    """Reason, place and message of the one fault of an event."""
    rejection = fault(written)
    assert rejection
    if written and fits_fast_path(len(written)):
        assert not VALIDATORS[source_named(written)].all_valid(b"[" + written + b"]")
    (detail,) = rejection.detail
    return rejection.reason, detail["loc"], detail["msg"]


# --- the publisher's corruptions -------------------------------------------------------------------------------------

MESSAGES = {
    "timestamp invalid": (["timestamp"], INSTANT),
    "eventId deleted": (["eventId"], "is missing"),
    "user deleted": (["data", "user"], "is missing"),
    "user.name deleted": (["data", "user", "name"], "is missing"),
    "user.username deleted": (["data", "user", "username"], "is missing"),
    "funnelStage invalid": (["funnelStage"], "must be 'top' or 'bottom'"),
    "actionTime -1": (["data", "engagement", "actionTime"], "must be a valid string"),
    "watchTime -1": (["data", "engagement", "watchTime"], "must be greater than or equal to 0"),
    "adId deleted": (["data", "engagement", "adId"], "is missing"),
    "purchasedItem deleted": (["data", "engagement", "purchasedItem"], "is missing"),
    "gender alien": (["data", "user", "gender"], "must be 'male', 'female' or 'non-binary'"),
    "followers not a number": (["data", "user", "followers"], "must be a valid number"),
}


@pytest.mark.parametrize(("source", "stage"), PLACES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_refused_where_the_field_belongs_and_kept_elsewhere(name: str, source: str, stage: str) -> None:
    corruption = CORRUPTIONS[name]
    spoiled = event(source, stage)
    corruption.apply(spoiled)
    reason = corruption.reason_at(source, stage)
    if reason is None:
        assert is_valid(text(spoiled))
        return
    found = why(text(spoiled))
    assert found[0] == reason
    if name in MESSAGES:
        assert found[1:] == MESSAGES[name]
    else:
        assert found[1] == ["eventType"]
        assert found[2].startswith("must be '")


def test_a_rejection_carries_what_could_be_read() -> None:
    spoiled = event("tiktok", "bottom", "e-9")
    del spoiled["data"]["user"]["followers"]
    rejection = fault(text(spoiled))
    assert rejection
    assert (rejection.event_id, rejection.source, rejection.funnel_stage, rejection.event_type) == (
        "e-9",
        "tiktok",
        "bottom",
        "purchase",
    )


def test_every_fault_of_an_event_is_listed_up_to_twenty() -> None:
    spoiled = event("facebook", "bottom")
    spoiled["timestamp"] = 5
    spoiled["data"]["user"] = {}
    spoiled["data"]["engagement"] = {}
    rejection = fault(text(spoiled))
    assert rejection
    assert rejection.reason == "wrong_type"
    assert [detail["loc"][-1] for detail in rejection.detail] == [
        *("timestamp", "userId", "name", "age", "gender", "location"),
        *("adId", "campaignId", "clickPosition", "device", "browser", "purchaseAmount"),
    ]


@pytest.mark.parametrize(("source", "stage"), PLACES)
def test_each_member_is_required(source: str, stage: str) -> None:
    whole = event(source, stage)
    places: list[tuple[str, ...]] = [(member,) for member in whole]
    places += [("data", member) for member in whole["data"]]
    places += [("data", part, member) for part in ("user", "engagement") for member in whole["data"][part]]
    assert is_valid(text(whole))
    for *parents, member in places:
        spoiled = event(source, stage)
        target = spoiled
        for parent in parents:
            target = target[parent]
        del target[member]
        reason, loc, message = missing_source(text(spoiled)) if member == "source" else why_in(source, text(spoiled))
        assert (reason, loc) == ("missing_field", [*parents, member])
        assert message.startswith("is missing")


def missing_source(written: bytes) -> tuple[str, list[Any], str]:
    rejection = fault_without_source(written, VALIDATORS)
    return rejection.reason, rejection.detail[0]["loc"], rejection.detail[0]["msg"]


def why_in(source: str, written: bytes) -> tuple[str, list[Any], str]:
    rejection = VALIDATORS[source].fault(written)
    assert rejection
    return rejection.reason, rejection.detail[0]["loc"], rejection.detail[0]["msg"]


@pytest.mark.parametrize(
    ("source", "stage", "member"),
    [
        ("facebook", "top", "videoId"),
        ("facebook", "bottom", "purchaseAmount"),
        ("tiktok", "bottom", "profileId"),
        ("tiktok", "bottom", "purchasedItem"),
        ("tiktok", "bottom", "purchaseAmount"),
    ],
)
def test_null_stands_for_no_value_only_where_the_contract_says_so(source: str, stage: str, member: str) -> None:
    engagement = event(source, stage)["data"]["engagement"]
    for name in engagement:
        spoiled = event(source, stage)
        spoiled["data"]["engagement"][name] = None
        nullable = (source, stage, name) in NULLABLE
        assert is_valid(text(spoiled)) == nullable, name
    assert (source, stage, member) in NULLABLE


NULLABLE = {
    ("facebook", "top", "videoId"),
    ("facebook", "bottom", "purchaseAmount"),
    ("tiktok", "bottom", "profileId"),
    ("tiktok", "bottom", "purchasedItem"),
    ("tiktok", "bottom", "purchaseAmount"),
}


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "instant",
    [
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00+14:59",  # 1969 in UTC; Postgres takes it
        "2099-12-31T23:59:59.999999999-14:59",
        "2024-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
        "2024-05-01T12:00:00.1Z",
        "2024-05-01T12:00:00.123456789+05:30",
        "2024-05-01T12:00:00-00:00",
    ],
)
def test_times_that_are_taken(instant: str) -> None:
    assert is_valid(text(event(timestamp=instant)))


@pytest.mark.parametrize(
    "instant",
    [
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2024-04-31T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-05-00T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2024-05-01T12:00:00",  # without offset
        "2024-05-01T12:00:00.1234567890Z",
        "2024-05-01T12:00:00.Z",
        "2024-05-01T12:00Z",
        "2024-05-01T24:00:00Z",
        "2024-05-01T12:60:00Z",
        "2016-12-31T23:59:60Z",  # a leap second that was
        "2024-05-01t12:00:00Z",
        "2024-05-01T12:00:00z",
        "2024-05-01 12:00:00Z",
        "2024-05-01T12:00:00+15:00",
        "2024-05-01T12:00:00+05",
        "2024-05-01T12:00:00+0530",
        "2024-05-01T12:00:00Z\n",
        " 2024-05-01T12:00:00Z",
        "2024-05-01T12:00:0\u0663Z",  # a digit, but not one that Postgres reads
        "infinity",
        "now",
        "",
    ],
)
def test_times_that_are_refused(instant: str) -> None:
    assert why(text(event(timestamp=instant))) == ("invalid_value", ["timestamp"], INSTANT)
    top = event("facebook", "top")
    top["data"]["engagement"]["actionTime"] = instant
    assert why(text(top)) == ("invalid_value", ["data", "engagement", "actionTime"], INSTANT)


@pytest.mark.parametrize("year", [1970, 1972, 1999, 2000, 2001, 2024, 2099])
def test_exactly_the_days_that_exist_are_taken(year: int) -> None:
    from datetime import date

    for month in range(14):
        for day in range(33):
            try:
                date(year, month, day)
                exists = True
            except ValueError:
                exists = False
            instant = f"{year}-{month:02}-{day:02}T00:00:00Z"
            assert bool(re.search(events.INSTANT_PATTERN, instant)) == exists, instant


# --- amounts, strings, numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", ["0", "0.00", "12.5", "007.10", "999999999999999.999999"])
def test_amounts_that_are_taken(amount: str) -> None:
    assert is_valid(spliced(with_amount(), amount=text(amount)))


@pytest.mark.parametrize(
    "amount",
    ["", "-1", "+1", "1.", ".5", "1e3", "1,50", " 1", "1\n", "NaN", "1" * 16, "1.1234567", "\u0661\u0662", "1.\u0663"],
)
def test_amounts_that_are_refused(amount: str) -> None:
    written = spliced(with_amount(), amount=text(amount))
    assert why(written) == ("invalid_value", ["data", "engagement", "purchaseAmount"], DECIMAL)


@pytest.mark.parametrize("amount", [b"12", b"12.5", b"true", b"[]"])
def test_an_amount_is_a_string(amount: bytes) -> None:
    assert why(spliced(with_amount(), amount=amount))[0] == "wrong_type"


def with_amount() -> dict[str, Any]:
    made = event("tiktok", "bottom")
    made["data"]["engagement"]["purchaseAmount"] = "@mark-amount"
    return made


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
def test_lengths_count_characters(letter: str) -> None:
    assert is_valid(text(event(event_id=letter * 128)))
    assert why(text(event(event_id=letter * 129)))[:2] == ("invalid_value", ["eventId"])
    for member in ("adId", "campaignId"):
        made = event()
        made["data"]["engagement"][member] = letter * 256
        assert is_valid(text(made))
        made["data"]["engagement"][member] = letter * 257
        assert why(text(made)) == (
            "invalid_value",
            ["data", "engagement", member],
            "must have at most 256 characters",
        )


def test_empty_strings_are_taken_but_for_identities() -> None:
    made = event()
    made["data"]["user"]["name"] = made["data"]["engagement"]["adId"] = ""
    made["data"]["user"]["location"] = {"country": "", "city": ""}
    assert is_valid(text(made))
    assert why(text(event(event_id=""))) == ("invalid_value", ["eventId"], "must have at least 1 character")
    made["data"]["user"]["userId"] = ""
    assert why(text(made)) == ("invalid_value", ["data", "user", "userId"], "must have at least 1 character")


@pytest.mark.parametrize("raw", [b"true", b"false", b'"34"', b"null", b"[5]"])
def test_what_is_no_number(raw: bytes) -> None:
    for source, member in (("facebook", "age"), ("tiktok", "followers")):
        made = event(source, "top")
        made["data"]["user"][member] = "@mark-number"
        assert why(spliced(made, number=raw)) == ("wrong_type", ["data", "user", member], "must be a valid number")


@pytest.mark.parametrize(
    ("raw", "valid"), [(b"34.0", 1), (b"1e1", 1), (b"0.0", 1), (b"-0.0", 1), (b"34.5", 0), (b"1e-1", 0)]
)
def test_an_integer_is_a_whole_number_however_it_is_written(raw: bytes, valid: int) -> None:
    """As JSON Schema has it, and as languages write it whose numbers are all doubles."""
    for source, member in (("facebook", "age"), ("tiktok", "followers")):
        made = event(source, "top")
        made["data"]["user"][member] = "@mark-number"
        written = spliced(made, number=raw)
        assert is_valid(written) == bool(valid)
        assert valid or why(written) == ("invalid_value", ["data", "user", member], "must be a whole number")


@pytest.mark.parametrize(
    ("raw", "valid"), [(b"0", 1), (b"-0", 1), (b"150", 1), (b"151", 0), (b"-1", 0), (b"9" * 400, 0)]
)
def test_age_has_bounds(raw: bytes, valid: int) -> None:
    made = event("facebook", "top")
    made["data"]["user"]["age"] = "@mark-age"
    assert is_valid(spliced(made, age=raw)) == bool(valid)


def test_numbers_of_the_contract_end_where_a_double_is_exact() -> None:
    made = event("tiktok", "top")
    made["data"]["user"]["followers"] = 2**53 - 1
    assert is_valid(text(made))
    made["data"]["user"]["followers"] = 2**53
    assert why(text(made))[:2] == ("invalid_value", ["data", "user", "followers"])


@pytest.mark.parametrize(
    "raw", [b"0", b"0.0", b"-0.0", b"-0", b"0e5", b"1e2", b"100", b"99.99999", b"1e-310", b"1e-400", b"0e-16383"]
)
def test_measures_that_are_taken(raw: bytes) -> None:
    assert is_valid(spliced(with_percentage(), number=raw))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"-1", "invalid_value"),
        (b"-1e-300", "invalid_value"),
        (b"100.1", "invalid_value"),
        (b"101", "invalid_value"),
        (b"1e400", "invalid_value"),
        (b"1e-20000", "invalid_value"),
        (b"0e-99999", "invalid_value"),
        (b"9" * 400, "invalid_value"),
        (b"NaN", "invalid_json"),
        (b"Infinity", "invalid_json"),
        (b"-Infinity", "invalid_json"),
        (b"true", "wrong_type"),
        (b'"80"', "wrong_type"),
        (b"null", "wrong_type"),
        (b"01", "invalid_json"),
        (b"1.", "invalid_json"),
        (b"+1", "invalid_json"),
    ],
)
def test_measures_that_are_refused(raw: bytes, reason: str) -> None:
    assert why(spliced(with_percentage(), number=raw))[0] == reason


def with_percentage() -> dict[str, Any]:
    made = event("tiktok", "top")
    made["data"]["engagement"]["percentageWatched"] = "@mark-number"
    return made


@pytest.mark.parametrize(
    "raw",
    [
        b"9" * 400,
        b"-" + b"9" * 4300,
        b"1e308",
        b"1e-323",
        b"1e-16383",
        b"0." + b"0" * 16_382 + b"1",
        b"1" + b"0" * 4299 + b"e-4299",
        b"0." + b"0" * 14_000 + b"1e13900",
        b"0e-16383",
        b"1e-000000000000000000005",
        b"0.0",
    ],
)
def test_extra_numbers_that_every_reader_can_hold_are_kept(raw: bytes) -> None:
    assert is_valid(with_extra(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"9" * 4301,
        b"1" + b"0" * 4300 + b"e-4300",
        b"1e309",
        b"1e400",
        b"1e-16384",
        b"1e-20000",
        b"0e-99999",
        b"0e99999",
        b"1e" + b"9" * 5000,
        b"1e-" + b"9" * 5000,
        b"0." + b"0" * 16_384,
        b"1." + b"0" * 20_000,
    ],
)
def test_extra_numbers_that_some_reader_cannot_hold_are_refused(raw: bytes) -> None:
    reason, _, message = why(with_extra(raw))
    assert reason == "invalid_value"
    assert message == f"holds the number {raw[:40].decode()}, which is out of range"


# --- the text itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["eventId", "timestamp", "funnelStage", "eventType"])
@pytest.mark.parametrize("raw", [b"5", b"null", b"true", b"{}", b"[]", b'["top"]'])
def test_members_of_another_type(member: str, raw: bytes) -> None:
    made = event()
    made[member] = "@mark-it"
    assert why(spliced(made, it=raw))[:2] == ("wrong_type", [member])


@pytest.mark.parametrize(
    ("member", "raw", "spoiling"),
    [
        ("eventId", b'"e-1"', b"5"),
        ("timestamp", b'"2024-05-01T12:00:00Z"', b'"2024-02-30T12:00:00Z"'),
        ("funnelStage", b'"bottom"', b'"middle"'),
        ("eventType", b'"purchase"', b"[]"),
        ("data", text(event("tiktok", "bottom")["data"]), b"{}"),
    ],
)
def test_of_two_members_of_one_name_the_last_counts(member: str, raw: bytes, spoiling: bytes) -> None:
    """As for `json.loads`, and for Postgres' jsonb."""
    made = text(event("tiktok", "bottom"))
    key = text(member) + b":"
    escaped = b'"\\u%04x%s":' % (ord(member[0]), member[1:].encode())
    for second in (key, escaped):
        assert is_valid(made.replace(b"{", b"{" + key + spoiling + b",", 1))
        assert not is_valid(made[:-1] + b"," + second + spoiling + b"}")
        assert is_valid(made[:-1] + b"," + key + spoiling + b"," + second + raw + b"}")


@pytest.mark.parametrize("first", [b"5", b"[]", b"null"])
def test_a_source_that_comes_twice_and_is_not_read_alike_is_named(first: bytes) -> None:
    written = text(event()).replace(b"{", b'{"source":' + first + b",", 1)
    with pytest.raises(msgspec.MsgspecError):
        source_of(written)
    assert missing_source(written) == (
        "invalid_value",
        ["source"],
        "is there more than once; give it once, as a string",
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"1e-20000", "invalid_value"),
        (b"[[1E-20000 ]]", "invalid_value"),
        (b'{"a":-5.25e-20000}', "invalid_value"),
        (b"1e-00000000016384", "invalid_value"),
        (b"1e+200000", "invalid_value"),
        (b"1e200000\n", "invalid_value"),
        (b'"\\u0000"', "null_character"),
        (b'"\\ud800"', "invalid_json"),
        (b"NaN", "invalid_json"),
    ],
)
def test_what_postgres_cannot_read_is_refused_in_the_member_that_does_not_count_too(raw: bytes, reason: str) -> None:
    made = text(event("tiktok", "top"))
    for place in (b'{"eventId":', b'"data":', b'"watchTime":', b'"followers":'):
        at = made.index(place) + (place[:1] == b"{")
        key = place.lstrip(b"{")
        written = made[:at] + key + raw + b"," + made[at:]
        if raw == b"NaN":  # pydantic reads it, but the gateway splits bodies with msgspec, which does not
            with pytest.raises(msgspec.DecodeError):
                source_of(written)
            assert missing_source(written)[0] == reason
        else:
            assert why(written)[0] == reason


def test_the_source_that_is_read_is_the_last_too() -> None:
    made = text(event("tiktok", "bottom"))
    first = made.replace(b"{", b'{"source":"facebook",', 1)
    last = made[:-1] + b',"source":"facebook"}'
    assert source_of(first).source == "tiktok"
    assert VALIDATORS["tiktok"].fault(first) is None
    assert source_of(last).source == "facebook"
    rejection = VALIDATORS["facebook"].fault(last)
    assert rejection
    assert rejection.reason == "invalid_value"


@pytest.mark.parametrize("raw", [b'"\\u0000"', b'"a\\\\\\u0000b"', b'{"\\u0000":1}', b'[[{"a":["x","\\u0000"]}]]'])
def test_the_null_character_is_refused_wherever_it_stands(raw: bytes) -> None:
    reason, _, message = why(with_extra(raw))
    assert (reason, message) == ("null_character", "holds the character U+0000, which cannot be stored")


@pytest.mark.parametrize("raw", [b'"\\\\u0000"', b'"\\\\\\\\u0000"', b'{"\\\\u0000":1}'])
def test_an_escaped_backslash_before_u0000_is_no_null_character(raw: bytes) -> None:
    assert is_valid(with_extra(raw))


@pytest.mark.parametrize(
    "raw", [b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\ud800"', b'"\\udc00\\ud800"', b'{"\\udfff":1}']
)
def test_half_a_surrogate_pair_is_refused_and_named(raw: bytes) -> None:
    written = with_extra(raw)
    reason, _, message = why(written)
    assert reason == "invalid_json"
    assert re.fullmatch(r"is not JSON: U\+D[89A-F]\w\w is half of a surrogate pair, and no character", message)
    # msgspec does not read it either, so the gateway asks this one.
    assert missing_source(written)[0::2] == (reason, message)


@pytest.mark.parametrize("raw", [b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'{"\xff":1}'])
def test_invalid_utf_8_is_refused(raw: bytes) -> None:
    assert why(with_extra(raw))[0] == "invalid_json"


@pytest.mark.parametrize(
    "raw", [b'"\x01"', b'"\0"', b'"a\nb"', b'{"\x1f":1}', b'"\\x41"', b'"\\u12"', b'"a', b"", b"nul"]
)
def test_what_json_does_not_allow_is_refused(raw: bytes) -> None:
    assert why(with_extra(raw))[0] == "invalid_json"


@pytest.mark.parametrize("raw", ['"\ufffe\uffff\U0010ffff"', '"\u2028\u200d\ufeff\x7f"', '"\\/\\ud83d\\ude00"'])
def test_every_other_character_is_taken(raw: str) -> None:
    assert is_valid(with_extra(raw.encode()))


@pytest.mark.parametrize(
    "written",
    [b"\xef\xbb\xbf" + text(event()), text(event()).decode().encode("utf-16"), text(event()) + b"x", b"{", b""],
)
def test_what_is_no_json_text_in_utf_8_is_refused(written: bytes) -> None:
    assert why(written)[0] == "invalid_json"
    assert missing_source(written)[0] == "invalid_json"


@pytest.mark.parametrize("written", [b"[]", b"1", b"null", b'"x"', b"true", b'["facebook"]'])
def test_what_is_no_object_is_refused(written: bytes) -> None:
    assert missing_source(written)[0::2] == ("not_an_object", "is not a JSON object; an event is one")


def test_depth() -> None:
    assert is_valid(deep(200))
    for depth in (201, 10_000):
        reason, _, message = why(deep(depth))
        assert (reason, message) == ("invalid_json", "is nested deeper than 200 levels")
        assert missing_source(deep(depth))[0::2] == (reason, message)


def test_size() -> None:
    assert is_valid(sized(MAX_EVENT_BYTES))
    for size in (MAX_EVENT_BYTES + 1, 600 * 1024):
        reason, _, message = why(sized(size))
        assert (reason, message) == ("too_large", f"has {size} bytes; at most 262144 are taken")
        assert missing_source(sized(size))[0] == "too_large"


@pytest.mark.parametrize(
    "written",
    [
        b'"' + b'\\"' * 100_000,
        b'"' + b'\\"' * 100_000 + b"\\",
        b"[" * 200_000,
        b'{"' + b"x" * 250_000,
        b'{"a":' * 50_000,
        b"1" * 250_000,
        b"1e" + b"1" * 250_000,
        b'{"a":' + b"1e9," * 60_000,
    ],
)
def test_no_text_takes_long(written: bytes) -> None:
    started = time.process_time()
    fault_without_source(written, VALIDATORS)
    VALIDATORS["facebook"].fault(written)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("raw", "reason", "message"),
    [
        (b'"instagram"', "unknown_source", "is none of this pipeline's sources: facebook, tiktok"),
        (b"5", "unknown_source", "is none of this pipeline's sources: facebook, tiktok"),
        (b"null", "unknown_source", "is none of this pipeline's sources: facebook, tiktok"),
    ],
)
def test_a_source_that_is_not_known(raw: bytes, reason: str, message: str) -> None:
    made = event()
    made["source"] = "@mark-source"
    assert missing_source(spliced(made, source=raw)) == (reason, ["source"], message)


def test_refused_keeps_what_can_be_read() -> None:
    rejection = refused(text(event()), "beyond_retention", "is too old", loc=["timestamp"])
    assert (rejection.reason, rejection.event_id, rejection.source) == ("beyond_retention", "e-1", "facebook")
    assert rejection.detail == ({"loc": ["timestamp"], "msg": "is too old", "type": "beyond_retention"},)
    assert refused(b"\xff", "beyond_retention", "is too old").event_id is None


@pytest.mark.parametrize(
    ("raw", "label"), [('"' + "x" * 300 + '"', "x" * 256), ('"a\\u0000"', None), ('"\\ud800"', "?")]
)
def test_labels_are_fit_to_be_shown_and_stored(raw: str, label: str | None) -> None:
    made = event()
    made["eventId"] = "@mark-id"
    rejection = fault(spliced(made, id=raw.encode()))
    assert rejection
    assert rejection.event_id == label
    assert rejection.source == "facebook"


# --- the routes -----------------------------------------------------------------------------------------------------


def has_float_that_reads_as_zero(written: bytes) -> bool:
    found: list[float] = []
    json.loads(written, parse_float=lambda digits: found.append(float(digits)))
    return 0.0 in found


@pytest.mark.parametrize(("source", "stage"), PLACES)
def test_an_event_of_the_contract_alone_takes_the_quickest_route(source: str, stage: str) -> None:
    assert VALIDATORS[source]._decode(b"[" + text(event(source, stage)) + b"]")


@pytest.mark.parametrize(("source", "stage"), PLACES)
def test_a_member_that_the_contract_does_not_name_is_left_to_the_next_route(source: str, stage: str) -> None:
    written = b"[" + text(event(source, stage, surprise={"a": [1]})) + b"]"
    with pytest.raises(msgspec.ValidationError, match="surprise"):
        VALIDATORS[source]._decode(written)
    assert VALIDATORS[source].all_valid(written)


@pytest.mark.parametrize(
    "number",
    [b"1e-20000", b"0e99999", b"-1e-20000", b"1" + b"0" * 4300 + b"e-4300", b"0." + b"0" * 4300 + b"1e99999"],
)
def test_no_route_takes_a_number_whose_digits_are_lost_in_its_double(number: bytes) -> None:
    validator = VALIDATORS["tiktok"]
    for written in (
        text(event("tiktok", "top")).replace(b'"watchTime":', b'"watchTime":' + number + b',"watchTime":'),
        re.sub(rb'("watchTime":)[0-9.]+', rb"\g<1>" + number, text(event("tiktok", "top"))),
    ):
        assert number in written
        for others in (b"", b"," + text(event("tiktok", "bottom", surprise=1))):
            assert not validator.all_valid(b"[" + written + others + b"]"), written
        assert validator.fault(written)


@pytest.mark.parametrize("number", [b"0", b"0.0", b"0.5", b"1e1", b"1E-300", b"100e-100"])
def test_numbers_that_may_be_are_taken_together(number: bytes) -> None:
    written = re.sub(rb'("watchTime":)[0-9.]+', rb"\g<1>" + number, text(event("tiktok", "top")))
    assert number in written
    assert VALIDATORS["tiktok"].all_valid(b"[" + written + b"," + text(event("tiktok", "top")) + b"]")


@settings(max_examples=1500, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(hunting_events())
@example(("tiktok", with_extra(b"1e-310")))
@example(("tiktok", with_extra(b"9" * 4300)))
@example(("tiktok", with_extra(b"0." + b"0" * 14_000 + b"1e13900")))
@example(("tiktok", with_extra(b'"\\\\u0000"')))
@example(("tiktok", with_extra(b'1e309,"extra":""')))
@example(("tiktok", with_extra(b"9" * 400 + b'.5,"extra":""')))
@example(("tiktok", with_extra(b"9" * 400 + b".5")))
def test_the_fast_route_takes_only_what_the_slow_one_takes_and_leaves_little(found: tuple[str, bytes]) -> None:
    source, written = found
    validator = VALIDATORS[source]
    packed = b"[" + written + b"]"
    rejection = validator.fault(written)
    fast = fits_fast_path(len(written)) and validator.all_valid(packed)
    if fast:
        assert rejection is None
    if rejection is None:
        assert written.count(b'"source"') > 1 or source_of(written).source == source
        assert len(json.loads(packed)) == 1
        left = re.search(rb"\\u0000|[eE][+-]?\d{3}", written) or has_float_that_reads_as_zero(written)
        deepest = events._depth(written) >= MAX_DEPTH - 2  # together they lie in one more array
        assert fast or left or deepest or not fits_fast_path(len(written))
    else:
        assert rejection.detail
        assert all(detail["msg"] for detail in rejection.detail)
        json.dumps(rejection.detail).encode()
