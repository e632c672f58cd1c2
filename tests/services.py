"""Services as processes of their own: the real command, with its settings in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from servers import free_port


@dataclass
class Service:
    process: subprocess.Popen[bytes]
    url: str
    output: Path

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.url + path, timeout=5.0)

    def answers(self, path: str, status: int = 200) -> bool:
        """Whether it answers so now; False where nobody listens."""
        try:
            return self.get(path).status_code == status
        except httpx2.TransportError:
            return False

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it logged; each line must be JSON."""
        return [json.loads(line) for line in self.output.read_text().splitlines()]


@contextmanager
def service(folder: Path, command: str, **settings: Any) -> Iterator[Service]:
    """`eventpipeline <command>` from now on; killed at the end, if it runs still."""
    port = free_port()
    output = folder / f"{command}-{port}.log"
    env = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": str(port), "DRAIN_SECONDS": "0"}
    env |= {name.upper(): str(value) for name, value in settings.items()}
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "eventpipeline", command], env=env, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield Service(process, f"http://127.0.0.1:{port}", output)
    finally:
        process.kill()
        process.wait()
