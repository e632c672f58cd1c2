"""Many triggers, one pass; a failure comes again later; and a deaf watch is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eventpipeline_operator.triggers import Result, Target, Triggers
from eventpipeline_operator.watching import Watching

A, B = Target("shop", "a", "1"), Target("shop", "b", "2")


class Passes:
    """Counts passes; a pass waits while `gate` is not set."""

    def __init__(self, result: Result | Callable[[int], Result] = Result()) -> None:  # noqa: B008 - frozen
        self.made: list[Target] = []
        self.running = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._result = result
        self._changed = asyncio.Condition()

    async def __call__(self, target: Target) -> Result:
        self.made.append(target)
        self.running += 1
        self.most = max(self.most, self.running)
        async with self._changed:
            self._changed.notify_all()
        await self.gate.wait()
        self.running -= 1
        return self._result if isinstance(self._result, Result) else self._result(len(self.made))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: len(self.made) >= count)


class Running:
    def __init__(self, triggers: Triggers, passes: Passes, workers: int = 4) -> None:
        self._stopping = asyncio.Event()
        self._run = triggers.run(passes, workers=workers, stopping=self._stopping)

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run)

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        async with asyncio.timeout(5):
            await self._task


async def test_triggers_of_one_resource_coalesce() -> None:
    triggers, passes = Triggers(), Passes()
    for _ in range(100):
        triggers.add(A)
    assert len(triggers) == 1
    async with Running(triggers, passes):
        await passes.until(1)
    assert passes.made == [A]


async def test_a_trigger_during_a_pass_makes_one_more_and_never_two_at_once() -> None:
    triggers, passes = Triggers(), Passes()
    passes.gate.clear()
    async with Running(triggers, passes):
        triggers.add(A)
        await passes.until(1)
        for _ in range(10):
            triggers.add(A)
        await asyncio.sleep(0.02)
        assert passes.made == [A]
        passes.gate.set()
        await passes.until(2)
    assert passes.made == [A, A]
    assert passes.most == 1


async def test_resources_do_not_wait_for_each_other() -> None:
    triggers, passes = Triggers(), Passes()
    passes.gate.clear()
    async with Running(triggers, passes):
        triggers.add(A)
        triggers.add(B)
        await passes.until(2)
        assert passes.running == 2
        passes.gate.set()


async def test_what_asks_to_come_again_does() -> None:
    triggers = Triggers()
    passes = Passes(lambda count: Result(again_after=0.01 if count < 3 else None))
    async with Running(triggers, passes):
        triggers.add(A)
        await passes.until(3)
        await asyncio.sleep(0.05)
    assert len(passes.made) == 3


async def test_a_failure_waits_longer_each_time_and_a_trigger_does_not_wait() -> None:
    triggers, passes = Triggers(), Passes(Result(failed=True))
    async with Running(triggers, passes):
        triggers.add(A)
        await passes.until(1)
        await asyncio.sleep(0.05)
        assert len(passes.made) == 1
        triggers.add(A)
        await passes.until(2)
    assert len(triggers) == 1


async def test_a_bug_in_a_pass_does_not_end_the_others() -> None:
    triggers, made = Triggers(), []

    async def one_pass(target: Target) -> Result:
        made.append(target)
        if target == A:
            raise RuntimeError("a bug")
        return Result()

    stopping = asyncio.Event()
    task = asyncio.create_task(triggers.run(one_pass, workers=1, stopping=stopping))
    triggers.add(A)
    triggers.add(B)
    async with asyncio.timeout(5):
        while B not in made:
            await asyncio.sleep(0.01)
        stopping.set()
        await task


# --- watching --------------------------------------------------------------------------------------------------------


def _listed(generation: int, uid: str = "1") -> dict[str, dict[str, object]]:
    return {"metadata": {"namespace": "shop", "name": "a", "uid": uid, "generation": generation}}


def told(watching: Watching, generation: int, digest: str = "") -> None:
    watching.pipeline("shop", "a", "1", generation, digest, gone=False)


def test_a_change_of_the_status_alone_triggers_nothing() -> None:
    triggers = Triggers()
    watching = Watching(triggers)
    told(watching, 1)
    assert len(triggers) == 1
    triggers._due.clear()
    told(watching, 1)
    assert len(triggers) == 0
    told(watching, 2)
    assert len(triggers) == 1


def test_an_owned_object_triggers_its_pipeline_where_what_matters_changed() -> None:
    triggers = Triggers()
    watching = Watching(triggers)
    watching.owned("shop", "a", "d1", "x", gone=False)
    assert len(triggers) == 0, "its pipeline is not known yet, and will be looked at when it is"
    told(watching, 1)
    triggers._due.clear()
    watching.owned("shop", "a", "d1", "x", gone=False)
    assert len(triggers) == 0
    watching.owned("shop", "a", "d1", "y", gone=False)
    assert list(triggers._due) == [A]
    triggers._due.clear()
    watching.owned("shop", "a", "d1", "y", gone=True)
    assert list(triggers._due) == [A]


def test_a_watch_that_does_not_tell_is_deaf_after_two_resyncs() -> None:
    watching = Watching(Triggers())
    told(watching, 1)
    assert not watching.resync([_listed(1)])
    assert not watching.resync([_listed(2)]), "the watch may just be about to tell"
    assert watching.resync([_listed(2)])
    told(watching, 2)
    assert not watching.resync([_listed(2)])
    assert not watching.resync([_listed(3)])
    told(watching, 3)
    assert not watching.resync([_listed(3)])


def test_a_watch_that_tells_late_of_one_change_after_the_other_is_not_deaf() -> None:
    watching = Watching(Triggers())
    told(watching, 1)
    assert not watching.resync([_listed(2)])
    told(watching, 2)
    assert not watching.resync([_listed(3)])


def test_a_pipeline_that_went_without_a_word_is_looked_at_once_more_and_forgotten() -> None:
    triggers = Triggers()
    watching = Watching(triggers)
    told(watching, 1)
    triggers._due.clear()
    watching.resync([])
    assert list(triggers._due) == [], "the watch may just have told of one that is not listed yet"
    watching.resync([])
    assert list(triggers._due) == [A], "its pass closes what is open for it"
    triggers._due.clear()
    watching.resync([])
    watching.resync([])
    assert list(triggers._due) == []
    assert not any((watching._targets, watching._generations, watching._digests))


def test_of_two_pipelines_of_one_name_the_former_is_looked_at_once_more_and_forgotten() -> None:
    triggers = Triggers()
    watching = Watching(triggers)
    told(watching, 1)
    triggers._due.clear()
    watching.resync([_listed(1, uid="2")])
    assert set(triggers._due) == {A, Target("shop", "a", "2")}
    watching.pipeline("shop", "a", "1", 0, "", gone=True)
    triggers._due.clear()
    watching.owned("shop", "a", "d1", "x", gone=False)
    assert list(triggers._due) == [Target("shop", "a", "2")]
