"""Who may ask the reporter what: keys, roles, the cookie of the page, and what every answer says beside its body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import pytest_asyncio
from starlette.requests import ClientDisconnect

from eventpipeline.readers import hashed, new_key
from eventpipeline.reporter.access import COOKIE
from eventpipeline.store.schema import migrate
from reader_keys import OPERATE, READ, STRANGE, bearing, closed, write
from reporter_client import reporter

READING = ("/reports/events", "/reports/revenue", "/reports/demographics", "/status", "/dead-letters", "/openapi.json",
           "/dead-letters/export",
           "/dead-letters/00000000-0000-0000-0000-000000000000", "/there/is/nothing")  # fmt: skip
OPEN = ("/", "/docs", "/session", "/livez", "/metrics", "/health/liveness", "/assets/main.js",
        "/docs/assets/swagger-ui.css")  # fmt: skip
LETTER = "/dead-letters/00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def database(shared_postgres: str) -> Iterator[str]:
    """The URL of a database without events, for all of these tests."""
    with psycopg.connect(shared_postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE access")
        url = shared_postgres.rsplit("/", 1)[0] + "/access"
        migrate(url)
        yield url
        connection.execute("DROP DATABASE access WITH (FORCE)")


@pytest_asyncio.fixture
async def client(database: str, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with reporter(database, **closed(tmp_path)) as opened:
        yield opened


def is_refused(response: httpx2.Response) -> bool:
    """401 with the same words always."""
    if response.status_code != 401:
        return False
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert problem["detail"] == "the request does not prove that it may do this"
    assert set(problem) == {"type", "title", "status", "detail", "correlationId"}
    return True


async def counted(client: httpx2.AsyncClient, name: str) -> dict[str, float]:
    lines = (await client.get("/metrics")).text.splitlines()
    found = [line for line in lines if line.startswith(f"reporter_requests_{name}_total{{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in found if not line.endswith(" 0.0")}


@pytest.mark.parametrize("path", READING)
async def test_nothing_is_read_without_a_key(client: httpx2.AsyncClient, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (await client.request(method, path)).status_code == 401
    assert is_refused(await client.get(path))
    assert is_refused(await client.get(path, headers=bearing(STRANGE)))
    for key in (READ, OPERATE):
        assert (await client.get(path, headers=bearing(key))).status_code in (200, 404)


@pytest.mark.parametrize("path", OPEN)
async def test_what_holds_no_data_is_open(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "http://reporter//status",
        "/assets/../status",
        "/docs/assets/%2e%2e/%2e%2e/status",
        "/STATUS",
        "/status/",
        "/assets/%2e%2e%2fstatus",
        "/reports/events/",
        "/session/x",
    ],
)
async def test_no_way_of_writing_a_path_goes_round_it(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in (401, 404)


@pytest.mark.parametrize("path", [LETTER, "/dead-letters", "/status", "/there/is/nothing", "/dead-letters/replay"])
@pytest.mark.parametrize("method", ["DELETE", "POST", "PUT", "PATCH", "TRACE", "PROPFIND"])
async def test_whoever_reads_changes_nothing(client: httpx2.AsyncClient, method: str, path: str) -> None:
    assert (await client.request(method, path)).status_code == 401
    refused = await client.request(method, path, headers=bearing(READ))
    assert refused.status_code == 403
    assert refused.json()["detail"] == "this needs the role operate"
    assert (await client.request(method, path, headers=bearing(OPERATE))).status_code in (404, 405, 409, 422)
    assert await counted(client, "forbidden") == {"role": 1}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"authorization": ""}, "missing"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, "missing"),
        ({"authorization": READ}, "missing"),
        ({"authorization": "Bearer"}, "malformed"),
        ({"authorization": "Bearer "}, "malformed"),
        ({"authorization": f"Bearer {READ} {READ}"}, "malformed"),
        ({"authorization": f"Bearer {READ},"}, "malformed"),
        ({"authorization": f"Bearer \xe9{READ}"}, "malformed"),
        ({"authorization": f"Bearer {hashed(READ)}"}, "malformed"),
        ({"authorization": f"Bearer {READ[:31]}"}, "malformed"),
        ({"authorization": "Bearer " + "x" * 5000}, "malformed"),
        ({"authorization": f"Bearer {hashed(READ).removeprefix('sha256:')}"}, "mismatch"),
        ({"authorization": f"Bearer {STRANGE}"}, "mismatch"),
        ({"authorization": f"Bearer {READ}x"}, "mismatch"),
        ({"authorization": f"Bearer {READ[:-1]}"}, "mismatch"),
        ({"authorization": f"Bearer {READ.swapcase()}"}, "mismatch"),
        ({"authorization": "Bearer a.b.c"}, "malformed"),
        ({"cookie": f"{COOKIE}={STRANGE}"}, "mismatch"),
        ({"cookie": f"{COOKIE}="}, "missing"),
        ({"cookie": f"other={READ}"}, "missing"),
        ({"authorization": f"Bearer {STRANGE}", "cookie": f"{COOKIE}={READ}"}, "mismatch"),
    ],
)
async def test_what_was_wrong_is_counted_and_not_told(
    client: httpx2.AsyncClient, headers: dict[str, str], reason: str
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    assert is_refused(await client.get("/status", headers=raw))
    assert await counted(client, "unauthenticated") == {reason: 1}


async def test_two_headers_prove_nothing(client: httpx2.AsyncClient) -> None:
    both = [("authorization", f"Bearer {READ}"), ("authorization", f"Bearer {OPERATE}")]
    assert is_refused(await client.get("/status", headers=both))


async def test_the_scheme_is_written_in_any_case(client: httpx2.AsyncClient) -> None:
    for written in (f"bearer {READ}", f"BEARER   {READ}  "):
        assert (await client.get("/status", headers={"authorization": written})).status_code == 200


async def test_keys_are_rotated_without_a_restart(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    new = new_key()
    write(tmp_path, "read", f"{hashed(READ)}\n{hashed(new)}")
    await _until(client, new, 200)
    assert (await client.get("/status", headers=bearing(READ))).status_code == 200
    write(tmp_path, "read", hashed(new))
    await _until(client, READ, 401)
    assert (await client.get("/status", headers=bearing(new))).status_code == 200


async def _until(client: httpx2.AsyncClient, key: str, status: int) -> None:
    async with asyncio.timeout(30):
        while (await client.get("/status", headers=bearing(key))).status_code != status:
            await asyncio.sleep(0.05)


async def test_keys_that_cannot_be_read_are_not_the_readers_fault(database: str, tmp_path: Path) -> None:
    settings = closed(tmp_path)
    write(tmp_path, "read", "not a hash")
    write(tmp_path, "operate", READ)
    async with reporter(database, **settings) as client:
        answer = await client.get("/status", headers=bearing(READ))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        keys = (await client.get("/readyz")).json()["checks"]["keys"]
        assert "read of readers has in line 1 no hash of a key" in keys
        assert "operate of readers" in keys
        assert READ not in answer.text + keys


async def test_without_authentication_anyone_may(database: str) -> None:
    async with reporter(database) as client:
        assert (await client.get("/status")).status_code == 200
        assert (await client.delete(LETTER)).status_code == 404
        assert (await client.get("/session")).json() == {"open": True, "role": "operate"}
        assert "set-cookie" not in (await client.post("/session", json={"key": READ})).headers


# --- the page's cookie ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "role"), [(READ, "read"), (OPERATE, "operate")])
async def test_the_cookie_of_the_page_is_the_key_and_ends_with_it(
    client: httpx2.AsyncClient, key: str, role: str
) -> None:
    assert (await client.get("/session")).json() == {"open": False, "role": None}
    answer = await client.post("/session", json={"key": f" {key}\n"})
    assert answer.json() == {"open": False, "role": role}
    assert answer.headers["set-cookie"] == f"{COOKIE}={key}; Path=/; HttpOnly; SameSite=Strict"
    assert (await client.get("/status")).status_code == 200
    assert (await client.get("/session")).json() == {"open": False, "role": role}
    assert (await client.delete(LETTER)).status_code == (404 if role == "operate" else 403)
    gone = await client.delete("/session")
    assert gone.headers["set-cookie"] == f"{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
    assert is_refused(await client.get("/status"))


async def test_the_cookie_is_for_tls_only_where_there_is_tls(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/session", json={"key": READ}, headers={"x-forwarded-proto": "https"})
    assert answer.headers["set-cookie"].endswith("; SameSite=Strict; Secure")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"key": "%s"}' % STRANGE.encode(), 401),
        (b'{"key": ""}', 401),
        (b'{"key": "\xc3\xa9"}', 401),
        (b'{"key": "\\ud83d\\ude00"}', 401),
        (b'{"key": "a\\r\\nset-cookie: x=y"}', 401),
        (b'{"key": "a; Domain=example.com"}', 401),
        (b'{"key": 1}', 422),
        (b'{"key": "a", "more": 1}', 422),
        (b"{}", 422),
        (b"", 422),
        (b"[" * 5000, 422),
        (b'{"key": "\xff"}', 422),
        (b'{"key": "%s"}' % (b"x" * 4000), 422),
        (b" " * 20_000, 413),
    ],
)
async def test_who_cannot_sign_in_gets_no_cookie(client: httpx2.AsyncClient, body: bytes, status: int) -> None:
    answer = await client.post("/session", content=body)
    assert answer.status_code == status, answer.text
    assert "set-cookie" not in answer.headers
    assert b"domain" not in answer.content.lower()


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"origin": "http://reporter"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://reporter"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://reporter:8080"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://[bad"}, False),
        ({"sec-fetch-site": "same-site", "origin": "http://reporter"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
    ],
)
@pytest.mark.parametrize("mode", ["closed", "open"])
async def test_no_page_of_another_origin_changes_anything(
    database: str, tmp_path: Path, headers: dict[str, str], allowed: bool, mode: str
) -> None:
    settings = closed(tmp_path) if mode == "closed" else {}
    async with reporter(database, **settings) as client:
        client.cookies.set(COOKIE, OPERATE)
        assert (await client.delete(LETTER, headers=headers)).status_code == (404 if allowed else 403)
        signed = await client.post("/session", json={"key": OPERATE}, headers=headers)
        assert signed.status_code == (200 if allowed else 403)


# --- what every answer says beside its body ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*READING, *OPEN, "/readyz", "/reports/events?source=x"])
@pytest.mark.parametrize("key", [None, READ])
async def test_every_answer_has_the_headers(client: httpx2.AsyncClient, path: str, key: str | None) -> None:
    for method in ("GET", "DELETE", "OPTIONS"):
        headers = {"origin": "http://evil.example", "access-control-request-method": "GET", **bearing(key)}
        answer = await client.request(method, path, headers=headers)
        has_headers(answer)


def has_headers(answer: httpx2.Response) -> None:
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    policy = answer.headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy or answer.request.url.path == "/docs"
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    static = answer.request.url.path.startswith(("/assets/", "/docs/assets/")) or answer.request.url.path == "/"
    assert answer.headers["cache-control"] == ("no-cache" if static and answer.is_success else "no-store")
    assert len(answer.headers.get_list("x-correlation-id")) == 1


async def test_an_unexpected_error_has_them_too(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    app: Any = client._transport.app  # type: ignore[attr-defined]
    app.app.router.routes.insert(0, _breaking_route())
    answer = await client.get("/broken", headers=bearing(READ))
    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert "planted" not in answer.text
    has_headers(answer)


def _breaking_route() -> Any:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def broken(_request: Request) -> Response:
        raise RuntimeError("planted")

    return Route("/broken", broken)


@pytest.mark.parametrize("path", ["/", "/docs", "/assets/main.js", "/docs/assets/swagger-ui.css"])
async def test_files_are_sent_whole_whatever_part_is_asked_for(client: httpx2.AsyncClient, path: str) -> None:
    whole = await client.get(path)
    for part in ("bytes=0-1", "bytes=0-1,4-5", "bytes=99999999999-", "null", "bytes=5-2", "bytes=" + "9" * 5000):
        answer = await client.get(path, headers={"range": part})
        assert (answer.status_code, answer.content) == (200, whole.content), part


async def test_who_leaves_before_signing_in_is_no_error(
    client: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    async def half_a_body() -> AsyncIterator[bytes]:
        yield b'{"key": '
        raise ClientDisconnect

    answer = await client.post("/session", content=half_a_body())
    assert answer.status_code == 400
    assert "unexpected error" not in capsys.readouterr().out


async def test_a_path_is_logged_as_far_as_it_could_be_one_of_ours(
    client: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who encodes a query wrongly has it in the path, a token too."""
    await client.get("/webhook/facebook%3Fhub.verify_token=sesame")
    await client.get("/status")
    out = capsys.readouterr().out
    assert "/webhook/facebook…" in out
    assert "sesame" not in out
    assert "/status" in out


