"""A gateway whose login is not known yet, or whose streams others make, takes no requests before it can."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from eventpipeline.local import nats
from eventpipeline.settings import StreamSettings
from eventpipeline.stream import DEAD, Stream
from eventpipeline.users import OWNER, inbox
from servers import free_port, is_free, nats_server, running_program, wait_for


@contextmanager
def gateway(nats_url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environ = {
        "NATS_URL": nats_url, "NATS_INBOX_PREFIX": inbox("gateway"), "MAKES_STREAMS": "False", "SOURCES": "facebook",
        "PORT": str(port), "HOST": "127.0.0.1", "DRAIN_SECONDS": "0",
    }  # fmt: skip
    with subprocess.Popen([sys.executable, "-m", "eventpipeline", "gateway"], env=environ) as process:
        try:
            yield process
        finally:
            process.terminate()


async def make_streams(url: str) -> None:
    stream = Stream(StreamSettings(nats_url=url, stream_bytes=2**25, dead_bytes=2**25), "test")
    stream.start()
    try:
        await stream.connected()
        for name in ("facebook", DEAD):
            await stream.ensure(name)
    finally:
        await stream.close()


def waits(process: subprocess.Popen[bytes], port: int, seconds: float) -> None:
    """It goes on, and does not listen."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        assert is_free(port)
    else:
        raise AssertionError("it ended")


def test_a_login_that_is_not_known_yet(tmp_path: Path) -> None:
    port, at, passwords = free_port(), free_port(), nats.new_passwords()

    def server(known: dict[str, str]) -> AbstractContextManager[subprocess.Popen[bytes]]:
        monitor = free_port()
        return running_program(
            nats.server(
                tmp_path / "nats", port=at, monitor_port=monitor, max_file_bytes=2**30, log=tmp_path / "nats.log",
                passwords=known,
            )
        )  # fmt: skip

    with gateway(f"nats://gateway:{passwords['gateway']}@127.0.0.1:{at}", port) as process:
        with server(passwords | {"gateway": "former"}):
            asyncio.run(make_streams(f"nats://{OWNER}:{passwords[OWNER]}@127.0.0.1:{at}"))
            waits(process, port, 6)
        with server(passwords):
            wait_for(lambda: not is_free(port), what=lambda: "the gateway")


def test_streams_that_others_make(tmp_path: Path) -> None:
    port, passwords = free_port(), nats.new_passwords()
    with nats_server(tmp_path, passwords=passwords) as address:
        urls = {user: address.replace("nats://", f"nats://{user}:{password}@") for user, password in passwords.items()}
        with gateway(urls["gateway"], port) as process:
            waits(process, port, 6)
            asyncio.run(make_streams(urls[OWNER]))
            wait_for(lambda: not is_free(port), what=lambda: "the gateway")


def test_a_nats_that_is_away_is_no_reason_to_wait(tmp_path: Path) -> None:
    port = free_port()
    with gateway(f"nats://gateway:x@127.0.0.1:{free_port()}", port):
        wait_for(lambda: not is_free(port), what=lambda: "the gateway", seconds=15)
