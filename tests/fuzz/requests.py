"""Requests as bytes: good ones of every endpoint, signed or not, and what a seed makes of them."""

from __future__ import annotations

import functools
import gzip
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from declared import order
from eventpipeline.authentication import Authentication
from eventpipeline.reporter.access import COOKIE
from eventpipeline.signatures import read_key, signed
from platforms import CONVERSIONS, LEADGEN, PUBLISHED, TIKTOK_EVENTS
from reader_keys import OPERATE, READ, STRANGE
from samples import event, text

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEYS = {"meta/key": "meta-secret", "tiktok/key": "tiktok-secret", "shop/key": SECRET, "hmac/key": "hmac-secret",
        "bearer/key": "bearer-token"}  # fmt: skip


def _method(kind: str, name: str, **fields: Any) -> Authentication:
    return Authentication.model_validate({kind: {"keys": [{"name": name}], **fields}})


AUTHENTICATION = {
    "facebook": _method("meta", "meta", verifyTokens=[{"name": "meta"}]),
    "tiktok": _method("tiktok", "tiktok"),
    "shop": _method("standardWebhooks", "shop"),
    "hmac": _method("hmac", "hmac", algorithm="sha512", encoding="base64", prefix="v0="),
    "bearer": _method("bearer", "bearer"),
}
SOURCES = (*AUTHENTICATION, "anyone", "meta-leads")
"""One of each way to prove who sends, one that is open, and one whose bodies are mapped."""


