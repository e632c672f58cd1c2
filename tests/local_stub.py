"""`eventpipeline` as far as the local runner can see it, and a command that runs the local runner with it.

local_stub.py up DATA_DIR OFFSET [namespace|nobody]     prints a line an event, and `up` once all is ready
local_stub.py gateway|collector|reporter                answers 200 on PORT until SIGTERM
local_stub.py migrate|maintain                          ends at once
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def serve() -> None:
    server = ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Answer)
    # `shutdown` waits for the loop that this handler interrupts.
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)


def up(data_dir: str, offset: str, as_root: str | None = None) -> None:
    from eventpipeline.local import LocalError, Options, Running, up
    from eventpipeline.spec import EventPipeline

    pipeline = EventPipeline.model_validate(
        {"apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline", "metadata": {"name": "test"}}
    )
    options = Options(
        Path(data_dir),
        port_offset=int(offset),
        as_root=as_root if as_root in ("namespace", "nobody") else None,  # type: ignore[arg-type]
        entry=(sys.executable, __file__),
    )

    async def work(_run: Running) -> None:
        print("up", flush=True)
        await asyncio.Event().wait()

    try:
        asyncio.run(up(pipeline, options, lambda event: print(event, flush=True), work))
    except LocalError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    match sys.argv[1]:
        case "up":
            up(*sys.argv[2:])
        case "migrate" | "maintain":
            print("done")
        case _:
            serve()
