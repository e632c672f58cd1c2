"""Makes a stream and its consumer, and puts back what somebody deleted or changed of them.

Any number of processes may do so at once, with different limits while a change is rolled out: each step is one that
the server takes or refuses as a whole, and none can delete an event that is not stored. Under discard-new the server
deletes nothing where a limit becomes smaller than what is there; it only takes no more.
"""

from __future__ import annotations

import asyncio

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo

from eventpipeline.stream.config import (
    CONSUMER,
    Change,
    Ensured,
    can_be_changed,
    consumer_config,
    consumer_differences,
    fits,
    fitting_limit,
    said,
    stream_differences,
)
from eventpipeline.stream.trim import stored_before, trim_to_limit
from eventpipeline.telemetry import log

_NO_ROOM = (10002, 10005, 10023, 10028, 10047)
"""Account or server resources exceeded, no suitable peer (in a cluster), memory or storage exceeded."""
_NAME_IN_USE = 10058
_LEAST_BYTES = 2**20
"""A stream smaller than this would not take one message of the largest size."""
_REMOVAL_SECONDS, _ATTEMPTS = 0.2, 5
_WORTH_IT = 0.95
"""A limit that cannot be reached yet is approached in steps of at least this."""
_log = log("stream")


async def ensure(jetstream: JetStreamContext, wanted: StreamConfig, *, larger_is_fine: bool) -> Ensured:
    """The stream as `wanted` and its consumer, as far as that can be. Raises what the client raises."""
    name = str(wanted.name)
    stream, consumer = f"stream {name}", f"consumer {CONSUMER} of stream {name}"
    changes: list[Change] = []
    faults: tuple[str, ...] = ()
    try:
        info = await jetstream.stream_info(name)
    except nats.js.errors.NotFoundError:
        info = await _make(jetstream, wanted)
        changes.append(Change(stream))
    else:
        # Before the consumer: under some policies the server deletes what no consumer is interested in.
        info, fields, faults = await _put_back(jetstream, wanted, info)
        changes += [Change(stream, fields)] if fields else []
    found, change = await _consumer(jetstream, name, consumer)
    changes += [change] if change else []
    info, limits = await _fit(jetstream, wanted, info, larger_is_fine=larger_is_fine)
    if limits:
        changes.append(Change(stream, limits))
    return Ensured(
        changes=tuple(changes),
        faults=faults,
        made_at={stream: info.created, consumer: found.created} if info.created and found.created else {},
        fits=fits(info.config.max_bytes or -1, int(wanted.max_bytes or 0), larger_is_fine=larger_is_fine),
    )


async def make_missing(jetstream: JetStreamContext, wanted: StreamConfig) -> Ensured:
    """Makes the stream where there is none, and looks at nothing else. Raises what the client raises."""
    try:
        await jetstream.stream_info(str(wanted.name))
    except nats.js.errors.NotFoundError:
        await _make(jetstream, wanted)
        return Ensured(changes=(Change(f"stream {wanted.name}"),))
    return Ensured()


async def _make(jetstream: JetStreamContext, wanted: StreamConfig) -> StreamInfo:
    """A new stream; where other streams still hold the room for it, a smaller one, so that its source is served."""
    limit = int(wanted.max_bytes or 0)
    while True:
        try:
            made = await jetstream.add_stream(wanted.evolve(max_bytes=limit))
        except nats.js.errors.APIError as error:
            if error.err_code == _NAME_IN_USE:  # somebody else was faster
                return await jetstream.stream_info(str(wanted.name))
            if error.err_code not in _NO_ROOM or limit // 2 < _LEAST_BYTES:
                raise
            limit //= 2
        else:
            _log.info("made stream", stream=wanted.name, max_bytes=limit)
            return made


