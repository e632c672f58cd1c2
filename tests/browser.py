"""Debian's chromium, headless, spoken to over the Chrome DevTools Protocol.

async with browser(tmp_path) as chromium:
    page = await chromium.open("http://127.0.0.1:3003/", scheme="dark")
    await page.until("document.title === 'EventPipeline'")
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--lang=en-GB",
    "--remote-debugging-port=0",
]
_SECONDS = 20.0


@asynccontextmanager
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A new chromium with its profile in `tmp_path`; AssertionError where there is none on this machine."""
    program = shutil.which("chromium")
    assert program, "chromium is not installed, and the page can only be tested in a browser: apt-get install chromium"
    profile = tmp_path / "chromium"
    profile.mkdir()
    with (tmp_path / "chromium.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *_FLAGS, f"--user-data-dir={profile}", stdout=log, stderr=log
        )
    try:
        port, path = await _endpoint(profile / "DevToolsActivePort", tmp_path / "chromium.log")
        async with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
            chromium = Browser(socket)
            reading = asyncio.create_task(chromium.read())
            try:
                yield chromium
            finally:
                reading.cancel()
    finally:
        process.terminate()
        await process.wait()


async def _endpoint(file: Path, log: Path) -> tuple[str, str]:
    for _ in range(int(_SECONDS / 0.05)):
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return lines[0], lines[1]
        await asyncio.sleep(0.05)
    raise AssertionError(f"chromium did not start:\n{log.read_text(errors='replace')[-4000:]}")


class Browser:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._pages: dict[str, Page] = {}

    async def open(
        self, url: str, *, scheme: str = "light", width: int = 1280, height: int = 900, before: str = ""
    ) -> Page:
        """A page at the address, in a `scheme` of light or dark; the script `before` runs before the page's own."""
        target = await self.call("Target.createTarget", url="about:blank")
        session = (await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.call(f"{domain}.enable")
        await page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        await page.call("Page.navigate", url=url)
        return page

    async def call(self, method: str, session: str | None = None, **params: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        envelope = {"sessionId": session} if session else {}
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params, **envelope}))
        return await asyncio.wait_for(answer, _SECONDS)

    async def read(self) -> None:
        async for message in self._socket:
            body = json.loads(message)
            if answer := self._answers.pop(body.get("id", 0), None):
                if "error" in body:
                    answer.set_exception(AssertionError(body["error"]))
                else:
                    answer.set_result(body["result"])
            elif page := self._pages.get(body.get("sessionId", "")):
                page.notice(body["method"], body["params"])


class Page:
    """One tab. `requests` are all it asked for, `errors` all that its console holds against it."""

    def __init__(self, chromium: Browser, session: str) -> None:
        self._chromium = chromium
        self._session = session
        self.requests: list[str] = []
        self.errors: list[str] = []

    async def call(self, method: str, **params: Any) -> Any:
        return await self._chromium.call(method, self._session, **params)

    def notice(self, method: str, params: Any) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(arg.get("description", arg.get("value"))) for arg in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is awaited."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, *, seconds: float = _SECONDS) -> Any:
        """The value of the expression once it is truthy; AssertionError, with what the page shows, if it never is."""
        deadline = asyncio.get_running_loop().time() + seconds
        # In a list, for an element is {} here, which is not truthy.
        while not (found := await self.evaluate(f"(value => value ? [value] : null)({expression})")):
            if asyncio.get_running_loop().time() > deadline:
                shown = await self.evaluate("document.body.innerText")
                raise AssertionError(
                    f"not within {seconds} s: {expression}\nerrors: {self.errors}\nthe page shows:\n{shown}"
                )
            await asyncio.sleep(0.05)
        return found[0]

    async def screenshot(self, path: Path, *, whole: bool = False) -> None:
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
