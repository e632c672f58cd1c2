"""The gateway's answers, over real sockets and a real nats-server: section 3 of the design, row by row."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import signal
import socket
import statistics
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from eventpipeline.envelope import PACKED_BYTES
from eventpipeline.local import nats
from gateways import PATH, Gateway, running_gateway, taken_from
from samples import deep, event, sized, text
from servers import free_port, nats_server, running_program, stopped, wait_for

MIB, GIB = 1024**2, 1024**3
SOURCES = ("facebook", "tiktok", "DEAD")


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nats_server(tmp_path_factory.mktemp("nats"), max_file_bytes=8 * GIB) as url:
        yield url


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, nats_url: str) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), nats_url) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Iterator[Gateway]:
    """The gateway that most tests share; after each of them no body is in flight any more."""
    yield shared
    wait_for(lambda: shared.metric("gateway_in_flight_bytes") == 0, what=lambda: "bytes are in flight for ever")


@pytest.fixture
def streams(nats_url: str) -> str:
    """The URL of the streams, with all that earlier tests left taken from them."""
    for source in SOURCES:
        taken_from(nats_url, source)
    return nats_url


def many(count: int, **members: Any) -> list[dict[str, Any]]:
    """Valid events, half of them of each source, as the public publisher sends them."""
    return [
        event(("facebook", "tiktok")[number % 2], ("top", "bottom")[number // 2 % 2], f"e-{number}", **members)
        for number in range(count)
    ]


def array(*elements: bytes) -> bytes:
    return b"[" + b",".join(elements) + b"]"


def assert_problem(response: httpx2.Response, status: int, saying: str) -> dict[str, Any]:
    """The answer is problem details (RFC 9457) and its detail says `saying`."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["status"] == status
    assert body["correlationId"] == response.headers["x-correlation-id"]
    assert re.search(saying, body["detail"]), body["detail"]
    if status == 503:
        assert int(response.headers["retry-after"]) > 0
    return body


def counts(response: httpx2.Response) -> tuple[int, int, int]:
    body = response.json()
    return response.status_code, body["accepted"], body["rejected"]


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_one_event_and_many(gateway: Gateway, streams: str) -> None:
    response = gateway.post(event())
    assert response.headers["content-type"] == "application/json"
    identity = response.headers["x-correlation-id"]
    assert response.json() == {"accepted": 1, "rejected": 0, "errors": [], "correlationId": identity}
    assert counts(gateway.post(many(10))) == (202, 10, 0)
    assert counts(gateway.post([])) == (202, 0, 0)
    (one, five), (five_more,) = taken_from(streams, "facebook"), taken_from(streams, "tiktok")
    assert one.events == [event()]
    assert five.events == many(10)[::2]
    assert five_more.events == many(10)[1::2]
    assert json.loads(one.headers["Ep-Requests"]) == [[identity, None, 1]]


def test_an_answer_comes_in_one_piece(gateway: Gateway) -> None:
    body = text(event())
    head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        for _ in range(20):
            connection.sendall(head % (PATH.encode(), len(body)) + body)
            answer = connection.recv(64 * 1024)
            assert answer.startswith(b"HTTP/1.1 202 ")
            assert answer.endswith(b"}")


def test_lines(gateway: Gateway, streams: str) -> None:
    lines = [text(event(event_id="a")), b"", b"  \t", b'{"nope', text(event(event_id="b")), b""]
    response = gateway.post(b"\r\n".join(lines), content_type="application/x-ndjson; charset=utf-8")
    assert counts(response) == (202, 2, 1)
    assert response.json()["errors"][0]["index"] == 1
    assert [one["eventId"] for message in taken_from(streams, "facebook") for one in message.events] == ["a", "b"]


def test_a_hundred_thousand_events(gateway: Gateway, streams: str) -> None:
    sent = many(100_000)
    assert counts(gateway.post(sent)) == (202, 100_000, 0)
    taken = {source: taken_from(streams, source) for source in ("facebook", "tiktok")}
    for number, source in enumerate(taken):
        assert [one for message in taken[source] for one in message.events] == sent[number::2]
        assert all(message.size <= PACKED_BYTES for message in taken[source])
        packed = [run[2] for message in taken[source] for run in json.loads(message.headers["Ep-Requests"])]
        assert packed == [len(message.events) for message in taken[source]]


