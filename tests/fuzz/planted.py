"""A small service with a fault of each kind, which a run has to find.

python -m fuzz.planted PORT KIND
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvicorn

from eventpipeline.telemetry import SECURITY_HEADERS

KINDS = {
    "crash": "it answered 500",
    "trace": "its body shows how it is made",
    "headers": "it has no x-content-type-options",
    "plain": "is no problem document",
    "stop": "the connection failed",
    "hang": "no answer",
    "leak": "it grew by",
}
"""What is said of each."""
_held: list[bytes] = []


def _app(kind: str) -> Any:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await receive()
        named = {**SECURITY_HEADERS, "x-correlation-id": "x", "content-type": "application/problem+json"}
        status, body = 422, b"{}"
        unusual = b"\x00" in scope["raw_path"] or b"%" in scope["raw_path"] or len(scope["path"]) > 200
        if kind == "leak" and scope["path"] != "/livez":
            _held.append(os.urandom(1_000_000))
        elif unusual:
            match kind:
                case "crash":
                    status = 500
                case "trace":
                    body = b'{"detail": "Traceback (most recent call last): File \\"x.py\\", line 1"}'
                case "headers":
                    del named["x-content-type-options"]
                case "plain":
                    named["content-type"] = "text/html"
                case "stop":
                    os._exit(3)
                case "hang":
                    await asyncio.sleep(3600)
        headers = [(name.encode(), value.encode()) for name, value in named.items()]
        status = 200 if scope["path"] == "/livez" else status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


if __name__ == "__main__":
    uvicorn.run(_app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="off")
