"""One connection to NATS, kept for ever."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.js import JetStreamContext

from eventpipeline.certificates import client_context, explained
from eventpipeline.stream.errors import StreamUnavailable, unavailable
from eventpipeline.telemetry import log

_FIRST_DELAY, _LAST_DELAY = 0.1, 2.0
_MOST_UNSENT_BYTES = 2**20
"""Far below the size at which the client itself lets whoever publishes wait: it would not be ended by a timeout."""
_CLOSE_SECONDS = 1.0
_SECONDS_BETWEEN_LOOKS = 0.002
_REFUSED = "permissions violation"
_log = log("stream")


class _Transport(TcpTransport):
    """Closes in any case. After a handshake of TLS that failed, nothing tells the library's own that it is closed: it
    would wait for ever, and never connect again.
    """

    async def connect_tls(self, *arguments: Any, **named: Any) -> None:
        # A connection that the server cuts before the handshake has begun ends in a callback of the event loop, which
        # reports it as a fault of the program. While nothing is read the cut is not seen, and is then the handshake's.
        if self._io_writer and isinstance(transport := self._io_writer.transport, asyncio.ReadTransport):
            if transport.is_closing():
                raise ConnectionResetError("the server ended the connection before the handshake of TLS")
            transport.pause_reading()
        await super().connect_tls(*arguments, **named)

    async def wait_closed(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await super().wait_closed()  # type: ignore[no-untyped-call]

    def __bool__(self) -> bool:
        return True  # else the library puts one of its own in its place


class _Client(Client):
    """Reads certificates anew for each connection, and sends nothing of ours, a password say, before there is TLS."""

    def __init__(self, tls_dir: str | None) -> None:
        super().__init__()
        self._tls_dir = tls_dir
        self._transport = _Transport()  # type: ignore[no-untyped-call]

    @property
    def ssl_context(self) -> ssl.SSLContext:
        return client_context(self._tls_dir)

    def _connect_command(self) -> bytes:
        # The library itself connects without TLS where a server, or who stands before it, does not offer it.
        server = self._current_server
        wanted = self._tls_dir is not None or (server is not None and server.uri.scheme == "tls")
        if wanted and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnRequiredError
        return super()._connect_command()


class Connection:
    """Connects in the background and for ever: a service starts, and answers, while NATS is away."""

    def __init__(
        self, url: str, name: str, on_lost: Callable[[], None], *, tls_dir: str | None = None,
        inbox_prefix: str = "_INBOX",
    ) -> None:  # fmt: skip
        self._url = url
        self._tls_dir = tls_dir
        self._inbox_prefix = inbox_prefix
        self._name = name
        self._on_lost = on_lost
        self._context: JetStreamContext | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._first = asyncio.Event()
        self._next = asyncio.Lock()
        self.client: Client = _Client(tls_dir)
        self.fault: str | None = None
        """Why there is no connection, as the server or the network said last; None once there is one."""

    def start(self) -> None:
        self._connecting = asyncio.create_task(self._connect())

    async def first(self) -> None:
        """Waits for the first connection."""
        await self._first.wait()

    async def close(self) -> None:
        while self._connecting and not self._connecting.done():
            # More than once, since the client may swallow a cancellation while it connects.
            self._connecting.cancel()
            await asyncio.wait((self._connecting,), timeout=1.0)

    def jetstream(self) -> JetStreamContext:
        """Raises StreamUnavailable where there is no connection now."""
        if self._context is None or not self.client.is_connected:
            raise StreamUnavailable("NATS is not connected")
        return self._context

    async def room(self) -> None:
        """Waits until the client holds little that the server has not taken yet.

        What was handed to the client stays there, even if nobody waits for its acknowledgement any more. So while a
        server is slow, each try would leave its bytes behind. Publish right after this, before anything is awaited.
        """
        async with self._next:
            # The client tells nobody when it has sent something.
            while self.client.pending_data_size > _MOST_UNSENT_BYTES:  # noqa: ASYNC110
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def check(self) -> str | None:
        """What is wrong with JetStream, or None where it answers."""
        try:
            await self.jetstream().account_info()
        except StreamUnavailable as error:
            return str(error)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            return str(unavailable(error))
        return None

    async def _connect(self) -> None:
        """Connects, and connects anew where the client has given up, as it does after some errors of the server."""
        delay = _FIRST_DELAY
        while True:
            client, closed = _Client(self._tls_dir), asyncio.Event()
            try:
                await self._open(client, closed)
                self.client, self._context = client, client.jetstream()
                self._first.set()
                self.fault = None
                _log.info("connected to NATS")
                await closed.wait()
                _log.warning("the connection to NATS has ended; connecting anew", error=str(client.last_error))
                delay = _FIRST_DELAY
            except (OSError, nats.errors.Error, TimeoutError) as error:
                _log.warning(
                    "NATS is not reachable", error=explained(str(error) or type(error).__name__), retry_seconds=delay
                )
            finally:
                with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
                    await client.close()
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LAST_DELAY)

    async def _open(self, client: Client, closed: asyncio.Event) -> None:
        async def on_error(error: Exception) -> None:
            if _REFUSED in str(error).lower():
                _log.error("NATS does not allow its user what was asked", error=str(error))
            else:
                _log.debug("nats", error=str(error) or type(error).__name__)
            # A server that refuses somebody says why, and hangs up; the latter is no news.
            if self.fault is None or not isinstance(error, ConnectionResetError | BrokenPipeError):
                self.fault = explained(str(error) or type(error).__name__)

        async def on_disconnect() -> None:
            self._on_lost()
            if not client.is_closed:
                _log.warning("disconnected from NATS")

        async def on_reconnect() -> None:
            self.fault = None
            _log.info("reconnected to NATS")

        async def on_closed() -> None:
            closed.set()

        await client.connect(
            self._url.split(","),
            name=self._name,
            inbox_prefix=self._inbox_prefix,
            connect_timeout=2,
            reconnect_time_wait=1,
            max_reconnect_attempts=-1,
            ping_interval=5,
            max_outstanding_pings=2,
            allow_reconnect=True,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnect,
            closed_cb=on_closed,
        )
