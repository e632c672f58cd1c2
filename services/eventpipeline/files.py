"""Files of our own, always sent whole.

What the framework does with a Range is not ours: it answers a malformed one in plain text, and may fail midway.
"""

from __future__ import annotations

from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send


class WholeFile(FileResponse):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers["accept-ranges"] = "none"
        await super().__call__(_without_range(scope), receive, send)


class WholeFiles(StaticFiles):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(_without_range(scope), receive, send)


def _without_range(scope: Scope) -> Scope:
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != b"range"]}
