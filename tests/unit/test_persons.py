"""Whose events and dead letters are found, and what is left of them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from declared import WEBSHOP, order
from eventpipeline.cli.pipeline import pipeline_of
from eventpipeline.persons import Letter, Persons, Trace, ids_of
from eventpipeline.sources import Declaration, built_in
from platforms import FILE
from stored import facebook, tiktok

PLATFORMS = pipeline_of(FILE).spec.declarations
KNOWN = frozenset({"facebook", "tiktok", "webshop"})


def persons(*ids: str, source: str = "facebook") -> Persons:
    declared = WEBSHOP.named("webshop") if source == "webshop" else built_in(source)
    return Persons(declared, ids_of(ids), KNOWN)


def letter(payload: object, source: str | None = "facebook") -> Letter:
    return Letter("id", source, payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def rewritten(found: Persons, *events: object) -> list[Any]:
    made = found.events_rewritten(json.dumps(events).encode())
    assert made
    assert made.data
    events_left: list[Any] = json.loads(made.data)
    return events_left


def test_of_an_event_its_identity_its_kind_and_its_money_are_left_and_the_others_keep_their_bytes() -> None:
    one, other = facebook(1, amount="0.10"), json.dumps(facebook(2)).replace('"age": 30', '"age":30.0e0').encode()
    made = persons("u1").events_rewritten(b"[" + json.dumps(one).encode() + b", " + other + b"]")

    assert made
    assert made.removed == 1
    assert made.data
    assert other in made.data
    left = json.loads(made.data)[0]
    assert left.pop("data") == {
        "user": {"userId": ""}, "engagement": {"purchaseAmount": "0.10", "campaignId": "c1"},
    }  # fmt: skip
    assert left == {name: one[name] for name in ("eventId", "timestamp", "source", "funnelStage", "eventType")}
    # Once is enough.
    assert persons("u1").events_rewritten(made.data) is None


def test_of_a_declared_source_its_own_pointers_are_read() -> None:
    left, other = rewritten(persons("c-7", source="webshop"), order("o1"), order("o2") | {"data": {"customer": {}}})
    assert left["data"] == {
        "customer": {"id": ""}, "order": {"total": "49.90", "currency": "EUR", "campaign": "spring-sale"},
    }  # fmt: skip
    assert other["data"] == {"customer": {}}


@pytest.mark.parametrize("name", ["Zoë", 'a"b\\c', "😀", "tab\there", "u/1"])
def test_an_id_is_found_however_it_is_written(name: str) -> None:
    event = facebook(1)
    event["data"]["user"]["userId"] = name
    for text in (json.dumps([event]), json.dumps([event], ensure_ascii=False), json.dumps([event]).replace("/", "\\/")):
        assert persons(name).events_rewritten(text.encode())
    assert persons(name).trace(letter(event)) is Trace.USER


def test_whoever_only_resembles_the_person_is_left_alone() -> None:
    found = persons("u1")
    mention = facebook(2)
    mention["data"]["user"]["name"] = "u1"
    texts = [facebook(11), tiktok(2), mention, facebook(3, eventId="u1"), {"data": None}, 5, "u1"]
    for event in texts:
        assert found.events_rewritten(json.dumps([event]).encode()) is None
    for text in (b"u1", b'{"u1": 1}', b"[u1", b"[" * 100_000 + b"u1", b'\xff["u1"]'):
        assert found.events_rewritten(text) is None


@pytest.mark.parametrize(
    ("payload", "source", "trace"),
    [
        (facebook(1), "facebook", Trace.USER),
        (facebook(1, eventType=[1]), "facebook", Trace.USER),
        ({"data": {"user": {"userId": 15}}}, "facebook", Trace.USER),
        (facebook(2), "facebook", Trace.NONE),
        (facebook(1), "tiktok", Trace.NONE),
        (facebook(1), None, Trace.MENTION),
        (facebook(1), "facebok", Trace.MENTION),
        (facebook(2, eventId="u1"), "facebook", Trace.MENTION),
        (b'{"data": {"name": "\\u0075\\u0031"}}', "facebook", Trace.MENTION),
        (json.dumps(facebook(1)).encode()[:-1], "facebook", Trace.MENTION),
        (b"\xff u1", "facebook", Trace.MENTION),
        (b"\xff", "facebook", Trace.NONE),
    ],
)
def test_a_dead_letter_is_theirs_mentions_them_or_neither(payload: object, source: str | None, trace: Trace) -> None:
    assert persons("u1", "15").trace(letter(payload, source)) is trace


@pytest.mark.parametrize(
    ("source", "payload"),
    [
        ("meta-leads", {"field": "leadgen", "value": {"leadgen_id": 15}}),
        ("tiktok-account", {"event": "authorization.removed", "user_openid": "u1"}),
        ("conversions", {"event_name": "Purchase", "user_data": {"external_id": "u1"}}),
    ],
)
def test_a_dead_letter_in_the_form_of_its_sender_is_theirs(source: str, payload: object) -> None:
    declared = PLATFORMS[source].named(source)
    assert Persons(declared, ids_of(["u1", "15"]), KNOWN).trace(letter(payload, source)) is Trace.USER
    assert Persons(declared, ids_of(["u2"]), KNOWN).trace(letter(payload, source)) is Trace.NONE


def test_an_id_in_what_travels_as_a_string_of_json_is_theirs() -> None:
    document = PLATFORMS["tiktok-account"].model_dump(by_alias=True, exclude_unset=True)
    document["user"] = "/content/who"
    for schema in document["schema"].values():
        schema["properties"]["content"] |= {
            "required": ["who"],
            "properties": {"who": schema["properties"]["client_key"]},
        }
    declared = Declaration.model_validate(document).named("tiktok-account")
    text = {"content": json.dumps({"who": "u1"})}
    assert Persons(declared, ids_of(["u1"]), KNOWN).trace(letter(text, "tiktok-account")) is Trace.USER


def test_a_message_of_dead_letters_keeps_those_of_others() -> None:
    def packed(number: int, event: object) -> dict[str, Any]:
        text = base64.b64encode(json.dumps(event).encode()).decode()
        return {"id": str(number), "source": "facebook", "payload": text, "reason": "invalid_value"}

    letters = [packed(1, facebook(1)), packed(2, facebook(2)), packed(3, facebook(3, eventId="u1"))]
    made, mentions = persons("u1").letters_rewritten(json.dumps(letters).encode(), mentions=False)
    assert made
    assert (json.loads(made.data or b""), made.removed, mentions) == (letters[1:], 1, ["3"])

    made, mentions = persons("u1").letters_rewritten(json.dumps(letters[::2]).encode(), mentions=True)
    assert made
    assert (made.data, made.removed, mentions) == (None, 2, [])
    assert persons("u1").letters_rewritten(b'[{"id": 5}, 7, "u1"]', mentions=True) == (None, [])
    assert persons("u1").letters_rewritten(b"u1", mentions=True) == (None, [])


@pytest.mark.parametrize("text", ["", "x" * 257, "a\0b", "\udc80"])
def test_what_can_be_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="id of a user"):
        ids_of([text])
