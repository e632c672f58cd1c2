"""A limit of time over what may be there already."""

from __future__ import annotations

import asyncio

import pytest

from eventpipeline.gateway.patience import within


async def test_what_is_there_is_given_however_short_the_limit() -> None:
    async def there() -> str:
        return "there"

    assert await within(0.0, there()) == "there"


async def test_what_comes_in_time_is_given() -> None:
    async def soon() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return "came"

    assert await within(5.0, soon()) == "came"


async def test_what_comes_late_is_given_up() -> None:
    ended = asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await within(0.01, never())
    assert ended.is_set()


@pytest.mark.parametrize("waits", [False, True])
async def test_what_goes_wrong_is_raised(waits: bool) -> None:
    async def wrong() -> None:
        if waits:
            await asyncio.sleep(0)
        raise KeyError("wrong")

    with pytest.raises(KeyError, match="wrong"):
        await within(5.0, wrong())


async def test_a_cancellation_is_theirs_to_take() -> None:
    async def takes_it() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "taken"
        return "never"

    task = asyncio.create_task(within(5.0, takes_it()))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "taken"


async def test_a_cancellation_that_is_not_taken_ends_it() -> None:
    task = asyncio.create_task(within(5.0, asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