def test_every_event_invalid(gateway: Gateway, streams: str) -> None:
    body = assert_problem(gateway.post([event(event_id=""), 5]), 422, "every event is invalid; see errors")
    assert (body["accepted"], body["rejected"]) == (0, 2)
    assert body["errors"] == [
        {
            "index": 0,
            "eventId": "",
            "reason": "invalid_value",
            "detail": [{"loc": ["eventId"], "msg": "must have at least 1 character", "type": "string_too_short"}],
        },
        {
            "index": 1,
            "eventId": None,
            "reason": "not_an_object",
            "detail": [{"loc": [], "msg": "is not a JSON object; an event is one", "type": "not_an_object"}],
        },
    ]
    assert [taken_from(streams, source) for source in ("facebook", "tiktok")] == [[], []]


def test_one_bad_event_never_fails_the_others(gateway: Gateway, streams: str) -> None:
    good = text(event(event_id="good"))
    for bad, reason in (
        (b"NaN", "invalid_json"),
        (text(event()).replace(b"49.90", b"\xff"), "invalid_json"),
        (text(event()).replace(b'"49.90"', b"NaN"), "invalid_json"),
        (text(event()).replace(b"49.90", b"\\ud800"), "invalid_json"),
        (b"[" * 10_000 + b"]" * 10_000, "invalid_json"),
        (deep(10_000), "invalid_json"),
        (b"", "invalid_json"),
        (b"nope", "invalid_json"),
        (b"null", "not_an_object"),
        (text(event() | {"source": "instagram"}), "unknown_source"),
        (sized(600 * 1024), "too_large"),
    ):
        response = gateway.post(array(good, bad, good))
        assert counts(response) == (202, 2, 1), bad[:100]
        (error,) = response.json()["errors"]
        assert (error["index"], error["reason"]) == (1, reason)
        assert error["detail"][0]["msg"]
    assert sum(len(message.events) for message in taken_from(streams, "facebook")) == 22


def test_errors_are_the_first_hundred_in_their_order(gateway: Gateway) -> None:
    bad = []
    for number in range(90):
        bad.append(event(("facebook", "tiktok")[number % 2], "top", f"e-{number}", eventType="no"))
        if number % 3 == 0:
            bad[-1]["source"] = "no"
    response = gateway.post([*bad, event()])
    assert [error["index"] for error in response.json()["errors"]] == list(range(90))
    assert [error["eventId"] for error in response.json()["errors"]] == [f"e-{number}" for number in range(90)]
    response = gateway.post([event(), *[{}] * 250])
    assert counts(response) == (202, 1, 250)
    assert [error["index"] for error in response.json()["errors"]] == list(range(1, 101))


def test_large_events_share_messages(gateway: Gateway, streams: str) -> None:
    events = [sized(100_000).replace(b'"e-1"', b'"e-%d"' % number) for number in range(8)]
    assert counts(gateway.post(array(*events, sized(256 * 1024), sized(256 * 1024 + 1)))) == (202, 9, 1)
    messages = taken_from(streams, "tiktok")
    assert [len(message.events) for message in messages] == [5, 3, 1]


@pytest.mark.parametrize(
    ("body", "status", "saying"),
    [
        (b"", 400, "is not JSON; send an event as a JSON object, or an array"),
        (b"nope", 400, "is not JSON"),
        (b"[{}", 400, "the array is not closed"),
        (b"[] []", 400, "something follows the array"),
        (b'{"a":NaN}', 400, "is not JSON"),
        (b'"x"', 422, "neither a JSON object .* nor an array of events"),
        (b"5", 422, "neither a JSON object"),
        (deep(10_000), 422, "every event is invalid; see errors"),
        (b"[" * 10_000 + b"]" * 10_000, 422, "every event is invalid; see errors"),
    ],
)
def test_bodies_that_are_no_events(gateway: Gateway, body: bytes, status: int, saying: str) -> None:
    assert_problem(gateway.post(body), status, saying)


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/xml", "application/json-seq", "json"])
def test_other_content_types(gateway: Gateway, content_type: str) -> None:
    response = gateway.post(event(), content_type=content_type)
    assert_problem(response, 415, "use application/json or application/x-ndjson")