@dataclass(frozen=True)
class Wire:
    """A request. What is `framed` says its length rightly; one that is not may be left without an answer."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    framed: bool = True
    source: str | None = field(default=None, compare=False)

    def raw(self) -> bytes:
        lines = [self.method.encode("latin-1") + b" " + self.target + b" HTTP/1.1", b"host: fuzz"]
        length = len(self.body) if self.framed else len(self.body) + 1000
        own = [(b"content-length", b"%d" % length)] if self.body or not self.framed else []
        lines += [name + b": " + value for name, value in (*self.headers, *own, (b"connection", b"close"))]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


JSON = (b"content-type", b"application/json")


def _events(source: str, rng: random.Random) -> bytes:
    identity = f"fuzz-{rng.randrange(10**6)}"
    made = event(source, event_id=identity) if source in ("facebook", "tiktok") else order(identity)
    return text([made | {"source": source}] * rng.choice((1, 1, 3)))


def _cloudevent(source: str) -> dict[str, Any]:
    made = order("ce-1")
    return {"specversion": "1.0", "id": "ce-1", "source": source, "type": made["eventType"], "time": made["timestamp"],
            "data": made["data"], "datacontenttype": "application/json"}  # fmt: skip


def gateway_request(rng: random.Random) -> Wire:
    """A good one."""
    source = rng.choice(SOURCES)
    path = rng.choice((f"/webhook/{source}", f"/webhook/{source}", "/webhook/events")).encode()
    cloud = _cloudevent(source)
    attributes = tuple(
        (f"ce-{name}".encode(), str(value).encode())
        for name, value in cloud.items()
        if name not in ("data", "datacontenttype")
    )
    lines = b"\n".join(json.dumps(one).encode() for one in json.loads(_events("facebook", rng)))
    posts: Sequence[Callable[[], Wire]] = (
        lambda: Wire("POST", path, (JSON,), _events(source if source != "meta-leads" else "anyone", rng)),
        lambda: Wire("POST", path, ((b"content-type", b"application/x-ndjson"),), lines),
        lambda: Wire(
            "POST", path, (JSON, (b"content-encoding", b"gzip")), gzip.compress(_events("facebook", rng), mtime=0)
        ),
        lambda: Wire("POST", path, ((b"content-type", b"application/cloudevents+json"),), text(cloud)),
        lambda: Wire("POST", path, ((b"content-type", b"application/cloudevents-batch+json"),), text([cloud, cloud])),
        lambda: Wire("POST", path, (JSON, *attributes), text(cloud["data"])),
        lambda: Wire("POST", path, (JSON,), rng.choice((LEADGEN, PUBLISHED, CONVERSIONS, TIKTOK_EVENTS)).encode()),
    )
    gets = (
        Wire("OPTIONS", path, ((b"webhook-request-origin", b"example.com"), (b"webhook-request-rate", b"100"))),
        Wire("GET", b"/webhook/facebook?hub.mode=subscribe&hub.verify_token=meta-secret&hub.challenge=42"),
        *(Wire("GET", one) for one in _SHARED),
    )
    made = rng.choice(posts)() if rng.random() < 0.85 else rng.choice(gets)
    return replace(made, source=source)


_SHARED = (b"/livez", b"/readyz", b"/metrics", b"/health/liveness", b"/health/readiness", b"/docs", b"/openapi.json",
           b"/docs/assets/swagger-ui.css")  # fmt: skip
LETTER = b"/dead-letters/00000000-0000-0000-0000-000000000000"
_WINDOW = b"from=2024-05-01T00:00:00Z&to=2024-06-01T00:00:00Z"


_REPLAY = text(
    {"set": ["data.user.gender=male"], "patch": [{"op": "remove", "path": "/a"}], "rate": 100, "dryRun": True,
     "sign": "bearer", "key": "k"}
)  # fmt: skip


def reporter_request(rng: random.Random) -> Wire:
    """A good one, with a key or without."""
    made = rng.choice(
        (
            Wire("GET", b"/reports/events?interval=day&source=facebook&funnelStage=top&" + _WINDOW),
            Wire("GET", b"/reports/revenue?groupBy=campaign&limit=10&campaignId=a&" + _WINDOW),
            Wire("GET", b"/reports/demographics?source=tiktok&format=csv"),
            Wire("GET", b"/status"),
            Wire("GET", b"/dead-letters?limit=5&reason=missing_field&eventId=a&" + _WINDOW),
            Wire(
                "GET", b"/dead-letters?after=MjAyNC0wNS0wMVQwMDowMDowMCswMDowMCAwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAw"
            ),
            Wire(rng.choice(("GET", "DELETE")), LETTER),
            Wire("GET", b"/dead-letters/export?reason=missing_field&" + _WINDOW),
            Wire("DELETE", b"/dead-letters?reason=missing_field&eventId=a&" + _WINDOW),
            Wire("POST", b"/dead-letters/replay?source=facebook", (JSON,), _REPLAY),
            Wire("POST", b"/session", (JSON,), json.dumps({"key": rng.choice((READ, OPERATE, STRANGE))}).encode()),
            Wire(rng.choice(("GET", "DELETE")), b"/session"),
            *(Wire("GET", one) for one in (b"/", b"/assets/main.js", b"/assets/vendor/uPlot.min.css", *_SHARED)),
        )
    )
    key = rng.choice((READ, OPERATE, OPERATE, STRANGE)).encode()
    proof = rng.choice(((b"authorization", b"Bearer " + key), (b"cookie", COOKIE.encode() + b"=" + key)))
    extra = rng.choice(
        ((), (proof,), (proof,), (proof, (b"origin", b"http://fuzz"), (b"accept", b"text/csv;q=0.9, */*")))
    )
    return replace(made, headers=(*made.headers, *extra))


def proven(wire: Wire) -> Wire:
    """The request with the proof of its source over its body as it is now: what is behind the door shall be met."""
    authentication = AUTHENTICATION.get(wire.source or "")
    if not authentication or not authentication.method:
        return wire
    method = authentication.method
    key = read_key(method, KEYS[f"{method.keys[0].name}/key"].encode())
    made = signed(method, key, wire.body, now=time.time(), identity="m-1")
    return replace(wire, headers=(*wire.headers, *((name.encode(), value.encode()) for name, value in made.items())))


# --- what a seed makes of them ----------------------------------------------------------------------------------------

_BYTES = (
    b"\x00", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"\n", b'"', b"'", b"\\", b"{",
    b"}", b"[" * 500, b'{"a":' * 500, b"]", b",", b"1e400", b"-0", b"1E-400", b"9" * 400, b"NaN", b"Infinity",
    b"null", b"true", b'"\\ud800"', b'"\\u0000"', b"%00", b"%", b"..", b"//", b"../../etc/passwd",
    b"'; DROP TABLE events; --", b"{{7*7}}", b"${jndi:x}", b"A" * 5000, b"2023-02-29T00:00:00Z",
    b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:60Z", b"\xf0\x9f\x98\x80", b" ", b"\t", b";", b"=", b"&",
)  # fmt: skip
_TYPES = (
    b"application/json", b"application/x-ndjson", b"application/cloudevents+json",
    b"application/cloudevents-batch+json", b"text/plain", b"", b"application/json; charset=utf-16",
    b"multipart/form-data", b"\xff", b"application/json" * 50,
)  # fmt: skip
_NAMES = (
    b"content-type", b"content-encoding", b"x-correlation-id", b"traceparent", b"authorization", b"cookie", b"origin",
    b"x-hub-signature-256", b"tiktok-signature", b"webhook-id", b"webhook-timestamp", b"webhook-signature",
    b"x-signature", b"ce-id", b"ce-specversion", b"ce-time", b"accept", b"accept-encoding", b"if-none-match",
    b"if-modified-since", b"range", b"host", b"x-forwarded-proto", b"x-forwarded-for", b"sec-fetch-site", b"expect",
    b"transfer-encoding", b"upgrade", b"content-length",
)  # fmt: skip
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X" * 50)


def mangled(data: bytes, rng: random.Random) -> bytes:
    """`data` with one thing wrong."""
    at = rng.randrange(len(data) + 1)
    match rng.randrange(6):
        case 0:
            return data[:at] + rng.choice(_BYTES) + data[at:]
        case 1:
            return data[:at]
        case 2:
            end = min(len(data), at + rng.choice((1, 2, 8, 64)))
            return data[:at] + data[end:]
        case 3:
            end = min(len(data), at + rng.choice((1, 8, 64, 512)))
            return data[:end] + data[at:end] * rng.choice((1, 2, 50)) + data[end:]
        case 4:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case _:
            return _other_value(data, rng)


def _other_value(data: bytes, rng: random.Random) -> bytes:
    """A JSON value of another kind in place of one that is there; as bytes where it is no JSON."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data + rng.choice(_BYTES)
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [document]
    while waiting:
        one = waiting.pop()
        for name, value in one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ():
            places.append((one, name))
            waiting.append(value)
    if places:
        holder, name = rng.choice(places)
        holder[name] = rng.choice(
            (None, True, -1, 1e300, 10**30, "", "\x00", "x" * 300, [], {}, [[]], {"a": {}}, "😀", "\ud800")
        )
    return json.dumps(document).encode()


