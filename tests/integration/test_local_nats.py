"""A nats-server on this machine whose disk is full for a while."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

SCRIPT = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from faults.volumes import Volume, enter_own_namespace
enter_own_namespace()
from collecting import eventually, streaming
from eventpipeline.local import nats
from eventpipeline.local.supervisor import Supervisor
from eventpipeline.stream import StreamUnavailable
from servers import free_port

async def main(folder):
    volume = Volume.make(folder / "nats", 64 * 2**20)
    port = free_port()
    program = nats.server(folder / "nats" / "store", port=port, monitor_port=free_port(),
                          max_file_bytes=50 * 2**20, log=folder / "nats.log")
    supervisor = Supervisor(print)
    supervisor.start(program)
    await supervisor.ready("nats")
    first = supervisor.pids()["nats"]
    async with streaming(f"nats://127.0.0.1:{port}", "", stream_bytes=20 * 2**20, dead_bytes=2**20) as stream:
        async def is_taken():
            try:
                await stream.publish("facebook", b"x" * 100_000, {}, 2.0)
            except StreamUnavailable:
                return False
            return True
        assert await is_taken()
        volume.fill()
        assert not await is_taken()
        await asyncio.sleep(3)
        assert supervisor.pids()["nats"] == first, "there is no room to start anew in yet"
        volume.free()
        await eventually(is_taken, "it to take messages again", 10)
        assert supervisor.pids()["nats"] != first
        assert (await stream.lag("facebook")).pending_messages >= 2
    await supervisor.stop("nats")
    volume.unmount()

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_server_whose_disk_was_full_takes_messages_again_once_there_is_room(tmp_path: Path) -> None:
    script = tmp_path / "full_disk.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        (sys.executable, str(script), str(tmp_path)),
        env=os.environ | {"PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