def test_content_types_with_parameters_and_capitals(gateway: Gateway) -> None:
    for content_type in ("application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"):
        assert counts(gateway.post(event(), content_type=content_type)) == (202, 1, 0)


def test_other_encodings(gateway: Gateway) -> None:
    for encoding in ("br", "gzip, br", "deflate", "zstd"):
        assert_problem(gateway.post(event(), content_encoding=encoding), 415, "use gzip or none")


def test_unknown_paths_and_methods(gateway: Gateway) -> None:
    assert_problem(gateway.client.get("/nope"), 404, "Not Found")
    response = gateway.client.get(PATH)
    assert_problem(response, 405, "Method Not Allowed")
    assert response.headers["allow"] == "POST"


# --- gzip ------------------------------------------------------------------------------------------------------------


def test_gzip(gateway: Gateway) -> None:
    whole = text(many(5000))
    assert counts(gateway.post(gzip.compress(whole), content_encoding="gzip")) == (202, 5000, 0)
    assert counts(gateway.post(gzip.compress(whole), content_encoding="GZip")) == (202, 5000, 0)
    members = b"".join(gzip.compress(whole[first : first + 100_000]) for first in range(0, len(whole), 100_000))
    assert counts(gateway.post(members + gzip.compress(b""), content_encoding="gzip")) == (202, 5000, 0)


