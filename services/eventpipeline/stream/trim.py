"""Which stored messages may go: the server deletes none by itself, so that it never deletes one that is not stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.js.api import StreamInfo

_TRIM_ABOVE, _TRIM_TO = 0.70, 0.60


def first_within_limit(info: StreamInfo) -> int:
    """The sequence from which messages may stay so that the stream is at 60 % of its limit, if it is above 70 %."""
    state, limit = info.state, info.config.max_bytes or 0
    if not state.messages or state.bytes <= _TRIM_ABOVE * limit:
        return state.first_seq
    excess = state.bytes - _TRIM_TO * limit
    return state.first_seq + int(excess / (state.bytes / state.messages)) + 1


async def first_younger(age: Callable[[int], Awaitable[float]], seconds: float, low: int, high: int) -> int:
    """The first sequence from `low` to `high` whose message, by `age`, is younger than `seconds`; or `high`."""
    if low < high and await age(low) <= seconds:
        return low
    # Messages are in the order of their age.
    while low < high:
        middle = (low + high) // 2
        if await age(middle) > seconds:
            low = middle + 1
        else:
            high = middle
    return low
