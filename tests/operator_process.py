"""The operator as a process of its own, against any API server: started, asked over HTTP, and killed.

A process starts from one that has everything imported already, so that dozens of starts cost little.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from servers import free_port

_PRELOADED = ["operator_process", "eventpipeline_operator.main"]


@dataclass
class OperatorProcess:
    process: BaseProcess
    port: int
    log: Path

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.process.kill()
        self.process.join()

    async def until(self, condition: Callable[[], Awaitable[object]], what: str, seconds: float = 30.0) -> None:
        """Waits for `condition`; fails at once where the operator has ended."""
        try:
            async with asyncio.timeout(seconds):
                while not await condition():
                    assert self.process.is_alive(), self.log.read_text()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {seconds} s\n{self.log.read_text()[-3000:]}") from None

    def ask(self, path: str) -> tuple[int, str]:
        """The status and the body of an answer; 0 where there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """The value of a sample, such as `eventpipeline_operator_pipelines`; 0 where there is none yet."""
        lines = self.ask("/metrics")[1].splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)

    @property
    def passes(self) -> float:
        return self.metric('eventpipeline_operator_reconcile_total{result="success"}')


@contextmanager
def operator_process(kubeconfig: Path, log: Path, **environ: str) -> Iterator[OperatorProcess]:
    """A running operator; killed in the end. `environ` are further settings, such as RESYNC_SECONDS."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    port = free_port()
    variables = {
        "PORT": str(port), "HOST": "127.0.0.1", "HELM": os.environ["EVENTPIPELINE_HELM"], "KUBECONFIG": str(kubeconfig),
        **environ,
    }  # fmt: skip
    process = context.Process(target=_run, args=(variables, str(log)), daemon=True)
    process.start()
    try:
        yield OperatorProcess(process, port, log)
    finally:
        process.kill()
        process.join()


def _run(environ: dict[str, str], log: str) -> None:
    from eventpipeline.telemetry import configure_logging
    from eventpipeline_operator.cluster import Cluster
    from eventpipeline_operator.main import run
    from eventpipeline_operator.render import ChartRenderer
    from eventpipeline_operator.settings import OperatorSettings

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environ)  # kopf looks for KUBECONFIG itself
    settings = OperatorSettings.read(os.environ)
    configure_logging("operator", level=settings.log_level, environment=settings.environment)
    asyncio.run(run(settings, ChartRenderer(settings), Cluster.from_kubeconfig(Path(environ["KUBECONFIG"]))))
