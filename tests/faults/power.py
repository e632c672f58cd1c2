"""python -m faults.power: a power cut under load, and whether what was answered 202 is there afterwards.

Both servers keep everything on file systems of their own. At the cut every process is killed at once, and the disks
are taken as they are without what the kernel had not yet flushed to them. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

import httpx2

from eventpipeline.publisher import Observer, publish
from eventpipeline.publisher import Options as Load
from eventpipeline.publisher import judge as judge_reports
from faults.breaking import MOST_SECONDS_TO_RECOVER
from faults.oracle import Judgement, judge
from faults.rig import Rig, Shape, rig
from faults.sent import Sent
from faults.volumes import enter_own_namespace, in_own_namespace
from faults.watch import Watch

_LOAD_SECONDS = 4.0


async def cut(folder: Path, sync_interval: str) -> Judgement:
    """One pipeline through one power cut."""
    shape = Shape(gateways=1, collectors=1, sync_interval=sync_interval)
    async with (
        rig(folder, shape) as pipeline,
        httpx2.AsyncClient(trust_env=False) as client,
        httpx2.AsyncClient(base_url=pipeline.reporter_url, timeout=60.0, trust_env=False) as reporter,
    ):
        watch, observer = Watch(pipeline, client), Observer(reporter)
        before = await observer.observe()
        stop = asyncio.Event()
        with Sent(folder / "sent.tsv") as sent:
            load = Load(rate=4.0, seconds=600.0, batch=(500, 3000), timeout=10.0)
            publishing = asyncio.create_task(
                publish(pipeline.gateway_url, load, watch.on_answer, stop, on_batch=sent.write)
            )
            await watch.until_answering(time.monotonic(), 30.0)
            # From here on events of one source are on the stream only.
            pipeline.send("facebook-collector-0", signal.SIGSTOP)
            await asyncio.sleep(_LOAD_SECONDS)
            pipeline.lose_power()
            stop.set()
            ledger = await publishing
        await _power_on(pipeline)
        await watch.until_drained(time.monotonic(), MOST_SECONDS_TO_RECOVER)
        verdict = judge_reports(ledger, before, await observer.observe())
        return await asyncio.to_thread(judge, pipeline.database_url, sent.path, ledger, verdict)


async def _power_on(pipeline: Rig) -> None:
    await pipeline.stop()
    for name, volume in pipeline.volumes.items():
        pipeline.volumes[name] = await asyncio.to_thread(volume.lose_power)
    await pipeline.start_servers()
    await pipeline.start_services()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults.power", description=__doc__)
    parser.add_argument("--sync-interval", default="always", help="NATS's own; what it acknowledges before is lost")
    parser.add_argument("--folder", type=Path, help="keep everything there instead of in a folder that goes")
    arguments = parser.parse_args()
    enter_own_namespace()
    if not in_own_namespace():
        print("only root can mount a file system that loses what was not flushed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="power-", ignore_cleanup_errors=True) as folder:
        if arguments.folder:
            arguments.folder.mkdir(parents=True, exist_ok=True)
        judgement = asyncio.run(cut(arguments.folder or Path(folder), arguments.sync_interval))
    print(*judgement.differences, sep="\n")
    print(json.dumps(judgement.found.as_json()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
