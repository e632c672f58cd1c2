"""A source is taken out of the file between two runs on one machine, while events of it wait in the stream."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from collecting import eventually, packed, publish, streaming
from eventpipeline.local import Options, Running, running
from eventpipeline.local.supervisor import Event
from eventpipeline.settings import StreamSettings
from eventpipeline.spec import EventPipeline
from eventpipeline.stream import acknowledge
from servers import free_offset, nats_server, postgres_server
from stored import assert_holds, facebook, parsed, tiktok

STUB = (sys.executable, str(Path(__file__).parents[1] / "local_stub.py"))
"""Services that collect nothing."""
BOTH, ONLY_FACEBOOK = ("facebook", "tiktok"), ("facebook",)
FACEBOOK, TIKTOK = [facebook(number) for number in range(3)], [tiktok(number) for number in range(5)]


SHOP = {
    "name": "shop",
    "declaration": {
        "eventTypes": {"bottom": ["order.paid"]},
        "schema": {
            "bottom": {
                "type": "object",
                "required": ["customer"],
                "properties": {"customer": {"type": "string", "minLength": 1, "maxLength": 64}},
            }
        },
        "user": "/customer",
    },
}


def pipeline(sources: tuple[str, ...], *declared: dict[str, Any]) -> EventPipeline:
    built_in = [{"name": name} for name in sources]
    spec = {"sources": [*built_in, *declared], "stream": {"nats": {"storage": "256Mi"}}}
    return EventPipeline.model_validate(
        {"apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline", "metadata": {"name": "t"}, "spec": spec}
    )


def limits(run: Running) -> dict[str, Any]:
    settings = run.plan.gateway.settings
    assert isinstance(settings, StreamSettings)
    return {"stream_bytes": settings.stream_bytes, "dead_bytes": settings.dead_bytes}


async def test_what_was_accepted_of_a_removed_source_is_stored_first(tmp_path: Path) -> None:
    told: list[Event] = []
    offset = free_offset()

    def said(text: str) -> bool:
        return any(event.kind == "note" and event.name == "tiktok" and text in event.detail for event in told)

    stubs = Options(tmp_path / "data", port_offset=offset, entry=STUB)
    async with running(pipeline(BOTH), stubs) as run, streaming(run.nats_url, "", **limits(run)) as stream:
        await publish(stream, FACEBOOK)
        await publish(stream, TIKTOK, source="tiktok")

    options = Options(tmp_path / "data", port_offset=offset)
    async with running(pipeline(ONLY_FACEBOOK), options, told.append) as run:
        await eventually(lambda: said("is stored first"), "that it is said")
        await eventually(lambda: said("everything of it is stored"), "that the rest is said", seconds=60)
        assert set(run.pids()) == {"nats", "postgres", "gateway", "facebook-collector", "reporter"}
        assert_holds(run.database_url, parsed(packed([*FACEBOOK, *TIKTOK])))
        async with streaming(run.nats_url, "", **limits(run)) as stream:
            assert set(await stream.sources()) == {"facebook"}

    told.clear()
    async with running(pipeline(BOTH), options, told.append) as run:
        async with streaming(run.nats_url, "", **limits(run)) as stream:
            await publish(stream, [tiktok(9)], source="tiktok")

            async def is_stored() -> bool:
                return await stream.sources() == {"facebook": 0, "tiktok": 0}

            await eventually(is_stored, "the source to be collected again")
        assert_holds(run.database_url, parsed(packed([*FACEBOOK, *TIKTOK, tiktok(9)])))
    assert not any(event.name == "tiktok" for event in told)


async def test_a_run_that_ends_before_all_is_stored_leaves_the_rest_to_the_next(tmp_path: Path) -> None:
    told: list[Event] = []
    options = Options(tmp_path / "data", port_offset=free_offset(), entry=STUB)
    async with running(pipeline(BOTH), options) as run, streaming(run.nats_url, "", **limits(run)) as stream:
        await publish(stream, TIKTOK, source="tiktok")

    for _ in range(2):
        told.clear()
        async with running(pipeline(ONLY_FACEBOOK), options, told.append) as run:
            await eventually(lambda: "tiktok-collector" in run.pids(), "its collector")
            async with streaming(run.nats_url, "", **limits(run)) as stream:
                assert (await stream.sources())["tiktok"] == 1
        assert any(event.kind == "stopped" and event.name == "tiktok-collector" for event in told)
        assert not run.pids()


async def test_a_source_whose_declaration_is_gone_too_is_left_until_it_comes_back(tmp_path: Path) -> None:
    told: list[Event] = []
    options = Options(tmp_path / "data", port_offset=free_offset(), entry=STUB)

    def notes() -> list[str]:
        return [event.detail for event in told if event.kind == "note" and event.name == "shop"]

    async with (
        running(pipeline(ONLY_FACEBOOK, SHOP), options) as run,
        streaming(run.nats_url, "", **limits(run)) as stream,
    ):
        await publish(stream, FACEBOOK, source="shop")

    async with (
        running(pipeline(ONLY_FACEBOOK), options, told.append) as run,
        streaming(run.nats_url, "", **limits(run)) as stream,
    ):
        await eventually(notes, "that it is said")
        assert "1 message of it cannot be stored; put it back" in notes()[0]
        assert (await stream.sources())["shop"] == 1
        puller = await stream.puller("shop")
        await acknowledge(await puller.fetch(1, 2**20, 1.0))

    told.clear()
    async with running(pipeline(ONLY_FACEBOOK), options, told.append):
        await eventually(notes, "that it is gone")
    assert "everything of it is stored" in notes()[0]


async def test_on_a_server_of_others_nothing_is_dropped(tmp_path: Path) -> None:
    told: list[Event] = []
    with postgres_server(tmp_path) as database_url, nats_server(tmp_path, max_file_bytes=8 * 2**30) as nats_url:
        options = Options(
            tmp_path / "data", port_offset=free_offset(), nats_url=nats_url, database_url=database_url, entry=STUB
        )
        async with streaming(nats_url, "") as stream:
            await publish(stream, TIKTOK, source="tiktok")
            async with running(pipeline(ONLY_FACEBOOK), options, told.append) as run:
                await eventually(lambda: [event.name for event in told if event.kind == "note"], "that it is said")
                assert "tiktok-collector" not in run.pids()
            assert (await stream.sources())["tiktok"] == 1
    (note,) = [event for event in told if event.kind == "note"]
    assert note.name == "tiktok"
    assert "1 message of it in the stream" in note.detail
