"""What Meta and TikTok send, signed as they do, at a gateway with the sources of manifests/platforms.yaml."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import yaml

from eventpipeline.spec import EventPipeline
from gateways import Gateway, running_gateway, taken_from
from platforms import CONVERSIONS, FILE, LEADGEN, PUBLISHED, TIKTOK_EVENTS

SPEC = EventPipeline.model_validate(yaml.safe_load(FILE.read_text())).spec
KEYS = {
    "EVENTPIPELINE_KEY_META_APP_APP_SECRET": "meta-secret",
    "EVENTPIPELINE_KEY_META_APP_VERIFY_TOKEN": "verify-me",
    "EVENTPIPELINE_KEY_TIKTOK_APP_CLIENT_SECRET": "tiktok-secret",
    "EVENTPIPELINE_KEY_CONVERSIONS_TOKEN": "t0ken",
}


@dataclass
class Platforms:
    gateway: Gateway
    nats_url: str

    def post(self, source: str, body: str, **headers: str) -> httpx2.Response:
        named = {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        return self.gateway.client.post(f"/webhook/{source}", content=body.encode(), headers=named)

    def as_meta(self, body: str) -> httpx2.Response:
        mac = hmac.new(b"meta-secret", body.encode(), hashlib.sha256).hexdigest()
        return self.post("meta-leads", body, x_hub_signature_256=f"sha256={mac}")

    def as_tiktok(self, body: str) -> httpx2.Response:
        moment = str(int(time.time()))
        mac = hmac.new(b"tiktok-secret", f"{moment}.{body}".encode(), hashlib.sha256).hexdigest()
        return self.post("tiktok-account", body, tiktok_signature=f"t={moment},s={mac}")

    def stored(self, source: str) -> list[dict[str, Any]]:
        return [event for message in taken_from(self.nats_url, source, "pf-") for event in message.events]

    def letters(self) -> list[dict[str, Any]]:
        return self.stored("DEAD")


@pytest.fixture(scope="module")
def platforms(tmp_path_factory: pytest.TempPathFactory, shared_nats: str) -> Iterator[Platforms]:
    with running_gateway(
        tmp_path_factory.mktemp("platforms"), shared_nats, sources=tuple(source.name for source in SPEC.sources),
        declarations=SPEC.declarations, authentication=SPEC.authentication, environ=KEYS, stream_prefix="pf-",
        stream_bytes=2**25, dead_bytes=2**25,
    ) as gateway:  # fmt: skip
        yield Platforms(gateway, shared_nats)


def test_leads(platforms: Platforms) -> None:
    answer = platforms.as_meta(LEADGEN)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    assert [event["eventId"] for event in platforms.stored("meta-leads")] == ["123123123123", "7"]
    query = {"hub.mode": "subscribe", "hub.verify_token": "verify-me", "hub.challenge": "7"}
    assert platforms.gateway.client.get("/webhook/meta-leads", params=query).text == "7"


def test_webhooks_of_tiktok(platforms: Platforms) -> None:
    assert [platforms.as_tiktok(PUBLISHED).status_code for _ in range(2)] == [200, 200]
    first, again = platforms.stored("tiktok-account")
    assert first == again
    assert first["data"]["content"] == {"share_id": "video.6974245311675353080.VDCxrcMJ"}


def test_bodies_of_both_apis(platforms: Platforms) -> None:
    for source, body, events in (("conversions", CONVERSIONS, 2), ("tiktok-events", TIKTOK_EVENTS, 1)):
        assert platforms.post(source, body).status_code == 401
        answer = platforms.post(source, body, authorization="Bearer t0ken")
        assert (answer.status_code, answer.json()["accepted"]) == (202, events)
        assert len(platforms.stored(source)) == events


def test_a_platform_is_not_told_to_send_again_what_no_other_try_would_mend(platforms: Platforms) -> None:
    platforms.letters()
    answer = platforms.as_tiktok(PUBLISHED.replace("video.publish.completed", "unheard.of"))
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (200, 0, 1)
    assert answer.json()["errors"][0]["detail"][0]["loc"] == ["event"]
    (letter,) = platforms.letters()
    assert (letter["source"], letter["reason"]) == ("tiktok-account", "invalid_value")
    wrong = platforms.post("conversions", '{"data":[{}]}', authorization="Bearer t0ken")
    assert wrong.status_code == 422
    assert len(platforms.letters()) == 1


def test_a_platform_is_told_so_where_it_must_send_again(platforms: Platforms) -> None:
    assert platforms.as_meta("{").status_code == 400
    assert platforms.post("meta-leads", LEADGEN, x_hub_signature_256="sha256=00").status_code == 401
