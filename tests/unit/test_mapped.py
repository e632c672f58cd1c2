"""Bodies in the form of somebody else: published samples of the platforms, and what is wrong with others."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import yaml

from eventpipeline.events import EventValidator
from eventpipeline.gateway.cloudevents import Fault
from eventpipeline.gateway.mapped import Mapper
from eventpipeline.sources import load
from eventpipeline.spec import EventPipeline
from platforms import CONVERSIONS, FILE, LEADGEN, PUBLISHED, REMOVED, TIKTOK_EVENTS

DECLARATIONS = EventPipeline.model_validate(yaml.safe_load(FILE.read_text())).spec.declarations
SOURCES = {source.name: source for source in load(list(DECLARATIONS), DECLARATIONS)}


def mapped(source: str, *bodies: str | bytes) -> list[dict[str, Any] | Fault]:
    """The events, each valid by the source's own rules, or faults in their places."""
    mapping = SOURCES[source].mapping
    assert mapping
    texts = [body.encode() if isinstance(body, str) else body for body in bodies]
    made, faults = Mapper(SOURCES[source], mapping).events(texts)
    assert [index for index, text in enumerate(made) if not text] == sorted(faults)
    for text in filter(None, made):
        assert EventValidator(SOURCES[source]).fault(text) is None
    return [faults.get(index) or json.loads(text) for index, text in enumerate(made)]


def test_leads_of_a_page() -> None:
    first, second = mapped("meta-leads", LEADGEN)
    assert first == {
        "eventId": "123123123123",
        "timestamp": "2015-08-21T01:26:24Z",
        "source": "meta-leads",
        "funnelStage": "bottom",
        "eventType": "leadgen",
        "data": {
            "leadgen_id": "123123123123", "page_id": "123123123", "form_id": "12312312312",
            "adgroup_id": "12312312312", "ad_id": "12312312312", "created_time": 1440120384,
        },
    }  # fmt: skip
    assert isinstance(second, dict)
    assert (second["eventId"], second["data"]["page_id"]) == ("7", "8")


def test_webhooks_of_tiktok() -> None:
    removed, published, again = mapped("tiktok-account", REMOVED, PUBLISHED, PUBLISHED)
    assert isinstance(removed, dict)
    assert isinstance(published, dict)
    assert removed["data"]["content"] == {"reason": 1}
    assert removed["data"]["user_openid"] == "act.example12345Example12345Example"
    assert (removed["funnelStage"], published["funnelStage"]) == ("bottom", "top")
    assert removed["timestamp"] == "2021-03-10T01:10:10Z"
    assert removed["eventId"] == hashlib.sha256(REMOVED.encode()).hexdigest()
    assert published == again, "what is sent again is the same event"
    assert published["eventId"] != removed["eventId"]


def test_bodies_of_the_conversions_api() -> None:
    purchase, view = mapped("conversions", CONVERSIONS)
    assert isinstance(purchase, dict)
    assert isinstance(view, dict)
    assert purchase["eventId"] == "Purchase:event.id.123"
    assert purchase["data"]["custom_data"]["value"] == "100.20", "money keeps its digits"
    assert purchase["data"]["user_data"]["em"] == ["309a0a5c3e211326ae75ca18196d301a9bdbd1a882a4d2569511033da23f0abd"]
    assert (view["eventId"], view["timestamp"]) == ("PageView:2", "2021-10-06T20:38:09.123Z")


def test_bodies_of_the_events_api() -> None:
    (payment,) = mapped("tiktok-events", TIKTOK_EVENTS)
    assert isinstance(payment, dict)
    assert payment["eventId"] == "CompletePayment:1616318632825_357"
    assert payment["data"]["properties"] == {"value": "12", "currency": "EUR"}


def test_unicode_that_is_escaped_stays_what_it_is() -> None:
    (made,) = mapped("tiktok-account", PUBLISHED.replace("act.example", "act.\\u00e9\\ud83d\\ude00"))
    assert isinstance(made, dict)
    assert made["data"]["user_openid"].startswith("act.é😀")


ONE = '{"event":"video.publish.completed","create_time":1,"user_openid":"u","content":"{}"}'
BAD: list[tuple[str, str, str]] = [
    ("[]", "missing_field", "/event"),
    ("{}", "missing_field", "/event"),
    ("1", "missing_field", "/event"),
    ("{", "missing_field", "/event"),
    (ONE.replace('"video.publish.completed"', "null"), "wrong_type", "/event"),
    (ONE.replace('"video.publish.completed"', "[1]"), "wrong_type", "/event"),
    (ONE.replace("publish", "unpublish"), "invalid_value", "/event"),
    (ONE.replace('"create_time":1,', ""), "missing_field", "/create_time"),
    (ONE.replace('"create_time":1,', '"create_time":-1,'), "wrong_type", "/create_time"),
    (ONE.replace('"create_time":1,', '"create_time":1.5,'), "wrong_type", "/create_time"),
    (ONE.replace('"create_time":1,', '"create_time":100000000000000,'), "invalid_value", "/create_time"),
    (ONE.replace('"create_time":1,', f'"create_time":{"9" * 5000},'), "invalid_value", "/create_time"),
]


@pytest.mark.parametrize(("body", "reason", "place"), BAD)
def test_what_is_no_event_is_told_why(body: str, reason: str, place: str) -> None:
    (fault,) = mapped("tiktok-account", body)
    assert isinstance(fault, Fault)
    assert (fault.rejection.reason, fault.rejection.source) == (reason, "tiktok-account")
    assert list(fault.rejection.detail[0]["loc"]) == place.strip("/").split("/")
    assert fault.text == body.encode()


def test_one_that_is_wrong_does_not_fail_the_others() -> None:
    body = json.loads(CONVERSIONS)
    body["data"].insert(1, {"event_name": "Unheard"})
    first, fault, last = mapped("conversions", json.dumps(body))
    assert isinstance(first, dict)
    assert isinstance(fault, Fault)
    assert fault.text == b'{"event_name": "Unheard"}'
    assert isinstance(last, dict)


def test_a_body_without_events_is_one_that_is_wrong() -> None:
    (fault,) = mapped("meta-leads", '{"object":"page","entry":3}')
    assert isinstance(fault, Fault)
    assert mapped("meta-leads", '{"object":"page","entry":[]}') == []


@pytest.mark.parametrize("content", ['"{"', '"[1"', "3", '""', '"' + "[" * 5000 + '"'])
def test_what_is_no_json_in_a_string_is_left_to_the_schema(content: str) -> None:
    source = SOURCES["tiktok-account"]
    assert source.mapping
    made, faults = Mapper(source, source.mapping).events([ONE.replace('"{}"', content).encode()])
    assert not faults
    rejection = EventValidator(source).fault(made[0])
    assert rejection


def test_an_array_at_the_path_is_several_bodies() -> None:
    assert len(mapped("conversions", CONVERSIONS, CONVERSIONS)) == 4
