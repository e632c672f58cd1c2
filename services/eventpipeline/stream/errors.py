"""What can go wrong with the stream.

StreamError
└── StreamUnavailable      nothing was stored, as far as is known; the same message may be sent again
    └── StreamFull         the stream is at its byte limit
"""

from __future__ import annotations

from nats.js.errors import ServiceUnavailableError


class StreamError(Exception):
    """The stream cannot do what was asked."""


class StreamUnavailable(StreamError):  # noqa: N818
    """JetStream did not acknowledge: away, disabled, or too slow."""


class StreamFull(StreamUnavailable):
    """The stream is at its byte limit, with events that are not stored yet."""


def unavailable(error: BaseException) -> StreamUnavailable:
    """An error of the client as ours.

    `error` loses its traceback, as does what led to it. Where `asyncio.timeout` ended, it leads to the task that has
    the error: whatever its frames hold, such as the message, would stay until a collection, which are rare here.
    """
    led: BaseException | None = error
    while led:
        led.__traceback__ = None
        led = led.__cause__ or led.__context__
    if isinstance(error, ServiceUnavailableError) and not error.description:
        return StreamUnavailable("JetStream is off at this NATS, or its servers have no leader at the moment")
    return StreamUnavailable(f"JetStream did not answer: {str(error) or type(error).__name__}")
