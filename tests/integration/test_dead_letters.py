"""Dead letters for people: listed, exported, mended, replayed and dropped on a running pipeline."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from collecting import eventually
from eventpipeline.local import Options, Running, running
from eventpipeline.spec import EventPipeline
from servers import free_offset
from stored import facebook, tiktok

PIPELINE = EventPipeline.model_validate(
    {
        "apiVersion": "eventpipeline.dev/v1alpha1",
        "kind": "EventPipeline",
        "metadata": {"name": "test"},
        "spec": {"stream": {"nats": {"storage": "256Mi"}}},
    }
)


def alien(number: int) -> dict[str, Any]:
    """A checkout whose gender is wrong."""
    event = facebook(number)
    event["data"]["user"]["gender"] = "alien"
    return event


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    options = Options(tmp_path_factory.mktemp("run") / "data", port_offset=free_offset())
    async with running(PIPELINE, options) as pipeline:
        yield pipeline


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_refused_is_mended_and_replayed_and_counts_once(run: Running, tmp_path: Path) -> None:
    strayed = tiktok(1)
    del strayed["data"]["engagement"]["videoId"]
    refused = [*(alien(number) for number in range(1, 4)), strayed]
    async with httpx2.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{run.gateway_url}/webhook/events", json=[*refused, facebook(9)])
        assert (answer.status_code, answer.json()["rejected"]) == (202, 4)

        async def reported() -> int:
            return int((await client.get(f"{run.reporter_url}/reports/events")).json()["total"])

        async def letters() -> int:
            return len((await client.get(f"{run.reporter_url}/dead-letters")).json()["items"])

        async def is_there() -> bool:
            return (await letters(), await reported()) == (4, 1)

        await eventually(is_there, "four dead letters and an event")

        status, listed = await command(run, "list", "--reason", "invalid_value", "--output", "json")
        assert (status, {item["eventId"] for item in json.loads(listed)["items"]}) == (0, {"e1", "e2", "e3"})

        status, table = await command(run, "list", "--reason", "invalid_value")
        assert (status, "Each is kept until it is dropped." in table) == (0, True)
        assert all(item["expiresAt"] is None for item in json.loads(listed)["items"])
        _, shown = await command(run, "show", json.loads(listed)["items"][0]["id"])
        assert re.search(r"expiresAt +when it is dropped", shown)
        _, overview = await command(run, group="status")
        assert "Each is kept until it is dropped." in overview

        exported = tmp_path / "letters.jsonl"
        assert (await command(run, "export", "--source", "tiktok", "--file", exported))[0] == 0
        assert [json.loads(json.loads(line)["payload"]) for line in exported.read_text().splitlines()] == [strayed]

        # Nothing that would be refused again is sent.
        status, told = await replay(run)
        assert (status, told["accepted"], {one["reason"] for one in told["failed"]}) == (
            1, [], {"invalid_value", "missing_field"},
        )  # fmt: skip
        status, told = await replay(run, "--set", "data.user.gender=male", "--dry-run")
        assert (status, len(told["accepted"]), [one["eventId"] for one in told["failed"]]) == (1, 3, ["t1"])
        assert (await letters(), await reported()) == (4, 1)

        # Twice, and it counts once.
        for _ in range(2):
            started = time.monotonic()
            status, told = await replay(run, "--source", "facebook", "--set", "data.user.gender=male")
            assert (status, len(told["accepted"]), told["failed"]) == (0, 3, [])
        assert time.monotonic() - started < 20
        await eventually(lambda: is_reported(reported, 4), "the three events")

        patch = tmp_path / "patch.json"
        patch.write_text(json.dumps([{"op": "add", "path": "/data/engagement/videoId", "value": "v"}]))
        status, told = await replay(run, "--source", "tiktok", "--patch", patch, "--drop")
        assert (status, len(told["accepted"])) == (0, 1)
        await eventually(lambda: is_reported(reported, 5), "the fourth event")
        assert await letters() == 3

        status, told_drop = await command(run, "drop")
        assert (status, await letters()) == (1, 3), told_drop
        status, told_drop = await command(run, "drop", "--event-id", "e1")
        assert (status, told_drop, await letters()) == (0, "1 dropped\n", 2)
        assert (await command(run, "drop", "--all"))[0] == 0
        assert (await letters(), await reported()) == (0, 5)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_same_over_http_through_the_gateway_counts_once_and_stops_with_its_client(run: Running) -> None:
    async with httpx2.AsyncClient(timeout=60, base_url=run.reporter_url) as client:
        for letter in (await client.get("/dead-letters")).json()["items"]:
            await client.delete(f"/dead-letters/{letter['id']}")
        before = (await client.get("/reports/events")).json()["total"]
        strayed = tiktok(100)
        del strayed["data"]["engagement"]["videoId"]
        events = [*(alien(number) for number in range(101, 141)), strayed]
        await client.post(f"{run.gateway_url}/webhook/events", json=events)

        async def letters() -> list[dict[str, Any]]:
            return [json.loads(line) for line in (await client.get("/dead-letters/export")).text.splitlines()]

        async def is_there() -> bool:
            return len(await letters()) == 41

        async def total() -> int:
            return int((await client.get("/reports/events")).json()["total"])

        async def replayed(query: str = "", /, **asked: Any) -> list[dict[str, Any]]:
            answer = await client.post(f"/dead-letters/replay{query}", json=asked)
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == "application/x-ndjson"
            return [json.loads(line) for line in answer.text.splitlines()]

        await eventually(is_there, "the dead letters")
        assert {json.loads(one["payload"])["eventId"] for one in await letters()} == {one["eventId"] for one in events}
        mend: dict[str, Any] = {"set": ["data.user.gender=male"]}

        lines = await replayed()
        assert [one["refused"]["reason"] for one in lines if "refused" in one].count("invalid_value") == 40
        assert lines[-1] == {"done": True, "accepted": 0, "failed": 41, "dryRun": False, "error": None}
        assert (await replayed(**mend, dryRun=True))[-1]["accepted"] == 40

        # A client that goes away at once stops it: at 5 a second all would take 8 s.
        async with client.stream("POST", "/dead-letters/replay?source=facebook", json={**mend, "rate": 5}) as answer:
            told = answer.aiter_lines()  # kept: a generator that nobody has closes the answer
            first = json.loads(await anext(told))
            assert first["progress"] == {"accepted": 5, "failed": 0, "of": 40}
            assert (await client.post("/dead-letters/replay", json=mend)).status_code == 409
        await asyncio.sleep(10)
        assert await total() - before < 40
        for _ in range(2):
            assert (await replayed("?source=facebook", **mend))[-1]["accepted"] == 40
        await eventually(lambda: is_reported(total, before + 40), "forty events, once")

        patch = [{"op": "add", "path": "/data/engagement/videoId", "value": "v"}]
        (ours,) = [one["id"] for one in await letters() if one["source"] == "tiktok"]
        *_, progress, done = await replayed(ids=[ours], patch=patch, drop=True)
        assert progress["progress"] == {"accepted": 1, "failed": 0, "of": 1}
        assert (done["accepted"], len(await letters())) == (1, 40)
        await eventually(lambda: is_reported(total, before + 41), "the mended one")

        assert (await client.delete("/dead-letters")).status_code == 422
        dropped = await client.delete("/dead-letters", params={"source": "facebook", "reason": "invalid_value"})
        assert (dropped.json(), await letters()) == ({"dropped": 40}, [])


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("query", "asked", "message"),
    [
        ("", {"set": ["nonsense"]}, "write the place and the value"),
        ("", {"rate": 0}, "rate"),
        ("", {"patch": {}}, "no JSON Patch"),
        ("", {"sign": "bearer"}, "sign and key are given together"),
        ("", {"sign": "standardWebhooks", "key": "whsec_x"}, "key is none of standardWebhooks"),
        ("", {"surprise": 1}, "surprise"),
        ("?limit=3", {}, "there is no such parameter"),
        ("?source=facebook", {"ids": ["00000000-0000-0000-0000-000000000000"]}, "either ids or a selection"),
    ],
)
async def test_what_makes_no_sense_over_http_is_refused(
    run: Running, query: str, asked: dict[str, Any], message: str
) -> None:
    async with httpx2.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{run.reporter_url}/dead-letters/replay{query}", json=asked)
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


async def is_reported(reported: Any, count: int) -> bool:
    return bool(await reported() == count)


async def replay(run: Running, *arguments: object) -> tuple[int, dict[str, Any]]:
    status, told = await command(run, "replay", *arguments, "--output", "json", "--gateway", run.gateway_url)
    return status, json.loads(told)


async def command(run: Running, *arguments: object, group: str = "dead-letters") -> tuple[int, str]:
    """The exit code and the output of `eventpipeline dead-letters`, or of `eventpipeline` and another group."""
    argv = [sys.executable, "-m", "eventpipeline", group, *map(str, arguments), "--url", run.reporter_url]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("replay", "--set", "nonsense"), "write the place and the value"),
        (("replay", "--rate", "0"), "--rate must be above 0"),
        (("replay", "--patch", "/does/not/exist"), "No such file"),
        (("replay", "--sign", "bearer"), "--sign and --key-file are given together"),
        (("drop",), "say which dead letters to drop"),
        (("drop", "some-id", "--source", "facebook"), "either ids or a selection"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(arguments: tuple[str, ...], message: str) -> None:
    argv = [sys.executable, "-m", "eventpipeline", "dead-letters", *arguments, "--url", "http://127.0.0.1:9"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
