"""Forgetting a person: gone from the store, the stream and the dead letters; counts and everybody else stay."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql

from collecting import collecting, eventually, publish, streaming
from declared import WEBSHOP, WEBSHOP_FILE, order, visit
from eventpipeline import envelope
from eventpipeline.events import refused
from eventpipeline.sources import built_in
from eventpipeline.store import erasures
from eventpipeline.store.append import Appender
from eventpipeline.store.pool import connection, open_pool
from eventpipeline.store.rebuild import ROLLUPS, check, rebuild
from eventpipeline.stream import DEAD, Stream
from servers import nats_server
from stored import expected_counts, expected_demographics, facebook, found_counts, found_demographics, parsed, scalar

PERSON = "person-" + "7" * 20
EVERYTHING = "SELECT coalesce(array_agg(events::text ORDER BY source, event_id), '{}') FROM events WHERE user_id <> %s"
ENVELOPE = ("eventId", "timestamp", "source", "funnelStage", "eventType")


def theirs(number: int, **changes: Any) -> dict[str, Any]:
    """An event of the person, all of whose data tells of them."""
    event = facebook(number, **changes)
    event["data"]["user"] |= {"userId": PERSON, "name": f"Name of {PERSON}"}
    event["data"]["engagement"]["adId"] = f"ad of {PERSON}"
    return event


def mixed(first: int, count: int = 6) -> list[dict[str, Any]]:
    """Events of several people, in one message; every third is of the person."""
    return [theirs(number) if number % 3 == 0 else facebook(number) for number in range(first, first + count)]


def command(nats: str, database: str, prefix: str, *arguments: object) -> list[str]:
    addresses = ("--nats-url", nats, "--database-url", database, "--stream-prefix", prefix)
    return [sys.executable, "-m", "eventpipeline", "forget", *map(str, arguments), *addresses]


async def forget(
    nats: str, database: str, prefix: str, *arguments: object, source: str = "facebook", user: str = PERSON
) -> dict[str, Any]:
    """What `eventpipeline forget` says it did, its id read from the standard input."""
    argv = command(nats, database, prefix, "--source", source, "--user-file", "-", *arguments, "--output", "json")
    done = await asyncio.to_thread(subprocess.run, argv, input=user, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


async def replay(nats: str, database: str, prefix: str) -> int:
    """How many events a replay of all that the stream has found new."""
    argv = command(nats, database, prefix, "--source", "facebook", "--output", "json")
    argv[3] = "replay"
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return sum(one["new"] for one in json.loads(done.stdout))


async def retained(stream: Stream, source: str) -> list[Any]:
    """Every event, or dead letter, that the stream has."""
    pages = stream.retained(source, None, datetime.max.replace(tzinfo=UTC))
    return [one async for messages in pages for message in messages for one in json.loads(message.data)]


def letter(event: object, *, source: str | None = "facebook") -> dict[str, Any]:
    """A dead letter as the gateway makes it, of an event or of bytes that are none."""
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    rejection = refused(payload, "invalid_value", "is wrong")
    made: dict[str, Any] = json.loads(envelope.dead_letter(payload, rejection, "c", "2025-03-01T12:00:00Z"))
    return made | {"source": source}


async def publish_letters(stream: Stream, letters: Sequence[dict[str, Any]]) -> None:
    await stream.publish(DEAD, json.dumps(letters).encode(), {"Ep-Reason": "invalid_value"}, 5.0)


def rows(database: str) -> int:
    return int(scalar(database, "SELECT count(*) FROM events"))


def everything(database: str) -> str:
    """All that the database holds of anything, as text."""
    tables = scalar(
        database,
        "SELECT array_agg(relname::text) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    )
    texts = []
    for table in tables:
        query = sql.SQL("SELECT coalesce(string_agg(t::text, ' '), '') FROM {} AS t").format(sql.Identifier(table))
        texts.append(scalar(database, query))
    payloads = "SELECT coalesce(string_agg(encode(payload, 'escape'), ' '), '') FROM dead_letters"
    return " ".join([*texts, scalar(database, payloads)])


async def test_a_person_is_gone_and_what_was_counted_and_everybody_else_stays(
    tmp_path: Path, database: str, stream_prefix: str
) -> None:
    events = [*mixed(0), *mixed(6)]
    letters = [letter(theirs(20, eventType="strange")), letter(facebook(21)), letter(facebook(22, eventId=PERSON))]
    with nats_server(tmp_path) as nats:
        async with streaming(nats, stream_prefix) as stream, collecting(nats, database, stream_prefix):
            await publish(stream, events[:6])
            await publish(stream, events[6:])
            await publish_letters(stream, letters)
            await eventually(lambda: rows(database) == 12, "the events to be stored")
            await eventually(lambda: scalar(database, "SELECT count(*) FROM dead_letters") == 3, "the letters")
            rows_of_others = scalar(database, EVERYTHING, PERSON)
            counts, demographics = found_counts(database), found_demographics(database)
            assert PERSON in everything(database)

            dry = await forget(nats, database, stream_prefix, "--dry-run")
            assert (dry["events"], dry["deadLetters"], dry["erasure"]) == (4, 1, None)
            assert PERSON in everything(database)

            told = await forget(nats, database, stream_prefix, "--by", "Data protection", "--reference", "T-1")
            assert (told["events"], told["deadLetters"]) == (4, 1)
            assert told["stream"] == {"messages": 3, "events": 4, "deadLetters": 1}
            assert told["mentions"] == [letters[2]["id"]]
            assert told["notVacuumed"] == []

            # What is left of theirs; the rest to the last digit.
            assert scalar(database, EVERYTHING, "") == rows_of_others
            left = "SELECT array_agg(DISTINCT (amount, campaign_id, correlation_id, data)::text) FROM events WHERE "
            assert scalar(database, left + "user_id = ''") == ["(1.50,c1,,{})"]
            assert (found_counts(database), found_demographics(database)) == (counts, demographics)
            assert (await stream.lag("facebook")).max_bytes == 64 * 2**20  # as the services have it
            kept = await retained(stream, "facebook")
            assert [one for one in kept if one["data"]["user"]["userId"]] == [
                event for event in events if event["data"]["user"]["userId"] != PERSON
            ]
            assert {one["eventId"] for one in kept} == {event["eventId"] for event in events}
            assert [one["id"] for one in await retained(stream, DEAD)] == [one["id"] for one in letters[1:]]

            # What the rollups have of theirs cannot be counted again, and is no difference.
            assert await asyncio.to_thread(check, database, [built_in("facebook")]) == []

            # With what only mentions them, nothing holds the id: no table, and no file of the stream.
            told = await forget(nats, database, stream_prefix, "--mentions")
            assert (told["events"], told["deadLetters"], told["stream"]["deadLetters"]) == (0, 1, 1)
            assert PERSON not in everything(database)
            files = [path.read_bytes() for path in tmp_path.rglob("*.blk")]
            assert files
            assert not any(PERSON.encode() in data for data in files)

            # A copy that comes late is neither counted nor stored; and again the stream has it until it is forgotten.
            await publish(stream, [*mixed(0), facebook(99)])
            await eventually(lambda: rows(database) == 13, "the event beside the copies")
            assert PERSON not in everything(database)
            assert found_counts(database) == expected_counts(parsed(json.dumps([*events, facebook(99)]).encode()))
            assert (await forget(nats, database, stream_prefix))["stream"]["events"] == 2
        assert await replay(nats, database, stream_prefix) == 0

        # Made anew, the rollups have of theirs what is left: events and revenue.
        assert await asyncio.to_thread(rebuild, database, [built_in("facebook")]) == 13
        assert await asyncio.to_thread(check, database, [built_in("facebook")]) == []
        assert found_counts(database) == expected_counts(parsed(json.dumps([*events, facebook(99)]).encode()))
        others = [event for event in (*events, facebook(99)) if event["data"]["user"]["userId"] != PERSON]
        assert found_demographics(database) == expected_demographics(parsed(json.dumps(others).encode()))

        # Into an emptied database a replay brings everybody else, and of the person what is counted.
        counts = found_counts(database)
        with psycopg.connect(database) as opened:
            opened.execute(f"TRUNCATE events, {', '.join((*ROLLUPS, *(f'{name}_batch' for name in ROLLUPS)))}")
        assert await replay(nats, database, stream_prefix) == 13
        assert found_counts(database) == counts
        assert PERSON not in everything(database)

        listed = await listing(nats, database, stream_prefix)
    assert [(one["events"], one["messages"], one["deadLetters"], one["by"]) for one in listed] == [
        (0, 1, 0, None), (0, 1, 1, None), (4, 3, 1, "Data protection"),
    ]  # fmt: skip
    assert all(one["finishedAt"] and one["vacuumedAt"] for one in listed)


async def listing(nats: str, database: str, prefix: str) -> list[dict[str, Any]]:
    argv = command(nats, database, prefix, "--list", "--output", "json")
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


async def test_what_is_not_stored_yet_is_counted_without_the_person(
    shared_nats: str, database: str, stream_prefix: str
) -> None:
    events = [*mixed(0), *mixed(6)]
    async with streaming(shared_nats, stream_prefix) as stream:
        await publish(stream, events[:6])
        await publish(stream, events[6:])
        await publish_letters(stream, [letter(theirs(20)), letter(facebook(21))])
        told = await forget(shared_nats, database, stream_prefix, "--wait", 0)
        assert (told["events"], told["stream"]) == (0, {"messages": 3, "events": 4, "deadLetters": 1})
        async with collecting(shared_nats, database, stream_prefix):
            await eventually(lambda: rows(database) == 12, "the events to be stored")
            await eventually(lambda: scalar(database, "SELECT count(*) FROM dead_letters") == 1, "the letter")

    assert found_counts(database) == expected_counts(parsed(json.dumps(events).encode()))
    assert scalar(database, "SELECT count(*) FROM events WHERE user_id = ''") == 4
    assert PERSON not in everything(database)


async def test_it_is_killed_in_the_middle_and_run_again(shared_nats: str, database: str, stream_prefix: str) -> None:
    messages = [mixed(6 * number) for number in range(60)]
    arguments = ("--source", "facebook", "--user", PERSON, "--wait", "0")
    async with streaming(shared_nats, stream_prefix) as stream:
        for message in messages:
            await publish(stream, message)
        process = subprocess.Popen(command(shared_nats, database, stream_prefix, *arguments), stdout=subprocess.DEVNULL)
        try:

            async def is_underway() -> bool:
                progress = await stream.progress("facebook")
                return progress is not None and progress.last >= 70

            # A collector stores what there is meanwhile, of before and of after.
            async with collecting(shared_nats, database, stream_prefix):
                await eventually(is_underway, "some messages to be replaced", 60)
                process.kill()
                process.wait()
                (unfinished,) = await listing(shared_nats, database, stream_prefix)
                assert unfinished["finishedAt"] is None
                told = await forget(shared_nats, database, stream_prefix)
                assert 0 < told["stream"]["messages"] <= 51
                await eventually(lambda: rows(database) == 360, "all events to be stored")
        finally:
            process.kill()
            process.wait()
        kept = await retained(stream, "facebook")

    events = [event for message in messages for event in message]
    assert found_counts(database) == expected_counts(parsed(json.dumps(events).encode()))
    assert scalar(database, "SELECT count(*) FROM events WHERE user_id = ''") == 120
    assert PERSON not in everything(database)
    assert PERSON not in json.dumps(kept)
    assert {one["eventId"] for one in kept} == {f"e{number}" for number in range(360)}


async def test_a_source_that_is_declared_is_forgotten_by_its_own_pointer(
    shared_nats: str, database: str, stream_prefix: str
) -> None:
    events = [order("o1"), visit("v1", name="shoes"), order("o2", currency="USD"), order("o3", total="5.00")]
    events[3]["data"]["customer"]["id"] = "c-9"
    pool = open_pool(database, name="test", read_only=False, max_size=1)
    await pool.open()
    async with connection(pool) as opened:
        await Appender(WEBSHOP.named("webshop")).append(opened, json.dumps(events).encode())
    await pool.close()
    before = found_counts(database)

    argument = ("--file", WEBSHOP_FILE)
    told = await forget(shared_nats, database, stream_prefix, *argument, source="webshop", user="c-7\nnobody\n")

    assert told["events"] == 2
    assert found_counts(database) == before
    users = (
        "SELECT array_agg(event_id || user_id || coalesce(amount::text || currency, '') ORDER BY event_id) FROM events"
    )
    assert scalar(database, users) == ["o149.90EUR", "o249.90USD", "o3c-95.00EUR", "v1c-8"]
    assert (await listing(shared_nats, database, stream_prefix))[0]["users"] == 2


async def test_who_does_not_own_the_tables_leaves_the_vacuum_to_the_owner(
    shared_nats: str, database: str, stream_prefix: str
) -> None:
    role = f"service_{uuid.uuid4().hex}"
    with psycopg.connect(database, autocommit=True) as opened:
        opened.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        opened.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    address = conninfo.conninfo_to_dict(database)
    as_role = f"postgresql://{role}:x@{address['host']}:{address['port']}/{address['dbname']}"
    pool = open_pool(database, name="test", read_only=False, max_size=1)
    await pool.open()
    async with connection(pool) as opened_pool:
        await Appender(built_in("facebook")).append(opened_pool, json.dumps(mixed(0)).encode())
    await pool.close()
    try:
        told = await forget(shared_nats, as_role, stream_prefix)
        assert (told["events"], told["notVacuumed"]) == (2, ["events_default"])
        assert (await listing(shared_nats, as_role, stream_prefix))[0]["vacuumedAt"] is None
        assert erasures.vacuum(database) == ()
        assert (await listing(shared_nats, as_role, stream_prefix))[0]["vacuumedAt"] is not None
    finally:
        with psycopg.connect(database, autocommit=True) as opened:
            opened.execute(f"DROP OWNED BY {role}")
            opened.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--source: say of which source"),
        (("--source", "facebook"), "give either --user or --user-file"),
        (("--source", "facebook", "--user", "u", "--user-file", "-"), "give either --user or --user-file"),
        (("--source", "myspace", "--user", "u"), "--source myspace: there are facebook, tiktok"),
        (("--source", "facebook", "--user", ""), "1 to 256 characters"),
        (("--source", "facebook", "--user-file", "-"), "is empty"),
        (("--source", "facebook", "--user-file", "missing"), "No such file"),
        (("--list", "--user", "u"), "--list stands alone"),
        (("--source", "facebook", "--user", "u"), "no pipeline runs from"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    argv = [sys.executable, "-m", "eventpipeline", "forget", *arguments]
    done = subprocess.run(argv, input="", capture_output=True, text=True, timeout=60, cwd=tmp_path, env={})
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
