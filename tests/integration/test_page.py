"""The page of the reporter, in a real browser over the real reporter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psycopg
import pytest
import pytest_asyncio
import uvicorn

from browser import Browser, Page, browser
from eventpipeline.envelope import dead_letter
from eventpipeline.events import Rejection
from eventpipeline.readers import hashed
from eventpipeline.reporter.app import create_app
from eventpipeline.sources import built_in
from eventpipeline.store.append import Appender
from eventpipeline.store.dead_letters import land
from eventpipeline.store.pool import open_pool
from eventpipeline.store.schema import migrate
from eventpipeline.stream import DEAD, Stream
from eventpipeline.telemetry import Health, new_registry
from reader_keys import READ, STRANGE, closed, write
from reporter_client import NOBODY, settings_for
from servers import free_port, nats_server, postgres_server

HOSTILE = '<script>document.title = "owned"</script><img src=x onerror=alert(1)>'
FULL = "document.querySelector('#demographics article')"
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nats_server(tmp_path_factory.mktemp("nats"), max_file_bytes=2**32) as url:
        yield url


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("empty")) as url:
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("filled")) as url:
        migrate(url)
        asyncio.run(_fill(url))
        yield url


async def _fill(url: str) -> None:
    letter = orjson.dumps({"eventId": "bad", "note": HOSTILE, "amount": "1.10"})
    rejection = Rejection("invalid_value", ({"loc": ["data"], "msg": HOSTILE, "type": "t"},), HOSTILE, "tiktok", "top")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET timezone = 'UTC'")
        for name, events in (
            ("facebook", [_checkout(n) for n in range(40)]),
            ("tiktok", [_like(n) for n in range(25)]),
        ):
            await Appender(built_in(name)).append(connection, orjson.dumps(events))
        assert await land(connection, b"[" + dead_letter(letter, rejection, "corr", _written(NOW)) + b"]") == 1


def _checkout(number: int) -> dict[str, Any]:
    """A transaction; of a sum that a float cannot hold, in a city that is an attack."""
    return _event(number, "facebook", "bottom", "checkout.complete") | {
        "data": {
            "user": {
                "userId": f"u-{number}",
                "name": "Ada",
                "age": 20 + number,
                "gender": "female",
                "location": {"country": "GB", "city": HOSTILE},
            },
            "engagement": {
                "adId": "a",
                "campaignId": "c",
                "clickPosition": "center",
                "device": "mobile",
                "browser": "Firefox",
                "purchaseAmount": "123456789012345.01",
            },
        }
    }


def _like(number: int) -> dict[str, Any]:
    return _event(number, "tiktok", "top", "like") | {
        "data": {
            "user": {"userId": f"u-{number}", "username": "ada", "followers": 1200},
            "engagement": {
                "watchTime": 12.5,
                "percentageWatched": 80,
                "device": "iOS",
                "country": "GB",
                "videoId": "v-1",
            },
        }
    }


def _event(number: int, source: str, stage: str, kind: str) -> dict[str, Any]:
    return {
        "eventId": f"{source}-{number}",
        "timestamp": _written(NOW),
        "source": source,
        "funnelStage": stage,
        "eventType": kind,
    }


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Served:
    url: str
    stop: Any

    async def json(self, path: str) -> Any:
        async with httpx2.AsyncClient(base_url=self.url) as client:
            return (await client.get(path)).raise_for_status().json()


@asynccontextmanager
async def served(database_url: str, nats_url: str, **changes: Any) -> AsyncIterator[Served]:
    """The reporter on a port of loopback, with the settings `changes`."""
    settings = settings_for(database_url, nats_url, **changes)
    store = open_pool(database_url, name="reporter", read_only=True, max_size=4)
    stream = Stream(settings, "reporter")
    await store.open(wait=False)
    stream.start()
    if nats_url != NOBODY:
        await stream.connected()
        for name in (*settings.sources, DEAD):
            await stream.ensure(name)
    app = create_app(settings, store, stream, new_registry(), Health())
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())

    async def stop() -> None:
        server.should_exit = server.force_exit = True
        await serving

    while not server.started:
        await asyncio.sleep(0.02)
    try:
        yield Served(f"http://127.0.0.1:{port}/", stop)
    finally:
        await stop()
        await stream.close()
        await store.close()


@pytest_asyncio.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    async with browser(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def reporter(database: str, nats_url: str) -> AsyncIterator[Served]:
    async with served(database, nats_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def empty_reporter(empty_database: str, nats_url: str) -> AsyncIterator[Served]:
    async with served(empty_database, nats_url) as opened:
        yield opened


async def text(page: Page, selector: str) -> str:
    return str(await page.evaluate(f"document.querySelector({selector!r}).innerText"))


async def until_text(page: Page, selector: str, part: str) -> None:
    """Waits for what a section shows: each is drawn when its own answer is there."""
    await page.until(f"document.querySelector({selector!r}).innerText.includes({part!r})")


async def tile(page: Page, name: str) -> str:
    """The exact value behind a tile, as a machine reads it."""
    return str(await page.evaluate(f"document.querySelector('[data-tile={name}] data').value"))


def assert_quiet(page: Page, url: str) -> None:
    assert page.errors == []
    assert [request for request in page.requests if not request.startswith(url)] == []


async def test_shows_the_same_totals_as_the_reports(reporter: Served, chromium: Browser) -> None:
    page = await chromium.open(reporter.url)
    await page.until(FULL)
    status = await reporter.json("status")
    revenue = await reporter.json("reports/revenue")
    assert await tile(page, "events") == str(sum(source["events"] for source in status["sources"])) == "65"
    assert await tile(page, "dead") == str(status["deadLetters"]["total"]) == "1"
    assert "1 event refused, each kept until it is dropped" in await text(page, "#dead-letters .summary")
    assert await tile(page, "transactions") == str(revenue["transactions"]) == "40"
    assert await tile(page, "revenue") == revenue["total"] == "4938271560493800.40"
    assert "4,938,271,560,493,800.40" in await text(page, "#revenue .summary"), (
        "shown to the last digit, not as a float"
    )
    assert await text(page, "#state") == "Stream ok"
    assert "65 events" in await text(page, "#events .summary")
    assert "checkout.complete" in await text(page, "#events .groups")
    assert await page.evaluate("document.querySelectorAll('canvas').length") == 4
    await page.until("document.querySelector('[data-tile=rate] data').value === '0'")
    assert_quiet(page, reporter.url)


async def test_takes_the_time_and_the_source_from_the_reader(reporter: Served, chromium: Browser) -> None:
    page = await chromium.open(f"{reporter.url}?range=1d")
    await page.until(FULL)
    await page.evaluate("document.querySelector('#ranges input[value=all]').click()")
    await page.until("document.querySelector('#events .summary').innerText === '65 events, all time'")
    await page.evaluate(
        "{ const s = document.querySelector('#source'); s.value = 'tiktok'; s.dispatchEvent(new Event('change')) }"
    )
    await page.until("document.querySelector('#events .summary').innerText === '25 events, all time'")
    await until_text(page, "#revenue .groups", "Nobody bought anything")
    assert await page.evaluate("location.search") == "?range=all&source=tiktok"
    await page.evaluate("document.querySelector('#events summary').click()")
    await until_text(page, "#events .chart-data tbody", "25")
    assert_quiet(page, reporter.url)


async def test_shows_what_strangers_sent_as_text(reporter: Served, chromium: Browser) -> None:
    page = await chromium.open(reporter.url)
    await page.until("document.querySelector('.letters button')")
    await page.until(FULL)
    await page.until(f"document.querySelector('#demographics').textContent.includes({json.dumps(HOSTILE)})")
    await page.until(f"document.querySelector('.letters').textContent.includes({json.dumps(HOSTILE)})")
    await page.evaluate("document.querySelector('.letters button').click()")
    shown = await page.until("document.querySelector('dialog[open] pre.payload')?.innerText")
    assert HOSTILE.replace('"', '\\"') in shown
    assert '"amount": "1.10"' in shown
    assert "it is dropped" in await text(page, "dialog[open] .facts")
    assert await page.evaluate("document.querySelectorAll('body script, img').length") == 0
    assert await page.evaluate("document.title") == "EventPipeline"
    await page.evaluate("document.querySelector('dialog button.close').click()")
    assert await page.until("document.activeElement.dataset.key"), "the focus returns to the row that was opened"
    assert_quiet(page, reporter.url)


async def test_says_what_is_an_estimate(reporter: Served, chromium: Browser) -> None:
    page = await chromium.open(f"{reporter.url}?range=all")
    users = "[...document.querySelectorAll('#demographics dd')].map((each) => each.innerText).join()"
    await page.until(f"({users}).includes('± 3.2%')")
    assert_quiet(page, reporter.url)


async def test_tells_how_to_send_the_first_event(empty_reporter: Served, chromium: Browser) -> None:
    page = await chromium.open(empty_reporter.url)
    await page.until("document.querySelector('#start pre')")
    assert "curl -i http://127.0.0.1:3000/webhook/events" in await text(page, "#start pre")
    assert await text(page, "#state") == "Stream ok, no events yet"
    await until_text(page, "#dead-letters .latest", "Nothing was refused")
    assert await page.until("document.querySelector('[data-tile=revenue] data').value") == "0.00"
    assert await tile(page, "events") == "0"
    assert_quiet(page, empty_reporter.url)


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
async def test_is_light_or_dark_as_the_system_until_told_otherwise(
    scheme: str, other: str, reporter: Served, chromium: Browser
) -> None:
    page = await chromium.open(reporter.url, scheme=scheme)
    await page.until(FULL)
    assert await _looks(page) == scheme
    await page.evaluate("document.querySelector('#theme').click()")
    assert await _looks(page) == other
    await page.call("Page.reload")
    await page.until(f"document.readyState === 'complete' && {FULL}")
    assert await _looks(page) == other, "the choice is kept"
    await page.evaluate("document.querySelector('#theme').click()")
    assert await page.evaluate("localStorage.getItem('theme')") is None, "as the system again"
    assert_quiet(page, reporter.url)


async def _looks(page: Page) -> str:
    """Whether the text is brighter than its ground."""
    sum_of = "(colour) => colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)"
    style = "getComputedStyle(document.body)"
    dark = await page.evaluate(f"(sum => sum({style}.color) > sum({style}.backgroundColor))({sum_of})")
    return "dark" if dark else "light"


async def test_fits_a_phone(reporter: Served, chromium: Browser) -> None:
    page = await chromium.open(reporter.url, width=390, height=844)
    await page.until(FULL)
    await page.until("document.querySelector('.letters button')")
    assert await page.evaluate("document.documentElement.scrollWidth") == 390


async def test_says_that_nats_is_away(database: str, chromium: Browser) -> None:
    async with served(database, NOBODY) as reporter:
        page = await chromium.open(reporter.url)
        await page.until(FULL)
        assert await text(page, "#state") == "NATS is away"
        assert "503" in await text(page, "#notices")
        assert await tile(page, "events") == "65"
        assert await tile(page, "lag") == ""
        assert_quiet(page, reporter.url)


async def test_keeps_what_it_has_while_the_reporter_is_away(database: str, nats_url: str, chromium: Browser) -> None:
    async with served(database, nats_url) as reporter:
        page = await chromium.open(reporter.url)
        await page.until(FULL)
        await reporter.stop()
        await page.until("document.querySelector('#state').dataset.state === 'down'")
        assert "The reporter does not answer. Since" in await text(page, "#notices")
        assert await tile(page, "events") == "65"


async def test_asks_nothing_while_it_is_hidden(reporter: Served, chromium: Browser) -> None:
    hidden = "globalThis.away = true; Object.defineProperty(document, 'hidden', { get: () => globalThis.away })"
    page = await chromium.open(reporter.url, before=hidden)
    await page.until("document.querySelector('#ranges input')")
    assert not [request for request in page.requests if request.endswith("/status")]
    await page.evaluate("away = false; document.dispatchEvent(new Event('visibilitychange'))")
    await page.until(FULL)


async def test_lets_in_who_has_a_key_until_it_is_taken_away(
    database: str, nats_url: str, chromium: Browser, tmp_path: Path
) -> None:
    async with served(database, nats_url, **closed(tmp_path)) as reporter:
        page = await chromium.open(reporter.url)
        await page.until("document.activeElement?.id === 'key'")
        assert "Revenue" not in await text(page, "main")
        asked = {request.removeprefix(reporter.url).split("?")[0] for request in page.requests}
        assert {one for one in asked if not one.startswith("assets/")} == {"", "session"}
        assert page.errors == []

        await _sign_in(page, STRANGE)
        await page.until("document.querySelector('#sign-in .problem').innerText === 'This key is not known here.'")
        assert await page.evaluate("document.querySelector('#sign-out').hidden")
        # The browser notes the answer 401 by itself.
        page.errors.clear()
        await _sign_in(page, READ)
        await page.until(FULL)
        assert await tile(page, "events") == "65"
        assert not await page.evaluate("document.querySelector('#sign-out').hidden")
        reach = "document.cookie + JSON.stringify({...localStorage, ...sessionStorage}) + location.href"
        assert READ not in str(await page.evaluate(reach))
        assert READ not in "".join(page.requests)
        assert_quiet(page, reporter.url)

        await page.evaluate("document.querySelector('#sign-out').click()")
        await page.until("document.activeElement?.id === 'key'")
        assert "Revenue" not in await text(page, "main")

        await _sign_in(page, READ)
        await page.until(FULL)
        write(tmp_path, "read", hashed(STRANGE))
        await page.until("document.activeElement?.id === 'key'")
        assert "65" not in await text(page, "main")


async def _sign_in(page: Page, key: str) -> None:
    await page.evaluate(f"document.querySelector('#key').value = {key!r}")
    await page.evaluate("document.querySelector('#sign-in').requestSubmit()")


async def test_has_no_sign_in_where_anyone_may_read(reporter: Served, chromium: Browser) -> None:
    page = await chromium.open(reporter.url)
    await page.until(FULL)
    assert await page.evaluate(
        "document.querySelector('#sign-in').hidden && document.querySelector('#sign-out').hidden"
    )
