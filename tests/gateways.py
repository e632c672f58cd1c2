"""The gateway as a process of its own, over real sockets.

with running_gateway(tmp_path, nats_url) as gateway:
    assert gateway.post([event()]).status_code == 202
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from eventpipeline.settings import GatewaySettings, StreamSettings
from eventpipeline.stream import Stream, acknowledge
from servers import free_port, wait_for

PATH = "/webhook/events"


@dataclass
class Gateway:
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    client: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60.0)

    def post(self, body: object, **headers: str) -> httpx2.Response:
        """Posts JSON text, or a value as JSON; an argument `content_type` is the header Content-Type."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        return self.client.post(PATH, content=content, headers=named)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric now; 0 where there is none."""
        wanted = "".join(rf'(?=.*\b{label}="{value}")' for label, value in labels.items())
        found = re.search(rf"^{name}(?:\{{{wanted}.*\}})? (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def stream_trouble(self) -> str:
        return str(self.client.get("/readyz").json()["checks"]["stream"])

    def peak_memory(self) -> int:
        """The most bytes of memory that the process has had at one time."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@contextmanager
def running_gateway(
    tmp_path: Path, nats_url: str, *, ready: bool = True, environ: dict[str, str] | None = None, **settings: Any
) -> Iterator[Gateway]:
    """A gateway from its first answer on; with `ready`, from when its streams are there."""
    port = free_port()
    # Ending at once is what most tests want; those of the draining say otherwise.
    chosen = {"sources": ("facebook", "tiktok"), "drain_seconds": 0.0} | settings
    environment = GatewaySettings(nats_url=nats_url, host="127.0.0.1", port=port, **chosen).environ()
    log = tmp_path / f"gateway-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "eventpipeline", "gateway"],
            env={"PATH": os.environ["PATH"], **(environ or {}), **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    gateway = Gateway(port, process, log)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-4000:]
        try:
            return gateway.client.get("/livez").status_code == 200 and (not ready or gateway.stream_trouble() == "ok")
        except httpx2.TransportError:
            return False

    try:
        wait_for(answers, what=lambda: log.read_text()[-4000:])
        yield gateway
    finally:
        gateway.client.close()
        for number in (signal.SIGCONT, signal.SIGTERM):
            process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Packed:
    """A message of a stream."""

    events: list[Any]
    headers: dict[str, str]
    size: int


def taken_from(nats_url: str, source: str, prefix: str = "") -> list[Packed]:
    """The messages of a source, or DEAD, that were not taken before."""
    return asyncio.run(_taken_from(nats_url, source, prefix))


async def _taken_from(nats_url: str, source: str, prefix: str) -> list[Packed]:
    stream = Stream(
        # What the gateway made stays as large as it is.
        StreamSettings(
            nats_url=nats_url, stream_prefix=prefix, stream_bytes=2**25, dead_bytes=2**25, stream_larger=True
        ),
        "test",
    )
    stream.start()
    try:
        async with asyncio.timeout(20):
            await stream.connected()
            puller = await stream.puller(source)
            found = []
            while messages := await puller.fetch(1000, 64 * 1024 * 1024, 0.05):
                found += [Packed(json.loads(one.data), one.headers, len(one.data)) for one in messages]
                await acknowledge(messages)
        return found
    finally:
        await stream.close()
