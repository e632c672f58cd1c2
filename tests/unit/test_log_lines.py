"""Log lines are written whole, once, in order, whoever writes them and whatever becomes of the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from io import StringIO
from threading import Thread

from eventpipeline.log_lines import LineLogger


class _File(StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str, /) -> int:
        self.writes.append(text)
        return super().write(text)


async def test_lines_of_one_turn_are_written_at_once() -> None:
    logger = LineLogger(file := _File())
    logger.info("first")
    logger.msg("second")
    assert file.writes == []
    await asyncio.sleep(0)
    logger.msg("third")
    await asyncio.sleep(0)
    assert file.writes == ["first\nsecond\n", "third\n"]


def test_without_an_event_loop_a_line_is_written_now() -> None:
    logger = LineLogger(file := _File())
    logger.msg("now")
    assert file.writes == ["now\n"]


async def test_a_thread_writes_its_line_after_those_before_it() -> None:
    logger = LineLogger(file := _File())
    logger.msg("held")
    thread = Thread(target=logger.msg, args=("of a thread",))
    thread.start()
    thread.join()
    assert file.writes == ["held\nof a thread\n"]
    await asyncio.sleep(0)
    assert len(file.writes) == 1


def test_lines_of_many_threads_are_written_once_each() -> None:
    logger = LineLogger(file := _File())

    def write(name: int) -> None:
        for number in range(300):
            logger.msg(f"{name} {number}")

    async def beside() -> None:
        threads = [Thread(target=write, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for number in range(300):
            logger.msg(f"loop {number}")
            await asyncio.sleep(0)
        for thread in threads:
            await asyncio.to_thread(thread.join)

    asyncio.run(beside())
    lines = file.getvalue().splitlines()
    assert sorted(lines) == sorted(f"{name} {number}" for name in (0, 1, 2, 3, "loop") for number in range(300))


def test_what_a_loop_that_ended_has_left_comes_with_the_next_line() -> None:
    logger = LineLogger(file := _File())
    first = asyncio.new_event_loop()
    first.call_soon(logger.msg, "left")
    first.call_soon(first.stop)
    first.run_forever()
    first.close()

    async def next_one() -> None:
        logger.msg("next")
        await asyncio.sleep(0)

    asyncio.run(next_one())
    assert file.getvalue() == "left\nnext\n"


def test_the_last_line_is_written_when_the_program_ends() -> None:
    program = """
import asyncio, sys
from eventpipeline.log_lines import LineLogger
logger = LineLogger(sys.stdout)
loop = asyncio.new_event_loop()
loop.call_soon(logger.msg, "the last word")
loop.call_soon(loop.stop)
loop.run_forever()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "the last word\n"