async def _put_back(
    jetstream: JetStreamContext, wanted: StreamConfig, info: StreamInfo
) -> tuple[StreamInfo, tuple[str, ...], tuple[str, ...]]:
    """The stream with what could be changed, what was changed, and what is wrong with the rest."""
    change, fixed = stream_differences(wanted, info.config)
    faults = tuple(_fault(wanted, info, text) for text in said(fixed, wanted, info.config))
    if not change:
        return info, (), faults
    fields = said(change, wanted, info.config)
    try:
        updated = await jetstream.update_stream(info.config.evolve(**change))
    except nats.js.errors.APIError as error:
        refused = f"{'; '.join(fields)} (the server refuses to change it: {error.description})"
        return info, (), (*faults, _fault(wanted, info, refused))
    _log.warning("put back settings of a stream", stream=wanted.name, fields=fields)
    return updated, fields, faults


def _fault(wanted: StreamConfig, info: StreamInfo, text: str) -> str:
    return (
        f"stream {wanted.name} has another setting than it has to have, which cannot be changed in place: {text}. "
        f"It goes on taking events. To mend it, stop what sends to the gateway, wait until nothing is pending "
        f"(it holds {info.state.messages} messages, stored ones included), and delete the stream; it is made again."
    )


async def _consumer(jetstream: JetStreamContext, stream: str, called: str) -> tuple[ConsumerInfo, Change | None]:
    wanted = consumer_config()
    try:
        info = await jetstream.consumer_info(stream, CONSUMER)
    except nats.js.errors.NotFoundError:
        return await jetstream.add_consumer(stream, wanted), Change(called)
    different = consumer_differences(info.config)
    if not different:
        return info, None
    fields = said(different, wanted, info.config)
    _log.warning("put back settings of a consumer", stream=stream, fields=fields)
    if not can_be_changed(different):
        # It may have passed over messages for good. A new one gets all of them; the store leaves out what it has.
        await jetstream.delete_consumer(stream, CONSUMER)
        return await _again(jetstream, stream, wanted), Change(called, fields)
    return await jetstream.add_consumer(stream, wanted), Change(called, fields)


async def _again(jetstream: JetStreamContext, stream: str, wanted: ConsumerConfig) -> ConsumerInfo:
    """A consumer in place of one that was deleted just now: the server removes its files a moment after it says so, and
    refuses another of that name, or would lose its files, while it does."""
    for _ in range(_ATTEMPTS):
        await asyncio.sleep(_REMOVAL_SECONDS)
        try:
            return await jetstream.add_consumer(stream, wanted)
        except nats.js.errors.ServerError as error:
            _log.debug("consumer cannot be made yet", stream=stream, error=error.description)
    return await jetstream.add_consumer(stream, wanted)


async def _fit(
    jetstream: JetStreamContext, wanted: StreamConfig, info: StreamInfo, *, larger_is_fine: bool
) -> tuple[StreamInfo, tuple[str, ...]]:
    """The stream with the byte limit that it can have now, and what was changed."""
    name, limit, present = str(wanted.name), int(wanted.max_bytes or 0), info.config.max_bytes or -1
    if fits(present, limit, larger_is_fine=larger_is_fine):
        return info, ()
    is_larger = present > limit or present < 0
    # What is stored makes room first, so that only what is not stored keeps the limit up.
    if is_larger and await trim_to_limit(jetstream, info, limit, await stored_before(jetstream, name)):
        info = await jetstream.stream_info(name)
    fitting = fitting_limit(info, limit)
    if fitting == present or (fitting > limit and 0 < present * _WORTH_IT < fitting):
        return info, ()
    try:
        updated = await jetstream.update_stream(info.config.evolve(max_bytes=fitting))
    except nats.js.errors.APIError as error:
        if error.err_code not in _NO_ROOM:
            raise
        # Other streams still hold the room for it; a smaller stream is as good a stream.
        _log.debug("stream cannot grow yet", stream=name, max_bytes=fitting, error=error.description)
        return info, ()
    _log.info("changed the limit of a stream", stream=name, max_bytes=fitting, was=present)
    return updated, (f"max_bytes: {fitting}, was {present}",)
