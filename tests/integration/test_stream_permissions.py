"""What each user of NATS may do, on a nats-server that knows them: what its service needs, and nothing of others."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta

import nats
import pytest
from nats.js import JetStreamContext

from eventpipeline.local.nats import new_passwords
from eventpipeline.settings import StreamSettings
from eventpipeline.stream import DEAD, Stream, StreamUnavailable, Tends, acknowledge, give_back
from eventpipeline.users import ALL_LOGINS, OWNER, SERVICES, inbox, logins
from servers import nats_of_a_cluster, nats_server

FACEBOOK = "EVENTS_facebook"
PASSWORDS = new_passwords()


@pytest.fixture(scope="module", params=["laptop", "cluster"])
def url(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """The address of a user: of a server on a laptop, or in a cluster, where it is the second login of the user."""
    if request.param == "laptop":
        with nats_server(tmp_path_factory.mktemp("users"), passwords=PASSWORDS) as address:
            yield lambda user: address.replace("nats://", f"nats://{user}:{PASSWORDS[user]}@")
        return
    passwords = {login: f"of-{login}" for login in ALL_LOGINS}
    with nats_of_a_cluster(tmp_path_factory.mktemp("logins"), passwords) as place:

        def of(user: str) -> str:
            _, second = logins(user)
            return f"nats://{second}:{passwords[second]}@{place}"

        yield of


@contextlib.asynccontextmanager
async def stream_of(url: Callable[[str], str], user: str, tends: Tends) -> AsyncIterator[Stream]:
    prefix = "_INBOX" if user == OWNER else inbox(user)
    settings = StreamSettings(nats_url=url(user), nats_inbox_prefix=prefix, stream_bytes=2**25, dead_bytes=2**25)
    stream = Stream(settings, user, tends)
    stream.start()
    try:
        async with asyncio.timeout(20):
            await stream.connected()
            yield stream
    finally:
        await stream.close()


async def test_each_service_may_do_what_it_needs(url: Callable[[str], str]) -> None:
    async with (
        stream_of(url, "gateway", Tends.NOTHING) as gateway,
        stream_of(url, "collector", Tends.EVERYTHING) as collector,
        stream_of(url, "reporter", Tends.NOTHING) as reporter,
        stream_of(url, OWNER, Tends.EVERYTHING) as operator,
    ):
        for stream in (gateway, collector, reporter, operator):
            assert await stream.check() is None
        with pytest.raises(StreamUnavailable):
            await gateway.publish("facebook", b"too early", {}, 5)
        assert not await gateway.is_there("facebook")
        with pytest.raises(StreamUnavailable, match="EVENTS_facebook, or its consumer, is not there"):
            await reporter.lag("facebook")
        for name in ("facebook", DEAD):
            await collector.ensure(name)
            assert await gateway.is_there(name)
            await gateway.publish(name, b"one", {"a": "b"}, 5)
            await gateway.publish(name, b"two", {}, 5)
            assert (await reporter.lag(name)).pending_messages == 2
            puller = await collector.puller(name)
            one, two = await puller.fetch(10, 2**20, 1)
            await give_back([two])
            await acknowledge([one])
            assert [message.data for message in await puller.fetch(10, 2**20, 1)] == [b"two"]
            assert await collector.trim(name) == 0
            assert (await collector.lag(name)).pending_messages == 1
            assert (progress := await collector.progress(name)) is not None
            assert progress.last == 2
            end = datetime.now(UTC) + timedelta(days=1)
            found = [one async for page in collector.retained(name, None, end) for one in page]
            assert [one.data for one in found] == [b"one", b"two"]
            await collector.replace(name, found[0], b"without the person")
            await puller.close()
        assert set(await collector.sources()) == {"facebook"}
        await meddle(url)
        collector.forget("facebook")
        assert (await collector.ensure("facebook")).changes
        assert set(await operator.sources()) == {"facebook"}


async def meddle(url: Callable[[str], str]) -> None:
    """As the owner: another setting of the stream, and no consumer."""
    async with logged_in(url, OWNER) as (jetstream, _):
        present = (await jetstream.stream_info(FACEBOOK)).config
        await jetstream.update_stream(present.evolve(max_age=3600))
        await jetstream.delete_consumer(FACEBOOK, "collector")


@contextlib.asynccontextmanager
async def logged_in(url: Callable[[str], str], user: str) -> AsyncIterator[tuple[JetStreamContext, list[str]]]:
    """A client of its own, and what the server has told it."""
    told: list[str] = []

    async def note(error: Exception) -> None:
        told.append(str(error).lower())

    prefix = "_INBOX" if user == OWNER else inbox(user)
    client = await nats.connect(url(user), error_cb=note, inbox_prefix=prefix.encode())
    try:
        yield client.jetstream(timeout=0.3), told
    finally:
        await client.close()


async def until_told(told: list[str], text: str) -> None:
    """The server tells it when it likes."""
    async with asyncio.timeout(5):
        while not any(text in line for line in told):
            await asyncio.sleep(0.01)


_STEAL = {
    "name": "THEFT",
    "sources": [{"name": FACEBOOK}],
    "republish": {"src": ">", "dest": "_INBOX_gateway.stolen.>"},
}
_CONSUMER = {"stream_name": FACEBOOK, "config": {"deliver_subject": "_INBOX_gateway.stolen", "ack_policy": "none"}}
CHANGES: dict[str, object] = {
    f"$JS.API.STREAM.DELETE.{FACEBOOK}": None,
    f"$JS.API.STREAM.SNAPSHOT.{FACEBOOK}": {"deliver_subject": "_INBOX_gateway.stolen"},
    "$JS.API.STREAM.RESTORE.OTHER": {"config": {"name": "OTHER"}},
    f"$JS.API.STREAM.PEER.REMOVE.{FACEBOOK}": {"peer": "x"},
    "$JS.API.ACCOUNT.PURGE.$G": None,
    "$SYS.REQ.SERVER.PING": None,
    "_INBOX_collector.guessed": None,
}
"""What no service may send."""
TENDING: dict[str, object] = {
    "$JS.API.STREAM.CREATE.THEFT": _STEAL,
    f"$JS.API.STREAM.UPDATE.{FACEBOOK}": {"name": FACEBOOK, "subjects": ["events.facebook"], "max_age": 10**9},
    f"$JS.API.STREAM.PURGE.{FACEBOOK}": None,
    f"$JS.API.STREAM.MSG.DELETE.{FACEBOOK}": {"seq": 1},
    f"$JS.API.CONSUMER.CREATE.{FACEBOOK}": _CONSUMER,
    f"$JS.API.CONSUMER.DURABLE.CREATE.{FACEBOOK}.thief": _CONSUMER,
    f"$JS.API.CONSUMER.DELETE.{FACEBOOK}.collector": None,
    f"$JS.API.CONSUMER.MSG.NEXT.{FACEBOOK}.collector": {"batch": 1},
    f"$JS.ACK.{FACEBOOK}.collector.1.1.1.1.0": "+TERM",
}
"""What only a collector may."""
READING: dict[str, object] = {
    f"$JS.API.STREAM.MSG.GET.{FACEBOOK}": {"seq": 1},
    f"$JS.API.DIRECT.GET.{FACEBOOK}": {"seq": 1},
    "$JS.API.STREAM.LIST": None,
    "$JS.API.STREAM.NAMES": None,
}
PUBLISHING: dict[str, object] = {"events.facebook": "[]", "dead": "[]"}
REFUSED = {
    "gateway": CHANGES | TENDING | READING,
    "collector": CHANGES,
    "reporter": CHANGES | TENDING | PUBLISHING,
}


@pytest.mark.parametrize("user", sorted(REFUSED))
async def test_a_service_may_not_do_what_only_others_may(user: str, url: Callable[[str], str]) -> None:
    async with stream_of(url, OWNER, Tends.EVERYTHING) as owner:
        await owner.ensure("facebook")
        await owner.publish("facebook", b"kept", {}, 5)
        before = await owner.progress("facebook")
        async with logged_in(url, user) as (jetstream, told):
            client = jetstream._nc
            for subject, payload in REFUSED[user].items():
                sent = payload if isinstance(payload, str) else "" if payload is None else json.dumps(payload)
                told.clear()
                with pytest.raises((TimeoutError, nats.errors.Error)):
                    await client.request(subject, sent.encode(), timeout=0.3)
                await until_told(told, f'permissions violation for publish to "{subject.lower()}"')
        assert await owner.progress("facebook") == before
        assert set(await owner.sources()) == {"facebook"}
        await owner.trim("facebook")


@pytest.mark.parametrize("user", [service.name for service in SERVICES])
async def test_a_service_hears_only_what_it_is_answered(user: str, url: Callable[[str], str]) -> None:
    others = [service.inbox for service in SERVICES if service.name != user]
    async with logged_in(url, user) as (jetstream, told):
        client = jetstream._nc
        for subject in (">", "events.>", "dead", "$JS.>", "_INBOX.>", "*.>", *(f"{other}.>" for other in others)):
            told.clear()
            await client.subscribe(subject)
            await until_told(told, "permissions violation for subscription")


async def test_without_a_password_nobody_gets_in(url: Callable[[str], str]) -> None:
    place = url("gateway").rpartition("@")[2]
    for login in ("", "gateway:guessed@", "eventpipeline:@", "stranger:x@"):
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
            await nats.connect(f"nats://{login}{place}", allow_reconnect=False)
