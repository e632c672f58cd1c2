"""`eventpipeline demo`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import httpx2
from cyclopts import Parameter

from eventpipeline.cli.connection import get
from eventpipeline.cli.output import CommandError, console, fail
from eventpipeline.cli.pipeline import pipeline_of, tell, tell_ready
from eventpipeline.cli.publish import print_totals, print_verdict, publish_with_progress, verdict_on
from eventpipeline.cli.report import print_report
from eventpipeline.local import LocalError, Options, Running, up
from eventpipeline.publisher import Observer
from eventpipeline.publisher import Options as Load
from eventpipeline.publisher.observe import ObserveError
from eventpipeline.telemetry import silence_logging


def demo(
    *,
    seconds: float = 30.0,
    seed: int = 1,
    exit_: Annotated[bool, Parameter(name="--exit")] = False,
    file: Annotated[Path | None, Parameter(name=["--file", "-f"])] = None,
    data_dir: Path = Path(".eventpipeline-demo"),
    port_offset: int = 0,
) -> int:
    """Run a pipeline, send it the real load, and check that every event is counted exactly once.

    Starts what `eventpipeline up` starts, publishes at the true rate of the public publisher (1,000 to 50,000 events
    in one POST each second), waits until everything is stored, prints the three reports, compares them and the dead
    letters with what was answered, and goes on running until Ctrl-C.

    Exit code 0 where every accepted event is counted exactly once and every invalid one is a dead letter.

    Parameters
    ----------
    seconds
        How long to publish.
    seed
        The seed of the load.
    exit_
        End when the check is done.
    file
        An EventPipeline file; without it, both sources with every default.
    data_dir
        Where events, logs and the database are kept.
    port_offset
        Added to every port.
    """
    held = False

    async def work(run: Running) -> None:
        nonlocal held
        tell_ready(run)
        held = await _show(run, Load(seconds=seconds, seed=seed))
        if not exit_:
            tell_ready(run)
            await asyncio.Event().wait()

    silence_logging()
    try:
        console.print(f"Starting a pipeline [dim](data in {data_dir.absolute()})[/dim]")
        asyncio.run(up(pipeline_of(file), Options(data_dir, port_offset), tell, work))
    except (CommandError, LocalError, ObserveError) as error:
        return fail(str(error))
    return 0 if held else 1


async def _show(run: Running, load: Load) -> bool:
    """Publishes, prints the reports, and says whether they are exact."""
    async with httpx2.AsyncClient(base_url=run.reporter_url, timeout=60.0, trust_env=False) as client:
        observer = Observer(client)
        before = await observer.observe()
        console.print(f"Publishing for {load.seconds:g} s: 1,000 to 50,000 events in one POST each second")
        ledger = await publish_with_progress(run.gateway_url, load)
        print_totals(ledger)
        verdict = await verdict_on(ledger, observer, before)
    for name in ("events", "revenue", "demographics"):
        report = await asyncio.to_thread(get, run.reporter_url, f"/reports/{name}")
        print_report(name, report.json())
    print_verdict(verdict)
    return verdict.ok
