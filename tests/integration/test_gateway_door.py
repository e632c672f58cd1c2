"""Who may send: the running gateway, with keys in files, against signers of other people and of our own."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from standardwebhooks import Webhook

from declared import WEBSHOP, order
from eventpipeline.authentication import Authentication, KeyRef, RateLimit
from eventpipeline.signatures import read_key, signed
from eventpipeline.spec import EventPipeline
from gateways import Gateway, running_gateway, taken_from
from platforms import CONVERSIONS, FILE, LEADGEN, PUBLISHED
from samples import event, text
from servers import wait_for

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEYS = {
    "meta-app/secret": "meta-secret",
    "meta-app/next": "meta-next",
    "meta-app/verify": "verify-me",
    "tiktok-app/secret": "tiktok-secret",
    "shop/key": SECRET,
    "token/key": "bearer-token",
}


def method(kind: str, *keys: tuple[str, str], **fields: Any) -> Authentication:
    references = [{"name": name, "key": key} for name, key in keys]
    return Authentication.model_validate({kind: {"keys": references, **fields}})


AUTHENTICATION = {
    "facebook": method(
        "meta", ("meta-app", "secret"), ("meta-app", "next"), verifyTokens=[{"name": "meta-app", "key": "verify"}]
    ),
    "tiktok": method("tiktok", ("tiktok-app", "secret")),
    "shop": method("standardWebhooks", ("shop", "key")),
    "token": method("bearer", ("token", "key")),
}
SOURCES = ("facebook", "tiktok", "shop", "token", "anyone", "slow")
DECLARED = {"shop": WEBSHOP, "token": WEBSHOP, "anyone": WEBSHOP, "slow": WEBSHOP}


@dataclass
class Door:
    gateway: Gateway
    keys: Path
    nats_url: str

    def put(self, name: str, value: str | None) -> None:
        file = self.keys / name
        if value is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
        named = {"content-type": "application/json", **(headers or {})}
        return self.gateway.client.post(f"/webhook/{path}", content=body, headers=named)

    def signed(self, source: str, body: bytes, key: str | None = None, *, age: float = 0) -> dict[str, str]:
        """The headers with which the sender of `source` signs."""
        how = AUTHENTICATION[source].method
        assert how
        reference = how.keys[0]
        secret = read_key(how, (key or KEYS[f"{reference.name}/{reference.key}"]).encode())
        return dict(signed(how, secret, body, now=time.time() - age, identity="m-1"))

    def refused(self, source: str, reason: str) -> float:
        return self.gateway.metric("gateway_requests_unauthenticated_total", source=source, reason=reason)

    def stored(self, source: str) -> list[str]:
        messages = taken_from(self.nats_url, source, prefix="door-")
        return [one["eventId"] for message in messages for one in message.events]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, shared_nats: str) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    keys = folder / "keys"
    for name, value in KEYS.items():
        (keys / name).parent.mkdir(parents=True, exist_ok=True)
        (keys / name).write_text(value)
    with running_gateway(
        folder, shared_nats, sources=SOURCES, declarations=DECLARED, authentication=AUTHENTICATION, keys_dir=str(keys),
        rate_limits={"slow": RateLimit(requests_per_second=1, burst=3)}, stream_prefix="door-", stream_bytes=2**25,
        dead_bytes=2**25,
    ) as gateway:  # fmt: skip
        yield Door(gateway, keys, shared_nats)


def body(source: str, event_id: str) -> bytes:
    made = event(source, event_id=event_id) if source in ("facebook", "tiktok") else order(event_id)
    if source == "facebook":
        made["data"]["user"]["name"] = "Zoë 😀"
    return text([made | {"source": source}])


PROTECTED = [name for name in SOURCES if name in AUTHENTICATION]


@pytest.mark.parametrize("source", PROTECTED)
@pytest.mark.parametrize("path", ["its own", "events"])
def test_who_signs_is_let_in(door: Door, source: str, path: str) -> None:
    sent = body(source, f"in-{path[0]}")
    answer = door.post(source if path == "its own" else "events", sent, door.signed(source, sent))
    # Meta and TikTok take anything but 200 for a failure.
    wanted = 200 if path == "its own" and source in ("facebook", "tiktok") else 202
    assert (answer.status_code, answer.json()["accepted"]) == (wanted, 1)


@pytest.mark.parametrize("source", PROTECTED)
def test_who_does_not_is_not_and_learns_nothing(door: Door, source: str) -> None:
    sent = body(source, "out")
    good = door.signed(source, sent)
    other = SECRET.replace("MfKQ", "AAAA") if source == "shop" else "other"
    tries = {
        "missing": {},
        "malformed": {name: f"{value}!" if name != "webhook-id" else "a b" for name, value in good.items()},
        "mismatch": door.signed(source, sent, other),
    }
    if source in ("tiktok", "shop"):
        tries["stale"] = door.signed(source, sent, age=301)
    before = {reason: door.refused(source, reason) for reason in tries}
    answers = [door.post(source, sent, headers) for headers in tries.values()]

    assert {answer.status_code for answer in answers} == {401}
    told = [{name: value for name, value in answer.json().items() if name != "correlationId"} for answer in answers]
    assert all(one == told[0] for one in told), "the answer says which part was wrong"
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in answers)
    assert all(answer.headers["www-authenticate"] in ("Bearer", "Signature") for answer in answers)
    assert {reason: door.refused(source, reason) - before[reason] for reason in tries} == dict.fromkeys(tries, 1.0)


def test_a_body_that_was_changed_on_its_way_is_refused(door: Door) -> None:
    sent = body("facebook", "changed")
    for changed in (sent + b" ", sent.replace(b"49.90", b"00.01"), sent[:-1], json.dumps(json.loads(sent)).encode()):
        assert door.post("facebook", changed, door.signed("facebook", sent)).status_code == 401


def test_nothing_of_strangers_is_kept_or_logged(door: Door) -> None:
    sent = body("tiktok", "stranger")
    for _ in range(20):
        assert door.post("tiktok", sent, {"tiktok-signature": "t=1,s=00"}).status_code == 401
    # Strangers' letters would be there before this one.
    assert door.post("anyone", body("anyone", "").replace(b'"eventId":""', b'"eventId":5')).status_code == 422
    letters = [letter for message in taken_from_dead(door) for letter in message.events]
    assert {letter["source"] for letter in letters} <= {"anyone", "facebook"}
    assert "stranger" not in door.stored("tiktok")
    log = door.gateway.log.read_text()
    for secret in KEYS.values():
        assert secret not in log
    assert "Traceback" not in log


def taken_from_dead(door: Door) -> list[Any]:
    return taken_from(door.nats_url, "DEAD", prefix="door-")


def test_a_signature_is_over_the_bytes_as_they_came(door: Door) -> None:
    sent = gzip.compress(body("facebook", "packed"))
    headers = door.signed("facebook", sent)
    assert door.post("facebook", sent, headers | {"content-encoding": "gzip"}).status_code == 200
    plain = door.signed("facebook", body("facebook", "packed"))
    assert door.post("facebook", sent, plain | {"content-encoding": "gzip"}).status_code == 401


def test_what_is_not_signed_is_not_decompressed(door: Door) -> None:
    bomb = gzip.compress(b"[" + b" " * 2**28)
    before = door.gateway.peak_memory()
    wrong = {"content-encoding": "gzip", "x-hub-signature-256": "sha256=" + "0" * 64}
    assert door.post("facebook", bomb, wrong).status_code == 401
    assert door.gateway.peak_memory() - before < 2**24
    assert door.post("facebook", bomb, door.signed("facebook", bomb) | {"content-encoding": "gzip"}).status_code == 413
    wait_for(lambda: door.gateway.metric("gateway_in_flight_bytes") == 0, what=lambda: "bytes are given back")


def test_a_large_body_is_signed_too(door: Door) -> None:
    sent = b"[" + b",".join([body("facebook", f"large-{index}")[1:-1] for index in range(8000)]) + b"]"
    answer = door.post("facebook", sent, door.signed("facebook", sent))
    assert (answer.status_code, answer.json()["accepted"]) == (200, 8000)


def test_the_standard_webhooks_package_as_the_sender(door: Door) -> None:
    sent, moment = body("shop", "standard"), datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", moment, sent.decode()),
    }
    assert door.post("shop", sent, headers).status_code == 202
    assert door.post("shop", sent, headers | {"webhook-id": "msg_2"}).status_code == 401


# --- the paths -------------------------------------------------------------------------------------------------------


def test_a_path_takes_its_own_source_only(door: Door) -> None:
    both = text([event("facebook", event_id="own"), event("tiktok", event_id="foreign")])
    for path in ("facebook", "events"):
        answer = door.post(path, both, door.signed("facebook", both))
        assert answer.status_code == (202 if path == "events" else 200)
        assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, 1)
        assert answer.json()["errors"][0]["reason"] == "unknown_source"
    only = text([event("tiktok", event_id="foreign")])
    answer = door.post("facebook", only, door.signed("facebook", only))
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (200, 0, 1)


def test_what_is_open_is_open_at_both_paths(door: Door) -> None:
    for path in ("anyone", "events"):
        assert door.post(path, body("anyone", f"open-{path}")).status_code == 202
        assert door.post(path, body("facebook", f"closed-{path}")).status_code == 422


def test_there_is_no_other_path(door: Door) -> None:
    for path in ("myspace", "Facebook", "..%2fevents"):
        assert door.post(path, b"[]").status_code in (404, 405)
    assert door.gateway.client.get("/webhook/myspace").status_code == 404
    assert door.gateway.client.get("/webhook/events").status_code == 405
    assert door.gateway.client.put("/webhook/facebook").status_code == 405


def test_meta_verifies_the_endpoint(door: Door) -> None:
    def get(source: str, **query: str) -> httpx2.Response:
        return door.gateway.client.get(f"/webhook/{source}", params={f"hub.{name}": v for name, v in query.items()})

    good = {"mode": "subscribe", "verify_token": "verify-me", "challenge": "1158201444"}
    answer = get("facebook", **good)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    for wrong in (
        {"verify_token": "verify-you"}, {"verify_token": ""}, {"verify_token": "meta-secret"}, {"mode": "unsubscribe"},
        {"challenge": ""}, {"challenge": "x" * 2000}, {"verify_token": "verify-mé"},
    ):  # fmt: skip
        assert get("facebook", **(good | wrong)).status_code == 401
    assert door.gateway.client.get("/webhook/facebook").status_code == 401
    for source in ("tiktok", "anyone"):
        assert get(source, **good).status_code == 405


# --- keys and limits -------------------------------------------------------------------------------------------------


def test_keys_rotate_without_a_refused_request(door: Door) -> None:
    """Two are live: the new one is put beside the old one, the sender changes, the old one goes."""

    def send(key: str) -> int:
        sent = body("facebook", "rotated")
        return door.post("facebook", sent, door.signed("facebook", sent, key)).status_code

    assert (send("meta-secret"), send("meta-next"), send("meta-third")) == (200, 200, 401)
    door.put("meta-app/secret", "meta-third")
    wait_for(lambda: send("meta-third") == 200, what=lambda: "the new key is known", seconds=10)
    assert send("meta-next") == 200
    assert send("meta-secret") == 401
    door.put("meta-app/next", None)
    wait_for(lambda: send("meta-next") == 401, what=lambda: "the old key is forgotten", seconds=10)
    assert send("meta-third") == 200
    assert "next of meta-app" in door.gateway.client.get("/readyz").json()["checks"]["keys"]
    door.put("meta-app/next", KEYS["meta-app/next"])
    door.put("meta-app/secret", KEYS["meta-app/secret"])
    wait_for(lambda: send("meta-secret") == 200, what=lambda: "as before", seconds=10)
    wait_for(lambda: door.gateway.client.get("/readyz").json()["checks"]["keys"] == "ok", what=lambda: "ok", seconds=10)


def test_without_a_key_senders_are_told_to_come_again(door: Door) -> None:
    """A 401 would make some of them give up for good, for what is our fault."""
    sent = body("tiktok", "late")
    door.put("tiktok-app/secret", None)
    wait_for(
        lambda: door.post("tiktok", sent, door.signed("tiktok", sent)).status_code == 503,
        what=lambda: "503", seconds=10,
    )  # fmt: skip
    answer = door.post("tiktok", sent, door.signed("tiktok", sent))
    assert int(answer.headers["retry-after"]) > 0
    assert "tiktok-app" not in answer.text
    assert door.post("tiktok", sent).status_code == 401
    door.put("tiktok-app/secret", "")
    assert door.post("tiktok", sent, door.signed("tiktok", sent)).status_code == 503, "an empty key is none"
    door.put("tiktok-app/secret", KEYS["tiktok-app/secret"])
    wait_for(
        lambda: door.post("tiktok", sent, door.signed("tiktok", sent)).status_code == 200,
        what=lambda: "200", seconds=10,
    )  # fmt: skip


def test_requests_above_the_limit_of_a_source_are_told_when_to_come(door: Door) -> None:
    answers = [door.post("slow", body("slow", f"fast-{index}")) for index in range(8)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:3] == [202] * 3
    assert 429 in statuses
    late = next(answer for answer in answers if answer.status_code == 429)
    assert late.headers["retry-after"] == "1"
    assert late.headers["content-type"] == "application/problem+json"
    assert door.gateway.metric("gateway_requests_limited_total", source="slow") == statuses.count(429)
    assert door.post("anyone", body("anyone", "meanwhile")).status_code == 202, "others are not held up"
    assert door.post("events", body("anyone", "meanwhile")).status_code == 202
    assert door.post("events", body("slow", "around")).status_code == 429
    wait_for(lambda: door.post("slow", body("slow", "later")).status_code == 202, what=lambda: "room again", seconds=10)


def test_keys_may_be_in_the_environment(tmp_path: Path, shared_nats: str) -> None:
    reference = KeyRef(name="my-app", key="app.secret")
    authentication = {"facebook": method("meta", (reference.name, reference.key))}
    with running_gateway(
        tmp_path, shared_nats, sources=("facebook",), authentication=authentication, keys_dir=str(tmp_path),
        stream_prefix="env-", environ={"EVENTPIPELINE_KEY_MY_APP_APP_SECRET": "from-env"}, stream_bytes=2**25,
        dead_bytes=2**25,
    ) as gateway:  # fmt: skip
        sent = body("facebook", "env")
        how = authentication["facebook"].method
        assert how
        headers = signed(how, read_key(how, b"from-env"), sent, now=time.time(), identity="")
        answer = gateway.client.post(
            "/webhook/facebook", content=sent, headers={"content-type": "application/json", **headers}
        )
        assert answer.status_code == 200


NOT_UTF8 = "me\udcfct\udca0"
"""Bytes that are no UTF-8, in each place that is read before an event is validated."""


@pytest.mark.parametrize("path", ["anyone", "events"])
@pytest.mark.parametrize(
    "form", ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json"]
)
@pytest.mark.parametrize(
    "member", ["source", "type", "eventType", "id", "specversion", pytest.param(NOT_UTF8, id="a name")]
)
def test_texts_that_are_not_utf8_are_refused_wherever_they_stand(door: Door, path: str, form: str, member: str) -> None:
    made = order("odd") | {
        "source": "anyone",
        "specversion": "1.0",
        "type": "order.paid",
        "id": "odd",
        member: NOT_UTF8,
    }
    one = json.dumps(made, ensure_ascii=False).encode("utf-8", "surrogateescape")
    answer = door.post(path, b"[" + one + b"]" if "batch" in form else one, {"content-type": form})
    assert answer.status_code in (202, 422), answer.text


def test_a_mapped_body_that_is_not_utf8_is_refused(shared_nats: str, tmp_path: Path) -> None:
    declarations = EventPipeline.model_validate(yaml.safe_load(FILE.read_text())).spec.declarations
    shared = {"declarations": declarations, "stream_prefix": "odd-", "stream_bytes": 2**24, "dead_bytes": 2**24}
    with running_gateway(tmp_path, shared_nats, sources=tuple(declarations), **shared) as gateway:
        for source, text_ in (("meta-leads", LEADGEN), ("tiktok-account", PUBLISHED), ("conversions", CONVERSIONS)):
            sent = text_.encode()
            for at in range(0, len(sent), 7):
                odd = sent[:at] + b"\xfc" + sent[at + 1 :]
                answer = gateway.client.post(
                    f"/webhook/{source}", content=odd, headers={"content-type": "application/json"}
                )
                assert answer.status_code in (202, 400, 422), (odd, answer.text)
