"""Passwords of NATS are rotated while it runs: a real server with the chart's users, and a sender who never stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from eventpipeline.users import PASSWORDS_FILE, inbox, passwords_file
from eventpipeline_operator import auth
from eventpipeline_operator.reload import teach
from servers import free_port, nats_of_a_cluster

NAME = "marketing-nats-0"


def passwords(content: dict[str, str]) -> dict[str, str]:
    in_use, others = auth.nats_logins(content)
    return in_use | others


def system(content: dict[str, str]) -> tuple[str, str]:
    return content["nats-user"].replace("eventpipeline", "system"), content["nats-password"]


@contextlib.asynccontextmanager
async def sending(place: str, content: dict[str, str]) -> AsyncIterator[list[int]]:
    """Publishes one message after the other; fails at the end where one was refused or the connection was lost."""
    lost: list[str] = []
    sent, stop = [0], asyncio.Event()

    async def disconnected() -> None:
        lost.append("the connection")

    client = await connected(place, content, "gateway", disconnected_cb=disconnected)
    jetstream = client.jetstream(timeout=2)

    async def send() -> None:
        while not stop.is_set():
            await jetstream.publish("events.facebook", b"one")
            sent[0] += 1

    task = asyncio.create_task(send())
    try:
        yield sent
    finally:
        stop.set()
        await task
        assert not lost
        await client.close()


async def connected(place: str, content: dict[str, str], service: str, **options: object) -> Client:
    async def quiet(_error: Exception) -> None:
        pass

    return await nats.connect(
        f"nats://{place}", user=content[f"nats-{service}-user"], password=content[f"nats-{service}-password"],
        inbox_prefix=inbox(service).encode(), error_cb=quiet, allow_reconnect=False, **options,
    )  # fmt: skip


async def more_is_sent(sent: list[int]) -> None:
    before = sent[0]
    async with asyncio.timeout(10):
        while sent[0] < before + 50:
            await asyncio.sleep(0.01)


async def test_two_rotations_refuse_nothing_and_end_what_was_valid_before_the_first(tmp_path: Path) -> None:
    first = auth.new_auth()
    with nats_of_a_cluster(tmp_path, passwords(first)) as place:
        owner = await nats.connect(f"nats://{first['nats-user']}:{first['nats-password']}@{place}")
        await owner.jetstream().add_stream(name="EVENTS_facebook", subjects=["events.facebook"])
        await owner.close()
        servers = {NAME: place}
        second = auth.nats_renewed(first)
        async with sending(place, first) as sent:
            await more_is_sent(sent)
            new = auth.nats_logins(second)[1]
            assert (said := await teach(servers, system(first), new)) is not None
            assert said.startswith(f"{NAME} does not know them yet: ")
            assert not any(password in said for password in new.values())
            (tmp_path / PASSWORDS_FILE).write_text(passwords_file(passwords(second)))
            assert await teach(servers, system(first), new) is None
            assert await teach(servers, system(first), new) is None, "asked twice is the same"
            await more_is_sent(sent)
        second = auth.nats_switched(second)
        third = auth.nats_renewed(second)
        async with sending(place, second) as sent:
            (tmp_path / PASSWORDS_FILE).write_text(passwords_file(passwords(third)))
            assert await teach(servers, system(second), auth.nats_logins(third)[1]) is None
            await more_is_sent(sent)
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
            await connected(place, first, "gateway")
        await (await connected(place, auth.nats_switched(third), "gateway")).close()


async def test_who_is_still_logged_in_with_what_is_no_longer_valid_is_cut_off(tmp_path: Path) -> None:
    first = auth.new_auth()
    with nats_of_a_cluster(tmp_path, passwords(first)) as place:
        cut = asyncio.Event()

        async def closed() -> None:
            cut.set()

        await connected(place, first, "gateway", closed_cb=closed)
        # Twice: the second makes what the gateway logged in with a former password.
        rotated = auth.nats_renewed(auth.nats_switched(auth.nats_renewed(first)))
        (tmp_path / PASSWORDS_FILE).write_text(passwords_file(passwords(rotated)))
        await teach({NAME: place}, system(first), {})
        async with asyncio.timeout(5):
            await cut.wait()


async def test_a_server_that_cannot_read_its_configuration_says_why_and_goes_on(tmp_path: Path) -> None:
    first = auth.new_auth()
    with nats_of_a_cluster(tmp_path, passwords(first)) as place:
        (tmp_path / PASSWORDS_FILE).write_text("")
        said = await teach({NAME: place}, system(first), {})
        assert said is not None
        assert said.startswith(f"{NAME} does not read its configuration again: ")
        await (await connected(place, first, "gateway")).close()


async def test_each_server_that_is_away_is_named() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    said = await teach({"a-nats-0": nobody, "a-nats-1": nobody}, ("system", "x"), {})
    assert said == "a-nats-0 cannot be reached; a-nats-1 cannot be reached"


async def test_the_login_of_the_system_may_do_nothing_else(tmp_path: Path) -> None:
    first = auth.new_auth()
    told: list[str] = []

    async def note(error: Exception) -> None:
        told.append(str(error).lower())

    with nats_of_a_cluster(tmp_path, passwords(first)) as place:
        login, password = system(first)
        client = await nats.connect(f"nats://{login}:{password}@{place}", error_cb=note, inbox_prefix=b"_INBOX_system")
        for subject in ("events.facebook", "$JS.API.INFO", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.x.KICK"):
            told.clear()
            await client.publish(subject, b"")
            await client.flush()
            async with asyncio.timeout(5):
                while not any("permissions violation for publish" in text for text in told):
                    await asyncio.sleep(0.01)
        for subject in ("$SYS.>", "events.>", "_INBOX_gateway.>"):
            told.clear()
            await client.subscribe(subject)
            await client.flush()
            async with asyncio.timeout(5):
                while not any("permissions violation for subscription" in text for text in told):
                    await asyncio.sleep(0.01)
        await client.close()
