"""No log line carries what a sender sent, or a key.

Everything goes wrong that can, at the level debug; then all logs are searched for a marker that stands in every value
of every event, and for every key.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2

from collecting import eventually, streaming
from declared import WEBSHOP, order
from eventpipeline.authentication import Authentication
from eventpipeline.sources import written
from eventpipeline.store.schema import migrate
from eventpipeline.stream import Stream
from gateways import Gateway, running_gateway
from reader_keys import READ, STRANGE, bearing, closed
from servers import nats_server, postgres_server
from services import Service, service
from stored import facebook, scalar, tiktok

MARKER = "Marker4711"
KEYS = {"meta": "key-of-meta-4712", "token": "key-of-bearer-4713", "wrong": "key-that-is-none-4714"}
PASSWORDS = ("password-of-nats-4715", "password-of-postgres-4716")
SECRETS = (MARKER, READ, STRANGE, *KEYS.values(), *PASSWORDS)


def method(kind: str, name: str, **fields: Any) -> Authentication:
    return Authentication.model_validate({kind: {"keys": [{"name": name, "key": "key"}], **fields}})


AUTHENTICATION = {
    "meta": method("meta", "meta", verifyTokens=[{"name": "token", "key": "key"}]),
    "token": method("bearer", "token"),
    "wrong": method("standardWebhooks", "wrong"),
}
DECLARATIONS = dict.fromkeys(AUTHENTICATION, WEBSHOP)


def marked(value: Any) -> Any:
    """The value with the marker in every string that is free text."""
    if isinstance(value, dict):
        return {name: marked(member) for name, member in value.items()}
    kept = ("female", "center", "mobile", "Safari", "iOS", "1.50", "facebook", "tiktok", "bottom", "top")
    return value if not isinstance(value, str) or value in kept or value[:2] == "20" else f"{value}-{MARKER}"


def event(number: int, **changes: Any) -> dict[str, Any]:
    made = facebook(number)
    return made | {"eventId": f"e{number}-{MARKER}", "data": marked(made["data"])} | changes


def invalid() -> Iterator[object]:
    """Events that are refused, each for another reason."""
    yield event(100, timestamp=MARKER)
    yield event(101, timestamp=f"2025-02-30T12:00:00Z{MARKER}")
    yield event(102, eventType=[MARKER])
    yield event(103, funnelStage=MARKER)
    yield event(104, source=MARKER)
    yield event(105, data=MARKER)
    yield event(106, eventId=MARKER * 50)
    yield MARKER
    yield {MARKER: MARKER}
    yield event(107, data={"user": MARKER, "engagement": {}})
    for member, value in (("gender", MARKER), ("age", MARKER), ("location", [MARKER]), ("name", f"\0{MARKER}")):
        made = event(108)
        made["data"]["user"][member] = value
        yield made
    for member, value in (("purchaseAmount", MARKER), ("browser", MARKER), ("campaignId", MARKER * 100)):
        made = event(109)
        made["data"]["engagement"][member] = value
        yield made
    yield event(110) | {"padding": MARKER * 40_000}


def foreign() -> Iterator[bytes]:
    """What somebody else puts on the stream, which no gateway has seen."""
    broken = event(200)
    broken["data"]["engagement"]["purchaseAmount"] = MARKER
    for one in (broken, event(201, timestamp=MARKER), event(202, timestamp="infinity"), event(203, data={})):
        yield json.dumps([one, event(204)]).encode()
    yield MARKER.encode()
    yield json.dumps([MARKER, [MARKER]]).encode()


def post_everything(gateway: Gateway) -> int:
    """Returns how many dead letters there have to be."""
    good = [event(number) for number in range(20)]
    made = tiktok(1)
    good.append(made | {"data": marked(made["data"])})
    for _ in range(2):  # copies
        assert gateway.post(good, x_correlation_id="c-1").status_code == 202
    wrong = list(invalid())
    assert gateway.post([*good, *wrong]).json()["rejected"] == len(wrong)
    assert gateway.post(wrong).status_code == 422
    body = json.dumps(good).encode()
    assert gateway.post(body[:-1]).status_code == 400
    assert gateway.post(f'"{MARKER}"'.encode()).status_code == 422
    assert gateway.post(body, content_type=f"text/{MARKER}").status_code == 415
    assert gateway.post(body, content_encoding="gzip").status_code == 400
    assert gateway.post(gzip.compress(body), content_encoding="gzip").status_code == 202
    assert gateway.post(f"[{json.dumps(MARKER * 200_000)}]".encode()).status_code == 413

    def send(source: str, **headers: str) -> int:
        content = json.dumps([order(MARKER) | {"source": source}]).encode()
        named = {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        return gateway.client.post(f"/webhook/{source}", content=content, headers=named).status_code

    assert send("token", authorization=f"Bearer {KEYS['token']}") == 202
    assert send("token", authorization=f"Bearer {MARKER}") == 401
    assert send("meta", x_hub_signature_256=f"sha256={MARKER}") == 401
    signature = f"v1,{base64.b64encode(bytes(32)).decode()}"
    stamp = str(int(time.time()))
    assert send("wrong", webhook_id=MARKER, webhook_timestamp=stamp, webhook_signature=signature) == 503
    cloud = {"ce-specversion": "1.0", "ce-id": MARKER, "ce-source": MARKER, "ce-type": MARKER, "ce-time": MARKER}
    assert send("token", authorization=f"Bearer {KEYS['token']}", **cloud) == 422
    for token in (KEYS["token"], MARKER):
        query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": MARKER}
        assert gateway.client.get("/webhook/meta", params=query).status_code in (200, 403, 401)
    return 2 * len(wrong)


def ask_everything(reporter: Service) -> None:
    def ask(path: str, key: str = READ) -> httpx2.Response:
        return httpx2.get(reporter.url + path, headers=bearing(key), timeout=20)

    for key in (MARKER, STRANGE):
        assert ask("/status", key).status_code == 401
        answer = httpx2.post(f"{reporter.url}/session", json={"key": key}, timeout=20)
        assert answer.status_code in (401, 422)
    assert httpx2.post(f"{reporter.url}/session", json={"key": READ}, timeout=20).is_success
    for path in (
        f"/reports/revenue?campaignId={MARKER}", f"/reports/events?from={MARKER}", f"/reports/events?{MARKER}=1",
        f"/dead-letters?eventId={MARKER}", f"/dead-letters?after={MARKER}", "/reports/demographics", "/status",
    ):  # fmt: skip
        assert ask(path).status_code in (200, 422)
    for letter in ask("/dead-letters?limit=1000").json()["items"]:
        assert ask(f"/dead-letters/{letter['id']}").status_code == 200


async def put_foreign(stream: Stream) -> None:
    for text in foreign():
        await stream.publish("facebook", text, {"Ep-Requests": json.dumps([["c-2", MARKER, 1]])}, 5.0)
        await stream.publish("DEAD", text, {}, 5.0)


def found_in(folder: Path) -> list[str]:
    """Every line of a log that holds something which none may hold."""
    logs = sorted(folder.rglob("*.log"))
    assert len(logs) >= 5
    return [
        f"{path.name}: {line[:300]}"
        for path in logs
        for line in path.read_text(errors="replace").splitlines()
        if any(secret in line for secret in SECRETS)
    ]


async def test_no_log_line_has_what_was_sent_or_a_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    for name, key in KEYS.items():
        (keys / name).mkdir(parents=True)
        (keys / name / "key").write_text(key)
    with ExitStack() as stack:
        nats = stack.enter_context(nats_server(tmp_path))
        database = stack.enter_context(postgres_server(tmp_path))
        migrate(database)
        limits = {"stream_bytes": 2**25, "dead_bytes": 2**25, "log_level": "debug"}
        gateway = stack.enter_context(
            running_gateway(
                tmp_path, nats, sources=("facebook", "tiktok", *AUTHENTICATION), declarations=DECLARATIONS,
                authentication=AUTHENTICATION, keys_dir=str(keys), max_body_bytes=2**20, **limits,
            )
        )  # fmt: skip
        both = limits | {"nats_url": nats, "database_url": database}
        for source in ("facebook", "tiktok", "token"):
            stack.enter_context(
                service(tmp_path, "collector", source=source, declarations=written(DECLARATIONS), **both)
            )
        readers = closed(keys)
        readers["authentication"] = json.dumps(readers["authentication"])
        reporter = stack.enter_context(
            service(
                tmp_path, "reporter", sources="facebook,tiktok,token", declarations=written(DECLARATIONS),
                **both, **readers,
            )
        )  # fmt: skip
        # ... and one that reaches neither of its servers.
        away = {
            "nats_url": f"nats://someone:{PASSWORDS[0]}@127.0.0.1:9",
            "database_url": f"postgresql://someone:{PASSWORDS[1]}@127.0.0.1:9/x",
        }
        lost = stack.enter_context(service(tmp_path, "collector", source="facebook", **limits | away))

        letters = post_everything(gateway)
        await eventually(lambda: scalar(database, "SELECT count(*) FROM events") == 22, "the events", 60)
        await eventually(lambda: scalar(database, "SELECT count(*) FROM dead_letters") == letters, "the letters", 60)
        await eventually(lambda: reporter.answers("/livez"), "the reporter", 30)
        ask_everything(reporter)
        await eventually(lambda: lost.answers("/readyz", 503), "the collector that reaches nothing", 30)
        # Up to here the servers' own logs hold nothing either.
        assert found_in(tmp_path) == []

        async with streaming(nats, "") as stream:
            await put_foreign(stream)
        refused = "SELECT count(*) FROM dead_letters"
        await eventually(lambda: scalar(database, refused) >= letters + 9, "what was refused of it", 60)
    assert [line for line in found_in(tmp_path) if not line.startswith("postgres")] == []


def test_the_search_finds_what_stands_there(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.log").write_text(f"a line\nof {SECRETS[number]}\n")
    assert len(found_in(tmp_path)) == 5