@functools.cache
def _zeros(count: int) -> bytes:
    """So many bytes, in a thousandth of them."""
    return gzip.compress(b"0" * count, mtime=0)


def _target(target: bytes, rng: random.Random) -> bytes:
    changed = mangled(target, rng)
    if rng.random() < 0.8:
        changed = quote(changed, safe="/?&=%.:-_~+").encode()
    return b"/" + changed.replace(b" ", b"").replace(b"\r", b"").replace(b"\n", b"").lstrip(b"/")


def _header(wire: Wire, rng: random.Random) -> Wire:
    headers = list(wire.headers)
    value = rng.choice((*_TYPES, *_BYTES)).replace(b"\r", b"").replace(b"\n", b"").replace(b"\x00", b"")
    if headers and rng.random() < 0.6:
        at = rng.randrange(len(headers))
        name, old = headers[at]
        changed = mangled(old, rng).replace(b"\r", b"").replace(b"\n", b"").replace(b"\x00", b"")
        headers[at : at + 1] = rng.choice(([], [(name, old)] * 2, [(name, changed)], [(name, value)]))
        return replace(wire, headers=tuple(headers))
    name = rng.choice(_NAMES)
    framed = wire.framed and name not in (b"transfer-encoding", b"content-length", b"expect", b"upgrade")
    return replace(wire, headers=(*headers, (name, value)), framed=framed)


def request(mode: str, seed: int, number: int) -> Wire:
    """The request of this number for a `gateway` or a `reporter`: the same for the same seed, but for its signature."""
    rng = random.Random(f"{seed}:{mode}:{number}")
    wire = (gateway_request if mode == "gateway" else reporter_request)(rng)
    prove = rng.random() < 0.7
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6))):
        match rng.randrange(8):
            case 0:
                wire = replace(wire, target=_target(wire.target, rng))
            case 1 | 2:
                wire = _header(wire, rng)
            case 3:
                wire = replace(wire, method=rng.choice(_METHODS))
            case 4:
                wire = replace(
                    wire,
                    body=_zeros(rng.choice((10, 10**6, 3 * 10**7))),
                    headers=(*wire.headers, (b"content-encoding", b"gzip")),
                )
            case _:
                wire = replace(wire, body=mangled(wire.body, rng))
    if rng.random() < 0.01:
        wire = replace(wire, framed=False)
    return proven(wire) if prove else wire
