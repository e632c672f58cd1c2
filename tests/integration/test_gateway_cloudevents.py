"""CloudEvents at the running gateway, made by the SDK of the CloudEvents project."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx2
import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from declared import WEBSHOP, order, visit
from eventpipeline.authentication import Authentication, RateLimit
from gateways import Gateway, running_gateway, taken_from


@dataclass
class Shop:
    gateway: Gateway
    nats_url: str

    def post(self, message: HTTPMessage, path: str = "webshop", **headers: str) -> httpx2.Response:
        named = {**message.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.gateway.client.post(f"/webhook/{path}", content=message.body, headers=named)

    def stored(self, source: str = "webshop") -> list[dict[str, Any]]:
        return [event for message in taken_from(self.nats_url, source, "ce-") for event in message.events]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, shared_nats: str) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("cloudevents")
    token = Authentication.model_validate({"bearer": {"keys": [{"name": "token"}]}})
    with running_gateway(
        folder, shared_nats, sources=("webshop", "closed"), declarations={"webshop": WEBSHOP, "closed": WEBSHOP},
        authentication={"closed": token}, environ={"EVENTPIPELINE_KEY_TOKEN_KEY": "t0ken"}, stream_prefix="ce-",
        rate_limits={"closed": RateLimit(requests_per_second=7)}, stream_bytes=2**25, dead_bytes=2**25,
    ) as gateway:  # fmt: skip
        yield Shop(gateway, shared_nats)


def cloud_event(event: dict[str, Any], **attributes: Any) -> CloudEvent:
    whole = {
        "specversion": "1.0",
        "id": event["eventId"],
        "source": "https://shop.example.com/Zürich",
        "type": event["eventType"],
        "time": datetime.fromisoformat(event["timestamp"]),
        "subject": "an order",
    }
    return CloudEvent(whole | attributes, event["data"])


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    moments = [datetime.fromisoformat(event["timestamp"]) for event in (found, wanted)]
    return moments[0] == moments[1] and found | {"timestamp": ""} == wanted | {"timestamp": ""}


def test_all_three_modes_give_the_same_event(shop: Shop) -> None:
    shop.stored()
    event = order("ce-1")
    messages = [to_binary_event(cloud_event(event)), to_structured_event(cloud_event(event))]
    batch = b"[" + to_structured_event(cloud_event(event)).body + b"]"
    messages.append(HTTPMessage({"content-type": "application/cloudevents-batch+json; charset=UTF-8"}, batch))
    for message in messages:
        answer = shop.post(message)
        assert (answer.status_code, answer.json()["accepted"]) == (202, 1), answer.text
    found = shop.stored()
    assert len(found) == 3
    assert all(same(one, event) for one in found), "an event is the same in all modes, so copies count once"


def test_in_a_batch_one_fault_does_not_fail_the_others(shop: Shop) -> None:
    shop.stored()
    good = [json.loads(to_structured_event(cloud_event(event)).body) for event in (order("ce-2"), visit("ce-3"))]
    bad = [good[0] | {"type": "unheard.of", "id": "b-1"}, good[0] | {"data": {"order": 1}, "id": "b-2"}, {"id": "b-3"}]
    body = json.dumps([good[0], *bad, good[1]]).encode()
    answer = shop.post(HTTPMessage({"content-type": "application/cloudevents-batch+json"}, body))
    assert answer.status_code == 202
    said = answer.json()
    assert (said["accepted"], said["rejected"]) == (2, 3)
    assert [(error["index"], error["eventId"]) for error in said["errors"]] == [(1, "b-1"), (2, "b-2"), (3, None)]
    assert {event["eventId"] for event in shop.stored()} == {"ce-2", "ce-3"}
    letters = [letter for message in taken_from(shop.nats_url, "DEAD", "ce-") for letter in message.events]
    assert len([letter for letter in letters if letter["eventId"] in ("b-1", "b-2")]) == 2


def test_a_content_type_of_ones_own_in_binary_mode(shop: Shop) -> None:
    message = to_binary_event(cloud_event(order("ce-4")))
    for media_type in ("application/vnd.shop+json", "application/json; charset=utf-8"):
        assert shop.post(message, content_type=media_type).status_code == 202
    assert shop.post(message, content_type="text/plain").status_code == 415


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "application/cloudevents+json"}, b"{", 400),
        ({"content-type": "application/cloudevents+json"}, b"[]", 422),
        ({"content-type": "application/cloudevents-batch+json"}, b"{}", 422),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", 202),
        ({"content-type": "application/cloudevents+json"}, b"{}", 422),
        ({"content-type": "application/cloudevents+avro"}, b"{}", 415),
        ({"ce-specversion": "1.0", "content-type": "application/json"}, b"{}", 422),
        ({"ce-specversion": "1.0", "content-type": "application/json"}, b'{},"id":"x"', 400),
        ({"ce-specversion": "1.0", "content-type": "application/json"}, b"", 400),
        ({"ce-specversion": "2.0", "content-type": "application/json"}, b"{}", 422),
    ],
)
def test_what_is_no_cloud_event(shop: Shop, headers: dict[str, str], body: bytes, status: int) -> None:
    answer = shop.gateway.client.post("/webhook/webshop", content=body, headers=headers)
    assert answer.status_code == status, answer.text


def test_the_path_of_all_sources_goes_by_the_attribute(shop: Shop) -> None:
    message = to_structured_event(cloud_event(order("ce-5"), source="webshop"))
    assert shop.post(message, "events").status_code == 202
    assert shop.post(to_structured_event(cloud_event(order("ce-6"))), "events").status_code == 422
    closed = to_structured_event(cloud_event(order("ce-7"), source="closed"))
    assert shop.post(closed, "events").status_code == 422
    assert shop.post(closed, "events", authorization="Bearer t0ken").status_code == 202


def test_a_source_that_is_closed_is_closed_to_them(shop: Shop) -> None:
    for message in (to_binary_event(cloud_event(order("ce-8"))), to_structured_event(cloud_event(order("ce-8")))):
        assert shop.post(message, "closed").status_code == 401
        assert shop.post(message, "closed", authorization="Bearer t0ken").status_code == 202


def test_the_handshake_of_the_webhook_specification(shop: Shop) -> None:
    asked = {"WebHook-Request-Origin": "eventemitter.example.com", "WebHook-Request-Rate": "120"}
    for path, rate in (("webshop", "*"), ("closed", "420"), ("events", "*")):
        answer = shop.gateway.client.options(f"/webhook/{path}", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["webhook-allowed-origin"] == "eventemitter.example.com"
        assert answer.headers["webhook-allowed-rate"] == rate
        assert answer.headers["allow"] == "POST"
    bare = shop.gateway.client.options("/webhook/webshop")
    assert "webhook-allowed-origin" not in bare.headers
    assert "access-control-allow-origin" not in bare.headers
    assert shop.gateway.client.options("/webhook/myspace", headers=asked).status_code == 404
