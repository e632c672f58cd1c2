"""CloudEvents as events: what each attribute becomes, and what is refused with which words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from declared import WEBSHOP, order, visit, webshop_document
from eventpipeline.events import EventValidator
from eventpipeline.gateway.cloudevents import Fault, Translator, check_form, from_binary, handshake, is_binary
from eventpipeline.problems import Problem
from eventpipeline.sources import Declaration, built_in, load

SOURCES = load(["facebook", "tiktok", "webshop"], {"webshop": WEBSHOP})
TRANSLATOR = Translator(SOURCES)


def cloud_event(event: dict[str, Any], **members: Any) -> dict[str, Any]:
    whole = {
        "specversion": "1.0",
        "id": event["eventId"],
        "source": "https://shop.example.com/checkout",
        "type": event["eventType"],
        "time": event["timestamp"],
        "data": event["data"],
    } | members
    return {name: value for name, value in whole.items() if value is not None}


def one(event: dict[str, Any] | bytes, source: str | None = "webshop") -> bytes | Fault:
    text = event if isinstance(event, bytes) else json.dumps(event).encode()
    made, faults = TRANSLATOR.translated([text], source)
    assert made[0] == b"" if faults else not faults
    return faults.get(0) or made[0]


@pytest.mark.parametrize("event", [order("o-1"), visit("v-1", category="hats")])
def test_an_event_is_the_same_either_way(event: dict[str, Any]) -> None:
    made = one(cloud_event(event))
    assert isinstance(made, bytes)
    assert json.loads(made) == event
    assert EventValidator(WEBSHOP.named("webshop")).fault(made) is None


def test_data_is_not_taken_apart() -> None:
    raw = b'{"n": 1.000, "big": 123456789012345678901234567890, "t": "\\u00e9"}'
    text = json.dumps(cloud_event(order("o-1"), data="HERE")).encode().replace(b'"HERE"', raw)
    made = one(text)
    assert isinstance(made, bytes)
    assert raw in made


def test_data_may_be_base64_of_json() -> None:
    encoded = base64.b64encode(json.dumps(order("o-1")["data"]).encode()).decode()
    made = one(cloud_event(order("o-1"), data=None, data_base64=encoded))
    assert isinstance(made, bytes)
    assert json.loads(made) == order("o-1")


def test_the_case_of_a_time_does_not_matter() -> None:
    made = one(cloud_event(order("o-1"), time="2024-05-01t12:00:00z"))
    assert isinstance(made, bytes)
    assert json.loads(made)["timestamp"] == "2024-05-01T12:00:00Z"


def test_extensions_are_allowed() -> None:
    assert isinstance(one(cloud_event(order("o-1"), subject="s", dataschema="x:y", traceparent="00-1", n=3)), bytes)


def test_on_the_path_of_all_the_source_is_named() -> None:
    made = one(cloud_event(order("o-1"), source="webshop"), None)
    assert isinstance(made, bytes)
    assert json.loads(made)["source"] == "webshop"


def test_an_event_type_of_both_stages_needs_the_stage() -> None:
    document = webshop_document()
    document["eventTypes"]["top"].append("order.refused")
    both = Translator([Declaration.model_validate(document).named("webshop")])
    event = {**order("o-1"), "eventType": "order.refused"}
    (_,), faults = both.translated([json.dumps(cloud_event(event)).encode()], "webshop")
    assert "is an event type of top and bottom" in faults[0].rejection.detail[0]["msg"]
    (made,), faults = both.translated([json.dumps(cloud_event(event, funnelstage="bottom")).encode()], "webshop")
    assert not faults
    assert json.loads(made)["funnelStage"] == "bottom"


BAD: list[tuple[Any, str | None, str, list[str]]] = [
    (b"[", "webshop", "invalid_value", []),
    (b"1", "webshop", "invalid_value", []),
    (b'"\\ud800"', "webshop", "invalid_value", []),
    ({"specversion": "1.0"}, "webshop", "missing_field", []),
    (cloud_event(order("o"), id=None), "webshop", "missing_field", []),
    (cloud_event(order("o"), id=7), "webshop", "invalid_value", []),
    (cloud_event(order("o"), specversion="0.3"), "webshop", "invalid_value", ["specversion"]),
    (cloud_event(order("o"), specversion="1.1"), "webshop", "invalid_value", ["specversion"]),
    (cloud_event(order("o"), type="com.example.sold"), "webshop", "invalid_value", ["type"]),
    (cloud_event(order("o"), funnelstage="top"), "webshop", "invalid_value", ["type"]),
    (cloud_event(order("o"), time=None), "webshop", "missing_field", ["time"]),
    (cloud_event(order("o"), time=""), "webshop", "missing_field", ["time"]),
    (cloud_event(order("o"), data=None), "webshop", "wrong_type", ["data"]),
    (cloud_event(order("o"), data=[1]), "webshop", "wrong_type", ["data"]),
    (cloud_event(order("o"), data="text"), "webshop", "wrong_type", ["data"]),
    (cloud_event(order("o"), datacontenttype="text/plain"), "webshop", "wrong_type", ["data"]),
    (cloud_event(order("o"), data_base64="e30="), "webshop", "wrong_type", ["data"]),
    (cloud_event(order("o"), data=None, data_base64="?"), "webshop", "wrong_type", ["data"]),
    (cloud_event(order("o"), data=None, data_base64="e3s="), "webshop", "wrong_type", ["data"]),
    (cloud_event(order("o")), None, "unknown_source", ["source"]),
    (cloud_event(order("o"), source="myspace"), None, "unknown_source", ["source"]),
    (cloud_event(order("o"), source="facebook"), None, "invalid_value", ["type"]),
]


@pytest.mark.parametrize(("event", "source", "reason", "place"), BAD)
def test_what_is_no_event_is_told_why(event: Any, source: str | None, reason: str, place: list[str]) -> None:
    fault = one(event, source)
    assert isinstance(fault, Fault)
    assert (fault.rejection.reason, list(fault.rejection.detail[0]["loc"])) == (reason, place)
    assert fault.text == (event if isinstance(event, bytes) else json.dumps(event).encode())
    if isinstance(event, dict) and place and "id" in event:
        assert fault.rejection.event_id == "o"


def test_one_fault_does_not_fail_the_others() -> None:
    texts = [json.dumps(cloud_event(order(name), **more)).encode() for name, more in (("a", {}), ("b", {"time": None}))]
    made, faults = TRANSLATOR.translated([*texts, b"nonsense"], "webshop")
    assert json.loads(made[0])["eventId"] == "a"
    assert made[1:] == [b"", b""]
    assert set(faults) == {1, 2}


def test_the_attributes_of_a_header() -> None:
    headers = {
        "content-type": "application/json; charset=utf-8", "ce-specversion": "1.0", "ce-id": "caf%C3%A9%20%22x%22",
        "ce-source": "/a", "ce-type": "order.paid", "ce-time": "2024-05-01T12:00:00Z", "ce-data": "{}", "x": "y",
    }  # fmt: skip
    assert is_binary(headers)
    made = json.loads(from_binary(headers, b'{"a": 1}'))
    assert made["id"] == 'café "x"'
    assert made["data"] == {"a": 1}
    assert made["datacontenttype"] == "application/json; charset=utf-8"
    assert "x" not in made


@pytest.mark.parametrize(
    ("media_type", "body"),
    [("application/cloudevents+json", b" [{}]"), ("application/cloudevents-batch+json", b"{}")],
)
def test_one_is_not_several(media_type: str, body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        check_form(media_type, body)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("origin", "rate", "answer"),
    [
        (None, None, {"allow": "POST"}),
        ("", None, {"allow": "POST"}),
        ("x" * 254, None, {"allow": "POST"}),
        ("eventemitter.example.com", None, {"webhook-allowed-rate": "*"}),
        ("eventemitter.example.com", 5, {"webhook-allowed-rate": "300"}),
    ],
)
def test_the_handshake(origin: str | None, rate: int | None, answer: dict[str, str]) -> None:
    headers = {} if origin is None else {"webhook-request-origin": origin}
    told = {"webhook-allowed-origin": origin} if "webhook-allowed-rate" in answer else {}
    assert handshake(headers, rate) == {"allow": "POST"} | told | answer


def test_the_built_in_sources_have_each_event_type_once() -> None:
    for name in ("facebook", "tiktok"):
        source = built_in(name)
        assert not set(source.event_types_of("top")) & set(source.event_types_of("bottom"))