def test_gzip_that_is_none(gateway: Gateway) -> None:
    packed = gzip.compress(text(many(100)))
    for body, saying in (
        (packed[:-1], "the gzip body ends too early"),
        (packed[: len(packed) // 2], "the gzip body ends too early"),
        (b"", "the gzip body ends too early"),
        (text(event()), "the body is not gzip"),
        (packed + b"more", "the body is not gzip"),
        (packed[:-8] + b"12345678", "the body is not gzip"),
    ):
        assert_problem(gateway.post(body, content_encoding="gzip"), 400, saying)


def test_a_gzip_bomb_takes_no_memory(tmp_path: Path, nats_url: str) -> None:
    member = gzip.compress(b" " * 64 * MIB)
    with running_gateway(tmp_path, nats_url) as gateway:
        before = gateway.peak_memory()
        for bomb in (member * 100, gzip.compress(b" " * 200 * MIB)):
            assert_problem(gateway.post(bomb, content_encoding="gzip"), 413, "more than 67108864 bytes; send fewer")
        assert gateway.peak_memory() - before < 160 * MIB


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_too_large_by_its_announced_length_is_said_before_the_body_is_sent(gateway: Gateway) -> None:
    with raw_request(gateway, f"Content-Length: {65 * MIB}", "Expect: 100-continue") as connection:
        assert answer(connection)[0] == 413
    assert_problem(gateway.post(b" " * 65 * MIB), 413, "more than 67108864 bytes; send fewer events in one request")
    response = gateway.post(b" " * 65 * MIB, content_encoding="gzip")
    assert_problem(response, 413, "more than 67108864 bytes; send fewer events in one request")


def test_too_large_without_an_announced_length(gateway: Gateway) -> None:
    pieces = (b" " * MIB for _ in range(65))
    response = gateway.client.post(PATH, content=pieces, headers={"content-type": "application/json"})
    assert_problem(response, 413, "more than 67108864 bytes; send fewer events in one request")


def test_millions_of_elements_take_neither_memory_nor_long(tmp_path: Path, nats_url: str) -> None:
    with running_gateway(tmp_path, nats_url) as gateway:
        before = gateway.peak_memory()
        for body in (b"[1" + b",1" * 33_000_000 + b"]", b"[1" + b",1" * 3_900_000 + b"]"):
            started = time.monotonic()
            assert_problem(gateway.post(body), 413, "more than 250000 events; send fewer in one request")
            assert time.monotonic() - started < 20
        assert gateway.peak_memory() - before < 500 * MIB
        assert gateway.metric("gateway_events_failed_total", source="unknown") == 0


def raw_request(gateway: Gateway, *headers: str) -> socket.socket:
    """A connection on which the head of a POST was sent."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    head = [f"POST {PATH} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers, "", ""]
    connection.sendall("\r\n".join(head).encode())
    return connection


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer; an interim 100 is one of its own."""
    file = connection.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while (line := file.readline().strip()) != b"":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, file.read(int(headers.get("content-length", "0")))


def test_too_many_bytes_in_flight(tmp_path: Path, nats_url: str) -> None:
    body = text(many(1000))
    limits = {"max_in_flight_bytes": 500_000, "max_body_bytes": 500_000}
    with running_gateway(tmp_path, nats_url, **limits) as gateway:
        holding = raw_request(gateway, f"Content-Length: {len(body)}")
        holding.sendall(body[:1000])
        wait_for(lambda: gateway.metric("gateway_in_flight_bytes") == len(body), what=lambda: "not in flight")

        # Said before the body is read: this client waits for leave to send, and gets none.
        with raw_request(gateway, "Content-Length: 400000", "Expect: 100-continue") as waiting:
            status, headers, problem = answer(waiting)
            assert status == 503
            assert headers["content-type"] == "application/problem+json"
            assert headers["connection"] == "close"
            assert int(headers["retry-after"]) > 0
            assert json.loads(problem)["detail"] == f"{len(body)} bytes of requests are in flight already; try again"

        # A client that sends all the same gets the answer, and no reset.
        assert_problem(gateway.post(b" " * 400_000), 503, "in flight already; try again")
        pieces = (b" " * 1000 for _ in range(400))
        response = gateway.client.post(PATH, content=pieces, headers={"content-type": "application/json"})
        assert_problem(response, 503, "in flight already; try again")
        assert gateway.metric("gateway_in_flight_bytes") == len(body)

        holding.sendall(body[1000:])
        status, headers, taken = answer(holding)
        assert (status, json.loads(taken)["accepted"]) == (202, 1000)
        holding.close()
        assert gateway.metric("gateway_in_flight_bytes") == 0
        assert counts(gateway.post(body)) == (202, 1000, 0)


def test_leave_to_send_is_given(gateway: Gateway) -> None:
    body = text(event())
    with raw_request(gateway, f"Content-Length: {len(body)}", "Expect: 100-continue") as connection:
        assert answer(connection)[0] == 100
        connection.sendall(body)
        assert answer(connection)[0] == 202


def test_a_client_that_leaves_gives_its_bytes_back(gateway: Gateway) -> None:
    for headers in (["Content-Length: 1000000"], ["Transfer-Encoding: chunked"]):
        connection = raw_request(gateway, *headers)
        connection.sendall(b"10\r\n" + b"[" * 16 if "chunked" in headers[0] else b"[" * 16)
        wait_for(lambda: gateway.metric("gateway_in_flight_bytes") > 0, what=lambda: "the body did not begin")
        connection.close()
        wait_for(lambda: gateway.metric("gateway_in_flight_bytes") == 0, what=lambda: "the bytes stay in flight")


# --- what travels with events ----------------------------------------------------------------------------------------


def test_the_correlation_id_is_echoed_or_made(gateway: Gateway, streams: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    given = "!~" + "x" * 126
    response = gateway.post(event(), x_correlation_id=given, traceparent=trace)
    assert response.headers["x-correlation-id"] == response.json()["correlationId"] == given
    (message,) = taken_from(streams, "facebook")
    assert json.loads(message.headers["Ep-Requests"]) == [[given, trace, 1]]
    for unfit in ("x" * 129, "a b", "a\tb", "", "caf\u00e9".encode().decode("latin-1")):
        response = gateway.client.post(
            PATH,
            content=text(event()),
            headers=[(b"content-type", b"application/json"), (b"x-correlation-id", unfit.encode("latin-1"))],
        )
        made = response.json()["correlationId"]
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made)
    assert gateway.post(event(), traceparent="nope").status_code == 202
    assert json.loads(taken_from(streams, "facebook")[-1].headers["Ep-Requests"])[0][1] is None
    lines = [line for line in gateway.log_lines() if line.get("correlationId") == given]
    assert [(line["event"], line["status"], line["accepted"], line["rejected"]) for line in lines] == [
        ("request", 202, 1, 0)
    ]


def test_dead_letters(gateway: Gateway, streams: str) -> None:
    huge = sized(600 * 1024)
    elements = [text(event(event_id="")), b"NaN", text(event("tiktok", "top", "e-2", eventType="no")), b"[1]", huge]
    response = gateway.post(array(*elements, text(event())), x_correlation_id="cid-1")
    assert counts(response) == (202, 1, 5)
    messages = taken_from(streams, "DEAD")
    letters = {message.headers["Ep-Reason"]: message.events for message in messages}
    assert {reason: len(of_reason) for reason, of_reason in letters.items()} == {
        "invalid_value": 2,
        "invalid_json": 1,
        "not_an_object": 1,
        "too_large": 1,
    }
    for reason, of_reason in letters.items():
        for letter in of_reason:
            assert letter["reason"] == reason
            assert letter["correlationId"] == "cid-1"
    wrong_type = letters["invalid_value"][1]
    assert [wrong_type[name] for name in ("source", "funnelStage", "eventType", "eventId")] == [
        "tiktok",
        "top",
        "no",
        "e-2",
    ]
    assert b64decode(wrong_type["payload"]) == elements[2]
    assert wrong_type["payloadBytes"] == len(elements[2])
    assert wrong_type["payloadSha256"] == hashlib.sha256(elements[2]).hexdigest()
    assert b64decode(letters["invalid_json"][0]["payload"]) == b"NaN"
    (large,) = letters["too_large"]
    assert large["source"] == "tiktok"
    assert b64decode(large["payload"]) == huge[: 64 * 1024]
    assert (large["payloadBytes"], large["payloadSha256"]) == (len(huge), hashlib.sha256(huge).hexdigest())


def test_dead_letters_are_packed(gateway: Gateway, streams: str) -> None:
    assert_problem(gateway.post([{"source": "no", "x": "y" * 1000}] * 2000), 422, "every event is invalid")
    messages = taken_from(streams, "DEAD")
    assert sum(len(message.events) for message in messages) == 2000
    assert len({letter["id"] for message in messages for letter in message.events}) == 2000
    assert 3 < len(messages) < 10
    assert all(message.size <= PACKED_BYTES + 2 for message in messages)


def test_metrics(tmp_path: Path, nats_url: str) -> None:
    with running_gateway(tmp_path, nats_url) as gateway:
        for name in ("gateway_events_accepted_total", "gateway_events_processed_total"):
            assert f'{name}{{source="facebook"}} 0.0' in gateway.client.get("/metrics").text
        for labels in ('reason="stream_unavailable",source="tiktok"', 'reason="missing_field",source="unknown"'):
            assert f"gateway_events_failed_total{{{labels}}} 0.0" in gateway.client.get("/metrics").text
        assert 'gateway_requests_total{status="503"} 0.0' in gateway.client.get("/metrics").text
        gateway.post([*many(5), {}, event(event_id=""), event("tiktok", eventType=[])])
        for name in ("gateway_events_accepted_total", "gateway_events_processed_total"):
            assert [gateway.metric(name, source=source) for source in ("facebook", "tiktok")] == [3, 2]
        failed = "gateway_events_failed_total"
        assert gateway.metric(failed, source="facebook", reason="invalid_value") == 1
        assert gateway.metric(failed, source="tiktok", reason="wrong_type") == 1
        assert gateway.metric(failed, source="unknown", reason="missing_field") == 1
        assert gateway.metric("gateway_dead_letters_lost_total") == 0
        assert gateway.metric("gateway_requests_total", status="202") == 1
        gateway.post(b"nope")
        assert gateway.metric("gateway_requests_total", status="400") == 1
        assert gateway.metric("gateway_request_seconds_count") == 2
        assert gateway.metric("gateway_in_flight_bytes") == 0


def test_events_beyond_retention_are_refused_at_the_door(tmp_path: Path, nats_url: str) -> None:
    today = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with running_gateway(tmp_path, nats_url, retention_days=30) as gateway:
        assert counts(gateway.post(many(2000, timestamp=today))) == (202, 2000, 0)
        response = gateway.post(
            [*many(10, timestamp=today), event(event_id="old", timestamp="2024-05-01T12:00:00+02:00")]
        )
        assert counts(response) == (202, 10, 1)
        assert response.json()["errors"] == [
            {
                "index": 10,
                "eventId": "old",
                "reason": "beyond_retention",
                "detail": [
                    {
                        "loc": ["timestamp"],
                        "msg": "is older than the 30 days that events are kept",
                        "type": "beyond_retention",
                    }
                ],
            }
        ]
        assert counts(gateway.post([event(event_id="old")])) == (422, 0, 1)


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_nats_away_at_start_lost_and_back(tmp_path: Path) -> None:
    port, monitor = free_port(), free_port()

    def server() -> Any:
        log = tmp_path / "nats.log"
        return running_program(
            nats.server(tmp_path / "nats", port=port, monitor_port=monitor, max_file_bytes=8 * GIB, log=log)
        )

    url = f"nats://127.0.0.1:{port}"
    with running_gateway(tmp_path, url, ready=False, ack_timeout_seconds=2) as gateway:
        assert_problem(gateway.post(event()), 503, "NATS is not connected")
        assert_problem(gateway.post([{}]), 503, "NATS is not connected")  # the dead letter cannot be kept either
        assert counts(gateway.post([])) == (202, 0, 0)
        assert_problem(gateway.post(b"nope"), 400, "is not JSON")
        readiness = gateway.client.get("/readyz")
        assert (readiness.status_code, readiness.json()) == (
            200,
            {"status": "ok", "checks": {"stream": "NATS is not connected"}},
        )
        for _ in range(2):
            with server() as process:
                wait_for(lambda: gateway.post(event()).status_code == 202, what=lambda: "no 202 with NATS back")
                assert gateway.stream_trouble() == "ok"
                process.send_signal(signal.SIGKILL)
                process.wait()
                assert_problem(gateway.post(event()), 503, "NATS is not connected|JetStream did not answer")
        failed = gateway.metric("gateway_events_failed_total", source="facebook", reason="stream_unavailable")
        assert failed >= 3


def test_jetstream_slower_than_the_deadline(tmp_path: Path) -> None:
    port = free_port()
    program = nats.server(
        tmp_path / "nats", port=port, monitor_port=free_port(), max_file_bytes=8 * GIB, log=tmp_path / "nats.log"
    )
    with (
        running_program(program) as process,
        running_gateway(tmp_path, f"nats://127.0.0.1:{port}", ack_timeout_seconds=0.5) as gateway,
    ):
        assert gateway.post(event()).status_code == 202
        with stopped(child_of(process.pid)):
            started = time.monotonic()
            assert_problem(gateway.post(many(10)), 503, "JetStream did not answer: TimeoutError")
            assert 0.4 < time.monotonic() - started < 5
        wait_for(lambda: gateway.post(many(10)).status_code == 202, what=lambda: "no 202 once it goes on")


def child_of(pid: int) -> int:
    """The server below the small process that watches over it, or that process where there is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


def test_a_gateway_listens_once_it_can_take_events(tmp_path: Path) -> None:
    """During a rollout a new one gets requests as soon as it answers its probe."""
    with (
        nats_server(tmp_path, max_file_bytes=8 * GIB) as url,
        running_gateway(tmp_path, url, ready=False) as gateway,
    ):
        assert gateway.post(event()).status_code == 202
        logged = [line["event"] for line in gateway.log_lines()]
        assert logged[: logged.index("listening")].count("made stream") == 3


def test_full_streams(tmp_path: Path, nats_url: str) -> None:
    limits = {"stream_bytes": 2 * MIB, "dead_bytes": MIB, "stream_prefix": "full-"}
    with running_gateway(tmp_path, nats_url, **limits) as gateway:
        wrong = [{"source": "no", "x": "y" * 10_000}] * 100
        refused = 0
        while gateway.metric("gateway_dead_letters_lost_total") == 0:
            assert counts(gateway.post([event(), *wrong])) == (202, 1, 100)  # valid ones are taken all the same
            refused += len(wrong)
        lost = gateway.metric("gateway_dead_letters_lost_total")
        assert_problem(gateway.post(wrong), 422, "every event is invalid")
        refused += len(wrong)
        assert gateway.metric("gateway_dead_letters_lost_total") > lost
        # None was dropped to make room: each is there, or was counted as one that is not.
        kept = {letter["id"] for message in taken_from(nats_url, "DEAD", "full-") for letter in message.events}
        assert len(kept) == refused - gateway.metric("gateway_dead_letters_lost_total") > 0

        big = [event(event_id=f"e-{number}") for number in range(2000)]
        while (response := gateway.post(big)).status_code == 202:
            pass
        assert_problem(response, 503, "the stream of facebook is at its byte limit")
        assert counts(gateway.post(event("tiktok"))) == (202, 1, 0)  # a source that stands still blocks no other


# --- ending, and living ----------------------------------------------------------------------------------------------


def test_draining(tmp_path: Path, nats_url: str) -> None:
    with running_gateway(tmp_path, nats_url, drain_seconds=2.0) as gateway:
        body = text(many(10))
        with raw_request(gateway, f"Content-Length: {len(body)}") as open_request:
            open_request.sendall(body[:100])
            wait_for(lambda: gateway.metric("gateway_in_flight_bytes") > 0, what=lambda: "the body did not begin")
            gateway.process.send_signal(signal.SIGTERM)
            wait_for(lambda: gateway.client.get("/readyz").status_code == 503, what=lambda: "still ready")
            assert gateway.client.get("/readyz").json()["status"] == "draining"
            response = gateway.post(event())
            assert (response.status_code, response.headers["connection"]) == (202, "close")
            wait_for(lambda: refused(gateway.port), what=lambda: "the listener is still open")
            assert gateway.process.poll() is None
            open_request.sendall(body[100:])
            assert answer(open_request)[0] == 202
        assert gateway.process.wait(10) == 0


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path, nats_url: str) -> None:
    with running_gateway(tmp_path, nats_url, drain_seconds=60.0) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        wait_for(lambda: gateway.client.get("/readyz").status_code == 503, what=lambda: "still ready")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(5) == 128 + signal.SIGTERM


def test_it_answers_its_probes_while_it_takes_large_bodies(gateway: Gateway) -> None:
    """Asserted: a median under 250 ms and none over 2 s; the two cores are shared with the senders and other tests."""
    body = text(many(50_000))
    ending = threading.Event()

    def send() -> int:
        sent = 0
        with httpx2.Client(base_url=str(gateway.client.base_url), timeout=60.0) as client:
            while not ending.is_set():
                response = client.post(PATH, content=body, headers={"content-type": "application/json"})
                assert response.status_code == 202, response.text
                sent += 1
        return sent

    seconds = []
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        began = time.monotonic()
        while time.monotonic() - began < 4:
            started = time.perf_counter()
            assert gateway.client.get("/livez").status_code == 200
            seconds.append(time.perf_counter() - started)
            time.sleep(0.01)  # as a probe comes: now and then
        ending.set()
        assert sending.result() >= 1
    assert statistics.median(seconds) < 0.25
    assert max(seconds) < 2.0


def test_probes(gateway: Gateway) -> None:
    for path in ("/livez", "/readyz", "/health/liveness", "/health/readiness", "/metrics", "/openapi.json", "/docs"):
        assert gateway.client.get(path, follow_redirects=True).status_code == 200, path
