"""A real Prometheus for tests, that of the PATH or the one that scripts/prometheus.sh has unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml

from queries import CHART, ROOT
from servers import free_port, wait_for


def binary(name: str) -> str:
    """`prometheus` or `promtool`. Raises AssertionError where there is none: a test must not be left out for that."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    unpacked = cache / "eventpipeline" / "prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.exists() else None)
    assert found, f"there is no {name}; scripts/prometheus.sh brings it"
    return found


class Prometheus:
    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url, timeout=10, trust_env=False)

    def is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. Raises AssertionError where it is no PromQL."""
        answer = self._ask("/api/v1/query", {"query": expression})
        return list(answer["result"])

    def values(self, selector: str, label: str) -> list[str]:
        """The values of a label, as Grafana asks for those of a variable."""
        return list(self._ask(f"/api/v1/label/{label}/values", {"match[]": selector}))

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._ask("/api/v1/rules", {})["groups"] for rule in group["rules"]]

    def _ask(self, path: str, parameters: dict[str, str]) -> Any:
        body = self._client.get(path, params=parameters).json()
        assert body["status"] == "success", f"{parameters}: {body}"
        return body["data"]

    def close(self) -> None:
        self._client.close()


def configuration(targets: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of compose.yaml, each target replaced by its place in `targets`, and scraped each second."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose" / "prometheus.yaml").read_text())
    found["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    found["rule_files"] = [str(CHART / "alerts.yaml")]
    for job in found["scrape_configs"]:
        for group in job["static_configs"]:
            group["targets"] = [targets[target] for target in group["targets"]]
    return found


@contextmanager
def prometheus_server(folder: Path, config: dict[str, Any]) -> Iterator[Prometheus]:
    """A Prometheus on loopback that keeps what it has in `folder`."""
    port, log = free_port(), folder / "prometheus.log"
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [
        binary("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        wait_for(server.is_ready, what=lambda: f"Prometheus:\n{log.read_text()[-3000:]}")
        yield server
    finally:
        server.close()
        process.terminate()
        process.wait(10)