def limited(burst: int = 2) -> dict[str, Any]:
    return {"rate_limit": {"requestsPerSecond": 1, "burst": burst}}


async def test_a_reader_that_asks_too_often_is_told_when_to_come(database: str, tmp_path: Path) -> None:
    async with reporter(database, **closed(tmp_path), **limited()) as client:
        answers = [await client.get("/reports/events", headers=bearing(READ)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[-1].headers["content-type"] == "application/problem+json"
        assert answers[-1].headers["retry-after"] == "1"
        assert (await client.get("/status", headers=bearing(READ))).status_code == 429, "whatever is asked for"
        cookie = {"cookie": f"{COOKIE}={READ}"}
        assert (await client.get("/status", headers=cookie)).status_code == 429, "however it is proven"
        assert (await client.get("/status", headers=bearing(OPERATE))).status_code == 200, "each key has its own"
        for path in OPEN:
            assert (await client.get(path)).status_code == 200
        assert "reporter_requests_limited_total 3.0" in (await client.get("/metrics")).text
        await asyncio.sleep(1.1)
        assert (await client.get("/status", headers=bearing(READ))).status_code == 200


async def test_who_proves_nothing_uses_up_nothing(database: str, tmp_path: Path) -> None:
    async with reporter(database, **closed(tmp_path), **limited()) as client:
        for _ in range(5):
            assert is_refused(await client.get("/status", headers=bearing(STRANGE)))
            assert (await client.delete(LETTER, headers=bearing(READ))).status_code == 403
        assert (await client.get("/status", headers=bearing(READ))).status_code == 200


async def test_an_open_reporter_counts_by_address(database: str) -> None:
    async with reporter(database, **limited()) as client:
        headers = [{"x-forwarded-for": f"10.0.0.{number}"} for number in range(3)]
        answers = [(await client.get("/status", headers=one)).status_code for one in headers]
        assert answers == [200, 200, 429], "what anyone can write counts for nothing"
